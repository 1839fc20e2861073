//! A witness on a disk that fails, or whose process dies on its way: what it cosigned is on the disk before it is said.

use std::process::Command;

use portcullis_verify::witness::AddCheckpoint;
use portcullis_verify::{CosignerKind, VerifiedCheckpoint};
use rustix::process::Signal;

use crate::strace::{lines, under_strace};
use crate::support::{Daemon, Place, WitnessProcess, program};

/// The calls by which a checkpoint gets onto the disk.
const STEPS: [&str; 2] = ["fsync", "rename"];

/// Heads of a log, each longer than the one before.
fn heads(place: &Place, count: usize) -> Vec<VerifiedCheckpoint> {
    let grown = |_| {
        Daemon::start(place).end(Signal::TERM);
        place.head()
    };
    (0..count).map(grown).collect()
}

fn body(old: u64, head: &VerifiedCheckpoint, place: &Place) -> Vec<u8> {
    let beside = portcullis_ledger::Beside::new(&place.config.data);
    let proof =
        if old == 0 || old == head.size() { Vec::new() } else { beside.consistency(old, head).unwrap() };
    AddCheckpoint::body(old, &proof, head)
}

/// The witness's process under strace with these faults, and strace's log.
fn traced(place: &Place, name: &str, faults: &[String]) -> (Command, std::path::PathBuf) {
    let log = place.path(name);
    let calls = "trace=fsync,rename,renameat,renameat2,write,writev,sendto,sendmsg".to_owned();
    (under_strace(&program(), &[&[calls], faults].concat(), &log), log)
}

#[test]
fn a_cosignature_leaves_only_after_what_it_says_was_synced() {
    let place = Place::demo();
    let heads = heads(&place, 4);
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    witness.kill();
    let (command, log) = traced(&place, "calls", &[]);
    witness.again_by(command);
    let mut old = 0;
    for head in &heads {
        assert_eq!(witness.add(&body(old, head, &place)).status, 200);
        old = head.size();
    }
    witness.kill();
    // File, name, directory: each before the answer, and once for each answer.
    let mut since = Vec::new();
    let mut answers = 0;
    for line in lines(&log).iter().filter(|line| !line.contains("resumed")) {
        if line.contains("HTTP/1.1 200") {
            let order: Vec<&str> = std::mem::take(&mut since);
            assert_eq!(order, ["fsync", "rename", "fsync"], "{line}");
            answers += 1;
        } else if let Some(step) = STEPS.iter().find(|step| line.contains(&format!(" {step}"))) {
            since.push(step);
        }
    }
    assert_eq!(answers, heads.len());
}

#[test]
fn a_witness_killed_at_any_step_has_seen_whatever_it_cosigned() {
    let place = Place::demo();
    let heads = heads(&place, 3);
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    // It says what it has seen to whoever is wrong about it.
    let seen = |witness: &WitnessProcess| -> u64 {
        let conflict = witness.add(&AddCheckpoint::body(1, &[], &heads[2]));
        assert_eq!(conflict.status, 409);
        conflict.body.trim().parse().unwrap()
    };
    let mut cosigned = 0;
    for head in &heads {
        for (step, nth) in [("fsync", 1), ("rename", 1), ("fsync", 2)] {
            witness.kill();
            let fault = format!("inject={step}:signal=KILL:when={nth}");
            let (command, _) = traced(&place, &format!("{step}-{nth}-{}", head.size()), &[fault]);
            let before = {
                witness.again();
                seen(&witness)
            };
            witness.kill();
            witness.again_by(command);
            witness.try_add(&body(before, head, &place)).expect_err("an answer before the last step");
            witness.kill();
            witness.again();
            let after = seen(&witness);
            assert!(after >= cosigned && [before, head.size()].contains(&after), "{step} {nth}: {after}");
        }
        assert_eq!(witness.add(&body(seen(&witness), head, &place)).status, 200);
        cosigned = head.size();
        witness.kill();
        witness.again();
        assert_eq!(seen(&witness), cosigned);
    }
}

#[test]
fn a_witness_whose_disk_fails_cosigns_nothing_more_of_that_log_until_it_is_started_again() {
    let place = Place::demo();
    let heads = heads(&place, 2);
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    for step in STEPS {
        witness.kill();
        // Once: the disk is well again after it, and what lies there is not known.
        let (command, _) =
            traced(&place, &format!("failing-{step}"), &[format!("inject={step}:error=EIO:when=1")]);
        witness.again_by(command);
        for _ in 0..3 {
            let answer = witness.add(&body(0, &heads[0], &place));
            assert_eq!(answer.status, 500, "{}", answer.body);
            assert!(!answer.body.contains('\u{2014}'), "{}", answer.body);
        }
    }
    witness.kill();
    witness.again();
    assert_eq!(witness.add(&body(0, &heads[0], &place)).status, 200);
    assert_eq!(witness.add(&body(heads[0].size(), &heads[1], &place)).status, 200);
}

#[test]
fn of_two_forks_submitted_at_once_one_is_cosigned() {
    let place = Place::demo();
    let common = &heads(&place, 1)[0];
    let other = place.copied();
    let forks = [(heads(&place, 3), &place), (heads(&other, 3), &other)];
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    assert_eq!(witness.add(&body(0, common, &place)).status, 200);
    witness.kill();
    // Between comparing and keeping there is time for all of the others.
    let (command, _) = traced(&place, "slow", &["inject=fsync:delay_enter=300000".to_owned()]);
    witness.again_by(command);
    let bodies: Vec<(usize, Vec<u8>)> = forks
        .iter()
        .enumerate()
        .flat_map(|(fork, (heads, place))| {
            heads.iter().map(move |head| (fork, body(common.size(), head, place)))
        })
        .collect();
    let answers: Vec<(usize, u16)> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            bodies.iter().map(|(fork, body)| (*fork, scope.spawn(|| witness.add(body).status))).collect();
        asked.into_iter().map(|(fork, asked)| (fork, asked.join().unwrap())).collect()
    });
    let won: Vec<usize> =
        answers.iter().filter(|(_, status)| *status == 200).map(|(fork, _)| *fork).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, status)| [200, 409].contains(status)), "{answers:?}");
    // What comes after it is of that fork alone.
    let kept = portcullis_verify::UnverifiedCheckpoint::parse(witness.kept().as_bytes()).unwrap();
    let kept = kept.verify(std::slice::from_ref(&place.config.log_key)).unwrap();
    let (lost, place) = &forks[1 - won[0]];
    let status = witness.add(&AddCheckpoint::body(kept.size(), &[], &lost[2])).status;
    assert!([409, 422, 400].contains(&status), "{status} of {}", place.config.data.display());
}
