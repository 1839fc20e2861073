//! What becomes of each server of a configuration, decided before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::document::{Document, Edit, Entry, Kind, Launch, json_with_comments, variable};
use super::error::{Obstacle, Problem, Refusal, WrapError, one_line};
use super::format::Format;
use super::gate::{Gate, Passage, is_word, through, without, word_for};
use super::remote::{self, Remote};
use super::tokens::{TokenFile, Tokens};
use super::whose::other;

mod taken;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) gate: Gate,
    /// Words for servers, by their names.
    pub(crate) names: BTreeMap<String, String>,
    /// Variables that every server is given.
    pub(crate) passed: Vec<String>,
    /// Remote servers that stay ungoverned.
    pub(crate) left: BTreeSet<String>,
    /// Servers that stay behind other gates.
    pub(crate) left_gates: BTreeSet<String>,
    /// Entries whose servers let nobody in without a token, by their ways.
    pub(crate) asking: BTreeSet<Vec<String>>,
    pub(crate) tokens: Tokens,
}

/// The file as it is to be, and what became of each server.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) bytes: Vec<u8>,
    pub(crate) servers: Vec<Server>,
    pub(crate) warnings: Vec<String>,
    /// What is to be written before the file is.
    pub(crate) tokens: Vec<TokenFile>,
}

/// A server, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(flatten)]
    pub(crate) became: Became,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Became {
    /// It goes through the gate from now on.
    Wrapped { surfaces: String, passes: Vec<String>, command: Vec<String> },
    /// The gate connects to it from now on.
    ByUrl {
        surfaces: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_file: Option<String>,
    },
    /// It went through this gate before.
    Through {
        #[serde(skip_serializing_if = "Option::is_none")]
        surfaces: Option<String>,
        gate: String,
    },
    /// It goes through another gate, or what is called like one, and is left there as was asked.
    OtherGate { gate: String },
    /// It is remote, and left out as was asked.
    NotGoverned,
}

/// Decides about every server of a configuration.
///
/// # Errors
/// [`WrapError::Refused`], with everything that is in the way.
pub(crate) fn wrap(document: &Document, asked: &Asked, format: Format) -> Result<Plan, WrapError> {
    let mut planning = Planning::default();
    planning.asked(document, asked);
    for entry in &document.entries {
        if let Err(problem) = planning.entry(entry, asked) {
            planning.refuse(&entry.name, problem);
        }
    }
    if !planning.refusals.is_empty() {
        return Err(WrapError::Refused(planning.refusals));
    }
    let Planning { servers, warnings, changes, tokens, .. } = planning;
    let bytes = changed(document, &changes, format, Path::new(&asked.gate.client))?;
    Ok(Plan { bytes, servers, warnings, tokens })
}

/// What an entry's server was before.
enum Way<'a> {
    Started(&'a Launch),
    Reached(&'a Remote),
}

/// An entry's other words.
struct Change<'a> {
    entry: &'a Entry,
    way: Way<'a>,
    program: String,
    words: Vec<String>,
}

impl Change<'_> {
    fn edits(&self) -> Vec<Edit> {
        match self.way {
            Way::Started(launch) => through(launch, &self.program, &self.words),
            Way::Reached(remote) => remote::through(remote, &self.program, &self.words),
        }
    }

    /// Does the same to what the file means.
    fn change(&self, meant: &mut Value) -> Result<(), WrapError> {
        let mut args: Vec<Value> = self.words.iter().cloned().map(Value::from).collect();
        match self.way {
            Way::Started(launch) => {
                let own = [&launch.command].into_iter().chain(launch.words());
                args.extend(own.map(|word| Value::from(word.value.clone())));
            }
            Way::Reached(remote) => {
                let entry = entry_of(meant, &self.entry.path)?;
                entry.remove(&remote.key);
                entry.remove("headers");
                if let Some(transport) = entry.get_mut("type") {
                    *transport = "stdio".into();
                }
            }
        }
        set(meant, &self.entry.path, &self.program, args)
    }
}

#[derive(Default)]
struct Planning<'a> {
    servers: Vec<Server>,
    warnings: Vec<String>,
    refusals: Vec<Refusal>,
    changes: Vec<Change<'a>>,
    tokens: Vec<TokenFile>,
    /// Whose the words are.
    taken: BTreeMap<String, (&'a str, Vec<&'a str>)>,
}

impl<'a> Planning<'a> {
    fn refuse(&mut self, server: &str, problem: Problem) {
        self.refusals.push(Refusal { server: Some(server.to_owned()), problem });
    }

    /// That what was asked for is there.
    fn asked(&mut self, document: &Document, asked: &Asked) {
        let is_there = |name: &str, kind: &dyn Fn(&Kind) -> bool| {
            document.entries.iter().any(|entry| entry.name == name && kind(&entry.kind))
        };
        let is_remote = |kind: &Kind| matches!(kind, Kind::Remote(_));
        for name in asked.left.iter().filter(|name| !is_there(name, &is_remote)) {
            self.refuse(name, Problem::NotRemote);
        }
        let is_elsewhere = |kind: &Kind| matches!(kind, Kind::Local(launch) if !matches!(other(launch, &asked.gate), Ok(None)));
        for name in asked.left_gates.iter().filter(|name| !is_there(name, &is_elsewhere)) {
            self.refuse(name, Problem::NoOtherGate);
        }
        for (name, word) in &asked.names {
            if asked.left.contains(name) || !is_there(name, &|_| true) {
                self.refuse(name, Problem::NoSuchServer);
            } else if !is_word(word) {
                self.refuse(name, Problem::NoWord(word.clone()));
            }
        }
        for name in &asked.passed {
            if let Err(problem) = variable(name) {
                self.refusals.push(problem.into());
            }
        }
    }

    fn entry(&mut self, entry: &'a Entry, asked: &Asked) -> Result<(), Problem> {
        let became = match &entry.kind {
            Kind::Remote(_) if asked.left.contains(&entry.name) => Became::NotGoverned,
            Kind::Remote(remote) => self.is_to_be_reached(entry, remote, asked)?,
            Kind::Local(launch) => match Passage::of(launch)? {
                Some(passage) => self.passes_already(entry, launch, passage, asked)?,
                None => self.is_to_pass(entry, launch, asked)?,
            },
        };
        let (name, project) = (entry.name.clone(), entry.project.clone());
        self.servers.push(Server { name, project, became });
        Ok(())
    }

    fn passes_already(
        &mut self,
        entry: &'a Entry,
        launch: &'a Launch,
        passage: Passage,
        asked: &Asked,
    ) -> Result<Became, Problem> {
        match passage.other_than(&asked.gate) {
            Some(other) if asked.left_gates.contains(&entry.name) => {
                return Ok(Became::OtherGate { gate: other.to_string() });
            }
            Some(other) => return Err(Problem::OtherGate { server: entry.name.clone(), other }),
            None => {}
        }
        if !passage.is_told_of(&asked.gate) {
            self.warnings.push(format!(
                "server `{}` goes through this gate, which is not told of this file (`--client`): where clients do not usually \
                 have theirs, the server can change it",
                one_line(&entry.name)
            ));
        }
        if let Some(file) = &passage.servers {
            self.take_all(entry, file)?;
        }
        // What is behind the gate's own words, or its address among them.
        let own = launch.words().iter().skip(passage.words.len());
        let reached = launch.words().iter().filter(|word| Some(&word.value) == passage.url.as_ref());
        if let Some(word) = &passage.server {
            self.take(word, entry, own.chain(reached).map(|word| word.value.as_str()).collect())?;
        }
        Ok(Became::Through { surfaces: passage.server, gate: passage.program })
    }

    fn is_to_pass(&mut self, entry: &'a Entry, launch: &'a Launch, asked: &Asked) -> Result<Became, Problem> {
        let word = word(entry, asked)?;
        if launch.env_file && asked.passed.is_empty() {
            return Err(Problem::EnvFile);
        }
        let words = launch.words().iter().map(|word| word.value.as_str());
        let command: Vec<&str> = [launch.command.value.as_str()].into_iter().chain(words).collect();
        self.take(&word, entry, command.clone())?;
        let passes: BTreeSet<String> = launch.env.iter().chain(&asked.passed).cloned().collect();
        let passes: Vec<String> = passes.into_iter().collect();
        self.warn(entry, launch);
        let words = asked.gate.words(&word, &passes);
        let (way, program) = (Way::Started(launch), asked.gate.program.clone());
        self.changes.push(Change { entry, way, program, words });
        let command = command.into_iter().map(str::to_owned).collect();
        Ok(Became::Wrapped { surfaces: word, passes, command })
    }

    fn is_to_be_reached(
        &mut self,
        entry: &'a Entry,
        remote: &'a Remote,
        asked: &Asked,
    ) -> Result<Became, Problem> {
        let obstacle = |why| Problem::Remote { server: entry.name.clone(), why };
        let reached = remote.reached().map_err(obstacle)?;
        if asked.asking.contains(&entry.path) {
            return Err(obstacle(Obstacle::Asks));
        }
        let word = word(entry, asked)?;
        let address = remote.address.as_ref().ok_or_else(|| obstacle(Obstacle::Address))?;
        self.take(&word, entry, vec![&address.value])?;
        let token_file = match reached.token {
            None => None,
            Some(token) => {
                let path = asked.tokens.path(&word, &entry.path);
                let path = path.ok_or_else(|| obstacle(Obstacle::Exposed))?;
                self.tokens.push(TokenFile { path: path.clone().into(), token });
                Some(path)
            }
        };
        self.warn_of(entry, address.value.contains('?'), token_file.as_deref());
        let words = asked.gate.words_to(&address.value, &word, token_file.as_deref());
        let (way, program) = (Way::Reached(remote), asked.gate.program.clone());
        self.changes.push(Change { entry, way, program, words });
        Ok(Became::ByUrl { surfaces: word, token_file })
    }

    fn warn_of(&mut self, entry: &Entry, query: bool, token_file: Option<&str>) {
        let name = one_line(&entry.name);
        if let Some(file) = token_file {
            self.warnings.push(format!(
                "the token of `{name}` lies in `{}` from now on, mode 0600; it stays in the backup in clear until that is put back or removed",
                one_line(file)
            ));
        }
        if query {
            self.warnings.push(format!(
                "the address of `{name}` has a query: as a word of the gate's it is seen by every user of this machine, with any key in it"
            ));
        }
    }

    fn warn(&mut self, entry: &Entry, launch: &Launch) {
        let name = one_line(&entry.name);
        if !launch.env.is_empty() {
            let variables = one_line(&launch.env.join("`, `"));
            self.warnings.push(format!(
                "the values of `{variables}` stay in this file in clear and reach server `{name}` through the gate"
            ));
        }
        for key in &launch.otherwise {
            self.warnings.push(format!(
                "server `{name}` has `{key}`: what the client does by it, it does to the gate from now on"
            ));
        }
    }
}

/// The first word of a server's surfaces.
fn word(entry: &Entry, asked: &Asked) -> Result<String, Problem> {
    match asked.names.get(&entry.name) {
        Some(word) => Ok(word.clone()),
        None => word_for(&entry.name).ok_or_else(|| Problem::Nameless(entry.name.clone())),
    }
}

/// The file with the changed entries, held against what it is to mean.
fn changed(
    document: &Document,
    changes: &[Change<'_>],
    format: Format,
    path: &Path,
) -> Result<Vec<u8>, WrapError> {
    let bytes = document.edited(changes.iter().flat_map(Change::edits).collect());
    let mut meant = value(document.text())?;
    for change in changes {
        change.change(&mut meant)?;
    }
    means(document, &Document::parse(&bytes, format, path)?, &meant)?;
    Ok(bytes)
}

/// That a changed file means what it is to mean, by a second parser too where that reads the file at all.
fn means(before: &Document, after: &Document, meant: &Value) -> Result<(), WrapError> {
    let strict = |text: &str| serde_json::from_str::<Value>(text);
    let agrees = match (strict(before.text()), strict(after.text())) {
        (Ok(_), Ok(read)) => read == *meant,
        (Ok(_), Err(_)) => false,
        (Err(_), _) => true,
    };
    if agrees && value(after.text())? == *meant { Ok(()) } else { Err(WrapError::Unfaithful) }
}

pub(super) fn value(text: &str) -> Result<Value, WrapError> {
    let parsed = jsonc_parser::parse_to_serde_value::<Value>(text, &json_with_comments());
    parsed.map_err(|_| WrapError::Unfaithful)
}

pub(super) fn entry_of<'v>(
    root: &'v mut Value,
    path: &[String],
) -> Result<&'v mut serde_json::Map<String, Value>, WrapError> {
    let mut here = root;
    for name in path {
        here = here.get_mut(name).ok_or(WrapError::Unfaithful)?;
    }
    here.as_object_mut().ok_or(WrapError::Unfaithful)
}

fn set(root: &mut Value, path: &[String], program: &str, args: Vec<Value>) -> Result<(), WrapError> {
    let entry = entry_of(root, path)?;
    entry.insert("command".into(), program.into());
    entry.insert("args".into(), args.into());
    Ok(())
}

/// The file as it was wrapped: the backup, with the gates that are in the file now. If that is the file, nobody has edited
/// it since. `None` if a server is wrapped that the backup does not have so.
pub(crate) fn wrapped_again(backup: &Document, now: &Document) -> Result<Option<Vec<u8>>, WrapError> {
    let mut edits = Vec::new();
    for (entry, _, passage) in wrapped_since(now, Some(backup))? {
        let (program, words) = (&passage.program, &passage.words);
        match (before(backup, entry), &passage.url) {
            (Some(Kind::Local(launch)), None) => edits.extend(through(launch, program, words)),
            (Some(Kind::Remote(was)), Some(url)) if is_at(was, url) => {
                edits.extend(remote::through(was, program, words));
            }
            (Some(Kind::Local(_) | Kind::Remote(_)) | None, _) => return Ok(None),
        }
    }
    Ok(Some(backup.edited(edits)))
}

fn before<'d>(backup: &'d Document, entry: &Entry) -> Option<&'d Kind> {
    backup.entries.iter().find(|was| was.path == entry.path).map(|was| &was.kind)
}

fn is_at(remote: &Remote, url: &str) -> bool {
    remote.address.as_ref().is_some_and(|address| address.value == url)
}

/// The file with the gates taken out that `portcullis wrap` put in, held against what it is to mean; `None` if there is
/// none. How a client reached a server is in the backup alone.
pub(crate) fn unwrapped(
    now: &Document,
    backup: Option<&Document>,
    format: Format,
    path: &Path,
) -> Result<Option<Vec<u8>>, WrapError> {
    let (mut edits, mut meant) = (Vec::new(), value(now.text())?);
    for (entry, launch, passage) in wrapped_since(now, backup)? {
        match &passage.url {
            None => {
                edits.extend(without(launch, &passage, now.text()).ok_or(WrapError::Unfaithful)?);
                let mut own = launch.words().iter().skip(passage.words.len()).map(|word| word.value.clone());
                let command = own.next().ok_or(WrapError::Unfaithful)?;
                set(&mut meant, &entry.path, &command, own.map(Value::from).collect())?;
            }
            Some(url) => {
                let unkept = || Refusal { server: Some(entry.name.clone()), problem: Problem::Unkept };
                let Some((Kind::Remote(was), backup)) =
                    backup.and_then(|backup| Some((before(backup, entry)?, backup)))
                else {
                    return Err(WrapError::Refused(vec![unkept()]));
                };
                edits.extend(remote::without(launch, was, url));
                reached_again(&mut meant, entry, (was, &mut value(backup.text())?), url)?;
            }
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let bytes = now.edited(edits);
    means(now, &Document::parse(&bytes, format, path)?, &meant)?;
    Ok(Some(bytes))
}

/// What an entry means whose client connects to the server itself again.
fn reached_again(
    meant: &mut Value,
    entry: &Entry,
    (was, backup): (&Remote, &mut Value),
    url: &str,
) -> Result<(), WrapError> {
    let backup = entry_of(backup, &entry.path)?;
    let entry = entry_of(meant, &entry.path)?;
    entry.remove("command");
    entry.remove("args");
    entry.insert(was.key.clone(), url.into());
    let started = entry.remove("type").map(|_| Value::from("http"));
    let transport = backup.get("type").cloned().or(started);
    entry.extend(transport.map(|transport| ("type".to_owned(), transport)));
    entry.extend(backup.get("headers").map(|headers| ("headers".to_owned(), headers.clone())));
    Ok(())
}

/// A server behind a gate.
type Gated<'d> = (&'d Entry, &'d Launch, Passage);

/// The entries that a gate was put before since the backup was made: what it has behind one was left there.
fn wrapped_since<'d>(now: &'d Document, backup: Option<&Document>) -> Result<Vec<Gated<'d>>, WrapError> {
    let was_so = |entry: &Entry| match backup.and_then(|backup| before(backup, entry)) {
        Some(Kind::Local(launch)) => matches!(Passage::of(launch), Ok(Some(_))),
        Some(Kind::Remote(_)) | None => false,
    };
    let mut found = wrapped(now)?;
    found.retain(|(entry, ..)| !was_so(entry));
    Ok(found)
}

/// The entries that have a gate as `portcullis wrap` writes it.
pub(crate) fn wrapped(document: &Document) -> Result<Vec<Gated<'_>>, WrapError> {
    let mut found = Vec::new();
    for entry in &document.entries {
        let Kind::Local(launch) = &entry.kind else { continue };
        let refuse =
            |problem| WrapError::Refused(vec![Refusal { server: Some(entry.name.clone()), problem }]);
        if let Some(passage) = Passage::of(launch).map_err(refuse)?.filter(Passage::is_wrapped) {
            found.push((entry, launch, passage));
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
