//! SHA-256 digests, separated by domain so that a digest of one kind of thing is never one of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::ids::InvalidId;

/// What a digest is of. The label is hashed in front of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A canonical request, with the exact message that would be sent.
    Request,
    /// A canonical request without its envelope: what idempotency compares.
    Operation,
    /// A request digest, salted: what a record says of a request.
    Commitment,
    /// An attempt's nonce: what a record says of an attempt.
    Attempt,
    /// An agent's idempotency key, as a record names it.
    Key,
    /// An agent's idempotency key being consumed or given back, chained to what came before it.
    KeyEntry,
    /// The state of all idempotency keys.
    Keys,
    /// The bytes that an executor will send.
    Payload,
    /// The result that an executor got, salted.
    Result,
    /// A bundle's manifest.
    Bundle,
    /// What a root of bundle keys says.
    BundleRoot,
    /// The surfaces that gates read calls by.
    Surfaces,
    /// A bearer token, as kept at rest.
    Token,
    /// The vault's master key, as it is named.
    VaultKey,
    /// A bundle's roster: people, roles, public keys.
    Roster,
    /// A series of entries of a spool.
    Spool,
    /// What a limit counts under one name: one agent's, one currency's.
    Counter,
    /// What earlier PERMITs left for later decisions.
    Standing,
    /// The entities that a source of facts gave.
    FactSnapshot,
    /// A tool's definition.
    ToolDefinition,
    /// A value beside the log that no record says, as the row that holds it marks it.
    Row,
}

impl Domain {
    const fn label(self) -> &'static str {
        match self {
            Self::Request => "portcullis/request/v1",
            Self::Operation => "portcullis/operation/v1",
            Self::Commitment => "portcullis/commitment/v1",
            Self::Attempt => "portcullis/attempt/v1",
            Self::Key => "portcullis/key/v1",
            Self::KeyEntry => "portcullis/key-entry/v1",
            Self::Keys => "portcullis/keys/v1",
            Self::Payload => "portcullis/payload/v1",
            Self::Result => "portcullis/result/v1",
            Self::Bundle => "portcullis/bundle/v1",
            Self::BundleRoot => "portcullis/bundle-root/v1",
            Self::Surfaces => "portcullis/surfaces/v1",
            Self::Token => "portcullis/token/v1",
            Self::VaultKey => "portcullis/vault-key/v1",
            Self::Roster => "portcullis/roster/v1",
            Self::Spool => "portcullis/spool/v1",
            Self::Counter => "portcullis/counter/v1",
            Self::Standing => "portcullis/standing/v1",
            Self::FactSnapshot => "portcullis/facts/v1",
            Self::ToolDefinition => "portcullis/tool-definition/v1",
            Self::Row => "portcullis/row/v1",
        }
    }
}

/// A SHA-256 digest. Written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of `parts` in a domain: SHA-256 over the label, a zero byte, and each part behind its length as
    /// eight bytes, big endian, so that no two lists of parts share their bytes.
    #[must_use]
    pub fn of(domain: Domain, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(domain.label().as_bytes());
        hasher.update([0]);
        for part in parts {
            // A slice's length always fits: usize is at most 64 bits wide.
            hasher.update(u64::try_from(part.len()).map_or([0xff; 8], u64::to_be_bytes));
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Plain SHA-256 of bytes, for formats of others that define it so.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From 32 raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sha256:")?;
        crate::ids::write_hex(&self.0, formatter)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("digest", text, "`sha256:` and 64 lower-case hexadecimal digits");
        let digits = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        crate::ids::bytes32(digits).map(Self).ok_or_else(invalid)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_part_boundaries_separate_digests() {
        let base = Digest::of(Domain::Request, &[b"ab", b"c"]);
        assert_ne!(base, Digest::of(Domain::Operation, &[b"ab", b"c"]));
        assert_ne!(base, Digest::of(Domain::Request, &[b"a", b"bc"]));
        assert_ne!(base, Digest::of(Domain::Request, &[b"abc"]));
    }

    #[test]
    fn only_the_canonical_text_is_a_digest() {
        let digest = Digest::sha256(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        assert!(digest.to_string().trim_start_matches("sha256:").parse::<Digest>().is_err());
        assert!("sha256:".parse::<Digest>().is_err());
    }
}
