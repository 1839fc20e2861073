//! What the log says of the bundles that were in force: nothing older ever is again, and nothing else of the same version.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::ids::BundleDigest;
use crate::order::Order;
use crate::proving::{ProofDemand, Vetted};
use crate::record::{BundleRef, Event, EventRecord};
use crate::roots::{Lineage, RootRef};

const NAME: &str = "name";
const DIGEST: &str = "digest";
const VERSION: &str = "version";
const ROOT: &str = "root";
const ROOT_VERSION: &str = "root_version";
const ROOT_DIGEST: &str = "root_digest";
const ACTIVATED_NAME: &str = "activated_name";
const ACTIVATED_VERSION: &str = "activated_version";
const ACTIVATED_DIGEST: &str = "activated_digest";
const ACTIVATED_DEMAND: &str = "activated_proofs";
const ACTIVATED_PROOF: &str = "activated_proof";
/// In a mark's detail, where a bundle's version stands beside other things.
const SEEN: &str = "bundle_version";
const SEEN_DIGEST: &str = "bundle_digest";
const ROOTS: &str = "roots";
const LOST_PROOFS: &str = "lost_proofs";
const NOT_DEMANDED: &str = "not_demanded";

/// Chains of roots that a log remembers. Beyond them no other is taken: to forget one would let its old roots sign again.
pub const MOST_CHAINS: usize = 256;

/// A bundle that is in force, as a record of [`Event::BundleInForce`] names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The bundle.
    pub bundle: BundleRef,
    /// The root whose keys signed it.
    pub root: Option<RootRef>,
}

impl InForce {
    /// As the record's detail says it.
    #[must_use]
    pub fn detail(&self) -> BTreeMap<String, String> {
        let mut detail = BTreeMap::from([
            (NAME.to_owned(), self.bundle.name.clone()),
            (DIGEST.to_owned(), self.bundle.digest.to_string()),
            (VERSION.to_owned(), self.bundle.version.to_string()),
        ]);
        if let Some(RootRef { chain, version, digest }) = self.root {
            detail.insert(ROOT.to_owned(), chain.to_string());
            detail.insert(ROOT_VERSION.to_owned(), version.to_string());
            detail.insert(ROOT_DIGEST.to_owned(), digest.to_string());
        }
        detail
    }

    /// What a record's detail says; `None` for one that says less.
    #[must_use]
    pub fn of_detail(detail: &BTreeMap<String, String>) -> Option<Self> {
        let (name, digest) = (detail.get(NAME)?.clone(), detail.get(DIGEST)?);
        let (Ok(version), Ok(digest)) = (detail.get(VERSION)?.parse(), digest.parse()) else { return None };
        let root = match (detail.get(ROOT), detail.get(ROOT_VERSION), detail.get(ROOT_DIGEST)) {
            (None, None, None) => None,
            (chain, version, own) => Some(root_of(chain?, version?, own?)?),
        };
        Some(Self { bundle: BundleRef { name, version, digest }, root })
    }
}

fn root_of(chain: &str, version: &str, digest: &str) -> Option<RootRef> {
    match (chain.parse(), version.parse(), digest.parse()) {
        (Ok(chain), Ok(version), Ok(digest)) => Some(RootRef { chain, version, digest }),
        (Err(_), _, _) | (_, Err(_), _) | (_, _, Err(_)) => None,
    }
}

fn activated_of(detail: &BTreeMap<String, String>) -> Option<Option<BundleRef>> {
    let Some(name) = detail.get(ACTIVATED_NAME).cloned() else { return Some(None) };
    match (detail.get(ACTIVATED_VERSION)?.parse(), detail.get(ACTIVATED_DIGEST)?.parse()) {
        (Ok(version), Ok(digest)) => Some(Some(BundleRef { name, version, digest })),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

fn roots_of(detail: &BTreeMap<String, String>) -> Option<BTreeMap<Digest, RootRef>> {
    let Some(roots) = detail.get(ROOTS) else { return Some(BTreeMap::new()) };
    let one = |root: &str| {
        let (chain, own) = root.split_once(' ')?;
        let (version, digest) = own.split_once(' ')?;
        root_of(chain, version, digest).map(|root| (root.chain, root))
    };
    roots.split(", ").map(one).collect()
}

/// A bundle that does not come into force after those that were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolledBack {
    /// Its version is lower than that of one that was in force.
    #[error("the bundle has version {found}, and version {seen} was in force already")]
    Bundle {
        /// Its version.
        found: u64,
        /// The highest that was in force.
        seen: u64,
    },
    /// It has the version of one that was in force, and is another.
    #[error(
        "another bundle of version {version} was in force already, {seen}; sign this one under a higher version"
    )]
    Content {
        /// The version of both.
        version: u64,
        /// The one that was in force.
        seen: BundleDigest,
    },
    /// The root of its keys is older than one that was in force.
    #[error("the root has version {found}, and version {seen} was in force already")]
    Root {
        /// The root's version; 0 without a root.
        found: u64,
        /// The newest that was in force; of its chain if it has one.
        seen: u64,
    },
    /// The root of its keys did not come about by one of its chain that was in force.
    #[error(
        "the chain of roots does not hold root {version} that was in force already, {seen}; put back the one that does"
    )]
    Fork {
        /// That root's version.
        version: u64,
        /// That root.
        seen: Digest,
    },
    /// Its root is of yet another chain.
    #[error("roots of {MOST_CHAINS} chains were in force already; pin one of these")]
    Chains,
}

/// What is known of the proofs that bundles demanded which only lost records had activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostProofs {
    /// Nothing: the last of them may have demanded one of the bundle after it.
    Unknown,
    /// None did, by an operator's word.
    NotDemanded,
}

impl LostProofs {
    /// As the record's detail says it.
    #[must_use]
    pub fn detail(self) -> BTreeMap<String, String> {
        match self {
            Self::Unknown => BTreeMap::new(),
            Self::NotDemanded => BTreeMap::from([(LOST_PROOFS.to_owned(), NOT_DEMANDED.to_owned())]),
        }
    }

    /// What a record's detail says. A word that is not known is none.
    #[must_use]
    pub fn of_detail(detail: &BTreeMap<String, String>) -> Self {
        match detail.get(LOST_PROOFS).map(String::as_str) {
            Some(NOT_DEMANDED) => Self::NotDemanded,
            Some(_) | None => Self::Unknown,
        }
    }
}

fn digest_of(text: Option<&String>) -> Option<Digest> {
    text?.parse().ok() // tidy: allow None is no proof
}

/// The newest that was in force, up to some record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The highest version of a bundle; 0 before the first.
    pub version: u64,
    /// The bundle that had it. `None` before the first, and where nobody knows which that was.
    pub digest: Option<BundleDigest>,
    /// The newest root of each chain, by the digest of the chain's first root. One that is pinned in between lets no other be
    /// forgotten.
    pub roots: BTreeMap<Digest, RootRef>,
    /// The bundle that an operator activated last; `None` if the configuration's pin says which decides.
    pub activated: Option<BundleRef>,
    /// What is demanded of the next one that is activated: what that one says of proofs or, where it may not have been the
    /// last, a proof.
    pub demand: ProofDemand,
    /// The digest of the report by which that one was proved, if it was.
    pub proof: Option<Digest>,
}

impl Succession {
    /// Follows a record. Versions only grow, but for what no head was signed over when the ledger was opened: an opening
    /// says what holds, as a PERMIT that was never released is withheld by it.
    pub fn follow(&mut self, record: &EventRecord) {
        let says = matches!(record.event, Event::Opened | Event::Recovered | Event::HeadGivenUp);
        if let Some(held) = Self::of_mark(&record.detail).filter(|_| says) {
            *self = held;
        }
        if let Some(Order::ActivateBundle { bundle }) = record.order.as_ref().map(|order| &order.what) {
            self.saw(bundle);
            self.activated = Some(bundle.clone());
            let Vetted { demand, proof, .. } = Vetted::of_detail(bundle.digest, &record.detail);
            (self.demand, self.proof) = (demand, proof.map(|proof| proof.report));
        }
        if record.event == Event::BundleInForce
            && let Some(InForce { bundle, root }) = InForce::of_detail(&record.detail)
        {
            self.saw(&bundle);
            root.into_iter().for_each(|root| self.saw_root(root));
        }
    }

    fn saw(&mut self, bundle: &BundleRef) {
        if bundle.version > self.version {
            (self.version, self.digest) = (bundle.version, Some(bundle.digest));
        } else if bundle.version == self.version {
            self.digest = self.digest.or(Some(bundle.digest));
        }
    }

    /// Takes note of a root that was in force. The first of its version stays the one.
    pub fn saw_root(&mut self, root: RootRef) {
        if self.roots.contains_key(&root.chain) || self.roots.len() < MOST_CHAINS {
            let newest = self.roots.entry(root.chain).or_insert(root);
            if root.version > newest.version {
                *newest = root;
            }
        }
    }

    /// Whether a bundle of this version and digest, under this chain of roots, may be in force after those that were.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn admit(
        &self,
        version: u64,
        digest: BundleDigest,
        roots: Option<&Lineage>,
    ) -> Result<(), RolledBack> {
        self.admit_roots(roots)?;
        self.admit_bundle(version, digest)
    }

    /// As [`Self::admit`], of a bundle that a record names. It names the newest root of the chain and none before it: whether that
    /// one came about by the one that was in force is known only of the same version.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn admit_named(&self, named: &InForce) -> Result<(), RolledBack> {
        let InForce { bundle, root } = named;
        self.admit_root(*root, |root, seen| {
            Some(if root.version == seen.version { root.digest } else { seen.digest })
        })?;
        self.admit_bundle(bundle.version, bundle.digest)
    }

    /// Whether the newest of these roots may say who signs, after those that did.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn admit_roots(&self, roots: Option<&Lineage>) -> Result<(), RolledBack> {
        self.admit_root(roots.map(Lineage::newest), |_, seen| roots.and_then(|all| all.at(seen.version)))
    }

    /// `at` says which root the chain of the found one has of the version that was in force.
    fn admit_root(
        &self,
        root: Option<RootRef>,
        at: impl FnOnce(RootRef, RootRef) -> Option<Digest>,
    ) -> Result<(), RolledBack> {
        let Some(root) = root else {
            // Once roots say who signs, keys that are trusted by themselves are of the time before.
            let newest = self.roots.values().map(|root| root.version).max();
            return newest.map_or(Ok(()), |seen| Err(RolledBack::Root { found: 0, seen }));
        };
        match self.roots.get(&root.chain) {
            Some(seen) if root.version < seen.version => {
                Err(RolledBack::Root { found: root.version, seen: seen.version })
            }
            Some(seen) if at(root, *seen) != Some(seen.digest) => {
                Err(RolledBack::Fork { version: seen.version, seen: seen.digest })
            }
            None if self.roots.len() >= MOST_CHAINS => Err(RolledBack::Chains),
            Some(_) | None => Ok(()),
        }
    }

    fn admit_bundle(&self, version: u64, digest: BundleDigest) -> Result<(), RolledBack> {
        match self.digest {
            _ if version < self.version => Err(RolledBack::Bundle { found: version, seen: self.version }),
            Some(seen) if version == self.version && seen != digest => {
                Err(RolledBack::Content { version, seen })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether an operator may activate a bundle of this version: a higher one than every one that was in force or, where
    /// nobody knows which bundle had that version, the same.
    #[must_use]
    pub const fn takes(&self, version: u64) -> bool {
        version > self.version || (version == self.version && version > 0 && self.digest.is_none())
    }

    /// Remembers, beside this, what another says was in force. The bundle that was activated last stays the one that this
    /// says; that the other says of a demand, it may have held.
    #[must_use]
    pub fn beside(mut self, other: &Self) -> Self {
        if other.version > self.version {
            (self.version, self.digest) = (other.version, other.digest);
        }
        other.roots.values().for_each(|root| self.saw_root(*root));
        if other.demand == ProofDemand::Required {
            self.demand = other.demand;
        }
        self
    }

    /// Remembers, beside this, the newest of the roots that a configuration names. Older ones say nothing.
    ///
    /// # Errors
    /// [`RolledBack::Fork`]: it would stand there as if it had come about by the one that was in force.
    pub fn beside_roots(mut self, roots: &Lineage) -> Result<Self, RolledBack> {
        match self.admit_roots(Some(roots)) {
            Err(fork @ RolledBack::Fork { .. }) => return Err(fork),
            Ok(())
            | Err(
                RolledBack::Root { .. }
                | RolledBack::Chains
                | RolledBack::Bundle { .. }
                | RolledBack::Content { .. },
            ) => self.saw_root(roots.newest()),
        }
        Ok(self)
    }

    /// Remembers, beside this, a version of which an operator says that it was in force. Where a bundle could have been
    /// activated of which nothing more is known, it counts as one that demanded a proof of the next.
    #[must_use]
    pub fn raised_to(mut self, version: u64, lost: LostProofs) -> Self {
        if self.takes(version) && lost == LostProofs::Unknown {
            self.demand = ProofDemand::Required;
        }
        if version > self.version {
            (self.version, self.digest) = (version, None);
        }
        self
    }

    /// Whether this is what a log goes on with, of which another says what is left: raised to the version that this says,
    /// as [`Self::raised_to`] does, with no root forgotten, and nothing else.
    #[must_use]
    pub fn continues(&self, left: &Self, lost: LostProofs) -> bool {
        let newest = |(chain, seen): (&Digest, &RootRef)| {
            self.roots.get(chain).is_some_and(|now| now.version > seen.version || now == seen)
        };
        let raised = Self { roots: self.roots.clone(), ..left.clone().raised_to(self.version, lost) };
        left.roots.iter().all(newest) && *self == raised
    }

    /// Whether a proof is demanded of whatever decides by its pin alone: what was in force before demands it of the one
    /// after it, and no activation came after that.
    #[must_use]
    pub fn demands_of_pinned(&self) -> bool {
        self.activated.is_none() && self.demand == ProofDemand::Required
    }

    /// What a mark says of it, for whoever reads the log from there on.
    pub fn detail(&self) -> impl Iterator<Item = (String, String)> {
        let digest = self.digest.map(|digest| (SEEN_DIGEST, digest.to_string()));
        let named = |RootRef { chain, version, digest }: &RootRef| format!("{chain} {version} {digest}");
        let roots: Vec<_> = self.roots.values().map(named).collect();
        let roots = (!roots.is_empty()).then(|| (ROOTS, roots.join(", ")));
        let activated = self.activated.iter().flat_map(|bundle| {
            [
                (ACTIVATED_NAME, bundle.name.clone()),
                (ACTIVATED_VERSION, bundle.version.to_string()),
                (ACTIVATED_DIGEST, bundle.digest.to_string()),
            ]
        });
        let demand = self.demand.as_str().map(|word| (ACTIVATED_DEMAND, word.to_owned()));
        let proof = self.proof.map(|report| (ACTIVATED_PROOF, report.to_string()));
        let seen = std::iter::once((SEEN, self.version.to_string()));
        let said = seen.chain(digest).chain(roots).chain(activated).chain(demand).chain(proof);
        said.map(|(key, value)| (key.to_owned(), value))
    }

    /// What a mark's detail says; `None` if it does not say all of it.
    #[must_use]
    pub fn of_mark(detail: &BTreeMap<String, String>) -> Option<Self> {
        let Ok(version) = detail.get(SEEN)?.parse() else { return None };
        let digest = match detail.get(SEEN_DIGEST).map(|digest| digest.parse()) {
            Some(Err(_)) => return None,
            Some(Ok(digest)) => Some(digest),
            None => None,
        };
        Some(Self {
            version,
            digest,
            roots: roots_of(detail)?,
            activated: activated_of(detail)?,
            demand: ProofDemand::of(detail.get(ACTIVATED_DEMAND)),
            proof: digest_of(detail.get(ACTIVATED_PROOF)),
        })
    }
}

#[cfg(test)]
#[path = "succession_tests.rs"]
mod tests;
