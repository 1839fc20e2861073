//! What another bundle would have decided, held against ledgers that decide by it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use portcullis_arbiter::{Fact, GateState, Occasion, Shadow};
use portcullis_ledger::{Kept, Ledger, MasterKey};
use portcullis_policy::{Rehearsal, Snapshot};
use portcullis_protocol::{AttemptId, Decision, DecisionRecord, Outcome, Precondition, Record};

use crate::harness::{Call, World, labelled};
use crate::watched::{Random, seed};

type Files = BTreeMap<String, Vec<u8>>;

fn edit(files: &mut Files, path: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[path].clone()).unwrap();
    assert!(text.contains(from), "{from}");
    files.insert(path.to_owned(), text.replace(from, to).into_bytes());
}

/// A bundle with limits of every kind, labels and keys, and some of it by chance.
fn files(random: &mut Random) -> Files {
    let mut files = labelled();
    let pick = |random: &mut Random, all: &[&str]| {
        all[usize::try_from(random.below(u64::try_from(all.len()).unwrap())).unwrap()].to_owned()
    };
    let (charges, window) = (2 + random.below(6), pick(random, &["fixed = \"1h\"", "sliding = \"2h\""]));
    let (euros, open) = (pick(random, &["20.00", "60.00", "500.00"]), 1 + random.below(3));
    let (pace, per) =
        (1 + random.below(3), pick(random, &["", "per = [\"principal\"]\n", "per = [\"agent\"]\n"]));
    let limits = format!(
        "[limits.charges]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = {charges}\nwindow = {{ {window} }}\n\
         [limits.euros]\nkind = \"sum\"\nsurfaces = [\"demo.charge\"]\nof = \"amount\"\nunit = \"EUR\"\n{per}max = \"{euros}\"\n\
         window = {{ sliding = \"1d\" }}\n[limits.open]\nkind = \"open\"\nsurfaces = [\"demo.charge\"]\nmax = {open}\n\
         [limits.pace]\nkind = \"rate\"\nsurfaces = [\"demo.read_balance\"]\nevery = \"10s\"\nmax = {pace}\n\n"
    );
    let begin = "[surfaces.\"demo.read_balance\"]";
    edit(&mut files, "bundle.toml", begin, &format!("{limits}{begin}"));
    if random.below(3) == 0 {
        edit(&mut files, "bundle.toml", "idempotency = \"key\"", "idempotency = \"derived\"");
    }
    if random.below(3) == 0 {
        edit(
            &mut files,
            "policies/labels.cedar",
            "context.account == \"web\"",
            "context.account == \"void\"",
        );
    }
    if random.below(3) == 0 {
        edit(&mut files, "policies/demo.cedar", "100.00", "10.00");
    }
    files
}

/// What happens to a world, the same whatever it decides.
enum Step {
    Ask(Call),
    /// While an operator has shut the gate.
    AskShut(Call),
    /// Of the calls so far.
    End(usize, Outcome),
    /// What was permitted and has not ended does.
    EndAll,
    Wait(u64),
}

fn steps(random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut calls = 0;
    for attempt in 1..=60 {
        let call = match random.below(4) {
            0 => Call::reads(attempt, ["a", "web", "customer"][usize::try_from(random.below(3)).unwrap()]),
            _ => {
                let amount = ["1.00", "7.00", "9.00", "15.00", "60.00", "120.00"];
                let amount = amount[usize::try_from(random.below(6)).unwrap()];
                Call::charge(attempt, amount, Some(&format!("key {}", random.below(40))))
            }
        };
        let call = match random.below(4) {
            0 => call.acting_for("maya"),
            1 => call.acting_for("kim"),
            _ => call,
        };
        steps.push(if random.below(12) == 0 { Step::AskShut(call) } else { Step::Ask(call) });
        calls += 1;
        for _ in 0..random.below(3) {
            let outcomes = [Outcome::Ok, Outcome::Failed, Outcome::Unknown, Outcome::Expired];
            let outcome = outcomes[usize::try_from(random.below(4)).unwrap()];
            let of = usize::try_from(random.below(calls)).unwrap();
            steps.push(Step::End(of, outcome));
        }
        match random.below(6) {
            0 => steps.extend([Step::EndAll, Step::Wait(1_800_000)]),
            1 => steps.push(Step::Wait(4_000)),
            _ => {}
        }
    }
    steps
}

/// A world in which the steps happen: its calls, and how those that were permitted ended, if they did.
struct Played<'a> {
    world: &'a World,
    ledger: Ledger,
    calls: Vec<Call>,
    permits: BTreeMap<AttemptId, Option<Outcome>>,
}

/// Lets the steps happen. What `others` did not permit ends at once.
fn play(world: &World, steps: &[Step], others: Option<&BTreeSet<AttemptId>>) -> BTreeSet<AttemptId> {
    let mut played = Played { world, ledger: world.start(), calls: Vec::new(), permits: BTreeMap::new() };
    for step in steps {
        match step {
            Step::Ask(call) => played.ask(call, others),
            Step::AskShut(call) => {
                *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
                played.ask(call, others);
                *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Open);
            }
            Step::End(of, outcome) => played.end(*of, *outcome),
            Step::EndAll => (0..played.calls.len()).for_each(|of| played.end(of, Outcome::Ok)),
            Step::Wait(milliseconds) => world.clocks.advance(*milliseconds),
        }
    }
    played.permits.into_keys().collect()
}

impl Played<'_> {
    fn ask(&mut self, call: &Call, others: Option<&BTreeSet<AttemptId>>) {
        self.calls.push(call.clone());
        if self.world.decide(&self.ledger, call).verdict.decision() != Decision::Permit {
            return;
        }
        self.permits.insert(call.attempt(), None);
        if others.is_some_and(|others| !others.contains(&call.attempt())) {
            self.end(self.calls.len() - 1, Outcome::Ok);
        }
    }

    /// An outcome ends what had none, and supersedes only an `unknown`.
    fn end(&mut self, of: usize, outcome: Outcome) {
        let call = &self.calls[of];
        let Some(before) = self.permits.get_mut(&call.attempt()) else { return };
        if before.is_none() || (*before == Some(Outcome::Unknown) && outcome != Outcome::Unknown) {
            self.world.report(&self.ledger, call, outcome, None).unwrap();
            *before = Some(outcome);
        }
    }
}

/// What a decision came to, without what tells one log from another.
fn came_to(entry: &DecisionRecord) -> impl PartialEq + std::fmt::Debug + use<> {
    let DecisionRecord { decision, reason, limit, limits, labels, key, policies, time, .. } = entry.clone();
    (decision, reason, limit, limits, labels, key, policies, time)
}

/// What a bundle would have decided of a world's log, by attempt.
fn shadowed(world: &World, other: &Rehearsal) -> BTreeMap<AttemptId, DecisionRecord> {
    let (reader, master) = (world.reader(), MasterKey::read(&world.vault_key()).unwrap());
    let (mut shadow, mut said) = (Shadow::new(), BTreeMap::new());
    let (_, contradictions) = reader
        .replay(|record, _, _| {
            match record {
                Record::Decision(entry) => {
                    let Kept::Here(kept) = reader.kept_request(&master, entry).unwrap() else { panic!() };
                    let request = kept.request.by(entry.agent.clone());
                    let decided = shadow.decide(&Occasion::of(entry), request, other, None).unwrap();
                    if decided.decision == Decision::Permit && entry.decision != Decision::Permit {
                        shadow.end(entry.seq, Outcome::Ok);
                    }
                    said.insert(entry.attempt, decided);
                }
                Record::Outcome(entry) => shadow.end(entry.permit, entry.outcome),
                Record::Event(_)
                | Record::Aggregate(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => {}
            }
            ControlFlow::Continue(None)
        })
        .unwrap()
        .unwrap();
    assert_eq!(contradictions, []);
    said
}

fn decisions(world: &World) -> BTreeMap<AttemptId, DecisionRecord> {
    let entries = world.records().into_iter().filter_map(|record| match record {
        Record::Decision(entry) => Some((entry.attempt, *entry)),
        Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    entries.collect()
}

/// A simulation knew nothing of limits and keys, and of labels only those that the log's own PERMITs gave.
#[test]
fn a_bundle_says_of_a_log_what_a_ledger_decides_by_it_that_is_asked_the_same() {
    let seed = seed();
    println!("PORTCULLIS_SEED={seed}");
    let mut random = Random::of(seed);
    let (mut same, mut changed, mut by_limits, mut by_labels) = (0, 0, 0, 0);
    // As many lives as it takes until labels differed: a run in which none do says nothing of them.
    let mut lives = 0;
    while lives < 3 || (by_labels == 0 && lives < 40) {
        lives += 1;
        let (old, new, steps) = (files(&mut random), files(&mut random), steps(&mut random));
        let rehearse = |files: &Files| Snapshot::from_files(files.clone()).unwrap().rehearse().unwrap();
        let (world, other) = (World::under(old.clone()), World::under(new.clone()));
        let permits = play(&world, &steps, None);
        play(&other, &steps, Some(&permits));
        let (decided, by_other) = (decisions(&world), decisions(&other));
        for (attempt, said) in shadowed(&world, &rehearse(&old)) {
            assert_eq!(came_to(&said), came_to(&decided[&attempt]), "by the bundle that decided");
        }
        let foretold = shadowed(&world, &rehearse(&new));
        assert_eq!(foretold.len(), by_other.len());
        for (attempt, said) in foretold {
            let (before, found) = (&decided[&attempt], &by_other[&attempt]);
            assert_eq!(came_to(&said), came_to(found), "by the other bundle");
            let is = |entry: &DecisionRecord| (entry.decision, entry.reason, entry.limit.clone());
            if is(before) == is(found) {
                same += 1;
            } else {
                changed += 1;
                let limits = [before, found].map(|entry| {
                    entry.reason.is_some_and(|code| code.precondition() == Precondition::Limits)
                });
                by_limits += usize::from(limits[0] != limits[1]);
            }
            by_labels += usize::from(before.labels.held != found.labels.held);
        }
    }
    println!(
        "{lives} lives: {same} decided the same, {changed} otherwise, {by_limits} by limits, {by_labels} with other labels"
    );
    assert!(same > 20 && changed > 10 && by_limits > 5 && by_labels > 0);
}
