//! The wall clock, for the time of what the gate keeps. Nothing is decided by it.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_protocol::Millis;

/// Now; `None` if the clock lies before 1970 or far beyond any record.
pub(crate) fn wall() -> Option<Millis> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).map_or(None, |milliseconds| Some(Millis(milliseconds)))
}
