//! What is fuzzed is what ships: fuzz/Cargo.lock has the versions of Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Locked = BTreeMap<String, BTreeSet<String>>;

/// An error that names the packages whose versions differ.
pub(super) fn check(root: &Path) -> Result<(), String> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(root.join(name)).map_err(|error| format!("`{name}`: {error}"))?;
        versions(&text).ok_or_else(|| format!("`{name}` is no lock file"))
    };
    let differing = differing(&read("Cargo.lock")?, &read("fuzz/Cargo.lock")?);
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "fuzz/Cargo.lock has other versions than Cargo.lock of {}; mend it: \
         cp Cargo.lock fuzz/Cargo.lock && cargo metadata --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null",
        differing.join(", ")
    ))
}

fn versions(text: &str) -> Option<Locked> {
    let lock: toml::Table = text.parse().ok()?;
    let mut locked = Locked::new();
    for package in lock.get("package")?.as_array()? {
        let field = |name: &str| package.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        locked.entry(field("name")?).or_default().insert(field("version")?);
    }
    Some(locked)
}

/// Packages that both have, where the second has a version that the first has not.
fn differing(product: &Locked, fuzz: &Locked) -> Vec<String> {
    let other = |(name, versions): &(&String, &BTreeSet<String>)| {
        product.get(*name).is_some_and(|shipped| !versions.is_subset(shipped))
    };
    fuzz.iter().filter(other).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{differing, versions};

    fn lock(packages: &[(&str, &str)]) -> super::Locked {
        let package = |(name, version): &(&str, &str)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n")
        };
        versions(&packages.iter().map(package).collect::<String>()).expect("a lock file")
    }

    #[test]
    fn another_version_than_the_one_that_ships_is_named() {
        let product = lock(&[("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")]);
        assert!(differing(&product, &lock(&[("a", "2.0.0"), ("c", "9.0.0")])).is_empty());
        assert_eq!(differing(&product, &lock(&[("a", "1.0.0"), ("b", "1.0.1")])), ["b"]);
        assert_eq!(versions("nothing"), None);
    }

    #[test]
    fn this_tree_fuzzes_what_it_ships() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert_eq!(super::check(&root), Ok(()));
    }
}
