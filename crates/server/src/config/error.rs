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

/// What is wrong with a file that may have a secret in it, and where. Nothing of it is what the file says.
pub(super) fn unclear(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let what = if message.starts_with("missing field `") {
        message.to_owned()
    } else {
        // What is before that may be quoted from the file, and what is behind it is the parser's own.
        let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
        let unknown = if message.starts_with("unknown field `") { "unknown field, " } else { "" };
        expected.map_or_else(
            || "it is not understood".to_owned(),
            |expected| format!("{unknown}expected {expected}"),
        )
    };
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| {
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.chars().rev().take_while(|c| *c != '\n').count().saturating_add(1);
        format!("line {line}, column {column}: ")
    }) + &what
}
