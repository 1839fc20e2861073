//! Long work: how far it is, for people who watch, and whether somebody asked to stop.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// A line on standard error that says how far the work is; nothing where that is no terminal.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
    last: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Begins. From here on, SIGINT and SIGTERM end the work between two steps, and not within one.
    pub(crate) fn new(what: &'static str) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self { what, shown: std::io::stderr().is_terminal(), last: None, stop })
    }

    /// Says how far the work is. Returns whether it is to go on.
    pub(crate) fn step(&mut self, done: u64, total: u64) -> bool {
        if self.shown && self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            drop(write!(std::io::stderr().lock(), "\r{} {done} of {total}\u{1b}[K", self.what).err());
        }
        !self.stopped()
    }

    /// Turns true when somebody asks to stop, for work that looks by itself.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether somebody asked to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.last.is_some() {
            drop(write!(std::io::stderr().lock(), "\r\u{1b}[K").err());
        }
    }
}
