//! Where attempts are kept that cannot be put on record: `[spool]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use portcullis_ledger::SpoolConfig;

use super::place::lies_within;
use super::{ArbiterSection, Config, ConfigError};

/// How long callers are kept waiting for the spool's disk.
const DEADLINE: Duration = Duration::from_millis(500);
const ENTRIES: RangeInclusive<u64> = 1..=100_000;
const BYTES: RangeInclusive<u64> = 4_096..=128 * 1024 * 1024;

impl Config {
    pub(super) fn spool(&self, arbiter: &ArbiterSection) -> Result<Option<SpoolConfig>, ConfigError> {
        let Some(section) = &self.file.spool else { return Ok(None) };
        let path = self.at(&section.path);
        if lies_within(&path, &self.at(&arbiter.data)) {
            let error = "must lie outside the data directory, or it fails with what it stands in for";
            return Err(ConfigError::Value { key: "spool.path", error: error.into() });
        }
        if path == self.at(&arbiter.anchor) || path == self.at(&arbiter.vault_key) {
            let error = "is another file's place";
            return Err(ConfigError::Value { key: "spool.path", error: error.into() });
        }
        let entries = within("spool.max_entries", section.max_entries, 10_000, &ENTRIES)?;
        let bytes = within("spool.max_bytes", section.max_bytes, 8 * 1024 * 1024, &BYTES)?;
        let entries = usize::try_from(entries).map_or(usize::MAX, |entries| entries);
        Ok(Some(SpoolConfig { path, entries, bytes, deadline: DEADLINE }))
    }
}

fn within(
    key: &'static str,
    value: Option<u64>,
    default: u64,
    range: &RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let value = value.map_or(default, |value| value);
    if range.contains(&value) {
        return Ok(value);
    }
    let error = format!("must be from {} to {}", range.start(), range.end());
    Err(ConfigError::Value { key, error })
}
