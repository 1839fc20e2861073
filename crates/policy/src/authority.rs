//! Whose signatures on a bundle count, and how many of them it takes.

use std::collections::BTreeSet;

use portcullis_protocol::{Lineage, Millis, RootRef};
use portcullis_verify::{NoteError, UnverifiedNote, VerifierKey};

/// Keys, of which a number must agree. Comes from configuration or from a chain of roots that begins with a pinned
/// one ([`crate::RootChain::verify`]), never with what it judges.
#[derive(Clone, Debug)]
pub struct Authority {
    keys: Vec<VerifierKey>,
    threshold: usize,
    roots: Option<Lineage>,
    valid_until: Option<Millis>,
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
        Self { keys, threshold: 1, roots: None, valid_until: None }
    }

    pub(crate) const fn of_root(
        keys: Vec<VerifierKey>,
        threshold: usize,
        roots: Lineage,
        valid_until: Millis,
    ) -> Self {
        Self { keys, threshold, roots: Some(roots), valid_until: Some(valid_until) }
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
    pub fn root(&self) -> Option<RootRef> {
        self.roots().map(Lineage::newest)
    }

    /// The chain that this root is the newest of.
    #[must_use]
    pub const fn roots(&self) -> Option<&Lineage> {
        self.roots.as_ref()
    }

    /// From when on its word does not count any more; `None` if never.
    #[must_use]
    pub const fn valid_until(&self) -> Option<Millis> {
        self.valid_until
    }

    /// The text of a note that enough of the keys signed, and which did. A key counts once, however often and under
    /// however many names it signed.
    pub(crate) fn agree(&self, note: UnverifiedNote) -> Result<Agreed, Disagreed> {
        agree(&self.keys, self.threshold, note)
    }
}

/// As [`Authority::agree`], of a number of keys.
pub(crate) fn agree(
    keys: &[VerifierKey],
    threshold: usize,
    note: UnverifiedNote,
) -> Result<Agreed, Disagreed> {
    let note = note.verify(keys).map_err(Disagreed::Note)?;
    let mut counted = BTreeSet::new();
    let distinct = note.signed_by().iter().filter(|key| counted.insert(key.public_key()));
    let signers: Vec<_> = distinct.cloned().collect();
    if signers.len() < threshold {
        return Err(Disagreed::TooFew { needed: threshold, signers });
    }
    Ok(Agreed { text: note.text().to_owned(), signers })
}
