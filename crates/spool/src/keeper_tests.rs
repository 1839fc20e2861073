use std::fs;

use super::*;
use crate::frame::tests::attempted;

const BOUNDS: Bounds = Bounds { entries: 1_000, bytes: 1 << 20 };
const DEADLINE: Duration = Duration::from_secs(20);

fn agents(spool: &Spool) -> Vec<String> {
    spool.oldest(usize::MAX).iter().map(|entry| entry.attempted.agent.to_string()).collect()
}

#[test]
fn what_is_kept_is_taken_out_oldest_first_and_a_restart_brings_up_what_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("a"), attempted("b"), attempted("c")]), 3);
    assert_eq!(spool.oldest(2).len(), 2);
    spool.entered(1);
    assert_eq!(agents(&spool), ["b", "c"]);
    drop(spool);
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("d")]), 1);
    // What was entered and not trimmed yet comes up again: who enters it must know it.
    assert_eq!(agents(&spool), ["a", "b", "c", "d"]);
    spool.entered(4);
    drop(spool);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn a_spool_that_cannot_be_opened_keeps_nothing_says_why_and_works_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk/spool");
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("a")]), 0);
    assert!(spool.status().failing.unwrap().contains("No such file"));
    fs::create_dir(folder.path().join("disk")).unwrap();
    assert_eq!(spool.keep(vec![attempted("b")]), 1);
    let status = spool.status();
    assert_eq!((status.waiting, status.failing), (1, None));
}

/// The file is a pipe that this process holds open for writing and never writes to: reading it hangs.
#[test]
fn a_disk_that_hangs_holds_nobody_up_beyond_the_deadline_and_is_not_waited_for_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let deadline = Duration::from_millis(200);
    let spool = Spool::start(&path, BOUNDS, deadline).unwrap();
    assert_eq!(spool.keep(vec![attempted("a")]), 0);
    assert!(spool.status().failing.unwrap().contains("in time"));
    for _ in 0..10_000 {
        // Each would take the deadline if it were waited for.
        assert_eq!(spool.keep(vec![attempted("b")]), 0);
    }
}

#[test]
fn what_was_damaged_is_told_until_it_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    fs::write(&path, "no entry at all\n").unwrap();
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("a")]), 1);
    assert_eq!(spool.unreadable(), Some(16));
    drop(spool);
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("b")]), 1);
    assert_eq!(spool.unreadable(), Some(16));
    spool.reported();
    drop(spool);
    let spool = Spool::start(&path, BOUNDS, DEADLINE).unwrap();
    assert_eq!(spool.keep(vec![attempted("c")]), 1);
    assert_eq!((spool.unreadable(), agents(&spool).len()), (None, 3));
}

#[test]
fn of_several_paths_one_that_nobody_holds_is_taken_and_what_others_left_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|number| folder.path().join(number.to_string())).collect();
    let start = || Spool::start_one_of(paths.clone(), BOUNDS, DEADLINE).unwrap();
    let (first, second) = (start(), start());
    assert_eq!((first.keep(vec![attempted("a")]), second.keep(vec![attempted("b")])), (1, 1));
    let third = start();
    assert_eq!(third.keep(vec![attempted("c")]), 1);
    let fourth = start();
    assert_eq!(fourth.keep(vec![attempted("d")]), 0, "nothing that another holds");
    drop((fourth, second));
    // The third has entries of its own: first those.
    assert_eq!(agents(&third), ["c"]);
    third.entered(1);
    while agents(&third) != ["b"] {
        std::thread::yield_now();
    }
    third.entered(1);
    assert_eq!(agents(&first), ["a"]);
}

/// The damage that was told was of the spool that it had, and the files that were then called as if they had been looked at
/// were those of the spool that it had gone over to: nobody ever heard of them, nor of the others again.
#[test]
fn what_is_on_record_of_one_damaged_spool_renamed_the_files_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = ["own", "left"].iter().map(|name| folder.path().join(name)).collect();
    let beside = |name: &str| folder.path().join(name).exists();
    fs::write(&paths[0], "no entry at all\n").unwrap();
    assert_eq!(Spool::start(&paths[1], BOUNDS, DEADLINE).unwrap().keep(vec![attempted("a")]), 1);
    fs::write(folder.path().join("left.damaged.1"), "lost\n").unwrap();
    let shared = Arc::new(Shared::default());
    let mut attendant = Attendant {
        paths: paths.clone(),
        path: PathBuf::new(),
        bounds: BOUNDS,
        shared: Arc::clone(&shared),
        open: None,
    };
    let (jobs, queue) = sync_channel(WAITING);
    let (_end, ended) = sync_channel(1);
    let spool = Spool { jobs: Some(jobs), shared, deadline: Duration::ZERO, ended: Mutex::new(ended) };
    attendant.open();
    assert_eq!((&attendant.path, spool.unreadable()), (&paths[0], Some(16)));
    attendant.take_over();
    assert_eq!((&attendant.path, spool.unreadable()), (&paths[0], Some(16)), "that is not on record yet");
    spool.reported();
    // It goes over before it comes to what it was told.
    attendant.take_over();
    assert_eq!((&attendant.path, spool.unreadable()), (&paths[1], Some(5)));
    assert_eq!(agents(&spool), ["a"]);
    attendant.attend(queue.try_recv().unwrap());
    attendant.rename_reported();
    assert!(beside("own.set-aside.1") && !beside("own.damaged.1"), "what is on record is called so");
    assert!(beside("left.damaged.1") && !beside("left.set-aside.1"), "of this nobody has heard");
    spool.reported();
    attendant.rename_reported();
    assert!(beside("left.set-aside.1") && !beside("left.damaged.1"));
}
