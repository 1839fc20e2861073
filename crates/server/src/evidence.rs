//! Making evidence packs of a log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_ledger::{BundleDigestOf, LedgerError, LogView};
use portcullis_policy::{Authority, BundleError, BundleSigners, Snapshot};
use portcullis_protocol::{BundleDigest, Millis, Record};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::range::around;
use portcullis_verify::tiles::TILE_WIDTH;
use portcullis_verify::{LogKeys, LogPath, MerkleError, PackError, PackParts, Selection, VerifierKey};

/// Most bytes of receipts in a pack: it is made, and checked, in memory.
const LARGEST: usize = 1 << 30;

/// A pack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The log cannot be read or does not verify.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What was put together is no pack.
    #[error("the pack does not verify")]
    Pack(#[from] PackError),
    /// The range is not in the log.
    #[error(transparent)]
    Range(#[from] MerkleError),
    /// A bundle that a record names is not in the archive.
    #[error("bundle {0}, by which a record was decided, is not in the ledger's archive")]
    NoBundle(BundleDigest),
    /// By whose keys archived bundles were signed cannot be told, so that their signatures could not be looked at.
    #[error("the signatures of archived bundles cannot be looked at: {0}")]
    Signers(Box<BundleError>),
    /// An archived bundle with signatures by keys that are known, which do not verify, or with none.
    #[error(
        "the signatures of bundle {bundle} are not those that it was archived with; see `portcullis log check`"
    )]
    Altered {
        /// The bundle.
        bundle: BundleDigest,
        /// What is wrong with them.
        source: Box<BundleError>,
    },
    /// More than a pack holds.
    #[error(
        "the selected records have more than {LARGEST} bytes of receipts; make several packs of shorter times"
    )]
    TooLarge,
    /// Somebody asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

/// The digest of the bundle in an archive; `None` if it is no archive of one.
#[must_use]
pub fn bundle_digest(archive: &[u8]) -> Option<BundleDigest> {
    Snapshot::from_archive(archive).map_or(None, |bundle| Some(bundle.digest()))
}

/// As [`bundle_digest`], of an archive that is as it was signed: of its signatures, which the digest does not cover, those by
/// keys that are known verify. While the keys cannot be read they are not looked at: nothing is decided by then
/// (`policy.root…`), the scrub comes by again, and a check says so before it begins ([`crate::CheckError::Signers`]).
pub(crate) fn archived_digest(signers: &BundleSigners) -> Arc<BundleDigestOf> {
    let signers = signers.clone();
    Arc::new(move |archive| {
        let bundle = Snapshot::from_archive(archive).ok()?;
        let authorities = signers.authorities().unwrap_or_else(|_| Vec::new());
        unaltered(&bundle, &authorities)
    })
}

/// The digest of a bundle with signatures, none of which is of a key that these name and does not verify.
fn unaltered(bundle: &Snapshot, authorities: &[Authority]) -> Option<BundleDigest> {
    altered(bundle, authorities).is_none().then(|| bundle.digest())
}

/// What is wrong with the signatures of a bundle that has none, or one of a key that these name and does not verify.
fn altered(bundle: &Snapshot, authorities: &[Authority]) -> Option<BundleError> {
    authorities.iter().find_map(|authority| match bundle.signed_by(authority) {
        Err(error @ (BundleError::SignatureInvalid(_) | BundleError::Unsigned(_))) => Some(error),
        Ok(_)
        | Err(
            BundleError::Missing(_)
            | BundleError::Root(_)
            | BundleError::UntrustedKey(_)
            | BundleError::TooFewSignatures(_)
            | BundleError::RolledBack(_)
            | BundleError::PinMismatch(_)
            | BundleError::Corrupt(_)
            | BundleError::Unproved(_)
            | BundleError::Untested(_),
        ) => None,
    })
}

/// Archived bundles for which none of those vouches whose keys are known: too few signatures are left, or those of others. That
/// is no damage by itself, for keys are replaced, and an arbiter goes on; but who made the bundle cannot be told any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unvouched(Arc<Mutex<BTreeSet<BundleDigest>>>);

impl Unvouched {
    /// As [`archived_digest`], by these authorities, and takes note of a bundle that none of them vouches for.
    pub(crate) fn watch(&self, authorities: Vec<Authority>) -> Arc<BundleDigestOf> {
        let unvouched = Arc::clone(&self.0);
        Arc::new(move |archive| {
            let bundle = Snapshot::from_archive(archive).ok()?;
            if !authorities.iter().any(|authority| bundle.signed_by(authority).is_ok()) {
                unvouched.lock().unwrap_or_else(PoisonError::into_inner).insert(bundle.digest());
            }
            unaltered(&bundle, &authorities)
        })
    }

    pub(crate) fn found(&self) -> BTreeSet<BundleDigest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a pack is made with.
#[derive(Clone, Copy, Debug)]
pub struct PackWith<'a> {
    /// The key of the log that the pack names, for information: one that signed the view's head.
    pub key: &'a VerifierKey,
    /// The log's keys, and for which heads they count.
    pub keys: &'a LogKeys,
    /// Who may have signed bundles.
    pub authorities: &'a [Authority],
}

/// A pack that was made.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The file.
    pub bytes: Vec<u8>,
    /// The bundles in it for which none of those vouches whose keys were given. That they are the ones which the records name is
    /// proved all the same.
    pub unvouched: BTreeSet<BundleDigest>,
}

/// Makes a pack of what is selected, under the view's head. `step` is told how many of how many records were looked at,
/// and says whether to go on.
///
/// # Errors
/// [`EvidenceError`].
pub fn evidence_pack(
    view: &LogView,
    with: &PackWith<'_>,
    selection: Selection,
    mut step: impl FnMut(u64, u64) -> bool,
) -> Result<Packed, EvidenceError> {
    let size = view.head().size();
    let first = selection.since.map_or(Ok(0), |since| first_at(view, since))?;
    let end = selection.until.map_or(Ok(size), |until| first_at(view, until))?.max(first);
    let mut gathered = Gathered::default();
    let mut leaves = Vec::new();
    let mut position = first;
    while position < end {
        if !step(position - first, end - first) {
            return Err(EvidenceError::Interrupted);
        }
        let bundle = position / u64::from(TILE_WIDTH);
        let records = entries(view, bundle, size)?;
        for (seq, body) in (bundle.saturating_mul(u64::from(TILE_WIDTH))..).zip(&records) {
            if (position..end).contains(&seq) {
                leaves.push(leaf_hash(body));
                gathered.look(view, &selection, seq, body)?;
            }
        }
        position = bundle.saturating_add(1).saturating_mul(u64::from(TILE_WIDTH));
    }
    let mut context: BTreeSet<u64> = gathered.permits;
    context.extend(first.checked_sub(1));
    context.extend((end < size).then_some(end));
    context.retain(|seq| !(first..end).contains(seq));
    let context = context.into_iter().map(|seq| Ok((seq, view.receipt(seq)?.into_bytes())));
    let (before, after) = around(first, end, size)?;
    let mut unvouched = BTreeSet::new();
    let bundles = gathered.bundles.into_iter().map(|digest| {
        let archive = view.bundle(&digest)?.ok_or(EvidenceError::NoBundle(digest))?;
        if !is_vouched_for(&archive, digest, with.authorities)? {
            unvouched.insert(digest);
        }
        Ok((digest, archive))
    });
    let bundles = bundles.collect::<Result<_, EvidenceError>>()?;
    let parts = PackParts {
        checkpoint: view.head().note_bytes().to_vec(),
        key: with.key.clone(),
        selection,
        first,
        leaves,
        before: view.subtrees(&before)?,
        after: view.subtrees(&after)?,
        receipts: gathered.receipts,
        context: context.collect::<Result<_, LedgerError>>()?,
        bundles,
    };
    Ok(Packed { bytes: parts.to_bytes(with.keys, &bundle_digest)?, unvouched })
}

/// Whether one of these vouches for an archived bundle. What is no archive of one is refused with the pack.
///
/// # Errors
/// [`EvidenceError::Altered`] if it has no signature, or a wrong one by a key that they name.
fn is_vouched_for(
    archive: &[u8],
    digest: BundleDigest,
    authorities: &[Authority],
) -> Result<bool, EvidenceError> {
    let Ok(bundle) = Snapshot::from_archive(archive) else { return Ok(false) };
    if let Some(error) = altered(&bundle, authorities) {
        return Err(EvidenceError::Altered { bundle: digest, source: Box::new(error) });
    }
    Ok(authorities.iter().any(|authority| bundle.signed_by(authority).is_ok()))
}

/// Index of the first record of this time or later. The log's times never go back.
fn first_at(view: &LogView, time: Millis) -> Result<u64, LedgerError> {
    let (mut low, mut high) = (0, view.head().size());
    while low < high {
        let middle = low.midpoint(high);
        if view.record(middle)?.0.time() < time {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The records of a bundle, as many as a log of this size has there.
fn entries(view: &LogView, index: u64, size: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
    match (LogPath::Entries { index, width: TILE_WIDTH }).grown(size) {
        Some(LogPath::Entries { width, .. }) => view.entries(index, width),
        Some(LogPath::Checkpoint | LogPath::Tile { .. }) | None => Ok(Vec::new()),
    }
}

/// What was selected so far.
#[derive(Default)]
struct Gathered {
    receipts: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// The PERMITs of selected outcomes.
    permits: BTreeSet<u64>,
    bundles: BTreeSet<BundleDigest>,
}

impl Gathered {
    fn look(
        &mut self,
        view: &LogView,
        selection: &Selection,
        seq: u64,
        body: &[u8],
    ) -> Result<(), EvidenceError> {
        let record = Record::parse(body).map_err(LedgerError::from)?;
        let permit = match &record {
            Record::Outcome(outcome) => Some(view.record(outcome.permit)?.0),
            Record::Decision(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        };
        if !selection.has(&record, permit.as_ref()) {
            return Ok(());
        }
        if let Record::Outcome(outcome) = &record {
            self.permits.insert(outcome.permit);
        }
        match &record {
            Record::Decision(decision) | Record::Simulation(decision) => {
                self.bundles.extend(decision.bundle.as_ref().map(|bundle| bundle.digest));
            }
            Record::Listing(listing) => self.bundles.extend([listing.bundle.digest]),
            Record::Outcome(_) | Record::Aggregate(_) | Record::Event(_) | Record::Late(_) => {}
        }
        let receipt = view.receipt(seq)?.into_bytes();
        self.bytes = self.bytes.saturating_add(receipt.len());
        if self.bytes > LARGEST {
            return Err(EvidenceError::TooLarge);
        }
        self.receipts.insert(seq, receipt);
        Ok(())
    }
}
