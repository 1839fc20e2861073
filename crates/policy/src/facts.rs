//! What a source of facts gives: a document that says as of when it is, and Cedar entities. Untrusted bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_protocol::{Digest, Domain, JsonError, Limits, Millis, SnapshotUse, Value, canonical};

use crate::entities;
use crate::units::Instant;

/// Bounds on a document.
const LIMITS: Limits = Limits { bytes: FactSnapshot::MAX_BYTES, depth: 20 };

/// Why facts cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Nothing was given.
    #[error("it gives nothing")]
    Missing,
    /// Not strict JSON within the bounds.
    #[error("not a document of facts: {0}")]
    Json(JsonError),
    /// Not `{"v":1,"as_of":"…","entities":[…]}`.
    #[error("not a document of facts: {0}")]
    Shape(String),
    /// Entities of a type that comes from elsewhere.
    #[error("it gives entities of type `{0}`, which is not among its types in the bundle")]
    OtherType(String),
    /// What was archived has another digest.
    #[error("what is archived are other facts than those named")]
    OtherDigest,
}

/// What a source gave, in its own form: not held against any bundle yet.
#[derive(Clone, PartialEq, Eq)]
pub struct FactSnapshot {
    pub(crate) as_of: Millis,
    pub(crate) digest: Digest,
    entities: Arc<[u8]>,
    types: BTreeSet<String>,
}

impl std::fmt::Debug for FactSnapshot {
    /// Says which facts these are, and nothing out of them.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (as_of, digest) = (&self.as_of, &self.digest);
        formatter
            .debug_struct("FactSnapshot")
            .field("as_of", as_of)
            .field("digest", digest)
            .finish_non_exhaustive()
    }
}

impl FactSnapshot {
    /// The longest document that is read, in bytes.
    pub const MAX_BYTES: usize = 8 * 1024 * 1024;

    /// Reads a document: `{"v":1,"as_of":"2026-01-31T12:00:00Z","entities":[…]}`, the entities as in `entities.json`.
    ///
    /// # Errors
    /// [`FactError`], by the first defect.
    pub fn parse(document: &[u8]) -> Result<Self, FactError> {
        let value = Value::parse(document, LIMITS).map_err(FactError::Json)?;
        let members = value.as_object().ok_or_else(|| shape("not an object"))?;
        if let Some(key) = members.keys().find(|key| !["v", "as_of", "entities"].contains(&key.as_str())) {
            return Err(shape(format!("the key `{key}` means nothing")));
        }
        if members.get("v") != Some(&Value::Int(1)) {
            return Err(shape("`v` is not 1"));
        }
        let as_of = members.get("as_of").and_then(Value::as_str).and_then(Instant::parse);
        let Some(Instant(as_of)) = as_of else {
            return Err(shape("`as_of` is no date and time in UTC as in \"2026-01-31T12:00:00Z\""));
        };
        let entities = members.get("entities").ok_or_else(|| shape("there are no `entities`"))?;
        Self::of(as_of, entities)
    }

    /// Reads what was archived of a snapshot that a record names.
    ///
    /// # Errors
    /// [`FactError::OtherDigest`] if it is not that, and those of [`Self::parse`].
    pub fn from_archive(bytes: &[u8], named: &SnapshotUse) -> Result<Self, FactError> {
        let entities = Value::parse(bytes, LIMITS).map_err(FactError::Json)?;
        let snapshot = Self::of(named.as_of, &entities)?;
        if snapshot.digest == named.digest { Ok(snapshot) } else { Err(FactError::OtherDigest) }
    }

    /// Entities as a bundle's cases give them, as of no time that anybody asks for.
    pub(crate) fn of_case(text: &str) -> Result<Self, FactError> {
        Self::of(Millis(0), &Value::parse(text.as_bytes(), LIMITS).map_err(FactError::Json)?)
    }

    fn of(as_of: Millis, entities: &Value) -> Result<Self, FactError> {
        let Value::Array(items) = entities else { return Err(shape("`entities` is no array")) };
        let named = entities::check_forms(items).map_err(FactError::Shape)?;
        let types = named.into_iter().map(|(kind, _)| kind.to_owned()).collect();
        let entities = canonical::to_bytes(entities).map_err(|error| FactError::Shape(error.to_string()))?;
        let digest = Digest::of(Domain::FactSnapshot, &[&entities]);
        Ok(Self { as_of, digest, entities: entities.into(), types })
    }

    /// The same entities as of another time.
    #[must_use]
    pub fn at(&self, as_of: Millis) -> Self {
        Self { as_of, ..self.clone() }
    }

    /// As of when it is, by its source's own word.
    #[must_use]
    pub const fn as_of(&self) -> Millis {
        self.as_of
    }

    /// Digest of its entities in canonical form. It does not change with `as_of`.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its entities in canonical form.
    #[must_use]
    pub fn entities(&self) -> &[u8] {
        &self.entities
    }

    pub(crate) fn kept(&self) -> (Digest, Arc<[u8]>) {
        (self.digest, Arc::clone(&self.entities))
    }

    pub(crate) fn refuse_other_types(&self, types: &BTreeSet<String>) -> Result<(), FactError> {
        let other = self.types.iter().find(|kind| !types.contains(*kind));
        other.map_or(Ok(()), |kind| Err(FactError::OtherType(kind.clone())))
    }
}

fn shape(message: impl Into<String>) -> FactError {
    FactError::Shape(message.into())
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
