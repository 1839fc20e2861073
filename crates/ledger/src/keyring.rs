//! The keys of a log while one takes the place of another: both sign every head, so that whoever trusts either of
//! them believes it.

use std::collections::BTreeMap;

use portcullis_protocol::Event;
use portcullis_verify::{LogKeys, VerifiedCheckpoint, VerifierKey};

use crate::batch::Batch;
use crate::error::LedgerError;
use crate::signer::{SignError, Signer};

/// The signer of a log, the one that is to follow it, and every key that counts.
pub struct Keyring {
    current: Box<dyn Signer>,
    next: Option<Box<dyn Signer>>,
    trusted: LogKeys,
}

impl Keyring {
    /// `next` signs too, from now on. `trusted` holds the keys of both, and those that signed before.
    #[must_use]
    pub fn new(current: Box<dyn Signer>, next: Option<Box<dyn Signer>>, trusted: LogKeys) -> Self {
        Self { current, next, trusted }
    }
}

impl Signer for Keyring {
    fn verifier(&self) -> &VerifierKey {
        self.current.verifier()
    }

    fn trusted(&self) -> LogKeys {
        self.trusted.clone()
    }

    fn next(&mut self) -> Option<&mut dyn Signer> {
        match &mut self.next {
            Some(next) => Some(next.as_mut()),
            None => None,
        }
    }

    fn ready(&mut self) -> Result<(), SignError> {
        self.current.ready()?;
        self.next.as_mut().map_or(Ok(()), |next| next.ready())
    }

    fn sign(&mut self, text: &[u8]) -> Result<[u8; 64], SignError> {
        self.current.sign(text)
    }
}

/// What the log is to say about its keys when it goes on after a head that others may have signed: keys that sign
/// from now on, and keys that signed that head and sign no more.
pub(crate) fn changes(
    head: Option<&VerifiedCheckpoint>,
    signer: &mut dyn Signer,
) -> Vec<(Event, BTreeMap<String, String>)> {
    // A log that begins has no other keys than those that its first head shows.
    let Some(head) = head else { return Vec::new() };
    let mut signing = vec![signer.verifier().clone()];
    signing.extend(signer.next().map(|next| next.verifier().clone()));
    let mut changes = Vec::new();
    for key in signing.iter().filter(|key| !head.signed_by().contains(key)) {
        changes.push((Event::KeyAdded, BTreeMap::from([("key".to_owned(), key.to_string())])));
    }
    let of_log = head.signed_by().iter().filter(|key| key.name() == head.origin());
    for key in of_log.filter(|key| !signing.contains(key)) {
        let until = ("until".to_owned(), head.size().to_string());
        changes.push((Event::KeyRetired, BTreeMap::from([("key".to_owned(), key.to_string()), until])));
    }
    changes
}

/// The first records of an opened ledger, with those about its keys.
pub(crate) fn open(
    batch: &mut Batch<'_>,
    event: Event,
    changes: Vec<(Event, BTreeMap<String, String>)>,
) -> Result<(), LedgerError> {
    batch.open(event)?;
    changes.into_iter().try_for_each(|(event, detail)| batch.event(event, detail).map(drop))
}
