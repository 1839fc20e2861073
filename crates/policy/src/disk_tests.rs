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
        assert!(read_while(home.path(), 0, None, || {}).is_ok());
        changed(read_while(home.path(), 0, None, || change(home.path())));
    }
}

/// In the tick of the newest change another one would leave the same times.
#[test]
fn only_a_later_tick_of_the_same_clock_tells_every_further_change() {
    let mark = |device, changed| Mark { device, inode: 1, mode: 0, size: 0, modified: (9, 9), changed };
    for (touched, told) in [
        (mark(1, (7, 500)), Some(false)),
        (mark(1, (7, 499)), Some(false)),
        (mark(1, (6, 900)), Some(false)),
        (mark(1, (7, 501)), Some(true)),
        (mark(1, (8, 0)), Some(true)),
        (mark(2, (8, 0)), None),
    ] {
        assert_eq!(is_later(&touched, 1, (7, 500)), told, "{touched:?}");
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

/// A file in the place of the one that was looked at was read under that one's times, and not read again.
#[test]
fn another_file_was_read_than_the_one_whose_times_were_kept() {
    let home = TempDir::new().unwrap();
    let (one, other, link) = (home.path().join("one"), home.path().join("two"), home.path().join("link"));
    std::fs::write(&one, "one").unwrap();
    std::fs::write(&other, "two").unwrap();
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let point = |to: &Path| {
        let new = home.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(&new, &link).unwrap();
    };
    let (bytes, survey) = read_file_while(&link, 10, (0, None), || point(&other)).unwrap();
    assert_eq!(bytes, b"one");
    assert_eq!(survey.fingerprint, survey_file(&one, 0).unwrap().fingerprint);
    assert_ne!(survey.fingerprint, survey_file(&link, 0).unwrap().fingerprint);
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_not_taken() {
    let home = TempDir::new().unwrap();
    let (path, probe) = (home.path().join("facts"), home.path().join("clock"));
    std::fs::write(&path, "one").unwrap();
    // Of the same length, in whatever tick of the clock: the first look waited until that was over.
    let rewrite = || std::fs::write(&path, "two").unwrap();
    let read = read_file_while(&path, 10, (0, Some(&probe)), rewrite);
    assert_eq!(read.unwrap_err().to_string(), "it changed while it was read");
    let (bytes, survey) = read_file_at(&path, 10, 0, Some(&probe)).unwrap();
    assert!(bytes == b"two" && survey.settled);
    std::fs::write(&path, "six").unwrap();
    assert_ne!(survey.fingerprint, survey_file(&path, 0).unwrap().fingerprint);
    let (_, survey) = read_file_at(&path, 10, 0, None).unwrap();
    assert!(!survey.settled);
}
