//! A program with a gate in it, for tests that kill it.
//!
//! `gate_host __upstream -- COMMAND…` supervises a tool server; `gate_host serve COMMAND…` is a gate in front of
//! one, whose arbiter is never reachable, so that nothing but the harmless methods gets through.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::confine::Confinement;
use portcullis_gate::{LocalServer, McpGate, ToolServer, serve, supervise};
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{ReasonCode, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Refusal, TrustedLog};

struct Unreachable;

fn unreachable<T>() -> Call<'static, T> {
    Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
}

impl Authorizer for Unreachable {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        unreachable()
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        unreachable()
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        unreachable()
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "__upstream" => supervise::run(rest),
        Some((word, rest)) if word == "serve" => host(rest.to_vec()),
        Some(_) | None => ExitCode::from(2),
    }
}

fn host(command: Vec<OsString>) -> ExitCode {
    let Some(config) = config(command) else { return ExitCode::FAILURE };
    // An example key: nothing verifies with it here.
    let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse();
    let log = key.ok().and_then(|key| TrustedLog::new(vec![key]).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(log), Ok(runtime)) = (log, runtime) else { return ExitCode::FAILURE };
    let served = runtime.block_on(serve(
        config,
        Arc::new(Unreachable),
        log,
        tokio::io::stdin(),
        tokio::io::stdout(),
        |line| drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes())),
    ));
    // Tokio's stdin reads on a thread that cannot be interrupted.
    runtime.shutdown_background();
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn config(command: Vec<OsString>) -> Option<McpGate> {
    let own = std::env::current_exe().ok()?;
    Some(McpGate {
        server: "rec".into(),
        agent: "bot".parse().ok()?,
        acts_for: None,
        gate: "gate".parse().ok()?,
        deadline: Duration::from_secs(1),
        upstream: ToolServer::Local(LocalServer {
            command,
            pass_environment: Vec::new(),
            credentials: None,
            slots: None,
            supervisor: vec![own.clone().into(), "__upstream".into()],
            confinement: Confinement { hidden: Vec::new(), kept: vec![own] },
        }),
        beside: Vec::new(),
        spool: None,
        listed_within: McpGate::LISTED_WITHIN,
        simulation: None,
    })
}
