//! The arguments of `bench`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
    /// Measure MCP calls direct and through a gate before a daemon, over stdio and HTTP, by many callers, with small results and long
    /// ones, in one run. What ran is held against the tool servers' journals, and those against the log.
    Mcp(Box<BenchMcpArgs>),
}

#[derive(Args, Debug)]
pub(crate) struct BenchMcpArgs {
    /// How long each way of a row is measured.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// How many callers call at once: a row each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64, 256], value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) callers: Vec<u32>,
    /// Over what.
    #[arg(long, value_delimiter = ',', default_values_t = [OverArg::Stdio, OverArg::Http], value_name = "TRANSPORT")]
    pub(crate) over: Vec<OverArg>,
    /// Bytes of a long result; 0 to measure small ones only.
    #[arg(long, default_value_t = 1024 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=16 * 1024 * 1024))]
    pub(crate) long: u32,
    /// Instead: so many gated calls with small results over HTTP, by the largest number of callers, and the memory that gate and
    /// arbiter take at each power of ten.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) calls: Option<u64>,
    /// Another gateway's MCP endpoint, to be measured in the same turns: http://HOST:PORT/PATH. It is waited for until it lists the
    /// tools of the tool server over HTTP, whose address is `--upstream`.
    #[arg(long, value_name = "URL", conflicts_with = "calls", requires = "upstream")]
    pub(crate) beside: Option<String>,
    /// What that is called in the report.
    #[arg(long, value_name = "NAME", default_value = "another gateway")]
    pub(crate) beside_name: String,
    /// A file with the bearer token that it is shown.
    #[arg(long, value_name = "FILE", requires = "beside")]
    pub(crate) beside_token: Option<PathBuf>,
    /// Let the tool server itself stand in its place, for tests.
    #[arg(long, hide = true, requires = "beside")]
    pub(crate) beside_may_be_none: bool,
    /// Where the tool server over HTTP listens. Default: a free port of 127.0.0.1.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) upstream: Option<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverArg {
    Stdio,
    Http,
}

impl std::fmt::Display for OverArg {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        })
    }
}
