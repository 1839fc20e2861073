use std::cell::Cell;
use std::fmt::Write as _;

use cedar_policy::{Context, RestrictedExpression};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

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

/// What there may be in a store: each in any of those behind it, of its own half.
const STORED: [&str; 9] = [
    "Tool::\"a\"",
    "Agent::\"a\"",
    "Agent::\"b\"",
    "Agent::\"c\"",
    "Account::\"y\"",
    "Account::\"x\"",
    "Group::\"inner\"",
    "Group::\"side\"",
    "Group::\"outer\"",
];

/// Another store for each set of policies: who is there, in what everybody lies, and who owns what.
fn store() -> impl Strategy<Value = Entities> {
    // One in ten is not there, one in four lies in another, one in two has an owner.
    let one = (0..10_u8, any::<u16>(), any::<u16>(), 0..2 * STORED.len(), prop::option::of(0..6_i64));
    prop::collection::vec(one, STORED.len() + ACTION.len() - 1).prop_map(|drawn| {
        let (entities, actions) = drawn.split_at(STORED.len());
        let named = |text: &str| -> Value {
            let (kind, id) = text.split_once("::").unwrap();
            json!({ "type": kind, "id": id.trim_matches('"') })
        };
        let behind = |names: &[&str], at: usize, mask: u16| -> Vec<Value> {
            let within = (at + 1..names.len()).filter(|other| mask & (1 << other) != 0);
            within.map(|other| named(names[other])).collect()
        };
        let mut store = Vec::new();
        for (at, (gone, one, other, owner, clearance)) in entities.iter().enumerate() {
            if *gone == 0 {
                continue;
            }
            let mut attributes = serde_json::Map::new();
            if let Some(owner) = STORED.get(*owner) {
                attributes.insert("owner".into(), json!({ "__entity": named(owner) }));
            }
            clearance
                .iter()
                .for_each(|clearance| drop(attributes.insert("clearance".into(), (*clearance).into())));
            let parents = behind(&STORED, at, one & other);
            store.push(json!({ "uid": named(STORED[at]), "attrs": attributes, "parents": parents }));
        }
        for (at, (_, one, other, ..)) in actions.iter().enumerate() {
            let parents = behind(&ACTION[..4], at, one | other);
            store.push(json!({ "uid": named(ACTION[at]), "attrs": {}, "parents": parents }));
        }
        Entities::from_json_value(Value::Array(store), None).unwrap()
    })
}

/// `principal` or `resource`, with what it must be.
fn part(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        5 => Just(name.to_owned()),
        1 => select(&ENTITY[..]).prop_map(move |uid| format!("{name} == {uid}")),
        4 => select(&ENTITY[..]).prop_map(move |uid| format!("{name} in {uid}")),
        2 => select(&KIND[..]).prop_map(move |kind| format!("{name} is {kind}")),
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
    let effect = select(&["permit", "forbid"][..]);
    let condition = prop_oneof![1 => Just(""), 2 => select(&CONDITION[..])];
    let policy = (effect, part("principal"), action(), part("resource"), condition);
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

/// Sets of policies, each with a store of its own, and with so many pairs of a principal and a resource asked of both actions.
const SETS: u32 = 2_200;
const PAIRS: usize = 24;

/// What was compared, so that a property that is never put to the test fails.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    all: u32,
    /// Cedar allows, and no policy raised an error.
    permits: u32,
    /// Cedar allows although a policy raised an error.
    doubtful: u32,
    /// A grant stood in one slice and a `forbid` in another: what slices say one by one is not what Cedar says of all.
    beside: u32,
    /// Policies were left out.
    narrower: u32,
    /// A policy held that asks for a group, or another entity, in which one of the request's lies.
    through_others: u32,
}

impl Compared {
    fn add(
        &mut self,
        slices: &Slices,
        all: &PolicySet,
        (raw, cedar): (&Answer, &Answer),
        question: &Question,
        entities: &Entities,
    ) {
        let count = |count: &mut u32, holds: bool| *count += u32::from(holds);
        let allows = cedar.forbids.is_empty() && !cedar.grants.is_empty();
        count(&mut self.all, true);
        count(&mut self.permits, allows && cedar.failed.is_empty());
        count(&mut self.doubtful, allows && !cedar.failed.is_empty());
        count(&mut self.beside, raw != cedar);
        count(&mut self.narrower, slices.policies_for(question, entities).len() < all.num_of_policies());
        let others = |policy: &Policy| match policy.principal_constraint() {
            PrincipalConstraint::In(of) | PrincipalConstraint::IsIn(_, of) => of != question.principal,
            PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::Is(_) => false,
        };
        let held = cedar.grants.iter().chain(&cedar.forbids).filter_map(|id| all.policy(id));
        count(&mut self.through_others, held.into_iter().any(others));
    }
}

#[test]
fn slices_answer_as_cedar_does_over_all_policies() {
    let seen = Cell::new(Compared::default());
    let mut runner = TestRunner::new(ProptestConfig { cases: SETS, ..ProptestConfig::default() });
    let pairs = prop::collection::vec((select(&ENTITY[..]), select(&ENTITY[..])), PAIRS);
    let tried = runner.run(&(store(), policies(), 0_i64..6, pairs), |(entities, policies, n, pairs)| {
        let slices = Slices::new(policies.policies()).unwrap();
        for (principal, resource) in pairs {
            for action in &ACTION[..2] {
                let question = question(principal, action, resource, n);
                let cedar = unsliced(&policies, &question, &entities);
                let raw = slices.ask(&question, &entities);
                prop_assert_eq!(&verdict(raw.clone()), &cedar, "{:?}", question);
                let mut compared = seen.get();
                compared.add(&slices, &policies, (&raw, &cedar), &question, &entities);
                seen.set(compared);
            }
        }
        Ok(())
    });
    let seen = seen.get();
    println!("{SETS} sets of policies and stores: {seen:?}");
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(seen.all >= 100_000, "{seen:?}");
    let rare = [seen.permits, seen.doubtful, seen.beside, seen.narrower, seen.through_others];
    assert!(rare.into_iter().all(|count| count > seen.all / 200), "{seen:?}");
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
