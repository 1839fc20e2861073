//! `portcullis explain`

use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The receipt.
    pub(crate) receipt: PathBuf,
    /// The log's verifier key, or a file that holds it. May be given more than once. Default: the configuration's.
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) key: Vec<String>,
    /// The directory or file of the bundle that decided. Default: as the configuration's ledger keeps it, else what the
    /// configuration names. Another bundle explains nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// The request, as `portcullis decide` takes it. Default: as the configuration's vault keeps it.
    ///
    /// A receipt only commits to the request under a salt that it does not have, so what is given here is taken as given.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
