//! Which requests are in flight towards one side, under which ids.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_protocol::AttemptId;
use tokio::sync::{oneshot, watch};

use crate::message::{Id, Reply};
use crate::page::Whence;
use crate::room::Room;

/// Requests without a decision that may be in flight at once.
const FORWARDED: usize = 1024;

/// What a request that needs no decision asks for, as far as its answer is looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// For the tools on a page.
    Tools(Wanted),
    /// For something else.
    Other,
}

/// A page of tools that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) whence: Whence,
    /// Whether the client speaks the stateless revision, and so is told how long it may go by the answer.
    pub(crate) stateless: bool,
}

/// What came in answer to a request.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) reply: Reply,
    /// What it takes of what its server may, until it was handed on.
    pub(crate) room: Option<Room>,
}

impl From<Reply> for Heard {
    /// What nobody else said.
    fn from(reply: Reply) -> Self {
        Self { reply, room: None }
    }
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To the asker, under the asker's id.
    Forward(Id, Asking),
    /// To who waits for it: the task of a request of this attempt, or, without one, the gate itself.
    Call(oneshot::Sender<Heard>, Option<AttemptId>),
}

/// Why a permitted request may not be sent after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    /// The side it was meant for is gone.
    Gone,
    /// The asker has cancelled it.
    Cancelled,
}

/// Why a request cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Its id is in flight.
    Reused,
    /// Too many are in flight.
    Full,
    /// The side it is meant for is gone.
    Gone,
}

/// What a cancellation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// No such request, for it has probably been answered; or one that was cancelled before. Nobody need be told.
    Unknown,
    /// Not sent, and it will not be.
    BeforeSending,
    /// It was sent under this number.
    Sent(u64),
}

#[derive(Debug)]
struct Asked {
    cancel: watch::Sender<bool>,
    number: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    gone: bool,
    asked: HashMap<Id, Asked>,
    sent: HashMap<u64, Route>,
}

/// The requests in flight towards one side. Askers' ids are mapped to numbers of the gate's own, so that no
/// side can answer for another.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<State>);

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a request that needs a decision; tells when it is cancelled.
    pub(crate) fn open(&self, id: &Id) -> Result<watch::Receiver<bool>, NotTaken> {
        let mut state = self.state();
        if state.asked.contains_key(id) {
            return Err(NotTaken::Reused);
        }
        let (cancel, cancelled) = watch::channel(false);
        state.asked.insert(id.clone(), Asked { cancel, number: None });
        Ok(cancelled)
    }

    /// Whether a request with this id is in flight.
    pub(crate) fn holds(&self, id: &Id) -> bool {
        self.state().asked.contains_key(id)
    }

    /// The asker's id of a request that was sent under this number and has no answer.
    pub(crate) fn asker(&self, number: u64) -> Option<Id> {
        let state = self.state();
        state.asked.iter().find(|(_, asked)| asked.number == Some(number)).map(|(id, _)| id.clone())
    }

    /// Takes up a request that needs none, and numbers it.
    pub(crate) fn forward(&self, id: &Id, asking: Asking) -> Result<u64, NotTaken> {
        let mut state = self.state();
        if state.asked.contains_key(id) {
            return Err(NotTaken::Reused);
        }
        if state.gone {
            return Err(NotTaken::Gone);
        }
        if state.sent.len() >= FORWARDED {
            return Err(NotTaken::Full);
        }
        let number = state.number();
        let (cancel, _) = watch::channel(false);
        state.asked.insert(id.clone(), Asked { cancel, number: Some(number) });
        state.sent.insert(number, Route::Forward(id.clone(), asking));
        Ok(number)
    }

    /// Numbers a request of the gate's own, which needs no decision.
    pub(crate) fn own(&self, answer: oneshot::Sender<Heard>) -> Result<u64, NotTaken> {
        let mut state = self.state();
        if state.gone {
            return Err(NotTaken::Gone);
        }
        let number = state.number();
        state.sent.insert(number, Route::Call(answer, None));
        Ok(number)
    }

    /// Numbers a decided request in the moment before it is sent. From here on a cancellation is passed on.
    pub(crate) fn send(
        &self,
        id: &Id,
        (answer, attempt): (oneshot::Sender<Heard>, AttemptId),
    ) -> Result<u64, Unsendable> {
        let mut state = self.state();
        if state.gone {
            return Err(Unsendable::Gone);
        }
        let number = state.number();
        match state.asked.get_mut(id) {
            Some(asked) if !*asked.cancel.borrow() => asked.number = Some(number),
            Some(_) | None => return Err(Unsendable::Cancelled),
        }
        state.sent.insert(number, Route::Call(answer, Some(attempt)));
        Ok(number)
    }

    /// Takes back a number under which nothing was sent.
    pub(crate) fn unsend(&self, number: u64) {
        self.state().sent.remove(&number);
    }

    /// Whom an answer is for; each number is answered once.
    pub(crate) fn answered(&self, number: u64) -> Option<Route> {
        let mut state = self.state();
        let route = state.sent.remove(&number)?;
        if let Route::Forward(id, _) = &route {
            state.asked.remove(id);
        }
        Some(route)
    }

    /// Forgets a decided request: its id may be used again.
    pub(crate) fn close(&self, id: &Id) {
        let mut state = self.state();
        if let Some(number) = state.asked.remove(id).and_then(|asked| asked.number) {
            state.sent.remove(&number);
        }
    }

    /// Cancels a request.
    pub(crate) fn cancel(&self, id: &Id) -> Cancelled {
        let mut state = self.state();
        let Some(asked) = state.asked.get(id) else { return Cancelled::Unknown };
        // Said again and again it would take the room of what calls say.
        if asked.cancel.send_replace(true) {
            return Cancelled::Unknown;
        }
        let Some(number) = asked.number else { return Cancelled::BeforeSending };
        if matches!(state.sent.get(&number), Some(Route::Forward(..))) {
            state.sent.remove(&number);
            state.asked.remove(id);
        }
        Cancelled::Sent(number)
    }

    /// Nothing is sent to this side any more.
    pub(crate) fn shut(&self) {
        self.state().gone = true;
    }

    /// Whether this side is gone.
    pub(crate) fn is_shut(&self) -> bool {
        self.state().gone
    }

    /// Gives up every request that was sent: decided ones learn that no answer comes, the ids of the others
    /// are returned.
    pub(crate) fn fail_all(&self) -> Vec<Id> {
        let mut state = self.state();
        state.gone = true;
        let sent = std::mem::take(&mut state.sent);
        let forwarded: Vec<Id> = sent
            .into_values()
            .filter_map(|route| match route {
                Route::Forward(id, _) => Some(id),
                Route::Call(_, _) => None,
            })
            .collect();
        for id in &forwarded {
            state.asked.remove(id);
        }
        forwarded
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_was_cancelled_as_often_as_somebody_said_so() {
        let table = Table::default();
        let (id, (answer, _)) = (Id::Int(1), oneshot::channel());
        let cancelled = table.open(&id).unwrap();
        let number = table.send(&id, (answer, AttemptId::from_bytes([1; 32]))).unwrap();
        assert_eq!(table.cancel(&id), Cancelled::Sent(number));
        assert!(*cancelled.borrow());
        assert_eq!(table.cancel(&id), Cancelled::Unknown);
        table.close(&id);
        let _cancelled = table.open(&id).unwrap();
        assert_eq!(table.cancel(&id), Cancelled::BeforeSending, "another request of the same id");
    }
}
