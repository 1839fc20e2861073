use portcullis_protocol::{ReasonCode, Record};

use crate::harness::{Call, World};

#[test]
fn a_clock_that_jumps_either_way_permits_and_records_nothing_until_it_is_right_again() {
    for jump in [11_000, -11_000] {
        let world = World::new();
        let ledger = world.start();
        world.permitted(&ledger, &Call::read(1));
        let size = world.status(&ledger).size;
        world.clocks.jump(jump);
        assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::ClockJumped);
        assert_eq!(world.tripped(&ledger), Some(ReasonCode::ClockJumped));
        assert_eq!(world.status(&ledger).size, size);
        world.clocks.jump(-jump);
        world.permitted(&ledger, &Call::read(3));
    }
}

#[test]
fn a_clock_behind_the_log_permits_nothing() {
    let world = World::new();
    world.clocks.advance(60_000);
    drop(world.start());
    world.clocks.jump(-5_000);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::ClockBehindLog);
    world.clocks.advance(5_000);
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn an_unreadable_clock_permits_nothing_and_is_watched_once_it_can_be_read() {
    let world = World::new();
    world.clocks.set_readable(false);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::ClockUnreadable);
    world.clocks.set_readable(true);
    world.permitted(&ledger, &Call::read(2));
    world.clocks.set_readable(false);
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::ClockUnreadable);
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::ClockUnreadable));
}

#[test]
fn a_time_that_no_record_can_hold_poisoned_the_ledger() {
    let world = World::new();
    world.clocks.set_wall(u64::MAX);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::ClockUnreadable);
}

#[test]
fn time_never_runs_backwards_in_the_log() {
    let world = World::new();
    let ledger = world.start();
    for (attempt, step) in [(1, 10), (2, -900), (3, 5), (4, 2_000)] {
        world.clocks.jump(step);
        world.permitted(&ledger, &Call::read(attempt));
    }
    let times: Vec<_> = world.records().iter().map(Record::time).collect();
    assert!(times.is_sorted(), "{times:?}");
}
