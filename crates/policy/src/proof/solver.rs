//! The solver: a program that nobody here wrote, asked over its standard streams, and believed as little as possible.
//!
//! Each question is one script to one process, so that nothing of an earlier question can stay behind. The process has
//! bounded time, memory and output, and is killed with its group when it overruns or the work is stopped. Only an exit
//! without error after exactly one known word is an answer; everything else is none.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use cedar_policy_symcc::SmtLibScript;
use cedar_policy_symcc::err::SolverError;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver};
use portcullis_programs::fit_program;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};

use crate::clock::Deadline;

/// The most bytes that are read of an answer. A model of a request and its entities is a few kilobytes.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;
/// How often a running solver is looked after.
const TICK: Duration = Duration::from_millis(20);
/// How a question is put. Older versions of cvc5 know no regular expressions, which `like` becomes, unless told to.
const QUESTION: [&str; 2] = ["--lang=smt2", "--strings-exp"];
/// How long the solver may take over what needs no thought.
const TRIVIAL: Duration = Duration::from_secs(10);

/// How a solver is run.
#[derive(Clone, Copy, Debug)]
pub struct SolverLimits {
    /// The longest that one question may take.
    pub time: Duration,
    /// The most address space of its process, in bytes.
    pub memory: u64,
}

impl Default for SolverLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), memory: 2 * 1024 * 1024 * 1024 }
    }
}

/// A program that answered questions rightly of which the answers are known.
#[derive(Clone, Debug)]
pub(super) struct Known<'a> {
    program: &'a Path,
    limits: SolverLimits,
    stop: &'a AtomicBool,
    pub(super) version: String,
}

/// Eight questions with their answers, drawn anew each time: whether a number lies below and above another one, which none
/// does, or neither, which one does. There are some of either kind.
fn known_questions(seed: u64) -> impl Iterator<Item = (String, Decision)> {
    let drawn = if matches!(seed & 0xff, 0 | 0xff) { seed ^ 0x0f } else { seed };
    (0..8).map(move |place| {
        let other = drawn.rotate_left(place * 8);
        let (smaller, greater, answer) = match (drawn >> place) & 1 {
            0 => ("bvslt", "bvsgt", Decision::Unsat),
            _ => ("bvsle", "bvsge", Decision::Sat),
        };
        let asserted = format!("(assert (and ({smaller} x #x{other:016x}) ({greater} x #x{other:016x})))");
        (format!("(set-logic ALL)\n(declare-const x (_ BitVec 64))\n{asserted}\n"), answer)
    })
}

/// Why there is no answer. The text is for people.
pub(super) type Unanswered = String;

impl<'a> Known<'a> {
    /// Looks whose the program is, and asks it who it is and what is known: a program that says one thing whatever it is
    /// asked, or knows some questions by heart, would otherwise prove anything.
    pub(super) fn meet(
        program: &'a Path,
        limits: SolverLimits,
        stop: &'a AtomicBool,
    ) -> Result<Self, Unanswered> {
        let time = limits.time.min(TRIVIAL);
        let mut known =
            Self { program, limits: SolverLimits { time, ..limits }, stop, version: String::new() };
        let text = known.run(&["--version"], "")?;
        let version = text.lines().next().map_or("", str::trim);
        let version = version.strip_prefix("This is ").map_or(version, |rest| rest);
        if !version.starts_with("cvc5 ") || version.len() > 200 || version.chars().any(char::is_control) {
            return Err("the program does not say that it is cvc5".to_owned());
        }
        version.clone_into(&mut known.version);
        for (question, answer) in known_questions(RandomState::new().hash_one(0)) {
            if known.decide(&question)? != answer {
                return Err(format!("the solver is wrong about what is known: {question}").replace('\n', " "));
            }
        }
        known.limits = limits;
        Ok(known)
    }

    pub(super) fn ask(&self) -> Script<'_> {
        Script { solver: self, text: Vec::new() }
    }

    fn decide(&self, script: &str) -> Result<Decision, Unanswered> {
        let text = self.run(&QUESTION, &format!("{script}(check-sat)\n"))?;
        match text.trim() {
            "sat" => Ok(Decision::Sat),
            "unsat" => Ok(Decision::Unsat),
            "unknown" => Ok(Decision::Unknown),
            _ => Err("the solver's answer is none".to_owned()),
        }
    }

    /// Whether what is asked can be and, if so, how: in two runs, because a solver has no model of what cannot be.
    fn model(&self, script: &str) -> Result<DecisionWithModel, Unanswered> {
        match self.decide(script)? {
            Decision::Unsat => Ok(DecisionWithModel::Unsat),
            Decision::Unknown => Ok(DecisionWithModel::Unknown),
            Decision::Sat => {
                let text = self.run(&QUESTION, &format!("{script}(check-sat)\n(get-model)\n"))?;
                let model = text.strip_prefix("sat").map(str::trim);
                let model = model.filter(|model| model.starts_with('(') && model.ends_with(')'));
                match model {
                    Some(model) => Ok(DecisionWithModel::Sat { model: format!("{model}\n") }),
                    None => Err("the solver contradicts itself, or gives no example".to_owned()),
                }
            }
        }
    }

    /// Runs the program over one input, and gives what it printed if it ended well and in time.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, Unanswered> {
        // Each time: it is run by its name, behind which another may have come meanwhile.
        fit_program(self.program)
            .map_err(|unfit| format!("the solver `{}` {unfit}", self.program.display()))?;
        let milliseconds = self.limits.time.as_millis();
        let mut command = Command::new(self.program);
        command.args(arguments).arg(format!("--tlimit={milliseconds}"));
        // Nothing of ours is its business, and no variable may change what it says.
        command.env_clear().process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("the solver `{}` cannot be started: {error}", self.program.display()))?;
        let mut running = Running::new(child)?;
        running.bound(self.limits)?;
        let printed = running.exchange(input)?;
        let text = self.wait(&printed)?;
        match running.end(self.limits.time) {
            Ok(()) => Ok(text),
            Err(cause) => Err(format!("{cause}: {}", first_words(&text))),
        }
    }

    fn wait(&self, printed: &Receiver<Result<String, Unanswered>>) -> Result<String, Unanswered> {
        let deadline = Deadline::within(self.limits.time);
        loop {
            match printed.recv_timeout(TICK) {
                Ok(text) => return text,
                Err(RecvTimeoutError::Disconnected) => return Err("the solver cannot be read".to_owned()),
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    return Err("stopped".to_owned());
                }
                Err(RecvTimeoutError::Timeout) if deadline.is_over() => {
                    return Err(format!("the solver took longer than {} s", self.limits.time.as_secs_f32()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// The beginning of what a solver printed, for people.
fn first_words(text: &str) -> String {
    let line = text.lines().next().map_or("", |line| line);
    if line.is_empty() { "it printed nothing".to_owned() } else { line.chars().take(200).collect() }
}

/// A process that is killed, with its group, when this is dropped.
struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    fn new(mut child: Child) -> Result<Self, Unanswered> {
        match i32::try_from(child.id()).map(Pid::from_raw) {
            Ok(Some(group)) => Ok(Self { child, group }),
            Ok(None) | Err(_) => {
                drop(child.kill().err());
                Err("the solver has no process id".to_owned())
            }
        }
    }

    /// Before it is given anything to do. The time is the kernel's to keep, should this process be gone.
    fn bound(&self, limits: SolverLimits) -> Result<(), Unanswered> {
        let seconds = limits.time.as_secs().saturating_add(2);
        for (resource, most) in [(Resource::As, limits.memory), (Resource::Cpu, seconds), (Resource::Core, 0)]
        {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            prlimit(Some(self.group), resource, limit)
                .map_err(|error| format!("the solver cannot be bounded: {error}"))?;
        }
        Ok(())
    }

    /// Writes and reads at once: a solver that prints before it has read everything must not stand still for ever.
    fn exchange(&mut self, input: &str) -> Result<Receiver<Result<String, Unanswered>>, Unanswered> {
        let (Some(mut stdin), Some(stdout)) = (self.child.stdin.take(), self.child.stdout.take()) else {
            return Err("the solver has no standard streams".to_owned());
        };
        let (send, printed) = channel();
        let input = input.to_owned();
        // A program that does not read its input is told by what it prints.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes()).err()));
        thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.take(MAX_ANSWER).read_to_string(&mut text);
            let whole = match read.map(u64::try_from) {
                Ok(Ok(length)) if length < MAX_ANSWER => Ok(text),
                Ok(_) => Err("the solver does not stop printing".to_owned()),
                Err(error) => Err(format!("the solver cannot be read: {error}")),
            };
            drop(send.send(whole).err());
        });
        Ok(printed)
    }

    /// Its exit. It closed its output, so it is about to end; what does not is killed.
    fn end(&self, time: Duration) -> Result<(), Unanswered> {
        let deadline = Deadline::within(time.min(TRIVIAL));
        // Its end is waited for by receiving from a channel that stays open and empty.
        let (_open, tick) = channel::<()>();
        loop {
            // Not reaped yet: while it is there, its group's number is nobody else's.
            let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(self.group), seen) {
                Ok(Some(status)) if status.exit_status() == Some(0) => return Ok(()),
                Ok(Some(_)) => return Err("the solver ended with an error".to_owned()),
                Ok(None) if deadline.is_over() => return Err("the solver does not end".to_owned()),
                Ok(None) => drop(tick.recv_timeout(Duration::from_millis(1)).err()),
                Err(error) => return Err(format!("the solver's end cannot be had: {error}")),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        kill_process_group(self.group, Signal::KILL).is_ok().then_some(());
        drop(self.child.wait().err());
    }
}

/// One question, as the symbolic compiler writes it.
pub(super) struct Script<'a> {
    solver: &'a Known<'a>,
    text: Vec<u8>,
}

impl Script<'_> {
    fn text(&self) -> Result<&str, SolverError> {
        str::from_utf8(&self.text).map_err(|_| SolverError::Solver("the question is not UTF-8".to_owned()))
    }
}

impl Solver for Script<'_> {
    fn smtlib_input(&mut self) -> &mut (dyn tokio::io::AsyncWrite + Unpin + Send) {
        &mut self.text
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        self.smtlib_input().set_option("produce-models", "true").await.map_err(Into::into)
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        self.solver.decide(self.text()?).map_err(SolverError::Solver)
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        self.solver.model(self.text()?).map_err(SolverError::Solver)
    }
}
