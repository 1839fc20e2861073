use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_protocol::ReasonCode;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tempfile::TempDir;

use crate::testing::{charge, files, said, signed, source, with, write};
use crate::{BundleSource, SIGNATURE_FILE, Snapshot};

/// A directory `bundle` with the signed bundle, and its source: one that has to read the files at every look,
/// since they are younger than file times can tell apart, and one that goes by the fingerprint.
fn sources() -> [(TempDir, BundleSource); 2] {
    let home = || {
        let home = TempDir::new().unwrap();
        write(&home.path().join("bundle"), &signed(files()));
        home
    };
    let open = |home: &TempDir| source(home.path().join("bundle"), &files());
    let (young, old) = (home(), home());
    let (reading, settled) = (open(&young), open(&old).when_settled());
    [(young, reading), (old, settled)]
}

fn code(source: &BundleSource) -> ReasonCode {
    source.current().unwrap_err().code()
}

fn walk(home: &TempDir) -> Vec<std::path::PathBuf> {
    let dir = home.path().join("bundle");
    let list = |dir: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    list(&dir).into_iter().chain(list(&dir.join("policies"))).filter(|path| path.is_file()).collect()
}

#[test]
fn an_untouched_bundle_is_read_once() {
    for (_home, source) in sources() {
        let first = source.current().unwrap();
        assert_eq!(said(&first.evaluate(&charge("bot", "1.00"))), "PERMIT may-charge");
        assert!(Arc::ptr_eq(&first, &source.current().unwrap()));
    }
}

#[test]
fn a_bundle_that_is_pulled_is_missing_and_works_again_when_put_back() {
    for (home, source) in sources() {
        let (dir, away) = (home.path().join("bundle"), home.path().join("away"));
        assert!(source.current().is_ok());
        for _ in 0..3 {
            std::fs::rename(&dir, &away).unwrap();
            assert_eq!(code(&source), ReasonCode::PolicyMissing);
            assert_eq!(code(&source), ReasonCode::PolicyMissing);
            std::fs::rename(&away, &dir).unwrap();
            assert!(source.current().is_ok());
        }
        std::fs::rename(dir.join("bundle.toml"), home.path().join("bundle.toml")).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyMissing);
        std::fs::rename(home.path().join("bundle.toml"), dir.join("bundle.toml")).unwrap();
        assert!(source.current().is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::write(&dir, "a file").unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyCorrupt, "a file may be a bundle, and this one is none");
    }
}

#[test]
fn a_source_may_be_opened_before_its_bundle_is_there() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("bundle");
    let source = source(&dir, &files());
    assert_eq!(code(&source), ReasonCode::PolicyMissing);
    write(&dir, &signed(files()));
    assert!(source.current().is_ok());
}

/// Incident 23: a failing update left the old bundle deciding.
#[test]
fn one_changed_byte_stops_the_bundle_until_it_is_restored() {
    for (home, source) in sources() {
        let before = source.current().unwrap();
        for path in walk(&home) {
            let good = std::fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad[0] ^= 1;
            // The same size, written over the same file within a moment.
            std::fs::write(&path, &bad).unwrap();
            let error = source.current().unwrap_err();
            let expected = [ReasonCode::PolicySignatureInvalid];
            assert!(expected.contains(&error.code()), "{}: {error}", path.display());
            assert_eq!(source.current().unwrap_err(), error, "an error is no more stale than a bundle");
            std::fs::write(&path, &good).unwrap();
            let after = source.current().unwrap();
            assert_eq!(after.reference(), before.reference(), "{}", path.display());
        }
    }
}

#[test]
fn every_kind_of_change_is_seen() {
    for (home, source) in sources() {
        let dir = home.path().join("bundle");
        let good = || assert!(source.current().is_ok());
        good();

        std::fs::write(dir.join("policies/more.cedar"), "").unwrap();
        assert_eq!(code(&source), ReasonCode::PolicySignatureInvalid);
        std::fs::remove_file(dir.join("policies/more.cedar")).unwrap();
        good();

        std::fs::rename(dir.join("policies/main.cedar"), dir.join("policies/other.cedar")).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicySignatureInvalid);
        std::fs::rename(dir.join("policies/other.cedar"), dir.join("policies/main.cedar")).unwrap();
        good();

        std::fs::rename(dir.join(SIGNATURE_FILE), home.path().join("sig")).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyUnsigned);
        std::fs::rename(home.path().join("sig"), dir.join(SIGNATURE_FILE)).unwrap();
        good();

        std::os::unix::fs::symlink("bundle.toml", dir.join("README.md")).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyCorrupt);
        std::fs::remove_file(dir.join("README.md")).unwrap();
        good();

        std::fs::rename(dir.join("policies"), home.path().join("policies")).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicySignatureInvalid);
        std::fs::rename(home.path().join("policies"), dir.join("policies")).unwrap();
        good();
    }
}

#[test]
fn another_signed_version_is_refused_until_it_is_pinned() {
    for (home, other) in sources() {
        let dir = home.path().join("bundle");
        assert!(other.current().is_ok());
        let next = with("bundle.toml", "version = 7", "version = 8");
        write(&dir, &signed(next.clone()));
        assert_eq!(code(&other), ReasonCode::PolicyPinMismatch);
        let pinned = source(&dir, &next);
        assert_eq!(pinned.current().unwrap().reference().version, 8);
    }
}

/// Two writes within one tick of the file system's clock leave the same times.
#[test]
fn a_fingerprint_counts_only_once_its_times_are_old() {
    let [(home, _), _] = sources();
    let dir = home.path().join("bundle");
    let newest = walk(&home).iter().map(|path| path.metadata().unwrap().ctime()).max().unwrap();
    let settled = |after: i128| crate::disk::survey(&dir, i128::from(newest) + after).unwrap().settled;
    assert!(!settled(-10) && !settled(0) && !settled(2));
    assert!(settled(3));
}

#[test]
fn many_threads_share_one_source() {
    for (home, source) in sources() {
        let dir = home.path().join("bundle");
        let away = home.path().join("away");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        match source.current() {
                            Ok(bundle) => assert_eq!(bundle.reference().version, 7),
                            Err(error) => assert!(
                                matches!(error.code(), ReasonCode::PolicyMissing | ReasonCode::PolicyCorrupt),
                                "{error}"
                            ),
                        }
                    }
                });
            }
            for _ in 0..20 {
                std::fs::rename(&dir, &away).unwrap();
                std::fs::rename(&away, &dir).unwrap();
            }
        });
        assert!(source.current().is_ok());
    }
}

/// What was verified before the log was read is not served against what the log says.
#[test]
fn a_source_that_is_told_of_a_newer_version_serves_the_older_no_more() {
    for (_home, source) in sources() {
        let seen = |version| portcullis_protocol::Succession { version, ..Default::default() };
        source.raise(&seen(7));
        let first = source.current().unwrap();
        source.raise(&seen(7));
        assert!(Arc::ptr_eq(&first, &source.current().unwrap()));
        source.raise(&seen(8));
        assert_eq!(code(&source), ReasonCode::PolicyRolledBack);
        assert_eq!(code(&source), ReasonCode::PolicyRolledBack);
    }
}

/// A lock was held while a bundle was compiled: who had only to hear that there is none yet, as the ledger's writer, waited too.
#[test]
fn whoever_looked_waited_until_a_bundle_was_compiled() {
    for (_home, source) in sources() {
        assert!(source.look().is_none(), "compiled by who only looked");
        let looked = AtomicUsize::new(0);
        let first = source.current_while(&|| {
            assert!(source.look().is_none());
            looked.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(looked.load(Ordering::SeqCst), 1);
        assert!(Arc::ptr_eq(&first.unwrap(), &source.look().unwrap().unwrap()), "compiled again");
    }
}

/// How often a file is opened, by the system's account.
struct Opened(std::os::fd::OwnedFd);

impl Opened {
    fn watch(file: &std::path::Path) -> Self {
        let watcher = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watcher, file, WatchFlags::OPEN).unwrap();
        Self(watcher)
    }

    /// Whether it was, since this was asked last. Several times in a row are told as one.
    fn again(&self) -> bool {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.0, &mut buffer).next().is_ok()
    }
}

/// Each look at a bundle that was being compiled read it whole and verified it, under the lock: the ledger's writer between two
/// batches, each decision and whoever asked how the arbiter is.
#[test]
fn a_bundle_was_read_and_verified_again_by_each_look_until_it_was_compiled() {
    for (home, source) in sources() {
        let opened = Opened::watch(&home.path().join("bundle/bundle.toml"));
        let looks = || (0..10).all(|_| source.look().is_none());
        assert!(looks() && opened.again(), "by the first");
        assert!(looks() && !opened.again(), "by a further look");
        let found = source.current_while(&|| {
            assert!(looks() && !opened.again(), "by a look while it is compiled");
        });
        assert!(found.is_ok());
    }
}

/// What was read once is no older than what lies there, also while it is compiled.
#[test]
fn a_bundle_that_changes_before_it_is_compiled_is_not_waited_for() {
    for (home, source) in sources() {
        let (dir, away) = (home.path().join("bundle"), home.path().join("away"));
        let looked = || source.look().map(|found| found.unwrap_err().code());
        assert_eq!(looked(), None);
        std::fs::rename(&dir, &away).unwrap();
        assert_eq!(looked(), Some(ReasonCode::PolicyMissing));
        std::fs::rename(&away, &dir).unwrap();
        assert_eq!(looked(), None);
        std::fs::write(dir.join(SIGNATURE_FILE), "").unwrap();
        assert_eq!(looked(), Some(ReasonCode::PolicySignatureEmpty));
        write(&dir, &signed(files()));
        assert_eq!(looked(), None);
        source.raise(&portcullis_protocol::Succession { version: 8, ..Default::default() });
        assert_eq!(looked(), Some(ReasonCode::PolicyRolledBack));
        assert_eq!(code(&source), ReasonCode::PolicyRolledBack);
    }
}

#[test]
fn those_who_wait_for_a_bundle_have_it_compiled_once() {
    for (_home, source) in sources() {
        let compiled = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let found = source.current_while(&|| {
                        compiled.fetch_add(1, Ordering::SeqCst);
                    });
                    assert!(found.is_ok());
                });
            }
        });
        assert_eq!(compiled.load(Ordering::SeqCst), 1);
    }
}

/// Whatever it takes to compile it, and whatever is wrong within it.
#[test]
fn a_bundle_that_is_not_signed_or_not_pinned_is_never_compiled() {
    for (home, source) in sources() {
        let dir = home.path().join("bundle");
        let refused = |expected: ReasonCode| {
            let found = source.current_while(&|| panic!("compiled: {expected:?}"));
            assert_eq!(found.unwrap_err().code(), expected);
            assert_eq!(source.look().unwrap().unwrap_err().code(), expected);
        };
        std::fs::write(dir.join(SIGNATURE_FILE), "").unwrap();
        refused(ReasonCode::PolicySignatureEmpty);
        let next = with("bundle.toml", "version = 7", "version = 8");
        write(&dir, &signed(next));
        refused(ReasonCode::PolicyPinMismatch);
        std::fs::write(dir.join("policies/main.cedar"), "permit (").unwrap();
        refused(ReasonCode::PolicySignatureInvalid);
        write(&dir, &signed(files()));
        source.raise(&portcullis_protocol::Succession { version: 8, ..Default::default() });
        refused(ReasonCode::PolicyRolledBack);
    }
}

/// What was in force before is told by the log, and may be told while the bundle is compiled.
#[test]
fn a_bundle_that_became_too_old_while_it_was_compiled_was_served() {
    for (_home, source) in sources() {
        let newer = portcullis_protocol::Succession { version: 8, ..Default::default() };
        let found = source.current_while(&|| source.raise(&newer));
        assert_eq!(found.unwrap_err().code(), ReasonCode::PolicyRolledBack);
        assert_eq!(code(&source), ReasonCode::PolicyRolledBack);
    }
}

/// Reading a bundle of ten thousand policies at each decision, for the three seconds in which its times were young, held
/// the decisions up.
#[test]
fn a_bundle_that_was_just_laid_was_read_again_for_each_decision() {
    let home = TempDir::new().unwrap();
    let place = home.path().join("new.bundle");
    let bytes = Snapshot::from_files(signed(files())).unwrap().to_bytes().unwrap();
    std::fs::write(&place, &bytes).unwrap();
    let probe = |path: &str| crate::disk::read(&place, 0, Some(&home.path().join(path))).unwrap().1;
    let (without, with) = (crate::disk::read(&place, 0, None).unwrap().1, probe("probe"));
    assert!(!without.settled && with.settled, "the file's times tell every change from now on");
    // Every change from now on: the same size, over the same file, at once.
    let source = source(&place, &files()).with_probe(home.path().join("probe"));
    for _ in 0..100 {
        assert!(source.current().is_ok());
        let mut bad = bytes.clone();
        bad[0] ^= 1;
        std::fs::write(&place, &bad).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyCorrupt);
        std::fs::write(&place, &bytes).unwrap();
    }
    // Where nothing can be touched, or on another file system, a young file is read again as before.
    assert!(!probe("none/probe").settled);
    assert!(!crate::disk::read(&place, 0, Some("/dev/null".as_ref())).unwrap().1.settled);
    std::os::unix::fs::symlink("probe", home.path().join("link")).unwrap();
    assert!(!probe("link").settled, "whose file would that be?");
}
