//! An open, verified ledger: database, tree, anchor, and the newest signed head.

use std::path::Path;

use portcullis_protocol::Millis;
use portcullis_verify::merkle::{leaf_hash, verify_inclusion};
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::{
    Checkpoint, NodeReader, TileReader, TileTree, TlogProof, TreeError, UnverifiedCheckpoint,
    VerifiedCheckpoint, VerifierKey, tree,
};

use crate::anchor::Anchor;
use crate::error::LedgerError;
use crate::generation::{self, Generations};
use crate::signer::{SignError, Signer};
use crate::store::{self, Store};
use crate::verification::verify;

/// An open ledger.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) tree: TileTree,
    pub(crate) anchor: Anchor,
    /// The newest signed and anchored head; `None` before the first batch.
    pub(crate) head: Option<VerifiedCheckpoint>,
    pub(crate) last: Millis,
    /// Records that a signed head covered when the ledger was opened: what lies beyond was never released.
    pub(crate) signed_at_open: u64,
}

impl Opened {
    /// Opens the ledger of a data directory, or makes an empty one where there never was any.
    pub(crate) fn open(directory: &Path, anchor: &Path, key: &VerifierKey) -> Result<Self, LedgerError> {
        let generations = Generations::of(directory);
        let database = match generations.current()? {
            Some(database) => database,
            None => make_empty(&generations)?,
        };
        Self::over(&database, anchor, key)
    }

    /// Rebuilds the ledger into a new file in a new directory and opens that. What the failed database's process
    /// saw is not asked: after a failed sync it may read less, or more, than lies on the disk.
    pub(crate) fn rebuild(directory: &Path, anchor: &Path, key: &VerifierKey) -> Result<Self, LedgerError> {
        let generations = Generations::of(directory);
        let Some(failed) = generations.current()? else {
            return Self::open(directory, anchor, key);
        };
        let (number, database) = generations.next()?;
        copy(&failed, &database)?;
        let opened = Self::over(&database, anchor, key)?;
        generations.switch(number)?;
        generations.prune(number);
        Ok(opened)
    }

    fn over(database: &Path, anchor: &Path, key: &VerifierKey) -> Result<Self, LedgerError> {
        let store = Store::open(database)?;
        let (anchor, note) = Anchor::open(anchor).map_err(LedgerError::Anchor)?;
        let verified = verify(&store.connection, note.as_deref(), key)?;
        let signed_at_open = verified.anchored.as_ref().map_or(0, VerifiedCheckpoint::size);
        Ok(Self {
            store,
            tree: verified.tree,
            anchor,
            head: verified.anchored,
            last: verified.last,
            signed_at_open,
        })
    }

    /// Signs the head of the committed tree, verifies the signature as an auditor would, and anchors it.
    pub(crate) fn seal(&mut self, signer: &mut dyn Signer) -> Result<(), LedgerError> {
        let key = signer.verifier().clone();
        let head = Checkpoint { origin: key.name().clone(), size: self.tree.size(), root: self.tree.root() };
        let text = head.to_string();
        let signature = signer.sign(signed_text(&text).map_err(|_| SignError::Failed)?)?;
        let note = format!("{text}\n{}", signature_line(&key, &signature)).into_bytes();
        let verified = UnverifiedCheckpoint::parse(&note).and_then(|note| note.verify(&[key]));
        let verified = verified.map_err(|_| SignError::Failed)?;
        if *verified.checkpoint() != head {
            return Err(SignError::Failed.into());
        }
        self.anchor.keep(&note).map_err(LedgerError::Anchor)?;
        self.head = Some(verified);
        Ok(())
    }

    /// The receipt of a record under the newest signed head.
    pub(crate) fn receipt(&self, seq: u64, body: Vec<u8>) -> Result<String, LedgerError> {
        let Some(head) = &self.head else {
            return Err(LedgerError::Corrupt("no head is signed yet".into()));
        };
        let stored = |level, index| store::tile(&self.store.connection, level, index);
        receipt_text(seq, body, &TileReader::new(&self.tree, stored), head)
    }
}

/// A receipt's text, with its proof checked once more by the code that an auditor runs.
pub(crate) fn receipt_text<R: NodeReader>(
    index: u64,
    record: Vec<u8>,
    reader: &R,
    head: &VerifiedCheckpoint,
) -> Result<String, LedgerError>
where
    R::Error: std::fmt::Display,
{
    let corrupt = |error: String| LedgerError::Corrupt(error);
    let hashes = tree::inclusion_proof(index, head.size(), reader).map_err(|error| match error {
        TreeError::Reader(error) => corrupt(error.to_string()),
        TreeError::IndexOutOfRange { index, size } => corrupt(format!("no record {index} among {size}")),
        TreeError::SizesReversed { old, new } => corrupt(format!("{old} records became {new}")),
    })?;
    verify_inclusion(&leaf_hash(&record), index, head.size(), &hashes, &head.root())
        .map_err(|error| corrupt(error.to_string()))?;
    let proof = TlogProof { extra: Some(record), index, hashes, checkpoint: head.note_bytes().to_vec() };
    String::from_utf8(proof.to_bytes()).map_err(|error| corrupt(error.to_string()))
}

fn make_empty(generations: &Generations) -> Result<std::path::PathBuf, LedgerError> {
    let (number, database) = generations.next()?;
    let store = Store::create(&database)?;
    let empty = TileTree::new();
    store::set_head(&store.connection, 0, &empty.root(), None)?;
    drop(store);
    sync_parent(&database)?;
    generations.switch(number)?;
    Ok(database)
}

fn copy(failed: &Path, into: &Path) -> Result<(), LedgerError> {
    let source = Store::read_only(failed)?;
    let target =
        into.to_str().ok_or_else(|| LedgerError::Corrupt("the data directory's name is not UTF-8".into()))?;
    source.execute("VACUUM INTO ?1", [target])?;
    std::fs::File::open(into)
        .and_then(|file| file.sync_all())
        .map_err(LedgerError::file("syncing the rebuilt ledger"))?;
    sync_parent(into)
}

fn sync_parent(path: &Path) -> Result<(), LedgerError> {
    path.parent().map_or(Ok(()), generation::sync)
}
