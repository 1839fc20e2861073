//! What comes from the gate, and for whom it is.

use tokio::time::Instant;

use crate::harmless::ServerNotice;
use crate::message::{Body, From, Id, Message, Reply, members_of, on_one_line, quote, read, string};
use crate::mirrored::Mirrors;
use crate::page::Page;
use crate::subscription::{self, Named};

use super::conversation::{Conversation, Era, OWN, State};
use super::kept::{Slot, Text};
use super::rewrite;
use super::streams::Kind;

/// What a message weighs beside its text, in bytes.
const WEIGHT: usize = 256;

/// What is to be done with a message that is for no client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// The gate is answered this.
    Answer(Vec<u8>),
    /// It is dropped, and people are told.
    Dropped(&'static str),
}

impl Conversation {
    /// Takes a line of the gate's.
    pub(super) fn deliver(&self, line: Vec<u8>) -> Rest {
        let line = on_one_line(line);
        match read(&line, From::Upstream) {
            Ok(Message::Response(id, Some(reply))) => {
                let number = if let Id::Int(number) = id { u64::try_from(number).ok() } else { None };
                // To nobody, if it was cancelled or its client has gone.
                let _waited = number.is_some_and(|number| self.answer(number, &reply));
                Rest::Nothing
            }
            Ok(Message::Request(id, body)) => self.asks(&id, &body, line),
            Ok(Message::Notification(body)) => self.notice(&body, line),
            Ok(Message::Response(_, None)) | Err(_) => {
                Rest::Dropped("a message for the client that cannot be read")
            }
        }
    }

    /// Answers the request of this number, under the id that its client knows. Whether somebody waits for it.
    pub(super) fn answer(&self, number: u64, reply: &Reply) -> bool {
        let mut state = self.state();
        let Some(asked) = state.asked.remove(&number) else { return false };
        // What was asked makes room for what is answered.
        drop(asked.room);
        if asked.opens
            && let Reply::Result(result) = reply
        {
            state.revision =
                members_of(result).as_ref().and_then(|result| result.get("protocolVersion")).and_then(string);
        }
        if asked.lists
            && let Reply::Result(result) = reply
        {
            learn(&state.mirrors, result);
        }
        let text = rewrite::answer_to(&asked.id, number, reply);
        if !self.put(&mut state, number, text, Kind::Answer) {
            let message = "Portcullis: the answer is not handed out: more waits for this agent to read than there is room for. What \
                           was asked may have taken effect; do not repeat it.";
            let error = Reply::Error(format!(r#"{{"code":-32603,"message":{}}}"#, quote(message)));
            self.put_small(&mut state, number, rewrite::answer(&asked.id, &error));
        }
        state.finish(number);
        drop(state);
        self.answered.notify_waiters();
        true
    }

    /// A request of the server's.
    fn asks(&self, id: &Id, body: &Body, line: Vec<u8>) -> Rest {
        if self.era == Era::Stateless {
            // Who asks in this revision does it in its result; nobody could answer.
            let message = quote(&format!("a client of this revision is not asked `{}`", body.method));
            let error = Reply::Error(format!(r#"{{"code":-32601,"message":{message}}}"#));
            return Rest::Answer(rewrite::answer(id, &error));
        }
        let mut state = self.state();
        let stream = state.place();
        if self.put(&mut state, stream, line, Kind::Question(id.clone(), Instant::now())) {
            return Rest::Nothing;
        }
        Rest::Answer(unheard(id))
    }

    fn notice(&self, body: &Body, line: Vec<u8>) -> Rest {
        let mut state = self.state();
        if body.method == ServerNotice::Progress.as_str() {
            let number = rewrite::progress_of(body);
            let token = number.and_then(|number| Some((number, state.asked.get(&number)?.token.clone()?)));
            // Progress of what has been answered, or of nothing that a client asked: it is for nobody.
            let Some((number, token)) = token else { return Rest::Nothing };
            let text = rewrite::progress(body, &token);
            if let Some(text) = text {
                self.put(&mut state, number, text, Kind::Lossy);
            }
            return Rest::Nothing;
        }
        match subscription::named(body) {
            Named::Nothing => {}
            Named::Other => return Rest::Nothing,
            Named::Number(number) => {
                let listening = state.asked.get(&number).filter(|asked| asked.listens);
                let id = listening.map(|asked| asked.id.clone());
                let text = id.and_then(|id| rewrite::subscribed(body, number, &id));
                if let Some(text) = text {
                    self.put(&mut state, number, text, Kind::Notice);
                }
                return Rest::Nothing;
            }
        }
        match self.era {
            Era::Session => {
                let stream = state.place();
                let logs = body.method == ServerNotice::Message.as_str();
                self.put(&mut state, stream, line, if logs { Kind::Lossy } else { Kind::Notice });
                Rest::Nothing
            }
            // Nothing says to whose request it belongs: also if there is but one, it may be about one that was answered or given up.
            Era::Stateless => {
                Rest::Dropped("what a tool server says to no request, in a revision without sessions")
            }
        }
    }

    /// Puts a message on a stream, if there is place and room. Where there is none, what was read is forgotten, and then word of
    /// which more comes.
    fn put(&self, state: &mut State, number: u64, text: Vec<u8>, kind: Kind) -> bool {
        state.told = number;
        let Some(stream) = state.streams.get_mut(&number) else { return false };
        if !stream.make_place(self.bounds.waiting, &kind) {
            return false;
        }
        let Some(room) = self.share.hold(text.len().saturating_add(WEIGHT)) else { return false };
        let slot = Slot::new(Text::new(text, Some(room)));
        if kind == Kind::Lossy {
            self.share.history.is_lossy(&slot);
        }
        stream.push(kind, slot);
        true
    }

    /// Puts a short answer on a stream, whatever room there is: there are no more of them than requests.
    fn put_small(&self, state: &mut State, number: u64, text: Vec<u8>) {
        if let Some(stream) = state.streams.get_mut(&number) {
            stream.push(Kind::Answer, Slot::new(Text::new(text, None)));
        }
    }
}

/// What the server is told whose question no client has read.
pub(super) fn unheard(id: &Id) -> Vec<u8> {
    let message = quote("Portcullis: no client reads what it is asked");
    rewrite::answer(id, &Reply::Error(format!(r#"{{"code":-32603,"message":{message}}}"#)))
}

/// Takes up which arguments of the tools on a page are headers too.
fn learn(mirrors: &Mirrors, page: &str) {
    let Ok(page) = Page::read(page) else { return };
    for tool in &page.tools {
        let name = members_of(tool).as_ref().and_then(|tool| tool.get("name")).and_then(string);
        name.into_iter().for_each(|name| mirrors.hear(&name, tool));
    }
}

impl State {
    /// The one request under way on whose stream something may come, if there is but one.
    fn only(&self) -> Option<u64> {
        let mut open = self.open();
        let (first, second) = (open.next(), open.next());
        first.filter(|_| second.is_none())
    }

    fn open(&self) -> impl Iterator<Item = u64> {
        let read = |number: &u64| self.streams.get(number).is_some_and(super::streams::Stream::is_read);
        self.asked.iter().filter(|(_, asked)| asked.streams).map(|(number, _)| *number).filter(read)
    }

    /// Where something goes that belongs to no request for certain: to the only one under way, else to the server's own
    /// stream, else, if nobody reads that, to the oldest request.
    fn place(&self) -> u64 {
        let own = self.streams.get(&OWN).is_some_and(super::streams::Stream::is_read);
        self.only().or_else(|| self.open().next().filter(|_| !own)).unwrap_or(OWN)
    }
}

#[cfg(test)]
#[path = "delivering_tests.rs"]
mod tests;
