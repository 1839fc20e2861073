//! What differs between two bundles, part by part.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::error::{BundleError, Fault};
use crate::files::{self, Files, POLICIES};
use crate::{ENTITIES_FILE, MANIFEST_FILE, SIGNATURE_FILE, Snapshot, policies};

/// One part of a bundle that another does not have, or has otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What kind of part: a section of `bundle.toml` such as `surfaces`, `policy`, `entity`, or `file`.
    pub part: String,
    /// Its name: a key, the `@id` of a policy, an entity, a path.
    pub name: String,
    /// What it was, as it is written; of a file its digest. `None` if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is; `None` if it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// The parts of a bundle by kind and name.
type Parts = BTreeMap<(String, String), String>;
/// The texts of policies by their ids.
type Texts = BTreeMap<String, String>;

impl Snapshot {
    /// What differs from an `old` bundle to this one: sections of `bundle.toml` key by key, policies by their `@id`,
    /// entities by their uid, and the other files as a whole. Signatures are none of it. Sorted.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if a part of either does not parse.
    pub fn differences(&self, old: &Self) -> Result<Vec<Difference>, BundleError> {
        let texts = |all| {
            let loaded = policies::load(all)?;
            let texts = loaded.policies.iter().map(|(id, policy)| (id.to_string(), policy.to_string()));
            Ok(texts.collect())
        };
        self.differences_in((texts(&self.files)?, old, texts(&old.files)?))
    }

    /// The same, of bundles whose policies were read before.
    pub(crate) fn differences_in(
        &self,
        (own, old, before): (Texts, &Self, Texts),
    ) -> Result<Vec<Difference>, BundleError> {
        let (old, new) = (parts(&old.files, before)?, parts(&self.files, own)?);
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
        let difference = |name: &(String, String)| Difference {
            part: name.0.clone(),
            name: name.1.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        };
        Ok(changed.map(difference).collect())
    }
}

fn parts(all: &Files, policies: Texts) -> Result<Parts, BundleError> {
    let mut parts = manifest(all)?;
    parts.extend(policies.into_iter().map(|(id, text)| (("policy".to_owned(), id), text)));
    parts.extend(entities(all)?);
    let whole = |path: &str| {
        path != MANIFEST_FILE
            && path != ENTITIES_FILE
            && path != SIGNATURE_FILE
            && !path.starts_with(POLICIES)
    };
    for (path, bytes) in all.iter().filter(|(path, _)| whole(path)) {
        parts.insert(("file".to_owned(), path.clone()), Digest::sha256(bytes).to_string());
    }
    Ok(parts)
}

/// Every key of `bundle.toml`, those of a section each by itself, so that a section that is not known here is told too.
fn manifest(all: &Files) -> Result<Parts, BundleError> {
    let table: BTreeMap<String, Value> =
        toml::from_str(files::text(all, MANIFEST_FILE)?).map_err(|error| {
            let message = error.message().to_owned();
            BundleError::corrupt(MANIFEST_FILE, Fault::Manifest { message })
        })?;
    let mut parts = Parts::new();
    for (section, value) in table {
        if let Value::Object(keys) = value {
            for (key, value) in keys {
                parts.insert((section.clone(), key), value.to_string());
            }
        } else if let Some(items) = value.as_array().filter(|items| items.iter().all(Value::is_object)) {
            for (number, item) in (1_usize..).zip(items) {
                let mut name = (section.clone(), item_name(number, item));
                if parts.contains_key(&name) {
                    name.1 = format!("{} {number}", name.1);
                }
                parts.insert(name, item.to_string());
            }
        } else {
            parts.insert(("bundle".to_owned(), section), value.to_string());
        }
    }
    Ok(parts)
}

/// What tells an item of a section like `[[exceptions]]` from the others, else its number.
fn item_name(number: usize, item: &Value) -> String {
    let surface = item.get("surface").and_then(Value::as_str);
    match surface.zip(item.get("covers").and_then(Value::as_array)) {
        Some((surface, covers)) => {
            let codes: Vec<_> = covers.iter().filter_map(Value::as_str).collect();
            format!("{surface} {}", codes.join(", "))
        }
        None => number.to_string(),
    }
}

fn entities(all: &Files) -> Result<Parts, BundleError> {
    let corrupt = |message: String| BundleError::corrupt(ENTITIES_FILE, Fault::Entities { message });
    let entities: Vec<Value> =
        serde_json::from_str(files::text(all, ENTITIES_FILE)?).map_err(|error| corrupt(error.to_string()))?;
    let named = entities.into_iter().map(|entity| {
        let uid = entity.get("uid").ok_or_else(|| corrupt("an entity has no uid".to_owned()))?;
        let text = |key| uid.get(key).and_then(Value::as_str);
        let name = match (text("type"), text("id")) {
            (Some(kind), Some(id)) => format!("{kind}::\"{}\"", id.escape_debug()),
            (_, _) => uid.to_string(),
        };
        Ok((("entity".to_owned(), name), entity.to_string()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use crate::Snapshot;
    use crate::testing::{edit, files, signed};

    fn between(old: crate::files::Files, new: crate::files::Files) -> Vec<(String, bool, bool)> {
        let (old, new) = (Snapshot::from_files(old).unwrap(), Snapshot::from_files(new).unwrap());
        let found = new.differences(&old).unwrap();
        found
            .into_iter()
            .map(|it| (format!("{} {}", it.part, it.name), it.old.is_some(), it.new.is_some()))
            .collect()
    }

    #[test]
    fn each_part_that_differs_is_named_and_signatures_are_none() {
        assert_eq!(between(files(), signed(files())), []);
        let mut new = edit(files(), "bundle.toml", "version = 7", "version = 8");
        new = edit(new, "bundle.toml", "tier = \"critical\"", "tier = \"high\"");
        new = edit(new, "policies/main.cedar", "\"100.00\"", "\"200.00\"");
        new = edit(new, "policies/main.cedar", "no-suspended", "none-suspended");
        new = edit(new, "entities.json", "\"id\": \"rogue\"", "\"id\": \"rascal\"");
        new.insert("README.md".into(), b"x".to_vec());
        let expected = [
            ("bundle version", true, true),
            ("entity Agent::\"rascal\"", false, true),
            ("entity Agent::\"rogue\"", true, false),
            ("file README.md", false, true),
            ("policy may-charge", true, true),
            ("policy no-suspended", true, false),
            ("policy none-suspended", false, true),
            ("surfaces pay.charge", true, true),
        ];
        let expected = expected.map(|(name, old, new)| (name.to_owned(), old, new));
        assert_eq!(between(files(), new), expected);
    }

    /// A section that this crate comes to know later must not be left out of what reviewers see.
    #[test]
    fn a_section_that_is_not_known_yet_is_compared_too() {
        let mut new = files();
        new.get_mut("bundle.toml").unwrap().extend_from_slice(b"\n[limits.daily]\nmost = 3\n");
        assert_eq!(between(files(), new), [("limits daily".to_owned(), false, true)]);
    }
}
