//! Everything that the keys of `vectors/` ever signed. Nobody else has those keys, so whatever else verifies is forged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use portcullis_verify::{
    Hash, KeyName, LogKeys, PackError, TlogProof, UnverifiedCheckpoint, UnverifiedNote, UnverifiedPack,
    UnverifiedReceipt, VerifiedCheckpoint, VerifierKey,
};

#[path = "../../crates/verify/tests/vectors/cases.rs"]
#[expect(dead_code, reason = "the vectors' own tests use all of it")]
pub(crate) mod cases;

use cases::{Case, Kind, packs};

/// A head as it was signed.
pub(crate) type Head = (KeyName, u64, Hash);

/// What was signed.
pub(crate) struct Known {
    pub(crate) keys: Vec<VerifierKey>,
    pub(crate) log_keys: LogKeys,
    /// The texts: those that are no heads too.
    pub(crate) texts: BTreeSet<String>,
    /// The heads.
    pub(crate) heads: BTreeSet<Head>,
    /// The records under each head, by index: those of which there is a receipt.
    pub(crate) records: BTreeMap<(Head, u64), Vec<u8>>,
    /// The packs that verify.
    pub(crate) packs: Vec<Vec<u8>>,
}

/// What the vectors have.
pub(crate) static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let keys = cases::keys();
    let mut known = Known {
        log_keys: LogKeys::from(keys.clone()),
        keys,
        texts: BTreeSet::new(),
        heads: BTreeSet::new(),
        records: BTreeMap::new(),
        packs: Vec::new(),
    };
    for Case { kind, bytes, error, .. } in cases::cases() {
        match kind {
            Kind::Receipt => known.receipt(&bytes),
            Kind::Checkpoint => known.checkpoint(&bytes),
            Kind::Pack => known.pack(&bytes, error.is_none()),
        }
    }
    known
});

/// A head for comparison.
pub(crate) fn head(checkpoint: &VerifiedCheckpoint) -> Head {
    (checkpoint.origin().clone(), checkpoint.size(), checkpoint.root())
}

impl Known {
    fn checkpoint(&mut self, bytes: &[u8]) {
        let note = UnverifiedNote::parse(bytes);
        if let Ok(note) = note.and_then(|note| note.verify(&self.keys)) {
            self.texts.insert(note.text().to_owned());
        }
        let parsed = UnverifiedCheckpoint::parse(bytes);
        if let Ok(checkpoint) = parsed.and_then(|parsed| parsed.verify(&self.keys)) {
            self.heads.insert(head(&checkpoint));
        }
    }

    fn receipt(&mut self, bytes: &[u8]) {
        if let Ok(proof) = TlogProof::parse(bytes) {
            self.checkpoint(&proof.checkpoint);
        }
        let parsed = UnverifiedReceipt::parse(bytes);
        if let Ok(receipt) = parsed.and_then(|parsed| parsed.verify(&self.keys)) {
            let place = (head(receipt.checkpoint()), receipt.index());
            self.records.insert(place, receipt.record_bytes().to_vec());
        }
    }

    fn pack(&mut self, bytes: &[u8], verifies: bool) {
        if let Err(PackError::Container(_)) = UnverifiedPack::parse(bytes) {
            // What is in it is in others too.
            return;
        }
        for (name, content) in packs::split(bytes) {
            if name.ends_with(".tlog-proof") {
                self.receipt(&content);
            } else if name.ends_with("/checkpoint") {
                self.checkpoint(&content);
            }
        }
        if verifies {
            self.packs.push(bytes.to_vec());
        }
    }

    /// Whether this very record was signed at this place.
    pub(crate) fn has(&self, head: &Head, index: u64, record: &[u8]) -> bool {
        self.records.get(&(head.clone(), index)).is_some_and(|known| known == record)
    }
}

/// A log of 258 records as files: one full tile and bundle, two growing ones.
pub(crate) static FILES: LazyLock<BTreeMap<portcullis_verify::LogPath, Vec<u8>>> = LazyLock::new(|| {
    use portcullis_verify::LogPath;
    use portcullis_verify::layout::{join_entries, join_hashes};
    let log = cases::Log::new(258, &[]);
    let mut files = BTreeMap::from([(LogPath::Checkpoint, log.note().into_bytes())]);
    for tile in log.tree.clone().take_full_tiles() {
        let path = LogPath::Tile { level: tile.level, index: tile.index, width: 256 };
        files.insert(path, join_hashes(&tile.hashes));
    }
    for (level, row) in (0..).zip(log.tree.right_edge()) {
        if let (Ok(width @ 1..), index) =
            (u16::try_from(row.len()), log.tree.size() >> (8 * (u32::from(level) + 1)))
        {
            files.insert(LogPath::Tile { level, index, width }, join_hashes(row));
        }
    }
    for (index, bundle) in (0..).zip(log.records.chunks(256)) {
        let path = LogPath::Entries { index, width: u16::try_from(bundle.len()).unwrap() };
        files.insert(path, join_entries(bundle.iter().map(Vec::as_slice)).unwrap());
    }
    files
});
