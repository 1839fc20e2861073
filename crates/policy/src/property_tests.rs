//! Properties that hold for whatever bundle and whatever request, each tried with 50,000 pairs of them. `PORTCULLIS_BUNDLES`
//! tries more; `PORTCULLIS_SEED` repeats a run.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Decision, PolicySet};
use portcullis_protocol::request::Ask;
use portcullis_protocol::{LabelName, Request, Verdict};

use super::random_bundles::{Random, Shape, bundles};
use super::*;
use crate::testing::{bundle, charge, defect, edit, read, said, with, with_policies};
use crate::{Evaluation, Fault};

/// Bundles of a run that is short enough for every change.
const FEW: usize = 100;
/// Requests for each of them: to compile one takes as long as to ask it about fifty.
const REQUESTS: usize = 500;

fn compiled(shape: &Shape) -> Compiled {
    Compiled::new(&shape.files()).unwrap_or_else(|error| panic!("{error}\n{:?}", shape.policies))
}

fn request((agent, ask): &(String, String)) -> Request {
    Ask::parse(ask.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {ask}")).by(agent.parse().unwrap())
}

/// The labels of who asks, by chance.
fn labels(random: &mut Random) -> BTreeSet<LabelName> {
    Shape::labels(random).into_iter().map(|label| label.parse().unwrap()).collect()
}

fn permits(evaluation: &Evaluation) -> bool {
    matches!(evaluation.verdict, Verdict::Permit(_))
}

/// What was seen, so that a property that is never put to the test fails.
#[derive(Debug, Default)]
struct Seen {
    permits: usize,
    refusals: usize,
    errors: usize,
    /// Of every tenth request: those that are judged otherwise without the agent's labels.
    by_labels: usize,
    /// Those that are judged otherwise after the change that is tried.
    changed: usize,
    /// Of these, those that were permitted.
    lost: usize,
}

impl Seen {
    fn add(&mut self, evaluation: &Evaluation) {
        match evaluation.verdict.reason() {
            None => self.permits += 1,
            Some(portcullis_protocol::ReasonCode::PolicyEvaluationError) => self.errors += 1,
            Some(_) => self.refusals += 1,
        }
    }

    /// A verdict before the change that is tried, and after it, which never adds a PERMIT: where it is one still, it is by the
    /// same grants, with the same obligations.
    fn compare(&mut self, before: &Evaluation, after: &Evaluation, asked: &dyn std::fmt::Debug) {
        self.add(after);
        self.changed += usize::from(before.verdict != after.verdict);
        self.lost += usize::from(permits(before) && !permits(after));
        assert!(!permits(after) || before == after, "{before:?}\n{after:?}\n{asked:?}");
    }

    /// Prints it, and wants more than one in so many of the rare ones.
    fn check(&self, bundles: usize, rare: &[(&str, usize, usize)]) {
        let all = self.permits + self.refusals + self.errors;
        println!("{all} requests, {bundles} bundles: {self:?}");
        assert_eq!(all, REQUESTS * bundles);
        let common =
            [("permits", self.permits, 20), ("refusals", self.refusals, 20), ("errors", self.errors, 500)];
        for (what, number, share) in common.iter().chain(rare) {
            assert!(number * share > all, "{what}: {number} of {all}");
        }
    }
}

#[test]
fn a_permit_means_that_cedar_allows_without_error_over_all_policies_and_entities() {
    let (mut random, mut seen, bundles) = (Random::seeded(), Seen::default(), bundles(FEW));
    for _ in 0..bundles {
        let shape = Shape::random(&mut random);
        let compiled = compiled(&shape);
        let all = PolicySet::from_policies(compiled.slices.policies().into_values().cloned()).unwrap();
        assert_eq!(all.num_of_policies(), shape.policies.len());
        for number in 0..REQUESTS {
            let (request, labels) = (request(&shape.request(&mut random)), labels(&mut random));
            let evaluation = compiled.evaluate(&request, Some(&labels));
            seen.add(&evaluation);
            // Of some of them: to ask costs as much again.
            if number % 10 == 0 {
                let bare = compiled.evaluate(&request, Some(&BTreeSet::new()));
                seen.by_labels += usize::from(bare.verdict != evaluation.verdict);
            }
            let Ok(question) = compiled.question(&request, Some(&labels), compiled.own_entities()) else {
                assert!(!permits(&evaluation), "Cedar was not asked: {request:?}");
                continue;
            };
            let cedar = Authorizer::new().is_authorized(&question.request, &all, &compiled.entities);
            let sound = cedar.decision() == Decision::Allow && cedar.diagnostics().errors().count() == 0;
            assert_eq!(permits(&evaluation), sound, "{:?}\n{request:?}", shape.policies);
            if sound {
                let mut grants: Vec<_> = cedar.diagnostics().reason().map(ToString::to_string).collect();
                grants.sort();
                let found: Vec<_> = evaluation.verdict.policies().iter().map(ToString::to_string).collect();
                assert_eq!(found, grants);
            }
        }
    }
    seen.check(bundles, &[("by labels", seen.by_labels * 10, 200)]);
}

/// What policies may ask for and random ones do, each in one of so many bundles at least.
#[test]
fn random_bundles_ask_for_all_that_bundles_may_have() {
    let mut random = Random::seeded();
    let all: Vec<_> = (0..1_000).map(|_| Shape::random(&mut random)).collect();
    for asked in [
        "principal is Agent,",
        "principal is Agent in Group",
        "resource is Account)",
        "resource is Account in Group",
        "resource is Surface",
        "action in [Action::",
        "action in Action::\"any\"",
        ".hasTag(",
        ".getTag(",
        ".seat.town like",
        ".seat.room.floor",
        ".isInRange(ip(",
        " < datetime(",
        ".offset(duration(",
        ".worth.lessThan(decimal(",
        "context.amount.lessThan(decimal(",
        ".langs.contains(",
        "context.labels.",
        "context.acts_for ",
        "@adds_label(",
    ] {
        let found = all.iter().filter(|shape| shape.policies.iter().any(|policy| policy.contains(asked)));
        let found = found.count();
        assert!(found >= 10, "`{asked}` in {found} of {}", all.len());
    }
}

#[test]
fn one_more_forbid_never_adds_a_permit() {
    let (mut random, mut seen, bundles) = (Random::seeded(), Seen::default(), bundles(FEW));
    for _ in 0..bundles {
        let mut shape = Shape::random(&mut random);
        let before = compiled(&shape);
        shape.add_policy(&mut random, "forbid");
        let after = compiled(&shape);
        for _ in 0..REQUESTS {
            let (request, labels) = (request(&shape.request(&mut random)), labels(&mut random));
            let (before, after) =
                (before.evaluate(&request, Some(&labels)), after.evaluate(&request, Some(&labels)));
            seen.compare(&before, &after, &(&shape.policies, &request));
        }
    }
    seen.check(bundles, &[("changed", seen.changed, 50), ("lost", seen.lost, 100)]);
}

/// An entity that is gone is either missed, so that the bundle does not load or the request is `policy.entity_unknown`, or
/// nothing depends on it.
#[test]
fn an_entity_less_never_adds_a_permit() {
    let (mut random, mut seen, bundles) = (Random::seeded(), Seen::default(), bundles(FEW));
    let (mut loaded, mut missed) = (0, 0);
    while loaded < bundles {
        let mut shape = Shape::random(&mut random);
        let before = compiled(&shape);
        let gone = random.below(shape.entities.len());
        shape.entities.remove(gone);
        let Ok(after) = Compiled::new(&shape.files()) else {
            missed += 1;
            continue;
        };
        loaded += 1;
        for _ in 0..REQUESTS {
            let (request, labels) = (request(&shape.request(&mut random)), labels(&mut random));
            let (before, after) =
                (before.evaluate(&request, Some(&labels)), after.evaluate(&request, Some(&labels)));
            seen.compare(&before, &after, &(&shape.policies, &request));
        }
    }
    println!("{missed} bundles more did not load");
    assert!(missed > bundles / 10, "{missed} bundles missed an entity");
    seen.check(bundles, &[("changed", seen.changed, 50), ("lost", seen.lost, 200)]);
}

/// Which types of entities come from a source.
const SOURCED: [&[&str]; 4] =
    [&["Agent", "Group"], &["Account"], &["User"], &["Agent", "Group", "Account", "User"]];

/// What a source gives is judged as if the bundle had it itself. Without the source there is no PERMIT, and with an entity less
/// either what it gives cannot be used, or no PERMIT is added.
#[test]
fn facts_of_a_source_are_judged_as_the_bundles_own_and_one_less_never_adds_a_permit() {
    let (mut random, mut seen, bundles) = (Random::seeded(), Seen::default(), bundles(FEW));
    let (mut less, mut unusable) = (0, 0);
    for number in 0..bundles {
        let (shape, types) = (Shape::random(&mut random), SOURCED[number % SOURCED.len()]);
        let own = compiled(&shape);
        let sourced = Compiled::new(&shape.files_without(types)).unwrap();
        let joined = sourced.join(&crate::testing::given(&shape.given(types))).unwrap();
        let mut shape_less = shape.clone();
        let at: Vec<_> =
            (0..shape.entities.len()).filter(|at| types.contains(&shape.entities[*at].kind)).collect();
        shape_less.entities.remove(at[random.below(at.len())]);
        let fewer = sourced.join(&crate::testing::given(&shape_less.given(types)));
        unusable += usize::from(fewer.is_err());
        for _ in 0..REQUESTS {
            let (request, labels) = (request(&shape.request(&mut random)), labels(&mut random));
            let whole = sourced.evaluate_in(&request, Some(&labels), Some(&joined));
            assert_eq!(
                whole,
                own.evaluate(&request, Some(&labels)),
                "{types:?} {:?}\n{request:?}",
                shape.policies
            );
            assert!(!permits(&sourced.evaluate_in(&request, Some(&labels), None)), "{request:?}");
            let Ok(fewer) = &fewer else {
                seen.add(&whole);
                continue;
            };
            less += 1;
            let after = sourced.evaluate_in(&request, Some(&labels), Some(fewer));
            seen.compare(&whole, &after, &(types, &shape.policies, &request));
        }
    }
    println!(
        "{unusable} of {bundles} sources could not be used with an entity less; {less} requests where one could"
    );
    assert!(unusable > bundles / 10 && less > REQUESTS * bundles / 10, "{unusable} {less}");
    seen.check(bundles, &[("changed", seen.changed, 100), ("lost", seen.lost, 200)]);
}

#[test]
fn a_required_fact_less_is_never_permitted() {
    let mut random = Random::seeded();
    let (mut attributes, mut keys) = (0, 0);
    for _ in 0..bundles(FEW) {
        let mut shape = Shape::random(&mut random);
        let loaded = compiled(&shape);
        let requests = (0..REQUESTS / 2).flat_map(|_| shape.requests_without_a_key(&mut random));
        for left_out in requests.collect::<Vec<_>>() {
            keys += 1;
            let labels = labels(&mut random);
            assert!(!permits(&loaded.evaluate(&request(&left_out), Some(&labels))), "{left_out:?}");
        }
        let required = shape.required_attributes();
        let Some((entity, attribute)) = required.first() else { continue };
        attributes += 1;
        shape.entities[*entity].attributes.remove(attribute);
        let error = Compiled::new(&shape.files()).unwrap_err();
        assert!(
            matches!(error, BundleError::Corrupt(defect) if matches!(defect.fault, Fault::Entities { .. }))
        );
    }
    println!("{keys} requests without a key, {attributes} bundles without an attribute");
    assert!(attributes > 5 && keys > 5 * REQUESTS, "{attributes} {keys}");
}

// The exceptions: what the schema calls optional, and membership, are statements of the signed bundle or of the request, and
// their absence is known, not unknown. A policy may grant by it, and `bundle prove` and cases are there to see whether it was
// meant.

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// Exception: an optional key that is left out of a request is known to be absent.
#[test]
fn an_optional_key_that_a_forbid_asks_for_can_be_left_out() {
    let guard = "@id(\"no-tags\") forbid (principal, action == Action::\"fs.read\", resource) when { context has tags };";
    let bundle = bundle(with_policies(&format!("{ALL}{guard}")));
    let ask = |context| said(&bundle.evaluate(&read("bot", context)));
    assert_eq!(ask(r#"{"path":"/a","tags":["x"]}"#), "policy.forbidden no-tags");
    assert_eq!(ask(r#"{"path":"/a"}"#), "PERMIT all");
}

/// Exception: an agent that names nobody is known to act for itself. Whether it may is what its credential says, and not
/// policy's to know: the arbiter refuses one that is to name somebody.
#[test]
fn a_principal_that_a_forbid_asks_for_can_be_left_out_where_the_schema_calls_it_optional() {
    let guard = "@id(\"no-rogue\") forbid (principal, action == Action::\"fs.read\", resource)\n\
                 when { context has acts_for && context.acts_for in Group::\"suspended\" };";
    let bundle = bundle(edit(
        with_policies(&format!("{ALL}{guard}")),
        "schema.cedarschema",
        "dry?: Bool }",
        "dry?: Bool, acts_for?: Agent }",
    ));
    let mut request = read("bot", r#"{"path":"/a"}"#);
    assert_eq!(said(&bundle.evaluate(&request)), "PERMIT all");
    request.ask.acts_for = Some("rogue".parse().unwrap());
    assert_eq!(said(&bundle.evaluate(&request)), "policy.forbidden no-rogue");
}

/// Exception: an optional attribute that an entity does not have is known to be absent.
#[test]
fn an_optional_attribute_that_a_forbid_asks_for_can_be_absent() {
    let guard = "@id(\"no-owned\") forbid (principal, action, resource) when { principal has owner };";
    let owner = "\"attrs\": {\"owner\": {\"__entity\": {\"type\": \"Agent\", \"id\": \"rogue\"}}}";
    let owned = edit(
        with("entities.json", "\"id\": \"bot\" }, \"attrs\": {}", &format!("\"id\": \"bot\" }}, {owner}")),
        "policies/main.cedar",
        "@id(\"may-charge\")",
        &format!("{guard}\n@id(\"may-charge\")"),
    );
    assert_eq!(said(&bundle(owned).evaluate(&charge("bot", "1.00"))), "policy.forbidden no-owned");
    let free = bundle(with_policies(&format!("{ALL}{guard}")));
    assert_eq!(said(&free.evaluate(&charge("bot", "1.00"))), "PERMIT all");
}

/// Exception: a tag that an entity does not have is known to be absent, as an optional attribute is: what has tags is signed with
/// them, or given by a source as a whole.
#[test]
fn a_tag_that_a_forbid_asks_for_can_be_absent() {
    let guard = "@id(\"no-held\") forbid (principal, action, resource)\n\
                 when { principal.hasTag(\"held\") && principal.getTag(\"held\") == \"yes\" };";
    let schema = ("schema.cedarschema", "{ owner?: Agent }", "{ owner?: Agent } tags String");
    let free = edit(with_policies(&format!("{ALL}{guard}")), schema.0, schema.1, schema.2);
    let bot = "\"id\": \"bot\" }, \"attrs\": {},";
    let held = |value: &str| {
        let tagged = format!("{bot} \"tags\": {{ \"held\": \"{value}\" }},");
        said(&bundle(edit(free.clone(), "entities.json", bot, &tagged)).evaluate(&charge("bot", "1.00")))
    };
    assert_eq!(held("yes"), "policy.forbidden no-held");
    assert_eq!(held("no"), "PERMIT all");
    assert_eq!(said(&bundle(free.clone()).evaluate(&charge("bot", "1.00"))), "PERMIT all");
    // Of one that is not asked for first, nothing is known: it does not load.
    let unasked = edit(free, "policies/main.cedar", "principal.hasTag(\"held\") && ", "");
    assert!(defect(unasked).contains("tag"));
}

/// Exception: a label that an agent does not have is known to be missing, by the log in whose order labels are given. Whether they
/// are known at all is another question: where they are not, nothing is permitted.
#[test]
fn a_label_that_a_forbid_asks_for_can_be_missing() {
    let guard = "@id(\"no-secret\") forbid (principal, action == Action::\"fs.read\", resource)\n\
                 when { context.labels.contains(\"secret\") };";
    let files = edit(
        with_policies(&format!("{ALL}{guard}")),
        "schema.cedarschema",
        "dry?: Bool }",
        "dry?: Bool, labels: Set<String> }",
    );
    let label = "[labels.secret]\nlifetime = \"8h\"\n\n[roster.people.ada]";
    let bundle = bundle(edit(files, "bundle.toml", "[roster.people.ada]", label));
    let request = read("bot", r#"{"path":"/a"}"#);
    let with = |labels: &[&str]| {
        let labels = labels.iter().map(|label| label.parse().unwrap()).collect();
        said(&bundle.evaluate_labelled(&request, &labels))
    };
    assert_eq!(with(&["secret"]), "policy.forbidden no-secret");
    assert_eq!(with(&[]), "PERMIT all");
    assert_eq!(said(&bundle.evaluate(&request)), "policy.request_invalid");
}

/// Exception: the bundle is signed as a whole, so that who is in no group is known to be in none.
#[test]
fn a_membership_that_a_forbid_asks_for_can_be_absent() {
    let guard = "@id(\"no-suspended\") forbid (principal in Group::\"suspended\", action, resource);";
    let policies = with_policies(&format!("{ALL}{guard}"));
    assert_eq!(
        said(&bundle(policies.clone()).evaluate(&charge("rogue", "1.00"))),
        "policy.forbidden no-suspended"
    );
    let parents = "\"parents\": [{ \"type\": \"Group\", \"id\": \"suspended\" }]";
    let free = bundle(edit(policies, "entities.json", parents, "\"parents\": []"));
    assert_eq!(said(&free.evaluate(&charge("rogue", "1.00"))), "PERMIT all");
}
