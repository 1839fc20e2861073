//! SIGKILL at every system call of an activation that changes the disk; by `PORTCULLIS_LONG=1`, at every one.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::scene::{Scene, Tally, rounds};
use crate::strace::{Traced, Tracer, thread};
use crate::support::release::{activation, release};
use crate::support::{program, until};

/// What the thread that looks into an order calls to lay a bundle's file, and by `PORTCULLIS_LONG=1` to read it too.
const LAYING: [&str; 2] = ["write,fsync,rename,utimensat", "openat,read,write,fsync,rename,utimensat,close"];
/// What the thread that records it calls that changes the disk, and by `PORTCULLIS_LONG=1` all.
const RECORDING: [&str; 2] = ["write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink,fallocate", "all"];

/// Which of the daemon's threads is killed at its nth call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The one that lays, reads and compiles the bundle.
    Laying,
    /// The one that records the order.
    Recording,
}

impl At {
    fn trace(self, scene: &Scene) -> (Traced, &'static str) {
        let long = rounds(0, 1);
        match self {
            Self::Laying => (Traced::Process(scene.pid()), LAYING[long]),
            Self::Recording => (Traced::Thread(thread(scene.pid(), "ledger")), RECORDING[long]),
        }
    }

    /// How many calls the thread makes in an activation. `calls` are those that strace wrote down.
    fn count(self, calls: &[String]) -> usize {
        match self {
            Self::Recording => calls.len(),
            Self::Laying => {
                let mut threads = BTreeMap::<&str, (usize, bool)>::new();
                for call in calls.iter().filter(|call| !call.contains(" resumed>")) {
                    let counted = threads.entry(call.split(' ').next().unwrap()).or_default();
                    counted.0 += 1;
                    counted.1 |= call.contains(".bundle.new");
                }
                threads.values().filter(|(_, lays)| *lays).map(|(count, _)| *count).max().unwrap_or(0)
            }
        }
    }
}

/// What the log says: the version that came into force last, and the one that was ordered last.
fn history(scene: &Scene) -> (u64, u64) {
    let mut command = Command::new(program());
    command.args(["bundle", "history", "--all", "--json", "--config"]).arg(&scene.place.config_path);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let newest = |ordered: bool| {
        let line = lines.iter().rfind(|line| line["ordered"].is_null() != ordered).unwrap();
        line["bundle"]["version"].as_u64().unwrap()
    };
    (newest(false), newest(true))
}

/// A bundle of this version.
fn bundle(scene: &Scene, version: u64) -> String {
    release(&scene.place, version, version.is_multiple_of(2))
}

/// Activates a bundle. Whether the command said that it is in force.
fn activate(scene: &Scene, bundle: &str) -> bool {
    activation(&scene.place, bundle).status().unwrap().success()
}

/// Whether a charge runs: by a bundle of an odd version it does, by one of an even version it is forbidden.
fn charge_runs(scene: &mut Scene, tally: &mut Tally) -> bool {
    let forbidden = |tally: &Tally| tally.codes.get("policy.forbidden").copied().unwrap_or(0);
    let before = forbidden(tally);
    let sent = vec![scene.send(true)];
    let ran = scene.answers(sent, tally) == 1;
    assert_eq!(ran, forbidden(tally) == before, "neither ran nor was forbidden: {:?}", tally.codes);
    ran
}

/// A daemon by which version 3 decides, and how many calls it took to get there from version 2: the way from the directory
/// of the configuration is another one.
fn begin(at: At, tally: &mut Tally) -> (Scene, usize) {
    let mut scene = Scene::new();
    scene.start();
    scene.runs(tally);
    let (second, third) = (bundle(&scene, 2), bundle(&scene, 3));
    assert!(activate(&scene, &second));
    let (traced, what) = at.trace(&scene);
    let tracer = Tracer::attach(traced, &[format!("trace={what}")], &scene.log());
    assert!(activate(&scene, &third));
    let calls = at.count(&tracer.detach());
    assert!(calls > 5, "no activation was traced");
    (scene, calls)
}

fn killed_in_an_activation(at: At, fault: &'static str) {
    let (mut tally, _) = Tally::new(fault);
    let (mut scene, calls) = begin(at, &mut tally);
    let (mut before, mut newest): (u64, u64) = (3, 3);
    let (mut old, mut new) = (0, 0);
    // Each of them, and nothing by chance.
    for moment in 1..=calls {
        if scene.is_old() {
            scene.end(&mut tally);
            (scene, before, newest) = (begin(at, &mut tally).0, 3, 3);
        }
        // Another version than was ever ordered, and one that decides otherwise.
        let version = newest + if (newest + 1 - before).is_multiple_of(2) { 2 } else { 1 };
        let next = bundle(&scene, version);
        let (traced, what) = at.trace(&scene);
        let rules = [format!("trace={what}"), format!("inject={what}:signal=KILL:when={moment}")];
        let tracer = Tracer::attach(traced, &rules, &scene.log());
        let done = activate(&scene, &next);
        let mut ended = || scene.daemon.as_mut().unwrap().child.try_wait().unwrap().is_some();
        // Nothing but its end keeps the daemon from the answer; whether it was killed behind that is seen or is not.
        let struck = if done { ended() } else { until("the end of the daemon", || ended().then_some(true)) };
        tally.struck += usize::from(struck);
        drop(tracer);
        scene.judge(&mut tally);
        scene.start();
        let ran = charge_runs(&mut scene, &mut tally);
        let (in_force, ordered) = history(&scene);
        // Whole: what decides is what the log says, and what was said to be done is done.
        assert_eq!(ran, !in_force.is_multiple_of(2), "call {moment}: the log says {in_force}");
        assert!(in_force == version || in_force == before && !done, "call {moment}: {in_force}, {done}");
        // An order that no head was signed over is on record too, and did not hold.
        assert!(ordered >= in_force, "call {moment}: {ordered} was ordered, and {in_force} decides");
        if in_force == version {
            new += 1
        } else {
            old += 1
        }
        (before, newest) = (in_force, newest.max(ordered));
        tally.rounds += 1;
    }
    tally.note(format!("the old bundle {old} times, the new one {new} times, of {calls} calls"));
    // A campaign that saw one side only has not shown where the switch is.
    assert!(old > 0 && new > 0, "the old bundle {old} times, the new one {new} times");
    assert!(tally.struck * 4 >= tally.rounds, "struck {} times in {} rounds", tally.struck, tally.rounds);
    scene.end(&mut tally);
    tally.close();
}

#[test]
fn killed_at_each_system_call_that_lays_a_bundle_the_old_one_or_the_new_one_decides() {
    killed_in_an_activation(At::Laying, "SIGKILL at each system call that lays a bundle");
}

#[test]
fn killed_at_each_system_call_that_records_an_activation_the_old_one_or_the_new_one_decides() {
    killed_in_an_activation(At::Recording, "SIGKILL at each system call that records an activation");
}
