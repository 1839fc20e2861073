//! Arguments of `portcullis wrap`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::ConfigArg;
use crate::wrap::Format;

#[derive(Args, Debug)]
pub(crate) struct WrapArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The client's configuration.
    pub(crate) file: Option<PathBuf>,
    /// Whose form it has. Default: what its name and directory say.
    #[arg(long, value_enum, value_name = "FORM", requires = "file")]
    pub(crate) format: Option<Format>,
    /// The first word of a server's surfaces. Default: its name, as far as that can be one. May be given again.
    #[arg(
        long,
        value_name = "SERVER=WORD",
        allow_hyphen_values = true,
        requires = "file",
        conflicts_with = "undo"
    )]
    pub(crate) name: Vec<Named>,
    /// A variable of the client's environment that each server is to get, beside those that the file sets for it. May be
    /// given again.
    #[arg(long, value_name = "NAME", requires = "file", conflicts_with = "undo")]
    pub(crate) pass_env: Vec<String>,
    /// A remote server that stays as it is, and is not governed. May be given again.
    #[arg(
        long,
        value_name = "SERVER",
        allow_hyphen_values = true,
        requires = "file",
        conflicts_with = "undo"
    )]
    pub(crate) leave_remote: Vec<String>,
    /// A server that goes through another gate than this one and stays there, not governed by this one. May be given again.
    #[arg(
        long,
        value_name = "SERVER",
        allow_hyphen_values = true,
        requires = "file",
        conflicts_with = "undo"
    )]
    pub(crate) leave_gate: Vec<String>,
    /// Take the gate out again: put back the backup, byte for byte, unless the file was edited meanwhile.
    #[arg(long, requires = "file")]
    pub(crate) undo: bool,
    /// What becomes of edits that were made since the file was wrapped.
    #[arg(long, value_enum, value_name = "WHAT", requires = "undo")]
    pub(crate) edits: Option<Edits>,
    /// Show what would be changed, and change nothing.
    #[arg(long, visible_alias = "check", requires = "file")]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Edits {
    /// They stay: only the gate is taken out of the entries. The backup stays where it is.
    Keep,
    /// They are lost: the backup takes the file's place.
    Discard,
}

/// A server and the word for it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) server: String,
    pub(crate) word: String,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A word has no `=`, and a name may.
        let (server, word) = text.rsplit_once('=').ok_or("write the server's name, `=`, and the word")?;
        Ok(Self { server: server.to_owned(), word: word.to_owned() })
    }
}
