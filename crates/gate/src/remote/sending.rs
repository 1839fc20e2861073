//! How messages are sent: requests one after the other, and what has no answer beside them.

use std::io;
use std::sync::Arc;

use portcullis_protocol::Loose;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout, timeout_at};

use super::head::Head;
use super::reading::{Asked, ERROR_BODY, Part, session_of, whole};
use super::session::Terms;
use super::wire::{Connection, Unsent};
use super::{ACCEPTING, BEGINNING, Begins, CANCELLING, INITIALIZED, MOST, Remote, UnderWay};
use crate::credential::Shown;
use crate::harmless::CANCELLED;
use crate::incoming::{Fate, Handed, Incoming, Sink};
use crate::message::{From, Message, read};

/// Sends to a server.
pub(crate) struct RemoteSink {
    pub(super) remote: Arc<Remote>,
    /// What the next message goes over.
    pub(super) next: Option<Connection>,
    /// Notifications that nobody waits to hear of, in their order.
    pub(super) notices: mpsc::Sender<Vec<u8>>,
}

impl Remote {
    /// Messages behind `initialize` wait for its answer. Whether there is one. The time counts from when that was sent: of many that
    /// wait one behind the other, each would otherwise wait as long again.
    async fn begun(&self) -> bool {
        let mut beginning = self.beginning.subscribe();
        let since = *beginning.borrow();
        let Some(since) = since else { return true };
        timeout_at(since + BEGINNING, beginning.wait_for(Option::is_none)).await.is_ok()
    }

    /// Sends a request, and hands on whatever comes of it.
    async fn exchange(
        self: Arc<Self>,
        (connection, shown): (Connection, Option<Shown>),
        message: Vec<u8>,
        head: Head,
        (number, begins): (u64, Option<Begins>),
    ) {
        // Held to the end: until nothing more is read in answer, it may come back.
        let shown = self.shown_or(shown).await;
        let post = match &shown {
            Err(why) => Err(Fate::Unshown(why.clone())),
            Ok(shown) => self.post(message, &head, shown).map_err(Fate::Void),
        };
        let fate = match post {
            Err(fate) => Some(fate),
            Ok((request, session)) => match self.wire.send(connection, request).await {
                Err(Unsent::Before(why)) => Some(Fate::Void(why)),
                Err(Unsent::After(why)) => Some(Fate::Lost(why)),
                Ok((connection, response)) => {
                    let part = if begins.is_some() { Part::Begins } else { Part::None };
                    if part == Part::Begins {
                        self.terms().session = session_of(&response);
                    }
                    self.answered(connection, response, &Asked { number, part, session }).await.err()
                }
            },
        };
        if let Some(fate) = fate {
            self.unanswered(number, fate).await;
        }
        self.under_way().remove(&number);
    }

    /// Sends a message that has no answer, and waits, for a bounded time, until it is accepted.
    pub(super) async fn tell(
        self: &Arc<Self>,
        (connection, shown): (Option<Connection>, Option<Shown>),
        message: Vec<u8>,
        head: &Head,
    ) -> Handed {
        let takes_up = matches!(head, Head::Notification(method) if method == INITIALIZED);
        let owed = takes_up.then(|| message.clone());
        // Held to the end, as for a request.
        let shown = self.shown_or(shown).await;
        let told = async {
            let shown = shown.as_ref().map_err(|why| Unsent::Before(why.clone()))?;
            let (request, session) = self.post(message, head, shown).map_err(Unsent::Before)?;
            let connection = match connection {
                Some(connection) => connection,
                None => self.wire.get().await.map_err(Unsent::Before)?,
            };
            let (connection, response) = self.wire.send(connection, request).await?;
            let status = response.status();
            let body = whole(response, ERROR_BODY).await.map_err(Unsent::After)?;
            self.wire.keep(connection);
            self.is_refused(status);
            self.is_over(status, session.as_ref(), None);
            let why = || Unsent::After(format!("status {} {}", status.as_u16(), self.sample(&body)));
            if status.is_success() { Ok(()) } else { Err(why()) }
        };
        let late = || Unsent::After("the tool server took too long to accept a message".into());
        let told = timeout(ACCEPTING, told).await.unwrap_or_else(|_| Err(late()));
        let (why, handed) = match told {
            Ok(()) => {
                if takes_up {
                    self.terms().owed = None;
                    self.listens(Some(self.spawn(Arc::clone(self).unasked())));
                }
                return Handed::Over;
            }
            Err(Unsent::Before(why)) => {
                if takes_up {
                    self.terms().owed = owed;
                }
                (why, Handed::Void)
            }
            Err(Unsent::After(why)) => (why, Handed::Lost),
        };
        self.note(&format!("a message may not have reached the tool server: {why}"));
        handed
    }

    /// Tells the server that the client has taken up the session, if it could not be told then: what comes behind may be refused
    /// without, and its own stream is not read.
    async fn take_up(self: &Arc<Self>) {
        let owed = self.terms().owed.take();
        if let Some(message) = owed {
            self.tell((None, None), message, &Head::Notification(INITIALIZED.to_owned())).await;
        }
    }

    /// Hands a message over. A request is on its way when this returns.
    async fn hand(
        self: &Arc<Self>,
        (connection, shown): (Connection, Option<Shown>),
        message: Vec<u8>,
        head: Head,
    ) -> Handed {
        let Head::Request { number, method, revision } = &head else {
            return self.tell((Some(connection), shown), message, &head).await;
        };
        let (number, by_closing) = (*number, revision.is_some());
        let begins = (method == "initialize").then(|| {
            *self.terms() = Terms::beginning(message.clone());
            Begins::new(self)
        });
        let exchange = Arc::clone(self).exchange((connection, shown), message, head, (number, begins));
        if self.begin(number, by_closing, exchange) {
            return Handed::Over;
        }
        self.say(Incoming::Unanswered(number, Fate::Void("too many requests are under way".into()))).await;
        Handed::Void
    }

    /// Takes up an exchange, unless there are too many.
    fn begin(
        &self,
        number: u64,
        by_closing: bool,
        exchange: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        // Held until it is noted: the exchange takes itself out at its end.
        let mut under_way = self.under_way();
        let room = under_way.len() < MOST;
        if room {
            under_way.insert(number, UnderWay { task: self.spawn(exchange), by_closing });
        }
        room
    }

    /// Cancels a request, at once if closing its stream cancels it, and else when the server was told and had its time.
    /// Whether the server need not be told.
    async fn cancelled(self: &Arc<Self>, message: &[u8]) -> bool {
        let Ok(Message::Notification(body)) = read(message, From::Client) else { return false };
        let number = match body.params.as_ref().and_then(|params| params.read.get("requestId")) {
            Some(Loose::Int(number)) => u64::try_from(*number).ok(),
            Some(_) | None => None,
        };
        let Some(number) = number else { return false };
        let at_once = self.under_way().get(&number).is_some_and(|it| it.by_closing);
        let why = "it was cancelled";
        if at_once {
            self.abandon(number, why).await;
        } else {
            let remote = Arc::clone(self);
            self.spawn(async move {
                sleep(CANCELLING).await;
                remote.abandon(number, why).await;
            });
        }
        at_once
    }

    /// Reads nothing more in answer to a request.
    pub(super) async fn abandon(&self, number: u64, why: &str) {
        let Some(it) = self.under_way().remove(&number) else { return };
        it.task.abort();
        self.say(Incoming::Unanswered(number, Fate::Lost(why.to_owned()))).await;
    }

    /// Tells the server one after the other what nobody waits to hear of.
    pub(super) async fn tell_in_order(self: Arc<Self>, mut notices: mpsc::Receiver<Vec<u8>>) {
        while let Some(message) = notices.recv().await {
            if let Some(head) = Head::of(&message) {
                self.tell_when_begun(message, &head).await;
            }
        }
    }

    async fn tell_when_begun(self: &Arc<Self>, message: Vec<u8>, head: &Head) {
        let begun = self.begun().await;
        if begun {
            self.tell((None, None), message, head).await;
        } else {
            self.notes.say("dropped a message for the tool server, which does not answer `initialize`");
        }
    }

    /// Gives the server an answer beside all else, as soon as there is room for it.
    async fn tell_beside(self: &Arc<Self>, message: Vec<u8>, head: Head) {
        let Ok(room) = Arc::clone(&self.beside).acquire_owned().await else { return };
        self.tell_in(room, message, head);
    }

    /// Tells the server of a cancellation, if there is room. Calls never wait for that: the server may take as long as it likes to
    /// accept one, and need not heed it (MCP 2025-11-25, "Cancellation").
    fn tell_cancelled(self: &Arc<Self>, message: Vec<u8>, head: Head) {
        match Arc::clone(&self.cancelling).try_acquire_owned() {
            Ok(room) => self.tell_in(room, message, head),
            Err(_) => self
                .notes
                .say("the tool server was not told of a cancellation: too many are on their way to it"),
        }
    }

    fn tell_in(self: &Arc<Self>, room: OwnedSemaphorePermit, message: Vec<u8>, head: Head) {
        let remote = Arc::clone(self);
        self.spawn(async move {
            remote.tell_when_begun(message, &head).await;
            drop(room);
        });
    }
}

impl RemoteSink {
    /// Sends what nobody waits to hear of. Whether it was that.
    async fn told(&self, message: &[u8], head: &Head) -> bool {
        match head {
            Head::Notification(method) if method == CANCELLED => {
                if !self.remote.cancelled(message).await {
                    self.remote.tell_cancelled(message.to_vec(), head.clone());
                }
            }
            // Nothing else is for a server before it.
            Head::Notification(method) if method == INITIALIZED => return false,
            Head::Notification(_) => {
                if self.notices.try_send(message.to_vec()).is_err() {
                    self.remote.notes.say("dropped a notification: too many wait for the tool server");
                }
            }
            Head::Answer => self.remote.tell_beside(message.to_vec(), head.clone()).await,
            Head::Request { .. } => return false,
        }
        true
    }
}

impl Sink for RemoteSink {
    async fn ready(&mut self) -> bool {
        if !self.remote.begun().await {
            self.remote.notes.say("the tool server does not answer `initialize`");
            return false;
        }
        if !self.remote.is_in_session().await {
            return false;
        }
        self.remote.take_up().await;
        if self.next.as_ref().is_some_and(Connection::is_ready) {
            return true;
        }
        self.next = None;
        match self.remote.wire.get().await {
            Ok(connection) => self.next = Some(connection),
            Err(why) => self.remote.note(&format!("the tool server cannot be reached: {why}")),
        }
        self.next.is_some()
    }

    async fn send(&mut self, message: Vec<u8>, shown: Option<Shown>) -> io::Result<Handed> {
        let Some(head) = Head::of(&message) else {
            self.remote.notes.say("dropped a message for the tool server that is none");
            return Ok(Handed::Void);
        };
        // What was made ready for is permitted now, and perhaps not in a moment: nothing is waited for any more.
        if self.next.is_none() {
            if self.told(&message, &head).await {
                return Ok(Handed::Over);
            }
            if !self.ready().await {
                if let Head::Request { number, .. } = head {
                    let fate = Fate::Void("it cannot be reached".into());
                    self.remote.say(Incoming::Unanswered(number, fate)).await;
                }
                return Ok(Handed::Void);
            }
        }
        match self.next.take() {
            Some(connection) => Ok(self.remote.hand((connection, shown), message, head).await),
            None => Ok(Handed::Void),
        }
    }
}
