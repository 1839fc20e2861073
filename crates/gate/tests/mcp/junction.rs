//! Several tool servers behind one gate: what the client sees of them, and that what is one's is no other's.

use portcullis_gate::{NamedServer, RemoteServer, ToolServer, Trust};
use portcullis_protocol::{Outcome, ReasonCode, ToolPins};
use serde_json::{Value, json};

use super::arbiter::Act;
use super::several::{Several, table, tools};
use super::support::code;
use super::web::Web;

#[tokio::test]
async fn names_are_prefixed_only_on_collision_and_reach_their_own_server_under_its_own_name() {
    let mut several = Several::start(&[("one", &["read", "write"]), ("two", &["pay", "read"])]);
    assert_eq!(several.listed().await, ["one__read", "write", "pay", "two__read"]);
    for (shown, server, own) in [
        ("one__read", "one", "read"),
        ("write", "one", "write"),
        ("pay", "two", "pay"),
        ("two__read", "two", "read"),
        ("two__pay", "two", "pay"),
    ] {
        several.runs(shown, server, own).await;
    }
    let payloads: Vec<_> = several.gate.arbiter.questions().iter().map(|it| it.request.payload).collect();
    assert_ne!(payloads[0], payloads[3], "the server is part of what was decided");
}

#[tokio::test]
async fn a_plain_name_that_was_not_listed_in_the_conversation_reaches_nobody() {
    let mut several = Several::start(&[("one", &["read", "write"]), ("two", &["read"])]);
    assert_eq!(code(&several.call("write", json!({})).await), "tool.ambiguous");
    several.listed().await;
    assert_eq!(code(&several.call("read", json!({})).await), "tool.ambiguous");
    assert_eq!(code(&several.call("three__read", json!({})).await), "tool.ambiguous");
    assert!(several.gate.arbiter.questions().is_empty());
    several.runs("write", "one", "write").await;
}

#[tokio::test]
async fn a_name_that_meant_one_servers_tool_reached_anothers_after_the_lists_changed() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &["pay"])]);
    assert_eq!(several.listed().await, ["read", "pay"]);
    several.offers("two", &tools(&["pay", "read"]));
    assert_eq!(several.listed().await, ["one__read", "pay", "two__read"]);
    several.runs("read", "one", "read").await;
    several.offers("one", &tools(&[]));
    assert_eq!(several.listed().await, ["pay", "two__read"]);
    // The first server is asked, whatever it has to say to that.
    several.runs("read", "one", "read").await;
    several.runs("two__read", "two", "read").await;
}

#[tokio::test]
async fn a_conversation_begins_with_what_all_servers_can_do() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &[])]);
    several.offers(
        "two",
        &json!({ "greeting": { "capabilities": { "resources": { "subscribe": true }, "logging": {} }, "instructions": "Be kind." } }),
    );
    let said = several.begin().await;
    assert_eq!(said["protocolVersion"], "2025-11-25");
    assert_eq!(
        said["capabilities"],
        json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true, "listChanged": true }, "logging": {} })
    );
    assert_eq!(said["instructions"], "# two\n\nBe kind.");
    for server in ["one", "two"] {
        several.reached(server, "notifications/initialized").await;
    }
    assert_eq!(several.listed().await, ["read"]);
    let (again, _) = several.ask("initialize", json!({ "protocolVersion": "2025-11-25" })).await;
    assert_eq!(code(&again), "request.invalid_value");
    let (pong, _) = several.ask("ping", json!({})).await;
    assert_eq!(pong["result"], json!({}));
    let (set, _) = several.ask("logging/setLevel", json!({ "level": "debug" })).await;
    assert!(set["result"].is_object(), "{set}");
    several.reached("two", "logging/setLevel").await;
    assert!(several.ran_all().values().all(Vec::is_empty));
}

#[tokio::test]
async fn a_server_of_another_revision_is_asked_for_the_common_one_or_has_no_part() {
    let greeting = |revision: &str| json!({ "pages": [[{ "name": "read", "inputSchema": {} }]], "greeting": { "capabilities": { "tools": {} }, "protocolVersion": revision } });
    let mut several = Several::start(&[("one", &["write"]), ("two", &[])]);
    several.offers("two", &greeting("2025-06-18"));
    let said = several.begin().await;
    assert_eq!(said["protocolVersion"], "2025-06-18");
    // The first one is begun with again, in the revision that both speak.
    several.gate.told("one: it is ready").await;
    several.reached("one", "2025-06-18").await;
    assert_eq!(several.listed().await, ["write", "read"]);
    // One that comes again with another has no part any more.
    several.offers("two", &greeting("2025-03-26"));
    several.call("two__die", json!({})).await;
    several.gate.told("two: it speaks revision 2025-03-26").await;
    assert_eq!(code(&several.call("read", json!({})).await), "upstream.unavailable");
    several.runs("write", "one", "write").await;
}

#[tokio::test]
async fn a_server_that_starts_slowly_does_not_hold_up_the_others_and_is_announced() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &["pay"])]);
    several.offers("two", &json!({ "hush": true }));
    let said = several.begin().await;
    assert_eq!(
        said["capabilities"],
        json!({ "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "resources": { "listChanged": true } })
    );
    assert_eq!(several.listed().await, ["read"]);
    several.runs("read", "one", "read").await;
    assert_eq!(code(&several.call("two__pay", json!({})).await), "upstream.unavailable");
    several.offers("two", &tools(&["pay"]));
    assert_eq!(several.gate.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(several.listed().await, ["read", "pay"]);
    several.runs("pay", "two", "pay").await;
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page_as_it_was_when_it_was_asked_for() {
    let names: Vec<String> = (0..700).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut several = Several::start(&[("one", &names), ("two", &["read"])]);
    let (first, _) = several.ask("tools/list", json!({})).await;
    let cursor = first["result"]["nextCursor"].clone();
    assert_eq!(first["result"]["tools"].as_array().unwrap().len(), 500);
    several.offers("one", &tools(&["other"]));
    let (rest, _) = several.ask("tools/list", json!({ "cursor": cursor })).await;
    let rest = &rest["result"];
    assert_eq!((rest["tools"].as_array().unwrap().len(), &rest["tools"][200]["name"]), (201, &json!("read")));
    assert_eq!(rest.get("nextCursor"), None);
    for wrong in [json!("x-1"), json!(7), json!(cursor.as_str().unwrap().replace("-", "--"))] {
        let (refused, _) = several.ask("tools/list", json!({ "cursor": wrong })).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
}

#[tokio::test]
async fn prompts_and_resources_reach_the_server_that_listed_them_and_no_other() {
    let mut several = Several::start(&[("one", &[]), ("two", &[])]);
    let said = |prompt: &str, uri: &str, template: &str| {
        json!({
            "prompts/list": [{ "name": prompt }, { "name": "both" }],
            "resources/list": [{ "uri": uri, "name": "n" }, { "uri": "both://x", "name": "n" }],
            "resources/templates/list": [{ "uriTemplate": template, "name": "n" }],
            "greeting": { "capabilities": { "prompts": {}, "resources": {}, "completions": {} } },
        })
    };
    several.offers("one", &said("p", "a://1", "a://{id}"));
    several.offers("two", &said("q", "b://1", "b://{id}"));
    several.begin().await;
    let (read, _) = several.ask("resources/read", json!({ "uri": "a://1" })).await;
    assert_eq!(code(&read), "request.invalid_value", "nothing was listed");
    let mut listed = Vec::new();
    for (method, member, key) in [
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ] {
        let (answer, _) = several.ask(method, json!({})).await;
        let items = answer["result"][member].as_array().unwrap().clone();
        listed.extend(items.iter().map(|item| item[key].as_str().unwrap().to_owned()));
    }
    assert_eq!(listed, ["p", "one__both", "q", "two__both", "a://1", "b://1", "a://{id}", "b://{id}"]);
    let reference = |kind: &str, key: &str, name: &str| json!({ "ref": { "type": kind, key: name }, "argument": { "name": "a", "value": "v" } });
    for (method, params, server, words) in [
        ("prompts/get", json!({ "name": "two__both" }), "two", r#""name":"both""#),
        ("prompts/get", json!({ "name": "p" }), "one", r#""name":"p""#),
        ("resources/read", json!({ "uri": "b://1" }), "two", "b://1"),
        ("resources/read", json!({ "uri": "a://77" }), "one", "a://77"),
        ("completion/complete", reference("ref/prompt", "name", "one__both"), "one", r#""name":"both""#),
        ("completion/complete", reference("ref/resource", "uri", "b://{id}"), "two", "b://{id}"),
    ] {
        let (answer, _) = several.ask(method, params).await;
        assert_eq!(answer["result"]["pong"], method, "{answer}");
        several.reached(server, words).await;
        let surface = several.gate.arbiter.questions().last().unwrap().request.surface.clone();
        assert_eq!(surface.as_str(), format!("{server}.mcp.{}", method.replace('/', ".")));
    }
    let asked = several.gate.arbiter.questions().len();
    for (method, params) in [
        ("resources/read", json!({ "uri": "both://x" })),
        ("resources/read", json!({ "uri": "c://1" })),
        ("custom/method", json!({ "name": "p" })),
        ("prompts/get", json!({ "name": "both" })),
    ] {
        let (answer, _) = several.ask(method, params).await;
        assert!(["request.invalid_value", "tool.ambiguous"].contains(&code(&answer)), "{answer}");
    }
    assert_eq!(several.gate.arbiter.questions().len(), asked);
}

#[tokio::test]
async fn a_prompt_whose_name_looks_like_another_servers_is_neither_listed_nor_asked_for() {
    let mut several = Several::start(&[("one", &[]), ("two", &[])]);
    let said = |prompt: &str| json!({ "prompts/list": [{ "name": prompt }] });
    several.offers("one", &said("plan"));
    several.offers("two", &said("Plan"));
    let (listed, _) = several.ask("prompts/list", json!({})).await;
    assert_eq!(listed["result"]["prompts"], json!([]));
    for name in ["plan", "one__plan", "two__Plan"] {
        let (refused, _) = several.ask("prompts/get", json!({ "name": name })).await;
        assert_eq!(code(&refused), "tool.ambiguous", "{name}");
    }
    assert!(several.gate.arbiter.questions().is_empty());
}

#[tokio::test]
async fn questions_of_two_servers_under_one_id_were_answered_to_the_wrong_one() {
    let mut several = Several::start(&[("one", &["ask"]), ("two", &["ask"])]);
    several.send("a", "tools/call", json!({ "name": "one__ask" })).await;
    let first = several.gate.next().await;
    several.send("b", "tools/call", json!({ "name": "two__ask" })).await;
    let second = several.gate.next().await;
    assert_eq!((&first["method"], &second["method"]), (&json!("sampling/createMessage"), &second["method"]));
    assert_ne!(first["id"], second["id"]);
    for (asked, words, id) in [(&second, "for two", "b"), (&first, "for one", "a")] {
        let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "role": words } });
        several.gate.send(&answer.to_string()).await;
        let ended = several.gate.next().await;
        assert_eq!((&ended["id"], &ended["result"]["heard"]["result"]["role"]), (&json!(id), &json!(words)));
        // Once.
        several.gate.send(&answer.to_string()).await;
    }
    several.gate.told("a request that nobody made").await;
}

#[tokio::test]
async fn a_question_did_not_say_which_of_several_servers_asks_it() {
    let mut several = Several::start(&[("one", &["request"]), ("two", &["ask"])]);
    let asked = json!({ "method": "elicitation/create",
        "params": { "message": "two asks: your password?", "x": 1.50, "_meta": { "portcullis/server": "two", "y": 1 } } });
    several.send("a", "tools/call", json!({ "name": "one__request", "arguments": asked })).await;
    let question = several.gate.next().await;
    let said = json!({ "message": "`one` asks: two asks: your password?", "x": 1.50, "_meta": { "portcullis/server": "one", "y": 1 } });
    assert_eq!(question["params"], said);
    several.send("b", "tools/call", json!({ "name": "two__ask" })).await;
    let question = several.gate.next().await;
    assert_eq!(question["params"], json!({ "messages": [], "_meta": { "portcullis/server": "two" } }));
}

#[tokio::test]
async fn a_question_without_parameters_did_not_say_which_of_several_servers_asks_it() {
    let mut several = Several::start(&[("one", &["request"]), ("two", &["ask"])]);
    let asked = json!({ "method": "roots/list" });
    several.send("a", "tools/call", json!({ "name": "one__request", "arguments": asked })).await;
    let question = several.gate.next().await;
    assert_eq!(question["method"], "roots/list");
    assert_eq!(question["params"], json!({ "_meta": { "portcullis/server": "one" } }));
}

#[tokio::test]
async fn a_subscription_to_very_many_resources_was_resolved_before_anybody_decided() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &["pay"])]);
    let listen = |count: usize| {
        let uris: Vec<String> = (0..count).map(|number| format!("file:///{number}")).collect();
        json!({ "notifications": { "resourceSubscriptions": uris } })
    };
    let (refused, _) = several.ask("subscriptions/listen", listen(257)).await;
    assert_eq!(code(&refused), "request.invalid_value");
    assert!(several.gate.arbiter.questions().is_empty());
    several.send("s", "subscriptions/listen", listen(256)).await;
    several.gate.arbiter.asked(2).await;
}

#[tokio::test]
async fn lists_were_gathered_without_bound() {
    const AT_ONCE: usize = 64;
    let mut several = Several::start(&[("one", &[]), ("two", &[])]);
    several.offers("one", &json!({ "silent": true }));
    let ids: Vec<String> = (0..AT_ONCE).map(|_| several.id()).collect();
    for id in &ids {
        several.send(id, "tools/list", json!({})).await;
    }
    assert_eq!(code(&several.ask("tools/list", json!({})).await.0), "overload.shed");
    for _ in ids {
        assert_eq!(several.gate.next().await["result"], json!({ "tools": [] }));
    }
    several.offers("one", &tools(&["read"]));
    assert_eq!(several.listed().await, ["read"]);
}

#[tokio::test]
async fn a_server_that_could_not_be_reached_any_more_lost_the_calls_that_it_was_still_answering() {
    let web = Web::start().await;
    let far =
        RemoteServer { url: web.url.parse().unwrap(), trust: Trust::System, credential: None, slots: None };
    let far = NamedServer { name: "far".into(), server: ToolServer::Remote(far) };
    let mut several = Several::with(&[("one", &["read"])], |config| config.beside.push(far));
    *several.gate.arbiter.table.lock().unwrap() = Ok(table(&["one", "far"], ToolPins::none()));
    several.send("late", "tools/call", json!({ "name": "far__late" })).await;
    while web.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    web.shut().await;
    for _ in 0..7 {
        assert_eq!(code(&several.call("far__read", json!({})).await), "upstream.unavailable");
    }
    assert!(!several.gate.notes().contains("far: it cannot be reached"), "{}", several.gate.notes());
    web.answers_now();
    loop {
        let next = several.gate.next().await;
        if next["id"] == "late" {
            break assert_eq!(next["result"]["content"][0]["text"], "late", "{next}");
        }
    }
    // Over the connection that is left, and after that there is none. Nothing is under way with it now.
    assert_eq!(several.call("far__write", json!({})).await["result"]["isError"], false);
    for _ in 0..5 {
        assert_eq!(code(&several.call("far__read", json!({})).await), "upstream.unavailable");
    }
    several.gate.told("far: it cannot be reached").await;
    several.runs("one__read", "one", "read").await;
}

#[tokio::test]
async fn progress_and_cancellation_are_of_the_one_request() {
    let mut several = Several::start(&[("one", &["hold"]), ("two", &["meddle"])]);
    let call = |name: &str, token: &str| json!({ "name": name, "_meta": { "progressToken": token } });
    several.send("a", "tools/call", call("one__hold", "first")).await;
    several.reached("one", "tools/call").await;
    // The second one tells of progress with everything, also with what it was not asked.
    let (_, before) = several.ask("tools/call", call("two__meddle", "second")).await;
    let tokens: Vec<&Value> = before.iter().map(|said| &said["params"]["progressToken"]).collect();
    assert_eq!(tokens, [&json!("second")]);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "a", "reason": "enough" } });
    several.gate.send(&cancel.to_string()).await;
    several.reached("one", "notifications/cancelled").await;
    several.reached("one", "enough").await;
    let outcomes = several.gate.arbiter.settled(2).await;
    assert!(outcomes.iter().all(|(outcome, _)| *outcome == Outcome::Ok), "{outcomes:?}");
}

#[tokio::test]
async fn an_id_in_flight_is_not_taken_twice() {
    let mut several = Several::start(&[("one", &["hold"]), ("two", &["read"])]);
    several.send("a", "tools/call", json!({ "name": "one__hold" })).await;
    several.reached("one", "tools/call").await;
    several.send("a", "tools/call", json!({ "name": "two__read" })).await;
    let refused = several.gate.next().await;
    assert_eq!(
        (refused["error"]["data"]["portcullis"]["reason"]["code"].as_str(), &refused["id"]),
        (Some("request.invalid_value"), &Value::Null)
    );
    assert!(several.ran("two").is_empty());
}

#[tokio::test]
async fn when_the_client_goes_what_runs_on_every_server_ends_and_is_reported() {
    let mut several = Several::start(&[("one", &["silent"]), ("two", &["silent"])]);
    for server in ["one", "two"] {
        let id = several.id();
        several.send(&id, "tools/call", json!({ "name": format!("{server}__silent") })).await;
        several.reached(server, "tools/call").await;
    }
    let arbiter = std::sync::Arc::clone(&several.gate.arbiter);
    let (ending, rest) = several.gate.close().await;
    assert_eq!((ending.unreported, rest.len()), (0, 2));
    assert_eq!(arbiter.reported(), [Outcome::Unknown, Outcome::Unknown]);
}

#[tokio::test]
async fn a_subscription_is_to_all_servers_each_by_its_own_permit_and_is_renewed_with_one_that_comes_again() {
    let mut several = Several::start(&[("one", &["read", "announce"]), ("two", &["die"])]);
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    several.send("s", "subscriptions/listen", filter).await;
    let acknowledged = several.gate.next().await;
    let id = "/params/_meta/io.modelcontextprotocol~1subscriptionId";
    assert_eq!(
        (&acknowledged["method"], acknowledged.pointer(id)),
        (&json!("notifications/subscriptions/acknowledged"), Some(&json!("s")))
    );
    let surfaces = |several: &Several| -> Vec<String> {
        several.gate.arbiter.questions().iter().map(|it| it.request.surface.to_string()).collect()
    };
    let mut both = surfaces(&several);
    both.sort();
    assert_eq!(both, ["one.mcp.subscriptions.listen", "two.mcp.subscriptions.listen"]);
    // It goes, and the subscriber is told that there are other tools; and again when it is there.
    several.send("d", "tools/call", json!({ "name": "two__die" })).await;
    let mut told = 0;
    while told < 2 {
        let said = several.gate.next().await;
        if said["method"] == "notifications/tools/list_changed" {
            assert_eq!(said.pointer(id), Some(&json!("s")), "{said}");
            told += 1;
        }
    }
    several.gate.arbiter.asked(4).await;
    assert_eq!(surfaces(&several)[3], "two.mcp.subscriptions.listen");
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "s" } });
    several.gate.send(&cancel.to_string()).await;
    for server in ["one", "two"] {
        several.reached(server, "notifications/cancelled").await;
    }
}

#[tokio::test]
async fn a_server_said_that_it_does_what_another_was_asked_for() {
    let mut several = Several::start(&[("one", &[]), ("two", &[])]);
    let resources = |uri: &str| json!([{ "uri": uri, "name": "r" }]);
    let both = json!({ "resourceSubscriptions": ["one://a", "two://a", "made-up://a"] });
    several.offers("one", &json!({ "resources/list": resources("one://a"), "acknowledges": both }));
    several.offers("two", &json!({ "resources/list": resources("two://a") }));
    several.ask("resources/list", json!({})).await;
    several.send("s", "subscriptions/listen", json!({ "notifications": both })).await;
    let acknowledged = several.gate.next().await;
    let done = json!({ "resourceSubscriptions": ["one://a"] });
    assert_eq!(acknowledged["params"]["notifications"], done, "{acknowledged}");
}

#[tokio::test]
async fn word_that_a_resource_changed_comes_from_its_own_server_alone() {
    let mut several = Several::start(&[("one", &[]), ("two", &[])]);
    let resources = |uri: &str| json!([{ "uri": uri, "name": "r" }]);
    let both = json!(["two://a", "one://a"]);
    several.offers("one", &json!({ "resources/list": resources("one://a"), "updates": both }));
    several.offers("two", &json!({ "resources/list": resources("two://a") }));
    several.ask("resources/list", json!({})).await;
    let filter = json!({ "notifications": { "resourceSubscriptions": ["one://a", "two://a"] } });
    several.send("s", "subscriptions/listen", filter).await;
    let changed = loop {
        let said = several.gate.next().await;
        if said["method"] == "notifications/resources/updated" {
            break said;
        }
    };
    assert_eq!(changed["params"]["uri"], "one://a", "it was said last");
}

#[tokio::test]
async fn subscriptions_of_one_client_are_bounded() {
    const MOST: usize = 64;
    let mut several = Several::start(&[("one", &["read"]), ("two", &["read"])]);
    several.gate.arbiter.will(Act::Hang);
    let filter = || json!({ "notifications": { "toolsListChanged": true } });
    for number in 0..MOST {
        several.send(&format!("s{number}"), "subscriptions/listen", filter()).await;
    }
    assert_eq!(code(&several.ask("subscriptions/listen", filter()).await.0), "overload.shed");
}

#[tokio::test]
async fn a_refused_part_of_a_subscription_leaves_the_others() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &["read"])]);
    several.gate.arbiter.will(Act::Refuse(ReasonCode::PolicyNoGrant));
    let (refused, _) =
        several.ask("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } })).await;
    assert_eq!(code(&refused), "policy.no_grant");
    let (malformed, _) = several.ask("subscriptions/listen", json!({})).await;
    assert_eq!(code(&malformed), "request.malformed");
}

/// With its number in the place of its id a part may be longer than what came. Its gate cut it, and it was acknowledged with nothing.
#[tokio::test]
async fn a_part_of_a_subscription_that_became_too_long_was_taken_for_one_that_nobody_answers() {
    let mut several = Several::start(&[("one", &["read"]), ("two", &["read"])]);
    for _ in 0..6 {
        several.listed().await;
    }
    let with = |padding: &str| {
        let params = json!({ "_meta": { "x": padding }, "notifications": { "toolsListChanged": true } });
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}"#)
    };
    let line = with(&"x".repeat(8 * 1024 * 1024 - with("").len()));
    several.gate.send(&line).await;
    let refused = several.gate.next().await;
    assert_eq!((code(&refused), &refused["id"]), ("request.too_large", &json!(1)));
}

#[tokio::test]
async fn servers_whose_names_are_not_clear_are_refused_as_a_whole() {
    use portcullis_gate::{GateError, serve};
    for names in
        [["one", "one"], ["one", "0ne"], ["one", "o__e"], ["one", "two_"], ["one", "Two"], ["one", ""]]
    {
        let mut config = super::support::config(vec!["cat".into()]);
        config.server = names[0].into();
        config.beside = vec![super::support::beside(names[1], vec!["cat".into()])];
        let arbiter = super::arbiter::TestArbiter::new(super::support::table(1));
        let log = super::receipts::trusted();
        let refused = serve(config, arbiter, log, tokio::io::empty(), tokio::io::sink(), |_| {}).await;
        assert!(matches!(refused, Err(GateError::ServerNames(_) | GateError::ServerName(_))), "{names:?}");
    }
}
