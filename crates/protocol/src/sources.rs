//! What sources of facts gave for a decision, how old it was, and the exception under which it counted all the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{Millis, SourceName};
use crate::reason::ReasonCode;
use crate::record::DecisionRecord;
use crate::surface::Tier;
use crate::verdict::Decision;

/// What one source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotUse {
    /// As of when it is, by its source's own word.
    pub as_of: Millis,
    /// Digest of its entities.
    pub digest: Digest,
    /// How old it may be, in milliseconds, by the bundle.
    pub max_age_ms: u64,
}

/// What each of a bundle's sources gave.
pub type Snapshots = BTreeMap<SourceName, SnapshotUse>;

impl SnapshotUse {
    /// How old it is at `now`, in milliseconds; `None` if it is from the future, of which there is no age.
    #[must_use]
    pub fn age_at(&self, now: Millis) -> Option<u64> {
        now.0.checked_sub(self.as_of.0)
    }

    /// Whether it is older at `now` than it may be. One from the future is.
    #[must_use]
    pub fn is_stale_at(&self, now: Millis) -> bool {
        self.age_at(now).is_none_or(|age| age > self.max_age_ms)
    }

    /// Whether another one is the same, or the same again at a later time: what was said by this one still is.
    #[must_use]
    pub fn is_upheld_by(&self, later: &Self) -> bool {
        self.digest == later.digest && self.max_age_ms == later.max_age_ms && self.as_of <= later.as_of
    }
}

/// The codes that an exception can cover. The list is closed: nothing but the age of facts can be excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Coverable {
    /// [`ReasonCode::FactStale`]
    #[serde(rename = "fact.stale")]
    FactStale,
}

impl Coverable {
    /// The reason code.
    #[must_use]
    pub const fn code(self) -> ReasonCode {
        match self {
            Self::FactStale => ReasonCode::FactStale,
        }
    }
}

/// The exception by which a decision is a PERMIT. Owner, reason and review date are in the bundle that the record names,
/// where the surface has one exception for this code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excepted {
    /// The code that it stood in for.
    pub covers: Coverable,
    /// How old the facts might be all the same, in milliseconds.
    pub max_age_ms: u64,
    /// The sources whose facts were older than their own bound.
    pub sources: BTreeSet<SourceName>,
    /// From when on it covers nothing any more.
    pub until: Millis,
}

/// Whether what a record says of facts and exceptions goes with its decision.
pub(crate) fn check(record: &DecisionRecord) -> Result<(), &'static str> {
    let (sources, time) = (&record.facts.sources, record.time);
    let stale: BTreeSet<_> =
        sources.iter().filter(|(_, it)| it.is_stale_at(time)).map(|(name, _)| name).collect();
    if record.reason == Some(ReasonCode::FactStale) && stale.is_empty() {
        return Err("facts are stale that are fresh enough");
    }
    if record.reason == Some(ReasonCode::FactRolledBack) && sources.is_empty() {
        return Err("facts are rolled back that nobody gave");
    }
    match (&record.exception, record.decision) {
        (None, Decision::Permit) if !stale.is_empty() => Err("a PERMIT on stale facts"),
        (None, _) => Ok(()),
        (Some(_), Decision::Deny | Decision::Silence) => Err("an exception that did not permit"),
        (Some(excepted), Decision::Permit) => {
            let named = excepted.sources.iter().collect::<BTreeSet<_>>() == stale && !stale.is_empty();
            if named && excepted.holds(record) {
                Ok(())
            } else {
                Err("an exception that does not cover its PERMIT")
            }
        }
    }
}

impl Excepted {
    /// Whether it may have stood in for the age of the facts that it names.
    fn holds(&self, record: &DecisionRecord) -> bool {
        let lenient = record.tier.is_some_and(Tier::may_be_excepted);
        let within = self.sources.iter().all(|name| {
            let age = record.facts.sources.get(name).and_then(|it| it.age_at(record.time));
            age.is_some_and(|age| age <= self.max_age_ms)
        });
        lenient && within && record.time < self.until
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
pub(crate) mod tests;
