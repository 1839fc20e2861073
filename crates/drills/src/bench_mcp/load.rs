//! Callers that ask again as soon as they are answered, and what they got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::pipe::Pipe;
use super::tool::{Answered, Asked};
use super::web::{Caller, Session};
use crate::DrillError;

/// Calls of one session at once. The gate takes 64 of an agent.
const OF_A_SESSION: usize = 32;

/// Where callers call.
#[derive(Clone)]
pub(super) enum Road {
    /// One process's standard streams, for all of them.
    Stdio(Arc<Pipe>),
    /// Sessions over HTTP, shared among them.
    Http(Vec<Arc<Session>>),
}

/// One caller. Over HTTP it keeps its connection, so that what is measured is calls and not connecting.
pub(super) enum Client {
    Pipe(Arc<Pipe>),
    Web(Caller),
}

impl Road {
    /// So many callers.
    pub(super) fn clients(&self, callers: usize) -> Result<Vec<Client>, DrillError> {
        let clients: Option<Vec<Client>> = (0..callers).map(|number| self.client(number, callers)).collect();
        clients.ok_or_else(|| DrillError::Answer("no session to call in".into()))
    }

    fn client(&self, number: usize, of: usize) -> Option<Client> {
        match self {
            Self::Stdio(pipe) => Some(Client::Pipe(Arc::clone(pipe))),
            Self::Http(sessions) => {
                let shared = of.div_ceil(OF_A_SESSION).min(sessions.len());
                let session = sessions.get(number.checked_rem(shared)?)?;
                Some(Client::Web(Caller::new(Arc::clone(session))))
            }
        }
    }
}

impl Client {
    async fn call(&mut self, asked: &Asked, number: u64, account: &str) -> Result<Answered, DrillError> {
        match self {
            Self::Pipe(pipe) => pipe.call(asked, number, account).await,
            Self::Web(caller) => caller.call(asked, number, account).await,
        }
    }
}

/// Until when callers go on.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// For a time; each calls once at least.
    Time(Duration),
    /// Until so many calls were made.
    Calls(u64),
}

/// What callers of a leg do.
#[derive(Clone)]
pub(super) struct Scene {
    /// The leg's name, of which the accounts are.
    pub(super) leg: &'static str,
    pub(super) asked: Asked,
    /// Makes every request another one.
    pub(super) numbers: Arc<AtomicU64>,
}

/// What callers got.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) took: Duration,
    /// How long those took that ran.
    pub(super) waits: Vec<Duration>,
    /// Calls whose answer says that they ran.
    pub(super) ran: Vec<u64>,
    /// Calls that were answered otherwise.
    pub(super) refused: Vec<u64>,
    /// What was said then, and how often.
    pub(super) words: BTreeMap<String, u64>,
}

impl Got {
    /// Calls that were made.
    pub(super) fn made(&self) -> usize {
        self.ran.len().saturating_add(self.refused.len())
    }

    pub(super) fn add(&mut self, other: Self) {
        self.took = self.took.saturating_add(other.took);
        self.waits.extend(other.waits);
        self.ran.extend(other.ran);
        self.refused.extend(other.refused);
        for (words, count) in other.words {
            let sum = self.words.entry(words).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

impl Scene {
    /// Lets callers call, and waits for the last answer.
    pub(super) async fn ask(&self, clients: &mut Vec<Client>, until: Until) -> Result<Got, DrillError> {
        let mut tasks = JoinSet::new();
        let left = Arc::new(AtomicU64::new(match until {
            Until::Time(_) => u64::MAX,
            Until::Calls(calls) => calls,
        }));
        let began = Instant::now();
        for client in std::mem::take(clients) {
            tasks.spawn(self.clone().drive(client, until, Arc::clone(&left)));
        }
        let mut all = Got::default();
        while let Some(done) = tasks.join_next().await {
            let (client, got) = done.map_err(|error| DrillError::Answer(error.to_string()))??;
            clients.push(client);
            all.add(got);
        }
        all.took = began.elapsed();
        Ok(all)
    }

    async fn drive(
        self,
        mut client: Client,
        until: Until,
        left: Arc<AtomicU64>,
    ) -> Result<(Client, Got), DrillError> {
        let (mut got, began) = (Got::default(), Instant::now());
        let one_less = |left: u64| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let account = format!("{}-{number}", self.leg);
            let asked = Instant::now();
            let answered = client.call(&self.asked, number, &account).await?;
            match answered {
                Answered::Ran => {
                    // What was refused may have been answered faster than what runs, and is no rate of anything.
                    got.waits.push(asked.elapsed());
                    got.ran.push(number);
                }
                Answered::Refused(words) => {
                    got.refused.push(number);
                    let count = got.words.entry(words).or_default();
                    *count = count.saturating_add(1);
                }
            }
            if matches!(until, Until::Time(time) if began.elapsed() >= time) {
                break;
            }
        }
        Ok((client, got))
    }
}
