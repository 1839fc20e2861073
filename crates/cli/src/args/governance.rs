//! Arguments of `portcullis governance`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArg;

#[derive(Args, Debug)]
pub(crate) struct GovernanceArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: GovernanceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GovernanceCommand {
    /// List a bundle's exceptions with owner, reason and dates, its sources of facts, and what each surface asks for.
    ///
    /// Exceptions whose review date has passed come first. Exits 0 if there is none of these, 2 if there is one, 1 if
    /// there is no report. The bundle is checked, not verified: `portcullis bundle verify` says who signed it.
    Report {
        /// The bundle's directory or file. Default: the bundle in force.
        #[arg(long, value_name = "PLACE")]
        bundle: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
