//! The state compared with the records in one sweep, on all processors.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use super::{Check, RANGE};
use crate::edge::TILE;
use crate::error::LedgerError;
use crate::store::Store;
use crate::sweep::{self, Lists, Sweep, SweepPosition};

/// What sweeping the state came to.
pub(super) enum Swept {
    /// It is what the records say.
    Agrees,
    /// It is not, or it was not told apart.
    Differs,
    /// It was stopped before that could be told.
    Stopped,
}

impl Check {
    /// Compares the state with the records on all processors, each table read once. Says where it ended.
    pub(super) fn sweep(
        &self,
        begin: SweepPosition,
        stop: &AtomicBool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(Swept, SweepPosition), LedgerError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (database, work) = (self.database.as_path(), Sweeping::from(&begin));
        let results = std::thread::scope(|scope| {
            let started: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| work.take(database, &begin, stop, progress))).collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut end = begin;
        for result in results {
            match result {
                Ok(Ok((part_said, part_held))) => {
                    end.said.join(&part_said);
                    end.held.join(&part_held);
                }
                Ok(Err(LedgerError::Corrupt(_))) => return Ok((Swept::Differs, begin)),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(LedgerError::Corrupt("a thread of the check panicked".into())),
            }
        }
        // Whatever a thread had taken it did to its end.
        (end.tiles, end.parts) = (work.tiles.into_inner(), work.parts.into_inner());
        Ok(match end.said == end.held {
            _ if !end.is_done() => (Swept::Stopped, end),
            true => (Swept::Agrees, end),
            false => (Swept::Differs, begin),
        })
    }
}

/// What there is to be swept, taken in order.
struct Sweeping {
    tiles: AtomicU64,
    parts: AtomicU16,
    done: AtomicU64,
    failed: AtomicBool,
}

impl Sweeping {
    fn from(begin: &SweepPosition) -> Self {
        let (tiles, parts) = (AtomicU64::new(begin.tiles), AtomicU16::new(begin.parts));
        let done = AtomicU64::new(begin.records());
        Self { tiles, parts, done, failed: AtomicBool::new(false) }
    }

    fn take(
        &self,
        database: &Path,
        begin: &SweepPosition,
        stop: &AtomicBool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(Lists, Lists), LedgerError> {
        let connection = Store::read_only(database)?;
        let size = begin.size;
        let mut sweep = Sweep::new(&connection, &begin.key, size);
        let mut swept = || -> Result<(), LedgerError> {
            let goes_on = || !stop.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed);
            while goes_on()
                && let first = self.tiles.fetch_add(RANGE, Ordering::Relaxed)
                && first < size.div_ceil(TILE)
            {
                let snapshot = connection.unchecked_transaction()?;
                let records = sweep.tiles(first, RANGE)?;
                snapshot.finish()?;
                progress(self.done.fetch_add(records, Ordering::Relaxed).saturating_add(records), size);
            }
            while goes_on()
                && let part = self.parts.fetch_add(1, Ordering::Relaxed)
                && part < sweep::PARTS
            {
                let snapshot = connection.unchecked_transaction()?;
                sweep.part(part)?;
                snapshot.finish()?;
            }
            Ok(())
        };
        match swept() {
            Ok(()) => Ok((sweep.said, sweep.held)),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}
