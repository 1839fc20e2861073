//! Who may read the log, and what of it: `[log]` and `[auditors.NAME]`.

use std::collections::BTreeSet;

use portcullis_protocol::{AuditorId, Digest, Millis};

use super::{Config, ConfigError, parse};

/// What the daemon shows of the log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Whether anybody may read it.
    pub public: bool,
    /// Full tiles and bundles that end at this record or before are not served.
    pub minimum_index: u64,
    /// Whether it is shown under its newest cosigned checkpoint.
    pub cosigned: bool,
    /// Who may read it if it is not public.
    pub auditors: Vec<AuditorConfig>,
}

/// An auditor's credential, as kept at rest.
#[derive(Clone, Debug)]
pub struct AuditorConfig {
    /// The auditor.
    pub auditor: AuditorId,
    /// Digest of its token.
    pub token: Digest,
    /// When the token expires.
    pub expires: Option<Millis>,
}

impl Config {
    pub(super) fn log(&self) -> Result<LogConfig, ConfigError> {
        let auditors = self.file.auditors.iter().map(|(name, section)| {
            Ok(AuditorConfig {
                auditor: parse("auditors", name)?,
                token: parse("auditors.token", &section.token)?,
                expires: section.expires_ms.map(Millis),
            })
        });
        let auditors: Vec<AuditorConfig> = auditors.collect::<Result<_, _>>()?;
        let mut tokens: BTreeSet<Digest> = self.agents()?.iter().filter_map(|agent| agent.token).collect();
        if !auditors.iter().all(|auditor| tokens.insert(auditor.token)) {
            let error =
                "is also another auditor's or an agent's, who must not read the whole log; make each its own";
            return Err(ConfigError::Value { key: "auditors.token", error: error.into() });
        }
        let section = self.file.log.as_ref();
        Ok(LogConfig {
            public: section.and_then(|log| log.public).is_some_and(|public| public),
            minimum_index: section.and_then(|log| log.minimum_index).map_or(0, |index| index),
            cosigned: section.and_then(|log| log.cosigned).is_some_and(|cosigned| cosigned),
            auditors,
        })
    }
}
