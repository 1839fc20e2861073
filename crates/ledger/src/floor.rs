//! What the disk takes at least: the floor that `portcullis bench ledger` measures decisions against.

use std::path::Path;

use rusqlite::params;

use crate::anchor::Anchor;
use crate::error::LedgerError;
use crate::store::Store;

/// A bare database beside a bare anchor: the same file settings as a ledger's, and nothing of its work.
#[derive(Debug)]
pub struct Floor {
    store: Store,
    anchor: Anchor,
    next: u64,
}

impl Floor {
    /// Makes both in a directory.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn create(directory: &Path) -> Result<Self, LedgerError> {
        let store = Store::create(&directory.join("floor.db"))?;
        let (anchor, _) = Anchor::open(&directory.join("floor.anchor")).map_err(LedgerError::Anchor)?;
        Ok(Self { store, anchor, next: 0 })
    }

    /// Inserts bytes as `rows` rows of one table, in one durable transaction.
    ///
    /// # Errors
    /// If they are not committed.
    pub fn insert(&mut self, bytes: &[u8], rows: u64) -> Result<(), LedgerError> {
        let transaction = self.store.connection.transaction()?;
        {
            let mut statement =
                transaction.prepare_cached("INSERT INTO records (seq, body) VALUES (?1, ?2)")?;
            for seq in self.next..self.next.saturating_add(rows) {
                statement.execute(params![seq, bytes])?;
            }
        }
        transaction.commit()?;
        self.store.write_back()?;
        self.next = self.next.saturating_add(rows);
        Ok(())
    }

    /// Writes a slot of the anchor and syncs it.
    ///
    /// # Errors
    /// If it is not durable.
    pub fn anchor(&mut self) -> Result<(), LedgerError> {
        self.anchor.keep(&[b'.'; 250]).map_err(LedgerError::Anchor)
    }
}
