//! Checking any range of a log by itself: its records against the tiles, the tiles against a signed head, the state
//! against the records.

use std::collections::BTreeMap;

use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, Tile, TileTree};
use rusqlite::Connection;

use crate::edge::{self, TILE};
use crate::error::LedgerError;
use crate::keys;
use crate::late;
use crate::projection::{Counted, Effect, Projection, Said};
use crate::store;
use crate::turns::Turns;

/// Parts in which rows that have no order of the log's are counted, so that whoever counts can pause.
pub(crate) const COUNTING_PARTS: u16 = 256;

/// What is checked of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Records against tiles, tiles against the tree.
    Log,
    /// The state against the records.
    State,
    /// All of it.
    Everything,
    /// Nothing: what the records say of bundles in force is only read.
    Turns,
}

/// A checker of the log under a tree that a signed head proves.
pub(crate) struct Audit<'a> {
    connection: &'a Connection,
    tree: &'a TileTree,
    /// By level, the full tile that was last proved.
    proved: BTreeMap<u8, Tile>,
    what: What,
    /// Of the records before this index the state is not compared again.
    from: u64,
    pub(crate) counted: Counted,
    /// What the records say of bundles in force; nothing where only the state is compared with them.
    pub(crate) turns: Turns,
}

impl<'a> Audit<'a> {
    /// `tree` must have been compared with a signed head, and its full tiles must be stored.
    pub(crate) fn new(connection: &'a Connection, tree: &'a TileTree, what: What) -> Self {
        let (counted, turns) = (Counted::default(), Turns::default());
        Self { connection, tree, proved: BTreeMap::new(), what, from: 0, counted, turns }
    }

    /// A checker of the state alone, of the records from this index on.
    pub(crate) fn of_state_from(connection: &'a Connection, tree: &'a TileTree, from: u64) -> Self {
        Self { from, ..Self::new(connection, tree, What::State) }
    }

    /// Checks `tiles` tiles of records from the one with index `first` on, or as many as there are. Returns how
    /// many records that were.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] names the first record or tile that is not what the head covers.
    pub(crate) fn tiles(&mut self, first: u64, tiles: u64) -> Result<u64, LedgerError> {
        let size = self.tree.size();
        let end = first.saturating_add(tiles).saturating_mul(TILE).min(size);
        let begin = first.saturating_mul(TILE).max(self.from).min(end);
        let mut projection = Projection::new(self.connection, u64::MAX, None);
        let mut leaves = Vec::with_capacity(256);
        let (mut next, mut turns) = (begin, Turns::default());
        let (hashes, compares) = match self.what {
            What::Log => (true, false),
            What::State => (false, true),
            What::Everything => (true, true),
            What::Turns => (false, false),
        };
        store::for_each_record(self.connection, begin, end, |seq, body| {
            if seq != next {
                return Err(missing(next));
            }
            next = next.saturating_add(1);
            if compares {
                projection.compare(seq, body).map(|_: (Effect, Said)| ())?;
            }
            if hashes || !compares {
                turns.read(seq, body)?;
            }
            if !hashes {
                return Ok(());
            }
            leaves.push(leaf_hash(body));
            if next.is_multiple_of(TILE) {
                self.full(next / TILE - 1, std::mem::take(&mut leaves))?;
            }
            Ok(())
        })?;
        if next != end {
            return Err(missing(next));
        }
        self.growing(end - end % TILE, &leaves)?;
        let counted = projection.counted;
        if compares && store::permits_between(self.connection, begin, end)? != counted.permits {
            return Err(LedgerError::Corrupt(format!(
                "the state holds PERMITs from record {begin} on that no record speaks of"
            )));
        }
        // Whoever tries a range again that could not be read must not find the half of it here.
        self.counted.add(&counted);
        self.turns.join(turns);
        Ok(end - begin)
    }

    /// Compares a full tile of records with the stored one, and with what the tree has above it.
    fn full(&mut self, index: u64, hashes: Vec<Hash>) -> Result<(), LedgerError> {
        let computed = Tile { level: 0, index, hashes };
        let stored = edge::full_tile(self.connection, 0, index)?;
        let above = self.hash(1, index)?;
        if stored == computed && computed.root() == above {
            return Ok(());
        }
        if stored.root() != above {
            return Err(LedgerError::Corrupt(format!(
                "tile {index} of level 0 is not the one that was signed"
            )));
        }
        self.growing_differs(index.saturating_mul(TILE), &stored.hashes, &computed.hashes)
    }

    /// Compares the records of the tile that still grows with the tree's edge.
    fn growing(&self, begin: u64, leaves: &[Hash]) -> Result<(), LedgerError> {
        if leaves.is_empty() {
            return Ok(());
        }
        match self.tree.right_edge().first() {
            Some(edge) if edge.as_slice() == leaves => Ok(()),
            Some(edge) => self.growing_differs(begin, edge, leaves),
            None => Err(missing(begin)),
        }
    }

    fn growing_differs(&self, begin: u64, signed: &[Hash], found: &[Hash]) -> Result<(), LedgerError> {
        let differing = (begin..).zip(signed.iter().zip(found)).find(|(_, (signed, found))| signed != found);
        let index = differing.map_or(self.tree.size(), |(index, _)| index);
        Err(LedgerError::Corrupt(format!("record {index} is not the one that was signed")))
    }

    /// The tree's hash over the `index`-th full tile of the level below.
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let (tile, place) = (index / TILE, index % TILE);
        let shape = TileTree::right_edge_shape(self.tree.size());
        let growing = shape.iter().find(|growing| growing.level == level);
        let place = usize::try_from(place).map_err(|_| absent(level, index))?;
        if growing.is_none_or(|growing| growing.index <= tile) {
            let row = self.tree.right_edge().get(usize::from(level)).and_then(|row| row.get(place));
            return row.copied().ok_or_else(|| absent(level, index));
        }
        if self.proved.get(&level).is_none_or(|proved| proved.index != tile) {
            let stored = edge::full_tile(self.connection, level, tile)?;
            if stored.root() != self.hash(level.saturating_add(1), tile)? {
                return Err(LedgerError::Corrupt(format!(
                    "tile {tile} of level {level} is not the one that was signed"
                )));
            }
            self.proved.insert(level, stored);
        }
        let hash = self.proved.get(&level).and_then(|proved| proved.hashes.get(place));
        hash.copied().ok_or_else(|| absent(level, index))
    }
}

/// Counts rows of the state that have no order of the log's, one part of [`COUNTING_PARTS`] after the other, as of
/// the records before `end`.
pub(crate) fn count(connection: &Connection, part: u16, end: u64) -> Result<Counted, LedgerError> {
    let (attempts, attempted) = store::attempts_between(connection, part, end)?;
    keys::operations(connection, part, end)?;
    let (keys, entered) = keys::entries_between(connection, part, end)?;
    is_recorded(connection, attempted.max(entered))?;
    Ok(Counted { permits: 0, attempts, keys })
}

/// Checks that the newest record that rows speak of is there: what came since the head that all is counted under has a
/// record too.
pub(crate) fn is_recorded(connection: &Connection, newest: Option<u64>) -> Result<(), LedgerError> {
    if newest <= store::last_record(connection)? { Ok(()) } else { Err(unspoken()) }
}

/// Checks that the newest PERMIT of the state has a record, and that each spool was entered as far as a record says.
pub(crate) fn beyond(connection: &Connection) -> Result<(), LedgerError> {
    is_recorded(connection, store::last_permit(connection)?)?;
    late::audit(connection)
}

/// Compares what was counted with what all records speak of, and the number of tiles with the log's.
pub(crate) fn compare_counts(
    connection: &Connection,
    size: u64,
    spoken: &Counted,
    held: &Counted,
) -> Result<(), LedgerError> {
    if (spoken.attempts, spoken.keys) != (held.attempts, held.keys) {
        return Err(unspoken());
    }
    beyond(connection)?;
    for tile in TileTree::right_edge_shape(size).iter().filter(|tile| tile.index > 0) {
        if store::tiles_before(connection, tile.level, tile.index)? != tile.index {
            return Err(LedgerError::Corrupt(format!("a tile of level {} is missing", tile.level)));
        }
    }
    Ok(())
}

fn unspoken() -> LedgerError {
    LedgerError::Corrupt("the state holds what no record speaks of".into())
}

fn missing(record: u64) -> LedgerError {
    LedgerError::Corrupt(format!("record {record} is missing"))
}

fn absent(level: u8, index: u64) -> LedgerError {
    LedgerError::Corrupt(format!("the tree has no hash {index} of tile level {level}"))
}
