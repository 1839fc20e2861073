//! What a path leads through. Whoever may change any of it may have the path lead to something else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, lstat, readlink};
use rustix::io::Errno;

/// As many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// A place on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileType,
    /// Permission bits, the sticky one among them.
    pub(crate) mode: u32,
    /// The user to whom it belongs.
    pub(crate) owner: u32,
}

impl Step {
    fn at(path: PathBuf) -> std::io::Result<Self> {
        let stat = lstat(&path)?;
        let (kind, mode) = (FileType::from_raw_mode(stat.st_mode), stat.st_mode & 0o7777);
        Ok(Self { path, kind, mode, owner: stat.st_uid })
    }
}

/// Everything that a path leads through, from the root on, with each symbolic link and with what that leads through; at the
/// end what it leads to.
pub(crate) fn way(path: &Path) -> std::io::Result<Vec<Step>> {
    let mut left = parts(&std::path::absolute(path)?);
    let mut here = PathBuf::from("/");
    let mut steps = vec![Step::at(here.clone())?];
    let mut links = 0_u32;
    while let Some(part) = left.pop() {
        // What `..` leads to was come through.
        if part == ".." {
            here.pop();
            continue;
        }
        let step = Step::at(here.join(part))?;
        if step.kind == FileType::Symlink {
            links = links.saturating_add(1);
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = PathBuf::from(OsString::from_vec(readlink(&step.path, Vec::new())?.into_bytes()));
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            left.extend(parts(&target));
        } else {
            here.clone_from(&step.path);
        }
        steps.push(step);
    }
    Ok(steps)
}

/// The names of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The places under `root` that a path leads through.
    fn under(root: &Path, path: &str) -> std::io::Result<Vec<String>> {
        let steps = way(&root.join(path))?;
        let below = |step: &Step| step.path.strip_prefix(root).map(|path| path.display().to_string());
        Ok(steps.iter().filter_map(|step| below(step).ok()).filter(|path| !path.is_empty()).collect())
    }

    #[test]
    fn links_are_followed_as_the_kernel_does_and_each_is_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let root = &folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join("c")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        symlink("../a/./b", root.join("c/relative")).unwrap();
        symlink(root.join("c/relative"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, leads) in [
            ("a/b/file", &["a", "a/b", "a/b/file"][..]),
            ("c/../a/b/file", &["c", "a", "a/b", "a/b/file"]),
            ("c/relative/file", &["c", "c/relative", "a", "a/b", "a/b/file"]),
            ("absolute/file", &["absolute", "c", "c/relative", "a", "a/b", "a/b/file"]),
            // `..` is that of the place a link leads to.
            ("absolute/../b/file", &["absolute", "c", "c/relative", "a", "a/b", "a/b", "a/b/file"]),
        ] {
            assert_eq!(under(root, path).unwrap(), leads, "{path}");
            assert_eq!(root.join(path).canonicalize().unwrap(), root.join("a/b/file"), "{path}");
        }
        for none in ["loop", "a/none", "a/b/file/x", "absolute/none"] {
            assert!(under(root, none).is_err(), "{none}");
        }
        let all = way(&root.join("a")).unwrap();
        assert_eq!(all.first().map(|step| step.path.as_path()), Some(Path::new("/")));
        let above = root.ancestors().skip(1).collect::<Vec<_>>();
        assert!(above.iter().all(|dir| all.iter().any(|step| step.path == **dir)), "{all:?}");
    }
}
