//! What a policy's annotations mean. The list is closed: Cedar itself ignores every annotation, so that one which nobody
//! understands would be a condition that never holds anybody back.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, Policy};
use portcullis_protocol::{ApprovalNeed, LabelName, Obligations, RoleName};

use crate::units::Span;

/// The name of a policy.
const ID: &str = "id";
/// Who may approve what the policy grants: roles, joined by commas.
const APPROVAL_ROLES: &str = "approval_roles";
/// How many different people must approve it.
const APPROVAL_QUORUM: &str = "approval_quorum";
/// How long an approval counts.
const APPROVAL_LIFETIME: &str = "approval_lifetime";
/// How long ago, at most, the agent may have proved who it is.
const IDENTITY_WITHIN: &str = "identity_within";
/// A PERMIT of it is released only when witnesses have seen its record.
const WITNESSED: &str = "witnessed";
/// What the agent has come into touch with once it is permitted: labels, joined by commas.
const ADDS_LABEL: &str = "adds_label";

/// Every annotation that is understood.
const KNOWN: [&str; 7] =
    [ID, APPROVAL_ROLES, APPROVAL_QUORUM, APPROVAL_LIFETIME, IDENTITY_WITHIN, WITNESSED, ADDS_LABEL];

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
/// The most people whom one approval may need.
const MAX_QUORUM: u64 = 16;
/// The most roles that one approval may name.
const MAX_ROLES: usize = 16;

/// What a policy's annotations say, its name aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// What a grant asks for. A `forbid` asks for nothing.
    pub(crate) obligations: Obligations,
    /// The labels that a grant adds.
    pub(crate) labels: BTreeSet<LabelName>,
}

/// An annotation that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its name, without `@`.
    pub(crate) annotation: String,
    /// Why; `None` if nothing of this name is understood.
    pub(crate) why: Option<String>,
}

impl Refused {
    fn new(annotation: &str, why: impl Into<String>) -> Self {
        Self { annotation: annotation.to_owned(), why: Some(why.into()) }
    }
}

/// Reads a policy's annotations. The first refused one in alphabetical order is told.
pub(crate) fn read(policy: &Policy) -> Result<Annotations, Refused> {
    let found: BTreeMap<&str, &str> = policy.annotations().collect();
    if let Some(unknown) = found.keys().find(|name| !KNOWN.contains(name)) {
        return Err(Refused { annotation: (*unknown).to_owned(), why: None });
    }
    let asking = found.keys().find(|name| **name != ID);
    if let (Effect::Forbid, Some(name)) = (policy.effect(), asking) {
        return Err(Refused::new(
            name,
            "it is for a `permit`: a `forbid` has nothing to approve, prove or show",
        ));
    }
    let obligations = Obligations {
        approvals: approval(&found)?.into_iter().collect(),
        identity_within_ms: span(&found, IDENTITY_WITHIN, (SECOND, "1s"), (30 * DAY, "30d"))?,
        witnessed: flag(&found, WITNESSED)?,
    };
    Ok(Annotations { obligations, labels: labels(&found)? })
}

/// The three parts of an approval come together: one left out has no value that would be safe for everybody.
fn approval(found: &BTreeMap<&str, &str>) -> Result<Option<ApprovalNeed>, Refused> {
    let parts = [APPROVAL_LIFETIME, APPROVAL_QUORUM, APPROVAL_ROLES];
    let Some(given) = parts.into_iter().find(|part| found.contains_key(part)) else { return Ok(None) };
    let lifetime = span(found, APPROVAL_LIFETIME, (MINUTE, "1m"), (30 * DAY, "30d"))?;
    match (roles(found)?, quorum(found)?, lifetime) {
        (Some(roles), Some(quorum), Some(lifetime_ms)) => {
            Ok(Some(ApprovalNeed { roles, quorum, lifetime_ms }))
        }
        (_, _, _) => {
            let absent = parts.into_iter().filter(|part| !found.contains_key(part));
            let absent: Vec<_> = absent.map(|part| format!("`@{part}`")).collect();
            Err(Refused::new(given, format!("an approval also needs {}", absent.join(" and "))))
        }
    }
}

fn roles(found: &BTreeMap<&str, &str>) -> Result<Option<BTreeSet<RoleName>>, Refused> {
    let Some(text) = found.get(APPROVAL_ROLES) else { return Ok(None) };
    let mut roles = BTreeSet::new();
    for part in text.split(',') {
        let role = part.trim_matches(' ');
        let role: RoleName =
            role.parse().map_err(|error| Refused::new(APPROVAL_ROLES, format!("{error}")))?;
        if let Some(twice) = roles.replace(role) {
            return Err(Refused::new(APPROVAL_ROLES, format!("it names `{twice}` twice")));
        }
    }
    if roles.len() > MAX_ROLES {
        return Err(Refused::new(APPROVAL_ROLES, format!("it names more than {MAX_ROLES} roles")));
    }
    Ok(Some(roles))
}

fn labels(found: &BTreeMap<&str, &str>) -> Result<BTreeSet<LabelName>, Refused> {
    let mut labels = BTreeSet::new();
    for part in found.get(ADDS_LABEL).into_iter().flat_map(|text| text.split(',')) {
        let label: LabelName =
            part.trim_matches(' ').parse().map_err(|error| Refused::new(ADDS_LABEL, format!("{error}")))?;
        if let Some(twice) = labels.replace(label) {
            return Err(Refused::new(ADDS_LABEL, format!("it names `{twice}` twice")));
        }
    }
    Ok(labels)
}

fn quorum(found: &BTreeMap<&str, &str>) -> Result<Option<u64>, Refused> {
    let Some(text) = found.get(APPROVAL_QUORUM) else { return Ok(None) };
    let number = (1..=MAX_QUORUM).find(|number| number.to_string() == **text);
    let expected = format!("`{}` is no number of people: expected 1 to {MAX_QUORUM}", short(text));
    number.map(Some).ok_or_else(|| Refused::new(APPROVAL_QUORUM, expected))
}

fn span(
    found: &BTreeMap<&str, &str>,
    name: &str,
    (least, least_text): (u64, &str),
    (most, most_text): (u64, &str),
) -> Result<Option<u64>, Refused> {
    let Some(text) = found.get(name) else { return Ok(None) };
    match Span::parse(text) {
        Some(Span(span)) if (least..=most).contains(&span) => Ok(Some(span)),
        Some(_) | None => {
            let expected = format!("`{}` is not within {least_text} and {most_text}", short(text));
            Err(Refused::new(name, expected))
        }
    }
}

/// An annotation without a value. One with a value, `("false")` for instance, would hold whatever the value says.
fn flag(found: &BTreeMap<&str, &str>, name: &str) -> Result<bool, Refused> {
    match found.get(name) {
        None => Ok(false),
        Some(&"") => Ok(true),
        Some(_) => Err(Refused::new(name, format!("it takes no value: write `@{name}`, or leave it out"))),
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[path = "annotations_tests.rs"]
mod tests;
