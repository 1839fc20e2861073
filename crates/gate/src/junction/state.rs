//! What a junction knows: its servers, and what is under way with each.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_protocol::{Decision, ReasonCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::answer;
use crate::company::Company;
use crate::endpoint::rewrite;
use crate::form::TypedTools;
use crate::gate::{Basis, Ending, GateError, McpGate, NamedServer, ToolServer, random};
use crate::message::{Id, Refused, Reply};
use crate::notes::Notes;
use crate::session::CLIENT_LINE;

use super::gather::Gather;
use super::greeting::{Greeting, Hello};
use super::health::Health;
use super::life::{Birth, Event, What, Which};
use super::listen::Listen;
use super::names::Bound;
use super::shelf::Shelf;

/// What waits for the client, in lines and in bytes; while there is more, nothing more is taken up.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Lines that wait for one gate.
const LINES: usize = 256;
/// Requests of the client that may be without an answer at once.
pub(super) const ASKED: usize = 2_048;

/// One of the servers.
pub(super) struct Server {
    pub(super) name: String,
    config: NamedServer,
    pub(super) notes: Notes,
    pub(super) health: Health,
    life: u64,
    /// Whether a life has not come to its end.
    pub(super) lives: bool,
    /// What is said to its gate, while that is to hear something.
    pub(super) to: Option<mpsc::Sender<Vec<u8>>>,
    pub(super) greeting: Option<Greeting>,
    /// Until when it may take to answer `initialize`.
    pub(super) answers_until: Option<Instant>,
    /// It is to be started again at once: nothing has failed.
    pub(super) again: bool,
    /// Calls in a row that did not reach it.
    pub(super) missed: u32,
    /// Why it was not started the last time, if it was not.
    pub(super) refused: Option<ReasonCode>,
}

/// A request that a gate has.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) server: usize,
    pub(super) to: To,
}

/// Where its answer goes.
#[derive(Debug)]
pub(super) enum To {
    /// To the client.
    Client(Call),
    /// To the greeting.
    Hello,
    /// To what is gathered of several servers.
    Gather(u64),
    /// To a subscription.
    Listen(u64),
}

/// A request of the client's that one server answers.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Id,
    /// The client's progress token, as raw JSON.
    pub(super) token: Option<String>,
    pub(super) stateless: bool,
}

/// A request of a server's to the client.
#[derive(Debug)]
pub(super) struct Posed {
    pub(super) server: usize,
    /// As its gate knows it.
    pub(super) id: Id,
    pub(super) token: Option<String>,
}

/// What became of a request of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One server has it under this number.
    Sent(u64),
    Hello,
    Gather(u64),
    Listen(u64),
}

/// What names mean.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) tools: Bound,
    pub(super) prompts: Bound,
    pub(super) resources: Bound,
    pub(super) templates: Bound,
    /// What prompts the servers list, beside one another.
    pub(super) company: Company,
}

pub(super) struct Junction {
    config: Arc<McpGate>,
    pub(super) basis: Basis,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    pub(super) servers: Vec<Server>,
    /// What waits for the client.
    pub(super) backlog: VecDeque<Vec<u8>>,
    last: u64,
    pub(super) asked: HashMap<Id, Asked>,
    pub(super) sent: HashMap<u64, Sent>,
    pub(super) posed: HashMap<u64, Posed>,
    pub(super) gathers: BTreeMap<u64, Gather>,
    pub(super) listens: BTreeMap<u64, Listen>,
    pub(super) hello: Option<Hello>,
    pub(super) known: Known,
    pub(super) shelf: Shelf,
    pub(super) typed: TypedTools,
    pub(super) leaving: bool,
}

impl Junction {
    pub(super) fn new(config: McpGate, basis: Basis, events: mpsc::Sender<Event>) -> Result<Self, GateError> {
        let mut servers = Vec::new();
        for server in config.servers() {
            let [a, b, c, d, e, f, g, h, ..] = random()?;
            servers.push(Server::new(server, &basis.notes, u64::from_le_bytes([a, b, c, d, e, f, g, h])));
        }
        let company = Company::of(servers.iter().map(|server| server.name.clone()));
        let known = Known {
            tools: Bound::default(),
            prompts: Bound::default(),
            resources: Bound::default(),
            templates: Bound::default(),
            company,
        };
        Ok(Self {
            config: Arc::new(config),
            basis,
            events,
            tasks: JoinSet::new(),
            servers,
            backlog: VecDeque::new(),
            last: 0,
            asked: HashMap::new(),
            sent: HashMap::new(),
            posed: HashMap::new(),
            gathers: BTreeMap::new(),
            listens: BTreeMap::new(),
            hello: None,
            known,
            shelf: Shelf::new(random()?),
            typed: TypedTools::default(),
            leaving: false,
        })
    }

    /// A number that nothing had before.
    pub(super) const fn number(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    pub(super) fn start_all(&mut self) {
        (0..self.servers.len()).for_each(|server| self.start(server));
    }

    /// Starts a server, whose life before has come to its end.
    fn start(&mut self, number: usize) {
        let (to, inbox) = mpsc::channel(LINES);
        let (config, events) = (Arc::clone(&self.config), self.events.clone());
        let Some(server) = self.servers.get_mut(number) else { return };
        server.life = server.life.saturating_add(1);
        let basis = self.basis.about(&server.notes);
        let which = Which { server: number, life: server.life };
        let birth = Birth { config, server: server.config.clone(), basis, which, inbox, events };
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(birth.live());
        (server.to, server.greeting, server.missed) = (Some(to), None, 0);
        (server.lives, server.again, server.refused) = (true, false, None);
        if server.life > 1 {
            server.notes.say("it is started again");
        }
        if self.hello.is_some() {
            self.greet(number);
        } else {
            self.is_ready(number);
        }
    }

    /// Calls go to it from now on.
    pub(super) fn is_ready(&mut self, number: usize) {
        let Some(server) = self.servers.get_mut(number) else { return };
        server.health.ready(Instant::now());
        server.answers_until = None;
        if server.life > 1 || server.greeting.is_some() {
            server.notes.say("it is ready");
        }
        self.welcome(number);
        if self.servers.get(number).is_some_and(|server| server.life > 1) {
            self.listen_again(number);
        }
        self.changed(number);
    }

    /// Nothing goes to a server any more. Its gate answers what is under way, and ends.
    pub(super) fn let_go(&mut self, number: usize) {
        let Some(server) = self.servers.get_mut(number) else { return };
        let was_ready = server.health.is_ready();
        server.health.down(Instant::now());
        (server.to, server.answers_until) = (None, None);
        if was_ready {
            self.changed(number);
        }
    }

    pub(super) fn event(&mut self, (which, what): Event) {
        // A life ends before the next one begins.
        if self.servers.get(which.server).is_none_or(|server| server.life != which.life) {
            return;
        }
        match what {
            What::Said(message, _room) => self.said(which.server, *message),
            What::Lost => self.let_go(which.server),
            What::Ended(error) => self.ended(which.server, error),
        }
    }

    fn ended(&mut self, number: usize, error: Option<GateError>) {
        self.let_go(number);
        let refused = error.as_ref().and_then(GateError::refused);
        if let Some(server) = self.servers.get_mut(number) {
            server.refused = refused;
        }
        // What was said to a server that was not started has reached nobody; a gate that has ended else did so before it could
        // say what became of it.
        let last = refused.map_or_else(answer::lost, |_| self.unavailable(number));
        let left: Vec<u64> =
            self.sent.iter().filter(|(_, sent)| sent.server == number).map(|(number, _)| *number).collect();
        for left in left {
            self.answered(number, left, &last);
        }
        self.forget_posed(number);
        let leaving = self.leaving;
        let Some(server) = self.servers.get_mut(number) else { return };
        server.lives = false;
        if let Some(error) = error {
            server.notes.say(error.to_string());
        }
        if leaving || server.health.state() == super::health::State::Apart {
            return;
        }
        if server.again {
            return self.start(number);
        }
        let is_final = refused.is_some_and(|code| code.decision() == Decision::Deny);
        let health = &mut server.health;
        let (pause, open) =
            if is_final { health.denied(Instant::now()) } else { health.failed(Instant::now()) };
        let pause = Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        server.notes.say(if open {
            format!("broken: it has failed too often in a row, or may not be started; one attempt is made in {pause:?}, and calls are blocked with upstream.unavailable until then")
        } else {
            format!("failing: it is started again in {pause:?}, and calls are blocked with upstream.unavailable until then")
        });
        self.greet_if_done(Instant::now());
    }

    /// Questions of a server that is gone: whoever looks at them need not any more.
    fn forget_posed(&mut self, server: usize) {
        let of_it = |posed: &Posed| posed.server == server;
        let numbers: Vec<u64> =
            self.posed.iter().filter(|(_, posed)| of_it(posed)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.posed.remove(&number);
            self.backlog.push_back(rewrite::cancelled(number, None));
        }
    }

    /// The next moment at which something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let servers = self.servers.iter().flat_map(|server| [server.health.due(), server.answers_until]);
        let gathers = self.gathers.values().map(|gather| Some(gather.until));
        let hello = self.hello.as_ref().and_then(Hello::due);
        let listens = self.listens.values().map(|listen| listen.due());
        servers.chain(gathers).chain(listens).chain([hello]).flatten().min()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for number in 0..self.servers.len() {
            let Some(server) = self.servers.get_mut(number) else { continue };
            if server.answers_until.is_some_and(|until| until <= now) {
                server.notes.say("it does not answer `initialize` in time");
                self.let_go(number);
            } else if server.health.due().is_some_and(|due| due <= now) {
                self.start(number);
            }
        }
        self.gathered_late(now);
        self.acknowledged_late(now);
        self.greet_if_done(now);
    }

    /// The client has gone: every gate ends, and none begins.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.servers.iter_mut().for_each(|server| server.to = None);
    }

    /// Whether some gate has not come to its end.
    pub(super) fn lives(&self) -> bool {
        self.servers.iter().any(|server| server.lives)
    }

    /// How it ended, as it would have with one server.
    pub(super) async fn end(mut self) -> Ending {
        self.tasks.abort_all();
        self.basis.ending().await
    }

    /// Says something to a server's gate.
    pub(super) fn tell(&self, number: usize, line: Vec<u8>) -> Result<(), Refused> {
        // The gate would cut it, and nobody could tell whose it was.
        if line.len() > CLIENT_LINE {
            let detail = format!("longer than {CLIENT_LINE} bytes");
            return Err(Refused::new(ReasonCode::RequestTooLarge, detail));
        }
        let gone = || Refused::new(ReasonCode::UpstreamUnavailable, "the tool server is not there now");
        let to = self.servers.get(number).and_then(|server| server.to.as_ref()).ok_or_else(gone)?;
        to.try_send(line).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refused::new(ReasonCode::OverloadShed, "too much waits for this tool server")
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }

    /// Whether so little waits for the client that more may be taken up.
    pub(super) fn has_room(&self) -> bool {
        has_room(&self.backlog)
    }

    /// Answers the client.
    pub(super) fn answer(&mut self, id: &Id, reply: &Reply) {
        self.asked.remove(id);
        self.backlog.push_back(rewrite::answer(id, reply));
    }
}

fn has_room(backlog: &VecDeque<Vec<u8>>) -> bool {
    let bytes = backlog.iter().map(Vec::len).fold(0, usize::saturating_add);
    backlog.len() < WAITING && bytes < WAITING_BYTES
}

impl Server {
    fn new(config: NamedServer, notes: &Notes, seed: u64) -> Self {
        let (name, notes) = (config.name.clone(), notes.about(&config.name));
        Self {
            name,
            config,
            notes,
            health: Health::new(seed),
            life: 0,
            lives: false,
            to: None,
            greeting: None,
            answers_until: None,
            again: false,
            missed: 0,
            refused: None,
        }
    }

    pub(super) const fn is_remote(&self) -> bool {
        matches!(self.config.server, ToolServer::Remote(_))
    }

    /// Whether calls may go to it.
    pub(super) const fn is_usable(&self) -> bool {
        self.to.is_some() && self.health.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_client_is_bounded_in_lines_and_in_bytes() {
        let lines = |count: usize, bytes: usize| VecDeque::from(vec![vec![0; bytes]; count]);
        assert!(has_room(&lines(WAITING - 1, 1)) && !has_room(&lines(WAITING, 1)));
        assert!(has_room(&lines(1, WAITING_BYTES - 1)) && !has_room(&lines(2, WAITING_BYTES / 2)));
    }
}
