//! One session: what each side's messages set off.

mod said;

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_protocol::ReasonCode;
use portcullis_sdk::{Outcomes, Refusal};
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::answer;
use crate::attempts::Attempts;
use crate::case::{Asker, Case, Way};
use crate::company::Company;
use crate::credential::ArgumentSlots;
use crate::desk::Desk;
use crate::form::{Form, TypedTools};
use crate::handles::Handles;
use crate::harmless::{CANCELLED, ClientNotice, ClientRequest, Harmless, cancellation, nothing_else};
use crate::line::{Line, Lines};
use crate::message::{Body, Defect, From, Id, Message, Refused, Reply, read};
use crate::notes::{Notes, escape};
use crate::operation::{Operation, Terms};
use crate::peer::{Answer, Outgoing, Peer};
use crate::pins::{Tools, asking};
use crate::questions::{Given, no_answers};
use crate::reach::Reach;
use crate::room::{Room, Rooms};
use crate::simulated::{Examples, Rehearsal};
use crate::table::{Cancelled, Heard, NotTaken, Route};
use crate::visible::Visible;

pub(crate) use said::{from_upstream, upstream_gone};

/// Decided calls that may be under way at once.
pub(crate) const CALLS: u32 = 256;
/// The same for requests of the tool server, which is not to use up what the agent's calls need.
pub(crate) const UPSTREAM_CALLS: u32 = 16;
/// Longest message of the client, in bytes.
pub(crate) const CLIENT_LINE: usize = portcullis_protocol::Limits::MESSAGE.bytes;
/// Longest message of the tool server, in bytes. How many of them there may be at once is said in `room`.
pub(crate) const UPSTREAM_LINE: usize = 4 * CLIENT_LINE;
/// Characters of a line that is no message which are shown.
const SAMPLE: usize = 120;

/// What the tasks of a session share.
pub(crate) struct Shared {
    pub(crate) server: String,
    pub(crate) reach: Reach,
    /// What the gate fills in of the arguments of the server's tools, if it does.
    pub(crate) filling: Option<ArgumentSlots>,
    /// Turns true when the tool server is gone.
    pub(crate) lost: watch::Sender<bool>,
    pub(crate) desk: Desk,
    pub(crate) outcomes: Outcomes,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) notes: Notes,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) upstream_slots: Arc<Semaphore>,
    /// For calls that are held until something clears. What they take of the others is bounded.
    pub(crate) held: Arc<Semaphore>,
    pub(crate) client: Peer,
    pub(crate) upstream: Peer,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    pub(crate) typed: TypedTools,
    pub(crate) tools: Arc<Tools>,
    /// What the servers of this gate list, beside one another.
    pub(crate) company: Arc<Company>,
    pub(crate) visible: Visible,
    pub(crate) given: Given,
    pub(crate) handles: Handles,
    /// Whether calls are only simulated, and what they are answered with.
    pub(crate) simulation: Option<Arc<Examples>>,
    /// For what the server says.
    pub(crate) rooms: Rooms,
    /// For what it asks, until that is answered. How long the client takes for it holds up nothing else that the server says.
    pub(crate) questions: Rooms,
    /// For what the client says and is not answered, until it was handed on: nothing else keeps it from saying more.
    pub(crate) unanswered: Rooms,
    /// For what it answers, until that was handed on. A notice that is being decided takes nothing of it.
    pub(crate) answers: Rooms,
}

impl Shared {
    /// Runs a task that ends with the session at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Says that a message without an answer was blocked.
    pub(crate) fn note_blocked(&self, what: &str, reply: &Reply) {
        let (Reply::Result(text) | Reply::Error(text)) = reply;
        self.notes.say(format!("blocked {what}: {}", escape(text.as_bytes(), 1000)));
    }

    /// Why what the arbiter permits does not run in this gate, if it does not.
    pub(crate) fn forbids(&self, terms: &Terms) -> Option<ReasonCode> {
        if terms.tool.is_some() {
            return terms.tool;
        }
        if !terms.named {
            return Some(ReasonCode::SurfaceUnknown);
        }
        // It is on record that it was asked for, and nothing of the tier is run by who could rewrite what governs it.
        (terms.critical && !self.reach.is_bounded()).then_some(ReasonCode::UpstreamUnconfined)
    }

    async fn answer_client(&self, id: Option<Id>, reply: Reply) {
        self.client.give(Outgoing::Answer(Answer { id, reply })).await;
    }

    /// Takes up a message that needs a decision.
    fn decide(
        self: &Arc<Self>,
        way: Way,
        id: Option<&Id>,
        (body, room): (&Body, Option<Room>),
    ) -> Result<(), Refused> {
        let full = || Refused::new(ReasonCode::OverloadShed, "too many calls are under way in this gate");
        let (table, slots) = match way {
            Way::ToUpstream => (&self.upstream.table, &self.slots),
            Way::ToClient => (&self.client.table, &self.upstream_slots),
        };
        // First: the rest takes work.
        let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| full())?;
        let named = match way {
            Way::ToUpstream => self.named(body)?,
            Way::ToClient => None,
        };
        let operation = Operation::of(&self.server, way, named.as_ref().unwrap_or(body))?;
        let asker = match id {
            None => None,
            Some(id) => Some(Asker { id: id.clone(), cancelled: table.open(id).map_err(not_taken)? }),
        };
        let shared = Arc::clone(self);
        match self.simulation.clone() {
            None => self.spawn(Case { shared, way, asker, operation, slot, _room: room }.run()),
            Some(examples) => {
                let rehearsal = Rehearsal { shared, examples, way, asker, operation, slot, _room: room };
                self.spawn(rehearsal.run());
            }
        }
        Ok(())
    }
}

fn not_taken(why: NotTaken) -> Refused {
    match why {
        NotTaken::Reused => {
            Refused::new(ReasonCode::RequestInvalidValue, "a request with this id is in flight")
        }
        NotTaken::Full => {
            Refused::new(ReasonCode::OverloadShed, "too many requests are in flight in this gate")
        }
        NotTaken::Gone => Refused::new(ReasonCode::UpstreamUnavailable, "the tool server is not running"),
    }
}

/// Acts upon the client's messages until it closes its end.
pub(crate) async fn from_client<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    client: R,
    mut broken: watch::Receiver<bool>,
) {
    let mut lines = Lines::new(client, CLIENT_LINE);
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            _ = broken.wait_for(|broken| *broken) => return,
        };
        match line {
            Ok(Some(line)) => client_line(shared, line).await,
            Ok(None) => return,
            Err(error) => return shared.notes.say(format!("the client's messages cannot be read: {error}")),
        }
    }
}

async fn client_line(shared: &Arc<Shared>, line: Line) {
    let read = match line {
        Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return,
        Line::Whole(bytes) => read(&bytes, From::Client),
        Line::Cut(_) => Err(Defect {
            id: None,
            tool: false,
            answerable: true,
            refused: Refused::new(ReasonCode::RequestTooLarge, format!("longer than {CLIENT_LINE} bytes")),
        }),
    };
    match read {
        Ok(Message::Request(id, body)) => client_request(shared, id, &body).await,
        Ok(Message::Notification(body)) => client_notice(shared, &body),
        Ok(Message::Response(id, reply)) => client_response(shared, &id, reply),
        Err(defect) if defect.answerable => refuse(shared, defect).await,
        Err(defect) => shared.note_blocked("a message", &answer::defect(&defect, &shared.typed)),
    }
}

async fn client_request(shared: &Arc<Shared>, id: Id, body: &Body) {
    shared.tools.hear(body);
    let taken = match ClientRequest::of(&body.method) {
        Some(method) => forward(shared, &id, method, body),
        None => shared.decide(Way::ToUpstream, Some(&id), (body, None)),
    };
    let Err(refused) = taken else { return };
    refuse(shared, Defect { id: Some(id), tool: body.method == "tools/call", answerable: true, refused })
        .await;
}

async fn refuse(shared: &Shared, mut defect: Defect) {
    // Under the id of a request in flight this would pass for its answer.
    defect.id = defect.id.filter(|id| !shared.upstream.table.holds(id));
    let reply = answer::defect(&defect, &shared.typed);
    shared.answer_client(defect.id, reply).await;
}

/// Sends on a request that needs no decision.
fn forward(shared: &Shared, id: &Id, method: ClientRequest, body: &Body) -> Result<(), Refused> {
    nothing_else(body)?;
    no_answers(body)?;
    let asking = asking(method, body);
    let number = shared.upstream.table.forward(id, asking).map_err(not_taken)?;
    let message = Harmless::request(method, number, body.params.as_ref());
    if !shared.upstream.offer(Outgoing::Harmless(message)) {
        drop(shared.upstream.table.answered(number));
        return Err(not_taken(NotTaken::Full));
    }
    Ok(())
}

fn client_notice(shared: &Arc<Shared>, body: &Body) {
    let done = match ClientNotice::of(&body.method) {
        Some(method) => nothing_else(body).map(|()| {
            offer(shared, &shared.upstream, Harmless::client_notice(method, body.params.as_ref()));
        }),
        None if body.method == CANCELLED => {
            cancel(shared, &shared.upstream, body);
            Ok(())
        }
        None if body.method.starts_with("notifications/") => {
            let length = body.params.as_ref().map_or(0, |params| params.text.len());
            let many =
                || Refused::new(ReasonCode::OverloadShed, "too much of what is not answered is under way");
            let room = shared.unanswered.try_take(length).ok_or_else(many);
            room.and_then(|room| shared.decide(Way::ToUpstream, None, (body, Some(room))))
        }
        None => Err(Refused::new(ReasonCode::RequestMalformed, "a request without an id")),
    };
    if let Err(refused) = done {
        let refusal = Refusal::own(refused.code, Some(refused.detail));
        shared.note_blocked(&escape(body.method.as_bytes(), SAMPLE), &answer::blocked(&refusal, Form::Error));
    }
}

/// Passes a cancellation on to the side that the request was sent to, under the id that it knows.
fn cancel(shared: &Shared, executor: &Peer, body: &Body) {
    let Some((id, reason)) = cancellation(body) else {
        return shared.notes.say("dropped a cancellation that names no request");
    };
    match executor.table.cancel(&id) {
        Cancelled::Unknown | Cancelled::BeforeSending => {}
        Cancelled::Sent(number) => {
            if executor.offer(Outgoing::Harmless(Harmless::cancelled(number, reason))) {
                return;
            }
            // It is said once, so it waits for its room; no more of them do than there are requests that found theirs.
            let (to, message) = (executor.clone(), Harmless::cancelled(number, None));
            shared.spawn(async move { to.give(Outgoing::Harmless(message)).await });
        }
    }
}

fn offer(shared: &Shared, to: &Peer, message: Harmless) {
    if !to.offer(Outgoing::Harmless(message)) {
        shared.notes.say("dropped a notification: too many messages wait to be written");
    }
}

/// An answer to a request of the tool server's that was permitted and sent on.
fn client_response(shared: &Shared, id: &Id, reply: Option<Reply>) {
    let number = if let Id::Int(number) = id { u64::try_from(*number).ok() } else { None };
    match (number.and_then(|number| shared.client.table.answered(number)), reply) {
        (Some(Route::Call(answer, _)), Some(reply)) => {
            let (Reply::Result(text) | Reply::Error(text)) = &reply;
            match shared.answers.try_take(text.len()) {
                Some(room) => drop(answer.send(Heard { reply, room: Some(room) })),
                // Without its answer the call ends as unknown.
                None => shared
                    .notes
                    .say("dropped an answer of the client's: too many messages wait to be written"),
            }
        }
        (Some(Route::Call(answer, _)), None) => drop(answer),
        (Some(Route::Forward(..)) | None, _) => {
            shared.notes.say("dropped an answer of the client's to a request that nobody made");
        }
    }
}
