//! What is kept beside the records, checked with them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_protocol::BundleDigest;

use super::{Check, CheckProgress, Kept};
use crate::archive_audit::{self, BundleDigestOf, PAYLOADS};
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::payload_audit;
use crate::store::Store;
use crate::vault::MasterKey;

/// By what a check tells whether what is kept beside the records is what they rest on.
#[derive(Clone)]
pub struct CheckBeside {
    /// Tells the digest of an archived bundle.
    pub bundle_digest: Arc<BundleDigestOf>,
    /// The vault's master key: without it, kept requests and results are compared with their records, and not opened.
    pub master: Option<Arc<MasterKey>>,
}

impl std::fmt::Debug for CheckBeside {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CheckBeside").field("master", &self.master).finish_non_exhaustive()
    }
}

impl Check {
    /// Checks what is kept beside the records: payloads from where an earlier check stopped, the rest anew.
    pub(super) fn kept(
        &self,
        (named, erasures): &(BTreeSet<BundleDigest>, Erasures),
        (from, before): (u64, Option<u64>),
        stop: &AtomicBool,
        progress: &CheckProgress<'_>,
    ) -> Result<Kept, LedgerError> {
        let snapshot = self.connection.unchecked_transaction()?;
        for digest in named {
            archive_audit::bundle(&snapshot, digest, &*self.beside.bundle_digest)?;
        }
        archive_audit::facts(&snapshot)?;
        snapshot.finish()?;
        let master = self.beside.master.as_deref();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (next, size, database) = (AtomicU64::new(from), self.head.size(), self.database.as_path());
        let open = || -> Result<u64, LedgerError> {
            let connection = Store::read_only(database)?;
            let mut opened = 0_u64;
            while !stop.load(Ordering::Relaxed)
                && let first = next.fetch_add(PAYLOADS, Ordering::Relaxed)
                && first < size
            {
                let end = first.saturating_add(PAYLOADS).min(size);
                // One snapshot: a subject's key and what was sealed under it.
                let snapshot = connection.unchecked_transaction()?;
                opened = opened.saturating_add(payload_audit::payloads(
                    &snapshot,
                    (master, erasures),
                    first..end,
                )?);
                snapshot.finish()?;
                progress("comparing payloads", end, size);
            }
            Ok(opened)
        };
        let results = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads).map(|_| scope.spawn(open)).collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut all = before.map_or(0, |before| before);
        for result in results {
            let panicked = |_| LedgerError::Corrupt("a thread of the check panicked".into());
            all = all.saturating_add(result.map_err(panicked)??);
        }
        // Whatever a thread had taken it did to its end.
        let until = next.into_inner().min(size);
        let payloads = (until, master.map(|_| all));
        if until < size {
            return Ok(Kept { done: false, payloads });
        }
        let snapshot = self.connection.unchecked_transaction()?;
        payload_audit::payloads_behind(&snapshot, (master, erasures), size)?;
        erasures.audit(&snapshot)?;
        snapshot.finish()?;
        Ok(Kept { done: true, payloads })
    }
}
