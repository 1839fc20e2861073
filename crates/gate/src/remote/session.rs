//! A session with a server of the older era: how it is begun, and begun again when the server has ended it.
//!
//! A new one is begun with the client's own `initialize`, before the next message. Nothing of the old one is sent again: what
//! was in flight is unknown, and what is known of the server's tools counts no more.

use std::sync::Arc;

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::head::Head;
use super::reading::{Asked, Part, session_of};
use super::wire::Unsent;
use super::{BEGINNING, INITIALIZED, Remote};
use crate::incoming::{Fate, Handed, Incoming};

/// Why what was in flight has no answer.
const ENDED: &str = "the tool server has ended the session";

/// How messages are sent, as the answer to `initialize` said.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) session: Option<HeaderValue>,
    pub(super) revision: Option<HeaderValue>,
    /// The client's `initialize`.
    pub(super) hello: Option<Vec<u8>>,
    /// That the client has taken up the session, as long as the server could not be told.
    pub(super) owed: Option<Vec<u8>>,
    /// Requests of the server's that are not answered yet.
    pub(super) open: usize,
    /// The server has ended the session, and there is no other yet. Told once it is known here that the tools may be others.
    pub(super) ended: Option<watch::Receiver<()>>,
    /// Until when no other is begun, because the server did not answer when one was.
    pub(super) rests_until: Option<Instant>,
}

impl Terms {
    /// Those of the session that begins with this message.
    pub(super) fn beginning(hello: Vec<u8>) -> Self {
        Self { hello: Some(hello), ..Self::default() }
    }
}

impl Remote {
    /// Takes it up if the session has ended in which something was sent, as the request of number `own` if it was one.
    pub(super) fn is_over(
        self: &Arc<Self>,
        status: StatusCode,
        session: Option<&HeaderValue>,
        own: Option<u64>,
    ) {
        let (StatusCode::NOT_FOUND, Some(session)) = (status, session) else { return };
        let (known, heard) = watch::channel(());
        {
            let mut terms = self.terms();
            // Said of it before, or of one before it.
            if terms.session.as_ref() != Some(session) {
                return;
            }
            // An answer to a question of the old session could be taken for one to a question of the new one.
            if terms.open > 0 || terms.hello.is_none() {
                drop(terms);
                self.notes.say(ENDED);
                self.gone.send_replace(true);
                return;
            }
            (terms.session, terms.ended) = (None, Some(heard));
        }
        self.notes.say("the tool server has ended the session; the next message begins another");
        self.listens(None);
        let numbers: Vec<u64> = {
            let under_way = self.under_way();
            let of_it = under_way.iter().filter(|(number, it)| !it.by_closing && Some(**number) != own);
            of_it.map(|(number, _)| *number).collect()
        };
        // Of its own: whoever found out may be ended any moment.
        let remote = Arc::clone(self);
        self.spawn(async move {
            for number in numbers {
                remote.abandon(number, ENDED).await;
            }
            remote.say(Incoming::Ended(known)).await;
        });
    }

    /// Sees to it that there is a session, if there was one. Whether there is.
    pub(super) async fn is_in_session(self: &Arc<Self>) -> bool {
        let (ended, rests_until) = {
            let terms = self.terms();
            (terms.ended.clone(), terms.rests_until)
        };
        let Some(mut ended) = ended else { return true };
        // Of many messages that wait one behind the other, each would otherwise wait as long again.
        if rests_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let again = timeout(BEGINNING, async {
            // Before that a call could be sent by what the tools were.
            match ended.changed().await {
                Ok(()) => self.begin_again().await,
                Err(_) => Err("nobody takes note of it".into()),
            }
        });
        let why = match again.await {
            Ok(Ok(())) => return true,
            Ok(Err(why)) => why,
            Err(_) => {
                self.terms().rests_until = Some(Instant::now() + BEGINNING);
                format!("not within {} s", BEGINNING.as_secs())
            }
        };
        self.note(&format!("no new session with the tool server: {why}"));
        false
    }

    async fn begin_again(self: &Arc<Self>) -> Result<(), String> {
        let (hello, agreed) = {
            let terms = self.terms();
            (terms.hello.clone().unwrap_or_default(), terms.revision.clone())
        };
        let Some(Head::Request { number, .. }) = Head::of(&hello) else {
            return Err("it was begun with no request".into());
        };
        let shown = self.shown_or(None).await?;
        let connection = self.wire.get().await?;
        let request = self.request(Method::POST, (None, &shown), Some(hello.into()), &[])?;
        let sent = self.wire.send(connection, request).await;
        let (connection, response) = sent.map_err(|(Unsent::Before(why) | Unsent::After(why))| why)?;
        let session = session_of(&response);
        let asked = Asked { number, part: Part::BeginsAgain, session: None };
        let answered = self.answered(connection, response, &asked).await;
        let ended = {
            let mut terms = self.terms();
            let revision = std::mem::replace(&mut terms.revision, agreed.clone());
            answered.map_err(|(Fate::Void(why) | Fate::Lost(why) | Fate::Unshown(why))| why)?;
            if revision != agreed {
                // What the client has agreed upon holds no more, and it is not to be asked.
                self.gone.send_replace(true);
                return Err("it speaks another revision now".into());
            }
            terms.session = session;
            terms.ended.take()
        };
        let notice = format!(r#"{{"jsonrpc":"2.0","method":"{INITIALIZED}"}}"#).into_bytes();
        match self.tell((None, None), notice, &Head::Notification(INITIALIZED.to_owned())).await {
            Handed::Over => Ok(()),
            Handed::Void | Handed::Lost => {
                let mut terms = self.terms();
                (terms.session, terms.ended) = (None, ended);
                Err("it takes no `notifications/initialized`".into())
            }
        }
    }
}
