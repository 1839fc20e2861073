//! strace(1) on a running process: which system calls it made, and faults in the nth of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::arbiter::Notes;
use crate::support::process::{ended, kill};
use crate::support::signal;

/// A strace that is attached to a process. Detached when dropped.
pub(crate) struct Tracer {
    child: Child,
    log: PathBuf,
}

/// Which threads are traced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traced {
    /// All threads of the process, and those that it will start.
    Process(u32),
    /// One thread.
    Thread(u32),
}

impl Tracer {
    /// Attaches to a process, with these `-e` expressions. Every call that strace looks at, or tampers with, goes into
    /// `log`.
    pub(crate) fn attach(to: Traced, expressions: &[String], log: &Path) -> Self {
        let mut command = Command::new("strace");
        command.arg("-o").arg(log);
        match to {
            Traced::Process(pid) => command.args(["-f", "-p", &pid.to_string()]),
            Traced::Thread(thread) => command.args(["-p", &thread.to_string()]),
        };
        for expression in expressions {
            command.args(["-e", expression]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace: `cargo xtask test` installs it");
        Notes::of(&mut child).told("attached");
        Self { child, log: log.to_owned() }
    }

    /// Lets the process go on alone. Returns the calls that were logged.
    pub(crate) fn detach(mut self) -> Vec<String> {
        // One whose process has ended is about to end too.
        if self.child.try_wait().unwrap().is_none() {
            signal(&self.child, Signal::INT);
        }
        ended(&mut self.child, "strace");
        lines(&self.log)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The command that starts a program under strace with these `-e` expressions. The process is the program's own: strace
/// is its grandchild.
pub(crate) fn under_strace(program: &Path, expressions: &[String], log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o"]).arg(log);
    for expression in expressions {
        command.args(["-e", expression]);
    }
    command.arg("--").arg(program);
    command
}

/// What strace wrote down so far.
pub(crate) fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// How many of the calls were tampered with.
pub(crate) fn injected(calls: &[String]) -> usize {
    calls.iter().filter(|call| call.contains("(INJECTED)")).count()
}

/// How many of the calls of these names were.
pub(crate) fn injected_into(names: &str, calls: &[String]) -> usize {
    let named = |call: &String| {
        names
            .split(',')
            .any(|name| call.contains(&format!("{name}(")) || call.contains(&format!("{name} resumed")))
    };
    calls.iter().filter(|call| call.contains("(INJECTED)") && named(call)).count()
}

/// The thread of a process with this name.
pub(crate) fn thread(pid: u32, name: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut found = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim_end() == name)
    });
    let task = found.next().unwrap_or_else(|| panic!("the process has no thread `{name}`"));
    task.file_name().to_str().unwrap().parse().unwrap()
}
