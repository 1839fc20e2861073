//! The nth system call of a kind fails: a disk that answers with errors, once or until it is mended.

use crate::scene::{Scene, Tally, rounds};
use crate::strace::{Traced, Tracer, injected, lines};
use crate::support::random::Random;

/// A kind of fault: system calls, and what they say.
struct Kind {
    calls: &'static str,
    errors: &'static [&'static str],
    /// About how many of them a round makes.
    spread: usize,
}

const KINDS: [Kind; 7] = [
    Kind { calls: "fdatasync", errors: &["EIO", "ENOSPC"], spread: 4 },
    Kind { calls: "fsync", errors: &["EIO", "ENOSPC"], spread: 4 },
    Kind { calls: "pwrite64", errors: &["EIO", "ENOSPC", "EDQUOT"], spread: 24 },
    Kind { calls: "pread64", errors: &["EIO"], spread: 6 },
    Kind { calls: "openat", errors: &["EIO", "EMFILE", "ENOSPC"], spread: 6 },
    Kind { calls: "ftruncate,fallocate", errors: &["EIO", "ENOSPC"], spread: 2 },
    Kind { calls: "rename,mkdir,unlink", errors: &["EIO", "ENOSPC"], spread: 2 },
];

/// The rules of a random fault. Some kinds come up only while a ledger is rebuilt, so that is brought about first.
fn fault(random: &mut Random) -> Vec<String> {
    let kind = &KINDS[random.below(KINDS.len())];
    let error = kind.errors[random.below(kind.errors.len())];
    let nth = 1 + random.below(kind.spread);
    // Once, some times, or until it is mended.
    let when = match random.below(3) {
        0 => format!("{nth}"),
        1 => format!("{nth}..{}", nth + 2),
        _ => format!("{nth}+"),
    };
    let mut rules = vec![format!("inject={}:error={error}:when={when}", kind.calls)];
    let mut traced = kind.calls.to_owned();
    if kind.calls != "fdatasync" && random.one_in(2) {
        rules.push("inject=fdatasync:error=EIO:when=1".into());
        traced.push_str(",fdatasync");
    }
    rules.insert(0, format!("trace={traced}"));
    rules
}

#[test]
fn failing_system_calls_run_nothing_unrecorded_and_nothing_twice() {
    let (mut tally, mut random) = Tally::new("errors of the nth sync, write, read, open, truncate, rename");
    let mut scene = Scene::new();
    scene.start();
    for _ in 0..rounds(24, 400) {
        if scene.is_old() {
            scene.end(&mut tally);
            scene = Scene::new();
            scene.start();
        }
        scene.runs(&mut tally);
        let rules = fault(&mut random);
        let tracer = Tracer::attach(Traced::Process(scene.pid()), &rules, &scene.log());
        for _ in 0..2 {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        }
        // Half of the time the process never sees the disk mended.
        let dies = random.one_in(2);
        if dies {
            scene.kill();
        }
        tally.struck += usize::from(injected(&tracer.detach()) > 0);
        if !dies {
            scene.runs(&mut tally);
        }
        scene.judge(&mut tally);
        scene.recovers(&mut tally);
        tally.rounds += 1;
    }
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn system_calls_that_fail_while_a_ledger_is_opened_permit_nothing_unrecorded() {
    let (mut tally, mut random) = Tally::new("errors of the nth system call of an opening");
    let mut scene = Scene::new();
    for _ in 0..rounds(10, 200) {
        if scene.is_old() {
            scene.end(&mut tally);
            scene = Scene::new();
        }
        let mut command = scene.serve_traced(&fault(&mut random));
        scene.spawn(&mut command);
        if scene.daemon.as_mut().unwrap().listens() {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        }
        scene.kill();
        tally.struck += usize::from(injected(&lines(&scene.log())) > 0);
        scene.recovers(&mut tally);
        scene.judge(&mut tally);
        tally.rounds += 1;
    }
    scene.end(&mut tally);
    tally.close();
}
