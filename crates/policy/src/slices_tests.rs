use std::cell::Cell;
use std::fmt::Write as _;

use cedar_policy::{Context, RestrictedExpression};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::*;

/// Groups in groups, entities with and without attributes, actions in a group.
const ENTITIES: &str = r#"[
  {"uid":{"type":"Agent","id":"a"},"attrs":{"owner":{"__entity":{"type":"Agent","id":"b"}}},
   "parents":[{"type":"Group","id":"inner"}]},
  {"uid":{"type":"Agent","id":"b"},"attrs":{"clearance":3},"parents":[{"type":"Group","id":"outer"},{"type":"Group","id":"side"}]},
  {"uid":{"type":"Agent","id":"c"},"attrs":{},"parents":[]},
  {"uid":{"type":"Tool","id":"a"},"attrs":{},"parents":[{"type":"Agent","id":"a"}]},
  {"uid":{"type":"Group","id":"inner"},"attrs":{},"parents":[{"type":"Group","id":"outer"}]},
  {"uid":{"type":"Group","id":"outer"},"attrs":{},"parents":[]},
  {"uid":{"type":"Group","id":"side"},"attrs":{},"parents":[]},
  {"uid":{"type":"Account","id":"x"},"attrs":{"owner":{"__entity":{"type":"Agent","id":"a"}}},
   "parents":[{"type":"Group","id":"side"}]},
  {"uid":{"type":"Account","id":"y"},"attrs":{},"parents":[{"type":"Account","id":"x"}]},
  {"uid":{"type":"Action","id":"read"},"attrs":{},"parents":[{"type":"Action","id":"any"}]},
  {"uid":{"type":"Action","id":"write"},"attrs":{},"parents":[{"type":"Action","id":"changes"}]},
  {"uid":{"type":"Action","id":"changes"},"attrs":{},"parents":[{"type":"Action","id":"any"}]},
  {"uid":{"type":"Action","id":"any"},"attrs":{},"parents":[]}
]"#;

const ENTITY: [&str; 11] = [
    "Agent::\"a\"",
    "Agent::\"b\"",
    "Agent::\"c\"",
    "Agent::\"absent\"",
    "Tool::\"a\"",
    "Group::\"inner\"",
    "Group::\"outer\"",
    "Group::\"side\"",
    "Account::\"x\"",
    "Account::\"y\"",
    "Account::\"absent\"",
];
const KIND: [&str; 5] = ["Agent", "Tool", "Group", "Account", "Nothing"];
const ACTION: [&str; 5] =
    ["Action::\"read\"", "Action::\"write\"", "Action::\"changes\"", "Action::\"any\"", "Action::\"absent\""];
/// Conditions that hold, that do not, and that raise an error for some requests: overflow, a missing attribute, a
/// comparison of different types, an entity that is not there.
const CONDITION: [&str; 10] = [
    "",
    " when { context.n > 3 }",
    " unless { context.n > 3 }",
    " when { context.n * 9223372036854775807 > 0 }",
    " unless { context.n + 9223372036854775807 > 0 }",
    " when { resource.owner == principal }",
    " when { principal has clearance && principal.clearance > context.n }",
    " when { principal.owner in Group::\"outer\" }",
    " when { context.n like \"3\" }",
    " when { Agent::\"absent\".owner == principal }",
];

/// `principal` or `resource`, with what it must be.
fn part(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(name.to_owned()),
        2 => select(&ENTITY[..]).prop_map(move |uid| format!("{name} == {uid}")),
        3 => select(&ENTITY[..]).prop_map(move |uid| format!("{name} in {uid}")),
        1 => select(&KIND[..]).prop_map(move |kind| format!("{name} is {kind}")),
        1 => (select(&KIND[..]), select(&ENTITY[..])).prop_map(move |(kind, uid)| format!("{name} is {kind} in {uid}")),
    ]
}

fn action() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("action".to_owned()),
        2 => select(&ACTION[..]).prop_map(|uid| format!("action == {uid}")),
        1 => select(&ACTION[..]).prop_map(|uid| format!("action in {uid}")),
        2 => prop::collection::vec(select(&ACTION[..]), 0..4).prop_map(|uids| format!("action in [{}]", uids.join(", "))),
    ]
}

fn policies() -> impl Strategy<Value = PolicySet> {
    let effect = prop_oneof![2 => Just("permit"), 1 => Just("forbid")];
    let policy = (effect, part("principal"), action(), part("resource"), select(&CONDITION[..]));
    prop::collection::vec(policy, 0..10).prop_map(|policies| {
        let mut text = String::new();
        for (effect, principal, action, resource, condition) in policies {
            writeln!(text, "{effect}({principal}, {action}, {resource}){condition};").unwrap();
        }
        text.parse().unwrap()
    })
}

fn question(principal: &str, action: &str, resource: &str, n: i64) -> Question {
    let [principal, action, resource] = [principal, action, resource].map(|uid| uid.parse().unwrap());
    let context = Context::from_pairs([("n".to_owned(), RestrictedExpression::new_long(n))]).unwrap();
    let parts = [&principal, &action, &resource].map(EntityUid::clone);
    let [a, b, c] = parts;
    Question { request: Request::new(a, b, c, context, None).unwrap(), principal, action, resource }
}

fn entities() -> Entities {
    Entities::from_json_str(ENTITIES, None).unwrap()
}

/// All that Cedar's own authorizer says of all policies at once.
fn unsliced(policies: &PolicySet, question: &Question, entities: &Entities) -> Answer {
    let mut answer = Answer::default();
    answer.add(&Authorizer::new().is_authorized(&question.request, policies, entities));
    answer
}

/// Cedar names the grants only where nothing forbids: slices may name them beside a forbid, and it is the same verdict.
fn verdict(answer: Answer) -> Answer {
    let forbidden = !answer.forbids.is_empty();
    if forbidden { Answer { grants: BTreeSet::new(), ..answer } } else { answer }
}

/// Sets of policies; each is asked about 242 requests, so that there are 242,000 comparisons.
const SETS: u32 = 1_000;

#[test]
fn slices_answer_as_cedar_does_over_all_policies() {
    let (entities, compared) = (entities(), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig { cases: SETS, ..ProptestConfig::default() });
    let tried = runner.run(&(policies(), 0_i64..6), |(policies, n)| {
        let slices = Slices::new(policies.policies()).unwrap();
        for (principal, resource) in ENTITY.iter().flat_map(|one| ENTITY.map(|other| (one, other))) {
            for action in &ACTION[..2] {
                let question = question(principal, action, resource, n);
                let sliced = verdict(slices.ask(&question, &entities));
                prop_assert_eq!(sliced, unsliced(&policies, &question, &entities), "{:?}", question);
                compared.set(compared.get() + 1);
            }
        }
        Ok(())
    });
    println!("{} comparisons over {SETS} sets of policies", compared.get());
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(compared.get() >= 100_000, "{}", compared.get());
}

#[test]
fn a_policy_of_many_actions_is_asked_once_for_each_set_it_stands_in_and_named_once() {
    let policies: PolicySet =
        "permit(principal, action in [Action::\"read\", Action::\"any\"], resource);".parse().unwrap();
    let slices = Slices::new(policies.policies()).unwrap();
    assert_eq!(slices.sets.len(), 2);
    let answer = slices.ask(&question("Agent::\"c\"", "Action::\"read\"", "Account::\"x\"", 0), &entities());
    assert_eq!(answer.grants, BTreeSet::from([PolicyId::new("policy0")]));
}

#[test]
fn a_narrow_question_is_not_held_against_policies_of_others() {
    let mut text = String::new();
    for number in 0..200 {
        writeln!(text, "permit(principal == Agent::\"agent-{number}\", action, resource);").unwrap();
    }
    // It would raise an error for whoever it is evaluated for.
    text.push_str("forbid(principal == Agent::\"b\", action, resource) when { context.absent };");
    let slices = Slices::new(text.parse::<PolicySet>().unwrap().policies()).unwrap();
    assert_eq!(slices.sets.len(), 201);
    let asked = |agent: &str| {
        let uid: EntityUid = agent.parse().unwrap();
        let numbers = slices.asked.by(&uid, &entities());
        slices.sets.keys().filter(|(principal, _, _)| numbers.contains(principal)).count()
    };
    assert_eq!((asked("Agent::\"agent-7\""), asked("Agent::\"b\""), asked("Agent::\"c\"")), (1, 1, 0));
    let failed =
        slices.ask(&question("Agent::\"b\"", "Action::\"read\"", "Account::\"x\"", 0), &entities()).failed;
    assert_eq!(failed.len(), 1);
}
