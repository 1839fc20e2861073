use proptest::prelude::*;

use super::{Diagnosis, Position};
use crate::Snapshot;
use crate::files::Files;
use crate::testing::{files, with};

fn diagnose(files: Files) -> Vec<Diagnosis> {
    Snapshot::from_files(files).unwrap().diagnose().unwrap_err()
}

/// What of the file each finding points at, and where.
fn places(files: &Files) -> Vec<(String, Position)> {
    let found = diagnose(files.clone());
    let place = |found: &Diagnosis| {
        let label = found.labels.first().unwrap_or_else(|| panic!("no place: {found:?}"));
        let text = str::from_utf8(&files[&found.file]).unwrap();
        (text[label.span.clone()].to_owned(), label.position(text))
    };
    found.iter().map(place).collect()
}

fn points_at(files: &Files, expected: &str) {
    let places = places(files);
    assert!(places.iter().any(|(text, _)| text == expected), "`{expected}` is not among {places:?}");
}

#[test]
fn a_sound_bundle_has_no_findings() {
    let snapshot = Snapshot::from_files(files()).unwrap();
    assert_eq!(snapshot.diagnose().unwrap(), snapshot.check().unwrap());
}

#[test]
fn a_finding_points_at_the_words_that_are_wrong() {
    points_at(&with("bundle.toml", "tier = \"critical\"", "teir = \"critical\""), "teir");
    points_at(&with("bundle.toml", "permit_ttl = \"5s\"", "permit_ttl = \"9m\""), "permit_ttl");
    points_at(
        &with("bundle.toml", "actions = [\"charge\", \"refund\"]", "actions = [\"change\", \"refund\"]"),
        "\"pay.charge\"",
    );
    points_at(&with("schema.cedarschema", "count: Long", "count: String"), "count");
    points_at(&with("schema.cedarschema", "entity Surface;", "entity Surface"), "entity");
    points_at(
        &with(
            "entities.json",
            "{ \"type\": \"Group\", \"id\": \"suspended\" }]",
            "{ \"type\": \"Group\", \"id\": \"suspendet\" }]",
        ),
        "\"suspendet\"",
    );
    points_at(&with("policies/main.cedar", "@id(\"may-read\")", "@ip(\"may-read\")"), "@ip(\"may-read\")");
    points_at(
        &with("policies/main.cedar", "@id(\"may-read\")", "@id(\"may-charge\")"),
        "@id(\"may-charge\")",
    );
    points_at(
        &with("policies/main.cedar", "Group::\"suspended\"", "Group::\"suspendet\""),
        "Group::\"suspendet\"",
    );
    points_at(&with("policies/main.cedar", "context.path like", "context.paht like"), "context.paht");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut files = with("policies/main.cedar", "context.path like", "context.paht like");
    files = crate::testing::edit(files, "policies/main.cedar", "context.amount.", "context.amuont.");
    files = crate::testing::edit(
        files,
        "entities.json",
        "\"attrs\": {}, \"parents\": []",
        "\"attr\": {}, \"parents\": []",
    );
    files.insert("tests/a.toml".to_owned(), b"[[case]]\nnmae = \"x\"\n".to_vec());
    let found = diagnose(files);
    let told: Vec<_> = found.iter().map(|found| found.file.as_str()).collect();
    assert_eq!(
        told,
        ["entities.json", "policies/main.cedar", "policies/main.cedar", "tests/a.toml"],
        "{found:#?}"
    );
}

#[test]
fn places_are_counted_in_characters_and_tabs_are_one() {
    let files =
        with("policies/main.cedar", "when { context.path", "when { \"é\u{1f600}\" == \"\" ||\tcontext.paht");
    let at = places(&files).into_iter().find(|(text, _)| text == "context.paht").unwrap().1;
    assert_eq!((at.line, at.length), (7, 12));
    let text = String::from_utf8(files["policies/main.cedar"].clone()).unwrap();
    let line = text.lines().nth(6).unwrap();
    assert_eq!(line.chars().skip(at.column - 1).take(at.length).collect::<String>(), "context.paht");
}

/// Every shipped and planted bundle, cut or changed anywhere.
fn damaged() -> impl Strategy<Value = Files> {
    let bundles = prop::sample::select(vec![crate::bundles::starter(), crate::bundles::demo(), files()]);
    let part = prop::sample::select(vec![
        "",
        "\"",
        "}",
        "]",
        "\u{0}",
        "\u{202e}é",
        "\n",
        "x",
        "@",
        ";",
        "forbid",
        "1.5",
        "[[",
    ]);
    (bundles, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..12_usize, part).prop_map(
        |(mut files, file, at, length, put)| {
            let names: Vec<String> = files.keys().filter(|name| *name != "README.md").cloned().collect();
            let bytes = files.get_mut(file.get(&names)).unwrap();
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, put.bytes());
            files
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// A bundle that loads has no findings, one that does not has some, and the refusal itself is among their files; every
    /// place lies within its file, between two characters.
    #[test]
    fn findings_are_there_exactly_where_a_bundle_does_not_load(files in damaged()) {
        let Ok(snapshot) = Snapshot::from_files(files.clone()) else { return Ok(()) };
        match (snapshot.check(), snapshot.diagnose()) {
            (Ok(report), Ok(same)) => prop_assert_eq!(report, same),
            (Err(_), Err(found)) => {
                prop_assert!(!found.is_empty());
                for label in found.iter().flat_map(|found| found.labels.iter().map(move |label| (found, label))) {
                    let (found, label) = label;
                    let text = str::from_utf8(&files[&found.file]).unwrap();
                    prop_assert!(text.get(label.span.clone()).is_some(), "{found:?}");
                    prop_assert!(label.position(text).line <= text.matches('\n').count() + 1);
                }
            }
            (one, other) => prop_assert!(false, "{one:?} and {other:?}"),
        }
    }
}
