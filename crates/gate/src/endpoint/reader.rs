//! Reading a stream, and handing it to a connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_sdk::Authorizer;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};

use super::conversation::{Conversation, Era};
use super::holder::Holder;
use super::kept::Text;
use super::rewrite;
use super::streams::{Message, Next};
use super::who::{Caller, PATIENCE, names_nobody};

/// How long a client is asked to wait before it takes up a stream that broke, in milliseconds.
const RETRY_MS: u64 = 500;
/// A line that says nothing, by which the other side sees that the stream is still there.
const NOTHING: &[u8] = b":\n\n";

/// One of the agent's places for what is under way, as long as any of it is.
type Place = Arc<OwnedSemaphorePermit>;

/// Who reads a stream. When this is dropped, nobody does.
#[derive(Debug)]
pub(super) struct Reader {
    conversation: Arc<Conversation>,
    stream: u64,
    reader: u64,
    /// The number of the next message.
    from: u64,
    /// Whether it has come to the end.
    done: bool,
    /// Whether the client may know by what name to ask for the stream again.
    kept: bool,
}

impl Reader {
    pub(super) const fn new(
        conversation: Arc<Conversation>,
        stream: u64,
        (reader, from): (u64, u64),
    ) -> Self {
        Self { conversation, stream, reader, from, done: false, kept: false }
    }

    /// The same of a stream that its client can ask for again, if there are sessions.
    pub(super) fn kept(mut self) -> Self {
        self.kept = self.conversation.era == Era::Session;
        self
    }

    /// The next message; not `Nothing`.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let Some(changed) =
                self.conversation.state().streams.get(&self.stream).map(|stream| stream.changed())
            else {
                return Next::Gone;
            };
            let mut told = std::pin::pin!(changed.notified());
            // Before it is looked: what comes between looking and waiting would go unnoticed.
            told.as_mut().enable();
            match self.look() {
                Next::Nothing => told.await,
                next @ (Next::Message(_) | Next::End | Next::Gone) => return next,
            }
        }
    }

    fn look(&mut self) -> Next {
        let mut state = self.conversation.state();
        let Some(stream) = state.streams.get_mut(&self.stream) else { return Next::Gone };
        let next = stream.look(self.reader, self.from, &self.conversation.share.history);
        match &next {
            Next::Message(message) => {
                self.from = message.number.saturating_add(1);
                self.done |= message.answers;
            }
            Next::End => self.done = true,
            Next::Nothing | Next::Gone => {}
        }
        next
    }

    /// Waits until somebody else reads, or this reader was let go of.
    async fn replaced(conversation: &Conversation, stream: u64, reader: u64) {
        loop {
            let Some(changed) = conversation.state().streams.get(&stream).map(|stream| stream.changed())
            else {
                return;
            };
            let mut told = std::pin::pin!(changed.notified());
            told.as_mut().enable();
            if conversation.state().streams.get(&stream).is_none_or(|stream| !stream.is_read_by(reader)) {
                return;
            }
            told.await;
        }
    }

    /// An event as it goes over the connection. Its text takes room, and a place among the agent's, until it was written.
    fn event(&self, message: Message, place: &Place) -> [Bytes; 3] {
        let id = match self.conversation.era {
            Era::Session => format!("id: {}-{}\n", self.stream, message.number),
            Era::Stateless => String::new(),
        };
        let text = Text::into_bytes(message.text, Arc::clone(place));
        [format!("{id}data: ").into(), text, Bytes::from_static(b"\n\n")]
    }

    /// What says where a stream may be taken up, before there is any message (MCP 2025-11-25, "Sending Messages to the
    /// Server"). Clients of older revisions take it for a message.
    pub(super) fn beginning(&self) -> Option<Bytes> {
        let newest = super::era::LEGACY.first().copied();
        let knows = self.conversation.state().revision.as_deref() == newest;
        let before = self.from.checked_sub(1).map_or_else(|| "start".to_owned(), |last| last.to_string());
        let primes = self.conversation.era == Era::Session && knows;
        primes.then(|| format!("id: {}-{before}\nretry: {RETRY_MS}\ndata:\n\n", self.stream).into())
    }

    /// Hands the stream to a connection, until either ends. `first` goes before all else.
    /// It ends too when the arbiter, asked now and then, does not know the caller's token any more.
    pub(super) fn hand_over(
        self,
        first: Vec<Next>,
        caller: &Caller,
        place: OwnedSemaphorePermit,
    ) -> mpsc::Receiver<Bytes> {
        let (events, connection) = mpsc::channel(1);
        let checked = self.conversation.bounds.checked;
        let holder: Arc<dyn Authorizer> = Arc::<Holder>::clone(&self.conversation.holder);
        let arbiter = match self.conversation.era {
            // With whichever token it is gone on with.
            Era::Session => holder,
            Era::Stateless => Arc::clone(&caller.arbiter),
        };
        let (reader, place) = (self.kept(), Arc::new(place));
        tokio::spawn(async move {
            tokio::select! {
                () = reader.run(first, events, place) => {}
                () = revoked(arbiter, checked) => {}
            }
        });
        connection
    }

    async fn run(mut self, first: Vec<Next>, events: mpsc::Sender<Bytes>, place: Place) {
        let mut first = first.into_iter();
        let mut begun = self.beginning();
        loop {
            if let Some(beginning) = begun.take()
                && !self.send(&events, beginning).await
            {
                return;
            }
            let next = match first.next() {
                Some(next) => next,
                None => {
                    let quiet = self.conversation.bounds.quiet;
                    tokio::select! {
                        next = timeout(quiet, self.next()) => next.unwrap_or(Next::Nothing),
                        () = events.closed() => return,
                    }
                }
            };
            let event = match next {
                Next::Message(message) => self.event(message, &place),
                Next::Nothing => [Bytes::from_static(NOTHING), Bytes::new(), Bytes::new()],
                Next::End | Next::Gone => return,
            };
            for part in event.into_iter().filter(|part| !part.is_empty()) {
                if !self.send(&events, part).await {
                    return;
                }
            }
        }
    }

    /// Whether the connection took it.
    async fn send(&self, events: &mpsc::Sender<Bytes>, event: Bytes) -> bool {
        tokio::select! {
            biased;
            sent = events.send(event) => sent.is_ok(),
            // Who does not read what there is holds nothing up: the connection ends that takes nothing for long.
            () = Self::replaced(&self.conversation, self.stream, self.reader) => false,
        }
    }
}

/// Waits until the token that the arbiter is asked with names nobody any more. That nothing can be said of it is no such word:
/// what a stream tells was permitted before.
async fn revoked(arbiter: Arc<dyn Authorizer>, checked: Duration) {
    loop {
        sleep(checked).await;
        if let Ok(Err(refusal)) = timeout(PATIENCE, arbiter.whoami()).await
            && names_nobody(&refusal)
        {
            return;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.conversation.state();
        if let Some(stream) = state.streams.get_mut(&self.stream) {
            stream.detach(self.reader);
        }
        if self.kept {
            return;
        }
        // Nobody can ask for it again.
        state.remove(self.stream);
        if self.conversation.era == Era::Session {
            return;
        }
        let under_way = self.conversation.give_up(&mut state, self.stream);
        drop(state);
        self.conversation.answered.notify_waiters();
        if under_way && !self.done {
            let (conversation, number) = (Arc::clone(&self.conversation), self.stream);
            tokio::spawn(async move { drop(conversation.say(rewrite::cancelled(number, None)).await) });
        }
    }
}
