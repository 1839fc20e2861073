//! What is measured: a daemon on a directory, gates in front of tool servers, and the tool servers themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portcullis_policy::bundles;
use portcullis_server::deploy;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use super::tool::{BALANCE, STATEMENT};
use super::web::Server;
use crate::DrillError;
use crate::deployment::Deployment;

/// Agents. The gate serves at most 64 calls of one at once.
pub(super) const AGENTS: usize = 8;
/// How long a process may take until it says where it listens.
const START: Duration = Duration::from_secs(30);

/// All processes of a measurement. They end with it.
pub(super) struct Place {
    pub(super) deployment: Deployment,
    pub(super) arbiter: Child,
    pub(super) tokens: Vec<String>,
    /// Bytes of a long result, if there are any.
    statement: Option<u32>,
    program: PathBuf,
}

impl Place {
    /// Sets a deployment up and starts its daemon.
    pub(super) async fn start(program: &Path, statement: Option<u32>) -> Result<Self, DrillError> {
        let agents: Vec<String> = (0..AGENTS).map(|number| format!("bench-{number}")).collect();
        let names: Vec<&str> = agents.iter().map(String::as_str).collect();
        let bundle = bundle(&agents)?;
        let deployment = Deployment::made(None, |directory| {
            let socket = format!("unix:{}", directory.join("data/arbiter.sock").display());
            let deployment = portcullis_server::Deployment {
                bundle,
                agents: &names,
                server: "demo",
                listen: "127.0.0.1:0",
                arbiter: Some(&socket),
                spool: false,
            };
            deploy(directory, &deployment)
        })?;
        let token = |agent: &String| {
            let path = deployment.directory.join(format!("keys/{agent}.token"));
            let token = std::fs::read_to_string(&path).map_err(DrillError::system("reading a token"))?;
            Ok(token.trim().to_owned())
        };
        let tokens = agents.iter().map(token).collect::<Result<_, DrillError>>()?;
        let arbiter = deployment.serve(program).await?;
        Ok(Self { deployment, arbiter, tokens, statement, program: program.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The arguments of a tool server that writes into the journal of this name.
    fn tool_server(&self, journal: &str) -> Vec<String> {
        let journal = self.journal(journal).to_string_lossy().into_owned();
        let mut arguments = vec!["__toolserver".to_owned(), "--journal".to_owned(), journal];
        if let Some(bytes) = self.statement {
            arguments.extend(["--statement".to_owned(), bytes.to_string()]);
        }
        arguments
    }

    /// Where a journal lies.
    pub(super) fn journal(&self, name: &str) -> PathBuf {
        self.deployment.directory.join(format!("{name}.jsonl"))
    }

    /// A tool server over standard streams.
    pub(super) fn direct(&self) -> Command {
        let mut command = self.command();
        command.args(self.tool_server("stdio-direct"));
        command
    }

    /// A gate over standard streams in front of one.
    pub(super) fn gated(&self) -> Result<Command, DrillError> {
        let journal = self.journal("stdio-gated");
        // The tool server is kept from making files beside what governs it.
        std::fs::write(journal, "").map_err(DrillError::system("making a journal"))?;
        let mut command = self.command();
        command.args(["mcp", "--config"]).arg(&self.deployment.config_path).arg("--").arg(&self.program);
        command.args(self.tool_server("stdio-gated"));
        Ok(command)
    }

    /// Starts a tool server over HTTP.
    pub(super) async fn tool_server_over_http(&self, at: SocketAddr) -> Result<(Child, Server), DrillError> {
        let mut command = self.command();
        command.args(self.tool_server("http")).args(["--listen", &at.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(DrillError::system("starting the tool server"))?;
        let said = listening(child.stdout.take()).await?;
        Ok((child, Server::new(&said, None)?))
    }

    /// Starts a gate over HTTP in front of one.
    pub(super) async fn gate_over_http(&self, upstream: &Server) -> Result<(Child, Server), DrillError> {
        let mut command = self.command();
        command.args(["mcp", "--config"]).arg(&self.deployment.config_path);
        command.args(["--listen", "127.0.0.1:0", "--url", upstream.url()]).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(DrillError::system("starting the gate"))?;
        let said = listening(child.stderr.take()).await?;
        Ok((child, Server::new(&said, None)?))
    }
}

/// The URL that a process says on one of its streams. What it says later is read and dropped, so that it never waits for a reader.
async fn listening<S>(stream: Option<S>) -> Result<String, DrillError>
where
    S: AsyncRead + Send + Unpin + 'static,
{
    let stream = stream.ok_or_else(|| DrillError::Answer("a process started without its pipes".into()))?;
    let mut lines = BufReader::new(stream).lines();
    let late = |_| DrillError::Answer(format!("a process did not listen within {START:?}"));
    let url = tokio::time::timeout(START, first_url(&mut lines)).await.map_err(late)??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(url)
}

async fn first_url<S: AsyncRead + Unpin>(lines: &mut Lines<BufReader<S>>) -> Result<String, DrillError> {
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.map_err(DrillError::system("reading from a process"))? {
        if let Some(at) = line.find("http://") {
            return Ok(line.split_at(at).1.to_owned());
        }
        said.push_str(&line);
    }
    Err(DrillError::Answer(format!("a process ended before it listened: {said}")))
}

/// The demo's bundle with agents that may read, and a tool whose results are long.
fn bundle(agents: &[String]) -> Result<BTreeMap<String, Vec<u8>>, DrillError> {
    let mut files = bundles::demo();
    let none = || DrillError::Answer("the demo's bundle is another".into());
    let manifest = files.get_mut("bundle.toml").ok_or_else(none)?;
    manifest.extend_from_slice(
        format!(
            "\n[surfaces.\"demo.{STATEMENT}\"]\ntier = \"read\"\non_silence = \"terminate\"\nidempotency = \"none\"\n\
             permit_ttl = \"5s\"\ncontext.account = {{ type = \"string\", from = \"/account\" }}\n"
        )
        .as_bytes(),
    );
    let schema = files.get_mut("schema.cedarschema").ok_or_else(none)?;
    schema.extend_from_slice(
        format!(
            "\naction \"demo.{STATEMENT}\"\n  appliesTo {{ principal: Agent, resource: Surface, context: {{ account: String }} }};\n"
        )
        .as_bytes(),
    );
    let entities = files.get_mut("entities.json").ok_or_else(none)?;
    let mut text = String::from_utf8_lossy(entities).trim_end().trim_end_matches(']').to_owned();
    let mut policies = String::new();
    for agent in agents {
        text.push_str(&format!(
            ", {{ \"uid\": {{ \"type\": \"Agent\", \"id\": \"{agent}\" }}, \"attrs\": {{}}, \"parents\": [] }}"
        ));
        for tool in [BALANCE, STATEMENT] {
            policies.push_str(&format!(
                "@id(\"{agent}-{tool}\")\npermit (principal == Agent::\"{agent}\", action == Action::\"demo.{tool}\", resource);\n"
            ));
        }
    }
    text.push(']');
    *entities = text.into_bytes();
    files.insert("policies/bench.cedar".into(), policies.into_bytes());
    Ok(files)
}
