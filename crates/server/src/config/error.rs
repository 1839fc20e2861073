//! Why a configuration is refused.

use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration `{path}` cannot be read: {error}; `portcullis init` writes one")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: String,
    },
    /// The file is not what it should be.
    #[error("the configuration `{path}` is not valid: {error}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A section that the command needs is missing.
    #[error(
        "the configuration has no section `[{section}]`, which this command needs; see docs/configuration.md"
    )]
    Missing {
        /// The section.
        section: &'static str,
    },
    /// A key has a value that cannot be used.
    #[error("`{key}` in the configuration: {error}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong.
        error: String,
    },
}
