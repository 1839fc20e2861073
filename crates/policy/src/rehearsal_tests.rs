use portcullis_protocol::{CalledTool, ToolDefinition, ToolSeen};

use super::*;
use crate::files::Files;
use crate::testing::{charge, edit, files, with};

const TOML: &str = "bundle.toml";
const READ: &str = r#"{"name":"read"}"#;

fn rehearsed(files: Files) -> Rehearsal {
    Snapshot::from_files(files).unwrap().rehearse().unwrap()
}

fn limited(limit: &str) -> Files {
    with(TOML, "[roster.people.ada]", &format!("{limit}\n[roster.people.ada]"))
}

const LIMIT: &str =
    "[limits.few]\nkind = \"count\"\nsurfaces = [\"pay.charge\"]\nmax = 1000\nwindow = { fixed = \"1h\" }";

/// A limit of 1 in the place of 1,000 was "unchanged", for all that was asked.
#[test]
fn what_binds_a_permit_beside_policy_is_told_apart_surface_by_surface() {
    let ask = charge("bot", "1.00").ask;
    let alike = |old: Files, new: Files| {
        let (old, new) = (rehearsed(old), rehearsed(new));
        assert_eq!(old.binds_alike(&new, &ask), new.binds_alike(&old, &ask));
        old.binds_alike(&new, &ask)
    };
    assert!(alike(files(), files()) && alike(limited(LIMIT), limited(LIMIT)));
    for (from, to) in [
        ("tier = \"critical\"", "tier = \"high\""),
        ("idempotency = \"key\"", "idempotency = \"derived\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"6s\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"5s\"\noutcome_within = \"2m\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"5s\"\nwitnessed = true"),
    ] {
        assert!(!alike(files(), with(TOML, from, to)), "{to}");
    }
    let derived = |window: &str| {
        let to = format!("idempotency = \"derived\"\nderived_window = \"{window}\"");
        with(TOML, "idempotency = \"key\"", &to)
    };
    assert!(alike(derived("2m"), derived("2m")) && !alike(derived("2m"), derived("3m")));
    for limit in [
        LIMIT.replace("1000", "1"),
        LIMIT.replace("1h", "2h"),
        LIMIT.replace("few", "fewer"),
        LIMIT.replace("\"pay.charge\"", "\"pay.charge\", \"fs.read\""),
        String::new(),
    ] {
        assert!(!alike(limited(LIMIT), limited(&limit)), "{limit}");
    }
    // What is about other surfaces alone, and what policy says, is nothing here.
    let elsewhere = LIMIT.replace("pay.charge", "fs.read");
    assert!(alike(files(), limited(&elsewhere)) && alike(limited(&elsewhere), files()));
    assert!(alike(files(), with(TOML, "permit_ttl = \"250ms\"", "permit_ttl = \"1s\"")));
    assert!(alike(files(), with("policies/main.cedar", "\"100.00\"", "\"200.00\"")));
    assert!(alike(files(), with(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"5s\"\nkeep = []")));
}

#[test]
fn pins_bind_alike_where_they_judge_the_tool_that_was_seen_alike() {
    let pinned = |text: &str| {
        let tool = ToolDefinition::parse(text.as_bytes()).unwrap();
        let pinned = crate::PinnedTools::new("pay", [tool]).unwrap();
        let mut files = files();
        files.insert("tools/pay.json".to_owned(), pinned.to_file("pay").unwrap());
        rehearsed(files)
    };
    let seen = |text: &str| {
        let digest = ToolDefinition::parse(text.as_bytes()).unwrap().digest();
        let mut ask = charge("bot", "1.00").ask;
        ask.tool =
            Some(CalledTool { name: "pay/read".parse().unwrap(), definition: ToolSeen::Defined(digest) });
        ask
    };
    let other = r#"{"name":"read","description":"Reads."}"#;
    let (none, one, two) = (rehearsed(files()), pinned(READ), pinned(other));
    assert!(none.binds_alike(&one, &seen(READ)), "pinned as it was seen");
    assert!(!none.binds_alike(&two, &seen(READ)) && !one.binds_alike(&two, &seen(READ)));
    assert!(one.binds_alike(&pinned(READ), &seen(other)), "refused by both");
    let required = "[mcp]\nrequire_pins = true\n[roster.people.ada]";
    let required = rehearsed(edit(files(), TOML, "[roster.people.ada]", required));
    assert!(!none.binds_alike(&required, &seen(READ)), "of a server without pins");
    // Who asks without a gate calls no tool.
    assert!(none.binds_alike(&required, &charge("bot", "1.00").ask));
}

/// A bundle that was made for an activation to come said nothing but that it is not valid yet of all that is on record.
#[test]
fn a_bundle_is_asked_about_times_at_which_it_is_not_valid() {
    let bundle = rehearsed(files());
    let (request, labels) = (charge("bot", "1.00"), BTreeSet::new());
    let early = Some(Millis(1));
    let said = |(evaluation, _): (Evaluation, Option<Excepted>)| crate::testing::said(&evaluation);
    assert_eq!(said(bundle.evaluate(&request, &labels, early, None)), "policy.not_yet_valid");
    assert_eq!(said(bundle.evaluate_as_valid(&request, &labels, early, None)), "PERMIT may-charge");
}
