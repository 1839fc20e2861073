//! Simulations, decided again: what would have been decided follows from the same as what was.

use std::collections::BTreeMap;

use portcullis_ledger::{MasterKey, StateReplay};
use portcullis_protocol::{DecisionRecord, Record};
use serde::Serialize;

use super::absent::Absent;
use super::{Bundles, Finding, NotReplayable, Replayed, decide};

/// What replaying the simulations of a log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Simulations {
    /// Those that came out the same, byte for byte.
    pub identical: u64,
    /// Those that came out otherwise.
    pub different: u64,
    /// Those that cannot be made again, by why.
    pub not_replayable: BTreeMap<NotReplayable, u64>,
}

impl Simulations {
    /// Counts one, and says what is wrong with it.
    pub(super) fn take(&mut self, seq: u64, replayed: Replayed) -> Option<Finding> {
        match replayed {
            Replayed::Identical => self.identical += 1,
            Replayed::Different { what } => {
                self.different += 1;
                return Some(Finding { record: Some(seq), what });
            }
            Replayed::NotReplayable { why } => *self.not_replayable.entry(why).or_insert(0) += 1,
        }
        None
    }
}

/// Decides a simulation again. Its request is kept by the rules of decisions' requests, and missed by them.
pub(super) fn again(
    bundles: &mut Bundles<'_>,
    absent: &mut Absent,
    master: Option<&MasterKey>,
    (entry, body): (&DecisionRecord, &[u8]),
    state: &StateReplay<'_>,
) -> Replayed {
    let (replayed, _) = decide(bundles, master, (entry, Record::Simulation), body, state);
    if let Replayed::NotReplayable { why } = replayed {
        let erased = bundles.erased(&entry.facts.sources, why);
        absent.note(entry, why, &erased, bundles.keep(entry));
    }
    replayed
}
