//! Why the records of a database are not those that a signed head covers: another log's, or damaged.
//!
//! Records that lead to the head which the database itself has are another log's, or an older one's:
//! [`LedgerError::BehindAnchor`]. Those that do not are damaged: [`LedgerError::Corrupt`] names the tile, or the record that is
//! missing or is none, or else the records of the tile that still grew, of whose hashes nothing is kept but the root.

use portcullis_protocol::Record;
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, TileTree};
use rusqlite::Connection;

use crate::edge::{self, TILE};
use crate::error::LedgerError;
use crate::store;
use crate::verification::compare_tiles;

/// What is told where the tiles and the newest records do not lead to a signed head. All records are read only if the database is
/// damaged.
pub(crate) fn of_tiles(connection: &Connection) -> LedgerError {
    let agree = stored(connection).and_then(|(size, root)| {
        let tree = edge::first(connection, size)?;
        Ok(tree.size() == size && tree.root() == root)
    });
    if agree.is_ok_and(|agree| agree) { behind() } else { of_records(connection) }
}

/// What is told where the records do not lead to a signed head, whatever the tiles say.
pub(crate) fn of_records(connection: &Connection) -> LedgerError {
    match stored(connection).and_then(|(size, root)| damage(connection, size, &root)) {
        Ok(damage) => damage.map_or_else(behind, LedgerError::Corrupt),
        Err(error) => error,
    }
}

fn behind() -> LedgerError {
    LedgerError::BehindAnchor("its records are not those that the anchored head covers".into())
}

/// Size and root of the head that the database itself has.
fn stored(connection: &Connection) -> Result<(u64, Hash), LedgerError> {
    let head = store::head_beside_records(connection)?;
    let (size, root, _) = head.ok_or_else(|| LedgerError::Corrupt("the database has no head".into()))?;
    Ok((size, root))
}

/// What of the database does not lead to its own head.
fn damage(connection: &Connection, size: u64, root: &Hash) -> Result<Option<String>, LedgerError> {
    let grows = size - size % TILE;
    let mut tree = TileTree::new();
    store::for_each_record(connection, 0, size, |seq, body| {
        if seq != tree.size() {
            return Err(LedgerError::Corrupt(format!("record {} is missing", tree.size())));
        }
        if seq >= grows && !Record::parse(body).is_ok_and(|record| record.seq() == seq) {
            return Err(LedgerError::Corrupt(format!("record {seq} is not one")));
        }
        tree.append(leaf_hash(body));
        compare_tiles(connection, &mut tree)
    })?;
    if tree.size() < size {
        return Ok(Some(format!("record {} is missing", tree.size())));
    }
    let altered =
        || format!("of the records {grows} to {} one is not what was signed", size.saturating_sub(1));
    Ok((tree.root() != *root).then(altered))
}
