use std::collections::HashSet;

use cedar_policy::{Authorizer, Decision, EntityUid, PolicySet, Response};
use portcullis_protocol::surface::is_canonical_path;
use proptest::prelude::*;

use super::*;
use crate::testing::{bundle, charge, edit, files, read, request, said, with, with_policies};

const PERMIT_ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn with_all(policies: &str) -> Bundle {
    bundle(with_policies(&format!("{PERMIT_ALL}{policies}")))
}

/// What Cedar alone answers, asked as its documentation shows: without a schema.
fn cedar_alone(bundle: &Bundle, agent: &str, action: &str, resource: &str, context: Context) -> Decision {
    let uid = |text: String| text.parse::<EntityUid>().unwrap();
    let request = CedarRequest::new(
        uid(format!("Agent::\"{agent}\"")),
        uid(format!("Action::\"{action}\"")),
        uid(resource.to_owned()),
        context,
        None,
    )
    .unwrap();
    Authorizer::new().is_authorized(&request, &whole(bundle), &bundle.compiled.entities).decision()
}

/// All policies of a bundle, as Cedar's own authorizer takes them.
fn whole(bundle: &Bundle) -> PolicySet {
    PolicySet::from_policies(bundle.compiled.slices.policies().into_values().cloned()).unwrap()
}

fn payment(bundle: &Bundle, context: &str) -> Context {
    let ask = request("bot", "pay.charge", "charge", "Account:a-1", context).ask;
    build_context(&bundle.table.surfaces[&ask.surface], &ask.context, Vec::new())
        .map_err(|refusal| refusal.detail)
        .unwrap()
}

// --- Cedar's traps -----------------------------------------------------------------------------------------

/// Incident 5: Cedar skips a policy that errs, a forbid too, and answers Allow.
#[test]
fn a_forbid_that_errs_does_not_let_a_permit_through() {
    let bundle = with_all(
        "@id(\"b-guard\") forbid (principal, action == Action::\"charge\", resource)
           when { context.count * 9223372036854775807 < 0 };
         @id(\"a-guard\") forbid (principal, action == Action::\"charge\", resource)
           when { context.count + 9223372036854775807 < 0 };",
    );
    let ask = |count: u8| {
        request(
            "bot",
            "pay.charge",
            "charge",
            "Account:a-1",
            &format!(r#"{{"amount":"1.00","count":{count}}}"#),
        )
    };
    assert_eq!(said(&bundle.evaluate(&ask(0))), "PERMIT all");
    assert_eq!(said(&bundle.evaluate(&ask(2))), "policy.evaluation_error a-guard, b-guard");

    let context = payment(&bundle, r#"{"amount":"1.00","count":2}"#);
    assert_eq!(cedar_alone(&bundle, "bot", "charge", "Account::\"a-1\"", context), Decision::Allow);
}

#[test]
fn a_permit_that_errs_is_an_error_not_a_missing_grant() {
    let bundle = bundle(with_policies(
        "@id(\"grant\") permit (principal, action == Action::\"charge\", resource)
           when { context.count * 9223372036854775807 > 0 };",
    ));
    let ask = request("bot", "pay.charge", "charge", "Account:a-1", r#"{"amount":"1.00","count":2}"#);
    assert_eq!(said(&bundle.evaluate(&ask)), "policy.evaluation_error grant");
}

/// `principal in Group::"suspended"` is false, with no error, for a principal that is not in the store.
#[test]
fn an_agent_outside_the_entities_escapes_no_suspension() {
    let bundle =
        with_all("@id(\"no-suspended\") forbid (principal in Group::\"suspended\", action, resource);");
    assert_eq!(said(&bundle.evaluate(&charge("bot", "1.00"))), "PERMIT all");
    assert_eq!(said(&bundle.evaluate(&charge("rogue", "1.00"))), "policy.forbidden no-suspended");
    assert_eq!(said(&bundle.evaluate(&charge("rogue2", "1.00"))), "policy.entity_unknown");
    assert_eq!(bundle.knows_agent(&"rogue".parse().unwrap(), None), Some(true));
    assert_eq!(bundle.knows_agent(&"rogue2".parse().unwrap(), None), Some(false));
    assert_eq!(bundle.knows_agent(&"a-1".parse().unwrap(), None), Some(false), "an account is no agent");

    let context = payment(&bundle, r#"{"amount":"1.00","count":1}"#);
    assert_eq!(cedar_alone(&bundle, "rogue2", "charge", "Account::\"a-1\"", context), Decision::Allow);
}

#[test]
fn a_resource_outside_the_entities_is_silence() {
    let bundle = with_all("");
    let with_resource = |resource| {
        said(&bundle.evaluate(&request(
            "bot",
            "pay.charge",
            "charge",
            resource,
            r#"{"amount":"1.00","count":1}"#,
        )))
    };
    assert_eq!(with_resource("Account:a-1"), "PERMIT all");
    for absent in ["Account:a-2", "Account:", "Wallet:a-1", "account:a-1", "Account :a-1", "Action:charge"] {
        assert_eq!(with_resource(absent), "policy.entity_unknown", "{absent}");
    }
}

/// Without the schema Cedar takes any principal, resource and context for any action.
#[test]
fn a_request_that_the_schema_does_not_know_is_silence() {
    let bundle = with_all("");
    let read_account = request("bot", "fs.read", "fs.read", "Account:a-1", r#"{"path":"/safe/a"}"#);
    assert_eq!(said(&bundle.evaluate(&read_account)), "policy.request_invalid");
    let read_agent = request("bot", "fs.read", "fs.read", "Agent:rogue", r#"{"path":"/safe/a"}"#);
    assert_eq!(said(&bundle.evaluate(&read_agent)), "policy.request_invalid");

    let context = payment(&bundle, r#"{"amount":"1.00","count":1}"#);
    assert_eq!(cedar_alone(&bundle, "bot", "fs.read", "Account::\"a-1\"", context), Decision::Allow);
}

/// Cedar's JSON forms `__entity` and `__extn` make an argument an entity or a decimal.
#[test]
fn escapes_in_arguments_stay_text() {
    let bundle = with_all(
        "@id(\"never\") forbid (principal, action == Action::\"fs.read\", resource)
           when { context has tags && context.tags.contains(\"{\\\"__entity\\\":1}\") };",
    );
    for context in [
        r#"{"path":{"__entity":{"type":"Agent","id":"bot"}}}"#,
        r#"{"path":{"__extn":{"fn":"decimal","arg":"1.00"}}}"#,
        r#"{"path":{"__expr":"principal"}}"#,
        r#"{"path":"/a","tags":[{"__entity":{"type":"Agent","id":"bot"}}]}"#,
        r#"{"path":"/a","tags":{"__entity":{"type":"Agent","id":"bot"}}}"#,
        r#"{"path":"/a","dry":{"__extn":{"fn":"decimal","arg":"1.00"}}}"#,
        r#"{"path":"/a","__entity":{"type":"Agent","id":"bot"}}"#,
    ] {
        assert_eq!(said(&bundle.evaluate(&read("bot", context))), "surface.context", "{context}");
    }
    let text = r#"{"path":"/a","tags":["{\"__entity\":1}"]}"#;
    assert_eq!(said(&bundle.evaluate(&read("bot", text))), "policy.forbidden never");

    let spec = &bundle.table.surfaces[&"fs.read".parse().unwrap()];
    let ask =
        read("bot", r#"{"path":"/a","tags":["{\"__extn\":{\"fn\":\"decimal\",\"arg\":\"1.00\"}}"]}"#).ask;
    let context = build_context(spec, &ask.context, Vec::new()).map_err(|refusal| refusal.detail).unwrap();
    let Some(cedar_policy::EvalResult::Set(tags)) = context.get("tags") else { panic!("no set") };
    assert!(tags.iter().all(|tag| matches!(tag, cedar_policy::EvalResult::String(_))), "{tags:?}");
}

/// Cedar keeps determining policies in a hash set, whose order differs from run to run.
#[test]
fn determining_policies_come_sorted() {
    let policies: String = (10..40)
        .map(|n| format!("@id(\"p{n}\") permit (principal, action, resource);\n@id(\"f{n}\") forbid (principal == Agent::\"rogue\", action, resource);\n"))
        .collect();
    let bundle = bundle(with_policies(&policies));
    let expected = |letter: &str| (10..40).map(|n| format!("{letter}{n}")).collect::<Vec<_>>().join(", ");
    for _ in 0..20 {
        assert_eq!(said(&bundle.evaluate(&charge("bot", "1.00"))), format!("PERMIT {}", expected("p")));
        assert_eq!(
            said(&bundle.evaluate(&charge("rogue", "1.00"))),
            format!("policy.forbidden {}", expected("f"))
        );
    }
}

#[test]
fn fractions_have_no_way_in() {
    for context in [r#"{"amount":1.5,"count":1}"#, r#"{"amount":"1.00","count":1e0}"#] {
        let ask = format!(
            r#"{{"surface":"pay.charge","action":"charge","resource":{{"type":"Account","id":"a-1"}},"context":{context}}}"#
        );
        let refused = portcullis_protocol::request::Ask::parse(ask.as_bytes()).unwrap_err();
        assert_eq!(refused.code, ReasonCode::RequestFraction);
    }
}

// --- The declared context ----------------------------------------------------------------------------------

#[test]
fn the_context_is_exactly_what_the_surface_declares() {
    let bundle = with_all("");
    let pay =
        |context| said(&bundle.evaluate(&request("bot", "pay.charge", "charge", "Account:a-1", context)));
    assert_eq!(pay(r#"{"amount":"1.00","count":1}"#), "PERMIT all");
    assert_eq!(pay(r#"{"amount":"1.00","count":-1,"note":""}"#), "PERMIT all");
    assert_eq!(pay(r#"{"amount":"99999999999999.99","count":9007199254740991}"#), "PERMIT all");
    for context in [
        "{}",
        r#"{"amount":"1.00"}"#,
        r#"{"count":1}"#,
        r#"{"amount":"1.00","count":1,"extra":true}"#,
        r#"{"amount":"1.00","count":1,"Note":"x"}"#,
        r#"{"amount":"1.00","count":1,"note":null}"#,
        r#"{"amount":"1.00","count":1,"note":1}"#,
        r#"{"amount":"1.00","count":"1"}"#,
        r#"{"amount":"1.00","count":true}"#,
        r#"{"amount":1,"count":1}"#,
        r#"{"amount":"1.0","count":1}"#,
        r#"{"amount":"1.000","count":1}"#,
        r#"{"amount":"01.00","count":1}"#,
        r#"{"amount":"-0.00","count":1}"#,
        r#"{"amount":"999999999999999.00","count":1}"#,
        r#"{"amount":["1.00"],"count":1}"#,
    ] {
        assert_eq!(pay(context), "surface.context", "{context}");
    }
}

#[test]
fn paths_and_urls_have_one_spelling() {
    let bundle = with_all("");
    let at = |context| said(&bundle.evaluate(&read("bot", context)));
    assert_eq!(at(r#"{"path":"/safe/a","url":"https://example.com/","tags":[],"dry":false}"#), "PERMIT all");
    assert_eq!(at(r#"{"path":"/safe/../etc"}"#), "request.not_canonical");
    assert_eq!(at(r#"{"path":"safe/a"}"#), "request.not_canonical");
    assert_eq!(at(r#"{"path":"/safe/a","url":"https://EXAMPLE.com/"}"#), "request.not_canonical");
    assert_eq!(at(r#"{"path":1}"#), "surface.context");
    assert_eq!(at(r#"{"path":"/safe/a","tags":["a",1]}"#), "surface.context");
    assert_eq!(at(r#"{"path":"/safe/a","dry":"false"}"#), "surface.context");
}

#[test]
fn surfaces_and_their_actions_are_closed_lists() {
    let bundle = with_all("");
    let ask = |surface, action| {
        let context = r#"{"amount":"1.00","count":1}"#;
        said(&bundle.evaluate(&request("bot", surface, action, "Account:a-1", context)))
    };
    assert_eq!(ask("pay.charge", "charge"), "PERMIT all");
    assert_eq!(ask("pay.charge", "refund"), "PERMIT all");
    assert_eq!(ask("pay.pay", "charge"), "surface.unknown");
    for action in ["fs.read", "any", "Charge", "pay.charge", "charge\\\"", "Action::\\\"charge\\\""] {
        assert_eq!(ask("pay.charge", action), "surface.action_unknown", "{action}");
    }
}

// --- Order, outcomes, purity -------------------------------------------------------------------------------

#[test]
fn the_first_failing_check_is_the_verdict() {
    let bundle = bundle(files());
    // Each request fails its own check and every later one.
    for (request, expected) in [
        (request("ghost", "no.surface", "none", "Ghost:g", r#"{"x":1}"#), "surface.unknown"),
        (request("ghost", "fs.read", "charge", "Ghost:g", r#"{"x":1}"#), "surface.action_unknown"),
        (request("ghost", "fs.read", "fs.read", "Ghost:g", r#"{"x":1}"#), "surface.context"),
        (request("ghost", "fs.read", "fs.read", "Account:a-1", r#"{"path":".."}"#), "request.not_canonical"),
        (request("ghost", "fs.read", "fs.read", "Account:a-1", r#"{"path":"/x"}"#), "policy.entity_unknown"),
        (request("rogue", "fs.read", "fs.read", "Account:a-1", r#"{"path":"/x"}"#), "policy.request_invalid"),
        (read("rogue", r#"{"path":"/x"}"#), "policy.forbidden no-suspended"),
        (read("bot", r#"{"path":"/x"}"#), "policy.no_grant"),
        (read("bot", r#"{"path":"/safe/x"}"#), "PERMIT may-read"),
    ] {
        assert_eq!(said(&bundle.evaluate(&request)), expected, "{request:?}");
    }
}

#[test]
fn a_forbid_outweighs_a_permit() {
    let bundle = bundle(files());
    assert_eq!(said(&bundle.evaluate(&charge("bot", "100.00"))), "PERMIT may-charge");
    assert_eq!(said(&bundle.evaluate(&charge("bot", "100.01"))), "policy.no_grant");
    assert_eq!(said(&bundle.evaluate(&charge("rogue", "100.00"))), "policy.forbidden no-suspended");
}

#[test]
fn a_forbid_of_one_slice_outweighs_the_grants_of_all_others() {
    let bundle = with_all(
        "@id(\"mine\") permit (principal == Agent::\"rogue\", action, resource);
         @id(\"account\") permit (principal, action, resource == Account::\"a-1\");
         @id(\"no-charge\") forbid (principal in Group::\"suspended\", action == Action::\"charge\", resource);",
    );
    assert_eq!(said(&bundle.evaluate(&charge("bot", "1.00"))), "PERMIT account, all");
    assert_eq!(said(&bundle.evaluate(&charge("rogue", "1.00"))), "policy.forbidden no-charge");
}

/// Incidents 3 and 4: no rule at all is no access.
#[test]
fn without_policies_nothing_is_granted() {
    let mut none = files();
    none.remove("policies/main.cedar");
    assert_eq!(said(&bundle(none).evaluate(&charge("bot", "1.00"))), "policy.no_grant");
    let only_forbid =
        with_policies("@id(\"f\") forbid (principal, action == Action::\"fs.read\", resource);");
    assert_eq!(said(&bundle(only_forbid).evaluate(&charge("bot", "1.00"))), "policy.no_grant");
}

#[test]
fn an_answer_that_contradicts_itself_is_no_permit() {
    let id = |text: &str| cedar_policy::PolicyId::new(text);
    let answer = |response: &Response| {
        let mut answer = Answer::default();
        answer.add(response);
        answer
    };
    let settled = |decision, ids: &[&str]| {
        let response = Response::new(decision, ids.iter().map(|text| id(text)).collect(), Vec::new());
        settle(answer(&response)).map_err(|refusal| (refusal.code, refusal.policies.len()))
    };
    assert!(settled(Decision::Allow, &["a"]).is_ok());
    assert_eq!(settled(Decision::Allow, &[]), Err((ReasonCode::PolicyEngineFailed, 0)));
    assert_eq!(settled(Decision::Allow, &["", "a"]), Err((ReasonCode::PolicyEngineFailed, 0)));
    assert_eq!(settled(Decision::Deny, &[]), Err((ReasonCode::PolicyNoGrant, 0)));
    assert_eq!(settled(Decision::Deny, &["b", "a"]), Err((ReasonCode::PolicyForbidden, 2)));

    // The errors of a real evaluation, put beside an Allow, and beside a Deny.
    let failing = with_all(
        "@id(\"guard\") forbid (principal, action == Action::\"charge\", resource)
           when { context.count * 9223372036854775807 < 0 };",
    );
    let ask = request("bot", "pay.charge", "charge", "Account:a-1", r#"{"amount":"1.00","count":2}"#);
    let asked = failing.compiled.question(&ask, None, failing.compiled.own_entities()).unwrap().request;
    let real = Authorizer::new().is_authorized(&asked, &whole(&failing), &failing.compiled.entities);
    let errors: Vec<_> = real.diagnostics().errors().cloned().collect();
    assert_eq!(errors.len(), 1);
    for decision in [Decision::Allow, Decision::Deny] {
        let response = Response::new(decision, HashSet::from([id("all")]), errors.clone());
        let code = settle(answer(&response)).map_err(|refusal| refusal.code);
        assert_eq!(code, Err(ReasonCode::PolicyEvaluationError));
    }
}

#[test]
fn an_attribute_of_another_entity_is_read_or_is_an_error() {
    let owned = edit(
        with(
            "entities.json",
            "\"id\": \"bot\" }, \"attrs\": {}",
            "\"id\": \"bot\" }, \"attrs\": {\"owner\": {\"__entity\": {\"type\": \"Agent\", \"id\": \"rogue\"}}}",
        ),
        "policies/main.cedar",
        "@id(\"may-read\")",
        "@id(\"no-suspended-owner\") forbid (principal, action, resource) when { principal has owner && principal.owner in Group::\"suspended\" };\n@id(\"may-read\")",
    );
    assert_eq!(said(&bundle(owned).evaluate(&charge("bot", "1.00"))), "policy.forbidden no-suspended-owner");
}

/// Invariant 4: the same request, the same bytes; also by another copy of the bundle.
#[test]
fn evaluation_is_a_pure_function() {
    let (first, second) = (bundle(files()), bundle(files()));
    for request in [charge("bot", "1.00"), charge("rogue", "1.00"), read("bot", r#"{"path":"/x"}"#)] {
        let evaluation = first.evaluate(&request);
        assert_eq!(evaluation, first.evaluate(&request));
        assert_eq!(evaluation, second.evaluate(&request));
    }
}

/// Invariant 11: what a refusal says must not carry what was asked.
#[test]
fn details_hold_no_values() {
    let bundle = with_all(
        "@id(\"guard\") forbid (principal, action == Action::\"charge\", resource)
           when { context.count * 9223372036854775807 < 0 };",
    );
    for context in [
        r#"{"amount":"1.00","count":4711}"#,
        r#"{"amount":"4711","count":1}"#,
        r#"{"amount":"1.00","count":1,"4711":1}"#,
    ] {
        let evaluation = bundle.evaluate(&request("bot", "pay.charge", "charge", "Account:a-1", context));
        let detail = evaluation.detail.unwrap();
        assert!(!detail.contains("4711"), "{detail}");
    }
    let read_secret = request("bot", "fs.read", "fs.read", "Account:a-1", r#"{"path":"/4711"}"#);
    let detail = bundle.evaluate(&read_secret).detail.unwrap();
    assert!(!detail.contains("4711"), "{detail}");
}

proptest! {
    #[test]
    fn no_path_outside_the_granted_prefix_is_permitted(path in "(/safe)?(/|\\.|\\.\\.|a|\\\\|%2e|\u{2024}){0,8}") {
        thread_local!(static BUNDLE: Bundle = bundle(files()));
        let context = serde_json::json!({ "path": path }).to_string();
        let evaluation = BUNDLE.with(|bundle| bundle.evaluate(&read("bot", &context)));
        let expected = is_canonical_path(&path) && path.starts_with("/safe/");
        prop_assert_eq!(said(&evaluation) == "PERMIT may-read", expected, "{}", said(&evaluation));
    }

    #[test]
    fn amounts_compare_as_numbers(cents in -20_000_i64..20_000) {
        thread_local!(static BUNDLE: Bundle = bundle(files()));
        let sign = if cents < 0 { "-" } else { "" };
        let amount = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        let evaluation = BUNDLE.with(|bundle| bundle.evaluate(&charge("bot", &amount)));
        let expected = if cents <= 10_000 { "PERMIT may-charge" } else { "policy.no_grant" };
        prop_assert_eq!(said(&evaluation), expected);
    }
}
