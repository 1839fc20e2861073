//! `portcullis mcp list` and `inspect`: what a server says of its tools, as people should read it.

use std::process::ExitCode;

use portcullis_gate::lookalike::visible;
use portcullis_policy::PinnedTools;
use portcullis_protocol::{Exact, ToolDefinition};
use serde_json::{Value, json};

use super::tools::{Asked, State, ask, odd, pins};
use crate::args::{InspectArgs, McpArgs, ToolsArgs};
use crate::say;

pub(super) fn list(args: &ToolsArgs, mcp: &McpArgs) -> Result<ExitCode, ExitCode> {
    let asked = ask(mcp, &args.server.command)?;
    let pins = pins(mcp, args.bundle.as_deref(), &asked.server)?;
    let gone = gone(&asked, pins.as_ref());
    if args.json {
        let tools: Vec<_> = asked.tools.iter().map(|tool| tool_json(&asked, tool, pins.as_ref())).collect();
        let said = json!({ "server": asked.server, "pinned": pins.is_some(), "tools": tools, "gone": gone });
        say::line(&said.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for tool in &asked.tools {
        let state = State::of(&asked, tool, pins.as_ref());
        say::line(&format!("{:9}  {}", state.as_str(), visible(tool.name())));
        odd(&asked, tool).iter().for_each(|odd| say::line(&format!("           {odd}")));
    }
    for name in &gone {
        say::line(&format!("{:9}  {}", State::Gone.as_str(), visible(name)));
    }
    let (count, server) = (asked.tools.len(), &asked.server);
    match pins {
        Some(_) => {
            say::line(&format!("{count} tools of `{server}`; only those that are `pinned` can be called"))
        }
        None => say::line(&format!(
            "{count} tools of `{server}`, and no pins: what they are said to do may change after it was reviewed \
             (portcullis mcp pin)"
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// The pinned tools that the server does not list any more.
pub(super) fn gone(asked: &Asked, pins: Option<&PinnedTools>) -> Vec<String> {
    let pinned = pins.into_iter().flat_map(|pins| pins.tools().keys());
    let there = |name: &&String| asked.tools.iter().any(|tool| tool.name() == *name);
    pinned.filter(|name| !there(name)).cloned().collect()
}

fn tool_json(asked: &Asked, tool: &ToolDefinition, pins: Option<&PinnedTools>) -> Value {
    let pin = pins.and_then(|pins| pins.tools().get(tool.name())).map(ToolDefinition::digest);
    json!({
        "name": tool.name(), "state": State::of(asked, tool, pins).as_str(), "digest": tool.digest(), "pin": pin,
        "odd": odd(asked, tool),
    })
}

pub(super) fn inspect(args: &InspectArgs, mcp: &McpArgs) -> Result<ExitCode, ExitCode> {
    let InspectArgs { tool: name, tools: args } = args;
    let asked = ask(mcp, &args.server.command)?;
    let pins = pins(mcp, args.bundle.as_deref(), &asked.server)?;
    let found: Vec<_> = asked.tools.iter().filter(|tool| tool.name() == name).collect();
    if found.is_empty() {
        let names: Vec<_> = asked.tools.iter().map(|tool| format!("`{}`", visible(tool.name()))).collect();
        let listed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(say::misuse(&format!(
            "the server lists no tool `{}`; it lists: {listed}",
            visible(name)
        )));
    }
    for tool in found {
        if args.json {
            let mut said = tool_json(&asked, tool, pins.as_ref());
            if let Some(said) = said.as_object_mut() {
                said.insert("definition".to_owned(), json!(tool.to_exact().to_canonical()));
            }
            say::line(&said.to_string());
        } else {
            show(&asked, tool, pins.as_ref());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(asked: &Asked, tool: &ToolDefinition, pins: Option<&PinnedTools>) {
    say::line(&format!("{}/{}", asked.server, visible(tool.name())));
    say::line(&format!("{}, {}", State::of(asked, tool, pins).as_str(), tool.digest()));
    odd(asked, tool).iter().for_each(|odd| say::line(&format!("ODD: {odd}")));
    for (member, value) in tool.members() {
        let note =
            if member == "annotations" { " (what the server claims; nothing rests on it)" } else { "" };
        say::line(&format!("\n{}{note}:", visible(member)));
        text(value).lines().for_each(|line| say::line(&format!("    {line}")));
    }
}

/// A member as people read it: a string as its own text, anything else as JSON, a member a line.
pub(super) fn text(value: &Exact) -> String {
    match value.as_str() {
        Some(text) => visible(text),
        None => visible(&value.to_pretty()),
    }
}
