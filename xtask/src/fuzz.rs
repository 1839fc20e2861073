//! `cargo xtask fuzz`: the targets of fuzz/, built with coverage and run by libFuzzer.
//!
//! What `cargo fuzz` does with a nightly compiler, without its sanitizers: the crates forbid unsafe code, so what there
//! is to be found are panics, overflows, hangs and broken promises.

mod lock;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use self::run::{Ending, Run};
use crate::process;
use crate::workspace::Workspace;

/// The target that is broken on purpose.
const PLANTED: &str = "planted";
/// How long it may stay unfound, in seconds. Seen on two busy processors: 10 to 80.
const PLANTED_SECONDS: u64 = 300;
/// Passes of LLVM that tell libFuzzer which branches an input takes and what it is compared with.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Inputs that are kept in the tree are no larger, in bytes, and no more for each target.
const KEPT_BYTES: u64 = 4096;
const KEPT: usize = 16;

/// Flags of `cargo xtask fuzz`.
#[derive(Default)]
pub(crate) struct Options {
    /// Only these targets; all when empty.
    pub(crate) only: Vec<String>,
    /// How long each runs; as long as is usual for it if it is not said.
    pub(crate) seconds: Option<u64>,
    /// Of libFuzzer's random numbers.
    pub(crate) seed: Option<u32>,
    /// Runs a target on this file alone.
    pub(crate) input: Option<PathBuf>,
    /// Puts what was found worth keeping into the tree.
    pub(crate) keep: bool,
}

/// What reads the evidence, the bundles and the requests of strangers runs longest.
const LONGEST: [&str; 10] = [
    "archive",
    "bundle",
    "checkpoint",
    "note",
    "pack",
    "pack_members",
    "proof",
    "receipt",
    "request",
    "tile",
];
/// How long those run unless it is said, and how long the others do, in seconds.
const USUAL: (u64, u64) = (60, 30);

impl Options {
    fn seconds_of(&self, target: &str) -> u64 {
        let (long, short) = USUAL;
        self.seconds.unwrap_or_else(|| if LONGEST.contains(&target) { long } else { short })
    }
}

/// Where everything lies.
pub(crate) struct Places {
    root: PathBuf,
    target: PathBuf,
    program: PathBuf,
}

impl Places {
    /// The inputs that are kept in the tree.
    fn kept(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    /// A folder for what a target leaves behind.
    fn work(&self, what: &str, target: &str) -> PathBuf {
        self.target.join(what).join(target)
    }

    /// The program, to run one target.
    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PORTCULLIS_FUZZ", target).current_dir(&self.root);
        command
    }
}

/// Builds and runs; an error that names every target that found something.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    lock::check(&workspace.root)?;
    let places = build(workspace)?;
    let all = targets(&places)?;
    if let Some(unknown) = options.only.iter().find(|name| !all.contains(name)) {
        return Err(format!("no target `{unknown}`; there are: {}", all.join(" ")));
    }
    if let Some(input) = &options.input {
        let [target] = options.only.as_slice() else { return Err("`--input` needs one target".to_owned()) };
        return process::step(target, places.command(target).arg(input));
    }
    let seed = options.seed.map_or_else(fresh_seed, Ok)?;
    println!("fuzz: seed {seed}");
    find_planted(&places, seed)?;
    let chosen =
        |name: &&String| *name != PLANTED && (options.only.is_empty() || options.only.contains(name));
    let chosen: Vec<String> = all.iter().filter(chosen).cloned().collect();
    let failed = run_all(&places, &chosen, options, seed)?;
    if options.keep {
        for target in &chosen {
            keep(&places, target)?;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("fuzz: {}", failed.join("; "))) }
}

fn build(workspace: &Workspace) -> Result<Places, String> {
    let target = workspace.target.join("fuzz");
    let host = process::answer("rustc", &["-vV"]);
    let host = host.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
    let host = host.ok_or("`rustc -vV` does not say for which host it compiles")?;
    let program = process::timed("fuzz targets", "cargo build of fuzz/, with coverage", || {
        let mut cargo = process::cargo();
        // Naming the target keeps the flags away from build scripts.
        cargo.args(["build", "--locked", "--profile", "fuzz", "--target", host, "--manifest-path"]);
        cargo.arg(workspace.root.join("fuzz/Cargo.toml")).current_dir(&workspace.root);
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", COVERAGE.join(" "));
        process::built(cargo.env("CARGO_TARGET_DIR", &target), "bin", None)
    })?;
    Ok(Places { root: workspace.root.clone(), target, program: program.into() })
}

fn targets(places: &Places) -> Result<Vec<String>, String> {
    let output = process::quiet(&mut places.command("list"))?;
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if output.status.success() && names.iter().any(|name| name == PLANTED) {
        return Ok(names);
    }
    Err(format!("the fuzz program does not list its targets: {}", output.status))
}

fn fresh_seed() -> Result<u32, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    // 0 would mean to libFuzzer that it chooses.
    Ok(now.subsec_nanos() | 1)
}

/// Whoever does not find a fault that is known to be there finds none.
fn find_planted(places: &Places, seed: u32) -> Result<(), String> {
    let work = places.work("corpus", PLANTED);
    if work.exists() {
        std::fs::remove_dir_all(&work).map_err(|error| format!("`{}`: {error}", work.display()))?;
    }
    let run = Run::of(places, PLANTED, PLANTED_SECONDS, seed)?;
    match run.ending {
        Ending::Found { log, .. } if log.contains("the planted fault") => {
            println!("fuzz | {PLANTED} | found in {:.1} s", run.seconds);
            Ok(())
        }
        Ending::Found { log, .. } => Err(format!("fuzz: the planted fault was not what was found:\n{log}")),
        Ending::Nothing { .. } => Err(format!(
            "fuzz: the planted fault was not found within {PLANTED_SECONDS} s: the targets are built without coverage"
        )),
    }
}

/// Runs targets, two at once for each processor: their seconds are the clock's. Those that found something, with
/// how to repeat it.
fn run_all(places: &Places, targets: &[String], options: &Options, seed: u32) -> Result<Vec<String>, String> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).saturating_mul(2);
    let (waiting, done) = (Mutex::new(targets.iter()), Mutex::new(BTreeMap::new()));
    let locked = |error: &dyn std::fmt::Display| format!("a fuzzing thread died: {error}");
    let work = || -> Result<(), String> {
        loop {
            let next = waiting.lock().map_err(|error| locked(&error))?.next();
            let Some(target) = next else { return Ok(()) };
            let run = Run::of(places, target, options.seconds_of(target), seed)?;
            println!("fuzz | {target} | {}", run.line());
            done.lock().map_err(|error| locked(&error))?.insert(target.clone(), run);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| "a fuzzing thread died".to_owned()).and_then(|result| result)
        })
    })?;
    let done = done.into_inner().map_err(|error| locked(&error))?;
    Ok(done.iter().filter_map(|(target, run)| complaint(target, run)).collect())
}

fn complaint(target: &str, run: &Run) -> Option<String> {
    let Ending::Found { log, input } = &run.ending else { return None };
    println!("── {target}:\n{log}");
    let input = input.as_ref().map_or_else(String::new, |input| input.display().to_string());
    Some(format!("`{target}` found something; again: cargo xtask fuzz {target} --input {input}"))
}

/// Adds to the tree's corpus the smallest set of new inputs that reaches all that was reached.
fn keep(places: &Places, target: &str) -> Result<(), String> {
    let (kept, merged) = (places.kept(target), places.work("merged", target));
    let failed = |error: std::io::Error| format!("cannot keep the corpus of `{target}`: {error}");
    if merged.exists() {
        std::fs::remove_dir_all(&merged).map_err(failed)?;
    }
    std::fs::create_dir_all(&merged).map_err(failed)?;
    std::fs::create_dir_all(&kept).map_err(failed)?;
    let mut command = places.command(target);
    command
        .arg("-set_cover_merge=1")
        .arg(&merged)
        .args(run::seeds(places, target))
        .arg(places.work("corpus", target));
    let output = process::quiet(&mut command)?;
    if !output.status.success() {
        return Err(format!("merging the corpus of `{target}` failed: {}", output.status));
    }
    let mut sized = Vec::new();
    for entry in std::fs::read_dir(&merged).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        sized.push((entry.metadata().map_err(failed)?.len(), entry.path()));
    }
    sized.sort();
    let small = sized.into_iter().filter(|(size, _)| *size <= KEPT_BYTES).take(KEPT);
    for (_, path) in small {
        let name = path.file_name().map(Path::new).ok_or("a file without a name")?;
        std::fs::copy(&path, kept.join(name)).map_err(failed)?;
    }
    Ok(())
}
