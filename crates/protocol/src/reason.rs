//! The closed list of reason codes. Everything about a code is declared here, in one place: its verdict, the
//! precondition it belongs to, the HTTP status, what callers are told, the remedy and its documentation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::InvalidId;
pub use crate::precondition::Precondition;
use crate::verdict::Decision;

macro_rules! reason_codes {
    ($( $variant:ident = $code:literal, $verdict:ident, $precondition:ident, $status:literal {
        message: $message:literal, remedy: $remedy:literal, doc: $doc:literal $(,)?
    } )*) => {
        /// Why a request was refused. The list is closed: a reader that meets another word treats it as SILENCE.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode { $( #[doc = $doc] $variant, )* }

        impl ReasonCode {
            /// Every code, in the order of preconditions.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// The code's word, `precondition.cause`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }

            /// DENY or SILENCE; never PERMIT.
            #[must_use]
            pub const fn decision(self) -> Decision {
                match self { $( Self::$variant => Decision::$verdict, )* }
            }

            /// The precondition that failed.
            #[must_use]
            pub const fn precondition(self) -> Precondition {
                match self { $( Self::$variant => Precondition::$precondition, )* }
            }

            /// The HTTP status of an answer with this code.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $( Self::$variant => $status, )* }
            }

            /// One sentence for the caller. Says nothing about this deployment.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $( Self::$variant => $message, )* }
            }

            /// What can be done about it, and by whom.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $( Self::$variant => $remedy, )* }
            }

            /// What the code means, for the reference.
            #[must_use]
            pub const fn documentation(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

mod codes;
pub use codes::ReasonCode;

impl fmt::Display for ReasonCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ReasonCode {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let known = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        known.ok_or_else(|| {
            InvalidId::new("reason code", text, "a code of the closed list in api/reason-codes.md")
        })
    }
}

impl Serialize for ReasonCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReasonCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
