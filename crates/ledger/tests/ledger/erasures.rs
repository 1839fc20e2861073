//! An erasure is confirmed only where nothing of the ledger's own may still hold what is gone.

use std::fs;
use std::sync::mpsc::channel;

use portcullis_ledger::{Ledger, OrderRefused};
use portcullis_protocol::{Event, Order, Ordered};

use crate::harness::{Call, POISON, World};

fn erase(ledger: &Ledger) -> Result<u64, OrderRefused> {
    let (sender, receiver) = channel();
    let what = Order::ErasePayloads { subject: "demo-agent".parse().unwrap() };
    let ordered = Ordered { by: "alice".parse().unwrap(), what, reason: "asked for".parse().unwrap() };
    ledger.order(ordered, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap()
}

#[test]
fn an_erasure_was_confirmed_while_a_copy_with_the_key_could_not_be_removed() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    // Not even root can remove this as the directory that it should be.
    let copy = world.data().join("ledger/000009");
    fs::write(&copy, b"").unwrap();
    let Err(OrderRefused::CopyKept(told)) = erase(&ledger) else { panic!("erased") };
    assert!(told.contains("000009"), "{told}");
    assert!(!world.events().contains(&Event::Ordered));
    // What else is asked for goes on.
    world.permitted(&ledger, &Call::charge(2, "12.50", Some("l")));
    fs::remove_file(&copy).unwrap();
    erase(&ledger).unwrap();
}

#[test]
fn a_database_that_failed_after_an_erasure_was_kept_with_the_key_in_it() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    erase(&ledger).unwrap();
    let failed = world.database();
    world.sql(POISON);
    world.refused(&ledger, &Call::poison(2));
    for attempt in 3..5 {
        world.permitted(&ledger, &Call::read(attempt));
    }
    assert_ne!(world.database(), failed, "rebuilt");
    assert!(!failed.exists(), "what failed is there with what was erased");
    assert_eq!(world.status(&ledger).erasing, Some(false));
}

#[test]
fn what_of_an_erasure_is_left_is_told_until_it_is_gone() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    assert_eq!(world.status(&ledger).erasing, Some(false));
    erase(&ledger).unwrap();
    drop(ledger);
    let copy = world.data().join("ledger/000009");
    fs::write(&copy, b"").unwrap();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(2));
    assert_eq!(world.status(&ledger).erasing, Some(true));
    fs::remove_file(&copy).unwrap();
    for attempt in 3..5 {
        world.permitted(&ledger, &Call::read(attempt));
    }
    assert_eq!(world.status(&ledger).erasing, Some(false));
}
