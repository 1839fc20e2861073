//! How long results were to be kept, by the bundles that permitted them.

use std::collections::BTreeMap;

use portcullis_protocol::{Decision, DecisionRecord, Keep, Outcome, OutcomeRecord};

use super::Finding;

/// What the bundle of each PERMIT that can still have an outcome asks to be kept. Takes memory for as many as those.
#[derive(Debug, Default)]
pub(super) struct Terms(BTreeMap<u64, Keep>);

impl Terms {
    /// Takes note of a PERMIT and of what its bundle asks for, if the bundle can be read.
    pub(super) fn note(&mut self, entry: &DecisionRecord, keep: Option<Keep>) {
        if let Some(keep) = keep.filter(|_| entry.decision == Decision::Permit) {
            self.0.insert(entry.seq, keep);
        }
    }

    /// What is wrong with the time that an outcome gives its result. That it gives none is in order: a result that is too long, or for which
    /// there was no room, is not kept.
    pub(super) fn contradicts(&mut self, entry: &OutcomeRecord) -> Option<Finding> {
        // Only an unknown outcome can have another behind it.
        let keep = match entry.outcome {
            Outcome::Unknown => self.0.get(&entry.permit).copied(),
            Outcome::Ok | Outcome::Failed | Outcome::Expired | Outcome::Withheld => {
                self.0.remove(&entry.permit)
            }
        }?;
        let said = entry.kept_until?;
        let asked = keep.result.then(|| entry.time.plus(keep.for_ms));
        (asked != Some(said)).then(|| Finding {
            record: Some(entry.seq),
            what: "its bundle does not ask for the result to be kept until then".to_owned(),
        })
    }
}
