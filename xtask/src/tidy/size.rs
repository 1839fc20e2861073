//! Files under 500 lines of production code, functions of at most 70.

use super::{Finding, Tree};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.texts.iter().filter_map(|file| Some((&file.path, file.rust.as_ref()?))) {
        let lines = source.production_lines();
        if lines >= FILE_LINES {
            let message = format!(
                "{lines} lines without its tests, the limit is under {FILE_LINES}; give a part of it a module of its own"
            );
            findings.push(Finding::new(path, 1, message));
        }
        for function in source.functions().iter().filter(|function| function.length > FUNCTION_LINES) {
            let message = format!(
                "`fn {}` has {} lines, the limit is {FUNCTION_LINES}; name its parts as functions",
                function.name, function.length
            );
            findings.push(Finding::new(path, function.line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn a_long_file_is_found_unless_the_length_is_tests() {
        let long = "// x\n".repeat(500);
        let tested =
            format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(499), "// x\n".repeat(100));
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &tested), ("b/tests.rs", &long), ("c.md", &long)]);
        expect(&check(&tree), &[("a.rs", 1, "500 lines")]);
    }

    #[test]
    fn a_long_function_is_found() {
        let body = |lines: usize| format!("\nfn f() {{\n{}}}\n", "    x();\n".repeat(lines));
        let tree = Tree::of(&[("a.rs", &body(69)), ("b.rs", &body(68)), ("tests/c.rs", &body(300))]);
        expect(&check(&tree), &[("a.rs", 2, "`fn f` has 71 lines")]);
    }
}
