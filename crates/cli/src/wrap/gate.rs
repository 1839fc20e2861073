//! The gate before a server's command: the words that put it there, and those by which it is known again.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use portcullis_protocol::SurfaceName;

use super::document::Args;
use super::document::{Edit, Launch, Literal};
use super::error::Problem;
use crate::args::{Cli, Command};

/// This program, and how it is called by users who let the system find it.
const PROGRAM: &str = "portcullis";
const SUBCOMMAND: &str = "mcp";
/// Comes before the server's own command.
const COMMAND: &str = "--";
/// A word longer than this leaves too little of a surface's name for tools.
const WORD: usize = 64;

/// What is the same in each entry of a file: all of it text, because configurations are.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// This program.
    pub(crate) program: String,
    /// The gate's configuration.
    pub(crate) config: String,
    /// The client's configuration, which no server may change.
    pub(crate) client: String,
}

impl Gate {
    /// The words between the program and the server's own command.
    pub(crate) fn words(&self, server: &str, passed: &[String]) -> Vec<String> {
        let mut words = vec![SUBCOMMAND, "--config", &self.config, "--server", server];
        passed.iter().for_each(|name| words.extend(["--pass-env", name]));
        words.extend(["--client", &self.client, COMMAND]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// The words behind the program, where the server is reached by URL.
    pub(crate) fn words_to(&self, url: &str, server: &str, token_file: Option<&str>) -> Vec<String> {
        let mut words =
            vec![SUBCOMMAND, "--config", &self.config, "--server", server, "--client", &self.client];
        words.extend(["--url", url]);
        words.extend(token_file.into_iter().flat_map(|file| ["--token-file", file]));
        words.into_iter().map(str::to_owned).collect()
    }
}

/// An entry that goes through a gate already.
#[derive(Debug)]
pub(crate) struct Passage {
    /// The gate's program.
    pub(crate) program: String,
    /// Its words: up to and with the one before the server's own command, if there is one, and else all.
    pub(crate) words: Vec<String>,
    /// Where it reaches the server, if that is by URL, and where its token lies.
    pub(crate) url: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    /// The file that declares its servers, if there are several.
    pub(crate) servers: Option<PathBuf>,
    /// The first word of the surfaces, if it is given.
    pub(crate) server: Option<String>,
    /// The gate's configuration, and the client's that its server is kept from, if they are named.
    pub(crate) config: Option<PathBuf>,
    pub(crate) client: Option<PathBuf>,
}

impl Passage {
    /// How an entry goes through a gate, if it does.
    pub(crate) fn of(launch: &Launch) -> Result<Option<Self>, Problem> {
        let program = launch.command.value.as_str();
        let words: Vec<&str> = launch.words().iter().map(|word| word.value.as_str()).collect();
        if words.first() != Some(&SUBCOMMAND) || !is_gate(Path::new(program)) {
            return Ok(None);
        }
        let matches = Cli::command().try_get_matches_from([PROGRAM].into_iter().chain(words.iter().copied()));
        let matches = matches.map_err(|_| Problem::UnknownGate)?;
        let Ok(Cli { command: Command::Mcp(mcp) }) = Cli::from_arg_matches(&matches) else {
            return Err(Problem::UnknownGate);
        };
        // It starts the server, and gates nothing.
        if mcp.tools.is_some() {
            return Err(Problem::UnknownGate);
        }
        let own_matches = matches.subcommand().map(|(_, own)| own);
        let named = own_matches.and_then(|own| own.value_source("config")) == Some(ValueSource::CommandLine);
        let own = words.iter().position(|word| *word == COMMAND);
        let length = match (own, mcp.url.is_some() || mcp.servers.is_some()) {
            (Some(own), false) => own.saturating_add(1),
            (None, true) => words.len(),
            (Some(_), true) | (None, false) => return Err(Problem::UnknownGate),
        };
        Ok(Some(Self {
            program: program.to_owned(),
            words: words.iter().take(length).map(|word| (*word).to_owned()).collect(),
            url: mcp.url.map(|url| url.to_string()),
            token_file: mcp.token_file,
            servers: mcp.servers,
            server: mcp.server,
            config: named.then_some(mcp.config.config),
            client: mcp.client,
        }))
    }

    /// Whether it is as `portcullis wrap` writes it.
    pub(crate) fn is_wrapped(&self) -> bool {
        self.client.is_some() && self.servers.is_none()
    }
}

/// Whether a program is called like the gate, or is it.
fn is_gate(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == PROGRAM) || (program.is_absolute() && is_this(program))
}

fn is_this(program: &Path) -> bool {
    let real = |path: PathBuf| path.canonicalize();
    match (program.canonicalize(), std::env::current_exe().and_then(real)) {
        (Ok(program), Ok(this)) => program == this,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The edits that put a gate before a server's own command. Whatever else the entry says stays as it stands.
pub(crate) fn through(launch: &Launch, program: &str, words: &[String]) -> Vec<Edit> {
    let mut list: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    list.push(launch.command.raw.clone());
    let list = list.join(", ");
    let args = match &launch.args {
        Args::Absent { after, line } => {
            let line = line.as_ref().map_or(" ", |line| line);
            Edit { at: *after..*after, with: format!(",{line}\"args\": [{list}]") }
        }
        Args::Listed { open, words } => {
            let rest = match words.first() {
                None => "",
                Some(first) if first.at.start == *open => ", ",
                Some(_) => ",",
            };
            Edit { at: *open..*open, with: [&list, rest].concat() }
        }
    };
    vec![Edit { at: launch.command.at.clone(), with: quoted(program) }, args]
}

/// The edits that take the gate out again; `None` if there is nothing behind it. `text` is what stands in the file.
pub(crate) fn without(launch: &Launch, passage: &Passage, text: &str) -> Option<Vec<Edit>> {
    let words = launch.words();
    let (first, own) = (words.first()?, words.get(passage.words.len())?);
    let next = words.get(passage.words.len().saturating_add(1));
    let command = Edit { at: launch.command.at.clone(), with: own.raw.clone() };
    let end = match next {
        None => after_comma(text, own),
        Some(next) if in_line_of_its_own(text, first) => next.at.start,
        Some(next) => {
            let end = after_comma(text, own);
            let gap = text.get(end..next.at.start)?;
            if gap.contains('\n') { end } else { next.at.start }
        }
    };
    Some(vec![command, Edit { at: first.at.start..end, with: String::new() }])
}

fn in_line_of_its_own(text: &str, literal: &Literal) -> bool {
    let before = text.get(..literal.at.start).unwrap_or_default();
    before.trim_end_matches([' ', '\t']).ends_with('\n')
}

fn after_comma(text: &str, literal: &Literal) -> usize {
    let rest = text.get(literal.at.end..).unwrap_or_default();
    let comma = rest.trim_start().starts_with(',').then(|| rest.find(',')).flatten();
    comma.map_or(literal.at.end, |comma| literal.at.end.saturating_add(comma).saturating_add(1))
}

pub(super) fn quoted(word: &str) -> String {
    serde_json::Value::from(word).to_string()
}

/// The first word of a server's surfaces, made of its name: what is none of a-z and 0-9 in it becomes one `-`, or stays if
/// it is `_` between them. `None` if nothing is left.
pub(crate) fn word_for(name: &str) -> Option<String> {
    let mut word = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_') => word.push(c),
            _ if word.ends_with('-') => {}
            _ => word.push('-'),
        }
    }
    let word: String = word.trim_matches(['-', '_']).chars().take(WORD).collect();
    is_word(&word).then_some(word)
}

/// Whether this can be the first word of a server's surfaces.
pub(crate) fn is_word(word: &str) -> bool {
    !word.contains('.') && word.len() <= WORD && format!("{word}.mcp.unknown").parse::<SurfaceName>().is_ok()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
