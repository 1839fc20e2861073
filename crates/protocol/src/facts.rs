//! What a decision depended on besides the request, the bundle and the log before it, as its record keeps it.
//!
//! Each fact is one word, or the reason code that it led to. `unknown` is a fact that could not be established:
//! it refuses, and it replays as the Unknown that it was.

use serde::{Deserialize, Serialize};

use crate::ids::{BundleDigest, Millis};
use crate::reason::ReasonCode;
use crate::sources::Snapshots;

/// Whether an operator had shut the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateFact {
    /// Nobody had.
    Open,
    /// Somebody had.
    Shut,
    /// It could not be told.
    Unknown,
}

/// What comparing the clocks showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockFact {
    /// They agreed.
    Steady,
    /// They had drifted apart.
    Jumped,
    /// The wall clock was earlier than the newest record.
    BehindLog,
    /// The wall clock could not be read.
    Unknown,
}

/// Whether this process was the one writer of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFact {
    /// It was.
    Held,
    /// It was no longer.
    Fenced,
    /// It could not be told.
    Unknown,
}

/// Whether the caller still waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineFact {
    /// There was time.
    Ahead,
    /// It had passed.
    Passed,
}

/// Whether the deployment had witnesses, where the surface asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WitnessesFact {
    /// It had none, or the surface did not ask.
    #[default]
    Nobody,
    /// It had some.
    There,
    /// It could not be told.
    Unknown,
}

/// For whom the agent may act, as far as that was asked: what its credential said of whom the request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalFact {
    /// The request named nobody, and the credential lists nobody.
    #[default]
    Nobody,
    /// The credential lists whom the request named.
    Admitted,
    /// The request named somebody whom the credential does not list, or nobody where it lists some.
    NotAdmitted,
}

impl PrincipalFact {
    /// What cannot be, beside this reason for a decision about a request that names somebody or nobody.
    pub(crate) fn contradiction(self, named: bool, reason: Option<ReasonCode>) -> Option<&'static str> {
        match (self, named) {
            (Self::Nobody, true) | (Self::Admitted, false) => {
                Some("whom the agent acts for, and what its credential says of that, disagree")
            }
            (Self::NotAdmitted, _) if reason.is_none() => {
                Some("a PERMIT for somebody for whom the agent may not act")
            }
            (Self::Nobody | Self::Admitted, _) if reason == Some(ReasonCode::IdentityPrincipal) => {
                Some("a refusal of a principal whom the credential admits")
            }
            (Self::Nobody | Self::Admitted | Self::NotAdmitted, _) => None,
        }
    }
}

macro_rules! words_or_code {
    ($(#[$about:meta])* $name:ident, $what:literal { $( $(#[$doc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $( $(#[$doc])* $variant, )*
            /// It refused, with this code.
            Refused(ReasonCode),
        }

        impl From<$name> for String {
            fn from(fact: $name) -> Self {
                match fact {
                    $( $name::$variant => $word.to_owned(), )*
                    $name::Refused(code) => code.as_str().to_owned(),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.as_str() {
                    $( $word => Ok(Self::$variant), )*
                    code => code.parse().map(Self::Refused).map_err(|_| format!(concat!("`{}` is no fact of ", $what), text)),
                }
            }
        }
    };
}

words_or_code! {
    /// Whether evidence could be written.
    EvidenceFact, "evidence" {
        /// It could.
        Sound = "sound",
        /// It could not be told.
        Unknown = "unknown",
    }
}

words_or_code! {
    /// The bundle in force.
    PolicyFact, "policy" {
        /// Present and within its validity.
        Valid = "valid",
        /// Present, before its validity.
        NotYetValid = "not_yet_valid",
        /// Present, at or after the end of its validity.
        Expired = "expired",
        /// It could not be told.
        Unknown = "unknown",
    }
}

/// The facts of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFacts {
    /// When the agent proved its identity, if its credential says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<Millis>,
    /// The clock.
    pub clock: ClockFact,
    /// When the agent's credential expires, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_expires: Option<Millis>,
    /// The caller's deadline.
    pub deadline: DeadlineFact,
    /// The evidence.
    pub evidence: EvidenceFact,
    /// The operator's lever.
    pub gate: GateFact,
    /// The bundle in force at settling, where it is not the record's `bundle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<BundleDigest>,
    /// Whether the agent's labels had changed since policy was asked; present only if so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub labels_moved: bool,
    /// Whether no further evaluation was to be had; present only if so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub last_try: bool,
    /// The bundle's state.
    pub policy: PolicyFact,
    /// For whom the agent acted, as its credential has it; present only if somebody was named or is to be.
    #[serde(default, skip_serializing_if = "is_about_nobody")]
    pub principal: PrincipalFact,
    /// What sources of facts policy was asked with; none where the bundle declares none, or one of them gave nothing.
    #[serde(default, skip_serializing_if = "Snapshots::is_empty")]
    pub sources: Snapshots,
    /// Whether the sources had something else to say since policy was asked; present only if so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sources_moved: bool,
    /// The state.
    pub state: StateFact,
    /// The witnesses; present only if the surface asks for them and they are not known to be nobody.
    #[serde(default, skip_serializing_if = "is_nobody")]
    pub witnesses: WitnessesFact,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_about_nobody(fact: &PrincipalFact) -> bool {
    matches!(fact, PrincipalFact::Nobody)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_nobody(fact: &WitnessesFact) -> bool {
    matches!(fact, WitnessesFact::Nobody)
}

impl RecordedFacts {
    /// The facts under which nothing but request, bundle and log decides: what most records hold.
    #[must_use]
    pub const fn sound() -> Self {
        Self {
            authenticated: None,
            clock: ClockFact::Steady,
            credential_expires: None,
            deadline: DeadlineFact::Ahead,
            evidence: EvidenceFact::Sound,
            gate: GateFact::Open,
            in_force: None,
            labels_moved: false,
            last_try: false,
            policy: PolicyFact::Valid,
            principal: PrincipalFact::Nobody,
            sources: Snapshots::new(),
            sources_moved: false,
            state: StateFact::Held,
            witnesses: WitnessesFact::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_read_back_as_the_word_it_was() {
        let refused = RecordedFacts {
            authenticated: Some(Millis(6)),
            clock: ClockFact::BehindLog,
            credential_expires: Some(Millis(7)),
            deadline: DeadlineFact::Passed,
            evidence: EvidenceFact::Refused(ReasonCode::EvidenceDiskReserve),
            gate: GateFact::Unknown,
            in_force: None,
            labels_moved: true,
            last_try: true,
            policy: PolicyFact::Refused(ReasonCode::PolicyMissing),
            principal: PrincipalFact::NotAdmitted,
            sources: Snapshots::from([(
                "directory".parse().unwrap(),
                crate::sources::tests::snapshot(5, 10),
            )]),
            sources_moved: true,
            state: StateFact::Fenced,
            witnesses: WitnessesFact::Unknown,
        };
        for facts in [RecordedFacts::sound(), refused] {
            let text = serde_json::to_string(&facts).unwrap();
            assert_eq!(serde_json::from_str::<RecordedFacts>(&text).unwrap(), facts, "{text}");
        }
    }

    #[test]
    fn a_record_cannot_say_that_somebody_acted_for_whom_its_credential_does_not_admit() {
        use PrincipalFact::{Admitted, Nobody, NotAdmitted};
        let refused = Some(ReasonCode::IdentityPrincipal);
        for (fact, named, reason) in [
            (Nobody, false, None),
            (Admitted, true, None),
            (Nobody, false, Some(ReasonCode::GateShut)),
            (NotAdmitted, true, refused),
            (NotAdmitted, false, refused),
            (NotAdmitted, true, Some(ReasonCode::GateShut)),
        ] {
            assert_eq!(fact.contradiction(named, reason), None, "{fact:?} {named} {reason:?}");
        }
        for (fact, named, reason) in [
            (Nobody, true, None),
            (Admitted, false, None),
            (NotAdmitted, true, None),
            (NotAdmitted, false, None),
            (Admitted, true, refused),
            (Nobody, false, refused),
        ] {
            assert!(fact.contradiction(named, reason).is_some(), "{fact:?} {named} {reason:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_fact_is_refused_not_ignored() {
        let text = serde_json::to_string(&RecordedFacts::sound()).unwrap();
        for (word, other) in [("sound", "fine"), ("valid", "probably"), ("open", "ajar"), ("ahead", "soon")] {
            let changed = text.replace(&format!("\"{word}\""), &format!("\"{other}\""));
            assert_ne!(changed, text);
            assert!(serde_json::from_str::<RecordedFacts>(&changed).is_err(), "{changed}");
        }
    }
}
