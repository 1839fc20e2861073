//! What the gate costs: the same tool call, direct and through the gate, in one run, beside a bare fdatasync.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::DrillError;
use crate::client::Agent;
use crate::deployment::Deployment;
use crate::statistics::{microseconds, percentile};

/// Calls before measuring.
const WARM_UP: u32 = 20;
/// How long the idle gate rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `portcullis` program itself.
    pub program: PathBuf,
    /// Calls each way.
    pub calls: u32,
    /// JSON instead of text.
    pub json: bool,
}

#[derive(Default)]
struct Samples {
    direct: Vec<Duration>,
    gated: Vec<Duration>,
    sync: Vec<Duration>,
}

/// Measures. Direct calls, gated calls and bare syncs take turns, so that a machine that changes its pace changes
/// it for all of them. Every request is distinct.
///
/// # Errors
/// If it could not be carried out, or a call did not run.
pub async fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<(), DrillError> {
    let place = Deployment::new(None, false)?;
    let program = options
        .program
        .to_str()
        .ok_or_else(|| DrillError::Answer("the program's path is not UTF-8".into()))?;
    let journal = place.directory.join("direct.jsonl");
    let journal =
        journal.to_str().ok_or_else(|| DrillError::Answer("the directory's name is not UTF-8".into()))?;
    let mut gated = Agent::start(&options.program, &place.gate_arguments(program)?, Stdio::null()).await?;
    let mut direct =
        Agent::start(&options.program, &["__toolserver", "--journal", journal], Stdio::null()).await?;
    place.ready().await?;
    tokio::time::sleep(REST).await;
    let memory = resident(gated.id());
    let mut file = File::create(place.directory.join("sync")).map_err(DrillError::system("making a file"))?;
    for number in 0..WARM_UP {
        call(&mut direct, number).await?;
        call(&mut gated, number).await?;
    }
    let before = syncs(&place).await?;
    let ran_before = place.ran()?;
    let mut samples = Samples::default();
    for number in WARM_UP..WARM_UP.saturating_add(options.calls) {
        samples.direct.push(call(&mut direct, number).await?);
        samples.gated.push(call(&mut gated, number).await?);
        samples.sync.push(sync(&mut file)?);
    }
    let upstream_calls = place.ran()?.saturating_sub(ran_before);
    let syncs = syncs(&place).await?.saturating_sub(before);
    let memory_after = resident(gated.id());
    gated.end().await?;
    direct.end().await?;
    let report = report(&mut samples, options.calls, upstream_calls, syncs, (memory, memory_after));
    if options.json {
        say(&report.to_string());
    } else {
        print(&report, say);
    }
    Ok(())
}

async fn call(agent: &mut Agent, number: u32) -> Result<Duration, DrillError> {
    let began = Instant::now();
    let answer = agent.call("read_balance", &json!({ "account": format!("account-{number}") }), None).await?;
    let took = began.elapsed();
    if answer.pointer("/result/isError").is_some() || answer.pointer("/result/content").is_none() {
        return Err(DrillError::Answer(format!("a call did not run: {answer}")));
    }
    Ok(took)
}

pub(crate) fn sync(file: &mut File) -> Result<Duration, DrillError> {
    let began = Instant::now();
    file.write_all(&[b'.'; 1024])
        .and_then(|()| file.sync_data())
        .map_err(DrillError::system("syncing a file"))?;
    Ok(began.elapsed())
}

/// Syncs so far. A count that cannot be had is an error: it must not read as none.
async fn syncs(place: &Deployment) -> Result<u64, DrillError> {
    let counted = place.health().await.and_then(|health| health.syncs);
    counted.ok_or_else(|| DrillError::Answer("the arbiter does not say how often it has synced".into()))
}

/// Resident memory of a process in kilobytes, where the system tells.
pub(crate) fn resident(process: Option<u32>) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn report(
    samples: &mut Samples,
    calls: u32,
    upstream_calls: usize,
    syncs: u64,
    memory: (Option<u64>, Option<u64>),
) -> Value {
    let both = |sample: &mut Vec<Duration>| {
        (microseconds(percentile(sample, 50)), microseconds(percentile(sample, 99)))
    };
    let (direct, gated, sync) =
        (both(&mut samples.direct), both(&mut samples.gated), both(&mut samples.sync));
    json!({
        "calls": calls,
        "upstream_calls": upstream_calls,
        "syncs_of_ledger_and_anchor": syncs,
        "direct_us": { "p50": direct.0, "p99": direct.1 },
        "gated_us": { "p50": gated.0, "p99": gated.1 },
        "added_us": { "p50": gated.0.saturating_sub(direct.0), "p99": gated.1.saturating_sub(direct.1) },
        "fdatasync_us": { "p50": sync.0, "p99": sync.1 },
        "added_in_fdatasyncs_percent": gated.0.saturating_sub(direct.0).saturating_mul(100).checked_div(sync.0),
        "gate_resident_kb": { "idle": memory.0, "after": memory.1 },
    })
}

fn print(report: &Value, say: &mut dyn FnMut(&str)) {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let row = |name: &str, key: &str| {
        format!("{name:<44}{:>10}{:>10}", number(&format!("/{key}/p50")), number(&format!("/{key}/p99")))
    };
    say(&format!("{:<44}{:>10}{:>10}", "microseconds", "p50", "p99"));
    say(&row("tool call, direct", "direct_us"));
    say(&row("tool call, through the gate", "gated_us"));
    say(&row("added by the gate", "added_us"));
    say(&row("one fdatasync of 1 KiB, same disk, same run", "fdatasync_us"));
    let ratio = number("/added_in_fdatasyncs_percent");
    say(&format!("added at p50: {}.{:02} fdatasyncs", ratio / 100, ratio % 100));
    say(&format!(
        "{} calls each way, {} upstream calls through the gate, {} syncs of ledger and anchor",
        number("/calls"),
        number("/upstream_calls"),
        number("/syncs_of_ledger_and_anchor")
    ));
    say(&format!(
        "resident memory of the gate, arbiter included: {} KiB idle, {} KiB afterwards",
        number("/gate_resident_kb/idle"),
        number("/gate_resident_kb/after")
    ));
}
