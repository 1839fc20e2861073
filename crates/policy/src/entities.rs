//! `entities.json`: who and what policy knows. Nothing in it, and nothing that policies name, may point at an
//! entity that is not there: membership in what is absent is false without an error.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, Schema};
use portcullis_protocol::{JsonError, Limits, Resource, SurfaceName, SurfaceSpec, Value};

use crate::error::{BundleError, Fault};
use crate::files::{self, Files, MAX_FILE_BYTES};
use crate::sources::Sourced;
use crate::{ENTITIES_FILE, hierarchy, principals};

/// The entity type of agents.
pub(crate) const AGENT: &str = "Agent";
/// The entity type of actions.
pub(crate) const ACTION: &str = "Action";
/// The entity type of the resource of calls that name none.
pub(crate) const SURFACE: &str = "Surface";

/// Bounds on `entities.json`.
const LIMITS: Limits = Limits { bytes: MAX_FILE_BYTES, depth: 16 };

/// The entity types of a schema by their text, so that no text of a request is ever parsed as one.
#[derive(Debug)]
pub(crate) struct Types {
    agent: EntityTypeName,
    action: EntityTypeName,
    /// Of people for whom agents act.
    people: Option<EntityTypeName>,
    others: BTreeMap<String, EntityTypeName>,
}

fn type_name(text: &str) -> Result<EntityTypeName, BundleError> {
    text.parse().map_err(|_| corrupt(format!("`{text}` is no entity type")))
}

/// The entity of an action, which is in no namespace.
pub(crate) fn action_uid(action: &str) -> Result<EntityUid, BundleError> {
    Ok(EntityUid::from_type_name_and_id(type_name(ACTION)?, EntityId::new(action)))
}

impl Types {
    /// With people of this type, if there are any for whom agents act.
    pub(crate) fn new(schema: &Schema, people: Option<&str>) -> Result<Self, BundleError> {
        let others = schema.entity_types().map(|name| (name.to_string(), name.clone())).collect();
        let people = people.map(|kind| principals::people(kind, &others)).transpose()?;
        Ok(Self { agent: type_name(AGENT)?, action: type_name(ACTION)?, people, others })
    }

    pub(crate) fn agent(&self, agent: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.agent.clone(), EntityId::new(agent))
    }

    pub(crate) fn is_agent(&self, uid: &EntityUid) -> bool {
        *uid.type_name() == self.agent
    }

    /// `None` if the bundle has no people.
    pub(crate) fn person(&self, person: &str) -> Option<EntityUid> {
        let people = self.people.clone()?;
        Some(EntityUid::from_type_name_and_id(people, EntityId::new(person)))
    }

    /// The ids of all people, sorted.
    pub(crate) fn people(&self, entities: &Entities) -> BTreeSet<String> {
        self.people.iter().flat_map(|people| ids(entities, people)).collect()
    }

    pub(crate) fn action(&self, action: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.action.clone(), EntityId::new(action))
    }

    /// Whether the schema has an entity type of this name.
    pub(crate) fn is_declared(&self, kind: &str) -> bool {
        self.others.contains_key(kind)
    }

    /// `None` if the schema has no such type.
    pub(crate) fn resource(&self, resource: &Resource) -> Option<EntityUid> {
        let kind = self.others.get(&resource.kind)?;
        Some(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&resource.id)))
    }
}

fn corrupt(message: String) -> BundleError {
    BundleError::corrupt(ENTITIES_FILE, Fault::Entities { message })
}

/// Reads the entities, adds the surfaces and looks after every reference.
pub(crate) fn load(
    files: &Files,
    schema: &Schema,
    types: &Types,
    surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
    sourced: &Sourced,
) -> Result<Entities, BundleError> {
    let text = files::text(files, ENTITIES_FILE)?;
    refuse_ambiguities(text, sourced)?;
    read(text, schema, types, surfaces, sourced)
}

/// Reads the bundle's own entities together with those of its sources, each an array that was held against
/// [`check_forms`], and no two of them with entities of one type.
pub(crate) fn join(
    texts: &[&[u8]],
    schema: &Schema,
    types: &Types,
    surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
) -> Result<Entities, BundleError> {
    let items = texts.iter().map(|text| inside(text)).collect::<Result<Vec<_>, _>>()?;
    let items: Vec<_> = items.into_iter().filter(|items| !items.is_empty()).collect();
    read(&format!("[{}]", items.join(",")), schema, types, surfaces, &Sourced::default())
}

/// What stands between the brackets of an array.
fn inside(text: &[u8]) -> Result<&str, BundleError> {
    let text = str::from_utf8(text).map_err(|_| corrupt("not UTF-8".to_owned()))?.trim();
    let items = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    items.map(str::trim).ok_or_else(|| corrupt("not an array of entities".to_owned()))
}

fn read(
    text: &str,
    schema: &Schema,
    types: &Types,
    surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
    sourced: &Sourced,
) -> Result<Entities, BundleError> {
    hierarchy::refuse_deep_entities(text)?;
    let entities = Entities::from_json_str(text, Some(schema)).map_err(|error| corrupt(chain(&error)))?;
    let entities = add_surfaces(entities, schema, types, surfaces)?;
    refuse_dangling(&entities, sourced)?;
    for (surface, spec) in surfaces {
        let Some(resource) = &spec.resource else { continue };
        let known = types.resource(resource).is_some_and(|uid| entities.get(&uid).is_some());
        if !known && !sourced.is_kind(&resource.kind) {
            let entity = format!("{}::\"{}\"", resource.kind, resource.id.escape_debug());
            let by = format!("surface `{surface}`");
            return Err(BundleError::corrupt(ENTITIES_FILE, Fault::EntityAbsent { entity, by }));
        }
    }
    Ok(entities)
}

/// The whole chain of an error, since Cedar keeps the reason in the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Cedar takes two equal entities for one, and ignores keys that it does not know; a JSON parser may take the
/// last of two equal keys.
fn refuse_ambiguities(text: &str, sourced: &Sourced) -> Result<(), BundleError> {
    let value = Value::parse(text.as_bytes(), LIMITS).map_err(|error| {
        let line = if let JsonError::Syntax { line, .. } = error { Some(line) } else { None };
        BundleError::corrupt_at(ENTITIES_FILE, line, Fault::Entities { message: error.to_string() })
    })?;
    let Value::Array(items) = value else { return Err(corrupt("not an array of entities".to_owned())) };
    let mut seen = BTreeSet::new();
    for item in &items {
        let (kind, id) = check_form(item).map_err(corrupt)?;
        let entity = || format!("{kind}::\"{}\"", id.escape_debug());
        if sourced.is_kind(kind) {
            return Err(BundleError::corrupt(ENTITIES_FILE, Fault::EntitySourced { entity: entity() }));
        }
        if !seen.insert((kind, id)) {
            let entity = entity();
            return Err(BundleError::corrupt(ENTITIES_FILE, Fault::EntityTwice { entity }));
        }
    }
    Ok(())
}

/// Type and id of every entity, if each has a plain form and none occurs twice.
pub(crate) fn check_forms(items: &[Value]) -> Result<BTreeSet<(&str, &str)>, String> {
    let mut seen = BTreeSet::new();
    for item in items {
        let (kind, id) = check_form(item)?;
        if !seen.insert((kind, id)) {
            return Err(format!("entity {kind}::\"{}\" occurs twice", id.escape_debug()));
        }
    }
    Ok(seen)
}

/// An entity's type and id, if it has only known keys and plain references in them.
fn check_form(entity: &Value) -> Result<(&str, &str), String> {
    let form = "is not of the form {\"type\": \"…\", \"id\": \"…\"}";
    let members = entity.as_object().ok_or("not an object among the entities")?;
    let uid = members.get("uid").and_then(uid_text).ok_or_else(|| format!("an entity's `uid` {form}"))?;
    let known = ["uid", "attrs", "parents", "tags"];
    if let Some(key) = members.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("entity {}::\"{}\" has the key `{key}`, which means nothing", uid.0, uid.1));
    }
    let Some(Value::Array(parents)) = members.get("parents") else {
        return Err(format!("entity {}::\"{}\" has no array `parents`", uid.0, uid.1));
    };
    match parents.iter().find(|parent| uid_text(parent).is_none()) {
        Some(_) => Err(format!("entity {}::\"{}\": a parent {form}", uid.0, uid.1)),
        None => Ok(uid),
    }
}

fn uid_text(uid: &Value) -> Option<(&str, &str)> {
    let uid = uid.as_object().filter(|uid| uid.len() == 2)?;
    Some((uid.get("type")?.as_str()?, uid.get("id")?.as_str()?))
}

/// Each surface is the resource of its calls; it need not be written down twice.
fn add_surfaces(
    entities: Entities,
    schema: &Schema,
    types: &Types,
    surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
) -> Result<Entities, BundleError> {
    let uids = surfaces.keys().filter_map(|surface| {
        types.resource(&Resource { kind: SURFACE.to_owned(), id: surface.to_string() })
    });
    let absent = uids.filter(|uid| entities.get(uid).is_none());
    let absent: Vec<_> = absent.map(Entity::with_uid).collect();
    entities.add_entities(absent, Some(schema)).map_err(|error| corrupt(chain(&error)))
}

fn refuse_dangling(entities: &Entities, sourced: &Sourced) -> Result<(), BundleError> {
    let mut dangling = BTreeSet::new();
    for entity in entities.iter() {
        let by = entity.uid();
        let ancestors = entities.ancestors(&by).into_iter().flatten().cloned();
        let mut named: Vec<EntityUid> = ancestors.collect();
        for (_, value) in entity.attrs().chain(entity.tags()) {
            // A value that cannot be had is an unknown of partial evaluation, which is not built in.
            let value = value.map_err(|error| corrupt(format!("{by}: {error}")))?;
            collect_uids(&value, &mut named);
        }
        let absent = named.into_iter().filter(|uid| entities.get(uid).is_none() && !sourced.has(uid));
        dangling.extend(absent.map(|uid| (by.clone(), uid)));
    }
    match dangling.into_iter().next() {
        Some((by, entity)) => {
            let (entity, by) = (entity.to_string(), format!("entity `{by}`"));
            Err(BundleError::corrupt(ENTITIES_FILE, Fault::EntityAbsent { entity, by }))
        }
        None => Ok(()),
    }
}

fn collect_uids(value: &EvalResult, found: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => found.push(uid.clone()),
        EvalResult::Set(set) => set.iter().for_each(|item| collect_uids(item, found)),
        EvalResult::Record(record) => record.iter().for_each(|(_, item)| collect_uids(item, found)),
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::ExtensionValue(_) => {
        }
    }
}

/// The ids of all agents, sorted.
pub(crate) fn agents(entities: &Entities, types: &Types) -> Vec<String> {
    ids(entities, &types.agent).into_iter().collect()
}

fn ids(entities: &Entities, kind: &EntityTypeName) -> BTreeSet<String> {
    let uids = entities.iter().map(Entity::uid).filter(|uid| uid.type_name() == kind);
    uids.map(|uid| uid.id().unescaped().to_owned()).collect()
}
