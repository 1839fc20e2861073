//! Whose gate an entry goes through. Anybody can write a program called `portcullis`, or a configuration that permits
//! everything: of another gate than the one of this run it cannot be told that it governs.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::document::Launch;
use super::error::Problem;
use super::gate::{Gate, Passage};
use super::remote::VARIABLE;

/// What makes a gate another than the one of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// The program that is started there.
    Program(String),
    /// The configuration by which it governs; `None` if that depends on the directory it is started in.
    Config(Option<String>),
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(program) => write!(f, "the program `{program}`"),
            Self::Config(Some(config)) => write!(f, "the configuration `{config}`"),
            Self::Config(None) => f.write_str("a configuration that no `--config` names"),
        }
    }
}

impl Passage {
    /// What is another's in it than `gate` has: `None` if it is that very gate.
    pub(crate) fn other_than(&self, gate: &Gate) -> Option<Other> {
        if !is_same(Path::new(&self.program), &gate.program) {
            return Some(Other::Program(self.program.clone()));
        }
        let config = self.config.as_ref().filter(|config| is_same(config, &gate.config));
        let named = || self.config.as_ref().map(|config| config.display().to_string());
        config.is_none().then(|| Other::Config(named()))
    }

    /// Whether its server is kept from the file that it stands in.
    pub(crate) fn is_told_of(&self, gate: &Gate) -> bool {
        self.client.as_ref().is_some_and(|client| is_same(client, &gate.client))
    }
}

/// What an entry goes through that is another than `gate`; `None` if it goes through none, or that one.
pub(crate) fn other(launch: &Launch, gate: &Gate) -> Result<Option<Other>, Problem> {
    Ok(Passage::of(launch)?.and_then(|passage| passage.other_than(gate)))
}

/// Whether a path as an entry has it is this one to every process, whatever its directory and variables.
fn is_same(written: &Path, own: &str) -> bool {
    let is_plain = written.is_absolute() && !written.to_string_lossy().contains(VARIABLE);
    is_plain
        && (written == Path::new(own) || real(written).is_some_and(|it| Some(it) == real(Path::new(own))))
}

/// Where a path leads. `/proc/self/exe`, and a link to it, lead each process elsewhere.
fn real(path: &Path) -> Option<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).ok()?;
    path.canonicalize().ok()
}

#[cfg(test)]
#[path = "whose_tests.rs"]
mod tests;
