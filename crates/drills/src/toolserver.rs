//! The demo's tool server: real MCP over stdio, three tools, and a journal of what really ran.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::Path;

use serde_json::{Value, json};

/// Protocol revisions that it speaks; the newest is offered to a client that asks for another.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// Serves standard input until it ends. Every execution is appended to the journal before it is answered.
///
/// # Errors
/// If standard input, standard output or the journal fails.
pub fn run(journal: &Path) -> io::Result<()> {
    let mut journal = File::options().create(true).append(true).open(journal)?;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        // Notifications and answers want no answer.
        let (Some(id), Some(method)) = (message.get("id"), message.get("method").and_then(Value::as_str))
        else {
            continue;
        };
        let answer = match answer(method, message.get("params"), &mut journal)? {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": error } })
            }
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(method: &str, params: Option<&Value>, journal: &mut File) -> io::Result<Result<Value, String>> {
    let params = params.cloned().unwrap_or_else(|| json!({}));
    Ok(match method {
        "initialize" => Ok(initialize(&params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools() })),
        "tools/call" => Ok(call(&params, journal)?),
        other => Err(format!("no method `{other}`")),
    })
}

fn initialize(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let [newest, ..] = REVISIONS;
    let revision = REVISIONS.into_iter().find(|revision| asked == Some(*revision)).unwrap_or(newest);
    json!({
        "protocolVersion": revision,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "portcullis-demo-tools", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn tools() -> Value {
    let tool = |name: &str, about: &str, properties: Value, required: Value| {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        json!({ "name": name, "description": about, "inputSchema": schema })
    };
    let account = json!({ "type": "string", "description": "The account's name" });
    let amount = json!({ "type": "string", "description": "Amount with two decimals, such as 12.50" });
    json!([
        tool("read_balance", "Read an account's balance", json!({ "account": account }), json!(["account"])),
        tool(
            "charge",
            "Charge an account",
            json!({ "account": account, "amount": amount }),
            json!(["account", "amount"])
        ),
        tool(
            "delete_account",
            "Delete an account for ever",
            json!({ "account": account }),
            json!(["account"])
        ),
    ])
}

fn call(params: &Value, journal: &mut File) -> io::Result<Value> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let text =
        |key: &str| params.pointer(&format!("/arguments/{key}")).and_then(Value::as_str).unwrap_or_default();
    let done = match name {
        "read_balance" => format!("the balance of {} is 1000.00", text("account")),
        "charge" => format!("charged {} to {}", text("amount"), text("account")),
        "delete_account" => format!("deleted {}", text("account")),
        other => {
            return Ok(
                json!({ "isError": true, "content": [{ "type": "text", "text": format!("no tool `{other}`") }] }),
            );
        }
    };
    // One write of one line: what is in the journal ran, and what ran is in it.
    let entry = json!({ "tool": name, "arguments": params.get("arguments"), "key": params.pointer("/_meta/portcullis~1idempotency-key") });
    journal.write_all(format!("{entry}\n").as_bytes())?;
    Ok(json!({ "content": [{ "type": "text", "text": done }] }))
}
