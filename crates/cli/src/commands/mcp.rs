//! `portcullis mcp`

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::McpGate;
use portcullis_sdk::{Authorizer, HttpAuthorizer};
use portcullis_server::config::GateConfig;
use portcullis_server::{Config, ConfigError, Node};

use crate::args::McpArgs;
use crate::commands::{gate_runtime, wait_for_signal};
use crate::say;

/// How long calls without a deadline of their own may take: surfaces and outcome reports.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: McpArgs) -> ExitCode {
    let read =
        Config::read(&args.config.config).and_then(|config| Ok((config.gate()?, config.mcp()?, config)));
    let (gate, (server, pass_environment), config) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let supervisor = match supervisor() {
        Ok(supervisor) => supervisor,
        Err(error) => return say::error(&error),
    };
    let mcp = McpGate {
        server: args.server.unwrap_or(server),
        agent: gate.agent.clone(),
        gate: gate.name.clone(),
        deadline: gate.deadline,
        command: args.command,
        pass_environment,
        supervisor,
        spool: gate.spool.clone(),
    };
    match gate_runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(gated(mcp, gate, &config));
            // Standard input is read on a thread that cannot be woken; it must not hold the process up.
            runtime.shutdown_background();
            code
        }
        Err(error) => say::error(&error),
    }
}

/// This very program, as the process between gate and tool server.
fn supervisor() -> std::io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into(), "__upstream".into(), "--".into()])
}

/// The arbiter that the configuration names: one elsewhere, or the data directory's.
enum Arbiter {
    Remote(Arc<HttpAuthorizer>),
    Node(Arc<Node>),
}

async fn gated(mcp: McpGate, gate: GateConfig, config: &Config) -> ExitCode {
    let arbiter = match connect(&gate, config) {
        Ok(arbiter) => arbiter,
        Err(code) => return code,
    };
    let authorizer: Arc<dyn Authorizer> = match &arbiter {
        Arbiter::Remote(remote) => remote.clone(),
        Arbiter::Node(node) => node.clone(),
    };
    let session =
        portcullis_gate::serve(mcp, authorizer, gate.log, tokio::io::stdin(), tokio::io::stdout(), |line| {
            say::note(&line)
        });
    let code = tokio::select! {
        ended = session => match ended {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => say::error(&error),
        },
        // Dropping the session ends the tool server; what was permitted and not reported ends as `unknown`.
        () = wait_for_signal() => ExitCode::SUCCESS,
    };
    if let Arbiter::Node(node) = arbiter {
        // Tasks of the session that are just being ended may still hold it.
        node.leave().await;
    }
    code
}

fn connect(gate: &GateConfig, config: &Config) -> Result<Arbiter, ExitCode> {
    if let Some(endpoint) = &gate.arbiter {
        let remote = HttpAuthorizer::new(endpoint.clone(), gate.token.clone(), PATIENCE);
        return Ok(Arbiter::Remote(Arc::new(remote)));
    }
    let arbiter = config.arbiter().map_err(|error: ConfigError| say::error(&error))?;
    match Node::join(arbiter, gate.token.clone(), PATIENCE) {
        Ok(node) => Ok(Arbiter::Node(Arc::new(node))),
        Err(error) => Err(say::error(&error)),
    }
}
