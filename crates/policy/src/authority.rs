//! Whose signatures on a bundle count, and how many of them it takes.

use std::collections::BTreeSet;

use portcullis_protocol::{Digest, Millis};
use portcullis_verify::{NoteError, UnverifiedNote, VerifierKey};

/// Keys, of which a number must agree. Comes from configuration or from a chain of roots that begins with a pinned
/// one ([`crate::RootChain::verify`]), never with what it judges.
#[derive(Clone, Debug)]
pub struct Authority {
    keys: Vec<VerifierKey>,
    threshold: usize,
    root: Option<RootRef>,
    valid_until: Option<Millis>,
}

/// A root, as the log names it: the chain that it ends, by the digest of the pinned first root, and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootRef {
    /// The digest of the chain's first root.
    pub chain: Digest,
    /// The version of its newest.
    pub version: u64,
}

impl RootRef {
    /// As the log keeps it.
    #[must_use]
    pub const fn named(self) -> (Digest, u64) {
        (self.chain, self.version)
    }
}

/// What the signatures on a note came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) text: String,
    pub(crate) signers: Vec<VerifierKey>,
}

/// Why the signatures on a note do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disagreed {
    Note(NoteError),
    TooFew { needed: usize, signers: Vec<VerifierKey> },
}

impl Authority {
    /// Keys of which any one suffices. With none, nothing is believed.
    #[must_use]
    pub const fn any_of(keys: Vec<VerifierKey>) -> Self {
        Self { keys, threshold: 1, root: None, valid_until: None }
    }

    pub(crate) const fn of_root(
        keys: Vec<VerifierKey>,
        threshold: usize,
        root: RootRef,
        valid_until: Millis,
    ) -> Self {
        Self { keys, threshold, root: Some(root), valid_until: Some(valid_until) }
    }

    /// The keys that may sign.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// How many distinct keys must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The root that says so; `None` if the configuration does.
    #[must_use]
    pub const fn root(&self) -> Option<RootRef> {
        self.root
    }

    /// From when on its word does not count any more; `None` if never.
    #[must_use]
    pub const fn valid_until(&self) -> Option<Millis> {
        self.valid_until
    }

    /// The text of a note that enough of the keys signed, and which did. A key counts once, however often and under
    /// however many names it signed.
    pub(crate) fn agree(&self, note: UnverifiedNote) -> Result<Agreed, Disagreed> {
        let note = note.verify(&self.keys).map_err(Disagreed::Note)?;
        let mut counted = BTreeSet::new();
        let distinct = note.signed_by().iter().filter(|key| counted.insert(key.public_key()));
        let signers: Vec<_> = distinct.cloned().collect();
        if signers.len() < self.threshold {
            return Err(Disagreed::TooFew { needed: self.threshold, signers });
        }
        Ok(Agreed { text: note.text().to_owned(), signers })
    }
}
