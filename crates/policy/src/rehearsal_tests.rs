use portcullis_protocol::{ArgumentsSeen, CalledTool, ToolDefinition, ToolSeen};

use super::*;
use crate::files::Files;
use crate::testing::{GIVEN, charge, files, with};
use crate::trial::facts::tests::tried;

const TOML: &str = "bundle.toml";
const READ: &str = r#"{"name":"read"}"#;
const OTHER: &str = r#"{"name":"read","description":"Reads."}"#;

fn rehearsed(files: Files) -> Rehearsal {
    Snapshot::from_files(files).unwrap().rehearse().unwrap()
}

/// Terms of a surface that differ were "unchanged", for all that was asked.
#[test]
fn the_terms_of_a_permit_are_told_apart_surface_by_surface() {
    let surface = charge("bot", "1.00").ask.surface;
    let alike = |old: Files, new: Files| {
        let (old, new) = (rehearsed(old), rehearsed(new));
        assert_eq!(old.binds_alike(&new, &surface), new.binds_alike(&old, &surface));
        old.binds_alike(&new, &surface)
    };
    assert!(alike(files(), files()));
    for (from, to) in [
        ("tier = \"critical\"", "tier = \"high\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"6s\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"5s\"\noutcome_within = \"2m\""),
        ("permit_ttl = \"5s\"", "permit_ttl = \"5s\"\nwitnessed = true"),
    ] {
        assert!(!alike(files(), with(TOML, from, to)), "{to}");
    }
    // What is about other surfaces alone, and what decides, is nothing here.
    assert!(alike(files(), with(TOML, "permit_ttl = \"250ms\"", "permit_ttl = \"1s\"")));
    assert!(alike(files(), with("policies/main.cedar", "\"100.00\"", "\"200.00\"")));
    assert!(alike(files(), with(TOML, "permit_ttl = \"5s\"", "permit_ttl = \"5s\"\nkeep = []")));
    assert!(alike(files(), with(TOML, "idempotency = \"key\"", "idempotency = \"derived\"")));
}

/// A gate whose bundle pins nothing says nothing of tools: under one that does it would have, and nobody knows what.
#[test]
fn a_call_of_whose_tool_nothing_was_said_cannot_be_held_against_pins() {
    let pinned = |text: &str| {
        let tool = ToolDefinition::parse(text.as_bytes()).unwrap();
        let pinned = crate::PinnedTools::new("pay", [tool]).unwrap();
        let mut files = files();
        files.insert("tools/pay.json".to_owned(), pinned.to_file("pay").unwrap());
        rehearsed(files)
    };
    let (none, one) = (rehearsed(files()), pinned(READ));
    let mut ask = charge("bot", "1.00").ask;
    // Who asks without a gate calls no tool.
    assert!(none.shows_tools_for(&one, &ask));
    ask.mapped_with = none.content().surfaces_digest();
    assert!(ask.mapped_with.is_some() && !none.shows_tools_for(&one, &ask));
    assert!(none.shows_tools_for(&none, &ask) && one.shows_tools_for(&pinned(OTHER), &ask));
    let digest = ToolDefinition::parse(READ.as_bytes()).unwrap().digest();
    let name = "pay/read".parse().unwrap();
    let definition = ToolSeen::Defined(digest);
    ask.tool = Some(CalledTool { name, definition, arguments: Some(ArgumentsSeen::Fit) });
    assert!(none.shows_tools_for(&one, &ask) && none.shows_tools_for(&pinned(OTHER), &ask));
}

/// A gate holds arguments against the pinned definition alone: of a call that was seen otherwise nobody knows how they would have fitted.
#[test]
fn a_call_whose_arguments_nobody_held_against_a_schema_is_not_simulated_under_one() {
    let pinned = |text: &str| {
        let tool = ToolDefinition::parse(text.as_bytes()).unwrap();
        let pinned = crate::PinnedTools::new("pay", [tool]).unwrap();
        let mut files = files();
        files.insert("tools/pay.json".to_owned(), pinned.to_file("pay").unwrap());
        rehearsed(files)
    };
    let (none, one, other) = (rehearsed(files()), pinned(READ), pinned(OTHER));
    let mut ask = charge("bot", "1.00").ask;
    ask.mapped_with = none.content().surfaces_digest();
    let seen = |text: &str| ToolSeen::Defined(ToolDefinition::parse(text.as_bytes()).unwrap().digest());
    let mut called = |definition, arguments| {
        ask.tool = Some(CalledTool { name: "pay/read".parse().unwrap(), definition, arguments });
        ask.clone()
    };
    let unheld = called(seen(READ), None);
    assert!(!none.shows_tools_for(&one, &unheld) && !other.shows_tools_for(&one, &unheld));
    assert!(none.shows_tools_for(&none, &unheld), "nobody asks for it");
    assert!(none.shows_tools_for(&other, &unheld), "refused whatever they are");
    assert!(
        one.shows_tools_for(&one, &unheld),
        "a gate that does not look would not have under the other either"
    );
    assert!(one.shows_tools_for(&one, &called(seen(READ), Some(ArgumentsSeen::Unfit))));
}

#[test]
fn facts_of_cases_are_those_of_the_files_that_are_named_and_none_is_made_up() {
    let rehearsal = rehearsed(tried(GIVEN));
    let [directory, other]: [SourceName; 2] = ["directory", "other"].map(|name| name.parse().unwrap());
    let given = rehearsal.facts_of_cases(&BTreeMap::new(), Millis(7)).unwrap();
    assert_eq!(given.keys().collect::<Vec<_>>(), [&directory]);
    assert_eq!(given[&directory].as_of(), Millis(7));
    assert!(rehearsal.gather(&given, None).is_ok());
    let named = |source: &SourceName, file: &str| BTreeMap::from([(source.clone(), file.to_owned())]);
    assert_eq!(rehearsal.facts_of_cases(&named(&directory, "directory"), Millis(7)), Some(given.clone()));
    assert_eq!(rehearsal.facts_of_cases(&named(&directory, "nobody"), Millis(7)), None);
    assert_eq!(rehearsal.facts_of_cases(&named(&other, "nobody"), Millis(7)), Some(given), "no source of it");
    assert_eq!(rehearsed(files()).facts_of_cases(&BTreeMap::new(), Millis(7)), Some(Given::new()));
}
