//! The `portcullis` binary: arguments become one command, the command an exit code.

mod args;
mod clients;
mod commands;
mod harmless;
mod progress;
mod say;
mod wrap;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(error) => say::usage(&error),
    }
}
