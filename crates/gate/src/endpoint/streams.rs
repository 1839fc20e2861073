//! What waits for a client: the messages of each stream, in order, until they were read and as long as there is room.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::bounds::Part;

/// A message on a stream.
#[derive(Debug)]
pub(super) struct Event {
    number: u64,
    text: Bytes,
    /// Whether it is the answer that the stream is for.
    answers: bool,
    _room: Option<[Part; 2]>,
}

/// A message as its reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its place on the stream.
    pub(super) number: u64,
    pub(super) text: Bytes,
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
    /// Somebody else reads it now, it was read too slowly, or it is not there any more.
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

    /// Messages that are kept.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Messages that no reader has had.
    pub(super) fn waiting(&self) -> usize {
        self.events.iter().filter(|event| event.number >= self.unread).count()
    }

    pub(super) fn push(&mut self, text: Bytes, answers: bool, room: Option<[Part; 2]>) {
        if self.ended {
            return;
        }
        self.events.push_back(Event { number: self.next, text, answers, _room: room });
        self.next = self.next.saturating_add(1);
        self.changed.notify_waiters();
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.changed.notify_waiters();
    }

    /// Forgets the oldest message that was read. Whether there was one.
    pub(super) fn forget_read(&mut self) -> bool {
        match self.events.front() {
            Some(event) if event.number < self.unread => self.events.pop_front().is_some(),
            Some(_) | None => false,
        }
    }

    /// Forgets whatever waits, for it is not read, and who does not read it. An answer stays.
    pub(super) fn spill(&mut self) {
        self.events.retain(|event| event.answers);
        self.reader = None;
        self.changed.notify_waiters();
    }

    /// What a reader finds at this number or behind it.
    pub(super) fn look(&mut self, reader: u64, from: u64) -> Next {
        if self.reader != Some(reader) {
            return Next::Gone;
        }
        let Some(event) = self.events.iter().find(|event| event.number >= from) else {
            return if self.ended { Next::End } else { Next::Nothing };
        };
        self.unread = self.unread.max(event.number.saturating_add(1));
        Next::Message(Message { number: event.number, text: event.text.clone(), answers: event.answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(next: Next) -> String {
        match next {
            Next::Message(message) => String::from_utf8(message.text.to_vec()).unwrap(),
            other @ (Next::Nothing | Next::End | Next::Gone) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_new_reader_goes_on_where_it_says_and_the_old_one_finds_nothing() {
        let mut stream = Stream::default();
        let first = stream.attach();
        for word in ["a", "b", "c"] {
            stream.push(word.into(), false, None);
        }
        assert_eq!((text(stream.look(first, 0)), text(stream.look(first, 1))), ("a".into(), "b".into()));
        let second = stream.attach();
        assert_eq!(stream.look(first, 2), Next::Gone);
        assert_eq!((text(stream.look(second, 1)), text(stream.look(second, 2))), ("b".into(), "c".into()));
        stream.detach(first);
        assert_eq!(stream.look(second, 3), Next::Nothing, "who was replaced detaches nobody");
        stream.end();
        stream.push("d".into(), true, None);
        assert_eq!(stream.look(second, 3), Next::End, "nothing comes behind the end");
    }

    #[test]
    fn what_was_read_is_forgotten_first_and_an_answer_never() {
        let mut stream = Stream::default();
        let reader = stream.attach();
        for (word, answers) in [("a", false), ("b", false), ("c", true)] {
            stream.push(word.into(), answers, None);
        }
        assert!(!stream.forget_read());
        stream.look(reader, 0);
        assert!(stream.forget_read() && !stream.forget_read());
        assert_eq!(stream.waiting(), 2);
        stream.spill();
        assert_eq!(stream.look(reader, 0), Next::Gone, "who does not read is let go of");
        let reader = stream.attach();
        assert_eq!(text(stream.look(reader, 0)), "c");
    }
}
