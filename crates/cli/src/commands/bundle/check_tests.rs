//! What `bundle check` says of typical mistakes, as it is read.

use std::collections::BTreeMap;

use annotate_snippets::Renderer;
use portcullis_policy::{Snapshot, bundles};

use super::{found_json, rendered, text};

type Files = BTreeMap<String, Vec<u8>>;

const MANIFEST: &str = "bundle.toml";
const SCHEMA: &str = "schema.cedarschema";
const ENTITIES: &str = "entities.json";
const POLICIES: &str = "policies/demo.cedar";
const CASES: &str = "tests/demo.toml";

/// The demo's bundle with one thing replaced by another, the first time that it occurs.
fn with(path: &str, from: &str, to: &str) -> Files {
    let mut files = bundles::demo();
    let text = String::from_utf8(files[path].clone()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    files.insert(path.to_owned(), text.replacen(from, to, 1).into_bytes());
    files
}

fn said(files: &Files) -> String {
    let snapshot = Snapshot::from_files(files.clone()).unwrap();
    let found = snapshot.diagnose().expect_err("this bundle loads");
    let renderer = Renderer::plain();
    let shown: Vec<_> =
        found.iter().map(|found| rendered(&renderer, text(&snapshot, &found.file), found)).collect();
    shown.join("\n\n")
}

/// Each mistake, and what is said of it.
fn table(mistakes: &[(&str, Files)]) -> String {
    let told = mistakes.iter().map(|(mistake, files)| format!("== {mistake}\n{}\n\n", said(files)));
    told.collect()
}

#[test]
fn mistakes_in_the_manifest() {
    let more = |text: &str| {
        let mut files = bundles::demo();
        files.get_mut(MANIFEST).unwrap().extend_from_slice(text.as_bytes());
        files
    };
    let told = table(&[
        ("a misspelt key", with(MANIFEST, "on_silence", "on_silense")),
        ("a value of another type", with(MANIFEST, "version = 1", "version = \"1\"")),
        ("no such tier", with(MANIFEST, "tier = \"read\"", "tier = \"reading\"")),
        ("a missing key", with(MANIFEST, "permit_ttl = \"5s\"\n", "")),
        ("a quotation mark that is not closed", with(MANIFEST, "name = \"demo\"", "name = \"demo")),
        ("a key twice", with(MANIFEST, "version = 1", "version = 1\nversion = 2")),
        ("a name that is none", with(MANIFEST, "name = \"demo\"", "name = \"Demo\"")),
        ("no such date", with(MANIFEST, "2099-01-01", "2099-02-30")),
        ("an end before the beginning", with(MANIFEST, "2099", "2020")),
        ("a duration out of bounds", with(MANIFEST, "permit_ttl = \"5s\"", "permit_ttl = \"5h\"")),
        ("a scale that is none", with(MANIFEST, "scale = 2", "scale = 9")),
        ("a section that is not built in", more("\n[[exceptions]]\nsurface = \"demo.charge\"\n")),
        (
            "a limit on what is not there",
            more(
                "\n[limits.many]\nkind = \"count\"\nsurfaces = [\"demo.chrage\"]\nwindow = { sliding = \"1d\" }\nmax = 5\n",
            ),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn mistakes_in_the_schema() {
    let told = table(&[
        ("no semicolon", with(SCHEMA, "entity Agent;", "entity Agent")),
        ("an unknown type", with(SCHEMA, "account: String }", "account: Strnig }")),
        ("an action that no surface has", with(SCHEMA, "\"demo.charge\"", "\"demo.chrage\"")),
        ("a context that differs from the surface's", with(SCHEMA, "amount: decimal", "amount: Long")),
        (
            "a resource that does not apply",
            with(
                SCHEMA,
                "resource: Surface, context: { account: String, ",
                "resource: Agent, context: { account: String, ",
            ),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn mistakes_in_policies() {
    let told = table(&[
        ("no semicolon", with(POLICIES, "  resource\n);", "  resource\n)")),
        (
            "no comma",
            with(POLICIES, "principal == Agent::\"demo-agent\",", "principal == Agent::\"demo-agent\""),
        ),
        ("an unknown action", with(POLICIES, "Action::\"demo.charge\"", "Action::\"demo.chrage\"")),
        ("an unknown attribute", with(POLICIES, "context.amount.greater", "context.amonut.greater")),
        ("an unknown function", with(POLICIES, "lessThanOrEqual", "lessOrEqual")),
        ("an operator of another language", with(POLICIES, "&&", "and")),
        ("an assignment", with(POLICIES, "principal == Agent", "principal = Agent")),
        ("no @id", with(POLICIES, "@id(\"demo-read\")\n", "")),
        ("an unknown annotation", with(POLICIES, "@id(\"demo-read\")", "@id(\"demo-read\")\n@witnesed")),
        (
            "an annotation with half of what it takes",
            with(POLICIES, "@id(\"demo-read\")", "@id(\"demo-read\")\n@approval_quorum(\"2\")"),
        ),
        ("an @id twice", with(POLICIES, "demo-small-charge", "demo-read")),
        ("an unknown entity", with(POLICIES, "Agent::\"demo-agent\"", "Agent::\"demo-agnet\"")),
        ("an unknown entity type", with(POLICIES, "principal,\n", "principal in Group::\"suspended\",\n")),
        ("a template", with(POLICIES, "principal == Agent::\"demo-agent\"", "principal == ?principal")),
        (
            "a label that is not declared",
            with(POLICIES, "@id(\"demo-read\")", "@id(\"demo-read\")\n@adds_label(\"secret\")"),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn mistakes_in_entities_and_cases() {
    let mut invariants = bundles::demo();
    let text = "@id(\"never\")\nforbid (principal, action, resource);\n\n@id(\"odd\")\n@sentence(\"x\")\n@unless(\"asked\")\n\
        forbid (principal, action == Action::\"demo.chrage\", resource);\n";
    invariants.insert("invariants/demo.cedar".to_owned(), text.as_bytes().to_vec());
    let told = table(&[
        ("a comma too many", with(ENTITIES, "[] }\n]", "[] },\n]")),
        ("an unknown key", with(ENTITIES, "\"parents\"", "\"parent\"")),
        ("an entity twice", with(ENTITIES, "stranger-agent", "demo-agent")),
        (
            "an attribute that the schema does not have",
            with(ENTITIES, "\"attrs\": {}", "\"attrs\": { \"level\": 1 }"),
        ),
        (
            "an entity type that the schema does not have",
            with(ENTITIES, "\"Agent\", \"id\": \"stranger", "\"Aegnt\", \"id\": \"stranger"),
        ),
        ("a misspelt key in a case", with(CASES, "surface =", "surfaec =")),
        (
            "a permit with a reason",
            with(CASES, "expect = \"permit\"\n", "expect = \"permit\"\nreason = \"policy.no_grant\"\n"),
        ),
        (
            "two cases of one name",
            with(CASES, "a stranger reads nothing", "the demo's agent reads a balance"),
        ),
        ("an invariant that says nothing, and one about nothing", invariants),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_caret_stands_under_its_words_behind_tabs_and_wide_letters() {
    let shown = said(&with(
        POLICIES,
        "  context.amount.greater",
        "\t\"寿é\u{1f600}\" == \"x\" || context.amonut.greater",
    ));
    let lines: Vec<&str> = shown.lines().collect();
    let source = lines.iter().position(|line| line.contains("context.amonut")).unwrap();
    // Wide characters take two columns of a terminal.
    let columns =
        |text: &str| text.chars().map(|c| if matches!(c, '寿' | '\u{1f600}') { 2 } else { 1 }).sum::<usize>();
    let before = |line: &str, mark: &str| columns(&line[..line.find(mark).unwrap()]);
    assert_eq!(before(lines[source + 1], "^"), before(lines[source], "context.amonut"), "{shown}");
}

#[test]
fn nothing_of_a_bundle_steers_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    for files in [
        with(POLICIES, "context.amount.greater", &format!("context[\"{hostile}\"].greater")),
        with(
            POLICIES,
            "@id(\"demo-read\")",
            &format!("@id(\"demo-read\") // {hostile}\n@odd(\"{hostile}\")"),
        ),
        with(MANIFEST, "name = \"demo\"", &format!("name = \"{hostile}\"")),
        with(ENTITIES, "stranger-agent", hostile),
        with(CASES, "expect = \"permit\"", &format!("expect = \"{hostile}\"")),
    ] {
        let shown = said(&files);
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(steers), "{shown:?}");
    }
}

#[test]
fn json_has_lines_columns_and_lengths() {
    let snapshot =
        Snapshot::from_files(with(POLICIES, "context.amount.greater", "context.amonut.greater")).unwrap();
    let found = snapshot.diagnose().unwrap_err();
    let told = found_json(&snapshot, &found[0]);
    assert_eq!(
        (&told["file"], &told["line"], &told["column"], &told["length"]),
        (&POLICIES.into(), &16.into(), &3.into(), &43.into()),
        "{told}"
    );
    assert!(told["message"].as_str().unwrap().contains("amonut"), "{told}");
    assert!(told["help"].as_str().unwrap().contains("amount"), "{told}");
}
