//! What a server says through its gate, and for whom it is.

use std::collections::BTreeMap;

use portcullis_protocol::{Loose, ReasonCode};

use crate::answer;
use crate::endpoint::rewrite;
use crate::form::Form;
use crate::harmless::{CANCELLED, Harmless, ServerNotice, ServerRequest, cancellation};
use crate::message::{Body, Id, Members, Message, Params, Refused, Reply, members_of, quote};
use crate::subscription::{self, Named};

use portcullis_sdk::Refusal;

use super::health::State;
use super::state::{Call, Junction, Posed, Sent, To};

/// So many calls in a row that did not reach a server by URL have it taken for one that is not there.
const MISSED: u32 = 5;
/// Where a question says which server asks it, in `_meta`.
const ASKER: &str = "portcullis/server";
/// A refusal is no longer than this.
const REFUSAL: usize = 8 * 1024;
/// Where a refusal says its reason: in an error, and in a tool's result.
const REASONS: [&str; 2] = ["/data/portcullis/reason/code", "/_meta/portcullis~1decision/reason/code"];

impl Junction {
    pub(super) fn said(&mut self, server: usize, message: Message) {
        match message {
            Message::Response(id, reply) => {
                let number = if let Id::Int(number) = id { u64::try_from(number).ok() } else { None };
                let reply = reply.unwrap_or_else(answer::unreadable);
                if let Some(number) = number {
                    self.answered(server, number, &reply);
                }
            }
            Message::Notification(body) => self.told(server, &body),
            Message::Request(id, body) => self.posed(server, &id, &body),
        }
    }

    /// An answer of a server's counts for what that server was asked, and once.
    pub(super) fn answered(&mut self, server: usize, number: u64, reply: &Reply) {
        if self.sent.get(&number).is_none_or(|sent| sent.server != server) {
            return;
        }
        let Some(sent) = self.sent.remove(&number) else { return };
        match sent.to {
            To::Client(call) => {
                self.judge(server, reply);
                let reply = if call.stateless { &answer::whole(reply.clone()) } else { reply };
                self.answer(&call.id, reply);
            }
            To::Hello => self.greeted(server, reply),
            To::Gather(key) => self.gathered(key, (server, number), reply),
            To::Listen(key) => self.unsubscribed(key, number, reply),
        }
    }

    /// What an answer says of the server's health.
    fn judge(&mut self, number: usize, reply: &Reply) {
        let (missed, own) = (is_unavailable(reply), is_own(reply));
        let Some(server) = self.servers.get_mut(number) else { return };
        if !missed {
            // What the gate says in the server's place is no sign of life.
            if !own {
                server.missed = 0;
                server.health.works();
            }
            return;
        }
        // What was started says by itself when it is gone.
        if !server.is_remote() {
            return;
        }
        server.missed = server.missed.saturating_add(1);
        // What has reached it is still being answered: with its gate all of that would end as unknown. Until then its gate refuses
        // what does not reach it.
        let answers = |sent: &Sent| sent.server == number && matches!(sent.to, To::Client(_));
        if self.sent.values().any(answers) {
            return;
        }
        let enough = server.missed >= MISSED || server.health.is_on_trial();
        if enough && matches!(server.health.state(), State::Ready(_)) {
            server.notes.say("it cannot be reached");
            self.let_go(number);
        }
    }

    fn told(&mut self, server: usize, body: &Body) {
        // Nobody is told of more than of what became of what was asked.
        if self.leaving {
            return;
        }
        match ServerNotice::of(&body.method) {
            Some(ServerNotice::Progress) => {
                let number = rewrite::progress_of(body);
                let sent = number.and_then(|number| self.sent.get(&number));
                // Of what this very server was asked.
                if let Some(To::Client(Call { token: Some(token), .. })) =
                    sent.filter(|sent| sent.server == server).map(|sent| &sent.to)
                    && let Some(line) = rewrite::progress(body, token)
                {
                    self.backlog.push_back(line);
                }
            }
            Some(method) => match subscription::named(body) {
                Named::Number(number) => self.told_subscriber(server, number, (method, body)),
                Named::Other => {}
                Named::Nothing => {
                    if method == ServerNotice::ResourceUpdated && !self.is_of(server, body) {
                        return;
                    }
                    let line = Harmless::server_notice(method, body.params.as_ref());
                    self.backlog.push_back(line.into_text().into_bytes());
                }
            },
            None if body.method == CANCELLED => self.withdrawn(server, body),
            None => {}
        }
    }

    /// Whether a resource that a server speaks of is not another one's.
    pub(super) fn is_of(&self, server: usize, body: &Body) -> bool {
        let uri = body.params.as_ref().and_then(|params| params.read.get("uri")).and_then(Loose::as_str);
        uri.and_then(|uri| self.known.resources.get(uri)).is_none_or(|of| of == server)
    }

    /// A server asks something of the client.
    fn posed(&mut self, server: usize, id: &Id, body: &Body) {
        let number = self.number();
        let name = self.servers.get(server).map_or("", |server| server.name.as_str());
        match rewrite::request(&attributed(body, name), number) {
            Ok(renamed) => {
                self.posed.insert(number, Posed { server, id: id.clone(), token: renamed.token });
                self.backlog.push_back(renamed.line);
            }
            Err(Refused { code, detail }) => {
                let reply = answer::blocked(&Refusal::own(code, Some(detail)), Form::Error);
                drop(self.tell(server, rewrite::answer(id, &reply)));
            }
        }
    }

    /// A server asks it no more.
    fn withdrawn(&mut self, server: usize, body: &Body) {
        let Some((id, reason)) = cancellation(body) else { return };
        let found = self.posed.iter().find(|(_, posed)| posed.server == server && posed.id == id);
        let Some(number) = found.map(|(number, _)| *number) else { return };
        self.posed.remove(&number);
        self.backlog.push_back(rewrite::cancelled(number, reason));
    }
}

/// The same question, which says whose it is: the client sees one server, and may trust one of them with more than another. A server
/// can say anything behind that, and nothing before it.
fn attributed(body: &Body, server: &str) -> Body {
    let none = || Params { text: "{}".to_owned(), raw: Members::default(), read: BTreeMap::new() };
    let params = &body.params.clone().unwrap_or_else(none);
    let meta =
        params.raw.get("_meta").map_or_else(|| Some(Members::default()), members_of).unwrap_or_default();
    let mut meta = meta.without(&[ASKER]);
    meta.0.push((ASKER.to_owned(), quote(server)));
    let mut raw = params.raw.without(&["_meta"]);
    raw.0.push(("_meta".to_owned(), meta.to_text()));
    if let (Some(ServerRequest::Elicit), Some(Loose::Str(message))) =
        (ServerRequest::of(&body.method), params.read.get("message"))
    {
        raw = raw.with("message", quote(&format!("`{server}` asks: {message}")));
    }
    let params = Params { text: raw.to_text(), raw, read: params.read.clone() };
    Body { params: Some(params), ..body.clone() }
}

/// Whether a reply may be the gate's own, or an error: nobody knows by it that the server does what it is asked.
fn is_own(reply: &Reply) -> bool {
    match reply {
        Reply::Error(_) => true,
        Reply::Result(text) => text.contains(answer::DECISION),
    }
}

/// Whether a reply says that the call did not reach the server. What the server itself says so harms nobody but it.
fn is_unavailable(reply: &Reply) -> bool {
    let (Reply::Result(text) | Reply::Error(text)) = reply;
    let code = ReasonCode::UpstreamUnavailable.as_str();
    if text.len() > REFUSAL || !text.contains(code) || members_of(text).is_none() {
        return false;
    }
    let read = Loose::parse(text.as_bytes(), portcullis_protocol::Limits::MESSAGE);
    read.is_ok_and(|read| {
        REASONS.iter().any(|place| read.pointer(place).and_then(Loose::as_str) == Some(code))
    })
}
