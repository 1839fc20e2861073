//! PERMITs that witnesses must see before they are released.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use portcullis_arbiter::{Fact, GateState, Policy, PolicyNow, Validity};
use portcullis_ledger::{Beside, Cosigner, DecideReply, Decided, Held, Ledger, Proved, generate_cosigner};
use portcullis_protocol::{BundleDigest, Digest, Outcome, ReasonCode};
use portcullis_verify::{CosignerKind, Quorum, UnverifiedReceipt, VerifiedCheckpoint};

use crate::harness::{Call, World, write_private};

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    world: World,
    ledger: Ledger,
    witness: Cosigner,
}

impl Scene {
    fn new() -> Self {
        Self::of(World::witnessed())
    }

    fn of(world: World) -> Self {
        let (text, _) = generate_cosigner("witness.test/w1", CosignerKind::Ed25519).unwrap();
        let path = world.directory.path().join("keys/witness");
        write_private(&path, text.as_bytes());
        let ledger = world.start();
        Self { ledger, witness: Cosigner::read(&path).unwrap(), world }
    }

    fn quorum(&self) -> Quorum {
        Quorum::new(1, vec![self.witness.key().clone()]).unwrap()
    }

    /// Asks for a charge, which is permitted and held.
    fn held(&self, call: &Call) -> Held {
        match self.world.ask(&self.ledger, call).recv_timeout(PATIENCE).unwrap() {
            DecideReply::Held(held) => *held,
            other @ (DecideReply::Decided(_) | DecideReply::EvaluateAgain(_)) => panic!("{other:?}"),
        }
    }

    fn cosigned(&self) -> VerifiedCheckpoint {
        let head = self.ledger.heads().newest().unwrap();
        let line = self.witness.line(&head, 1_800_000_000).unwrap();
        head.with_lines(&line, self.quorum().keys()).unwrap()
    }

    fn prove(&self, held: Held) -> Proved {
        held.prove(&Beside::new(&self.world.data()), &self.cosigned(), &self.quorum()).unwrap()
    }

    fn release(&self, proved: Proved) -> Result<Box<Decided>, ReasonCode> {
        let (sender, receiver) = channel();
        self.ledger.release(proved, move |released| drop(sender.send(released))).unwrap();
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    fn is_shown(&self, call: &Call) -> bool {
        let (sender, receiver) = channel();
        self.ledger.find(call.attempt(), move |found| drop(sender.send(found))).unwrap();
        receiver.recv_timeout(PATIENCE).unwrap().is_some_and(|found| found.receipt.is_some())
    }

    /// Waits until so many outcomes are on record.
    fn outcomes(&self, count: usize) -> Vec<Outcome> {
        let end = Instant::now() + PATIENCE;
        loop {
            let outcomes = self.world.outcomes();
            if outcomes.len() >= count {
                return outcomes.into_iter().map(|(_, outcome)| outcome).collect();
            }
            assert!(Instant::now() < end, "{count} outcomes");
            // Makes the writer look, and says nothing.
            self.world.status(&self.ledger);
        }
    }
}

fn charge(attempt: u64) -> Call {
    Call::charge(attempt, "12.50", Some("k"))
}

#[test]
fn a_held_permit_is_released_once_witnesses_saw_it() {
    let scene = Scene::new();
    let held = scene.held(&charge(1));
    assert!(!scene.is_shown(&charge(1)), "a receipt before its witnesses");
    let decided = scene.release(scene.prove(held)).unwrap();
    let receipt = UnverifiedReceipt::parse(decided.receipt.unwrap().as_bytes()).unwrap();
    let receipt = receipt.verify(std::slice::from_ref(&scene.world.verifier)).unwrap();
    assert_eq!(scene.quorum().check(receipt.checkpoint()).unwrap().len(), 1);
    // Its holder is gone, and it is not withheld for that.
    scene.world.permitted(&scene.ledger, &Call::read(2));
    assert_eq!(scene.world.outcomes(), []);
    assert_eq!(scene.world.refused(&scene.ledger, &charge(3)), ReasonCode::IdempotencyInFlight);
}

#[test]
fn a_permit_that_was_let_go_of_is_withheld_once_and_never_released() {
    let scene = Scene::new();
    drop(scene.held(&charge(1)));
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
    assert!(!scene.is_shown(&charge(1)));
    assert_eq!(scene.world.refused(&scene.ledger, &charge(1)), ReasonCode::RequestAttemptReused);
    // Its key is given back.
    scene.release(scene.prove(scene.held(&charge(2)))).unwrap();
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
}

/// Its waiter had gone and its time was over, both at once: it ended as withheld and then as unknown, and nobody who read the
/// log believed it any more.
#[test]
fn a_permit_that_was_let_go_of_when_it_was_overdue_ended_twice() {
    let scene = Scene::new();
    let held = scene.held(&charge(1));
    let busy = crate::harness::Held::hold(&scene.world, &scene.ledger, 2);
    scene.world.clocks.advance(70_000);
    drop(held);
    busy.release();
    scene.outcomes(1);
    scene.world.permitted(&scene.ledger, &Call::read(3));
    let ended = scene.world.outcomes();
    assert_eq!(ended.iter().filter(|(_, outcome)| *outcome == Outcome::Withheld).count(), 1, "{ended:?}");
    assert_eq!(crate::replay::replay(&scene.world), (vec![], vec![]));
}

#[test]
fn a_checkpoint_that_no_quorum_cosigned_releases_nothing() {
    let scene = Scene::new();
    let stranger = Scene::new();
    let head = scene.ledger.heads();
    let held = scene.held(&charge(1));
    let plain = (*head.newest().unwrap()).clone();
    let line = stranger.witness.line(&plain, 1_800_000_000).unwrap();
    let by_stranger = plain.with_lines(&line, stranger.quorum().keys()).unwrap();
    let beside = Beside::new(&scene.world.data());
    assert_eq!(held.prove(&beside, &plain, &scene.quorum()).unwrap_err(), ReasonCode::EvidenceUnwitnessed);
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
    let held = scene.held(&charge(2));
    assert_eq!(
        held.prove(&beside, &by_stranger, &scene.quorum()).unwrap_err(),
        ReasonCode::EvidenceUnwitnessed
    );
    assert_eq!(scene.outcomes(2), [Outcome::Withheld; 2]);
    // One from before the record does not cover it.
    let before = scene.cosigned();
    let held = scene.held(&charge(3));
    assert_eq!(held.prove(&beside, &before, &scene.quorum()).unwrap_err(), ReasonCode::EvidenceCorrupt);
    assert_eq!(scene.outcomes(3), [Outcome::Withheld; 3]);
}

#[test]
fn a_gate_that_was_shut_meanwhile_releases_nothing() {
    let scene = Scene::new();
    let proved = scene.prove(scene.held(&charge(1)));
    *scene.world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
    assert_eq!(scene.release(proved).unwrap_err(), ReasonCode::GateShut);
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
    *scene.world.ports.gate.lock().unwrap() = Fact::Known(GateState::Open);
    assert_eq!(scene.world.refused(&scene.ledger, &charge(1)), ReasonCode::RequestAttemptReused);
}

#[test]
fn a_held_permit_was_released_though_its_bundle_was_replaced_or_had_expired_meanwhile() {
    let scene = Scene::new();
    let sound = scene.world.ports.policy.lock().unwrap().clone();
    let Fact::Known(now) = &sound else { panic!("{sound:?}") };
    let other = Some(BundleDigest(Digest::sha256(b"another bundle")));
    let cases = [
        (PolicyNow { policy: Policy::InForce(Validity::Expired), ..*now }, ReasonCode::PolicyExpired),
        (PolicyNow { digest: other, ..*now }, ReasonCode::OverloadContended),
        (
            PolicyNow { digest: None, root: None, policy: Policy::Refused(ReasonCode::PolicyPinMismatch) },
            ReasonCode::PolicyPinMismatch,
        ),
    ];
    for (attempt, (meanwhile, code)) in (1..).zip(cases) {
        let proved = scene.prove(scene.held(&charge(attempt)));
        *scene.world.ports.policy.lock().unwrap() = Fact::Known(meanwhile);
        assert_eq!(scene.release(proved).unwrap_err(), code);
        *scene.world.ports.policy.lock().unwrap() = sound.clone();
        let withheld = usize::try_from(attempt).unwrap();
        assert_eq!(scene.outcomes(withheld), vec![Outcome::Withheld; withheld]);
    }
}

/// It was said that the state cannot be reached, the ledger went on as if it were sound, and nobody read it.
#[test]
fn damage_that_a_release_met_was_told_as_a_state_that_cannot_be_reached() {
    let scene = Scene::new();
    let proved = scene.prove(scene.held(&charge(1)));
    scene.world.sql("UPDATE permits SET outcome = 'maybe'");
    assert_eq!(scene.release(proved).unwrap_err(), ReasonCode::EvidenceCorrupt);
    assert_eq!(scene.world.tripped(&scene.ledger), Some(ReasonCode::EvidenceCorrupt));
    assert_eq!(scene.world.refused(&scene.ledger, &Call::read(2)), ReasonCode::EvidenceCorrupt);
}

#[test]
fn an_attempt_held_twice_ends_one_way() {
    let scene = Scene::new();
    let (first, second) = (scene.held(&charge(1)), scene.held(&charge(1)));
    assert_eq!(first.seq(), second.seq());
    drop(first);
    scene.world.permitted(&scene.ledger, &Call::read(2));
    assert_eq!(scene.world.outcomes(), [], "one of two let go");
    scene.release(scene.prove(second)).unwrap();
    scene.world.permitted(&scene.ledger, &Call::read(3));
    assert_eq!(scene.world.outcomes(), [], "released");
    // And once more after that: it is open still, and nobody who lets go takes it back.
    let third = scene.held(&charge(1));
    drop(third);
    scene.world.permitted(&scene.ledger, &Call::read(4));
    assert_eq!(scene.outcomes(0).len(), 0, "a released PERMIT was withheld");
}

#[test]
fn a_released_permit_asked_again_after_a_crash_gave_its_key_back_when_witnesses_were_away() {
    let scene = Scene::new();
    scene.release(scene.prove(scene.held(&charge(1)))).unwrap();
    // The gate may be running it. The process dies; nothing on record says that the PERMIT was released.
    let crashed = scene.world.crashed();
    let ledger = crashed.start();
    match crashed.ask(&ledger, &charge(1)).recv_timeout(PATIENCE).unwrap() {
        DecideReply::Held(held) => drop(held),
        other @ (DecideReply::Decided(_) | DecideReply::EvaluateAgain(_)) => panic!("{other:?}"),
    }
    crashed.permitted(&ledger, &Call::read(2));
    assert_eq!(crashed.outcomes(), []);
    assert_eq!(crashed.refused(&ledger, &charge(3)), ReasonCode::IdempotencyInFlight);
}

#[test]
fn a_permit_that_is_held_for_witnesses_is_released_though_it_gave_a_label_that_forbids_the_next() {
    let scene = Scene::of(World::labelled_and_witnessed());
    scene.world.permitted(&scene.ledger, &Call::reads(1, "web"));
    let send = |attempt, key| Call::charge(attempt, "7.00", Some(key));
    scene.release(scene.prove(scene.held(&send(2, "k")))).unwrap();
    assert_eq!(scene.world.refused(&scene.ledger, &send(3, "other")), ReasonCode::PolicyForbidden);
}

#[test]
fn a_permit_that_is_held_for_witnesses_is_withheld_if_labels_move() {
    let scene = Scene::of(World::labelled_and_witnessed());
    scene.world.permitted(&scene.ledger, &Call::reads(1, "web"));
    let held = scene.held(&charge(2));
    scene.world.permitted(&scene.ledger, &Call::reads(3, "customer"));
    let proved = scene.prove(held);
    assert_eq!(scene.release(proved).unwrap_err(), ReasonCode::OverloadContended);
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
    assert!(!scene.is_shown(&charge(2)));
    assert_eq!(scene.world.refused(&scene.ledger, &charge(4)), ReasonCode::PolicyForbidden);
}

/// Nothing on record says of the exception by which it would be permitted now: nobody would know that it ran on stale facts.
#[test]
fn a_held_permit_on_fresh_facts_was_released_on_stale_ones_by_an_exception_that_is_not_on_record() {
    let scene = Scene::of(World::excepting(10 * 60_000 - 1_000));
    let later = |attempt, milliseconds| {
        let proved = scene.prove(scene.held(&Call::read(attempt)));
        scene.world.clocks.advance(milliseconds);
        scene.release(proved).map(|decided| scene.world.recorded(&decided).exception.is_some())
    };
    assert_eq!(later(1, 1_000), Ok(false));
    assert_eq!(later(2, 1_000).unwrap_err(), ReasonCode::OverloadContended);
    assert_eq!(scene.outcomes(1), [Outcome::Withheld]);
    assert!(!scene.is_shown(&Call::read(2)));
    // Permitted anew it is on record as such, and is released on the same terms.
    assert_eq!(later(3, 1_000), Ok(true));
}
