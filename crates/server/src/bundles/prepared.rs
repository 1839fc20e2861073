//! Bundles that were found sound and may come to decide.

use std::sync::Arc;

use portcullis_policy::BundleSource;
use portcullis_protocol::{BundleDigest, BundleRef};

/// Activations of which it is not known yet what came of them. More than one there are only where whoever ordered one did not
/// wait for the answer; one that is let go of for their number is loaded once more if it comes into force.
const MOST_ORDERED: usize = 4;

type Sound = (BundleRef, Arc<BundleSource>);

/// Bundles that were found sound. What replaces one in here never replaces one whose activation is under way.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The one that was found sound last. It is held for a while.
    found: Option<Sound>,
    /// Those whose activation is under way, the oldest first: they are held however long that takes, for the ledger's writer
    /// must not have to load them again.
    ordered: Vec<Sound>,
}

impl Prepared {
    /// Holds one that was found sound. Returns what it takes the place of.
    pub(super) fn find(&mut self, bundle: BundleRef, source: Arc<BundleSource>) -> Option<Arc<BundleSource>> {
        self.found.replace((bundle, source)).map(|(_, source)| source)
    }

    /// Holds one whose activation is ordered. Returns what is held no more.
    pub(super) fn order(&mut self, bundle: BundleRef, source: Arc<BundleSource>) -> Vec<Arc<BundleSource>> {
        let mut left = self.drop_ordered(|known| known.digest == bundle.digest);
        self.ordered.push((bundle, source));
        let beyond = self.ordered.len().saturating_sub(MOST_ORDERED);
        left.extend(self.ordered.drain(..beyond).map(|(_, source)| source));
        left
    }

    /// The bundle of this digest, if it was found sound.
    pub(super) fn get(&self, digest: &BundleDigest) -> Option<Arc<BundleSource>> {
        let mut all = self.ordered.iter().chain(&self.found);
        all.find(|(bundle, _)| bundle.digest == *digest).map(|(_, source)| Arc::clone(source))
    }

    /// Lets go of one that the log refused. Returns what is held no more.
    pub(super) fn refuse(&mut self, digest: &BundleDigest) -> Vec<Arc<BundleSource>> {
        let mut left = self.drop_ordered(|known| known.digest == *digest);
        left.extend(self.found.take_if(|(bundle, _)| bundle.digest == *digest).map(|(_, source)| source));
        left
    }

    /// Takes out the one that came into force. Returns it, and what never can any more: what is no newer.
    pub(super) fn activate(
        &mut self,
        bundle: &BundleRef,
    ) -> (Option<Arc<BundleSource>>, Vec<Arc<BundleSource>>) {
        let taken = self.get(&bundle.digest);
        let mut left = self.drop_ordered(|known| known.version <= bundle.version);
        left.extend(
            self.found.take_if(|(known, _)| known.version <= bundle.version).map(|(_, source)| source),
        );
        (taken, left)
    }

    /// Lets go of one that was found sound and whose activation nobody ordered since. Returns it.
    pub(super) fn forget(&mut self, source: &Arc<BundleSource>) -> Option<Arc<BundleSource>> {
        self.found.take_if(|(_, found)| Arc::ptr_eq(found, source)).map(|(_, source)| source)
    }

    fn drop_ordered(&mut self, is_out: impl Fn(&BundleRef) -> bool) -> Vec<Arc<BundleSource>> {
        let out = self.ordered.extract_if(.., |(bundle, _)| is_out(bundle));
        out.map(|(_, source)| source).collect()
    }
}
