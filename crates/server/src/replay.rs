//! Replaying a log: every decision once more from what its record keeps, and the state from the records alone.

mod absent;
mod lists;
mod simulations;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use portcullis_arbiter::{Replay, listings_kept};
use portcullis_ledger::{
    Contradiction, Kept, KeyFileError, LedgerError, LedgerReader, MasterKey, Prior, StateReplay,
};
use portcullis_policy::{Authority, Bundle, BundleError, Gathered, Snapshot, Trust, engine};
use portcullis_protocol::{
    BundleDigest, BundleRef, DecisionRecord, Digest, Keep, OutcomeRecord, Record, SnapshotUse, Snapshots,
    SourceName, Succession,
};
use serde::Serialize;

use self::absent::Absent;
pub use self::lists::Lists;
pub use self::simulations::Simulations;
use self::terms::Terms;
use crate::config::ArbiterConfig;
use crate::kept_facts::{FactsMissing, KeptFacts, gathered};

/// Why a decision cannot be made again, although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotReplayable {
    /// The agent's key in the vault was destroyed on request.
    Erased,
    /// The bundle did not ask for the request to be kept, or it was kept for its time.
    NotKept,
    /// The facts that it was decided by were erased on request.
    FactsErased,
    /// The vault's master key was not given.
    KeyWithheld,
    /// Another version of the policy engine decided.
    OtherEngine,
    /// The bundle's signature is by no key that is trusted here.
    BundleUntrusted,
    /// It depends on a PERMIT whose own request is not to be had.
    PriorNotKept,
}

impl NotReplayable {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::NotKept => "not kept, or kept for its time",
            Self::FactsErased => "the facts that it was decided by were erased",
            Self::KeyWithheld => "the vault's master key was not given",
            Self::OtherEngine => "decided by another version of the policy engine",
            Self::BundleUntrusted => "its bundle is signed by no trusted key; give the key with --bundle-key",
            Self::PriorNotKept => "it depends on an earlier request that is not to be had",
        }
    }
}

/// What replaying one decision came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "replay", rename_all = "snake_case")]
pub enum Replayed {
    /// The same bytes.
    Identical,
    /// Other bytes, or none: what the log says cannot have been decided so.
    Different {
        /// What differs.
        what: String,
    },
    /// It cannot be told.
    NotReplayable {
        /// Why.
        why: NotReplayable,
    },
}

/// What replaying a log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplaySummary {
    /// Records in the log.
    pub records: u64,
    /// Decisions that came out the same, byte for byte.
    pub identical: u64,
    /// Decisions that came out otherwise.
    pub different: u64,
    /// Decisions that cannot be made again, by why.
    pub not_replayable: BTreeMap<NotReplayable, u64>,
    /// Lists of tools.
    pub lists: Lists,
    /// What was only simulated.
    pub simulations: Simulations,
    /// Bundles that records name, and for which nobody vouches whose keys are known here: too few signatures are left on them,
    /// or those of others. What was decided by them is not decided again.
    pub unvouched: BTreeSet<BundleDigest>,
    /// Everything that cannot be: different decisions and lists, records that cannot follow those before them, state that
    /// is not what the records lead to.
    pub findings: Vec<Finding>,
}

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Index of the record that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl From<Contradiction> for Finding {
    fn from(found: Contradiction) -> Self {
        Self { record: found.seq, what: found.what }
    }
}

/// What a replay needs besides the ledger.
#[derive(Debug)]
pub struct ReplayWith<'a> {
    /// The vault's master key, if it is given.
    pub master: Option<&'a MasterKey>,
    /// Keys whose signatures on bundles count.
    pub authorities: &'a [Authority],
}

/// The vault's master key of a configuration.
///
/// # Errors
/// [`KeyFileError`].
pub fn vault_key(config: &ArbiterConfig) -> Result<MasterKey, KeyFileError> {
    MasterKey::read(&config.vault_key)
}

/// Replays a log. `each` is called with every decision and what came of it, and says whether to go on; if it does
/// not, there is no summary.
///
/// # Errors
/// If the ledger cannot be read, is not what its signed head says, or the master key is not its own.
pub fn replay(
    reader: &LedgerReader,
    with: &ReplayWith<'_>,
    mut each: impl FnMut(&DecisionRecord, &Replayed) -> bool,
) -> Result<Option<ReplaySummary>, LedgerError> {
    if let Some(master) = with.master {
        reader.unlocks(master)?;
    }
    let mut summary = ReplaySummary::default();
    let (loaded, facts) = (BTreeMap::new(), KeptFacts::of(reader));
    let mut bundles = Bundles { reader, authorities: with.authorities, loaded, facts, gathered: None };
    let (mut absent, mut terms) = (Absent::default(), Terms::default());
    let replayed = reader.replay(|record, body, state| {
        absent.follow(record);
        match record {
            Record::Decision(entry) => {
                let (replayed, operation) =
                    decide(&mut bundles, with.master, (entry, Record::Decision), body, state);
                if !each(entry, &replayed) {
                    return ControlFlow::Break(());
                }
                terms.note(entry, bundles.keep(entry));
                if let Replayed::NotReplayable { why } = replayed {
                    let erased = bundles.erased(&entry.facts.sources, why);
                    absent.note(entry, why, &erased, bundles.keep(entry));
                }
                summary.take(entry.seq, replayed);
                ControlFlow::Continue(operation)
            }
            Record::Outcome(entry) => {
                summary.findings.extend(terms.contradicts(entry));
                summary.findings.extend(result(reader, with.master, entry, body, state));
                ControlFlow::Continue(None)
            }
            Record::Listing(entry) => {
                let listed = lists::again(&mut bundles, entry, body, state);
                let kept = bundles.listing_kept(&entry.bundle);
                absent.listed(entry, kept);
                match &listed {
                    Err(Otherwise::NotReplayable(why)) => {
                        absent.erased_of_list(entry, &bundles.erased(&entry.sources, *why), kept);
                    }
                    Err(Otherwise::FactsMissing(_)) => absent.gone_of_list(entry, kept),
                    Ok(()) | Err(Otherwise::Different(_)) => {}
                }
                summary.findings.extend(summary.lists.take(entry.seq, listed));
                ControlFlow::Continue(None)
            }
            Record::Simulation(entry) => {
                let replayed =
                    simulations::again(&mut bundles, &mut absent, with.master, (entry, body), state);
                summary.findings.extend(summary.simulations.take(entry.seq, replayed));
                ControlFlow::Continue(None)
            }
            // What is entered late is no decision: there is nothing to decide again.
            Record::Aggregate(_) | Record::Event(_) | Record::Late(_) => ControlFlow::Continue(None),
        }
    })?;
    let Some((records, contradictions)) = replayed else { return Ok(None) };
    summary.unvouched = bundles.unvouched();
    summary.records = records;
    summary.findings.extend(contradictions.into_iter().map(Finding::from));
    summary.findings.extend(absent.unexplained());
    Ok(Some(summary))
}

impl ReplaySummary {
    fn take(&mut self, seq: u64, replayed: Replayed) {
        match replayed {
            Replayed::Identical => self.identical += 1,
            Replayed::Different { what } => {
                self.different += 1;
                self.findings.push(Finding { record: Some(seq), what });
            }
            Replayed::NotReplayable { why } => {
                *self.not_replayable.entry(why).or_insert(0) += 1;
            }
        }
    }

    /// Whether nothing was found that cannot be.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A decision that did not come out the same.
enum Otherwise {
    Different(String),
    NotReplayable(NotReplayable),
    /// The facts that it names are not kept. A decision's are, for as long as its request is.
    FactsMissing(String),
}

impl From<NotReplayable> for Otherwise {
    fn from(why: NotReplayable) -> Self {
        Self::NotReplayable(why)
    }
}

fn different(what: impl ToString) -> Otherwise {
    Otherwise::Different(what.to_string())
}

/// Decides again what a record of this kind says was decided, or would have been.
fn decide(
    bundles: &mut Bundles<'_>,
    master: Option<&MasterKey>,
    (entry, of): (&DecisionRecord, fn(Box<DecisionRecord>) -> Record),
    body: &[u8],
    state: &StateReplay<'_>,
) -> (Replayed, Option<Digest>) {
    let mut operation = None;
    let mut again = || -> Result<(), Otherwise> {
        // That is told by the log alone, whatever else cannot be.
        state.in_force(entry).map_err(different)?;
        // And whether the bundle that it names is there needs no key.
        bundles.load_named(entry.bundle.as_ref())?;
        let master = master.ok_or(NotReplayable::KeyWithheld)?;
        let kept = match bundles.reader.kept_request(master, entry).map_err(different)? {
            Kept::Here(kept) => kept,
            Kept::Erased => return Err(NotReplayable::Erased.into()),
            Kept::Nothing => return Err(NotReplayable::NotKept.into()),
        };
        if entry.engine != engine() {
            return Err(NotReplayable::OtherEngine.into());
        }
        bundles.gather(entry.bundle.as_ref(), &entry.facts.sources)?;
        let known = (bundles.of(entry.bundle.as_ref())?, bundles.gathered.as_ref());
        let replay = Replay::prepare_informed(entry, kept, known, state.standing());
        let replay = replay.map_err(different)?;
        operation = Some(replay.intake().operation);
        let stored = match state.prior(replay.intake().key_commitment().as_ref()) {
            Prior::Known(stored) => stored,
            Prior::OfUnknownOperation(_) => return Err(NotReplayable::PriorNotKept.into()),
        };
        let decided = replay.decide(stored, state.standing()).map_err(different)?;
        let said = (decided.decision, decided.reason);
        let bytes = of(Box::new(decided)).to_bytes().map_err(different)?;
        if bytes == body {
            return Ok(());
        }
        let reason = said.1.map_or_else(String::new, |code| format!(" ({code})"));
        let what = if said == (entry.decision, entry.reason) {
            "decided again, its record has other bytes".to_owned()
        } else {
            format!("decided again, it is {}{reason}", said.0.as_str())
        };
        Err(Otherwise::Different(what))
    };
    let replayed = match again() {
        Ok(()) => Replayed::Identical,
        Err(Otherwise::Different(what) | Otherwise::FactsMissing(what)) => Replayed::Different { what },
        Err(Otherwise::NotReplayable(why)) => Replayed::NotReplayable { why },
    };
    (replayed, operation)
}

/// Whether a kept result is what its outcome commits to.
fn result(
    reader: &LedgerReader,
    master: Option<&MasterKey>,
    entry: &OutcomeRecord,
    body: &[u8],
    state: &StateReplay<'_>,
) -> Option<Finding> {
    let (master, agent) = (master?, state.agent_of(entry.permit)?);
    let what = match agent.parse().map(|agent| reader.result_agrees(master, &agent, entry.seq, body)) {
        Ok(Ok(Kept::Here(true) | Kept::Erased | Kept::Nothing)) => return None,
        Ok(Ok(Kept::Here(false))) => "its kept result is not what it commits to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its agent is none".to_owned(),
    };
    Some(Finding { record: Some(entry.seq), what })
}

/// For how long the facts of a list are to be kept, by its bundle.
#[derive(Clone, Copy)]
enum ListingKept {
    /// So many milliseconds.
    For(u64),
    /// Not at all.
    Not,
    /// The bundle cannot be read.
    Unknown,
}

/// The archived bundles, loaded once each.
struct Bundles<'a> {
    reader: &'a LedgerReader,
    authorities: &'a [Authority],
    loaded: BTreeMap<BundleDigest, Result<Bundle, BundleFault>>,
    facts: KeptFacts<'a>,
    /// What sources of facts gave for the record that was looked at last.
    gathered: Option<Gathered>,
}

#[derive(Clone)]
enum BundleFault {
    Untrusted,
    Wrong(String),
}

impl Bundles<'_> {
    fn of(&self, named: Option<&BundleRef>) -> Result<Option<&Bundle>, Otherwise> {
        let Some(named) = named else { return Ok(None) };
        match self.loaded.get(&named.digest) {
            Some(Ok(bundle)) => Ok(Some(bundle)),
            Some(Err(BundleFault::Untrusted)) => Err(NotReplayable::BundleUntrusted.into()),
            Some(Err(BundleFault::Wrong(what))) => Err(Otherwise::Different(what.clone())),
            None => Err(different("its bundle was not loaded")),
        }
    }

    /// Loads the bundle of a record. That nobody vouches for it here is no fault of the log's.
    fn load_named(&mut self, named: Option<&BundleRef>) -> Result<(), Otherwise> {
        let Some(named) = named else { return Ok(()) };
        if !self.loaded.contains_key(&named.digest) {
            let loaded = self.load(&named.digest);
            self.loaded.insert(named.digest, loaded);
        }
        match self.loaded.get(&named.digest) {
            Some(Err(BundleFault::Wrong(what))) => Err(different(what)),
            Some(Ok(_) | Err(BundleFault::Untrusted)) | None => Ok(()),
        }
    }

    /// Of those that were loaded.
    fn unvouched(&self) -> BTreeSet<BundleDigest> {
        let untrusted =
            self.loaded.iter().filter(|(_, loaded)| matches!(loaded, Err(BundleFault::Untrusted)));
        untrusted.map(|(digest, _)| *digest).collect()
    }

    /// What the bundle that decided asked to be kept of a request; `None` if it cannot be read.
    fn keep(&self, entry: &DecisionRecord) -> Option<Keep> {
        let Some(named) = &entry.bundle else { return Some(Keep::UNDECLARED) };
        let bundle = self.loaded.get(&named.digest)?.as_ref().ok()?;
        let spec = bundle.surfaces().surfaces.get(&entry.surface);
        Some(spec.map_or(Keep::UNDECLARED, |spec| spec.keep))
    }

    /// For how long the bundle of a list has its facts kept.
    fn listing_kept(&self, named: &BundleRef) -> ListingKept {
        match self.loaded.get(&named.digest) {
            Some(Ok(bundle)) => listings_kept(bundle).map_or(ListingKept::Not, ListingKept::For),
            Some(Err(_)) | None => ListingKept::Unknown,
        }
    }

    /// The sources of a record whose facts were destroyed, if that is why it cannot be decided or answered again.
    fn erased(&self, named: &Snapshots, why: NotReplayable) -> Vec<SourceName> {
        let erased = |source: &SourceName, used: &SnapshotUse| {
            matches!(self.reader.facts(source, &used.digest), Ok(Kept::Erased))
        };
        let named = named.iter().filter(|_| why == NotReplayable::FactsErased);
        named.filter(|(source, used)| erased(source, used)).map(|(source, _)| source.clone()).collect()
    }

    /// Loads the facts that a record names, for its bundle.
    fn gather(&mut self, named: Option<&BundleRef>, sources: &Snapshots) -> Result<(), Otherwise> {
        let earlier = self.gathered.take();
        let loaded = named.and_then(|named| self.loaded.get(&named.digest));
        if let Some(Ok(bundle)) = loaded {
            let gathered = gathered(&mut self.facts, sources, bundle, earlier.as_ref());
            self.gathered = gathered.map_err(|missing| match missing {
                FactsMissing::Erased(_) => NotReplayable::FactsErased.into(),
                FactsMissing::Missing(..) => Otherwise::FactsMissing(missing.to_string()),
                other @ (FactsMissing::Wrong(..) | FactsMissing::Unfit(_) | FactsMissing::Ledger(_)) => {
                    different(other)
                }
            })?;
        }
        Ok(())
    }

    /// By whoever of the authorities vouches for it: the one of its time may have been followed by others.
    fn verify(&self, snapshot: &Snapshot, digest: &BundleDigest) -> Result<Bundle, BundleError> {
        let trust = |authority: &Authority| Trust {
            authority: authority.clone(),
            pin: *digest,
            seen: Succession::default(),
        };
        let by = self.authorities.iter().rev().find(|authority| snapshot.signed_by(authority).is_ok());
        // With none, the newest says why.
        let nobody = Authority::any_of(Vec::new());
        let by = by.or(self.authorities.last()).map_or(&nobody, |authority| authority);
        snapshot.clone().verify(&trust(by))
    }

    fn load(&self, digest: &BundleDigest) -> Result<Bundle, BundleFault> {
        let wrong = |what: String| BundleFault::Wrong(what);
        let archive = self.reader.bundle(digest).map_err(|error| wrong(error.to_string()))?;
        let archive =
            archive.ok_or_else(|| wrong(format!("its bundle {digest} is missing from the archive")))?;
        let bundle = Snapshot::from_archive(&archive).and_then(|snapshot| self.verify(&snapshot, digest));
        bundle.map_err(|error| match error {
            BundleError::UntrustedKey(_) | BundleError::TooFewSignatures(_) => BundleFault::Untrusted,
            BundleError::Missing(_)
            | BundleError::Root(_)
            | BundleError::RolledBack(_)
            | BundleError::Unsigned(_)
            | BundleError::SignatureInvalid(_)
            | BundleError::PinMismatch(_)
            | BundleError::Corrupt(_)
            | BundleError::Unproved(_)
            | BundleError::Untested(_) => wrong(format!("its bundle {digest} cannot be used: {error}")),
        })
    }
}
