//! Counters, in the Prometheus text format. They count; evidence is the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use portcullis_protocol::{Decision, ReasonCode};

use crate::remote::Health;

#[derive(Debug, Default)]
struct Counts {
    decisions: BTreeMap<(Decision, Option<ReasonCode>), u64>,
    unrecorded: BTreeMap<Option<ReasonCode>, u64>,
    simulations: BTreeMap<(Decision, Option<ReasonCode>), u64>,
}

/// Counters since the arbiter started.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

impl Metrics {
    pub(crate) fn decided(&self, decision: Decision, reason: Option<ReasonCode>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.decisions.entry((decision, reason)).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts what would have been decided. It counts as no decision.
    pub(crate) fn simulated(&self, would: Decision, reason: Option<ReasonCode>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.simulations.entry((would, reason)).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn unrecorded(&self, reason: Option<ReasonCode>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.unrecorded.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// The counters and the arbiter's health, as text.
    #[must_use]
    pub fn render(&self, health: &Health) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        decided(&mut text, "portcullis_decisions_total", &counts.decisions);
        decided(&mut text, "portcullis_simulations_total", &counts.simulations);
        text.push_str("# TYPE portcullis_unrecorded_total counter\n");
        for (reason, count) in &counts.unrecorded {
            let reason = reason.map_or("unauthenticated", ReasonCode::as_str);
            line(&mut text, &format!("portcullis_unrecorded_total{{reason=\"{reason}\"}}"), *count);
        }
        for source in &health.facts {
            let name = &source.name;
            let fresh = u64::from(source.state == "fresh");
            line(&mut text, &format!("portcullis_facts_fresh{{source=\"{name}\"}}"), fresh);
            for (what, value) in [("age", source.age_ms), ("max_age", source.max_age_ms)] {
                if let Some(value) = value {
                    line(&mut text, &format!("portcullis_facts_{what}_ms{{source=\"{name}\"}}"), value);
                }
            }
        }
        issuers(&mut text, health);
        text.push_str("# TYPE portcullis_ready gauge\n");
        line(&mut text, "portcullis_ready", u64::from(health.ready));
        for (name, value) in [
            ("portcullis_log_records", health.records),
            ("portcullis_open_permits", health.open_permits),
            ("portcullis_syncs_total", health.syncs),
            ("portcullis_batches_total", health.batches),
            ("portcullis_erasing", health.erasing.map(u64::from)),
            ("portcullis_scrub_checked_records", health.scrub.as_ref().map(|scrub| scrub.checked)),
            ("portcullis_scrub_records", health.scrub.as_ref().map(|scrub| scrub.of)),
            ("portcullis_scrub_passes_total", health.scrub.as_ref().map(|scrub| scrub.passes)),
            ("portcullis_witnessed_records", health.witnessed),
            ("portcullis_spool_waiting", health.spool.as_ref().map(|spool| spool.waiting)),
            ("portcullis_spool_bytes", health.spool.as_ref().map(|spool| spool.bytes)),
            ("portcullis_spool_entered_total", health.spool.as_ref().map(|spool| spool.entered)),
            ("portcullis_spool_unreadable_bytes", health.spool.as_ref().map(|spool| spool.unreadable)),
            (
                "portcullis_spool_failing",
                health.spool.as_ref().map(|spool| u64::from(spool.failing.is_some())),
            ),
            ("portcullis_source_failures", health.source.as_ref().map(|source| u64::from(source.failures))),
            (
                "portcullis_source_newer_version",
                health
                    .source
                    .as_ref()
                    .filter(|source| source.state == "newer")
                    .and_then(|source| source.bundle.as_ref().map(|bundle| bundle.version)),
            ),
            (
                "portcullis_source_refused",
                health.source.as_ref().map(|source| u64::from(source.state == "refused")),
            ),
            ("portcullis_cosigned_records", health.cosigning.as_ref().and_then(|cosigning| cosigning.size)),
        ] {
            if let Some(value) = value {
                line(&mut text, name, value);
            }
        }
        text
    }
}

/// What was decided, or would have been.
fn decided(text: &mut String, name: &str, counted: &BTreeMap<(Decision, Option<ReasonCode>), u64>) {
    text.push_str(&format!("# TYPE {name} counter\n"));
    for ((decision, reason), count) in counted {
        let (decision, reason) = (decision.as_str(), reason.map_or("", ReasonCode::as_str));
        line(text, &format!("{name}{{decision=\"{decision}\",reason=\"{reason}\"}}"), *count);
    }
}

/// Identity providers. An issuer's name has no character that would end the label.
fn issuers(text: &mut String, health: &Health) {
    for issuer in &health.issuers {
        let label = format!("{{issuer=\"{}\"}}", issuer.issuer);
        let counts = matches!(issuer.state.as_str(), "fresh" | "stale");
        line(text, &format!("portcullis_issuer_keys_count{label}"), u64::from(counts));
        line(text, &format!("portcullis_issuer_expire_ms{label}"), issuer.expire_ms);
        line(text, &format!("portcullis_issuer_failures{label}"), u64::from(issuer.failures));
        if let Some(age) = issuer.age_ms {
            line(text, &format!("portcullis_issuer_age_ms{label}"), age);
        }
    }
    for (code, count) in &health.refused_tokens {
        line(text, &format!("portcullis_tokens_refused_total{{code=\"{code}\"}}"), *count);
    }
}

fn line(text: &mut String, name: &str, value: u64) {
    text.push_str(&format!("{name} {value}\n"));
}
