//! `[facts.NAME]`: entities that do not come from the bundle, which types they are of, and how old they may be.
//!
//! A source that is declared is an input of every decision. Membership in what is not there is false without an error, so
//! that a source which gives nothing must never look like one that gives nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Entities, EntityUid};
use portcullis_protocol::{BundleDigest, Digest, SnapshotUse, Snapshots, SourceName};
use serde::{Deserialize, Serialize};

use crate::MANIFEST_FILE;
use crate::compile::Compiled;
use crate::entities::{self, SURFACE, Types};
use crate::error::{BundleError, Fault};
use crate::principals;
use crate::rehearsal::Rehearsal;
use crate::roster;
use crate::units::Span;
use crate::{Bundle, FactError, FactSnapshot};

/// The least and the most that facts may be old, in milliseconds: a second, and a week.
const AGES: (u64, u64) = (1_000, 7 * 24 * 60 * 60 * 1_000);
/// Sources of a bundle: each is named in every record.
const MOST_SOURCES: usize = 16;

/// `[facts.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceText {
    types: Vec<String>,
    max_age: Span,
}

/// A source of facts, as a bundle declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactSource {
    /// The entity types that come from it, and from nowhere else.
    pub types: BTreeSet<String>,
    /// How old what it gave may be when a decision is settled, in milliseconds.
    pub max_age_ms: u64,
}

pub(crate) type Sources = BTreeMap<SourceName, FactSource>;

fn fault(source: &SourceName, message: impl Into<String>) -> BundleError {
    let (name, message) = (source.to_string(), message.into());
    BundleError::corrupt(MANIFEST_FILE, Fault::Facts { name, message })
}

/// Reads the sources of a manifest.
pub(crate) fn load(texts: BTreeMap<SourceName, SourceText>) -> Result<Sources, BundleError> {
    if texts.len() > MOST_SOURCES {
        return Err(BundleError::corrupt(MANIFEST_FILE, Fault::TooManySources));
    }
    let mut owners: BTreeMap<String, SourceName> = BTreeMap::new();
    let mut sources = Sources::new();
    for (name, SourceText { types, max_age: Span(max_age_ms) }) in texts {
        if max_age_ms < AGES.0 || max_age_ms > AGES.1 {
            return Err(fault(&name, "`max_age` is not within 1s and 7d"));
        }
        if types.is_empty() {
            return Err(fault(&name, "`types` is empty: nothing would come from it"));
        }
        for kind in &types {
            if kind == SURFACE {
                return Err(fault(&name, "surfaces are the bundle's own, and come from no source"));
            }
            if let Some(other) = owners.insert(kind.clone(), name.clone()) {
                return Err(fault(&name, format!("type `{kind}` comes from `{other}` already")));
            }
        }
        sources.insert(name, FactSource { types: types.into_iter().collect(), max_age_ms });
    }
    Ok(sources)
}

/// Refuses a source of entities that the schema does not have.
pub(crate) fn refuse_undeclared(sources: &Sources, types: &Types) -> Result<(), BundleError> {
    for (name, source) in sources {
        if let Some(kind) = source.types.iter().find(|kind| !types.is_declared(kind)) {
            return Err(fault(name, format!("the schema has no entity type `{kind}`")));
        }
    }
    Ok(())
}

/// Which entities do not come from the bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sourced(BTreeSet<String>);

impl Sourced {
    pub(crate) fn of(sources: &Sources) -> Self {
        Self(sources.values().flat_map(|source| source.types.iter().cloned()).collect())
    }

    pub(crate) fn is_kind(&self, kind: &str) -> bool {
        self.0.contains(kind)
    }

    pub(crate) fn has(&self, uid: &EntityUid) -> bool {
        !self.0.is_empty() && self.is_kind(&uid.type_name().to_string())
    }
}

/// What the sources of a bundle gave, as its policies see it. Every source is in it, and everything that policies and
/// entities name is there.
#[derive(Clone)]
pub struct Gathered {
    bundle: BundleDigest,
    entities: Arc<Entities>,
    used: Snapshots,
    kept: Vec<(Digest, Arc<[u8]>)>,
}

impl std::fmt::Debug for Gathered {
    /// Says which facts these are, and nothing out of them.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bundle, used) = (&self.bundle, &self.used);
        formatter.debug_struct("Gathered").field("bundle", bundle).field("used", used).finish_non_exhaustive()
    }
}

impl Gathered {
    /// What each source gave, and how old it may be.
    #[must_use]
    pub const fn used(&self) -> &Snapshots {
        &self.used
    }

    /// The entities of each source by their digest, for the archive: whoever replays a decision needs them.
    #[must_use]
    pub fn kept(&self) -> &[(Digest, Arc<[u8]>)] {
        &self.kept
    }

    pub(crate) fn entities_for(&self, bundle: &BundleDigest) -> Option<&Entities> {
        (self.bundle == *bundle).then_some(&*self.entities)
    }
}

/// What sources gave cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ungathered {
    /// One of them gave nothing, or what it is not a source of.
    #[error("source of facts `{name}`: {error}")]
    Source {
        /// Which.
        name: SourceName,
        /// Why.
        error: FactError,
    },
    /// All together they do not fit the bundle.
    #[error("what the sources of facts give does not fit the bundle: {0}")]
    Together(String),
}

/// What each source gave.
pub type Given = BTreeMap<SourceName, Arc<FactSnapshot>>;

impl Compiled {
    /// The bundle's own entities, if it needs no others.
    pub(crate) fn own_entities(&self) -> Option<&Entities> {
        self.manifest.sources.is_empty().then_some(&self.entities)
    }

    pub(crate) fn entities_with<'a>(
        &'a self,
        bundle: &BundleDigest,
        facts: Option<&'a Gathered>,
    ) -> Option<&'a Entities> {
        self.own_entities().or_else(|| facts?.entities_for(bundle))
    }

    /// The bundle's own entities and those of all its sources, if they make sense together.
    pub(crate) fn join(&self, given: &Given) -> Result<Entities, Ungathered> {
        let mut texts = vec![self.written_entities.as_bytes()];
        for (name, source) in &self.manifest.sources {
            let failed = |error| Ungathered::Source { name: name.clone(), error };
            let snapshot = given.get(name).ok_or_else(|| failed(FactError::Missing))?;
            snapshot.refuse_other_types(&source.types).map_err(failed)?;
            texts.push(snapshot.entities());
        }
        self.joined(&texts).map_err(Ungathered::Together)
    }

    fn joined(&self, texts: &[&[u8]]) -> Result<Entities, String> {
        let (schema, surfaces) = (&self.schema, &self.manifest.surfaces);
        let entities =
            entities::join(texts, schema, &self.types, surfaces).map_err(|error| error.to_string())?;
        let absent = self.literals.iter().find(|(uid, _)| entities.get(uid).is_none());
        if let Some((uid, policy)) = absent {
            return Err(format!("policy `{policy}` names `{uid}`, which nobody gives"));
        }
        let agents = entities::agents(&entities, &self.types);
        principals::refuse_namesakes(&self.types, &entities, (&agents, self.manifest.roster.as_ref()))
            .map_err(|error| error.to_string())?;
        let namesake =
            self.manifest.roster.as_ref().and_then(|roster| roster::agents_namesake(roster, &agents));
        match namesake {
            Some((person, agent)) => {
                Err(format!("agent `{agent}` is called like person `{person}` of the roster"))
            }
            None => Ok(entities),
        }
    }

    /// What sources gave, in usable form. Where they gave the same entities as for `earlier`, those are used on.
    pub(crate) fn gather(
        &self,
        bundle: BundleDigest,
        given: &Given,
        earlier: Option<&Gathered>,
    ) -> Result<Gathered, Ungathered> {
        let used = self.manifest.sources.iter().filter_map(|(name, source)| {
            let FactSnapshot { as_of, digest, .. } = **given.get(name)?;
            Some((name.clone(), SnapshotUse { as_of, digest, max_age_ms: source.max_age_ms }))
        });
        let used: Snapshots = used.collect();
        let digests =
            |used: &Snapshots| used.iter().map(|(name, it)| (name.clone(), it.digest)).collect::<Vec<_>>();
        let same = |earlier: &&Gathered| earlier.bundle == bundle && digests(&earlier.used) == digests(&used);
        let entities = match earlier.filter(same) {
            Some(earlier) if used.len() == self.manifest.sources.len() => Arc::clone(&earlier.entities),
            Some(_) | None => Arc::new(self.join(given)?),
        };
        let kept =
            self.manifest.sources.keys().filter_map(|name| given.get(name)).map(|it| it.kept()).collect();
        Ok(Gathered { bundle, entities, used, kept })
    }
}

impl Bundle {
    /// The sources of facts, by name.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<SourceName, FactSource> {
        &self.compiled.manifest.sources
    }

    /// What its sources gave, as its policies see it. What was gathered `earlier` saves work, and changes nothing.
    ///
    /// # Errors
    /// [`Ungathered`], by the first source that gave nothing, or what is not of its types or does not fit the bundle.
    pub fn gather(&self, given: &Given, earlier: Option<&Gathered>) -> Result<Gathered, Ungathered> {
        self.compiled.gather(self.reference.digest, given, earlier)
    }
}

impl Rehearsal {
    /// The sources of facts, by name.
    #[must_use]
    pub const fn sources(&self) -> &BTreeMap<SourceName, FactSource> {
        &self.compiled.manifest.sources
    }

    /// As [`Bundle::gather`].
    ///
    /// # Errors
    /// [`Ungathered`].
    pub fn gather(&self, given: &Given, earlier: Option<&Gathered>) -> Result<Gathered, Ungathered> {
        self.compiled.gather(self.digest(), given, earlier)
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
