//! How fast decisions are, beside what the disk takes: `cargo run --release -p portcullis-ledger --example
//! throughput [directory]`. Without a directory, in the system's one for temporary files.

mod clock;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clock::timed;
use ed25519_dalek::SigningKey;
use portcullis_arbiter::{Credential, Fact, GateState, Intake, Policy, PolicyNow, Ports, Validity, prepare};
use portcullis_ledger::{
    Clocks, DecideReply, DirectoryLock, KeyFile, Ledger, LedgerConfig, Status, SystemClocks, generate,
    generate_vault_key,
};
use portcullis_policy::{Bundle, Snapshot, Trust, bundles};
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, Digest, Millis, Salt, request::Ask};
use portcullis_verify::VerifierKey;

const READ: &[u8] = br#"{"surface":"demo.read_balance","action":"demo.read_balance",
    "resource":{"type":"Surface","id":"demo.read_balance"},"context":{"account":"a"}}"#;
const ALONE: u64 = 2_000;
const CALLERS: u64 = 64;
const EACH: u64 = 1_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>; // tidy: allow nothing is decided here

fn main() -> Outcome<()> {
    let directory = match std::env::args_os().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let mut out = std::io::stdout();
    let bare = bare_sync(directory.path())?;
    writeln!(
        out,
        "one fdatasync of a 4 KiB write: p50 {:?}, p99 {:?}",
        percentile(&bare, 50),
        percentile(&bare, 99)
    )?;
    let intake = Arc::new(intake()?);
    let ledger = Arc::new(start(directory.path(), &intake)?);
    let alone: Vec<_> =
        (0..ALONE).map(|attempt| decide(&ledger, &intake, attempt)).collect::<Outcome<_>>()?;
    writeln!(
        out,
        "one caller's decision: p50 {:?}, p99 {:?}",
        percentile(&alone, 50),
        percentile(&alone, 99)
    )?;
    let before = status(&ledger)?;
    let (took, waits) = timed(|| together(&ledger, &intake));
    let (waits, after) = (waits?, status(&ledger)?);
    let decisions = u32::try_from(CALLERS.saturating_mul(EACH))?;
    writeln!(
        out,
        "{CALLERS} callers: {:.0} decisions/s in batches of {:.1}, p50 {:?}, p99 {:?}",
        f64::from(decisions) / took.as_secs_f64(),
        f64::from(decisions) / f64::from(u32::try_from(after.batches.saturating_sub(before.batches))?),
        percentile(&waits, 50),
        percentile(&waits, 99),
    )?;
    let Some(ledger) = Arc::into_inner(ledger) else { return Err("a caller still holds the ledger".into()) };
    drop(ledger);
    let (took, ledger) = timed(|| start(directory.path(), &intake));
    writeln!(out, "opening and verifying {} records: {took:?}", status(&ledger?)?.size)?;
    Ok(())
}

/// Closed and gone until the first answer.
fn start(directory: &Path, intake: &Intake) -> Outcome<Ledger> {
    let key = directory.join("key");
    if !key.exists() {
        std::fs::create_dir(directory.join("data"))?;
        let (text, verifier) = generate("gate.test/log")?;
        File::options().write(true).create_new(true).mode(0o600).open(&key)?.write_all(text.as_bytes())?;
        let vault = generate_vault_key()?;
        let path = directory.join("vault");
        File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(vault.as_bytes())?;
        std::fs::write(directory.join("vkey"), verifier.to_string())?;
    }
    let verifier: VerifierKey = std::fs::read_to_string(directory.join("vkey"))?.parse()?;
    let config = LedgerConfig {
        directory: directory.join("data"),
        anchor: directory.join("anchor"),
        vault_key: directory.join("vault"),
        disk_reserve: 0,
        spool: None,
        clocks: Arc::new(SystemClocks),
    };
    let lock = DirectoryLock::acquire(&config.directory)?.ok_or("the directory is locked")?;
    let bundle = intake.bundle.as_ref().ok_or("no bundle")?.digest;
    let policy = PolicyNow { digest: Some(bundle), policy: Policy::InForce(Validity::Valid) };
    let ledger =
        Ledger::start(config, lock, Box::new(KeyFile::new(key, verifier)), Box::new(Steady(policy)))?;
    match status(&ledger)?.tripped {
        None => Ok(ledger),
        Some(code) => Err(code.to_string().into()),
    }
}

struct Steady(PolicyNow);

impl Ports for Steady {
    fn gate(&self) -> Fact<GateState> {
        Fact::Known(GateState::Open)
    }

    fn policy(&self, _now: Millis) -> Fact<PolicyNow> {
        Fact::Known(self.0)
    }
}

fn intake() -> Outcome<Intake> {
    let bundle = demo()?;
    let call = DecisionCall {
        request: Ask::parse(READ)?,
        attempt: AttemptId::from_bytes([0; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse()?,
        deadline_ms: 60_000_000,
    };
    let credential = Credential { agent: "demo-agent".parse()?, expires: None };
    prepare(call, credential, Ok(&bundle), SystemClocks.boot()).map_err(|code| code.to_string().into())
}

fn demo() -> Outcome<Bundle> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let verifier = VerifierKey::ed25519("bundle.test", key.verifying_key().to_bytes())?;
    let mut files = bundles::demo();
    let unsigned = Snapshot::from_files(files.clone())?;
    let pin = unsigned.digest();
    files.insert("bundle.sig".into(), unsigned.sign(&key, "bundle.test")?);
    Ok(Snapshot::from_files(files)?.verify(&Trust { keys: vec![verifier], pin })?)
}

/// Asks, and says how long the answer took. The answer must be a PERMIT.
fn decide(ledger: &Ledger, intake: &Intake, attempt: u64) -> Outcome<Duration> {
    let mut intake = intake.clone();
    intake.attempt = AttemptId::from_bytes(*Digest::sha256(&attempt.to_be_bytes()).as_bytes());
    let (sender, receiver) = channel();
    let (took, reply) = timed(|| {
        let asked = ledger.decide(intake, move |reply| drop(sender.send(reply)));
        asked.map(|()| receiver.recv())
    });
    match reply?? {
        DecideReply::Decided(decided) if decided.verdict.reason().is_none() => Ok(took),
        DecideReply::Decided(decided) => Err(format!("refused: {:?}", decided.verdict).into()),
        DecideReply::Held(_) => Err("held for witnesses".into()),
        DecideReply::EvaluateAgain => Err("evaluate again".into()),
    }
}

fn together(ledger: &Arc<Ledger>, intake: &Arc<Intake>) -> Outcome<Vec<Duration>> {
    let callers: Vec<_> = (1..=CALLERS)
        .map(|caller| {
            let (ledger, intake) = (Arc::clone(ledger), Arc::clone(intake));
            let attempts = (0..EACH).map(move |each| caller.saturating_mul(1_000_000).saturating_add(each));
            std::thread::spawn(move || {
                attempts.map(|attempt| decide(&ledger, &intake, attempt)).collect::<Outcome<Vec<_>>>()
            })
        })
        .collect();
    let mut waits = Vec::new();
    for caller in callers {
        waits.extend(caller.join().map_err(|_| "a caller panicked")??);
    }
    Ok(waits)
}

fn status(ledger: &Ledger) -> Outcome<Status> {
    let (sender, receiver) = channel();
    ledger.status(move |status| drop(sender.send(status)))?;
    Ok(receiver.recv()?)
}

fn bare_sync(directory: &Path) -> Outcome<Vec<Duration>> {
    let file = File::create_new(directory.join("bare"))?;
    let block = [7; 4096];
    let mut times = Vec::new();
    for index in 0..1_000_u64 {
        let (took, written) =
            timed(|| file.write_all_at(&block, index.saturating_mul(4_096)).and_then(|()| file.sync_data()));
        written?;
        times.push(took);
    }
    Ok(times)
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let index = times.len().saturating_mul(percent) / 100;
    times.get(index.min(times.len().saturating_sub(1))).map_or(Duration::ZERO, |time| *time)
}
