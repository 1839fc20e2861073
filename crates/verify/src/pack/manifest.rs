//! The manifest of a pack: what it claims, and what it consists of, each member by size and digest.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_protocol::{AgentId, BundleDigest, Digest, Millis, Record, SurfaceName, canonical};
use serde::{Deserialize, Serialize};

use crate::pack::tar::Member;
use crate::pack::{PackError, VerifiedPack, digest_of};

/// The format that a manifest names.
const FORMAT: &str = "portcullis-evidence-pack/2";

/// Which records of a range are in a pack in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Only this agent's decisions, their outcomes, its simulations, its lists of tools, and what was counted of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Only decisions about this surface, their outcomes, and simulations of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<SurfaceName>,
    /// The range begins with the first record of this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// The range ends before the first record of this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl Selection {
    /// Whether nothing of the range is withheld.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.agent.is_none() && self.surface.is_none()
    }

    /// Whether a record of the range is in the pack in full. `permit` is the decision that an outcome is about.
    ///
    /// Events are about the arbiter, and attempts that were only counted may be of anybody: they are always in it,
    /// unless they were counted of another agent.
    #[must_use]
    pub fn has(&self, record: &Record, permit: Option<&Record>) -> bool {
        let in_time = self.since.is_none_or(|since| record.time() >= since)
            && self.until.is_none_or(|until| record.time() < until);
        let named = match record {
            Record::Decision(decision) | Record::Simulation(decision) => {
                self.names(&decision.agent, &decision.surface)
            }
            Record::Late(late) => self.names(&late.entry.attempted.agent, &late.entry.attempted.surface),
            Record::Outcome(_) => {
                self.is_everything() || permit.is_some_and(|permit| self.names_decision(permit))
            }
            Record::Aggregate(counted) => {
                let other = |agent: &AgentId| self.agent.as_ref().is_some_and(|wanted| wanted != agent);
                !counted.agent.as_ref().is_some_and(other)
            }
            // It is about no surface.
            Record::Listing(listing) => {
                self.surface.is_none() && self.agent.as_ref().is_none_or(|wanted| *wanted == listing.agent)
            }
            Record::Event(_) => true,
        };
        in_time && named
    }

    fn names_decision(&self, record: &Record) -> bool {
        let Record::Decision(decision) = record else { return false };
        self.names(&decision.agent, &decision.surface)
    }

    fn names(&self, agent: &AgentId, surface: &SurfaceName) -> bool {
        self.agent.as_ref().is_none_or(|wanted| wanted == agent)
            && self.surface.as_ref().is_none_or(|wanted| wanted == surface)
    }
}

/// A member's name. Its order is that of the members in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Index,
    Checkpoint,
    Key,
    Before,
    Leaves,
    After,
    Receipt(u64),
    Context(u64),
    Bundle(BundleDigest),
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let single = [Self::Index, Self::Checkpoint, Self::Key, Self::Before, Self::Leaves, Self::After];
        if let Some(name) = single.into_iter().find(|name| name.to_string() == text) {
            return Some(name);
        }
        let (folder, file) = text.strip_prefix("evidence/")?.split_once('/')?;
        let (stem, _) = file.split_once('.')?;
        let index = || stem.parse::<u64>().ok(); // tidy: allow None is no member's name
        let name = match folder {
            "receipts" => Self::Receipt(index()?),
            "context" => Self::Context(index()?),
            "bundles" => Self::Bundle(format!("sha256:{stem}").parse().ok()?), // tidy: allow None is no member's name
            _ => return None,
        };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => formatter.write_str("evidence/index.txt"),
            Self::Checkpoint => formatter.write_str("evidence/checkpoint"),
            Self::Key => formatter.write_str("evidence/keys/log.vkey"),
            Self::Before => formatter.write_str("evidence/range/before"),
            Self::Leaves => formatter.write_str("evidence/range/leaves"),
            Self::After => formatter.write_str("evidence/range/after"),
            Self::Receipt(index) => write!(formatter, "evidence/receipts/{index:020}.tlog-proof"),
            Self::Context(index) => write!(formatter, "evidence/context/{index:020}.tlog-proof"),
            Self::Bundle(digest) => {
                let text = digest.to_string();
                let digits = text.strip_prefix("sha256:").map_or(text.as_str(), |digits| digits);
                write!(formatter, "evidence/bundles/{digits}.json")
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    sha256: Digest,
    size: u64,
}

/// The manifest, canonical JSON (RFC 8785).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    log: String,
    size: u64,
    pub(super) first: u64,
    end: u64,
    pub(super) selection: Selection,
    members: Vec<Listed>,
}

impl Manifest {
    pub(super) fn of(pack: &VerifiedPack, members: &BTreeMap<Name, Vec<u8>>) -> Result<Self, PackError> {
        let listed = members.iter().map(|(name, bytes)| {
            let size = u64::try_from(bytes.len()).map_err(|error| PackError::Manifest(error.to_string()))?;
            Ok(Listed { name: name.to_string(), sha256: digest_of(bytes), size })
        });
        let members = listed.collect::<Result<_, PackError>>()?;
        let (first, end) = pack.range();
        let selection = pack.selection().clone();
        let (log, size) = (pack.head().origin().to_string(), pack.head().size());
        Ok(Self { format: FORMAT.to_owned(), log, size, first, end, selection, members })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, PackError> {
        canonical::to_bytes(self).map_err(|error| PackError::Manifest(error.to_string()))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| PackError::Manifest(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(PackError::Manifest(format!("the format is not {FORMAT}")));
        }
        if manifest.to_bytes()? != bytes {
            return Err(PackError::Manifest("its bytes are not canonical (RFC 8785)".to_owned()));
        }
        Ok(manifest)
    }

    /// The members by name, if they are those that are listed: each once, in order, unaltered, and no others.
    pub(super) fn take<'a>(&self, members: &[Member<'a>]) -> Result<BTreeMap<Name, &'a [u8]>, PackError> {
        let mut there: BTreeMap<&str, &'a [u8]> = BTreeMap::new();
        for (name, bytes) in members {
            if there.insert(name, bytes).is_some() {
                return Err(PackError::Duplicate { name: (*name).to_owned() });
            }
        }
        let mut taken = BTreeMap::new();
        for Listed { name, sha256, size } in &self.members {
            let known = Name::parse(name).ok_or_else(|| PackError::UnknownMember { name: name.clone() })?;
            if taken.contains_key(&known) {
                return Err(PackError::Duplicate { name: name.clone() });
            }
            if taken.last_key_value().is_some_and(|(last, _)| *last > known) {
                return Err(PackError::OutOfOrder { name: name.clone() });
            }
            let bytes =
                there.remove(name.as_str()).ok_or_else(|| PackError::Missing { name: name.clone() })?;
            if u64::try_from(bytes.len()) != Ok(*size) || digest_of(bytes) != *sha256 {
                return Err(PackError::Altered { name: name.clone() });
            }
            taken.insert(known, bytes);
        }
        if let Some(name) = there.keys().next() {
            return Err(PackError::Unlisted { name: (*name).to_owned() });
        }
        let misplaced = members.iter().zip(&self.members).find(|((name, _), listed)| *name != listed.name);
        match misplaced {
            Some(((name, _), _)) => Err(PackError::OutOfOrder { name: (*name).to_owned() }),
            None => Ok(taken),
        }
    }

    /// Compares what is claimed with what was proved.
    pub(super) fn check(&self, pack: &VerifiedPack) -> Result<(), PackError> {
        let claims = [
            (self.log == pack.head().origin().as_str(), "log"),
            (self.size == pack.head().size(), "size"),
            ((self.first, self.end) == pack.range(), "end"),
        ];
        match claims.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(PackError::Claim { what }),
            None => Ok(()),
        }
    }
}
