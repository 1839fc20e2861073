use super::*;
use crate::digest::Digest;
use crate::ids::BundleDigest;
use crate::pins::ToolPins;
use crate::surface::{Idempotency, OnSilence, Tier};

fn spec(tools: &[&str]) -> SurfaceSpec {
    SurfaceSpec {
        keep: crate::Keep::UNDECLARED,
        tier: Tier::Critical,
        on_silence: OnSilence::Terminate,
        idempotency: Idempotency::None,
        witnessed: false,
        permit_ttl_ms: 5_000,
        outcome_within_ms: 60_000,
        derived_window_ms: 60_000,
        actions: Vec::new(),
        tools: tools.iter().map(|tool| tool.parse().unwrap()).collect(),
        resource: None,
        context: Default::default(),
    }
}

fn table(surfaces: &[(&str, &[&str])]) -> SurfaceTable {
    let named = |(name, tools): &(&str, &[&str])| (name.parse().unwrap(), spec(tools));
    let (bundle, pins) = (BundleDigest(Digest::sha256(b"")), ToolPins::none());
    SurfaceTable { bundle, surfaces: surfaces.iter().map(named).collect(), pins }
}

#[track_caller]
fn check(table: &SurfaceTable, server: &str, tool: &str, expected: Option<&str>) {
    let surface = table.surface_of_tool(server, tool);
    assert_eq!(surface.as_ref().map(SurfaceName::as_str), expected, "{server}/{tool}");
}

#[test]
fn a_tool_belongs_to_the_surface_that_lists_it_else_to_the_one_of_its_name() {
    let table = table(&[
        ("payments.charge", &["stripe/create_charge", "stripe/Create.Charge2"]),
        ("stripe.refund", &[]),
    ]);
    check(&table, "stripe", "create_charge", Some("payments.charge"));
    check(&table, "stripe", "Create.Charge2", Some("payments.charge"));
    check(&table, "stripe", "refund", Some("stripe.refund"));
    check(&table, "stripe", "undeclared", Some("stripe.undeclared"));
    // The same name at another server is another tool.
    check(&table, "other", "create_charge", Some("other.create_charge"));
    check(&table, "other", "Create.Charge2", None);
}

#[test]
fn a_name_that_is_no_word_of_a_surface_belongs_to_none_unless_it_is_listed() {
    let table = table(&[("payments.charge", &["s/Pay"]), ("s.mcp.resources.read", &[]), ("s.a.b", &[])]);
    for tool in ["pay/", "PAY", "pay.", "Pay ", "mcp.resources.read", "a.b", "", "_x", "é", "a/b"] {
        check(&table, "s", tool, None);
    }
    check(&table, "s.a", "b", None);
    check(&table, "s", "Pay", Some("payments.charge"));
}

/// A server that adds a tool by the name of a surface does not get it what the listed tools may do.
#[test]
fn a_surface_that_lists_tools_has_no_others() {
    let listed = table(&[("s.charge", &["s/create"])]);
    check(&listed, "s", "create", Some("s.charge"));
    check(&listed, "s", "charge", None);
    check(&table(&[("s.charge", &["s/create", "s/charge"])]), "s", "charge", Some("s.charge"));
}

#[test]
fn a_tool_on_two_surfaces_belongs_to_none() {
    let table = table(&[("a.x", &["s/create"]), ("b.x", &["s/create"])]);
    check(&table, "s", "create", None);
}

/// Gates and arbiters of different versions read each other's tables as long as nothing is listed.
#[test]
fn a_surface_without_tools_is_written_as_before() {
    let text = serde_json::to_string(&spec(&[])).unwrap();
    assert!(!text.contains("tools"), "{text}");
    assert_eq!(serde_json::from_str::<SurfaceSpec>(&text).unwrap(), spec(&[]));
    let listed = serde_json::to_string(&spec(&["s/A.b"])).unwrap();
    assert!(listed.contains(r#""tools":["s/A.b"]"#), "{listed}");
    assert_eq!(serde_json::from_str::<SurfaceSpec>(&listed).unwrap(), spec(&["s/A.b"]));
    assert!(serde_json::from_str::<SurfaceSpec>(&listed.replace("s/A.b", "A.b")).is_err());
}
