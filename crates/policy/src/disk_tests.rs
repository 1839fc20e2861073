use tempfile::TempDir;

use super::*;
use crate::testing::{files, write};

fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    write(home.path(), &files());
    home
}

#[track_caller]
fn changed<T>(result: Result<T, BundleError>) {
    let Err(BundleError::Corrupt(defect)) = result else { panic!("the change went unseen") };
    assert_eq!(defect.fault, Fault::Changed);
}

#[test]
fn what_changes_while_a_bundle_is_read_is_seen() {
    for change in [
        |dir: &Path| std::fs::write(dir.join("policies/more.cedar"), "").unwrap(),
        |dir: &Path| std::fs::write(dir.join("README.md"), "").unwrap(),
        |dir: &Path| std::fs::remove_file(dir.join("entities.json")).unwrap(),
        |dir: &Path| std::fs::write(dir.join("entities.json"), "[]").unwrap(),
    ] {
        let home = home();
        assert!(read_while(home.path(), 0, || {}).is_ok());
        changed(read_while(home.path(), 0, || change(home.path())));
    }
}

#[test]
fn a_file_that_changed_since_the_survey_is_not_read() {
    let home = home();
    let surveyed = survey(home.path(), 0).unwrap().fingerprint;
    assert!(read_surveyed(home.path(), &surveyed).is_ok());
    std::fs::write(home.path().join("entities.json"), "[]").unwrap();
    changed(read_surveyed(home.path(), &surveyed));
    std::fs::remove_file(home.path().join("entities.json")).unwrap();
    changed(read_surveyed(home.path(), &surveyed));
}

/// A link put in a file's place between survey and read, even one to a file that was surveyed.
#[test]
fn a_file_that_became_a_link_is_not_opened() {
    let home = home();
    let surveyed = survey(home.path(), 0).unwrap().fingerprint;
    std::os::unix::fs::symlink("bundle.toml", home.path().join("README.md")).unwrap();
    let root = open_directory(home.path()).unwrap();
    let mark = surveyed.0["bundle.toml"];
    assert!(read_file(&root, home.path(), "bundle.toml", &mark).is_ok());
    changed(read_file(&root, home.path(), "README.md", &mark));
}
