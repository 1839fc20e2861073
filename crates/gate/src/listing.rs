//! What tools a server has: it is started as a gate starts it, asked, and ended. Nothing is called.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use portcullis_protocol::{JsonError, Limits, Loose};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::confine::{self, Confinement};
use crate::harmless::{ClientNotice, ClientRequest, Harmless};
use crate::incoming::{Fate, Incoming, Source};
use crate::line::Lines;
use crate::message::{From, Members, Message, Params, Reply, members_of, quote, read};
use crate::notes::{Notes, escape, stderr};
use crate::page::{MAX_PAGES, MAX_TOOLS, Page};
use crate::peer::{Answer, Outgoing, Peer};
use crate::remote::{Remote, RemoteServer};
use crate::room::Rooms;
use crate::session::UPSTREAM_LINE;
use crate::supervise::arguments;
use crate::upstream::Process;

/// The newest revision of the protocol that this client of one question knows.
const REVISION: &str = "2025-11-25";
/// The most bytes that are read.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long a server may take to end by itself, once its input has ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// JSON-RPC's "method not found".
const NO_METHOD: &str = r#"{"code":-32601,"message":"this client only asks which tools there are"}"#;

/// A server to be asked.
#[derive(Clone, Debug)]
pub struct ToolListing {
    /// Its program and arguments.
    pub command: Vec<OsString>,
    /// As in [`crate::LocalServer::supervisor`].
    pub supervisor: Vec<OsString>,
    /// What it is kept from, where the kernel can see to that.
    pub confinement: Confinement,
    /// As in [`crate::LocalServer::pass_environment`].
    pub pass_environment: Vec<String>,
    /// How long all of it may take.
    pub deadline: Duration,
}

/// Why it is not known which tools there are.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// There is no command, or no supervisor.
    #[error("no command for the tool server")]
    NoCommand,
    /// It could not be started.
    #[error("the tool server cannot be started")]
    Start(#[source] io::Error),
    /// It is reached by URL, and does not answer.
    #[error("the tool server does not answer `{method}`: {why}")]
    Unanswered {
        /// What it was asked.
        method: &'static str,
        /// What came instead, escaped.
        why: String,
    },
    /// It ended, or closed its output, before it had said everything.
    #[error("the tool server ended before it had listed its tools; does its command run by itself?")]
    Ended,
    /// It did not say everything in time.
    #[error("the tool server did not list its tools within {} s", .0.as_secs())]
    Late(Duration),
    /// It answered with an error.
    #[error("the tool server refuses `{method}`: {message}")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// Its words, escaped.
        message: String,
    },
    /// Its answer is no JSON that is read in one way only.
    #[error("the tool server's answer to `{method}` is not understood: {error}")]
    Json {
        /// What it was asked.
        method: &'static str,
        /// What is wrong.
        error: JsonError,
    },
    /// Its answer is no list of tools.
    #[error("the tool server's answer to `tools/list` {0}")]
    NoTools(String),
    /// More than is read.
    #[error("the tool server lists more than {MAX_TOOLS} tools, {MAX_PAGES} pages or {MAX_BYTES} bytes")]
    TooMuch,
    /// It leads in circles.
    #[error("the tool server's pages lead back to one that was read")]
    Circle,
}

/// Starts the server, asks for its tools, page by page, and ends it. Each tool's text, as it came.
///
/// Must run on a Tokio runtime with I/O and time. Dropping the future ends the server. `report` gets what it writes to
/// its stderr, escaped, a line at a time.
///
/// # Errors
/// [`ListingError`]. Part of a list is never returned.
pub async fn list_tools(
    listing: &ToolListing,
    report: impl Fn(String) + Send + 'static,
) -> Result<Vec<String>, ListingError> {
    if listing.command.is_empty() || listing.supervisor.is_empty() {
        return Err(ListingError::NoCommand);
    }
    let confinement = Some(&listing.confinement).filter(|_| confine::is_possible());
    let mut program = listing.supervisor.clone();
    program.extend(arguments(confinement.unwrap_or(&Confinement::default()), false, &listing.command));
    let notes = Notes::start(report).map_err(ListingError::Start)?;
    if confinement.is_none() {
        notes.say("the tool server is not confined (that takes Linux 6.2 with Landlock): it can reach all that you can");
    }
    let mut process =
        Process::start(&program, &listing.pass_environment).await.map_err(ListingError::Start)?;
    let piped = || ListingError::Start(io::Error::other("a pipe of the tool server is missing"));
    let stdin = process.child.stdin.take().ok_or_else(piped)?;
    let stdout = process.child.stdout.take().ok_or_else(piped)?;
    let errors = process.child.stderr.take().ok_or_else(piped)?;
    let (peer, writer) = Peer::new(stdin);
    // Ended with this future, whichever way that ends.
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run());
    tasks.spawn(stderr(errors, notes.clone(), None));
    let mut conversation =
        Conversation { peer, source: Lines::new(stdout, UPSTREAM_LINE), number: 0, bytes: 0 };
    let listed = timeout(listing.deadline, conversation.tools()).await;
    conversation.peer.offer(Outgoing::Close);
    process.ends_within(FAREWELL).await;
    process.end().await;
    notes.flush(FAREWELL).await;
    listed.unwrap_or(Err(ListingError::Late(listing.deadline)))
}

/// Asks a server that is reached by URL for its tools, page by page, and ends the session with it. Each tool's text, as it
/// came. Otherwise as [`list_tools`], and all of it takes `deadline` at most.
///
/// # Errors
/// [`ListingError`]. Part of a list is never returned.
pub async fn list_remote_tools(
    server: RemoteServer,
    deadline: Duration,
    report: impl Fn(String) + Send + 'static,
) -> Result<Vec<String>, ListingError> {
    let notes = Notes::start(report).map_err(ListingError::Start)?;
    let (remote, sink, source) =
        Remote::start(server, notes.clone(), Rooms::of_one(1)).map_err(ListingError::Start)?;
    let (peer, writer) = Peer::new(sink);
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run());
    let mut conversation = Conversation { peer, source, number: 0, bytes: 0 };
    let listed = timeout(deadline, conversation.tools()).await;
    conversation.peer.offer(Outgoing::Close);
    remote.leave(FAREWELL).await;
    remote.abort();
    notes.flush(FAREWELL).await;
    listed.unwrap_or(Err(ListingError::Late(deadline)))
}

struct Conversation<S> {
    peer: Peer,
    source: S,
    number: u64,
    bytes: usize,
}

impl<S: Source> Conversation<S> {
    async fn tools(&mut self) -> Result<Vec<String>, ListingError> {
        let hello = format!(
            r#"{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{{"name":"portcullis","version":"{}"}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        self.ask(ClientRequest::Initialize, Some(hello)).await?;
        self.peer.give(Outgoing::Harmless(Harmless::client_notice(ClientNotice::Initialized, None))).await;
        let (mut tools, mut cursors, mut page) = (Vec::new(), BTreeSet::new(), None);
        for _ in 0..MAX_PAGES {
            let params = page.map(|cursor: String| format!(r#"{{"cursor":{}}}"#, quote(&cursor)));
            let answer = self.ask(ClientRequest::ToolsList, params).await?;
            let listed = Page::read(&answer).map_err(|error| ListingError::NoTools(error.to_string()))?;
            tools.extend(listed.tools);
            if tools.len() > MAX_TOOLS {
                return Err(ListingError::TooMuch);
            }
            let Some(cursor) = listed.next else { return Ok(tools) };
            if !cursors.insert(cursor.clone()) {
                return Err(ListingError::Circle);
            }
            page = Some(cursor);
        }
        Err(ListingError::TooMuch)
    }

    /// Asks, and reads until that is answered. What the server asks meanwhile is refused.
    async fn ask(&mut self, method: ClientRequest, params: Option<String>) -> Result<String, ListingError> {
        self.number = self.number.saturating_add(1);
        let params = params.map(|text| Params { raw: raw(&text), text, read: Default::default() });
        let message = Harmless::request(method, self.number, params.as_ref());
        self.peer.give(Outgoing::Harmless(message)).await;
        loop {
            let (line, answers) = match self.source.next().await.ok_or(ListingError::Ended)? {
                Incoming::Message(line, answers, _) => (line, answers),
                Incoming::Unanswered(number, Fate::Void(why) | Fate::Lost(why) | Fate::Unshown(why))
                    if number == self.number =>
                {
                    let (method, why) = (method.as_str(), escape(why.as_bytes(), 500));
                    return Err(ListingError::Unanswered { method, why });
                }
                Incoming::Unanswered(..) | Incoming::Ended(_) => continue,
            };
            self.bytes = self.bytes.saturating_add(line.bytes().len());
            if self.bytes > MAX_BYTES {
                return Err(ListingError::TooMuch);
            }
            // What is no message is noise of the server's; the answer is still to come, or is late.
            match read(line.bytes(), From::Upstream) {
                Ok(Message::Response(id, reply))
                    if id.to_json() == self.number.to_string() && answers.admit(self.number) =>
                {
                    return answered(method.as_str(), reply);
                }
                Ok(Message::Request(id, _)) => {
                    let reply = Reply::Error(NO_METHOD.to_owned());
                    self.peer.give(Outgoing::Answer(Answer { id: Some(id), reply })).await;
                }
                Ok(Message::Response(..) | Message::Notification(_)) | Err(_) => {}
            }
        }
    }
}

fn raw(params: &str) -> Members {
    members_of(params).unwrap_or_default()
}

fn answered(method: &'static str, reply: Option<Reply>) -> Result<String, ListingError> {
    match reply {
        Some(Reply::Result(text)) => {
            let limits = Limits { bytes: UPSTREAM_LINE, ..Limits::MESSAGE };
            Loose::parse(text.as_bytes(), limits).map_err(|error| ListingError::Json { method, error })?;
            Ok(text)
        }
        Some(Reply::Error(text)) => {
            Err(ListingError::Refused { method, message: escape(text.as_bytes(), 500) })
        }
        None => Err(ListingError::Refused { method, message: "an answer without a result".to_owned() }),
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
