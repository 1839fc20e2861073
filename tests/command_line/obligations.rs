//! What grants ask for besides themselves.

use portcullis_protocol::ReasonCode;
use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text};
use crate::with;

const APPROVED: &str =
    "@approval_roles(\"finance, security\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")";

/// What is said of a charge that the demo's own grant would permit, by the gate and by `decide`; nothing may have run.
fn blocked(place: &Place, code: ReasonCode) -> String {
    let journal = place.file("journal", "");
    let mut gate = Gate::start(&place.config_path, &demo_server(&journal));
    let answer = gate.call_with("charge", &json!({ "account": "acme", "amount": "1.00" }), Some("k1"));
    assert_eq!(answer.code(), code.as_str());
    let told = answer.told().unwrap()["reason"]["detail"].as_str().unwrap_or_default().to_owned();
    gate.end();
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), "", "it ran");

    let request = json!({
        "surface": "demo.charge",
        "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "1.00" },
        "idempotency_key": "k2",
    });
    let file = place.file("request.json", &request.to_string());
    let ended = with(&place.config_path, &["decide", &text(&file)]);
    let reply: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, reply["reason"]["code"].as_str()), (4, Some(code.as_str())), "{ended:?}");
    assert_eq!(reply["reason"]["detail"].as_str().unwrap_or_default(), told);
    let record = place.verify(reply["receipt"].as_str().unwrap());
    let portcullis_protocol::Record::Decision(record) = record else { panic!("{record:?}") };
    assert!(!record.obligations.is_empty());
    assert!(place.log().permits().is_empty());
    with(&place.config_path, &["log", "replay"]).ok();
    told
}

#[test]
fn what_needs_an_approval_does_not_run_and_its_answer_names_roles_and_quorum() {
    let place = Place::asking(APPROVED);
    let told = blocked(&place, ReasonCode::ApprovalRequired);
    assert_eq!(
        told,
        "the grants ask for approval by 2 different people with role `finance` or `security`, valid for 15m"
    );
}

#[test]
fn a_static_token_is_no_fresh_identity() {
    let place = Place::asking("@identity_within(\"5m\")");
    assert_eq!(blocked(&place, ReasonCode::IdentityStale), "the grants ask for identity proved within 5m");
}

#[test]
fn a_grant_that_asks_for_witnesses_permits_nothing_where_there_are_none() {
    let place = Place::asking("@witnessed");
    blocked(&place, ReasonCode::EvidenceUnwitnessed);
}

#[test]
fn a_roster_is_shown_with_the_digest_to_pin() {
    let place = Place::asking(APPROVED);
    let directory = text(&place.config.bundle);
    let shown = with(&place.config_path, &["bundle", "roster", "--json"]);
    let shown: Value = serde_json::from_str(shown.ok()).unwrap();
    assert_eq!(shown["roster"]["people"]["ada"]["roles"], json!(["finance"]));
    let digest = shown["digest"].as_str().unwrap().to_owned();
    for command in [["bundle", "check", &directory], ["bundle", "roster", &directory]] {
        let told = with(&place.config_path, &command);
        let told = told.ok();
        assert!(told.contains("  person  zoe (Zoe): security; keys: ed25519\n"), "{told}");
        assert!(told.contains(&format!("  roster  {digest}\n")), "{told}");
    }
    let manifest = place.config.bundle.join("bundle.toml");
    let changed = std::fs::read_to_string(&manifest).unwrap().replace("name = \"Zoe\"", "name = \"Zoë\"");
    std::fs::write(&manifest, changed).unwrap();
    let other: Value =
        serde_json::from_str(with(&place.config_path, &["bundle", "roster", "--json"]).ok()).unwrap();
    assert_ne!(other["digest"], digest);
    with(&Place::demo().config_path, &["bundle", "roster"]).failed("the bundle has no `[roster]`");
}

#[test]
fn an_annotation_that_nobody_understands_is_told_with_its_line() {
    let place = Place::demo();
    let policy = "@id(\"a\")\n@aproval_quorum(\"2\")\npermit (principal, action, resource);\n";
    std::fs::write(place.config.bundle.join("policies/more.cedar"), policy).unwrap();
    let check = with(&place.config_path, &["bundle", "check", &text(&place.config.bundle)]);
    check.failed(
        "error: policy `a` has an unknown annotation `@aproval_quorum`\n --> policies/more.cedar:2:1\n",
    );
    check.failed("docs/obligations.md");
}
