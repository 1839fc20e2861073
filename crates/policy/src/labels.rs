//! Labels: which there are, how long they stay, and which a grant adds.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{LabelName, PolicyId};
use serde::Deserialize;

use crate::MANIFEST_FILE;
use crate::annotations::Annotations;
use crate::error::{BundleError, Fault};
use crate::units::Span;

/// The context key under which policies see an agent's labels. No surface declares it: the arbiter gives it.
pub(crate) const CONTEXT_KEY: &str = "labels";
/// The shortest and the longest lifetime, in milliseconds: a minute, and 366 days.
const LIFETIMES: (u64, u64) = (60_000, 366 * 24 * 60 * 60 * 1_000);
/// Labels of a bundle: an agent may have them all, in every record.
const MOST_LABELS: usize = 64;

/// `[labels.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelText {
    lifetime: Span,
}

/// The labels of a bundle, and for how many milliseconds each stays.
pub(crate) type Lifetimes = BTreeMap<LabelName, u64>;

/// Reads the labels of a manifest.
pub(crate) fn load(texts: BTreeMap<LabelName, LabelText>) -> Result<Lifetimes, BundleError> {
    if texts.len() > MOST_LABELS {
        return Err(BundleError::corrupt(MANIFEST_FILE, Fault::TooManyLabels));
    }
    let lifetimes = texts.into_iter().map(|(label, LabelText { lifetime: Span(lifetime) })| {
        if lifetime < LIFETIMES.0 || lifetime > LIFETIMES.1 {
            let fault = Fault::LabelLifetime { label: label.to_string() };
            return Err(BundleError::corrupt(MANIFEST_FILE, fault));
        }
        Ok((label, lifetime))
    });
    lifetimes.collect()
}

/// Refuses a grant that adds a label which is not declared: it would have no lifetime.
pub(crate) fn refuse_undeclared(
    lifetimes: &Lifetimes,
    annotations: &BTreeMap<PolicyId, Annotations>,
    files: &BTreeMap<PolicyId, String>,
) -> Result<(), BundleError> {
    for (policy, own) in annotations {
        if let Some(label) = own.labels.iter().find(|label| !lifetimes.contains_key(label)) {
            let file = files.get(policy).map_or(MANIFEST_FILE, String::as_str);
            let (policy, label) = (policy.to_string(), label.to_string());
            return Err(BundleError::corrupt(file, Fault::LabelUndeclared { policy, label }));
        }
    }
    Ok(())
}

/// Warns of labels that no grant adds: those who had them before keep them, and nobody gets them any more.
pub(crate) fn warn(
    lifetimes: &Lifetimes,
    annotations: &BTreeMap<PolicyId, Annotations>,
    warnings: &mut Vec<String>,
) {
    let added: BTreeSet<_> = annotations.values().flat_map(|own| &own.labels).collect();
    let never = lifetimes.keys().filter(|label| !added.contains(label));
    warnings.extend(
        never.map(|label| format!("label `{label}` is declared, and no grant adds it: nobody gets it")),
    );
}

/// The labels that satisfied grants add, and for how long.
pub(crate) fn added(grants: &[&Annotations], lifetimes: &Lifetimes) -> Option<BTreeMap<LabelName, u64>> {
    let labels: BTreeSet<_> = grants.iter().flat_map(|grant| &grant.labels).collect();
    labels.into_iter().map(|label| Some((label.clone(), *lifetimes.get(label)?))).collect()
}

#[cfg(test)]
#[path = "labels_tests.rs"]
pub(crate) mod tests;
