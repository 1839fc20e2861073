//! How much of what a tool server says is held at once, in bytes. What there is no room for is not read yet: the server waits, as it
//! does for a client that reads slowly.
//!
//! What a server asks has half of it, and what else it says the other half: a question takes room until it is answered, and who
//! answers it takes their time.
//!
//! A message takes room from when it was read until it was handed to who writes it, and what waits to be written takes room of its
//! own. Whoever holds one waits for the other, and never the other way round.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that the messages of all servers behind one gate take, which are shared out among them.
const GATE: usize = 128 * 1024 * 1024;
/// Bytes that wait to be written to one side.
pub(crate) const WAITING: usize = 32 * 1024 * 1024;
/// Room is given out in pieces of so many bytes.
const PIECE: usize = 1024;

/// Room for messages. One that is larger than all of it has it for itself.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    pieces: Arc<Semaphore>,
    all: u32,
}

/// Room that a message takes. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _pieces: OwnedSemaphorePermit,
}

impl Rooms {
    /// For what a server says that is one of so many behind its gate.
    pub(crate) fn of_one(servers: usize) -> Self {
        Self::new(GATE.checked_div(servers).unwrap_or(GATE))
    }

    /// So much of it.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::of_pieces(pieces(bytes))
    }

    fn of_pieces(all: u32) -> Self {
        Self { pieces: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(Semaphore::MAX_PERMITS))), all }
    }

    /// Half as much, in a place of its own.
    pub(crate) fn half(&self) -> Self {
        Self::of_pieces(self.all.div_ceil(2))
    }

    /// Room for so many bytes, as soon as there is.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Room> {
        let taken = Arc::clone(&self.pieces).acquire_many_owned(pieces(bytes).min(self.all)).await;
        taken.ok().map(|pieces| Room { _pieces: pieces })
    }

    /// The same, if there is now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Room> {
        let taken = Arc::clone(&self.pieces).try_acquire_many_owned(pieces(bytes).min(self.all));
        taken.ok().map(|pieces| Room { _pieces: pieces })
    }
}

/// How many pieces so many bytes take: one at the least.
fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Whether there is room at once.
    async fn has_room(rooms: &Rooms, bytes: usize) -> bool {
        tokio::select! {
            biased;
            room = rooms.take(bytes) => room.is_some(),
            () = ready(()) => false,
        }
    }

    #[tokio::test]
    async fn what_is_held_is_bounded_in_bytes_and_what_is_larger_than_all_of_it_is_held_alone() {
        let rooms = Rooms::of_one(32);
        let part = GATE / 32 / 4;
        let mut held: Vec<Room> = Vec::new();
        for _ in 0..4 {
            held.extend(rooms.try_take(part));
        }
        assert_eq!(held.len(), 4);
        assert!(rooms.try_take(1).is_none() && !has_room(&rooms, 1).await);
        held.pop();
        assert!(has_room(&rooms, 1).await && !has_room(&rooms, GATE).await, "all of it is not to be had");
        held.clear();
        let all = rooms.take(GATE).await.unwrap();
        assert!(rooms.try_take(1).is_none());
        drop(all);
        assert!(rooms.try_take(part * 4).is_some());
    }

    #[test]
    fn a_message_takes_something_however_short_it_is() {
        assert_eq!([0, 1, PIECE, PIECE + 1, usize::MAX].map(pieces), [1, 1, 1, 2, u32::MAX]);
    }
}
