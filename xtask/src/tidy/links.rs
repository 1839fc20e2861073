//! Every file that a Markdown document links to exists.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.texts.iter().filter(|file| file.path.ends_with(".md")) {
        let mut fenced = false;
        for (index, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in targets(&without_code(line)) {
                if let Some(message) = broken(tree, &file.path, &target) {
                    findings.push(Finding::new(&file.path, index.saturating_add(1), message));
                }
            }
        }
    }
    findings
}

fn broken(tree: &Tree, document: &str, target: &str) -> Option<String> {
    let path = target.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    match resolve(folder, path) {
        Some(resolved) if tree.has(&resolved) => None,
        Some(resolved) => {
            Some(format!("links to `{resolved}`, which does not exist; mend or remove the link"))
        }
        None => Some(format!("links to `{path}`, which is outside the repository; say it in words")),
    }
}

/// `path` as seen from `folder`, relative to the root; `None` if it leaves the root.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let base = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The line with its `code` removed.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// The targets of `[text](target)`, `[text](target "title")` and `[label]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    let reference = reference.and_then(|target| target.split_whitespace().next());
    inline.chain(reference).map(|target| target.trim_matches(['<', '>']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found() {
        let text = "see [a](b.md), [c](../README.md#top) and [d](missing.md \"t\")\n\n[e]: ../nowhere/\n[f](../../x)\n";
        let tree =
            Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("README.md", "[d](docs) [g](/docs/b.md)")]);
        expect(
            &check(&tree),
            &[
                ("docs/a.md", 1, "`docs/missing.md`, which does not exist"),
                ("docs/a.md", 3, "`nowhere`"),
                ("docs/a.md", 4, "outside the repository"),
            ],
        );
    }

    #[test]
    fn code_urls_and_anchors_are_no_files() {
        let text =
            "`[a](b)` [b](https://example.com/x) [c](#here) [d](mailto:a@example.com)\n```\n[e](f)\n```\n";
        expect(&check(&Tree::of(&[("a.md", text)])), &[]);
    }
}
