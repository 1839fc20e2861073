//! One message that needs a decision, from the question to its outcome.

use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{AttemptId, Captured, Outcome, ReasonCode};
use portcullis_sdk::{GivenUp, OutcomeReport, Permit, Refusal, Running};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use crate::answer;
use crate::credential::{Filled, Held, Shown};
use crate::desk::Denied;
use crate::handles::task_of;
use crate::hold::{Hold, Waited, may_clear};
use crate::incoming::Handed;
use crate::message::{Id, Refused, Reply};
use crate::operation::{Operation, Terms};
use crate::peer::{
    Answer, Asked, Decided as Message, NotAsked, Outgoing, Peer, Permitted, Question, Sent, Unsent,
};
use crate::pins::Since;
use crate::questions::{Questions, asks_nothing};
use crate::room::Room;
use crate::session::Shared;
use crate::table::Heard;

/// Longest result that is kept for repeats, in bytes.
const LONGEST_RESULT: usize = 1024 * 1024;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToUpstream,
    ToClient,
}

/// Who asked, under which id, and whether the asker still wants it.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) id: Id,
    pub(crate) cancelled: watch::Receiver<bool>,
}

/// A message under decision.
pub(crate) struct Case {
    pub(crate) shared: Arc<Shared>,
    pub(crate) way: Way,
    /// `None` for a notification.
    pub(crate) asker: Option<Asker>,
    pub(crate) operation: Operation,
    /// One of a bounded number.
    pub(crate) slot: OwnedSemaphorePermit,
    /// What the message takes of what its server may, if it is one's.
    pub(crate) _room: Option<Room>,
}

/// What there is to do about a message.
enum Decided {
    Permitted(Box<Permit>, Terms),
    Refused(Refusal, Captured),
    /// The asker wants it no more.
    Cancelled,
}

/// What a permitted call takes besides its permit.
struct Prepared {
    /// What must still hold of the server's tools when it is sent.
    since: Option<Since>,
    /// What its server is shown.
    shown: Option<Shown>,
    /// The message with its credentials, if it names some.
    filled: Option<Filled>,
}

/// How it ended, as the asker is to be told.
enum End {
    Answer(Reply),
    /// The asker has cancelled: no answer.
    Nothing,
}

impl Case {
    /// Decides, runs if permitted, answers, and reports.
    pub(crate) async fn run(mut self) {
        if self.operation.goes_on_with().is_some_and(|state| !self.shared.given.holds(state)) {
            return self.end(End::Answer(answer::foreign_state())).await;
        }
        match self.decided().await {
            Decided::Permitted(permit, terms) => self.permitted(*permit, terms).await,
            Decided::Refused(refusal, captured) => self.denied(refusal, captured).await,
            Decided::Cancelled => self.end(End::Nothing).await,
        }
        drop(self.slot);
    }

    /// Decides, and anew whenever what made it SILENCE has cleared, for as long as the surface holds a call.
    async fn decided(&self) -> Decided {
        let (mut hold, mut kept) = (None, false);
        loop {
            let Denied { refusal, attempted, unanswered } = match self.once().await {
                Ok((permit, terms)) => return Decided::Permitted(Box::new(permit), terms),
                Err(denied) => denied,
            };
            let code = refusal.code();
            // One for want of an arbiter's answer is kept by the gate itself, if it can; once, however often it is looked at.
            let attempted = attempted.filter(|_| !kept);
            let (now, refusal) = self.shared.attempts.kept(refusal, attempted).await;
            kept = kept || now;
            let captured = match refusal.captured() {
                Captured::None if kept => Captured::Spooled,
                captured @ (Captured::Logged | Captured::Spooled | Captured::None) => captured,
            };
            hold = hold.or_else(|| self.hold());
            match hold.as_mut().filter(|_| may_clear(code)) {
                None => return Decided::Refused(refusal, captured),
                Some(hold) => match self.waits(hold, code, unanswered.as_ref()).await {
                    Waited::Cleared => {}
                    Waited::Over => return Decided::Refused(refusal, captured),
                    Waited::Cancelled => return Decided::Cancelled,
                },
            }
        }
    }

    /// Waits until there is reason to decide anew, and no PERMIT of the last time is in the way.
    async fn waits(&self, hold: &mut Hold<'_>, code: ReasonCode, unanswered: Option<&GivenUp>) -> Waited {
        loop {
            let waited = hold.wait(code).await;
            let decides = waited == Waited::Cleared && !self.executor().table.is_shut();
            if !decides || self.shared.desk.is_closed(unanswered).await {
                return waited;
            }
        }
    }

    async fn once(&self) -> Result<(Permit, Terms), Denied> {
        let own = |code| Denied { refusal: Refusal::own(code, None), attempted: None, unanswered: None };
        if self.executor().table.is_shut() {
            return Err(own(ReasonCode::UpstreamUnavailable));
        }
        if !self.shared.outcomes.are_recorded().await {
            return Err(self.shared.desk.unrecorded(&self.operation));
        }
        self.shared.desk.permit(&self.operation).await
    }

    /// What holds an agent's call, if its surface says so and there is room.
    fn hold(&self) -> Option<Hold<'_>> {
        let asker = self.asker.as_ref().filter(|_| self.way == Way::ToUpstream)?;
        Hold::of(&self.shared, &self.operation, asker.cancelled.clone())
    }

    /// Answers a refusal.
    async fn denied(&self, refusal: Refusal, captured: Captured) {
        let reply = self.refused_and(&refusal, captured);
        // What is kept of an earlier run may ask the client for something, as it did then.
        let attempt = refusal.receipt().map(|receipt| receipt.attempt);
        self.passed(reply, attempt).await;
    }

    fn executor(&self) -> &Peer {
        match self.way {
            Way::ToUpstream => &self.shared.upstream,
            Way::ToClient => &self.shared.client,
        }
    }

    fn refused_and(&self, refusal: &Refusal, captured: Captured) -> Reply {
        let blocked = || answer::blocked_and(refusal, captured, self.operation.form(&self.shared.typed));
        match self.way {
            Way::ToUpstream => self.own(answer::replay(refusal).unwrap_or_else(blocked)),
            Way::ToClient => blocked(),
        }
    }

    /// How a call ends whose PERMIT is on record, and that the gate did not send all the same.
    fn unsent(&self, attempt: AttemptId, refusal: &Refusal) -> End {
        let reply = answer::unsent(attempt, refusal, self.operation.form(&self.shared.typed));
        End::Answer(match self.way {
            Way::ToUpstream => self.own(reply),
            Way::ToClient => reply,
        })
    }

    /// What must still hold of the server's tools when the call is sent; why it is not, if that is not what it was judged by.
    async fn since(&self, terms: &Terms) -> Result<Option<Since>, ReasonCode> {
        let (Some(sight), Some(tool)) = (terms.sight, self.operation.tool()) else { return Ok(None) };
        let end = Instant::now() + self.shared.desk.deadline;
        self.shared.tools.still(&tool, sight, end).await.map(Some)
    }

    /// All that a permitted call takes besides its permit; why it is not sent, if it cannot be had.
    async fn prepared(&self, terms: &Terms) -> Result<Prepared, ReasonCode> {
        if let Some(code) = self.shared.forbids(terms) {
            return Err(code);
        }
        let shown = match self.way {
            Way::ToUpstream => self.shared.shown().await?,
            Way::ToClient => None,
        };
        let filled = match self.way {
            Way::ToUpstream => self.shared.filled(&self.operation).await?,
            Way::ToClient => None,
        };
        let outstanding = filled.as_ref().map(Filled::outstanding);
        let shown = match shown {
            Some(shown) => Some(shown.of_call(self.shared.mirrored(&self.operation).await, outstanding)),
            None => None,
        };
        // Last: the others may take a while.
        Ok(Prepared { since: self.since(terms).await?, shown, filled })
    }

    /// An answer of the gate's own, as the asker reads it.
    fn own(&self, reply: Reply) -> Reply {
        if self.operation.stateless { answer::whole(reply) } else { reply }
    }

    async fn permitted(&mut self, permit: Permit, terms: Terms) {
        let attempt = permit.attempt();
        let prepared = match self.prepared(&terms).await {
            Ok(prepared) => prepared,
            Err(code) => {
                let end = self.unsent(attempt, &Refusal::own(code, None));
                return self.unspent(permit.decline(), end).await;
            }
        };
        // To the end: until nothing more is read in answer, what is sent may come back.
        let outstanding = prepared.filled.as_ref().map(Filled::outstanding);
        let (sent, answer) = self.send(permit, prepared).await;
        let end = |refusal: &Refusal| self.unsent(attempt, refusal);
        match sent {
            Some(Ok(running)) => self.running(running, attempt, (terms, outstanding), answer).await,
            Some(Err(Unsent::Lapsed(lapsed))) => {
                let end = end(&lapsed.refusal);
                self.unspent(lapsed.report, end).await;
            }
            Some(Err(Unsent::Gone(report))) => {
                let end = end(&Refusal::own(ReasonCode::UpstreamUnavailable, None));
                self.unspent(report, end).await;
            }
            Some(Err(Unsent::Changed(report))) => {
                let end = end(&Refusal::own(ReasonCode::ToolDefinitionUnknown, None));
                self.unspent(report, end).await;
            }
            Some(Err(Unsent::Cancelled(report))) => self.unspent(report, End::Nothing).await,
            // The session has ended, and its writer with it.
            None => self.end(End::Nothing).await,
        }
    }

    /// Hands the bytes over together with the permit for them.
    async fn send(
        &self,
        permit: Permit,
        Prepared { since, shown, filled }: Prepared,
    ) -> (Option<Sent>, Option<oneshot::Receiver<Heard>>) {
        let (sent, result) = oneshot::channel();
        let (call, answer) = match &self.asker {
            None => (None, None),
            Some(asker) => {
                let (route, answer) = oneshot::channel();
                (Some((asker.id.clone(), route)), Some(answer))
            }
        };
        let message = filled.map_or_else(|| Message::AsItIs(self.operation.bytes.clone()), Message::Filled);
        let outcomes = self.shared.outcomes.clone();
        let permitted = Permitted { permit, outcomes, message, since, shown, call, sent };
        self.executor().give(Outgoing::Permitted(Box::new(permitted))).await;
        (result.await.ok(), answer)
    }

    /// Reports a PERMIT that was not spent. It used up nothing, so nobody waits for the report.
    async fn unspent(&mut self, report: OutcomeReport, end: End) {
        self.end(end).await;
        self.settle(report).await;
    }

    /// What fails trips the gate; the calls that come next are told.
    async fn settle(&self, report: OutcomeReport) {
        let _recorded = self.shared.outcomes.settle(report).await;
    }

    async fn running(
        &mut self,
        (running, handed): (Running, Handed),
        attempt: AttemptId,
        (terms, outstanding): (Terms, Option<Arc<[Held]>>),
        answer: Option<oneshot::Receiver<Heard>>,
    ) {
        let Some(answer) = answer else {
            // A notification has no answer; that it was handed over is all that can become of it. Where the other
            // side broke off meanwhile, not even that is known.
            let outcome = match handed {
                Handed::Over if !self.executor().table.is_shut() => Outcome::Ok,
                Handed::Over | Handed::Lost => Outcome::Unknown,
                Handed::Void => Outcome::Failed,
            };
            let report = running.finish(outcome, None);
            return self.settle(report).await;
        };
        let (reply, _room) = match self.answered(answer).await {
            Some(Heard { reply, room }) => (Some(reply), room),
            None => (None, None),
        };
        let outcome = reply.as_ref().map_or(Outcome::Unknown, answer::outcome);
        let result =
            reply.as_ref().filter(|_| terms.keeps_results && outcome != Outcome::Unknown).and_then(kept);
        let report = running.finish(outcome, result);
        if let Some(task) = reply.as_ref().filter(|_| self.way == Way::ToUpstream).and_then(task_of) {
            self.shared.handles.remember(task, &report, (terms.keeps_results, outstanding.clone()));
        }
        self.ended(reply.as_ref()).await;
        let unknown = || self.own(answer::unknown(attempt, self.operation.form(&self.shared.typed)));
        let reply = reply.unwrap_or_else(unknown);
        if terms.keyed || !asks_nothing(&reply) {
            self.settle(report).await;
            self.passed(reply, Some(attempt)).await;
        } else {
            self.end(End::Answer(reply)).await;
            self.settle(report).await;
        }
    }

    /// Reports what became of the call that began a task, if this says it. An error may be about the question.
    async fn ended(&self, reply: Option<&Reply>) {
        let (Some(wanted), Some(Reply::Result(text))) = (&self.operation.task, reply) else { return };
        let Some((task, end)) = wanted.end(text) else { return };
        if !asks_nothing(&end) {
            return;
        }
        let report = self.shared.handles.ended(task, answer::outcome(&end), kept(&end).as_ref());
        if let Some(report) = report {
            self.settle(report).await;
        }
    }

    /// Hands an answer over: what it asks the client for in turn only under permits, and all of it or nothing.
    async fn passed(&self, reply: Reply, attempt: Option<AttemptId>) {
        let questions = match self.way {
            Way::ToUpstream => Questions::of(&self.shared.server, &reply),
            Way::ToClient => Ok(None),
        };
        let refused = |refusal: &Refusal| {
            let form = self.operation.form(&self.shared.typed);
            End::Answer(self.own(answer::not_to_be_asked(attempt, refusal, form)))
        };
        match questions {
            Ok(None) => self.end(End::Answer(reply)).await,
            Ok(Some(questions)) => match self.ask(reply, questions).await {
                Ok(()) => {}
                Err(refusal) => self.end(refused(&refusal)).await,
            },
            Err(Refused { code, detail }) => self.end(refused(&Refusal::own(code, Some(detail)))).await,
        }
    }

    /// Asks the client what the answer asks for; why not, if the answer was not handed over.
    async fn ask(&self, reply: Reply, questions: Questions) -> Result<(), Refusal> {
        let Some(Asker { id, .. }) = &self.asker else { return Ok(()) };
        let permits = permits(&self.shared, &questions.operations).await?;
        if self.is_cancelled() {
            for question in permits {
                self.settle(question.permit.decline()).await;
            }
            self.end(End::Nothing).await;
            return Ok(());
        }
        self.shared.given.remember(self.operation.given(questions.state));
        let (told, asked) = oneshot::channel();
        let answer = Answer { id: Some(id.clone()), reply };
        let outcomes = self.shared.outcomes.clone();
        // Whoever has the answer may use its id again.
        self.executor().table.close(id);
        let message = Asked { answer, questions: permits, outcomes, told };
        self.shared.client.give(Outgoing::Asked(Box::new(message))).await;
        match asked.await {
            Ok(Ok((running, handed))) => {
                let outcome = match handed {
                    Handed::Over => Outcome::Ok,
                    Handed::Lost => Outcome::Unknown,
                    Handed::Void => Outcome::Failed,
                };
                for running in running {
                    self.settle(running.finish(outcome, None)).await;
                }
                Ok(())
            }
            Ok(Err(NotAsked { refusal, reports })) => {
                for report in reports {
                    self.settle(report).await;
                }
                Err(refusal)
            }
            // The session has ended, and its writer with it.
            Err(_) => Ok(()),
        }
    }

    /// The answer; `None` if there will be none.
    async fn answered(&mut self, mut answer: oneshot::Receiver<Heard>) -> Option<Heard> {
        let grace: Duration = self.shared.desk.deadline;
        let Some(asker) = &mut self.asker else { return answer.await.ok() };
        tokio::select! {
            reply = &mut answer => return reply.ok(),
            cancelled = asker.cancelled.wait_for(|cancelled| *cancelled) => drop(cancelled),
        }
        tokio::time::timeout(grace, answer).await.ok().and_then(Result::ok)
    }

    fn is_cancelled(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| *asker.cancelled.borrow())
    }

    /// Answers, unless the asker has cancelled.
    async fn end(&self, end: End) {
        let Some(Asker { id, .. }) = &self.asker else {
            if let End::Answer(reply) = end {
                self.shared.note_blocked(&self.operation.label(), &reply);
            }
            return;
        };
        let cancelled = self.is_cancelled();
        self.executor().table.close(id);
        let asker = match self.way {
            Way::ToUpstream => &self.shared.client,
            Way::ToClient => &self.shared.upstream,
        };
        match end {
            End::Answer(reply) if !cancelled => {
                asker.give(Outgoing::Answer(Answer { id: Some(id.clone()), reply })).await;
            }
            End::Answer(_) | End::Nothing => {}
        }
    }
}

/// A permit for each question of the tool server's, or why one of them may not be asked: then all are given up.
async fn permits(shared: &Shared, operations: &[Operation]) -> Result<Vec<Question>, Refusal> {
    let mut permits: Vec<Question> = Vec::new();
    for operation in operations {
        match permit(shared, operation).await {
            Ok(permit) => permits.push(Question { permit, bytes: operation.bytes.clone() }),
            Err(refusal) => {
                for question in permits {
                    let _recorded = shared.outcomes.settle(question.permit.decline()).await;
                }
                return Err(refusal);
            }
        }
    }
    Ok(permits)
}

async fn permit(shared: &Shared, operation: &Operation) -> Result<Permit, Refusal> {
    let Ok(_slot) = shared.upstream_slots.try_acquire() else {
        return Err(Refusal::own(ReasonCode::OverloadShed, None));
    };
    if !shared.outcomes.are_recorded().await {
        let Denied { refusal, attempted, .. } = shared.desk.unrecorded(operation);
        return Err(shared.attempts.kept(refusal, attempted).await.1);
    }
    match shared.desk.permit(operation).await {
        Ok((permit, terms)) => match shared.forbids(&terms) {
            None => Ok(permit),
            Some(code) => {
                let _recorded = shared.outcomes.settle(permit.decline()).await;
                Err(Refusal::own(code, None))
            }
        },
        Err(Denied { refusal, attempted, .. }) => Err(shared.attempts.kept(refusal, attempted).await.1),
    }
}

/// The result's text, if it is one and short enough to be kept.
fn kept(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Result(text) if text.len() <= LONGEST_RESULT => Some(text.clone()),
        Reply::Result(_) | Reply::Error(_) => None,
    }
}
