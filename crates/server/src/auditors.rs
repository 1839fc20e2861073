//! Who may read the whole log.

use std::collections::BTreeMap;

use portcullis_protocol::{AuditorId, Digest, Millis};

use crate::agents::{Agents, bearer_token};
use crate::config::AuditorConfig;

/// The auditors that have a token. As with agents, tokens are kept and looked up by their digests.
#[derive(Clone, Debug)]
pub(crate) struct Auditors(BTreeMap<Digest, (AuditorId, Option<Millis>)>);

impl Auditors {
    /// From the configuration.
    pub(crate) fn new(auditors: &[AuditorConfig]) -> Self {
        let entry = |auditor: &AuditorConfig| (auditor.token, (auditor.auditor.clone(), auditor.expires));
        Self(auditors.iter().map(entry).collect())
    }

    /// The auditor that an `authorization` header names at this time. Without a clock a token that expires counts as
    /// expired.
    pub(crate) fn bearer(&self, header: Option<&str>, now: Option<Millis>) -> Option<&AuditorId> {
        let (auditor, expires) = self.0.get(&Agents::digest(bearer_token(header)?))?;
        let valid = match (expires, now) {
            (None, _) => true,
            (Some(expires), Some(now)) => now < *expires,
            (Some(_), None) => false,
        };
        valid.then_some(auditor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_auditor_until_it_expires_and_not_without_a_clock() {
        let config = |name: &str, token: &str, expires| AuditorConfig {
            auditor: name.parse().unwrap(),
            token: Agents::digest(token),
            expires,
        };
        let auditors = Auditors::new(&[config("ever", "a", None), config("once", "b", Some(Millis(1_000)))]);
        let named = |header, now| auditors.bearer(header, now).map(|auditor| auditor.as_str().to_owned());
        assert_eq!(named(Some("Bearer a"), None).as_deref(), Some("ever"));
        assert_eq!(named(Some("Bearer b"), Some(Millis(999))).as_deref(), Some("once"));
        assert_eq!(named(Some("Bearer b"), Some(Millis(1_000))), None);
        assert_eq!(named(Some("Bearer b"), None), None);
        for header in [None, Some(""), Some("Bearer "), Some("Bearer c"), Some("Basic a"), Some("a")] {
            assert_eq!(named(header, Some(Millis(0))), None, "{header:?}");
        }
    }
}
