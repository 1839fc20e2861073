//! Policy evaluation beside other engines, on the same decisions in one run: docs/benchmarks.md.
//!
//! Each engine at each size runs in a process of its own, so that its memory can be told; each answer is compared with
//! the one that the workload was made for.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a benchmark, whose failures are panics"
)]

mod activation;
mod engines;
mod workload;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engines::{Cedar, Cerbos, Engine, Ours, Prepared, Rego};
use crate::workload::Workload;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const ENGINES: [&str; 4] = ["portcullis", "cedar", "regorus", "cerbos"];
/// Requests, at most, and how many are not timed at first.
const REQUESTS: usize = 60_000;
const WARM: usize = 20;

const HELP: &str = "\
portcullis-bench [--seconds S] [--json] [--cerbos PROGRAM]

Decides the same requests by Portcullis, by Cedar's bare authorizer, by regorus and by a Cerbos server, over 10 to
10,000 policies, and prints microseconds and memory. Then a bundle of 10,000 policies is activated under load.
  --seconds S        how long each engine is asked at each size; 2 unless told
  --json             one JSON object a line
  --cerbos PROGRAM   the server (npm package `cerbos`); without it that column is left out, and said so
";

struct Options {
    seconds: u64,
    json: bool,
    cerbos: Option<PathBuf>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options { seconds: 2, json: false, cerbos: None };
    let mut own = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                options.seconds = arguments.next().and_then(|text| text.parse().ok()).expect("a number")
            }
            "--json" => options.json = true,
            "--cerbos" => options.cerbos = Some(arguments.next().expect("a program").into()),
            "--one" => own.extend(arguments.by_ref().take(2)),
            _ => {
                eprint!("{HELP}");
                std::process::exit(2);
            }
        }
    }
    match own.as_slice() {
        [engine, size] => println!("{}", one(engine, size.parse().expect("a number"), &options)),
        _ => all(&options),
    }
}

/// Runs everything, each in a process of its own.
fn all(options: &Options) {
    if options.cerbos.is_none() {
        eprintln!("Cerbos is left out: --cerbos PROGRAM names its server");
    }
    if !options.json {
        println!(
            "{:>9} {:<11} {:>10} {:>10} {:>8} {:>10} {:>10} {:>9}",
            "policies", "engine", "p50 us", "p99 us", "x ours", "asked", "memory KB", "load ms"
        );
    }
    for size in SIZES {
        let mut ours = None;
        for engine in ENGINES.iter().filter(|engine| **engine != "cerbos" || options.cerbos.is_some()) {
            let row = child(engine, size, options);
            let p50 = row["p50_us"].as_f64().expect("a number");
            let ours = *ours.get_or_insert(p50);
            if options.json {
                println!("{row}");
            } else {
                println!(
                    "{size:>9} {engine:<11} {p50:>10.1} {:>10.1} {:>8.2} {:>10} {:>10} {:>9}",
                    row["p99_us"].as_f64().expect("a number"),
                    p50 / ours,
                    row["asked"],
                    row["memory_kb"],
                    row["load_ms"]
                );
            }
        }
    }
    let row = child("activation", 10_000, options);
    if options.json {
        println!("{row}");
    } else {
        println!(
            "\nactivation of {} policies: {} ms; {} decisions meanwhile, the longest took {} us (before it: {} us)",
            row["policies"], row["activated_ms"], row["asked"], row["longest_us"], row["longest_before_us"]
        );
    }
}

fn child(engine: &str, size: usize, options: &Options) -> Value {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--one", engine, &size.to_string(), "--seconds", &options.seconds.to_string()]);
    if let Some(program) = &options.cerbos {
        command.arg("--cerbos").arg(program);
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{engine} over {size} policies: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Asks one engine over so many policies.
fn one(engine: &str, policies: usize, options: &Options) -> Value {
    let workload = Workload { policies };
    if engine == "activation" {
        return activation::measure(&workload, Duration::from_secs(options.seconds));
    }
    let requests = workload.requests(REQUESTS);
    // Reading requests is not what is measured.
    let read: Vec<_> = requests.iter().filter(|_| engine == "portcullis").map(Ours::request).collect();
    let before = memory(std::process::id(), "VmRSS");
    let folder = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
    let began = Instant::now();
    let mut asked: Box<dyn Engine> = match engine {
        "portcullis" => Box::new(Prepared::new(&workload, read)),
        "cedar" => Box::new(Cedar::new(&workload)),
        "regorus" => Box::new(Rego::new(&workload)),
        "cerbos" => Box::new(Cerbos::new(options.cerbos.as_ref().expect("--cerbos"), &folder, &workload)),
        other => panic!("no engine `{other}`"),
    };
    let load = began.elapsed();
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut took = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let began = Instant::now();
        let allowed = asked.ask(request);
        let elapsed = began.elapsed();
        assert_eq!(allowed, request.allowed, "{engine}: {request:?}");
        if number >= WARM {
            took.push(elapsed);
        }
        // Some engines take milliseconds: their first answers count.
        if began + elapsed > end && (took.len() > 50 || number > WARM) {
            break;
        }
    }
    let memory = asked.process().map_or_else(
        || memory(std::process::id(), "VmRSS").saturating_sub(before),
        |server| memory(server, "VmRSS"),
    );
    drop(asked);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("it can be removed");
    }
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    json!({
        "engine": engine, "policies": policies, "asked": took.len(), "p50_us": at(50), "p99_us": at(99),
        "memory_kb": memory, "load_ms": u64::try_from(load.as_millis()).expect("short"),
    })
}

/// A process's memory by `/proc`, in kilobytes.
pub(crate) fn memory(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
