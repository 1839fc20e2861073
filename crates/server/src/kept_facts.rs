//! The facts that records name, as the ledger keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_ledger::{Kept, LedgerError, LedgerReader};
use portcullis_policy::{Bundle, FactError, FactSnapshot, Gathered, Given, Rehearsal, Ungathered};
use portcullis_protocol::{Digest, SnapshotUse, Snapshots, SourceName};

/// Why the facts that a record names are not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsMissing {
    /// They were erased.
    #[error("the facts of its source `{0}` were erased")]
    Erased(SourceName),
    /// Nothing of that digest is kept.
    #[error("the facts {1} of its source `{0}` are missing from the archive")]
    Missing(SourceName, Digest),
    /// What is kept is not what the record names.
    #[error("the facts of its source `{0}` cannot be used: {1}")]
    Wrong(SourceName, FactError),
    /// They are not those that the bundle could be asked with.
    #[error("its facts cannot be used: {0}")]
    Unfit(#[from] Ungathered),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The kept facts of a ledger. Of each source those that were read last stay in memory: records in a row name the same.
pub(crate) struct KeptFacts<'a> {
    reader: &'a LedgerReader,
    last: BTreeMap<SourceName, FactSnapshot>,
}

impl<'a> KeptFacts<'a> {
    pub(crate) const fn of(reader: &'a LedgerReader) -> Self {
        Self { reader, last: BTreeMap::new() }
    }

    /// What a record says that its sources gave.
    pub(crate) fn given(&mut self, sources: &Snapshots) -> Result<Given, FactsMissing> {
        let mut given = Given::new();
        for (name, named) in sources {
            given.insert(name.clone(), Arc::new(self.snapshot(name, named)?));
        }
        Ok(given)
    }

    fn snapshot(&mut self, name: &SourceName, named: &SnapshotUse) -> Result<FactSnapshot, FactsMissing> {
        if let Some(last) = self.last.get(name)
            && last.digest() == named.digest
        {
            return Ok(last.at(named.as_of));
        }
        let bytes = match self.reader.facts(name, &named.digest)? {
            Kept::Here(bytes) => bytes,
            Kept::Erased => return Err(FactsMissing::Erased(name.clone())),
            Kept::Nothing => return Err(FactsMissing::Missing(name.clone(), named.digest)),
        };
        let snapshot = FactSnapshot::from_archive(&bytes, named)
            .map_err(|error| FactsMissing::Wrong(name.clone(), error))?;
        self.last.insert(name.clone(), snapshot.clone());
        Ok(snapshot)
    }
}

/// What a record's sources gave, for the bundle that decided; `None` if its bundle has none, or they gave nothing.
pub(crate) fn gathered(
    kept: &mut KeptFacts<'_>,
    sources: &Snapshots,
    bundle: &Bundle,
    earlier: Option<&Gathered>,
) -> Result<Option<Gathered>, FactsMissing> {
    if sources.is_empty() {
        return Ok(None);
    }
    Ok(Some(bundle.gather(&kept.given(sources)?, earlier)?))
}

/// As [`gathered`], for a bundle that is only rehearsed. What does not fit it gives nothing.
pub(crate) fn rehearsed(given: &Given, bundle: &Rehearsal, earlier: Option<&Gathered>) -> Option<Gathered> {
    if bundle.sources().is_empty() {
        return None;
    }
    bundle.gather(given, earlier).ok()
}
