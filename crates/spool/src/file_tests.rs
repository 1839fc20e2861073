use std::fs;

use super::*;
use crate::frame::tests::attempted;

const BOUNDS: Bounds = Bounds { entries: 100, bytes: 1 << 20 };

struct Scene {
    folder: tempfile::TempDir,
    entries: Entries,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), entries: Entries::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn open(&self) -> SpoolFile {
        self.open_within(BOUNDS)
    }

    fn open_within(&self, bounds: Bounds) -> SpoolFile {
        SpoolFile::open(&self.path(), bounds, &self.entries).unwrap()
    }

    /// What another process would find: agents, in order.
    fn found(&self) -> Vec<String> {
        let content = parse(&fs::read(self.path()).unwrap());
        assert_eq!((content.unreadable, content.torn), (0, 0));
        content.entries.into_iter().map(|entry| entry.attempted.agent.to_string()).collect()
    }

    fn kept(&self) -> Vec<String> {
        locked(&self.entries).iter().map(|entry| entry.attempted.agent.to_string()).collect()
    }

    fn leave(&self, count: usize) {
        locked(&self.entries).drain(..count);
    }
}

fn some(agents: &[&str]) -> Vec<Attempted> {
    agents.iter().map(|agent| attempted(agent)).collect()
}

#[test]
fn what_was_added_is_there_after_a_crash_and_under_a_new_name_goes_on() {
    let scene = Scene::new();
    let mut spool = scene.open();
    assert_eq!(spool.add(some(&["a", "b"])).unwrap(), 2);
    assert_eq!(scene.found(), ["a", "b"]);
    drop(spool);
    let mut spool = scene.open();
    assert_eq!(scene.kept(), ["a", "b"]);
    spool.add(some(&["c"])).unwrap();
    assert_eq!(scene.found(), ["a", "b", "c"]);
    let entries = locked(&scene.entries);
    assert_eq!((entries[0].spool, entries[1].number), (entries[1].spool, 1));
    assert!(entries[2].spool != entries[0].spool && entries[2].number == 0);
}

#[test]
fn a_torn_tail_is_cut_and_what_follows_it_is_whole() {
    let scene = Scene::new();
    scene.open().add(some(&["a", "b"])).unwrap();
    let whole = fs::read(scene.path()).unwrap();
    for cut in [1, 40, 90, whole.len() / 2 - 2] {
        fs::write(scene.path(), [&whole[..], &whole[..cut]].concat()).unwrap();
        let mut spool = scene.open();
        assert_eq!(scene.kept(), ["a", "b"], "{cut}");
        spool.add(some(&["c"])).unwrap();
        assert_eq!(scene.found(), ["a", "b", "c"]);
    }
    // All of the last line but its end.
    fs::write(scene.path(), &whole[..whole.len() - 1]).unwrap();
    scene.open().add(some(&["c"])).unwrap();
    assert_eq!(scene.found(), ["a", "b", "c"]);
    let mut changed = whole;
    *changed.last_mut().unwrap() = b' ';
    fs::write(scene.path(), changed).unwrap();
    scene.open().add(some(&["c"])).unwrap();
    assert_eq!(scene.found(), ["a", "b", "c"]);
    assert_eq!(set_aside::unreported(&scene.path()), 0);
}

#[test]
fn a_damaged_spool_that_nobody_could_read_was_no_damaged_spool() {
    let scene = Scene::new();
    // Read as a file, a directory fails whoever asks.
    fs::create_dir(scene.folder.path().join("spool.damaged.3")).unwrap();
    assert_eq!(set_aside::unreported(&scene.path()), 1);
    fs::write(scene.folder.path().join("spool.damaged.1"), "no entry\n").unwrap();
    assert_eq!(set_aside::unreported(&scene.path()), 10);
    set_aside::reported(&scene.path());
    assert_eq!(set_aside::unreported(&scene.path()), 0);
}

#[test]
fn a_damaged_middle_is_set_aside_whole_and_reported_until_it_is_on_record() {
    let scene = Scene::new();
    scene.open().add(some(&["a", "b", "c"])).unwrap();
    let mut damaged = fs::read(scene.path()).unwrap();
    let line = damaged.len() / 3;
    damaged[line + 100] ^= 1;
    fs::write(scene.path(), &damaged).unwrap();
    let mut spool = scene.open();
    assert_eq!(scene.kept(), ["a", "c"]);
    let aside = scene.folder.path().join("spool.damaged.1");
    assert_eq!(fs::read(&aside).unwrap(), damaged, "as it was found");
    let unreadable = set_aside::unreported(&scene.path());
    assert_eq!(unreadable, u64::try_from(line).unwrap());
    spool.add(some(&["d"])).unwrap();
    assert_eq!(scene.found(), ["a", "c", "d"]);
    assert_eq!(fs::read(&aside).unwrap(), damaged, "nothing is written to what is set aside");
    drop(spool);
    drop(scene.open());
    assert_eq!(set_aside::unreported(&scene.path()), unreadable, "a restart forgets nothing");
    set_aside::reported(&scene.path());
    assert_eq!(set_aside::unreported(&scene.path()), 0);
    assert_eq!(fs::read(scene.folder.path().join("spool.set-aside.1")).unwrap(), damaged);
}

#[test]
fn a_spool_that_is_full_keeps_as_many_of_the_first_as_fit_and_has_room_once_it_is_emptied() {
    let scene = Scene::new();
    let mut spool = scene.open_within(Bounds { entries: 3, ..BOUNDS });
    assert_eq!(spool.add(some(&["a", "b"])).unwrap(), 2);
    assert_eq!(spool.add(some(&["c", "d"])).unwrap(), 1);
    assert_eq!(spool.add(some(&["d"])).unwrap(), 0);
    assert_eq!(scene.found(), ["a", "b", "c"]);
    spool.trim().unwrap();
    assert_eq!(scene.found(), ["a", "b", "c"], "nothing that is still to be entered is trimmed");
    scene.leave(2);
    assert_eq!(spool.add(some(&["e", "f", "g"])).unwrap(), 2, "written anew without what was entered");
    assert_eq!(scene.found(), ["c", "e", "f"]);
    scene.leave(3);
    spool.trim().unwrap();
    assert_eq!(fs::metadata(scene.path()).unwrap().len(), 0);
    let line = {
        assert_eq!(spool.add(some(&["a"])).unwrap(), 1);
        spool.bytes()
    };
    drop(spool);
    let mut spool = scene.open_within(Bounds { bytes: line * 2, ..BOUNDS });
    assert_eq!(spool.add(some(&["b", "c"])).unwrap(), 1);
    assert!(fs::metadata(scene.path()).unwrap().len() <= line * 2);
}

#[test]
fn a_spool_that_was_moved_away_is_made_anew_with_all_that_it_kept() {
    let scene = Scene::new();
    let mut spool = scene.open();
    spool.add(some(&["a"])).unwrap();
    fs::rename(scene.path(), scene.folder.path().join("away")).unwrap();
    spool.add(some(&["b"])).unwrap();
    assert_eq!(scene.found(), ["a", "b"]);
    fs::remove_file(scene.path()).unwrap();
    fs::create_dir(scene.path()).unwrap();
    assert!(spool.add(some(&["c"])).is_err());
    fs::remove_dir(scene.path()).unwrap();
    spool.add(some(&["d"])).unwrap();
    assert_eq!(scene.found(), ["a", "b", "d"]);
}

#[test]
fn a_spool_has_one_holder_and_no_directory_is_made_for_it() {
    let scene = Scene::new();
    let spool = scene.open();
    let second = SpoolFile::open(&scene.path(), BOUNDS, &Entries::default());
    assert!(matches!(second, Err(SpoolError::Held)));
    drop(spool);
    drop(scene.open());
    // An empty mount point must not be taken for the disk that is to be mounted there.
    let nowhere = scene.folder.path().join("not-mounted/spool");
    assert!(SpoolFile::open(&nowhere, BOUNDS, &scene.entries).is_err());
}

#[test]
fn what_is_larger_than_any_spool_is_not_read_and_left_as_it_is() {
    let scene = Scene::new();
    // Holes: it takes no room.
    File::create(scene.path()).unwrap().set_len(LARGEST + 1).unwrap();
    let opened = SpoolFile::open(&scene.path(), BOUNDS, &scene.entries);
    assert!(matches!(opened, Err(SpoolError::TooLarge(bytes)) if bytes == LARGEST + 1));
    assert_eq!(fs::metadata(scene.path()).unwrap().len(), LARGEST + 1);
}

#[test]
fn beside_sixteen_damaged_spools_no_other_is_set_aside_and_nothing_is_lost() {
    let scene = Scene::new();
    let beside = |name: &str, number| scene.folder.path().join(format!("spool.{name}.{number}"));
    for number in 1..=16 {
        fs::write(beside(if number % 2 == 0 { "damaged" } else { "set-aside" }, number), "lost\n").unwrap();
    }
    fs::write(scene.path(), "no entry\n").unwrap();
    let opened = SpoolFile::open(&scene.path(), BOUNDS, &scene.entries).map(drop);
    assert!(opened.unwrap_err().to_string().contains("look at them, and remove them"));
    assert_eq!(fs::read(scene.path()).unwrap(), b"no entry\n");
    fs::remove_file(beside("set-aside", 7)).unwrap();
    drop(scene.open());
    assert_eq!(fs::read(beside("damaged", 7)).unwrap(), b"no entry\n");
}
