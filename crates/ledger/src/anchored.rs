//! The anchored head of a ledger, for those who read it beside its writer.

use std::io::ErrorKind;
use std::path::Path;

use portcullis_verify::{LogKeys, VerifiedCheckpoint};
use rusqlite::Connection;

use crate::abandon::is_given_up;
use crate::anchor::Anchor;
use crate::error::LedgerError;
use crate::opened::RELEASED;
use crate::refuted;
use crate::store;
use crate::verification::checkpoint;

/// The head in the anchor, if neither the data directory nor the database knows of a newer one: then the anchor is an old copy,
/// and what was released since would be passed over. Nor may a witness refute the log. The writer opens no such ledger.
///
/// # Errors
/// [`LedgerError::BehindAnchor`] if there is a newer one, no head in the anchor, or a refutation that stands; else if one of
/// them cannot be read or was signed by no key that counts.
pub(crate) fn head(
    directory: &Path,
    anchor: &Path,
    keys: &LogKeys,
    connection: &Connection,
) -> Result<VerifiedCheckpoint, LedgerError> {
    // Before the anchor: a writer at work writes them behind it.
    let known = known(directory, connection)?;
    let note = Anchor::read(anchor).map_err(LedgerError::Anchor)?;
    let note = note.ok_or_else(|| LedgerError::BehindAnchor("the anchor is empty or was replaced".into()))?;
    let head = checkpoint(&note, keys)?;
    for known in known {
        let known = checkpoint(&known, keys)?;
        if known.size() > head.size() {
            let what = "the anchor is older than a head that was signed";
            return Err(LedgerError::BehindAnchor(what.into()));
        }
        if known.size() == head.size() && known.root() != head.root() {
            let what = "the anchor and a head that lies with the ledger are of one size and of two logs";
            return Err(LedgerError::BehindAnchor(what.into()));
        }
    }
    // As the heads: what is left of a log that was given up is behind what its witnesses saw, and its operator said so.
    if !is_given_up(directory) {
        refuted::refuses(directory)?;
    }
    Ok(head)
}

/// The heads that lie beside the anchor. What is left of a log that was given up is behind them, and its operator said so.
fn known(directory: &Path, connection: &Connection) -> Result<Vec<Vec<u8>>, LedgerError> {
    if is_given_up(directory) {
        return Ok(Vec::new());
    }
    let carried = store::head(connection)?.and_then(|head| head.note);
    let released = match Anchor::read(&directory.join(RELEASED)) {
        Ok(released) => released,
        // Whoever has a copy of ledger and anchor alone has no other head to hold it against.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(LedgerError::file(RELEASED)(error)),
    };
    Ok(carried.into_iter().chain(released).collect())
}
