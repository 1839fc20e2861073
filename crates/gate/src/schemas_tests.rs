use std::sync::Arc;

use portcullis_protocol::{Fit, ToolDefinition, ToolPins, ToolSchema, ToolSeen};

use super::{Compiled, PATTERNS_SIZE, Schemas};

fn tool(text: &str) -> ToolDefinition {
    ToolDefinition::parse(text.as_bytes()).unwrap()
}

fn pins(tools: &[&ToolDefinition]) -> ToolPins {
    let pin = |tool: &&ToolDefinition| (format!("s/{}", tool.name()).parse().unwrap(), tool.digest());
    ToolPins { required: false, tools: tools.iter().map(pin).collect() }
}

#[tokio::test]
async fn only_what_was_heard_under_the_very_digest_of_the_pin_is_held_against() {
    let (own, other) =
        (tool(r#"{"name":"a"}"#), tool(r#"{"name":"a","inputSchema":{"additionalProperties":true}}"#));
    let pins = pins(&[&own]);
    let schemas = Schemas::default();
    schemas.want(pins.of("s"));
    let name = "s/a".parse().unwrap();
    let agent = "demo-agent".parse().unwrap();
    let fit = async |seen, arguments| schemas.fit((&name, seen), &pins, (&agent, arguments)).await;
    let defined = ToolSeen::Defined(own.digest());
    assert!(matches!(fit(defined, "{}").await, Some(Fit::Unchecked(_))), "not heard yet");
    schemas.hear(&other).await;
    assert!(matches!(fit(defined, "{}").await, Some(Fit::Unchecked(_))), "heard of another");
    schemas.hear(&own).await;
    assert_eq!(fit(defined, "{}").await, Some(Fit::Fits));
    assert!(matches!(fit(defined, r#"{"x":1}"#).await, Some(Fit::Undeclared(_))));
    assert_eq!(fit(ToolSeen::Defined(other.digest()), "{}").await, None);
    assert_eq!(fit(ToolSeen::Unknown, "{}").await, None);
}

#[tokio::test]
async fn a_pin_that_comes_into_force_has_the_list_read_again() {
    let (one, two) = (tool(r#"{"name":"a"}"#), tool(r#"{"name":"b"}"#));
    let (first, both) = (pins(&[&one]), pins(&[&one, &two]));
    let schemas = Schemas::default();
    schemas.want(first.of("s"));
    schemas.hear(&one).await;
    schemas.hear(&two).await;
    let listed = [&one, &two].map(|tool| ToolSeen::Defined(tool.digest()));
    assert!(schemas.know(listed.iter()), "what is not pinned needs no schema");
    schemas.want(both.of("s"));
    assert!(!schemas.know(listed.iter()), "it was read before it was pinned");
    schemas.hear(&two).await;
    assert!(schemas.know(listed.iter()));
    let agent = "demo-agent".parse().unwrap();
    for (name, tool) in [("s/a", &one), ("s/b", &two)] {
        let seen = ToolSeen::Defined(tool.digest());
        let fit = schemas.fit((&name.parse().unwrap(), seen), &both, (&agent, "{}")).await;
        assert_eq!(fit, Some(Fit::Fits), "{name}");
    }
}

/// One agent's arguments may take a fifth of a second: that was taken of the only thread there is.
#[tokio::test]
async fn arguments_were_looked_at_on_the_thread_that_all_agents_share() {
    let hostile = r#"{"name":"slow","inputSchema":{"properties":{"a":{"pattern":"^(a|a)*(a|a)*(a|a)*$"}}}}"#;
    let (slow, quick) = (tool(hostile), tool(r#"{"name":"quick"}"#));
    let pins = pins(&[&slow, &quick]);
    let schemas = Schemas::default();
    schemas.want(pins.of("s"));
    schemas.hear(&slow).await;
    schemas.hear(&quick).await;
    let long = format!(r#"{{"a":"{}!"}}"#, "a".repeat(100_000));
    let fit = async |tool: &ToolDefinition, agent: &str, arguments: &str| {
        let name = format!("s/{}", tool.name()).parse().unwrap();
        let seen = ToolSeen::Defined(tool.digest());
        schemas.fit((&name, seen), &pins, (&agent.parse().unwrap(), arguments)).await
    };
    let mut first = std::pin::pin!(fit(&slow, "one", &long));
    tokio::select! {
        biased;
        fit = &mut first => panic!("nothing else could go on: {fit:?}"),
        () = std::future::ready(()) => {}
    }
    // Its own calls stay in order, one at a time; another agent's do not wait for them.
    let done = std::sync::Mutex::new(Vec::new());
    let note = |who: &'static str| done.lock().unwrap().push(who);
    tokio::join!(
        async {
            first.await;
            note("first");
        },
        async {
            fit(&quick, "one", "{}").await;
            note("second");
        },
        async {
            fit(&quick, "two", "{}").await;
            note("other");
        },
    );
    let done = done.into_inner().unwrap();
    let at = |who| done.iter().position(|done| *done == who).unwrap();
    assert!(at("first") < at("second"), "{done:?}");
}

/// Each conversation compiled its own, and each tool of a server had its own bound.
#[tokio::test]
async fn patterns_of_all_tools_of_a_server_had_no_bound_and_were_each_conversations_own() {
    let large = |number: usize| {
        let pattern = |part: usize| format!(r#""k{part}":{{"pattern":"^[a-z]{{1000}}{number}x{part}"}}"#);
        let patterns = (0..3).map(pattern).collect::<Vec<_>>().join(",");
        tool(&format!(r#"{{"name":"t{number}","inputSchema":{{"properties":{{{patterns}}}}}}}"#))
    };
    let tools: Vec<ToolDefinition> = (0..40).map(large).collect();
    let pins = pins(&tools.iter().collect::<Vec<_>>());
    let (schemas, others) = (Schemas::default(), Schemas::default());
    for conversation in [&schemas, &others] {
        conversation.want(pins.of("s"));
        for tool in &tools {
            conversation.hear(tool).await;
        }
    }
    let known =
        |schemas: &Schemas| -> Vec<Arc<Compiled>> { schemas.state().known.values().cloned().collect() };
    let sizes = known(&schemas)
        .iter()
        .filter_map(|it| it.as_ref().as_ref().ok().map(ToolSchema::patterns_size))
        .collect::<Vec<_>>();
    let taken: usize = sizes.iter().sum();
    assert!(!sizes.is_empty() && sizes.len() < 40 && taken <= PATTERNS_SIZE, "{sizes:?}");
    for (one, other) in known(&schemas).iter().zip(known(&others)) {
        assert!(one.is_err() || Arc::ptr_eq(one, &other), "compiled twice");
    }
    let agent = "demo-agent".parse().unwrap();
    let last = tools.last().unwrap();
    let seen = ToolSeen::Defined(last.digest());
    let fit = schemas.fit((&"s/t39".parse().unwrap(), seen), &pins, (&agent, "{}")).await;
    assert!(matches!(fit, Some(Fit::Unchecked(_))), "{fit:?}");
}
