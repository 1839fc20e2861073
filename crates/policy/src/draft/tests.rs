use std::collections::BTreeSet;

use portcullis_protocol::{Decision, Limits, Loose, Request, ToolDefinition};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Draft, DraftError, Heading};
use crate::{PinnedTools, Snapshot};

fn heading() -> Heading {
    Heading {
        name: "draft".to_owned(),
        valid_from: "2026-01-01T00:00:00Z".to_owned(),
        valid_until: "2027-01-01T00:00:00Z".to_owned(),
        agent: "assistant".parse().unwrap(),
    }
}

fn loose(tools: &Value) -> Vec<Loose> {
    let limits = Limits { bytes: usize::MAX, ..Limits::MESSAGE };
    let Loose::Array(tools) = Loose::parse(tools.to_string().as_bytes(), limits).unwrap() else {
        panic!("no array")
    };
    tools
}

fn draft(tools: &Value) -> Result<Draft, DraftError> {
    Draft::from_tools(&heading(), "files", &loose(tools), &[])
}

fn file<'a>(draft: &'a Draft, path: &str) -> &'a str {
    str::from_utf8(&draft.files[path]).unwrap()
}

fn surfaces(draft: &Draft) -> Vec<&str> {
    draft.surfaces.iter().map(portcullis_protocol::SurfaceName::as_str).collect()
}

/// The draft with every grant uncommented, as its user would do it.
fn granted(draft: &Draft) -> Snapshot {
    let mut files = draft.files.clone();
    let text = file(draft, "policies/grants.cedar").replace("\n//@", "\n@");
    let text = text.replace("\n//permit", "\npermit").replace("\n//when", "\nwhen");
    files.insert("policies/grants.cedar".to_owned(), text.into_bytes());
    Snapshot::from_files(files).unwrap()
}

/// That it loads, refuses whatever its cases ask, notices every change of its policies, and grants what it says once that
/// is uncommented.
fn sound(draft: &Draft) {
    let snapshot = Snapshot::from_files(draft.files.clone()).unwrap();
    let report = snapshot.check().unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(report.policies.len(), 1);
    let tried = snapshot.test().unwrap();
    assert!(tried.passed() && tried.gaps().is_empty(), "{:?}", tried.gaps());
    assert!(tried.surfaces.values().all(|surface| surface.granted == 0 && surface.refused > 0));
    let granted = granted(draft);
    assert_eq!(granted.check().unwrap().policies.len(), 1 + draft.grants);
    let tried = granted.test().unwrap();
    let permitted = tried.cases.iter().filter(|case| case.found.decision == Decision::Permit).count();
    assert_eq!(permitted, draft.grants, "what is uncommented grants what was asked");
}

#[test]
fn a_draft_whose_tools_are_pinned_reads_them_as_their_schemas_have_it() {
    let tools = json!([
        { "name": "read_file", "inputSchema": { "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
          "required": ["path", "tags"], "additionalProperties": false, "properties": {
            "path": { "type": "string" }, "head": { "type": "number" }, "lines": { "type": "integer", "minimum": 1 },
            "raw": { "type": "boolean", "default": false }, "tags": { "type": "array", "items": { "type": "string" } },
            "home": { "type": "string", "format": "uri" }, "price": { "type": "string", "pattern": "^\\d+\\.\\d{2}$" },
            "mode": { "enum": ["a", "b"] }, "a/b": { "type": "string" } } } },
        { "name": "Get.Sum", "inputSchema": { "type": "object" } },
        { "name": "ping" },
    ]);
    let mut files = draft(&tools).unwrap().files;
    let defined = tools.as_array().unwrap().iter();
    let defined = defined.map(|tool| ToolDefinition::parse(tool.to_string().as_bytes()).unwrap());
    let pinned = PinnedTools::new("files", defined).unwrap();
    files.insert(PinnedTools::path("files"), pinned.to_file("files").unwrap());
    let report = Snapshot::from_files(files).unwrap().check().unwrap();
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(report.pins["files"], ["Get.Sum", "ping", "read_file"]);
}

#[test]
fn tools_become_surfaces_with_what_policy_can_read() {
    let drafted = draft(&json!([
        { "name": "read_file", "description": "Reads\na file.", "annotations": { "readOnlyHint": true, "title": "x" },
          "inputSchema": { "type": "object", "required": ["path"], "properties": {
            "path": { "type": "string" }, "head": { "type": "number" }, "lines": { "type": "integer" },
            "raw": { "type": "boolean" }, "tags": { "type": "array", "items": { "type": "string" } },
            "home": { "type": "string", "format": "uri" }, "price": { "type": "string", "pattern": "^\\d+\\.\\d{2}$" },
            "mode": { "enum": ["a", "b"] }, "deep": { "type": "object" },
            "either": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            "rows": { "type": "array", "items": { "type": "object" } }, "maybe": { "type": ["string", "null"] },
            "labels": { "type": "string" } } } },
        { "name": "Get.Sum", "inputSchema": { "type": "object" } },
        { "name": "ping" },
    ]))
    .unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["files.get_sum", "files.ping", "files.read_file"]);
    insta::assert_snapshot!("drafted_manifest", file(&drafted, "bundle.toml"));
    insta::assert_snapshot!("drafted_schema", file(&drafted, "schema.cedarschema"));
    insta::assert_snapshot!("drafted_grants", file(&drafted, "policies/grants.cedar"));
    insta::assert_snapshot!("drafted_cases", file(&drafted, "tests/refused.toml"));
}

/// What the arbiter gives would be refused as a surface's own key, and the draft with it.
#[test]
fn an_argument_that_is_called_as_what_the_arbiter_gives_has_another_key() {
    let tool = |more: &str| {
        let properties = format!(r#"{{"acts_for":{{"type":"string"}},"labels":{{"type":"string"}}{more}}}"#);
        let properties: serde_json::Value = serde_json::from_str(&properties).unwrap();
        json!([{ "name": "send", "inputSchema": { "type": "object", "properties": properties } }])
    };
    let drafted = draft(&tool("")).unwrap();
    sound(&drafted);
    let manifest = file(&drafted, "bundle.toml");
    assert!(
        manifest.contains("acts_for_argument") && manifest.contains("from = \"/acts_for\""),
        "{manifest}"
    );
    let clashing = draft(&tool(r#","acts_for_argument":{"type":"string"}"#)).unwrap();
    sound(&clashing);
    assert!(file(&clashing, "bundle.toml").contains("from = \"/acts_for_argument\""));
}

#[test]
fn names_that_could_be_taken_for_others_have_no_surface() {
    let drafted = draft(&json!([
        { "name": "safe" }, { "name": "twice" }, { "name": "twice" }, { "name": "Read" }, { "name": "read" },
        { "name": "admin\u{202e}drop" }, { "name": "z\u{200b}ero" }, { "name": "p\u{430}y" }, { "name": "" },
        { "name": "a b" }, { "name": "a/b" }, { "name": "x\ny" }, { "name": "x".repeat(129) }, { "name": 7 }, {},
    ]))
    .unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["files.safe"]);
    assert_eq!(drafted.left_out.len(), 14);
    for file in drafted.files.values() {
        assert!(!String::from_utf8_lossy(file).contains(['\u{202e}', '\u{200b}']));
    }
}

#[test]
fn a_tool_that_only_looks_like_anothers_surface_gets_one_of_its_own() {
    let long = "L".repeat(128);
    let drafted = draft(&json!([
        { "name": "Get.Sum" }, { "name": "get_sum" }, { "name": "Get-Sum" }, { "name": "..." }, { "name": "mcp" },
        { "name": long }, { "name": "mcp.roots.list" },
    ]))
    .unwrap();
    sound(&drafted);
    let named = surfaces(&drafted);
    for name in [
        "files.get_sum",
        "files.get_sum-2",
        "files.get_sum-3",
        "files.tool",
        "files.mcp",
        "files.mcp_roots_list",
    ] {
        assert!(named.contains(&name), "{name} in {named:?}");
    }
    assert!(file(&drafted, "bundle.toml").contains("tools = [\"files/Get.Sum\"]"));
}

#[test]
fn what_a_server_says_stays_in_its_comment() {
    let hostile = "x\n[surfaces.\"files.evil\"]\ntier = \"read\" */ \"\"\" \u{2028}//\r\npermit (principal, action, resource);\u{0}\u{7f}\u{202e}";
    let drafted = draft(&json!([{
        "name": "tool", "description": hostile, "annotations": { "readOnlyHint": hostile, "destructiveHint": false },
        "inputSchema": { "properties": { hostile: { "type": "string" }, "__entity": { "type": "string" },
            "key": { "type": "string", "description": hostile }, "a\"b": { "type": hostile } } },
    }]))
    .unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["files.tool"]);
    for (path, bytes) in &drafted.files {
        let text = str::from_utf8(bytes).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{path}");
        assert!(!text.contains(['\u{2028}', '\u{202e}']), "{path}");
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("permit (") || line.starts_with("[surfaces.\"files.evil")),
            "{path}"
        );
    }
}

#[test]
fn a_readers_hint_makes_no_surface_milder() {
    let tool = |hint: bool| json!([{ "name": "t", "annotations": { "readOnlyHint": hint, "idempotentHint": hint } }]);
    let rules = |hint| {
        let drafted = draft(&tool(hint)).unwrap();
        let lines =
            file(&drafted, "bundle.toml").lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(rules(true), rules(false));
    assert!(rules(true).contains(&"tier = \"high\"".to_owned()));
}

#[test]
fn arguments_equal_but_for_case_are_not_for_policy() {
    let drafted = draft(&json!([{ "name": "t", "inputSchema": { "properties": {
        "path": { "type": "string" }, "Path": { "type": "string" }, "other": { "type": "string" } } } }]))
    .unwrap();
    sound(&drafted);
    let text = file(&drafted, "bundle.toml");
    assert!(
        text.contains("context.\"other\"")
            && !text.contains("context.\"path\"")
            && !text.contains("context.\"Path\"")
    );
}

#[test]
fn more_tools_than_a_bundle_is_for_are_refused_and_some_can_be_asked_for() {
    let many: Vec<Value> =
        (0..10_000).map(|n| json!({ "name": format!("tool_{n}"), "description": "x".repeat(500) })).collect();
    let tools = loose(&Value::from(many));
    assert_eq!(
        Draft::from_tools(&heading(), "files", &tools, &[]),
        Err(DraftError::TooMany { found: 10_000 })
    );
    let only = ["tool_7".to_owned(), "tool_9999".to_owned()];
    let drafted = Draft::from_tools(&heading(), "files", &tools, &only).unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["files.tool_7", "files.tool_9999"]);
    let wide: Vec<Value> = (0..2_000)
        .map(|n| {
            let keys = (0..64).map(|key| (format!("key_{key}_{}", "x".repeat(40)), json!({ "type": "string" })));
            json!({ "name": format!("tool_{n}"), "inputSchema": { "properties": keys.collect::<serde_json::Map<_, _>>() } })
        })
        .collect();
    assert!(matches!(draft(&Value::from(wide)), Err(DraftError::TooLarge(_))));
}

#[test]
fn a_draft_of_nothing_is_an_error() {
    assert_eq!(draft(&json!([])), Err(DraftError::Nothing(0)));
    assert_eq!(draft(&json!([{ "name": "x y" }])), Err(DraftError::Nothing(1)));
    assert_eq!(Draft::from_tools(&heading(), "a.b", &[], &[]), Err(DraftError::ServerName("a.b".to_owned())));
    let odd = Heading { name: "No\n".to_owned(), ..heading() };
    assert_eq!(Draft::from_tools(&odd, "files", &[], &[]), Err(DraftError::BundleName("No".to_owned())));
}

#[test]
fn a_draft_that_grants_or_does_not_load_is_none() {
    let drafted = draft(&json!([{ "name": "t" }])).unwrap();
    let with = |path: &str, text: &str| {
        let mut files = drafted.files.clone();
        files.insert(path.to_owned(), text.as_bytes().to_vec());
        super::check(&files)
    };
    let grant = "@id(\"x\")\npermit (principal == Agent::\"assistant\", action == Action::\"files.t\", resource)\n\
        when { principal == Agent::\"suspended-example\" };";
    let refused = with("policies/more.cedar", grant);
    assert_eq!(refused, Err(DraftError::Unsound("policy `x` grants something".to_owned())));
    assert!(matches!(with("policies/more.cedar", "permit"), Err(DraftError::Unsound(_))));
    let text = file(&drafted, "tests/refused.toml");
    let other = with("tests/refused.toml", &text.replace("policy.no_grant", "policy.forbidden"));
    assert!(matches!(other, Err(DraftError::Unsound(why)) if why.contains("does not pass")));
    assert_eq!(super::check(&drafted.files), Ok(()));
}

#[test]
fn an_agent_called_like_the_suspended_example_is_another() {
    let heading = Heading { agent: "suspended-example".parse().unwrap(), ..heading() };
    sound(&Draft::from_tools(&heading, "files", &loose(&json!([{ "name": "t" }])), &[]).unwrap());
}

fn seen(lines: &[Value]) -> Vec<Request> {
    let read = |line: &Value| {
        let ask = portcullis_protocol::request::Ask::parse(line["request"].to_string().as_bytes()).unwrap();
        ask.by(line["agent"].as_str().unwrap().parse().unwrap())
    };
    lines.iter().map(read).collect()
}

fn asked(agent: &str, surface: &str, action: &str, context: &Value) -> Value {
    let resource = json!({ "type": "Surface", "id": surface });
    json!({ "agent": agent, "request": { "surface": surface, "action": action, "resource": resource, "context": context } })
}

#[test]
fn what_was_seen_becomes_surfaces_and_uncommented_is_all_that_is_granted() {
    let mut lines = vec![
        asked("bot", "pay.charge", "pay.charge", &json!({ "to": "acme", "amount": "12.50" })),
        asked("bot", "pay.charge", "pay.charge", &json!({ "to": "acme", "amount": "12.50" })),
        asked(
            "bot",
            "pay.charge",
            "pay.charge",
            &json!({ "to": "\"\\\u{202e}é", "amount": "99.00", "note": "x" }),
        ),
        asked(
            "rob",
            "fs.read",
            "read",
            &json!({ "path": "/srv/a", "tags": ["a", "b"], "n": -3, "dry": true }),
        ),
        asked("rob", "fs.read", "list", &json!({ "path": "/srv", "tags": [], "n": 0, "dry": false })),
        asked("bot", "web.get", "web.get", &json!({ "url": "https://example.com/" })),
        asked("bot", "odd.mixed", "odd.mixed", &json!({ "v": 1 })),
        asked("bot", "odd.mixed", "odd.mixed", &json!({ "v": "1" })),
        asked("bot", "odd.mixed", "odd.mixed", &json!({ "w": { "x": 1 } })),
        asked("bot", "two.one", "same", &json!({})),
        asked("bot", "two.two", "same", &json!({})),
        asked("bot", "plain.call", "plain.call", &json!({})),
    ];
    let account = json!({ "type": "Account", "id": "a-1" });
    lines.push(json!({ "agent": "bot", "request": { "surface": "pay.refund", "action": "refund", "resource": account } }));
    for kind in ["Agent", "Action", "billing", "Set", "A::B"] {
        let resource = json!({ "type": kind, "id": "x" });
        lines.push(json!({ "agent": "bot", "request": { "surface": "pay.refund", "action": "refund", "resource": resource } }));
    }
    let requests = seen(&lines);
    let drafted = Draft::from_requests(&heading(), &requests).unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["fs.read", "pay.charge", "pay.refund", "plain.call", "web.get"]);
    insta::assert_snapshot!("traced_manifest", file(&drafted, "bundle.toml"));
    insta::assert_snapshot!("traced_schema", file(&drafted, "schema.cedarschema"));
    insta::assert_snapshot!("traced_grants", file(&drafted, "policies/grants.cedar"));
    let left: Vec<_> = drafted.left_out.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
    insta::assert_snapshot!("traced_left_out", left.join("\n"));
    let granted = granted(&drafted).rehearse().unwrap();
    let permits = |request: &Request| {
        let said = granted.content().evaluate_informed(request, &BTreeSet::new(), None);
        said.verdict.decision() == Decision::Permit
    };
    let counted = requests.iter().filter(|request| permits(request)).count();
    assert_eq!(counted, 8, "what can be declared is granted");
    for other in [
        asked("rob", "pay.charge", "pay.charge", &json!({ "to": "acme", "amount": "12.50" })),
        asked("bot", "pay.charge", "pay.charge", &json!({ "to": "acme", "amount": "12.51" })),
        asked("bot", "pay.charge", "pay.charge", &json!({ "to": "acme", "amount": "12.50", "note": "x" })),
        asked("bot", "pay.charge", "pay.charge", &json!({ "to": "\"\\\u{202e}é", "amount": "99.00" })),
        asked("rob", "fs.read", "list", &json!({ "path": "/srv", "tags": ["a"], "n": 0, "dry": false })),
        asked("rob", "fs.read", "read", &json!({ "path": "/srv", "tags": [], "n": 0, "dry": false })),
    ] {
        assert!(!permits(&seen(std::slice::from_ref(&other))[0]), "{other}");
    }
}

#[test]
fn what_was_asked_for_another_is_not_granted_to_the_agent_itself() {
    let mut line = asked("bot", "a.b", "a.b", &json!({}));
    line["request"]["acts_for"] = json!("maya");
    let drafted =
        Draft::from_requests(&heading(), &seen(&[line, asked("bot", "a.c", "a.c", &json!({}))])).unwrap();
    sound(&drafted);
    assert_eq!(surfaces(&drafted), ["a.c"]);
    assert_eq!(drafted.left_out.len(), 1);
}

#[test]
fn a_description_of_an_api_becomes_surfaces_without_pointers() {
    let described = json!({
        "openapi": "3.1.0",
        "paths": {
            "/users/{id}": {
                "parameters": [{ "$ref": "#/components/parameters/Id" }],
                "get": { "operationId": "getUser", "summary": "One user\n[surfaces]", "parameters": [
                    { "name": "fields", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } },
                    { "name": "X-Trace", "in": "header", "schema": { "type": "string" } } ] },
                "delete": {},
            },
            "/pay": { "post": { "operationId": "pay.now", "requestBody": { "required": true, "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Pay" } } } } } },
            "/loop": { "post": { "operationId": "loop", "requestBody": { "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Loop" } } } } } },
            "/both": { "put": { "operationId": "both",
                "parameters": [{ "name": "id", "in": "query", "schema": { "type": "integer" } }],
                "requestBody": { "content": { "application/json": { "schema": { "properties": {
                    "ID": { "type": "integer" }, "open": { "type": "boolean" } }, "required": ["open"] } } } } } },
            "/same": { "get": { "operationId": "Same" }, "put": { "operationId": "same" } },
            "x-odd": 7,
        },
        "components": {
            "parameters": { "Id": { "name": "id", "in": "path", "schema": { "type": "integer", "minimum": 0.5 } } },
            "schemas": { "Loop": { "$ref": "#/components/schemas/Loop" }, "Money": { "type": "string", "pattern": "^\\d+\\.\\d{2}$" },
                "Pay": { "type": "object", "required": ["amount"], "properties": {
                    "amount": { "$ref": "#/components/schemas/Money" }, "to": { "type": "string" }, "rate": { "type": "number" } } } },
        },
    });
    let draft =
        |described: &Value| Draft::from_openapi(&heading(), "api", described.to_string().as_bytes(), &[]);
    let drafted = draft(&described).unwrap();
    sound(&drafted);
    assert_eq!(
        surfaces(&drafted),
        ["api.both", "api.delete_users_id", "api.getuser", "api.loop", "api.pay_now"]
    );
    assert_eq!(drafted.left_out.len(), 2);
    insta::assert_snapshot!("described_manifest", file(&drafted, "bundle.toml"));
    let mut old = described.clone();
    old["openapi"] = json!("2.0");
    assert!(matches!(draft(&old), Err(DraftError::Source(why)) if why.contains("3.0 and 3.1")));
    let yaml = Draft::from_openapi(&heading(), "api", b"openapi: 3.1.0\n", &[]);
    assert!(matches!(yaml, Err(DraftError::Source(why)) if why.contains("YAML is not read")));
    let twice = Draft::from_openapi(&heading(), "api", br#"{"openapi":"3.1.0","paths":{},"paths":{}}"#, &[]);
    assert!(matches!(twice, Err(DraftError::Source(why)) if why.contains("occurs twice")));
}

/// Texts that mean something to one of the languages that are written.
fn awkward() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a",
        "B",
        "_",
        "-",
        ".",
        "/",
        "~",
        "\"",
        "\\",
        "\n",
        "\r",
        "#",
        "//",
        "*/",
        "'",
        "\"\"\"",
        "{",
        "}",
        "[",
        "]",
        "\u{202e}",
        "\u{200b}",
        "\u{0}",
        "é",
        "\u{1f600}",
        "\u{2028}",
        "permit",
        "labels",
        "acts_for",
        "path",
        "__entity",
        "context",
        "${",
        "\\u{41}",
        " ",
        "mcp",
        "tool",
        "in",
        "has",
    ]);
    prop::collection::vec(parts, 0..6).prop_map(|parts| parts.concat())
}

fn property() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "string", "integer", "boolean", "number", "object", "array", "null", "odd",
    ]);
    let format = prop::option::of(prop::sample::select(vec!["uri", "date", "email"]));
    prop_oneof![
        (kind, format, awkward()).prop_map(|(kind, format, said)| {
            json!({ "type": kind, "format": format, "description": said, "items": { "type": "string" } })
        }),
        Just(json!({ "anyOf": [{ "type": "string" }] })),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "type": "string", "pattern": "^-?[0-9]+\\.[0-9]{4}$" })),
        Just(json!({ "enum": ["a"] })),
        Just(json!(true)),
    ]
}

fn tool() -> impl Strategy<Value = Value> {
    let named = prop_oneof![3 => "[a-z_.A-Z0-9-]{1,12}", 1 => awkward()];
    let properties =
        prop::collection::btree_map(prop_oneof![2 => "[a-zA-Z_.-]{1,8}", 1 => awkward()], property(), 0..6);
    (named, awkward(), properties, prop::collection::vec(awkward(), 0..3)).prop_map(
        |(name, said, properties, required)| {
            let required: Vec<&String> = properties.keys().take(2).chain(&required).collect();
            json!({ "name": name, "description": said, "annotations": { "readOnlyHint": true },
            "inputSchema": { "type": "object", "properties": properties, "required": required } })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any list of tools: what is drafted loads, grants nothing, and holds nothing invisible; every tool either has a
    /// surface or is named among what has none.
    #[test]
    fn any_list_of_tools_drafts_to_a_bundle_that_grants_nothing(tools in prop::collection::vec(tool(), 1..8)) {
        let count = tools.len();
        match draft(&Value::from(tools)) {
            Ok(draft) => {
                sound(&draft);
                prop_assert_eq!(draft.surfaces.len() + draft.left_out.len(), count);
                let distinct: BTreeSet<_> = draft.surfaces.iter().collect();
                prop_assert_eq!(distinct.len(), draft.surfaces.len());
                for bytes in draft.files.values() {
                    let text = str::from_utf8(bytes).unwrap();
                    prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
                    let hidden = text.contains(['\u{202e}', '\u{200b}', '\u{2028}']);
                    prop_assert!(!hidden, "{text}");
                }
            }
            Err(DraftError::Nothing(left)) => prop_assert_eq!(left, count),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// For any requests: what is drafted grants nothing, and with its grants uncommented grants each of those requests that
    /// it could declare, and no request of another agent.
    #[test]
    fn any_requests_that_were_seen_draft_to_exactly_their_grants(lines in prop::collection::vec(line(), 1..8)) {
        let requests = seen(&lines);
        match Draft::from_requests(&heading(), &requests) {
            Ok(draft) => {
                sound(&draft);
                let granted = granted(&draft).rehearse().unwrap();
                for request in &requests {
                    let permits = |request: &Request| {
                        let said = granted.content().evaluate_informed(request, &BTreeSet::new(), None);
                        said.verdict.decision() == Decision::Permit
                    };
                    let told = draft.left_out.iter().any(|left| left.what.contains(request.ask.surface.as_str()));
                    prop_assert!(permits(request) || told, "{request:?}");
                    let other = Request { agent: "stranger".parse().unwrap(), ..request.clone() };
                    prop_assert!(!permits(&other));
                }
            }
            Err(DraftError::Nothing(left)) => prop_assert!(left > 0),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        awkward().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec(awkward(), 0..3).prop_map(Value::from),
        Just(json!("12.50")),
        Just(json!("/srv/a")),
        Just(json!("https://example.com/a")),
    ]
}

fn line() -> impl Strategy<Value = Value> {
    let agent = prop::sample::select(vec!["bot", "rob", "suspended-example"]);
    let surface = prop::sample::select(vec!["a.b", "a.c", "pay.charge"]);
    let action = prop::sample::select(vec!["a.b", "a.c", "pay.charge", "act", "Act", "in", "permit", "a b"]);
    let kind = prop::sample::select(vec!["Surface", "Account", "Agent", "Set", "in", "A::B", "Order"]);
    let context = prop::collection::btree_map(prop_oneof![2 => "[a-cA-C]", 1 => awkward()], value(), 0..4);
    (agent, surface, action, kind, prop_oneof![Just("a.b".to_owned()), awkward()], context).prop_map(
        |(agent, surface, action, kind, id, context)| {
            let resource = json!({ "type": kind, "id": id });
            let resource =
                if kind == "Surface" { json!({ "type": "Surface", "id": surface }) } else { resource };
            let request =
                json!({ "surface": surface, "action": action, "resource": resource, "context": context });
            json!({ "agent": agent, "request": request })
        },
    )
}
