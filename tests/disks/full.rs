//! Disks that are full, turn read-only, or stand still.

use std::os::unix::process::ExitStatusExt;

use crate::mounts::Mount;
use crate::scene::{Scene, Tally, rounds};
use crate::support::random::Random;
use crate::support::{Place, until};

/// Room for a ledger, its log, and a copy of it while it is rebuilt.
const SMALL: u64 = 12 << 20;

/// A deployment with no disk held in reserve, so that writes meet the end of the disk.
fn without_reserve() -> Place {
    let mut place = Place::demo();
    reserve(&mut place, 0);
    place
}

fn reserve(place: &mut Place, bytes: u64) {
    place.config_path = place.configure("small.toml", |text| {
        text.replace("\n[policy]", &format!("\ndisk_reserve = {bytes}\n\n[policy]"))
    });
}

/// Calls meet a disk with hardly any room, which is then freed again, round after round.
fn filled(scene: &mut Scene, mount: &Mount, count: usize, random: &mut Random, tally: &mut Tally) {
    scene.start();
    for _ in 0..count {
        scene.runs(tally);
        let before = tally.blocked();
        // Sometimes nothing is left at all, sometimes the end comes in the middle of a batch.
        let but = if random.one_in(3) { 0 } else { random.below(40_000) };
        let filler = mount.fill(but);
        for _ in 0..3 {
            let sent = scene.load(random);
            scene.answers(sent, tally);
        }
        tally.struck += usize::from(tally.blocked() > before);
        // On blocks smaller than a page SQLite's shared memory has holes, and filling one on a full disk is SIGBUS.
        let died = scene.daemon.as_mut().unwrap().child.try_wait().unwrap();
        if let Some(status) = died {
            assert_eq!(status.signal(), Some(7), "the daemon died of something else: {status}");
            tally.note("died of SIGBUS".to_owned());
        }
        let killed = died.is_some() || random.one_in(3);
        if killed {
            scene.kill();
        }
        drop(filler);
        if killed {
            scene.start();
        }
        // By itself, without anybody's help.
        scene.runs(tally);
        scene.repeat_all(tally);
        scene.judge(tally);
        scene.start();
        tally.rounds += 1;
    }
}

#[test]
fn a_full_disk_under_the_ledger_permits_nothing_unrecorded_and_resumes_by_itself() {
    let (mut tally, mut random) = Tally::new("no space left under the ledger, tmpfs");
    let place = without_reserve();
    let mount = Mount::tmpfs(&place.config.data, SMALL);
    let mut scene = Scene::on(place);
    filled(&mut scene, &mount, rounds(6, 60), &mut random, &mut tally);
    scene.end(&mut tally);
    tally.close();
}

fn full_ext4(block: u32, fault: &'static str) {
    let (mut tally, mut random) = Tally::new(fault);
    let place = without_reserve();
    let mount = Mount::ext4(&place.config.data, SMALL, block);
    let mut scene = Scene::on(place);
    filled(&mut scene, &mount, rounds(4, 60), &mut random, &mut tally);
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn a_full_ext4_under_the_ledger_permits_nothing_unrecorded_and_resumes_by_itself() {
    full_ext4(4096, "no space left under the ledger, ext4");
}

#[test]
fn a_full_ext4_of_small_blocks_permits_nothing_unrecorded() {
    full_ext4(1024, "no space left under the ledger, ext4 of 1 KiB blocks");
}

#[test]
fn a_disk_down_to_its_reserve_permits_nothing_and_resumes_by_itself() {
    let (mut tally, mut random) = Tally::new("disk space below the reserve");
    let mut place = Place::demo();
    reserve(&mut place, 4 << 20);
    let mount = Mount::tmpfs(&place.config.data, SMALL);
    let mut scene = Scene::on(place);
    scene.start();
    for _ in 0..rounds(4, 40) {
        scene.runs(&mut tally);
        let ran = scene.ran(&mut tally).count();
        let filler = mount.fill((2 << 20) + random.below(1 << 20));
        let sent = scene.load(&mut random);
        scene.answers(sent, &mut tally);
        assert_eq!(scene.ran(&mut tally).count(), ran, "something ran on the reserve");
        tally.struck += 1;
        drop(filler);
        scene.runs(&mut tally);
        tally.rounds += 1;
    }
    assert!(tally.saw("evidence.disk_reserve"));
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn an_anchor_without_room_is_not_begun_and_one_that_has_its_room_goes_on() {
    let (mut tally, mut random) = Tally::new("no space left under the anchor, tmpfs");
    let place = Place::demo();
    let anchor = place.config.anchor.parent().unwrap().to_owned();
    let mount = Mount::tmpfs(&anchor, 64 << 10);
    let mut scene = Scene::on(place);
    let filler = mount.fill(0);
    scene.spawn(&mut scene.serve());
    assert!(scene.daemon.as_mut().unwrap().listens());
    let sent = scene.load(&mut random);
    assert_eq!(scene.answers(sent, &mut tally), 0, "something ran without an anchor");
    assert!(tally.saw("evidence.anchor_unwritable"));
    drop(filler);
    scene.runs(&mut tally);
    tally.struck += 1;
    // Written in place, it needs no room any more.
    for _ in 0..rounds(2, 20) {
        let _filler = mount.fill(0);
        let sent = scene.load(&mut random);
        assert!(scene.answers(sent, &mut tally) > 0, "an anchor that is there needs no room");
        scene.judge(&mut tally);
        scene.start();
        scene.runs(&mut tally);
        tally.rounds += 1;
    }
    scene.end(&mut tally);
    tally.close();
}

fn on_ext4() -> (Scene, Mount) {
    let place = without_reserve();
    let mount = Mount::ext4(&place.config.data, 2 * SMALL, 4096);
    (Scene::on(place), mount)
}

#[test]
fn a_file_system_that_turns_read_only_permits_nothing_until_it_is_repaired() {
    let (mut tally, mut random) = Tally::new("ext4 that turns read-only under load");
    let (mut scene, mut mount) = on_ext4();
    let mut lost = 0;
    scene.start();
    for _ in 0..rounds(4, 40) {
        scene.runs(&mut tally);
        let sent = scene.load(&mut random);
        if random.one_in(2) {
            until("a call that ran", || (scene.ran(&mut tally).count() > 0).then_some(()));
        }
        mount.break_down();
        scene.answers(sent, &mut tally);
        let ran = scene.ran(&mut tally).count();
        for _ in 0..2 {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        }
        assert_eq!(scene.ran(&mut tally).count(), ran, "something ran on a read-only disk");
        tally.struck += 1;
        // The receipts come off the read-only disk as it is.
        scene.judge(&mut tally);
        mount.repair();
        scene.spawn(&mut scene.serve());
        if scene.opens() {
            scene.goes_on(&mut tally);
            scene.judge(&mut tally);
            scene.start();
        } else {
            // A dying ext4 was seen to acknowledge a sync and to lose it: the anchor, on another disk, knows better. A gate
            // that has an outcome to deliver of a PERMIT that is lost says that first.
            assert_eq!(scene.shut(), ["evidence.behind_anchor"], "{}", scene.keep());
            scene.refuses(&["evidence.behind_anchor", "evidence.outcome_unrecorded"], &mut tally);
            lost += 1;
            scene.kill();
            let ran = scene.ran(&mut tally).count();
            tally.executed(ran);
            scene.count_heads(&mut tally);
            assert_eq!(scene.split(), [0; 0], "two roots for a size");
            drop(mount);
            (scene, mount) = on_ext4();
            scene.start();
        }
        tally.rounds += 1;
    }
    tally.note(format!("acknowledged and lost: {lost}"));
    assert!(tally.saw("evidence.unwritable"));
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn started_on_a_read_only_disk_it_says_so_and_permits_nothing() {
    let (mut tally, mut random) = Tally::new("started on a read-only disk");
    let place = without_reserve();
    let mount = Mount::tmpfs(&place.config.data, SMALL);
    let mut scene = Scene::on(place);
    scene.start();
    for _ in 0..rounds(2, 20) {
        scene.runs(&mut tally);
        scene.judge(&mut tally);
        mount.remount("ro");
        let ran = scene.ran(&mut tally).count();
        scene.spawn(&mut scene.serve());
        let daemon = scene.daemon.as_mut().unwrap();
        if daemon.listens() {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        } else {
            daemon.notes.told("Read-only file system");
        }
        assert_eq!(scene.ran(&mut tally).count(), ran, "something ran on a read-only disk");
        scene.judge(&mut tally);
        mount.remount("rw");
        scene.start();
        scene.runs(&mut tally);
        tally.rounds += 1;
        tally.struck += 1;
    }
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn a_disk_that_stands_still_is_silence_within_the_deadline_and_what_timed_out_never_runs() {
    let (mut tally, mut random) = Tally::new("a disk that stands still");
    let place = without_reserve();
    let mount = Mount::ext4(&place.config.data, SMALL, 4096);
    let mut scene = Scene::on(place);
    scene.start();
    for _ in 0..rounds(2, 20) {
        scene.runs(&mut tally);
        let ran = scene.ran(&mut tally).count();
        let frozen = mount.freeze();
        let start = std::time::Instant::now();
        let sent = scene.load(&mut random);
        scene.answers(sent, &mut tally);
        assert!(start.elapsed().as_secs() < 10, "the gate waited for {:?}", start.elapsed());
        assert_eq!(scene.ran(&mut tally).count(), ran, "something ran on a disk that stood still");
        drop(frozen);
        tally.struck += 1;
        scene.runs(&mut tally);
        scene.judge(&mut tally);
        scene.start();
        tally.rounds += 1;
    }
    assert!(tally.saw("arbiter.timeout"));
    scene.end(&mut tally);
    tally.close();
}
