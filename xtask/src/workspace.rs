//! The workspace as Cargo and git see it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process;

/// Root, target directory and member packages.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where Cargo builds: `CARGO_TARGET_DIR` when set.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Names of the packages it depends on, development dependencies aside.
    pub(crate) dependencies: BTreeSet<String>,
    /// Names of its examples.
    pub(crate) examples: BTreeSet<String>,
}

impl Workspace {
    /// Asks `cargo metadata`.
    pub(crate) fn load() -> Result<Self, String> {
        let output = process::cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start `cargo metadata`: {error}"))?;
        if !output.status.success() {
            return Err(format!("`cargo metadata` failed: {}", output.status));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`cargo metadata` printed no JSON: {error}"))?;
        Self::from_metadata(&metadata).ok_or_else(|| "`cargo metadata` has an unknown shape".to_owned())
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let root = PathBuf::from(metadata.get("workspace_root")?.as_str()?);
        let target = PathBuf::from(metadata.get("target_directory")?.as_str()?);
        let packages = metadata.get("packages")?.as_array()?;
        let packages = packages.iter().map(package_of).collect::<Option<_>>()?;
        Some(Self { root, target, packages })
    }

    /// The package called `name`.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Files of the tree that are, or would be, committed: relative paths with `/`, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>, String> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start `git ls-files`: {error}; install git"))?;
        if !output.status.success() {
            return Err(format!("`git ls-files` failed: {}", output.status));
        }
        let listed = String::from_utf8(output.stdout)
            .map_err(|_| "a file's name is not UTF-8; rename it".to_owned())?;
        let names: BTreeSet<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
        let present = names.into_iter().filter(|name| self.root.join(name).is_file());
        Ok(present.map(str::to_owned).collect())
    }
}

fn package_of(package: &Value) -> Option<Package> {
    let dependencies = package.get("dependencies")?.as_array()?;
    let of_production = |entry: &&Value| entry.get("kind").and_then(Value::as_str) != Some("dev");
    let targets = package.get("targets")?.as_array()?;
    let is_example = |entry: &&Value| {
        entry.get("kind").and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(|k| k == "example"))
    };
    Some(Package {
        name: name_of(package)?,
        dependencies: dependencies.iter().filter(of_production).map(name_of).collect::<Option<_>>()?,
        examples: targets.iter().filter(is_example).map(name_of).collect::<Option<_>>()?,
    })
}

fn name_of(entry: &Value) -> Option<String> {
    entry.get("name")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_dependencies_are_left_out() {
        let metadata = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/t",
            "packages": [{
                "name": "a",
                "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"},
                                 {"name": "d", "kind": "build"}],
                "targets": [{"name": "a", "kind": ["lib"]}, {"name": "show", "kind": ["example"]}],
            }],
        });
        let workspace = Workspace::from_metadata(&metadata).expect("well formed");
        let package = workspace.package("a").expect("listed");
        assert_eq!(package.dependencies, BTreeSet::from(["b".to_owned(), "d".to_owned()]));
        assert_eq!(package.examples, BTreeSet::from(["show".to_owned()]));
    }

    #[test]
    fn this_workspace_is_readable() {
        let workspace = Workspace::load().expect("cargo metadata");
        assert!(workspace.package("xtask").is_some());
        assert!(workspace.files().expect("git").contains(&"xtask/src/workspace.rs".to_owned()));
    }
}
