//! A signer that is a program of the operator's, started once for each signature.
//!
//! It gets the text to be signed on its standard input and answers with one signature line on its standard output.
//! One process for each signature: there is no state in which an answer could belong to another question, and
//! what hangs is killed, with everything that it started in its process group.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use portcullis_ledger::SignError;
use portcullis_policy::fit_program;
use portcullis_sdk::BootInstant;
use portcullis_verify::VerifierKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{LONGEST_ANSWER, answered};
use crate::signing::attended::Device;

/// How often a program that has answered is looked at until it has ended.
const LOOK: Duration = Duration::from_millis(1);
/// All that the program sees of the environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that signs.
pub(super) struct Program {
    program: PathBuf,
    arguments: Vec<String>,
    key: VerifierKey,
}

impl Program {
    pub(super) const fn new(program: PathBuf, arguments: Vec<String>, key: VerifierKey) -> Self {
        Self { program, arguments, key }
    }

    fn start(&self) -> std::io::Result<Running> {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it has to say there may hold secrets, and nobody here may log them.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Running(child))
    }
}

impl Device for Program {
    fn watch(&mut self) -> Result<(), SignError> {
        fit_program(&self.program).map_err(|unfit| unavailable(format!("the signer's program {unfit}")))
    }

    fn sign(&mut self, text: &[u8], until: BootInstant) -> Result<[u8; 64], SignError> {
        self.watch()?;
        let mut running = self.start().map_err(unavailable)?;
        running.tell(text).map_err(unavailable)?;
        let answer = running.answer(until)?;
        running.succeeds(until)?;
        answered(&answer, &self.key)
    }
}

/// A program under way. Killed when dropped, with its process group.
struct Running(Child);

impl Running {
    /// Gives it the text. That is shorter than what a pipe holds, so this does not wait for the program.
    fn tell(&mut self, text: &[u8]) -> std::io::Result<()> {
        let Some(mut input) = self.0.stdin.take() else { return Ok(()) };
        match input.write_all(text) {
            // What does not read is judged by what it answers.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// All that it writes, to the end.
    fn answer(&mut self, until: BootInstant) -> Result<Vec<u8>, SignError> {
        let Some(mut output) = self.0.stdout.take() else { return Err(SignError::Failed) };
        let mut answer = Vec::new();
        loop {
            wait_for(&output, until)?;
            let mut part = [0; 1024];
            let read = output.read(&mut part).map_err(unavailable)?;
            match part.get(..read) {
                Some([]) => return Ok(answer),
                Some(part) => answer.extend_from_slice(part),
                None => return Err(SignError::Failed),
            }
            if answer.len() > LONGEST_ANSWER {
                return Err(SignError::Failed);
            }
        }
    }

    /// Waits for its end, which must be a good one. It stays a zombie, so that its group can still be killed.
    fn succeeds(&self, until: BootInstant) -> Result<(), SignError> {
        let Some(pid) = self.pid() else { return Err(SignError::Failed) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            if let Some(ended) = waitid(WaitId::Pid(pid), look).map_err(unavailable)? {
                return if ended.exit_status() == Some(0) { Ok(()) } else { Err(SignError::Failed) };
            }
            if BootInstant::now() >= until {
                return Err(SignError::Timeout);
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
fn wait_for(output: &ChildStdout, until: BootInstant) -> Result<(), SignError> {
    loop {
        let left = until.since(BootInstant::now());
        if left.is_zero() {
            return Err(SignError::Timeout);
        }
        let left = Timespec::try_from(left).map_err(unavailable)?;
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> SignError {
    SignError::Unavailable(error.to_string())
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
