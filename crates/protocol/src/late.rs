//! Attempts that could not be recorded when they were made. Whoever refused them keeps them in a spool, out of the
//! log's band, and they are entered into the log late. A late record is no decision and changes no state.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::ids::{ActionName, AgentId, AttemptId, GateId, Millis, PrincipalId, SpoolId, SurfaceName};
use crate::reason::{Precondition, ReasonCode};
use crate::record::RecordError;
use crate::request::Resource;
use crate::verdict::Decision;

/// Who kept an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// The arbiter, while it could not write evidence.
    Arbiter,
    /// The gate, while it had no answer of the arbiter's, or did not ask because an outcome of its own was not on record.
    /// What it says is its agent's word.
    Gate,
}

impl Keeper {
    /// The keeper's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arbiter => "arbiter",
            Self::Gate => "gate",
        }
    }

    /// Whether what was refused for this reason is its to keep: nothing that was, or could have been, a decision.
    #[must_use]
    pub const fn keeps(self, reason: ReasonCode) -> bool {
        if !matches!(reason.decision(), Decision::Silence) {
            return false;
        }
        match self {
            Self::Arbiter => {
                matches!(
                    reason.precondition(),
                    Precondition::Gate | Precondition::Clock | Precondition::Evidence
                )
            }
            Self::Gate => matches!(
                reason,
                ReasonCode::ArbiterUnreachable
                    | ReasonCode::ArbiterTimeout
                    | ReasonCode::ReceiptUnverifiable
                    | ReasonCode::EvidenceOutcomeUnrecorded
            ),
        }
    }
}

/// An attempt that was refused, as far as a record names one: nothing of what was asked is in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempted {
    /// When it was refused, by the keeper's wall clock.
    pub at: Millis,
    /// Why it was refused.
    pub reason: ReasonCode,
    /// Who acted.
    pub agent: AgentId,
    /// For whom, as the request says: nobody looked whether it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<PrincipalId>,
    /// The gate that asked.
    pub gate: GateId,
    /// The attempt.
    pub attempt: AttemptId,
    /// The surface.
    pub surface: SurfaceName,
    /// The action.
    pub action: ActionName,
    /// The resource.
    pub resource: Resource,
    /// Salted commitment to the request ([`crate::Request::commitment`]).
    pub request: Digest,
}

/// An entry of a spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spooled {
    /// The spool: random, new each time that one is opened.
    pub spool: SpoolId,
    /// The entry's place in it. Of two entries of a spool, the later has the greater number.
    pub number: u64,
    /// What was attempted.
    pub attempted: Attempted,
}

impl Spooled {
    /// Names the series of entries that this one belongs to, of which each is entered once. A gate's is its agent's
    /// own: nobody can pass off entries as another agent's and have that one's own taken for known.
    #[must_use]
    pub fn series(&self, keeper: Keeper) -> Digest {
        let (word, spool) = (keeper.as_str().as_bytes(), self.spool.as_bytes().as_slice());
        match keeper {
            Keeper::Arbiter => Digest::of(Domain::Spool, &[word, spool]),
            Keeper::Gate => {
                let (agent, gate) = (&self.attempted.agent, &self.attempted.gate);
                Digest::of(Domain::Spool, &[word, agent.as_str().as_bytes(), gate.as_str().as_bytes(), spool])
            }
        }
    }
}

/// An attempt that was refused while it could not be recorded, entered later. Not a decision: it permits nothing,
/// consumes nothing, counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was entered.
    pub time: Millis,
    /// Who kept it until then.
    pub keeper: Keeper,
    /// What was kept.
    pub entry: Spooled,
}

impl LateRecord {
    pub(crate) const fn check(&self) -> Result<(), RecordError> {
        if self.keeper.keeps(self.entry.attempted.reason) {
            return Ok(());
        }
        Err(RecordError::Contradiction("a late record of what its keeper does not keep"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn late(keeper: Keeper, reason: ReasonCode) -> LateRecord {
        let attempted = Attempted {
            at: Millis(1_700_000_000_000),
            reason,
            agent: "bot".parse().unwrap(),
            acts_for: None,
            gate: "fs".parse().unwrap(),
            attempt: AttemptId::from_bytes([1; 32]),
            surface: "fs.read".parse().unwrap(),
            action: "fs.read".parse().unwrap(),
            resource: Resource { kind: "Surface".into(), id: "fs.read".into() },
            request: Digest::sha256(b"x"),
        };
        let entry = Spooled { spool: SpoolId::from_bytes([7; 32]), number: 4, attempted };
        LateRecord { seq: 9, time: Millis(1_700_000_060_000), keeper, entry }
    }

    #[test]
    fn a_late_record_is_of_what_its_keeper_keeps_and_never_of_a_decision() {
        for reason in ReasonCode::ALL {
            for keeper in [Keeper::Arbiter, Keeper::Gate] {
                let record = late(keeper, *reason);
                let read = Record::parse(&Record::Late(record.clone()).to_bytes().unwrap());
                if keeper.keeps(*reason) {
                    assert_eq!(reason.decision(), Decision::Silence, "{reason:?}");
                    assert_eq!(read, Ok(Record::Late(record)));
                } else {
                    assert!(matches!(read, Err(RecordError::Contradiction(_))), "{keeper:?} {reason:?}");
                }
            }
        }
        assert!(
            Keeper::Arbiter.keeps(ReasonCode::SignerTimeout) && !Keeper::Gate.keeps(ReasonCode::GateShut)
        );
        assert!(
            Keeper::Gate.keeps(ReasonCode::EvidenceOutcomeUnrecorded)
                && !Keeper::Gate.keeps(ReasonCode::EvidenceUnwritable)
        );
        assert!(
            !Keeper::Arbiter.keeps(ReasonCode::PolicyNoGrant)
                && !Keeper::Arbiter.keeps(ReasonCode::StateFenced)
        );
    }

    #[test]
    fn a_series_is_its_keepers_and_of_a_gate_its_agents_own() {
        let one = late(Keeper::Gate, ReasonCode::ArbiterTimeout).entry;
        let mut other_agent = one.clone();
        other_agent.attempted.agent = "other".parse().unwrap();
        let mut other_gate = one.clone();
        other_gate.attempted.gate = "other".parse().unwrap();
        let series = [
            one.series(Keeper::Gate),
            other_agent.series(Keeper::Gate),
            other_gate.series(Keeper::Gate),
            one.series(Keeper::Arbiter),
        ];
        for (index, name) in series.iter().enumerate() {
            assert!(!series[index + 1..].contains(name));
        }
        assert_eq!(one.series(Keeper::Arbiter), other_agent.series(Keeper::Arbiter));
    }
}
