//! Style as a test. Each check is a function from the tree to findings, with a planted violation as its test.

mod arrows;
mod banned;
mod generated;
mod links;
mod paths;
mod size;
mod specification;

use std::fmt;
use std::path::PathBuf;

use crate::mutants;
use crate::rust_source::RustSource;
use crate::workspace::Workspace;

/// Something to mend, at a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    /// What is wrong, and what to do instead.
    message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The text files of the tree.
pub(crate) struct Tree {
    root: PathBuf,
    /// Every file, binary ones too; relative paths, sorted.
    pub(crate) paths: Vec<String>,
    /// Those that are UTF-8 without NUL.
    pub(crate) texts: Vec<TextFile>,
}

/// A text file of the tree.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Present for `.rs` files.
    pub(crate) rust: Option<RustSource>,
}

impl TextFile {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| RustSource::new(path, &text));
        Self { path: path.to_owned(), text, rust }
    }
}

impl Tree {
    fn load(workspace: &Workspace) -> Result<Self, String> {
        let paths = workspace.files()?;
        let mut texts = Vec::new();
        for path in &paths {
            let bytes =
                std::fs::read(workspace.root.join(path)).map_err(|error| format!("`{path}`: {error}"))?;
            if let Ok(text) = String::from_utf8(bytes)
                && !text.contains('\0')
            {
                texts.push(TextFile::new(path, text));
            }
        }
        Ok(Self { root: workspace.root.clone(), paths, texts })
    }

    /// The content of the text file at `path`.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// Whether `path` is a file of the tree, or a folder with files.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.paths.iter().any(|entry| entry == path || entry.starts_with(&folder))
    }

    /// A tree out of memory.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let texts = files.iter().map(|(path, text)| TextFile::new(path, (*text).to_owned()));
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        Self { root: PathBuf::new(), paths, texts: texts.collect() }
    }
}

/// Whether a line may break a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// `tidy: allow`, but without saying why.
    WithoutReason,
    /// `tidy: allow <reason>`.
    Granted,
}

/// Reads the `tidy: allow <reason>` of a line, if it has one.
pub(crate) fn allowance(line: &str) -> Option<Allowance> {
    let (_, reason) = line.split_once("tidy: allow")?;
    Some(if reason.trim().is_empty() { Allowance::WithoutReason } else { Allowance::Granted })
}

/// Runs every check; an error if there is a finding.
pub(crate) fn run(workspace: &Workspace, bless: bool) -> Result<(), String> {
    if bless {
        generated::bless(workspace)?;
    }
    let tree = Tree::load(workspace)?;
    let mut findings = all(workspace, &tree);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to mend", tree.paths.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} to mend")),
    }
}

fn all(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(arrows::check(tree, &workspace.packages));
    findings.extend(size::check(tree));
    findings.extend(banned::check(tree));
    findings.extend(generated::check(workspace, tree));
    findings.extend(specification::check(tree));
    findings.extend(paths::check(tree));
    findings.extend(links::check(tree));
    findings.extend(mutants::check_list(&tree.root));
    findings
}

/// Asserts that a check finds exactly these `path:line`s, each with a message that has the given words.
#[cfg(test)]
#[track_caller]
fn expect(findings: &[Finding], expected: &[(&str, usize, &str)]) {
    let list = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(findings.len(), expected.len(), "{list}");
    for (path, line, words) in expected {
        let found = |finding: &&Finding| {
            finding.path == *path && finding.line == *line && finding.message.contains(words)
        };
        assert!(findings.iter().any(|finding| found(&finding)), "no {path}:{line}: {words} in\n{list}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_needs_a_reason() {
        assert_eq!(allowance("a // b"), None);
        assert_eq!(allowance("a // tidy: allow "), Some(Allowance::WithoutReason));
        assert_eq!(allowance("a // tidy: allow the lock was poisoned"), Some(Allowance::Granted));
    }

    #[test]
    fn binary_files_have_no_text() {
        let tree = Tree::of(&[("docs/a.md", "x")]);
        assert!(tree.has("docs/a.md") && tree.has("docs") && !tree.has("doc"));
        assert_eq!(tree.text("docs/a.md"), Some("x"));
    }
}
