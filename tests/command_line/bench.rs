//! `portcullis bench`: `ledger`, `activation` and `mcp`.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::http::{Server, post};
use crate::support::{program, until};
use crate::{Ended, run};

#[test]
fn the_ledger_is_measured_beside_what_the_disk_takes() {
    let said = run(&["bench", "ledger", "--seconds", "1", "--callers", "1,8", "--records", "2000", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let rows = said["callers"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let mut decisions = 0;
    for row in rows {
        decisions += row["decisions"].as_u64().unwrap();
        for more_than_none in [
            "decisions_per_second",
            "p50_us",
            "p99_us",
            "bare_appends_per_second",
            "bare_inserts_per_second",
            "bare_commit_and_anchor_us",
        ] {
            assert!(row[more_than_none].as_u64() > Some(0), "{more_than_none}: {row}");
        }
        // Each batch is committed and anchored, and nothing is released before.
        let batches = row["batches"].as_u64().unwrap();
        assert!(row["syncs"].as_u64().unwrap() >= 2 * batches && batches > 0, "{row}");
    }
    let grown = said["grown"].as_array().unwrap();
    assert!(grown.len() == 1 && grown[0]["records"].as_u64() >= Some(2_000), "{said}");
    assert!(grown[0]["resident_kb"].as_u64() > Some(0) && grown[0]["bytes"].as_u64() > Some(0), "{said}");
    let opening = &said["opening"];
    assert!(opening["records"].as_u64().unwrap() > decisions, "every decision is on record: {said}");
    assert!(opening["receipt_us"]["p50"].as_u64() > Some(0), "{said}");
    assert!(opening["check_per_second"].as_u64() > Some(0), "{said}");
    for (callers, words) in [("0", "callers"), ("x", "callers")] {
        run(&["bench", "ledger", "--callers", callers]).failed(words);
    }
}

#[test]
fn an_activation_is_measured_in_a_daemon_beside_those_who_ask() {
    let said = run(&["bench", "activation", "--policies", "1200", "--seconds", "1", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert_eq!(said["policies"], 1_200);
    let phases = ["before", "during", "after"].map(|phase| &said["phases_us"][phase]);
    for spread in phases.into_iter().chain([&said["bare_fdatasync_us"]]) {
        let of = |what: &str| spread[what].as_u64().unwrap();
        assert!(of("count") > 0 && of("p50") > 0 && of("p50") <= of("p99"), "{said}");
        assert!(of("p99") <= of("longest"), "{said}");
    }
    let (in_force, ended) = (said["in_force_ms"].as_u64(), said["command_ended_ms"].as_u64());
    assert!(in_force > Some(0) && in_force <= ended, "{said}");
    for part in ["look", "offer", "arbiter", "compare"] {
        assert!(said["command_us"][part].as_u64() > Some(0), "{part}: {said}");
    }
    for stage in ["lay", "load", "try", "archive", "record"] {
        assert!(said["arbiter_us"][stage].as_u64() > Some(0), "{stage}: {said}");
    }
}

/// A third party counts too: the kernel's calls, as strace(1) sees them.
#[test]
fn the_syncs_that_are_printed_are_those_that_were_made() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(program())
        .args(["bench", "ledger", "--seconds", "1", "--callers", "4", "--json", "--directory"])
        .arg(directory.path())
        .output()
        .expect("strace, which `cargo xtask test` installs");
    let said = Ended::of(&output);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let printed = said["callers"][0]["syncs"].as_u64().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    let of_the_ledger = |line: &&str| {
        // Which of the two SQLite calls depends on how it was built.
        let syncs = line.contains("fdatasync(") || line.contains("fsync(");
        syncs && (line.contains("/ledger.db-wal>") || line.contains("/anchor>"))
    };
    let made = u64::try_from(trace.lines().filter(of_the_ledger).count()).unwrap();
    // Making it, opening it three times and closing it take some fifty more, which no row counts.
    assert!(printed > 0 && made >= printed && made <= printed + 80, "{made} made, {printed} printed");
    assert!(
        !directory.path().read_dir().unwrap().any(|entry| entry.unwrap().path().is_dir()),
        "its files are gone"
    );
}

/// An address of this machine's where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn calls_through_the_gate_are_counted_as_the_tool_servers_and_the_log_have_them() {
    let upstream = free_address().to_string();
    // The tool server itself, in the place of another gateway.
    let beside = format!("http://{upstream}/mcp");
    let said = run(&[
        "bench",
        "mcp",
        "--seconds",
        "1",
        "--callers",
        "1,5",
        "--long",
        "3000",
        "--json",
        "--upstream",
        &upstream,
        "--beside",
        &beside,
        "--beside-may-be-none",
    ]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let rows = said["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 2, "transports, results, callers: {said}");
    for row in rows {
        let ways =
            if row["over"] == "http" { &["direct", "gated", "beside"][..] } else { &["direct", "gated"] };
        for way in ways {
            let leg = &row[way];
            assert!(leg["calls"].as_u64() >= row["callers"].as_u64() && leg["refused"] == 0, "{way}: {row}");
            assert!(leg["us"]["p50"].as_u64() > Some(0), "{way}: {row}");
        }
        // Each gated call waits for its record to be durable.
        assert!(row["gated"]["syncs"].as_u64() > Some(1), "{row}");
    }
    let accounts = &said["accounts"];
    let leg = |name: &str| {
        let leg = &accounts["legs"][name];
        let made = leg["made"].as_u64().unwrap();
        assert!(made > 0 && leg["answered"] == made && leg["in_the_journal"] == made, "{name}: {accounts}");
        made
    };
    let gated = leg("stdio-gated") + leg("http-gated");
    assert!(leg("stdio-direct") > 0 && leg("http-direct") > 0 && leg("beside") > 0);
    assert_eq!(accounts["gated_calls_that_ran"], gated);
    assert_eq!(accounts["on_record"]["permits"], gated);
    assert_eq!(accounts["on_record"]["outcomes"], serde_json::json!({ "ok": gated }));
}

#[test]
fn the_tool_server_itself_was_measured_as_another_gateway() {
    let upstream = free_address();
    let (one, other) = (format!("http://{upstream}/mcp"), format!("http://localhost:{}/", upstream.port()));
    for beside in [one, other] {
        let upstream = upstream.to_string();
        let bench = ["bench", "mcp", "--seconds", "1", "--callers", "1", "--over", "http", "--long", "0"];
        let said = run(&[&bench[..], &["--upstream", &upstream, "--beside", &beside]].concat());
        said.failed("is the tool server itself");
    }
}

#[test]
fn so_many_calls_are_made_as_are_asked_for_and_memory_is_told_at_each_power_of_ten() {
    let said = run(&["bench", "mcp", "--calls", "1203", "--callers", "40", "--long", "0", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let rows = said["memory"].as_array().unwrap();
    let calls: Vec<_> = rows.iter().map(|row| row["calls"].as_u64().unwrap()).collect();
    assert_eq!(calls, [0, 1_000, 1_203]);
    for process in ["http-gated", "arbiter"] {
        assert!(rows.iter().all(|row| row["resident_kb"][process].as_u64() > Some(0)), "{said}");
    }
    assert_eq!(said["accounts"]["on_record"]["outcomes"], serde_json::json!({ "ok": 1_203 }), "{said}");
}

#[test]
fn a_call_that_went_past_the_gate_was_counted_as_gated() {
    let upstream = free_address();
    let bench = Command::new(program())
        .args(["bench", "mcp", "--seconds", "1", "--callers", "1", "--over", "http", "--long", "0", "--json"])
        .args(["--upstream", &upstream.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_balance","arguments":{"account":"http-gated-4000000000"}}}"#;
    until("the tool server", || post(&Server::Tcp(upstream.to_string()), "/mcp", "none", call).ok());
    let ended = Ended::of(&bench.wait_with_output().unwrap());
    ended.failed("the accounts of `http-gated` do not agree");
}
