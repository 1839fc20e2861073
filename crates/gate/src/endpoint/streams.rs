//! What waits for a client: the messages of each stream, in order, until they were read and as long as there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::message::Id;

use super::kept::{History, Slot, Text};

/// What a message is to its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer that the stream is for.
    Answer,
    /// A question of the server's under this id, which waits since.
    Question(Id, Instant),
    /// Word of something that has changed.
    Notice,
    /// Word of which more comes: progress, and log messages.
    Lossy,
}

/// A message on a stream.
#[derive(Debug)]
struct Event {
    number: u64,
    kind: Kind,
    slot: Arc<Slot>,
}

impl Event {
    /// Whether somebody has still to read it.
    fn waits(&self, unread: u64) -> bool {
        self.number >= unread && !self.slot.is_forgotten()
    }
}

/// A message as its reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its place on the stream.
    pub(super) number: u64,
    pub(super) text: Arc<Text>,
    /// Whether it is the answer that the stream is for.
    pub(super) answers: bool,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Message(Message),
    /// Nothing now.
    Nothing,
    /// Nothing any more: the stream has come to its end.
    End,
    /// Somebody else reads it now, or it is not there any more.
    Gone,
}

/// One stream. One reads it at a time, and a new reader takes it over.
#[derive(Debug, Default)]
pub(super) struct Stream {
    events: VecDeque<Event>,
    /// The number of the next message.
    next: u64,
    /// Below it, messages were handed to a reader.
    unread: u64,
    /// The number of the answer.
    answer: Option<u64>,
    readers: u64,
    /// Who reads it.
    reader: Option<u64>,
    ended: bool,
    changed: Arc<Notify>,
}

impl Stream {
    /// Tells when there may be something to be found.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Gives the stream to a new reader. Returns its name.
    pub(super) fn attach(&mut self) -> u64 {
        self.readers = self.readers.saturating_add(1);
        self.reader = Some(self.readers);
        self.changed.notify_waiters();
        self.readers
    }

    /// A reader goes.
    pub(super) fn detach(&mut self, reader: u64) {
        self.reader = self.reader.filter(|current| *current != reader);
    }

    pub(super) const fn is_read(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) fn is_read_by(&self, reader: u64) -> bool {
        self.reader == Some(reader)
    }

    /// Where a reader begins that has had nothing: at what none has had.
    pub(super) const fn first_unread(&self) -> u64 {
        self.unread
    }

    /// Whether a reader that begins there gets the answer, if there was one.
    pub(super) fn has_answer_behind(&self, from: u64) -> bool {
        let kept = |number: u64| self.events.iter().any(|event| event.number == number && event.waits(0));
        self.answer.is_none_or(|answer| answer < from || kept(answer))
    }

    /// Messages that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Messages that no reader has had.
    pub(super) fn waiting(&self) -> usize {
        self.events.iter().filter(|event| event.waits(self.unread)).count()
    }

    /// Whether a question of the server's waits on it.
    pub(super) fn asks(&self) -> bool {
        let question = |event: &Event| matches!(event.kind, Kind::Question(..));
        self.events.iter().any(|event| question(event) && event.waits(self.unread))
    }

    /// Takes out the questions that nobody has read for so long.
    pub(super) fn unheard(&mut self, now: Instant, patience: Duration) -> Vec<Id> {
        let (mut unheard, unread) = (Vec::new(), self.unread);
        self.events.retain(|event| match &event.kind {
            Kind::Question(id, since)
                if event.number >= unread && now.saturating_duration_since(*since) >= patience =>
            {
                unheard.push(id.clone());
                false
            }
            Kind::Question(..) | Kind::Answer | Kind::Notice | Kind::Lossy => true,
        });
        unheard
    }

    /// Sees to it that there are fewer than `most` messages before another of this kind comes: forgets what was read, then word of
    /// which more comes, then what is of the same kind. Answers and questions stay. Whether it may come.
    pub(super) fn make_place(&mut self, most: usize, kind: &Kind) -> bool {
        let unread = self.unread;
        while self.events.len() >= most {
            let first = |fits: &dyn Fn(&Event) -> bool| self.events.iter().position(fits);
            let place = first(&|event| !event.waits(unread))
                .or_else(|| first(&|event| event.kind == Kind::Lossy))
                .or_else(|| first(&|event| event.kind == Kind::Notice).filter(|_| *kind != Kind::Lossy));
            match place {
                Some(place) => drop(self.events.remove(place)),
                // As many as there are requests, at most.
                None => return matches!(kind, Kind::Answer | Kind::Question(..)),
            }
        }
        true
    }

    pub(super) fn push(&mut self, kind: Kind, slot: Arc<Slot>) {
        if self.ended {
            return;
        }
        if kind == Kind::Answer {
            self.answer = Some(self.next);
        }
        self.events.push_back(Event { number: self.next, kind, slot });
        self.next = self.next.saturating_add(1);
        self.changed.notify_waiters();
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.changed.notify_waiters();
    }

    /// What a reader finds at this number or behind it. What it finds for the first time belongs to what was read from now on.
    pub(super) fn look(&mut self, reader: u64, from: u64, history: &History) -> Next {
        if self.reader != Some(reader) {
            return Next::Gone;
        }
        let behind = self.events.iter().filter(|event| event.number >= from);
        let Some((event, text)) = behind.filter_map(|event| Some((event, event.slot.get()?))).next() else {
            return if self.ended { Next::End } else { Next::Nothing };
        };
        if event.number >= self.unread {
            self.unread = event.number.saturating_add(1);
            history.was_read(&event.slot);
        }
        Next::Message(Message { number: event.number, text, answers: event.kind == Kind::Answer })
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
