use portcullis_protocol::{BundleDigest, OnSilence, Tier, ToolPins};

use super::*;
use crate::message::{From, Message, read};

fn body(line: &str) -> Body {
    match read(line.as_bytes(), From::Client).unwrap() {
        Message::Request(_, body) | Message::Notification(body) => body,
        Message::Response(..) => panic!("a response: {line}"),
    }
}

fn operation(method: &str, params: &str) -> Operation {
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    Operation::of("srv", Way::ToUpstream, &body(&line)).unwrap()
}

fn tool(name: &str) -> Operation {
    operation("tools/call", &format!(r#"{{"name":"{name}"}}"#))
}

/// A table in which the surface `pay.charge` lists these tools, or nothing is declared.
fn table(tools: &[&str]) -> SurfaceTable {
    let spec = SurfaceSpec {
        keep: portcullis_protocol::Keep::by_default(Idempotency::Derived),
        tier: Tier::Critical,
        on_silence: OnSilence::Terminate,
        idempotency: Idempotency::Derived,
        witnessed: false,
        permit_ttl_ms: 5_000,
        outcome_within_ms: 60_000,
        derived_window_ms: 60_000,
        actions: vec!["charge".parse().unwrap()],
        tools: tools.iter().map(|tool| tool.parse().unwrap()).collect(),
        resource: None,
        context: Default::default(),
    };
    let surfaces = [("pay.charge".parse().unwrap(), spec)].into_iter().filter(|_| !tools.is_empty());
    let (bundle, pins) = (BundleDigest(Digest::sha256(b"")), ToolPins::none());
    SurfaceTable { bundle, surfaces: surfaces.collect(), pins }
}

/// The surface that is asked for, and whether what it permits may run.
fn asked(operation: &Operation, table: &SurfaceTable) -> (String, bool) {
    let (ask, terms) = operation.ask(table, &[7; 32]).unwrap();
    (ask.surface.to_string(), terms.named)
}

#[test]
fn surfaces_of_tools_and_methods_never_meet() {
    let asked = |operation: &Operation| asked(operation, &table(&[]));
    assert_eq!(asked(&tool("read_file-2")), ("srv.read_file-2".into(), true));
    // A dot would make a tool of this name pass for a method.
    assert_eq!(asked(&tool("mcp.resources.read")), ("srv.mcp.unknown".into(), false));
    assert_eq!(asked(&operation("unknown", "{}")), ("srv.mcp.unknown".into(), false));
    assert_eq!(asked(&operation("resources/read", "{}")), ("srv.mcp.resources.read".into(), true));
    assert_eq!(asked(&tool(&"x".repeat(200))), ("srv.mcp.unknown".into(), false));
}

#[test]
fn the_surface_is_read_from_the_table_at_hand() {
    let odd = tool("Create.Charge2");
    let listed = table(&["srv/Create.Charge2"]);
    assert_eq!(asked(&odd, &listed), ("pay.charge".into(), true));
    assert_eq!(asked(&odd, &table(&["other/Create.Charge2"])), ("srv.mcp.unknown".into(), false));
    assert_eq!(asked(&odd, &table(&[])), ("srv.mcp.unknown".into(), false));
    // Methods are not tools, whatever a table says.
    assert_eq!(asked(&operation("resources/read", "{}"), &table(&["srv/read"])).0, "srv.mcp.resources.read");
    // What is sent, and what makes it the same operation, does not depend on it.
    let (with, without) = (odd.ask(&listed, &[7; 32]).unwrap(), odd.ask(&table(&[]), &[7; 32]).unwrap());
    assert_eq!((with.0.payload, with.0.envelope), (without.0.payload, without.0.envelope));
    assert_eq!((with.1.keeps_results, without.1.keeps_results), (true, false));
    assert_eq!((with.1.keyed, without.1.keyed), (true, false));
}

/// No table makes what has no surface of its own run, not even one that no bundle yields.
#[test]
fn nothing_is_listed_on_the_surface_of_the_unknown() {
    let mut table = table(&["srv/Odd"]);
    let spec = table.surfaces.pop_first().unwrap().1;
    table.surfaces.insert("other.mcp.unknown".parse().unwrap(), spec);
    assert!(!asked(&tool("Odd"), &table).1);
}

#[test]
fn two_tools_of_a_surface_have_two_derived_keys() {
    let table = table(&["srv/Odd", "srv/Odd.Two"]);
    let key = |name: &str| tool(name).ask(&table, &[7; 32]).unwrap().0.idempotency_key;
    assert!(key("Odd").is_some());
    assert_ne!(key("Odd"), key("Odd.Two"));
}

#[test]
fn a_label_does_not_steer_a_terminal() {
    assert_eq!(tool("a\\u001b[31m").label(), "srv/a\\u{1b}[31m");
    assert_eq!(operation("resources/read", "{}").label(), "srv.mcp.resources.read");
}

#[test]
fn the_payload_is_what_makes_the_operation() {
    let payload = |params: &str| operation("tools/call", params).payload;
    let base = payload(r#"{"name":"a","arguments":{"x":1,"y":"é"}}"#);
    assert_eq!(
        base,
        payload(r#"{"_meta":{"progressToken":1},"arguments":{ "y":"\u00e9","x":1 },"name":"a"}"#)
    );
    for other in [
        r#"{"name":"b","arguments":{"x":1,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":2,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":1.0,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":1,"y":"é"},"task":{"ttl":1}}"#,
        r#"{"name":"a"}"#,
    ] {
        assert_ne!(base, payload(other), "{other}");
    }
    // Without an exact form, the bytes as they are.
    assert_eq!(
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#),
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#)
    );
    assert_ne!(
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#),
        payload(r#"{"name":"a","arguments":{"x":1.5}}"#)
    );

    let read = |params: &str| operation("resources/read", params).payload;
    assert_eq!(read(r#"{"uri":"u"}"#), read(r#"{"_meta":{"a":1.5}, "uri":"u"}"#));
    assert_ne!(read(r#"{"uri":"u"}"#), read(r#"{"uri":"v"}"#));
    assert_ne!(read(r#"{"uri":"u"}"#), operation("resources/subscribe", r#"{"uri":"u"}"#).payload);
}

/// A client that repeats a call which the server had answered with questions is given the same questions and the same state:
/// whatever it answers then, the call must not go on twice.
#[test]
fn a_call_goes_on_once_for_the_state_that_its_server_gave() {
    let asked = |idempotency, more: &str| {
        let mut table = table(&["srv/Odd"]);
        table.surfaces.values_mut().for_each(|spec| spec.idempotency = idempotency);
        let meta = match idempotency {
            Idempotency::Key => r#","_meta":{"portcullis/idempotency-key":"k"}"#,
            Idempotency::Derived | Idempotency::None => "",
        };
        let params = format!(r#"{{"name":"Odd","arguments":{{"x":1}}{meta}{more}}}"#);
        let ask = operation("tools/call", &params).ask(&table, &[7; 32]).unwrap().0;
        (ask.idempotency_key.map(|key| key.to_string()), ask.payload)
    };
    for idempotency in [Idempotency::Key, Idempotency::Derived] {
        let first = asked(idempotency, "");
        let yes = asked(idempotency, r#","requestState":"s","inputResponses":{"q":"yes"}"#);
        let no = asked(idempotency, r#","inputResponses":{"q":"no"},"requestState":"s""#);
        let later = asked(idempotency, r#","requestState":"t","inputResponses":{"q":"yes"}"#);
        let without = asked(idempotency, r#","inputResponses":{"q":"yes"}"#);
        // One key, and other operations: the second is a conflict.
        assert_eq!(yes.0, no.0);
        assert_ne!(yes.1, no.1);
        let keys: std::collections::BTreeSet<_> = [first.0, yes.0, later.0, without.0].into();
        assert_eq!(keys.len(), 4, "{keys:?}");
    }
    let read = |more: &str| operation("resources/read", &format!(r#"{{"uri":"u"{more}}}"#));
    assert_ne!(read("").payload, read(r#","requestState":"s""#).payload);
    let first = |operation: &Operation| operation.continues.map(|first| first.payload);
    assert_eq!(first(&read(r#","requestState":"s""#)), Some(read("").payload));
    assert_eq!(first(&read("")), None);
    assert_eq!(asked(Idempotency::None, r#","requestState":"s""#).0, None);
}

#[test]
fn a_state_in_another_spelling_is_refused() {
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","requeststate":"s"}}"#;
    let refused = Operation::of("srv", Way::ToUpstream, &body(line)).unwrap_err();
    assert_eq!(refused.code, ReasonCode::RequestAmbiguousKey);
}

/// What the arbiter is given to keep is what the request's digest is of.
#[test]
fn what_is_brought_to_be_kept_is_what_the_request_commits_to() {
    let committed = |operation: &Operation| operation.ask(&table(&[]), &[7; 32]).unwrap().0.payload;
    let call = operation("tools/call", r#"{"name":"pay","arguments":{ "b": 1, "a": "x" },"task":{"ttl":5}}"#);
    let payload = call.payload().unwrap();
    assert_eq!(Some(payload.digest()), committed(&call));
    let said = [&payload.server, &payload.method, &payload.name, &payload.arguments, &payload.rest];
    assert_eq!(said, ["srv", "tools/call", "pay", r#"{"a":"x","b":1}"#, r#"{"task":{"ttl":5}}"#]);
    let inexact = operation("tools/call", r#"{"name":"pay","arguments":{ "b": 1.50 }}"#);
    assert_eq!(inexact.payload().unwrap().arguments, r#"{ "b": 1.50 }"#, "as it came");
    assert_eq!(inexact.payload().map(Payload::digest), committed(&inexact));
    let method = operation("resources/read", r#"{"uri":"file:///a","_meta":{"x":1}}"#);
    assert_eq!(method.payload().map(Payload::digest), committed(&method));
    assert_eq!(method.payload().unwrap().arguments, r#"{"uri":"file:///a"}"#);
    let long = format!(r#"{{"name":"pay","arguments":{{"a":"{}"}}}}"#, "x".repeat(Payload::LONGEST));
    let long = operation("tools/call", &long);
    assert!(long.payload().is_none() && committed(&long).is_some());
}

#[test]
fn a_start_has_a_surface_of_its_own_that_no_call_has() {
    let mut declared = table(&["upstream/other"]);
    let spec = declared.surfaces.values().next().unwrap().clone();
    declared
        .surfaces
        .insert("upstream.start".parse().unwrap(), SurfaceSpec { tools: Vec::new(), ..spec.clone() });
    let how = r#"{"command":"sha256:00","lease_seconds":60,"server":"srv","variables":["A"]}"#;
    let start = Operation::start("srv", how).unwrap();
    assert_eq!(asked(&start, &declared), ("upstream.start".into(), true));
    // Asked all the same, so that it is on record.
    assert_eq!(asked(&start, &table(&["a/b"])), ("upstream.start".into(), false));
    let (ask, _) = start.ask(&declared, &[7; 32]).unwrap();
    assert_eq!((ask.resource.kind.as_str(), ask.resource.id.as_str()), ("ToolServer", "srv"));
    // Neither a server of that name nor a bundle that lists a tool there makes a call one.
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"start"}}"#;
    let call = |server: &str| Operation::of(server, Way::ToUpstream, &body(line)).unwrap();
    assert_eq!(asked(&call("upstream"), &declared), ("upstream.mcp.unknown".into(), false));
    let listed = SurfaceSpec { tools: vec!["srv/start".parse().unwrap()], ..spec };
    declared.surfaces.insert("upstream.start".parse().unwrap(), listed);
    assert_eq!(asked(&call("srv"), &declared), ("srv.mcp.unknown".into(), false));
}

#[test]
fn every_part_of_a_start_makes_it_another_one() {
    let parts = |server: &str, how: &str| {
        let (ask, _) = Operation::start(server, how).unwrap().ask(&table(&[]), &[7; 32]).unwrap();
        (ask.payload.unwrap(), ask.envelope.unwrap())
    };
    let how = r#"{"command":"sha256:00","lease_seconds":60,"server":"srv","variables":["A"]}"#;
    let own = parts("srv", how);
    assert_eq!(own, parts("srv", how));
    for (from, to) in
        [("sha256:00", "sha256:01"), (":60", ":61"), ("\"A\"", "\"B\""), ("\"A\"", "\"A\",\"B\"")]
    {
        let other = parts("srv", &how.replace(from, to));
        assert!(own.0 != other.0 && own.1 != other.1, "{to}");
    }
    assert_ne!(own.0, parts("other", how).0);
}
