//! Tasks that a tool server has begun and not ended (MCP 2025-11-25, "Tasks"; in 2026-07-28 an extension, SEP-2663): a call is
//! answered with a handle, and its result is asked for later. What became of the call is not known before that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, Outcome};
use portcullis_sdk::OutcomeReport;

use crate::credential::Held;
use crate::message::{Reply, members_of, string};
use crate::questions::is_complete;

/// Tasks of one session that are remembered. What becomes of an older one stays unknown until a person finds out.
const REMEMBERED: usize = 1024;
/// Longest name of a task, in bytes.
const LONGEST: usize = 1024;

/// The call that began a task, as its outcome is reported.
#[derive(Debug)]
struct Begun {
    attempt: AttemptId,
    nonce: String,
    within: Duration,
    /// Whether its result is kept for repeats.
    keeps: bool,
    /// What was filled in in its arguments: its result may say that.
    _outstanding: Option<Arc<[Held]>>,
}

/// The tasks of one session, by the names that their server gave them.
#[derive(Debug, Default)]
pub(crate) struct Handles(Mutex<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    known: BTreeMap<String, Begun>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Handles {
    /// Remembers a call that was answered with a task of this name. A name that a server gives twice stays the first call's.
    pub(crate) fn remember(
        &self,
        task: String,
        report: &OutcomeReport,
        (keeps, outstanding): (bool, Option<Arc<[Held]>>),
    ) {
        let OutcomeReport { attempt, call, within } = report;
        let (attempt, nonce, within) = (*attempt, call.nonce.clone(), *within);
        let begun = Begun { attempt, nonce, within, keeps, _outstanding: outstanding };
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if task.len() > LONGEST || tasks.known.contains_key(&task) {
            return;
        }
        tasks.known.insert(task.clone(), begun);
        tasks.order.push_back(task);
        if tasks.order.len() > REMEMBERED
            && let Some(oldest) = tasks.order.pop_front()
        {
            tasks.known.remove(&oldest);
        }
    }

    /// What became of the call that began a task, by the task's own result. `None` if that says nothing of it.
    pub(crate) fn ended(
        &self,
        task: &str,
        outcome: Outcome,
        result: Option<&String>,
    ) -> Option<OutcomeReport> {
        match outcome {
            Outcome::Ok | Outcome::Failed => {}
            Outcome::Unknown | Outcome::Expired | Outcome::Withheld => return None,
        }
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Begun { attempt, nonce, within, keeps, .. } = tasks.known.remove(task)?;
        tasks.order.retain(|known| known != task);
        let call = OutcomeCall { nonce, outcome, result: result.filter(|_| keeps).cloned() };
        Some(OutcomeReport { attempt, call, within })
    }
}

/// The task that an answer is a handle of, if it is one: in a member of its own, or, in the later revision, as the result itself.
pub(crate) fn task_of(reply: &Reply) -> Option<String> {
    let Reply::Result(text) = reply else { return None };
    let result = members_of(text)?;
    let task = match result.get("task") {
        Some(task) => members_of(task)?,
        None if is_complete(&result) => return None,
        None => result,
    };
    task.get("taskId").and_then(string)
}

/// What a client asks about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The result of the task of this name (MCP 2025-11-25).
    Result(String),
    /// Its state, of which its result is a part once it has ended (SEP-2663).
    State(String),
}

impl Wanted {
    /// What a request asks.
    pub(crate) fn by(method: &str, task: &str) -> Option<Self> {
        match method {
            "tasks/result" => Some(Self::Result(task.to_owned())),
            "tasks/get" => Some(Self::State(task.to_owned())),
            _ => None,
        }
    }

    /// The task's name, and what its call was answered with in the end; `None` if this result says nothing of it. A task that was
    /// cancelled may have done half of it.
    pub(crate) fn end(&self, result: &str) -> Option<(&str, Reply)> {
        match self {
            Self::Result(task) => Some((task, Reply::Result(result.to_owned()))),
            Self::State(task) => {
                let state = members_of(result)?;
                if state.get("taskId").and_then(string)? != *task {
                    return None;
                }
                let end = match state.get("status").and_then(string)?.as_str() {
                    "completed" => Reply::Result(state.get("result")?.to_owned()),
                    "failed" => Reply::Error(state.get("error")?.to_owned()),
                    _ => return None,
                };
                Some((task, end))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u8) -> OutcomeReport {
        let call = OutcomeCall { nonce: number.to_string(), outcome: Outcome::Unknown, result: None };
        OutcomeReport { attempt: AttemptId::from_bytes([number; 32]), call, within: Duration::ZERO }
    }

    #[test]
    fn a_task_ends_the_call_that_began_it_and_no_other_once() {
        let (handles, text) = (Handles::default(), "{}".to_owned());
        handles.remember("a".to_owned(), &report(1), (true, None));
        handles.remember("a".to_owned(), &report(2), (true, None));
        handles.remember("b".to_owned(), &report(3), (false, None));
        assert!(handles.ended("c", Outcome::Ok, None).is_none());
        assert!(handles.ended("a", Outcome::Unknown, None).is_none(), "it has not ended");
        let ended = handles.ended("a", Outcome::Ok, Some(&text)).unwrap();
        assert_eq!((ended.call.nonce.as_str(), ended.call.outcome), ("1", Outcome::Ok));
        assert_eq!(ended.call.result, Some(text.clone()));
        assert!(handles.ended("a", Outcome::Ok, None).is_none());
        let ended = handles.ended("b", Outcome::Failed, Some(&text)).unwrap();
        assert_eq!((ended.attempt, ended.call.result), (AttemptId::from_bytes([3; 32]), None));
    }

    #[test]
    fn tasks_are_forgotten_the_oldest_first() {
        let handles = Handles::default();
        for number in 0..=REMEMBERED {
            handles.remember(number.to_string(), &report(1), (false, None));
        }
        handles.remember("x".repeat(LONGEST + 1), &report(1), (false, None));
        assert!(handles.ended("0", Outcome::Ok, None).is_none());
        assert!(handles.ended("1", Outcome::Ok, None).is_some());
        let tasks = handles.0.lock().unwrap();
        assert_eq!((tasks.known.len(), tasks.order.len()), (REMEMBERED - 1, REMEMBERED - 1));
    }
}
