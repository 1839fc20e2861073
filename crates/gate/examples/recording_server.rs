//! A tool server that tells what really reached it: every line that it reads is in its journal before anything is
//! done about it.
//!
//! `recording_server JOURNAL`. What it does about a tool call depends on the tool's name.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

fn main() -> ExitCode {
    let Some(journal) = std::env::args_os().nth(1) else { return ExitCode::from(2) };
    match File::options().create(true).append(true).open(journal).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut journal: File) -> io::Result<()> {
    let mut server = Server { asked: None };
    for line in io::stdin().lock().lines() {
        let line = line?;
        journal.write_all(format!("{line}\n").as_bytes())?;
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            server.message(&message)?;
        }
    }
    Ok(())
}

struct Server {
    /// The id of a call that waits for the client.
    asked: Option<Value>,
}

impl Server {
    fn message(&mut self, message: &Value) -> io::Result<()> {
        let id = message.get("id").cloned().unwrap_or_default();
        match message.get("method").and_then(Value::as_str) {
            Some("tools/call") => self.call(&id, message),
            Some(_) if !id.is_null() => answer(&id, &json!({ "pong": message.get("method") })),
            // A cancelled call, or the client's answer to what it was asked.
            Some("notifications/cancelled") | None => match self.asked.take() {
                Some(asked) => answer(&asked, &json!({ "content": [], "heard": message })),
                None => Ok(()),
            },
            Some(_) => Ok(()),
        }
    }

    fn call(&mut self, id: &Value, message: &Value) -> io::Result<()> {
        let tool = message.pointer("/params/name").and_then(Value::as_str).unwrap_or_default();
        let ok = json!({ "content": [{ "type": "text", "text": tool }], "isError": false });
        match tool {
            "fail" => return answer(id, &json!({ "content": [], "isError": true })),
            "error" => {
                return say(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "no" } }));
            }
            "twice" => answer(id, &ok)?,
            "other" => answer(&json!(4711), &ok)?,
            "neither" => return say(&json!({ "jsonrpc": "2.0", "id": id })),
            "garbage" => print("Hello, I am a\u{1b}[31m log line\n[1]\n{\"jsonrpc\":\"2.0\",\n")?,
            "die" => std::process::exit(3),
            "silent" => return Ok(()),
            "hold" | "ask" | "roots" | "ping" => return self.ask(tool, id),
            "notify" => notify()?,
            "flood" => flood()?,
            "smuggle" => print(
                "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"x\":\r{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\"}\r}}\n",
            )?,
            "environment" => {
                let names: Vec<_> =
                    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
                return answer(id, &json!({ "content": [], "names": names }));
            }
            _ => {}
        }
        answer(id, &ok)
    }

    fn ask(&mut self, tool: &str, id: &Value) -> io::Result<()> {
        self.asked = Some(id.clone());
        let method = match tool {
            "ask" => "sampling/createMessage",
            "roots" => "roots/list",
            "ping" => "ping",
            _ => return Ok(()),
        };
        say(&json!({ "jsonrpc": "2.0", "id": "s-1", "method": method, "params": { "messages": [] } }))
    }
}

fn notify() -> io::Result<()> {
    for method in ["notifications/message", "notifications/progress", "notifications/evil", "evil"] {
        say(
            &json!({ "jsonrpc": "2.0", "method": method, "params": { "progressToken": "t-1", "progress": 1 } }),
        )?;
    }
    Ok(())
}

fn flood() -> io::Result<()> {
    let long = "x".repeat(10_000);
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "first \u{7} {long}")?;
    (0..5_000).try_for_each(|number| writeln!(stderr, "line {number}"))
}

fn answer(id: &Value, result: &Value) -> io::Result<()> {
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

fn say(message: &Value) -> io::Result<()> {
    print(&format!("{message}\n"))
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
