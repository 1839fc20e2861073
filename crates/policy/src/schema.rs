//! `schema.cedarschema`, and its agreement with the surfaces: a guard on a context key that never comes, or
//! comes in another type, would degrade without a word.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    CedarSchemaError, EntityUid, Schema, SchemaFragment, SchemaWarning,
    schema_str_to_json_with_resolved_types,
};
use portcullis_protocol::{ActionName, ContextKind, ContextRule, SurfaceName, SurfaceSpec};
use serde_json::Value;

use crate::SCHEMA_FILE;
use crate::entities::{AGENT, action_uid};
use crate::error::{BundleError, Fault};
use crate::files::{self, Files};
use crate::{extent, hierarchy, labels, nesting, principals};

/// Which actions' policies see what the arbiter gives, and no surface declares.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Which labels the agent has.
    pub(crate) labels: BTreeSet<ActionName>,
    /// For whom it acts.
    pub(crate) principals: BTreeSet<ActionName>,
}

type Surfaces = BTreeMap<SurfaceName, SurfaceSpec>;

/// How deep the names of common types may lead to one another. Cedar refuses cycles.
const MAX_ALIASES: usize = 32;

/// Reads the schema and holds it against the surfaces, and the type of the people for whom agents act.
pub(crate) fn load(
    files: &Files,
    (surfaces, people): (&Surfaces, Option<&str>),
    warnings: &mut Vec<String>,
) -> Result<(Schema, Sight), BundleError> {
    let text = files::text(files, SCHEMA_FILE)?;
    let (fragment, found) = read(text)?.map_err(|error| unparsed(text, (&error).into()))?;
    let schema =
        Schema::from_schema_fragments([fragment]).map_err(|error| unparsed(text, (&error).into()))?;
    warnings.extend(found.into_iter().map(|warning| format!("{SCHEMA_FILE}: {warning}")));
    if !schema.is_complete() {
        return Err(corrupt(Fault::SchemaIncomplete));
    }
    let json = to_json(files)?;
    let mut sight = Sight::default();
    for (surface, spec) in surfaces {
        for action in &spec.actions {
            check_scope(&schema, action, surface, spec)?;
            check_context(&json, action, (spec, people), &mut sight)?;
        }
    }
    refuse_unowned(&schema, surfaces)?;
    Ok((schema, sight))
}

/// Refuses a schema that is deeper, in its types or in what lies in what, or that comes to more than Cedar can be asked for on any
/// thread.
pub(crate) fn refuse_unbounded(text: &str) -> Result<(), BundleError> {
    // What is no schema comes to nothing, and is refused by whoever reads it next, with all that is wrong with it.
    read(text).map(drop)
}

/// What Cedar finds in a text that is within every bound, with its warnings. Nothing is made of it yet.
fn read(text: &str) -> Result<Result<(SchemaFragment, Vec<SchemaWarning>), CedarSchemaError>, BundleError> {
    nesting::refuse_deep_schema(SCHEMA_FILE, text)?;
    extent::refuse_long(text)?;
    let (fragment, warnings) = match SchemaFragment::from_cedarschema_str(text) {
        Ok((fragment, warnings)) => (fragment, warnings.collect()),
        Err(error) => return Ok(Err(error)),
    };
    let json = fragment.clone().to_json_value().map_err(|error| unparsed(text, (&error).into()))?;
    extent::refuse_large(&json)?;
    hierarchy::refuse_deep_schema(&json)?;
    Ok(Ok((fragment, warnings)))
}

/// The schema in its JSON form. To be asked only of one that was loaded before: what it comes to is not asked.
pub(crate) fn to_json(files: &Files) -> Result<Value, BundleError> {
    let text = files::text(files, SCHEMA_FILE)?;
    let (json, _) =
        schema_str_to_json_with_resolved_types(text).map_err(|error| unparsed(text, (&error).into()))?;
    Ok(json)
}

fn corrupt(fault: Fault) -> BundleError {
    BundleError::corrupt(SCHEMA_FILE, fault)
}

fn unparsed(text: &str, error: DetailedError) -> BundleError {
    let (line, message) = describe(text, error);
    BundleError::corrupt_at(SCHEMA_FILE, line, Fault::Schema { message })
}

/// Cedar's message with its help, and the line that it points at.
pub(crate) fn describe(text: &str, error: DetailedError) -> (Option<usize>, String) {
    let label = error.source_locations.first();
    let line = label.and_then(|label| files::line_at(text, label.loc.start));
    let help = error.help.map_or_else(String::new, |help| format!(" ({help})"));
    (line, format!("{}{help}", error.message))
}

fn check_scope(
    schema: &Schema,
    action: &ActionName,
    surface: &SurfaceName,
    spec: &SurfaceSpec,
) -> Result<(), BundleError> {
    let uid = action_uid(action.as_str())?;
    let (Some(mut principals), Some(mut resources)) =
        (schema.principals_for_action(&uid), schema.resources_for_action(&uid))
    else {
        let (action, surface) = (action.to_string(), surface.to_string());
        return Err(corrupt(Fault::ActionUndeclared { action, surface }));
    };
    let outside = |what, kind: &str| {
        Err(corrupt(Fault::ActionScope { action: action.to_string(), what, kind: kind.to_owned() }))
    };
    if !principals.any(|kind| kind.to_string() == AGENT) {
        return outside("principal", AGENT);
    }
    match &spec.resource {
        Some(resource) if !resources.any(|kind| kind.to_string() == resource.kind) => {
            outside("resource", &resource.kind)
        }
        Some(_) | None => Ok(()),
    }
}

/// Every action that can be asked for at all must have a surface; groups of actions cannot be asked for.
fn refuse_unowned(schema: &Schema, surfaces: &Surfaces) -> Result<(), BundleError> {
    let owned = surfaces.values().flat_map(|spec| &spec.actions).map(|action| action_uid(action.as_str()));
    let owned = owned.collect::<Result<BTreeSet<_>, _>>()?;
    let is_asked =
        |uid: &&EntityUid| schema.principals_for_action(uid).is_some_and(|mut any| any.next().is_some());
    let unowned = schema.actions().filter(is_asked).filter(|uid| !owned.contains(*uid)).min();
    match unowned {
        Some(uid) => Err(corrupt(Fault::ActionUnowned { action: uid.to_string() })),
        None => Ok(()),
    }
}

/// Holds an action's context against its surface's. What the arbiter gives is the schema's alone.
fn check_context(
    json: &Value,
    action: &ActionName,
    (spec, people): (&SurfaceSpec, Option<&str>),
    sight: &mut Sight,
) -> Result<(), BundleError> {
    let declared = schema_context(json, action)?;
    let mut ruled: BTreeMap<&str, String> =
        spec.context.iter().map(|(key, rule)| (key.as_str(), rule_type(rule))).collect();
    if declared.contains_key(labels::CONTEXT_KEY) {
        ruled.insert(labels::CONTEXT_KEY, "Set<String>".to_owned());
        sight.labels.insert(action.clone());
    }
    if let Some(kind) = declared.get(principals::CONTEXT_KEY) {
        ruled.insert(principals::CONTEXT_KEY, principal_type(kind, people));
        sight.principals.insert(action.clone());
    }
    let keys: BTreeSet<&str> = declared.keys().chain(ruled.keys()).copied().collect();
    let text = |side: &BTreeMap<&str, String>, key| {
        side.get(key).map_or_else(|| "no such key".to_owned(), |kind| format!("`{kind}`"))
    };
    match keys.into_iter().find(|key| declared.get(key) != ruled.get(key)) {
        Some(key) => Err(corrupt(Fault::Context {
            action: action.to_string(),
            key: key.to_owned(),
            schema: text(&declared, key),
            surface: text(&ruled, key),
        })),
        None => Ok(()),
    }
}

/// The type that `acts_for` may have where it has this one: that of people or of agents, and optional or not. One that is
/// required is a statement too: on this action nobody acts for itself alone.
fn principal_type(declared: &str, people: Option<&str>) -> String {
    let kind = declared.strip_prefix(OPTIONAL).map_or(declared, |kind| kind);
    let known: Vec<_> = people.into_iter().chain([AGENT]).map(entity_type).collect();
    if known.iter().any(|known| known == kind) {
        return declared.to_owned();
    }
    known.iter().map(|known| optionally(true, known)).collect::<Vec<_>>().join("` or `")
}

/// An entity type by its name, which may be that of another type.
fn entity_type(name: &str) -> String {
    format!("entity {name}")
}

fn rule_type(rule: &ContextRule) -> String {
    let kind = match rule.kind {
        ContextKind::String | ContextKind::Path | ContextKind::Url => "String",
        ContextKind::Integer => "Long",
        ContextKind::Boolean => "Bool",
        ContextKind::Decimal { .. } => "decimal",
        ContextKind::Strings => "Set<String>",
    };
    optionally(rule.optional, kind)
}

/// How the text of an optional type begins.
const OPTIONAL: &str = "optional ";

fn optionally(optional: bool, kind: &str) -> String {
    if optional { format!("{OPTIONAL}{kind}") } else { kind.to_owned() }
}

/// The attributes of an action's context and their types, from the schema in its JSON form.
fn schema_context<'a>(
    json: &'a Value,
    action: &ActionName,
) -> Result<BTreeMap<&'a str, String>, BundleError> {
    let unread =
        || corrupt(Fault::Schema { message: format!("the context of action `{action}` is not a record") });
    let applies = json.get("").and_then(|space| space.get("actions")?.get(action.as_str())?.get("appliesTo"));
    let Some(context) = applies.and_then(|applies| applies.get("context")) else {
        return Ok(BTreeMap::new());
    };
    let record = resolve(json, context, MAX_ALIASES).ok_or_else(unread)?;
    if record.get("type") != Some(&Value::from("Record")) {
        return Err(unread());
    }
    let attributes = record.get("attributes").and_then(Value::as_object).ok_or_else(unread)?;
    let types = attributes.iter().map(|(key, kind)| {
        let optional = kind.get("required") == Some(&Value::Bool(false));
        (key.as_str(), optionally(optional, &type_text(json, kind, MAX_ALIASES)))
    });
    Ok(types.collect())
}

/// Follows a name to the common type that it stands for.
fn resolve<'a>(json: &'a Value, kind: &'a Value, depth: usize) -> Option<&'a Value> {
    let name = kind.get("type").and_then(Value::as_str)?;
    let (space, name) = name.rsplit_once("::").map_or(("", name), |parts| parts);
    match json.get(space).and_then(|space| space.get("commonTypes")?.get(name)) {
        Some(common) => resolve(json, common, depth.checked_sub(1)?),
        None => Some(kind),
    }
}

fn type_text(json: &Value, kind: &Value, depth: usize) -> String {
    let unknown = || "a type that no surface has".to_owned();
    let Some((kind, depth)) = resolve(json, kind, depth).zip(depth.checked_sub(1)) else { return unknown() };
    match (kind.get("type").and_then(Value::as_str), kind.get("element")) {
        (Some("Set"), Some(element)) => format!("Set<{}>", type_text(json, element, depth)),
        (Some("String" | "__cedar::String"), None) => "String".to_owned(),
        (Some("Long" | "__cedar::Long"), None) => "Long".to_owned(),
        (Some("Bool" | "Boolean" | "__cedar::Bool"), None) => "Bool".to_owned(),
        (Some("decimal" | "__cedar::decimal"), None) => "decimal".to_owned(),
        (Some("Entity"), None) => kind.get("name").and_then(Value::as_str).map_or_else(unknown, entity_type),
        (Some(_) | None, _) => unknown(),
    }
}
