//! The nth system call of a kind fails: a disk that answers with errors, once or until it is mended.

use std::collections::{BTreeMap, VecDeque};

use crate::scene::{Scene, Tally, rounds};
use crate::strace::{Traced, Tracer, injected, injected_into, lines};
use crate::support::random::Random;
use crate::support::until;

/// A kind of fault: system calls, and what they say.
struct Kind {
    calls: &'static str,
    errors: &'static [&'static str],
    /// About how many of them a round makes.
    spread: usize,
}

static KINDS: [Kind; 7] = [
    Kind { calls: "fdatasync", errors: &["EIO", "ENOSPC"], spread: 4 },
    Kind { calls: "fsync", errors: &["EIO", "ENOSPC"], spread: 4 },
    Kind { calls: "pwrite64", errors: &["EIO", "ENOSPC", "EDQUOT"], spread: 24 },
    Kind { calls: "pread64", errors: &["EIO"], spread: 6 },
    Kind { calls: "openat", errors: &["EIO", "EMFILE", "ENOSPC"], spread: 6 },
    Kind { calls: "ftruncate,fallocate", errors: &["EIO", "ENOSPC"], spread: 2 },
    Kind { calls: "rename,mkdir,unlink", errors: &["EIO", "ENOSPC"], spread: 2 },
];

/// A fault in calls of a kind.
struct Fault {
    kind: &'static Kind,
    /// For strace.
    rules: Vec<String>,
    /// Whether any load comes to such a call. The others come up only now and then.
    certain: bool,
}

impl Fault {
    /// These calls of a kind fail so. Some kinds come up only while a ledger is rebuilt, so that is brought about first if
    /// `rebuilt`.
    fn new(kind: &'static Kind, error: &str, when: &str, rebuilt: bool) -> Self {
        let mut rules = vec![format!("inject={}:error={error}:when={when}", kind.calls)];
        let mut traced = kind.calls.to_owned();
        if rebuilt && kind.calls != "fdatasync" {
            rules.push("inject=fdatasync:error=EIO:when=1".into());
            traced.push_str(",fdatasync");
        }
        rules.insert(0, format!("trace={traced}"));
        Self { kind, rules, certain: false }
    }

    /// The nth call fails, once, and any load comes to it.
    fn certain(kind: &'static Kind, nth: usize) -> Self {
        Self { certain: true, ..Self::new(kind, "EIO", &nth.to_string(), false) }
    }

    fn drawn(kind: &'static Kind, random: &mut Random) -> Self {
        let error = kind.errors[random.below(kind.errors.len())];
        let nth = 1 + random.below(kind.spread);
        // Once, some times, or until it is mended.
        let when = match random.below(3) {
            0 => format!("{nth}"),
            1 => format!("{nth}..{}", nth + 2),
            _ => format!("{nth}+"),
        };
        Self::new(kind, error, &when, random.one_in(2))
    }

    /// Each error at each call of each kind, up to twice as many as a round makes.
    fn each() -> impl Iterator<Item = Self> {
        KINDS.iter().flat_map(|kind| {
            let errors =
                kind.errors.iter().flat_map(|error| (1..=2 * kind.spread).map(move |nth| (error, nth)));
            errors.map(|(error, nth)| Self::new(kind, error, &nth.to_string(), kind.spread < 6))
        })
    }

    fn struck(&self, calls: &[String]) -> bool {
        injected_into(self.kind.calls, calls) > 0
    }
}

/// Which faults come, and which kinds of them struck.
struct Plan {
    faults: VecDeque<Fault>,
    struck: BTreeMap<&'static str, usize>,
}

impl Plan {
    /// Some of each kind behind these, or all that there are.
    fn new(certain: Vec<Fault>, drawn: usize, random: &mut Random) -> Self {
        let mut faults = VecDeque::from(certain);
        for kind in KINDS.iter().cycle().take(drawn) {
            faults.push_back(Fault::drawn(kind, random));
        }
        if rounds(0, 1) == 1 {
            faults.extend(Fault::each());
        }
        let struck = KINDS.iter().map(|kind| (kind.calls, 0)).collect();
        Self { faults, struck }
    }

    /// The next fault. Behind the last one, one of a kind that did not strike yet, so many times.
    fn next(&mut self, more: &mut usize, random: &mut Random) -> Option<Fault> {
        self.faults.pop_front().or_else(|| {
            let missing = KINDS.iter().find(|kind| self.struck[kind.calls] == 0)?;
            *more = more.checked_sub(1)?;
            Some(Fault::drawn(missing, random))
        })
    }

    fn count(&mut self, fault: &Fault, calls: &[String], tally: &mut Tally) {
        let struck = fault.struck(calls);
        assert!(struck || !fault.certain, "no call failed: {:?}", fault.rules);
        *self.struck.get_mut(fault.kind.calls).unwrap() += usize::from(struck);
        tally.struck += usize::from(injected(calls) > 0);
        tally.rounds += 1;
    }

    /// Every kind struck.
    fn end(&self, tally: &mut Tally) {
        let struck = self.struck.iter().map(|(calls, struck)| format!("{calls} {struck}"));
        tally.note(struck.collect::<Vec<_>>().join("; "));
        let never: Vec<_> = self.struck.iter().filter(|(_, struck)| **struck == 0).collect();
        assert!(never.is_empty(), "never struck: {never:?}");
    }
}

#[test]
fn failing_system_calls_run_nothing_unrecorded_and_nothing_twice() {
    let (mut tally, mut random) = Tally::new("errors of the nth sync, write, read, open, truncate, rename");
    let mut scene = Scene::new();
    scene.start();
    let [syncs, _, writes, ..] = &KINDS;
    let certain = [syncs, writes]
        .into_iter()
        .flat_map(|kind| (1..=kind.spread).map(move |nth| Fault::certain(kind, nth)))
        .collect();
    let mut plan = Plan::new(certain, 2 * KINDS.len(), &mut random);
    let mut more = 60;
    while let Some(fault) = plan.next(&mut more, &mut random) {
        if scene.is_old() {
            scene.end(&mut tally);
            scene = Scene::new();
            scene.start();
        }
        scene.runs(&mut tally);
        let tracer = Tracer::attach(Traced::Process(scene.pid()), &fault.rules, &scene.log());
        for _ in 0..2 {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        }
        if fault.certain {
            until("a call that fails", || {
                let sent = scene.load(&mut random);
                scene.answers(sent, &mut tally);
                fault.struck(&lines(&scene.log())).then_some(())
            });
        }
        // Half of the time the process never sees the disk mended.
        let dies = random.one_in(2);
        if dies {
            scene.kill();
        }
        plan.count(&fault, &tracer.detach(), &mut tally);
        if !dies {
            scene.runs(&mut tally);
        }
        scene.judge(&mut tally);
        scene.recovers(&mut tally);
    }
    scene.end(&mut tally);
    plan.end(&mut tally);
    tally.close();
}

#[test]
fn system_calls_that_fail_while_a_ledger_is_opened_permit_nothing_unrecorded() {
    let (mut tally, mut random) = Tally::new("errors of the nth system call of an opening");
    let mut scene = Scene::new();
    let mut plan = Plan::new(Vec::new(), 2 * KINDS.len(), &mut random);
    let mut more = 60;
    while let Some(fault) = plan.next(&mut more, &mut random) {
        if scene.is_old() {
            scene.end(&mut tally);
            scene = Scene::new();
        }
        let mut command = scene.serve_traced(&fault.rules);
        scene.spawn(&mut command);
        if scene.daemon.as_mut().unwrap().listens() {
            let sent = scene.load(&mut random);
            scene.answers(sent, &mut tally);
        }
        scene.kill();
        plan.count(&fault, &lines(&scene.log()), &mut tally);
        scene.recovers(&mut tally);
        scene.judge(&mut tally);
    }
    scene.end(&mut tally);
    plan.end(&mut tally);
    tally.close();
}
