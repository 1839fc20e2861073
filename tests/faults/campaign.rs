//! `kill -9` at random moments, under load: calls with keys and without, nervous repeats of the same keys.
//!
//! What ran is told by the tool server's own journal. After each round the log verifies against its anchored head,
//! every action in the journal has a PERMIT on record whose receipt verifies, and no key ran twice.
//!
//! The seed is printed; `PORTCULLIS_SEED` repeats its choices. `PORTCULLIS_LONG=1` runs 200 rounds of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_protocol::{Decision, Digest, Domain, Outcome, Record};
use portcullis_server::open_ledger;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::{hosts, kill, runs};
use crate::support::random::Random;
use crate::support::{Answer, Daemon, Gate, Place, demo_server, program, text, until};

const AGENT: &str = "demo-agent";

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The only gate, which hosts the arbiter.
    OnlyGate,
    /// Whichever of two gates hosts the arbiter.
    HostOfTwo,
    /// A gate beside a daemon.
    GateBesideDaemon,
    /// The daemon.
    Daemon,
}

/// A gate, and the words in its tool server's command line that no other has.
struct Client {
    gate: Gate,
    mark: String,
}

/// A call that was sent.
struct Sent {
    client: usize,
    id: u64,
    /// The argument of a read, or the key of a charge: what the journal is searched for.
    name: String,
    keyed: bool,
}

/// What was seen, for the table.
#[derive(Default)]
struct Seen {
    calls: usize,
    unanswered: usize,
    ran: usize,
    replays: usize,
    codes: BTreeMap<String, usize>,
    receipts: usize,
    early_kills: usize,
    recoveries: Vec<Duration>,
}

/// What the journal says.
#[derive(Default)]
struct Ran {
    lines: usize,
    keys: BTreeSet<String>,
    reads: BTreeSet<String>,
}

/// What the log says, as far as it was read.
#[derive(Default)]
struct Recorded {
    next: u64,
    permits: usize,
    /// By key's commitment, and by read, the indexes of its PERMITs.
    keys: BTreeMap<String, BTreeSet<u64>>,
    reads: BTreeMap<String, BTreeSet<u64>>,
    /// PERMITs of which the log says that nothing ran under them.
    never: BTreeSet<u64>,
}

impl Recorded {
    /// Whether one of these PERMITs may have run.
    fn permits(&self, permits: Option<&BTreeSet<u64>>) -> bool {
        permits.is_some_and(|permits| !permits.is_subset(&self.never))
    }
}

struct Campaign {
    victim: Victim,
    place: Place,
    config: PathBuf,
    random: Random,
    seed: u64,
    /// How long a load takes that nobody disturbs.
    pace: Duration,
    daemon: Option<Daemon>,
    clients: Vec<Client>,
    started: usize,
    keys: Vec<String>,
    seen: Seen,
    ran: Ran,
    recorded: Recorded,
}

impl Campaign {
    fn new(victim: Victim) -> Self {
        let place = Place::demo();
        place.file("journal", "");
        let (random, seed) = Random::seeded();
        let beside = matches!(victim, Victim::GateBesideDaemon | Victim::Daemon);
        let daemon = beside.then(|| Daemon::start(&place));
        let config = if beside { place.elsewhere(&place.socket_url()) } else { place.config_path.clone() };
        let mut campaign = Self {
            victim,
            place,
            config,
            random,
            seed,
            pace: Duration::ZERO,
            daemon,
            clients: Vec::new(),
            started: 0,
            keys: Vec::new(),
            seen: Seen::default(),
            ran: Ran::default(),
            recorded: Recorded::default(),
        };
        for _ in 0..if victim == Victim::HostOfTwo { 2 } else { 1 } {
            let client = campaign.client();
            campaign.clients.push(client);
        }
        campaign
    }

    /// The command of a new tool server: its own name for the journal that all of them write.
    fn server(&mut self) -> (Vec<String>, String) {
        self.started += 1;
        let own = self.place.path(&format!("journal-{}-", self.started));
        std::os::unix::fs::symlink(self.place.path("journal"), &own).unwrap();
        (demo_server(&own), text(&own))
    }

    fn client(&mut self) -> Client {
        let (server, mark) = self.server();
        Client { gate: Gate::start(&self.config, &server), mark }
    }

    /// A gate that is killed while it starts, and perhaps recovers the ledger.
    fn killed_early(&mut self) {
        let (server, mark) = self.server();
        let gate = Gate::without_handshake(&self.config, &server);
        self.moment(Duration::from_millis(30));
        gate.kill();
        until("the end of the tool server", || (!runs(&mark)).then_some(()));
        self.seen.early_kills += 1;
    }

    /// Lets a random time pass.
    fn moment(&mut self, at_most: Duration) {
        let at_most = usize::try_from(at_most.as_micros()).unwrap() + 1;
        let end = Instant::now() + Duration::from_micros(u64::try_from(self.random.below(at_most)).unwrap());
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
    }

    /// A read runs through every gate: the ledger has been opened, and permits.
    fn works(&mut self, round: usize) {
        for number in 0..self.clients.len() {
            let start = Instant::now();
            let mut turn = 0;
            until("a call that runs", || {
                let account = format!("calm-{round}-{number}-{turn}");
                turn += 1;
                let answer = self.clients[number].gate.call("read_balance", json!({ "account": account }));
                self.seen.calls += 1;
                self.seen.count(&answer).then_some(())
            });
            self.seen.recoveries.push(start.elapsed());
        }
    }

    /// Sends a round's load, to all gates at once.
    fn load(&mut self, round: &str) -> Vec<Sent> {
        let mut load = Vec::new();
        for number in 0..4 {
            load.push((format!("read-{round}-{number}"), false));
        }
        for number in 0..3 {
            let key = format!("key-{round}-{number}");
            // Nobody waits for an answer before repeating.
            (0..=self.random.below(3)).for_each(|_| load.push((key.clone(), true)));
            self.keys.push(key);
        }
        for _ in 0..3 {
            let recent = self.keys.len().min(30);
            let old = self.keys[self.keys.len() - 1 - self.random.below(recent)].clone();
            load.push((old, true));
        }
        for at in (1..load.len()).rev() {
            load.swap(at, self.random.below(at + 1));
        }
        self.seen.calls += load.len();
        load.into_iter().map(|(name, keyed)| self.send(name, keyed)).collect()
    }

    fn send(&mut self, name: String, keyed: bool) -> Sent {
        let client = self.random.below(self.clients.len());
        let gate = &mut self.clients[client].gate;
        let id = if keyed {
            gate.send_call("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(&name))
        } else {
            gate.send_call("read_balance", &json!({ "account": name }), None)
        };
        Sent { client, id, name, keyed }
    }

    /// Kills whom it is to be at a random moment of the load, and collects what was answered.
    fn strike(&mut self, load: &[Sent]) -> Vec<(usize, Answer)> {
        let mut answers = Vec::new();
        if self.random.one_in(2) {
            // Some answers first: the moment is then one of a call's own.
            let some = self.random.below(load.len());
            for (number, sent) in load.iter().enumerate().take(some) {
                let answer = self.clients[sent.client].gate.called(sent.id).expect("nobody was killed yet");
                answers.push((number, answer));
            }
            self.moment(self.pace / 10);
        } else {
            self.moment(self.pace);
        }
        let dead = self.kill();
        for (number, sent) in load.iter().enumerate().skip(answers.len()) {
            match self.clients[sent.client].gate.called(sent.id) {
                Some(answer) => answers.push((number, answer)),
                None if dead == Some(sent.client) => self.seen.unanswered += 1,
                None => panic!("a gate that lives gave no answer to {}", sent.name),
            }
        }
        if let Some(dead) = dead {
            let mark = self.clients[dead].mark.clone();
            until("the end of the dead gate's tool server", || (!runs(&mark)).then_some(()));
        }
        answers
    }

    /// Which gate is dead now.
    fn kill(&mut self) -> Option<usize> {
        let dead = match self.victim {
            Victim::Daemon => {
                kill(&mut self.daemon.as_mut().unwrap().child);
                return None;
            }
            Victim::OnlyGate | Victim::GateBesideDaemon => 0,
            Victim::HostOfTwo => {
                let data = &self.place.config.data;
                let host = self.clients.iter().position(|client| hosts(&client.gate.child, data));
                host.expect("one of the gates hosts the arbiter")
            }
        };
        kill(&mut self.clients[dead].gate.child);
        Some(dead)
    }

    fn restart(&mut self) {
        match self.victim {
            Victim::Daemon => self.daemon = Some(Daemon::start(&self.place)),
            Victim::OnlyGate | Victim::GateBesideDaemon => {
                if self.random.one_in(4) {
                    self.killed_early();
                }
                self.clients[0] = self.client();
            }
            Victim::HostOfTwo => {
                let gone = |client: &mut Client| client.gate.child.try_wait().unwrap().is_some();
                let dead = self.clients.iter_mut().position(gone).unwrap();
                self.clients[dead] = self.client();
            }
        }
    }

    /// Reads what the journal and the log have more, and holds the one against the other.
    fn check(&mut self) {
        self.read_journal();
        self.read_log();
        for key in &self.ran.keys {
            let permits = self.recorded.keys.get(&commitment(key));
            assert!(self.recorded.permits(permits), "{key} ran without a PERMIT on record");
        }
        for read in &self.ran.reads {
            let permits = self.recorded.reads.get(read);
            assert!(self.recorded.permits(permits), "{read} ran without a PERMIT on record");
        }
    }

    fn read_journal(&mut self) {
        let journal = std::fs::read_to_string(self.place.path("journal")).unwrap();
        for line in journal.lines().skip(self.ran.lines) {
            let entry: Value = serde_json::from_str(line).unwrap();
            let new = match entry["key"].as_str() {
                Some(key) => self.ran.keys.insert(key.to_owned()),
                None => self.ran.reads.insert(entry["arguments"]["account"].as_str().unwrap().to_owned()),
            };
            assert!(new, "ran twice: {line}");
            self.ran.lines += 1;
        }
    }

    /// Reads what the log has more: each record out of its receipt.
    fn read_log(&mut self) {
        let ledger = open_ledger(&self.place.config).unwrap();
        for seq in self.recorded.next..ledger.head().size() {
            self.seen.receipts += 1;
            match self.place.verify(&ledger.receipt(seq).unwrap()) {
                Record::Decision(record) if record.decision == Decision::Permit => {
                    self.recorded.permits += 1;
                    let permits = match &record.key {
                        Some(key) => self.recorded.keys.entry(key.to_string()),
                        None => self.recorded.reads.entry(self.place.account(&ledger, &record).unwrap()),
                    };
                    permits.or_default().insert(seq);
                }
                Record::Outcome(entry) => {
                    let never = matches!(entry.outcome, Outcome::Withheld | Outcome::Expired);
                    self.recorded.never.retain(|permit| *permit != entry.permit);
                    self.recorded.never.extend(never.then_some(entry.permit));
                }
                Record::Decision(_)
                | Record::Event(_)
                | Record::Aggregate(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => {}
            }
        }
        self.recorded.next = ledger.head().size();
    }

    /// A round in which nobody is killed, to learn how long one takes.
    fn undisturbed(&mut self) {
        for round in ["a", "b", "c"] {
            let load = self.load(round);
            let start = Instant::now();
            for sent in load {
                let answer = self.clients[sent.client].gate.called(sent.id).unwrap();
                self.seen.count(&answer);
            }
            self.pace = start.elapsed();
        }
    }

    fn round(&mut self, round: usize) {
        self.works(round);
        let load = self.load(&round.to_string());
        let answers = self.strike(&load);
        self.check();
        for (number, answer) in answers {
            let Sent { name, keyed, .. } = &load[number];
            if self.seen.count(&answer) {
                let ran = if *keyed { &self.ran.keys } else { &self.ran.reads };
                assert!(ran.contains(name), "answered as run, and not in the journal: {name}");
            }
        }
        self.restart();
    }

    /// Repeats every key once more in peace, ends everything in good order, and verifies the whole log.
    fn finish(mut self, rounds: usize, took: Duration) {
        self.works(rounds);
        for key in self.keys.clone() {
            let Sent { client, id, .. } = self.send(key, true);
            let answer = self.clients[client].gate.called(id).unwrap();
            self.seen.calls += 1;
            self.seen.count(&answer);
        }
        for client in std::mem::take(&mut self.clients) {
            assert!(client.gate.end().success());
        }
        if let Some(daemon) = self.daemon.take() {
            assert!(daemon.end(Signal::TERM).success());
        }
        self.check();
        let log = self.place.log();
        assert_eq!(log.events().last(), Some(&portcullis_protocol::Event::Closed));
        let mut live: BTreeMap<String, usize> = BTreeMap::new();
        for (record, outcome) in log.permits() {
            let may_have_run = !matches!(outcome, Some(Outcome::Withheld | Outcome::Expired));
            if let Some(key) = record.key.as_ref().filter(|_| may_have_run) {
                *live.entry(key.to_string()).or_default() += 1;
            }
        }
        for key in &self.ran.keys {
            assert_eq!(
                live.get(&commitment(key)),
                Some(&1),
                "{key} ran under a PERMIT that the log says did not"
            );
        }
        assert!(live.values().all(|permits| *permits == 1), "two PERMITs for one key that may both have run");
        self.report(rounds, took, &log);
    }

    #[expect(clippy::print_stdout, reason = "the campaign's table is for people")]
    fn report(&self, rounds: usize, took: Duration, log: &crate::support::Log) {
        let mut table = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(table, "  {name:<44}{value:>10}").unwrap();
        };
        let mut recoveries = self.seen.recoveries.clone();
        recoveries.sort();
        line("rounds", &rounds);
        line("seconds", &took.as_secs());
        line("ms that a load takes undisturbed", &self.pace.as_millis());
        line("killed while starting, besides", &self.seen.early_kills);
        line("calls sent", &self.seen.calls);
        line("  unanswered when the gate was killed", &self.seen.unanswered);
        line("  answered with the tool's result", &self.seen.ran);
        line("  answered with an earlier run's result", &self.seen.replays);
        for (code, count) in &self.seen.codes {
            line(&format!("  blocked, {code}"), count);
        }
        line("executions in the journal", &self.ran.lines);
        line("  of keys, no key twice", &self.ran.keys.len());
        line("records, each with a receipt that verifies", &self.seen.receipts);
        line("PERMITs", &self.recorded.permits);
        for outcome in [Outcome::Ok, Outcome::Failed, Outcome::Unknown, Outcome::Expired, Outcome::Withheld] {
            line(&format!("  with outcome {}", outcome.as_str()), &log.outcomes(Some(outcome)));
        }
        line("  without outcome", &log.outcomes(None));
        line("ms from restart to a call that runs, median", &recoveries[recoveries.len() / 2].as_millis());
        line("ms from restart to a call that runs, most", &recoveries[recoveries.len() - 1].as_millis());
        println!("{:?}, seed {}, {}\n{table}", self.victim, self.seed, program().display());
    }
}

impl Seen {
    /// Whether the call ran.
    fn count(&mut self, answer: &Answer) -> bool {
        if answer.is_replay() {
            self.replays += 1;
            return false;
        }
        if answer.told().is_some_and(|told| told["enforcement"] == "BLOCKED") {
            *self.codes.entry(answer.code().to_owned()).or_default() += 1;
            return false;
        }
        answer.ran();
        self.ran += 1;
        true
    }
}

/// What a record says of a key.
fn commitment(key: &str) -> String {
    Digest::of(Domain::Key, &[AGENT.as_bytes(), key.as_bytes()]).to_string()
}

#[expect(clippy::print_stderr, reason = "a failure must say by which seed it is repeated")]
fn campaign(victim: Victim, usual: usize) {
    let rounds = if std::env::var_os("PORTCULLIS_LONG").is_some() { 200 } else { usual };
    let mut campaign = Campaign::new(victim);
    eprintln!("PORTCULLIS_SEED={} repeats the choices of this run", campaign.seed);
    let start = Instant::now();
    campaign.undisturbed();
    for round in 0..rounds {
        campaign.round(round);
    }
    campaign.finish(rounds, start.elapsed());
}

#[test]
fn killing_the_only_gate_at_random_moments_runs_nothing_unrecorded_and_nothing_twice() {
    campaign(Victim::OnlyGate, 200);
}

#[test]
fn killing_the_host_of_two_gates_at_random_moments_runs_nothing_unrecorded_and_nothing_twice() {
    campaign(Victim::HostOfTwo, 40);
}

#[test]
fn killing_a_gate_beside_a_daemon_at_random_moments_runs_nothing_unrecorded_and_nothing_twice() {
    campaign(Victim::GateBesideDaemon, 40);
}

#[test]
fn killing_the_daemon_at_random_moments_runs_nothing_unrecorded_and_nothing_twice() {
    campaign(Victim::Daemon, 40);
}
