use super::Tendency::{MorePermissive, Neither, Stricter, Unknown};
use super::*;
use crate::files::Files;
use crate::testing::{edit, files, sourced, with};

const TOML: &str = "bundle.toml";

fn changes(old: Files, new: Files) -> Vec<Change> {
    let (old, new) = (Snapshot::from_files(old).unwrap(), Snapshot::from_files(new).unwrap());
    new.meaning(&old).unwrap()
}

/// The one change between two bundles.
#[track_caller]
fn one(old: Files, new: Files) -> (Tendency, String, String) {
    let found = changes(old, new);
    assert_eq!(found.len(), 1, "{found:?}");
    let Change { tendency, part, name, sentence, .. } = found[0].clone();
    (tendency, format!("{part} {name}"), sentence)
}

/// That an edit of `bundle.toml` is told with these words and this tendency, and the reverse with the other.
#[track_caller]
fn told(from: &str, to: &str, (there, back): (Tendency, Tendency), words: &str) {
    let (old, new) = (files(), with(TOML, from, to));
    let (tendency, part, sentence) = one(old.clone(), new.clone());
    let text = format!("{part}: {sentence}");
    assert!(text.contains(words), "`{words}`: {text}");
    assert_eq!(tendency, there, "{text}");
    let (tendency, part, sentence) = one(new, old);
    assert_eq!(tendency, back, "back: {part}: {sentence}");
}

#[test]
fn nothing_changes_from_a_bundle_to_itself() {
    assert_eq!(changes(files(), files()), []);
}

#[test]
fn each_change_of_the_manifest_says_in_which_direction_it_goes() {
    let (more, less) = ((MorePermissive, Stricter), (Stricter, MorePermissive));
    let unknown = (Unknown, Unknown);
    told("version = 7", "version = 8", (Neither, Neither), "bundle version");
    told("name = \"test\"", "name = \"other\"", unknown, "it is another bundle");
    told("tier = \"critical\"", "tier = \"high\"", more, "the tier falls from critical to high");
    told("permit_ttl = \"5s\"", "permit_ttl = \"6s\"", more, "how long a PERMIT may wait");
    told(
        "permit_ttl = \"5s\"",
        "permit_ttl = \"5s\"\noutcome_within = \"2m\"",
        unknown,
        "an outcome may be missing",
    );
    told("permit_ttl = \"5s\"", "permit_ttl = \"5s\"\nwitnessed = true", less, "witnesses saw a PERMIT");
    told("idempotency = \"key\"", "idempotency = \"derived\"", unknown, "which calls are one");
    told(
        "[roster.people.ada]",
        "[proofs]\nrequired = true\n\n[roster.people.ada]",
        less,
        "it decides only if it was proved",
    );
    let untested = "version = 7\nuntested = true";
    told("version = 7", untested, (Unknown, Stricter), "it comes into force although nothing tries it");
    told(
        "[roster.people.ada]",
        "[proofs]\nrequired = false\n\n[roster.people.ada]",
        (Neither, Neither),
        "no proof is demanded",
    );
}

/// A list of tools is closed. Without it, the tool of the surface's own name is taken for a call on it.
#[test]
fn a_list_of_tools_that_went_let_another_tool_in_and_was_told_as_stricter() {
    let read = |tools: &str| with(TOML, "tier = \"read\"", &format!("tier = \"read\"\ntools = {tools}"));
    let told = |old: Files, new: Files| -> Vec<(Tendency, String)> {
        let found = changes(old, new).into_iter();
        found.map(|change| (change.tendency, format!("{}: {}", change.name, change.sentence))).collect()
    };
    let comes = |surface: &str, tool: &str| {
        (MorePermissive, format!("{surface}: tool `{tool}` is taken for a call on this surface"))
    };
    let goes = |surface: &str, tool: &str| {
        (Stricter, format!("{surface}: tool `{tool}` is not taken for a call on this surface any more"))
    };
    let other = r#"["fs/read_v1"]"#;
    assert_eq!(told(read(other), files()), [comes("fs.read", "fs/read"), goes("fs.read", "fs/read_v1")]);
    assert_eq!(told(files(), read(other)), [comes("fs.read", "fs/read_v1"), goes("fs.read", "fs/read")]);
    // To list it is what its name did.
    assert_eq!(told(files(), read(r#"["fs/read"]"#)), []);
    let both = r#"["fs/read", "fs/read_v1"]"#;
    assert_eq!(told(read(both), files()), [goes("fs.read", "fs/read_v1")]);
    // From one surface to another, and the other's own comes back.
    let before =
        edit(read(r#"["t/a"]"#), TOML, "tier = \"critical\"", "tier = \"critical\"\ntools = [\"t/b\"]");
    let after = read(r#"["t/b"]"#);
    let moved =
        (Unknown, "fs.read: tool `t/b` is read by this surface's rules, no more by another's".to_owned());
    assert_eq!(told(before, after), [comes("pay.charge", "pay/charge"), moved, goes("fs.read", "t/a")]);
}

#[test]
fn a_call_that_may_run_twice_is_more_permissive_though_less_is_kept_of_it() {
    let found = changes(files(), with(TOML, "idempotency = \"key\"", "idempotency = \"none\""));
    let told: Vec<_> = found.iter().map(|change| (change.tendency, change.sentence.as_str())).collect();
    let lost = "results are kept no more: nobody can look at them later";
    assert_eq!(told, [(MorePermissive, "a call that is repeated runs again"), (Neither, lost)]);
}

#[test]
fn limits_say_whether_more_fits_into_them_and_when_they_begin_anew() {
    let more = (MorePermissive, Stricter);
    let limited =
        |text: &str| edit(files(), TOML, "[roster.people.ada]", &format!("{text}\n[roster.people.ada]"));
    let base = "[limits.daily]\nkind = \"count\"\nsurfaces = [\"pay.charge\"]\nmax = 10\nwindow = { fixed = \"1h\" }\n";
    let told = |to: &str, (there, back): (Tendency, Tendency), words: &str| {
        let (old, new) = (limited(base), limited(to));
        let (tendency, _, sentence) = one(old.clone(), new.clone());
        assert!(sentence.contains(words), "{sentence}");
        assert_eq!((tendency, one(new, old).0), (there, back), "{sentence}");
    };
    let swap = |from: &str, to: &str| {
        assert!(base.contains(from));
        base.replace(from, to)
    };
    told("", more, "removed: nothing bounds");
    told(&swap("max = 10", "max = 11"), more, "rises from 10 to 11");
    told(
        &swap("1h", "3h"),
        (Stricter, MorePermissive),
        "over a fixed window of 3h, not a fixed window of 1h",
    );
    told(&swap("1h", "90m"), (Unknown, Unknown), "a fixed window of 90m");
    told(&swap("fixed = \"1h\"", "sliding = \"1h\""), (Stricter, MorePermissive), "sliding");
    told(&swap("fixed = \"1h\"", "sliding = \"30m\""), (Unknown, Unknown), "sliding");
    told(
        &swap("max", "per = [\"agent\"]\nmax"),
        (MorePermissive, Unknown),
        "counted for each agent; what was counted is forgotten",
    );
    told(
        &swap("[limits.daily]", "[limits.hourly]"),
        (MorePermissive, MorePermissive),
        "what was counted is forgotten",
    );
    told(
        &swap("\"pay.charge\"", "\"pay.charge\", \"fs.read\""),
        (Stricter, MorePermissive),
        "surfaces added: fs.read",
    );
    told(
        &swap("kind = \"count\"", "kind = \"open\"").replace("window = { fixed = \"1h\" }\n", ""),
        (Unknown, Unknown),
        "something else",
    );
}

#[test]
fn grants_say_what_they_ask_for_no_more() {
    let asking = |annotations: &str| {
        edit(
            files(),
            "policies/main.cedar",
            "@id(\"may-charge\")",
            &format!("@id(\"may-charge\")\n{annotations}"),
        )
    };
    let approval = |roles: &str, quorum: u8, lifetime: &str| {
        asking(&format!(
            "@approval_roles(\"{roles}\")\n@approval_quorum(\"{quorum}\")\n@approval_lifetime(\"{lifetime}\")"
        ))
    };
    let told = |old: Files, new: Files, tendency: Tendency, words: &str| {
        let found = changes(old, new);
        let grant: Vec<_> = found.iter().filter(|change| change.part == "grant").collect();
        assert_eq!(grant.len(), 1, "{found:?}");
        assert!(grant[0].sentence.contains(words), "{found:?}");
        assert_eq!(grant[0].tendency, tendency, "{found:?}");
    };
    told(approval("finance", 2, "1h"), files(), MorePermissive, "an approval is asked for no more");
    told(files(), approval("finance", 2, "1h"), Stricter, "an approval is asked for");
    told(
        approval("finance", 2, "1h"),
        approval("finance", 1, "1h"),
        MorePermissive,
        "how many must approve it falls from 2 to 1",
    );
    told(
        approval("finance", 1, "1h"),
        approval("finance, security", 1, "1h"),
        MorePermissive,
        "roles that may approve it added: security",
    );
    told(
        approval("finance", 1, "1h"),
        approval("finance", 1, "30m"),
        Stricter,
        "how long an approval counts falls from 1h to 30m",
    );
    told(
        asking("@identity_within(\"5m\")"),
        asking("@identity_within(\"1h\")"),
        MorePermissive,
        "rises from 5m to 1h",
    );
    told(asking("@identity_within(\"5m\")"), files(), MorePermissive, "a fresh proof of identity");
    told(asking("@witnessed"), files(), MorePermissive, "witnesses");
}

/// What is said of grants, by their names.
fn of_grants(old: &str, new: &str) -> Vec<(Tendency, String, String)> {
    let bundle = |policies: &str| {
        let label = "[labels.secret]\nlifetime = \"8h\"\n\n[roster.people.ada]";
        edit(crate::testing::with_policies(policies), TOML, "[roster.people.ada]", label)
    };
    let found = changes(bundle(old), bundle(new)).into_iter().filter(|change| change.part == "grant");
    found.map(|Change { tendency, name, sentence, .. }| (tendency, name, sentence)).collect()
}

fn charge(id: &str, annotations: &str, when: &str) -> String {
    format!(
        "@id(\"{id}\") {annotations}\npermit (principal, action == Action::\"charge\", resource) {when};\n"
    )
}

fn by(quorum: u8) -> String {
    format!(
        "@approval_roles(\"finance\") @approval_quorum(\"{quorum}\") @approval_lifetime(\"1h\") @identity_within(\"5m\")"
    )
}

/// Both asked for an approval, as far as the solver was asked, and the names had nothing in common.
#[test]
fn a_grant_under_another_name_asked_for_fewer_people_and_nothing_was_said() {
    let found = of_grants(&charge("payouts", &by(2), ""), &charge("payouts-v2", &by(1), ""));
    let told: Vec<_> = found.iter().map(|(tendency, name, _)| (*tendency, name.as_str())).collect();
    assert_eq!(told, [(Unknown, "payouts"), (Unknown, "payouts-v2")], "{found:?}");
    let sentences: Vec<_> = found.iter().map(|(_, _, sentence)| sentence.as_str()).collect();
    assert!(sentences[0].starts_with("removed, with approval by 2 "), "{found:?}");
    assert!(sentences[1].starts_with("added, with approval by 1 "), "{found:?}");
    // One that asks for nothing is the solver's to say, whole.
    assert_eq!(of_grants(&charge("a", "", ""), &charge("b", "", "")), []);
}

#[test]
fn a_grant_that_was_split_asked_for_fewer_people_and_nothing_was_said() {
    let small = "when { context.amount.lessThan(decimal(\"0.02\")) }";
    let split = [charge("payouts", &by(2), small), charge("payouts-b", &by(1), "")].concat();
    let found = of_grants(&charge("payouts", &by(2), ""), &split);
    let told: Vec<_> = found.iter().map(|(tendency, name, _)| (*tendency, name.as_str())).collect();
    assert_eq!(told, [(Unknown, "payouts"), (Unknown, "payouts-b")], "{found:?}");
    assert!(found[0].2.starts_with("it grants otherwise, with approval by 2 "), "{found:?}");
    // Where the rest is granted by what was there, the narrowed one is all that shows it.
    let rest = charge("rest", &by(1), "");
    let before = [charge("payouts", &by(2), ""), rest.clone()].concat();
    let found = of_grants(&before, &[charge("payouts", &by(2), small), rest].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    // Other words and other room are no other grant.
    let spaced = small.replace(' ', "\n  ");
    assert_eq!(of_grants(&charge("payouts", &by(2), small), &charge("payouts", &by(2), &spaced)), []);
}

#[test]
fn a_grant_under_another_name_gave_no_label_any_more_and_nothing_was_said() {
    let label = "@adds_label(\"secret\")";
    let found = of_grants(&charge("reads", label, ""), &charge("reads-all", "", ""));
    assert_eq!(found.len(), 1, "{found:?}");
    let (tendency, name, sentence) = &found[0];
    assert_eq!((*tendency, name.as_str()), (Unknown, "reads"));
    assert!(sentence.starts_with("removed, with labels secret"), "{sentence}");
    let narrowed = "when { context.count == 1 }";
    let split = [charge("reads", label, narrowed), charge("reads-all", "", "")].concat();
    let found = of_grants(&charge("reads", label, ""), &split);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].2.starts_with("it grants otherwise, with labels secret"), "{found:?}");
}

#[test]
fn people_who_may_approve_and_their_keys_are_told() {
    let person = |id: &str, roles: &str, seed: u8| {
        let key = crate::testing::verifier_key(seed);
        format!(
            "[roster.people.{id}]\nname = \"{id}\"\nroles = {roles}\nkeys = [{{ type = \"ed25519\", key = \"{key}\" }}]\n"
        )
    };
    let and =
        |text: &str| edit(files(), TOML, "[roster.people.ada]", &format!("{text}\n[roster.people.ada]"));
    let base = and(&person("kim", "[\"finance\"]", 150));
    assert_eq!(one(files(), base.clone()).0, MorePermissive);
    assert_eq!(one(base.clone(), files()).0, Stricter);
    let (tendency, part, sentence) =
        one(base.clone(), and(&person("kim", "[\"finance\", \"security\"]", 150)));
    assert_eq!(
        (tendency, part.as_str(), sentence.as_str()),
        (MorePermissive, "person kim", "roles added: security")
    );
    let (tendency, _, sentence) = one(base, and(&person("kim", "[\"finance\"]", 151)));
    assert_eq!(tendency, Unknown, "{sentence}");
    assert!(sentence.contains("whoever holds the new ones answers in their name"), "{sentence}");
}

#[test]
fn who_joins_a_group_or_leaves_it_is_judged_by_the_policies_that_name_it() {
    const ENTITIES: &str = "entities.json";
    let suspended = edit(
        files(),
        ENTITIES,
        r#""id": "bot" }, "attrs": {}, "parents": []"#,
        r#""id": "bot" }, "attrs": {}, "parents": [{ "type": "Group", "id": "suspended" }]"#,
    );
    let (tendency, part, sentence) = one(files(), suspended.clone());
    assert_eq!((tendency, part.as_str()), (Stricter, "entity Agent::\"bot\""));
    assert_eq!(sentence, "joins Group::\"suspended\" (named by forbid no-suspended)");
    assert_eq!(one(suspended.clone(), files()).0, MorePermissive);
    // One policy that lets members do something, or asks for membership in its conditions, and nobody knows.
    for policy in [
        "@id(\"x\")\npermit (principal in Group::\"suspended\", action == Action::\"fs.read\", resource);\n",
        "@id(\"x\")\nforbid (principal, action, resource) unless { principal in Group::\"suspended\" };\n",
    ] {
        let also = |mut files: Files| {
            files.insert("policies/x.cedar".into(), policy.as_bytes().to_vec());
            files
        };
        assert_eq!(one(also(files()), also(suspended.clone())).0, Unknown, "{policy}");
    }
    let gone = edit(files(), ENTITIES, "\"id\": \"rogue\"", "\"id\": \"rascal\"");
    let found = changes(files(), gone);
    let told: Vec<_> = found.iter().map(|change| (change.tendency, change.name.as_str())).collect();
    assert_eq!(told, [(MorePermissive, "Agent::\"rascal\""), (Stricter, "Agent::\"rogue\"")]);
}

/// A file, what is in it, and what is there instead.
type Edit<'a> = (&'a str, &'a str, &'a str);

const SCHEMA: &str = "schema.cedarschema";

/// That edits are told with these words and tendencies, there and back, whatever else is told of them.
#[track_caller]
fn turned(old: &Files, edits: &[Edit<'_>], there: (Tendency, &str), back: (Tendency, &str)) {
    let new = edits.iter().fold(old.clone(), |files, (path, from, to)| edit(files, path, from, to));
    for (found, (tendency, words)) in
        [(changes(old.clone(), new.clone()), there), (changes(new, old.clone()), back)]
    {
        let told: Vec<_> = found.iter().filter(|change| change.sentence.contains(words)).collect();
        assert!(matches!(&told[..], [one] if one.tendency == tendency), "`{words}`: {found:#?}");
    }
}

/// What holds is the union over all grants that are satisfied: who left a group whose grant asks for an approval needed none any
/// more, where another one granted the same, and "stricter" was said of it.
#[test]
fn who_left_a_group_whose_grant_asks_for_an_approval_needed_none_and_it_was_told_as_stricter() {
    const ENTITIES: &str = "entities.json";
    let member = |files: Files, groups: &[&str]| {
        let parent = |id: &&str| format!(r#"{{ "type": "Group", "id": "{id}" }}"#);
        let parents = groups.iter().map(parent).collect::<Vec<_>>().join(", ");
        let bot = r#""id": "bot" }, "attrs": {}, "parents": ["#;
        edit(files, ENTITIES, bot, &format!("{bot}{parents}"))
    };
    let bundle = |annotations: &str| {
        let grant = |id: &str, annotations: &str| {
            format!(
                "@id(\"{id}\") {annotations}\npermit (principal in Group::\"{id}\", action == Action::\"charge\", resource);\n"
            )
        };
        let policies = [grant("staff", ""), grant("juniors", annotations)].concat();
        let groups = |id: &str| {
            format!(r#"{{ "uid": {{ "type": "Group", "id": "{id}" }}, "attrs": {{}}, "parents": [] }}"#)
        };
        let first = r#"{ "uid": { "type": "Agent", "id": "bot" }"#;
        let more = format!("{}, {}, {first}", groups("staff"), groups("juniors"));
        let files = edit(crate::testing::with_policies(&policies), ENTITIES, first, &more);
        edit(files, TOML, "[roster.people.ada]", "[labels.secret]\nlifetime = \"8h\"\n\n[roster.people.ada]")
    };
    let approval = "@approval_roles(\"finance\") @approval_quorum(\"1\") @approval_lifetime(\"1h\")";
    for (annotations, shown) in [
        (approval, "approval by 1 "),
        ("@identity_within(\"5m\")", "identity"),
        ("@witnessed", "witness"),
        ("@adds_label(\"secret\")", "labels secret"),
    ] {
        let (before, after) =
            (member(bundle(annotations), &["staff", "juniors"]), member(bundle(annotations), &["staff"]));
        for (old, new, did) in [(&before, &after, "leaves"), (&after, &before, "joins")] {
            let (tendency, _, sentence) = one(old.clone(), new.clone());
            assert_eq!(tendency, Unknown, "{sentence}");
            let told = format!("{did} Group::\"juniors\" (named by permit juniors, with ");
            assert!(sentence.starts_with(&told) && sentence.contains(shown), "{sentence}");
        }
    }
    // One that asks for nothing grants, and that is all.
    let (before, after) = (member(bundle(""), &["staff", "juniors"]), member(bundle(""), &["staff"]));
    assert_eq!(one(before.clone(), after.clone()).0, Stricter);
    assert_eq!(one(after, before).0, MorePermissive);
}

#[test]
fn mappings_are_unknown_but_for_what_may_be_left_out() {
    let moved = (Unknown, "is read from another place in the arguments");
    turned(&files(), &[(TOML, "from = \"/note\"", "from = \"/elsewhere\"")], moved, moved);
    turned(
        &files(),
        &[
            (TOML, "from = \"/note\", optional = true", "from = \"/note\""),
            (SCHEMA, "note?: String", "note: String"),
        ],
        (Stricter, "context `note` may not be left out"),
        (MorePermissive, "context `note` may be left out"),
    );
    turned(
        &files(),
        &[
            (TOML, "context.dry = { type = \"boolean\"", "context.dry = { type = \"string\""),
            (SCHEMA, "dry?: Bool", "dry?: String"),
        ],
        (Unknown, "context `dry` is a string, not a boolean: other values are admitted"),
        (Unknown, "context `dry` is a boolean, not a string: other values are admitted"),
    );
    turned(
        &files(),
        &[
            (TOML, "context.dry = { type = \"boolean\", from = \"/dry\", optional = true }", ""),
            (SCHEMA, ", dry?: Bool", ""),
        ],
        (Unknown, "context `dry` is gone: no policy reads it"),
        (Unknown, "context `dry` is new: calls may say it"),
    );
    turned(
        &files(),
        &[
            (TOML, "context.path =", "context.who = { type = \"string\", from = \"/who\" }\ncontext.path ="),
            (SCHEMA, "path: String", "who: String, path: String"),
        ],
        (Unknown, "context `who` is new: calls must say it"),
        (Unknown, "context `who` is gone"),
    );
}

#[test]
fn surfaces_that_come_or_go_and_the_terms_of_those_that_stay_are_told() {
    let silence = (Unknown, "callers are told otherwise when no authorization can be established");
    let pauses = "on_silence = \"pause\"\npause_at_most = \"2m\"\nidempotency = \"key\"";
    turned(
        &files(),
        &[(TOML, "on_silence = \"terminate\"\nidempotency = \"key\"", pauses)],
        silence,
        silence,
    );
    let about = (Unknown, "calls that name no resource are about another one");
    turned(
        &files(),
        &[(TOML, "id = \"a-1\"", "id = \"a-2\""), ("entities.json", "\"id\": \"a-1\"", "\"id\": \"a-2\"")],
        about,
        about,
    );
    turned(
        &files(),
        &[
            (
                TOML,
                "[surfaces.\"fs.read\"]\n",
                "[surfaces.\"fs.read\"]\nactions = [\"fs.read\", \"fs.list\"]\n",
            ),
            (SCHEMA, "action \"fs.read\" in", "action \"fs.read\", \"fs.list\" in"),
        ],
        (MorePermissive, "actions added: fs.list"),
        (Stricter, "actions removed: fs.list"),
    );
    let another =
        "[surfaces.\"fs.list\"]\ntier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"1s\"\n\n";
    turned(
        &files(),
        &[
            (TOML, "[surfaces.\"fs.read\"]", &format!("{another}[surfaces.\"fs.read\"]")),
            (
                SCHEMA,
                "action \"any\";",
                "action \"any\";\naction \"fs.list\" appliesTo { principal: Agent, resource: Surface, context: {} };",
            ),
        ],
        (MorePermissive, "added: calls on it were refused, and may be granted"),
        (Stricter, "removed: calls on it are refused"),
    );
    let derived = with(TOML, "idempotency = \"key\"", "idempotency = \"derived\"\nderived_window = \"1m\"");
    turned(
        &derived,
        &[(TOML, "derived_window = \"1m\"", "derived_window = \"5m\"")],
        (Stricter, "within which equal calls are one rises from 1m to 5m"),
        (MorePermissive, "within which equal calls are one falls from 5m to 1m"),
    );
}

#[test]
fn a_bundle_that_is_valid_for_longer_is_more_permissive() {
    let from = "2026-01-01T00:00:00Z";
    let (earlier, later) = ((MorePermissive, "`valid_from` falls"), (Stricter, "`valid_from` rises"));
    turned(&files(), &[(TOML, from, "2025-06-01T00:00:00Z")], earlier, later);
    let (earlier, later) = ((Stricter, "`valid_until` falls"), (MorePermissive, "`valid_until` rises"));
    turned(&files(), &[(TOML, "2026-02-01T00:00:00Z", "2026-01-20T00:00:00Z")], earlier, later);
}

#[test]
fn what_labels_mean_to_policy_is_not_judged_but_what_becomes_of_them_is_told() {
    let labelled =
        |text: &str| edit(files(), TOML, "[roster.people.ada]", &format!("{text}\n[roster.people.ada]"));
    let base = labelled("[labels.untrusted]\nlifetime = \"8h\"\n");
    turned(
        &base,
        &[(TOML, "lifetime = \"8h\"", "lifetime = \"1h\"")],
        (Unknown, "how long it stays with an agent falls from 8h to 1h"),
        (Unknown, "how long it stays with an agent rises from 1h to 8h"),
    );
    turned(
        &base,
        &[(TOML, "[labels.untrusted]\nlifetime = \"8h\"\n", "")],
        (
            Unknown,
            "removed: whoever has it keeps it for its lifetime, no grant gives it any more, and no policy asks",
        ),
        (
            Neither,
            "added: who got it by an earlier bundle has it until that one's lifetime ends, and nobody else before",
        ),
    );
    let grant = "@id(\"may-charge\")";
    turned(
        &base,
        &[("policies/main.cedar", grant, &format!("{grant}\n@adds_label(\"untrusted\")"))],
        (Unknown, "labels that it gives the agent added: untrusted"),
        (Unknown, "labels that it gives the agent removed: untrusted"),
    );
}

/// It was said of a label that came back within its lifetime that nobody had it. Who has it had it all the time: policies that ask
/// for no label by its name answered by it before as they do now.
#[test]
fn a_label_that_came_back_was_said_to_be_nobodys_and_it_counted_all_the_time() {
    let policies = "@id(\"clean\")\npermit (principal, action == Action::\"fs.read\", resource) when { context.labels.isEmpty() };\n\
                    @id(\"known\")\npermit (principal, action == Action::\"fs.read\", resource) when { [\"kept\"].containsAll(context.labels) };\n";
    let schema = ("schema.cedarschema", "path: String", "labels: Set<String>, path: String");
    let base = edit(crate::testing::with_policies(policies), schema.0, schema.1, schema.2);
    let kept = "[labels.kept]\nlifetime = \"8h\"\n\n";
    let without = edit(base, TOML, "[roster.people.ada]", &format!("{kept}[roster.people.ada]"));
    let with = edit(without.clone(), TOML, kept, &format!("{kept}[labels.back]\nlifetime = \"1h\"\n\n"));
    let (tendency, part, sentence) = one(without.clone(), with.clone());
    assert_eq!((tendency, part.as_str()), (Neither, "label back"), "{sentence}");
    let request = crate::testing::read("bot", "{\"path\":\"/x\"}");
    let asked = |files: &Files, held: &[&str]| {
        let labels = held.iter().map(|label| label.parse().unwrap()).collect();
        let content = Snapshot::from_files(files.clone()).unwrap().rehearse().unwrap();
        content.content().evaluate_informed(&request, &labels, None).verdict
    };
    for (held, permitted) in
        [(&[][..], true), (&["kept"], true), (&["back"], false), (&["back", "kept"], false)]
    {
        let (before, now) = (asked(&without, held), asked(&with, held));
        assert_eq!(before, now, "{held:?}");
        assert_eq!(matches!(now, portcullis_protocol::Verdict::Permit(_)), permitted, "{held:?}: {now:?}");
    }
}

#[test]
fn sums_rates_and_what_is_open_at_once_are_told_by_how_much_fits_in() {
    let limited =
        |text: &str| edit(files(), TOML, "[roster.people.ada]", &format!("{text}\n[roster.people.ada]"));
    let sum = limited(
        "[limits.daily]\nkind = \"sum\"\nsurfaces = [\"pay.charge\"]\nof = \"amount\"\nunit = \"EUR\"\nmax = \"500.00\"\nwindow = { sliding = \"1d\" }\n",
    );
    turned(
        &sum,
        &[(TOML, "max = \"500.00\"", "max = \"600.00\"")],
        (MorePermissive, "rises from 50000 to 60000"),
        (Stricter, "falls from 60000 to 50000"),
    );
    turned(
        &sum,
        &[(TOML, "unit = \"EUR\"", "unit = \"JPY\"")],
        (Unknown, "its amounts are in `JPY`, not `EUR`; what was counted is forgotten"),
        (Unknown, "its amounts are in `EUR`, not `JPY`; what was counted is forgotten"),
    );
    let rate =
        limited("[limits.pace]\nkind = \"rate\"\nsurfaces = [\"pay.charge\"]\nmax = 10\nevery = \"1m\"\n");
    turned(
        &rate,
        &[(TOML, "max = 10", "max = 20")],
        (MorePermissive, "how many there may be rises from 10 to 20"),
        (Stricter, "how many there may be falls from 20 to 10"),
    );
    let open = limited("[limits.one]\nkind = \"open\"\nsurfaces = [\"pay.charge\"]\nmax = 1\n");
    turned(
        &open,
        &[(TOML, "max = 1", "max = 2")],
        (MorePermissive, "how many may be open at once rises from 1 to 2"),
        (Stricter, "how many may be open at once falls from 2 to 1"),
    );
    let each = limited(
        "[limits.daily]\nkind = \"sum\"\nsurfaces = [\"pay.charge\"]\nof = \"amount\"\ncurrency = \"note\"\nmax = { EUR = \"500.00\", USD = \"550.00\" }\nwindow = { sliding = \"1d\" }\n",
    );
    turned(
        &each,
        &[(TOML, "EUR = \"500.00\"", "EUR = \"400.00\"")],
        (Stricter, "of EUR falls from 50000 to 40000"),
        (MorePermissive, "of EUR rises from 40000 to 50000"),
    );
    turned(
        &each,
        &[(TOML, ", USD = \"550.00\"", "")],
        (Stricter, "currencies removed: USD"),
        (MorePermissive, "currencies added: USD"),
    );
    turned(
        &sum,
        &[(TOML, "unit = \"EUR\"\nmax = \"500.00\"", "currency = \"note\"\nmax = { EUR = \"500.00\" }")],
        (Unknown, "it tells currencies apart now, or does not any more"),
        (Unknown, "it tells currencies apart now, or does not any more"),
    );
}

#[test]
fn what_holds_a_bundle_to_what_was_meant_is_missed_when_it_goes() {
    let invariant = "@id(\"capped\")\n@sentence(\"x\")\nforbid (principal, action == Action::\"charge\", resource) when { context.amount.greaterThan(decimal(\"100.00\")) };\n";
    let mut with = files();
    with.insert("invariants/main.cedar".into(), invariant.as_bytes().to_vec());
    let (tendency, part, sentence) = one(with.clone(), files());
    assert_eq!((tendency, part.as_str()), (Unknown, "invariant capped"), "{sentence}");
    assert_eq!(one(files(), with.clone()).0, Stricter);
    let weaker = edit(with.clone(), "invariants/main.cedar", "100.00", "1000.00");
    assert_eq!(one(with, weaker).0, Unknown);
}

#[test]
fn a_bundle_that_lost_its_last_case_was_told_only_as_so_many_cases_less() {
    let case = "[[case]]\nname = \"a\"\nagent = \"bot\"\nsurface = \"fs.read\"\ncontext = { path = \"/x\" }\n\
                expect = \"deny\"\nreason = \"policy.no_grant\"\n";
    let mut tried = files();
    tried.insert("tests/main.toml".into(), case.as_bytes().to_vec());
    let untested = with(TOML, "version = 7", "version = 7\nuntested = true");
    let told = |old: &Files, new: &Files| {
        let of_tests = |change: &Change| change.part == "bundle" && change.name == "tests";
        let found: Vec<_> = changes(old.clone(), new.clone()).into_iter().filter(of_tests).collect();
        found.into_iter().map(|change| (change.tendency, change.sentence)).collect::<Vec<_>>()
    };
    for (old, new, expected) in [
        (&tried, &files(), Some((Stricter, "it does not come into force"))),
        (&tried, &untested, Some((Unknown, "nothing tries it any more"))),
        (&untested, &tried, Some((Stricter, "cases try it"))),
        (&untested, &untested, None),
        (&files(), &files(), None),
        (&tried, &tried, None),
    ] {
        let told = told(old, new);
        assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
        for ((tendency, sentence), (expected, words)) in told.iter().zip(expected) {
            assert!(*tendency == expected && sentence.contains(words), "{told:?}");
        }
    }
}

#[test]
fn what_nobody_reads_here_is_shown_as_it_is_written_and_not_judged() {
    let section = |part: &str, name: &str| Difference {
        part: part.to_owned(),
        name: name.to_owned(),
        old: None,
        new: Some("{}".to_owned()),
    };
    for (part, name) in
        [("governance", "type"), ("overrides", "x"), ("file", "tests/directory.json"), ("file", "x")]
    {
        let change = unread(section(part, name)).unwrap();
        assert_eq!((change.tendency, change.new.as_deref()), (Unknown, Some("{}")), "{part}");
        assert!(change.sentence.contains("not judged"));
    }
    for (part, name) in [
        ("surfaces", "x"),
        ("facts", "x"),
        ("exceptions", "x"),
        ("bundle", "version"),
        ("entity", "x"),
        ("file", "tests/x.toml"),
    ] {
        assert_eq!(unread(section(part, name)), None, "{part} {name} is read");
    }
    let policy = changes(files(), with("policies/main.cedar", "\"100.00\"", "\"200.00\""));
    assert_eq!(policy.len(), 1);
    assert!(
        policy[0].tendency == Unknown && policy[0].sentence.contains("the solver's to say"),
        "{policy:?}"
    );
}

const EXCEPTION: &str = r#"
[[exceptions]]
surface = "fs.read"
covers = ["fact.stale"]
sources = ["directory"]
max_age = "24h"
owner = "zoe"
reason = "the directory is moved"
review = "2026-01-15T00:00:00Z"
until = "2026-01-31T00:00:00Z"
"#;

#[test]
fn facts_that_may_be_older_and_exceptions_that_reach_further_are_more_permissive() {
    let with = |from: &str, to: &str| edit(sourced(EXCEPTION), TOML, from, to);
    for (new, tendency, part, words) in [
        (sourced(""), Tendency::Stricter, "exception fs.read", "gone: fact.stale refuses again"),
        (
            with("max_age = \"10m\"", "max_age = \"1h\""),
            Tendency::MorePermissive,
            "facts directory",
            "from 10m to 1h",
        ),
        (
            with("max_age = \"24h\"", "max_age = \"12h\""),
            Tendency::Stricter,
            "exception fs.read",
            "from 1d to 12h",
        ),
        (
            with("until = \"2026-01-31", "until = \"2026-02-01"),
            Tendency::MorePermissive,
            "exception fs.read until",
            "rises",
        ),
        (
            with("review = \"2026-01-15", "review = \"2026-01-16"),
            Tendency::Neither,
            "exception fs.read",
            "looked at again",
        ),
        (
            with("owner = \"zoe\"", "owner = \"ada\""),
            Tendency::Neither,
            "exception fs.read",
            "ada answers for it",
        ),
    ] {
        let (found, named, sentence) = one(sourced(EXCEPTION), new);
        assert_eq!((found, named.as_str()), (tendency, part), "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
    }
    let (found, _, sentence) = one(sourced(""), sourced(EXCEPTION));
    assert_eq!(
        (found, sentence.as_str()),
        (Tendency::MorePermissive, "new: fact.stale is no reason against a PERMIT, up to 1d")
    );
}

#[test]
fn what_moves_between_bundle_and_source_is_not_taken_for_gone() {
    for (old, new) in [(files(), sourced("")), (sourced(""), files())] {
        let found = changes(old, new);
        let about = |part: &str| found.iter().filter(|change| change.part == part).collect::<Vec<_>>();
        assert_eq!((about("facts").len(), about("entity").len()), (1, 3), "{found:?}");
        assert!(found.iter().all(|change| change.tendency == Tendency::Unknown), "{found:?}");
    }
}

#[test]
fn pins_say_whether_more_tools_may_be_called_and_whether_one_is_said_to_do_something_else() {
    let pinned = |tools: &[&str]| {
        let tool = |text: &&str| portcullis_protocol::ToolDefinition::parse(text.as_bytes()).unwrap();
        let pinned = crate::PinnedTools::new("fs", tools.iter().map(tool)).unwrap();
        let mut files = files();
        files.insert("tools/fs.json".to_owned(), pinned.to_file("fs").unwrap());
        files
    };
    let read = crate::testing::FS_READ;
    let other = &read.replace("{\"name\":\"read\"", "{\"name\":\"read\",\"description\":\"Reads.\"");
    let cat = r#"{"name":"cat"}"#;
    let cases = [
        (files(), pinned(&[read]), (Stricter, MorePermissive), "tool fs/read"),
        (pinned(&[read]), pinned(&[read, cat]), (MorePermissive, Stricter), "tool fs/cat"),
        (pinned(&[read]), pinned(&[other]), (Unknown, Unknown), "tool fs/read"),
    ];
    for (old, new, (there, back), part) in cases {
        let (tendency, named, sentence) = one(old.clone(), new.clone());
        assert_eq!((tendency, named.as_str()), (there, part), "{sentence}");
        let (tendency, _, sentence) = one(new, old);
        assert_eq!(tendency, back, "{sentence}");
    }
    let required = "[mcp]\nrequire_pins = true\n\n[roster.people.ada]";
    told("[roster.people.ada]", required, (Stricter, MorePermissive), "tools of servers without pins");
}

/// What is compared in an activation was read for it, and is not read again: it must be all that is in the files.
#[test]
fn bundles_that_were_read_before_differ_as_their_files_do() {
    let path = "policies/main.cedar";
    let more = "\n@id(\"more\")\npermit (principal, action in [Action::\"charge\", Action::\"fs.read\"], resource);\n";
    let older = edit(files(), path, "\n@id(\"may-read\")", &format!("{more}@id(\"may-read\")"));
    let newer = edit(older.clone(), path, "\"100.00\"", "\"9.00\"");
    let newer = edit(newer, path, ", Action::\"fs.read\"]", "]");
    let [old, new] = [older, newer].map(|files| Snapshot::from_files(crate::testing::signed(files)).unwrap());
    let trust = crate::testing::trust(&new.files);
    let bundle = new.clone().verify(&trust).unwrap();
    let found = bundle.meaning(&new, (&old, &old.rehearse().unwrap())).unwrap();
    assert_eq!(found, new.meaning(&old).unwrap());
    let policies: Vec<_> =
        found.iter().filter(|change| change.part == "policy").map(|it| it.name.as_str()).collect();
    assert_eq!(policies, ["may-charge", "more"]);
    // What a snapshot says must be what was read of it.
    let other = old.rehearse().unwrap();
    assert!(bundle.meaning(&old, (&old, &other)).is_err());
    assert!(bundle.meaning(&new, (&new, &other)).is_err());
}
