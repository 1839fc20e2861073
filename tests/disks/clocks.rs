//! A wall clock that jumps under the daemon, by libfaketime; the boot clock goes on.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::scene::{Scene, Tally, rounds};
use crate::support::{Place, text};

/// Where Debian's libfaketime lies.
fn faketime() -> PathBuf {
    let folders =
        std::fs::read_dir("/usr/lib").unwrap().flatten().map(|folder| folder.path().join("faketime"));
    let found = folders.map(|folder| folder.join("libfaketime.so.1")).find(|library| library.exists());
    found.expect("libfaketime: `cargo xtask test` installs it")
}

struct Clock {
    offset: PathBuf,
}

impl Clock {
    fn of(place: &Place) -> Self {
        Self { offset: place.file("clock", "+0") }
    }

    /// Sets the daemon's wall clock, in seconds from the real one. Replaced at once: half an offset is another one.
    fn set(&self, seconds: i64) {
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}")).unwrap();
        std::fs::rename(new, &self.offset).unwrap();
    }

    fn start(&self, scene: &mut Scene) {
        let mut command = scene.serve();
        command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", text(&self.offset));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        scene.spawn(&mut command);
        assert!(scene.daemon.as_mut().unwrap().listens());
    }
}

/// Nothing of a load runs, and each call says why.
fn is_silent(scene: &mut Scene, tally: &mut Tally, code: &str) {
    let (ran, size) = (scene.ran(tally).count(), scene.place.is_ready());
    assert!(!size, "ready with a wrong clock");
    let before = tally.codes.get(code).copied().unwrap_or(0);
    for _ in 0..3 {
        let sent = vec![scene.send(true)];
        assert_eq!(scene.answers(sent, tally), 0);
    }
    assert_eq!(tally.codes.get(code).copied().unwrap_or(0), before + 3, "{code}: {:?}", tally.codes);
    assert_eq!(scene.ran(tally).count(), ran);
    tally.struck += 1;
}

#[test]
fn a_wall_clock_that_jumps_either_way_permits_nothing_until_it_is_right_again() {
    let (mut tally, mut random) = Tally::new("wall clock jumps under the daemon");
    let mut scene = Scene::new();
    let clock = Clock::of(&scene.place);
    clock.start(&mut scene);
    for _ in 0..rounds(6, 100) {
        scene.runs(&mut tally);
        let most = if random.one_in(2) { 100 } else { 1 << 33 };
        let far = 11 + i64::try_from(random.below(most)).unwrap();
        let jump = if random.one_in(2) { far } else { -far };
        clock.set(jump);
        // 1970 and before cannot be told, and no record can hold the year 10000.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let code = if (-i64::try_from(since).unwrap()..=250_000_000_000).contains(&jump) {
            "clock.jumped"
        } else {
            "clock.unreadable"
        };
        is_silent(&mut scene, &mut tally, code);
        clock.set(0);
        scene.goes_on(&mut tally);
        tally.rounds += 1;
    }
    scene.judge(&mut tally);
    scene.start();
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn started_in_the_past_of_its_log_it_permits_nothing_until_the_clock_is_right() {
    let (mut tally, mut random) = Tally::new("started with a clock behind the log");
    let mut scene = Scene::new();
    let clock = Clock::of(&scene.place);
    clock.start(&mut scene);
    for _ in 0..rounds(3, 50) {
        scene.runs(&mut tally);
        scene.judge(&mut tally);
        clock.set(-11 - i64::try_from(random.below(1 << 29)).unwrap());
        clock.start(&mut scene);
        is_silent(&mut scene, &mut tally, "clock.behind_log");
        scene.kill();
        clock.set(0);
        clock.start(&mut scene);
        scene.goes_on(&mut tally);
        tally.rounds += 1;
    }
    scene.judge(&mut tally);
    scene.start();
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn records_from_a_future_that_was_none_hold_the_gate_shut_until_it_comes() {
    let (mut tally, _) = Tally::new("started in the future, and set right");
    let mut scene = Scene::new();
    let clock = Clock::of(&scene.place);
    // Nothing tells a start that its clock is ahead: what it records is dated so.
    clock.set(30);
    clock.start(&mut scene);
    scene.runs(&mut tally);
    scene.judge(&mut tally);
    clock.set(0);
    clock.start(&mut scene);
    is_silent(&mut scene, &mut tally, "clock.behind_log");
    scene.kill();
    clock.set(40);
    clock.start(&mut scene);
    scene.runs(&mut tally);
    tally.rounds += 1;
    scene.end(&mut tally);
    tally.close();
}
