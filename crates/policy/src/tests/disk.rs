use std::os::unix::fs::symlink;
use std::path::Path;

use portcullis_protocol::ReasonCode;
use tempfile::TempDir;

use crate::testing::{files, signed, trust, write};
use crate::{BundleError, Fault, Snapshot};

fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    write(home.path(), &signed(files()));
    home
}

#[track_caller]
fn fault(dir: &Path) -> Fault {
    let error = Snapshot::read(dir).unwrap_err();
    assert_eq!(error.code(), ReasonCode::PolicyCorrupt, "{error}");
    let BundleError::Corrupt(defect) = error else { panic!("not policy.corrupt") };
    defect.fault
}

#[test]
fn a_directory_reads_as_its_files() {
    let home = home();
    let read = Snapshot::read(home.path()).unwrap();
    assert_eq!(read.digest(), Snapshot::from_files(files()).unwrap().digest());
    assert!(read.verify(&trust(&files())).is_ok());
}

#[test]
fn what_cannot_be_read_is_missing() {
    let home = home();
    for absent in [home.path().join("none"), home.path().join("bundle.toml/none"), "".into()] {
        let error = Snapshot::read(&absent).unwrap_err();
        assert_eq!(error.code(), ReasonCode::PolicyMissing, "{error}");
    }
    std::fs::remove_file(home.path().join("bundle.toml")).unwrap();
    let error = Snapshot::read(home.path()).unwrap_err();
    assert_eq!(error.code(), ReasonCode::PolicyMissing);
    let place = home.path().join("bundle.toml").display().to_string();
    assert!(error.to_string().contains(&place), "{error}");
}

#[test]
fn what_a_bundle_does_not_have_is_refused() {
    for name in [
        "notes.txt",
        ".hidden",
        "bundle.toml.bak",
        "BUNDLE.TOML",
        "policies/notes.md",
        "policies/.cedar",
        "policies/.hidden.cedar",
        "policies/a.CEDAR",
    ] {
        let home = home();
        std::fs::write(home.path().join(name), "").unwrap();
        assert_eq!(fault(home.path()), Fault::UnknownFile, "{name}");
    }
    for name in ["cases", "policies/sub", "policies/tests"] {
        let home = home();
        std::fs::create_dir(home.path().join(name)).unwrap();
        assert_eq!(fault(home.path()), Fault::UnknownFile, "{name}");
    }
    for name in ["README.md", "policies/sub.cedar"] {
        let home = home();
        std::fs::create_dir(home.path().join(name)).unwrap();
        assert_eq!(fault(home.path()), Fault::NotRegular, "{name}");
    }
}

#[test]
fn names_that_are_not_plain_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"policies/a\xff.cedar"[..], b"policies/a\n.cedar", b"policies/\x1b[2J.cedar", b"\xc3\x28"]
    {
        let home = home();
        std::fs::write(home.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        assert_eq!(fault(home.path()), Fault::FileName, "{name:?}");
        let shown = Snapshot::read(home.path()).unwrap_err().to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}

/// A link would make the bundle depend on what lies elsewhere, and can be switched between check and use.
#[test]
fn symlinks_are_not_followed() {
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("x.cedar"), "").unwrap();

    let home_file = home();
    symlink(outside.path().join("x.cedar"), home_file.path().join("policies/x.cedar")).unwrap();
    assert_eq!(fault(home_file.path()), Fault::NotRegular);

    let home_toml = home();
    std::fs::rename(home_toml.path().join("bundle.toml"), outside.path().join("bundle.toml")).unwrap();
    symlink(outside.path().join("bundle.toml"), home_toml.path().join("bundle.toml")).unwrap();
    assert_eq!(fault(home_toml.path()), Fault::NotRegular);

    let home_dir = home();
    std::fs::remove_dir_all(home_dir.path().join("policies")).unwrap();
    symlink(outside.path(), home_dir.path().join("policies")).unwrap();
    assert_eq!(fault(home_dir.path()), Fault::UnknownFile);

    let dangling = home();
    symlink("nowhere", dangling.path().join("README.md")).unwrap();
    assert_eq!(fault(dangling.path()), Fault::NotRegular);
}

/// Reading a pipe would wait for a writer for ever.
#[test]
fn a_pipe_does_not_hang_the_reader() {
    let home = home();
    let path = home.path().join("README.md");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(fault(home.path()), Fault::NotRegular);
}

#[test]
fn bounds_hold_for_directories_and_for_files_in_memory() {
    const MIB: usize = 1024 * 1024;
    let filler = |count: usize, size: usize| {
        let mut files = files();
        files.extend((0..count).map(|n| (format!("policies/f{n:03}.cedar"), vec![b'\n'; size])));
        files
    };
    for (files, expected) in [
        (filler(252, 0), None),
        (filler(253, 0), Some(Fault::TooManyFiles)),
        (filler(1, MIB), None),
        (filler(1, MIB + 1), Some(Fault::FileTooLarge)),
        (filler(7, MIB), None),
        (filler(8, MIB), Some(Fault::BundleTooLarge)),
    ] {
        let home = TempDir::new().unwrap();
        write(home.path(), &files);
        let fault = |result: Result<Snapshot, BundleError>| match result {
            Ok(_) => None,
            Err(BundleError::Corrupt(defect)) => Some(defect.fault),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(fault(Snapshot::read(home.path())), expected);
        assert_eq!(fault(Snapshot::from_files(files)), expected);
    }
}

#[test]
fn files_in_memory_are_held_to_the_same_names() {
    for name in
        ["notes.txt", "policies/../x.cedar", "policies/a/b.cedar", "/bundle.toml", "policies\\a.cedar"]
    {
        let mut files = files();
        files.insert(name.into(), Vec::new());
        let error = Snapshot::from_files(files).unwrap_err();
        assert_eq!(error.code(), ReasonCode::PolicyCorrupt, "{name}");
    }
    let mut none = files();
    none.remove("bundle.toml");
    assert_eq!(Snapshot::from_files(none).unwrap_err().code(), ReasonCode::PolicyMissing);
}

/// What was read is what is judged: nothing is opened again after the digest was taken.
#[test]
fn a_snapshot_does_not_look_at_the_disk_again() {
    let home = home();
    let snapshot = Snapshot::read(home.path()).unwrap();
    std::fs::write(home.path().join("policies/main.cedar"), "permit (principal, action, resource);").unwrap();
    std::fs::remove_file(home.path().join("entities.json")).unwrap();
    assert!(snapshot.verify(&trust(&files())).is_ok());
}
