//! Beginning and end: what a gate refuses to start with, and that nothing outlives it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use portcullis_gate::{GateError, serve};
use portcullis_protocol::Outcome;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

use super::PATIENCE;
use super::arbiter::TestArbiter;
use super::receipts::trusted;
use super::support::{Gate, config, example, local, table, told};

#[tokio::test]
async fn a_gate_does_not_start_without_what_makes_it_one() {
    async fn refused(change: impl FnOnce(&mut portcullis_gate::McpGate)) -> GateError {
        let mut config = config(vec!["cat".into()]);
        change(&mut config);
        let arbiter = TestArbiter::new(table(1));
        serve(config, arbiter, trusted(), tokio::io::empty(), tokio::io::sink(), |_| {}).await.unwrap_err()
    }
    assert!(matches!(refused(|c| c.server = "a.b".into()).await, GateError::ServerName(_)));
    assert!(matches!(refused(|c| c.server = "A".into()).await, GateError::ServerName(_)));
    assert!(matches!(refused(|c| c.server = String::new()).await, GateError::ServerName(_)));
    assert!(matches!(refused(|c| local(c).command.clear()).await, GateError::NoCommand));
    assert!(matches!(refused(|c| local(c).supervisor.clear()).await, GateError::NoSupervisor));
    assert!(matches!(
        refused(|c| local(c).supervisor = vec!["/nonexistent".into()]).await,
        GateError::Start(_)
    ));
    let own = |c: &mut portcullis_gate::McpGate| local(c).pass_environment = vec!["PORTCULLIS_TOKEN".into()];
    assert!(matches!(refused(own).await, GateError::PassEnvironment(_)));
}

#[tokio::test]
async fn a_tool_server_that_does_not_read_holds_up_neither_the_client_nor_the_end() {
    let mut gate = Gate::with(|config| local(config).command = vec!["sleep".into(), "1000".into()]);
    let big = "x".repeat(1 << 20);
    for id in 0..3 {
        gate.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","params":{{"a":"{big}"}}}}"#))
            .await;
    }
    assert_eq!(super::support::code(&gate.ask("[]").await), "request.malformed");
    let (ending, rest) = gate.close().await;
    assert_eq!(ending.unreported, 0);
    assert_eq!(rest.len(), 3);
}

#[tokio::test]
async fn when_the_client_goes_what_runs_ends_and_is_reported() {
    let mut gate = Gate::start();
    gate.call(1, "silent", "{}").await;
    gate.journal().await;
    let arbiter = std::sync::Arc::clone(&gate.arbiter);
    let (ending, rest) = gate.close().await;
    assert_eq!(ending.unreported, 0);
    assert_eq!(arbiter.reported(), [Outcome::Unknown]);
    assert_eq!(rest.len(), 1);
    assert_eq!(told(&rest[0])["outcome"], "unknown");
}

/// A tool server with a child in a session of its own; both ignore what asks them to end.
const STUBBORN: &str = r#"trap '' TERM INT HUP
setsid sh -c 'echo "descendant $$" >&2; exec sleep 1000' &
echo "server $$" >&2
exec sleep 1000"#;

/// The descendant and the server.
fn pids(stderr: impl Read) -> Vec<Pid> {
    let mut lines: Vec<String> = BufReader::new(stderr).lines().map(Result::unwrap).take(2).collect();
    lines.sort();
    let number = |line: &String| line.rsplit(' ').next().unwrap().parse().unwrap();
    lines.iter().map(|line| Pid::from_raw(number(line)).unwrap()).collect()
}

/// Waits until a process is gone. A zombie, which only waits to be reaped by another, is.
fn gone(pid: Pid) {
    let until = std::time::Instant::now() + PATIENCE;
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    while test_kill_process(pid).is_ok() {
        let zombie = std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        if zombie {
            return;
        }
        assert!(std::time::Instant::now() < until, "{pid:?} lives on");
        std::thread::yield_now();
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(example("gate_host"))
        .args(arguments)
        .args(["sh", "-c", STUBBORN])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killing_the_gate_kills_the_tool_server_and_its_descendants() {
    let mut gate = start(&["serve"]);
    let pids = pids(gate.stderr.take().unwrap());
    assert_eq!(pids.len(), 2);
    pids.iter().for_each(|pid| assert!(test_kill_process(*pid).is_ok()));
    gate.kill().unwrap();
    gate.wait().unwrap();
    pids.into_iter().for_each(gone);
}

#[test]
fn killing_the_gates_process_group_leaves_somebody_to_end_the_tool_server() {
    let mut gate = start(&["serve"]);
    let pids = pids(gate.stderr.take().unwrap());
    let own = Pid::from_raw(i32::try_from(gate.id()).unwrap()).unwrap();
    kill_process_group(own, Signal::KILL).unwrap();
    gate.wait().unwrap();
    pids.into_iter().for_each(gone);
}

#[test]
fn a_gate_that_ends_in_good_order_leaves_nobody_behind() {
    let mut gate = start(&["serve"]);
    let pids = pids(gate.stderr.take().unwrap());
    drop(gate.stdin.take());
    assert!(gate.wait().unwrap().success());
    pids.into_iter().for_each(gone);
}

#[test]
fn a_supervisor_that_is_told_to_end_leaves_nobody_behind() {
    let mut supervisor = start(&["__upstream", "--unconfined", "--"]);
    let pids = pids(supervisor.stderr.take().unwrap());
    let own = Pid::from_raw(i32::try_from(supervisor.id()).unwrap()).unwrap();
    kill_process(own, Signal::TERM).unwrap();
    assert_eq!(supervisor.wait().unwrap().code(), Some(128 + 9));
    pids.into_iter().for_each(gone);
}

#[test]
fn a_supervisor_that_is_killed_takes_its_server_along() {
    let mut supervisor = start(&["__upstream", "--unconfined", "--"]);
    let pids = pids(supervisor.stderr.take().unwrap());
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let [descendant, server] = pids.try_into().unwrap();
    gone(server);
    // Nobody is left to end what the server started in a session of its own.
    kill_process(descendant, Signal::KILL).unwrap();
}

#[test]
fn a_supervisor_ends_with_its_server_and_says_how() {
    let run = |script: &str| {
        let mut command = Command::new(example("gate_host"));
        command.args(["__upstream", "--unconfined", "--", "sh", "-c", script]).stdin(Stdio::null());
        command.output().unwrap()
    };
    assert_eq!(run("exit 7").status.code(), Some(7));
    assert_eq!(run("kill -9 $$").status.code(), Some(137));
    let left = run("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    assert_eq!(left.status.code(), Some(0));
    let pid: i32 = String::from_utf8(left.stdout).unwrap().trim().parse().unwrap();
    gone(Pid::from_raw(pid).unwrap());
}

#[test]
fn a_supervisor_of_a_gate_that_is_gone_starts_nothing() {
    let marker = tempfile::tempdir().unwrap();
    let touched = marker.path().join("touched");
    let mut command = Command::new(example("gate_host"));
    command.args(["__upstream", "--unconfined", "--", "touch"]).arg(&touched).env("PORTCULLIS_GATE_PID", "1");
    assert_eq!(command.status().unwrap().code(), Some(126));
    assert!(!touched.exists());
}
