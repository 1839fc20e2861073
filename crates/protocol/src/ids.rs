//! Identifiers, each its own type: an agent's name cannot be passed where a surface's is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::digest::{Digest, Domain};

/// A text that is not a valid identifier of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: expected {expected}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

impl InvalidId {
    pub(crate) fn new(kind: &'static str, text: &str, expected: &'static str) -> Self {
        // What an agent sends is echoed back bounded.
        Self { kind, text: text.chars().take(80).collect(), expected }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId::new($kind, text, $expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn word(text: &str, extra: &[u8], longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || extra.contains(&byte);
    text.len() <= longest
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(inner)
}

fn printable(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

text_id!(
    /// The name of an agent: the subject of requests. Comes from the credential that a caller presents, never
    /// from a request's body.
    AgentId, "agent name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// For whom an agent acts: a person, or another agent. A request names one, and its agent's credential says whether it
    /// may.
    PrincipalId, "principal's name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// The name of an auditor: one who reads the whole log, and asks for nothing.
    AuditorId, "auditor name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// The name of a gate: the enforcement point that asked.
    GateId, "gate name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// The name of an operator: a person who acts on a running arbiter. Comes from the credential that came with an
    /// order, never from its body.
    OperatorId, "operator name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// Why an operator ordered something. It goes on record in clear and stays there.
    OrderReason, "reason", "1 to 500 printable characters, not all of them blank",
    |text| printable(text, 500) && !text.trim().is_empty()
);
text_id!(
    /// A protected class of operations, dotted lower case, such as `payments.charge`.
    SurfaceName, "surface", "two or more words of a-z, 0-9, `_` and `-`, joined by dots, at most 128 characters",
    |text| text.len() <= 128 && text.contains('.') && text.split('.').all(|part| word(part, b"_-", 128))
);
text_id!(
    /// The name of a limit, as its bundle has it. What it has counted is kept under this name.
    LimitName, "limit's name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// The name of a label: what an agent has come into touch with, such as `untrusted-input`.
    LabelName, "label", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// The name of a source of facts, as a bundle declares it and a configuration says where it is.
    SourceName, "source's name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// An MCP server, as a gate calls it: the first word of its surfaces.
    ServerName, "server name", "1 to 128 of a-z, 0-9, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"_-", 128)
);
text_id!(
    /// A tool as a bundle names it: its server's name, a slash, and its own name as the server has it.
    ToolName, "tool",
    "a server's name of a-z, 0-9, `_` and `-`, one slash, and a tool's name of 1 to 128 printable characters",
    |text| text.split_once('/').is_some_and(|(server, tool)| {
        word(server, b"_-", 128) && printable(tool, 128) && !tool.contains('/')
    })
);

impl ToolName {
    /// The tool that a server calls so.
    ///
    /// # Errors
    /// If no bundle can have that name.
    pub fn of(server: &ServerName, tool: &str) -> Result<Self, InvalidId> {
        format!("{server}/{tool}").parse()
    }

    /// The server's name, and the tool's own.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        // Every name has its slash.
        self.0.split_once('/').map_or(("", &self.0), |parts| parts)
    }
}

text_id!(
    /// The action of a request: the id of an `Action` entity in the bundle's schema.
    ActionName, "action", "1 to 128 printable characters", |text| printable(text, 128)
);
text_id!(
    /// The `@id` of a policy.
    PolicyId, "policy id", "1 to 128 printable characters", |text| printable(text, 128)
);
text_id!(
    /// The name of a person of a bundle's roster.
    PersonId, "person's name", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// A role that people hold in a bundle's roster, and that grants ask approvals of.
    RoleName, "role", "1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    |text| word(text, b"._-", 64)
);
text_id!(
    /// A caller's key under which a request runs at most once.
    IdempotencyKey, "idempotency key", "1 to 256 printable characters", |text| printable(text, 256)
);

impl From<&AgentId> for PrincipalId {
    /// An agent as one for whom others act: the two have the same syntax.
    fn from(agent: &AgentId) -> Self {
        Self(agent.0.clone())
    }
}

/// The digest of a bundle's manifest: which policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BundleDigest(pub Digest);

impl fmt::Display for BundleDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for BundleDigest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant, `milliseconds` later.
    #[must_use]
    pub const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this instant; zero if it lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

pub(crate) fn bytes32(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).is_ok().then_some(bytes)
}

/// Writes 32 bytes as 64 lower-case hexadecimal digits. Each record has some of them.
pub(crate) fn write_hex(bytes: &[u8; 32], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 64];
    hex::encode_to_slice(bytes, &mut digits).map_err(|_| fmt::Error)?;
    formatter.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
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

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                bytes32(text).map(Self).ok_or_else(|| InvalidId::new($kind, text, "64 lower-case hexadecimal digits"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// Names an attempt in records and receipts: the digest of the nonce that the attempt's gate holds. It
    /// tells nothing about the nonce.
    AttemptId, "attempt"
);
hex_id!(
    /// Random bytes that a gate adds to a request's commitment, so that a record does not let anybody guess
    /// what was asked.
    Salt, "salt"
);
hex_id!(
    /// Names a spool: random, new each time that one is opened.
    SpoolId, "spool"
);

/// An attempt's secret: 32 random bytes that only the gate which made the attempt holds, and spends once.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// From 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public name of the attempt.
    #[must_use]
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId(*Digest::of(Domain::Attempt, &[&self.0]).as_bytes())
    }

    /// The nonce in hexadecimal, for the outcome report that proves who held the attempt.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for Nonce {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // The text is a secret: it is not echoed.
        bytes32(text)
            .map(Self)
            .ok_or_else(|| InvalidId::new("nonce", "***", "64 lower-case hexadecimal digits"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surfaces_are_dotted_lower_case() {
        for good in ["payments.charge", "fs.read_text_file", "a.b.c", "fs.mcp.resources.read", "x.get-sum"] {
            assert!(good.parse::<SurfaceName>().is_ok(), "{good}");
        }
        for bad in ["payments", "Payments.charge", "a..b", ".a", "a.", "a.b c", "a.b\n", "a._b", ""] {
            assert!(bad.parse::<SurfaceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tool_is_a_server_and_any_printable_name() {
        let longest = format!("s/{}", "x".repeat(128));
        for good in ["stripe/create_charge", "stripe/Create.Charge2", "s-1/é x", "s/.", longest.as_str()] {
            assert!(good.parse::<ToolName>().is_ok(), "{good}");
        }
        let longer = format!("{longest}x");
        for bad in ["charge", "stripe/", "/charge", "a.b/c", "Stripe/c", "a/b/c", "a/b\n", "", "/", &longer] {
            assert!(bad.parse::<ToolName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn identifiers_refuse_control_characters_and_excess() {
        assert!("key-1".parse::<IdempotencyKey>().is_ok());
        assert!("key\n1".parse::<IdempotencyKey>().is_err());
        assert!("k".repeat(257).parse::<IdempotencyKey>().is_err());
        assert!("Agent".parse::<AgentId>().is_err());
        assert!("-agent".parse::<AgentId>().is_err());
    }

    #[test]
    fn whatever_names_an_agent_names_a_principal_and_nothing_else_does() {
        let longest = "a".repeat(64);
        let longer = format!("{longest}a");
        for text in ["bot", "0", "a.b_c-d", "Bot", "-a", "a b", "a/b", "é", "", &longest, &longer] {
            let (agent, principal) = (text.parse::<AgentId>(), text.parse::<PrincipalId>());
            assert_eq!(agent.is_ok(), principal.is_ok(), "{text:?}");
            assert_eq!(agent.ok().as_ref().map(PrincipalId::from), principal.ok());
        }
    }

    #[test]
    fn a_nonce_never_prints() {
        let nonce = Nonce::from_bytes([7; 32]);
        assert_eq!(format!("{nonce:?}"), "***");
        let call =
            crate::wire::OutcomeCall { nonce: nonce.reveal(), outcome: crate::Outcome::Ok, result: None };
        assert!(!format!("{call:?}").contains(&nonce.reveal()));
        assert_ne!(nonce.attempt_id().to_string(), nonce.reveal());
        let refused = "07".parse::<Nonce>().unwrap_err().to_string();
        assert!(!refused.contains("07"), "{refused}");
    }
}
