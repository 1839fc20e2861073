//! Faults, done to real processes and files, and mended again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::DrillError;
use crate::deployment::Deployment;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The arbiter's process is killed.
    Killed,
    /// The arbiter's process is stopped in the middle of its work.
    Hung,
    /// No file of the arbiter can grow any more.
    LedgerUnwritable,
    /// A file that the arbiter needs is pulled away.
    Pulled(Part),
    /// An operator shuts the gate.
    Shut,
}

/// A file of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The policy bundle.
    Policy,
    /// The signing key.
    Key,
    /// The anchor of the log's head.
    Anchor,
}

impl Fault {
    /// What happens, for people.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Killed => "the decision service is killed",
            Self::Hung => "the decision service hangs",
            Self::Pulled(Part::Policy) => "the policy is pulled away",
            Self::LedgerUnwritable => "the ledger cannot be written",
            Self::Pulled(Part::Key) => "the signing key is gone",
            Self::Pulled(Part::Anchor) => "the log's anchor is gone",
            Self::Shut => "an operator shuts the gate",
        }
    }

    /// Does it.
    pub(crate) async fn strike(self, place: &Deployment, daemon: &mut Child) -> Result<(), DrillError> {
        match self {
            Self::Killed => {
                daemon.kill().await.map_err(DrillError::system("killing the arbiter"))?;
            }
            Self::Hung => stop(daemon).await?,
            Self::LedgerUnwritable => limit_file_size(daemon, Some(0))?,
            Self::Shut => portcullis_server::shut(&place.config.data, "rehearsal")
                .map_err(|error| DrillError::Answer(error.to_string()))?,
            Self::Pulled(part) => {
                let file = part.file(place)?;
                rename(&file, &away(&file))?;
            }
        }
        Ok(())
    }

    /// Undoes it, and starts a killed arbiter again. Nothing else is restarted.
    pub(crate) async fn mend(
        self,
        place: &Deployment,
        daemon: &mut Child,
        program: &Path,
    ) -> Result<(), DrillError> {
        match self {
            Self::Killed => *daemon = place.serve(program).await?,
            Self::Hung => signal(daemon, Signal::CONT)?,
            Self::LedgerUnwritable => limit_file_size(daemon, getrlimit(Resource::Fsize).current)?,
            Self::Shut => {
                portcullis_server::open(&place.config.data)
                    .map_err(|error| DrillError::Answer(error.to_string()))?;
            }
            Self::Pulled(part) => {
                let file = part.file(place)?;
                rename(&away(&file), &file)?;
            }
        }
        Ok(())
    }
}

impl Part {
    fn file(self, place: &Deployment) -> Result<PathBuf, DrillError> {
        match self {
            Self::Policy => Ok(place.config.bundle.clone()),
            Self::Anchor => Ok(place.config.anchor.clone()),
            Self::Key => place
                .config
                .signer
                .key_file()
                .cloned()
                .ok_or_else(|| DrillError::Answer("the log's key is not in a file".into())),
        }
    }
}

fn away(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".away");
    name.into()
}

fn rename(from: &Path, to: &Path) -> Result<(), DrillError> {
    std::fs::rename(from, to).map_err(DrillError::system(format!("moving {}", from.display())))
}

fn pid(daemon: &Child) -> Result<Pid, DrillError> {
    let id = daemon.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    id.ok_or_else(|| DrillError::Answer("the arbiter has gone".into()))
}

/// Stops the arbiter, and returns when all of its threads are: one takes the signal, and on a busy machine others go on
/// until it has.
async fn stop(daemon: &Child) -> Result<(), DrillError> {
    signal(daemon, Signal::STOP)?;
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let tasks = format!("/proc/{}/task", pid(daemon)?.as_raw_nonzero());
    let stopped = async {
        while !threads(Path::new(&tasks)).map_err(DrillError::system("looking at the arbiter's threads"))? {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    let late = || DrillError::Answer("the arbiter does not stop".into());
    timeout(Duration::from_secs(10), stopped).await.map_err(|_| late())?
}

/// Whether every thread has stopped.
fn threads(tasks: &Path) -> std::io::Result<bool> {
    for task in std::fs::read_dir(tasks)? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        if !matches!(state, Some('T' | 't')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn signal(daemon: &Child, signal: Signal) -> Result<(), DrillError> {
    kill_process(pid(daemon)?, signal)
        .map_err(|error| DrillError::system("signalling the arbiter")(error.into()))
}

/// Bounds the size of files that the arbiter may write (`RLIMIT_FSIZE`): with 0 every write fails, as on a full or
/// broken disk. The hard limit stays, so that it can be lifted again without privileges.
fn limit_file_size(daemon: &Child, current: Option<u64>) -> Result<(), DrillError> {
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(pid(daemon)?), Resource::Fsize, Rlimit { current, maximum })
        .map(drop)
        .map_err(|error| DrillError::system("limiting the arbiter's files")(error.into()))
}
