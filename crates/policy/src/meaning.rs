//! What differs between two bundles, in words: what each change means, and in which direction it goes.
//!
//! What policies grant is compared by a solver (`proof::compare`). All else is compared here, value by value. Each
//! comparison takes its values apart field by field, so that a field that is added does not compile before somebody has
//! said what a change of it means. What is not known here at all is told as it is written, and not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use portcullis_protocol::{Millis, ProofDemand};
use serde::Serialize;

use crate::compile::Compiled;
use crate::diff::Difference;
use crate::error::{BundleError, Fault};
use crate::invariants::Invariant;
use crate::manifest::Manifest;
use crate::{Bundle, Rehearsal, Snapshot};

mod context;
mod entities;
mod facts;
mod grants;
mod limits;
mod people;
mod pinned;
mod surfaces;

/// In which direction a change goes. In doubt it is not known, and what is not known is never harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tendency {
    /// Something may be permitted that was not, or with less.
    MorePermissive,
    /// That depends on what is not looked into here.
    Unknown,
    /// Something is permitted no more, or only with more.
    Stricter,
    /// Nothing is permitted otherwise.
    Neither,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// In which direction it goes.
    pub tendency: Tendency,
    /// Of which kind the part is that changed: `surface`, `limit`, `person`, and so on.
    pub part: String,
    /// The part's name.
    pub name: String,
    /// What it means, in words.
    pub sentence: String,
    /// What it was, as it is written; `None` if it was not there, or the sentence says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Whether a solver says of which requests it is true ([`crate::Weaker`]), and so whether anything is left unknown.
    #[serde(skip)]
    pub solvable: bool,
}

/// The changes that are found, and the part that is looked at.
struct Changes {
    found: Vec<Change>,
    part: &'static str,
    name: String,
}

impl Changes {
    const fn new() -> Self {
        Self { found: Vec::new(), part: "", name: String::new() }
    }

    fn at(&mut self, part: &'static str, name: &impl Display) -> &mut Self {
        self.part = part;
        self.name = name.to_string();
        self
    }

    fn say(&mut self, tendency: Tendency, sentence: impl Into<String>) {
        let (part, name) = (self.part.to_owned(), self.name.clone());
        let sentence = sentence.into();
        self.found.push(Change { tendency, part, name, sentence, old: None, new: None, solvable: false });
    }

    /// Says what is not known without a solver, and is with one.
    fn leave(&mut self, sentence: impl Into<String>) {
        self.say(Tendency::Unknown, sentence);
        self.found.iter_mut().rev().take(1).for_each(|change| change.solvable = true);
    }

    /// Says what a number did, if it did: `more` is what it means that it grew.
    fn grew<T: PartialOrd + Copy>(
        &mut self,
        (old, new): (T, T),
        what: &str,
        show: fn(T) -> String,
        more: Tendency,
    ) {
        let (tendency, did) = match new.partial_cmp(&old) {
            Some(std::cmp::Ordering::Equal) => return,
            Some(std::cmp::Ordering::Greater) => (more, "rises"),
            Some(std::cmp::Ordering::Less) => (more.reversed(), "falls"),
            None => (Tendency::Unknown, "changes"),
        };
        self.say(tendency, format!("{what} {did} from {} to {}", show(old), show(new)));
    }

    /// Says that something is asked for now, or no more.
    fn asked(&mut self, (old, new): (bool, bool), what: &str) {
        match (old, new) {
            (false, true) => self.say(Tendency::Stricter, format!("{what} is asked for")),
            (true, false) => self.say(Tendency::MorePermissive, format!("{what} is asked for no more")),
            (true, true) | (false, false) => {}
        }
    }

    /// Says what came to a set and what left it.
    fn set<'a, T: Ord + Display + 'a>(
        &mut self,
        (old, new): (impl IntoIterator<Item = &'a T>, impl IntoIterator<Item = &'a T>),
        (added, gone): (Tendency, Tendency),
        what: &str,
    ) {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
        if let Some(names) = names(new.difference(&old)) {
            self.say(added, format!("{what} added: {names}"));
        }
        if let Some(names) = names(old.difference(&new)) {
            self.say(gone, format!("{what} removed: {names}"));
        }
    }
}

impl Tendency {
    const fn reversed(self) -> Self {
        match self {
            Self::MorePermissive => Self::Stricter,
            Self::Stricter => Self::MorePermissive,
            Self::Unknown => Self::Unknown,
            Self::Neither => Self::Neither,
        }
    }
}

fn names<T: Display>(all: impl Iterator<Item = T>) -> Option<String> {
    let all: Vec<_> = all.map(|name| name.to_string()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Milliseconds, as a bundle writes them.
fn span(milliseconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = UNITS.into_iter().find(|(unit, _)| milliseconds.is_multiple_of(*unit) && milliseconds > 0);
    whole.map_or_else(
        || format!("{milliseconds}ms"),
        |(unit, name)| format!("{}{name}", milliseconds.checked_div(unit).map_or(0, |count| count)),
    )
}

/// What two maps have at their keys: what came, what left, and the pairs of what stayed.
#[expect(clippy::type_complexity, reason = "three lists of borrowed entries")]
fn aligned<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> (Vec<(&'a K, &'a V)>, Vec<(&'a K, &'a V)>, Vec<(&'a K, (&'a V, &'a V))>) {
    let came = new.iter().filter(|(key, _)| !old.contains_key(key)).collect();
    let left = old.iter().filter(|(key, _)| !new.contains_key(key)).collect();
    let stayed = old.iter().filter_map(|(key, value)| Some((key, (value, new.get(key)?)))).collect();
    (came, left, stayed)
}

impl Snapshot {
    /// What changes from an `old` bundle to this one, in words, the most permissive first. What policies grant is not among
    /// it: [`Self::compare`] says that. Whatever is not understood here is told as it is written, and not judged.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if either does not load.
    pub fn meaning(&self, old: &Self) -> Result<Vec<Change>, BundleError> {
        between((old, &Compiled::new(&old.files)?), (self, &Compiled::new(&self.files)?))
    }
}

impl Bundle {
    /// [`Snapshot::meaning`] of bundles that were both read before: this one from `own`, and the other as an `old` snapshot
    /// says.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if a snapshot is not of its bundle.
    pub fn meaning(&self, own: &Snapshot, old: (&Snapshot, &Rehearsal)) -> Result<Vec<Change>, BundleError> {
        if own.digest() != self.reference.digest || old.0.digest() != old.1.digest() {
            return Err(BundleError::corrupt("", Fault::Changed));
        }
        between((old.0, &old.1.compiled), (own, &self.compiled))
    }
}

/// What changes from the first bundle to the second.
fn between(old: (&Snapshot, &Compiled), new: (&Snapshot, &Compiled)) -> Result<Vec<Change>, BundleError> {
    let (before, after) = (old.1, new.1);
    let mut changes = Changes::new();
    manifest(&mut changes, &before.manifest, &after.manifest);
    pinned::compare(
        &mut changes,
        (before.manifest.require_pins, &before.pinned),
        (after.manifest.require_pins, &after.pinned),
    );
    grants::compare(&mut changes, before, after);
    entities::compare(&mut changes, before, after);
    held(&mut changes, before, after);
    let mut found = changes.found;
    let differences = new.0.differences_in((after.slices.texts(), old.0, before.slices.texts()))?;
    found.extend(differences.into_iter().filter_map(unread));
    found.sort();
    Ok(found)
}

fn manifest(changes: &mut Changes, old: &Manifest, new: &Manifest) {
    let Manifest {
        name,
        version,
        valid_from,
        valid_until,
        surfaces,
        limits,
        labels,
        people,
        roster,
        sources,
        exceptions,
        proofs,
        // Beside the cases.
        untested: _,
        // Beside the pins, which are no part of the manifest.
        require_pins: _,
    } = old;
    changes.at("bundle", &"name");
    if *name != new.name {
        let sentence = format!("the bundle `{name}` is called `{}`: it is another bundle", new.name);
        changes.say(Tendency::Unknown, sentence);
    }
    let show = |version: u64| version.to_string();
    changes.at("bundle", &"version").grew((*version, new.version), "the version", show, Tendency::Neither);
    let (later, earlier) = (Tendency::Stricter, Tendency::MorePermissive);
    moved(changes.at("bundle", &"valid_from"), (*valid_from, new.valid_from), later);
    moved(changes.at("bundle", &"valid_until"), (*valid_until, new.valid_until), earlier);
    demand(changes.at("bundle", &"proofs"), *proofs, new.proofs);
    if *people != new.people {
        let kind =
            new.people.as_deref().map_or("nobody".to_owned(), |kind| format!("a `{kind}`, or an agent"));
        let sentence = format!("for whom an agent may act is {kind}");
        changes.at("bundle", &"principals").say(Tendency::Unknown, sentence);
    }
    surfaces::compare(changes, surfaces, &new.surfaces);
    limits::compare(changes, limits, &new.limits);
    grants::labels(changes, labels, &new.labels);
    people::compare(changes, roster.as_ref(), new.roster.as_ref());
    facts::sources(changes, sources, &new.sources);
    facts::exceptions(changes, exceptions, &new.exceptions);
}

fn moved(changes: &mut Changes, (old, new): (Millis, Millis), later: Tendency) {
    let name = changes.name.clone();
    let at = |time: u64| format!("{time} ms");
    changes.grew((old.0, new.0), &format!("`{name}`"), at, later);
}

fn demand(changes: &mut Changes, old: ProofDemand, new: ProofDemand) {
    use ProofDemand::{Required, Unsaid, Waived};
    match (old, new) {
        (Required, Unsaid | Waived) => {
            changes.say(Tendency::MorePermissive, "the next bundle need not be proved any more");
        }
        (Unsaid | Waived, Required) => {
            changes.say(Tendency::Stricter, "it decides only if it was proved, and so does the next one");
        }
        (Unsaid, Waived) | (Waived, Unsaid) => {
            changes.say(Tendency::Neither, "it says otherwise that no proof is demanded");
        }
        (Unsaid, Unsaid) | (Waived, Waived) | (Required, Required) => {}
    }
}

/// What holds a bundle to what was meant: invariants and cases. They grant nothing, and their loss shows nowhere else.
fn held(changes: &mut Changes, old: &Compiled, new: &Compiled) {
    let said = |content: &Compiled| -> BTreeMap<String, String> {
        let all = content.invariants.iter().map(|invariant| {
            let Invariant { id, sentence, policy, unless } = invariant;
            (id.to_string(), format!("{sentence}{unless:?}{policy}"))
        });
        all.collect()
    };
    let (before, after) = (said(old), said(new));
    kept(changes, "invariant", (&before, &after), "nothing proves any more that it holds");
    let cases = |content: &Compiled| -> BTreeMap<String, String> {
        let all = content.cases.iter().map(|case| {
            let name = format!("{}: {}", case.file, case.name);
            (
                name,
                format!(
                    "{:?}{:?}{:?}{:?}{:?}",
                    case.request, case.labels, case.named, case.at, case.expected
                ),
            )
        });
        all.collect()
    };
    kept(changes, "case", (&cases(old), &cases(new)), "no test notices any more if it is decided otherwise");
    tried(changes.at("bundle", &"tests"), old, new);
}

/// Whether anything tries it at all.
fn tried(changes: &mut Changes, old: &Compiled, new: &Compiled) {
    let by = |content: &Compiled| (!content.cases.is_empty(), content.manifest.untested);
    match (by(old), by(new)) {
        ((true, _), (false, true)) => {
            changes.say(Tendency::Unknown, "nothing tries it any more, and it says so: `untested = true`");
        }
        ((_, true) | (true, _), (false, false)) => {
            let sentence = "it has no case and does not say `untested = true`: it does not come into force";
            changes.say(Tendency::Stricter, sentence);
        }
        ((false, false), (false, true)) => {
            changes
                .say(Tendency::Unknown, "it comes into force although nothing tries it: `untested = true`");
        }
        ((false, _), (true, _)) => changes.say(Tendency::Stricter, "cases try it, which had none"),
        ((true, _), (true, _)) | ((false, false), (false, false)) | ((false, true), (false, true)) => {}
    }
}

fn kept(
    changes: &mut Changes,
    part: &'static str,
    (old, new): (&BTreeMap<String, String>, &BTreeMap<String, String>),
    lost: &str,
) {
    let (came, left, stayed) = aligned(old, new);
    for (name, _) in came {
        changes.at(part, name).say(Tendency::Stricter, "added: the bundle is held to it");
    }
    for (name, _) in left {
        changes.at(part, name).say(Tendency::Unknown, format!("removed: {lost}"));
    }
    for (name, (old, new)) in stayed {
        if old != new {
            changes.at(part, name).say(Tendency::Unknown, "changed: it holds the bundle to something else");
        }
    }
}

/// What is compared above by its meaning, or by the solver, section by section.
const READ: [&str; 10] = [
    "surfaces",
    "limits",
    "labels",
    "principals",
    "roster",
    "facts",
    "exceptions",
    "proofs",
    "mcp",
    "entity",
];
const READ_KEYS: [&str; 5] = ["name", "version", "valid_from", "valid_until", "untested"];

/// A difference that nothing above has read.
fn unread(difference: Difference) -> Option<Change> {
    let Difference { part, name, old, new } = difference;
    // What cases have in the place of facts changes what they say, and their own text does not show it.
    let cases = name.starts_with("tests/") && !name.ends_with(".json");
    let held = part == "file" && (cases || name.starts_with("invariants/") || name.starts_with("tools/"));
    if READ.contains(&part.as_str()) || held || (part == "bundle" && READ_KEYS.contains(&name.as_str())) {
        return None;
    }
    let (tendency, sentence) = match (part.as_str(), name.as_str()) {
        ("file", "README.md") => (Tendency::Neither, "what it says to people changes"),
        ("policy", _) => (Tendency::Unknown, "what it grants or forbids is the solver's to say"),
        ("file", "schema.cedarschema") => (Tendency::Unknown, "what its types admit is the solver's to say"),
        (_, _) => (Tendency::Unknown, "not judged: shown as it is written"),
    };
    Some(Change { tendency, part, name, sentence: sentence.to_owned(), old, new, solvable: false })
}

#[cfg(test)]
#[path = "meaning_tests.rs"]
mod tests;
