//! How long the parts of the newest activation took, for those who wonder where its time goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A part of an activation, in the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The offered bundle is read, its signatures are verified, and it is laid where it would decide from, durably.
    Lay,
    /// It is read from there, verified, parsed and validated.
    Load,
    /// Its own cases are tried.
    Try,
    /// It is archived.
    Archive,
    /// The order is put on record.
    Record,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lay => "lay",
            Self::Load => "load",
            Self::Try => "try",
            Self::Archive => "archive",
            Self::Record => "record",
        }
    }
}

/// What each part took when it was last carried out.
#[derive(Debug, Default)]
pub(crate) struct Stages(Mutex<BTreeMap<Stage, Duration>>);

impl Stages {
    /// Does a part, and notes how long it took.
    pub(crate) fn timed<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.note(stage, began);
        done
    }

    pub(crate) fn note(&self, stage: Stage, began: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(stage, began.elapsed());
    }

    /// The metrics, a line each, in microseconds.
    pub(crate) fn render(&self) -> String {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = stages.iter().map(|(stage, took)| {
            format!("portcullis_activation_us{{stage=\"{}\"}} {}\n", stage.as_str(), took.as_micros())
        });
        lines.collect()
    }
}
