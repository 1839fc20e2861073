//! The arrows in ARCHITECTURE.md are the dependencies that Cargo knows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree};
use crate::workspace::Package;

const FILE: &str = "ARCHITECTURE.md";
const PREFIX: &str = "portcullis-";

struct Row {
    line: usize,
    to: BTreeSet<String>,
}

pub(super) fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let Some(text) = tree.text(FILE) else {
        return vec![Finding::new(FILE, 1, "is missing; write it, with a ```arrows block")];
    };
    let Some(block) = block(text) else {
        return vec![Finding::new(
            FILE,
            1,
            "has no ```arrows block; add one line `<crate> -> <crate> …` a crate",
        )];
    };
    let mut findings = Vec::new();
    let rows = rows(&block, &mut findings);
    let real = real(packages);
    for (name, row) in &rows {
        match real.get(name) {
            Some(to) => compare(name, row, to, &mut findings),
            None => findings.push(Finding::new(
                FILE,
                row.line,
                format!("there is no crate `{name}`; remove the line"),
            )),
        }
    }
    let last = block.last().map_or(1, |(line, _)| *line);
    for name in real.keys().filter(|name| !rows.contains_key(*name)) {
        findings.push(Finding::new(FILE, last, format!("crate `{name}` has no line; add `{name} -> …`")));
    }
    findings
}

fn compare(name: &str, row: &Row, real: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    for to in real.difference(&row.to) {
        let message = format!(
            "`{name}` depends on `{to}` without an arrow; drop the dependency from its Cargo.toml, or draw the arrow and say why"
        );
        findings.push(Finding::new(FILE, row.line, message));
    }
    for to in row.to.difference(real) {
        let message = format!("the arrow `{name} -> {to}` is not a dependency; remove it here");
        findings.push(Finding::new(FILE, row.line, message));
    }
}

/// The lines between ```` ```arrows ```` and the next fence, with their numbers.
fn block(text: &str) -> Option<Vec<(usize, &str)>> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line));
    lines.find(|(_, line)| line.trim() == "```arrows")?;
    Some(lines.take_while(|(_, line)| line.trim() != "```").collect())
}

fn rows(block: &[(usize, &str)], findings: &mut Vec<Finding>) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (line, text) in block.iter().filter(|(_, text)| !text.trim().is_empty()) {
        let Some((from, to)) = text.split_once("->") else {
            findings.push(Finding::new(FILE, *line, "is no arrow; write `<crate> -> <crate> …`"));
            continue;
        };
        let to = to.split_whitespace().map(str::to_owned).collect();
        let from = from.trim().to_owned();
        if rows.insert(from.clone(), Row { line: *line, to }).is_some() {
            findings.push(Finding::new(FILE, *line, format!("`{from}` has two lines; join them")));
        }
    }
    rows
}

fn real(packages: &[Package]) -> BTreeMap<String, BTreeSet<String>> {
    let short = |name: &String| name.strip_prefix(PREFIX).map(str::to_owned);
    let of = |package: &Package| {
        let dependencies = package.dependencies.iter().filter_map(short).collect();
        short(&package.name).map(|name| (name, dependencies))
    };
    packages.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), dependencies, ..Package::default() }
    }

    fn packages() -> Vec<Package> {
        vec![
            package("portcullis-protocol", &["serde"]),
            package("portcullis-verify", &["portcullis-protocol"]),
            package("xtask", &["serde_json"]),
        ]
    }

    #[test]
    fn equal_graphs_have_no_finding() {
        let tree = Tree::of(&[(FILE, "# A\n\n```arrows\nprotocol ->\nverify   -> protocol\n```\n")]);
        expect(&check(&tree, &packages()), &[]);
    }

    #[test]
    fn every_difference_is_found() {
        let text = "```arrows\nprotocol -> verify\nverify ->\nledger ->\nnonsense\nverify ->\n```\n";
        let findings = check(&Tree::of(&[(FILE, text)]), &packages());
        expect(
            &findings,
            &[
                (FILE, 2, "`protocol -> verify` is not a dependency"),
                (FILE, 4, "no crate `ledger`"),
                (FILE, 5, "is no arrow"),
                (FILE, 6, "two lines"),
                (FILE, 6, "depends on `protocol` without an arrow"),
            ],
        );
        let findings = check(&Tree::of(&[(FILE, "```arrows\nprotocol ->\n```\n")]), &packages());
        expect(&findings, &[(FILE, 2, "`verify` has no line")]);
    }

    #[test]
    fn a_missing_file_or_block_is_found() {
        expect(&check(&Tree::of(&[]), &packages()), &[(FILE, 1, "is missing")]);
        expect(&check(&Tree::of(&[(FILE, "# A\n")]), &packages()), &[(FILE, 1, "no ```arrows block")]);
    }
}
