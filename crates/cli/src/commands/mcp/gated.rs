//! `portcullis mcp -- COMMAND`: the gate itself.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::{LocalServer, McpGate, RemoteServer, ServerUrl, ToolServer, Trust};
use portcullis_sdk::{Authorizer, Endpoint, HttpAuthorizer};
use portcullis_server::config::{GateConfig, read_access};
use portcullis_server::{Access, Config, ConfigError, Node};

use super::served::{self, Door};
use crate::args::McpArgs;
use crate::commands::{confinement, gate_runtime, supervisor, wait_for_signal};
use crate::say;

/// How long calls without a deadline of their own may take: surfaces and outcome reports.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: McpArgs) -> ExitCode {
    let read =
        Config::read(&args.config.config).and_then(|config| Ok((config.gate()?, config.mcp()?, config)));
    let (gate, (server, pass_environment), config) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let upstream = match upstream(&args, pass_environment, &config) {
        Ok(upstream) => upstream,
        Err(code) => return code,
    };
    let mcp = McpGate {
        server: args.server.unwrap_or(server),
        agent: gate.agent.clone(),
        acts_for: gate.acts_for.clone(),
        gate: gate.name.clone(),
        deadline: gate.deadline,
        upstream,
        spool: gate.spool.clone(),
        listed_within: McpGate::LISTED_WITHIN,
    };
    if let Some(listen) = args.listen {
        let door = Door { listen, tls: (args.tls_cert, args.tls_key), hosts: args.host };
        return served::run(mcp, gate, &config, door);
    }
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

/// The tool server that is to be behind the gate.
fn upstream(
    args: &McpArgs,
    mut pass_environment: Vec<String>,
    config: &Config,
) -> Result<ToolServer, ExitCode> {
    if let Some(url) = &args.url {
        return server_at(url, args.ca.as_deref(), args.token_file.as_deref()).map(ToolServer::Remote);
    }
    pass_environment.extend(args.pass_env.iter().cloned());
    let mut governing = config.governing();
    // The endpoint's key, as the configuration's: the server has no use for it.
    governing.hidden.extend(args.tls_key.as_deref().and_then(|key| std::path::absolute(key).ok()));
    let started =
        supervisor().and_then(|supervisor| Ok((supervisor, confinement(governing, args.client.as_deref())?)));
    let (supervisor, confinement) = started.map_err(|error| say::error(&error))?;
    let command = args.command.clone();
    Ok(ToolServer::Local(LocalServer { command, pass_environment, supervisor, confinement }))
}

/// A tool server that is reached by URL, with what the files say by which it is known, and the gate to it.
pub(in crate::commands) fn server_at(
    url: &ServerUrl,
    ca: Option<&Path>,
    token_file: Option<&Path>,
) -> Result<RemoteServer, ExitCode> {
    let access = read_access(("--ca", ca), ("--token-file", token_file));
    let Access { authorities, token } = access.map_err(|error| say::error(&error))?;
    let trust = authorities.map_or(Trust::System, Trust::Authorities);
    Ok(RemoteServer { url: url.clone(), trust, token })
}

/// The arbiter that the configuration names: one elsewhere, or the data directory's.
pub(super) enum Arbiter {
    Remote(Arc<HttpAuthorizer>, Endpoint),
    Node(Arc<Node>),
}

async fn gated(mcp: McpGate, gate: GateConfig, config: &Config) -> ExitCode {
    let arbiter = match connect(&gate, config) {
        Ok(arbiter) => arbiter,
        Err(code) => return code,
    };
    let authorizer: Arc<dyn Authorizer> = match &arbiter {
        Arbiter::Remote(remote, _) => remote.clone(),
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

pub(super) fn connect(gate: &GateConfig, config: &Config) -> Result<Arbiter, ExitCode> {
    if let Some(endpoint) = &gate.arbiter {
        let remote = HttpAuthorizer::new(endpoint.clone(), gate.token.clone(), PATIENCE);
        return Ok(Arbiter::Remote(Arc::new(remote), endpoint.clone()));
    }
    let arbiter = config.arbiter().map_err(|error: ConfigError| say::error(&error))?;
    match Node::join(arbiter, gate.token.clone(), PATIENCE) {
        Ok(node) => Ok(Arbiter::Node(Arc::new(node))),
        Err(error) => Err(say::error(&error)),
    }
}
