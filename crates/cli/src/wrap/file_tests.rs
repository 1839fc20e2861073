use std::os::unix::fs::symlink;

use super::*;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(scene.file(), "old").unwrap();
        fs::set_permissions(scene.file(), PermissionsExt::from_mode(0o640)).unwrap();
        scene
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("mcp.json")
    }

    fn found(&self) -> Found {
        Found::read(&self.file()).unwrap()
    }

    /// What lies in the directory: names and contents.
    fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let content = fs::read_to_string(entry.path()).unwrap_or_default();
                (entry.file_name().into_string().unwrap(), content)
            })
            .collect();
        all.sort();
        all
    }
}

fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

const BACKUP: &str = "mcp.json.before-portcullis";

#[test]
fn a_file_is_replaced_with_its_mode_and_kept_with_it() {
    let scene = Scene::new();
    let found = scene.found();
    assert_eq!(found.kept().unwrap(), None);
    found.replace(b"new", true).unwrap();
    assert_eq!(scene.all(), files(&[("mcp.json", "new"), (BACKUP, "old")]));
    for path in [scene.file(), found.backup()] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o640);
    }
    assert_eq!(found.kept().unwrap().unwrap(), b"old");
    scene.found().replace(b"old", false).unwrap();
    found.forget().unwrap();
    assert_eq!(scene.all(), files(&[("mcp.json", "old")]));
}

#[test]
fn a_backup_that_is_there_is_not_written_over() {
    let scene = Scene::new();
    fs::write(scene.found().backup(), "precious").unwrap();
    assert!(scene.found().replace(b"new", true).is_err());
    assert_eq!(scene.all(), files(&[("mcp.json", "old"), (BACKUP, "precious")]));
}

#[test]
fn a_file_that_was_changed_meanwhile_was_overwritten() {
    for change in [
        |path: &Path| fs::write(path, "theirs").unwrap(),
        // The same bytes in another file are somebody's work too.
        |path: &Path| {
            let beside = path.with_extension("theirs");
            fs::write(&beside, "theirs").unwrap();
            fs::rename(beside, path).unwrap();
        },
    ] {
        let scene = Scene::new();
        let found = scene.found();
        change(&scene.file());
        let failed = found.replace(b"new", false).unwrap_err();
        assert!(matches!(failed, Failed { error: WrapError::Changed { .. }, in_place: false }), "{failed:?}");
        assert_eq!(scene.all(), files(&[("mcp.json", "theirs")]));
        assert!(!found.is_what_was_read(&scene.file()));
        found.write_beside(b"new").unwrap();
        assert!(matches!(found.rename_over(), Err(WrapError::Changed { .. })));
        assert_eq!(scene.all(), files(&[("mcp.json", "theirs")]));
    }
}

#[test]
fn where_files_cannot_be_exchanged_one_is_renamed_over_the_other() {
    let scene = Scene::new();
    let found = scene.found();
    found.write_beside(b"new").unwrap();
    found.rename_over().unwrap();
    assert_eq!(scene.all(), files(&[("mcp.json", "new")]));
}

#[test]
fn what_a_killed_run_left_is_not_in_the_way_and_a_running_one_is() {
    let scene = Scene::new();
    fs::write(scene.found().beside(), "ne").unwrap();
    let lock = scene.found().lock().unwrap();
    let error = scene.found().replace(b"new", true).unwrap_err().error;
    assert!(error.to_string().contains("another `portcullis wrap`"), "{error}");
    drop(lock);
    scene.found().replace(b"new", true).unwrap();
    assert_eq!(scene.all(), files(&[("mcp.json", "new"), (BACKUP, "old")]));
    // What was being written of the file, of the backup and of what is to come, and what came out of the file.
    for left in ["", "ne", "new", "ol", "old", "newe", "newer"] {
        fs::write(scene.found().beside(), left).unwrap();
        scene.found().replace(b"newer", false).unwrap();
        assert_eq!(scene.all(), files(&[("mcp.json", "newer"), (BACKUP, "old")]), "{left}");
        fs::write(scene.file(), "new").unwrap();
    }
}

#[test]
fn what_somebody_else_wrote_was_removed_by_the_run_after_one_that_was_killed_before_it_looked() {
    let scene = Scene::new();
    let found = scene.found();
    fs::write(scene.file(), "theirs").unwrap();
    // This far, and no further, goes a run that is killed right after the exchange.
    found.keep().unwrap();
    found.write_beside(b"new").unwrap();
    renameat_with(CWD, found.beside(), CWD, scene.file(), RenameFlags::EXCHANGE).unwrap();
    let left = files(&[("mcp.json", "new"), (BACKUP, "old"), ("mcp.json.before-portcullis.new", "theirs")]);
    assert_eq!(scene.all(), left);
    for bytes in ["newer", "old"] {
        let error = scene.found().replace(bytes.as_bytes(), false).unwrap_err().error;
        assert!(error.to_string().contains("what somebody else wrote"), "{error}");
        assert_eq!(scene.all(), left);
    }
    fs::remove_file(found.beside()).unwrap();
    fs::create_dir(found.beside()).unwrap();
    assert!(scene.found().replace(b"newer", false).is_err(), "and no directory is taken for an empty file");
}

/// One change came out of the file, and another was put in before the first was put back: it was removed as if it were ours.
#[test]
fn the_second_of_two_changes_at_once_was_removed() {
    let scene = Scene::new();
    let found = scene.found();
    fs::write(scene.file(), "first").unwrap();
    found.write_beside(b"new").unwrap();
    found.swap().unwrap();
    fs::write(scene.file().with_extension("theirs"), "second").unwrap();
    fs::rename(scene.file().with_extension("theirs"), scene.file()).unwrap();
    let failed = found.put_back(b"new");
    assert!(matches!(failed, Failed { error: WrapError::LeftBeside { .. }, in_place: false }), "{failed:?}");
    let left = [("mcp.json", "first"), ("mcp.json.before-portcullis.new", "second")];
    assert_eq!(scene.all(), files(&left));
}

#[test]
fn a_link_is_followed_to_the_file_itself_and_stays() {
    let scene = Scene::new();
    let link = scene.folder.path().join("link.json");
    symlink("mcp.json", &link).unwrap();
    let found = Found::read(&link).unwrap();
    assert_eq!(found.path, scene.file().canonicalize().unwrap());
    found.replace(b"new", true).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(scene.all(), files(&[("link.json", "new"), ("mcp.json", "new"), (BACKUP, "old")]));
}

#[test]
fn what_is_no_file_of_its_own_is_refused() {
    let scene = Scene::new();
    let at = |name: &str| scene.folder.path().join(name);
    fs::hard_link(scene.file(), at("other")).unwrap();
    let refused = |path: PathBuf| Found::read(&path).unwrap_err().to_string();
    assert!(refused(scene.file()).contains("hard links"));
    fs::remove_file(at("other")).unwrap();
    assert!(refused(scene.folder.path().to_owned()).contains("is no file"));
    rustix::fs::mkfifoat(CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
    assert!(refused(at("pipe")).contains("is no file"), "and it does not wait for somebody to write into it");
    assert!(refused(at("nothing")).contains("cannot be read"));
    let long = File::create(at("long")).unwrap();
    long.set_len(LONGEST + 1).unwrap();
    assert!(refused(at("long")).contains("64 MiB"));
}
