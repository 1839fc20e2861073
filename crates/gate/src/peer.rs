//! The two sides of a gate, and the one place that writes to them.
//!
//! What is written is a [`Line`], and there are three ways to one: a [`Harmless`] message of the closed lists, a
//! [`Permit`] spent for the very bytes, and an answer to a request that this side made itself. One that asks something in turn
//! takes a permit for each question.

use std::fmt;
use std::sync::Arc;

use portcullis_protocol::{AttemptId, Outcome};
use portcullis_sdk::{Lapsed, OutcomeReport, Outcomes, Permit, Refusal, Running};
use tokio::sync::{mpsc, oneshot, watch};

use crate::credential::{Filled, Shown};
use crate::harmless::Harmless;
use crate::incoming::{Handed, Sink};
use crate::message::{Id, Reply};
use crate::pins::Since;
use crate::room::{Room, Rooms, WAITING as WAITING_BYTES};
use crate::table::{Heard, Table, Unsendable};

/// Messages that wait to be written to one side, within the bytes that may.
const WAITING: usize = 1024;

/// An answer to a request that the receiving side made.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `None` if the request's id cannot be told.
    pub(crate) id: Option<Id>,
    pub(crate) reply: Reply,
}

/// A permitted message.
#[derive(Debug)]
pub(crate) struct Permitted {
    pub(crate) permit: Permit,
    /// Where its outcome goes. While one of them waits there, it is not spent.
    pub(crate) outcomes: Outcomes,
    /// What is sent, and what the permit is for.
    pub(crate) message: Decided,
    /// What must still hold of the server's tools when it is spent, where it depends on them.
    pub(crate) since: Option<Since>,
    /// What its server is shown, fetched under the permit; `None` where nothing is shown.
    pub(crate) shown: Option<Shown>,
    /// The asker's id and where the answer goes; `None` for a notification.
    pub(crate) call: Option<(Id, oneshot::Sender<Heard>)>,
    pub(crate) sent: oneshot::Sender<Sent>,
}

/// A message that was decided, without its id.
#[derive(Debug)]
pub(crate) enum Decided {
    /// It is sent as it is.
    AsItIs(Vec<u8>),
    /// It is sent with credentials where it names them.
    Filled(Filled),
}

impl Decided {
    /// What its permit is for.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::AsItIs(bytes) => bytes,
            Self::Filled(filled) => filled.decided(),
        }
    }

    fn sent(&self) -> &[u8] {
        match self {
            Self::AsItIs(bytes) => bytes,
            Self::Filled(filled) => filled.bytes(),
        }
    }

    /// About how many bytes it takes.
    fn length(&self) -> usize {
        match self {
            Self::AsItIs(bytes) => bytes.len(),
            Self::Filled(filled) => filled.decided().len().saturating_add(filled.bytes().len()),
        }
    }
}

/// An answer that asks the client for something, with the permit of each question.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) answer: Answer,
    pub(crate) questions: Vec<Question>,
    pub(crate) outcomes: Outcomes,
    pub(crate) told: oneshot::Sender<AskedOf>,
}

/// A permitted question within an answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) permit: Permit,
    /// The question as a message, for which the permit is.
    pub(crate) bytes: Vec<u8>,
}

/// What became of an answer with questions: they were asked, all of them, or the answer was not written.
pub(crate) type AskedOf = Result<(Vec<Running>, Handed), NotAsked>;

/// Why questions were not asked. The end of each PERMIT is still to be reported.
#[derive(Debug)]
pub(crate) struct NotAsked {
    pub(crate) refusal: Refusal,
    pub(crate) reports: Vec<OutcomeReport>,
}

/// What became of a permitted message: what is under way now, and whether it was handed over.
pub(crate) type Sent = Result<(Running, Handed), Unsent>;

/// Why a permitted message was not sent. The PERMIT's end is still to be reported.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// The permit did not cover it any more, or never did.
    Lapsed(Box<Lapsed>),
    /// The side it was meant for is gone.
    Gone(OutcomeReport),
    /// The asker has cancelled it.
    Cancelled(OutcomeReport),
    /// The server has said meanwhile that its tools are others.
    Changed(OutcomeReport),
}

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Harmless(Harmless),
    Permitted(Box<Permitted>),
    Answer(Answer),
    Asked(Box<Asked>),
    /// Closes the stream once everything before it is written.
    Close,
}

impl Outgoing {
    /// About how many bytes wait with it.
    fn bytes(&self) -> usize {
        let of_answer = |answer: &Answer| match &answer.reply {
            Reply::Result(text) | Reply::Error(text) => text.len(),
        };
        match self {
            Self::Harmless(message) => message.bytes(),
            Self::Permitted(permitted) => permitted.message.length(),
            Self::Answer(answer) => of_answer(answer),
            Self::Asked(asked) => {
                let questions = asked.questions.iter().map(|question| question.bytes.len());
                questions.fold(of_answer(&asked.answer), usize::saturating_add)
            }
            Self::Close => 0,
        }
    }
}

/// Bytes that may be written. There may be a credential in them: they do not print.
struct Line(Vec<u8>);

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl Line {
    fn harmless(message: Harmless) -> Self {
        Self(message.into_text().into_bytes())
    }

    fn answer(answer: Answer) -> Self {
        let id = answer.id.map_or_else(|| "null".to_owned(), |id| id.to_json());
        let (member, raw) = match answer.reply {
            Reply::Result(raw) => ("result", raw),
            Reply::Error(raw) => ("error", raw),
        };
        Self(format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{raw}}}"#).into_bytes())
    }

    /// Spends the permit of each question in an answer. Where one lapsed, none is asked.
    fn asking(
        answer: Answer,
        questions: Vec<Question>,
        outcomes: &Outcomes,
    ) -> Result<(Self, Vec<Running>), NotAsked> {
        let (mut running, mut left) = (Vec::new(), questions.into_iter());
        while let Some(Question { permit, bytes }) = left.next() {
            match permit.begin_sending(&bytes, outcomes) {
                Ok(begun) => running.push(begun),
                Err(lapsed) => {
                    let Lapsed { refusal, report } = *lapsed;
                    let begun = running.into_iter().map(|begun| begun.finish(Outcome::Failed, None));
                    let unspent = left.map(|question| question.permit.decline());
                    let reports = begun.chain([report]).chain(unspent).collect();
                    return Err(NotAsked { refusal, reports });
                }
            }
        }
        Ok((Self::answer(answer), running))
    }

    /// Spends the permit for exactly this message. The id that is put in front of it is the gate's own.
    fn permitted(
        (permit, outcomes): (Permit, &Outcomes),
        message: &Decided,
        number: Option<u64>,
    ) -> Result<(Self, Running), Box<Lapsed>> {
        let running = permit.begin_sending(message.bytes(), outcomes)?;
        let (begin, rest) = match (number, message.sent().strip_prefix(b"{")) {
            (Some(number), Some(rest)) => (format!(r#"{{"id":{number},"#), rest),
            (Some(_), None) | (None, _) => (String::new(), message.sent()),
        };
        // With room for the line's end: what it would be moved from is not wiped.
        let mut line = Vec::with_capacity(begin.len().saturating_add(rest.len()).saturating_add(1));
        line.extend_from_slice(begin.as_bytes());
        line.extend_from_slice(rest);
        Ok((Self(line), running))
    }
}

/// One side: what is to be written to it, and the requests in flight towards it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    outbox: mpsc::Sender<(Outgoing, Option<Room>)>,
    rooms: Rooms,
    pub(crate) table: Arc<Table>,
}

impl Peer {
    /// A side, and the writer that must be run for it.
    pub(crate) fn new<S>(out: S) -> (Self, Writer<S>) {
        Self::holding(Rooms::new(WAITING_BYTES), out)
    }

    /// The same, for which so much waits at the most.
    pub(crate) fn holding<S>(rooms: Rooms, out: S) -> (Self, Writer<S>) {
        let (peer, unwritten) = Self::to_come(rooms);
        (peer, unwritten.to(out))
    }

    /// The same, of a side that is not there yet.
    pub(crate) fn to_come(rooms: Rooms) -> (Self, Unwritten) {
        let (outbox, inbox) = mpsc::channel(WAITING);
        let table = Arc::new(Table::default());
        let unwritten = Unwritten { inbox, table: Arc::clone(&table) };
        (Self { outbox, rooms, table }, unwritten)
    }

    /// Hands over a message, waiting for room. What is handed over after the writer has ended is dropped with its
    /// reply channel, which tells whoever waits for it.
    pub(crate) async fn give(&self, message: Outgoing) {
        let room = self.rooms.take(message.bytes()).await;
        drop(self.outbox.send((message, room)).await);
    }

    /// Hands over a message if there is room.
    pub(crate) fn offer(&self, message: Outgoing) -> bool {
        let room = self.rooms.try_take(message.bytes());
        // Nothing comes behind the end, which takes no room.
        if room.is_none() && !matches!(message, Outgoing::Close) {
            return false;
        }
        self.outbox.try_send((message, room)).is_ok()
    }
}

/// What is to be written to a side once it is there.
#[derive(Debug)]
pub(crate) struct Unwritten {
    inbox: mpsc::Receiver<(Outgoing, Option<Room>)>,
    table: Arc<Table>,
}

impl Unwritten {
    /// The writer that must be run for it.
    pub(crate) fn to<S>(self, out: S) -> Writer<S> {
        let Self { inbox, table } = self;
        Writer { out: Some(out), inbox, table, broken: watch::channel(false).0 }
    }
}

/// Writes to one side, one whole line after the other.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    /// `None` once it was closed or has failed.
    out: Option<S>,
    inbox: mpsc::Receiver<(Outgoing, Option<Room>)>,
    table: Arc<Table>,
    broken: watch::Sender<bool>,
}

impl<S: Sink> Writer<S> {
    /// Becomes true when this side can no longer be written to.
    pub(crate) fn broken(&self) -> watch::Receiver<bool> {
        self.broken.subscribe()
    }

    /// Writes until every sender is gone. Goes on after a failure, so that every permit that comes is given up in
    /// good order.
    pub(crate) async fn run(mut self) {
        while let Some((message, _room)) = self.inbox.recv().await {
            match message {
                // Nobody waits to hear of these.
                Outgoing::Harmless(message) => drop(self.write(Line::harmless(message), None).await),
                Outgoing::Answer(answer) => drop(self.write(Line::answer(answer), None).await),
                Outgoing::Permitted(permitted) => self.permitted(*permitted).await,
                Outgoing::Asked(asked) => self.asked(*asked).await,
                Outgoing::Close => self.close(),
            }
        }
    }

    async fn permitted(&mut self, permitted: Permitted) {
        let Permitted { permit, outcomes, message, since, shown, call, sent } = permitted;
        // Before the permit is spent: what cannot be sent is not begun.
        if let Some(out) = &mut self.out
            && !out.ready().await
        {
            return tell(sent, Err(Unsent::Gone(permit.decline())));
        }
        // It may have waited here for longer than what the call was judged by is good for.
        if since.is_some_and(|since| !since.holds()) {
            return tell(sent, Err(Unsent::Changed(permit.decline())));
        }
        let number = match self.number(call, permit.attempt()) {
            Ok(number) => number,
            Err(Unsendable::Gone) => return tell(sent, Err(Unsent::Gone(permit.decline()))),
            Err(Unsendable::Cancelled) => return tell(sent, Err(Unsent::Cancelled(permit.decline()))),
        };
        match Line::permitted((permit, &outcomes), &message, number) {
            Ok((line, running)) => {
                let handed = self.write(line, shown).await;
                tell(sent, Ok((running, handed)));
            }
            Err(lapsed) => {
                number.into_iter().for_each(|number| self.table.unsend(number));
                tell(sent, Err(Unsent::Lapsed(lapsed)));
            }
        }
    }

    async fn asked(&mut self, asked: Asked) {
        let Asked { answer, questions, outcomes, told } = asked;
        // Nobody waits for it only if the session has ended.
        match Line::asking(answer, questions, &outcomes) {
            Ok((line, running)) => {
                let handed = self.write(line, None).await;
                drop(told.send(Ok((running, handed))));
            }
            Err(not) => drop(told.send(Err(not))),
        }
    }

    fn number(
        &self,
        call: Option<(Id, oneshot::Sender<Heard>)>,
        attempt: AttemptId,
    ) -> Result<Option<u64>, Unsendable> {
        match call {
            _ if self.out.is_none() => Err(Unsendable::Gone),
            Some((id, answer)) => self.table.send(&id, (answer, attempt)).map(Some),
            None if self.table.is_shut() => Err(Unsendable::Gone),
            None => Ok(None),
        }
    }

    /// The only write to this side.
    async fn write(&mut self, line: Line, shown: Option<Shown>) -> Handed {
        let Some(out) = &mut self.out else { return Handed::Void };
        out.send(line.0, shown).await.unwrap_or_else(|_| {
            self.close();
            Handed::Lost
        })
    }

    fn close(&mut self) {
        self.out = None;
        self.table.shut();
        self.broken.send_replace(true);
    }
}

/// Nobody waits any more only if the session has ended. What was sent then ends as `unknown`; of what was not, the report is
/// lost, and the arbiter closes the PERMIT by itself when its outcome is due.
fn tell(sent: oneshot::Sender<Sent>, result: Sent) {
    drop(sent.send(result));
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
