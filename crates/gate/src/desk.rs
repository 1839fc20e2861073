//! Asks the arbiter, by the rules of the surfaces in force.

mod simulating;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use portcullis_protocol::canonical::NotCanonical;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{
    AgentId, Attempted, BundleDigest, CalledTool, Digest, Fit, GateId, Keeper, OnSilence, Payload,
    PrincipalId, ReasonCode, Request, SurfaceTable, ToolName, ToolPins,
};
use portcullis_sdk::{Attempt, Authorizer, GivenUp, Permit, Refusal, TrustedLog, authorize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::wall;
use crate::message::Refused;
use crate::operation::{Operation, Terms};
use crate::pins::Tools;

/// The surfaces that calls are read by, as the arbiter gave them. They are not evidence: their digest is part of
/// every request, and the arbiter refuses one that was read by others than its own.
pub(crate) struct Rules {
    surfaces: SurfaceTable,
    digest: Digest,
}

impl Rules {
    pub(crate) const fn pins(&self) -> &ToolPins {
        &self.surfaces.pins
    }

    pub(crate) const fn bundle(&self) -> BundleDigest {
        self.surfaces.bundle
    }
}

/// Where permits come from.
pub(crate) struct Desk {
    /// The tool server, as it is called.
    pub(crate) server: String,
    pub(crate) arbiter: Arc<dyn Authorizer>,
    pub(crate) log: TrustedLog,
    pub(crate) agent: AgentId,
    /// For whom it acts, on every call.
    pub(crate) acts_for: Option<PrincipalId>,
    pub(crate) gate: GateId,
    pub(crate) deadline: Duration,
    /// Random, per session: keys derived in one run mean nothing in another.
    pub(crate) run: [u8; 32],
    pub(crate) table: Mutex<Option<Arc<Rules>>>,
    /// The rules that were read last, though they may be in force no more: how long a call waits is told by them, and what
    /// is kept of one that came to no question.
    pub(crate) last: std::sync::Mutex<Option<Arc<Rules>>>,
    /// Whether attempts without an arbiter's answer are kept by the gate.
    pub(crate) keeps: bool,
    /// What the server says its tools are.
    pub(crate) tools: Arc<Tools>,
}

/// Why there is no permit, and what of the attempt is the gate's to keep.
pub(crate) struct Denied {
    pub(crate) refusal: Refusal,
    pub(crate) attempted: Option<Attempted>,
    /// What no answer came to: there may be a PERMIT of it.
    pub(crate) unanswered: Option<GivenUp>,
}

/// A question about an operation, as the rules have it.
struct Question {
    ask: Ask,
    /// What is to be kept with it.
    payload: Option<Payload>,
    terms: Terms,
    /// What of its arguments does not fit, or cannot be kept.
    misfit: Option<String>,
}

/// What was asked last.
#[derive(Default)]
struct Tried {
    attempted: Option<Attempted>,
    unanswered: Option<GivenUp>,
}

impl Desk {
    /// A permit for the operation, or why there is none. Takes no longer than the deadline.
    pub(crate) async fn permit(&self, operation: &Operation) -> Result<(Permit, Terms), Denied> {
        let end = Instant::now() + self.deadline;
        let mut tried = Tried::default();
        let decided = tokio::time::timeout_at(end, self.decide(operation, end, &mut tried)).await;
        let refusal = match decided {
            Ok(Ok(permitted)) => return Ok(permitted),
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::own(ReasonCode::ArbiterTimeout, None),
        };
        let Tried { attempted, unanswered } = tried;
        let attempted = self.attempted(operation, attempted, refusal.code());
        let no_answer = [ReasonCode::ArbiterTimeout, ReasonCode::ArbiterUnreachable];
        let unanswered = unanswered.filter(|_| no_answer.contains(&refusal.code()));
        Err(Denied { refusal, attempted, unanswered })
    }

    /// Refuses an attempt before anybody is asked: an outcome before it is not on record. That is how an outage looks which
    /// began while a call ran, so what is attempted during it is the gate's to keep.
    pub(crate) fn unrecorded(&self, operation: &Operation) -> Denied {
        let refusal = Refusal::own(ReasonCode::EvidenceOutcomeUnrecorded, None);
        let attempted = self.attempted(operation, None, refusal.code());
        Denied { refusal, attempted, unanswered: None }
    }

    /// What is to be kept of an attempt that was refused for this reason, if it is the gate's to keep.
    fn attempted(
        &self,
        operation: &Operation,
        tried: Option<Attempted>,
        reason: ReasonCode,
    ) -> Option<Attempted> {
        if !self.keeps || !Keeper::Gate.keeps(reason) {
            return None;
        }
        let tried = tried.or_else(|| self.unasked(operation))?;
        Some(Attempted { at: wall()?, reason, ..tried })
    }

    /// An attempt that came to no question: it is read by the rules that were read last, or by none, where nobody said any or
    /// it does not fit them.
    fn unasked(&self, operation: &Operation) -> Option<Attempted> {
        let last = self.last();
        let by_last = last.and_then(|rules| {
            let (mut ask, _) = operation.ask(&rules.surfaces, &self.run).ok()?;
            ask.mapped_with = Some(rules.digest);
            Some(ask)
        });
        let by_none = || {
            let (bundle, pins) = (BundleDigest(Digest::sha256(b"")), ToolPins::none());
            let none = SurfaceTable { bundle, surfaces: BTreeMap::new(), pins };
            Some(operation.ask(&none, &self.run).ok()?.0)
        };
        let ask = by_last.or_else(by_none)?;
        let attempt = Attempt::new(self.gate.clone(), self.request(ask)).ok()?;
        Some(attempt.attempted(wall()?, ReasonCode::ArbiterUnreachable))
    }

    async fn decide(
        &self,
        operation: &Operation,
        end: Instant,
        tried: &mut Tried,
    ) -> Result<(Permit, Terms), Refusal> {
        let (rules, fresh) = self.surfaces(None).await?;
        let first = self.by(&rules, operation, end, tried).await;
        if !is_stale(&first, fresh) {
            return first.map_err(Refusal::from);
        }
        let (rules, _) = self.surfaces(Some(rules.digest)).await?;
        self.by(&rules, operation, end, tried).await.map_err(Refusal::from)
    }

    async fn by(
        &self,
        rules: &Rules,
        operation: &Operation,
        end: Instant,
        tried: &mut Tried,
    ) -> Result<(Permit, Terms), NoPermit> {
        let Question { ask, payload, terms, misfit } = self.question(rules, operation, end).await?;
        let attempt = Attempt::new(self.gate.clone(), self.request(ask)).map_err(Answered)?;
        let attempt = match payload {
            Some(payload) => attempt.bringing(payload),
            None => attempt,
        };
        *tried = Tried {
            attempted: wall().map(|now| attempt.attempted(now, ReasonCode::ArbiterTimeout)),
            unanswered: Some(attempt.given_up()),
        };
        let left = end.saturating_duration_since(Instant::now());
        let permit = authorize(self.arbiter.as_ref(), attempt, &self.log, left).await;
        Ok((permit.map_err(|refusal| Answered(with_misfit(refusal, misfit)))?, terms))
    }

    /// The question about an operation, by these rules.
    async fn question(
        &self,
        rules: &Rules,
        operation: &Operation,
        end: Instant,
    ) -> Result<Question, NoPermit> {
        let (mut ask, mut terms) = operation.ask(&rules.surfaces, &self.run).map_err(Unasked)?;
        ask.mapped_with = Some(rules.digest);
        let misfit = match operation.tool() {
            Some(tool) => {
                let called = (tool, operation.arguments_text());
                self.hold(called, &rules.surfaces.pins, end, (&mut ask, &mut terms)).await
            }
            None => None,
        };
        let keeps = rules.surfaces.surfaces.get(&ask.surface).is_some_and(|spec| spec.keep.arguments);
        let payload = operation.payload().filter(|_| keeps).cloned();
        // What is too long to be kept is not brought: the arbiter refuses that, on record.
        let unkept = (keeps && payload.is_none()).then(|| Payload::TOO_LONG.to_owned());
        Ok(Question { ask, payload, terms, misfit: misfit.or(unkept) })
    }

    /// Holds the tool that is to be called against the pins. What was seen of it is part of the question, so that the arbiter
    /// refuses by it, on record; whatever the arbiter says, the gate keeps to it too. So with the arguments, which are held
    /// against the tool's schema if it is defined as it is pinned. What of them does not fit, for who asked.
    async fn hold(
        &self,
        (tool, arguments): (ToolName, &str),
        pins: &ToolPins,
        end: Instant,
        (ask, terms): (&mut Ask, &mut Terms),
    ) -> Option<String> {
        let sight = self.tools.look(&tool, pins, end).await;
        terms.sight = pins.bind(tool.parts().0).then_some(sight);
        let fit = self.tools.schemas.fit((&tool, sight.seen), pins, (&self.agent, arguments)).await;
        let seen = fit.as_ref().map(Fit::seen);
        let called = CalledTool { name: tool, definition: sight.seen, arguments: seen };
        terms.tool = pins.judge_call(&called).err();
        // An arbiter that is older than pins knows no such member, and need not, while there is nothing to say.
        ask.tool = Some(called).filter(|_| terms.tool.is_some() || !pins.say_nothing());
        fit?.told()
    }

    /// The rules in force now, for what the client is shown. Takes no longer than the deadline.
    pub(crate) async fn rules(&self) -> Result<Arc<Rules>, Refusal> {
        let fetched = tokio::time::timeout(self.deadline, async {
            self.table.lock().await.take();
            self.surfaces(None).await
        });
        match fetched.await {
            Ok(rules) => rules.map(|(rules, _)| rules),
            Err(_) => Err(Refusal::own(ReasonCode::ArbiterTimeout, None)),
        }
    }

    /// What silence does to the asker, by the rules that were read last.
    pub(crate) fn on_silence(&self, operation: &Operation) -> OnSilence {
        self.last().map_or(OnSilence::Terminate, |rules| operation.on_silence(&rules.surfaces))
    }

    fn last(&self) -> Option<Arc<Rules>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no PERMIT is open of what was asked before and not answered. Without that a call would be in its own way, and its
    /// PERMIT end as `unknown`, though it is known that nothing ran.
    pub(crate) async fn is_closed(&self, unanswered: Option<&GivenUp>) -> bool {
        match unanswered {
            Some(unanswered) => unanswered.close(self.arbiter.as_ref(), self.deadline).await,
            None => true,
        }
    }

    /// Whether the arbiter says within the deadline that nothing keeps it from permitting.
    pub(crate) async fn is_ready(&self) -> bool {
        matches!(tokio::time::timeout(self.deadline, self.arbiter.ready()).await, Ok(Ok(true)))
    }

    /// An ask of this gate's agent, for whom that acts here.
    fn request(&self, ask: Ask) -> Request {
        Ask { acts_for: self.acts_for.clone(), ..ask }.by(self.agent.clone())
    }

    /// The surfaces in force, and whether they were fetched just now. Those of the digest `but` are too old; if the
    /// arbiter gives the same again, the calls that they do not fit are refused by them.
    async fn surfaces(&self, but: Option<Digest>) -> Result<(Arc<Rules>, bool), Refusal> {
        let mut kept = self.table.lock().await;
        if let Some(rules) = kept.as_ref().filter(|rules| Some(rules.digest) != but) {
            return Ok((Arc::clone(rules), false));
        }
        *kept = None;
        let surfaces = self.arbiter.surfaces().await?;
        self.log.check_surfaces(&surfaces)?;
        let unreadable = |error: NotCanonical| {
            Refusal::own(ReasonCode::ReceiptUnverifiable, Some(format!("the arbiter's surfaces: {error}")))
        };
        let rules = Arc::new(Rules { digest: surfaces.digest().map_err(unreadable)?, surfaces });
        *kept = Some(Arc::clone(&rules));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&rules));
        Ok((rules, true))
    }
}

/// A refusal for arguments, with what the gate knows of them. It is no part of the record: it names what the agent sent.
fn with_misfit(refusal: Refusal, misfit: Option<String>) -> Refusal {
    let is_of_arguments = matches!(
        refusal.code(),
        ReasonCode::ToolArgumentsUndeclared
            | ReasonCode::ToolArgumentsInvalid
            | ReasonCode::ToolArgumentsUnchecked
            | ReasonCode::SurfaceArgumentsUnkept
    );
    match refusal {
        Refusal::Unavailable(mut unavailable) if is_of_arguments => {
            unavailable.reason.detail = misfit.or(unavailable.reason.detail);
            Refusal::Unavailable(unavailable)
        }
        other @ (Refusal::Unavailable(_) | Refusal::Blocked(_) | Refusal::Unverifiable(_)) => other,
    }
}

use NoPermit::{Answered, Unasked};

/// Whether a call was read by rules that may be in force no more, by what came of it.
fn is_stale<T>(asked: &Result<T, NoPermit>, fresh: bool) -> bool {
    match asked {
        Ok(_) => false,
        // The call may be in order by the rules of a newer bundle; in the end the arbiter compares the two.
        Err(Unasked(_)) => !fresh,
        Err(Answered(refusal)) => refusal.code() == ReasonCode::SurfaceMappingChanged,
    }
}

enum NoPermit {
    /// The call does not fit its surface, so nothing was asked.
    Unasked(Refused),
    /// The arbiter was asked.
    Answered(Refusal),
}

impl From<NoPermit> for Refusal {
    fn from(none: NoPermit) -> Self {
        match none {
            Unasked(refused) => Self::own(refused.code, Some(refused.detail)),
            Answered(refusal) => refusal,
        }
    }
}
