//! A deployment whose disk is to fail: a daemon that is killed and started, and one gate that outlives it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::judge::{Permits, Ran};
use crate::roots::{Roots, SOURCES};
use crate::strace::under_strace;
use crate::support::http::{Server, get};
use crate::support::process::kill;
use crate::support::random::Random;
use crate::support::{Answer, Daemon, Gate, PATIENCE, Place, Recording, demo_server, program, until};

/// Rounds after which a campaign begins anew with an empty log.
const LIFE: usize = 20;

/// What a campaign counts.
pub(crate) struct Tally {
    fault: &'static str,
    seed: u64,
    pub(crate) rounds: usize,
    executions: usize,
    /// PERMITs of the ledgers that are left at the end. Fewer than executions where a ledger was thrown away with its records:
    /// one that lost what its disk had acknowledged, or a flipped copy of which the original takes the place.
    permits: usize,
    /// Faults that were seen to strike.
    pub(crate) struck: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) codes: BTreeMap<String, usize>,
    /// How many different heads of logs were seen where, if any were looked for.
    heads: BTreeMap<&'static str, usize>,
    notes: Vec<String>,
}

impl Tally {
    /// A new campaign, its seed said at once.
    #[expect(clippy::print_stderr, reason = "a failure must say by which seed it is repeated")]
    pub(crate) fn new(fault: &'static str) -> (Self, Random) {
        let (random, seed) = Random::seeded();
        eprintln!("PORTCULLIS_SEED={seed} repeats the choices of this run");
        (Self::empty(fault, seed), random)
    }

    const fn empty(fault: &'static str, seed: u64) -> Self {
        Self {
            fault,
            seed,
            rounds: 0,
            executions: 0,
            permits: 0,
            struck: 0,
            violations: Vec::new(),
            codes: BTreeMap::new(),
            heads: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// A part of this campaign, to be joined: of the same seed, with choices of its own.
    pub(crate) fn part(&self, random: &mut Random) -> (Self, Random) {
        (Self::empty(self.fault, self.seed), random.part())
    }

    /// Takes in a part.
    pub(crate) fn join(&mut self, mut part: Self) {
        self.rounds += part.rounds;
        self.executions += part.executions;
        self.permits += part.permits;
        self.struck += part.struck;
        self.violations.append(&mut part.violations);
        self.notes.append(&mut part.notes);
        for (code, count) in std::mem::take(&mut part.codes) {
            *self.codes.entry(code).or_default() += count;
        }
        for (source, count) in std::mem::take(&mut part.heads) {
            *self.heads.entry(source).or_default() += count;
        }
    }

    /// Prints the campaign's line, and fails if anything was violated, or nothing was tried.
    #[expect(clippy::print_stdout, reason = "the campaign's line is for people")]
    pub(crate) fn close(mut self) {
        self.violations.sort();
        self.violations.dedup();
        let codes = self.codes.iter().map(|(code, count)| format!("{code} {count}"));
        let heads = self.heads.iter().map(|(source, count)| format!("heads in {source} {count}"));
        let codes: Vec<_> = codes.chain(heads).chain(self.notes.iter().cloned()).collect();
        println!(
            "{} | rounds {} | struck {} | executions {} | permits {} | violations {} | seed {} | {}",
            self.fault,
            self.rounds,
            self.struck,
            self.executions,
            self.permits,
            self.violations.len(),
            self.seed,
            codes.join(", ")
        );
        assert!(self.violations.is_empty(), "{:#?}", self.violations);
        assert!(self.executions > 0, "nothing ran at all");
        assert!(self.struck > 0, "no fault struck: nothing was tried");
        let seen = SOURCES.iter().all(|source| self.heads.get(source).is_some_and(|count| *count > 0));
        assert!(self.heads.is_empty() || seen, "no head was seen in one of {SOURCES:?}: {:?}", self.heads);
    }
}

/// How many rounds: `usual`, or by `PORTCULLIS_LONG=1` as many as `long`.
pub(crate) fn rounds(usual: usize, long: usize) -> usize {
    if is_long() { long } else { usual }
}

/// Whether many more rounds than usual are run.
pub(crate) fn is_long() -> bool {
    std::env::var_os("PORTCULLIS_LONG").is_some()
}

/// A call that was sent.
pub(crate) struct Sent {
    id: u64,
    name: String,
    keyed: bool,
}

/// A daemon, and a gate beside it that outlives it.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) daemon: Option<Daemon>,
    gate: Gate,
    roots: Roots,
    recording: Recording,
    pub(crate) keys: Vec<String>,
    calls: usize,
    pub(crate) age: usize,
}

impl Scene {
    /// A deployment whose daemon has not been started yet.
    pub(crate) fn new() -> Self {
        Self::on(Place::demo())
    }

    /// A scene in this deployment.
    pub(crate) fn on(place: Place) -> Self {
        let roots = Roots::of(&place);
        let config = place.elsewhere(&roots.url);
        let recording = Recording::new(&place.path("recording"));
        let journal = place.file("journal", "");
        let gate = Gate::start(&config, &recording.of(&demo_server(&journal)));
        Self { place, daemon: None, gate, roots, recording, keys: Vec::new(), calls: 0, age: 0 }
    }

    /// Another gate in the place of the one so far. One that has an outcome to deliver of a PERMIT that no disk has any
    /// more lets nothing run again.
    pub(crate) fn other_gate(&mut self) {
        let config = self.place.elsewhere(&self.roots.url);
        let server = demo_server(&self.place.path("journal"));
        let gate = Gate::start(&config, &self.recording.of(&server));
        std::mem::replace(&mut self.gate, gate).end();
    }

    /// Starts the daemon, and waits until it would permit.
    pub(crate) fn start(&mut self) {
        self.spawn(&mut self.serve());
        self.ready();
        self.age += 1;
    }

    /// Waits until the daemon would permit.
    fn ready(&self) {
        let server = Server::socket(&self.place.socket());
        let end = Instant::now() + PATIENCE;
        loop {
            let said = get(&server, "/readyz");
            if said.as_ref().is_ok_and(|response| response.status == 200) {
                return;
            }
            assert!(Instant::now() < end, "not ready within {PATIENCE:?}: {said:?}, {}", self.keep());
            std::thread::park_timeout(Duration::from_millis(3));
        }
    }

    /// Waits until the ledger was opened, or cannot be. Whether it permits.
    pub(crate) fn opens(&self) -> bool {
        let server = Server::socket(&self.place.socket());
        until("the end of the ledger's opening", || {
            let said = get(&server, "/readyz").ok()?;
            (!said.body.contains("evidence.recovering")).then_some(said.status == 200)
        })
    }

    /// Why the daemon would permit nothing now: the reason of each interlock that has tripped.
    pub(crate) fn shut(&self) -> Vec<String> {
        let health: Value = get(&Server::socket(&self.place.socket()), "/readyz").unwrap().json();
        let interlocks = health["interlocks"].as_array().unwrap();
        interlocks.iter().filter_map(|lock| lock["reason"].as_str().map(str::to_owned)).collect()
    }

    /// Keeps the deployment's files for examination. Where they are.
    pub(crate) fn keep(&self) -> String {
        let kept = std::env::temp_dir().join(format!("portcullis-failed-{}", std::process::id()));
        let copied = Command::new("cp").arg("-a").arg(self.place.folder()).arg(&kept).status();
        format!("files in {}: {copied:?}", kept.display())
    }

    /// The command that serves.
    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["serve", "--config"]).arg(&self.place.config_path);
        command
    }

    /// The command that serves under strace, with these expressions.
    pub(crate) fn serve_traced(&self, expressions: &[String]) -> Command {
        let mut command = under_strace(&program(), expressions, &self.log());
        command.args(["serve", "--config"]).arg(&self.place.config_path);
        command
    }

    /// Starts the daemon by a command, and waits for nothing.
    pub(crate) fn spawn(&mut self, command: &mut Command) {
        assert!(self.daemon.is_none(), "there is a daemon already");
        self.daemon = Some(Daemon::spawn(command));
    }

    /// Waits until the outcome of all that ran is on record.
    pub(crate) fn settle(&self) {
        self.place.settle();
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().child.id()
    }

    /// Kills the daemon with SIGKILL, if it has not ended.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(&mut daemon.child);
        }
        self.roots.look(&self.place);
    }

    /// Whether this deployment has been through enough for one log.
    pub(crate) fn is_old(&self) -> bool {
        self.age > LIFE
    }

    /// Sends a charge under a key of its own, or a read.
    pub(crate) fn send(&mut self, keyed: bool) -> Sent {
        self.calls += 1;
        let name = format!("{}-{}", if keyed { "key" } else { "read" }, self.calls);
        if keyed {
            self.keys.push(name.clone());
        }
        self.send_as(name, keyed)
    }

    /// Sends a charge under a key that was used before.
    pub(crate) fn repeat(&mut self, random: &mut Random) -> Sent {
        let recent = self.keys.len().min(12);
        let name = self.keys[self.keys.len() - 1 - random.below(recent)].clone();
        self.send_as(name, true)
    }

    fn send_as(&mut self, name: String, keyed: bool) -> Sent {
        let id = if keyed {
            self.gate.send_call("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(&name))
        } else {
            self.gate.send_call("read_balance", &json!({ "account": name }), None)
        };
        Sent { id, name, keyed }
    }

    /// A little of everything: charges, reads, and keys that were used before.
    pub(crate) fn load(&mut self, random: &mut Random) -> Vec<Sent> {
        let mut load = Vec::new();
        for _ in 0..2 + random.below(3) {
            load.push(self.send(true));
            load.push(if random.one_in(2) { self.send(false) } else { self.repeat(random) });
        }
        load
    }

    /// Waits for the answers. What is said to have run must be in the journal.
    pub(crate) fn answers(&mut self, sent: Vec<Sent>, tally: &mut Tally) -> usize {
        let answered: Vec<_> = sent
            .into_iter()
            .map(|sent| {
                let answer = self.gate.called(sent.id).expect("the gate lives");
                (sent, answer)
            })
            .collect();
        let mut count = 0;
        let mut told = Vec::new();
        for (sent, answer) in answered {
            if !tally.count(&answer) {
                continue;
            }
            count += 1;
            told.push(sent);
        }
        // `tee` hands on before it writes down: an answer may be faster than its line in the journal.
        until("all that was answered as run in the journal", || {
            let ran = Ran::read(&self.recording, &mut tally.violations);
            told.iter().all(|sent| ran.has(&sent.name, sent.keyed)).then_some(())
        });
        self.roots.look(&self.place);
        count
    }

    /// A charge runs: the fault is gone, and the ledger permits again.
    pub(crate) fn runs(&mut self, tally: &mut Tally) {
        until("a charge that runs", || {
            let sent = vec![self.send(true)];
            (self.answers(sent, tally) == 1).then_some(())
        });
    }

    /// Starts the daemon and [goes on](Self::goes_on).
    pub(crate) fn recovers(&mut self, tally: &mut Tally) {
        self.start();
        self.goes_on(tally);
    }

    /// A charge runs, and what ran before is repeated.
    pub(crate) fn goes_on(&mut self, tally: &mut Tally) {
        self.runs(tally);
        self.repeat_all(tally);
    }

    /// Repeats all keys of late: what ran must not run again.
    pub(crate) fn repeat_all(&mut self, tally: &mut Tally) {
        let from = self.keys.len().saturating_sub(12);
        let keys = self.keys[from..].to_vec();
        let sent = keys.into_iter().map(|key| self.send_as(key, true)).collect();
        self.answers(sent, tally);
    }

    /// Repeats the first so many keys.
    pub(crate) fn repeat_first(&mut self, count: usize, tally: &mut Tally) {
        let keys = self.keys[..count].to_vec();
        let sent = keys.into_iter().map(|key| self.send_as(key, true)).collect();
        self.answers(sent, tally);
    }

    /// What repeats of these keys are told: the tool's kept answer, or why there is none.
    pub(crate) fn repeats(&mut self, keys: &[String], tally: &mut Tally) -> BTreeMap<String, Value> {
        let sent: Vec<_> = keys.iter().map(|key| self.send_as(key.clone(), true)).collect();
        let mut told = BTreeMap::new();
        for Sent { id, name, .. } in sent {
            let answer = self.gate.called(id).expect("the gate lives");
            let what = if tally.count(&answer) || answer.is_replay() {
                json!({ "result": answer.0["result"]["content"] })
            } else {
                json!({ "blocked": answer.code() })
            };
            told.insert(name, what);
        }
        told
    }

    /// Three new charges are refused, each for one of these reasons.
    pub(crate) fn refuses(&mut self, codes: &[&str], tally: &mut Tally) {
        let count = |tally: &Tally| -> usize { codes.iter().filter_map(|code| tally.codes.get(*code)).sum() };
        // Until the ledger was looked at, the reason is that it is being looked at.
        self.opens();
        let before = count(tally);
        let sent = (0..3).map(|_| self.send(true)).collect();
        assert_eq!(self.answers(sent, tally), 0, "it ran");
        assert_eq!(count(tally), before + 3, "not {codes:?}: {:?}, {}", tally.codes, self.keep());
    }

    /// The database in use.
    pub(crate) fn database(&self) -> PathBuf {
        let ledger = self.place.config.data.join("ledger");
        let current = std::fs::read_to_string(ledger.join("CURRENT")).unwrap();
        ledger.join(current.trim_end()).join("ledger.db")
    }

    /// Asks the daemon to end in good order.
    pub(crate) fn end_daemon(&mut self) {
        let daemon = self.daemon.take().unwrap();
        assert!(daemon.end(Signal::TERM).success());
        self.roots.look(&self.place);
    }

    /// Kills the daemon, and holds the journal against the disk, and every head that was ever seen against the others.
    pub(crate) fn judge(&mut self, tally: &mut Tally) {
        self.kill();
        match Permits::read(&self.place) {
            Ok(permits) => {
                self.roots.receipts(&self.place, &permits.receipts);
                permits.judge(&self.ran(tally), &mut tally.violations);
            }
            Err(error) => tally.violations.push(error),
        }
        for size in self.split() {
            tally.violations.push(format!("two roots were signed for size {size}"));
        }
    }

    /// Counts the heads that were seen, before this deployment is thrown away.
    pub(crate) fn count_heads(&self, tally: &mut Tally) {
        for (source, count) in self.roots.counts() {
            *tally.heads.entry(source).or_default() += count;
        }
    }

    /// The sizes for which two roots were seen, in the anchor, in what was released, in receipts or in answers.
    pub(crate) fn split(&self) -> Vec<u64> {
        self.roots.split()
    }

    /// Takes in the receipts that were read off the disk.
    pub(crate) fn receipts(&mut self, permits: &Permits) {
        self.roots.receipts(&self.place, &permits.receipts);
    }

    /// What ran.
    pub(crate) fn ran(&self, tally: &mut Tally) -> Ran {
        Ran::read(&self.recording, &mut tally.violations)
    }

    /// Judges for the last time, and counts what this deployment saw.
    pub(crate) fn end(mut self, tally: &mut Tally) {
        self.judge(tally);
        tally.executions += self.ran(tally).count();
        tally.permits += Permits::read(&self.place).map_or(0, |permits| permits.count);
        self.count_heads(tally);
    }

    /// Where strace may write.
    pub(crate) fn log(&self) -> PathBuf {
        self.place.path("strace.log")
    }
}

impl Drop for Tally {
    /// A campaign that breaks off says what it had found.
    #[expect(clippy::print_stderr, reason = "a failure must say what led to it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}: after {} rounds {:?}, {:#?}",
                self.fault, self.rounds, self.codes, self.violations
            );
        }
    }
}

impl Tally {
    /// How many calls were refused so far.
    pub(crate) fn blocked(&self) -> usize {
        self.codes.iter().filter(|(code, _)| code.starts_with("evidence.")).map(|(_, count)| count).sum()
    }

    /// How many calls were refused because the ledger does not verify.
    pub(crate) fn found(&self) -> usize {
        let codes = ["evidence.corrupt", "evidence.behind_anchor", "evidence.vault_wrong_key"];
        codes.iter().filter_map(|code| self.codes.get(*code)).sum()
    }

    /// Adds something to the campaign's line.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Counts PERMITs of a scene that is not judged at its end.
    pub(crate) fn permitted(&mut self, count: usize) {
        self.permits += count;
    }

    /// Whether a call was refused for this reason.
    pub(crate) fn saw(&self, code: &str) -> bool {
        self.codes.contains_key(code)
    }

    /// Counts what ran in a scene that is not judged at its end.
    pub(crate) fn executed(&mut self, count: usize) {
        self.executions += count;
    }

    /// Counts an answer. Whether the call ran.
    fn count(&mut self, answer: &Answer) -> bool {
        if answer.is_replay() {
            *self.codes.entry("(replayed)".into()).or_default() += 1;
            return false;
        }
        if answer.told().is_some_and(|told| told["enforcement"] == "BLOCKED") {
            *self.codes.entry(answer.code().to_owned()).or_default() += 1;
            return false;
        }
        answer.ran();
        true
    }
}
