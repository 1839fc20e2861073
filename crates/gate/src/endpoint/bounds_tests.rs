use super::super::kept::{Slot, Text};
use super::*;

const MIB: usize = 1024 * 1024;

fn bounds() -> Bounds {
    Bounds { held: 256 * MIB, held_each: 64 * MIB, sessions: 64, ..Bounds::USUAL }
}

fn agents<const N: usize>(bounds: &Bounds) -> (Arc<Pool>, [Arc<Share>; N]) {
    let pool = Pool::new(bounds);
    let agents = std::array::from_fn(|_| Share::new(bounds, &pool));
    (pool, agents)
}

#[test]
fn what_one_agent_holds_is_bounded_and_what_all_hold_too() {
    let bounds = bounds();
    let (pool, [one, other]) = agents(&bounds);
    let first = one.hold(64 * MIB).unwrap();
    assert!(one.hold(1).is_none(), "more than its own");
    assert!(other.hold(64 * MIB + 1).is_none() && other.hold(usize::MAX).is_none());
    let second = other.hold(63 * MIB).unwrap();
    assert_eq!(*pool.taken(), 63 * MIB + 62 * MIB, "each has a MiB for itself");
    drop(first);
    assert!(!other.is_unused(&bounds) && one.is_unused(&bounds));
    assert!(one.hold(64 * MIB).is_some(), "what is refused takes nothing, and what is dropped is given back");
    drop(second);
    assert_eq!(*pool.taken(), 0);
}

/// Four agents could take the room of all: nothing was left for a fifth.
#[test]
fn agents_that_hold_all_they_can_leave_room_for_others() {
    let bounds = bounds();
    let (pool, agents) = agents::<64>(&bounds);
    let mut held = Vec::new();
    for agent in &agents {
        let mut most = 64 * MIB;
        while most > 0 {
            match agent.hold(most) {
                Some(room) => held.push(room),
                None => most /= 2,
            }
        }
    }
    assert!(*pool.taken() <= 192 * MIB);
    assert!(held.iter().map(|room| room.bytes).sum::<usize>() <= 256 * MIB);
    for agent in &agents[..5] {
        assert!(agent.used.load(Ordering::Acquire) > 4 * MIB, "the fifth gets a few MiB still");
    }
    for agent in &agents {
        assert!(agent.used.load(Ordering::Acquire) >= MIB, "and the last what is its alone");
    }
}

#[test]
fn what_was_read_makes_room_for_other_agents_and_what_waits_does_not() {
    let bounds = Bounds { held: 16 * MIB, held_each: 12 * MIB, sessions: 4, ..Bounds::USUAL };
    let (_pool, [one, other]) = agents(&bounds);
    let slot = |share: &Share, bytes| Slot::new(Text::new(vec![0; bytes], share.hold(bytes)));
    let (old, new, waits) = (slot(&one, 3 * MIB), slot(&one, 2 * MIB), slot(&one, MIB));
    one.history.was_read(&old);
    one.history.was_read(&new);
    one.history.is_lossy(&waits);
    let room = other.hold(6 * MIB).unwrap();
    assert!(old.is_forgotten() && !new.is_forgotten(), "no more than it takes, the oldest first");
    assert!(other.hold(6 * MIB).is_none() && new.is_forgotten());
    assert!(!waits.is_forgotten(), "what an agent has not read is lost for no other");
    drop(room);
    assert!(one.hold(7 * MIB).is_some() && waits.is_forgotten(), "but for more of its own");
}

#[test]
fn what_a_connection_has_still_to_write_keeps_its_room() {
    let bounds = Bounds { held_each: 10, held: 1000, ..Bounds::USUAL };
    let (_pool, [one]) = agents(&bounds);
    let slot = Slot::new(Text::new(vec![b'x'; 8], one.hold(8)));
    let written = slot.get().unwrap().into_bytes(());
    one.history.was_read(&slot);
    assert!(one.hold(8).is_none() && slot.is_forgotten());
    assert_eq!(written, "xxxxxxxx");
    drop(written);
    assert!(one.hold(8).is_some());
}
