//! The log's own second key: `[cosigning]`.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_verify::CosignerKey;

use super::{Config, ConfigError, parse, value};

/// How the log's operator cosigns its checkpoints.
#[derive(Clone, Debug)]
pub struct CosigningConfig {
    /// What verifies it.
    pub key: CosignerKey,
    /// The file with the key, if the daemon cosigns.
    pub key_file: Option<PathBuf>,
    /// How often.
    pub interval: Duration,
    /// New records after which it cosigns sooner.
    pub records: u64,
}

impl Config {
    pub(super) fn cosigning(&self) -> Result<Option<CosigningConfig>, ConfigError> {
        let Some(section) = &self.file.cosigning else { return Ok(None) };
        let (interval, records) = (section.interval_ms.map_or(60_000, |ms| ms), section.records);
        if interval == 0 || records == Some(0) {
            return Err(value("cosigning.interval_ms", &"and `records` must be 1 at least"));
        }
        Ok(Some(CosigningConfig {
            key: parse("cosigning.key", &section.key)?,
            key_file: section.key_file.as_ref().map(|path| self.at(path)),
            interval: Duration::from_millis(interval),
            records: records.map_or(10_000, |records| records),
        }))
    }
}
