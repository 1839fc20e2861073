//! A draft from requests that were seen: what they were about, and in comments the grants that would grant exactly them.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    ActionName, AgentId, ContextKind, ContextRule, Request, Resource, SurfaceName, Value, fold,
};

use super::property::is_key;
use super::{Argument, Grant, LeftOut, Proposal, Proposed, Sample, names, text};
use crate::entities::SURFACE;
use crate::{labels, principals};

const SEEN: &str = "a proposal, by what was seen; any other form is refused";
const SEVERAL_TYPES: &str = "it is of more than one type, or of one that policy cannot read";

/// Names of types that mean something to Cedar or to every bundle.
const TAKEN_KINDS: [&str; 12] = [
    "Action",
    "Agent",
    "Group",
    "Surface",
    "String",
    "Long",
    "Bool",
    "Boolean",
    "Set",
    "Record",
    "Entity",
    "Extension",
];

pub(super) fn propose(requests: &[Request]) -> Proposal {
    let mut left_out = Vec::new();
    let mut by_surface: BTreeMap<&SurfaceName, Vec<&Request>> = BTreeMap::new();
    let owners = owners(requests);
    for request in requests {
        match refused(request, &owners) {
            Some(left) => left_out.push(left),
            None => by_surface.entry(&request.ask.surface).or_default().push(request),
        }
    }
    let mut resources = BTreeSet::new();
    let mut surfaces = Vec::new();
    for (name, requests) in by_surface {
        let proposed = surface(name, &requests, &mut left_out);
        if proposed.cases.is_empty() {
            let why = "each of its requests has an input that is not declared";
            left_out.push(LeftOut { what: format!("`{name}`"), why });
            continue;
        }
        resources.extend(proposed.cases.iter().filter_map(|case| case.resource.clone()));
        surfaces.push(proposed);
    }
    left_out.sort_by(|one, other| (&one.what, one.why).cmp(&(&other.what, other.why)));
    left_out.dedup();
    let resources = resources.into_iter().collect();
    Proposal { surfaces, left_out, origin: "requests that were seen", resources }
}

/// On which surfaces each action was seen.
fn owners(requests: &[Request]) -> BTreeMap<&ActionName, BTreeSet<&SurfaceName>> {
    let mut owners: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for request in requests {
        owners.entry(&request.ask.action).or_default().insert(&request.ask.surface);
    }
    owners
}

/// A request that no surface could be declared for.
fn refused(request: &Request, owners: &BTreeMap<&ActionName, BTreeSet<&SurfaceName>>) -> Option<LeftOut> {
    let (action, resource) = (&request.ask.action, &request.ask.resource);
    let why = if !names::is_plain(action.as_str()) {
        "its action is not 1 to 128 of A-Z, a-z, 0-9, `_`, `-` and `.`"
    } else if owners.get(action).is_none_or(|surfaces| surfaces.len() != 1) {
        "its action was seen on more than one surface"
    } else if request.ask.acts_for.is_some() {
        "it is made for another, and the draft's grants do not ask for whom"
    } else if own(request).is_some() && !is_kind(&resource.kind) {
        "the type of its resource is not one that a draft declares"
    } else if !text::is_shown(&resource.id) {
        "its resource is not called by 1 to 256 visible characters"
    } else {
        return None;
    };
    let what = format!("`{}`, action {}", request.ask.surface, text::quoted(action.as_str()));
    Some(LeftOut { what, why })
}

/// The resource, unless it is the surface itself.
fn own(request: &Request) -> Option<&Resource> {
    let resource = &request.ask.resource;
    let is_surface = resource.kind == SURFACE && resource.id == request.ask.surface.as_str();
    (!is_surface).then_some(resource)
}

/// A word that begins with a capital letter, in no namespace.
fn is_kind(kind: &str) -> bool {
    kind.len() <= 64
        && kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !TAKEN_KINDS.contains(&kind)
}

fn surface(name: &SurfaceName, requests: &[&Request], left_out: &mut Vec<LeftOut>) -> Proposed {
    let arguments = arguments(name, requests, left_out);
    // What has an input that is not declared would be refused, whatever is granted.
    let is_known = |key: &String| arguments.iter().any(|argument| argument.key == *key);
    let seen = requests.len();
    let requests: Vec<_> =
        requests.iter().copied().filter(|request| request.ask.context.keys().all(is_known)).collect();
    let distinct: BTreeSet<_> = requests.iter().map(|request| parts(request)).collect();
    let (mut grants, mut cases) = (Vec::new(), Vec::new());
    for (number, (agent, action, resource, context)) in (1_usize..).zip(distinct) {
        let own = resource.cloned();
        let when = conditions(&arguments, context);
        let resource = match &own {
            Some(own) => own.clone(),
            None => Resource { kind: SURFACE.to_owned(), id: name.to_string() },
        };
        let id = format!("{}/{number}", name.as_str().chars().take(100).collect::<String>());
        grants.push(Grant { id, agent: agent.clone(), action: action.to_string(), resource, when });
        cases.push(Sample {
            agent: agent.clone(),
            action: action.to_string(),
            resource: own,
            context: context.clone(),
        });
    }
    let actions: BTreeSet<String> = requests.iter().map(|request| request.ask.action.to_string()).collect();
    let kinds: BTreeSet<String> =
        requests.iter().filter_map(|request| own(request)).map(|own| own.kind.clone()).collect();
    let notes = vec![format!("Seen in {seen} requests.")];
    Proposed {
        name: name.clone(),
        tool: None,
        actions: actions.into_iter().collect(),
        notes,
        arguments,
        kinds: kinds.into_iter().collect(),
        grants,
        cases,
    }
}

type Parts<'a> = (&'a AgentId, &'a ActionName, Option<&'a Resource>, &'a BTreeMap<String, Value>);

fn parts<'a>(request: &'a Request) -> Parts<'a> {
    (&request.agent, &request.ask.action, own(request), &request.ask.context)
}

fn arguments(name: &SurfaceName, requests: &[&Request], left_out: &mut Vec<LeftOut>) -> Vec<Argument> {
    let keys: BTreeSet<&String> = requests.iter().flat_map(|request| request.ask.context.keys()).collect();
    let twins = names::lookalikes(keys.iter().map(|key| key.as_str()));
    let mut arguments = Vec::new();
    for key in keys {
        let values: Vec<&Value> =
            requests.iter().filter_map(|request| request.ask.context.get(key)).collect();
        let told = match kind(&values) {
            _ if !is_key(key) => Err("its name is not 1 to 64 plain characters"),
            _ if [labels::CONTEXT_KEY, principals::CONTEXT_KEY].contains(&key.as_str()) => {
                Err("the arbiter gives it, not the caller")
            }
            _ if twins.contains(&fold(key)) => Err("another is called the same but for case"),
            None => Err(SEVERAL_TYPES),
            Some(kind) => Ok(kind),
        };
        match told {
            Ok(kind) => {
                let note = matches!(kind, ContextKind::Path | ContextKind::Url | ContextKind::Decimal { .. });
                let (note, optional) = (note.then_some(SEEN), values.len() < requests.len());
                arguments.push(Argument { key: key.clone(), kind, from: None, optional, note });
            }
            Err(why) => {
                left_out.push(LeftOut { what: format!("`{name}`, input {}", text::quoted(key)), why })
            }
        }
    }
    arguments
}

/// The narrowest type that all values are of.
fn kind(values: &[&Value]) -> Option<ContextKind> {
    let decimals = (1..=4).map(|scale| ContextKind::Decimal { scale });
    let texts = [ContextKind::Path, ContextKind::Url, ContextKind::String];
    let others = [ContextKind::Integer, ContextKind::Boolean, ContextKind::Strings];
    decimals.chain(texts).chain(others).find(|kind| {
        let rule = ContextRule { kind: *kind, from: None, optional: false };
        values.iter().all(|value| rule.check(value).is_ok())
    })
}

/// That the context is this one: each input that there is, and none of those that there are not.
fn conditions(arguments: &[Argument], context: &BTreeMap<String, Value>) -> Option<String> {
    let conditions = arguments.iter().map(|argument| {
        let key = text::cedar(&argument.key);
        match context.get(&argument.key) {
            Some(value) if argument.optional => {
                format!("context has {key} && {}", equals(&key, argument.kind, value))
            }
            Some(value) => equals(&key, argument.kind, value),
            None => format!("!(context has {key})"),
        }
    });
    let conditions: Vec<_> = conditions.collect();
    (!conditions.is_empty()).then(|| conditions.join(" && "))
}

fn equals(key: &str, kind: ContextKind, value: &Value) -> String {
    let text = literal(value);
    match kind {
        ContextKind::Decimal { .. } => format!("context[{key}] == decimal({text})"),
        // Cedar's strict validation knows no type of `[]`.
        ContextKind::Strings if text == "[]" => format!("context[{key}].isEmpty()"),
        ContextKind::String
        | ContextKind::Path
        | ContextKind::Url
        | ContextKind::Integer
        | ContextKind::Boolean
        | ContextKind::Strings => format!("context[{key}] == {text}"),
    }
}

/// A value that a context can have, as Cedar writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Str(value) => text::cedar(value),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        // Of no type that is declared.
        Value::Null | Value::Object(_) => "false".to_owned(),
    }
}
