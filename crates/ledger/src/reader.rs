//! Reading a ledger beside its writer, for people on the same machine.

use std::path::Path;

use portcullis_protocol::{AttemptId, Event, Record, Succession};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{LogKeys, TileTree, VerifiedCheckpoint};
use rusqlite::Connection;

use crate::anchored;
use crate::audit::{Audit, What};
use crate::disagreement;
use crate::edge::{self, TILE};
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
    /// Opens the ledger of a data directory. Its tiles and its newest records must hash to the anchored head; the
    /// others are proved when they are read.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read or does not verify, or the anchor is older than a head that lies with the ledger.
    pub fn open(directory: &Path, anchor: &Path, keys: impl Into<LogKeys>) -> Result<Self, LedgerError> {
        let database = Generations::of(directory)
            .current()?
            .ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&database.database)?;
        let head = anchored::head(directory, anchor, &keys.into(), &connection)?;
        let tree = edge::under(&connection, &head)?;
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
    /// If the database cannot be read, a record does not parse, or the records do not hash to the head: then what
    /// was listed is not what the head proves.
    pub fn for_each(&self, mut each: impl FnMut(Listed)) -> Result<(), LedgerError> {
        let mut tree = TileTree::new();
        store::for_each_record(&self.connection, 0, self.head.size(), |_, body| {
            tree.append(leaf_hash(body));
            // Full tiles are read back from the database when a proof needs them; the proof is checked.
            drop(tree.take_full_tiles());
            each(Listed { record: Record::parse(body)?, body: body.to_vec() });
            Ok::<_, LedgerError>(())
        })?;
        if tree.size() == self.head.size() && tree.root() == self.head.root() {
            return Ok(());
        }
        Err(disagreement::of_records(&self.connection))
    }

    /// How many tiles of 256 records there are under the head, the last of which may hold fewer.
    #[must_use]
    pub fn tiles(&self) -> u64 {
        self.head.size().div_ceil(TILE)
    }

    /// The records of a tile, in order, each proved.
    ///
    /// # Errors
    /// If they cannot be read, or are not those that the head covers.
    pub fn tile(&self, index: u64) -> Result<Vec<Listed>, LedgerError> {
        // What is proved and what is returned must be of one snapshot.
        let snapshot = self.connection.unchecked_transaction()?;
        Audit::new(&snapshot, &self.tree, What::Log).tiles(index, 1)?;
        let (begin, end) = (index.saturating_mul(TILE), index.saturating_add(1).saturating_mul(TILE));
        let mut listed = Vec::new();
        store::for_each_record(&snapshot, begin, end.min(self.head.size()), |_, body| {
            listed.push(Listed { record: Record::parse(body)?, body: body.to_vec() });
            Ok::<_, LedgerError>(())
        })?;
        snapshot.finish()?;
        Ok(listed)
    }

    /// Which bundles were in force up to the head. Reads the log from its newest mark on.
    ///
    /// # Errors
    /// As [`tile`](Self::tile).
    pub fn succession(&self) -> Result<Succession, LedgerError> {
        let mut later = Vec::new();
        let mut succession = Succession::default();
        'tiles: for tile in (0..self.tiles()).rev() {
            for listed in self.tile(tile)?.into_iter().rev() {
                let Record::Event(record) = listed.record else { continue };
                let marked =
                    if record.event == Event::Marked { Succession::of_mark(&record.detail) } else { None };
                if let Some(marked) = marked {
                    succession = marked;
                    break 'tiles;
                }
                later.push(record);
            }
        }
        later.iter().rev().for_each(|record| succession.follow(record));
        Ok(succession)
    }

    /// The record at an index, proved.
    ///
    /// # Errors
    /// If there is no such record under the head, or it is not the one that the head covers.
    pub fn record(&self, seq: u64) -> Result<Record, LedgerError> {
        edge::proved(&self.connection, &self.tree, seq)
    }

    /// Indexes of decisions whose attempts begin with a text: of none, of one, or of two where there are more. Which
    /// record an attempt has is believed as the state says it; see [`record`](Self::record).
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn attempts(&self, beginning: &str) -> Result<Vec<u64>, LedgerError> {
        let bound = |fill: char| -> Option<AttemptId> {
            format!("{beginning}{}", fill.to_string().repeat(64_usize.saturating_sub(beginning.len())))
                .parse()
                .ok() // tidy: allow a text that is no beginning of an attempt finds none
        };
        match (bound('0'), bound('f')) {
            (Some(first), Some(last)) => Ok(store::attempts_from(&self.connection, &first, &last, 2)?),
            (_, _) => Ok(Vec::new()),
        }
    }

    /// The receipt of the record at an index.
    ///
    /// # Errors
    /// If there is no such record under the head, or its proof cannot be made.
    pub fn receipt(&self, seq: u64) -> Result<String, LedgerError> {
        let missing = || LedgerError::Corrupt(format!("there is no record {seq} under the anchored head"));
        let body = store::record(&self.connection, seq)?.ok_or_else(missing)?;
        receipt_text(seq, body, &edge::reader(&self.connection, &self.tree), &self.head)
    }
}
