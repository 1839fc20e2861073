use portcullis_protocol::{Idempotency, Millis, Tier};

use crate::files::Files;
use crate::testing::{bundle, defect, edit, fault, files, load, with, with_policies};
use crate::{Fault, Snapshot};

const TOML: &str = "bundle.toml";
const SCHEMA: &str = "schema.cedarschema";
const ENTITIES: &str = "entities.json";
const POLICY: &str = "policies/main.cedar";

/// Checks that an edit of one file is refused with words of the message.
#[track_caller]
fn refuse(path: &str, from: &str, to: &str, words: &str) {
    let message = defect(with(path, from, to));
    assert!(message.contains(words), "`{to}`: expected `{words}` in: {message}");
}

fn insert(path: &str, text: &str) -> Files {
    let mut files = files();
    files.insert(path.into(), text.as_bytes().to_vec());
    files
}

#[test]
fn a_good_bundle_loads_and_reports() {
    let report = Snapshot::from_files(files()).unwrap().check().unwrap();
    assert_eq!((report.name.as_str(), report.version), ("test", 7));
    assert_eq!(report.valid_until, Millis(1_769_904_000_000));
    let surfaces: Vec<_> = report.surfaces.iter().map(|(name, tier)| (name.as_str(), *tier)).collect();
    assert_eq!(surfaces, [("fs.read", Tier::Read), ("pay.charge", Tier::Critical)]);
    let policies: Vec<_> = report.policies.iter().map(|id| id.as_str()).collect();
    assert_eq!(policies, ["may-charge", "may-read", "no-suspended"]);
    assert_eq!(report.agents, ["bot", "rogue"]);
    assert_eq!(report.warnings, Vec::<String>::new());
}

/// Many policies, in files of several hundred each: several threads read and validate them.
fn many() -> Files {
    let mut files = files();
    for file in 0..6 {
        let policies = (0..400).map(|number| {
            let own = format!("@id(\"own-{file}-{number}\")\npermit (principal == Agent::\"bot\", ");
            own + "action == Action::\"charge\", resource)\nwhen { context.amount == decimal(\"1.00\") };\n"
        });
        files.insert(format!("policies/own-{file}.cedar"), policies.collect::<String>().into_bytes());
    }
    files
}

#[test]
fn many_policies_are_read_whole_and_the_first_of_their_defects_is_told() {
    let report = Snapshot::from_files(many()).unwrap().check().unwrap();
    assert_eq!(report.policies.len(), 3 + 6 * 400);
    let last = ("policies/own-5.cedar", "@id(\"own-5-399\")");
    let wrong = [
        ("policies/own-0.cedar", "@id(\"own-0-7\")\n", ""),
        ("policies/own-3.cedar", "own-3-0\"", "own-1-0\""),
        (last.0, "resource)\nwhen", "resource\nwhen"),
    ];
    // Each alone is told, and the first of all before the others.
    let mut all = many();
    for (path, from, to) in wrong.into_iter().rev() {
        let alone = edit(many(), path, from, to);
        let told = Snapshot::from_files(alone).unwrap().check().unwrap_err().to_string();
        assert!(told.contains(path), "{told}");
        all = edit(all, path, from, to);
        let first = Snapshot::from_files(all.clone()).unwrap().check().unwrap_err().to_string();
        assert_eq!(first, told);
    }
    for (path, id) in [("policies/own-0.cedar", "@id(\"own-0-0\")"), last] {
        let (before, after) = ("decimal(\"1.00\")", "\"1.00\"");
        let text = String::from_utf8(many()[path].clone()).unwrap();
        let at = text.find(id).unwrap();
        let wrong = format!("{}{}", &text[..at], text[at..].replacen(before, after, 1));
        let mut files = many();
        files.insert(path.to_owned(), wrong.into_bytes());
        let told = Snapshot::from_files(files).unwrap().check().unwrap_err().to_string();
        assert!(told.contains(path), "{told}");
    }
}

#[test]
fn surfaces_have_their_declared_terms_and_defaults() {
    let bundle = bundle(files());
    let surfaces = &bundle.surfaces().surfaces;
    let (pay, read) = (&surfaces[&"pay.charge".parse().unwrap()], &surfaces[&"fs.read".parse().unwrap()]);
    assert_eq!(
        (pay.idempotency, pay.permit_ttl_ms, pay.outcome_within_ms),
        (Idempotency::Key, 5_000, 60_000)
    );
    assert_eq!((read.idempotency, read.permit_ttl_ms), (Idempotency::None, 250));
    assert_eq!(read.actions, ["fs.read".parse().unwrap()]);
    let resource = read.resource.as_ref().unwrap();
    assert_eq!((resource.kind.as_str(), resource.id.as_str()), ("Surface", "fs.read"));

    let derived = edit(
        with(TOML, "idempotency = \"key\"", "idempotency = \"derived\"\nderived_window = \"10s\""),
        TOML,
        "permit_ttl = \"5s\"",
        "permit_ttl = \"5m\"\noutcome_within = \"60m\"",
    );
    let bundle = crate::testing::bundle(derived);
    let pay = &bundle.surfaces().surfaces[&"pay.charge".parse().unwrap()];
    assert_eq!((pay.derived_window_ms, pay.outcome_within_ms), (10_000, 3_600_000));
}

// --- bundle.toml -------------------------------------------------------------------------------------------

#[test]
fn unknown_keys_are_refused_everywhere() {
    let unknown = "unknown field";
    refuse(TOML, "version = 7", "version = 7\nowner = \"x\"", "bundle.toml:4: unknown field `owner`");
    refuse(TOML, "tier = \"critical\"", "tier = \"critical\"\nmode = \"open\"", unknown);
    refuse(TOML, "scale = 2,", "scale = 2, default = \"0.00\",", unknown);
    refuse(TOML, "id = \"a-1\" }", "id = \"a-1\", name = \"x\" }", unknown);
    refuse(TOML, "[surfaces.\"fs.read\"]", "[defaults]\nallow = true\n[surfaces.\"fs.read\"]", unknown);
    refuse(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"5s\"\npermit_ttl = \"5s\"", "duplicate key");
    refuse(TOML, "permit_ttl = \"5s\"", "permit_ttl = ", "bundle.toml:11: ");
}

#[test]
fn what_silence_does_is_said_whole_or_the_bundle_is_refused() {
    let terminate = "on_silence = \"terminate\"";
    let paused = |at_most: &str| format!("on_silence = \"pause\"\npause_at_most = \"{at_most}\"");
    refuse(TOML, terminate, "on_silence = \"pause\"", "needs `pause_at_most`");
    refuse(TOML, terminate, &paused("999ms"), "`pause_at_most` is not within 1s and 10m");
    refuse(TOML, terminate, &paused("601s"), "`pause_at_most` is not within 1s and 10m");
    let both = format!("{terminate}\npause_at_most = \"30s\"");
    refuse(TOML, terminate, &both, "goes with `on_silence = \"pause\"` only");
    let queue = "on_silence = \"queue\"";
    refuse(TOML, terminate, queue, "`on_silence = \"queue\"` is not built into this version");
    refuse(TOML, "on_silence = \"terminate\"", "on_silence = \"permit\"", "`permit` is no `on_silence`");
    refuse(TOML, "on_silence = \"terminate\"", "", "missing field `on_silence`");
}

#[test]
fn name_version_and_validity_are_strict() {
    for name in ["\"\"", "\"Test\"", "\"te st\"", "\"test\\n8\"", "\"-test\"", "7"] {
        assert!(matches!(
            fault(with(TOML, "name = \"test\"", &format!("name = {name}"))),
            Fault::Manifest { .. }
        ));
    }
    for version in ["0", "-1", "\"7\"", "7.0", "9007199254740992", "9223372036854775808"] {
        let files = with(TOML, "version = 7", &format!("version = {version}"));
        assert!(matches!(fault(files), Fault::Manifest { .. }), "{version}");
    }
    assert!(load(with(TOML, "version = 7", "version = 9007199254740991")).is_ok());
    let from = "valid_from = \"2026-01-01T00:00:00Z\"";
    for instant in ["2026-01-01T00:00:00+00:00", "2026-01-01", "2026-02-30T00:00:00Z", "soon"] {
        refuse(TOML, from, &format!("valid_from = \"{instant}\""), "is no instant");
    }
    refuse(TOML, from, "valid_from = 2026-01-01T00:00:00Z", "invalid type");
    refuse(TOML, from, "", "missing field `valid_from`");
    assert_eq!(fault(with(TOML, from, "valid_from = \"2026-02-01T00:00:00Z\"")), Fault::Validity);
    assert_eq!(fault(with(TOML, from, "valid_from = \"2026-02-01T00:00:00.001Z\"")), Fault::Validity);
    assert!(load(with(TOML, from, "valid_from = \"2026-01-31T23:59:59.999Z\"")).is_ok());
}

#[test]
fn durations_are_bounded() {
    let ttl = |text: &str| with(TOML, "permit_ttl = \"5s\"", &format!("permit_ttl = \"{text}\""));
    for good in ["100ms", "1m", "60s"] {
        assert!(load(ttl(good)).is_ok(), "{good}");
    }
    for bad in ["99ms", "0s", "6m", "301s", "1h", "1d"] {
        assert!(matches!(fault(ttl(bad)), Fault::Surface { .. }), "{bad}");
    }
    for bad in ["5", "", "5 s", "1w", "-5s", "1.5s"] {
        assert!(matches!(fault(ttl(bad)), Fault::Manifest { .. }), "{bad}");
    }
    refuse(TOML, "permit_ttl = \"5s\"", "", "missing field `permit_ttl`");
    let words = "`outcome_within` is not within";
    refuse(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"5s\"\noutcome_within = \"61m\"", words);
    refuse(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"5s\"\noutcome_within = \"4999ms\"", words);
    refuse(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"2m\"", words);
}

#[test]
fn idempotency_is_said_for_every_tier_but_read() {
    refuse(TOML, "idempotency = \"key\"", "", "`idempotency` must be given");
    for tier in ["high", "standard"] {
        let files = with(TOML, "tier = \"critical\"", &format!("tier = \"{tier}\""));
        assert!(load(files.clone()).is_ok());
        assert!(matches!(fault(edit(files, TOML, "idempotency = \"key\"", "")), Fault::Surface { .. }));
    }
    assert!(load(with(TOML, "idempotency = \"key\"", "idempotency = \"none\"")).is_ok());
    refuse(TOML, "idempotency = \"key\"", "idempotency = \"once\"", "unknown variant");
    refuse(TOML, "tier = \"critical\"", "tier = \"low\"", "unknown variant");
    let window = "idempotency = \"key\"\nderived_window = \"10s\"";
    refuse(TOML, "idempotency = \"key\"", window, "`derived_window` goes with");
    let window = "idempotency = \"derived\"\nderived_window = \"61m\"";
    refuse(TOML, "idempotency = \"key\"", window, "`derived_window` is not within");
}

#[test]
fn actions_belong_to_one_surface() {
    let actions = "actions = [\"charge\", \"refund\"]";
    assert_eq!(
        fault(with(TOML, actions, "actions = [\"charge\", \"refund\", \"fs.read\"]")),
        Fault::SharedAction {
            action: "fs.read".into(),
            first: "fs.read".into(),
            second: "pay.charge".into()
        }
    );
    refuse(TOML, actions, "actions = []", "`actions` is empty");
    refuse(TOML, actions, "actions = [\"charge\", \"charge\"]", "`actions` names one twice");
    refuse(TOML, actions, "actions = [\"charge\", \"\"]", "is not a valid action");
    refuse(TOML, "\"fs.read\"", "\"read\"", "is not a valid surface");
}

#[test]
fn context_rules_are_strict() {
    let amount = "{ type = \"decimal\", scale = 2, from = \"/amount\" }";
    refuse(TOML, amount, "{ type = \"decimal\", from = \"/amount\" }", "a decimal needs `scale`");
    refuse(TOML, amount, "{ type = \"decimal\", scale = 5, from = \"/amount\" }", "a decimal needs `scale`");
    refuse(TOML, amount, "{ type = \"float\", from = \"/amount\" }", "unknown variant");
    refuse(TOML, amount, "{ type = \"decimal\", scale = 2, from = \"amount\" }", "JSON Pointer");
    refuse(TOML, amount, "{ type = \"decimal\", scale = 2, from = \"/a~mount\" }", "JSON Pointer");
    refuse(TOML, "context.amount", "context.\"\"", "a context key is");
}

// --- schema and its agreement with the surfaces ------------------------------------------------------------

#[test]
fn every_file_is_there_and_parses() {
    for path in [SCHEMA, ENTITIES] {
        let mut files = files();
        files.remove(path);
        assert_eq!(fault(files), Fault::FileMissing, "{path}");
    }
    for path in [SCHEMA, ENTITIES, POLICY, TOML] {
        let mut files = files();
        files.insert(path.into(), b"// fine\n// fine\n\xff".to_vec());
        assert_eq!(defect(files), format!("{path}:3: not UTF-8"));
    }
    refuse(SCHEMA, "entity Surface;", "entity Surface", "schema.cedarschema:");
    refuse(SCHEMA, "owner?: Agent", "owner?: Person", "Person");
    refuse(POLICY, "when {", "when (", "policies/main.cedar:4: ");
}

#[test]
fn a_schema_is_complete() {
    let message = defect(with(SCHEMA, "entity Group;", "external entity Group;"));
    assert!(message.contains("schema.cedarschema"), "{message}");
}

#[test]
fn surfaces_and_actions_match_one_another() {
    assert_eq!(
        fault(with(TOML, "\"charge\", \"refund\"", "\"charge\", \"refund\", \"void\"")),
        Fault::ActionUndeclared { action: "void".into(), surface: "pay.charge".into() }
    );
    assert_eq!(
        fault(with(TOML, "\"charge\", \"refund\"", "\"charge\"")),
        Fault::ActionUnowned { action: "Action::\"refund\"".into() }
    );
    let scope = |what, kind: &str| Fault::ActionScope { action: "charge".into(), what, kind: kind.into() };
    let applies = "principal: Agent, resource: Account";
    assert_eq!(
        fault(with(SCHEMA, applies, "principal: Group, resource: Account")),
        scope("principal", "Agent")
    );
    assert_eq!(
        fault(with(SCHEMA, applies, "principal: Agent, resource: Group")),
        scope("resource", "Account")
    );
    // A group of actions cannot be asked for, so it cannot be a surface's.
    assert!(matches!(
        fault(with(TOML, "\"charge\", \"refund\"", "\"charge\", \"refund\", \"any\"")),
        Fault::ActionScope { .. }
    ));
    let namespaced = "namespace X { entity Bot; action \"pay\" appliesTo { principal: Bot, resource: Bot }; }\nentity Group;";
    assert_eq!(
        fault(with(SCHEMA, "entity Group;", namespaced)),
        Fault::ActionUnowned { action: "X::Action::\"pay\"".into() }
    );
}

fn context_fault(files: Files) -> String {
    let Fault::Context { action, key, schema, surface } = fault(files) else { panic!("the contexts agree") };
    format!("{action} {key}: {schema} / {surface}")
}

/// Incident 30: an argument that policy cannot see makes its guard degrade without a word.
#[test]
fn the_schemas_context_equals_the_surfaces() {
    let context = |from, to| context_fault(with(SCHEMA, from, to));
    let payment = "amount: decimal, count: Long, note?: String";
    for (to, expected) in [
        ("amount: decimal, count: Long", "charge note: no such key / `optional String`"),
        ("amount: decimal, count: Long, note: String", "charge note: `String` / `optional String`"),
        ("amount: decimal, count?: Long, note?: String", "charge count: `optional Long` / `Long`"),
        (
            "amount: decimal, count: Long, note?: String, extra?: Bool",
            "charge extra: `optional Bool` / no such key",
        ),
        ("amount: Long, count: Long, note?: String", "charge amount: `Long` / `decimal`"),
        (
            "amount: decimal, count: Long, note?: Agent",
            "charge note: `optional entity Agent` / `optional String`",
        ),
        (
            "amount: decimal, count: Long, note?: { a: String }",
            "charge note: `optional a type that no surface has` / `optional String`",
        ),
    ] {
        // Policies must not be what refuses it.
        let files = edit(with_policies(""), SCHEMA, payment, to);
        assert_eq!(context_fault(files), expected);
    }
    assert_eq!(
        context("tags?: Set<String>", "tags?: Set<Long>"),
        "fs.read tags: `optional Set<Long>` / `optional Set<String>`"
    );
    assert_eq!(context("dry?: Bool", "dry?: String"), "fs.read dry: `optional String` / `optional Bool`");
    assert_eq!(context("{ path: String, ", "{ "), "fs.read path: no such key / `String`");
}

/// A common type may stand for a type, in the context as a whole and in it, and under a built-in's name.
#[test]
fn common_types_are_resolved() {
    let named = "type Money = decimal;\ntype Payment = { amount: Money, count: N::Count, note?: __cedar::String };\nnamespace N { type Count = Long; }";
    let good = with(SCHEMA, "type Payment = { amount: decimal, count: Long, note?: String };", named);
    assert!(load(good.clone()).is_ok());
    let bad = edit(good, SCHEMA, "type Money = decimal;", "type Money = Long;");
    assert!(matches!(fault(bad), Fault::Context { .. }));
    let shadowed = with(SCHEMA, "entity Group;", "type decimal = Long;\nentity Group;");
    let message = defect(shadowed);
    assert!(message.contains("context `amount`") || message.contains("decimal"), "{message}");
}

#[test]
fn a_surface_without_context_has_an_action_without_context() {
    let files = edit(
        edit(
            with(
                TOML,
                "[surfaces.\"fs.read\"]",
                "[surfaces.\"fs.ping\"]\ntier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"5s\"\n\n[surfaces.\"fs.read\"]",
            ),
            SCHEMA,
            "action \"any\";",
            "action \"any\";\naction \"fs.ping\" appliesTo { principal: Agent, resource: Surface };",
        ),
        POLICY,
        "@id(\"may-read\")",
        "@id(\"may-ping\") permit (principal, action == Action::\"fs.ping\", resource);\n@id(\"may-read\")",
    );
    let bundle = bundle(files);
    let ping = |context| {
        let request = crate::testing::request("bot", "fs.ping", "fs.ping", "Surface:fs.ping", context);
        crate::testing::said(&bundle.evaluate(&request))
    };
    assert_eq!(ping("{}"), "PERMIT may-ping");
    assert_eq!(ping(r#"{"path":"/a"}"#), "surface.context");
}

// --- entities ----------------------------------------------------------------------------------------------

#[test]
fn entities_are_unique_and_fit_the_schema() {
    let bot = "{ \"uid\": { \"type\": \"Agent\", \"id\": \"bot\" }, \"attrs\": {}, \"parents\": [] },";
    // Cedar takes two equal ones for one.
    assert_eq!(
        fault(with(ENTITIES, bot, &format!("{bot}{bot}"))),
        Fault::EntityTwice { entity: "Agent::\"bot\"".into() }
    );
    refuse(
        ENTITIES,
        "\"attrs\": {}, \"parents\": [] }\n]",
        "\"attrs\": {\"x\": 1}, \"parents\": [] }\n]",
        "x",
    );
    refuse(ENTITIES, "\"type\": \"Account\"", "\"type\": \"Wallet\"", "Wallet");
    refuse(
        ENTITIES,
        "\"id\": \"bot\" }, \"attrs\": {}",
        "\"id\": \"bot\" }, \"attrs\": {}, \"attrs\": {}",
        "occurs twice in one object",
    );
    refuse(ENTITIES, "\"attrs\": {}", "\"attrs\": {\"n\": 1.5}", "fraction");
    refuse(ENTITIES, "\"parents\": []", "\"children\": []", "has the key `children`");
    refuse(ENTITIES, ", \"parents\": []", "", "has no array `parents`");
    refuse(ENTITIES, "\"parents\": []", "\"parents\": [], \"groups\": []", "has the key `groups`");
    refuse(
        ENTITIES,
        "\"id\": \"suspended\" }]",
        "\"id\": \"suspended\", \"if\": false }]",
        "a parent is not of the form",
    );
    refuse(
        ENTITIES,
        "{ \"type\": \"Account\", \"id\": \"a-1\" }",
        "\"Account::a-1\"",
        "`uid` is not of the form",
    );
    refuse(
        ENTITIES,
        "{ \"type\": \"Account\", \"id\": \"a-1\" }",
        "{\"__entity\": { \"type\": \"Account\", \"id\": \"a-1\" }}",
        "`uid` is not of the form",
    );
    assert_eq!(defect(insert(ENTITIES, "[\n{]")), "entities.json:2: not JSON at line 2, column 2");
    assert_eq!(defect(insert(ENTITIES, "{}")), "entities.json: not an array of entities");
}

/// Membership in, or through, an entity that is not there is false without an error.
#[test]
fn every_entity_that_is_named_is_there() {
    let absent = |files: Files| {
        let Fault::EntityAbsent { entity, by } = fault(files) else { panic!("nothing is absent") };
        format!("{by}: {entity}")
    };
    let group =
        "{ \"uid\": { \"type\": \"Group\", \"id\": \"suspended\" }, \"attrs\": {}, \"parents\": [] },";
    assert_eq!(absent(with(ENTITIES, group, "")), "entity `Agent::\"rogue\"`: Group::\"suspended\"");
    let misspelt = with(POLICY, "Group::\"suspended\"", "Group::\"suspnded\"");
    assert_eq!(absent(misspelt), "policy `no-suspended`: Group::\"suspnded\"");
    let owner =
        "\"id\": \"bot\" }, \"attrs\": {\"owner\": {\"__entity\": {\"type\": \"Agent\", \"id\": \"ghost\"}}}";
    assert_eq!(
        absent(with(ENTITIES, "\"id\": \"bot\" }, \"attrs\": {}", owner)),
        "entity `Agent::\"bot\"`: Agent::\"ghost\""
    );
    assert_eq!(absent(with(TOML, "id = \"a-1\"", "id = \"a-2\"")), "surface `pay.charge`: Account::\"a-2\"");
}

#[test]
fn surfaces_need_not_be_entities_but_may_be() {
    let own =
        "[\n{ \"uid\": { \"type\": \"Surface\", \"id\": \"fs.read\" }, \"attrs\": {}, \"parents\": [] },";
    assert!(load(with(ENTITIES, "[\n", own)).is_ok());
    // A surface with attributes cannot be made up.
    let needy = with(SCHEMA, "entity Surface;", "entity Surface = { owner: String };");
    assert!(matches!(fault(needy), Fault::Entities { .. }));
}

// --- policies ----------------------------------------------------------------------------------------------

#[test]
fn every_policy_has_a_name_of_its_own() {
    let unnamed = "@id(\"a\") permit (principal, action, resource);\n\npermit (principal, action, resource);";
    assert_eq!(fault(with_policies(unnamed)), Fault::PolicyUnnamed);
    assert_eq!(defect(with_policies(unnamed)), "policies/main.cedar:3: a policy has no `@id`");
    for id in ["@id(\"\")", "@id", "@id(\"a\\nb\")"] {
        let policies = format!("{id} permit (principal, action, resource);");
        assert!(matches!(fault(with_policies(&policies)), Fault::PolicyName { .. }), "{id}");
    }
    let twice = "@id(\"a\") permit (principal, action, resource);";
    let within = with_policies(&format!("{twice}\n{twice}"));
    assert!(matches!(fault(within), Fault::PolicyTwice { .. }));
    let mut across = with_policies(twice);
    across.insert("policies/other.cedar".into(), twice.replace("permit", "forbid").into_bytes());
    assert_eq!(defect(across), "policies/other.cedar:1: policy `a` is also in `policies/main.cedar`");
}

#[test]
fn an_unknown_annotation_is_refused() {
    let policies = "@id(\"a\")\n@require_approval(\"two\")\npermit (principal, action, resource);";
    assert_eq!(
        fault(with_policies(policies)),
        Fault::Annotation { policy: "a".into(), annotation: "require_approval".into() }
    );
}

#[test]
fn templates_are_refused() {
    let policies = "@id(\"a\") permit (principal == ?principal, action, resource);";
    assert_eq!(fault(with_policies(policies)), Fault::Template);
}

#[test]
fn policies_pass_strict_validation() {
    for policies in [
        // A key that the context does not have, or only sometimes has.
        "@id(\"a\") forbid (principal, action == Action::\"charge\", resource) when { context.amuont == decimal(\"1.00\") };",
        "@id(\"a\") forbid (principal, action == Action::\"charge\", resource) when { context.note == \"x\" };",
        // Of another type.
        "@id(\"a\") forbid (principal, action == Action::\"charge\", resource) when { context.amount > 5 };",
        "@id(\"a\") forbid (principal, action == Action::\"charge\", resource) when { context.count == \"1\" };",
        // Types and actions that the schema does not have.
        "@id(\"a\") permit (principal == User::\"bot\", action, resource);",
        "@id(\"a\") permit (principal, action == Action::\"pay\", resource);",
        // A decimal that would be parsed from what a request says.
        "@id(\"a\") permit (principal, action == Action::\"fs.read\", resource) when { decimal(context.path) == decimal(\"1.00\") };",
    ] {
        let fault = fault(with_policies(policies));
        assert!(matches!(fault, Fault::Validation { .. }), "{policies}: {fault}");
    }
    let second = "@id(\"a\") permit (principal, action, resource);\n\n@id(\"b\") forbid (principal, action == Action::\"charge\", resource)\nwhen { context.count == \"1\" };";
    let message = defect(with_policies(second));
    assert!(message.starts_with("policies/main.cedar:4: ") && message.contains("`b`"), "{message}");
}

/// The first defect is the same in every run, whatever order a hash map has.
#[test]
fn a_bundle_with_many_defects_is_refused_for_the_same_one() {
    let policies: String =
        (0..20).map(|n| format!("@x{n} permit (principal, action, resource);\n")).collect();
    let first = defect(with_policies(&policies));
    assert_eq!(first, "policies/main.cedar:1: a policy has no `@id`");
    let invalid: String = (10..40)
        .map(|n| format!("@id(\"p{n}\") permit (principal == User{n}::\"x\", action, resource);\n"))
        .collect();
    let first = defect(with_policies(&invalid));
    assert!((0..5).all(|_| defect(with_policies(&invalid)) == first), "{first}");
}

/// Impossible policies load, and their author is told.
#[test]
fn warnings_are_in_the_report() {
    let policies = "@id(\"a\") permit (principal, action, resource) when { false };";
    let report = Snapshot::from_files(with_policies(policies)).unwrap().check().unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("`a`")), "{:?}", report.warnings);
    let report = Snapshot::from_files(with_policies("")).unwrap().check().unwrap();
    assert_eq!(report.warnings, ["the bundle has no policy: it grants nothing"]);
}

#[test]
fn what_is_kept_is_what_a_surface_says_and_arguments_are_kept_with_their_request() {
    const KEYED: &str = "idempotency = \"key\"";
    let keep = |said: &str| {
        let bundle = bundle(with(TOML, KEYED, &format!("{KEYED}\n{said}")));
        let keep = bundle.surfaces().surfaces[&"pay.charge".parse().unwrap()].keep;
        (keep.request, keep.result, keep.arguments)
    };
    assert_eq!(keep(""), (true, true, false));
    assert_eq!(keep("keep = []"), (false, false, false));
    assert_eq!(keep("keep = [\"arguments\"]"), (true, false, true), "what they are of is kept with them");
    assert_eq!(
        keep("keep = [\"request\", \"result\", \"arguments\"]\nkeep_for = \"7d\""),
        (true, true, true)
    );
    for twice in ["[\"result\", \"result\"]", "[\"arguments\", \"request\", \"arguments\"]"] {
        refuse(TOML, KEYED, &format!("{KEYED}\nkeep = {twice}"), "names one twice");
    }
    refuse(TOML, KEYED, &format!("{KEYED}\nkeep = [\"argument\"]"), "unknown variant");
    refuse(TOML, KEYED, &format!("{KEYED}\nkeep = []\nkeep_for = \"7d\""), "something that is kept");
}
