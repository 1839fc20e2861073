//! The demo's tool server: real MCP over stdio or Streamable HTTP, a few tools, and a journal of what really ran.

mod web;

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Protocol revisions that it speaks; the newest is offered to a client that asks for another.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// What a tool server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file to which each execution is written.
    pub journal: PathBuf,
    /// Where it listens; `None` for standard input and output.
    pub listen: Option<SocketAddr>,
    /// With a tool whose results have so many bytes of text.
    pub statement: Option<usize>,
}

/// Serves until its standard input ends, or for ever at an address. Every execution is appended to the journal before it is
/// answered.
///
/// # Errors
/// If standard input, standard output, the address or the journal fails.
pub fn run(options: &Options) -> io::Result<()> {
    let mut tools = Tools::open(&options.journal, options.statement)?;
    match options.listen {
        Some(address) => web::serve(address, tools),
        None => lines(&mut tools),
    }
}

fn lines(tools: &mut Tools) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        if let Some(answer) = tools.answer(line?.as_bytes())? {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
    Ok(())
}

/// Bytes of a page of memory.
const PAGE: usize = 4096;

/// Bytes of the longest line of the journal that a kill leaves whole or does not leave at all.
const LONGEST_LINE: usize = 1024;

/// The tools and their journal.
struct Tools {
    journal: File,
    statement: Option<usize>,
}

impl Tools {
    fn open(journal: &Path, statement: Option<usize>) -> io::Result<Self> {
        Ok(Self { journal: File::options().create(true).append(true).open(journal)?, statement })
    }

    /// The answer to a message. Notifications, answers and what is no message want none.
    fn answer(&mut self, message: &[u8]) -> io::Result<Option<Value>> {
        let Ok(message) = serde_json::from_slice::<Value>(message) else { return Ok(None) };
        let (Some(id), Some(method)) = (message.get("id"), message.get("method").and_then(Value::as_str))
        else {
            return Ok(None);
        };
        Ok(Some(match self.result(method, message.get("params"))? {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": error } })
            }
        }))
    }

    fn result(&mut self, method: &str, params: Option<&Value>) -> io::Result<Result<Value, String>> {
        let params = params.cloned().unwrap_or_else(|| json!({}));
        Ok(match method {
            "initialize" => Ok(initialize(&params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": listed(self.statement.is_some()) })),
            "tools/call" => Ok(self.call(&params)?),
            other => Err(format!("no method `{other}`")),
        })
    }

    fn call(&mut self, params: &Value) -> io::Result<Value> {
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = |key: &str| {
            params.pointer(&format!("/arguments/{key}")).and_then(Value::as_str).unwrap_or_default()
        };
        let done = match (name, self.statement) {
            ("read_balance", _) => format!("the balance of {} is 1000.00", text("account")),
            ("read_statement", Some(bytes)) => statement(text("account"), bytes),
            ("charge", _) => format!("charged {} to {}", text("amount"), text("account")),
            ("delete_account", _) => format!("deleted {}", text("account")),
            (other, _) => {
                return Ok(
                    json!({ "isError": true, "content": [{ "type": "text", "text": format!("no tool `{other}`") }] }),
                );
            }
        };
        let entry = json!({ "tool": name, "arguments": params.get("arguments"), "key": params.pointer("/_meta/portcullis~1idempotency-key") });
        self.ran(&entry)?;
        Ok(json!({ "content": [{ "type": "text", "text": done }] }))
    }

    /// Appends one line in one write: what is in the journal ran, and what ran is in it. The kernel ends a write between two
    /// pages if its process is killed, so that a line must not span two: one after which a page has no room for another fills it.
    fn ran(&mut self, entry: &Value) -> io::Result<()> {
        let mut line = entry.to_string();
        self.journal.lock()?;
        let end = usize::try_from(self.journal.metadata()?.len()).map_err(io::Error::other)? + line.len() + 1;
        let left = end.next_multiple_of(PAGE) - end;
        if left < LONGEST_LINE {
            line.push_str(&" ".repeat(left));
        }
        line.push('\n');
        self.journal.write_all(line.as_bytes())?;
        self.journal.unlock()
    }
}

/// A text of so many bytes, or of its first words.
fn statement(account: &str, bytes: usize) -> String {
    let mut text = format!("the statement of {account} is ");
    let missing = bytes.saturating_sub(text.len());
    text.push_str(&".".repeat(missing));
    text
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

fn listed(statement: bool) -> Value {
    let tool = |name: &str, about: &str, properties: Value, required: Value| {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        json!({ "name": name, "description": about, "inputSchema": schema })
    };
    let account = json!({ "type": "string", "description": "The account's name" });
    let amount = json!({ "type": "string", "description": "Amount with two decimals, such as 12.50" });
    let mut tools = vec![
        tool("read_balance", "Read an account's balance", json!({ "account": account }), json!(["account"])),
        tool(
            "charge",
            "Charge an account",
            json!({ "account": account, "amount": amount }),
            json!(["account", "amount"]),
        ),
        tool(
            "delete_account",
            "Delete an account for ever",
            json!({ "account": account }),
            json!(["account"]),
        ),
    ];
    if statement {
        let account = json!({ "account": account });
        tools.push(tool("read_statement", "Read a long statement", account, json!(["account"])));
    }
    Value::Array(tools)
}

#[cfg(test)]
#[path = "toolserver_tests.rs"]
mod tests;
