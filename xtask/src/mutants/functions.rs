//! Whether there is a test of the name that a mutant gives, told without building anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::list::{FILE, Mutant};
use crate::rust_source::is_ident;
use crate::tidy::Finding;

/// The names of the functions in each package's sources, read when first asked for.
#[derive(Default)]
pub(super) struct Functions {
    packages: BTreeMap<String, BTreeSet<String>>,
}

impl Functions {
    /// What is wrong with the tests that are to notice a mutant, if no function of its package is called so.
    pub(super) fn finding(&mut self, root: &Path, mutant: &Mutant) -> Option<Finding> {
        let known = self.packages.entry(mutant.package.clone()).or_insert_with(|| {
            let mut known = BTreeSet::new();
            folders(&mutant.package).iter().for_each(|folder| read(&root.join(folder), &mut known));
            known
        });
        let missing =
            named(&mutant.test).find(|name| !known.iter().any(|function| function.contains(*name)))?;
        let problem =
            format!("mutant `{}`: no function of {} is called `{missing}`", mutant.name, mutant.package);
        Some(Finding::new(FILE, mutant.line, problem))
    }
}

/// Where the sources of a package and of its tests are.
fn folders(package: &str) -> Vec<String> {
    match package.strip_prefix("portcullis-") {
        Some("cli") => vec!["crates/cli".to_owned(), "tests".to_owned()],
        Some(name) => vec![format!("crates/{name}")],
        None => vec![package.to_owned()],
    }
}

/// The names in a filter expression of nextest, without their modules; what is a module, or a regular expression, names none.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let inner = expression.split("test(").skip(1).filter_map(|rest| rest.split(')').next());
    let names = inner.filter(|name| !name.starts_with('/')).map(|name| name.trim_start_matches('='));
    names.filter_map(|name| name.rsplit("::").next()).filter(|name| !name.is_empty())
}

fn read(path: &Path, known: &mut BTreeSet<String>) {
    if let Ok(entries) = std::fs::read_dir(path) {
        entries.flatten().for_each(|entry| read(&entry.path(), known));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let names =
            text.split("fn ").skip(1).map(|rest| rest.split(|c| !is_ident(c)).next().unwrap_or_default());
        known.extend(names.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_whose_test_was_called_otherwise_was_noticed_by_the_one_who_drew_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let tests = folder.path().join("crates/guard/src");
        std::fs::create_dir_all(&tests).expect("made");
        std::fs::write(tests.join("lib.rs"), "#[test]\nfn three_is_too_many() {}\n").expect("written");
        let finding = |test: &str| {
            let mutant = Mutant {
                name: "m".to_owned(),
                file: String::new(),
                find: String::new(),
                replace: String::new(),
                package: "portcullis-guard".to_owned(),
                test: test.to_owned(),
                line: 7,
            };
            Functions::default().finding(folder.path(), &mutant).map(|finding| finding.to_string())
        };
        for good in ["test(three_is)", "test(=tests::three_is_too_many)", "binary(it) & test(/^x|(y)/)"] {
            assert_eq!(finding(good), None);
        }
        for gone in ["test(four_is_too_many)", "test(three_is_too_many) | test(four_is_too_many)"] {
            let found = finding(gone).expect("it is not there");
            assert!(
                found.starts_with("xtask/mutants.toml:7:") && found.contains("four_is_too_many"),
                "{found}"
            );
        }
    }
}
