//! The journal of the demo's tool server.

use serde_json::{Value, json};

use super::{PAGE, Tools};

#[test]
fn a_line_of_the_journal_that_a_kill_cut_short_lay_across_two_pages() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    // Two servers write one journal.
    let mut servers = [0, 1].map(|_| Tools::open(&journal, None).unwrap());
    for turn in 0..400 {
        let arguments = json!({ "account": "a".repeat(turn), "amount": "1.00" });
        let params = json!({ "name": "charge", "arguments": arguments });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        servers[turn % 2].answer(call.to_string().as_bytes()).unwrap().unwrap();
    }
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(journal.len() > 20 * PAGE);
    let (mut start, mut lines) = (0, 0);
    for line in journal.split_inclusive('\n') {
        let end = start + line.len();
        assert_eq!(start / PAGE, (end - 1) / PAGE, "line {lines}: bytes {start} to {end}");
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["arguments"]["account"].as_str().unwrap().len(), lines);
        (start, lines) = (end, lines + 1);
    }
    assert_eq!(lines, 400);
}
