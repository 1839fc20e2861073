//! Rehearsed failures: the demo, and the benchmark of a gated tool call. What ran is told by the tool server's
//! own journal; what was decided, by receipts that are verified with the log's public key and nothing else.

pub mod bench;
pub mod bench_activation;
pub mod bench_ledger;
pub mod bench_mcp;
mod callers;
mod client;
pub mod demo;
mod deployment;
mod faults;
mod statistics;
pub mod toolserver;

use std::path::PathBuf;

/// A drill could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A file or process failed.
    #[error("{what}: {error}")]
    System {
        /// What was done.
        what: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The deployment could not be set up.
    #[error(transparent)]
    Setup(#[from] portcullis_server::SetupError),
    /// Its configuration could not be read.
    #[error(transparent)]
    Config(#[from] portcullis_server::ConfigError),
    /// Its ledger could not be read.
    #[error(transparent)]
    Records(#[from] portcullis_server::RecordsError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] portcullis_ledger::LedgerError),
    /// A process did not answer as it must.
    #[error("{0}")]
    Answer(String),
    /// The directory is taken.
    #[error("`{0}` exists already; name a directory that does not")]
    Exists(PathBuf),
}

impl DrillError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}
