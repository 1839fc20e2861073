//! Records that nobody asked for and nobody waits for.

use std::collections::BTreeMap;

use portcullis_arbiter::GateState;
use portcullis_protocol::Event;

use crate::aggregate::Taken;
use crate::batch::Batch;
use crate::error::LedgerError;

/// Records what has become due: PERMITs whose outcome never came, by their indexes, and counts.
pub(crate) fn unasked(batch: &mut Batch<'_>, overdue: &[u64], taken: &Taken) -> Result<(), LedgerError> {
    for permit in overdue {
        batch.overdue(*permit)?;
    }
    taken.records(batch.now()).try_for_each(|record| batch.aggregate(record))
}

/// Records that another bundle came into force, and that an operator turned the lever.
pub(crate) fn changes(
    batch: &mut Batch<'_>,
    bundle: Option<BTreeMap<String, String>>,
    gate: Option<GateState>,
) -> Result<(), LedgerError> {
    if let Some(detail) = bundle {
        batch.event(Event::BundleInForce, detail)?;
    }
    match gate {
        Some(GateState::Shut) => batch.event(Event::Shut, BTreeMap::new()).map(drop),
        Some(GateState::Open) => batch.event(Event::Reopened, BTreeMap::new()).map(drop),
        None => Ok(()),
    }
}
