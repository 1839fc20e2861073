//! What Cedar says of the schema, the policies and the invariants: all of it, with its places and its help.

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicySet, Schema};

use super::{Diagnosis, Label, is_policies};
use crate::error::{BundleError, Fault};
use crate::files::{self, Files, INVARIANTS};
use crate::validation::Validation;
use crate::{SCHEMA_FILE, annotations, invariants, nesting, schema};

/// How many of a file's policies' mistakes are told. One is one for each pair of a principal and a resource that it is held against.
const MANY: usize = 10_000;

pub(super) fn find(files: &Files, found: &mut Vec<Diagnosis>) {
    let validation = schema(files, found).map(|schema| Validation::new(&schema));
    for (path, _) in files.iter().filter(|(path, _)| is_policies(path)) {
        let text = match files::text(files, path) {
            Ok(text) => text,
            Err(error) => {
                found.push(super::of(files, &error));
                continue;
            }
        };
        match nesting::refuse_deep_policies(path, text) {
            Ok(()) => policies(path, text, validation.as_ref(), found),
            Err(error) => found.push(super::of(files, &error)),
        }
    }
}

fn schema(files: &Files, found: &mut Vec<Diagnosis>) -> Option<Schema> {
    let text = match files::text(files, SCHEMA_FILE) {
        Ok(text) => text,
        Err(error) => {
            found.push(super::of(files, &error));
            return None;
        }
    };
    if let Err(error) = schema::refuse_unbounded(text) {
        found.push(super::of(files, &error));
        return None;
    }
    match Schema::from_cedarschema_str(text) {
        Ok((schema, _)) => Some(schema),
        Err(error) => {
            let remedy = Fault::Schema { message: String::new() }.remedy();
            found.extend(told(SCHEMA_FILE, text, (&error).into(), remedy));
            None
        }
    }
}

/// What is wrong with a file of policies or invariants by itself, and against the schema.
fn policies(path: &str, text: &str, validation: Option<&Validation>, found: &mut Vec<Diagnosis>) {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(error) => {
            let error: cedar_policy::ParseErrors = error;
            let remedy = Fault::Policy { message: String::new() }.remedy();
            found.extend(told(path, text, (&error).into(), remedy));
            return;
        }
    };
    for policy in set.policies() {
        found.extend(annotated(path, text, policy));
    }
    if let Some(validation) = validation {
        invalid(path, text, &named(&set), validation, found);
    }
}

/// What of policies does not fit the schema, up to [`MANY`]. Those that are too long to be asked about are told by whoever loads them.
fn invalid(path: &str, text: &str, set: &PolicySet, validation: &Validation, found: &mut Vec<Diagnosis>) {
    let remedy = Fault::Validation { message: String::new() }.remedy();
    let mut policies: Vec<_> =
        set.policies().filter(|policy| validation.refuse_wide(policy).is_ok()).collect();
    policies.sort_by_key(|policy| policy.id());
    let mut many = 0_usize;
    for set in validation.sets(policies.into_iter()).into_iter().flatten() {
        let Ok(result) = validation.of(&set) else { continue };
        for error in result.validation_errors().take(MANY.saturating_sub(many)) {
            found.extend(told(path, text, error.into(), remedy));
            many = many.saturating_add(1);
        }
        if many >= MANY {
            return;
        }
    }
}

/// The policies under their `@id`, which Cedar's messages then name; those that have none, or one that is taken, under the
/// number that Cedar gives them.
fn named(set: &PolicySet) -> PolicySet {
    let mut named = PolicySet::new();
    for policy in set.policies() {
        let wanted = policy.annotation("id").map(|id| policy.new_id(cedar_policy::PolicyId::new(id)));
        let added = wanted.is_some_and(|wanted| named.add(wanted).is_ok());
        if !added && named.add(policy.clone()).is_err() {
            continue;
        }
    }
    named
}

/// What its annotations are refused for.
fn annotated(path: &str, text: &str, policy: &Policy) -> Option<Diagnosis> {
    let fault = if path.starts_with(INVARIANTS) { invariants::read(policy).err() } else { refused(policy) }?;
    let written = policy.to_string();
    let start = text.find(&written)?;
    let behind = start.checked_add(written.len())?;
    let within = about(&fault).and_then(|name| super::place::annotation(&written, name));
    let span = match within {
        Some(within) => within.start.checked_add(start)?..within.end.checked_add(start)?,
        None => start..written.lines().next().map_or(behind, |line| start.saturating_add(line.len())),
    };
    let remedy = fault.remedy();
    let labels = vec![Label::new(text, span, None)];
    Some(Diagnosis { file: path.to_owned(), message: fault.to_string(), help: None, remedy, labels })
}

/// The annotation that a fault is about; what is about none is shown at the policy's beginning.
fn about(fault: &Fault) -> Option<&str> {
    if let Fault::Annotation { annotation, .. }
    | Fault::AnnotationValue { annotation, .. }
    | Fault::InvariantAnnotation { annotation, .. } = fault
    {
        return Some(annotation);
    }
    let kinds = [
        (matches!(fault, Fault::InvariantUnless { .. }), "unless"),
        (matches!(fault, Fault::InvariantUnsaid { .. }), "sentence"),
        (matches!(fault, Fault::PolicyName { .. }), "id"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, name)| name)
}

fn refused(policy: &Policy) -> Option<Fault> {
    let Some(id) = policy.annotation("id") else { return Some(Fault::PolicyUnnamed) };
    if let Err(error) = id.parse::<portcullis_protocol::PolicyId>() {
        return Some(Fault::PolicyName { message: error.to_string() });
    }
    let annotations::Refused { annotation, why } = annotations::read(policy).err()?;
    let policy = id.to_owned();
    Some(match why {
        None => Fault::Annotation { policy, annotation },
        Some(message) => Fault::AnnotationValue { policy, annotation, message },
    })
}

/// Cedar's error, and those that it brings along.
fn told(path: &str, text: &str, error: DetailedError, remedy: &'static str) -> Vec<Diagnosis> {
    let DetailedError { message, help, source_locations, related, .. } = error;
    let labels = source_locations.into_iter();
    let labels = labels.map(|label| Label::new(text, label.loc.start..label.loc.end, label.label)).collect();
    let mut told = vec![Diagnosis { file: path.to_owned(), message, help, remedy, labels }];
    told.extend(related.into_iter().flat_map(|error| self::told(path, text, error, remedy)));
    told
}

/// Whether an error is Cedar's own, which is told here.
pub(super) const fn is_cedars(error: &BundleError) -> bool {
    matches!(error, BundleError::Corrupt(defect) if matches!(
        defect.fault, Fault::Schema { .. } | Fault::Policy { .. } | Fault::Validation { .. }
    ))
}
