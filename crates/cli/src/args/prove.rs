//! `portcullis bundle prove` and whatever else asks a solver.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct ProveArgs {
    /// The bundle's directory or file. Default: the bundle in force.
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) solver: SolverArgs,
    /// Exit 1 also if a policy never applies, never grants, is redundant, or may be.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The bundle's directory or file before, or where its file is: `https://…`, `oci://…`.
    pub(crate) old: PathBuf,
    /// The same, after.
    pub(crate) new: PathBuf,
    /// Compare what the policies grant, not how they are written.
    #[arg(long)]
    pub(crate) semantic: bool,
    #[command(flatten)]
    pub(crate) solver: SolverArgs,
    /// Print JSON: one object a difference, or one for what the solver says.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which solver, and what it may use.
#[derive(Args, Debug)]
pub(crate) struct SolverArgs {
    /// The cvc5 program. Default: the environment variable `CVC5`, else `cvc5` in the `PATH`.
    #[arg(long, value_name = "FILE")]
    pub(crate) solver: Option<PathBuf>,
    /// The longest that the solver may take over one question, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// The most memory that the solver may use for one question, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    pub(crate) memory: u64,
}
