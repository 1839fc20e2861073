//! `invariants/*.cedar`: what must hold of a bundle's policies, whatever is asked and whoever is in the entities.
//!
//! An invariant is a Cedar policy that decides nothing. A `forbid` says that nothing it matches is ever granted, a
//! `permit` that all it matches is always granted. They are part of the bundle, so that its digest covers them.

use cedar_policy::{Effect, Policy, Schema};
use portcullis_protocol::PolicyId;

use crate::asks::Declared;
use crate::error::{BundleError, Fault};
use crate::files::{self, Files, INVARIANTS};
use crate::policies::{self, Named};
use crate::sources::Sourced;

/// One invariant.
#[derive(Clone, Debug)]
pub(crate) struct Invariant {
    pub(crate) id: PolicyId,
    pub(crate) sentence: String,
    pub(crate) policy: Policy,
    /// A grant that has this annotation may match nevertheless.
    pub(crate) unless: Option<String>,
}

/// The annotations of grants that ask for something: an invariant may be about grants that do not.
pub(crate) const ASKING: [&str; 3] = ["approval_roles", "identity_within", "witnessed"];

/// The longest sentence, in bytes.
const MAX_SENTENCE: usize = 500;

/// Reads every invariant, and holds it against the schema, the entities and the labels as if it were a policy: a misspelt
/// group or label would make it hold of anything.
pub(crate) fn load(
    files: &Files,
    schema: &Schema,
    (declared, sourced): (Declared<'_>, &Sourced),
    warnings: &mut Vec<String>,
) -> Result<Vec<Invariant>, BundleError> {
    let mut named = Named::default();
    let mut invariants = Vec::new();
    let directory = format!("{INVARIANTS}/");
    for path in files.keys().filter(|path| path.starts_with(&directory)) {
        let text = files::text(files, path)?;
        for (line, policy) in policies::parse(path, text)? {
            let corrupt = |fault| BundleError::corrupt_at(path, line, fault);
            let invariant = read(&policy).map_err(corrupt)?;
            if let Some(first) = named.ids.get(&invariant.id) {
                let (id, first) = (invariant.id.to_string(), first.clone());
                return Err(corrupt(Fault::PolicyTwice { id, first }));
            }
            named.policies.insert(invariant.id.clone(), invariant.policy.clone());
            named.ids.insert(invariant.id.clone(), path.clone());
            invariants.push(invariant);
        }
    }
    policies::validate(files, &named, schema, warnings)?;
    policies::refuse_absent_entities(&named, declared.entities, sourced)?;
    declared.refuse_unmet(files, &named, warnings)?;
    invariants.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(invariants)
}

pub(crate) fn read(policy: &Policy) -> Result<Invariant, Fault> {
    let id = policy.annotation("id").ok_or(Fault::PolicyUnnamed)?;
    let id: PolicyId = id.parse().map_err(|error| Fault::PolicyName { message: format!("{error}") })?;
    let known = ["id", "sentence", "unless"];
    let other = policy.annotations().map(|(key, _)| key).filter(|key| !known.contains(key)).min();
    if let Some(annotation) = other {
        let (policy, annotation) = (id.to_string(), annotation.to_owned());
        return Err(Fault::InvariantAnnotation { policy, annotation });
    }
    let sentence = policy.annotation("sentence").map(str::trim).filter(|sentence| {
        !sentence.is_empty() && sentence.len() <= MAX_SENTENCE && !sentence.chars().any(char::is_control)
    });
    let Some(sentence) = sentence else { return Err(Fault::InvariantUnsaid { policy: id.to_string() }) };
    let unless = policy.annotation("unless");
    if unless.is_some_and(|unless| policy.effect() == Effect::Permit || !ASKING.contains(&unless)) {
        return Err(Fault::InvariantUnless { policy: id.to_string() });
    }
    let (sentence, unless) = (sentence.to_owned(), unless.map(ToOwned::to_owned));
    let policy = policy.new_id(cedar_policy::PolicyId::new(id.as_str()));
    Ok(Invariant { id, sentence, policy, unless })
}

/// The policy with the other effect, and everything else as it is.
pub(crate) fn with_effect(policy: &Policy, effect: Effect) -> Result<Policy, String> {
    if policy.effect() == effect {
        return Ok(policy.clone());
    }
    let mut json = policy.to_json().map_err(|error| error.to_string())?;
    let word = match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    };
    if let Some(object) = json.as_object_mut() {
        object.insert("effect".to_owned(), word.into());
    }
    let turned = Policy::from_json(Some(policy.id().clone()), json).map_err(|error| error.to_string())?;
    if turned.effect() == effect { Ok(turned) } else { Err("a policy's effect cannot be changed".to_owned()) }
}
