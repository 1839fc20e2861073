//! That the log remembers which bundles were in force.

use portcullis_protocol::{
    BundleDigest, BundleRef, Digest, Event, InForce, Order, Ordered, Record, Succession,
};

use crate::harness::{Call, Held, World, answer};

/// The world's bundle, as if it had this version and root.
fn set(world: &World, version: u64, root: Option<(Digest, u64)>) {
    let mut bundle = world.bundle.reference().clone();
    bundle.version = version;
    *world.ports.in_force.lock().unwrap() = Some(InForce { bundle, root });
}

/// What the ledger tells its surroundings of the past before it decides anything.
fn told(world: &World) -> Succession {
    *world.ports.stood.lock().unwrap() = None;
    *world.ports.in_force.lock().unwrap() = None;
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(900_000 + world.size()));
    drop(ledger);
    world.ports.stood.lock().unwrap().clone().unwrap()
}

#[test]
fn what_was_in_force_is_told_after_a_restart_and_from_the_records_alone() {
    let world = World::new();
    let chain = Digest::sha256(b"a root");
    for (version, root, expected) in [
        (7, None, Succession { version: 7, root: None, activated: None }),
        (5, Some((chain, 2)), Succession { version: 7, root: Some((chain, 2)), activated: None }),
        (9, Some((chain, 1)), Succession { version: 9, root: Some((chain, 2)), activated: None }),
    ] {
        set(&world, version, root);
        world.permitted(&world.start(), &Call::read(version));
        assert_eq!(told(&world), expected);
    }
    let named = world.records().into_iter().filter_map(|record| {
        let Record::Event(record) = record else { return None };
        InForce::of_detail(&record.detail)
    });
    assert_eq!(named.map(|it| it.bundle.version).collect::<Vec<_>>(), [7, 5, 9]);
    assert_eq!(world.reader().succession().unwrap(), told(&world));
}

/// A start reads the log from its newest mark on: what came before is in the mark.
#[test]
fn a_mark_carries_what_was_in_force_before_it() {
    let world = World::new();
    let root = Some((Digest::sha256(b"a root"), 3));
    set(&world, 12, root);
    let ledger = world.start();
    let reads: Vec<_> = (10..1_300).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    reads.iter().for_each(|reply| drop(crate::harness::answer(reply)));
    drop(ledger);
    let position = |event| world.events().iter().position(|it| *it == event);
    assert!(position(Event::BundleInForce).unwrap() < position(Event::Marked).unwrap());
    let expected = Succession { version: 12, root, activated: None };
    assert_eq!(told(&world), expected);
    assert_eq!(world.reader().succession().unwrap(), expected);
    // Of a ledger whose every record is read, the mark must say the same.
    std::fs::write(world.data().join("doubted"), "a test").unwrap();
    assert_eq!(told(&world), expected);
}

/// Between two looks the file may have become another one: its version must not go on record for the first.
#[test]
fn a_bundle_that_is_another_by_the_time_it_is_described_is_looked_at_again() {
    let world = World::new();
    set(&world, 7, None);
    world.ports.in_force.lock().unwrap().as_mut().unwrap().bundle.digest =
        portcullis_protocol::BundleDigest(Digest::sha256(b"another"));
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    assert!(!world.events().contains(&Event::BundleInForce));
    set(&world, 7, None);
    world.permitted(&ledger, &Call::read(2));
    assert!(world.events().contains(&Event::BundleInForce));
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
    ledger.order(ordered, move |reply| sender.send(reply).unwrap()).unwrap();
    is_held.recv().unwrap();
    let crashed = world.crashed();
    go.send(()).unwrap();
    receiver.recv().unwrap().unwrap();
    drop(ledger);
    let before = Succession { version: 3, root: None, activated: None };
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
        ledger.order(ordered, move |reply| sender.send(reply).unwrap()).unwrap();
        receiver
    };
    let before = world.ask(&ledger, &Call::read(2));
    let old = order(1);
    let new = order(5);
    let after = world.ask(&ledger, &Call::read(3));
    held.release();
    answer(&before);
    assert_eq!(old.recv().unwrap(), Err(portcullis_ledger::OrderRefused::NotNewer));
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
