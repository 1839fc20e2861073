//! That the log remembers which bundles were in force.

use portcullis_arbiter::{Fact, Policy, PolicyNow};
use portcullis_ledger::{DecideReply, Given, OrderRefused};
use portcullis_protocol::{
    BundleDigest, BundleRef, Digest, Event, InForce, Order, Ordered, ProofDemand, ProofRef, ReasonCode,
    Record, RootRef, Succession, Vetted,
};

use crate::harness::{Call, Held, World, answer};
use crate::replay::replay;

/// The world's bundle, as if it had this version and root.
fn set(world: &World, version: u64, root: Option<RootRef>) {
    let mut bundle = world.bundle.reference().clone();
    bundle.version = version;
    world.decides(InForce { bundle, root });
}

/// An activation of a bundle that says nothing of proofs.
fn vetted(ordered: Ordered) -> Given {
    let Order::ActivateBundle { bundle } = &ordered.what else { panic!("no activation") };
    let vetted = Vetted {
        bundle: bundle.digest,
        demand: ProofDemand::Unsaid,
        proof: None,
        pinned: ProofDemand::Unsaid,
    };
    Given { vetted: Some(vetted), ordered }
}

/// What the ledger tells its surroundings of the past before it decides anything.
fn told(world: &World) -> Succession {
    *world.ports.stood.lock().unwrap() = None;
    *world.ports.in_force.lock().unwrap() = None;
    drop(world.start());
    world.ports.stood.lock().unwrap().clone().unwrap()
}

/// What is remembered of a world whose bundle had this version.
fn seen(world: &World, version: u64, roots: &[RootRef]) -> Succession {
    let digest = Some(world.bundle.reference().digest);
    let roots = roots.iter().map(|root| (root.chain, *root)).collect();
    Succession { version, digest, roots, ..Succession::default() }
}

/// A root of a version of some chain.
fn root(chain: &str, version: u64) -> RootRef {
    let digest = |of: &str| Digest::sha256(of.as_bytes());
    RootRef { chain: digest(chain), version, digest: digest(&format!("{chain} {version}")) }
}

#[test]
fn what_was_in_force_is_told_after_a_restart_and_from_the_records_alone() {
    let world = World::new();
    let (one, two) = (root("one", 2), root("two", 1));
    for (version, root, roots) in [(7, None, &[][..]), (8, Some(one), &[one]), (9, Some(two), &[one, two])] {
        set(&world, version, root);
        world.permitted(&world.start(), &Call::read(version));
        assert_eq!(told(&world), seen(&world, version, roots));
    }
    let named = world.records().into_iter().filter_map(|record| {
        let Record::Event(record) = record else { return None };
        InForce::of_detail(&record.detail)
    });
    assert_eq!(named.map(|it| it.bundle.version).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(world.reader().succession().unwrap(), told(&world));
}

/// A root that was replaced took effect at once, and was on record from the next start or bundle on: until then keys that it had left
/// out could sign another in its place.
#[test]
fn a_root_that_was_replaced_under_the_same_bundle_was_not_on_record_before_the_next_start() {
    let world = World::new();
    let (one, two) = (root("one", 1), root("one", 2));
    set(&world, 7, Some(one));
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    set(&world, 7, Some(two));
    world.permitted(&ledger, &Call::read(2));
    world.permitted(&ledger, &Call::read(3));
    drop(ledger);
    assert_eq!(world.reader().succession().unwrap(), seen(&world, 7, &[two]));
    let came = world.records().into_iter().filter_map(|record| {
        let Record::Event(record) = record else { return None };
        InForce::of_detail(&record.detail)
    });
    assert_eq!(came.map(|came| came.root).collect::<Vec<_>>(), [Some(one), Some(two)]);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// A start reads the log from its newest mark on: what came before is in the mark.
#[test]
fn a_mark_carries_what_was_in_force_before_it() {
    let world = World::new();
    let root = root("one", 3);
    set(&world, 12, Some(root));
    let ledger = world.start();
    let reads: Vec<_> = (10..1_300).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    reads.iter().for_each(|reply| drop(crate::harness::answer(reply)));
    drop(ledger);
    let position = |event| world.events().iter().position(|it| *it == event);
    assert!(position(Event::BundleInForce).unwrap() < position(Event::Marked).unwrap());
    let expected = seen(&world, 12, &[root]);
    assert_eq!(told(&world), expected);
    assert_eq!(world.reader().succession().unwrap(), expected);
    // Of a ledger whose every record is read, the mark must say the same.
    std::fs::write(world.data().join("doubted"), "a test").unwrap();
    assert_eq!(told(&world), expected);
}

/// Between two looks the file may have become another one: its version must not go on record for the first, and the first
/// must not decide without being on record.
#[test]
fn a_bundle_that_was_another_by_the_time_it_was_described_decided_without_being_on_record() {
    let world = World::new();
    let another = |world: &World| {
        set(world, 7, None);
        let digest = BundleDigest(Digest::sha256(b"another"));
        world.ports.in_force.lock().unwrap().as_mut().unwrap().bundle.digest = digest;
    };
    let gone = |world: &World| *world.ports.in_force.lock().unwrap() = None;
    // Before the ledger looks: what is set in two steps it could see between them.
    another(&world);
    let ledger = world.start();
    let stays = |_: &World| {};
    let becomes: [&dyn Fn(&World); 2] = [&stays, &gone];
    for (attempt, becomes) in (1..).zip(becomes) {
        becomes(&world);
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::PolicyMissing);
        assert!(!world.events().contains(&Event::BundleInForce));
    }
    set(&world, 7, None);
    world.permitted(&ledger, &Call::read(9));
    assert!(world.events().contains(&Event::BundleInForce));
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// It was taken for one in force whose description could not be had, and so for none: what had been asked of the bundle before it
/// was refused, and not asked again.
#[test]
fn what_was_asked_of_another_bundle_while_the_one_in_force_was_compiled_was_refused() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let sound = world.ports.policy.lock().unwrap().clone();
    let described = world.ports.in_force.lock().unwrap().take();
    let compiled = PolicyNow {
        digest: Some(BundleDigest(Digest::sha256(b"still compiled"))),
        root: None,
        policy: Policy::Refused(ReasonCode::PolicyMissing),
    };
    *world.ports.policy.lock().unwrap() = Fact::Known(compiled);
    let reply = world.ask(&ledger, &Call::read(2)).recv().unwrap();
    assert!(matches!(reply, DecideReply::EvaluateAgain(_)), "{reply:?}");
    let named = |world: &World| world.events().iter().filter(|it| **it == Event::BundleInForce).count();
    assert_eq!(named(&world), 1, "it is not in force");
    *world.ports.in_force.lock().unwrap() = described;
    *world.ports.policy.lock().unwrap() = sound;
    world.permitted(&ledger, &Call::read(3));
}

/// Nobody was told of it and no head was signed over it: whoever could write the data directory had another bundle decide.
#[test]
fn an_activation_that_was_never_sealed_took_effect_when_the_ledger_was_opened() {
    let world = World::new();
    set(&world, 3, None);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let held = Held::hold(&world, &ledger, 2);
    let bundle = BundleRef { name: "next".into(), version: 8, digest: BundleDigest(Digest::sha256(b"next")) };
    let ordered = Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: bundle.clone() },
        reason: "a test".parse().unwrap(),
    };
    // Its batch is committed, and the signer stands still over it when the machine goes down.
    let (entered, is_held) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let answered = held.release();
    answer(&answered);
    let mut once = Some(());
    world.behaviour.before(move |_| {
        if once.take().is_some() {
            entered.send(()).unwrap();
            gone.recv().unwrap_or(());
        }
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    ledger.order(vetted(ordered), move |reply| sender.send(reply).unwrap()).unwrap();
    is_held.recv().unwrap();
    let crashed = world.crashed();
    go.send(()).unwrap();
    receiver.recv().unwrap().unwrap();
    drop(ledger);
    let before = seen(&world, 3, &[]);
    assert_eq!(told(&crashed), before);
    assert!(
        crashed
            .records()
            .iter()
            .any(|record| matches!(record, Record::Event(event) if event.order.is_some()))
    );
    assert_eq!(crashed.reader().succession().unwrap(), before);
    assert_eq!(told(&crashed), before, "and after one more start");
    // The other one was sealed.
    assert_eq!(told(&world).activated, Some(bundle));
}

/// What comes after an activation in the log was decided by the new bundle, though it waited in the same batch.
#[test]
fn an_activation_ends_its_batch_and_what_waited_behind_it_is_settled_anew() {
    let world = World::new();
    set(&world, 1, None);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let held = Held::hold(&world, &ledger, 0);
    let bundle =
        |version| BundleRef { name: "next".into(), version, digest: BundleDigest(Digest::sha256(b"next")) };
    let order = |version| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let ordered = Ordered {
            by: "alice".parse().unwrap(),
            what: Order::ActivateBundle { bundle: bundle(version) },
            reason: "a test".parse().unwrap(),
        };
        ledger.order(vetted(ordered), move |reply| sender.send(reply).unwrap()).unwrap();
        receiver
    };
    let before = world.ask(&ledger, &Call::read(2));
    let old = order(1);
    let new = order(5);
    let after = world.ask(&ledger, &Call::read(3));
    held.release();
    answer(&before);
    assert_eq!(old.recv().unwrap(), Err(OrderRefused::NotNewer));
    let seq = new.recv().unwrap().unwrap();
    let after = answer(&after);
    assert!(after.verdict.reason().is_none());
    drop(ledger);
    // The surroundings were told of it when it was sealed, and after a restart.
    assert_eq!(world.ports.stood.lock().unwrap().clone().unwrap().activated, Some(bundle(5)));
    assert_eq!(told(&world).activated, Some(bundle(5)));
    assert_eq!(world.reader().succession().unwrap().activated, Some(bundle(5)));
    // Its record is the last of its batch: a head was signed right behind it.
    assert!(world.behaviour.roots.lock().unwrap().contains_key(&(seq + 1)), "{seq}");
}

/// Whatever was found out beforehand, it is held against the bundle that is in force when the order is carried out.
#[test]
fn an_activation_is_held_against_what_the_bundle_before_it_demands_in_log_order() {
    let world = World::new();
    set(&world, 1, None);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let bundle = |version: u64| BundleRef {
        name: "next".into(),
        version,
        digest: BundleDigest(Digest::sha256(&version.to_be_bytes())),
    };
    let ordered = |version| Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: bundle(version) },
        reason: "a test".parse().unwrap(),
    };
    let proof = || ProofRef {
        report: Digest::sha256(b"a report"),
        engine: "engine".into(),
        compiler: "compiler".into(),
        solver: "solver".into(),
        statements: 2,
    };
    let give = |given: Given| {
        let (sender, receiver) = std::sync::mpsc::channel();
        ledger.order(given, move |reply| sender.send(reply).unwrap()).unwrap();
        receiver.recv().unwrap()
    };
    let try_it = |version, demand, proof| {
        let pinned = ProofDemand::Unsaid;
        let vetted = Vetted { bundle: bundle(version).digest, demand, proof, pinned };
        give(Given { ordered: ordered(version), vetted: Some(vetted) })
    };
    let refused = |code| Err(OrderRefused::Bundle(code));
    let unproved = refused(ReasonCode::PolicyUnproved);
    assert_eq!(give(ordered(2).into()), unproved, "nobody looked into it");
    let (pinned, waived) = (ProofDemand::Unsaid, ProofDemand::Waived);
    let others = Vetted { bundle: bundle(3).digest, demand: waived, proof: None, pinned };
    assert_eq!(give(Given { ordered: ordered(2), vetted: Some(others) }), unproved, "of another bundle");
    assert_eq!(try_it(2, ProofDemand::Required, None), unproved);
    try_it(2, ProofDemand::Required, Some(proof())).unwrap();
    assert_eq!(try_it(3, ProofDemand::Waived, None), unproved);
    assert_eq!(try_it(3, ProofDemand::Unsaid, Some(proof())), refused(ReasonCode::PolicyProofsDropped));
    drop(ledger);
    let ledger = world.start();
    let (sender, receiver) = std::sync::mpsc::channel();
    let vetted =
        Vetted { bundle: bundle(3).digest, demand: ProofDemand::Unsaid, proof: Some(proof()), pinned };
    let given = Given { ordered: ordered(3), vetted: Some(vetted) };
    ledger.order(given, move |reply| sender.send(reply).unwrap()).unwrap();
    assert_eq!(receiver.recv().unwrap(), refused(ReasonCode::PolicyProofsDropped), "after a restart");
    drop(ledger);
    let succession = world.reader().succession().unwrap();
    assert_eq!((succession.activated, succession.proof), (Some(bundle(2)), Some(proof().report)));
    assert_eq!(succession.demand, ProofDemand::Required);
}
