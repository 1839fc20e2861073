//! The report, for machines and for people.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::Got;
use super::meter::Meter;
use super::{Over, Seen};
use crate::statistics::{microseconds, percentile};

pub(super) const fn word(over: Over) -> &'static str {
    match over {
        Over::Stdio => "stdio",
        Over::Http => "http",
    }
}

/// A sample's percentiles in microseconds.
pub(super) fn spread(sample: &mut [Duration]) -> Value {
    let [p50, p99] = [50, 99].map(|percent| microseconds(percentile(sample, percent)));
    json!({ "p50": p50, "p99": p99 })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn leg(seen: &mut Seen) -> Value {
    let (made, ran) = (count(seen.got.made()), count(seen.got.ran.len()));
    let mut value = json!({
        "calls": ran,
        "calls_per_second": per_second(ran, seen.got.took),
        // Of nothing that ran there is no time, and nothing was added.
        "us": if ran == 0 { Value::Null } else { spread(&mut seen.got.waits) },
        "refused": seen.got.refused.len(),
    });
    if let Some(value) = value.as_object_mut().filter(|_| seen.meter.syncs > 0) {
        value.extend(metered(&seen.meter, made));
    }
    value
}

/// What a gated leg did.
fn metered(meter: &Meter, calls: u64) -> impl Iterator<Item = (String, Value)> {
    let each = |time: Duration| json!(microseconds(time).checked_div(calls));
    [
        ("syncs", json!(meter.syncs)),
        ("batches", json!(meter.batches)),
        ("gate_cpu_us_per_call", each(meter.gate)),
        ("arbiter_cpu_us_per_call", each(meter.arbiter)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
}

/// One row of the table: what direct, gated and other calls took, and what was added to the direct ones.
pub(super) fn row(over: Over, long: Option<u32>, callers: u32, seen: &mut [Seen]) -> Value {
    let mut row = json!({ "over": word(over), "long_result_bytes": long, "callers": callers });
    let mut direct = Value::Null;
    for (name, seen) in ["direct", "gated", "beside"].into_iter().zip(seen) {
        let mut leg = leg(seen);
        // Where calls were refused, others had less beside them: what those took says nothing of what was added.
        let refused = [&leg, &direct].iter().any(|leg| leg.get("refused").and_then(Value::as_u64) != Some(0));
        let added = |what: &str| {
            if refused {
                return None;
            }
            let [all, without] =
                [&leg, &direct].map(|leg| leg.pointer(&format!("/us/{what}")).and_then(Value::as_i64));
            all?.checked_sub(without?)
        };
        let added = json!({ "p50": added("p50"), "p99": added("p99") });
        if name == "direct" {
            direct = leg.clone();
        } else if let Some(leg) = leg.as_object_mut() {
            leg.insert("added_us".into(), added);
        }
        if let Some(row) = row.as_object_mut() {
            row.insert(name.into(), leg);
        }
    }
    row
}

/// How it stands after so many calls.
pub(super) fn filled(calls: u64, got: &mut Got, meter: &Meter, memory: Value) -> Value {
    let (made, ran) = (count(got.made()), count(got.ran.len()));
    let mut value = json!({
        "calls": calls,
        "refused": got.refused.len(),
        "calls_per_second": per_second(ran, got.took),
        "us": spread(&mut got.waits),
        "resident_kb": memory,
    });
    if let Some(value) = value.as_object_mut() {
        value.extend(metered(meter, made));
    }
    value
}

fn per_second(count: u64, took: Duration) -> u64 {
    count.saturating_mul(1_000_000).checked_div(microseconds(took)).unwrap_or_default()
}

/// A number of the report, or a dash.
fn number(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).filter(|value| value.is_number()).map_or_else(|| "-".to_owned(), Value::to_string)
}

pub(super) fn print(report: &Value, say: &mut dyn FnMut(&str)) {
    let list = |key: &str| report.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let [p50, p99] = ["p50", "p99"].map(|what| number(report, &format!("/bare_fdatasync_us/{what}")));
    let loads: Vec<String> =
        list("load_average").iter().map(|load| load.as_str().unwrap_or("-").to_owned()).collect();
    say(&format!(
        "one bare fdatasync of 1 KiB, same disk, same run: p50 {p50} us, p99 {p99} us; load average {}",
        loads.join(" before, ") + " after"
    ));
    let rows = list("rows");
    if !rows.is_empty() {
        print_rows(report, &rows, say);
    }
    let filled = list("memory");
    if !filled.is_empty() {
        print_filled(&filled, say);
    }
    print_accounts(report, say);
}

fn print_rows(report: &Value, rows: &[Value], say: &mut dyn FnMut(&str)) {
    let beside = report.get("beside").and_then(Value::as_str);
    say(&format!(
        "{:<6}{:>8}{:>8} {:<8}{:>9}{:>9}{:>9}{:>11}{:>11}{:>8}{:>8}{:>8}{:>9}",
        "over",
        "result",
        "callers",
        "way",
        "calls/s",
        "p50 us",
        "p99 us",
        "added p50",
        "added p99",
        "syncs",
        "gate us",
        "arb. us",
        "refused"
    ));
    for row in rows {
        for way in ["direct", "gated", "beside"] {
            let Some(leg) = row.get(way) else { continue };
            let over = row.get("over").and_then(Value::as_str).unwrap_or_default();
            let result = match row.get("long_result_bytes").and_then(Value::as_u64) {
                Some(bytes) => bytes.to_string(),
                None => "small".to_owned(),
            };
            say(&format!(
                "{over:<6}{result:>8}{:>8} {way:<8}{:>9}{:>9}{:>9}{:>11}{:>11}{:>8}{:>8}{:>8}{:>9}",
                number(row, "/callers"),
                number(leg, "/calls_per_second"),
                number(leg, "/us/p50"),
                number(leg, "/us/p99"),
                number(leg, "/added_us/p50"),
                number(leg, "/added_us/p99"),
                number(leg, "/syncs"),
                number(leg, "/gate_cpu_us_per_call"),
                number(leg, "/arbiter_cpu_us_per_call"),
                number(leg, "/refused"),
            ));
        }
    }
    say("gate us, arb. us: processor time of the gate and of the arbiter's daemon for each call");
    if let Some(beside) = beside {
        say(&format!("beside: {beside}, in front of the same tool server"));
    }
}

fn print_filled(rows: &[Value], say: &mut dyn FnMut(&str)) {
    say(&format!(
        "{:>10}{:>10}{:>9}{:>9}{:>9}{:>8}{:>8}{:>12}{:>12}",
        "calls", "calls/s", "p50 us", "p99 us", "syncs", "gate us", "arb. us", "gate KiB", "arbiter KiB"
    ));
    for row in rows {
        say(&format!(
            "{:>10}{:>10}{:>9}{:>9}{:>9}{:>8}{:>8}{:>12}{:>12}",
            number(row, "/calls"),
            number(row, "/calls_per_second"),
            number(row, "/us/p50"),
            number(row, "/us/p99"),
            number(row, "/syncs"),
            number(row, "/gate_cpu_us_per_call"),
            number(row, "/arbiter_cpu_us_per_call"),
            number(row, "/resident_kb/http-gated"),
            number(row, "/resident_kb/arbiter"),
        ));
    }
}

fn print_accounts(report: &Value, say: &mut dyn FnMut(&str)) {
    let legs = report.pointer("/accounts/legs").and_then(Value::as_object).into_iter().flatten();
    for (name, leg) in legs {
        say(&format!(
            "{name}: {} calls made, {} answered as run, {} in the tool server's journal, each once",
            number(leg, "/made"),
            number(leg, "/answered"),
            number(leg, "/in_the_journal")
        ));
        for (words, count) in leg.get("refusals").and_then(Value::as_object).into_iter().flatten() {
            say(&format!("  {count} refused: {words}"));
        }
    }
    let outcomes =
        report.pointer("/accounts/on_record/outcomes").and_then(Value::as_object).into_iter().flatten();
    let outcomes: Vec<String> = outcomes.map(|(outcome, count)| format!("{outcome} {count}")).collect();
    say(&format!(
        "gated calls that ran: {}; on record: {} PERMITs, of these {}; {} refusals",
        number(report, "/accounts/gated_calls_that_ran"),
        number(report, "/accounts/on_record/permits"),
        outcomes.join(", "),
        number(report, "/accounts/on_record/refusals")
    ));
    let memory = report.get("resident_kb").and_then(Value::as_object).into_iter().flatten();
    let memory: Vec<String> = memory.map(|(process, kb)| format!("{process} {kb}")).collect();
    say(&format!("resident memory at the end, KiB: {}", memory.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_of_a_load_was_compared_with_all_of_it() {
        let seen = |refused: &[u64]| {
            let waits = vec![Duration::from_millis(1); 3];
            Seen {
                got: Got { ran: vec![1, 2, 3], refused: refused.to_vec(), waits, ..Got::default() },
                ..Seen::default()
            }
        };
        let added = |direct: &[u64], gated: &[u64]| {
            let row = row(Over::Stdio, None, 3, &mut [seen(direct), seen(gated)]);
            row.pointer("/gated/added_us/p50").cloned().unwrap()
        };
        assert_eq!(added(&[], &[]), 0);
        assert_eq!((added(&[], &[4]), added(&[4], &[])), (Value::Null, Value::Null));
    }
}
