//! Lists of tools, answered again: what was shown and what was hidden follows from the bundle and the facts that were in force.

use std::collections::BTreeMap;

use portcullis_arbiter::derive_listing;
use portcullis_ledger::StateReplay;
use portcullis_policy::engine;
use portcullis_protocol::{ListingRecord, Record, ToolName};
use serde::Serialize;

use super::{Bundles, Finding, NotReplayable, Otherwise, different};

/// Tools that a finding names, at most.
const NAMED: usize = 10;

/// What replaying the lists of tools of a log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lists {
    /// Those that came out the same, byte for byte.
    pub identical: u64,
    /// Those that came out otherwise.
    pub different: u64,
    /// Those that cannot be answered again, by why.
    pub not_replayable: BTreeMap<NotReplayable, u64>,
}

impl Lists {
    /// Counts one, and says what is wrong with it.
    pub(super) fn take(&mut self, seq: u64, listed: Result<(), Otherwise>) -> Option<Finding> {
        match listed {
            Ok(()) => {
                self.identical += 1;
                None
            }
            Err(Otherwise::Different(what)) => {
                self.different += 1;
                Some(Finding { record: Some(seq), what })
            }
            Err(Otherwise::NotReplayable(why)) => self.cannot(why),
            // Whether their time was over is told by the rest of the log.
            Err(Otherwise::FactsMissing(_)) => self.cannot(NotReplayable::NotKept),
        }
    }

    fn cannot(&mut self, why: NotReplayable) -> Option<Finding> {
        *self.not_replayable.entry(why).or_insert(0) += 1;
        None
    }
}

/// Answers a list again. Nothing of it is sealed, so that it takes no key.
pub(super) fn again(
    bundles: &mut Bundles<'_>,
    entry: &ListingRecord,
    body: &[u8],
    state: &StateReplay<'_>,
) -> Result<(), Otherwise> {
    state.lists(entry).map_err(different)?;
    let named = Some(&entry.bundle);
    bundles.load_named(named)?;
    if entry.engine != engine() {
        return Err(NotReplayable::OtherEngine.into());
    }
    bundles.gather(named, &entry.sources)?;
    let bundle = bundles.of(named)?.ok_or_else(|| different("its bundle was not loaded"))?;
    let derived = derive_listing(entry, bundle, bundles.gathered.as_ref()).map_err(different)?;
    let flipped: Vec<&ToolName> = entry.shown.symmetric_difference(&derived.shown).collect();
    if !flipped.is_empty() {
        let names: Vec<String> = flipped.iter().take(NAMED).map(|tool| format!("`{tool}`")).collect();
        let more = if flipped.len() > NAMED { ", …" } else { "" };
        return Err(different(format!("it does not hide what its bundle hides: {}{more}", names.join(", "))));
    }
    let bytes = Record::Listing(Box::new(derived)).to_bytes().map_err(different)?;
    if bytes == body { Ok(()) } else { Err(different("answered again, its record has other bytes")) }
}
