//! The `portcullis` binary: arguments become one command, the command an exit code.

mod args;
mod commands;
mod say;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    commands::run(args::Cli::parse())
}
