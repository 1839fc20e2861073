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
    // The name before the last bracket may hold anything.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Ok(Duration::from_millis(ticks.sum::<u64>().saturating_mul(TICK)))
}

/// How busy the machine is, beside the measurement and by it, where the system tells.
pub(super) fn load_average() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next().map(str::to_owned)
}
