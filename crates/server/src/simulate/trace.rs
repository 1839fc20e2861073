//! Simulation over a trace: requests in a file, asked of two bundles one after the other, each beside the state that it would have led
//! to. Before the first line nothing is reserved, labelled or consumed.

use portcullis_arbiter::{Occasion, Shadow};
use portcullis_policy::{Gathered, Rehearsal};
use portcullis_protocol::facts::{PolicyFact, PrincipalFact, RecordedFacts, WitnessesFact};
use portcullis_protocol::{
    Decision, DecisionRecord, GateId, Idempotency, IdempotencyKey, Millis, Outcome, Request, SourceName,
};

use super::lines::{Traced, read_trace};
use super::{NotSimulated, Simulation};
use crate::kept_facts::rehearsed;

/// Asks both bundles about every line of a trace ([`read_trace`]), in its order; without a time, as of the latest before it, and as
/// if both were valid.
///
/// # Errors
/// As [`read_trace`], and the first line that cannot be asked by any bundle.
pub fn simulate_trace(trace: &[u8], before: &Rehearsal, other: &Rehearsal) -> Result<Simulation, String> {
    let mut simulation = Simulation::new(other);
    let (mut from, mut to) = (Course::under(before), Course::under(other));
    let gate = "trace".parse::<GateId>().map_err(|error| error.to_string())?;
    let mut now = Millis(0);
    for traced in read_trace(trace)? {
        let unsaid = |why: String| format!("line {}: {why}", traced.line);
        let declared =
            |source: &&SourceName| [before, other].iter().any(|it| it.sources().contains_key(*source));
        if let Some(source) = traced.facts.keys().find(|source| !declared(source)) {
            return Err(unsaid(format!("`facts` names `{source}`, which is no source of either bundle")));
        }
        now = traced.at.map_or(now, |at| at.max(now));
        let (Some(own), Some(theirs)) = (from.gathered(&traced, now), to.gathered(&traced, now)) else {
            simulation.leave(NotSimulated::FactsUnknown);
            continue;
        };
        (from.facts, to.facts) = (own, theirs);
        let said =
            (from.ask(&traced, now, &gate).map_err(&unsaid)?, to.ask(&traced, now, &gate).map_err(&unsaid)?);
        let alike = before.binds_alike(other, &traced.request.ask.surface);
        simulation.compare(traced.line, (&said.0, &said.1), alike);
        let unended = said.1.decision == Decision::Permit && traced.outcome.is_none();
        simulation.assumed.ended_ok += u64::from(unended);
    }
    Ok(simulation)
}

/// A bundle under which a trace is gone through.
struct Course<'a> {
    bundle: &'a Rehearsal,
    shadow: Shadow,
    /// What its sources gave for the line at hand.
    facts: Option<Gathered>,
}

impl<'a> Course<'a> {
    const fn under(bundle: &'a Rehearsal) -> Self {
        Self { bundle, shadow: Shadow::new(), facts: None }
    }

    /// What its sources give for a line, as of now: nothing if it has none. `None` if it is not known.
    fn gathered(&self, traced: &Traced, now: Millis) -> Option<Option<Gathered>> {
        if self.bundle.sources().is_empty() {
            return Some(None);
        }
        let given = self.bundle.facts_of_cases(&traced.facts, now)?;
        rehearsed(&given, self.bundle, self.facts.as_ref()).map(Some)
    }

    fn ask(&mut self, traced: &Traced, now: Millis, gate: &GateId) -> Result<DecisionRecord, String> {
        let (seq, labels) = (traced.line, traced.labels.clone());
        let facts = self.surroundings(traced, now);
        let occasion = Occasion { seq, time: now, gate: gate.clone(), facts, labels, brings: true };
        let request = self.keyed(traced)?;
        let said = self.shadow.decide(&occasion, request, self.bundle, self.facts.as_ref());
        let said = said.map_err(|error| error.to_string())?;
        // What never was a PERMIT has no outcome, whatever the trace says.
        self.shadow.end(seq, traced.outcome.unwrap_or(Outcome::Ok));
        Ok(said)
    }

    /// Nothing is amiss: who asks has just proved who it is, may act for whom it names, and witnesses are there.
    fn surroundings(&self, traced: &Traced, now: Millis) -> RecordedFacts {
        let (from, until) = self.bundle.validity();
        let principal = match traced.request.ask.acts_for {
            Some(_) => PrincipalFact::Admitted,
            None => PrincipalFact::Nobody,
        };
        let policy = match traced.at {
            Some(at) if at < from => PolicyFact::NotYetValid,
            Some(at) if at >= until => PolicyFact::Expired,
            Some(_) | None => PolicyFact::Valid,
        };
        let (authenticated, witnesses) = (Some(now), WitnessesFact::There);
        RecordedFacts { authenticated, policy, principal, witnesses, ..RecordedFacts::sound() }
    }

    /// The request, with a key of its own if its surface keeps keys and the trace has none; where keys are derived, only if it has
    /// no time either: at one time all that is alike would be the same.
    fn keyed(&self, traced: &Traced) -> Result<Request, String> {
        let mut request = traced.request.clone();
        let spec = self.bundle.surface(&request.ask.surface);
        let keyed = spec.is_some_and(|spec| match spec.idempotency {
            Idempotency::Key => true,
            Idempotency::Derived => traced.at.is_none(),
            Idempotency::None => false,
        });
        if keyed && request.ask.idempotency_key.is_none() {
            let key = format!("of line {} of the trace", traced.line).parse::<IdempotencyKey>();
            request.ask.idempotency_key = Some(key.map_err(|error| error.to_string())?);
        }
        Ok(request)
    }
}
