//! What gate and daemon did for calls: syncs of the disk, batches, processor time.

use std::time::Duration;

use crate::DrillError;

/// Milliseconds of a tick, in which the kernel tells times of processes: the same on every architecture that is built for.
const TICK: u64 = 10;

/// Counts so far, or between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pub(super) syncs: u64,
    pub(super) batches: u64,
    /// Processor time of the gate, and of the daemon.
    pub(super) gate: Duration,
    pub(super) arbiter: Duration,
}

impl Meter {
    pub(super) fn read(
        (syncs, batches): (u64, u64),
        gate: u32,
        arbiter: Option<u32>,
    ) -> Result<Self, DrillError> {
        let gone = || DrillError::Answer("the arbiter has gone".into());
        let (gate, arbiter) = (processor_time(gate)?, processor_time(arbiter.ok_or_else(gone)?)?);
        Ok(Self { syncs, batches, gate, arbiter })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            syncs: self.syncs.saturating_sub(before.syncs),
            batches: self.batches.saturating_sub(before.batches),
            gate: self.gate.saturating_sub(before.gate),
            arbiter: self.arbiter.saturating_sub(before.arbiter),
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.syncs = self.syncs.saturating_add(more.syncs);
        self.batches = self.batches.saturating_add(more.batches);
        self.gate = self.gate.saturating_add(more.gate);
        self.arbiter = self.arbiter.saturating_add(more.arbiter);
    }
}

/// Processor time of a process, in user and system mode (proc_pid_stat(5)).
fn processor_time(process: u32) -> Result<Duration, DrillError> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(DrillError::system(format!("reading {path}")))?;
    let none = || DrillError::Answer(format!("{path} does not say what processor time was taken"));
    Ok(Duration::from_millis(ticks(&stat).ok_or_else(none)?.saturating_mul(TICK)))
}

/// User and system ticks, the 14th and the 15th field: the name before the last bracket may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    fields.next()??.checked_add(fields.next()??)
}

/// How busy the machine is, beside the measurement and by it, where the system tells.
pub(super) fn load_average() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_told_no_processor_time_was_counted_as_none() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        for stat in [
            "",
            "7 (a)",
            "7 (a) S 1 2 3",
            "7 (a) S 1 2 3 4 5 6 7 8 9 10 30",
            "7 (a) S 1 2 3 4 5 6 7 8 9 10 x 12",
        ] {
            assert_eq!(ticks(stat), None, "{stat}");
        }
    }
}
