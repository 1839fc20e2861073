//! Giving up a head that the ledger is behind: what is known to be lost, and what is left.
//!
//! Nothing here changes anything. Whoever gives a head up is shown it before, and names it.

use std::io::ErrorKind;
use std::path::Path;

use portcullis_protocol::Succession;
use portcullis_verify::{Hash, LogKeys, VerifiedCheckpoint};
use rusqlite::Connection;

use crate::anchor::Anchor;
use crate::beside::tree_at;
use crate::checkpoints::Checkpoints;
use crate::error::LedgerError;
use crate::generation::{Generation, Generations};
use crate::opened::RELEASED;
use crate::store::{self, Store};
use crate::verification::{Depth, checkpoint, verify};

/// Name of the file, in a data directory, that says that its log was given up. Nothing opens it for writing again.
pub(crate) const GIVEN_UP: &str = "GIVEN-UP";

/// Why a log cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum AbandonError {
    /// What is left cannot be read, or does not verify.
    #[error("what is left of the log does not verify: {0}; put a copy in place that does")]
    Left(#[source] LedgerError),
    /// The anchor cannot be read, or what it holds was not signed by a key that counts.
    #[error("the anchor cannot be used: {0}")]
    Anchor(#[source] LedgerError),
    /// There is no head that the ledger is behind.
    #[error(
        "the ledger is not behind its anchor, nor behind what its witnesses have seen: nothing is to be given up"
    )]
    NotBehind,
    /// Nobody knows a head of this log.
    #[error("no signed head of this log is known: there is nothing to be given up")]
    Nothing,
    /// The time is before that of the newest record.
    #[error("the clock cannot be read, or says a time before the newest record's; set it right first")]
    Clock,
    /// The log that goes on could not be made. Nothing refers to what there is of it.
    #[error("the log that goes on could not be made: {0}")]
    Successor(#[source] LedgerError),
}

/// What is lost of a log, and what is left.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The newest head that is known and that what is left does not contain. Where all of them are contained, and it
    /// is the anchor that is lost or old, the newest of them.
    pub given_up: VerifiedCheckpoint,
    /// Records that are left.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// The newest signed head that they contain; `None` if nothing is left, or no head of it.
    pub proved: Option<VerifiedCheckpoint>,
    /// Whether they contain the head that is given up.
    pub contained: bool,
    /// Whether the head that is given up is another than the anchor's: the anchor is lost, or old as well. Then more may
    /// have been signed after that head, and be lost, than anybody knows.
    pub open_ended: bool,
    /// PERMITs that are left and have no outcome.
    pub open_permits: u64,
    /// Which bundles were in force by what is left. Others may have been, by what is lost: it is a lower bound. The one
    /// that was activated is of records that a signed head covers.
    pub succession: Succession,
    /// Agents that have labels by what is left.
    pub labelled: usize,
    /// Counters of limits in which something is reserved by what is left.
    pub counters: usize,
}

impl Loss {
    /// Records that are certainly lost.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.given_up.size().saturating_sub(self.size)
    }

    /// Records that may be lost, of those that the head covers which is given up. What was signed after it and is
    /// known to nobody is not among them.
    #[must_use]
    pub fn most(&self) -> u64 {
        if self.contained {
            return 0;
        }
        let (given_up, proved) = (self.given_up.size(), self.proved.as_ref().map_or(0, |head| head.size()));
        // A head that is shorter than what is proved, and not in it, is of another history, of which all may differ.
        given_up.checked_sub(proved).filter(|lost| *lost > 0).map_or(given_up, |lost| lost)
    }
}

/// What the database, the anchor and those outside say.
struct Found {
    /// Heads, each signed by a key that counts: of the anchor, the data directory, the database, and from outside.
    heads: Vec<VerifiedCheckpoint>,
    anchored: Option<VerifiedCheckpoint>,
}

/// Says what is lost of the log in a data directory that nobody writes, and what is left of it. `outside` are heads
/// of it that were seen elsewhere. Reads all that is left.
///
/// # Errors
/// [`AbandonError`]: `Left`, `Anchor`, `NotBehind` or `Nothing`.
pub fn survey(
    directory: &Path,
    anchor: &Path,
    keys: &LogKeys,
    outside: &[VerifiedCheckpoint],
) -> Result<Loss, AbandonError> {
    let current = Generations::of(directory).current().map_err(AbandonError::Left)?;
    let connection = current.as_ref().map(|current| Store::read_only(&current.database)).transpose();
    let connection = connection.map_err(|error| AbandonError::Left(error.into()))?;
    let anchored = noted(anchor, keys).map_err(AbandonError::Anchor)?;
    let mut heads = outside.to_vec();
    heads.extend(anchored.clone());
    heads.extend(noted(&directory.join(RELEASED), keys).map_err(AbandonError::Left)?);
    heads.extend(Checkpoints::of(directory, keys.clone()).newest(|_| true));
    let Some(connection) = connection else {
        return of_nothing(heads, anchored.as_ref());
    };
    let found = Found { heads, anchored };
    found.over(&connection, keys).and_then(|loss| loss.ok_or(AbandonError::NotBehind))
}

/// The head in a file of the anchor's form; `None` if there is none.
fn noted(path: &Path, keys: &LogKeys) -> Result<Option<VerifiedCheckpoint>, LedgerError> {
    match Anchor::read(path) {
        Ok(note) => note.map(|note| checkpoint(&note, keys)).transpose(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::Anchor(error)),
    }
}

/// There is no database at all.
fn of_nothing(
    heads: Vec<VerifiedCheckpoint>,
    anchored: Option<&VerifiedCheckpoint>,
) -> Result<Loss, AbandonError> {
    let newest = heads.into_iter().filter(|head| head.size() > 0).max_by_key(VerifiedCheckpoint::size);
    let given_up = newest.ok_or(AbandonError::Nothing)?;
    let root = portcullis_verify::merkle::empty_root();
    let open_ended = is_open_ended(&given_up, anchored);
    Ok(Loss {
        given_up,
        size: 0,
        root,
        proved: None,
        contained: false,
        open_ended,
        open_permits: 0,
        succession: Succession::default(),
        labelled: 0,
        counters: 0,
    })
}

/// Whether more may have been signed after a head: only what the anchor holds is known to be the newest.
fn is_open_ended(given_up: &VerifiedCheckpoint, anchored: Option<&VerifiedCheckpoint>) -> bool {
    anchored.is_none_or(|anchored| anchored.checkpoint() != given_up.checkpoint())
}

impl Found {
    /// `None` if the ledger would be opened.
    fn over(mut self, connection: &Connection, keys: &LogKeys) -> Result<Option<Loss>, AbandonError> {
        let left = AbandonError::Left;
        let head = store::head(connection).map_err(|error| left(error.into()))?;
        let head = head.ok_or_else(|| left(LedgerError::Corrupt("the database has no head".into())))?;
        let carried = head.note.as_deref().map(|note| checkpoint(note, keys)).transpose().map_err(left)?;
        self.heads.extend(carried);
        let anchor = self.anchored.as_ref().map(VerifiedCheckpoint::note_bytes);
        let known: Vec<&VerifiedCheckpoint> = self.heads.iter().collect();
        match verify(connection, anchor, keys, &known, Depth::Whole) {
            Ok(_) => return Ok(None),
            Err(LedgerError::BehindAnchor(_)) => {}
            Err(error) => return Err(left(error)),
        }
        if head.size == 0 {
            return of_nothing(self.heads, self.anchored.as_ref()).map(Some);
        }
        let mut contained = Vec::new();
        let mut missing = Vec::new();
        for candidate in self.heads {
            let within = candidate.size() <= head.size
                && tree_at(connection, candidate.size()).map_err(left)?.root() == candidate.root();
            if within { contained.push(candidate) } else { missing.push(candidate) }
        }
        contained.sort_by_key(VerifiedCheckpoint::size);
        let proved = contained.pop();
        let newest = missing.into_iter().max_by_key(VerifiedCheckpoint::size);
        let is_contained = newest.is_none();
        let given_up = newest.or_else(|| proved.clone()).ok_or(AbandonError::Nothing)?;
        let open_ended = is_open_ended(&given_up, self.anchored.as_ref());
        // Under the newest head that it contains, what is left must be a ledger like any other.
        let Some(under) = &proved else {
            let error = LedgerError::BehindAnchor("it contains no head that is known to be signed".into());
            return Err(left(error));
        };
        let verified = verify(connection, Some(under.note_bytes()), keys, &[], Depth::Whole).map_err(left)?;
        let open = store::open_permits(connection).map_err(|error| left(error.into()))?;
        Ok(Some(Loss {
            given_up,
            size: head.size,
            root: head.root,
            proved,
            contained: is_contained,
            open_ended,
            open_permits: open,
            succession: verified.succession.beside(&verified.latest),
            labelled: verified.standing.all_labels().1.len(),
            counters: verified.standing.counters(),
        }))
    }
}

/// Whether the log of a data directory was given up, as far as can be told: a mark that cannot be looked for counts.
#[must_use]
pub fn is_given_up(directory: &Path) -> bool {
    match std::fs::symlink_metadata(directory.join(GIVEN_UP)) {
        Ok(_) => true,
        // Without the directory there is nothing to be opened.
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Marks the log of a data directory as given up, durably. `statement` says in favour of which one.
///
/// # Errors
/// If that is not known to lie on the disk.
pub fn mark_given_up(directory: &Path, statement: &[u8]) -> std::io::Result<()> {
    crate::durable::replace_durably(&directory.join(GIVEN_UP), statement)
}

/// The generation in use of a data directory, to be copied from.
pub(crate) fn source(directory: &Path) -> Result<Option<Generation>, LedgerError> {
    Generations::of(directory).current()
}
