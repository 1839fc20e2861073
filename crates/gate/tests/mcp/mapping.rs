//! Tools that the bundle lists on a surface, whatever the tool server calls them.

use ed25519_dalek::SigningKey;
use portcullis_protocol::{ContextKind, Digest, Domain, Idempotency, Outcome, ReasonCode, SurfaceTable};
use portcullis_sdk::Witnessed;
use portcullis_verify::{CosignerKey, CosignerKind, Quorum};
use serde_json::json;

use super::arbiter::Act;
use super::receipts::trusted;
use super::support::{Gate, code, surface, table};

const ODD: &str = "Create.Charge2";

/// The usual surfaces, and `payments.charge` (derives keys, reads `amount`) with these tools.
fn listing(version: u8, tools: &[&str]) -> SurfaceTable {
    let mut spec = surface(Idempotency::Derived, &[("amount", ContextKind::String)]);
    spec.tools = tools.iter().map(|tool| tool.parse().unwrap()).collect();
    let mut table = table(version);
    table.surfaces.insert("payments.charge".parse().unwrap(), spec);
    table
}

fn gate(tools: &[&str]) -> Gate {
    let gate = Gate::start();
    *gate.arbiter.table.lock().unwrap() = Ok(listing(1, tools));
    gate
}

fn surfaces(gate: &Gate) -> Vec<String> {
    gate.arbiter.questions().iter().map(|call| call.request.surface.to_string()).collect()
}

#[tokio::test]
async fn a_listed_tool_runs_under_the_permit_of_its_surface() {
    let mut gate = gate(&["rec/Create.Charge2", "rec/write"]);
    let answer = gate.tool(1, ODD, r#"{"amount":"12.50","note":1.0}"#).await;
    assert_eq!(answer["result"]["content"][0]["text"], ODD);
    let request = gate.arbiter.questions()[0].request.clone();
    assert_eq!(
        (request.surface.as_str(), request.resource.id.as_str()),
        ("payments.charge", "payments.charge")
    );
    assert_eq!(serde_json::to_value(&request.context).unwrap(), json!({"amount": "12.50"}));
    assert!(request.idempotency_key.is_some());
    // The result is kept, as the surface promises, before it is answered.
    let outcomes = gate.arbiter.outcomes.borrow().clone();
    assert!(matches!(outcomes.as_slice(), [(Outcome::Ok, Some(_))]), "{outcomes:?}");

    // What was decided is what is sent: the tool's own name, and the arguments as they were.
    let journal = gate.journal().await;
    let sent = r#""params":{"name":"Create.Charge2","arguments":{"amount":"12.50","note":1.0}}}"#;
    assert!(journal[0].ends_with(sent), "{journal:?}");
    let (_, rest) = journal[0].split_once(',').unwrap();
    let envelope = Digest::of(Domain::Payload, &[format!("{{{rest}").as_bytes()]);
    assert_eq!(request.envelope, Some(envelope));

    // The rules of the surface hold, not those of the one that the tool is called after.
    assert_eq!(code(&gate.tool(2, "write", r#"{"path":"/a"}"#).await), "request.argument");
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_surface_blocks_its_tools() {
    let mut gate = gate(&["rec/Create.Charge2"]);
    gate.arbiter.will(Act::Refuse(ReasonCode::PolicyForbidden));
    assert_eq!(code(&gate.tool(1, ODD, r#"{"amount":"1"}"#).await), "policy.forbidden");
    assert_eq!(gate.journal().await, [""; 0]);
}

#[tokio::test]
async fn a_tool_that_is_listed_nowhere_or_for_another_server_never_runs() {
    for tools in [&[][..], &["other/Create.Charge2"], &["rec/create.charge2", "rec/Create.Charge"]] {
        let mut gate = gate(tools);
        assert_eq!(code(&gate.tool(1, ODD, r#"{"amount":"1"}"#).await), "surface.unknown", "{tools:?}");
        assert_eq!(surfaces(&gate), ["rec.mcp.unknown"]);
        // The PERMIT that it got all the same is given back.
        assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Expired, None)]);
        assert_eq!(gate.journal().await, [""; 0]);
    }
}

/// A server that adds a tool by the name of a surface does not get it what the listed tools may do.
#[tokio::test]
async fn a_tool_that_is_only_called_after_a_surface_with_a_list_never_runs() {
    let mut gate = Gate::start();
    let mut table = table(1);
    table.surfaces.get_mut(&"rec.read".parse().unwrap()).unwrap().tools =
        vec!["rec/Read.All".parse().unwrap()];
    *gate.arbiter.table.lock().unwrap() = Ok(table);
    assert_eq!(code(&gate.tool(1, "read", "{}").await), "surface.unknown");
    assert_eq!(gate.tool(2, "Read.All", "{}").await["result"]["isError"], false);
    assert_eq!(surfaces(&gate), ["rec.mcp.unknown", "rec.read"]);
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn a_changed_mapping_gives_a_tool_its_new_surface() {
    let mut gate = gate(&["rec/other"]);
    gate.arbiter.will(Act::PermitMappedWith(1));
    assert_eq!(code(&gate.tool(1, ODD, r#"{"amount":"1"}"#).await), "surface.unknown");

    gate.arbiter.will(Act::PermitMappedWith(2));
    *gate.arbiter.table.lock().unwrap() = Ok(listing(2, &["rec/Create.Charge2"]));
    assert_eq!(gate.tool(2, ODD, r#"{"amount":"1"}"#).await["result"]["isError"], false);
    assert_eq!(surfaces(&gate), ["rec.mcp.unknown", "rec.mcp.unknown", "payments.charge"]);

    // And back: the old surface's permit is of no use.
    gate.arbiter.will(Act::PermitMappedWith(3));
    *gate.arbiter.table.lock().unwrap() = Ok(listing(3, &["rec/other"]));
    assert_eq!(code(&gate.tool(3, ODD, r#"{"amount":"1"}"#).await), "surface.unknown");
    assert_eq!(surfaces(&gate)[3..], ["payments.charge", "rec.mcp.unknown"]);
    assert_eq!(gate.journal().await.len(), 1);
}

/// A name that no record has would never be met: the demand for witnesses would silently not be made.
#[tokio::test]
async fn a_gate_that_asks_for_witnesses_on_a_surface_that_is_not_there_runs_nothing() {
    let demanding = |surfaces: &[&str]| {
        let surfaces = surfaces.iter().map(|surface| surface.parse().unwrap()).collect();
        let cosigner = SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
        let key = CosignerKey::new("w1", CosignerKind::Ed25519, &cosigner).unwrap();
        let quorum = Quorum::new(1, vec![key]).unwrap();
        Gate::believing(trusted().witnessed(quorum, Witnessed::On(surfaces)), |_| {})
    };
    let mut gate = demanding(&["rec.move", "rec.moove"]);
    for tool in ["move", "read"] {
        let answer = gate.tool(1, tool, "{}").await;
        assert_eq!(code(&answer), "surface.unknown");
        assert!(answer.to_string().contains("`rec.moove`"), "{answer}");
    }
    assert_eq!(gate.arbiter.questions().len(), 0);
    assert_eq!(gate.journal().await, [""; 0]);

    // One that is there is asked for where it stands, and nowhere else.
    let mut gate = demanding(&["rec.move"]);
    assert_eq!(code(&gate.tool(1, "move", "{}").await), "receipt.unverifiable");
    assert_eq!(gate.tool(2, "read", "{}").await["result"]["isError"], false);
    assert_eq!(gate.journal().await.len(), 1);
}
