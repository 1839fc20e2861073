//! xtask/mutants.toml, read strictly: an entry that no longer fits the source is an error.

use std::path::Path;

use toml::{Table, Value};

use crate::tidy::Finding;

pub(super) const FILE: &str = "xtask/mutants.toml";

/// One deliberate fault, and the tests that must notice it.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: String,
    /// The file to change, relative to the root.
    pub(super) file: String,
    /// Source that occurs exactly once in the file.
    pub(super) find: String,
    pub(super) replace: String,
    /// The package whose tests are to notice.
    pub(super) package: String,
    /// A nextest filter expression that selects them.
    pub(super) test: String,
    /// Where the list names it.
    pub(super) line: usize,
}

/// What is wrong with the list.
#[derive(Debug)]
pub(super) struct ListError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads the list of the workspace at `root`.
pub(super) fn load(root: &Path) -> Result<Vec<Mutant>, ListError> {
    let text = std::fs::read_to_string(root.join(FILE))
        .map_err(|error| ListError { line: 1, message: format!("cannot be read: {error}") })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Mutant>, ListError> {
    let at_start = |message: String| ListError { line: 1, message };
    let mut table: Table = toml::from_str(text).map_err(|error| at_start(error.to_string()))?;
    let entries = match table.remove("mutant") {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(at_start("`mutant` must be written as [[mutant]]".to_owned())),
    };
    if let Some(key) = table.keys().next() {
        return Err(at_start(format!("unknown key `{key}`; each entry begins with [[mutant]]")));
    }
    let mut mutants: Vec<Mutant> = Vec::new();
    for entry in entries {
        let mutant = mutant(entry, text)?;
        if mutants.iter().any(|other| other.name == mutant.name) {
            return Err(ListError {
                line: mutant.line,
                message: format!("two mutants are called `{}`", mutant.name),
            });
        }
        mutants.push(mutant);
    }
    Ok(mutants)
}

fn mutant(entry: Value, text: &str) -> Result<Mutant, ListError> {
    let Value::Table(mut entry) = entry else {
        return Err(ListError { line: 1, message: "a [[mutant]] must be a table".to_owned() });
    };
    let name = match entry.remove("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => name,
        _ => return Err(ListError { line: 1, message: "a [[mutant]] has no `name`".to_owned() }),
    };
    let line = line_naming(text, &name);
    let mut take = |key: &str| match entry.remove(key) {
        Some(Value::String(value)) if key == "replace" || !value.is_empty() => Ok(value),
        _ => Err(ListError { line, message: format!("mutant `{name}` has no text `{key}`") }),
    };
    let (file, find, replace) = (take("file")?, take("find")?, take("replace")?);
    let (package, test) = (take("package")?, take("test")?);
    if let Some(key) = entry.keys().next() {
        return Err(ListError { line, message: format!("mutant `{name}` has an unknown key `{key}`") });
    }
    if find == replace {
        return Err(ListError { line, message: format!("mutant `{name}` changes nothing") });
    }
    Ok(Mutant { name, file, find, replace, package, test, line })
}

fn line_naming(text: &str, name: &str) -> usize {
    let names = |line: &str| line.trim_start().starts_with("name") && line.contains(name);
    text.lines().position(names).map_or(1, |index| index.saturating_add(1))
}

impl Mutant {
    /// Why the entry does not fit the source, if it does not.
    pub(super) fn finding(&self, root: &Path) -> Option<Finding> {
        let problem = match std::fs::read_to_string(root.join(&self.file)) {
            Err(error) => format!("`{}` cannot be read: {error}", self.file),
            Ok(source) => match source.matches(&self.find).count() {
                0 => format!("its `find` is no longer in `{}`", self.file),
                1 => return None,
                count => format!("its `find` is {count} times in `{}`; make it longer", self.file),
            },
        };
        Some(Finding::new(FILE, self.line, format!("mutant `{}`: {problem}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# header\n[[mutant]]\nname = \"one\"\nfile = \"a.rs\"\nfind = '''x < 3'''\nreplace = ''\n\
                        package = \"p\"\ntest = 'test(t)'\n";

    #[test]
    fn a_list_is_read_with_its_lines() {
        let mutants = parse(GOOD).expect("well formed");
        let [mutant] = mutants.as_slice() else { panic!("{mutants:?}") };
        assert_eq!((mutant.name.as_str(), mutant.find.as_str(), mutant.line), ("one", "x < 3", 3));
        assert!(parse("# only a header\n").expect("empty").is_empty());
    }

    #[test]
    fn a_wrong_list_is_refused() {
        let refused = |text: &str, words: &str| {
            let error = parse(text).expect_err(words);
            assert!(error.message.contains(words), "{}", error.message);
        };
        refused(&GOOD.replace("find", "fnid"), "no text `find`");
        refused(&format!("{GOOD}extra = 1\n"), "unknown key `extra`");
        refused(&format!("{GOOD}{GOOD}"), "two mutants are called `one`");
        refused(&GOOD.replace("[[mutant]]", "[[mutants]]"), "unknown key `mutants`");
        refused(&GOOD.replace("replace = ''", "replace = 'x < 3'"), "changes nothing");
        refused(&GOOD.replace("name = \"one\"", ""), "no `name`");
        refused("[[", "TOML");
    }

    #[test]
    fn the_place_must_be_there_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mutants = parse(GOOD).expect("well formed");
        let finding = |source: &str| {
            std::fs::write(folder.path().join("a.rs"), source).expect("written");
            mutants.iter().find_map(|mutant| mutant.finding(folder.path())).map(|finding| finding.to_string())
        };
        assert_eq!(finding("if x < 3 {}"), None);
        let gone = finding("if x < 4 {}").expect("gone");
        assert!(gone.starts_with("xtask/mutants.toml:3:") && gone.contains("no longer"), "{gone}");
        assert!(finding("x < 3 || x < 3").expect("twice").contains("2 times"));
        std::fs::remove_file(folder.path().join("a.rs")).expect("removed");
        assert!(mutants.iter().all(|mutant| mutant.finding(folder.path()).is_some()));
    }
}
