//! How fast decisions are, beside what the disk takes at least, in one run on one file system.

mod grown;
mod place;
mod process;
mod table;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use portcullis_ledger::{Floor, Ledger, Status};
use portcullis_verify::UnverifiedReceipt;
use serde_json::{Value, json};

use crate::DrillError;
use crate::callers::{Answers, Scene, Until};
use crate::statistics::{microseconds, percentile};
use grown::Reading;
use place::Place;
use process::{processor_time, resident};

/// Bare operations of each kind.
const BARE: u32 = 500;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each number of callers is measured.
    pub each: Duration,
    /// How many callers wait at once, one measurement each.
    pub callers: Vec<u32>,
    /// Up to how many records the ledger is filled then, and looked at on the way.
    pub records: Option<u64>,
    /// Where; `None` for the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    /// JSON instead of text.
    pub json: bool,
}

/// Measures. `stop` ends it early; then it says `false`. `say` gets the report, `note` what is under way.
///
/// # Errors
/// If it could not be carried out, or a call got anything but a PERMIT.
pub fn run(
    options: &Options,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
    note: &mut dyn FnMut(&str),
) -> Result<bool, DrillError> {
    let directory = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let directory = directory.map_err(DrillError::system("making a directory"))?;
    let place = Place::new(directory.path())?;
    let mut bare = Bare::create(directory.path())?;
    let single = bare.single()?;
    let ledger = place.open()?;
    let numbers = AtomicU64::new(0);
    let scene = Scene { ledger: &ledger, bundle: &place.bundle, numbers: &numbers, stop };
    let mut rows = Vec::new();
    for callers in &options.callers {
        let row = measure(&place, &scene, *callers, options.each, &mut bare)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        rows.push(row);
    }
    bare.remove()?;
    let grown = match options.records {
        Some(records) => grown::grow(&place, &scene, records, note)?,
        None => Some(Vec::new()),
    };
    drop(ledger);
    let Some(grown) = grown else { return Ok(false) };
    let again = grown::read_again(&place, &Reading { numbers: &numbers, stop })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let report = json!({ "bare": single, "callers": rows, "grown": grown, "opening": again });
    if options.json {
        say(&report.to_string());
    } else {
        table::print(&report, say);
    }
    Ok(true)
}

/// What the disk takes at least: a bare file, and a bare database beside a bare anchor.
struct Bare {
    directory: PathBuf,
    file: File,
    floor: Floor,
}

/// What it takes for batches of some size.
struct Least {
    appends: u64,
    inserts: u64,
    /// One commit and one anchor.
    both: Duration,
}

impl Bare {
    fn create(directory: &Path) -> Result<Self, DrillError> {
        let directory = directory.join("bare");
        std::fs::create_dir(&directory).map_err(DrillError::system("making a directory"))?;
        let file = File::create_new(directory.join("file")).map_err(DrillError::system("making a file"))?;
        let floor = Floor::create(&directory)?;
        Ok(Self { directory, file, floor })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DrillError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(DrillError::system("syncing a file"))
    }

    /// One of each, again and again.
    fn single(&mut self) -> Result<Value, DrillError> {
        let (mut sync, mut insert, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BARE {
            let began = Instant::now();
            self.append(&[b'.'; 1024])?;
            sync.push(began.elapsed());
            let began = Instant::now();
            self.floor.insert(&[b'.'; 1024], 1)?;
            insert.push(began.elapsed());
            self.floor.anchor()?;
            both.push(began.elapsed());
        }
        Ok(json!({
            "fdatasync_1k_us": pair(&mut sync),
            "sqlite_insert_1k_us": pair(&mut insert),
            "sqlite_insert_and_anchor_us": pair(&mut both),
        }))
    }

    /// Appends and inserts of the same bytes in batches of the same size, for `each` in all.
    fn least(&mut self, record: &[u8], batch: u64, each: Duration) -> Result<Least, DrillError> {
        let many = record.repeat(usize::try_from(batch).unwrap_or(usize::MAX));
        let (began, mut batches) = (Instant::now(), 0_u64);
        let (mut appending, mut inserting, mut both) = (Duration::ZERO, Duration::ZERO, Vec::new());
        while began.elapsed() < each {
            let begun = Instant::now();
            self.append(&many)?;
            appending += begun.elapsed();
            let begun = Instant::now();
            self.floor.insert(record, batch)?;
            inserting += begun.elapsed();
            self.floor.anchor()?;
            both.push(begun.elapsed());
            batches = batches.saturating_add(1);
        }
        let rows = batches.saturating_mul(batch);
        let (appends, inserts) = (per_second(rows, appending), per_second(rows, inserting));
        Ok(Least { appends, inserts, both: percentile(&mut both, 50) })
    }

    /// Gives its space back.
    fn remove(self) -> Result<(), DrillError> {
        let Self { directory, file, floor } = self;
        drop((file, floor));
        std::fs::remove_dir_all(directory).map_err(DrillError::system("removing a directory"))
    }
}

fn measure(
    place: &Place,
    scene: &Scene<'_>,
    callers: u32,
    each: Duration,
    bare: &mut Bare,
) -> Result<Value, DrillError> {
    let (before, cpu) = (status(scene.ledger)?, processor_time());
    let answers = scene.ask(callers, Until::time(each))?;
    let (after, cpu) = (status(scene.ledger)?, processor_time().saturating_sub(cpu));
    let record = verified(place, &answers)?;
    let batches = after.batches.saturating_sub(before.batches);
    let batch = answers.decided.checked_div(batches).unwrap_or_default().max(1);
    let least = bare.least(&record, batch, each / 2)?;
    let rate = per_second(answers.decided, answers.took);
    let p50 = answers.waits.percentile(50);
    Ok(json!({
        "callers": callers,
        "decisions": answers.decided,
        "decisions_per_second": rate,
        "p50_us": p50,
        "p99_us": answers.waits.percentile(99),
        "batches": batches,
        "batch": batch,
        "syncs": after.syncs.saturating_sub(before.syncs),
        "bare_appends_per_second": least.appends,
        "bare_inserts_per_second": least.inserts,
        "percent_of_bare_inserts": percent(rate, least.inserts),
        "bare_commit_and_anchor_us": microseconds(least.both),
        "p50_percent_of_commit_and_anchor": percent(p50, microseconds(least.both)),
        "cpu_us_per_decision": microseconds(cpu).checked_div(answers.decided),
        "records": after.size,
        "record_bytes": record.len(),
        "resident_kb": resident(),
    }))
}

/// The record of one of the answers, proved by its receipt and the public key.
fn verified(place: &Place, answers: &Answers) -> Result<Vec<u8>, DrillError> {
    let none = || DrillError::Answer("no call was permitted".into());
    let receipt = answers.receipt.as_deref().ok_or_else(none)?;
    let parsed = UnverifiedReceipt::parse(receipt.as_bytes());
    let verified = parsed.and_then(|receipt| receipt.verify(std::slice::from_ref(&place.verifier)));
    let verified = verified.map_err(|error| DrillError::Answer(error.to_string()))?;
    Ok(verified.record_bytes().to_vec())
}

/// A sample's percentiles in microseconds.
fn pair(sample: &mut [Duration]) -> Value {
    let [p50, p99] = [50, 99].map(|percent| microseconds(percentile(sample, percent)));
    json!({ "p50": p50, "p99": p99 })
}

fn percent(part: u64, whole: u64) -> Option<u64> {
    part.saturating_mul(100).checked_div(whole)
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
