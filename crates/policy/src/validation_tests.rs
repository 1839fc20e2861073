use portcullis_protocol::ReasonCode;

use super::*;
use crate::Snapshot;
use crate::files::Files;
use crate::testing::{edit, files, load};

fn names(count: usize, letter: char) -> String {
    (0..count).map(|n| format!("{letter}{n}")).collect::<Vec<_>>().join(", ")
}

/// The valid bundle, where one action applies to so many pairs more, and with more policies.
fn with(side: usize, policies: &str) -> Files {
    let types = format!("entity {}, {};\nentity Surface;", names(side, 'P'), names(side, 'R'));
    let files = edit(files(), "schema.cedarschema", "entity Surface;", &types);
    let one = "action \"fs.read\" in [\"any\"] appliesTo { principal: Agent, resource: Surface";
    let one = one.replace(" { ", " {\n  ").replace("Agent, ", "Agent,\n  ");
    let principals = format!("principal: [Agent, {}]", names(side, 'P'));
    let many = one.replace("principal: Agent", &principals);
    let many = many.replace("resource: Surface", &format!("resource: [Surface, {}]", names(side, 'R')));
    let mut files = edit(files, "schema.cedarschema", &one, &many);
    files.insert("policies/more.cedar".into(), policies.as_bytes().to_vec());
    files
}

/// The code, and the message to whoever loads it; what a check tells.
fn refused(files: &Files) -> Option<(ReasonCode, String, Vec<String>)> {
    let error = load(files.clone()).err()?;
    let told = Snapshot::from_files(files.clone()).unwrap().diagnose().unwrap_err();
    Some((error.code(), error.to_string(), told.into_iter().map(|found| found.message).collect()))
}

/// Of types that differ from pair to pair, so that no two pairs have the same mistake.
const WRONG: &str = "[principal, resource].contains(principal)";

#[test]
fn a_mistake_was_kept_once_for_each_pair_that_its_policy_was_held_against() {
    let policies: String = (0..40)
        .map(|n| format!("@id(\"q{n}\") forbid (principal, action, resource) when {{ {WRONG} }};\n"))
        .collect();
    let files = with(10, &policies);
    let (code, message, told) = refused(&files).unwrap();
    assert_eq!(code, ReasonCode::PolicyCorrupt, "{message}");
    assert!(message.matches("; ").count() < 10, "{message}");
    assert!(message.contains("more.cedar") && !told.is_empty(), "{message}");
    let text = String::from_utf8(with(90, "")["schema.cedarschema"].clone()).unwrap();
    let (schema, _) = Schema::from_cedarschema_str(&text).unwrap();
    let set: PolicySet = policies.parse().unwrap();
    let mut wrong: Vec<_> = set.policies().collect();
    wrong.sort_by_key(|policy| policy.id());
    // At once, no more than one policy's worth of mistakes is kept.
    let validation = Validation::new(&schema);
    let sets = validation.sets(wrong.into_iter()).unwrap();
    assert!(sets.len() > 1);
    assert!(
        sets.iter().all(|set| set.iter().map(|policy| validation.held(policy)).sum::<usize>() <= MOST_HELD)
    );
}

#[test]
fn a_policy_is_no_longer_than_the_pairs_that_it_is_held_against_allow() {
    // 41 × 41 pairs, and two of the valid bundle's other actions.
    let most = MOST_HELD / (41 * 41 + 2);
    let policy = |scope: &str, length: usize| {
        let text = format!("@id(\"long\") forbid (principal, {scope}, resource) when {{ \"\" == \"x\" }};");
        let fill = "y".repeat(length - text.len());
        with(40, &text.replace("\"x\"", &format!("\"x{fill}\"")))
    };
    assert_eq!(refused(&policy("action", most)), None);
    let (code, message, told) = refused(&policy("action", most + 1)).unwrap();
    assert_eq!(code, ReasonCode::PolicyTooDeep);
    assert!(
        message.contains("policy `long` is too long") && told.iter().any(|told| message.ends_with(told)),
        "{told:?}"
    );
    // What names its action is held against that one's.
    assert_eq!(refused(&policy("action == Action::\"charge\"", 10 * most)), None);
    assert!(refused(&policy("action == Action::\"fs.read\"", 10 * most)).is_some());
}

#[test]
fn all_policies_are_held_against_no_more_than_that_together() {
    let one =
        |n: usize| format!("@id(\"q{n}\") forbid (principal, action == Action::\"charge\", resource);\n");
    let policies = |count: usize| (0..count).map(one).collect::<String>();
    let most = MOST_HELD_TOGETHER / ((99 * 99 + 2) * SCOPE);
    let (code, message, _) = refused(&with(98, &policies(most))).unwrap();
    assert_eq!(code, ReasonCode::PolicyTooDeep);
    assert!(message.contains("the policies are too long"), "{message}");
    assert_eq!(refused(&with(2, &policies(most / 10))), None);
}
