use super::*;
use crate::fact::Validity;
use crate::idempotency::KeyStatus;
use crate::mandate::Mandate;
use crate::testing::demo;
use portcullis_policy::Bundle;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{Decision, Salt, request::Ask};

fn call(text: &str) -> DecisionCall {
    DecisionCall {
        request: Ask::parse(text.as_bytes()).unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload: None,
    }
}

fn charge(amount: &str, key: &str) -> DecisionCall {
    call(&format!(
        r#"{{"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
        "context":{{"account":"a","amount":"{amount}"}},"idempotency_key":"{key}"}}"#
    ))
}

fn agent(name: &str) -> Credential {
    Credential {
        agent: name.parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    }
}

fn health(bundle: &Bundle) -> Health {
    Health {
        gate: Fact::Known(GateState::Open),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: Fact::Known(PolicyNow {
            digest: Some(bundle.reference().digest),
            root: None,
            policy: Policy::InForce(Validity::Valid),
        }),
        sources: Fact::Known(portcullis_protocol::Snapshots::new()),
        witnesses: Fact::Known(false),
        now: Millis(1_700_000_000_000),
        boot: 10_500,
    }
}

fn prepared(call: DecisionCall, credential: Credential, bundle: &Bundle) -> Intake {
    prepare(call, credential, Ok(bundle), 10_000, &BTreeSet::new()).unwrap()
}

fn reason(settled: &Settled) -> Option<ReasonCode> {
    match settled {
        Settled::Decided(verdict) => verdict.reason(),
        Settled::EvaluateAgain => panic!("evaluate again"),
    }
}

#[test]
fn a_granted_charge_is_permitted_and_recorded_with_its_terms() {
    let bundle = demo();
    let intake = prepared(charge("12.50", "k"), agent("demo-agent"), &bundle);
    let health = health(&bundle);
    let Settled::Decided(verdict) = settle(&intake, &health, Fact::Known(None), Room::Of(&Standing::new()))
    else {
        panic!()
    };
    assert_eq!(verdict.decision(), Decision::Permit);
    let record = record(&intake, &verdict, 9, &health, &Standing::new());
    assert_eq!((record.seq, record.decision, record.reason), (9, Decision::Permit, None));
    assert_eq!(record.request, intake.commitment);
    assert!(record.permit_ttl_ms.is_some() && record.outcome_due > Some(health.now) && record.key.is_some());
    assert_eq!(record.policies, verdict.policies());
}

#[test]
fn what_policy_refuses_is_refused_with_its_code() {
    let bundle = demo();
    let refused = |call, name: &str| {
        reason(&settle(
            &prepared(call, agent(name), &bundle),
            &health(&bundle),
            Fact::Known(None),
            Room::Of(&Standing::new()),
        ))
    };
    assert_eq!(refused(charge("100.01", "k"), "demo-agent"), Some(ReasonCode::PolicyNoGrant));
    assert_eq!(refused(charge("1.00", "k"), "stranger-agent"), Some(ReasonCode::PolicyNoGrant));
    assert_eq!(refused(charge("1.00", "k"), "nobody-knows-me"), Some(ReasonCode::IdentityUnknown));
    assert_eq!(refused(charge("1.0", "k"), "demo-agent"), Some(ReasonCode::SurfaceContext));
    let unknown =
        call(r#"{"surface":"demo.other","action":"demo.other","resource":{"type":"Surface","id":"x"}}"#);
    assert_eq!(refused(unknown, "demo-agent"), Some(ReasonCode::SurfaceUnknown));
    let action = charge("1.00", "k");
    let action = DecisionCall {
        request: Ask { action: "demo.read_balance".parse().unwrap(), ..action.request },
        ..action
    };
    assert_eq!(refused(action, "demo-agent"), Some(ReasonCode::SurfaceActionUnknown));
}

#[test]
fn an_expired_credential_is_refused_to_the_millisecond() {
    let bundle = demo();
    let at = |expires| {
        let credential = Credential { expires: Some(Millis(expires)), ..agent("demo-agent") };
        reason(&settle(
            &prepared(charge("1.00", "k"), credential, &bundle),
            &health(&bundle),
            Fact::Known(None),
            Room::Of(&Standing::new()),
        ))
    };
    assert_eq!(at(1_700_000_000_001), None);
    assert_eq!(at(1_700_000_000_000), Some(ReasonCode::IdentityExpired));
}

#[test]
fn a_passed_deadline_permits_nothing() {
    let bundle = demo();
    let intake = prepared(charge("1.00", "k"), agent("demo-agent"), &bundle);
    let mut late = health(&bundle);
    late.boot = 11_000;
    assert_eq!(
        reason(&settle(&intake, &late, Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::OverloadDeadline)
    );
    late.boot = 10_999;
    assert_eq!(reason(&settle(&intake, &late, Fact::Known(None), Room::Of(&Standing::new()))), None);
}

#[test]
fn a_verdict_of_another_bundle_is_computed_again_and_at_last_refused() {
    let bundle = demo();
    let mut intake = prepared(charge("1.00", "k"), agent("demo-agent"), &bundle);
    let mut moved = health(&bundle);
    moved.policy = Fact::Known(PolicyNow {
        digest: Some(BundleDigest(Digest::sha256(b"other"))),
        root: None,
        policy: Policy::InForce(Validity::Valid),
    });
    assert_eq!(
        settle(&intake, &moved, Fact::Known(None), Room::Of(&Standing::new())),
        Settled::EvaluateAgain
    );
    intake.last_try = true;
    assert_eq!(
        reason(&settle(&intake, &moved, Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::OverloadContended)
    );
    moved.gate = Fact::Known(GateState::Shut);
    assert_eq!(
        reason(&settle(&intake, &moved, Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::GateShut)
    );
}

#[test]
fn a_bundle_pulled_after_the_verdict_permits_nothing() {
    let bundle = demo();
    let intake = prepared(charge("1.00", "k"), agent("demo-agent"), &bundle);
    let mut pulled = health(&bundle);
    let refused = Policy::Refused(ReasonCode::PolicyMissing);
    pulled.policy = Fact::Known(PolicyNow { digest: None, root: None, policy: refused });
    assert_eq!(
        reason(&settle(&intake, &pulled, Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::PolicyMissing)
    );
    let mut expired = health(&bundle);
    let digest = Some(bundle.reference().digest);
    expired.policy =
        Fact::Known(PolicyNow { digest, root: None, policy: Policy::InForce(Validity::Expired) });
    assert_eq!(
        reason(&settle(&intake, &expired, Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::PolicyExpired)
    );
}

#[test]
fn a_bundle_in_force_that_nobody_names_permits_nothing() {
    let bundle = demo();
    let intake = prepared(charge("1.00", "k"), agent("demo-agent"), &bundle);
    let mut nameless = health(&bundle);
    nameless.policy =
        Fact::Known(PolicyNow { digest: None, root: None, policy: Policy::InForce(Validity::Valid) });
    let settled = settle(&intake, &nameless, Fact::Known(None), Room::Of(&Standing::new()));
    assert_eq!(reason(&settled), Some(ReasonCode::PolicyMissing));
}

#[test]
fn a_call_prepared_without_a_bundle_is_never_permitted() {
    let bundle = demo();
    let intake = prepare(
        charge("1.00", "k"),
        agent("demo-agent"),
        Err(ReasonCode::PolicyMissing),
        10_000,
        &BTreeSet::new(),
    )
    .unwrap();
    assert_eq!(
        settle(&intake, &health(&bundle), Fact::Known(None), Room::Of(&Standing::new())),
        Settled::EvaluateAgain
    );
    let mut last = intake;
    last.last_try = true;
    assert_eq!(
        reason(&settle(&last, &health(&bundle), Fact::Known(None), Room::Of(&Standing::new()))),
        Some(ReasonCode::OverloadContended)
    );
}

#[test]
fn a_call_mapped_by_another_bundles_rules_is_refused() {
    let bundle = demo();
    let mut mapped = charge("1.00", "k");
    mapped.request.mapped_with = Some(Digest::sha256(b"other"));
    let intake = prepared(mapped, agent("demo-agent"), &bundle);
    let settled = settle(&intake, &health(&bundle), Fact::Known(None), Room::Of(&Standing::new()));
    assert_eq!(reason(&settled), Some(ReasonCode::SurfaceMappingChanged));
}

#[test]
fn a_consumed_key_settles_before_policy_is_asked() {
    let bundle = demo();
    let intake = prepared(charge("1.00", "k"), agent("demo-agent"), &bundle);
    let consumed = |operation| StoredKey { operation, status: KeyStatus::Completed, consumed: Millis(0) };
    let stored = |operation| Fact::Known(Some(consumed(operation)));
    let settled = |stored| reason(&settle(&intake, &health(&bundle), stored, Room::Of(&Standing::new())));
    assert_eq!(settled(stored(intake.operation)), Some(ReasonCode::IdempotencyCompleted));
    assert_eq!(settled(stored(Digest::sha256(b"other"))), Some(ReasonCode::IdempotencyConflict));
    assert_eq!(settled(Fact::Unknown), Some(ReasonCode::IdempotencyUnreadable));
}

const CHARGE: &[u8] = br#"{"name":"charge","inputSchema":{"properties":{"amount":{"type":"string"},"account":{"type":"string"}},
    "required":["amount","account"]}}"#;

/// What a gate asks about a tool, under the demo's bundle with one pinned definition.
fn called(definition: Option<portcullis_protocol::ToolSeen>) -> Option<ReasonCode> {
    called_with(definition, Some(portcullis_protocol::ArgumentsSeen::Fit))
}

/// The same, with what the gate saw of the arguments.
fn called_with(
    definition: Option<portcullis_protocol::ToolSeen>,
    arguments: Option<portcullis_protocol::ArgumentsSeen>,
) -> Option<ReasonCode> {
    let tool = portcullis_protocol::ToolDefinition::parse(CHARGE).unwrap();
    let pins = portcullis_policy::PinnedTools::new("demo", [tool]).unwrap();
    let mut files = portcullis_policy::bundles::demo();
    files.insert("tools/demo.json".into(), pins.to_file("demo").unwrap());
    let bundle = crate::testing::verified(files);
    let mut call = charge("1.00", "k");
    call.request.mapped_with = bundle.surfaces_digest();
    let name = "demo/charge".parse().unwrap();
    call.request.tool =
        definition.map(|definition| portcullis_protocol::CalledTool { name, definition, arguments });
    let intake = prepared(call, agent("demo-agent"), &bundle);
    reason(&settle(&intake, &health(&bundle), Fact::Known(None), Room::Of(&Standing::new())))
}

#[test]
fn a_tool_that_is_not_defined_as_it_is_pinned_is_refused_by_the_arbiter_itself() {
    use portcullis_protocol::ToolSeen::{Absent, Ambiguous, Defined, Unknown};
    let pin = portcullis_protocol::ToolDefinition::parse(CHARGE).unwrap().digest();
    assert_eq!(called(Some(Defined(pin))), None);
    let other = Defined(Digest::sha256(b"other"));
    assert_eq!(called(Some(other)), Some(ReasonCode::ToolDefinitionChanged));
    assert_eq!(called(Some(Absent)), Some(ReasonCode::ToolDefinitionChanged));
    assert_eq!(called(Some(Ambiguous)), Some(ReasonCode::ToolAmbiguous));
    assert_eq!(called(Some(Unknown)), Some(ReasonCode::ToolDefinitionUnknown));
    assert_eq!(called(None), Some(ReasonCode::ToolDefinitionUnknown), "a gate that did not look");
}

#[test]
fn arguments_that_do_not_fit_the_pinned_schema_are_refused_by_the_arbiter_itself() {
    use portcullis_protocol::ArgumentsSeen::{Fit, Unchecked, Undeclared, Unfit};
    let pin = portcullis_protocol::ToolDefinition::parse(CHARGE).unwrap().digest();
    let called = |arguments| called_with(Some(portcullis_protocol::ToolSeen::Defined(pin)), arguments);
    assert_eq!(called(Some(Fit)), None);
    assert_eq!(called(Some(Undeclared)), Some(ReasonCode::ToolArgumentsUndeclared));
    assert_eq!(called(Some(Unfit)), Some(ReasonCode::ToolArgumentsInvalid));
    assert_eq!(called(Some(Unchecked)), Some(ReasonCode::ToolArgumentsUnchecked));
    assert_eq!(called(None), Some(ReasonCode::ToolArgumentsUnchecked), "a gate that is older than this");
}

#[test]
fn a_tool_that_is_not_pinned_is_refused_as_that_before_its_surface_is_looked_for() {
    let tool = portcullis_protocol::ToolDefinition::parse(CHARGE).unwrap();
    let digest = tool.digest();
    let pins = portcullis_policy::PinnedTools::new("demo", [tool]).unwrap();
    let mut files = portcullis_policy::bundles::demo();
    files.insert("tools/demo.json".into(), pins.to_file("demo").unwrap());
    let bundle = crate::testing::verified(files);
    let mut call = call(
        r#"{"surface":"demo.mcp.unknown","action":"demo.mcp.unknown","resource":{"type":"Surface","id":"x"}}"#,
    );
    let ask = |call: &DecisionCall| {
        let intake = prepared(call.clone(), agent("demo-agent"), &bundle);
        reason(&settle(&intake, &health(&bundle), Fact::Known(None), Room::Of(&Standing::new())))
    };
    call.request.mapped_with = bundle.surfaces_digest();
    assert_eq!(ask(&call), Some(ReasonCode::SurfaceUnknown));
    let definition = portcullis_protocol::ToolSeen::Defined(digest);
    call.request.tool = Some(portcullis_protocol::CalledTool {
        name: "demo/erase".parse().unwrap(),
        definition,
        arguments: None,
    });
    assert_eq!(ask(&call), Some(ReasonCode::ToolUnpinned));
    call.request.mapped_with = Some(Digest::sha256(b"other"));
    assert_eq!(ask(&call), Some(ReasonCode::SurfaceMappingChanged));
}

/// It could wait for minutes longer than the bundle that granted it.
#[test]
fn a_permit_was_spent_after_the_end_of_its_bundle() {
    let bundle = demo();
    let (end, standing) = (bundle.validity().1, Standing::default());
    let own = bundle.surfaces().surfaces[&"demo.charge".parse().unwrap()].permit_ttl_ms;
    let intake = prepared(charge("10.00", "k"), agent("demo-agent"), &bundle);
    for (left, expected) in [(10 * own, own), (own, own), (own - 1, own - 1), (1, 1)] {
        let health = Health { now: Millis(end.0 - left), ..health(&bundle) };
        let Settled::Decided(verdict) = settle(&intake, &health, Fact::Known(None), Room::Of(&standing))
        else {
            panic!("evaluate again")
        };
        let record = record(&intake, &verdict, 0, &health, &standing);
        assert_eq!((record.decision, record.permit_ttl_ms), (Decision::Permit, Some(expected)), "{left}");
    }
}

/// A surface has the arguments of its calls kept: of a call without them, or with others, nobody could ever say what it was.
#[test]
fn a_call_whose_arguments_cannot_be_kept_is_refused_by_the_arbiter_itself() {
    let keeping = |keep: &str| {
        crate::testing::changed(|manifest| {
            let key = "idempotency = \"key\"";
            manifest.replacen(key, &format!("{key}\nkeep = {keep}"), 1)
        })
    };
    let payload = |arguments: &str| {
        let [server, method, name] = ["demo", "tools/call", "charge"].map(str::to_owned);
        Payload { server, method, name, arguments: arguments.to_owned(), rest: String::new() }
    };
    let own = payload("{}");
    let asked = |bundle: &Bundle, brought: Option<Payload>| {
        let mut call = charge("1.00", "k");
        call.request.payload = Some(own.digest());
        call.payload = brought;
        let intake = prepared(call, agent("demo-agent"), bundle);
        let kept = intake.payload_to_keep().cloned();
        let code = reason(&settle(&intake, &health(bundle), Fact::Known(None), Room::Of(&Standing::new())));
        (code, code.and_then(|code| intake.detail_of(code)), kept)
    };
    let bundle = keeping("[\"arguments\"]");
    assert_eq!(asked(&bundle, Some(own.clone())), (None, None, Some(own.clone())));
    let unkept = |why: &str| (Some(ReasonCode::SurfaceArgumentsUnkept), Some(why.to_owned()), None);
    assert_eq!(asked(&bundle, None), unkept("they did not come with the request"));
    let other = "they are not those that the request commits to";
    assert_eq!(asked(&bundle, Some(payload("{ }"))), unkept(other));
    let longer = "they are longer than 262,144 bytes, the most that is kept";
    assert_eq!(asked(&bundle, Some(payload(&"a".repeat(Payload::LONGEST)))), unkept(longer));
    // Where the bundle does not ask for them they need not come, and what comes is not kept.
    let other = keeping("[\"request\", \"result\"]");
    for brought in [None, Some(own.clone()), Some(payload("other"))] {
        assert_eq!(asked(&other, brought), (None, None, None));
    }
}
