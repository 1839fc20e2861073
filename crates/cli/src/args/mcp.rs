//! Arguments of `portcullis mcp`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArg;

/// Be an MCP server over stdio that gates each call to the one behind it.
///
/// With a command of its own it gates nothing: it starts the server, asks which tools it has, and ends it. No tool is called.
#[derive(Args, Debug)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The tool server's name: the first word of its surfaces. Default: `mcp.server` of the configuration.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// A variable of this process that the tool server gets besides those of `mcp.pass_environment`. May be given again.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) pass_env: Vec<String>,
    /// The client's configuration, which names this gate: a tool server that is started is kept from it and from its backup, as
    /// from all that are where clients keep them.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client: Option<PathBuf>,
    /// Several tool servers behind this gate, instead of one command: a TOML file with a `[[server]]` for each. docs/servers.md
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "url", "server", "pass_env"])]
    pub(crate) servers: Option<PathBuf>,
    /// A tool server that is reached by URL, instead of a command: `https://HOST/PATH`, or `http://127.0.0.1:PORT/PATH`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "pass_env"])]
    pub(crate) url: Option<portcullis_gate::ServerUrl>,
    /// With `--url`: PEM file with the only certificate authorities that are believed. Default: the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) ca: Option<PathBuf>,
    /// With `--url`: file with the bearer token that the server is shown, mode 0600. The agent never sees it.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) token_file: Option<PathBuf>,
    /// With `--url`: file that says where the credential comes from that the server is shown, and in which header.
    /// docs/credentials.md
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "token_file")]
    pub(crate) credential: Option<PathBuf>,
    /// A credential that the tool server's command gets in this variable, and a file that says where it comes from. The server is
    /// started only under a PERMIT for that (`upstream.start`). The agent never sees it. May be given again. docs/credentials.md
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, requires = "command", conflicts_with_all = ["url", "servers"])]
    pub(crate) env_credential: Vec<(String, PathBuf)>,
    /// With `--env-credential`: for how long the tool server runs with it, from 120 to 86,400. Then it is stopped, and started again
    /// under another PERMIT. Default: 28,800.
    #[arg(long, value_name = "SECONDS", requires = "env_credential")]
    pub(crate) lease_seconds: Option<u64>,
    /// A credential that the gate fills in in the arguments of calls, by this name, and a file that says of which tools, in which argument,
    /// and where it comes from. The agent never sees it, and may put nothing there. May be given again. docs/credentials.md
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, conflicts_with = "servers")]
    pub(crate) argument_credential: Vec<(String, PathBuf)>,
    /// Serve agents' clients over Streamable HTTP at this address, instead of one over stdio: `http://ADDRESS:PORT/mcp`. Each
    /// request carries its agent's token. Other than loopback addresses need TLS. docs/endpoint.md
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// With `--listen`: PEM file with the certificate chain; TLS 1.3 is spoken then.
    #[arg(long, value_name = "FILE", requires_all = ["listen", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// With `--listen`: PEM file with the certificate's private key, mode 0600.
    #[arg(long, value_name = "FILE", requires_all = ["listen", "tls_cert"])]
    pub(crate) tls_key: Option<PathBuf>,
    /// With `--listen`: a host that the endpoint is known by beside its address, as clients write it. May be given again.
    #[arg(long, value_name = "HOST", requires = "listen")]
    pub(crate) host: Vec<String>,
    /// Only simulate: say of each call what would be decided, on record as a simulation, and never send it to the tool server. What would
    /// be permitted is answered from recorded examples or by the tool's output schema, marked. docs/simulation.md
    #[arg(long)]
    pub(crate) simulate: bool,
    /// With `--simulate`: recorded examples of results, one JSON object a line: `{"tool": "SERVER/TOOL", "arguments": {…}, "result": {…}}`.
    #[arg(long, value_name = "FILE", requires = "simulate")]
    pub(crate) examples: Option<PathBuf>,
    /// The tool server's command.
    #[arg(last = true, required_unless_present_any = ["url", "servers"], value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    #[command(subcommand)]
    pub(crate) tools: Option<McpCommand>,
}

/// `NAME=FILE`.
fn named_file(text: &str) -> Result<(String, PathBuf), &'static str> {
    let (name, file) = text.split_once('=').ok_or("it must be NAME=FILE")?;
    if name.is_empty() || file.is_empty() {
        return Err("it must be NAME=FILE");
    }
    Ok((name.to_owned(), file.into()))
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// Pin the tools that a server has, as it defines them now, in a bundle's directory.
    ///
    /// Each definition is kept whole in `tools/SERVER.json`, a file of the bundle. Once the bundle is signed and in force, a
    /// tool of the server that is defined otherwise, or is not there, is neither listed nor called. Look at them first:
    /// `mcp inspect`. What could be taken for another tool, or has hidden characters, is left out. docs/tool-pinning.md
    Pin(PinArgs),
    /// Say which tools a server has, and how each stands against the bundle's pins.
    List(ToolsArgs),
    /// Show a tool's definition as a person should read it: every member, and what is hidden in it.
    Inspect(InspectArgs),
    /// Show what changed in a server's tools since they were pinned, member by member. Exits 2 if something did.
    Diff(ToolsArgs),
    /// Log in to a tool server by URL with OAuth, once, and store what the gate shows it from then on.
    ///
    /// Finds out who gives tokens for the server, prints the URL at which a person says yes, and waits for the browser to come
    /// back to a port of this machine. The tokens are written to a file of mode 0600, and never printed. A gate shows and refreshes
    /// them: `oauth = { store = "FILE" }` in the file of `--credential`, or in the servers' file. docs/credentials.md
    Login(LoginArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// The tool server: `https://HOST/PATH`, or `http://127.0.0.1:PORT/PATH`, as the gate will be given it.
    #[arg(long, value_name = "URL")]
    pub(crate) url: portcullis_gate::ServerUrl,
    /// The file that the tokens are stored in. It is made, or replaced if it is one of an earlier login.
    #[arg(long, value_name = "FILE")]
    pub(crate) store: PathBuf,
    /// PEM file with the only certificate authorities that are believed, of the tool server and of who gives its tokens. They
    /// are stored too. Default: the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The id of a client that was registered by hand, as a native one without a secret, with `http://127.0.0.1/callback` as its
    /// redirection. Default: the client makes itself known, where that is allowed.
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A scope to ask for. May be given again. Default: those that the server says it needs.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,
    /// Only print the URL, and start no browser.
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// How long the browser is waited for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) wait_seconds: u64,
}

/// Which server to ask.
#[derive(Args, Debug)]
pub(crate) struct ServerArg {
    /// The tool server's command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    pub(crate) server: ServerArg,
    /// The bundle's directory. Default: the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Pin only this tool; the server has no others then. May be given more than once.
    #[arg(long, value_name = "TOOL")]
    pub(crate) only: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ToolsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArg,
    /// The directory or file of the bundle with the pins. Default: the bundle in force.
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The tool's name, as the server has it.
    pub(crate) tool: String,
    #[command(flatten)]
    pub(crate) tools: ToolsArgs,
}
