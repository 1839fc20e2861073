//! The copy of the tree in which mutants live. It stays between runs, with its own target directory, and
//! only files that differ are written, so that Cargo rebuilds little.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::peers;
use crate::workspace::Workspace;

/// What stands on all of the others, and the one whose dependencies are its own.
const BESIDE: [&str; 2] = ["portcullis-cli", "xtask"];

/// A copy of the working tree.
pub(super) struct Copy {
    pub(super) tree: PathBuf,
    /// Where Cargo builds it.
    pub(super) target: PathBuf,
    /// Where the peers are that tests run.
    pub(super) peers: PathBuf,
    /// Packages that are named beside each one whose tests run: all together have the dependencies of the workspace.
    pub(super) beside: &'static [&'static str],
}

impl Copy {
    /// Makes the copy of this number, from 1, equal to the files of the working tree.
    pub(super) fn lay(workspace: &Workspace, number: usize) -> Result<Self, String> {
        let folder = workspace.target.join("mutants");
        let folder = if number == 1 { folder } else { folder.join(number.to_string()) };
        let (tree, target) = (folder.join("tree"), folder.join("target"));
        let copy = Self { tree, target, peers: peers::folder(workspace), beside: &BESIDE };
        let files: BTreeSet<String> = workspace.files()?.into_iter().collect();
        for file in &files {
            copy.update(&workspace.root, file)?;
        }
        let mut present = Vec::new();
        list(&copy.tree, "", &mut present)?;
        for gone in present.iter().filter(|file| !files.contains(*file)) {
            let path = copy.tree.join(gone);
            std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
        Ok(copy)
    }

    /// Takes what the working tree's tests have built of others' crates, if this copy has built nothing: they are the
    /// same in both. The project's own are built anew, for Cargo knows them by where they lie.
    pub(super) fn begin_with(&self, target: &Path) -> Result<(), String> {
        if self.target.exists() {
            return Ok(());
        }
        for part in ["debug/.fingerprint", "debug/build", "debug/deps"] {
            copy_built(&target.join(part), &self.target.join(part))?;
        }
        Ok(())
    }

    fn update(&self, root: &Path, file: &str) -> Result<(), String> {
        let (from, to) = (root.join(file), self.tree.join(file));
        let wanted = std::fs::read(&from).map_err(|error| failed(&from, &error))?;
        if std::fs::read(&to).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        make_parent(&to)?;
        // `copy` keeps the permissions, which scripts among the fixtures need.
        std::fs::copy(&from, &to).map(drop).map_err(|error| failed(&to, &error))
    }

    /// The content of a text file of the copy.
    pub(super) fn read(&self, file: &str) -> Result<String, String> {
        let path = self.tree.join(file);
        std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))
    }

    /// Replaces a file of the copy.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.tree.join(file);
        make_parent(&path)?;
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))
    }
}

fn make_parent(path: &Path) -> Result<(), String> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| failed(path, &error))
}

/// Copies a folder of Cargo's, without the project's own crates and tests, and with the files' times, by which Cargo tells
/// what is to be built anew. No folder is an empty one.
fn copy_built(from: &Path, to: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    std::fs::create_dir_all(to).map_err(|error| failed(to, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(from, &error))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.trim_start_matches("lib").starts_with("portcullis") {
            continue;
        }
        let to = to.join(&*name);
        if path.is_dir() {
            copy_built(&path, &to)?;
        } else if !(from.ends_with("deps") && path.extension().is_none()) {
            // A file without an extension is a test here.
            copy_dated(&path, &to).map_err(|error| failed(&path, &error))?;
        }
    }
    Ok(())
}

fn copy_dated(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to)?;
    let times = std::fs::FileTimes::new().set_modified(std::fs::metadata(from)?.modified()?);
    std::fs::File::open(to)?.set_times(times)
}

/// Every file below `root/folder`, relative to `root`.
fn list(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<(), String> {
    let path = root.join(folder);
    for entry in std::fs::read_dir(&path).map_err(|error| failed(&path, &error))? {
        let entry = entry.map_err(|error| failed(&path, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.path().is_dir() {
            list(root, &relative, files)?;
        } else {
            files.push(relative);
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("mutants: `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        let at = |name: &str| folder.path().join(name);
        let copy = Copy { tree: at("tree"), target: at("target"), peers: at("peers"), beside: &[] };
        std::fs::create_dir_all(root.join("src")).expect("made");
        std::fs::write(root.join("src/a.rs"), "a").expect("written");
        copy.update(&root, "src/a.rs").expect("copied");
        let modified =
            || copy.tree.join("src/a.rs").metadata().and_then(|file| file.modified()).expect("there");
        let before = modified();
        copy.update(&root, "src/a.rs").expect("compared");
        assert_eq!(modified(), before, "an equal file must keep its time, or Cargo rebuilds");
        copy.write("src/a.rs", "mutated").expect("written");
        copy.update(&root, "src/a.rs").expect("copied");
        assert_eq!(copy.read("src/a.rs").as_deref(), Ok("a"), "a mutant left behind must go");
        let mut files = Vec::new();
        list(&copy.tree, "", &mut files).expect("listed");
        assert_eq!(files, ["src/a.rs"]);
    }
}
