//! Credentials in the arguments of calls: places of a tool's arguments that the gate fills, and no agent.
//!
//! What is decided, committed to and kept has a slot's name in that place; what is in the place of the name when the call is sent is
//! fetched under its permit. An agent that puts anything there itself is refused, and so is one that says such a name anywhere:
//! whoever reads the record knows which of the two a call was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_protocol::{Limits, Loose, ReasonCode, fold};
use portcullis_sdk::Token;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::redact::{Held, Redaction, TooMuch};
use super::{CredentialSource, NoCredential};
use crate::lookalike::beginning;
use crate::message::{Body, Members, Params, Refused, members_of, quote};

/// Slots of one server.
const MOST: usize = 32;
/// Longest name of a slot.
const LONGEST_NAME: usize = 64;
/// Longest path to a slot, in members.
const DEEPEST: usize = 8;
/// Shortest credential, in bytes. An agent that has its server say texts back sees which of them is taken out: there must be too many to try.
const SHORTEST: usize = 8;
/// What the name of a slot stands behind, in the arguments that are decided.
pub(crate) const NAMED: &str = "portcullis:slot:";

/// The places in the arguments of one server's tools that the gate fills.
#[derive(Clone, Debug)]
pub struct ArgumentSlots {
    slots: Vec<Slot>,
    /// For all sessions: the server may say in one what it was sent in another.
    redaction: Arc<Redaction>,
    /// Whether people were told of what is not there.
    told: Arc<AtomicBool>,
}

/// One place, in the arguments of each of its tools.
#[derive(Debug)]
pub struct ArgumentSlot {
    /// What it is called, in what is decided and on record.
    pub name: String,
    /// The tools, by the names that their server knows.
    pub tools: BTreeSet<String>,
    /// Where in their arguments, as a JSON Pointer (RFC 6901) through members of objects.
    pub argument: String,
    /// Where the credential comes from.
    pub source: CredentialSource,
}

#[derive(Clone, Debug)]
struct Slot {
    name: String,
    tools: BTreeSet<String>,
    path: Vec<String>,
    source: Arc<CredentialSource>,
}

/// Slots that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlots {
    /// There is none, or there are too many.
    #[error("there must be from 1 to {MOST} slots")]
    Count,
    /// A name that could be taken for something else.
    #[error("a slot's name must be of a-z, 0-9, `_` and `-`, at most {LONGEST_NAME} of them")]
    Name,
    /// One is named twice.
    #[error("slot `{0}` is there twice")]
    Twice(String),
    /// No tool has it, or one without a name.
    #[error("slot `{0}` has no tools, or one without a name")]
    NoTools(String),
    /// No place in an object.
    #[error(
        "slot `{0}`: `argument` must be a JSON Pointer to a member, such as `/api_key`, at most {DEEPEST} members deep"
    )]
    Argument(String),
    /// A place that another slot has, or that is within its own.
    #[error(
        "slots `{0}` and `{1}` have the same place in the arguments of a tool, or one is within the other"
    )]
    Overlap(String, String),
}

impl ArgumentSlots {
    /// These slots.
    ///
    /// # Errors
    /// [`InvalidSlots`].
    pub fn new(slots: Vec<ArgumentSlot>) -> Result<Self, InvalidSlots> {
        if slots.is_empty() || slots.len() > MOST {
            return Err(InvalidSlots::Count);
        }
        let slots = slots.into_iter().map(Slot::read).collect::<Result<Vec<_>, _>>()?;
        for (at, slot) in slots.iter().enumerate() {
            for other in slots.iter().take(at) {
                if other.name == slot.name {
                    return Err(InvalidSlots::Twice(slot.name.clone()));
                }
                if other.overlaps(slot) {
                    return Err(InvalidSlots::Overlap(other.name.clone(), slot.name.clone()));
                }
            }
        }
        Ok(Self { slots, redaction: Arc::default(), told: Arc::default() })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Where their credentials come from.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<CredentialSource>> {
        self.slots.iter().map(|slot| &slot.source)
    }

    /// What takes their credentials out of all that the server says.
    pub(crate) fn redaction(&self) -> Arc<Redaction> {
        Arc::clone(&self.redaction)
    }

    fn of_tool<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = &'a Slot> + Clone {
        self.slots.iter().filter(move |slot| slot.tools.contains(tool))
    }

    /// The parameters of a tool's call as they are decided: with the names of its slots in their places. `None` if it has none.
    ///
    /// # Errors
    /// What the agent put where the gate puts a credential.
    pub(crate) fn named(&self, tool: &str, params: &Params) -> Result<Option<Params>, Refused> {
        let slots: Vec<&Slot> = self.of_tool(tool).collect();
        if slots.is_empty() {
            return Ok(None);
        }
        let mut arguments = match params.raw.get("arguments") {
            None => Members::default(),
            Some(raw) => members_of(raw).ok_or_else(no_object)?,
        };
        put(&mut arguments, &slots, 0)?;
        let mut raw = params.raw.clone();
        raw.set("arguments", arguments.to_text());
        Params::read(raw).map(Some).ok_or_else(no_object)
    }

    /// What the call of a tool is sent with, as it is now; `None` if it has no slots. It is taken out of what the server says from here on.
    ///
    /// # Errors
    /// Of which slot, and why.
    pub(crate) async fn fetch(&self, tool: &str) -> Result<Option<Filling>, (String, NoCredential)> {
        let mut fetching = JoinSet::new();
        for (number, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.tools.contains(tool)) {
            let slot = slot.clone();
            fetching.spawn(async move { (number, slot.source.fetch().await, slot.name) });
        }
        if fetching.is_empty() {
            return Ok(None);
        }
        let (mut values, mut held) = (Vec::new(), Vec::new());
        while let Some(one) = fetching.join_next().await {
            let ended =
                |_| (tool.to_owned(), NoCredential::Unavailable("it could not be asked for".to_owned()));
            let (number, credential, name) = one.map_err(ended)?;
            let none = |why| (name.clone(), why);
            let credential = credential.map_err(none)?;
            if credential.reveal().len() < SHORTEST {
                return Err(none(NoCredential::TooShort(SHORTEST)));
            }
            let learnt = self.redaction.learn_of(number, &credential);
            held.push(learnt.map_err(|TooMuch| none(NoCredential::TooMany))?);
            let text = quoted(&credential).ok_or_else(|| none(NoCredential::NoText))?;
            values.push((marker(&name), text));
        }
        Ok(Some(Filling { values, held: held.into() }))
    }

    /// What of them is not there, by the names and definitions of all of a server's tools: whoever configured it meant something else. It
    /// is said once.
    pub(crate) fn unknown(&self, listed: &BTreeMap<&str, &str>) -> Vec<String> {
        let what = |slot: &Slot, tool: &str| match listed.get(tool) {
            None => Some("the server has no such tool"),
            Some(definition) => {
                let members = members_of(definition);
                let schema = members.as_ref().and_then(|members| members.get("inputSchema"));
                let known = schema.is_some_and(|schema| without(schema, &slot.path).is_some());
                (!known).then_some("its input schema says nothing of the argument, and agents may see it")
            }
        };
        let of = |slot: &Slot| {
            let all = slot.tools.iter().filter_map(|tool| Some((tool, what(slot, tool)?)));
            all.map(|(tool, what)| format!("slot `{}`, tool `{}`: {what}", slot.name, beginning(tool)))
                .collect()
        };
        let unknown: Vec<String> = self.slots.iter().flat_map(|slot| -> Vec<String> { of(slot) }).collect();
        if unknown.is_empty() || self.told.swap(true, Ordering::Relaxed) { Vec::new() } else { unknown }
    }

    /// The definition of a tool as agents are shown it: without what they are not to say. `None` if there is nothing to leave out.
    pub(crate) fn hidden_in(&self, tool: &str, definition: &str) -> Option<String> {
        let mut members = members_of(definition)?;
        let mut changed = false;
        for slot in self.of_tool(tool) {
            let schema = members.get("inputSchema").and_then(|schema| without(schema, &slot.path));
            if let Some(schema) = schema {
                members.set("inputSchema", schema);
                changed = true;
            }
        }
        changed.then(|| members.to_text())
    }
}

impl Slot {
    fn read(slot: ArgumentSlot) -> Result<Self, InvalidSlots> {
        let ArgumentSlot { name, tools, argument, source } = slot;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            return Err(InvalidSlots::Name);
        }
        if tools.is_empty() || tools.contains("") {
            return Err(InvalidSlots::NoTools(name));
        }
        match path_of(&argument) {
            Some(path) => Ok(Self { name, tools, path, source: Arc::new(source) }),
            None => Err(InvalidSlots::Argument(name)),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let folded = |path: &[String]| path.iter().map(|key| fold(key)).collect::<Vec<_>>();
        let (own, others) = (folded(&self.path), folded(&other.path));
        let same = own.iter().zip(&others).all(|(own, other)| own == other);
        same && self.tools.iter().any(|tool| other.tools.contains(tool))
    }

    fn taken(&self) -> Refused {
        let argument: String = self.path.iter().map(|key| format!("/{key}")).collect();
        let detail = format!("the argument `{argument}` is the gate's to fill in: call without it");
        Refused::new(ReasonCode::RequestInvalidValue, detail)
    }
}

/// Puts the names of slots into their places below an object, which must be empty. `depth` members lead to it.
fn put(object: &mut Members, slots: &[&Slot], depth: usize) -> Result<(), Refused> {
    let mut below: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
    for slot in slots {
        if let Some(key) = slot.path.get(depth) {
            below.entry(key).or_default().push(slot);
        }
    }
    // A server that folds case would take another spelling for the same member, whether or not this one is there too.
    for (name, _) in &object.0 {
        let other = below.iter().find(|(key, _)| **key != name && are_same_but_for_case(key, name));
        if let Some(slot) = other.and_then(|(_, slots)| slots.first()) {
            return Err(slot.taken());
        }
    }
    for (key, slots) in below {
        let Some(first) = slots.first() else { continue };
        let there = object.get(key);
        // Of slots that are within one another there are none.
        if first.path.len() == depth.saturating_add(1) {
            if there.is_some() {
                return Err(first.taken());
            }
            object.set(key, marker(&first.name));
            continue;
        }
        let within = there.map(|raw| members_of(raw).ok_or_else(|| first.taken()));
        let mut within = within.transpose()?.unwrap_or_default();
        put(&mut within, &slots, depth.saturating_add(1))?;
        object.set(key, within.to_text());
    }
    Ok(())
}

fn are_same_but_for_case(key: &str, name: &str) -> bool {
    // Most members are ASCII, and there may be many.
    if key.is_ascii() && name.is_ascii() { key.eq_ignore_ascii_case(name) } else { fold(key) == fold(name) }
}

/// A credential as a JSON string. There is no other copy of it: it has its room from the start.
fn quoted(credential: &Token) -> Option<Zeroizing<Vec<u8>>> {
    let longest = credential.reveal().len().saturating_mul(6).saturating_add(2);
    let mut text = Zeroizing::new(Vec::with_capacity(longest));
    serde_json::to_writer(&mut *text, credential.reveal()).ok()?;
    Some(text)
}

/// What a call is sent with in its slots. Does not print.
pub(crate) struct Filling {
    /// By what stands in their places the JSON texts of the credentials.
    values: Vec<(String, Zeroizing<Vec<u8>>)>,
    held: Arc<[Held]>,
}

impl Filling {
    /// A message that names each slot once, with its credentials. `None` if it does not: then what was decided is not what this is for.
    pub(crate) fn fill(self, decided: Vec<u8>) -> Option<Filled> {
        let (Self { values, held }, message) = (self, decided.as_slice());
        let mut places = Vec::new();
        for (marker, value) in &values {
            let mut found = occurrences(message, marker.as_bytes());
            let at = found.next().filter(|_| found.next().is_none())?;
            places.push((at, marker.len(), value));
        }
        places.sort_by_key(|(at, ..)| *at);
        let grown: usize = values.iter().map(|(_, value)| value.len()).sum();
        // Never moved, for what it was moved from is not wiped.
        let mut filled = Zeroizing::new(Vec::with_capacity(message.len().saturating_add(grown)));
        let mut from = 0;
        for (at, length, value) in places {
            filled.extend_from_slice(message.get(from..at)?);
            filled.extend_from_slice(value);
            from = at.saturating_add(length);
        }
        filled.extend_from_slice(message.get(from..)?);
        Some(Filled { decided, filled, held })
    }
}

/// A message as it was decided and as it is sent. There is no other way to one than [`Filling::fill`].
pub(crate) struct Filled {
    decided: Vec<u8>,
    filled: Zeroizing<Vec<u8>>,
    held: Arc<[Held]>,
}

impl Filled {
    /// What its permit is for.
    pub(crate) fn decided(&self) -> &[u8] {
        &self.decided
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.filled
    }

    /// While this is held its credentials are taken out of all that the server says: for as long as an answer may come.
    pub(crate) fn outstanding(&self) -> Arc<[Held]> {
        Arc::clone(&self.held)
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Refuses a message of an agent's in which a slot's name is said, whatever it asks for: on record it always was a slot.
pub(crate) fn unnamed(body: &Body) -> Result<(), Refused> {
    let read = body.params.iter().flat_map(|params| &params.read);
    let in_params = read.into_iter().any(|(key, value)| key.contains(NAMED) || says_a_name(value));
    let says = |(key, raw): &(String, String)| {
        let limits = Limits { bytes: raw.len(), ..Limits::MESSAGE };
        // Read before, as a part of the message.
        key.contains(NAMED) || Loose::parse(raw.as_bytes(), limits).map_or(true, |value| says_a_name(&value))
    };
    if in_params || body.others.0.iter().any(says) {
        let detail = format!("`{NAMED}` is said by no agent: it names what the gate fills in");
        return Err(Refused::new(ReasonCode::RequestInvalidValue, detail));
    }
    Ok(())
}

/// What stands in a slot's place, as JSON.
fn marker(name: &str) -> String {
    quote(&format!("{NAMED}{name}"))
}

fn no_object() -> Refused {
    Refused::new(ReasonCode::RequestMalformed, "`arguments` must be an object")
}

/// Whether a slot's name, or what could be read as one, is said in a value.
fn says_a_name(value: &Loose) -> bool {
    match value {
        Loose::Str(text) => text.contains(NAMED),
        Loose::Array(items) => items.iter().any(says_a_name),
        Loose::Object(members) => {
            members.iter().any(|(key, value)| key.contains(NAMED) || says_a_name(value))
        }
        Loose::Null | Loose::Bool(_) | Loose::Int(_) | Loose::Fraction | Loose::Oversize => false,
    }
}

fn occurrences<'a>(text: &'a [u8], of: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    text.windows(of.len()).enumerate().filter(move |(_, window)| *window == of).map(|(at, _)| at)
}

/// The members that a pointer leads through.
fn path_of(pointer: &str) -> Option<Vec<String>> {
    let path: Option<Vec<String>> = pointer.strip_prefix('/')?.split('/').map(unescaped).collect();
    path.filter(|path| path.len() <= DEEPEST && path.iter().all(|key| !key.is_empty()))
}

/// A reference token (RFC 6901, section 4).
fn unescaped(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut key = parts.next()?.to_owned();
    for part in parts {
        let (escape, rest) = part.split_at_checked(1)?;
        key.push(match escape {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        key.push_str(rest);
    }
    Some(key)
}

/// A schema of objects without this member of theirs. `None` if it says nothing of it where it is looked for.
fn without(schema: &str, path: &[String]) -> Option<String> {
    let (key, rest) = path.split_first()?;
    let mut schema = members_of(schema)?;
    let mut properties = members_of(schema.get("properties")?)?;
    let own = properties.get(key)?;
    if rest.is_empty() {
        properties = properties.without(&[key]);
        if let Some(required) = schema.get("required") {
            let required: Vec<serde_json::Value> = serde_json::from_str(required).ok()?;
            let others: Vec<_> = required.into_iter().filter(|name| name.as_str() != Some(key)).collect();
            // An empty list is none to older drafts of JSON Schema.
            if others.is_empty() {
                schema = schema.without(&["required"]);
            } else {
                schema.set("required", serde_json::Value::from(others).to_string());
            }
        }
    } else {
        let within = without(own, rest)?;
        properties.set(key, within);
    }
    schema.set("properties", properties.to_text());
    Some(schema.to_text())
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
