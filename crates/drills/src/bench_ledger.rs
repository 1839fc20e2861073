//! How fast decisions are, beside what the disk takes at least, in one run on one file system.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use portcullis_arbiter::{Fact, GateState, Policy, PolicyNow, Ports, Validity};
use portcullis_ledger::{
    DirectoryLock, Floor, KeyFile, Ledger, LedgerConfig, LedgerReader, Status, SystemClocks, generate,
    generate_vault_key,
};
use portcullis_policy::{Bundle, Snapshot, Trust, bundles};
use portcullis_protocol::Millis;
use portcullis_verify::{UnverifiedReceipt, VerifierKey};
use serde_json::{Value, json};

use crate::DrillError;
use crate::callers::{Answers, Scene};
use crate::statistics::{microseconds, percentile};

/// Bare operations of each kind.
const BARE: u32 = 500;
/// Receipts that are taken out again.
const RECEIPTS: u64 = 1_000;
/// Policies of the bundle, with the demo's own.
const POLICIES: usize = 10;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each number of callers is measured.
    pub each: Duration,
    /// How many callers wait at once, one measurement each.
    pub callers: Vec<u32>,
    /// Where; `None` for the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    /// JSON instead of text.
    pub json: bool,
}

/// Measures. `stop` ends it early; then it says `false`.
///
/// # Errors
/// If it could not be carried out, or a call got anything but a PERMIT.
pub fn run(options: &Options, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<bool, DrillError> {
    let place = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let place = place.map_err(DrillError::system("making a directory"))?;
    let bench = Bench::new(place.path())?;
    let mut floor = Floor::create(place.path())?;
    let bare = bench.bare(&mut floor)?;
    let ledger = bench.open()?;
    let numbers = AtomicU64::new(0);
    let scene = Scene { ledger: &ledger, bundle: &bench.bundle, numbers: &numbers, stop };
    let mut rows = Vec::new();
    for callers in &options.callers {
        let row = bench.measure(&scene, *callers, options.each, &mut floor)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        rows.push(row);
    }
    drop(ledger);
    let report = json!({ "bare": bare, "callers": rows, "opening": bench.opening(&numbers)? });
    if options.json {
        say(&report.to_string());
    } else {
        print(&report, say);
    }
    Ok(true)
}

/// A ledger's files, and what surrounds it.
struct Bench {
    directory: PathBuf,
    bundle: Bundle,
    verifier: VerifierKey,
}

impl Bench {
    fn new(directory: &Path) -> Result<Self, DrillError> {
        std::fs::create_dir(directory.join("data")).map_err(DrillError::system("making a directory"))?;
        let verifier = new_key(&directory.join("log.key"), "bench.test/log")?;
        let bundle = bundle(&directory.join("bundle.key"))?;
        let vault = generate_vault_key().map_err(|error| DrillError::Answer(error.to_string()))?;
        write_private(&directory.join("vault.key"), vault.as_bytes())?;
        Ok(Self { directory: directory.to_owned(), bundle, verifier })
    }

    fn open(&self) -> Result<Ledger, DrillError> {
        let config = LedgerConfig {
            directory: self.directory.join("data"),
            anchor: self.directory.join("anchor"),
            vault_key: self.directory.join("vault.key"),
            disk_reserve: 0,
            clocks: Arc::new(SystemClocks),
        };
        let lock = DirectoryLock::acquire(&config.directory);
        let lock = lock.map_err(|error| DrillError::Answer(error.to_string()))?;
        let lock = lock.ok_or_else(|| DrillError::Answer("the directory is locked".into()))?;
        let signer = KeyFile::new(self.directory.join("log.key"), self.verifier.clone());
        let digest = Some(self.bundle.reference().digest);
        let ports = Steady(PolicyNow { digest, policy: Policy::InForce(Validity::Valid) });
        let started = Ledger::start(config, lock, Box::new(signer), Box::new(ports));
        started.map_err(DrillError::system("starting the ledger"))
    }

    /// What the disk takes for one of each.
    fn bare(&self, floor: &mut Floor) -> Result<Value, DrillError> {
        let path = self.directory.join("bare");
        let mut file = File::create_new(path).map_err(DrillError::system("making a file"))?;
        let (mut sync, mut insert, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BARE {
            let began = Instant::now();
            let written = file.write_all(&[b'.'; 1024]).and_then(|()| file.sync_data());
            written.map_err(DrillError::system("syncing a file"))?;
            sync.push(began.elapsed());
            let began = Instant::now();
            floor.insert(&[b'.'; 1024], 1)?;
            insert.push(began.elapsed());
            floor.anchor()?;
            both.push(began.elapsed());
        }
        let pair = |sample: &mut [Duration]| json!({ "p50": microseconds(percentile(sample, 50)), "p99": microseconds(percentile(sample, 99)) });
        Ok(json!({
            "fdatasync_1k_us": pair(&mut sync),
            "sqlite_insert_1k_us": pair(&mut insert),
            "sqlite_insert_and_anchor_us": pair(&mut both),
        }))
    }

    fn measure(
        &self,
        scene: &Scene<'_>,
        callers: u32,
        each: Duration,
        floor: &mut Floor,
    ) -> Result<Value, DrillError> {
        let (before, cpu) = (status(scene.ledger)?, processor_time());
        let answers = scene.ask(callers, each)?;
        let (after, cpu_after) = (status(scene.ledger)?, processor_time());
        let record = self.verified(&answers)?;
        let batches = after.batches.saturating_sub(before.batches);
        let batch = answers.decided.checked_div(batches).unwrap_or_default().max(1);
        let floor = floor_rate(floor, &record, batch, each)?;
        let rate = per_second(answers.decided, answers.took);
        let cpu = cpu_after.zip(cpu).map(|(after, before)| after.saturating_sub(before));
        Ok(json!({
            "callers": callers,
            "decisions": answers.decided,
            "decisions_per_second": rate,
            "p50_us": answers.waits.percentile(50),
            "p99_us": answers.waits.percentile(99),
            "batches": batches,
            "batch": batch,
            "syncs": after.syncs.saturating_sub(before.syncs),
            "bare_inserts_per_second": floor,
            "percent_of_floor": rate.saturating_mul(100).checked_div(floor),
            "cpu_us_per_decision": cpu.map(|cpu| microseconds(cpu).checked_div(answers.decided)),
            "records": after.size,
            "record_bytes": record.len(),
            "resident_kb": resident(),
        }))
    }

    /// The record of one of the answers, proved by its receipt and the public key.
    fn verified(&self, answers: &Answers) -> Result<Vec<u8>, DrillError> {
        let receipt = answers.receipt.as_deref().unwrap_or_default();
        let parsed = UnverifiedReceipt::parse(receipt.as_bytes());
        let verified = parsed.and_then(|receipt| receipt.verify(std::slice::from_ref(&self.verifier)));
        let verified = verified.map_err(|error| DrillError::Answer(error.to_string()))?;
        Ok(verified.record_bytes().to_vec())
    }

    /// From closed to the first PERMIT, and what a receipt takes.
    fn opening(&self, numbers: &AtomicU64) -> Result<Value, DrillError> {
        let began = Instant::now();
        let ledger = self.open()?;
        let stop = AtomicBool::new(true);
        let first = Scene { ledger: &ledger, bundle: &self.bundle, numbers, stop: &stop };
        first.ask(1, Duration::ZERO)?;
        let opened = began.elapsed();
        drop(ledger);
        let reader =
            LedgerReader::open(&self.directory.join("data"), &self.directory.join("anchor"), &self.verifier)?;
        let size = reader.head().size();
        let mut times = Vec::new();
        for number in 0..RECEIPTS {
            // Spread over the log by a multiplier without a common factor.
            let seq = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % size.max(1);
            let began = Instant::now();
            reader.receipt(seq)?;
            times.push(began.elapsed());
        }
        Ok(json!({
            "records": size,
            "first_permit_us": microseconds(opened),
            "receipt_us": { "p50": microseconds(percentile(&mut times, 50)), "p99": microseconds(percentile(&mut times, 99)) },
        }))
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

fn new_key(path: &Path, name: &str) -> Result<VerifierKey, DrillError> {
    let (text, verifier) = generate(name).map_err(|error| DrillError::Answer(error.to_string()))?;
    write_private(path, text.as_bytes())?;
    Ok(verifier)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DrillError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(DrillError::system("writing a key"))
}

/// The demo's bundle with more policies, none of which applies.
fn bundle(key: &Path) -> Result<Bundle, DrillError> {
    let failed = |error: String| DrillError::Answer(error);
    let verifier = new_key(key, "bench.test/bundle")?;
    let (signing, _) = KeyFile::read(key).map_err(|error| failed(error.to_string()))?;
    let mut files = bundles::demo();
    let own =
        files.get("policies/demo.cedar").map(|text| String::from_utf8_lossy(text).matches("@id(").count());
    let more: String = (own.unwrap_or_default()..POLICIES)
        .map(|number| {
            format!(
                "@id(\"bench-{number}\")\nforbid (principal, action == Action::\"demo.read_balance\", resource)\nwhen {{ context.account == \"nobody-{number}\" }};\n"
            )
        })
        .collect();
    files.insert("policies/bench.cedar".into(), more.into_bytes());
    let unsigned = Snapshot::from_files(files.clone()).map_err(|error| failed(error.to_string()))?;
    let pin = unsigned.digest();
    let signature =
        unsigned.sign(&signing, "bench.test/bundle").map_err(|error| failed(error.to_string()))?;
    files.insert("bundle.sig".into(), signature);
    let signed = Snapshot::from_files(files).map_err(|error| failed(error.to_string()))?;
    signed.verify(&Trust { keys: vec![verifier], pin }).map_err(|error| failed(error.to_string()))
}

/// Rows a second that bare inserts of the same bytes reach, in batches of the same size.
fn floor_rate(floor: &mut Floor, record: &[u8], batch: u64, each: Duration) -> Result<u64, DrillError> {
    let (began, mut rows) = (Instant::now(), 0_u64);
    while began.elapsed() < each / 2 {
        floor.insert(record, batch)?;
        rows = rows.saturating_add(batch);
    }
    Ok(per_second(rows, began.elapsed()))
}

fn per_second(count: u64, took: Duration) -> u64 {
    count.saturating_mul(1_000_000).checked_div(microseconds(took)).unwrap_or_default()
}

fn status(ledger: &Ledger) -> Result<Status, DrillError> {
    let (sender, receiver) = channel();
    let asked = ledger.status(move |status| drop(sender.send(status)));
    asked.map_err(|error| DrillError::Answer(error.to_string()))?;
    receiver.recv().map_err(|_| DrillError::Answer("the ledger went away".into()))
}

/// Resident memory of this process in kilobytes, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Processor time of this process, where the system tells: user and system time are the 14th and 15th field, in
/// hundredths of a second (proc_pid_stat(5)).
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(user.saturating_add(system).saturating_mul(10)))
}

fn print(report: &Value, say: &mut dyn FnMut(&str)) {
    let number =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    say(&format!("{:<48}{:>10}{:>10}", "microseconds", "p50", "p99"));
    for (name, key) in [
        ("append 1 KiB and fdatasync", "/bare/fdatasync_1k_us"),
        ("insert 1 KiB into SQLite, durably", "/bare/sqlite_insert_1k_us"),
        ("the same, and one anchor", "/bare/sqlite_insert_and_anchor_us"),
        ("a receipt of any record", "/opening/receipt_us"),
    ] {
        let (p50, p99) = (number(report, &format!("{key}/p50")), number(report, &format!("{key}/p99")));
        say(&format!("{name:<48}{p50:>10}{p99:>10}"));
    }
    say("");
    say(&format!(
        "{:>8}{:>14}{:>10}{:>10}{:>8}{:>9}{:>14}{:>9}{:>9}{:>10}",
        "callers",
        "decisions/s",
        "p50 us",
        "p99 us",
        "batch",
        "syncs",
        "bare inserts/s",
        "% of it",
        "cpu us",
        "RSS KiB"
    ));
    for row in report.pointer("/callers").and_then(Value::as_array).into_iter().flatten() {
        say(&format!(
            "{:>8}{:>14}{:>10}{:>10}{:>8}{:>9}{:>14}{:>9}{:>9}{:>10}",
            number(row, "/callers"),
            number(row, "/decisions_per_second"),
            number(row, "/p50_us"),
            number(row, "/p99_us"),
            number(row, "/batch"),
            number(row, "/syncs"),
            number(row, "/bare_inserts_per_second"),
            number(row, "/percent_of_floor"),
            number(row, "/cpu_us_per_decision"),
            number(row, "/resident_kb"),
        ));
    }
    say("");
    say(&format!(
        "opened {} records to the first PERMIT in {} ms",
        number(report, "/opening/records"),
        number(report, "/opening/first_permit_us") / 1_000
    ));
}
