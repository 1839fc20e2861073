//! What lies beside the records and the state: the tree's tiles, the chains of keys as marks say them, and what is kept.

use portcullis_verify::Tile;

use super::{Contradiction, StateReplay};
use crate::archive_audit::{self, PAYLOADS};
use crate::error::LedgerError;
use crate::keys::{self, Chains};
use crate::payload_audit;
use crate::store;

/// What a replay compares with what the records lead to.
pub const COMPARED: [&str; 9] = [
    "tiles",
    "attempts",
    "permits, their outcomes and how long results are kept",
    "keys",
    "the keys' chains at the newest mark",
    "what marks keep of limits and labels",
    "series of spools",
    "requests and results, whether they are kept for their time",
    "uses of facts",
];

/// What lies with the records and a replay does not compare, all of which `log check --with-key` reads.
pub const NOT_COMPARED: [&str; 3] = [
    "what is sealed, but for what is decided again and results",
    "facts that nothing is decided again by",
    "archives of bundles, but for those of what is decided again",
];

impl StateReplay<'_> {
    /// Compares tiles that the records so far have filled with those that are stored.
    pub(super) fn tiles(&mut self, full: Vec<Tile>) -> Result<(), LedgerError> {
        for Tile { level, index, hashes } in full {
            self.tiles += 1;
            let stored = match store::tile(&self.reader.connection, level, index).map_err(LedgerError::from) {
                // One that is missing is one finding among others.
                Err(LedgerError::Corrupt(_)) => None,
                stored => Some(stored?),
            };
            if stored != Some(hashes) {
                let what = format!("tile {index} of level {level} is missing or says something else");
                self.found.push(Contradiction { seq: None, what });
            }
        }
        Ok(())
    }

    /// Compares the keys' chains as they were stored with the newest mark, and as the rows of `keys` come to, with what it says.
    pub(super) fn chains(&mut self) -> Result<(), LedgerError> {
        let connection = &self.reader.connection;
        let Some(mark) = keys::newest_mark(connection, self.next)? else { return Ok(()) };
        let stored = match Chains::load(connection, mark.slot) {
            // A part that is none is one finding among others.
            Err(LedgerError::Corrupt(_)) => None,
            stored => Some(stored?.digest().to_string()),
        };
        let computed = Some(Chains::of_entries(connection, mark.seq)?.digest().to_string());
        let said = self.marks.get(&mark.seq).and_then(Option::as_ref);
        if said.is_none() || said != stored.as_ref() || said != computed.as_ref() {
            self.say(mark.seq, "the keys or their chains are not those that it says, or it is no mark");
        }
        Ok(())
    }

    /// Compares what is kept beside the records with what they say of it, without opening any. Each part of them that does not
    /// agree is one finding.
    pub(super) fn kept(&mut self) -> Result<(), LedgerError> {
        let (connection, size, erasures) = (&self.reader.connection, self.next, &self.erasures);
        let mut compared = Vec::new();
        let mut first = 0;
        while first < size {
            let end = first.saturating_add(PAYLOADS).min(size);
            compared.push(payload_audit::payloads(connection, (None, erasures), first..end).map(drop));
            first = end;
        }
        compared.push(payload_audit::payloads_behind(connection, (None, erasures), size));
        compared.push(erasures.audit(connection));
        compared.push(archive_audit::fact_uses(connection));
        for compared in compared {
            match compared {
                Err(LedgerError::Corrupt(what)) => self.found.push(Contradiction { seq: None, what }),
                compared => compared?,
            }
        }
        Ok(())
    }
}
