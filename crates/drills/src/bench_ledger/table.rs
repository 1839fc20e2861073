//! The report for people.

use serde_json::Value;

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn rows<'a>(report: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    report.pointer(key).and_then(Value::as_array).into_iter().flatten()
}

/// A number of hundredths with a point in it.
fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

pub(super) fn print(report: &Value, say: &mut dyn FnMut(&str)) {
    say(&format!("{:<48}{:>10}{:>10}", "microseconds", "p50", "p99"));
    for (name, key) in [
        ("append 1 KiB and fdatasync", "/bare/fdatasync_1k_us"),
        ("insert 1 KiB into SQLite, durably", "/bare/sqlite_insert_1k_us"),
        ("the same, and one anchor", "/bare/sqlite_insert_and_anchor_us"),
        ("a receipt of any record, from the disk", "/opening/receipt_us"),
        ("a receipt of any record, from memory", "/opening/receipt_again_us"),
    ] {
        let (p50, p99) = (number(report, &format!("{key}/p50")), number(report, &format!("{key}/p99")));
        say(&format!("{name:<48}{p50:>10}{p99:>10}"));
    }
    say("");
    say(&format!(
        "{:>8}{:>12}{:>8}{:>10}{:>10}{:>7}{:>9}{:>9}{:>16}{:>16}{:>9}{:>9}",
        "callers",
        "decisions/s",
        "cpu us",
        "p50 us",
        "p99 us",
        "batch",
        "syncs",
        "batches",
        "bare appends/s",
        "bare inserts/s",
        "% of it",
        "p50/bare"
    ));
    for row in rows(report, "/callers") {
        say(&format!(
            "{:>8}{:>12}{:>8}{:>10}{:>10}{:>7}{:>9}{:>9}{:>16}{:>16}{:>9}{:>9}",
            number(row, "/callers"),
            number(row, "/decisions_per_second"),
            number(row, "/cpu_us_per_decision"),
            number(row, "/p50_us"),
            number(row, "/p99_us"),
            number(row, "/batch"),
            number(row, "/syncs"),
            number(row, "/batches"),
            number(row, "/bare_appends_per_second"),
            number(row, "/bare_inserts_per_second"),
            number(row, "/percent_of_bare_inserts"),
            hundredths(number(row, "/p50_percent_of_commit_and_anchor")),
        ));
    }
    say("");
    for row in rows(report, "/grown") {
        say(&format!(
            "{:>12} records: {} MiB in memory, {} MiB on disk; {} decisions/s, {} us of processor each",
            number(row, "/records"),
            number(row, "/resident_kb") / 1024,
            number(row, "/bytes") / (1024 * 1024),
            number(row, "/decisions_per_second"),
            number(row, "/cpu_us_per_decision"),
        ));
    }
    say(&format!(
        "opened {} records to the first PERMIT in {} ms, again in {} ms; checked {} a second, {} ns of processor each",
        number(report, "/opening/records"),
        number(report, "/opening/first_permit_us") / 1_000,
        number(report, "/opening/first_permit_again_us") / 1_000,
        number(report, "/opening/check_per_second"),
        number(report, "/opening/check_cpu_ns_per_record"),
    ));
}
