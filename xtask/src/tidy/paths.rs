//! Nothing in the tree names a place on one person's machine, or the host of a package registry.

use super::{Allowance, Finding, Tree, allowance};

/// Written in two pieces, so that this file passes its own check.
const FOLDERS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const HOSTS: [&str; 8] = [
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("deb.de", "bian.org"),
    concat!("proxy.go", "lang.org"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.texts {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(message) = offence(line)
                && allowance(line) != Some(Allowance::Granted)
            {
                findings.push(Finding::new(&file.path, index.saturating_add(1), message));
            }
        }
    }
    findings
}

/// What is wrong with the line, if it names such a place.
pub(super) fn offence(line: &str) -> Option<String> {
    if let Some(folder) = FOLDERS.iter().find(|folder| names_folder(line, folder)) {
        return Some(format!(
            "`{folder}` is a place on one machine; use a relative path or a temporary folder"
        ));
    }
    let host = HOSTS.iter().find(|host| line.contains(*host))?;
    Some(format!("`{host}` is a registry's host; name the package alone, the client knows its registry"))
}

/// Whether `folder` begins a path in the line, rather than lying within one.
fn names_folder(line: &str, folder: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-.~".contains(c);
    line.match_indices(folder).any(|(at, _)| {
        line.get(..at).and_then(|before| before.chars().next_back()).is_none_or(|before| !inside(before))
    })
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn machine_paths_and_registry_hosts_are_found() {
        let folder = format!("a\nsee `{}x`\n", FOLDERS[0]);
        let url = format!("open file://{}x\n", FOLDERS[2]);
        let host = format!("\"resolved\": \"https://{}/x\"\n", HOSTS[0]);
        let tree = Tree::of(&[("a.md", &folder), ("b.sh", &url), ("c.json", &host)]);
        expect(
            &check(&tree),
            &[("a.md", 2, "one machine"), ("b.sh", 1, "one machine"), ("c.json", 1, "registry's host")],
        );
    }

    #[test]
    fn the_middle_of_a_path_and_an_allowed_line_are_left_alone() {
        let inner =
            format!("target{}x\n{}x # tidy: allow a path an attacker would send\n", FOLDERS[0], FOLDERS[1]);
        expect(&check(&Tree::of(&[("a.md", &inner)])), &[]);
    }
}
