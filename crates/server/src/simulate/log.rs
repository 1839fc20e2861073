//! Simulation over a ledger: in the log's order, beside the state that the log tells of, the one that the other bundle would have led
//! to.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use portcullis_arbiter::{Occasion, Shadow, Unforeseen};
use portcullis_ledger::{Kept, LedgerError, LedgerReader, MasterKey};
use portcullis_policy::{Gathered, Rehearsal};
use portcullis_protocol::facts::PolicyFact;
use portcullis_protocol::{
    BundleDigest, Decision, DecisionRecord, Digest, Event, Millis, Outcome, Record, Request,
};

use super::{NotSimulated, Simulation};
use crate::config::ArbiterConfig;
use crate::in_force::archived;
use crate::kept_facts::{KeptFacts, rehearsed};
use crate::records::open_ledger;
use crate::replay::vault_key;

/// Asks another bundle about every decision of a log from `since` on, or from the first. What was decided before that left what
/// the log says. `each` is told how far it is, and says whether to go on; if it does not, there is no simulation.
///
/// # Errors
/// If the ledger cannot be read, is not what its signed head says, or the master key is not its own.
pub fn simulate_ledger(
    reader: &LedgerReader,
    master: Option<&MasterKey>,
    other: &Rehearsal,
    since: Option<Millis>,
    mut each: impl FnMut(u64) -> bool,
) -> Result<Option<Simulation>, LedgerError> {
    if let Some(master) = master {
        reader.unlocks(master)?;
    }
    let mut simulation = Simulation::new(other);
    let mut log = Simulated {
        reader,
        master,
        other,
        bundles: BTreeMap::new(),
        facts: KeptFacts::of(reader),
        last: None,
        shadow: Shadow::new(),
    };
    let read = reader.replay(|record, _, _| {
        match record {
            Record::Decision(entry) if since.is_some_and(|since| entry.time < since) => {
                let operation = log.operation(entry);
                log.shadow.follow(entry, operation);
            }
            Record::Decision(entry) => log.decision(entry, &mut simulation),
            Record::Outcome(entry) => log.shadow.end(entry.permit, entry.outcome),
            Record::Event(entry) if entry.event == Event::Marked => log.shadow.forget(entry.time),
            Record::Simulation(entry) => {
                simulation.simulated_calls += u64::from(since.is_none_or(|since| entry.time >= since));
            }
            Record::Event(_) | Record::Aggregate(_) | Record::Late(_) | Record::Listing(_) => {}
        }
        if each(record.seq()) { ControlFlow::Continue(None) } else { ControlFlow::Break(()) }
    })?;
    let Some((_, contradictions)) = read else { return Ok(None) };
    // Which operation a key stood for was not told: what of the tables depends on that is `log replay`'s to compare.
    simulation.contradictions = u64::try_from(contradictions.len()).unwrap_or(u64::MAX);
    Ok(Some(simulation))
}

/// A log whose requests are asked again.
struct Simulated<'a> {
    reader: &'a LedgerReader,
    master: Option<&'a MasterKey>,
    other: &'a Rehearsal,
    bundles: BTreeMap<BundleDigest, Option<Rehearsal>>,
    facts: KeptFacts<'a>,
    /// What the other bundle was asked with last.
    last: Option<Gathered>,
    shadow: Shadow,
}

impl Simulated<'_> {
    fn decision(&mut self, entry: &DecisionRecord, simulation: &mut Simulation) {
        let was_permit = entry.decision == Decision::Permit;
        match self.again(entry) {
            Ok((said, alike)) => {
                simulation.compare(entry.seq, (entry, &said), alike);
                if said.decision == Decision::Permit && !was_permit {
                    // What never ran has no outcome on record.
                    self.shadow.end(entry.seq, Outcome::Ok);
                    simulation.assumed.ended_ok += 1;
                }
            }
            Err(why) => {
                simulation.leave(why);
                simulation.assumed.as_recorded += u64::from(was_permit);
                let operation = self.operation(entry);
                self.shadow.follow(entry, operation);
            }
        }
    }

    /// What the other bundle would have decided of the request of a record as it is kept, by the facts that the record names; and
    /// whether both bundles bind it by the same terms. The other one counts as valid then: it is asked what it would have said
    /// in force.
    fn again(&mut self, entry: &DecisionRecord) -> Result<(DecisionRecord, bool), NotSimulated> {
        let request = kept(self.reader, self.master.ok_or(NotSimulated::KeyWithheld)?, entry)?;
        let digest = entry.bundle.as_ref().ok_or(NotSimulated::NoBundle)?.digest;
        if matches!(entry.facts.policy, PolicyFact::Refused(_) | PolicyFact::Unknown) {
            return Err(NotSimulated::NoBundle);
        }
        let other = self.other;
        let archived = self.bundles.entry(digest).or_insert_with(|| of_archive(self.reader, &digest));
        let before = archived.as_ref().ok_or(NotSimulated::BundleUnreadable)?;
        if request.ask.mapped_with.is_some() && !before.reads_alike(other, &request.ask.surface) {
            return Err(NotSimulated::MappedOtherwise);
        }
        if !before.shows_tools_for(other, &request.ask) {
            return Err(NotSimulated::TermsDiffer);
        }
        let alike = before.binds_alike(other, &request.ask.surface);
        let named = &entry.facts.sources;
        if !other.sources().keys().all(|name| named.contains_key(name)) {
            return Err(NotSimulated::FactsUnknown);
        }
        let given = self.facts.given(&entry.facts.sources).map_err(|_| NotSimulated::FactsUnknown)?;
        self.last = rehearsed(&given, other, self.last.as_ref());
        let said = self.shadow.decide(&Occasion::of(entry), request, other, self.last.as_ref());
        said.map(|said| (said, alike)).map_err(|why| match why {
            Unforeseen::NotCanonical => NotSimulated::OtherRequest,
            Unforeseen::PriorUnknown(_) => NotSimulated::PriorNotKept,
        })
    }

    /// What a PERMIT's key was consumed for, if its request is to be had.
    fn operation(&self, entry: &DecisionRecord) -> Option<Digest> {
        let master = self.master.filter(|_| entry.key.is_some())?;
        kept(self.reader, master, entry).ok()?.operation().ok()
    }
}

/// The request of a record as it is kept, if it is the one that the record commits to.
fn kept(reader: &LedgerReader, master: &MasterKey, entry: &DecisionRecord) -> Result<Request, NotSimulated> {
    let kept = match reader.kept_request(master, entry) {
        Ok(Kept::Here(kept)) => kept,
        Ok(Kept::Erased) => return Err(NotSimulated::Erased),
        Ok(Kept::Nothing) => return Err(NotSimulated::NotKept),
        Err(_) => return Err(NotSimulated::OtherRequest),
    };
    let request = kept.request.by(entry.agent.clone());
    match request.commitment(&kept.salt) {
        Ok(commitment) if commitment == entry.request => Ok(request),
        Ok(_) | Err(_) => Err(NotSimulated::OtherRequest),
    }
}

/// The request that a record decided, if this deployment's ledger and vault have it.
///
/// # Errors
/// Why it is not to be had.
pub fn request_on_record(config: &ArbiterConfig, entry: &DecisionRecord) -> Result<Request, String> {
    let reader = open_ledger(config).map_err(|error| error.to_string())?;
    let master = vault_key(config).map_err(|error| error.to_string())?;
    reader.unlocks(&master).map_err(|error| error.to_string())?;
    kept(&reader, &master, entry).map_err(|why| why.as_str().to_owned())
}

/// What the sources of facts gave for a decision, for a bundle that is to be asked again, if this deployment's ledger has it;
/// `None` if the bundle has no sources, or they gave nothing.
///
/// # Errors
/// Why it is not to be had.
pub fn facts_on_record(
    config: &ArbiterConfig,
    entry: &DecisionRecord,
    bundle: &Rehearsal,
) -> Result<Option<Gathered>, String> {
    if entry.facts.sources.is_empty() {
        return Ok(None);
    }
    let reader = open_ledger(config).map_err(|error| error.to_string())?;
    let given = KeptFacts::of(&reader).given(&entry.facts.sources).map_err(|error| error.to_string())?;
    Ok(rehearsed(&given, bundle, None))
}

fn of_archive(reader: &LedgerReader, digest: &BundleDigest) -> Option<Rehearsal> {
    archived(reader, digest)?.rehearse().ok()
}
