//! `portcullis bench ledger`.

use serde_json::Value;

use crate::run;

#[test]
fn the_ledger_is_measured_beside_what_the_disk_takes() {
    let said = run(&["bench", "ledger", "--seconds", "1", "--callers", "1,8", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let rows = said["callers"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let mut decisions = 0;
    for row in rows {
        decisions += row["decisions"].as_u64().unwrap();
        assert!(row["decisions_per_second"].as_u64() > Some(0) && row["p50_us"].as_u64() > Some(0), "{row}");
        // Each batch is committed and anchored, and nothing is released before.
        let batches = row["batches"].as_u64().unwrap();
        assert!(row["syncs"].as_u64().unwrap() >= 2 * batches && batches > 0, "{row}");
    }
    let records = said["opening"]["records"].as_u64().unwrap();
    assert!(records > decisions, "every decision is on record: {said}");
    assert!(said["opening"]["receipt_us"]["p50"].as_u64() > Some(0), "{said}");
    for (callers, words) in [("0", "callers"), ("x", "callers")] {
        run(&["bench", "ledger", "--callers", callers]).failed(words);
    }
}
