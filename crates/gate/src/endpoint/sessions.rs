//! The conversations that there are, and whose they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::{AgentId, Digest, Domain};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::gate::{Held as HeldBy, McpGate, serve_held};
use crate::line::{Line, Lines};
use crate::session::UPSTREAM_LINE;

use super::Ground;
use super::bounds::Bounds;
use super::conversation::{Conversation, Era, Said};
use super::delivering::{Rest, unheard};
use super::holder::Holder;
use super::refused::Refused;
use super::who::Caller;

/// Bytes between the endpoint and a gate.
const PIPE: usize = 64 * 1024;
/// Lines that wait for a gate.
const WAITING: usize = 16;
/// How much longer a gate's line may be than what the tool server said: what it puts around it.
const AROUND: usize = 64 * 1024;
/// How long it is waited for the end of a conversation that makes room for another.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is looked for conversations that nobody has.
const LOOK: Duration = Duration::from_secs(1);
/// How often a reader on whose stream much waits is let go on before the next message is put there.
const TURNS: usize = 64;
/// How long what is under way may take when the endpoint stops.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Held {
    sessions: BTreeMap<String, Arc<Conversation>>,
    stateless: BTreeMap<Digest, Arc<Conversation>>,
    stopped: bool,
}

impl Held {
    /// Those that go on.
    fn all(&self) -> impl Iterator<Item = &Arc<Conversation>> {
        self.sessions.values().chain(self.stateless.values()).filter(|one| !one.is_closing())
    }
}

fn too_many_sessions() -> Refused {
    Refused::shed("there are too many sessions")
}

/// All conversations.
pub(super) struct Sessions {
    ground: Ground,
    bounds: Bounds,
    all: Arc<Semaphore>,
    held: Mutex<Held>,
    /// A token's stateless conversation is begun once at a time, so that it has one.
    beginning: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// What the runs of agents whose requests are of no session are made of.
    secret: [u8; 32],
    tasks: Mutex<JoinSet<()>>,
}

/// The places of a conversation. That of all is given back first: who waits for the agent's finds it there.
struct Places {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// A place, waited for until `end`. It is in line before the conversation that makes it free ends: who comes later is behind it.
async fn in_line(
    places: &Arc<Semaphore>,
    ends: Option<Arc<Conversation>>,
    end: Instant,
) -> Result<OwnedSemaphorePermit, Refused> {
    let mut waiting = std::pin::pin!(timeout_at(end, Arc::clone(places).acquire_owned()));
    let got = tokio::select! {
        biased;
        got = &mut waiting => got,
        () = std::future::ready(()) => {
            ends.inspect(|one| one.end());
            waiting.await
        }
    };
    got.ok().and_then(Result::ok).ok_or_else(too_many_sessions)
}

impl Sessions {
    pub(super) fn new(ground: Ground, bounds: Bounds, secret: [u8; 32]) -> Self {
        let all = Arc::new(Semaphore::new(bounds.sessions));
        Self {
            ground,
            bounds,
            all,
            held: Mutex::default(),
            beginning: Mutex::default(),
            secret,
            tasks: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this name, if it is the caller's: one of somebody else is as one that is not there.
    pub(super) fn find(&self, id: &str, caller: &Caller) -> Result<Arc<Conversation>, Refused> {
        let held = self.held();
        let found = held.sessions.get(id).filter(|found| !found.is_closing() && found.holder.admits(caller));
        found.cloned().ok_or_else(Refused::no_session)
    }

    /// Begins a session.
    pub(super) async fn open(&self, caller: &Caller) -> Result<(String, Arc<Conversation>), Refused> {
        let places = self.places(caller).await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Refused::shed("the system gives no random bytes"))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let conversation = self.begin(caller, Era::Session, places)?;
        self.held().sessions.insert(id.clone(), Arc::clone(&conversation));
        Ok((id, conversation))
    }

    /// The conversation of a token's requests that are of no session.
    pub(super) async fn stateless(&self, caller: &Caller) -> Result<Arc<Conversation>, Refused> {
        let there = || self.held().stateless.get(&caller.token).filter(|found| !found.is_closing()).cloned();
        if let Some(found) = there() {
            return Ok(found);
        }
        let alone = self.begins(&caller.token);
        let _alone = alone.lock().await;
        if let Some(found) = there() {
            return Ok(found);
        }
        let places = self.places(caller).await?;
        let conversation = self.begin(caller, Era::Stateless, places)?;
        self.held().stateless.insert(caller.token, Arc::clone(&conversation));
        Ok(conversation)
    }

    /// What a token's conversations are begun under. Nobody waits there for another's.
    fn begins(&self, token: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        beginning.retain(|_, one| Arc::strong_count(one) > 1);
        Arc::clone(beginning.entry(*token).or_default())
    }

    /// The run that a conversation is a part of. A session is one of its own, as it is for clients over stdio. Whose requests
    /// are of no session knows nothing of conversations: that its server died, or that it was silent for long, must not make
    /// what it asks again another request.
    fn run_of(&self, agent: &AgentId, era: Era) -> Option<[u8; 32]> {
        match era {
            Era::Session => None,
            Era::Stateless => {
                Some(*Digest::of(Domain::Key, &[&self.secret, agent.as_str().as_bytes()]).as_bytes())
            }
        }
    }

    /// Room for one more conversation. Where there is none, one that is not used makes it: the agent's own, or where the agent has
    /// few, one of the agent that has most. What was ended and still has its place, as long as its tool server ends, is waited for.
    async fn places(&self, caller: &Caller) -> Result<Places, Refused> {
        let end = Instant::now() + ENDING;
        // First of the agent's own: who waits for that has none of those that other agents need.
        let (own, ended) = self.own_place(caller, end).await?;
        let all = self.place_of_all(&caller.agent, ended, end).await?;
        Ok(Places { _all: all, _own: own })
    }

    /// One of the agent's places, and whether a conversation of its own was ended for it.
    async fn own_place(
        &self,
        caller: &Caller,
        end: Instant,
    ) -> Result<(OwnedSemaphorePermit, bool), Refused> {
        let places = &caller.share.sessions;
        let unused = match places.available_permits() {
            0 => self.longest_unused(&caller.agent),
            _ => return Ok((in_line(places, None, end).await?, false)),
        };
        let (own_ends, _) = self.ending(&caller.agent);
        if unused.is_none() && !own_ends {
            return Err(Refused::too_many("this agent has too many sessions in use"));
        }
        let ended = unused.is_some();
        Ok((in_line(places, unused, end).await?, ended))
    }

    /// One of everybody's places, for an agent that has one of its own. Who has `ended` a conversation for that ends no other where
    /// one is ending.
    async fn place_of_all(
        &self,
        agent: &AgentId,
        ended: bool,
        end: Instant,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        if self.all.available_permits() > 0 {
            return in_line(&self.all, None, end).await;
        }
        let (_, any_ends) = self.ending(agent);
        let unused = if ended && any_ends { None } else { self.dispensable(agent) };
        if unused.is_none() && !any_ends {
            return Err(too_many_sessions());
        }
        in_line(&self.all, unused, end).await
    }

    /// Whether a conversation ends that still has its place: one of this agent's, and of anybody's.
    fn ending(&self, agent: &AgentId) -> (bool, bool) {
        let held = self.held();
        let own = held.all().filter(|one| one.agent == *agent).count();
        (own < self.bounds.sessions_each, held.all().count() < self.bounds.sessions)
    }

    fn longest_unused(&self, agent: &AgentId) -> Option<Arc<Conversation>> {
        let held = self.held();
        let own = held.all().filter(|one| one.agent == *agent);
        own.filter_map(|one| Some((one.unused_since()?, one)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, one)| Arc::clone(one))
    }

    /// The conversation that makes room for one of this agent's where there is none for anybody: of the agent that has most of those
    /// that have unused ones and, without it, still no fewer than this one; else one of its own.
    fn dispensable(&self, agent: &AgentId) -> Option<Arc<Conversation>> {
        let mut counts = BTreeMap::<AgentId, (usize, bool)>::new();
        for one in self.held().all() {
            let (count, unused) = counts.entry(one.agent.clone()).or_default();
            *count = count.saturating_add(1);
            *unused |= one.unused_since().is_some();
        }
        let own = counts.get(agent).map_or(0, |(count, _)| *count);
        let others = counts.iter().filter(|(_, (count, unused))| *unused && *count > own.saturating_add(1));
        let most = others.max_by_key(|(_, (count, _))| *count).map(|(other, _)| other);
        self.longest_unused(most.unwrap_or(agent))
    }

    /// Begins a conversation: a gate's session like any other, to which this is the client.
    fn begin(&self, caller: &Caller, era: Era, places: Places) -> Result<Arc<Conversation>, Refused> {
        if self.held().stopped {
            return Err(Refused::shed("the endpoint stops"));
        }
        let gate = McpGate { agent: caller.agent.clone(), ..self.ground.gate.clone() };
        let (client_in, gate_in) = tokio::io::duplex(PIPE);
        let (gate_out, client_out) = tokio::io::duplex(PIPE);
        let (to_gate, lines) = mpsc::channel(WAITING);
        let holder = Holder::new(caller);
        let named = (Arc::clone(&holder), caller.agent.clone());
        // A decision, and then an answer, are waited for so long.
        let bounds = (self.bounds, self.ground.gate.deadline.saturating_mul(2));
        let conversation = Conversation::new(named, era, Arc::clone(&caller.share), bounds, to_gate);
        let (lost, is_lost) = watch::channel(false);
        let unsent = self.bounds.unsent;
        let held = HeldBy { lost, run: self.run_of(&caller.agent, era), unsent };
        let log = self.ground.log.clone();
        let report = self.ground.report_of(&caller.agent);
        let failed = self.ground.report_of(&caller.agent);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let _places = places;
            let ended = serve_held(gate, holder, log, (gate_in, gate_out), report, held).await;
            if let Err(error) = ended {
                failed(format!("the gate does not start: {error}"));
            }
        });
        tasks.spawn(write(lines, client_in));
        let tell = self.ground.report_of(&caller.agent);
        tasks.spawn(read(
            Arc::clone(&conversation),
            Lines::new(client_out, UPSTREAM_LINE.saturating_add(AROUND)),
            tell,
        ));
        tasks.spawn(without_server(Arc::clone(&conversation), is_lost));
        Ok(conversation)
    }

    /// Ends conversations of which nothing was heard for long, and forgets those that have ended. For ever.
    pub(super) async fn tend(&self) {
        loop {
            sleep(LOOK).await;
            let mut held = self.held();
            let now = Instant::now();
            for one in held.all() {
                if one.is_idle(now) {
                    one.end();
                }
                for id in one.tend(now) {
                    answer(Arc::clone(one), unheard(&id));
                }
            }
            held.sessions.retain(|_, one| !one.is_closing());
            held.stateless.retain(|_, one| !one.is_closing());
        }
    }

    /// Ends every conversation, and waits, for a bounded time, until their tool servers have ended and outcomes are reported.
    pub(super) async fn stop(&self) {
        {
            let mut held = self.held();
            held.stopped = true;
            held.sessions.values().chain(held.stateless.values()).for_each(|one| one.end());
            held.sessions.clear();
            held.stateless.clear();
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await);
    }
}

/// Writes lines, one whole one after the other: a line whose client has gone half-way would join with the next.
async fn write(mut lines: mpsc::Receiver<Said>, mut gate: tokio::io::DuplexStream) {
    use tokio::io::AsyncWriteExt;
    while let Some((mut line, _room)) = lines.recv().await {
        line.push(b'\n');
        if gate.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read(
    conversation: Arc<Conversation>,
    mut lines: Lines<tokio::io::DuplexStream>,
    tell: impl Fn(String),
) {
    let mut said = BTreeSet::new();
    while let Ok(Some(line)) = lines.next().await {
        let rest = match line {
            Line::Whole(line) => conversation.deliver(line),
            Line::Cut(_) => Rest::Dropped("a message for the client that is too long"),
        };
        match rest {
            Rest::Nothing => let_read(&conversation).await,
            Rest::Dropped(what) if said.insert(what) => tell(format!("dropped {what}; this is said once")),
            Rest::Dropped(_) => {}
            Rest::Answer(line) => answer(Arc::clone(&conversation), line),
        }
    }
    conversation.has_ended();
}

/// Answers a question of the server's in its client's place, beside what else comes: the gate reads when it has written.
fn answer(conversation: Arc<Conversation>, line: Vec<u8>) {
    tokio::spawn(async move { drop(conversation.say(line).await) });
}

/// Lets readers go on when much waits for them: what comes at once is not what they are slow to take. No time is waited for who takes
/// nothing.
async fn let_read(conversation: &Conversation) {
    for _ in 0..TURNS {
        if !conversation.is_crowded() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A conversation whose tool server has gone takes up nothing more, and ends when what was asked is answered: whoever begins
/// another has another server.
async fn without_server(conversation: Arc<Conversation>, mut lost: watch::Receiver<bool>) {
    if lost.wait_for(|lost| *lost).await.is_err() {
        return;
    }
    conversation.close();
    let answered = async {
        loop {
            let mut told = std::pin::pin!(conversation.answered.notified());
            told.as_mut().enable();
            if conversation.state().asked.is_empty() {
                return;
            }
            told.await;
        }
    };
    drop(timeout(FAREWELL, answered).await);
    conversation.end();
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
