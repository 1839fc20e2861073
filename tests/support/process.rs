//! Faults, done to real processes and files.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::until;

/// The process id of a child.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Sends a signal to a child. One that is to be stopped is when this returns.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(pid(child), signal).unwrap();
    if signal == Signal::STOP {
        stopped(pid(child));
    }
}

/// Stops a process, and returns when it is.
pub(crate) fn stop(process: Pid) {
    kill_process(process, Signal::STOP).unwrap();
    stopped(process);
}

/// One thread takes the signal, and on a busy machine others go on until it has.
fn stopped(process: Pid) {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    super::until("every thread to have stopped", || {
        let states = std::fs::read_dir(&tasks).ok()?.map(|task| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            stat.rsplit_once(')')?.1.trim_start().chars().next()
        });
        let states: Vec<_> = states.collect();
        states.iter().all(|state| matches!(state, Some('T' | 't'))).then_some(())
    });
}

/// Kills a child with SIGKILL and reaps it.
pub(crate) fn kill(child: &mut Child) {
    // One that has ended already is only reaped.
    drop(child.kill());
    child.wait().unwrap();
}

/// Waits for a child's end.
pub(crate) fn ended(child: &mut Child, what: &str) -> ExitStatus {
    until(&format!("the end of {what}"), || child.try_wait().unwrap())
}

/// Bounds the size of files that a child may write (`RLIMIT_FSIZE`); with 0 every write fails, as on a broken disk.
/// `None` lifts the bound.
pub(crate) fn limit_files(child: &Child, bytes: Option<u64>) {
    let own = getrlimit(Resource::Fsize);
    let current = bytes.or(own.current);
    prlimit(Some(pid(child)), Resource::Fsize, Rlimit { current, maximum: own.maximum }).unwrap();
}

/// Something that was pulled away, until it is put back.
#[must_use = "what was pulled away is to be put back"]
pub(crate) struct Pulled {
    from: PathBuf,
    away: PathBuf,
}

/// Pulls a file or directory away.
pub(crate) fn pull(path: &Path) -> Pulled {
    let mut away = path.as_os_str().to_owned();
    away.push(".away");
    std::fs::rename(path, &away).unwrap();
    Pulled { from: path.to_owned(), away: away.into() }
}

impl Pulled {
    /// Puts it back where it was.
    pub(crate) fn back(self) {
        std::fs::rename(self.away, self.from).unwrap();
    }
}

/// The children of a process, as the kernel tells them.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent_of = |stat: &str| stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok();
    processes()
        .into_iter()
        .filter(|pid| stat(*pid).and_then(|stat| parent_of(&stat)) == Some(parent))
        .collect()
}

/// All that descends from a process.
pub(crate) fn descendants_of(ancestor: u32) -> Vec<u32> {
    let mut found = children_of(ancestor);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children_of(pid));
        next += 1;
    }
    found
}

/// The demo's tool server behind a gate: not the supervisor, the shell or `tee` before it.
pub(crate) fn tool_server(gate: &Child) -> Pid {
    let own = format!("{} __toolserver", super::text(&super::program()));
    let found = super::until("the tool server", || {
        descendants_of(gate.id()).into_iter().find(|pid| command_line(*pid).starts_with(&own))
    });
    Pid::from_raw(i32::try_from(found).unwrap()).unwrap()
}

/// Whether a process lives; one that has ended and was not reaped yet does not.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

/// Whether a process holds anything open in a data directory, as only the arbiter's host does.
pub(crate) fn hosts(process: &Child, data: &Path) -> bool {
    // A process that has ended holds nothing.
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", process.id())) else { return false };
    let mut open = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    open.any(|path| path.starts_with(data))
}

/// Whether some process has these words in its command line.
pub(crate) fn runs(words: &str) -> bool {
    processes().into_iter().any(|pid| command_line(pid).contains(words) && lives(pid))
}

/// A process's command line, its words parted by spaces.
pub(crate) fn command_line(pid: u32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
