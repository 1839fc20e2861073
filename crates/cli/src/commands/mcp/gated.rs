//! `portcullis mcp -- COMMAND`: the gate itself.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::{
    Credential, CredentialSource, EnvironmentCredentials, Examples, LocalServer, McpGate, NamedServer,
    RemoteServer, ServerUrl, ToolServer, Trust, give_back,
};
use portcullis_sdk::{Authorities, Authorizer, Endpoint, HttpAuthorizer};
use portcullis_server::config::{
    CredentialConfig, EnvironmentConfig, GateConfig, Governing, Reached, ServerConfig, ServersConfig,
    SlotsConfig, read_access,
};
use portcullis_server::{Config, ConfigError, Node};

use super::served::{self, Door};
use crate::args::McpArgs;
use crate::commands::{confinement, gate_runtime, supervisor, wait_for_signal};
use crate::say;

/// How long calls without a deadline of their own may take: surfaces and outcome reports.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long giving back what the gate was lent may take: whoever ends the gate waits for it.
const GIVING_BACK: Duration = Duration::from_secs(5);

/// Longest file of examples, in bytes: it is read whole.
const LARGEST_EXAMPLES: usize = 16 * 1024 * 1024;

pub(super) fn run(args: McpArgs) -> ExitCode {
    let read = Config::read(&args.config.config).and_then(|config| Ok((config.gate()?, config)));
    let (gate, config) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let (first, beside) = match behind(&args, &config) {
        Ok(behind) => behind,
        Err(code) => return code,
    };
    let mut mcp = McpGate {
        server: first.name,
        agent: gate.agent.clone(),
        acts_for: gate.acts_for.clone(),
        gate: gate.name.clone(),
        deadline: gate.deadline,
        upstream: first.server,
        beside,
        spool: gate.spool.clone(),
        listed_within: McpGate::LISTED_WITHIN,
        simulation: None,
    };
    if args.simulate {
        match examples(&args, &mcp) {
            Ok(examples) => mcp.simulation = Some(examples),
            Err(code) => return code,
        }
    }
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

/// The examples that a gate which only simulates answers with; none if no file is named.
fn examples(args: &McpArgs, mcp: &McpGate) -> Result<Arc<Examples>, ExitCode> {
    let Some(file) = &args.examples else { return Ok(Arc::default()) };
    let text = std::fs::read(file)
        .map_err(|error| say::misuse(&format!("`{}` cannot be read: {error}", file.display())))?;
    if text.len() > LARGEST_EXAMPLES {
        let most = LARGEST_EXAMPLES / (1024 * 1024);
        return Err(say::misuse(&format!("`{}` is larger than {most} MiB", file.display())));
    }
    let mut servers: Vec<String> = mcp.beside.iter().map(|server| server.name.clone()).collect();
    servers.push(mcp.server.clone());
    let read = Examples::read(&text, &servers);
    read.map(Arc::new).map_err(|error| say::misuse(&format!("`{}`, {error}", file.display())))
}

/// The tool server that is to be behind the gate, and those beside it.
fn behind(args: &McpArgs, config: &Config) -> Result<(NamedServer, Vec<NamedServer>), ExitCode> {
    if let Some(file) = &args.servers {
        return several(args, file, config);
    }
    let (name, passed) = config.mcp().map_err(|error| say::error(&error))?;
    let name = args.server.clone().unwrap_or(name);
    Ok((NamedServer { name, server: upstream(args, passed, config)? }, Vec::new()))
}

/// The tool servers that a file declares. Each that is started is kept from the file, and from the others' tokens.
fn several(
    args: &McpArgs,
    file: &Path,
    config: &Config,
) -> Result<(NamedServer, Vec<NamedServer>), ExitCode> {
    let read = ServersConfig::read(file).map_err(|error| say::error(&error))?;
    let mut governing = governing(args, config);
    governing.hidden.extend(read.hidden);
    governing.kept.extend(read.kept);
    let mut servers = Vec::new();
    for ServerConfig { name, reached, slots } in read.servers {
        let server = match reached {
            Reached::Url { url, authorities, credential } => {
                ToolServer::Remote(RemoteServer { slots, ..remote(&url, authorities, credential) })
            }
            Reached::Command { command, pass_environment, hide, credentials } => {
                let mut governing = governing.clone();
                governing.hidden.extend(hide);
                let command = command.into_iter().map(Into::into).collect();
                let local = local(args, (command, credentials), pass_environment, governing)?;
                ToolServer::Local(LocalServer { slots, ..local })
            }
        };
        servers.push(NamedServer { name, server });
    }
    let mut servers = servers.into_iter();
    let first = servers.next().ok_or_else(|| say::misuse("the file declares no server"))?;
    Ok((first, servers.collect()))
}

/// The tool server that the arguments name.
fn upstream(
    args: &McpArgs,
    mut pass_environment: Vec<String>,
    config: &Config,
) -> Result<ToolServer, ExitCode> {
    if let Some(url) = &args.url {
        let mut server = server_at(url, args.ca.as_deref(), args.token_file.as_deref())?;
        if let Some(file) = &args.credential {
            let read = CredentialConfig::read(file).map_err(|error| say::error(&error))?;
            server.credential = Some(read.credential);
        }
        server.slots = filled(args)?.map(|read| read.slots);
        return Ok(ToolServer::Remote(server));
    }
    pass_environment.extend(args.pass_env.iter().cloned());
    let mut governing = governing(args, config);
    let credentials = given(args, &mut governing)?;
    let slots = filled(args)?.map(|read| {
        governing.hidden.extend(read.hidden);
        governing.kept.extend(read.kept);
        read.slots
    });
    let local = local(args, (args.command.clone(), credentials), pass_environment, governing)?;
    Ok(ToolServer::Local(LocalServer { slots, ..local }))
}

/// What the arguments have filled in in the arguments of calls.
fn filled(args: &McpArgs) -> Result<Option<SlotsConfig>, ExitCode> {
    if args.argument_credential.is_empty() {
        return Ok(None);
    }
    SlotsConfig::read(&args.argument_credential).map(Some).map_err(|error| say::error(&error))
}

/// The credentials that the arguments have in the server's environment. It is kept from where they come from.
fn given(args: &McpArgs, governing: &mut Governing) -> Result<Option<EnvironmentCredentials>, ExitCode> {
    if args.env_credential.is_empty() {
        return Ok(None);
    }
    let read = EnvironmentConfig::read(&args.env_credential, args.lease_seconds);
    let read = read.map_err(|error| say::error(&error))?;
    governing.hidden.extend(read.hidden);
    governing.kept.extend(read.kept);
    Ok(Some(read.credentials))
}

/// What governs tool servers.
fn governing(args: &McpArgs, config: &Config) -> Governing {
    let mut governing = config.governing();
    // The endpoint's key, as the configuration's: a server has no use for it.
    governing.hidden.extend(args.tls_key.as_deref().and_then(|key| std::path::absolute(key).ok()));
    governing
}

fn local(
    args: &McpArgs,
    (command, credentials): (Vec<OsString>, Option<EnvironmentCredentials>),
    pass_environment: Vec<String>,
    governing: Governing,
) -> Result<LocalServer, ExitCode> {
    let started =
        supervisor().and_then(|supervisor| Ok((supervisor, confinement(governing, args.client.as_deref())?)));
    let (supervisor, confinement) = started.map_err(|error| say::error(&error))?;
    Ok(LocalServer { command, pass_environment, credentials, slots: None, supervisor, confinement })
}

/// A tool server that is reached by URL, with what the files say by which it is known, and the gate to it.
pub(in crate::commands) fn server_at(
    url: &ServerUrl,
    ca: Option<&Path>,
    token_file: Option<&Path>,
) -> Result<RemoteServer, ExitCode> {
    let access = read_access(("--ca", ca), ("--token-file", token_file));
    let authorities = access.map_err(|error| say::error(&error))?.authorities;
    // It is read anew for each message; that it can be was seen now.
    let credential = token_file.map(|file| CredentialConfig::token_file(file).credential);
    Ok(remote(url, authorities, credential))
}

fn remote(url: &ServerUrl, authorities: Option<Authorities>, credential: Option<Credential>) -> RemoteServer {
    let trust = authorities.map_or(Trust::System, Trust::Authorities);
    RemoteServer { url: url.clone(), trust, credential, slots: None }
}

/// Gives back what the gate was lent, when nothing is shown any more.
pub(super) async fn end(sources: &[Arc<CredentialSource>]) {
    for why in give_back(sources, GIVING_BACK).await {
        say::note(&format!(
            "the lease of a credential could not be given back, and runs out by itself: {why}"
        ));
    }
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
    let sources = mcp.credential_sources();
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
    end(&sources).await;
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
