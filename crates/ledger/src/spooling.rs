//! What the writer keeps out of the log's band while it cannot write the log.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_protocol::{Attempted, Captured, Keeper, Millis, Precondition, ReasonCode, Spooled};
use portcullis_spool::{Bounds, Spool, SpoolStatus, is_short};

use crate::aggregate::Counts;
use crate::quota::Quota;
use crate::waiting::{Unkept, unrecorded};

/// Entries that are entered in one batch, at most.
const MOST_ENTERED: usize = 256;

/// Where the arbiter's spool lies, and how much it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Its file, outside the data directory, best on another disk. Its directory must be there.
    pub path: PathBuf,
    /// Entries, at most.
    pub entries: usize,
    /// Bytes of its file, at most.
    pub bytes: u64,
    /// How long callers are kept waiting for its disk.
    pub deadline: Duration,
}

/// The arbiter's spool, if it has one.
#[derive(Debug)]
pub(crate) struct Spooling(Option<Spool>);

/// What of the spool a batch enters.
#[derive(Debug, Default)]
pub(crate) struct Late {
    pub(crate) entries: Vec<Spooled>,
    pub(crate) unreadable: Option<u64>,
}

impl Late {
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unreadable.is_none()
    }
}

impl Spooling {
    pub(crate) fn start(config: Option<&SpoolConfig>) -> std::io::Result<Self> {
        let start = |config: &SpoolConfig| {
            let bounds = Bounds { entries: config.entries, bytes: config.bytes };
            Spool::start(&config.path, bounds, config.deadline)
        };
        config.map(start).transpose().map(Self)
    }

    /// Answers calls that are refused because of `tripped`, at this time: `spooled` only what is durable in the spool by
    /// then. The others are counted, as far as they have no record, and what the spool was to keep and does not is refused
    /// because evidence of it can be written nowhere.
    pub(crate) fn answer(
        &self,
        refused: Vec<Unkept>,
        (tripped, now, boot): (ReasonCode, Millis, u64),
        quota: &mut Quota,
        counts: &Counts,
    ) {
        // Whoever has no share left in the log has none here: else one agent's flood would crowd out the others.
        let may = |unkept: &Unkept, quota: &mut Quota| {
            self.0.is_some()
                && tripped.precondition() == Precondition::Evidence
                && Keeper::Arbiter.keeps(unkept.code)
                // A prefix of what is given is kept: what is too long must not stand before the others.
                && is_short(&attempted(unkept, now))
                && quota.admits(&unkept.intake.request.agent, boot)
        };
        let (kept, rest): (Vec<_>, Vec<_>) = refused.into_iter().partition(|unkept| may(unkept, quota));
        let attempts = kept.iter().map(|unkept| attempted(unkept, now)).collect();
        let durable = self.0.as_ref().map_or(0, |spool| spool.keep(attempts));
        let told = |(index, unkept): (usize, Unkept)| match (index < durable, unkept.code) {
            (true, code) => (unkept, code, Captured::Spooled),
            (false, code) => (unkept, nowhere(code), Captured::None),
        };
        let rest = rest.into_iter().map(|unkept| {
            let code = unkept.code;
            (unkept, code, Captured::None)
        });
        for (unkept, code, captured) in kept.into_iter().enumerate().map(told).chain(rest) {
            let Unkept { reply, intake, code: first, on_record } = unkept;
            let detail = (code != first).then(|| format!("`{first}`, and the spool is full or fails"));
            reply(unrecorded(code, detail, captured));
            if captured == Captured::None && !on_record {
                let agent = intake.request.agent;
                counts.with(|counts| counts.count(Some(code), Some(agent), now));
            }
        }
    }

    /// What is to be entered next.
    pub(crate) fn late(&self) -> Late {
        let Some(spool) = &self.0 else { return Late::default() };
        Late { entries: spool.oldest(MOST_ENTERED), unreadable: spool.unreadable() }
    }

    /// It is in the log, under an anchored head.
    pub(crate) fn entered(&self, late: &Late) {
        let Some(spool) = &self.0 else { return };
        if !late.entries.is_empty() {
            spool.entered(late.entries.len());
        }
        if late.unreadable.is_some() {
            spool.reported();
        }
    }

    pub(crate) fn status(&self) -> Option<SpoolStatus> {
        self.0.as_ref().map(Spool::status)
    }
}

/// Why an attempt is refused that the spool does not keep either, if it was to be refused for this. What comes before evidence
/// is the reason still.
fn nowhere(code: ReasonCode) -> ReasonCode {
    if code.precondition() == Precondition::Evidence { ReasonCode::EvidenceUnwritable } else { code }
}

fn attempted(unkept: &Unkept, now: Millis) -> Attempted {
    let (intake, ask) = (&unkept.intake, &unkept.intake.request.ask);
    Attempted {
        at: now,
        reason: unkept.code,
        agent: intake.request.agent.clone(),
        acts_for: ask.acts_for.clone(),
        gate: intake.gate.clone(),
        attempt: intake.attempt,
        surface: ask.surface.clone(),
        action: ask.action.clone(),
        resource: ask.resource.clone(),
        request: intake.commitment,
    }
}
