//! Every invariant in SPECIFICATION.md names tests that exist: `test: path/of/file.rs::name`.

use super::{Finding, Tree};
use crate::rust_source::is_word_start;

const FILE: &str = "SPECIFICATION.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(FILE) else {
        return vec![Finding::new(FILE, 1, "is missing; write each invariant with `test: path::name`")];
    };
    let mut findings = Vec::new();
    let mut fenced = false;
    // The invariant being read: its line, and whether it has named a test.
    let mut open: Option<(usize, bool)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index.saturating_add(1);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced && (is_invariant(line) || line.starts_with('#')) {
            close(open.take(), &mut findings);
            open = is_invariant(line).then_some((number, false));
        }
        for reference in references(line) {
            if let Some((_, named)) = open.as_mut() {
                *named = true;
            }
            findings.extend(problem(tree, reference).map(|message| Finding::new(FILE, number, message)));
        }
    }
    close(open, &mut findings);
    findings
}

fn close(open: Option<(usize, bool)>, findings: &mut Vec<Finding>) {
    if let Some((line, false)) = open {
        let message = "this invariant names no test; add `test: path/of/file.rs::name`";
        findings.push(Finding::new(FILE, line, message));
    }
}

/// A list item that begins with bold text: `1. **No permit, no execution.** …` or `- **…`.
fn is_invariant(line: &str) -> bool {
    let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = item.len() < line.len();
    let rest = if numbered { item.strip_prefix(". ") } else { line.strip_prefix("- ") };
    rest.is_some_and(|rest| rest.trim_start().starts_with("**"))
}

/// The words of a line that look like `path::name`: a file's path before the `::`.
fn references(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| c.is_whitespace() || "`,;()[]|".contains(c));
    let words = words.map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.split_once("::").is_some_and(|(path, _)| path.contains('/')))
}

/// Why the test that `reference` names cannot be run, if so.
fn problem(tree: &Tree, reference: &str) -> Option<String> {
    let (path, names) = reference.split_once("::")?;
    let name = names.rsplit("::").next().unwrap_or(names);
    let Some(text) = tree.text(path) else {
        return Some(format!("names `{reference}`, but there is no file `{path}`; name the test's file"));
    };
    let missing = || {
        Some(format!(
            "names `{reference}`, but `{path}` has no test `{name}`; mend the name or write the test"
        ))
    };
    let file = tree.texts.iter().find(|file| file.path == path)?;
    match &file.rust {
        Some(source) => match is_rust_test(&source.code, name) {
            Some(true) => None,
            Some(false) => Some(format!(
                "names `{reference}`, which is a function but no test; name the test that calls it"
            )),
            None => missing(),
        },
        None if path.ends_with(".py") && text.contains(&format!("def {name}(")) => None,
        None if !path.ends_with(".py") && text.contains(name) => None,
        None => missing(),
    }
}

/// Whether `fn name` has a test attribute above it; `None` if there is no such function.
fn is_rust_test(code: &str, name: &str) -> Option<bool> {
    let pattern = format!("fn {name}");
    let ends = |rest: &str| rest.trim_start().starts_with(['(', '<']);
    let found = code.match_indices(&pattern).find(|(at, found)| {
        is_word_start(code, *at) && code.get(at.saturating_add(found.len())..).is_some_and(ends)
    });
    let (before, _) = code.split_at_checked(found?.0)?;
    let attributes = before.rsplit([';', '}', '{']).next().unwrap_or_default();
    Some(attributes.contains("test]") || attributes.contains("test("))
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    const CODE: &str =
        "#[test]\nfn holds() {}\nfn helper() {}\n#[tokio::test]\nasync fn waits() {}\n// fn gone()\n";

    #[track_caller]
    fn specification(text: &str, expected: &[(usize, &str)]) {
        let tree = Tree::of(&[
            (FILE, text),
            ("crates/a/src/tests.rs", CODE),
            ("clients/b/test_b.py", "def test_b():\n    pass\n"),
            ("clients/c/c.test.ts", "test(\"refuses\", () => {})\n"),
        ]);
        let expected: Vec<_> = expected.iter().map(|(line, words)| (FILE, *line, *words)).collect();
        expect(&check(&tree), &expected);
    }

    #[test]
    fn tests_that_exist_are_fine() {
        specification(
            "# S\n\n1. **One.** Holds. `test: crates/a/src/tests.rs::holds`,\n   `test: crates/a/src/tests.rs::inner::waits`.\n\
             - **Two.** test: clients/b/test_b.py::test_b\n- **Three.** test: clients/c/c.test.ts::refuses\n- plain\n",
            &[],
        );
    }

    #[test]
    fn missing_tests_are_found() {
        specification(
            "1. **One.** test: crates/a/src/tests.rs::gone\n2. **Two.** test: crates/a/src/no.rs::holds\n\
             3. **Three.** test: crates/a/src/tests.rs::helper\n4. **Four.** test: clients/b/test_b.py::test_c\n\
             5. **Five.** No test.\n\n## Next\n- **Six.**\n",
            &[
                (1, "has no test `gone`"),
                (2, "no file `crates/a/src/no.rs`"),
                (3, "no test; name"),
                (4, "has no test `test_c`"),
                (5, "names no test"),
                (8, "names no test"),
            ],
        );
    }

    #[test]
    fn a_missing_specification_is_found() {
        expect(&check(&Tree::of(&[])), &[(FILE, 1, "is missing")]);
    }
}
