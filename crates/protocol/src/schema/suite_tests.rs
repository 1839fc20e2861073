//! The standard's own suite, which the peers bring: what it calls right is right here and what it calls wrong is wrong, unless
//! the schema is refused, and which schemas are is listed. Which keys are declared is left out of it: JSON Schema lets others be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Fit, ToolSchema};
use crate::definition::{Exact, ToolDefinition};

/// The dialects, by their folders.
const DIALECTS: [(&str, &str); 4] = [
    ("draft6", "http://json-schema.org/draft-06/schema#"),
    ("draft7", "http://json-schema.org/draft-07/schema#"),
    ("draft2019-09", "https://json-schema.org/draft/2019-09/schema"),
    ("draft2020-12", "https://json-schema.org/draft/2020-12/schema"),
];

/// The numbers of the groups that are refused, by file. What refers to elsewhere, to anchors, or to what is not known before arguments
/// are; bounds that are written with a fraction; patterns with look-around, controls or properties of Unicode.
const REFUSED: &str = "\
draft6/definitions: 0
draft6/dependencies: 0-6
draft6/maxItems: 1
draft6/maxLength: 1
draft6/maxProperties: 1
draft6/minItems: 1
draft6/minLength: 1
draft6/minProperties: 1
draft6/ref: 3 5-7 12-16 18-20 25-27
draft6/refRemote: 0-10
draft6: 719 decided
draft7/definitions: 0
draft7/dependencies: 0-6
draft7/maxItems: 1
draft7/maxLength: 1
draft7/maxProperties: 1
draft7/minItems: 1
draft7/minLength: 1
draft7/minProperties: 1
draft7/ref: 3 5-7 12-16 18-21 26-31
draft7/refRemote: 0-10
draft7: 795 decided
draft2019-09/anchor: 0-3
draft2019-09/defs: 0
draft2019-09/maxContains: 2
draft2019-09/maxItems: 1
draft2019-09/maxLength: 1
draft2019-09/maxProperties: 1
draft2019-09/minContains: 3
draft2019-09/minItems: 1
draft2019-09/minLength: 1
draft2019-09/minProperties: 1
draft2019-09/not: 8
draft2019-09/recursiveRef: 0-8
draft2019-09/ref: 3 6 11-13 15-20 25-31 35
draft2019-09/refRemote: 0-14
draft2019-09/unevaluatedItems: 0-24
draft2019-09/unevaluatedProperties: 0-39
draft2019-09/vocabulary: 0-1
draft2019-09: 909 decided
draft2020-12/anchor: 0-3
draft2020-12/defs: 0
draft2020-12/dynamicRef: 0-19
draft2020-12/maxContains: 2
draft2020-12/maxItems: 1
draft2020-12/maxLength: 1
draft2020-12/maxProperties: 1
draft2020-12/minContains: 3
draft2020-12/minItems: 1
draft2020-12/minLength: 1
draft2020-12/minProperties: 1
draft2020-12/not: 8
draft2020-12/ref: 3 6 11-13 15-20 25-31
draft2020-12/refRemote: 0-14
draft2020-12/unevaluatedItems: 0-26
draft2020-12/unevaluatedProperties: 0-40
draft2020-12/vocabulary: 0-1
draft2020-12: 920 decided
draft2020-12/optional/anchor: 0
draft2020-12/optional/cross-draft: 0
draft2020-12/optional/dependencies-compatibility: 0-6
draft2020-12/optional/dynamicRef: 0
draft2020-12/optional/ecmascript-regex: 2-3 10 14-15 19
draft2020-12/optional/format-assertion: 0-1
draft2020-12/optional/id: 0
draft2020-12/optional/unknownKeyword: 0
draft2020-12/optional: 87 decided
";

fn suite() -> PathBuf {
    let built = || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("peers");
    let peers = std::env::var_os("PORTCULLIS_PEERS").map_or_else(built, PathBuf::from);
    let suite = peers.join("schema-suite");
    assert!(
        suite.is_dir(),
        "the suite of JSON Schema, `{}`, is not there: run `cargo xtask test`, which installs the peers under the target \
         directory, or set PORTCULLIS_PEERS to a folder that has them",
        suite.display()
    );
    suite
}

fn list(value: &Exact) -> &[Exact] {
    if let Exact::Array(items) = value { items } else { panic!("no list") }
}

/// The groups of each file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<Exact>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| {
        let groups = Exact::parse(&std::fs::read(&path).unwrap()).unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), list(&groups).to_vec())
    };
    files.map(read).collect()
}

/// A schema of the suite in its dialect, as a tool's: that is an object.
fn compiled(schema: &Exact, dialect: &str) -> Option<ToolSchema> {
    let mut members = if let Exact::Object(members) = schema {
        members.clone()
    } else {
        BTreeMap::from([("allOf".to_owned(), Exact::Array(vec![schema.clone()]))])
    };
    members.entry("$schema".to_owned()).or_insert_with(|| Exact::Str(dialect.to_owned()));
    let tool = BTreeMap::from([
        ("name".to_owned(), Exact::Str("t".to_owned())),
        ("inputSchema".to_owned(), Exact::Object(members)),
    ]);
    ToolSchema::of(&ToolDefinition::from_exact(Exact::Object(tool)).unwrap()).ok()
}

#[derive(Default)]
struct Found {
    decided: BTreeMap<String, usize>,
    /// Files with the numbers of their groups whose schemas are refused.
    refused: BTreeMap<String, BTreeSet<usize>>,
    /// Files, groups and tests that no answer is come to.
    unanswered: Vec<(String, usize, usize)>,
    wrong: Vec<String>,
}

fn ask(folder: &str, dialect: &str) -> Found {
    let mut found = Found::default();
    for (file, groups) in files(&suite().join(folder)) {
        for (number, group) in groups.iter().enumerate() {
            let group = group.as_object().unwrap();
            let Some(schema) = compiled(&group["schema"], dialect) else {
                found.refused.entry(file.clone()).or_default().insert(number);
                continue;
            };
            for (index, test) in list(&group["tests"]).iter().enumerate() {
                let test = test.as_object().unwrap();
                let (data, valid) = (&test["data"], test["valid"] == Exact::Bool(true));
                let said = schema.is_right(data);
                let fits = schema.check(data) == Fit::Fits;
                if said.is_some_and(|said| said != valid) || (fits && !(valid && data.as_object().is_some()))
                {
                    found.wrong.push(format!("{folder}/{file} {number}/{index}: {said:?}, fits: {fits}"));
                } else if said.is_none() {
                    found.unanswered.push((file.clone(), number, index));
                } else {
                    *found.decided.entry(file.clone()).or_default() += 1;
                }
            }
        }
    }
    found
}

/// What is refused, a file a line, and how many tests of the others are decided.
fn told(folder: &str, found: &Found) -> String {
    let mut told = String::new();
    for (file, groups) in &found.refused {
        told.push_str(&format!("{folder}/{file}:"));
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for group in groups {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *group => *last = *group,
                _ => ranges.push((*group, *group)),
            }
        }
        for (first, last) in ranges {
            told.push_str(&if first == last { format!(" {first}") } else { format!(" {first}-{last}") });
        }
        told.push('\n');
    }
    let decided: usize = found.decided.values().sum();
    told + &format!("{folder}: {decided} decided\n")
}

#[test]
fn the_suite_of_json_schema_is_decided_as_it_says_or_not_at_all() {
    let mut refused = String::new();
    for (folder, dialect) in DIALECTS.into_iter().chain([("draft2020-12/optional", DIALECTS[3].1)]) {
        let found = ask(folder, dialect);
        assert_eq!(found.wrong, [""; 0]);
        assert_eq!(found.unanswered, []);
        refused.push_str(&told(folder, &found));
    }
    assert_eq!(refused, REFUSED, "what is refused of it is another\n{refused}");
}
