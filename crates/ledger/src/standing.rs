//! What earlier PERMITs left for later decisions, as marks keep it.
//!
//! In memory it comes from the log alone: from the rows of the newest mark, whose record has their digest, and the
//! records after it. So a row that is missing, changed or put back is noticed by the start that it could mislead.

use std::collections::BTreeMap;

use portcullis_arbiter::{Standing, standing_digest};
use portcullis_protocol::{Digest, Event, Record};
use portcullis_verify::TileTree;
use rusqlite::{Connection, params};

use crate::edge;
use crate::error::LedgerError;
use crate::keys::{self, Slot};

/// What a mark's record calls the digest of what is reserved.
pub(crate) const STANDING: &str = "standing";

type Rows = BTreeMap<String, Vec<u8>>;

/// Replaces the rows of a slot.
pub(crate) fn store(connection: &Connection, slot: Slot, rows: &Rows) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM standing WHERE slot = ?1")?.execute([slot.number()])?;
    let text = "INSERT INTO standing (slot, name, body) VALUES (?1, ?2, ?3)";
    let mut statement = connection.prepare_cached(text)?;
    for (name, body) in rows {
        statement.execute(params![slot.number(), name, body])?;
    }
    Ok(())
}

/// The rows of a slot. Nothing is believed of them before their digest is compared with the mark's record.
pub(crate) fn stored(connection: &Connection, slot: Slot) -> Result<Rows, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT name, body FROM standing WHERE slot = ?1")?;
    let rows = statement.query_map([slot.number()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What a slot holds, unproved.
pub(crate) fn load(connection: &Connection, slot: Slot) -> Result<Standing, LedgerError> {
    Standing::from_rows(&stored(connection, slot)?).map_err(|error| LedgerError::Corrupt(error.to_string()))
}

/// The digest of what a slot holds, as marks say it; `None` of nothing.
pub(crate) fn digest(connection: &Connection, slot: Slot) -> Result<Option<String>, LedgerError> {
    Ok(standing_digest(&stored(connection, slot)?).map(|digest| digest.to_string()))
}

/// Compares what is reserved with what a mark's record says. It must have forgotten what had lapsed by then.
pub(crate) fn agrees(standing: &Standing, said: Option<Digest>, mark: u64) -> Result<(), LedgerError> {
    if standing_digest(&standing.rows()) == said { Ok(()) } else { Err(differs(mark)) }
}

/// Compares the rows of the newest mark that a tree has with what its record says.
pub(crate) fn audit(connection: &Connection, tree: &TileTree) -> Result<(), LedgerError> {
    let Some(mark) = keys::newest_mark(connection, tree.size())? else { return Ok(()) };
    let said = match edge::proved(connection, tree, mark.seq)? {
        Record::Event(record) if record.event == Event::Marked => record.detail.get(STANDING).cloned(),
        Record::Event(_)
        | Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => return Err(differs(mark.seq)),
    };
    if digest(connection, mark.slot)? == said { Ok(()) } else { Err(differs(mark.seq)) }
}

fn differs(mark: u64) -> LedgerError {
    LedgerError::Corrupt(format!("what is reserved of limits is not what the mark in record {mark} says"))
}
