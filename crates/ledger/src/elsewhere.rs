//! Who else has seen the log. A database and its anchor that were both put back from a backup agree with each other;
//! only somebody outside can tell that the log once was longer.

use portcullis_verify::VerifiedCheckpoint;

/// What those outside say of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has seen more than it, or another history: some say so, or there is nobody to ask.
    NothingElse,
    /// Nobody could be asked in time. A ledger of which nobody outside says that it is the one they know is not opened:
    /// what cannot be told apart from a restored one counts as restored.
    Unknown,
    /// Somebody has seen a longer log, or another history.
    More,
}

/// Those outside, asked before a ledger that was opened records or signs anything new.
pub trait Elsewhere: Send {
    /// Asks about the newest anchored head. Blocks the writer, which has nothing else to do then, within a bound of
    /// the implementation's own.
    fn compare(&mut self, head: &VerifiedCheckpoint) -> Seen;
}

/// There is nobody.
pub(crate) struct Nobody;

impl Elsewhere for Nobody {
    fn compare(&mut self, _head: &VerifiedCheckpoint) -> Seen {
        Seen::NothingElse
    }
}
