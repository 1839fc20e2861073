//! Evidence packs: one file with the receipts of a range of the log, and the proof that the range is whole.
//!
//! A pack claims the records from one index up to another under one signed checkpoint. It has the leaf hash of each of
//! them with a proof of the whole range, so that no record can be left out, added, repeated or moved. Records that match
//! the selection are in it in full, as receipts; the others are withheld, counted, and there by hash only.
//!
//! Everything in a pack is either proved by the checkpoint's signature or follows from what is, the text for people
//! included, but the signatures of its bundles, which their digest does not cover: whoever knows bundles looks at those
//! ([`VerifiedPack::bundles`]). The manifest only says where to look. What follows from nothing is refused. The key in a pack is for
//! information: trusted are only the keys that the verifier brings.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{BundleDigest, Digest, Millis, Record};

use crate::checkpoint::{UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::key::VerifierKey;
use crate::merkle::{Hash, leaf_hash};
use crate::range::verify_range;
use crate::receipt::UnverifiedReceipt;
use crate::trust::LogKeys;

mod error;
mod manifest;
mod tar;
mod text;

#[cfg(test)]
mod tests;

pub use error::PackError;
pub use manifest::Selection;
pub use tar::ContainerError;

use manifest::{Manifest, Name};

/// What a container begins with, if it is a pack.
const FIRST_MEMBER: &str = "evidence/manifest.json";

/// Whether a file claims to be a pack.
#[must_use]
pub fn is_pack(bytes: &[u8]) -> bool {
    bytes.starts_with(FIRST_MEMBER.as_bytes())
}

/// Tells the digest of the bundle in an archive; `None` if it is no archive of one.
pub type BundleDigestOf<'a> = &'a dyn Fn(&[u8]) -> Option<BundleDigest>;

/// What a pack is made of, before any of it is believed: by its makers, or as it was read.
#[derive(Clone, Debug)]
pub struct PackParts {
    /// The signed head's note.
    pub checkpoint: Vec<u8>,
    /// The log's key, for information.
    pub key: VerifierKey,
    /// Which records are in the pack in full.
    pub selection: Selection,
    /// Index of the range's first record.
    pub first: u64,
    /// The leaf hash of every record in the range.
    pub leaves: Vec<Hash>,
    /// Roots of the subtrees before the range: those that [`crate::range::around`] names.
    pub before: Vec<Hash>,
    /// Roots of the subtrees after it.
    pub after: Vec<Hash>,
    /// Receipts of the selected records, by index.
    pub receipts: BTreeMap<u64, Vec<u8>>,
    /// Receipts of records outside the range that explain it: its neighbours, where it is cut by time, and the PERMITs of
    /// outcomes in it.
    pub context: BTreeMap<u64, Vec<u8>>,
    /// Archives of the bundles that the records name.
    pub bundles: BTreeMap<BundleDigest, Vec<u8>>,
}

impl PackParts {
    /// The pack, verified as an auditor would.
    ///
    /// # Errors
    /// [`PackError`] if it is none.
    pub fn to_bytes(self, keys: &LogKeys, digest_of: BundleDigestOf<'_>) -> Result<Vec<u8>, PackError> {
        let verified = self.clone().verify(keys, digest_of)?;
        let mut members: BTreeMap<Name, Vec<u8>> = BTreeMap::from([
            (Name::Index, verified.text().into_bytes()),
            (Name::Checkpoint, self.checkpoint),
            (Name::Key, format!("{}\n", self.key).into_bytes()),
            (Name::Before, crate::layout::join_hashes(&self.before)),
            (Name::Leaves, crate::layout::join_hashes(&self.leaves)),
            (Name::After, crate::layout::join_hashes(&self.after)),
        ]);
        members.extend(self.receipts.into_iter().map(|(index, bytes)| (Name::Receipt(index), bytes)));
        members.extend(self.context.into_iter().map(|(index, bytes)| (Name::Context(index), bytes)));
        members.extend(self.bundles.into_iter().map(|(digest, bytes)| (Name::Bundle(digest), bytes)));
        let manifest = Manifest::of(&verified, &members)?;
        let mut files = vec![(FIRST_MEMBER.to_owned(), manifest.to_bytes()?)];
        files.extend(members.into_iter().map(|(name, bytes)| (name.to_string(), bytes)));
        Ok(tar::join(&files)?)
    }

    fn verify(self, keys: &LogKeys, digest_of: BundleDigestOf<'_>) -> Result<VerifiedPack, PackError> {
        let head = UnverifiedCheckpoint::parse(&self.checkpoint)?.verify_with(keys)?;
        if !head.signed_by().contains(&self.key) {
            return Err(PackError::Key);
        }
        let end = u64::try_from(self.leaves.len()).map_or(None, |count| self.first.checked_add(count));
        let end = end.ok_or(PackError::Claim { what: "end" })?;
        verify_range(self.first, &self.leaves, head.size(), (&self.before, &self.after), &head.root())?;
        let records = self.receipts.iter().map(|(index, receipt)| {
            let place = index.checked_sub(self.first).map(usize::try_from);
            let leaf = place.and_then(|place| place.map_or(None, |place| self.leaves.get(place)));
            let leaf = leaf.ok_or(PackError::OutsideRange { index: *index })?;
            Ok((*index, proved(*index, receipt, &head, keys, Some(leaf))?))
        });
        let records = records.collect::<Result<BTreeMap<_, _>, PackError>>()?;
        let context = self.context.iter().map(|(index, receipt)| {
            if (self.first..end).contains(index) {
                return Err(PackError::Unexplained { index: *index });
            }
            Ok((*index, proved(*index, receipt, &head, keys, None)?))
        });
        let context = context.collect::<Result<BTreeMap<_, _>, PackError>>()?;
        let Self { selection, first, bundles, .. } = self;
        let pack = VerifiedPack { head, selection, first, end, records, context, bundles };
        pack.check_boundaries()?;
        pack.check_selection()?;
        pack.check_times()?;
        pack.check_bundles(digest_of)?;
        Ok(pack)
    }
}

/// The record of a receipt that is under this very head, at this index.
fn proved(
    index: u64,
    receipt: &[u8],
    head: &VerifiedCheckpoint,
    keys: &LogKeys,
    leaf: Option<&Hash>,
) -> Result<Record, PackError> {
    let failed = |source| PackError::Receipt { index, source };
    let receipt = UnverifiedReceipt::parse(receipt).map_err(failed)?.verify_with(keys).map_err(failed)?;
    if receipt.checkpoint().note_bytes() != head.note_bytes() {
        return Err(PackError::OtherCheckpoint { index });
    }
    if receipt.index() != index || leaf.is_some_and(|leaf| *leaf != leaf_hash(receipt.record_bytes())) {
        return Err(PackError::OtherRecord { index });
    }
    receipt.record().map_err(failed)
}

/// A pack of which nothing has been checked but that it is one: its container, manifest and members fit each other.
#[derive(Clone, Debug)]
pub struct UnverifiedPack {
    parts: PackParts,
    text: Vec<u8>,
    manifest: Manifest,
}

impl UnverifiedPack {
    /// Reads a pack.
    ///
    /// # Errors
    /// [`PackError`]: what is truncated, reordered, doubled, missing, unlisted or altered.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let members = tar::split(bytes)?;
        let Some(((FIRST_MEMBER, manifest), members)) =
            members.split_first().map(|(first, rest)| (*first, rest))
        else {
            return Err(PackError::NoManifest);
        };
        let manifest = Manifest::parse(manifest)?;
        let members = manifest.take(members)?;
        Self::collect(manifest, members)
    }

    fn collect(manifest: Manifest, mut members: BTreeMap<Name, &[u8]>) -> Result<Self, PackError> {
        let mut take =
            |name: Name| members.remove(&name).ok_or(PackError::Missing { name: name.to_string() });
        let hashes = |name: Name, bytes: &[u8]| {
            // Any number of hashes: how many there must be is told by the range.
            let (hashes, rest) = bytes.as_chunks::<32>();
            let whole = rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect::<Vec<_>>());
            whole.ok_or(PackError::Hashes { name: name.to_string() })
        };
        let text = take(Name::Index)?.to_vec();
        let checkpoint = take(Name::Checkpoint)?.to_vec();
        let key = str::from_utf8(take(Name::Key)?).map_or(None, |text| text.strip_suffix('\n'));
        let key = key.and_then(|text| text.parse().ok()).ok_or(PackError::Key)?; // tidy: allow None is refused
        let [before, leaves, after] = [Name::Before, Name::Leaves, Name::After];
        let (before, leaves, after) =
            (hashes(before, take(before)?)?, hashes(leaves, take(leaves)?)?, hashes(after, take(after)?)?);
        let (mut receipts, mut context, mut bundles) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, bytes) in members {
            match name {
                Name::Receipt(index) => drop(receipts.insert(index, bytes.to_vec())),
                Name::Context(index) => drop(context.insert(index, bytes.to_vec())),
                Name::Bundle(digest) => drop(bundles.insert(digest, bytes.to_vec())),
                Name::Index | Name::Checkpoint | Name::Key | Name::Before | Name::Leaves | Name::After => {}
            }
        }
        let (selection, first) = (manifest.selection.clone(), manifest.first);
        let parts = PackParts {
            checkpoint,
            key,
            selection,
            first,
            leaves,
            before,
            after,
            receipts,
            context,
            bundles,
        };
        Ok(Self { parts, text, manifest })
    }

    /// Checks all of it against the keys of the logs that are accepted. `digest_of` knows bundles, which this crate does
    /// not.
    ///
    /// # Errors
    /// [`PackError`], the first defect that was met.
    pub fn verify(self, keys: &LogKeys, digest_of: BundleDigestOf<'_>) -> Result<VerifiedPack, PackError> {
        let Self { parts, text, manifest } = self;
        let pack = parts.verify(keys, digest_of)?;
        manifest.check(&pack)?;
        if pack.text().as_bytes() == text { Ok(pack) } else { Err(PackError::Text) }
    }
}

/// A pack all of which is proved. Only verifying makes one.
#[derive(Clone, Debug)]
pub struct VerifiedPack {
    head: VerifiedCheckpoint,
    selection: Selection,
    first: u64,
    end: u64,
    records: BTreeMap<u64, Record>,
    context: BTreeMap<u64, Record>,
    bundles: BTreeMap<BundleDigest, Vec<u8>>,
}

impl VerifiedPack {
    /// The signed head that everything is proved under.
    #[must_use]
    pub const fn head(&self) -> &VerifiedCheckpoint {
        &self.head
    }

    /// Index of the range's first record, and of the first after it.
    #[must_use]
    pub const fn range(&self) -> (u64, u64) {
        (self.first, self.end)
    }

    /// Which records of the range were selected.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The selected records, by index.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<u64, Record> {
        &self.records
    }

    /// The archives of the bundles by which the selected records were decided, by digest.
    #[must_use]
    pub const fn bundles(&self) -> &BTreeMap<BundleDigest, Vec<u8>> {
        &self.bundles
    }

    /// How many records of the range are there by hash only.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        let there = u64::try_from(self.records.len()).map_or(u64::MAX, |there| there);
        (self.end - self.first).saturating_sub(there)
    }

    /// The pack in words.
    #[must_use]
    pub fn text(&self) -> String {
        text::of(self)
    }

    /// The digests of the bundles by which the selected records were decided, or answered.
    fn named_bundles(&self) -> BTreeSet<BundleDigest> {
        let decided = self.records.values().filter_map(|record| match record {
            Record::Decision(decision) | Record::Simulation(decision) => {
                decision.bundle.as_ref().map(|bundle| bundle.digest)
            }
            Record::Listing(listing) => Some(listing.bundle.digest),
            Record::Outcome(_) | Record::Aggregate(_) | Record::Event(_) | Record::Late(_) => None,
        });
        decided.collect()
    }

    /// A range that is cut by time has the neighbours that show where it was cut. One that is not reaches to the log's
    /// beginning and end.
    fn check_boundaries(&self) -> Result<(), PackError> {
        let neighbour = |index: u64| self.context.get(&index).ok_or(PackError::NoNeighbour { index });
        if let Some(before) = self.first.checked_sub(1) {
            let since = self.selection.since.ok_or(PackError::Claim { what: "first" })?;
            if neighbour(before)?.time() >= since {
                return Err(PackError::CutWrong { index: before });
            }
        }
        if self.end < self.head.size() {
            let until = self.selection.until.ok_or(PackError::Claim { what: "end" })?;
            if neighbour(self.end)?.time() < until {
                return Err(PackError::CutWrong { index: self.end });
            }
        }
        Ok(())
    }

    /// What is there in full is what was selected; where nothing may be withheld, nothing is; and what lies outside the
    /// range explains something in it.
    fn check_selection(&self) -> Result<(), PackError> {
        let mut explaining = BTreeSet::from([self.end]);
        explaining.extend(self.first.checked_sub(1));
        for (index, record) in &self.records {
            let permit = match record {
                Record::Outcome(outcome) => self.permit_of(outcome.permit, *index)?,
                Record::Decision(_)
                | Record::Aggregate(_)
                | Record::Event(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => None,
            };
            if let Record::Outcome(outcome) = record {
                explaining.insert(outcome.permit);
            }
            if !self.selection.has(record, permit) {
                return Err(PackError::NotSelected { index: *index });
            }
        }
        if self.selection.is_everything()
            && let Some(index) = (self.first..self.end).find(|index| !self.records.contains_key(index))
        {
            return Err(PackError::Omitted { index });
        }
        match self.context.keys().find(|index| !explaining.contains(index)) {
            Some(index) => Err(PackError::Unexplained { index: *index }),
            None => Ok(()),
        }
    }

    /// The PERMIT that an outcome is about, where the selection depends on it.
    fn permit_of(&self, permit: u64, outcome: u64) -> Result<Option<&Record>, PackError> {
        let found = self.records.get(&permit).or_else(|| self.context.get(&permit));
        if found.is_none() && !self.selection.is_everything() {
            return Err(PackError::NoPermit { outcome, permit });
        }
        Ok(found)
    }

    /// The log's clock never goes back: a record between two of one day is of that day.
    fn check_times(&self) -> Result<(), PackError> {
        let mut all: Vec<(&u64, Millis)> =
            self.records.iter().chain(&self.context).map(|(index, record)| (index, record.time())).collect();
        all.sort_by_key(|(index, _)| **index);
        let back = all.array_windows().find(|[(_, earlier), (_, later)]| later < earlier);
        match back {
            Some([_, (index, _)]) => Err(PackError::TimeGoesBack { index: **index }),
            None => Ok(()),
        }
    }

    /// The bundles are there by which the selected records were decided, and no others.
    fn check_bundles(&self, digest_of: BundleDigestOf<'_>) -> Result<(), PackError> {
        let named = self.named_bundles();
        if let Some(digest) = self.bundles.keys().find(|digest| !named.contains(digest)) {
            return Err(PackError::UnexplainedBundle { digest: digest.0 });
        }
        for digest in named {
            let archive = self.bundles.get(&digest).ok_or(PackError::NoBundle { digest: digest.0 })?;
            if digest_of(archive) != Some(digest) {
                return Err(PackError::OtherBundle { digest: digest.0 });
            }
        }
        Ok(())
    }
}

/// The digest by which a manifest names a member's content.
fn digest_of(bytes: &[u8]) -> Digest {
    Digest::sha256(bytes)
}
