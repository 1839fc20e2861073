//! A deployment of its own for a drill, its daemon, and what can be read of it from outside.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portcullis_protocol::Decision;
use portcullis_sdk::Endpoint;
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{Config, Health, Initialized, Row, SetupError, ask_health, demo, open_ledger, rows};
use tokio::process::{Child, Command};

use crate::DrillError;

/// How long a daemon may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(20);

/// A deployment below a directory.
pub(crate) struct Deployment {
    pub(crate) directory: PathBuf,
    pub(crate) config_path: PathBuf,
    pub(crate) config: ArbiterConfig,
    pub(crate) journal: PathBuf,
    temporary: bool,
}

impl Deployment {
    /// Sets the demo's deployment up, in `keep` or in a temporary directory that goes away with it.
    pub(crate) fn new(keep: Option<&Path>, elsewhere: bool) -> Result<Self, DrillError> {
        Self::made(keep, |directory| demo(directory, elsewhere))
    }

    /// The same with a deployment that is made otherwise.
    pub(crate) fn made(
        keep: Option<&Path>,
        make: impl FnOnce(&Path) -> Result<Initialized, SetupError>,
    ) -> Result<Self, DrillError> {
        let directory = match keep {
            Some(directory) if directory.exists() => return Err(DrillError::Exists(directory.to_owned())),
            Some(directory) => directory.to_owned(),
            None => temporary_directory(),
        };
        let directory =
            std::path::absolute(directory).map_err(DrillError::system("finding the directory"))?;
        std::fs::create_dir_all(&directory)
            .map_err(DrillError::system(format!("making {}", directory.display())))?;
        let made = make(&directory)?;
        let config = Config::read(&made.config)?.arbiter()?;
        let journal = directory.join("journal.jsonl");
        std::fs::write(&journal, "").map_err(DrillError::system("making the journal"))?;
        Ok(Self { config_path: made.config, config, journal, temporary: keep.is_none(), directory })
    }

    fn socket(&self) -> Endpoint {
        Endpoint::Unix { path: self.config.data.join("arbiter.sock") }
    }

    /// What the arbiter says of itself, if it answers.
    pub(crate) async fn health(&self) -> Option<Health> {
        ask_health(&self.socket(), Duration::from_secs(1)).await.ok()
    }

    /// Waits until a PERMIT could be issued.
    pub(crate) async fn ready(&self) -> Result<(), DrillError> {
        let asking = async {
            while !self.health().await.is_some_and(|health| health.ready) {
                tokio::time::sleep(ASK).await;
            }
        };
        let ready = tokio::time::timeout(READY_WITHIN, asking).await;
        ready.map_err(|_| DrillError::Answer("the arbiter did not become ready".into()))
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) async fn serve(&self, program: &Path) -> Result<Child, DrillError> {
        let daemon = Command::new(program)
            .args(["serve", "--config"])
            .arg(&self.config_path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(DrillError::system("starting the arbiter"))?;
        self.ready().await?;
        Ok(daemon)
    }

    /// Waits until the outcome of the newest PERMIT is on record, and its gate has been told so: until then the gate
    /// lets nothing more run, which is not the fault that is to be shown. Older PERMITs may be such that no gate had.
    pub(crate) async fn settled(&self) -> Result<(), DrillError> {
        let settled = async {
            loop {
                let rows = self.rows()?;
                let newest = rows.iter().rfind(|row| row.record.decision == Decision::Permit);
                if newest.is_none_or(|row| row.outcome.is_some()) {
                    return Ok::<(), DrillError>(());
                }
                tokio::time::sleep(ASK).await;
            }
        };
        let late = |_| DrillError::Answer("the outcome of a call did not come to be on record".into());
        tokio::time::timeout(READY_WITHIN, settled).await.map_err(late)??;
        // What the arbiter answers after that, it answers later.
        self.ready().await
    }

    /// The arguments of a gate in front of the demo's tool server.
    pub(crate) fn gate_arguments<'a>(&'a self, program: &'a str) -> Result<Vec<&'a str>, DrillError> {
        let text = |path: &'a Path| {
            path.to_str().ok_or_else(|| DrillError::Answer("the directory's name is not UTF-8".into()))
        };
        let (config, journal) = (text(&self.config_path)?, text(&self.journal)?);
        Ok(vec!["mcp", "--config", config, "--", program, "__toolserver", "--journal", journal])
    }

    /// How often tools ran, by the tool server's own journal.
    pub(crate) fn ran(&self) -> Result<usize, DrillError> {
        let journal =
            std::fs::read_to_string(&self.journal).map_err(DrillError::system("reading the journal"))?;
        Ok(journal.lines().count())
    }

    /// The decisions on record, verified against the anchored head.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, DrillError> {
        Ok(rows(&open_ledger(&self.config)?)?)
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed stays behind in the system's directory for such things.
            drop(std::fs::remove_dir_all(&self.directory));
        }
    }
}

/// A new directory of this process's own. Socket paths are short on some systems, so it lies directly below the
/// system's temporary directory.
fn temporary_directory() -> PathBuf {
    let mut number = 0_u32;
    loop {
        let name = format!("portcullis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        if !directory.exists() {
            return directory;
        }
        number = number.saturating_add(1);
    }
}
