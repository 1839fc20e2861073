//! What an activation costs those who ask meanwhile: decisions of a daemon before, while and after a bundle of many
//! policies is activated, in one run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_ledger::{Clocks, SystemClocks};
use portcullis_policy::bundles;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, Decision, Digest, Salt, request::Ask};
use portcullis_sdk::{Authorizer, Endpoint, HttpAuthorizer, Token};
use portcullis_server::{ask_metrics, bundle_history, open_ledger, sign_bundle, write_bundle};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::DrillError;
use crate::deployment::Deployment;
use crate::statistics::{microseconds, percentile};

/// Callers that ask all the time, each again as soon as it is answered.
const CALLERS: u8 = 2;
/// How long a caller waits, in milliseconds.
const DEADLINE: u64 = 30_000;
/// Bare syncs of the disk.
const BARE: u32 = 500;
/// No decision is to wait longer than this because of an activation.
const GOAL: Duration = Duration::from_millis(5);
/// Policies in one file of the bundle.
const TOGETHER: u32 = 500;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `portcullis` program itself.
    pub program: PathBuf,
    /// Policies of the bundle that is activated.
    pub policies: u32,
    /// How long is asked before, and after.
    pub each: Duration,
    /// JSON instead of text.
    pub json: bool,
}

/// A decision: when it was asked for, and how long it took.
type Sample = (Instant, Duration);

/// Measures.
///
/// # Errors
/// If it could not be carried out, or a decision was no PERMIT.
pub async fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<(), DrillError> {
    let place = Deployment::new(None, false)?;
    let next = place.directory.join("next");
    write_bundle(&next, &of_many(options.policies)?)?;
    sign_bundle(&next, &place.directory.join("keys/bundle.key"))?;
    let bare = bare(&place.directory.join("bare"))?;
    let mut daemon = place.serve(&options.program).await?;
    let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let token = std::fs::read_to_string(place.directory.join("keys/demo-agent.token"));
    let token = Token::new(&token.map_err(DrillError::system("reading the agent's token"))?);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let endpoint = Endpoint::Unix { path: place.config.data.join("arbiter.sock") };
            let arbiter = HttpAuthorizer::new(endpoint, token.clone(), Duration::from_millis(DEADLINE));
            tokio::spawn(ask(arbiter, Arc::clone(&stop), Arc::clone(&numbers)))
        })
        .collect();
    tokio::time::sleep(options.each).await;
    let (began, wall) = (Instant::now(), SystemClocks.wall());
    let said = activate(&options.program, &next, &place.config_path).await?;
    let ended = Instant::now();
    let stages = stages(&place).await?;
    tokio::time::sleep(options.each).await;
    stop.store(true, Ordering::Relaxed);
    let mut samples = Vec::new();
    for caller in callers {
        samples.extend(caller.await.map_err(|error| DrillError::Answer(error.to_string()))??);
    }
    daemon.kill().await.map_err(DrillError::system("ending the arbiter"))?;
    let phases = phases(&samples, (began, ended));
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let report = json!({
        "policies": options.policies,
        "bare_fdatasync_us": bare,
        "phases_us": phases,
        "in_force_ms": in_force(&place)?.saturating_sub(wall.map_or(0, |wall| wall.0)),
        "command_ended_ms": milliseconds(ended.saturating_duration_since(began)),
        "command_us": said.get("took_us"),
        "arbiter_us": stages,
    });
    if options.json {
        say(&report.to_string());
    } else {
        print(&report, say);
    }
    Ok(())
}

/// The demo's bundle in a second version, with grants of other agents beside its own.
fn of_many(policies: u32) -> Result<BTreeMap<String, Vec<u8>>, DrillError> {
    let mut files = bundles::demo();
    let manifest = files.get_mut("bundle.toml").ok_or_else(|| DrillError::Answer("no manifest".into()))?;
    *manifest = String::from_utf8_lossy(manifest).replacen("version = 1\n", "version = 2\n", 1).into_bytes();
    let entities = files.get_mut("entities.json").ok_or_else(|| DrillError::Answer("no entities".into()))?;
    let wrong = |error: serde_json::Error| DrillError::Answer(error.to_string());
    let mut agents: Vec<Value> = serde_json::from_slice(entities).map_err(wrong)?;
    agents.extend((0..=policies / 10).map(|number| {
        let id = format!("agent-{number}");
        json!({ "uid": { "type": "Agent", "id": id }, "attrs": {}, "parents": [] })
    }));
    *entities = serde_json::to_vec(&agents).map_err(wrong)?;
    let own = 3;
    let mut first = own;
    while first < policies {
        let (last, mut text) = (first.saturating_add(TOGETHER).min(policies), String::new());
        for number in first..last {
            let written = write!(
                text,
                "@id(\"grant-{number}\")\npermit (principal == Agent::\"agent-{}\", action == Action::\"demo.read_balance\", \
                 resource)\nwhen {{ context.account == \"account-{number}\" }};\n",
                number / 10
            );
            written.map_err(|error| DrillError::Answer(error.to_string()))?;
        }
        files.insert(format!("policies/more-{first}.cedar"), text.into_bytes());
        first = last;
    }
    Ok(files)
}

async fn ask(
    arbiter: HttpAuthorizer,
    stop: Arc<AtomicBool>,
    numbers: Arc<AtomicU64>,
) -> Result<Vec<Sample>, DrillError> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let call = call(numbers.fetch_add(1, Ordering::Relaxed))?;
        let asked = Instant::now();
        let reply = arbiter.decide(call).await.map_err(|refusal| DrillError::Answer(refusal.to_string()))?;
        samples.push((asked, asked.elapsed()));
        if reply.decision != Decision::Permit {
            return Err(DrillError::Answer(format!("a decision without a permit: {:?}", reply.reason)));
        }
    }
    Ok(samples)
}

fn call(number: u64) -> Result<DecisionCall, DrillError> {
    let ask = format!(
        r#"{{"surface":"demo.read_balance","action":"demo.read_balance","resource":{{"type":"Surface","id":"demo.read_balance"}},"context":{{"account":"account-{number}"}}}}"#
    );
    Ok(DecisionCall {
        request: Ask::parse(ask.as_bytes()).map_err(|error| DrillError::Answer(error.to_string()))?,
        attempt: AttemptId::from_bytes(*Digest::sha256(&number.to_be_bytes()).as_bytes()),
        salt: Salt::from_bytes([2; 32]),
        gate: "bench".parse().map_err(|_| DrillError::Answer("a gate's name".into()))?,
        deadline_ms: DEADLINE,
        payload: None,
    })
}

/// Activates as an operator does, by the program.
async fn activate(program: &Path, bundle: &Path, config: &Path) -> Result<Value, DrillError> {
    let mut command = Command::new(program);
    command
        .args(["bundle", "activate"])
        .arg(bundle)
        .args(["--reason", "a measurement", "--json", "--config"])
        .arg(config);
    let output = command.kill_on_drop(true).output().await.map_err(DrillError::system("activating"))?;
    if output.status.success() {
        let wrong = |error: serde_json::Error| DrillError::Answer(error.to_string());
        return serde_json::from_slice(&output.stdout).map_err(wrong);
    }
    Err(DrillError::Answer(format!("not activated: {}", String::from_utf8_lossy(&output.stderr))))
}

/// What a sync of the disk takes at least, when nobody else asks for one.
fn bare(path: &Path) -> Result<Value, DrillError> {
    let system = DrillError::system("syncing a file");
    let measured = || -> std::io::Result<Vec<Duration>> {
        let mut file = File::create_new(path)?;
        let sync = |_| {
            let began = Instant::now();
            file.write_all(&[b'.'; 1024])?;
            file.sync_data()?;
            Ok(began.elapsed())
        };
        (0..BARE).map(sync).collect()
    };
    Ok(spread(measured().map_err(system)?))
}

/// How long the arbiter took for the parts of the activation, in microseconds, by its own metrics.
async fn stages(place: &Deployment) -> Result<BTreeMap<String, u64>, DrillError> {
    let endpoint = Endpoint::Unix { path: place.config.data.join("arbiter.sock") };
    let text = ask_metrics(&endpoint, Duration::from_millis(DEADLINE)).await;
    let text = text.map_err(|refusal| DrillError::Answer(refusal.to_string()))?;
    let stages = text.lines().filter_map(|line| {
        let (stage, took) = line.strip_prefix("portcullis_activation_us{stage=\"")?.split_once("\"} ")?;
        Some((stage.to_owned(), took.parse().ok()?))
    });
    Ok(stages.collect())
}

/// When the order was put on record, in milliseconds since 1970.
fn in_force(place: &Deployment) -> Result<u64, DrillError> {
    let history = bundle_history(&open_ledger(&place.config)?);
    let history = history.map_err(|error| DrillError::Answer(error.to_string()))?;
    let order = history.into_iter().find(|it| it.ordered.is_some());
    order.map(|it| it.time.0).ok_or_else(|| DrillError::Answer("no activation is on record".into()))
}

fn spread(mut took: Vec<Duration>) -> Value {
    let [p50, p99, longest] = [50, 99, 100].map(|percent| microseconds(percentile(&mut took, percent)));
    let over = took.iter().filter(|took| **took > GOAL).count();
    json!({ "count": took.len(), "p50": p50, "p99": p99, "longest": longest, "over_5_ms": over })
}

fn phases(samples: &[Sample], (began, ended): (Instant, Instant)) -> Value {
    let phase = |is: &dyn Fn(&Sample) -> bool| {
        spread(samples.iter().filter(|sample| is(sample)).map(|(_, took)| *took).collect())
    };
    let is_over = |(asked, took): &Sample| asked.checked_add(*took).is_some_and(|answered| answered < began);
    json!({
        "before": phase(&|sample| is_over(sample)),
        "during": phase(&|sample| !is_over(sample) && sample.0 < ended),
        "after": phase(&|sample| sample.0 >= ended),
    })
}

fn print(report: &Value, say: &mut dyn FnMut(&str)) {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let head = ["count", "p50", "p99", "longest", "over 5 ms"].map(|what| format!("{what:>10}")).concat();
    say(&format!("{:<28}{head}", "microseconds"));
    for (name, key) in [
        ("bare fdatasync", "/bare_fdatasync_us"),
        ("decisions before", "/phases_us/before"),
        ("during the activation", "/phases_us/during"),
        ("after", "/phases_us/after"),
    ] {
        let told = ["count", "p50", "p99", "longest", "over_5_ms"]
            .map(|what| format!("{:>10}", number(&format!("{key}/{what}"))));
        say(&format!("{name:<28}{}", told.concat()));
    }
    say(&format!(
        "{} policies: {} ms from the command's start until the bundle decides, {} ms until the command ended",
        number("/policies"),
        number("/in_force_ms"),
        number("/command_ended_ms")
    ));
    for (whose, key) in [("the command", "command_us"), ("the arbiter", "arbiter_us")] {
        let parts = report.get(key).and_then(Value::as_object).into_iter().flatten();
        let parts: Vec<_> = parts.map(|(part, took)| format!("{part} {took}")).collect();
        say(&format!("{whose}, microseconds: {}", parts.join(", ")));
    }
}
