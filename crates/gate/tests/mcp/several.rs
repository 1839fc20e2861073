//! A gate in front of several recording servers: `one`, `two` and so on, each with a journal of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_gate::McpGate;
use portcullis_protocol::{Idempotency, SurfaceTable, ToolPins};
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::support::{Gate, beside, bundle_table, example, local, surface};

/// Tools of which every server has a surface.
const TOOLS: [&str; 12] =
    ["read", "write", "pay", "ask", "hold", "die", "silent", "meddle", "Read", "two__pay", "late", "request"];
const METHODS: [&str; 5] =
    ["resources.read", "prompts.get", "subscriptions.listen", "completion.complete", "elicitation.create"];

/// Several servers' surfaces.
pub(crate) fn table(servers: &[&str], pins: ToolPins) -> SurfaceTable {
    let mut table = bundle_table();
    for server in servers {
        for method in METHODS {
            let name = format!("{server}.mcp.{method}");
            table.surfaces.insert(name.parse().unwrap(), surface(Idempotency::None, &[]));
        }
        table.surfaces.insert(
            format!("{server}.mcp.sampling.createmessage").parse().unwrap(),
            surface(Idempotency::None, &[]),
        );
        let mut all = surface(Idempotency::None, &[]);
        all.tools = TOOLS.iter().map(|tool| format!("{server}/{tool}").parse().unwrap()).collect();
        table.surfaces.insert(format!("{server}.all").parse().unwrap(), all);
    }
    table.pins = pins;
    table
}

pub(crate) fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object", "properties": { "n": { "type": "integer" } } } })
}

pub(crate) fn tools(names: &[&str]) -> Value {
    let tools: Vec<Value> = names.iter().map(|name| tool(name)).collect();
    json!({ "pages": [tools], "greeting": { "capabilities": { "tools": {} } } })
}

pub(crate) struct Several {
    pub(crate) gate: Gate,
    pub(crate) names: Vec<String>,
    ids: u64,
}

impl Several {
    /// Servers that list these tools.
    pub(crate) fn start(servers: &[(&str, &[&str])]) -> Self {
        Self::with(servers, |_| {})
    }

    pub(crate) fn with(servers: &[(&str, &[&str])], change: impl FnOnce(&mut McpGate)) -> Self {
        let names: Vec<String> = servers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let gate = Gate::with(|config| {
            let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
            for (name, tools_) in servers {
                offer(&folder, name, &tools(tools_));
            }
            let command = |name: &str| vec![example("recording_server").into(), folder.join(name).into()];
            config.server = names[0].clone();
            local(config).command = command(&names[0]);
            config.beside = names.iter().skip(1).map(|name| beside(name, command(name))).collect();
            config.listed_within = Duration::from_secs(600);
            change(config);
        });
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        *gate.arbiter.table.lock().unwrap() = Ok(table(&all, ToolPins::none()));
        gate.arbiter.will(Act::PermitAsPinned);
        Self { gate, names, ids: 0 }
    }

    /// What a server says from now on.
    pub(crate) fn offers(&self, server: &str, said: &Value) {
        offer(self.gate.folder.path(), server, said);
    }

    pub(crate) fn id(&mut self) -> String {
        self.ids += 1;
        format!("q{}", self.ids)
    }

    /// Asks, and returns the answer, with what else came before it.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let id = self.id();
        self.send(&id, method, params).await;
        let mut before = Vec::new();
        loop {
            let next = self.gate.next().await;
            if next["id"] == json!(id) && next.get("method").is_none() {
                return (next, before);
            }
            before.push(next);
        }
    }

    pub(crate) async fn send(&mut self, id: &str, method: &str, params: Value) {
        let line = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.gate.send(&line.to_string()).await;
    }

    pub(crate) async fn begin(&mut self) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
        let (answer, _) = self.ask("initialize", params).await;
        self.gate.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        answer["result"].clone()
    }

    /// The names that the client is shown.
    pub(crate) async fn listed(&mut self) -> Vec<String> {
        let (answer, _) = self.ask("tools/list", json!({})).await;
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await.0
    }

    /// Calls a tool, which runs on this server and no other, under its own name.
    pub(crate) async fn runs(&mut self, tool: &str, server: &str, own: &str) {
        let before = self.ran_all();
        let answer = self.call(tool, json!({ "n": self.ids })).await;
        assert_eq!(answer["result"]["content"][0]["text"], own, "{answer}");
        let mut after = self.ran_all();
        for (name, calls) in &before {
            let now = after.remove(name).unwrap();
            let new: Vec<&Value> = now.iter().skip(calls.len()).collect();
            assert_eq!(new.len(), usize::from(name == server), "{tool}: {name}: {new:?}");
            assert!(new.iter().all(|call| call["params"]["name"] == own), "{new:?}");
        }
        let asked = self.gate.arbiter.questions().last().unwrap().request.clone();
        assert_eq!(asked.surface.as_str(), format!("{server}.all"));
    }

    /// The calls that reached a server.
    pub(crate) fn ran(&self, server: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.gate.folder.path().join(server)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["method"] == "tools/call").collect()
    }

    pub(crate) fn ran_all(&self) -> BTreeMap<String, Vec<Value>> {
        self.names.iter().map(|name| (name.clone(), self.ran(name))).collect()
    }

    /// Whether a line with this in it has reached a server.
    pub(crate) async fn reached(&self, server: &str, words: &str) {
        let path = self.gate.folder.path().join(server);
        let there = async {
            while !std::fs::read_to_string(&path).unwrap_or_default().contains(words) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, there).await.is_ok(), "`{words}` did not reach {server}");
    }
}

pub(crate) fn offer(folder: &std::path::Path, server: &str, said: &Value) {
    let (new, file) = (folder.join(format!("{server}.new")), folder.join(format!("{server}.tools")));
    std::fs::write(&new, said.to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}
