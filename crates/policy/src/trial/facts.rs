//! What cases have in the place of sources of facts: `tests/NAME.json`, entities as in `entities.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::Entities;

use crate::compile::Compiled;
use crate::error::{BundleError, Fault};
use crate::files::{self, Files, TESTS};
use crate::sources::{Given, Ungathered};
use crate::trial::cases::{Case, fault};
use crate::{FactError, FactSnapshot};

/// Gives every case its facts.
pub(crate) fn inform(
    mut cases: Vec<Case>,
    files: &Files,
    compiled: &Compiled,
) -> Result<Vec<Case>, BundleError> {
    let mut facts = CaseFacts::new(files, compiled);
    for case in &mut cases {
        case.facts = facts.of(case)?;
    }
    facts.refuse_unused()?;
    Ok(cases)
}

/// What the cases of a bundle that loads can have, by the names of its files.
pub(crate) fn facts_by_name(files: &Files) -> Result<BTreeMap<String, FactSnapshot>, BundleError> {
    let named = files.keys().filter_map(|path| {
        let name = path.strip_prefix(TESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
        Some((name.to_owned(), path))
    });
    named.map(|(name, path)| Ok((name, read(files, path)?))).collect()
}

fn read(files: &Files, path: &str) -> Result<FactSnapshot, BundleError> {
    let text = files::text(files, path)?;
    FactSnapshot::of_case(text).map_err(|error: FactError| unfit(path, &error.to_string()))
}

/// What was read for cases so far, by the names of the files: most have the same.
struct CaseFacts<'a> {
    files: &'a Files,
    compiled: &'a Compiled,
    joined: BTreeMap<Vec<String>, Arc<Entities>>,
}

impl<'a> CaseFacts<'a> {
    const fn new(files: &'a Files, compiled: &'a Compiled) -> Self {
        Self { files, compiled, joined: BTreeMap::new() }
    }

    /// The bundle's entities with those of a case: of each source the file that the case names, else the one of the
    /// source's name. `None` if the bundle has no sources.
    fn of(&mut self, case: &Case) -> Result<Option<Arc<Entities>>, BundleError> {
        let file = &case.file;
        let sources = &self.compiled.manifest.sources;
        if let Some(name) = case.named.keys().find(|name| !sources.contains_key(*name)) {
            return Err(fault(
                file,
                &case.name,
                &format!("`facts` names `{name}`, which is no source of the bundle"),
            ));
        }
        if sources.is_empty() {
            return Ok(None);
        }
        let path = |name: &str| format!("{TESTS}/{name}.json");
        let named = sources.keys().map(|name| case.named.get(name).map_or(name.as_str(), String::as_str));
        let paths: Vec<String> = named.map(path).collect();
        if let Some(joined) = self.joined.get(&paths) {
            return Ok(Some(Arc::clone(joined)));
        }
        let mut given = Given::new();
        for (name, path) in sources.keys().zip(&paths) {
            given.insert(name.clone(), Arc::new(read(self.files, path)?));
        }
        let joined = self.compiled.join(&given).map_err(|error| {
            let at = match &error {
                Ungathered::Source { name, .. } => sources.keys().zip(&paths).find(|(it, _)| *it == name),
                Ungathered::Together(_) => None,
            };
            unfit(at.map_or(file, |(_, path)| path), &error.to_string())
        })?;
        let joined = Arc::new(joined);
        self.joined.insert(paths, Arc::clone(&joined));
        Ok(Some(joined))
    }

    /// Refuses a file that no case has: what was to be tried with it is not.
    fn refuse_unused(&self) -> Result<(), BundleError> {
        let used: BTreeSet<&String> = self.joined.keys().flatten().collect();
        let mut given = self.files.keys().filter(|path| path.starts_with(TESTS) && path.ends_with(".json"));
        given
            .find(|path| !used.contains(path))
            .map_or(Ok(()), |path| Err(unfit(path, "no case has these facts")))
    }
}

fn unfit(path: &str, message: &str) -> BundleError {
    BundleError::corrupt(path, Fault::Case { message: message.to_owned() })
}

#[cfg(test)]
#[path = "facts_tests.rs"]
pub(crate) mod tests;
