//! The writer's look at its surroundings, before each batch.

use std::path::Path;

use portcullis_arbiter::{Clock, Evidence, Fact, Health, Ports, State};
use portcullis_protocol::{Millis, ReasonCode};

use crate::clock::Clocks;
use crate::ledger::LedgerConfig;
use crate::lock::DirectoryLock;
use crate::opened::Opened;
use crate::signer::Signer;

/// How far wall clock and boot clock may drift apart, in milliseconds.
const DRIFT: u64 = 10_000;
/// How far the wall clock may be behind the newest record, in milliseconds.
const BEHIND: u64 = 1_000;

/// Compares the wall clock with the boot clock since the process started, and with the log.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    wall: Option<Millis>,
    boot: u64,
}

impl ClockWatch {
    pub(crate) fn start(clocks: &dyn Clocks) -> Self {
        Self { wall: clocks.wall(), boot: clocks.boot() }
    }

    fn read(&self, wall: Option<Millis>, boot: u64, last: Millis) -> Fact<Clock> {
        let (Some(began), Some(wall)) = (self.wall, wall) else { return Fact::Unknown };
        let expected = began.plus(boot.saturating_sub(self.boot));
        if wall.0.abs_diff(expected.0) > DRIFT {
            return Fact::Known(Clock::Jumped);
        }
        if wall.plus(BEHIND) < last {
            return Fact::Known(Clock::BehindLog);
        }
        Fact::Known(Clock::Steady)
    }
}

/// What the writer looks at.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a LedgerConfig,
    pub(crate) lock: &'a DirectoryLock,
    pub(crate) watch: &'a ClockWatch,
    pub(crate) ports: &'a dyn Ports,
}

impl Surroundings<'_> {
    /// Everything that settling a batch depends on.
    pub(crate) fn health(
        &self,
        phase: &mut Result<Box<Opened>, ReasonCode>,
        signer: &mut dyn Signer,
    ) -> Health {
        let (wall, boot) = (self.config.clocks.wall(), self.config.clocks.boot());
        let last = phase.as_ref().map_or(Millis(0), |opened| opened.last);
        let clock = self.watch.read(wall, boot, last);
        // Time is assigned once for the batch and never runs backwards in the log.
        let now = wall.map_or(last, |wall| wall.max(last));
        let state = if self.lock.is_held() { State::Held } else { State::Fenced };
        Health {
            gate: self.ports.gate(),
            clock,
            evidence: Fact::Known(self.evidence(phase, signer)),
            state: Fact::Known(state),
            policy: self.ports.policy(now),
            now,
            boot,
        }
    }

    fn evidence(&self, phase: &mut Result<Box<Opened>, ReasonCode>, signer: &mut dyn Signer) -> Evidence {
        let opened = match phase {
            Ok(opened) => opened,
            Err(code) => return Evidence::Tripped(*code),
        };
        if !opened.store.is_in_place() {
            return Evidence::Tripped(ReasonCode::EvidenceUnwritable);
        }
        if !opened.anchor.is_in_place() {
            return Evidence::Tripped(ReasonCode::EvidenceAnchorUnwritable);
        }
        if let Err(error) = signer.ready() {
            return Evidence::Tripped(error.code());
        }
        match free_bytes(&self.config.directory) {
            Some(free) if free >= self.config.disk_reserve => Evidence::Sound,
            Some(_) => Evidence::Tripped(ReasonCode::EvidenceDiskReserve),
            None => Evidence::Tripped(ReasonCode::EvidenceUnwritable),
        }
    }
}

/// Bytes that can still be written below a directory; `None` if the file system does not say.
fn free_bytes(directory: &Path) -> Option<u64> {
    match rustix::fs::statvfs(directory) {
        Ok(system) => Some(system.f_bavail.saturating_mul(system.f_frsize)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_either_way_and_a_log_from_the_future_trip_the_clock() {
        let watch = ClockWatch { wall: Some(Millis(1_000_000)), boot: 500 };
        let read = |wall, boot, last| watch.read(wall, boot, Millis(last));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 0), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_015_000)), 5_500, 0), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_015_001)), 5_500, 0), Fact::Known(Clock::Jumped));
        assert_eq!(read(Some(Millis(994_999)), 5_500, 0), Fact::Known(Clock::Jumped));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 1_006_000), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 1_006_001), Fact::Known(Clock::BehindLog));
        assert_eq!(read(None, 5_500, 0), Fact::Unknown);
    }
}
