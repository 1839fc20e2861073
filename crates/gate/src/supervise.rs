//! The process between a gate and its tool server: it ends the server, and all that the server started, when the
//! gate ends, however that happens.
//!
//! On Linux the kernel tells it of the gate's death, orphaned descendants of the server become its children, and
//! should this process be killed itself, the kernel kills the server (not what the server started). Elsewhere it looks once a second whether its parent is still the same, and reaches the server's process group
//! only.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process_group, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::confine::Confinement;
use crate::handover;

/// Tells the supervisor which process its gate is.
pub(crate) const GATE_PID: &str = "PORTCULLIS_GATE_PID";

/// Tells the process that is to become the tool server which process its supervisor is.
const SUPERVISOR_PID: &str = "PORTCULLIS_SUPERVISOR_PID";
/// Comes before a path that is hidden from the tool server.
const HIDE: &str = "--hide";
/// Comes before a path that it may read and run, and not change.
const KEEP: &str = "--keep";
/// Comes instead, where it is kept from nothing.
const UNCONFINED: &str = "--unconfined";
/// Comes where the tool server is given variables on its standard input, before anything else.
const GIVEN: &str = "--given";
/// Comes before the tool server's command.
const COMMAND: &str = "--";
/// The first descriptor behind standard input, output and error.
const FIRST_OTHER: i32 = 3;
/// How often the parent is looked for. The kernel's signal comes first; this is the second line.
const TICK: Duration = Duration::from_secs(1);
/// How long the tool server may take to end when it is asked to.
const GRACE: Duration = Duration::from_millis(500);
/// How long descendants that keep coming are killed.
const CLEARING: Duration = Duration::from_secs(3);
/// Exit code when there is nothing to supervise.
const FAILED: u8 = 126;
/// Exit code of a server that had to be killed: 128 and SIGKILL.
const KILLED: u8 = 128 + 9;

/// Runs a tool server with this process's stdin, stdout and stderr until it ends or this process is told to end (SIGTERM,
/// SIGINT, SIGHUP, or the death of the gate that started it), and then kills all that is left of it.
///
/// `arguments` are `--hide PATH` and `--keep PATH`, as often as wanted, or `--unconfined`; `--given`, if there are variables for the
/// server on standard input; then `--`, and the server's command. What is hidden the server cannot reach, and what is kept it cannot change
/// ([`Confinement`]); where the kernel does not see to that, it is not started.
///
/// Returns the command's exit code, or 128 and the signal that ended it. Must be called early in `main`, before any
/// thread is started, and in a process that does nothing else: it reaps every child. The arguments alone must lead
/// `main` here, because on Linux the tool server begins as this same program with these same arguments.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let ended = Ward::parse(arguments).and_then(|ward| match std::env::var_os(SUPERVISOR_PID) {
        Some(supervisor) => ward.become_server(supervisor.to_str()),
        None => supervise(&ward),
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to be told if this fails.
            drop(writeln!(io::stderr(), "portcullis: the tool server cannot be started: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Arguments for [`run`]: what a tool server is kept from, whether it is given variables, and its command. Being kept from nothing
/// is said in so many words.
pub(crate) fn arguments(confinement: &Confinement, given: bool, command: &[OsString]) -> Vec<OsString> {
    let Confinement { hidden, kept } = confinement;
    let hidden = hidden.iter().map(|path| (HIDE, path));
    let paths = hidden.chain(kept.iter().map(|path| (KEEP, path)));
    let mut arguments: Vec<OsString> =
        paths.flat_map(|(word, path)| [word.into(), path.clone().into_os_string()]).collect();
    if confinement.is_empty() {
        arguments.push(UNCONFINED.into());
    }
    if given {
        arguments.push(GIVEN.into());
    }
    arguments.push(COMMAND.into());
    arguments.extend_from_slice(command);
    arguments
}

/// What is supervised.
#[derive(Debug, PartialEq, Eq)]
struct Ward {
    confinement: Confinement,
    /// Whether variables for it come on standard input.
    given: bool,
    command: Vec<OsString>,
}

impl Ward {
    fn parse(arguments: &[OsString]) -> io::Result<Self> {
        let invalid = || io::Error::other("its supervisor was started with other arguments than a gate's");
        let (mut confinement, mut unconfined, mut given) = (Confinement::default(), false, false);
        let mut rest = arguments.iter();
        loop {
            match rest.next() {
                Some(word) if word == HIDE => {
                    confinement.hidden.push(rest.next().ok_or_else(invalid)?.into())
                }
                Some(word) if word == KEEP => confinement.kept.push(rest.next().ok_or_else(invalid)?.into()),
                Some(word) if word == UNCONFINED => unconfined = true,
                Some(word) if word == GIVEN => given = true,
                Some(word) if word == COMMAND => break,
                Some(_) | None => return Err(invalid()),
            }
        }
        // One of the two, so that what was forgotten is not taken for what was meant.
        if unconfined != confinement.is_empty() {
            return Err(invalid());
        }
        // Where another could look into its environment, nothing is put there.
        if given && unconfined {
            return Err(invalid());
        }
        Ok(Self { confinement, given, command: rest.cloned().collect() })
    }

    /// Becomes the tool server, unless the supervisor has died meanwhile. Returns only if it cannot.
    fn become_server(&self, supervisor: Option<&str>) -> io::Result<u8> {
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let supervisor = supervisor.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if supervisor.is_none() || getppid() != supervisor {
            return Err(io::Error::other("the supervisor is gone"));
        }
        // In a session of its own it has no terminal into which it could type.
        #[cfg(target_os = "linux")]
        rustix::process::setsid()?;
        let mut command = plain(&self.command)?;
        if self.given {
            // Unbuffered: what is behind it is for the server.
            for (name, value) in handover::read(File::from(io::stdin().as_fd().try_clone_to_owned()?))? {
                command.env(name, value.as_str());
            }
        }
        // What the gate was started with, and did not know of, is not the tool server's.
        close_fds::set_fds_cloexec(FIRST_OTHER, &[]);
        if !self.confinement.is_empty() {
            self.confinement.enter()?;
        }
        Err(command.exec())
    }
}

fn supervise(ward: &Ward) -> io::Result<u8> {
    // Elsewhere nobody is confined, and it is not this program that becomes the server.
    if ward.given && cfg!(not(target_os = "linux")) {
        return Err(io::Error::other("it cannot be given variables here"));
    }
    let command = ward.command.as_slice();
    let mut signals = Signals::watch()?;
    let gate = bind_to_gate()?;
    let server = pid(server(command)?.spawn()?.id())?;
    let ended = loop {
        if let Some(code) = reap(server) {
            break Some(code);
        }
        if signals.ending() || getppid() != gate {
            break None;
        }
        signals.wait(TICK)?;
    };
    let ended = match ended {
        Some(code) => Some(code),
        None => ask_to_end(server, &mut signals)?,
    };
    if ended.is_none() || cfg!(not(target_os = "linux")) {
        signal_group(server, Signal::KILL);
    }
    kill_rest(&mut signals)?;
    Ok(ended.unwrap_or(KILLED))
}

fn plain(command: &[OsString]) -> io::Result<Command> {
    let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let mut plain = Command::new(program);
    plain.args(arguments).env_remove(GATE_PID).env_remove(SUPERVISOR_PID);
    Ok(plain)
}

/// This program once more, to tie itself to this process's life before it becomes the tool server.
#[cfg(target_os = "linux")]
fn server(command: &[OsString]) -> io::Result<Command> {
    let mut own = Command::new(std::env::current_exe()?);
    plain(command)?;
    let pid = rustix::process::getpid().as_raw_nonzero().to_string();
    own.args(std::env::args_os().skip(1)).env_remove(GATE_PID).env(SUPERVISOR_PID, pid);
    // It makes itself the leader of a group, in a session of its own.
    Ok(own)
}

#[cfg(not(target_os = "linux"))]
fn server(command: &[OsString]) -> io::Result<Command> {
    let mut plain = plain(command)?;
    plain.process_group(0);
    Ok(plain)
}

fn pid(raw: u32) -> io::Result<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
}

/// Ties this process to the gate's life; returns the gate.
fn bind_to_gate() -> io::Result<Option<Pid>> {
    let gate = match std::env::var(GATE_PID) {
        Ok(text) => text.parse().ok().and_then(Pid::from_raw),
        Err(_) => getppid(),
    };
    follow_parent()?;
    // It may have died before it could be followed.
    if gate.is_none() || getppid() != gate {
        return Err(io::Error::other("the gate is gone"));
    }
    Ok(gate)
}

#[cfg(target_os = "linux")]
fn follow_parent() -> io::Result<()> {
    use rustix::process::{getpid, set_child_subreaper, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))?;
    set_child_subreaper(Some(getpid()))?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Linux")]
fn follow_parent() -> io::Result<()> {
    Ok(())
}

/// Signals that arrive, so that they can be waited for.
struct Signals {
    ending: Arc<AtomicBool>,
    arrived: UnixStream,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let (arrived, tell) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ending))?;
        }
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
        }
        Ok(Self { ending, arrived })
    }

    /// Whether this process was told to end.
    fn ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Waits for a signal, or so long.
    fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        self.arrived.set_read_timeout(Some(at_most.max(Duration::from_millis(1))))?;
        let passed = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut, io::ErrorKind::Interrupted];
        match self.arrived.read(&mut [0; 1]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if passed.contains(&error.kind()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reaps whatever has ended. The server's exit code, if it is among them or is no child any more.
fn reap(server: Pid) -> Option<u8> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == server => return Some(code(status)),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(_) => return Some(FAILED),
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let exited = status.exit_status();
    let signalled = || status.terminating_signal().map(|signal| signal.saturating_add(128));
    exited.or_else(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Whether there was still somebody to signal. A group that is gone has ended, which is all that is wanted.
fn signal_group(server: Pid, signal: Signal) -> bool {
    kill_process_group(server, signal).is_ok()
}

/// Asks the server's group to end, and waits for the server for a moment. `None` if it goes on.
fn ask_to_end(server: Pid, signals: &mut Signals) -> io::Result<Option<u8>> {
    signal_group(server, Signal::TERM);
    let end = Instant::now() + GRACE;
    loop {
        if let Some(code) = reap(server) {
            return Ok(Some(code));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        signals.wait(left)?;
    }
}

/// Kills this process's children, whoever they descend from, until there are none.
fn kill_rest(signals: &mut Signals) -> io::Result<()> {
    let end = Instant::now() + CLEARING;
    while Instant::now() < end {
        kill_children();
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => signals.wait(Duration::from_millis(20))?,
            Err(_) => return Ok(()),
        }
    }
    Err(io::Error::other("descendants of the tool server could not be ended"))
}

/// Kills this process's children. Theirs become this process's in turn.
#[cfg(target_os = "linux")]
fn kill_children() {
    use rustix::process::{getpid, kill_process};
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    let me = getpid().as_raw_nonzero().get();
    for process in processes.flatten() {
        let name = process.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let is_child = || {
            std::fs::read_to_string(process.path().join("stat"))
                .is_ok_and(|stat| parent_of(&stat) == Some(me))
        };
        // A child is reaped by nobody else, so it is still the same process when it is killed.
        pid.filter(|_| is_child()).map(|pid| kill_process(pid, Signal::KILL));
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_children() {}

/// The parent in a line of `/proc/<pid>/stat`. The command's name, in parentheses, may contain anything.
#[cfg(target_os = "linux")]
fn parent_of(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
#[path = "supervise_tests.rs"]
mod tests;
