//! What changes in the servers of a configuration, member by member. Nothing else of the file is shown: what stands beside them
//! is the client's own, keys among it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::{Document, URL};
use super::error::{WrapError, one_line};
use super::plan::{entry_of, value};
use crate::say;

/// Members whose values say how a server is started, and are shown.
const SHOWN: [&str; 3] = ["command", "args", "type"];
/// Members of which the names are shown.
const NAMES: [&str; 2] = ["env", "headers"];
const HIDDEN: &str = "***";

/// The members of servers that differ, as they were and as they are, harmless to a terminal. It is empty where nothing differs
/// that is shown.
pub(crate) fn shown(old: &Document, new: &Document, names: (&str, &str)) -> Result<String, WrapError> {
    let (mut before, mut after) = (value(old.text())?, value(new.text())?);
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for entry in old.entries.iter().chain(&new.entries).filter(|entry| seen.insert(&entry.path)) {
        let of =
            |root: &mut Value| entry_of(root, &entry.path).map(|found| found.clone()).unwrap_or_default();
        let lines = lines(&of(&mut before), &of(&mut after));
        if !lines.is_empty() {
            let path: Vec<String> = entry.path.iter().map(|name| one_line(name)).collect();
            text.push_str(&format!("{}\n{lines}", path.join(" > ")));
        }
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(say::harmless(&format!("--- {}\n+++ {}\n{text}", names.0, names.1)))
}

fn lines(before: &Map<String, Value>, after: &Map<String, Value>) -> String {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut text = String::new();
    for name in names {
        let (was, is) = (before.get(name), after.get(name));
        if was == is {
            continue;
        }
        let seen = |value: Option<&Value>| {
            value.map(|value| format!("{}: {}", Value::from(name.as_str()), visible(name, value)))
        };
        match (seen(was), seen(is)) {
            (Some(was), Some(is)) if was == is => {
                text.push_str(&format!("~ {is} (in values that are not shown)\n"))
            }
            (was, is) => {
                text.extend(was.map(|was| format!("- {was}\n")));
                text.extend(is.map(|is| format!("+ {is}\n")));
            }
        }
    }
    text
}

/// What may be seen of a member: never an address, which may carry a key, nor the value of a variable or header, nor what is
/// not known.
fn visible(name: &str, value: &Value) -> Value {
    match value {
        Value::Array(words) if name == "args" => {
            let is_address = |at: usize| at.checked_sub(1).and_then(|at| words.get(at)) == Some(&URL.into());
            let word =
                |(at, word): (usize, &Value)| if is_address(at) { HIDDEN.into() } else { word.clone() };
            words.iter().enumerate().map(word).collect()
        }
        Value::Object(members) if NAMES.contains(&name) => {
            members.keys().map(|name| (name.clone(), Value::from(HIDDEN))).collect()
        }
        Value::String(_) if SHOWN.contains(&name) => value.clone(),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => HIDDEN.into(),
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
