//! Where in a file a fault is. What loads a bundle says what is wrong and in which file; here the words of it are looked up
//! in the text. What is not found is shown without a place, or at its line.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::{Label, is_cases};
use crate::error::Fault;
use crate::files::{self, Files};
use crate::{ENTITIES_FILE, MANIFEST_FILE, manifest, trial};

/// A place in a file: the one that the fault is about, or the one where it can be put right.
pub(super) fn of(files: &Files, file: &str, line: Option<usize>, fault: &Fault) -> Option<(String, Label)> {
    let wanted = wanted(fault);
    let file = if matches!(wanted, Wanted::InManifest(_)) { MANIFEST_FILE } else { file };
    let Ok(text) = files::text(files, file) else { return None };
    let span = match wanted {
        Wanted::InManifest(keys) => in_toml(text, &keys),
        Wanted::Entity(entity) if file == ENTITIES_FILE => {
            element(text, entity, matches!(fault, Fault::EntityTwice { .. }))
        }
        Wanted::Entity(entity) => find(text, entity),
        Wanted::Action(action) => action_name(text, action),
        Wanted::Key(action, key) => after(text, action_name(text, action)?.end, key),
        Wanted::Policy(id, name) => policy(text, id, name),
        Wanted::Within(id, words) => {
            let named = policy(text, id, "id")?;
            after(text, named.end, words).or(Some(named))
        }
        Wanted::Message(message) => misread(file, text, message),
        Wanted::Nothing => None,
    };
    let span = span.or_else(|| whole_line(text, line?))?;
    Some((file.to_owned(), Label::new(text, first_line(text, span), None)))
}

enum Wanted<'a> {
    /// A key of `bundle.toml`, by its path.
    InManifest(Vec<&'a str>),
    /// An entity, as Cedar writes it.
    Entity(&'a str),
    /// An action of the schema.
    Action(&'a str),
    /// A key behind an action of the schema.
    Key(&'a str, &'a str),
    /// An annotation of a policy.
    Policy(&'a str, &'a str),
    /// Words of a policy.
    Within(&'a str, &'a str),
    /// What the parser says itself.
    Message(&'a str),
    Nothing,
}

fn wanted(fault: &Fault) -> Wanted<'_> {
    if let Fault::Surface { surface, message } = fault {
        return Wanted::InManifest(
            std::iter::once("surfaces").chain([surface.as_str()]).chain(named(message)).collect(),
        );
    }
    if let Fault::Mapping { surface, key, .. } = fault {
        return Wanted::InManifest(vec!["surfaces", surface, "context", key]);
    }
    if let Fault::LabelsFromCaller { surface } = fault {
        return Wanted::InManifest(vec!["surfaces", surface, "context", "labels"]);
    }
    if let Fault::PrincipalFromCaller { surface } = fault {
        return Wanted::InManifest(vec!["surfaces", surface, "context", "acts_for"]);
    }
    if let Fault::Principals { .. } = fault {
        return Wanted::InManifest(vec!["principals", "type"]);
    }
    if let Fault::ActionUndeclared { surface, .. }
    | Fault::SharedAction { second: surface, .. }
    | Fault::SharedTool { second: surface, .. }
    | Fault::AmbiguousTool { surface, .. } = fault
    {
        return Wanted::InManifest(vec!["surfaces", surface]);
    }
    if let Fault::Limit { limit, message } = fault {
        return Wanted::InManifest(
            std::iter::once("limits").chain([limit.as_str()]).chain(named(message)).collect(),
        );
    }
    if let Fault::LabelLifetime { label } = fault {
        return Wanted::InManifest(vec!["labels", label, "lifetime"]);
    }
    if let Fault::Namesake { person, .. } = fault {
        return Wanted::InManifest(vec!["roster", "people", person]);
    }
    if matches!(fault, Fault::Validity) {
        return Wanted::InManifest(vec!["valid_until"]);
    }
    in_others(fault)
}

fn in_others(fault: &Fault) -> Wanted<'_> {
    if let Fault::EntityTwice { entity } | Fault::EntityAbsent { entity, .. } = fault {
        return Wanted::Entity(entity);
    }
    if let Fault::ActionUnowned { action } | Fault::ActionScope { action, .. } = fault {
        return Wanted::Action(action);
    }
    if let Fault::Context { action, key, .. } = fault {
        return Wanted::Key(action, key);
    }
    if let Fault::PolicyTwice { id, .. } = fault {
        return Wanted::Policy(id, "id");
    }
    if let Fault::LabelUndeclared { policy, .. } = fault {
        return Wanted::Policy(policy, "adds_label");
    }
    if let Fault::LabelUnknown { policy, label } = fault {
        return Wanted::Within(policy, label);
    }
    if let Fault::LabelsUnread { policy } = fault {
        return Wanted::Policy(policy, "id");
    }
    if let Fault::LabelsAsked { policy } = fault {
        return Wanted::Within(policy, "has labels");
    }
    if let Fault::PrincipalUnseen { policy, .. } = fault {
        return Wanted::Within(policy, "has acts_for");
    }
    if let Fault::KeyAbsent { policy, key } = fault {
        return Wanted::Within(policy, key);
    }
    if let Fault::Unanswerable { policy, .. } = fault {
        return Wanted::Policy(policy, "approval_roles");
    }
    if let Fault::Manifest { message } | Fault::Case { message } | Fault::Entities { message } = fault {
        return Wanted::Message(message);
    }
    Wanted::Nothing
}

/// The first key that a sentence names, between its backticks.
fn named(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// The deepest key of the path that is there; at least the first must be.
fn in_toml(text: &str, keys: &[&str]) -> Option<Range<usize>> {
    let (table, _) = DeTable::parse_recoverable(text);
    let (mut table, mut found) = (table.get_ref(), None);
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == *key) else {
            break;
        };
        found = Some(name.span());
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    found
}

fn misread(file: &str, text: &str, message: &str) -> Option<Range<usize>> {
    if file == MANIFEST_FILE {
        return manifest::misread(text);
    }
    if is_cases(file) {
        let case = message.strip_prefix("case `").and_then(|rest| rest.split_once("`: "));
        return case.map_or_else(|| trial::misread(text), |(case, _)| case_name(text, case));
    }
    json(text, message)
}

/// Where a case of this name has its name; the last, if several have it.
fn case_name(text: &str, wanted: &str) -> Option<Range<usize>> {
    let (table, _) = DeTable::parse_recoverable(text);
    let (_, cases) = table.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == "case")?;
    let DeValue::Array(cases) = cases.get_ref() else { return None };
    let names = cases.iter().filter_map(|case| {
        let DeValue::Table(case) = case.get_ref() else { return None };
        case.iter().find(|(key, _)| key.get_ref().as_ref() == "name").map(|(_, name)| name)
    });
    let own = |name: &&toml::Spanned<DeValue<'_>>| matches!(name.get_ref(), DeValue::String(name) if name.as_ref() == wanted);
    names.rev().find(own).map(toml::Spanned::span)
}

/// Where a JSON text stops being one, or the entity that a sentence is about.
fn json(text: &str, message: &str) -> Option<Range<usize>> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let line = error.line().checked_sub(1)?;
        let begun: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = begun.checked_add(error.column().checked_sub(1)?)?;
        return Some(at..at.checked_add(1)?);
    }
    let named = elements(text).into_iter().find(|(_, _, entity)| message.contains(entity.as_str()));
    named.map(|(start, length, _)| start..start.saturating_add(length))
}

/// An entity of the file, or the second of two.
fn element(text: &str, entity: &str, second: bool) -> Option<Range<usize>> {
    let own = elements(text).into_iter().filter(|(_, _, name)| name == entity);
    let (start, length, _) = own.into_iter().nth(usize::from(second)).or_else(|| {
        // Not itself in the file: who names it.
        let id = entity.rsplit_once("::").map_or(entity, |(_, id)| id);
        find(text, id).map(|span| (span.start, span.len(), String::new()))
    })?;
    Some(start..start.saturating_add(length))
}

/// Where each entity of the file begins, how long it is, and its name as Cedar writes it.
fn elements(text: &str) -> Vec<(usize, usize, String)> {
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) else { return Vec::new() };
    let mut from = 0_usize;
    let placed = elements.into_iter().filter_map(|element| {
        let written = element.get();
        let start = text.get(from..)?.find(written)?.checked_add(from)?;
        from = start.checked_add(written.len())?;
        let value: serde_json::Value = match serde_json::from_str(written) {
            Ok(value) => value,
            Err(_) => return None,
        };
        let uid = value.get("uid")?;
        let (kind, id) = (uid.get("type")?.as_str()?, uid.get("id")?.as_str()?);
        Some((start, written.len(), format!("{kind}::\"{}\"", id.escape_debug())))
    });
    placed.collect()
}

/// An action's name in the schema, in quotation marks or bare. `Action::"a"` and `a` are the same one.
fn action_name(text: &str, action: &str) -> Option<Range<usize>> {
    let bare = action.strip_prefix("Action::").map_or(action, |quoted| quoted.trim_matches('"'));
    let quoted = format!("\"{bare}\"");
    text.find(&quoted).map(|start| start..start.saturating_add(quoted.len())).or_else(|| {
        let declared = text.find("action ")?;
        after(text, declared, bare)
    })
}

/// The annotation of a policy that is known by its `@id`, else the `@id`. Of two policies of one name, the second.
fn policy(text: &str, id: &str, name: &str) -> Option<Range<usize>> {
    let own = format!("(\"{}\")", id.escape_debug());
    let named = annotation_at(text, text.rfind(&own)?.saturating_sub("@id".len()));
    if name == "id" {
        return named;
    }
    let named = named?;
    let rest = text.get(named.end..)?;
    let reach = rest.find(';').map_or(rest.len(), |end| end);
    let other = rest.get(..reach).and_then(|rest| annotation(rest, name));
    other
        .map(|other| other.start.saturating_add(named.end)..other.end.saturating_add(named.end))
        .or(Some(named))
}

/// An annotation of a policy's text, with its value.
pub(super) fn annotation(text: &str, name: &str) -> Option<Range<usize>> {
    let mark = format!("@{name}");
    let ends = |at: &usize| {
        let behind = at.checked_add(mark.len()).and_then(|behind| text.get(behind..));
        behind.is_some_and(|behind| !behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    };
    let start = text.match_indices(&mark).map(|(at, _)| at).find(ends)?;
    annotation_at(text, start)
}

/// From an `@` to the end of its value, if it has one on the same line.
fn annotation_at(text: &str, start: usize) -> Option<Range<usize>> {
    let line = text.get(start..)?.lines().next()?;
    let word = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '@'))
        .map_or(line.len(), |end| end);
    let valued = line.get(word..).is_some_and(|rest| rest.starts_with('('));
    let length = if valued { line.find("\")").map_or(line.len(), |end| end.saturating_add(2)) } else { word };
    Some(start..start.saturating_add(length))
}

fn find(text: &str, wanted: &str) -> Option<Range<usize>> {
    after(text, 0, wanted)
}

fn after(text: &str, from: usize, wanted: &str) -> Option<Range<usize>> {
    let start = text.get(from..)?.find(wanted)?.checked_add(from)?;
    Some(start..start.checked_add(wanted.len())?)
}

/// What stands on a line, without the blanks around it.
fn whole_line(text: &str, line: usize) -> Option<Range<usize>> {
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let line = text.get(before..)?.lines().next()?;
    let start = before.saturating_add(line.len().saturating_sub(line.trim_start().len()));
    Some(start..start.saturating_add(line.trim().len()))
}

/// The part of a span on its first line: a whole table need not be shown to say where it begins.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let shown = text.get(span.clone()).and_then(|shown| shown.lines().next());
    let length = shown.map_or(0, |shown| shown.trim_end().len());
    span.start..span.start.saturating_add(length)
}
