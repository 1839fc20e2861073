//! Yesterday's copies in the place of today's ledger.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::judge::{Permits, run};
use crate::scene::{Scene, Tally, rounds};
use crate::support::random::Random;
use crate::support::text;

/// Copies a file or directory, with all that it holds, over what is there.
pub(crate) fn put(from: &Path, to: &Path) {
    if to.exists() {
        if to.is_dir() { std::fs::remove_dir_all(to).unwrap() } else { std::fs::remove_file(to).unwrap() }
    }
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// A copy of everything that a deployment keeps.
pub(crate) struct Copy {
    folder: PathBuf,
    data: PathBuf,
    anchor: PathBuf,
}

impl Copy {
    /// Takes one; the daemon is down.
    pub(crate) fn of(scene: &Scene, name: &str) -> Self {
        let folder = scene.place.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let copy =
            Self { folder, data: scene.place.config.data.clone(), anchor: scene.place.config.anchor.clone() };
        put(&copy.data, &copy.folder.join("data"));
        put(&copy.anchor, &copy.folder.join("head"));
        copy
    }

    pub(crate) fn ledger(&self) {
        put(&self.folder.join("data/ledger"), &self.data.join("ledger"));
    }

    fn released(&self) {
        put(&self.folder.join("data/released"), &self.data.join("released"));
    }

    fn anchor(&self) {
        put(&self.folder.join("head"), &self.anchor);
    }

    /// Puts all of it back.
    pub(crate) fn all(&self) {
        put(&self.folder.join("data"), &self.data);
        self.anchor();
    }
}

/// What is put back of yesterday's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restored {
    Ledger,
    LedgerAndReleased,
    Data,
    Anchor,
    AnchorAndReleased,
    /// Today's database without its write-ahead log.
    WithoutLog,
}

const ALL: [Restored; 6] = [
    Restored::Ledger,
    Restored::LedgerAndReleased,
    Restored::Data,
    Restored::Anchor,
    Restored::AnchorAndReleased,
    Restored::WithoutLog,
];

impl Restored {
    fn strike(self, scene: &Scene, yesterday: &Copy) {
        match self {
            Self::Ledger => yesterday.ledger(),
            Self::LedgerAndReleased => {
                yesterday.ledger();
                yesterday.released();
            }
            Self::Data => put(&yesterday.folder.join("data"), &yesterday.data),
            Self::Anchor => yesterday.anchor(),
            Self::AnchorAndReleased => {
                yesterday.anchor();
                yesterday.released();
            }
            Self::WithoutLog => {
                let log = scene.database().with_extension("db-wal");
                assert!(log.metadata().unwrap().len() > 0, "a killed daemon leaves its write-ahead log");
                std::fs::remove_file(log).unwrap();
            }
        }
    }
}

fn some_calls(scene: &mut Scene, random: &mut Random, tally: &mut Tally) {
    for _ in 0..1 + random.below(3) {
        let sent = scene.load(random);
        scene.answers(sent, tally);
    }
    scene.runs(tally);
}

/// Ends the daemon in one of both ways.
fn stop(scene: &mut Scene, killed: bool) {
    if killed { scene.kill() } else { scene.end_daemon() }
}

#[test]
fn yesterdays_copies_are_behind_the_anchor_and_nothing_runs_on_them() {
    let (mut tally, mut random) = Tally::new("yesterday's ledger, data directory or anchor");
    for number in 0..rounds(12, 120) {
        let restored = ALL[number % ALL.len()];
        let mut scene = Scene::new();
        scene.start();
        some_calls(&mut scene, &mut random, &mut tally);
        stop(&mut scene, random.one_in(2));
        let yesterday = Copy::of(&scene, "yesterday");
        scene.start();
        some_calls(&mut scene, &mut random, &mut tally);
        stop(&mut scene, restored == Restored::WithoutLog || random.one_in(2));
        let today = Copy::of(&scene, "today");
        restored.strike(&scene, &yesterday);
        let config = text(&scene.place.config_path);
        match run(&["log", "check", "--restart", "--config", &config]) {
            Err(error) if error.contains("behind its anchor") => {}
            said => tally.violations.push(format!("{restored:?}: a check of an old copy said {said:?}")),
        }
        let ran = scene.ran(&mut tally).count();
        scene.spawn(&mut scene.serve());
        assert!(scene.daemon.as_mut().unwrap().listens());
        scene.refuses(&["evidence.behind_anchor"], &mut tally);
        scene.repeat_all(&mut tally);
        assert_eq!(scene.ran(&mut tally).count(), ran, "{restored:?}: something ran on an old copy");
        tally.struck += 1;
        scene.kill();
        today.all();
        scene.recovers(&mut tally);
        scene.end(&mut tally);
        tally.rounds += 1;
    }
    tally.close();
}

#[test]
fn yesterdays_ledger_put_under_a_running_daemon_permits_nothing() {
    let (mut tally, mut random) = Tally::new("yesterday's ledger put under a running daemon");
    for _ in 0..rounds(3, 40) {
        let mut scene = Scene::new();
        scene.start();
        some_calls(&mut scene, &mut random, &mut tally);
        scene.end_daemon();
        let yesterday = Copy::of(&scene, "yesterday");
        scene.start();
        some_calls(&mut scene, &mut random, &mut tally);
        let ran = scene.ran(&mut tally).count();
        let today = scene.place.path("today");
        let ledger = scene.place.config.data.join("ledger");
        std::fs::rename(&ledger, &today).unwrap();
        yesterday.ledger();
        scene.refuses(&["evidence.behind_anchor", "evidence.unwritable"], &mut tally);
        scene.repeat_all(&mut tally);
        scene.refuses(&["evidence.behind_anchor"], &mut tally);
        assert_eq!(scene.ran(&mut tally).count(), ran, "something ran on an old copy");
        tally.struck += 1;
        std::fs::remove_dir_all(&ledger).unwrap();
        std::fs::rename(&today, &ledger).unwrap();
        scene.goes_on(&mut tally);
        scene.end(&mut tally);
        tally.rounds += 1;
    }
    tally.close();
}

/// With the anchor restored too, nothing on this machine knows of today: only a witness, or whoever holds a receipt.
#[test]
fn with_the_anchor_restored_too_only_a_receipt_of_today_tells() {
    let (mut tally, mut random) = Tally::new("yesterday's ledger and anchor together");
    let mut scene = Scene::new();
    scene.start();
    some_calls(&mut scene, &mut random, &mut tally);
    scene.settle();
    scene.end_daemon();
    let yesterday = Copy::of(&scene, "yesterday");
    let before = Permits::read(&scene.place).unwrap();
    let known = scene.keys.len();
    scene.start();
    // Several heads: of one alone there may be none of the same size in the other log.
    for _ in 0..6 {
        scene.runs(&mut tally);
    }
    scene.end_daemon();
    let today = Permits::read(&scene.place).unwrap();
    scene.receipts(&today);
    assert_eq!(scene.split(), [0; 0]);
    assert!(today.records.len() > before.records.len());
    let ran = scene.ran(&mut tally).count();
    yesterday.all();
    scene.start();
    // Yesterday's keys are still consumed.
    scene.repeat_first(known, &mut tally);
    assert_eq!(scene.ran(&mut tally).count(), ran);
    for _ in 0..9 {
        scene.runs(&mut tally);
    }
    scene.kill();
    let forked = Permits::read(&scene.place).unwrap();
    // What the comparison of heads in all the other campaigns would find.
    scene.receipts(&forked);
    assert_ne!(scene.split(), [0; 0], "no two roots for a size");
    // The log has grown past today's receipt, and proves something else in its place.
    let differs = |(seq, record): (&u64, _)| forked.records.get(seq).is_some_and(|other| other != record);
    assert!(today.records.iter().any(differs), "a receipt of the lost day fits into the restored log");
    assert!(before.records.iter().all(|(seq, record)| forked.records.get(seq) == Some(record)));
    tally.executed(ran);
    tally.rounds += 1;
    tally.struck += 1;
    tally.close();
}
