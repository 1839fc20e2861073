//! `[[exceptions]]`: what governance lets proceed although a fact is not as it should be. Narrow, owned and expiring.

use std::collections::BTreeSet;

use portcullis_protocol::{
    Coverable, Excepted, Millis, PersonId, ReasonCode, Snapshots, SourceName, SurfaceName,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{BundleError, Fault};
use crate::manifest::Manifest;
use crate::units::{Instant, Span};
use crate::{Bundle, MANIFEST_FILE};

/// How long after the bundle's `valid_from` an exception may last, in milliseconds: 90 days.
const LONGEST: u64 = 90 * 24 * 60 * 60 * 1_000;
/// How old facts may be by an exception, at most, in milliseconds: 30 days.
const OLDEST: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Exceptions of a bundle.
const MOST_EXCEPTIONS: usize = 64;
/// Characters of a reason.
const LONGEST_REASON: usize = 500;

/// `[[exceptions]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionText {
    surface: SurfaceName,
    covers: Vec<Covers>,
    sources: Vec<SourceName>,
    max_age: Span,
    owner: PersonId,
    reason: String,
    review: Instant,
    until: Instant,
}

/// A code that can be covered. The others are refused by name.
#[derive(PartialEq, Eq)]
struct Covers(Coverable);

impl<'de> Deserialize<'de> for Covers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let message = match text.as_str() {
            "fact.stale" => return Ok(Self(Coverable::FactStale)),
            "approval.unavailable" => {
                "`approval.unavailable` cannot be excepted in this version: approvals are not built into it"
                    .to_owned()
            }
            code if code.parse::<ReasonCode>().is_ok() => {
                format!("`{code}` cannot be excepted: only `fact.stale` can")
            }
            other => format!("`{other}` is no reason code; only `fact.stale` can be excepted"),
        };
        Err(serde::de::Error::custom(message))
    }
}

/// An exception: for one surface, one code, and facts of some sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The surface.
    pub surface: SurfaceName,
    /// The code that it covers.
    pub covers: Coverable,
    /// The sources whose facts may be older than their own bound.
    pub sources: BTreeSet<SourceName>,
    /// How old they may be all the same, in milliseconds.
    pub max_age_ms: u64,
    /// Who answers for it: a person of the roster.
    pub owner: PersonId,
    /// Why there is one.
    pub reason: String,
    /// When it is to be looked at again.
    pub review: Millis,
    /// From when on it covers nothing any more.
    pub until: Millis,
}

/// Reads the exceptions of a manifest whose other parts were read.
pub(crate) fn load(texts: Vec<ExceptionText>, manifest: &Manifest) -> Result<Vec<Exception>, BundleError> {
    if texts.len() > MOST_EXCEPTIONS {
        return Err(BundleError::corrupt(MANIFEST_FILE, Fault::TooManyExceptions));
    }
    let mut exceptions: Vec<Exception> = Vec::new();
    for text in texts {
        let surface = text.surface.to_string();
        let fault = |message| {
            BundleError::corrupt(MANIFEST_FILE, Fault::Exception { surface: surface.clone(), message })
        };
        let exception = text.into_exception(manifest).map_err(&fault)?;
        let covers =
            |other: &Exception| (&other.surface, other.covers) == (&exception.surface, exception.covers);
        if exceptions.iter().any(covers) {
            return Err(fault(
                "there are two for the same code, of which nobody could say which one holds".to_owned(),
            ));
        }
        exceptions.push(exception);
    }
    Ok(exceptions)
}

impl ExceptionText {
    fn into_exception(self, manifest: &Manifest) -> Result<Exception, String> {
        let spec = manifest.surfaces.get(&self.surface).ok_or("there is no such surface")?;
        if !spec.tier.may_be_excepted() {
            return Err("exceptions are for surfaces of the tiers `standard` and `read` only".to_owned());
        }
        let [Covers(covers)] = self.covers.as_slice() else {
            return Err("`covers` names one code: \"fact.stale\"".to_owned());
        };
        let roster = manifest.roster.as_ref().ok_or("it needs an owner, and the bundle has no `[roster]`")?;
        if !roster.people().contains_key(&self.owner) {
            return Err(format!("owner `{}` is not in the roster", self.owner));
        }
        if !is_reason(&self.reason) {
            return Err(format!(
                "`reason` is 1 to {LONGEST_REASON} printable characters, not all of them blank"
            ));
        }
        let (covers, sources) = (*covers, self.sources(manifest)?);
        self.check_dates(manifest)?;
        Ok(Exception {
            surface: self.surface,
            covers,
            sources,
            max_age_ms: self.max_age.0,
            owner: self.owner,
            reason: self.reason,
            review: self.review.0,
            until: self.until.0,
        })
    }

    fn sources(&self, manifest: &Manifest) -> Result<BTreeSet<SourceName>, String> {
        let sources: BTreeSet<_> = self.sources.iter().cloned().collect();
        if sources.is_empty() || sources.len() != self.sources.len() {
            return Err("`sources` names the sources of facts that it is about, each once".to_owned());
        }
        if self.max_age.0 > OLDEST {
            return Err("`max_age` is more than 30d".to_owned());
        }
        for name in &sources {
            let source =
                manifest.sources.get(name).ok_or_else(|| format!("there is no source of facts `{name}`"))?;
            if self.max_age.0 <= source.max_age_ms {
                return Err(format!("`max_age` is not more than that of `{name}`: it would except nothing"));
            }
        }
        Ok(sources)
    }

    fn check_dates(&self, manifest: &Manifest) -> Result<(), String> {
        let (from, end) = (manifest.valid_from, manifest.valid_until);
        let (Instant(review), Instant(until)) = (self.review, self.until);
        if until <= from || until > end || until > from.plus(LONGEST) {
            let within =
                "`until` is not within the bundle's validity, and at most 90d after its `valid_from`";
            return Err(within.to_owned());
        }
        if review <= from || review >= until {
            return Err("`review` is not between the bundle's `valid_from` and `until`".to_owned());
        }
        Ok(())
    }
}

fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control)
}

impl Exception {
    /// The exception as a record names it, if at `now` it covers every stale one of these facts, and there are some.
    #[must_use]
    pub fn covering(&self, used: &Snapshots, now: Millis) -> Option<Excepted> {
        let stale: BTreeSet<_> =
            used.iter().filter(|(_, it)| it.is_stale_at(now)).map(|(name, _)| name.clone()).collect();
        let bounded = |name: &SourceName| {
            let age = used.get(name).and_then(|it| it.age_at(now));
            self.sources.contains(name) && age.is_some_and(|age| age <= self.max_age_ms)
        };
        let covers = now < self.until && !stale.is_empty() && stale.iter().all(bounded);
        let (covers_code, max_age_ms, until) = (self.covers, self.max_age_ms, self.until);
        covers.then_some(Excepted { covers: covers_code, max_age_ms, sources: stale, until })
    }
}

impl Bundle {
    /// The exceptions, as they are written.
    #[must_use]
    pub fn exceptions(&self) -> &[Exception] {
        &self.compiled.manifest.exceptions
    }

    /// The exception of a surface for a code, if it has one.
    #[must_use]
    pub fn exception(&self, surface: &SurfaceName, covers: Coverable) -> Option<&Exception> {
        of(self.exceptions(), surface, covers)
    }
}

/// The exception of a surface for a code: there is one at most.
pub(crate) fn of<'a>(
    exceptions: &'a [Exception],
    surface: &SurfaceName,
    covers: Coverable,
) -> Option<&'a Exception> {
    exceptions.iter().find(|it| it.surface == *surface && it.covers == covers)
}

#[cfg(test)]
#[path = "exceptions_tests.rs"]
mod tests;
