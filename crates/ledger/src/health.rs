//! The writer's look at its surroundings, before each batch.

use std::path::Path;

use portcullis_arbiter::{Clock, Evidence, Fact, Health, Ports, State};
use portcullis_protocol::{Millis, ReasonCode};

use crate::ledger::LedgerConfig;
use crate::lock::DirectoryLock;
use crate::opened::Opened;
use crate::place::Place;
use crate::signer::Signer;
use crate::vault::Vault;

/// How far wall clock and boot clock may drift apart, in milliseconds.
const DRIFT: u64 = 10_000;
/// How far the wall clock may be behind the newest record, in milliseconds.
const BEHIND: u64 = 1_000;

/// The latest time that a record can hold, with what is added to it: the end of the year 9999.
const LATEST: Millis = Millis(253_402_300_799_999);

/// Compares the wall clock with the boot clock since the wall clock could first be read, and with the log.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    began: Option<(Millis, u64)>,
}

impl ClockWatch {
    fn read(&mut self, wall: Option<Millis>, boot: u64, last: Millis) -> Fact<Clock> {
        let Some(wall) = wall else { return Fact::Unknown };
        let (began, booted) = *self.began.get_or_insert((wall, boot));
        let expected = began.plus(boot.saturating_sub(booted));
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
    pub(crate) ports: &'a dyn Ports,
}

impl Surroundings<'_> {
    /// Everything that settling a batch depends on.
    pub(crate) fn health(
        &self,
        watch: &mut ClockWatch,
        phase: &mut Result<Box<Opened>, ReasonCode>,
        signer: &mut dyn Signer,
        vault: &mut Vault,
    ) -> Health {
        let wall = self.config.clocks.wall().filter(|wall| *wall <= LATEST);
        let boot = self.config.clocks.boot();
        let last = phase.as_ref().map_or(Millis(0), |opened| opened.last);
        let clock = watch.read(wall, boot, last);
        // Time is assigned once for the batch and never runs backwards in the log.
        let now = wall.map_or(last, |wall| wall.max(last));
        let state = if self.lock.is_held() { State::Held } else { State::Fenced };
        Health {
            gate: self.ports.gate(),
            clock,
            evidence: Fact::Known(self.evidence(phase, signer, vault)),
            state: Fact::Known(state),
            policy: self.ports.policy(now),
            sources: self.ports.sources(),
            witnesses: self.ports.witnesses(),
            now,
            boot,
        }
    }

    fn evidence(
        &self,
        phase: &mut Result<Box<Opened>, ReasonCode>,
        signer: &mut dyn Signer,
        vault: &mut Vault,
    ) -> Evidence {
        let opened = match phase {
            Ok(opened) => opened,
            Err(code) => return Evidence::Tripped(*code),
        };
        if opened.store.place() != Place::Here {
            return Evidence::Tripped(ReasonCode::EvidenceUnwritable);
        }
        if opened.anchor.place() != Place::Here {
            return Evidence::Tripped(ReasonCode::EvidenceAnchorUnwritable);
        }
        if let Err(error) = signer.ready() {
            return Evidence::Tripped(error.code());
        }
        if let Err(error) = vault.ready(opened.master.as_ref()) {
            return Evidence::Tripped(error.code());
        }
        match free_bytes(&self.config.directory) {
            Some(free) if free >= self.config.disk_reserve => Evidence::Sound,
            Some(_) => Evidence::Tripped(ReasonCode::EvidenceDiskReserve),
            None => Evidence::Tripped(ReasonCode::EvidenceUnwritable),
        }
    }
}

/// The code under which nothing is permitted, if something is wrong with evidence, state or clock.
pub(crate) fn tripped(health: &Health) -> Option<ReasonCode> {
    let clock = match health.clock {
        Fact::Known(Clock::Steady) => None,
        Fact::Known(Clock::Jumped) => Some(ReasonCode::ClockJumped),
        Fact::Known(Clock::BehindLog) => Some(ReasonCode::ClockBehindLog),
        Fact::Unknown => Some(ReasonCode::ClockUnreadable),
    };
    let evidence = match health.evidence {
        Fact::Known(Evidence::Sound) => None,
        Fact::Known(Evidence::Tripped(code)) => Some(code),
        Fact::Unknown => Some(ReasonCode::EvidenceUnwritable),
    };
    let state = match health.state {
        Fact::Known(State::Held) => None,
        Fact::Known(State::Fenced) => Some(ReasonCode::StateFenced),
        Fact::Unknown => Some(ReasonCode::StateUnreachable),
    };
    clock.or(evidence).or(state)
}

/// Whether nothing but the disk's reserve stands against recording. What the reserve is kept for goes on.
pub(crate) fn only_reserve(health: &Health) -> bool {
    let reserve = Fact::Known(Evidence::Tripped(ReasonCode::EvidenceDiskReserve));
    health.evidence == reserve
        && health.clock == Fact::Known(Clock::Steady)
        && health.state == Fact::Known(State::Held)
}

/// Why what was just written may be out of reach, or not ours.
pub(crate) fn displaced(opened: &mut Opened, lock: &DirectoryLock) -> Option<ReasonCode> {
    if !lock.is_held() {
        return Some(ReasonCode::StateFenced);
    }
    if opened.store.place() != Place::Here {
        return Some(ReasonCode::EvidenceUnwritable);
    }
    (opened.anchor.place() != Place::Here).then_some(ReasonCode::EvidenceAnchorUnwritable)
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
        let mut watch = ClockWatch { began: Some((Millis(1_000_000), 500)) };
        let mut read = |wall, boot, last| watch.read(wall, boot, Millis(last));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 0), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_015_000)), 5_500, 0), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_015_001)), 5_500, 0), Fact::Known(Clock::Jumped));
        assert_eq!(read(Some(Millis(994_999)), 5_500, 0), Fact::Known(Clock::Jumped));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 1_006_000), Fact::Known(Clock::Steady));
        assert_eq!(read(Some(Millis(1_005_000)), 5_500, 1_006_001), Fact::Known(Clock::BehindLog));
        assert_eq!(read(None, 5_500, 0), Fact::Unknown);
    }

    #[test]
    fn a_clock_that_could_not_be_read_at_the_start_is_watched_once_it_can() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.read(None, 500, Millis(0)), Fact::Unknown);
        assert_eq!(watch.read(Some(Millis(1_000_000)), 1_500, Millis(0)), Fact::Known(Clock::Steady));
        assert_eq!(watch.read(Some(Millis(1_020_000)), 2_500, Millis(0)), Fact::Known(Clock::Jumped));
    }
}
