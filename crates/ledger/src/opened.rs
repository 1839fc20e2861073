//! An open, verified ledger: database, tree, anchor, and the newest signed head.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use portcullis_arbiter::Standing;
use portcullis_protocol::{BundleDigest, Digest, Millis, ReasonCode, Succession};
use portcullis_verify::merkle::{Inclusions, leaf_hash};
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::{
    Checkpoint, Hash, LogKeys, NodeReader, TileReader, TileTree, TlogProof, TreeError, UnverifiedCheckpoint,
    VerifiedCheckpoint, tree,
};

use crate::abandon::is_given_up;
use crate::anchor::Anchor;
use crate::archive::Archive;
use crate::archive_audit::Means;
use crate::bundle_archive;
use crate::error::LedgerError;
use crate::generation::{self, Generation, Generations};
use crate::keys::{Chains, Mark};
use crate::payloads;
use crate::proofs::{Fresh, Remembering};
use crate::published::Published;
use crate::scrub::Scrub;
use crate::signer::{SignError, Signer};
use crate::store::{self, Store};
use crate::verification::{Depth, checkpoint, verify};

/// Name of the file, in the data directory, that notes the newest anchored head before receipts are released.
pub(crate) const RELEASED: &str = "released";

/// An open ledger.
pub(crate) struct Opened {
    /// Reads it all again, once it is open. Dropped before the database, so that the last connection that closes is
    /// the one that writes.
    pub(crate) scrub: Option<Scrub>,
    pub(crate) store: Store,
    pub(crate) tree: TileTree,
    /// What the newest batch appended to it.
    pub(crate) fresh: Fresh,
    /// The tree's root, computed once.
    pub(crate) root: Hash,
    pub(crate) anchor: Anchor,
    /// The newest anchored head once more, beside the database and unsynced. Were the anchor alone to lose a head,
    /// by damage or because an older copy was put in place, what was released under it would look as if it never
    /// was, and its keys would be given back.
    released: Anchor,
    /// The newest signed and anchored head; `None` only before the first.
    pub(crate) head: Option<VerifiedCheckpoint>,
    pub(crate) last: Millis,
    /// Which keys are consumed.
    pub(crate) chains: Chains,
    /// What earlier PERMITs left: as `chains`, only good as long as nothing fails.
    pub(crate) standing: Standing,
    /// Which of its labels were published.
    published: Option<u64>,
    /// The newest mark.
    pub(crate) mark: Option<Mark>,
    /// Which bundles were in force.
    pub(crate) succession: Succession,
    /// Records that a signed head covered when the ledger was opened: what lies beyond was never released.
    pub(crate) signed_at_open: u64,
    /// Bundles whose files are kept.
    pub(crate) archived: BTreeSet<BundleDigest>,
    /// Those of which something is archived and that no record names yet.
    pub(crate) unnamed: BTreeSet<BundleDigest>,
    /// What sources of facts gave.
    pub(crate) archive: Archive,
    /// The name of the vault's master key; `None` before the first record.
    pub(crate) master: Option<Digest>,
    /// Whether its first batch is on record.
    pub(crate) begun: bool,
    /// Whether the write-ahead log may still hold a key that was destroyed. Opening a ledger empties it too.
    pub(crate) unwiped: bool,
    /// Whether a database that failed may still be there, with what was erased since in its file.
    pub(crate) remains: bool,
    /// Why nothing is permitted yet: its first batch, which ends what was never released, is still to come.
    pub(crate) pending: Option<ReasonCode>,
}

/// Where a ledger lies, and what it must contain.
pub(crate) struct Location<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) anchor: &'a Path,
    /// The keys whose signatures on heads count.
    pub(crate) key: &'a LogKeys,
    /// The newest head that this process knows to be signed and anchored.
    pub(crate) known: Option<&'a VerifiedCheckpoint>,
}

impl Opened {
    /// Opens the ledger of a data directory, or makes an empty one where there never was any.
    pub(crate) fn open(location: &Location<'_>, depth: Depth) -> Result<Self, LedgerError> {
        let generations = Generations::of(location.directory);
        let current = match generations.current()? {
            Some(current) => current,
            None => make_empty(&generations)?,
        };
        generations.settle(&current)?;
        Self::over(&current.database, location, depth)
    }

    /// Rebuilds the ledger into a new file in a new directory and opens that. What the failed database's process
    /// saw is not asked: after a failed sync it may read less, or more, than lies on the disk. The new file is read
    /// from its first record: it is written anew, and what the old one had proved of it is nothing. It takes the old one's
    /// place only if `vet` lets it.
    pub(crate) fn rebuild(
        location: &Location<'_>,
        vet: impl FnOnce(&Self) -> Result<(), LedgerError>,
    ) -> Result<Self, LedgerError> {
        let vetted = |opened: Self| vet(&opened).map(|()| opened);
        let generations = Generations::of(location.directory);
        let Some(failed) = generations.current()? else {
            return Self::open(location, Depth::Whole).and_then(vetted);
        };
        let rebuilt = generations.next()?;
        let opened = copy(&failed, &rebuilt)
            .and_then(|()| Self::over(&rebuilt.database, location, Depth::Whole))
            .and_then(vetted);
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Copies that came to nothing must not fill the disk that recovery waits for.
                rebuilt.discard();
                return Err(error);
            }
        };
        generations.switch(&rebuilt)?;
        generations.keep(&[&failed, &rebuilt]);
        Ok(opened)
    }

    fn over(database: &Path, location: &Location<'_>, depth: Depth) -> Result<Self, LedgerError> {
        if is_given_up(location.directory) {
            let what = "this log was given up, and goes on elsewhere: another configuration names where";
            return Err(LedgerError::BehindAnchor(what.into()));
        }
        let store = Store::open(database)?;
        let begun = store::head(&store.connection)?.is_none_or(|head| head.size > 0);
        let (anchor, note) = if begun {
            Anchor::existing(location.anchor).map_err(missing_anchor)?
        } else {
            Anchor::open(location.anchor).map_err(LedgerError::Anchor)?
        };
        let (released, noted) =
            Anchor::open(&location.directory.join(RELEASED)).map_err(LedgerError::file(RELEASED))?;
        let noted = noted.map(|noted| checkpoint(&noted, location.key)).transpose()?;
        let known: Vec<_> = location.known.into_iter().chain(&noted).collect();
        let verified = verify(&store.connection, note.as_deref(), location.key, &known, depth)?;
        let archived = bundle_archive::archived(&store.connection)?.into_iter().collect();
        let unnamed = bundle_archive::unnamed(&store.connection)?.into_iter().collect();
        let archive = Archive::of(&store.connection)?;
        let master = payloads::master(&store.connection)?;
        let remains = payloads::was_erased(&store.connection)?;
        let signed_at_open = verified.anchored.as_ref().map_or(0, VerifiedCheckpoint::size);
        Ok(Self {
            scrub: None,
            store,
            root: verified.tree.root(),
            tree: verified.tree,
            fresh: Fresh::default(),
            anchor,
            released,
            head: verified.anchored,
            last: verified.last,
            chains: verified.chains,
            standing: verified.standing,
            published: None,
            mark: verified.mark,
            succession: verified.succession,
            signed_at_open,
            archived,
            unnamed,
            archive,
            master,
            begun: false,
            unwiped: false,
            remains,
            pending: Some(ReasonCode::EvidenceRecovering),
        })
    }

    /// Takes note of what a batch did to the archive of bundles.
    pub(crate) fn keeps(
        &mut self,
        archived: BTreeSet<BundleDigest>,
        unnamed: BTreeSet<BundleDigest>,
        forgotten: &BTreeSet<BundleDigest>,
    ) {
        self.archived.retain(|digest| !forgotten.contains(digest));
        self.archived.extend(archived);
        self.unnamed = unnamed;
    }

    /// Makes sure that the signer signs and the anchor holds before anything is recorded: if they fail, the log
    /// must not grow each time that opening is tried. What is signed here is durable already, so that it is final
    /// at its size; it is not anchored, for what lies beyond the anchored head is still to be withheld.
    ///
    /// The head of a ledger that has none is anchored, empty as it is: otherwise a crash between the first commit
    /// and the first anchor would leave records without an anchor, which is what a lost anchor looks like.
    pub(crate) fn prepare(&mut self, signer: &mut dyn Signer) -> Result<(), LedgerError> {
        match &self.head {
            None => self.seal(signer),
            Some(head) => {
                self.sign(signer)?;
                self.anchor.keep(head.note_bytes()).map_err(LedgerError::Anchor)
            }
        }
    }

    /// Signs the head of the committed tree, verifies the signature as an auditor would, and anchors it.
    pub(crate) fn seal(&mut self, signer: &mut dyn Signer) -> Result<(), LedgerError> {
        let head = self.sign(signer)?;
        self.anchor.keep(head.note_bytes()).map_err(LedgerError::Anchor)?;
        self.released.note(head.note_bytes()).map_err(LedgerError::file(RELEASED))?;
        self.head = Some(head);
        Ok(())
    }

    /// The head of the committed tree, signed and neither anchored nor kept.
    pub(crate) fn sign(&self, signer: &mut dyn Signer) -> Result<VerifiedCheckpoint, LedgerError> {
        signed_head(signer, self.tree.size(), self.root)
    }

    /// Shows agents' labels to those who ask policy, if they changed.
    pub(crate) fn publish(&mut self, published: &Published) {
        let (version, labels) = self.standing.all_labels();
        if self.published != Some(version) {
            published.publish(labels);
            self.published = Some(version);
        }
    }

    /// Begins to read the ledger again, beside the writer, if that is not under way.
    pub(crate) fn scrub(&mut self, means: Means) -> Result<(), LedgerError> {
        if let (None, Some(head)) = (&self.scrub, &self.head) {
            self.scrub = Some(Scrub::start(self.store.path(), head, means)?);
        }
        Ok(())
    }

    /// Removes what may still hold what was erased: databases that failed, and the write-ahead log. What cannot be removed
    /// now, and a log that a reader holds in use, wait for the next time, and are told until then.
    ///
    /// # Errors
    /// If emptying the log fails: nothing is known of what lies on the disk.
    pub(crate) fn wipe(&mut self, generations: &Generations) -> Result<(), LedgerError> {
        if self.remains {
            self.remains = generations.keep_current().is_err();
        }
        if self.unwiped {
            self.unwiped = !self.store.empty_log()?;
        }
        Ok(())
    }

    /// Whether what was erased may still lie somewhere among the ledger's files.
    pub(crate) const fn erasing(&self) -> bool {
        self.unwiped || self.remains
    }

    /// The receipt of a record under the newest signed head.
    pub(crate) fn receipt(&self, seq: u64, body: Vec<u8>) -> Result<String, LedgerError> {
        self.receipts()?(seq, body)
    }

    /// Makes receipts under the newest signed head. Making many at once shares their work.
    pub(crate) fn receipts(
        &self,
    ) -> Result<impl FnMut(u64, Vec<u8>) -> Result<String, LedgerError>, LedgerError> {
        let Some(head) = &self.head else {
            return Err(LedgerError::Corrupt("no head is signed yet".into()));
        };
        let stored = |level, index| store::tile(&self.store.connection, level, index);
        let reader = Remembering::new(TileReader::new(&self.tree, stored), &self.fresh);
        let mut inclusions = Inclusions::new(head.size(), head.root());
        Ok(move |seq, body| receipt(seq, body, &reader, head, &mut inclusions))
    }
}

/// The head of so many records, signed by the log's key and the one that is to follow it, each signature verified as
/// an auditor would.
pub(crate) fn signed_head(
    signer: &mut dyn Signer,
    size: u64,
    root: Hash,
) -> Result<VerifiedCheckpoint, LedgerError> {
    let key = signer.verifier().clone();
    let head = Checkpoint { origin: key.name().clone(), size, root };
    let text = head.to_string();
    let signature = signer.sign(signed_text(&text).map_err(|_| SignError::Failed)?)?;
    let mut note = format!("{text}\n{}", signature_line(&key, &signature));
    let mut keys = vec![key];
    if let Some(next) = signer.next() {
        let (key, signature) = (next.verifier().clone(), next.sign(text.as_bytes())?);
        note.push_str(&signature_line(&key, &signature));
        keys.push(key);
    }
    let verified = UnverifiedCheckpoint::parse(note.as_bytes()).and_then(|note| note.verify(&keys));
    let verified = verified.map_err(|_| SignError::Failed)?;
    if *verified.checkpoint() == head { Ok(verified) } else { Err(SignError::Failed.into()) }
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
    receipt(index, record, reader, head, &mut Inclusions::new(head.size(), head.root()))
}

/// [`receipt_text`], one of many under this head.
fn receipt<R: NodeReader>(
    index: u64,
    record: Vec<u8>,
    reader: &R,
    head: &VerifiedCheckpoint,
    inclusions: &mut Inclusions,
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
    let included = inclusions.verify(&leaf_hash(&record), index, &hashes);
    included.map_err(|error| corrupt(error.to_string()))?;
    let proof = TlogProof { extra: Some(record), index, hashes, checkpoint: head.note_bytes().to_vec() };
    String::from_utf8(proof.to_bytes()).map_err(|error| corrupt(error.to_string()))
}

fn missing_anchor(error: std::io::Error) -> LedgerError {
    if error.kind() == ErrorKind::NotFound {
        LedgerError::BehindAnchor("the anchor is gone".into())
    } else {
        LedgerError::Anchor(error)
    }
}

fn make_empty(generations: &Generations) -> Result<Generation, LedgerError> {
    let first = generations.next()?;
    let store = Store::create(&first.database)?;
    let empty = TileTree::new();
    store::set_head(&store.connection, 0, &empty.root(), None)?;
    drop(store);
    sync_parent(&first.database)?;
    generations.switch(&first)?;
    generations.keep(&[&first]);
    Ok(first)
}

pub(crate) fn copy(failed: &Generation, into: &Generation) -> Result<(), LedgerError> {
    let source = Store::read_only(&failed.database)?;
    let target = into
        .database
        .to_str()
        .ok_or_else(|| LedgerError::Corrupt("the data directory's name is not UTF-8".into()))?;
    source.execute("VACUUM INTO ?1", [target])?;
    std::fs::File::open(&into.database)
        .and_then(|file| file.sync_all())
        .map_err(LedgerError::file("syncing the rebuilt ledger"))?;
    sync_parent(&into.database)
}

fn sync_parent(path: &Path) -> Result<(), LedgerError> {
    generation::sync_parent(path).map_err(LedgerError::file("syncing the ledger's directory"))
}
