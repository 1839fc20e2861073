//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod bench;
mod bundle;
mod evidence;
mod explain;
mod governance;
mod log;
mod mcp;
mod policy;
mod prove;
mod simulate;
mod wrap;

pub(crate) use bench::{BenchArgs, BenchCommand, BenchMcpArgs, OverArg};
pub(crate) use bundle::{BundleArgs, BundleCommand, RootCommand, RootSays, VouchArgs};
pub(crate) use evidence::{
    EvidenceArgs, EvidenceCommand, FormArgs, ReceiptFormat, ReceiptsArgs, ReceiptsCommand, VerifyArgs,
};
pub(crate) use explain::ExplainArgs;
pub(crate) use governance::{GovernanceArgs, GovernanceCommand};
pub(crate) use log::{AbandonArgs, CheckArgs, LogArgs, LogCommand, ReplayArgs};
pub(crate) use mcp::{InspectArgs, LoginArgs, McpArgs, McpCommand, PinArgs, ToolsArgs};
pub(crate) use policy::{DraftArgs, DraftSource, PolicyArgs, PolicyCommand};
pub(crate) use prove::{DiffArgs, ProveArgs, SolverArgs};
pub(crate) use simulate::SimulateArgs;
pub(crate) use wrap::{Edits, WrapArgs};

/// The fail-closed execution layer between AI agents and everything they can do.
///
/// An action runs only after an explicit, recorded, signed, verified PERMIT for that very action.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub(crate) struct ConfigArg {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "portcullis.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job, with faults, in one run. Needs nothing else.
    Demo(DemoArgs),
    /// Set up a deployment: configuration, keys, a starter bundle, signed and pinned.
    Init(InitArgs),
    Mcp(Box<McpArgs>),
    /// Put the gate before the servers in a client's configuration, or take it out again.
    ///
    /// Each server that the client starts is started through `portcullis mcp` from then on. Comments and form of the file
    /// stay; what it was is kept beside it, as `FILE.before-portcullis`. What is not understood is refused, and then nothing
    /// is changed. Without FILE it lists the configurations that are here. Nothing that a wrapped server offers runs before
    /// the bundle names its tools and grants them. More: docs/clients.md.
    Wrap(WrapArgs),
    /// Serve the arbiter over HTTP and the data directory's socket.
    Serve(ServeArgs),
    /// Decide one request. Exits 0 on PERMIT, 3 on DENY, 4 on SILENCE, 1 on misuse.
    Decide(DecideArgs),
    /// Verify receipts and evidence packs offline, with nothing but a public key. Exits 0 if all verify, 1 if one does not, and 2 if
    /// all do, but for the signatures of a pack's bundles, which nobody asked for.
    Verify(VerifyArgs),
    /// Erase what is kept of an agent's requests and results.
    Payloads(PayloadsArgs),
    /// Be a witness of other people's logs: cosign their checkpoints as long as the logs only grow.
    Witness(WitnessArgs),
    /// Look at the decisions on record and take out their receipts.
    Receipts(ReceiptsArgs),
    /// Take the log out as static files, and verify what was taken out.
    Log(LogArgs),
    /// Make one file with the receipts of a time, and the proof that none is left out.
    Evidence(EvidenceArgs),
    /// Make, check, sign, compare and pin policy bundles.
    Bundle(BundleArgs),
    /// Draft a bundle from what there is.
    Policy(Box<PolicyArgs>),
    /// Say in plain words what decided, and what would make it a PERMIT. The receipt is verified first.
    ///
    /// With the bundle that decided at hand it shows the policies; with the request at hand, and nothing that grants it, the
    /// grants that come nearest and what of each does not hold. Exits 1 if the receipt does not verify.
    Explain(ExplainArgs),
    /// Say what policy would say under another bundle of what was asked, before that bundle decides anything.
    ///
    /// Nothing is decided, executed, signed or written. What depends on more than policy (idempotency keys, a shut gate,
    /// approvals that were given) is not simulated. Exits 0 whatever changes. The form of a trace: docs/simulation.md.
    Simulate(SimulateArgs),
    /// Say what a bundle's owners answer for: exceptions, sources of facts, and what each surface asks for.
    Governance(GovernanceArgs),
    /// Make keys and tokens, and show what verifies them.
    Keys(KeysArgs),
    /// Look at PERMITs of which nobody knows what became, and say what a person found out.
    Outcomes(OutcomesArgs),
    /// Say what is shut now, and why. Exits 0 if a PERMIT could be issued, 1 otherwise.
    Status(StatusArgs),
    /// Shut the gate: from the next decision on, nothing is permitted.
    Shut(ShutArgs),
    /// Open the gate that `shut` has shut.
    Open(ConfigArg),
    /// Measure what a decision costs: a tool call direct and through the gate, or the ledger alone.
    Bench(BenchArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Stand between gate and tool server, so that the server ends when the gate does.
    #[command(name = "__upstream", hide = true)]
    Upstream(UpstreamArgs),
    /// The demo's tool server.
    #[command(name = "__toolserver", hide = true)]
    Toolserver(ToolserverArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the demo's files in this directory, which must not exist yet.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Print one JSON object a step instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The directory to set up.
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

/// Runs apart from the logs that it witnesses: another machine, another operator. Speaks c2sp.org/tlog-witness:
/// `POST /add-checkpoint`, and `GET /<SHA-256 of the origin>/checkpoint` for monitors. The section `[witness]` of the
/// configuration says where it listens, which logs it serves, and where it keeps what it has seen.
#[derive(Args, Debug)]
pub(crate) struct WitnessArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Says that this witness never saw the log of this name, and ends. Once for each log, before it is served: a state that
    /// is missing later is no empty one.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) begin: Option<portcullis_verify::KeyName>,
}

#[derive(Args, Debug)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The request, as `POST /v1/decisions` takes it in `request`; `-` reads standard input.
    ///
    /// The decision is real: a PERMIT is recorded and consumes its key. This command runs nothing and cannot
    /// know what is done with it, so the PERMIT ends as `unknown`.
    pub(crate) request: PathBuf,
    /// What the request's `payload` is the digest of, for surfaces that have arguments kept: the members `server`, `method`,
    /// `name`, `arguments` and `rest` of a JSON object, each a string.
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PayloadsArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: PayloadsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PayloadsCommand {
    /// Open what is kept of a request, with its arguments where the bundle has them kept, or of a result, and hold it against
    /// its record.
    ///
    /// It takes the vault's key, on this machine; nothing on record says that somebody looked. What does not agree with
    /// its record is not shown. Exits 1 if there is nothing to show.
    Show {
        /// Index of the decision's or the outcome's record.
        seq: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Destroy the key under which an agent's requests and results are kept, or what a source of facts gave. It cannot be taken
    /// back.
    ///
    /// Every proof stays valid, the records that they are of stay in clear, and the erasure is itself on record.
    /// What the agent does from now on is kept under a new key, and what the source gives from now on is kept again.
    /// docs/payloads.md says what backups still hold.
    Erase(EraseArgs),
}

#[derive(Args, Debug)]
pub(crate) struct EraseArgs {
    /// The agent.
    #[arg(long, value_name = "AGENT", required_unless_present = "facts", conflicts_with = "facts")]
    pub(crate) subject: Option<String>,
    /// The source of facts, as `[facts.NAME]` names it. Decisions that were made by what it gave cannot be replayed then.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) facts: Option<String>,
    /// Why, for the record, where it stays in clear.
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) operator: OperatorArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a signing key in a new file, mode 0600, and print what verifies it.
    Generate {
        /// The new file.
        file: PathBuf,
        /// The key's name, such as `example.org/portcullis`. For a log it is the log's origin.
        #[arg(long)]
        name: String,
        /// Make a key that cosigns checkpoints: a witness's, or a log's second one. Without this, an Ed25519 key that
        /// signs logs and bundles.
        #[arg(long, value_enum, value_name = "KIND")]
        cosigner: Option<CosignerArg>,
    },
    /// Print the verifier key of a signing key.
    Show {
        /// The signing key's file. Default: the log's verifier key of the configuration.
        file: Option<PathBuf>,
        /// Instead, an Ed25519 public key that another program made: its 32 bytes, in hexadecimal.
        #[arg(long, value_name = "HEX", requires = "name", conflicts_with = "file")]
        public: Option<String>,
        /// The name that this public key signs under.
        #[arg(long, requires = "public")]
        name: Option<String>,
    },
    /// Put a new key in the place of the log's, in two steps between which both sign.
    ///
    /// Takes effect when the arbiter is started again. Between the steps, give the new verifier key to all who check
    /// receipts: gates elsewhere believe nothing that only a key signed which they do not know.
    Rotate {
        /// End the rotation: from now on the new key signs alone. No arbiter may run.
        #[arg(long)]
        finish: bool,
    },
    /// Let a key that signed this log before count for nothing any more, because it was stolen.
    ///
    /// Receipts that only it signed are refused from then on; `portcullis receipts export` proves them anew.
    Revoke {
        /// The verifier key.
        key: String,
    },
    /// Make a bearer token for an agent: its digest goes into the configuration, the token into a new file.
    Agent {
        /// The agent's name.
        name: String,
    },
    /// Make a bearer token for an auditor, who may read the whole log over HTTP and nothing else.
    Auditor {
        /// The auditor's name.
        name: String,
    },
    /// Make a bearer token for an operator, a person who gives orders: digest into the configuration, token into a
    /// new file.
    Operator {
        /// The operator's name, as the log will have it.
        name: String,
    },
    /// Show the identity providers that the arbiter believes, and how old their keys are.
    Issuers,
}

/// By which token an operator gives orders.
#[derive(Args, Debug)]
pub(crate) struct OperatorArg {
    /// The file with the operator's token. Default: `operator.token_file` of the configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct OutcomesArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: OutcomesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutcomesCommand {
    /// List PERMITs whose outcome is unknown and that need a person, oldest first.
    Unknown {
        /// Those of `read` tier that block no key too. They need nobody.
        #[arg(long)]
        all: bool,
        /// Print JSON, one PERMIT a line.
        #[arg(long)]
        json: bool,
    },
    /// Put on record what became of a PERMIT whose outcome is unknown. Find out before; it cannot be taken back.
    Resolve {
        /// Its attempt, or the beginning of it.
        attempt: String,
        /// What became of it. `not-run` gives its key back: the same may then be permitted again.
        #[arg(long = "as", value_name = "OUTCOME")]
        outcome: ResolvedAs,
        /// How you know, for the record, where it stays in clear.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        operator: OperatorArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What a person found out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ResolvedAs {
    /// It ran and succeeded.
    Ok,
    /// It ran and failed.
    Failed,
    /// Nothing ran.
    NotRun,
}

/// How a cosigner signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CosignerArg {
    /// Timestamped Ed25519 (type 0x04).
    Ed25519,
    /// Timestamped ML-DSA-44 (type 0x06), which stands against quantum computers.
    #[value(name = "ml-dsa-44")]
    MlDsa44,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShutArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Why, for whoever finds it shut.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct UpstreamArgs {
    /// What is hidden from the tool server, and its command: see the gate's `supervise`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    _arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ToolserverArgs {
    /// The file to which each execution is written.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
    /// Where to listen, instead of standard input.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Have a tool whose results are of so many bytes.
    #[arg(long, value_name = "BYTES")]
    pub(crate) statement: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
