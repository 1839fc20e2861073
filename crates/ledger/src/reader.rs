//! Reading a ledger beside its writer, for people on the same machine.

use std::path::Path;

use portcullis_protocol::Record;
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{TileReader, TileTree, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey};
use rusqlite::Connection;

use crate::anchor::Anchor;
use crate::error::LedgerError;
use crate::generation::Generations;
use crate::opened::receipt_text;
use crate::store::{self, Store};

/// A read-only view of a ledger at its newest anchored head. Nothing in it is believed that the head does not
/// prove.
pub struct LedgerReader {
    pub(crate) connection: Connection,
    head: VerifiedCheckpoint,
    tree: TileTree,
}

impl std::fmt::Debug for LedgerReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LedgerReader").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A record, as listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The record.
    pub record: Record,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

impl LedgerReader {
    /// Opens the ledger of a data directory and verifies its records against the anchored head.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read or does not verify.
    pub fn open(directory: &Path, anchor: &Path, key: &VerifierKey) -> Result<Self, LedgerError> {
        let database = Generations::of(directory)
            .current()?
            .ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&database.database)?;
        let note = Anchor::read(anchor).map_err(LedgerError::Anchor)?;
        let note =
            note.ok_or_else(|| LedgerError::BehindAnchor("the anchor is empty or was replaced".into()))?;
        let head = UnverifiedCheckpoint::parse(&note)?.verify(std::slice::from_ref(key))?;
        let tree = hash_up_to(&connection, head.size(), |_| Ok(()))?;
        matches(&tree, &head)?;
        Ok(Self { connection, head, tree })
    }

    /// The head that everything is proved under.
    #[must_use]
    pub const fn head(&self) -> &VerifiedCheckpoint {
        &self.head
    }

    /// Calls `each` with every record under the head, in order.
    ///
    /// # Errors
    /// If the database cannot be read, a record does not parse, or the database was altered since it was opened:
    /// then what was listed is not what the head proves.
    pub fn for_each(&self, mut each: impl FnMut(Listed)) -> Result<(), LedgerError> {
        let tree = hash_up_to(&self.connection, self.head.size(), |body| {
            each(Listed { record: Record::parse(body)?, body: body.to_vec() });
            Ok(())
        })?;
        matches(&tree, &self.head)
    }

    /// The receipt of the record at an index.
    ///
    /// # Errors
    /// If there is no such record under the head, or its proof cannot be made.
    pub fn receipt(&self, seq: u64) -> Result<String, LedgerError> {
        let missing = || LedgerError::Corrupt(format!("there is no record {seq} under the anchored head"));
        let body = store::record(&self.connection, seq)?.ok_or_else(missing)?;
        let stored = |level, index| store::tile(&self.connection, level, index);
        receipt_text(seq, body, &TileReader::new(&self.tree, stored), &self.head)
    }
}

fn matches(tree: &TileTree, head: &VerifiedCheckpoint) -> Result<(), LedgerError> {
    if tree.size() == head.size() && tree.root() == head.root() {
        return Ok(());
    }
    Err(LedgerError::BehindAnchor("its records are not those that the anchored head covers".into()))
}

fn hash_up_to(
    connection: &Connection,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), LedgerError>,
) -> Result<TileTree, LedgerError> {
    let mut tree = TileTree::new();
    store::for_each_record(connection, size, |_, body| {
        tree.append(leaf_hash(body));
        // Full tiles are read back from the database when a proof needs them; the proof is checked.
        drop(tree.take_full_tiles());
        each(body)
    })?;
    Ok(tree)
}
