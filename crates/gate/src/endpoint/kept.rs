//! Texts that are kept, with the room that they take, and in which order they are forgotten when there is none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::bounds::Room;

/// A text. What it takes of its agent's room is given back when nobody has it any more: also not a connection that is
/// slow to take it.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Bytes,
    _room: Option<Room>,
}

impl Text {
    pub(super) fn new(bytes: Vec<u8>, room: Option<Room>) -> Self {
        Self { bytes: bytes.into(), _room: room }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text as a connection gets it. What is `held` is let go of with it.
    pub(super) fn into_bytes<H: Send + Sync + 'static>(self: Arc<Self>, held: H) -> Bytes {
        Bytes::from_owner(Written { text: self, _held: held })
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Text {}

/// A text on its way to a client.
struct Written<H> {
    text: Arc<Text>,
    _held: H,
}

impl<H> AsRef<[u8]> for Written<H> {
    fn as_ref(&self) -> &[u8] {
        self.text.bytes()
    }
}

/// Where a text is kept, until it is forgotten.
#[derive(Debug)]
pub(super) struct Slot(Mutex<Option<Arc<Text>>>);

impl Slot {
    pub(super) fn new(text: Text) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Arc::new(text)))))
    }

    fn text(&self) -> MutexGuard<'_, Option<Arc<Text>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Option<Arc<Text>> {
        self.text().clone()
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.text().is_none()
    }

    /// Whether there was something to forget.
    fn forget(&self) -> bool {
        let forgotten = self.text().take();
        forgotten.is_some()
    }
}

/// What of an agent's may be forgotten to make room, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    read: Mutex<Queue>,
    lossy: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<Weak<Slot>>,
    /// At this length, those are taken out that are not there any more.
    crowded: usize,
}

impl Queue {
    fn push(&mut self, slot: &Arc<Slot>) {
        const FEW: usize = 64;
        if self.slots.len() >= self.crowded.max(FEW) {
            self.slots.retain(|slot| slot.upgrade().is_some_and(|slot| !slot.is_forgotten()));
            self.crowded = self.slots.len().saturating_mul(2);
        }
        self.slots.push_back(Arc::downgrade(slot));
    }
}

impl History {
    /// It was handed to a reader, and is kept in case that one asks for it again.
    pub(super) fn was_read(&self, slot: &Arc<Slot>) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// It waits, and another of its kind will tell more.
    pub(super) fn is_lossy(&self, slot: &Arc<Slot>) {
        self.lossy.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Forgets the oldest that was read. Whether there was one.
    pub(super) fn forget_read(&self) -> bool {
        Self::forget(&self.read)
    }

    /// Forgets the oldest that was read, or else the oldest of what may be lost.
    pub(super) fn forget_any(&self) -> bool {
        self.forget_read() || Self::forget(&self.lossy)
    }

    fn forget(queue: &Mutex<Queue>) -> bool {
        loop {
            let oldest = queue.lock().unwrap_or_else(PoisonError::into_inner).slots.pop_front();
            // Nothing is locked while it goes: it gives its room back.
            match oldest.map(|slot| slot.upgrade()) {
                Some(Some(slot)) if slot.forget() => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}
