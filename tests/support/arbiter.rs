//! `portcullis serve` as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use super::http::Server;
use super::process::{ended, kill, signal};
use super::{Place, program, until};

/// Lines of a process's standard error, as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// Collects a child's standard error.
    pub(crate) fn of(child: &mut Child) -> Self {
        let notes = Self::default();
        let (kept, stream) = (notes.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.0.lock().unwrap().push(line);
            }
        });
        notes
    }

    /// What was said so far.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// Waits for a line with these words, and returns it.
    pub(crate) fn told(&self, words: &str) -> String {
        until(&format!("`{words}` on standard error"), || {
            self.0.lock().unwrap().iter().find(|line| line.contains(words)).cloned()
        })
    }
}

/// The arbiter's daemon. Killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) notes: Notes,
    /// Where its HTTP API is.
    pub(crate) url: String,
}

impl Daemon {
    /// Starts `portcullis serve` and waits until it is ready.
    pub(crate) fn start(place: &Place) -> Self {
        let daemon = Self::within(&place.config_path, &place.environment);
        place.ready();
        daemon
    }

    /// Starts `portcullis serve` and waits until it listens.
    pub(crate) fn with(config: &Path) -> Self {
        Self::within(config, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn within(config: &Path, environment: &[(String, String)]) -> Self {
        let mut command = Command::new(program());
        command.args(["serve", "--config"]).arg(config).envs(environment.iter().cloned());
        let mut daemon = Self::spawn(&mut command);
        daemon.url =
            daemon.notes.told("listening on http://").split("listening on ").nth(1).unwrap().to_owned();
        daemon
    }

    /// Starts it by a command, and waits for nothing: it has no URL yet, and may never get so far.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let notes = Notes::of(&mut child);
        Self { child, notes, url: String::new() }
    }

    /// Waits until it listens, or has ended without. Whether it listens.
    pub(crate) fn listens(&mut self) -> bool {
        until("a daemon that listens or ends", || {
            let listens = self.notes.text().contains("listening on http://");
            (listens || self.child.try_wait().unwrap().is_some()).then_some(listens)
        })
    }

    /// Its HTTP API.
    pub(crate) fn server(&self) -> Server {
        Server::url(&self.url)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        kill(&mut self.child);
    }

    /// Ends it with a signal, and waits for its end.
    pub(crate) fn end(mut self, by: Signal) -> ExitStatus {
        signal(&self.child, by);
        ended(&mut self.child, "the daemon")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
