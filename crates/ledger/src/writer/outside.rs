//! The writer and those outside: witnesses that may have seen more, and PERMITs that wait for them.

use portcullis_arbiter::{Fact, GateState, Health};
use portcullis_protocol::{AttemptId, ReasonCode};

use super::Writer;
use crate::command::{Decided, Reply};
use crate::elsewhere::Seen;
use crate::health::{displaced, tripped};
use crate::held::Proved;
use crate::store;

impl Writer {
    /// Asks those outside whether the ledger that was opened is the one they know, once in the life of a process that
    /// signed nothing yet. `false` if they have seen more: then nothing is recorded or signed.
    pub(super) fn stands_outside(&mut self) -> bool {
        if self.known.is_some() {
            return true;
        }
        let Ok(opened) = &self.phase else { return false };
        let Some(head) = &opened.head else { return true };
        match self.elsewhere.compare(head) {
            Seen::NothingElse | Seen::Unknown => true,
            Seen::More => {
                self.phase = Err(ReasonCode::EvidenceBehindAnchor);
                false
            }
        }
    }

    /// Releases a PERMIT that was held for witnesses, if it would still be released now. Otherwise it is withheld.
    pub(super) fn release_held(
        &mut self,
        proved: Proved,
        health: &Health,
        reply: Reply<Result<Box<Decided>, ReasonCode>>,
    ) {
        match self.may_release(&proved.attempt(), health) {
            Ok(()) => {
                self.holds.released(proved.attempt());
                reply(Ok(proved.into_decided()));
            }
            Err(code) => {
                drop(proved);
                reply(Err(code));
            }
        }
    }

    fn may_release(&mut self, attempt: &AttemptId, health: &Health) -> Result<(), ReasonCode> {
        match health.gate {
            Fact::Known(GateState::Open) => {}
            Fact::Known(GateState::Shut) => return Err(ReasonCode::GateShut),
            Fact::Unknown => return Err(ReasonCode::GateUnknown),
        }
        if let Some(code) = tripped(health) {
            return Err(code);
        }
        let opened = self.phase.as_mut().map_err(|code| *code)?;
        if let Some(code) = opened.pending.or(displaced(opened, &self.lock)) {
            return Err(code);
        }
        let permit = store::permit(&opened.store.connection, attempt);
        let permit = permit.map_err(|_| ReasonCode::StateUnreachable)?;
        if permit.is_some_and(|permit| permit.outcome.is_none()) {
            Ok(())
        } else {
            Err(ReasonCode::RequestAttemptReused)
        }
    }
}
