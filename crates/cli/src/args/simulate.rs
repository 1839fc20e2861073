//! `portcullis simulate`

use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;

#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The other bundle's directory. It need not be signed: what is asked of it cannot decide anything.
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Requests to ask about, one JSON object a line: docs/simulation.md says of what form. `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ledger", "without_key", "since"], required_unless_present = "ledger")]
    pub(crate) trace: Option<PathBuf>,
    /// Ask about every decision on record: in this data directory, or in the configuration's.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) ledger: Option<Option<PathBuf>>,
    /// With a trace: the bundle's directory or file to compare with. Default: the bundle in force.
    #[arg(long, value_name = "DIR", requires = "trace")]
    pub(crate) from: Option<PathBuf>,
    /// With a ledger: ask about what was decided from this time on (`2026-11-20`, `2026-11-20T14:00:00Z`, or milliseconds since
    /// 1970). What was decided before left what the log says. Default: from the first decision on.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Do without the vault's master key: requests stay closed, and are counted as not simulated.
    #[arg(long)]
    pub(crate) without_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
