//! What comes from a tool server, and how it is sent to: alike for a process and for a server that is reached by URL.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::credential::{Given, Shown};
use crate::line::{Line, Lines};
use crate::message::without_carriage_returns;
use crate::room::Room;

/// What comes from a tool server.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message, which of the gate's requests it may answer, and what it takes of what its server may, if it waited to be acted upon.
    Message(Line, Answers, Option<Room>),
    /// No answer will come to the gate's request of this number.
    Unanswered(u64, Fate),
    /// The server has ended the session, and another will be begun: the tools may be others. To be told once that is known.
    Ended(watch::Sender<()>),
}

/// Which requests a message may answer by where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Any: one stream carries all.
    Any,
    /// That of this number: it came in answer to it.
    Only(u64),
    /// None: it came unasked.
    None,
}

impl Answers {
    pub(crate) fn admit(self, number: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Only(asked) => asked == number,
            Self::None => false,
        }
    }
}

/// Why no answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It did not reach the server, or the server took it for none: nothing came of it.
    Void(String),
    /// It was sent, and nobody knows what came of it.
    Lost(String),
    /// It was not sent: there is no credential to show with it.
    Unshown(String),
}

/// Where messages of a tool server come from.
pub(crate) trait Source: Send {
    /// The next; `None` once nothing comes any more.
    fn next(&mut self) -> impl Future<Output = Option<Incoming>> + Send;
}

impl<R: AsyncRead + Unpin + Send> Source for Lines<R> {
    async fn next(&mut self) -> Option<Incoming> {
        let line = Self::next(self).await.ok()??;
        // The next one is read once this one was acted upon.
        Some(Incoming::Message(line, Answers::Any, None))
    }
}

/// What a process says, without what it was given.
pub(crate) struct Spoken<R> {
    pub(crate) lines: Lines<R>,
    pub(crate) given: Option<Given>,
}

impl<R: AsyncRead + Unpin + Send> Source for Spoken<R> {
    async fn next(&mut self) -> Option<Incoming> {
        let line = Lines::next(&mut self.lines).await.ok()??;
        let line = match (&self.given, line) {
            (None, line) => line,
            // Looked through as it will be read.
            (Some(given), Line::Whole(line)) => Line::Whole(given.message(without_carriage_returns(line))),
            (Some(given), cut @ Line::Cut(_)) => Line::Cut(given.words(&cut)),
        };
        // The next one is read once this one was acted upon.
        Some(Incoming::Message(line, Answers::Any, None))
    }
}

impl Source for mpsc::Receiver<Incoming> {
    async fn next(&mut self) -> Option<Incoming> {
        self.recv().await
    }
}

/// Where messages for one side go.
pub(crate) trait Sink: Send {
    /// Makes ready for a message: whether one can be sent now.
    fn ready(&mut self) -> impl Future<Output = bool> + Send;

    /// Sends one message, at once if it was made ready for, with what the other side is shown of who sends it; what was not
    /// fetched for it before is fetched then, where something is shown. After an error none can be sent any more.
    fn send(
        &mut self,
        message: Vec<u8>,
        shown: Option<Shown>,
    ) -> impl Future<Output = io::Result<Handed>> + Send;
}

/// What became of a message, as far as that is known once it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It was handed over.
    Over,
    /// The other side has it for none: nothing came of it.
    Void,
    /// Nobody knows.
    Lost,
}

impl<W: AsyncWrite + Unpin + Send> Sink for W {
    async fn ready(&mut self) -> bool {
        true
    }

    async fn send(&mut self, message: Vec<u8>, _: Option<Shown>) -> io::Result<Handed> {
        // There may be a credential in it.
        let mut message = Zeroizing::new(message);
        message.push(b'\n');
        self.write_all(&message).await?;
        self.flush().await?;
        Ok(Handed::Over)
    }
}
