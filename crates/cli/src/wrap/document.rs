//! A client's configuration as text with places: which servers it names, and where their words stand.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use jsonc_parser::ast::{Object, ObjectProp, StringLit, Value};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use portcullis_protocol::fold;

use super::error::{Problem, Refusal, WrapError};
use super::format::{EACH, Format};
use super::remote::{Headers, Remote, removal};

/// Some programs begin a file with it, and some readers refuse it: it is kept, and is no part of the text.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// What some clients call the ways to a server that is not started.
const REMOTE: [&str; 6] = ["http", "sse", "streamable-http", "streamableHttp", "streamable_http", "ws"];
/// Members with meanings of their own in which a `url` or `args` is no server's.
const PLAIN: [&str; 5] = ["env", "headers", "oauth", "sandbox", "dev"];
/// In the names of members by which clients show who they are, whatever else the client's maker calls them.
const CREDENTIALS: [&str; 3] = ["auth", "header", "token"];
/// Comes before an address in the gate's words.
pub(super) const URL: &str = "--url";
/// Prefixes and names of variables that act on the very process they are set for.
const OF_THE_GATE: [&str; 3] = ["PORTCULLIS_", "LD_", "DYLD_"];
/// The gate finds by `HOME` what it keeps from the server, by the next two whom it believes on a network, and by the others how
/// the system's library behaves, loads more code, and finds hosts.
const NAMES_OF_THE_GATE: [&str; 12] = [
    "HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "LOCALDOMAIN",
    "HOSTALIASES",
    "RES_OPTIONS",
    "RESOLV_HOST_CONF",
    "GETCONF_DIR",
];
/// Members that mean nothing to a client that connects to a server, and act on the gate once it starts that instead.
const OF_STARTED: [&str; 5] = ["env", "envFile", "cwd", "dev", "sandboxEnabled"];

/// A configuration and the servers that it names.
#[derive(Debug)]
pub(crate) struct Document {
    mark: bool,
    text: String,
    pub(crate) entries: Vec<Entry>,
}

/// A server as its client has it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The names from the root of the file to it.
    pub(crate) path: Vec<String>,
    /// The project that it is for, where the file has several.
    pub(crate) project: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The client starts it.
    Local(Launch),
    /// The client connects to it.
    Remote(Remote),
}

/// How a client starts a server.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) command: Literal,
    pub(crate) args: Args,
    /// The names of the variables that are set for it.
    pub(crate) env: Vec<String>,
    /// Whether more are set that the file does not name.
    pub(crate) env_file: bool,
    /// Members by which the client itself starts it otherwise than as `command` says.
    pub(crate) otherwise: Vec<&'static str>,
    /// The whole member of the command, and what its line begins with, if it begins one.
    pub(crate) place: Range<usize>,
    pub(crate) line: Option<String>,
    /// What is deleted so that `args` is gone.
    pub(crate) args_removal: Vec<Range<usize>>,
    /// `type`, if it is there.
    pub(crate) transport: Option<Literal>,
}

impl Launch {
    pub(crate) fn words(&self) -> &[Literal] {
        match &self.args {
            Args::Absent { .. } => &[],
            Args::Listed { words, .. } => words,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Args {
    /// There are none. They would stand after this place, each member in a line of its own that begins so, if they do.
    Absent { after: usize, line: Option<String> },
    /// They stand behind this place.
    Listed { open: usize, words: Vec<Literal> },
}

/// A string, and how and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    pub(crate) value: String,
    pub(crate) raw: String,
    pub(crate) at: Range<usize>,
}

/// Other text in a place.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) with: String,
}

impl Document {
    /// Reads what a file of this form says.
    pub(crate) fn parse(bytes: &[u8], format: Format, path: &Path) -> Result<Self, WrapError> {
        let not_text = |_| WrapError::Unfit { path: path.to_owned(), what: "is not in UTF-8" };
        let whole = std::str::from_utf8(bytes).map_err(not_text)?;
        let text = whole.strip_prefix(BYTE_ORDER_MARK);
        let (mark, text) = text.map_or((false, whole), |rest| (true, rest));
        let syntax = |what: String| WrapError::Syntax { path: path.to_owned(), what };
        let parsed = parse_to_ast(text, &CollectOptions::default(), &json_with_comments());
        let root = parsed.map_err(|error| syntax(error.to_string()))?.value;
        let root = root.as_ref().and_then(Value::as_object);
        let root = root.ok_or_else(|| syntax("its root is no object".into()))?;
        let mut reading = Reading { text, entries: Vec::new(), refusals: Vec::new() };
        let sections = reading.sections(root, format);
        match sections {
            Ok(0) => return Err(no_servers(format)),
            Ok(_) => {}
            Err(refusal) => reading.refusals.push(refusal),
        }
        if !reading.refusals.is_empty() {
            return Err(WrapError::Refused(reading.refusals));
        }
        Ok(Self { mark, text: text.to_owned(), entries: reading.entries })
    }

    /// The file with these edits in it.
    pub(crate) fn edited(&self, edits: Vec<Edit>) -> Vec<u8> {
        self.marked(&apply(&self.text, edits))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn marked(&self, text: &str) -> Vec<u8> {
        let mark = if self.mark { BYTE_ORDER_MARK } else { "" };
        [mark, text].concat().into_bytes()
    }
}

/// JSON with comments and trailing commas, as editors' configurations have them, and nothing else of JSON5.
pub(crate) const fn json_with_comments() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    let mut text = text.to_owned();
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.at.start));
    for Edit { at, with } in edits {
        text.replace_range(at, &with);
    }
    text
}

fn no_servers(format: Format) -> WrapError {
    let section = format.sections().first().map(|section| section.join(".")).unwrap_or_default();
    let remedy = "look whether this is the file, and whether `--format` says whose form it has";
    WrapError::NoServers { format: format.name(), section, remedy }
}

struct Reading<'t> {
    text: &'t str,
    entries: Vec<Entry>,
    refusals: Vec<Refusal>,
}

impl Reading<'_> {
    /// Reads every section that is there; returns how many are.
    fn sections(&mut self, root: &Object<'_>, format: Format) -> Result<usize, Refusal> {
        if member(root, format.foreign())?.is_some() {
            return Err(Problem::Foreign(format.foreign()).into());
        }
        let mut found = 0;
        for section in format.sections() {
            found += self.section(root, section, &mut Vec::new())?;
        }
        Ok(found)
    }

    /// Follows the rest of a way to the servers that are at its end.
    fn section(
        &mut self,
        object: &Object<'_>,
        rest: &[&'static str],
        path: &mut Vec<String>,
    ) -> Result<usize, Refusal> {
        let Some((key, rest)) = rest.split_first() else {
            unique(object)?;
            object.properties.iter().for_each(|server| self.server(server, path));
            return Ok(1);
        };
        let members: Vec<&ObjectProp<'_>> = if *key == EACH {
            unique(object)?;
            object.properties.iter().collect()
        } else {
            member(object, key)?.into_iter().collect()
        };
        let mut found = 0;
        for member in members {
            let name = member.name.as_str().to_owned();
            let object = member.value.as_object().ok_or_else(|| Problem::NotAnObject(name.clone()))?;
            path.push(name);
            found += self.section(object, rest, path)?;
            path.pop();
        }
        Ok(found)
    }

    fn server(&mut self, server: &ObjectProp<'_>, section: &[String]) {
        let name = server.name.as_str().to_owned();
        let project = match section {
            [_, project, _] => Some(project.clone()),
            _ => None,
        };
        match self.kind(&server.value) {
            Ok(kind) => {
                let path = section.iter().cloned().chain([name.clone()]).collect();
                self.entries.push(Entry { path, project, name, kind });
            }
            Err(problem) => self.refusals.push(Refusal { server: Some(name), problem }),
        }
    }

    fn kind(&mut self, value: &Value<'_>) -> Result<Kind, Problem> {
        let object = value.as_object().ok_or_else(|| Problem::NotAnObject("it".into()))?;
        let (command, url) = (member(object, "command")?, member(object, "url")?);
        let url = url.or(member(object, "serverUrl")?);
        let transport =
            member(object, "type")?.map(|member| self.string("type", &member.value)).transpose()?;
        if let Some(nested) = object.properties.iter().find(|member| has_server(member)) {
            return Err(Problem::Nested(nested.name.as_str().into()));
        }
        // It is looked at whatever kind it turns out to be.
        member(object, "headers")?;
        match (command, url, transport.as_ref().map(|literal| literal.value.as_str())) {
            (Some(command), None, None | Some("stdio")) => {
                self.launch(object, command, transport).map(Kind::Local)
            }
            (None, Some(url), word) if word.is_none_or(|word| REMOTE.contains(&word)) => {
                self.remote(object, url, transport).map(Kind::Remote)
            }
            _ => Err(Problem::Shape),
        }
    }

    fn remote(
        &self,
        object: &Object<'_>,
        url: &ObjectProp<'_>,
        transport: Option<Literal>,
    ) -> Result<Remote, Problem> {
        let headers = member(object, "headers")?.map(|headers| self.headers(object, headers));
        let shows = |member: &&ObjectProp<'_>| {
            let name = fold(member.name.as_str());
            name != fold("headers") && CREDENTIALS.iter().any(|word| name.contains(&fold(word)))
        };
        Ok(Remote {
            key: url.name.as_str().to_owned(),
            address: self.string("url", &url.value).ok(),
            place: url.range.start..url.range.end,
            line: self.line_of(url),
            transport,
            headers,
            credentials: object.properties.iter().find(shows).map(|member| member.name.as_str().to_owned()),
            started: started(object)?,
        })
    }

    fn headers(&self, object: &Object<'_>, headers: &ObjectProp<'_>) -> Headers {
        let place = place_of(&headers.value);
        let named = |member: &ObjectProp<'_>| {
            let value = self.string("headers", &member.value).ok()?;
            Some((member.name.as_str().to_owned(), value))
        };
        let values = headers.value.as_object().filter(|object| unique(object).is_ok());
        Headers {
            values: values.and_then(|object| object.properties.iter().map(named).collect()),
            raw: self.text.get(place).unwrap_or_default().to_owned(),
            removal: self.removal(object, headers),
        }
    }

    fn removal(&self, object: &Object<'_>, gone: &ObjectProp<'_>) -> Vec<Range<usize>> {
        let ends = object.properties.iter().map(|member| member.range.end);
        let before = ends.filter(|end| *end <= gone.range.start).max();
        removal(self.text, &(gone.range.start..gone.range.end), before)
    }

    fn launch(
        &mut self,
        object: &Object<'_>,
        command: &ObjectProp<'_>,
        transport: Option<Literal>,
    ) -> Result<Launch, Problem> {
        let line = self.line_of(command);
        let after = place_of(&command.value).end;
        let written = self.string("command", &command.value)?;
        if written.value.is_empty() {
            return Err(Problem::NoCommand);
        }
        let (args, args_removal) = match member(object, "args")? {
            None => (Args::Absent { after, line: line.clone() }, Vec::new()),
            Some(args) => (self.arguments(&args.value)?, self.removal(object, args)),
        };
        let env = member(object, "env")?.map_or_else(|| Ok(Vec::new()), |env| variables(&env.value))?;
        let is_on = |member: &ObjectProp<'_>| member.value.as_boolean_lit().is_none_or(|on| on.value);
        let mut otherwise = Vec::new();
        for key in ["dev", "sandboxEnabled"] {
            if member(object, key)?.is_some_and(is_on) {
                otherwise.push(key);
            }
        }
        let env_file = member(object, "envFile")?.is_some();
        let place = command.range.start..command.range.end;
        Ok(Launch { command: written, args, env, env_file, otherwise, place, line, args_removal, transport })
    }

    fn arguments(&self, value: &Value<'_>) -> Result<Args, Problem> {
        let array = value.as_array().ok_or(Problem::Arguments)?;
        let words = array.elements.iter().map(|word| self.string("args", word)).collect::<Result<_, _>>()?;
        Ok(Args::Listed { open: array.range.start.saturating_add(1), words })
    }

    /// A string, if a second parser reads it as the same.
    fn string(&self, what: &'static str, value: &Value<'_>) -> Result<Literal, Problem> {
        let literal = value.as_string_lit().ok_or(Problem::NoString(what))?;
        let at = place(literal);
        let raw = self.text.get(at.clone()).ok_or(Problem::NoString(what))?.to_owned();
        match serde_json::from_str::<String>(&raw) {
            Ok(value) if value == literal.value && !value.contains('\0') => Ok(Literal { value, raw, at }),
            Ok(_) | Err(_) => Err(Problem::NoString(what)),
        }
    }

    /// The end of line and the blanks before a member, if it begins its line.
    fn line_of(&self, member: &ObjectProp<'_>) -> Option<String> {
        let before = self.text.get(..member.range.start)?;
        let blanks = before.get(before.rfind('\n')?.saturating_add(1)..)?;
        let end = if before.trim_end_matches([' ', '\t']).ends_with("\r\n") { "\r\n" } else { "\n" };
        blanks.chars().all(|c| matches!(c, ' ' | '\t')).then(|| [end, blanks].concat())
    }
}

fn place(literal: &StringLit<'_>) -> Range<usize> {
    literal.range.start..literal.range.end
}

fn place_of(value: &Value<'_>) -> Range<usize> {
    let range = match value {
        Value::StringLit(it) => it.range,
        Value::NumberLit(it) => it.range,
        Value::BooleanLit(it) => it.range,
        Value::Object(it) => it.range,
        Value::Array(it) => it.range,
        Value::NullKeyword(it) => it.range,
    };
    range.start..range.end
}

/// The member of this name. A second one, or one that only ignores case, would be another to other readers.
fn member<'a, 'o>(object: &'o Object<'a>, key: &'static str) -> Result<Option<&'o ObjectProp<'a>>, Problem> {
    let mut found = object.properties.iter().filter(|member| fold(member.name.as_str()) == fold(key));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::Twice(key.into())),
        (Some(one), None) if one.name.as_str() == key => Ok(Some(one)),
        (Some(one), None) => Err(Problem::Spelling { found: one.name.as_str().into(), key }),
    }
}

/// A member that would act on the gate, where the client started nothing before.
fn started(object: &Object<'_>) -> Result<Option<&'static str>, Problem> {
    for key in OF_STARTED {
        let acts = |member: &ObjectProp<'_>| {
            let is_off = member.value.as_boolean_lit().is_some_and(|it| !it.value);
            let is_empty = member.value.as_object().is_some_and(|it| it.properties.is_empty());
            !is_off && !is_empty
        };
        if member(object, key)?.is_some_and(acts) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// That no name stands in an object twice.
fn unique(object: &Object<'_>) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match object.properties.iter().find(|member| !seen.insert(member.name.as_str())) {
        Some(twice) => Err(Problem::Twice(twice.name.as_str().into())),
        None => Ok(()),
    }
}

/// Whether a member holds what looks like a server of its own, as forms do that depend on the system.
fn has_server(member: &ObjectProp<'_>) -> bool {
    let object = member.value.as_object().filter(|_| !PLAIN.contains(&member.name.as_str()));
    let words = ["command", "args", "url", "serverurl"];
    object.is_some_and(|object| {
        object.properties.iter().any(|member| words.contains(&fold(member.name.as_str()).as_str()))
    })
}

/// The names of the variables that an entry sets.
fn variables(value: &Value<'_>) -> Result<Vec<String>, Problem> {
    let object = value.as_object().ok_or(Problem::Environment)?;
    unique(object)?;
    let name = |member: &ObjectProp<'_>| {
        let value = &member.value;
        let is_plain = value.as_string_lit().is_some()
            || value.as_number_lit().is_some()
            || value.as_null_keyword().is_some();
        if is_plain { variable(member.name.as_str()) } else { Err(Problem::Environment) }
    };
    object.properties.iter().map(name).collect()
}

/// A variable's name, if a server can be given it through a gate that is given it too.
pub(crate) fn variable(name: &str) -> Result<String, Problem> {
    if NAMES_OF_THE_GATE.contains(&name) || OF_THE_GATE.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Problem::ActsOnGate(name.into()));
    }
    if name.is_empty() || name.starts_with('-') || name.contains(['=', '\0']) {
        return Err(Problem::Variable(name.into()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
