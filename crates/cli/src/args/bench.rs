//! The arguments of `bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// Calls to measure, each way.
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    pub(crate) calls: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure the decisions of a daemon before, while and after a bundle of many policies is activated, in one run.
    Activation {
        /// Policies of the bundle that is activated.
        #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=20_000))]
        policies: u32,
        /// How long is asked before, and after.
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure durable decisions in process, beside what the disk takes at least, in one run.
    Ledger {
        /// How long each number of callers is measured.
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// How many callers wait at once: one measurement each.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024], value_name = "COUNT",
              value_parser = clap::value_parser!(u32).range(1..=4096))]
        callers: Vec<u32>,
        /// Fill the ledger up to this many records then, look at it on the way, and open and check it. Ten million
        /// take some 15 GB of disk.
        #[arg(long, value_name = "COUNT")]
        records: Option<u64>,
        /// The directory to measure in, whose file system counts. Default: the system's for temporary files.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
