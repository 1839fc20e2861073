//! How a conversation begins: what several servers say of themselves, as one server's word. Revisions until 2025-11-25 begin with
//! `initialize`; in 2026-07-28 `server/discover` asks the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portcullis_protocol::{Loose, ReasonCode};

use crate::answer;
use crate::harmless::{ClientNotice, ClientRequest, Harmless};
use crate::message::{Body, Id, Members, Params, Refused, Reply, members_of, quote, string};
use crate::notes::escape;

use super::asked::with;
use super::gather::{Got, read, ttl};
use super::state::{Asked, Junction, Sent, Server, To};

/// How long the client waits for all servers. Who comes later is announced when it does.
const GREETING: Duration = Duration::from_secs(5);
/// How long one may take, and the client if there is none before.
const ANSWERING: Duration = Duration::from_secs(30);
/// Bytes of all servers' instructions.
const INSTRUCTIONS: usize = 64 * 1024;
/// Of what a server says, so much is shown to people.
const SAMPLE: usize = 200;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    revision: String,
    capabilities: Members,
    instructions: Option<String>,
}

impl Greeting {
    /// Reads an answer to `initialize`.
    fn read(result: &str) -> Option<Self> {
        let members = members_of(result)?;
        members.unambiguous(&["protocolVersion", "capabilities", "serverInfo", "instructions"]).ok()?;
        let revision = string(members.get("protocolVersion")?).filter(|revision| is_revision(revision))?;
        let capabilities =
            members.get("capabilities").map_or_else(|| Some(Members::default()), members_of)?;
        let instructions = members.get("instructions").and_then(string);
        Some(Self { revision, capabilities, instructions })
    }

    /// Whether it has what the protocol calls so.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }
}

/// The protocol's revisions are dates.
fn is_revision(text: &str) -> bool {
    let shape =
        |(place, c): (usize, char)| if matches!(place, 4 | 7) { c == '-' } else { c.is_ascii_digit() };
    text.len() == 10 && text.chars().enumerate().all(shape)
}

/// The client's `initialize`.
#[derive(Debug)]
pub(super) struct Hello {
    body: Body,
    /// Whoever waits for its answer.
    asker: Option<Id>,
    until: Instant,
    last: Instant,
    /// What the client was told: in this one every server is spoken to.
    pub(super) revision: Option<String>,
    pub(super) initialized: bool,
    pub(super) level: Option<Params>,
}

impl Hello {
    pub(super) fn due(&self) -> Option<Instant> {
        self.asker.as_ref().map(|_| if self.until > Instant::now() { self.until } else { self.last })
    }
}

impl Junction {
    /// Passes `initialize` on to all servers.
    pub(super) fn hello(&mut self, id: &Id, body: &Body) -> Result<(), Refused> {
        if self.hello.is_some() {
            let detail = "the conversation has begun";
            return Err(Refused::new(ReasonCode::RequestInvalidValue, detail));
        }
        let now = Instant::now();
        self.hello = Some(Hello {
            body: body.clone(),
            asker: Some(id.clone()),
            until: now + GREETING,
            last: now + ANSWERING,
            revision: None,
            initialized: false,
            level: None,
        });
        self.asked.insert(id.clone(), Asked::Hello);
        for server in 0..self.servers.len() {
            if self.servers.get(server).is_some_and(|server| server.to.is_some()) {
                self.greet(server);
            }
        }
        self.greet_if_done(now);
        Ok(())
    }

    /// Says hello to one server, in the revision that the client was told of.
    pub(super) fn greet(&mut self, server: usize) {
        let Some(hello) = &self.hello else { return };
        let body = match &hello.revision {
            Some(revision) => with(&hello.body, "protocolVersion", quote(revision)),
            None => hello.body.clone(),
        };
        let number = self.number();
        let line = Harmless::request(ClientRequest::Initialize, number, body.params.as_ref());
        let told = self.tell(server, line.into_text().into_bytes());
        let Some(server_) = self.servers.get_mut(server) else { return };
        server_.health.starting();
        server_.answers_until = Some(Instant::now() + ANSWERING);
        if told.is_ok() {
            self.sent.insert(number, Sent { server, to: To::Hello });
        }
    }

    /// A server has answered.
    pub(super) fn greeted(&mut self, number: usize, reply: &Reply) {
        let greeting = match reply {
            Reply::Result(text) => Greeting::read(text),
            Reply::Error(_) => None,
        };
        let agreed = self.hello.as_ref().and_then(|hello| hello.revision.clone());
        let Some(server) = self.servers.get_mut(number) else { return };
        let Some(greeting) = greeting else {
            let (Reply::Result(text) | Reply::Error(text)) = reply;
            server.notes.say(format!("it does not begin: {}", escape(text.as_bytes(), SAMPLE)));
            return self.let_go(number);
        };
        server.answers_until = None;
        let revision = greeting.revision.clone();
        server.greeting = Some(greeting);
        match agreed {
            Some(agreed) if agreed == revision => self.is_ready(number),
            Some(agreed) => self.set_apart(number, &revision, &agreed),
            None => self.greet_if_done(Instant::now()),
        }
    }

    fn set_apart(&mut self, number: usize, revision: &str, agreed: &str) {
        let Some(server) = self.servers.get_mut(number) else { return };
        server.notes.say(format!(
            "it speaks revision {revision} of the protocol, and this conversation is in {agreed}: it has no part in it"
        ));
        server.health.apart();
        self.let_go(number);
    }

    /// Answers the client once all servers have answered, or in time.
    pub(super) fn greet_if_done(&mut self, now: Instant) {
        let Some(hello) = &self.hello else { return };
        let Some(id) = hello.asker.clone() else { return };
        // Nobody waits for one that has failed.
        let waits =
            |it: &Server| it.health.is_starting() && it.greeting.is_none() && !it.health.is_on_trial();
        let waits = self.servers.iter().any(waits);
        let spoken = self.servers.iter().filter_map(|it| it.greeting.as_ref()).map(|it| it.revision.clone());
        // The oldest, for who speaks a newer one speaks that one too.
        let oldest = spoken.min();
        let (until, last) = (hello.until, hello.last);
        match oldest {
            Some(revision) if !waits || now >= until => self.begin(&id, &revision),
            None if !waits || now >= last => {
                // Who asks again begins anew, with servers that have heard nothing.
                self.hello = None;
                for number in 0..self.servers.len() {
                    if let Some(server) = self.servers.get_mut(number).filter(|it| it.health.is_starting()) {
                        server.again = true;
                        self.let_go(number);
                    }
                }
                let none = self.none_there();
                self.answer(&id, &none);
            }
            Some(_) | None => {}
        }
    }

    fn begin(&mut self, id: &Id, revision: &str) {
        if let Some(hello) = &mut self.hello {
            (hello.revision, hello.asker) = (Some(revision.to_owned()), None);
        }
        let late = self.servers.iter().any(|it| it.greeting.is_none());
        let said: Vec<(String, Greeting)> =
            self.servers.iter().filter_map(|it| Some((it.name.clone(), it.greeting.clone()?))).collect();
        let (names, greetings): (Vec<String>, Vec<Greeting>) = said.into_iter().unzip();
        let capabilities: Vec<Members> = greetings.iter().map(|it| it.capabilities.clone()).collect();
        let told = names.iter().zip(&greetings);
        let instructions = instructions(told.map(|(name, it)| (name, it.instructions.as_deref())));
        let mut members = vec![
            ("protocolVersion".to_owned(), quote(revision)),
            ("capabilities".to_owned(), union(&capabilities, late)),
            ("serverInfo".to_owned(), own_name()),
        ];
        members.extend(instructions.map(|text| ("instructions".to_owned(), quote(&text))));
        self.answer(id, &Reply::Result(Members(members).to_text()));
        for number in 0..self.servers.len() {
            let spoken =
                self.servers.get(number).and_then(|it| it.greeting.as_ref()).map(|it| it.revision.clone());
            match spoken {
                Some(spoken) if spoken == revision => self.is_ready(number),
                Some(_) => {
                    // It may speak the older one too, and is asked from the start.
                    if let Some(server) = self.servers.get_mut(number) {
                        server.again = true;
                        server.greeting = None;
                    }
                    self.let_go(number);
                }
                None => {}
            }
        }
    }

    /// What a server that is ready has missed of what the client said.
    pub(super) fn welcome(&mut self, number: usize) {
        let Some(hello) = &self.hello else { return };
        let Some(server) = self.servers.get(number) else { return };
        if hello.initialized {
            let line = Harmless::client_notice(ClientNotice::Initialized, None).into_text().into_bytes();
            if self.tell(number, line).is_err() {
                server.notes.say("it was not told that the client has begun");
            }
        }
        let level =
            hello.level.clone().filter(|_| server.greeting.as_ref().is_some_and(|it| it.has("logging")));
        if let Some(level) = level {
            // Its answer is nobody's.
            let own = self.number();
            let line = Harmless::request(ClientRequest::SetLogLevel, own, Some(&level));
            drop(self.tell(number, line.into_text().into_bytes()));
        }
    }

    /// What there is of a server has come or gone: a client that was told of lists is told that they are others.
    pub(super) fn changed(&mut self, number: usize) {
        let told = self.hello.as_ref().is_some_and(|hello| hello.revision.is_some() && hello.asker.is_none());
        let Some(server) = self.servers.get(number) else { return };
        let has = |capability: &str| server.greeting.as_ref().is_none_or(|it| it.has(capability));
        let kinds = ["tools", "prompts", "resources"].map(|kind| (kind, has(kind)));
        for (kind, _) in kinds.iter().filter(|(_, has)| *has) {
            if told {
                let notice = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#);
                self.backlog.push_back(notice.into_bytes());
            }
            self.changed_for_subscribers(kind);
        }
    }

    /// What the servers' answers to `server/discover` come to: the revisions that all speak who answered.
    pub(super) fn discovered(&self, got: &BTreeMap<usize, Got>) -> Reply {
        let replies = || got.iter().filter_map(|(number, got)| Some((number, got.reply.as_ref()?)));
        let mut said = Vec::new();
        for (number, reply) in replies() {
            let Some(server) = self.servers.get(*number) else { continue };
            match reply {
                Reply::Result(text) => {
                    said.extend(Discovered::read(text).map(|it| (server.name.clone(), it)))
                }
                Reply::Error(text) => {
                    server
                        .notes
                        .say(format!("it does not say what it is: {}", escape(text.as_bytes(), SAMPLE)));
                }
            }
        }
        let Some((_, first)) = said.first() else {
            return replies().next().map_or_else(answer::unavailable, |(_, reply)| reply.clone());
        };
        let spoken = |revision: &&String| said.iter().all(|(_, it)| it.revisions.contains(*revision));
        let revisions: Vec<String> =
            first.revisions.iter().filter(spoken).map(|revision| quote(revision)).collect();
        let capabilities: Vec<Members> = said.iter().map(|(_, it)| it.capabilities.clone()).collect();
        let ttl = said.iter().map(|(_, it)| it.ttl).min().unwrap_or(0);
        let mut members = vec![
            ("supportedVersions".to_owned(), format!("[{}]", revisions.join(","))),
            ("capabilities".to_owned(), union(&capabilities, said.len() < self.servers.len())),
            ("serverInfo".to_owned(), own_name()),
            ("ttlMs".to_owned(), ttl.to_string()),
            ("cacheScope".to_owned(), quote("private")),
        ];
        let instructions = instructions(said.iter().map(|(name, it)| (name, it.instructions.as_deref())));
        members.extend(instructions.map(|text| ("instructions".to_owned(), quote(&text))));
        Reply::Result(Members(members).to_text())
    }
}

/// What a server answers to `server/discover`.
struct Discovered {
    revisions: BTreeSet<String>,
    capabilities: Members,
    instructions: Option<String>,
    ttl: u64,
}

impl Discovered {
    fn read(result: &str) -> Option<Self> {
        let members = members_of(result)?;
        let read = read(result)?;
        let Some(Loose::Array(revisions)) = read.pointer("/supportedVersions") else { return None };
        let revisions = revisions.iter().filter_map(Loose::as_str).filter(|it| is_revision(it));
        let capabilities =
            members.get("capabilities").map_or_else(|| Some(Members::default()), members_of)?;
        let instructions = members.get("instructions").and_then(string);
        let revisions = revisions.map(str::to_owned).collect();
        Some(Self { revisions, capabilities, instructions, ttl: ttl(result) })
    }
}

/// What several servers can do together, of what can be told apart by server. Where some have not said, `late`, what they may
/// have is announced too: its lists are empty until they come.
fn union(all: &[Members], late: bool) -> String {
    let has = |capability: &str| all.iter().any(|it| it.get(capability).is_some());
    let mut members = Vec::new();
    for capability in ["tools", "prompts", "resources"] {
        if late || has(capability) {
            let subscribe = |it: &Members| {
                it.get("resources").and_then(members_of).is_some_and(|it| it.get("subscribe") == Some("true"))
            };
            let subscribes = capability == "resources" && all.iter().any(subscribe);
            let value = if subscribes {
                r#"{"subscribe":true,"listChanged":true}"#
            } else {
                r#"{"listChanged":true}"#
            };
            members.push((capability.to_owned(), value.to_owned()));
        }
    }
    for capability in ["logging", "completions"] {
        if has(capability) {
            members.push((capability.to_owned(), "{}".to_owned()));
        }
    }
    Members(members).to_text()
}

fn own_name() -> String {
    format!(r#"{{"name":"portcullis","version":{}}}"#, quote(env!("CARGO_PKG_VERSION")))
}

/// What each server wants to be known, under its name.
fn instructions<'a>(all: impl Iterator<Item = (&'a String, Option<&'a str>)>) -> Option<String> {
    let mut text = String::new();
    for (name, said) in all {
        let Some(said) = said.filter(|said| text.len().saturating_add(said.len()) <= INSTRUCTIONS) else {
            continue;
        };
        text.push_str(&format!("# {name}\n\n{said}\n\n"));
    }
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}
