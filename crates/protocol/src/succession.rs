//! What the log says of the bundles that were in force: nothing older ever is again.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::order::Order;
use crate::record::{BundleRef, Event, EventRecord};

const NAME: &str = "name";
const DIGEST: &str = "digest";
const VERSION: &str = "version";
const ROOT: &str = "root";
const ROOT_VERSION: &str = "root_version";
const ACTIVATED_NAME: &str = "activated_name";
const ACTIVATED_VERSION: &str = "activated_version";
const ACTIVATED_DIGEST: &str = "activated_digest";
/// In a mark's detail, where a bundle's version stands beside other things.
const SEEN: &str = "bundle_version";

/// A bundle that is in force, as a record of [`Event::BundleInForce`] names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The bundle.
    pub bundle: BundleRef,
    /// The root whose keys signed it: the digest of its chain's first root, and its version.
    pub root: Option<(Digest, u64)>,
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
        detail.extend(root_detail(self.root));
        detail
    }

    /// What a record's detail says; `None` for one of a time in which records said less, or that is none.
    #[must_use]
    pub fn of_detail(detail: &BTreeMap<String, String>) -> Option<Self> {
        let (name, digest) = (detail.get(NAME)?.clone(), detail.get(DIGEST)?);
        let (Ok(version), Ok(digest)) = (detail.get(VERSION)?.parse(), digest.parse()) else { return None };
        Some(Self { bundle: BundleRef { name, version, digest }, root: root_of(detail) })
    }
}

fn root_detail(root: Option<(Digest, u64)>) -> impl Iterator<Item = (String, String)> {
    let said = root.map(|(chain, version)| [(ROOT, chain.to_string()), (ROOT_VERSION, version.to_string())]);
    said.into_iter().flatten().map(|(key, value)| (key.to_owned(), value))
}

fn root_of(detail: &BTreeMap<String, String>) -> Option<(Digest, u64)> {
    match (detail.get(ROOT)?.parse(), detail.get(ROOT_VERSION)?.parse()) {
        (Ok(chain), Ok(version)) => Some((chain, version)),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

fn activated_of(detail: &BTreeMap<String, String>) -> Option<BundleRef> {
    let (name, version) = (detail.get(ACTIVATED_NAME)?.clone(), detail.get(ACTIVATED_VERSION)?);
    match (version.parse(), detail.get(ACTIVATED_DIGEST)?.parse()) {
        (Ok(version), Ok(digest)) => Some(BundleRef { name, version, digest }),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

/// The newest that was in force, up to some record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The highest version of a bundle; 0 before the first.
    pub version: u64,
    /// The newest root: the digest of its chain's first root, and the highest version in that chain. A chain that an
    /// operator pins anew takes the place of the one before it.
    pub root: Option<(Digest, u64)>,
    /// The bundle that an operator activated last; `None` if the configuration's pin says which decides.
    pub activated: Option<BundleRef>,
}

impl Succession {
    /// Follows a record. Versions only grow, but for what no head was signed over when the ledger was opened: an opening
    /// says what holds, as a PERMIT that was never released is withheld by it.
    pub fn follow(&mut self, record: &EventRecord) {
        if matches!(record.event, Event::Opened | Event::Recovered)
            && let Some(held) = Self::of_mark(&record.detail)
        {
            *self = held;
            return;
        }
        if let Some(Order::ActivateBundle { bundle }) = record.order.as_ref().map(|order| &order.what) {
            self.version = self.version.max(bundle.version);
            self.activated = Some(bundle.clone());
        }
        if record.event != Event::BundleInForce {
            return;
        }
        let Some(InForce { bundle, root }) = InForce::of_detail(&record.detail) else { return };
        self.version = self.version.max(bundle.version);
        self.root = match (self.root, root) {
            (Some((chain, seen)), Some((of, version))) if chain == of => Some((chain, seen.max(version))),
            (seen, new) => new.or(seen),
        };
    }

    /// What a mark says of it, for whoever reads the log from there on.
    pub fn detail(&self) -> impl Iterator<Item = (String, String)> {
        let activated = self.activated.as_ref().map(|bundle| {
            [
                (ACTIVATED_NAME, bundle.name.clone()),
                (ACTIVATED_VERSION, bundle.version.to_string()),
                (ACTIVATED_DIGEST, bundle.digest.to_string()),
            ]
        });
        let activated = activated.into_iter().flatten().map(|(key, value)| (key.to_owned(), value));
        let seen = std::iter::once((SEEN.to_owned(), self.version.to_string()));
        seen.chain(root_detail(self.root)).chain(activated)
    }

    /// What a mark's detail says; `None` for one of a time in which marks did not.
    #[must_use]
    pub fn of_mark(detail: &BTreeMap<String, String>) -> Option<Self> {
        match detail.get(SEEN)?.parse() {
            Ok(version) => Some(Self { version, root: root_of(detail), activated: activated_of(detail) }),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BundleDigest, Millis};

    fn record(event: Event, version: u64, root: Option<(Digest, u64)>) -> EventRecord {
        let bundle =
            BundleRef { name: "team".into(), version, digest: BundleDigest(Digest::sha256(b"a bundle")) };
        let detail = InForce { bundle, root }.detail();
        EventRecord { seq: 0, time: Millis(0), event, detail, order: None }
    }

    #[test]
    fn versions_only_grow_and_another_chain_begins_anew() {
        let (one, two) = (Digest::sha256(b"one"), Digest::sha256(b"two"));
        let mut succession = Succession::default();
        for (version, root, expected) in [
            (3, None, (3, None)),
            (2, Some((one, 4)), (3, Some((one, 4)))),
            (5, Some((one, 2)), (5, Some((one, 4)))),
            (5, None, (5, Some((one, 4)))),
            (1, Some((two, 1)), (5, Some((two, 1)))),
        ] {
            succession.follow(&record(Event::BundleInForce, version, root));
            assert_eq!((succession.version, succession.root), expected, "{version} {root:?}");
            // What a mark says is what whoever reads on from it goes by.
            assert_eq!(Succession::of_mark(&succession.detail().collect()), Some(succession.clone()));
        }
        succession.follow(&record(Event::Opened, 9, None));
        assert_eq!(succession.version, 5);
    }

    #[test]
    fn an_activation_is_followed_and_stands_in_marks() {
        let mut succession = Succession::default();
        succession.follow(&record(Event::BundleInForce, 3, None));
        let bundle =
            BundleRef { name: "team".into(), version: 4, digest: BundleDigest(Digest::sha256(b"another")) };
        let order = crate::Ordered {
            by: "alice".parse().unwrap(),
            what: Order::ActivateBundle { bundle: bundle.clone() },
            reason: "a test".parse().unwrap(),
        };
        let mut ordered = record(Event::Ordered, 9, None);
        ordered.order = Some(order);
        succession.follow(&ordered);
        assert_eq!(succession, Succession { version: 4, root: None, activated: Some(bundle) });
        assert_eq!(Succession::of_mark(&succession.detail().collect()), Some(succession));
    }

    #[test]
    fn records_that_said_less_say_nothing() {
        let mut older = record(Event::BundleInForce, 7, None);
        older.detail.remove(VERSION);
        let mut succession = Succession::default();
        succession.follow(&older);
        assert_eq!(succession, Succession::default());
        assert_eq!(Succession::of_mark(&BTreeMap::from([("keys".to_owned(), "x".to_owned())])), None);
    }
}
