//! A tool server that tells what really reached it: every line that it reads is in its journal before anything is
//! done about it.
//!
//! `recording_server JOURNAL`. What it does about a tool call depends on the tool's name. What it answers to `tools/list` is
//! in `JOURNAL.tools`, if that is there: `{"pages": [[…], …]}`, `{"raw": TEXT}`, `{"error": …}`, or anything else for no
//! answer. With `"then"` beside it, that takes its place once it was answered; with `"announce"`, the next ping is answered
//! behind word that the tools changed. With `"acknowledges"`, that is what it says that it does of a subscription, and with `"updates"`, of these resources it says at once that they changed. With `"slow"`, it takes so many milliseconds for a list of tools. With `"asks"`, it asks the client for that before it answers a ping. With `"greeting"`, that is in the answer to `initialize`; with `"hush"`, there is none as long
//! as it says so.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

fn main() -> ExitCode {
    let Some(journal) = std::env::args_os().nth(1) else { return ExitCode::from(2) };
    let mut tools = journal.clone();
    tools.push(".tools");
    match File::options().create(true).append(true).open(journal).and_then(|journal| serve(journal, tools)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut journal: File, tools: OsString) -> io::Result<()> {
    let mut server = Server { asked: None, tools, subscribed: Vec::new() };
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
    /// The file that says which tools it has.
    tools: OsString,
    /// The ids of requests that subscribed.
    subscribed: Vec<Value>,
}

/// The member of an answer that is its list.
fn method_member(method: &str) -> &'static str {
    match method {
        "prompts/list" => "prompts",
        "resources/list" => "resources",
        _ => "resourceTemplates",
    }
}

/// Says something to who subscribed by the request of this id.
fn to_subscriber(id: &Value, method: &str) -> io::Result<()> {
    let meta = json!({ SUBSCRIPTION: id });
    say(&json!({ "jsonrpc": "2.0", "method": method, "params": { "_meta": meta } }))
}

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Server {
    fn message(&mut self, message: &Value) -> io::Result<()> {
        let id = message.get("id").cloned().unwrap_or_default();
        match message.get("method").and_then(Value::as_str) {
            Some("tools/call") => self.call(&id, message),
            Some("subscriptions/listen") => {
                self.subscribed.push(id.clone());
                let granted = self.said().and_then(|said| said.get("acknowledges").cloned());
                let params = json!({ "_meta": { SUBSCRIPTION: id }, "notifications": granted });
                let method = "notifications/subscriptions/acknowledged";
                say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))?;
                let updated =
                    self.said().and_then(|said| said.get("updates").and_then(Value::as_array).cloned());
                updated.into_iter().flatten().try_for_each(|uri| {
                    let params = json!({ "_meta": { SUBSCRIPTION: id }, "uri": uri });
                    let method = "notifications/resources/updated";
                    say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
                })
            }
            Some("initialize") if message.pointer("/params/protocolVersion").is_some() => {
                self.greet(&id, message)
            }
            Some(method) if self.lists(method).is_some() => {
                answer(&id, &json!({ "_meta": {}, method_member(method): self.lists(method) }))
            }
            Some("tools/list") if self.said().is_some() => self.list(&id, message),
            Some("ping") if self.said().is_some_and(|said| said.get("announce").is_some()) => {
                say(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }))?;
                answer(&id, &json!({ "pong": "ping" }))
            }
            Some("ping") if self.asks().is_some() => {
                say(
                    &json!({ "jsonrpc": "2.0", "id": "s-2", "method": self.asks(), "params": { "messages": [] } }),
                )?;
                answer(&id, &json!({ "pong": "ping" }))
            }
            Some(_) if message.pointer("/params/answer").is_some() => {
                answer(&id, message.pointer("/params/answer").unwrap_or(&Value::Null))
            }
            Some(_) if !id.is_null() => answer(&id, &json!({ "pong": message.get("method") })),
            // A cancelled call, or the client's answer to what it was asked.
            Some("notifications/cancelled") | None => match self.asked.take() {
                Some(asked) => answer(&asked, &json!({ "content": [], "heard": message })),
                None => Ok(()),
            },
            Some(_) => Ok(()),
        }
    }

    fn greet(&self, id: &Value, message: &Value) -> io::Result<()> {
        while self.said().is_some_and(|said| said.get("hush").is_some()) {
            std::thread::yield_now();
        }
        let mut result =
            json!({ "pong": "initialize", "protocolVersion": message.pointer("/params/protocolVersion") });
        let said = self.said();
        if let (Some(result), Some(Value::Object(more))) =
            (result.as_object_mut(), said.as_ref().and_then(|said| said.get("greeting")))
        {
            result.extend(more.clone());
        }
        answer(id, &result)
    }

    /// What it lists besides tools.
    fn lists(&self, method: &str) -> Option<Value> {
        if method == "tools/list" { None } else { self.said()?.get(method).cloned() }
    }

    /// What it asks the client for when it is pinged.
    fn asks(&self) -> Option<Value> {
        self.said()?.get("asks").cloned()
    }

    fn said(&self) -> Option<Value> {
        let text = std::fs::read(&self.tools).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn list(&self, id: &Value, message: &Value) -> io::Result<()> {
        let Some(said) = self.said() else { return Ok(()) };
        if let Some(slow) = said.get("slow").and_then(Value::as_u64) {
            // tidy: allow how long it takes is what a test is about
            std::thread::sleep(std::time::Duration::from_millis(slow));
        }
        // Before it is answered: whoever hears the answer may put something else there.
        if let Some(then) = said.get("then") {
            std::fs::write(&self.tools, then.to_string())?;
        }
        let cursor = message.pointer("/params/cursor").and_then(Value::as_str).unwrap_or("0");
        let page: usize = cursor.parse().unwrap_or_default();
        if let Some(pages) = said.get("pages").and_then(Value::as_array) {
            let next = page.saturating_add(1);
            let mut result = json!({ "tools": pages.get(page), "_meta": { "page": page } });
            if next < pages.len()
                && let Some(result) = result.as_object_mut()
            {
                result.insert("nextCursor".to_owned(), json!(next.to_string()));
            }
            return answer(id, &result);
        } else if let Some(raw) = said.get("raw").and_then(Value::as_str) {
            return print(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{raw}}}\n"));
        } else if let Some(raw) = said.get("failing").and_then(Value::as_str) {
            return print(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{raw}}}\n"));
        } else if let Some(error) = said.get("error") {
            return say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
        }
        Ok(())
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
            "answer" | "pay" | "move" if message.pointer("/params/arguments/answer").is_some() => {
                return answer(id, message.pointer("/params/arguments/answer").unwrap_or(&Value::Null));
            }
            "raw" => return self.list(id, message),
            "request" => {
                self.asked = Some(id.clone());
                let asked = message.pointer("/params/arguments").cloned().unwrap_or_default();
                let own = message.pointer("/params/_meta/as").cloned().unwrap_or(json!("s-1"));
                let mut question = json!({ "jsonrpc": "2.0", "id": own, "method": asked.get("method") });
                if let (Some(question), Some(params)) = (question.as_object_mut(), asked.get("params")) {
                    question.insert("params".to_owned(), params.clone());
                }
                return say(&question);
            }
            "announce" => self.announce(id)?,
            "notify" => notify()?,
            "meddle" => meddle()?,
            "chatter" => chatter()?,
            "large" => {
                let content = json!([{ "type": "text", "text": "x".repeat(2 * 1024 * 1024) }]);
                return answer(id, &json!({ "content": content, "isError": false }));
            }
            "flood" => flood()?,
            "smuggle" => print(
                "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"x\":\r{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\"}\r}}\n",
            )?,
            "reveal" => return reveal(id, message),
            "environment" => {
                let names: Vec<_> =
                    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
                return answer(id, &json!({ "content": [], "names": names }));
            }
            _ => {}
        }
        answer(id, &ok)
    }

    /// Tells subscribers, and some that are none, that the tools changed, and ends what they subscribed to.
    fn announce(&mut self, id: &Value) -> io::Result<()> {
        for other in [id.clone(), json!(0), json!(4711), json!("s"), json!(null), json!(-1)] {
            to_subscriber(&other, "notifications/tools/list_changed")?;
        }
        for id in std::mem::take(&mut self.subscribed) {
            to_subscriber(&id, "notifications/tools/list_changed")?;
            answer(&id, &json!({ "resultType": "complete", "_meta": { SUBSCRIPTION: id } }))?;
        }
        Ok(())
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

/// Says an argument, or a variable of its environment, in every way that it has, `environment` to see which there are beside.
fn reveal(id: &Value, message: &Value) -> io::Result<()> {
    let named = message.pointer("/params/arguments/name").and_then(Value::as_str).unwrap_or_default();
    let sent = message.pointer("/params/arguments/api_key").and_then(Value::as_str);
    let value = sent.map_or_else(|| std::env::var(named).unwrap_or_default(), str::to_owned);
    let escaped = value.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>();
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "the token is {value}, {{\"said\":\"{escaped}\"}}")?;
    writeln!(stderr, "{}{value}{}{value}", "x ".repeat(2_045), " y".repeat(10_000))?;
    print(&format!("no message: {value}\n"))?;
    let params = json!({ "level": "info", "logger": value, "data": { value.clone(): value } });
    say(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }))?;
    say(
        &json!({ "jsonrpc": "2.0", "id": value, "method": "sampling/createMessage", "params": { "text": value } }),
    )?;
    if message.pointer("/params/arguments/fails").is_some() {
        return say(
            &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": value, "data": [value] } }),
        );
    }
    let meta = json!({ value.clone(): 1 });
    let text = json!([{ "type": "text", "text": format!("has {} letters", value.len()) }, { "type": "text", "text": value }]);
    print(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"_meta\":{meta},\"content\":{text},\"escaped\":\"{escaped}\"}}}}\n"
    ))
}

fn notify() -> io::Result<()> {
    for method in ["notifications/message", "notifications/progress", "notifications/evil", "evil"] {
        say(
            &json!({ "jsonrpc": "2.0", "method": method, "params": { "progressToken": "t-1", "progress": 1 } }),
        )?;
    }
    Ok(())
}

/// Word of progress with whatever else might be under way.
fn meddle() -> io::Result<()> {
    (0..64).try_for_each(|token| {
        let params = json!({ "progressToken": token, "progress": 1 });
        say(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))
    })
}

/// More than any buffer on the way holds.
fn chatter() -> io::Result<()> {
    let params = json!({ "level": "info", "data": "x".repeat(10_000) });
    (0..2_000).try_for_each(|_| {
        say(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }))
    })
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
