//! `policies/*.cedar`: parsed, named by their `@id`, and strictly validated.

use std::collections::BTreeMap;

use cedar_policy::{Entities, EntityUid, Policy, PolicySet, PolicySetError, Schema};
use portcullis_protocol::PolicyId;

use crate::MANIFEST_FILE;
use crate::annotations::{self, Annotations};
use crate::error::{BundleError, Fault};
use crate::files::{self, Files, POLICIES};
use crate::nesting;
use crate::parallel::each;
use crate::roster::{self, Roster};
use crate::schema::describe;
use crate::slices::Slices;
use crate::sources::Sourced;
use crate::validation::Validation;

/// The policies of a bundle under their `@id`.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) policies: BTreeMap<PolicyId, Policy>,
    /// In which file each is.
    pub(crate) ids: BTreeMap<PolicyId, String>,
    /// What the annotations of each say.
    pub(crate) annotations: BTreeMap<PolicyId, Annotations>,
}

/// How many of a file's findings one error tells.
const MAX_FINDINGS: usize = 10;
/// How many are kept to find the first among.
const MANY_FINDINGS: usize = 1_000;

/// Bytes of policies from which on several threads parse them.
const MANY_BYTES: usize = 128 * 1024;

/// The policies of a file with their lines, in the order of those.
type Lined = Vec<(Option<usize>, Policy)>;

/// Reads every policy file. The first defect is that of the first file that has any.
pub(crate) fn load(files: &Files) -> Result<Named, BundleError> {
    let all: Vec<_> = files.iter().filter(|(path, _)| path.starts_with(POLICIES)).collect();
    let bytes: usize = all.iter().map(|(_, bytes)| bytes.len()).sum();
    let read = |(path, _): &(&String, &Vec<u8>)| parse(path, files::text(files, path)?);
    let parsed: Vec<Result<Lined, BundleError>> =
        if bytes < MANY_BYTES { all.iter().map(read).collect() } else { each(&all, read) };
    let mut named = Named::default();
    for ((path, _), parsed) in all.into_iter().zip(parsed) {
        for (line, policy) in parsed? {
            add(&mut named, path, line, policy)?;
        }
    }
    Ok(named)
}

/// The policies of a file in the order of their lines.
pub(crate) fn parse(path: &str, text: &str) -> Result<Lined, BundleError> {
    nesting::refuse_deep_policies(path, text)?;
    let set: PolicySet = text.parse().map_err(|error: cedar_policy::ParseErrors| {
        let (line, message) = describe(text, (&error).into());
        BundleError::corrupt_at(path, line, Fault::Policy { message })
    })?;
    if set.num_of_templates() > 0 {
        let places = set.templates().filter_map(|template| text.find(&template.to_string()));
        let line = places.min().and_then(|start| files::line_at(text, start));
        return Err(BundleError::corrupt_at(path, line, Fault::Template));
    }
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    // Cedar numbers the policies of a text `policy0`, `policy1`…, and promises no order of iteration.
    policies.sort_by_cached_key(|policy| (policy.id().to_string().len(), policy.id().to_string()));
    // Lines are counted on from policy to policy: from the beginning for each would take the square of a long file's time.
    let (mut rest, mut passed) = (text, 0_usize);
    let lined = policies.into_iter().map(|policy| {
        // A policy prints as the text that it was parsed from.
        let written = policy.to_string();
        let found = rest.find(&written).and_then(|start| {
            let behind = rest.get(start.checked_add(written.len())?..)?;
            let line = files::line_at(rest, start)?.checked_add(passed)?;
            passed = line.checked_add(written.matches('\n').count())?.checked_sub(1)?;
            rest = behind;
            Some(line)
        });
        (found, policy)
    });
    Ok(lined.collect())
}

fn add(named: &mut Named, path: &str, line: Option<usize>, policy: Policy) -> Result<(), BundleError> {
    let corrupt = |fault| BundleError::corrupt_at(path, line, fault);
    // Cedar parses a name that it is asked for, each time.
    let named_id = policy.annotations().find(|(name, _)| *name == "id").map(|(_, text)| text);
    let text = named_id.ok_or_else(|| corrupt(Fault::PolicyUnnamed))?;
    let id: PolicyId =
        text.parse().map_err(|error| corrupt(Fault::PolicyName { message: format!("{error}") }))?;
    let annotations =
        annotations::read(&policy).map_err(|refused| annotated(path, line, &policy, &id, refused))?;
    if let Some(first) = named.ids.get(&id) {
        return Err(corrupt(Fault::PolicyTwice { id: id.to_string(), first: first.clone() }));
    }
    let policy = policy.new_id(cedar_policy::PolicyId::new(id.as_str()));
    named.policies.insert(id.clone(), policy);
    named.annotations.insert(id.clone(), annotations);
    named.ids.insert(id, path.to_owned());
    Ok(())
}

/// Points at the annotation itself. A policy prints as the text that it was parsed from.
fn annotated(
    path: &str,
    line: Option<usize>,
    policy: &Policy,
    id: &PolicyId,
    refused: annotations::Refused,
) -> BundleError {
    let annotations::Refused { annotation, why } = refused;
    let text = policy.to_string();
    let within = text.find(&format!("@{annotation}")).and_then(|start| files::line_at(&text, start));
    let line = line.zip(within).map(|(first, within)| first.saturating_add(within.saturating_sub(1)));
    let policy = id.to_string();
    let fault = match why {
        None => Fault::Annotation { policy, annotation },
        Some(message) => Fault::AnnotationValue { policy, annotation, message },
    };
    BundleError::corrupt_at(path, line, fault)
}

/// Cedar's strict validation. Warnings do not refuse a bundle; they are for its author.
pub(crate) fn validate(
    files: &Files,
    named: &Named,
    schema: &Schema,
    warnings: &mut Vec<String>,
) -> Result<(), BundleError> {
    let validation = Validation::new(schema);
    for policy in named.policies.values() {
        let path = path_of(named, policy.id().as_ref());
        validation.refuse_wide(policy).map_err(|fault| BundleError::corrupt(path, fault))?;
    }
    let sets = validation.sets(named.policies.values());
    let sets = sets.ok_or_else(|| BundleError::corrupt(POLICIES, Fault::PoliciesTooWide))?;
    let validated = |set: &Vec<&Policy>| validated(files, named, &validation, set);
    let results = if sets.len() < 2 { sets.iter().map(validated).collect() } else { each(&sets, validated) };
    let (mut warned, mut found) = (Vec::new(), Vec::new());
    for result in results {
        let (more_warned, more) = result?;
        warned.extend(more_warned);
        found.extend(more);
    }
    warned.sort();
    warnings.extend(warned);
    first(&mut found);
    let Some((path, line, _)) = found.first().cloned() else { return Ok(()) };
    let messages = found.into_iter().map(|(_, _, message)| message);
    let message = messages.collect::<Vec<_>>().join("; ");
    Err(BundleError::corrupt_at(path, line, Fault::Validation { message }))
}

/// A file, a line in it, and what is wrong there.
type Finding<'a> = (&'a str, Option<usize>, String);

/// Leaves the first of them, as many as one error tells.
fn first(found: &mut Vec<Finding<'_>>) {
    found.sort();
    found.truncate(MAX_FINDINGS);
}

/// The warnings about policies, and the first that is wrong with them.
fn validated<'a>(
    files: &Files,
    named: &'a Named,
    validation: &Validation,
    policies: &[&Policy],
) -> Result<(Vec<String>, Vec<Finding<'a>>), BundleError> {
    let result = validation.of(policies).map_err(|error| no_set(&error))?;
    let warned = result.validation_warnings().map(ToString::to_string).collect();
    let mut found = Vec::new();
    for error in result.validation_errors() {
        let path = path_of(named, error.policy_id().as_ref());
        let (line, message) = describe(files::text(files, path)?, error.into());
        found.push((path, line, message));
        // One mistake is one for each pair that it is held against.
        if found.len() > MANY_FINDINGS {
            first(&mut found);
        }
    }
    first(&mut found);
    Ok((warned, found))
}

/// Cedar does not take policies together.
fn no_set(error: &PolicySetError) -> BundleError {
    BundleError::corrupt(POLICIES, Fault::Policy { message: error.to_string() })
}

/// The policies by their scopes.
pub(crate) fn slices(named: &Named) -> Result<Slices, BundleError> {
    Slices::new(named.policies.values()).map_err(|error| no_set(&error))
}

fn path_of<'a>(named: &'a Named, id: &str) -> &'a str {
    let Ok(id) = id.parse::<PolicyId>() else { return "" };
    named.ids.get(&id).map_or("", |path| path)
}

/// An approval that could never be given, and a person who could be taken for an agent.
pub(crate) fn refuse_unanswerable(
    named: &Named,
    roster: Option<&Roster>,
    agents: &[String],
) -> Result<(), BundleError> {
    if let Some((person, agent)) = roster.and_then(|roster| roster::agents_namesake(roster, agents)) {
        let person = person.to_string();
        return Err(BundleError::corrupt(MANIFEST_FILE, Fault::Namesake { person, agent }));
    }
    match roster::unanswerable(roster, &named.annotations) {
        None => Ok(()),
        Some((id, message)) => {
            let path = path_of(named, id.as_str());
            Err(BundleError::corrupt(path, Fault::Unanswerable { policy: id.to_string(), message }))
        }
    }
}

/// The entities that policies name and that sources must give, each with a policy that names it.
pub(crate) fn sourced_literals(named: &Named, sourced: &Sourced) -> BTreeMap<EntityUid, PolicyId> {
    let mut literals = BTreeMap::new();
    for (id, policy) in &named.policies {
        let own = policy.entity_literals().into_iter().filter(|uid| sourced.has(uid));
        literals.extend(own.map(|uid| (uid, id.clone())));
    }
    literals
}

/// A `forbid` on a group that is not there would never apply, and say nothing.
pub(crate) fn refuse_absent_entities(
    named: &Named,
    entities: &Entities,
    sourced: &Sourced,
) -> Result<(), BundleError> {
    for (id, policy) in &named.policies {
        let literals = policy.entity_literals().into_iter();
        let absent = literals.filter(|uid| entities.get(uid).is_none() && !sourced.has(uid)).min();
        if let Some(entity) = absent {
            let path = path_of(named, id.as_str());
            let by = format!("policy `{id}`");
            return Err(BundleError::corrupt(path, Fault::EntityAbsent { entity: entity.to_string(), by }));
        }
    }
    Ok(())
}
