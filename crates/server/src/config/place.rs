//! Where a path leads, whatever it is written as.

use std::path::{Component, Path, PathBuf};

/// Links that are followed one after another, as Linux has it (path_resolution(7)).
const LINKS: usize = 40;

/// Whether a path leads into a directory, through whatever links and `..` it is written with, and whether or not it is there
/// yet.
pub(super) fn lies_within(path: &Path, directory: &Path) -> bool {
    real(path, LINKS).starts_with(real(directory, LINKS))
}

fn real(path: &Path, links: usize) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let Some(parent) = path.parent() else { return path.to_owned() };
    // A link to what is not there yet leads there all the same.
    if let (Some(links), Ok(to)) = (links.checked_sub(1), path.read_link()) {
        return real(&parent.join(to), links);
    }
    let parent = real(parent, links);
    match path.components().next_back() {
        Some(Component::Normal(name)) => parent.join(name),
        Some(Component::ParentDir) => parent.parent().map_or_else(|| parent.clone(), Path::to_owned),
        Some(Component::CurDir | Component::RootDir | Component::Prefix(_)) | None => parent,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_where_its_links_and_steps_up_lead() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for made in ["data/inner", "keys"] {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        symlink("data", at("link")).unwrap();
        symlink("../data/later", at("keys/later")).unwrap();
        symlink("round", at("round")).unwrap();
        for within in [
            "data",
            "data/key",
            "keys/../data/key",
            "link/key",
            "absent/../data/key",
            "keys/later",
            "link/a/b/../c",
        ] {
            assert!(lies_within(&at(within), &at("data")), "{within}");
            assert!(lies_within(&at(within), &at("link")), "{within}");
        }
        for outside in
            ["keys/key", "data/../keys/key", "data2/key", "link/../keys/key", "round/key", "absent/../key"]
        {
            assert!(!lies_within(&at(outside), &at("data")), "{outside}");
        }
        assert!(lies_within(Path::new("some/key"), Path::new("")));
    }
}
