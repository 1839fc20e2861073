//! One run of a program: what is said to it goes in on its standard input, what it answers comes from its standard output.
//!
//! One process for each question: there is no state in which an answer could belong to another question, and
//! what hangs is killed, with everything that it started in its process group.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::{Zeroize, Zeroizing};

use crate::{UnfitProgram, fit_program};

/// How often a program that has answered is looked at until it has ended.
const LOOK: Duration = Duration::from_millis(1);
/// All that the program sees of the environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why a program's answer does not count. None of it is the program's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It may not be run.
    #[error("the program {0}")]
    Unfit(#[from] UnfitProgram),
    /// It could not be run, or not be read.
    #[error("{0}")]
    Unavailable(String),
    /// It had not ended when its time was over.
    #[error("the program took too long")]
    Late,
    /// It answered more than is read.
    #[error("the program answers too much")]
    TooLong,
    /// It ended with another status than 0, or by a signal.
    #[error("the program failed")]
    Failed,
}

impl Program {
    /// Whether it may be run.
    ///
    /// # Errors
    /// [`UnfitProgram`].
    pub fn fit(&self) -> Result<(), UnfitProgram> {
        fit_program(&self.path)
    }

    /// Runs it once: all that it writes, at most `longest` bytes, if it ends well while `left` says that there is time. It sees
    /// nothing of this process's environment, and what it writes to its standard error is read by nobody.
    ///
    /// # Errors
    /// [`NoAnswer`]. Whatever it has started in its process group is killed then, and at its end.
    pub fn run(
        &self,
        input: &[u8],
        longest: usize,
        left: &dyn Fn() -> Duration,
    ) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        self.run_passing(&[], input, longest, left)
    }

    /// The same, and it sees these variables of this process's environment.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_passing(
        &self,
        variables: &[&str],
        input: &[u8],
        longest: usize,
        left: &dyn Fn() -> Duration,
    ) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        // Each time: it is run by its name, behind which another may have come meanwhile.
        self.fit()?;
        let mut running = Running(self.start(variables).map_err(unavailable)?);
        running.tell(input).map_err(unavailable)?;
        let answer = running.answer(longest, left)?;
        running.succeeds(left)?;
        Ok(answer)
    }

    fn start(&self, variables: &[&str]) -> std::io::Result<Child> {
        let passed = variables.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(passed)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it has to say there may hold secrets, and nobody here may log them.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    }
}

/// A program under way. Killed when dropped, with its process group.
struct Running(Child);

impl Running {
    /// Gives it the input. That is shorter than what a pipe holds, so this does not wait for the program.
    fn tell(&mut self, text: &[u8]) -> std::io::Result<()> {
        let Some(mut input) = self.0.stdin.take() else { return Ok(()) };
        match input.write_all(text) {
            // What does not read is judged by what it answers.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// All that it writes, to the end.
    fn answer(
        &mut self,
        longest: usize,
        left: &dyn Fn() -> Duration,
    ) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let Some(mut output) = self.0.stdout.take() else { return Err(NoAnswer::Failed) };
        let mut part = Zeroizing::new([0; 1024]);
        // As large as it may become: what grew would leave a copy behind.
        let mut answer = Zeroizing::new(Vec::with_capacity(longest.saturating_add(part.len())));
        loop {
            wait_for(&output, left)?;
            let read = output.read(part.as_mut_slice()).map_err(unavailable)?;
            match part.get(..read) {
                Some([]) => return Ok(answer),
                Some(part) => answer.extend_from_slice(part),
                None => return Err(NoAnswer::Failed),
            }
            if answer.len() > longest {
                answer.zeroize();
                return Err(NoAnswer::TooLong);
            }
        }
    }

    /// Waits for its end, which must be a good one. It stays a zombie, so that its group can still be killed.
    fn succeeds(&self, left: &dyn Fn() -> Duration) -> Result<(), NoAnswer> {
        let Some(pid) = self.pid() else { return Err(NoAnswer::Failed) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            if let Some(ended) = waitid(WaitId::Pid(pid), look).map_err(unavailable)? {
                return if ended.exit_status() == Some(0) { Ok(()) } else { Err(NoAnswer::Failed) };
            }
            if left().is_zero() {
                return Err(NoAnswer::Late);
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Before it is waited for: until then its number is its own.
        if let Some(pid) = self.pid() {
            // A group that is gone already needs nothing.
            kill_process_group(pid, Signal::KILL).unwrap_or(());
        }
        drop(self.0.wait());
    }
}

/// Waits until there is something to read, or the end of it.
fn wait_for(output: &ChildStdout, left: &dyn Fn() -> Duration) -> Result<(), NoAnswer> {
    loop {
        let left = left();
        if left.is_zero() {
            return Err(NoAnswer::Late);
        }
        let left = Timespec::try_from(left).map_err(unavailable)?;
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> NoAnswer {
    NoAnswer::Unavailable(error.to_string())
}
