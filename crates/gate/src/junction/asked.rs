//! What the client says, and for which server it is.

use std::collections::BTreeSet;

use portcullis_protocol::{Loose, ReasonCode};
use portcullis_sdk::Refusal;

use crate::answer;
use crate::endpoint::rewrite;
use crate::form::Form;
use crate::harmless::{CANCELLED, ClientNotice, ClientRequest, Harmless, cancellation, nothing_else};
use crate::line::Line;
use crate::message::{
    Body, Defect, From, Id, Members, Message, Params, Refused, Reply, members_of, quote, read,
};
use crate::notes::escape;
use crate::session::CLIENT_LINE;

use super::gather::{Kind, What};
use super::names::{Bound, fits, parts};
use super::state::{ASKED, Asked, Call, Junction, Sent, To};

/// Parameters by which a request is for one server or another.
const TELLING: [&str; 7] = ["name", "uri", "ref", "cursor", "level", "notifications", "_meta"];
/// Characters of what the client says that people are shown.
const SAMPLE: usize = 120;

impl Junction {
    /// Acts upon a line of the client's.
    pub(super) fn client_line(&mut self, line: Line) {
        let read = match line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(bytes) => read(&bytes, From::Client),
            Line::Cut(_) => Err(Defect {
                id: None,
                tool: false,
                answerable: true,
                refused: Refused::new(
                    ReasonCode::RequestTooLarge,
                    format!("longer than {CLIENT_LINE} bytes"),
                ),
            }),
        };
        match read {
            Ok(Message::Request(id, body)) => {
                if let Err(refused) = self.request(&id, &body) {
                    let tool = body.method == "tools/call";
                    self.refuse(
                        Defect { id: Some(id), tool, answerable: true, refused },
                        is_stateless(&body),
                    );
                }
            }
            Ok(Message::Notification(body)) => self.notice(&body),
            Ok(Message::Response(id, reply)) => self.response(&id, reply),
            Err(defect) if defect.answerable => self.refuse(defect, false),
            Err(defect) => {
                let Defect { refused, .. } = defect;
                self.basis.notes.say(format!("blocked a message: {} ({})", refused.code, refused.detail));
            }
        }
    }

    fn refuse(&mut self, mut defect: Defect, stateless: bool) {
        // Under the id of a request in flight this would pass for its answer.
        defect.id = defect.id.filter(|id| !self.asked.contains_key(id));
        let reply = answer::defect(&defect, &self.typed);
        let reply = if stateless { answer::whole(reply) } else { reply };
        self.backlog.push_back(match &defect.id {
            Some(id) => rewrite::answer(id, &reply),
            None => nameless(&reply),
        });
    }

    fn request(&mut self, id: &Id, body: &Body) -> Result<(), Refused> {
        body.unambiguous(&TELLING)?;
        if self.asked.contains_key(id) {
            let detail = "a request with this id is in flight";
            return Err(Refused::new(ReasonCode::RequestInvalidValue, detail));
        }
        if self.asked.len() >= ASKED {
            let detail = "too many requests are in flight in this gate";
            return Err(Refused::new(ReasonCode::OverloadShed, detail));
        }
        match ClientRequest::of(&body.method) {
            Some(method) => {
                nothing_else(body)?;
                self.harmless(id, method, body)
            }
            None => self.decided(id, body),
        }
    }

    /// A request that only asks what there is.
    fn harmless(&mut self, id: &Id, method: ClientRequest, body: &Body) -> Result<(), Refused> {
        match method {
            ClientRequest::Initialize => self.hello(id, body),
            ClientRequest::Ping => {
                let reply = Reply::Result("{}".to_owned());
                let reply = if is_stateless(body) { answer::whole(reply) } else { reply };
                self.answer(id, &reply);
                Ok(())
            }
            ClientRequest::Discover => self.gather(id, What::Discover, body),
            ClientRequest::SetLogLevel => {
                if let Some(hello) = &mut self.hello {
                    hello.level.clone_from(&body.params);
                }
                self.gather(id, What::Level, body)
            }
            ClientRequest::ToolsList => self.list(id, Kind::Tools, body),
            ClientRequest::PromptsList => self.list(id, Kind::Prompts, body),
            ClientRequest::ResourcesList => self.list(id, Kind::Resources, body),
            ClientRequest::ResourceTemplatesList => self.list(id, Kind::Templates, body),
        }
    }

    /// A request that the gate of one server decides, or of those to which it subscribes.
    fn decided(&mut self, id: &Id, body: &Body) -> Result<(), Refused> {
        let params = body.params.as_ref();
        match body.method.as_str() {
            "tools/call" => {
                let name = text(params, "name")?;
                let (server, own) = self.of_tool(name)?;
                self.send(server, id, &named(body, own))
            }
            "prompts/get" => {
                let name = text(params, "name")?;
                let (server, own) = self.of_prompt(name)?;
                self.send(server, id, &named(body, own))
            }
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                let server = self.of_uri(text(params, "uri")?)?;
                self.send(server, id, body)
            }
            "completion/complete" => {
                let (server, body) = self.of_reference(body)?;
                self.send(server, id, &body)
            }
            "subscriptions/listen" => self.listen(id, body),
            _ => {
                let detail = "which of several tool servers this method is for cannot be told";
                Err(Refused::new(ReasonCode::RequestInvalidValue, detail))
            }
        }
    }

    fn servers_by_name(&self) -> BTreeSet<String> {
        self.servers.iter().map(|server| server.name.clone()).collect()
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// The server of a name, and the name that it knows. What was not shown in this conversation means nobody, for it may have
    /// meant another server's when it was shown in another one.
    fn of_name<'a>(&self, name: &'a str, bound: &Bound) -> Result<(usize, &'a str), Refused> {
        let servers = self.servers_by_name();
        if let Some((server, own)) = parts(name, &servers) {
            let number = self.number_of(server);
            return number.map(|number| (number, own)).ok_or_else(unlisted);
        }
        bound.get(name).or_else(|| self.alone()).map(|server| (server, name)).ok_or_else(unlisted)
    }

    /// The only server of the gate, if there is but one: everything is for it, whatever was shown.
    fn alone(&self) -> Option<usize> {
        Some(0).filter(|_| self.servers.len() == 1)
    }

    /// The server of a tool. One that is hidden from the client is decided by its gate, on record, as long as its name says which
    /// it is.
    fn of_tool<'a>(&self, name: &'a str) -> Result<(usize, &'a str), Refused> {
        self.of_name(name, &self.known.tools).or_else(|refused| {
            let hiding = self.basis.company.hides(name).and_then(|server| self.number_of(&server));
            hiding.map(|server| (server, name)).ok_or(refused)
        })
    }

    fn of_prompt<'a>(&self, name: &'a str) -> Result<(usize, &'a str), Refused> {
        let (number, own) = self.of_name(name, &self.known.prompts)?;
        let server = self.servers.get(number).map_or("", |server| server.name.as_str());
        if self.known.company.is_ambiguous(server, own) {
            let detail = "another server has a prompt whose name looks the same";
            return Err(Refused::new(ReasonCode::ToolAmbiguous, detail));
        }
        Ok((number, own))
    }

    /// The server of a resource: the one that listed it, else the only one whose templates may stand for it, else the only one
    /// that has resources at all.
    pub(super) fn of_uri(&self, uri: &str) -> Result<usize, Refused> {
        if let Some(server) = self.known.resources.get(uri).or_else(|| self.alone()) {
            return Ok(server);
        }
        let fitting = self.known.templates.iter().filter(|(template, _)| fits(uri, template));
        let fitting: BTreeSet<usize> = fitting.map(|(_, server)| server).collect();
        let having = self.having_resources();
        let of = |servers: &BTreeSet<usize>| match (servers.first(), servers.len()) {
            (Some(only), 1) => Some(*only),
            (_, _) => None,
        };
        let found = if fitting.is_empty() { having.as_ref().and_then(of) } else { of(&fitting) };
        found.ok_or_else(|| {
            let detail =
                "which tool server has this resource cannot be told; list resources and templates first";
            Refused::new(ReasonCode::RequestInvalidValue, detail)
        })
    }

    /// Which servers have resources, if all have said.
    fn having_resources(&self) -> Option<BTreeSet<usize>> {
        let mut having = BTreeSet::new();
        for (number, server) in self.servers.iter().enumerate() {
            if server.greeting.as_ref()?.has("resources") {
                having.insert(number);
            }
        }
        Some(having)
    }

    /// The server of what is to be completed, and the request as it knows it.
    fn of_reference(&self, body: &Body) -> Result<(usize, Body), Refused> {
        let malformed = || Refused::new(ReasonCode::RequestMalformed, "no reference to what is completed");
        let params = body.params.as_ref().ok_or_else(malformed)?;
        let raw = params.raw.get("ref").and_then(members_of).ok_or_else(malformed)?;
        raw.unambiguous(&["type", "name", "uri"])?;
        let read = params.read.get("ref").ok_or_else(malformed)?;
        let of = |pointer: &str| read.pointer(pointer).and_then(Loose::as_str);
        match (of("/name"), of("/uri")) {
            (Some(name), None) => {
                let (server, own) = self.of_prompt(name)?;
                let raw = raw.with("name", quote(own)).to_text();
                Ok((server, with(body, "ref", raw)))
            }
            (None, Some(uri)) => {
                let server = self.known.templates.get(uri).map_or_else(|| self.of_uri(uri), Ok)?;
                Ok((server, body.clone()))
            }
            (Some(_), Some(_)) | (None, None) => Err(malformed()),
        }
    }

    /// Has one server answer a request.
    fn send(&mut self, server: usize, id: &Id, body: &Body) -> Result<(), Refused> {
        if self.servers.get(server).is_none_or(|server| !server.is_usable()) {
            return Err(self.not_there(server));
        }
        let number = self.number();
        let renamed = rewrite::request(body, number)?;
        self.tell(server, renamed.line)?;
        let call = Call { id: id.clone(), token: renamed.token, stateless: is_stateless(body) };
        self.sent.insert(number, Sent { server, to: To::Client(call) });
        self.asked.insert(id.clone(), Asked::Sent(number));
        Ok(())
    }

    /// The refusal of what is for a server to which nothing goes now.
    fn not_there(&self, number: usize) -> Refused {
        let refused = self.servers.get(number).and_then(|server| server.refused);
        let unshown = refused == Some(ReasonCode::CredentialUnavailable);
        let code = if unshown { ReasonCode::CredentialUnavailable } else { ReasonCode::UpstreamUnavailable };
        Refused::new(code, self.how(number))
    }

    /// The same as an answer.
    pub(super) fn unavailable(&self, number: usize) -> Reply {
        let Refused { code, detail } = self.not_there(number);
        answer::blocked(&Refusal::own(code, Some(detail)), Form::Error)
    }

    /// The answer where no server is there: why one was not started, if one was not.
    pub(super) fn none_there(&self) -> Reply {
        let refused = self.servers.iter().position(|server| server.refused.is_some());
        refused.map_or_else(answer::unavailable, |number| self.unavailable(number))
    }

    /// Why nothing goes to a server now.
    fn how(&self, server: usize) -> String {
        use super::health::State;
        let Some(server) = self.servers.get(server) else { return String::new() };
        let name = &server.name;
        let left = |due: std::time::Instant| {
            let left = due.saturating_duration_since(std::time::Instant::now());
            left.as_secs().saturating_add(1)
        };
        let what = |why: &str| {
            server.refused.map_or_else(
                || format!("`{name}` {why}"),
                |code| format!("`{name}` was not started ({code})"),
            )
        };
        match server.health.state() {
            State::Starting => format!("`{name}` is being started"),
            State::Failing(due) => {
                format!("{}, and is started again within {} s", what("has failed"), left(due))
            }
            State::Broken(due) => {
                format!("{}; it is tried again within {} s", what("has failed too often in a row"), left(due))
            }
            State::Apart => format!("`{name}` speaks another revision of the protocol"),
            State::Down | State::Ready(_) => what("has just ended"),
        }
    }

    fn notice(&mut self, body: &Body) {
        let done = match ClientNotice::of(&body.method) {
            Some(ClientNotice::Progress) => nothing_else(body).map(|()| self.progress(body)),
            Some(method) => nothing_else(body).map(|()| {
                if method == ClientNotice::Initialized
                    && let Some(hello) = &mut self.hello
                {
                    hello.initialized = true;
                }
                self.tell_all(method, body.params.as_ref());
            }),
            None if body.method == CANCELLED => {
                self.cancel(body);
                Ok(())
            }
            None => {
                let detail = "which of several tool servers it is for cannot be told";
                Err(Refused::new(ReasonCode::RequestInvalidValue, detail))
            }
        };
        if let Err(refused) = done {
            let refusal = Refusal::own(refused.code, Some(refused.detail));
            let (Reply::Result(text) | Reply::Error(text)) = answer::blocked(&refusal, Form::Error);
            let what = escape(body.method.as_bytes(), SAMPLE);
            self.basis.notes.say(format!("blocked {what}: {}", escape(text.as_bytes(), 1000)));
        }
    }

    fn tell_all(&self, method: ClientNotice, params: Option<&Params>) {
        for (number, server) in self.servers.iter().enumerate() {
            if server.is_usable() {
                let line = Harmless::client_notice(method, params).into_text().into_bytes();
                if self.tell(number, line).is_err() {
                    server.notes.say("dropped a notification: too much waits for it");
                }
            }
        }
    }

    /// How far the client is with what a server asked of it.
    fn progress(&self, body: &Body) {
        let posed = rewrite::progress_of(body).and_then(|number| self.posed.get(&number));
        let line = posed.and_then(|posed| {
            let token = posed.token.as_ref()?;
            Some((posed.server, rewrite::progress(body, token)?))
        });
        match line {
            Some((server, line)) => drop(self.tell(server, line)),
            None => self.basis.notes.say("dropped word of progress with what no server asked"),
        }
    }

    fn cancel(&mut self, body: &Body) {
        let Some((id, reason)) = cancellation(body) else {
            return self.basis.notes.say("dropped a cancellation that names no request");
        };
        match self.asked.get(&id).copied() {
            // `initialize` is not cancelled (MCP 2025-11-25, "Cancellation").
            None | Some(Asked::Hello) => {}
            Some(Asked::Sent(number)) => {
                // What did not reach its server can be said again.
                let told = |sent: &Sent| self.tell_cancelled(sent.server, number, reason);
                if self.sent.get(&number).is_none_or(told) {
                    self.asked.remove(&id);
                    self.sent.remove(&number);
                }
            }
            Some(Asked::Gather(key)) => {
                self.asked.remove(&id);
                self.let_gather_go(key);
            }
            Some(Asked::Listen(key)) => {
                self.asked.remove(&id);
                self.let_listen_go(key, reason);
            }
        }
    }

    /// Whether a server was told so.
    pub(super) fn tell_cancelled(&self, server: usize, number: u64, reason: Option<&str>) -> bool {
        let told = self.tell(server, rewrite::cancelled(number, reason)).is_ok();
        if let (false, Some(server)) = (told, self.servers.get(server)) {
            server.notes.say("a cancellation did not reach it");
        }
        told
    }

    /// An answer to what a server asked.
    fn response(&mut self, id: &Id, reply: Option<Reply>) {
        let number = if let Id::Int(number) = id { u64::try_from(*number).ok() } else { None };
        let Some(posed) = number.and_then(|number| self.posed.remove(&number)) else {
            return self.basis.notes.say("dropped an answer of the client's to a request that nobody made");
        };
        let line = match reply {
            Some(reply) => rewrite::answer(&posed.id, &reply),
            // Its gate knows what that means.
            None => format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, posed.id.to_json()).into_bytes(),
        };
        if self.tell(posed.server, line).is_err()
            && let Some(server) = self.servers.get(posed.server)
        {
            server.notes.say("an answer of the client's did not reach it");
        }
    }
}

pub(super) fn is_stateless(body: &Body) -> bool {
    body.revision().is_some()
}

fn unlisted() -> Refused {
    let detail = "no server's under this name was listed in this conversation; list what there is, and use the names listed";
    Refused::new(ReasonCode::ToolAmbiguous, detail)
}

fn text<'a>(params: Option<&'a Params>, key: &str) -> Result<&'a str, Refused> {
    let text = params.and_then(|params| params.read.get(key)).and_then(Loose::as_str);
    text.ok_or_else(|| Refused::new(ReasonCode::RequestMalformed, format!("no `{key}` that is a text")))
}

/// The same request under a server's own name.
fn named(body: &Body, own: &str) -> Body {
    with(body, "name", quote(own))
}

/// The same request with another value of a parameter.
pub(super) fn with(body: &Body, key: &str, value: String) -> Body {
    let params = body.params.as_ref().map(|params| {
        let raw: Members = params.raw.with(key, value);
        Params { text: raw.to_text(), raw, read: params.read.clone() }
    });
    Body { params, ..body.clone() }
}

/// An answer to what has no id.
fn nameless(reply: &Reply) -> Vec<u8> {
    let (member, raw) = match reply {
        Reply::Result(raw) => ("result", raw),
        Reply::Error(raw) => ("error", raw),
    };
    format!(r#"{{"jsonrpc":"2.0","id":null,"{member}":{raw}}}"#).into_bytes()
}
