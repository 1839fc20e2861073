//! How the writer leaves a ledger that is not to be believed, and opens one again.

use std::time::Duration;

use portcullis_protocol::ReasonCode;

use super::{Failed, Writer};
use crate::opened::{Location, Opened};
use crate::place::Place;
use crate::scrub::Scrub;
use crate::suspect;
use crate::verification::Depth;

/// How long calls are kept waiting for the next attempt to open the ledger. Beyond that they get the reason.
const SOON: Duration = Duration::from_secs(2);

impl Writer {
    /// A ledger that another file has taken the place of is closed: what lies there now must prove itself. One
    /// whose place is empty is kept open, for it may be put back.
    pub(super) fn leave_replaced(&mut self) {
        if let Ok(opened) = &mut self.phase {
            let (store, anchor) = (opened.store.place(), opened.anchor.place());
            if store == Place::Replaced {
                self.phase = Err(ReasonCode::EvidenceUnwritable);
            } else if anchor == Place::Replaced {
                self.phase = Err(ReasonCode::EvidenceAnchorUnwritable);
            }
        }
    }

    /// A ledger that the scrub found damaged is closed, and opened again only after all of it was read.
    pub(super) fn leave_damaged(&mut self) {
        let found = self.phase.as_ref().map_or(None, |opened| opened.scrub.as_ref().and_then(Scrub::found));
        if let Some(found) = found.cloned() {
            self.phase = Err(found.code);
            self.doubt(&found.what);
        }
    }

    /// The ledger is damaged: who opens it next reads all of it, whatever is found at once.
    pub(super) fn doubt(&mut self, what: &str) {
        self.doubted = Some(what.to_owned());
        self.note_doubt();
    }

    /// Tells the next process, which may be started at any moment. This one need not be told by a file: where none can be
    /// written, it tries again for as long as it is in doubt.
    fn note_doubt(&self) {
        if let Some(what) = self.doubted.as_ref().filter(|_| !suspect::is_raised(&self.config.directory)) {
            drop(suspect::raise(&self.config.directory, what));
        }
    }

    /// Whether the ledger may be opened now. Attempts that fail are spaced out; who asks when the next one is near
    /// waits for it, so that the first call after a repair is decided.
    pub(super) fn rested(&self, asked: bool) -> bool {
        while !self.reopening.rest().is_zero() {
            if !asked || self.closing || self.reopening.rest() > SOON {
                return false;
            }
            std::thread::park_timeout(self.reopening.rest());
        }
        true
    }

    /// Opens the ledger, or rebuilds it after a failure.
    pub(super) fn reopen(&mut self) {
        let keys = self.signer.trusted();
        let location = Location {
            directory: &self.config.directory,
            anchor: &self.config.anchor,
            key: &keys,
            known: self.known.as_ref(),
        };
        self.note_doubt();
        let doubted = self.doubted.is_some() || suspect::is_raised(&self.config.directory);
        let depth = if doubted { Depth::Whole } else { Depth::Tail };
        // What was found may lie beside the records.
        let vet = |opened: &Opened| match doubted {
            true => {
                let means = self.config.means(opened.master);
                means.everything(&opened.store.connection, opened.tree.size())
            }
            false => Ok(()),
        };
        let opened = match self.failed {
            Some(Failed::Unknown) => Opened::rebuild(&location, vet),
            Some(Failed::Unsigned) | None => {
                Opened::open(&location, depth).and_then(|opened| vet(&opened).map(|()| opened))
            }
        };
        self.phase = match opened {
            Ok(opened) => Ok(Box::new(opened)),
            Err(error) => Err(error.code()),
        };
    }
}
