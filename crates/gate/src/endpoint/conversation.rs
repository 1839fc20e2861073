//! One conversation with the gate: a session of its own, behind which is a tool server of its own. Whatever a client posts
//! becomes a line of it, and whatever comes from it is kept for the POST that it belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use portcullis_protocol::{AgentId, ReasonCode};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::harmless::ClientRequest;
use crate::message::{Body, Defect, Id, Reply};
use crate::mirrored::Mirrors;
use crate::session::CLIENT_LINE;

use super::bounds::{Bounds, Room, Share};
use super::holder::Holder;
use super::reader::Reader;
use super::refused::Refused;
use super::rewrite;
use super::streams::Stream;

/// The stream of the server's own, beside those of requests.
pub(super) const OWN: u64 = 0;
/// Requests of one conversation that may be without an answer at once.
const ASKED: usize = 512;
/// The request that subscribes: what comes on its stream is what it subscribed to, and nothing else.
const LISTEN: &str = "subscriptions/listen";
/// Streams that have ended and may be asked for again, and how many there may be if nobody has read them.
const FINISHED: usize = 64;
const UNREAD: usize = 256;

/// How a conversation is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Within a session: streams outlive connections, and may be taken up again.
    Session,
    /// Each request by itself: who closes its stream cancels it.
    Stateless,
}

/// A request without an answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: Id,
    /// The client's progress token, as raw JSON.
    pub(super) token: Option<String>,
    /// Whether what the server says meanwhile may come on its stream.
    pub(super) streams: bool,
    pub(super) opens: bool,
    /// Whether it is a subscription.
    pub(super) listens: bool,
    /// Whether it is for the tools that there are.
    pub(super) lists: bool,
    /// What it takes of the agent's room until it is answered.
    pub(super) room: Room,
}

#[derive(Debug)]
pub(super) struct State {
    last: u64,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) streams: BTreeMap<u64, Stream>,
    finished: VecDeque<u64>,
    /// What cancelled requests take as long as the gate may still be at them, and until when that is.
    lingering: Vec<(Instant, Room)>,
    /// The stream that got the last message.
    pub(super) told: u64,
    used: Instant,
    /// The revision that the server chose.
    pub(super) revision: Option<String>,
    /// Which arguments of the tools that were listed are headers too. Of a tool that was not, none is known.
    pub(super) mirrors: Mirrors,
    /// Nothing more is taken up.
    closing: bool,
    to_gate: Option<mpsc::Sender<Said>>,
}

/// A line for the gate, and what it takes until the gate has read it, if nothing else holds that.
pub(super) type Said = (Vec<u8>, Option<Room>);

/// A conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Whose it is. Nobody else has part in it.
    pub(super) holder: Arc<Holder>,
    pub(super) agent: AgentId,
    pub(super) era: Era,
    pub(super) share: Arc<Share>,
    pub(super) bounds: Bounds,
    /// How long the gate may be at a request that was cancelled.
    linger: Duration,
    state: Mutex<State>,
    pub(super) answered: Notify,
}

/// What is asked, and how.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: Id,
    pub(super) body: Body,
    /// What it takes until it is answered.
    pub(super) room: Room,
    pub(super) streams: bool,
    pub(super) opens: bool,
}

impl Conversation {
    pub(super) fn new(
        (holder, agent): (Arc<Holder>, AgentId),
        era: Era,
        share: Arc<Share>,
        (bounds, linger): (Bounds, Duration),
        to_gate: mpsc::Sender<Said>,
    ) -> Arc<Self> {
        let own = (OWN, Stream::default());
        let state = State {
            last: OWN,
            asked: BTreeMap::new(),
            streams: [own].into_iter().filter(|_| era == Era::Session).collect(),
            finished: VecDeque::new(),
            lingering: Vec::new(),
            told: OWN,
            used: Instant::now(),
            revision: None,
            mirrors: Mirrors::default(),
            closing: false,
            to_gate: Some(to_gate),
        };
        let (state, answered) = (Mutex::new(state), Notify::new());
        Arc::new(Self { holder, agent, era, share, bounds, linger, state, answered })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the gate for what the client says.
    fn to_gate(&self) -> Result<mpsc::Sender<Said>, Refused> {
        let mut state = self.state();
        state.used = Instant::now();
        Self::way(&state)
    }

    fn way(state: &State) -> Result<mpsc::Sender<Said>, Refused> {
        state.to_gate.clone().filter(|_| !state.closing).ok_or_else(Refused::gone)
    }

    /// Asks. Where nobody reads the answer any more, a request of the stateless era is cancelled.
    pub(super) async fn ask(self: &Arc<Self>, question: Question) -> Result<Reader, Refused> {
        let to_gate = self.to_gate()?;
        // Whoever goes away while it waits here has asked nothing.
        let place = to_gate.reserve().await.map_err(|_| Refused::gone())?;
        let (number, reader, line) = self.take_up(question)?;
        place.send((line, None));
        Ok(Reader::new(Arc::clone(self), number, (reader, 0)))
    }

    fn take_up(&self, question: Question) -> Result<(u64, u64, Vec<u8>), Refused> {
        let mut state = self.state();
        if state.closing {
            return Err(Refused::gone());
        }
        if state.asked.len() >= ASKED {
            return Err(Refused::too_many("too many requests are without an answer"));
        }
        // Two of one id could not be told apart by who cancels one of them.
        if self.era == Era::Session && state.asked.values().any(|asked| asked.id == question.id) {
            return Err(misread(crate::message::Refused::new(
                ReasonCode::RequestInvalidValue,
                "a request with this id is in flight",
            )));
        }
        let number = state.last.saturating_add(1);
        // A server that folds case would read another spelling of `_meta` as it.
        question.body.unambiguous(&["_meta"]).map_err(misread)?;
        let renamed = rewrite::request(&question.body, number).map_err(misread)?;
        if renamed.line.len() > CLIENT_LINE {
            // The gate would cut it, and nobody could tell whose it was.
            let detail = format!("longer than {CLIENT_LINE} bytes");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::RequestTooLarge, &detail));
        }
        state.last = number;
        let Question { id, body, room, streams, opens } = question;
        let (token, listens) = (renamed.token, body.method == LISTEN);
        let lists = body.method == ClientRequest::ToolsList.as_str();
        let streams = streams && !listens;
        state.asked.insert(number, Asked { id, token, streams, opens, listens, lists, room });
        let mut stream = Stream::default();
        let reader = stream.attach();
        state.streams.insert(number, stream);
        Ok((number, reader, renamed.line))
    }

    /// Passes on what has no answer, and holds its room until the gate has read it.
    pub(super) async fn tell(&self, line: Vec<u8>, room: Option<Room>) -> Result<(), Refused> {
        self.to_gate()?.send((line, room)).await.map_err(|_| Refused::gone())
    }

    /// Says something in the client's place, of whom nothing was heard by that: a server that asks and asks keeps nothing alive.
    pub(super) async fn say(&self, line: Vec<u8>) -> Result<(), Refused> {
        let to_gate = Self::way(&self.state())?;
        to_gate.send((line, None)).await.map_err(|_| Refused::gone())
    }

    /// Passes a cancellation on. Who cancels what nobody asked has cancelled nothing.
    pub(super) async fn cancel(&self, id: &Id, reason: Option<&str>) -> Result<(), Refused> {
        let number = self.state().asked.iter().find(|(_, asked)| asked.id == *id).map(|(number, _)| *number);
        let Some(number) = number else { return Ok(()) };
        self.tell(rewrite::cancelled(number, reason), None).await?;
        // No answer comes to what was cancelled.
        let mut state = self.state();
        self.give_up(&mut state, number);
        state.finish(number);
        drop(state);
        self.answered.notify_waiters();
        Ok(())
    }

    /// Nobody waits for the answer to this request any more. What it takes is in use until the gate has let go of it. Whether
    /// there was such a request.
    pub(super) fn give_up(&self, state: &mut State, number: u64) -> bool {
        let Some(asked) = state.asked.remove(&number) else { return false };
        let now = Instant::now();
        state.lingering.retain(|(until, _)| now < *until);
        state.lingering.push((now + self.linger, asked.room));
        true
    }

    /// A reader of the stream, from this message on; `None` if what it would read is not kept any more.
    pub(super) fn read(self: &Arc<Self>, stream: u64, from: Option<u64>) -> Option<Reader> {
        let mut state = self.state();
        state.used = Instant::now();
        let found = state.streams.get_mut(&stream)?;
        let from = from.unwrap_or_else(|| found.first_unread());
        if !found.has_answer_behind(from) {
            return None;
        }
        let reader = found.attach();
        drop(state);
        Some(Reader::new(Arc::clone(self), stream, (reader, from)).kept())
    }

    /// Gives back what nobody needs any more, and takes back the questions of the server's that nobody has read. Returns their
    /// ids: the server is to be told.
    pub(super) fn tend(&self, now: Instant) -> Vec<Id> {
        let mut state = self.state();
        state.lingering.retain(|(until, _)| now < *until);
        let patience = self.bounds.reading;
        state.streams.values_mut().flat_map(|stream| stream.unheard(now, patience)).collect()
    }

    /// Whether much waits on the stream that got the last message, and somebody reads it.
    pub(super) fn is_crowded(&self) -> bool {
        let state = self.state();
        let told = state.streams.get(&state.told).filter(|stream| stream.is_read());
        told.is_some_and(|stream| stream.waiting() > self.bounds.waiting / 2)
    }

    /// Whether nothing was heard of the client for so long that it is taken to have gone.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let state = self.state();
        let read = state.streams.values().any(Stream::is_read);
        !read && now.saturating_duration_since(state.used) >= self.bounds.idle
    }

    /// When it was last used, if it is not in use.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        let state = self.state();
        let busy = !state.asked.is_empty() || state.streams.values().any(Stream::is_read);
        (!busy).then_some(state.used)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Takes up nothing more.
    pub(super) fn close(&self) {
        self.state().closing = true;
    }

    /// Ends it: the gate reads to the end of what it was told, and then ends the tool server.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.closing = true;
        state.to_gate = None;
    }

    /// The gate's session has ended. Whoever waits still is told that no answer comes.
    pub(super) fn has_ended(&self) {
        self.end();
        let left: Vec<u64> = self.state().asked.keys().copied().collect();
        for number in left {
            self.answer(number, &lost());
        }
        let mut state = self.state();
        state.streams.values_mut().for_each(Stream::end);
        drop(state);
        self.answered.notify_waiters();
    }
}

/// Nobody knows what became of it: that it did not run is not for the endpoint to say.
fn lost() -> Reply {
    let message = "Portcullis: the conversation with the tool server ended before there was an answer. What was asked may or \
                   may not have taken effect; do not repeat it.";
    Reply::Error(format!(r#"{{"code":-32603,"message":{}}}"#, crate::message::quote(message)))
}

fn misread(refused: crate::message::Refused) -> Refused {
    Refused::defect(&Defect { id: None, tool: false, answerable: true, refused })
}

impl State {
    /// A stream comes to its end. It is kept to be asked for again, as long as it is among the last of those that were read, or that
    /// nobody has read.
    pub(super) fn finish(&mut self, number: u64) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        stream.end();
        self.finished.push_back(number);
        if self.finished.len() <= FINISHED {
            return;
        }
        let first = |fits: &dyn Fn(&Stream) -> bool| {
            self.finished.iter().position(|number| self.streams.get(number).is_none_or(fits))
        };
        let oldest = first(&|stream| stream.waiting() == 0)
            .or_else(|| first(&|stream| !stream.asks()).filter(|_| self.finished.len() > UNREAD));
        if let Some(number) = oldest.and_then(|oldest| self.finished.remove(oldest)) {
            self.streams.remove(&number);
        }
    }

    /// Removes a stream that nobody will ask for again.
    pub(super) fn remove(&mut self, number: u64) {
        self.finished.retain(|finished| *finished != number);
        self.streams.remove(&number);
    }
}
