use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::Bundle;
use crate::testing::{bundle, charge, said, with_policies};

fn owed(bundle: &Bundle, agent: &str) -> String {
    bundle.evaluate(&charge(agent, "1.00")).obligations.to_string()
}

const APPROVED: &str = "@approval_roles(\"finance\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")";
const BY_TWO: &str = "approval by 2 different people with role `finance`, valid for 15m";

/// A broad grant beside a narrow one that asks for an approval would drop it, if one grant were enough.
#[test]
fn a_broader_grant_dropped_the_approval() {
    let policies = format!(
        "@id(\"narrow\") {APPROVED} permit (principal == Agent::\"bot\", action == Action::\"charge\", resource);
         @id(\"broad\") permit (principal, action, resource);
         @id(\"shown\") @witnessed permit (principal, action in Action::\"any\", resource is Account);
         @id(\"other\") @identity_within(\"1m\") permit (principal, action == Action::\"refund\", resource);"
    );
    let bundle = bundle(with_policies(&policies));
    assert_eq!(said(&bundle.evaluate(&charge("bot", "1.00"))), "PERMIT broad, narrow, shown");
    assert_eq!(owed(&bundle, "bot"), format!("{BY_TWO}, and witnesses"));
    assert_eq!(owed(&bundle, "rogue"), "witnesses");
}

#[test]
fn a_grant_whose_conditions_fail_asks_for_nothing() {
    let policies = format!(
        "@id(\"large\") {APPROVED} permit (principal, action == Action::\"charge\", resource)
           unless {{ context.amount.lessThanOrEqual(decimal(\"5.00\")) }};
         @id(\"any\") permit (principal, action == Action::\"charge\", resource);"
    );
    let bundle = bundle(with_policies(&policies));
    let owed = |amount| bundle.evaluate(&charge("bot", amount)).obligations.to_string();
    assert_eq!((owed("5.00").as_str(), owed("5.01").as_str()), ("", BY_TWO));
}

#[test]
fn what_is_refused_asks_for_nothing() {
    let policies = format!(
        "@id(\"grant\") {APPROVED} permit (principal, action, resource);
         @id(\"no\") forbid (principal in Group::\"suspended\", action, resource);"
    );
    let bundle = bundle(with_policies(&policies));
    let refused = bundle.evaluate(&charge("rogue", "1.00"));
    assert_eq!((said(&refused).as_str(), refused.obligations), ("policy.forbidden no", Obligations::none()));
}

/// Cedar names grants by the ids that they were given; one that the bundle does not know would ask for nothing.
#[test]
fn a_grant_that_the_bundle_does_not_know_is_no_permit() {
    let mut answer = Answer::default();
    answer.grants.insert(cedar_policy::PolicyId::new("ghost"));
    let evaluation = settled(answer, &BTreeMap::new(), &BTreeMap::new());
    assert_eq!(evaluation.verdict, Verdict::refuse(ReasonCode::PolicyEngineFailed));
}

/// What a grant of the property may ask for.
const ASKS: [&str; 7] = [
    "",
    "@witnessed",
    "@identity_within(\"5m\")",
    "@identity_within(\"30s\") @witnessed",
    "@approval_roles(\"finance\") @approval_quorum(\"1\") @approval_lifetime(\"1h\")",
    "@approval_roles(\"finance\") @approval_quorum(\"3\") @approval_lifetime(\"2h\")",
    "@approval_roles(\"finance,security\") @approval_quorum(\"2\") @approval_lifetime(\"5m\") @witnessed",
];

/// Scopes of several slices, all of which hold for the bot's charge.
const SCOPES: [&str; 6] = [
    "principal, action, resource",
    "principal == Agent::\"bot\", action, resource",
    "principal, action == Action::\"charge\", resource",
    "principal, action in Action::\"any\", resource",
    "principal is Agent, action, resource == Account::\"a-1\"",
    "principal, action in [Action::\"charge\", Action::\"refund\"], resource is Account",
];

const CONDITIONS: [&str; 3] = [
    "",
    " when { principal in Group::\"suspended\" }",
    " unless { principal has owner && principal.owner == principal }",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Each satisfied grant is found by asking Cedar about it alone: their number, and what they ask for together, must be
    /// what the sliced evaluation says, in whatever order and files they stand.
    #[test]
    fn the_union_is_over_all_satisfied_grants_in_any_order(
        grants in prop::collection::vec((select(&ASKS[..]), select(&SCOPES[..]), select(&CONDITIONS[..])), 1..7),
        turn in 0_usize..7,
    ) {
        let text = |(at, (asks, scope, condition)): (usize, &(&str, &str, &str))| {
            format!("@id(\"p{at}\") {asks} permit ({scope}){condition};\n")
        };
        let texts: Vec<_> = grants.iter().enumerate().map(text).collect();
        let mut turned = texts.clone();
        turned.rotate_left(turn % texts.len());
        let request = charge("bot", "1.00");
        let whole = bundle(with_policies(&texts.concat())).evaluate(&request);
        prop_assert_eq!(&bundle(with_policies(&turned.concat())).evaluate(&request), &whole);
        let (mut expected, mut satisfied) = (Obligations::none(), BTreeSet::new());
        for text in texts.iter().rev() {
            let alone = bundle(with_policies(text)).evaluate(&request);
            expected.add(&alone.obligations);
            satisfied.extend(alone.verdict.policies().to_vec());
        }
        prop_assert_eq!(&whole.obligations, &expected);
        prop_assert_eq!(whole.verdict.policies().iter().cloned().collect::<BTreeSet<_>>(), satisfied);
    }
}
