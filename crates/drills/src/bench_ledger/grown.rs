//! What becomes of a ledger that grows: its memory, how long it takes to open, to prove a record and to check them all.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use portcullis_ledger::{Check, CheckBeside, LedgerReader};
use portcullis_server::bundle_digest;
use serde_json::{Value, json};

use super::place::Place;
use super::process::{bytes, forget, processor_time, resident};
use super::{pair, per_second, status};
use crate::DrillError;
use crate::callers::{Scene, Until};
use crate::statistics::microseconds;

/// Callers that fill a ledger: the writer always has a full batch waiting.
const CALLERS: u32 = 3_072;
/// Records after which it is said how far it is.
const SLICE: u64 = 250_000;
/// The first size at which a growing ledger is looked at; the next are ten times as many each.
const FIRST: u64 = 100_000;
/// Receipts that are taken out again.
const RECEIPTS: u64 = 1_000;

/// Fills a ledger with decisions up to `records`. `None` if it was stopped.
pub(super) fn grow(
    place: &Place,
    scene: &Scene<'_>,
    records: u64,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Vec<Value>>, DrillError> {
    let mut stages = Vec::new();
    let sizes = std::iter::successors(Some(FIRST), |size| size.checked_mul(10));
    for size in sizes.take_while(|size| *size < records).chain([records]) {
        let (mut decided, began, cpu) = (0_u64, Instant::now(), processor_time());
        loop {
            let now = status(scene.ledger)?.size;
            if now >= size {
                break;
            }
            let answers = scene.ask(CALLERS, Until::decisions(size.saturating_sub(now).min(SLICE)))?;
            if scene.is_stopped() {
                return Ok(None);
            }
            say(&format!("{now} of {records} records"));
            decided = decided.saturating_add(answers.decided);
        }
        let (took, cpu) = (began.elapsed(), processor_time().saturating_sub(cpu));
        let stage = json!({
            "records": status(scene.ledger)?.size,
            "decisions": decided,
            "decisions_per_second": per_second(decided, took),
            "cpu_us_per_decision": microseconds(cpu).checked_div(decided),
            "resident_kb": resident(),
            "bytes": bytes(&place.data())?,
        });
        stages.push(stage);
    }
    Ok(Some(stages))
}

/// From closed to the first PERMIT, what a receipt takes, and what checking everything takes. The files are read from the
/// disk, as after a start of the machine; then once more, from memory.
pub(super) fn read_again(place: &Place, scene: &Reading<'_>) -> Result<Value, DrillError> {
    forget(&place.data())?;
    let (opened, again) = (first_permit(place, scene)?, first_permit(place, scene)?);
    forget(&place.data())?;
    let reader = LedgerReader::open(&place.data(), &place.anchor(), &place.verifier)?;
    let size = reader.head().size();
    let (mut times, mut times_again) = (Vec::new(), Vec::new());
    for taken in [&mut times, &mut times_again] {
        for number in 0..RECEIPTS {
            // Spread over the log by a multiplier without a common factor.
            let seq = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % size.max(1);
            let began = Instant::now();
            reader.receipt(seq)?;
            taken.push(began.elapsed());
        }
    }
    drop(reader);
    forget(&place.data())?;
    let (began, cpu) = (Instant::now(), processor_time());
    let beside = CheckBeside { bundle_digest: Arc::new(bundle_digest), master: None };
    let check = Check::open(&place.data(), &place.anchor(), &place.verifier, beside)?;
    let checked = check.run(None, scene.stop, &|_, _, _| ())?;
    let (took, cpu) = (began.elapsed(), processor_time().saturating_sub(cpu));
    let (hashing, comparing): (Duration, Duration) = (checked.log.0, checked.state.0);
    Ok(json!({
        "records": size,
        "first_permit_us": microseconds(opened),
        "first_permit_again_us": microseconds(again),
        "receipt_us": pair(&mut times),
        "receipt_again_us": pair(&mut times_again),
        "check_per_second": per_second(size, took),
        "check_cpu_ns_per_record": microseconds(cpu).saturating_mul(1_000).checked_div(size),
        "check_hashing_per_second": per_second(checked.log.1, hashing),
        "check_comparing_per_second": per_second(checked.state.1, comparing),
    }))
}

/// From closed to the first PERMIT.
fn first_permit(place: &Place, scene: &Reading<'_>) -> Result<Duration, DrillError> {
    let began = Instant::now();
    let ledger = place.open()?;
    let first = Scene { ledger: &ledger, bundle: &place.bundle, numbers: scene.numbers, stop: scene.stop };
    first.ask(1, Until::decisions(1))?;
    Ok(began.elapsed())
}

/// What reading a ledger again needs.
pub(super) struct Reading<'a> {
    pub(super) numbers: &'a std::sync::atomic::AtomicU64,
    pub(super) stop: &'a AtomicBool,
}
