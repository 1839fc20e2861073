//! Arguments of `portcullis policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_protocol::AgentId;

use super::ConfigArg;

#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Write a bundle that declares what there is and grants nothing: surfaces, schema, entities, cases that show that
    /// everything is refused, and grants in comments.
    ///
    /// Nothing that the source says of itself is relied on. What cannot have a surface is left out and named. The way from
    /// here to a signed bundle in force: docs/getting-started.md.
    Draft(DraftArgs),
}

#[derive(Args, Debug)]
#[command(
    override_usage = "portcullis policy draft -o <DIR> <--from-mcp|--from-url|--from-openapi|--from-trace> <SOURCE>"
)]
pub(crate) struct DraftArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(flatten)]
    pub(crate) source: DraftSource,
    /// The bundle's directory: new, or empty. Its name is the bundle's.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The first word of the surfaces: the name under which the gate knows the server. Default: `mcp.server` of the
    /// configuration.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// The agent that the commented grants are for. Default: `assistant`.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// A variable that the server of `--from-mcp` gets besides those of `mcp.pass_environment`. May be given again.
    #[arg(long, value_name = "NAME", requires = "from_mcp")]
    pub(crate) pass_env: Vec<String>,
    /// With `--from-url`: PEM file with the only certificate authorities that are believed. Default: the system's.
    #[arg(long, value_name = "FILE", requires = "from_url")]
    pub(crate) ca: Option<PathBuf>,
    /// With `--from-url`: file with the bearer token that the server is shown, mode 0600.
    #[arg(long, value_name = "FILE", requires = "from_url")]
    pub(crate) token_file: Option<PathBuf>,
    /// Draft only this tool or operation. May be given more than once.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is drafted from.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct DraftSource {
    /// The tools that an MCP server lists. Its command is one argument, split at blanks; quotation marks keep a word with
    /// blanks in it together. No shell reads it. It is started as a gate would start it, asked, and ended; nothing is called.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) from_mcp: Option<String>,
    /// The tools that an MCP server lists which is reached by URL: `https://HOST/PATH`, or `http://127.0.0.1:PORT/PATH`. Nothing
    /// is called.
    #[arg(long, value_name = "URL")]
    pub(crate) from_url: Option<portcullis_gate::ServerUrl>,
    /// The operations of an API: an OpenAPI 3.0 or 3.1 description in JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) from_openapi: Option<PathBuf>,
    /// Requests that were seen, in the form that `simulate --trace` reads; `-` reads standard input. The commented grants
    /// grant exactly these.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "agent", "only"])]
    pub(crate) from_trace: Option<PathBuf>,
}
