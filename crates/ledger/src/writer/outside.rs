//! The writer and those outside: witnesses that may have seen more, and PERMITs that wait for them.

use portcullis_arbiter::{Fact, GateState, Health, Room, Settled, settle};
use portcullis_protocol::{ReasonCode, Verdict};

use super::Writer;
use crate::command::{Decided, Reply};
use crate::elsewhere::Seen;
use crate::error::LedgerError;
use crate::health::{displaced, tripped};
use crate::held::Proved;
use crate::refuted;
use crate::store;

/// Why a PERMIT that was held is kept back.
enum NotReleased {
    /// It would not be released now.
    Refused(ReasonCode),
    /// The ledger fails, or is damaged.
    Failed(LedgerError),
}

impl From<ReasonCode> for NotReleased {
    fn from(code: ReasonCode) -> Self {
        Self::Refused(code)
    }
}

impl Writer {
    /// Whether those outside let the ledger that was opened go on. They are asked once in the life of a process that
    /// signed nothing yet, before anything is recorded, anchored or kept; a log without a head is asked about as an
    /// empty one. Somebody must say that it is the one they know, and what a witness has refuted stays refuted.
    pub(super) fn stands_outside(&mut self) -> bool {
        let Ok(opened) = &mut self.phase else { return false };
        let seen = match (&self.known, &opened.head) {
            (Some(_), _) => Seen::NothingElse,
            (None, Some(head)) => self.elsewhere.compare(head),
            // The root of an empty tree is always the same: signing it binds to nothing.
            (None, None) => match opened.sign(self.signer.as_mut()) {
                Ok(head) => self.elsewhere.compare(&head),
                Err(error) => {
                    opened.pending = Some(error.code());
                    return false;
                }
            },
        };
        let refuted = refuted::stands(&self.config.directory);
        let refused = match seen {
            Seen::NothingElse if !refuted => return true,
            Seen::NothingElse | Seen::More => ReasonCode::EvidenceBehindAnchor,
            Seen::Unknown if refuted => ReasonCode::EvidenceBehindAnchor,
            Seen::Unknown => ReasonCode::EvidenceUnwitnessed,
        };
        self.phase = Err(refused);
        false
    }

    /// Releases a PERMIT that was held for witnesses, if it would still be released now. Otherwise it is withheld.
    pub(super) fn release_held(
        &mut self,
        proved: Proved,
        health: &Health,
        reply: Reply<Result<Box<Decided>, ReasonCode>>,
    ) {
        let code = match self.may_release(&proved, health) {
            Ok(()) => {
                self.holds.released(proved.attempt());
                return reply(Ok(proved.into_decided()));
            }
            Err(NotReleased::Refused(code)) => code,
            // What is met here is met no less than by a batch.
            Err(NotReleased::Failed(error)) => {
                self.poison(&error, Vec::new(), true, health.now);
                error.code()
            }
        };
        drop(proved);
        reply(Err(code));
    }

    fn may_release(&mut self, proved: &Proved, health: &Health) -> Result<(), NotReleased> {
        match health.gate {
            Fact::Known(GateState::Open) => {}
            Fact::Known(GateState::Shut) => return Err(ReasonCode::GateShut.into()),
            Fact::Unknown => return Err(ReasonCode::GateUnknown.into()),
        }
        if let Some(code) = tripped(health) {
            return Err(code.into());
        }
        let opened = self.phase.as_mut().map_err(|code| NotReleased::Refused(*code))?;
        if let Some(code) = opened.pending.or(displaced(opened, &self.lock)) {
            return Err(code.into());
        }
        let permit = store::permit(&opened.store.connection, &proved.attempt());
        let permit = permit.map_err(|error| NotReleased::Failed(error.into()))?;
        let Some(permit) = permit.filter(|permit| permit.outcome.is_none()) else {
            return Err(ReasonCode::RequestAttemptReused.into());
        };
        let (entry, beside) = opened.beside(permit.seq, health.now).map_err(NotReleased::Failed)?;
        // Its witnesses have seen it, whether or not they answer now; its key is consumed by itself, and
        // what it takes of limits is reserved, and what labels it gives, it gave itself.
        let health = Health { witnesses: Fact::Known(true), ..health.clone() };
        match settle(proved.intake(), &health, Fact::Known(None), Room::Taken(&opened.standing, &beside)) {
            Settled::Decided(Verdict::Refuse(code, _)) => Err(code.into()),
            Settled::Decided(verdict) if proved.intake().is_permit_of(&verdict, &entry, health.now) => Ok(()),
            // It would be permitted on other terms than those on record, by an exception for one.
            Settled::Decided(Verdict::Permit(_)) => Err(ReasonCode::OverloadContended.into()),
            Settled::EvaluateAgain => Err(ReasonCode::OverloadContended.into()),
        }
    }
}
