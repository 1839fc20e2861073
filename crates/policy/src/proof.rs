//! What can be proved of a bundle, by cedar-policy-symcc and a solver: of all requests and all entities that fit the
//! schema, not of some that were tried.
//!
//! Proved means: the solver said so, in time, in one clear word, for every request environment. A solver that is
//! missing, slow, killed, or unclear leaves a statement open, and what is open is not proved.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use cedar_policy::{Effect, Policy, Schema};
use portcullis_protocol::{BundleDigest, PolicyId};
use serde::Serialize;

use crate::bundle::engine;
use crate::compile::Compiled as Content;
use crate::invariants::{Invariant, with_effect};

mod compare;
mod demand;
mod kept;
mod solver;
mod theorem;

pub use compare::{Comparison, Direction, Shift, Shown};
pub(crate) use compare::{Side, compare};
pub use demand::{AskedOf, Weaker};
pub use kept::KeptProof;
pub use solver::SolverLimits;
pub use theorem::Counterexample;
pub(crate) use theorem::{Room, Truth};

use solver::{Known, Unanswered};
use theorem::Compiled;

/// The symbolic compiler and its version, as proofs name it.
#[must_use]
pub const fn symbolic_compiler() -> &'static str {
    "cedar-policy-symcc 0.8.1"
}

/// How to prove.
#[derive(Clone, Copy)]
pub struct Prover<'a> {
    /// The solver's program: a path, or a name that is looked up in `PATH`.
    pub solver: &'a Path,
    /// What it may use.
    pub limits: SolverLimits,
    /// Turns true when the work is to stop: what is not proved by then is not proved.
    pub stop: &'a AtomicBool,
    /// Told how many statements are settled, of how many.
    pub progress: &'a dyn Fn(u64, u64),
}

/// What came of trying to prove a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Proof {
    /// It holds of every request.
    Proved,
    /// It does not hold, as an example shows.
    Refuted {
        /// The request environment: principal's type, action, resource's type.
        environment: String,
        /// The request, and the entities.
        counterexample: Box<Counterexample>,
    },
    /// Nobody knows: for whoever needs a proof the same as no.
    NotProved {
        /// Why not.
        cause: String,
    },
}

/// Of which kind a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No request makes the policy raise an error.
    NeverErrors,
    /// What the bundle's author says of all its policies together.
    Invariant,
}

/// A statement that a bundle must be proved to fulfil.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Of which kind.
    pub kind: Kind,
    /// The policy's `@id`, or the invariant's.
    pub id: PolicyId,
    /// In words.
    pub sentence: String,
    /// What came of it, all request environments together: the first that is refuted, else the first that is open.
    pub proof: Proof,
}

/// What is odd about a policy that is allowed to be odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "oddity", rename_all = "snake_case")]
pub enum Oddity {
    /// No request makes it apply: a `forbid` that forbids nothing, a `permit` that grants nothing.
    NeverApplies,
    /// A grant of which a `forbid` takes back everything.
    NeverGrants,
    /// Without it, nothing would be decided otherwise.
    Redundant,
    /// Nobody knows whether it is one of these.
    Undetermined {
        /// Why not.
        cause: String,
    },
}

/// A policy that may not do what was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The policy.
    pub policy: PolicyId,
    /// Whether it grants or forbids.
    pub grants: bool,
    /// What about it.
    #[serde(flatten)]
    pub oddity: Oddity,
}

/// What could be proved of a bundle, and by whom. It is a statement about one digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofReport {
    /// The bundle's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub bundle: BundleDigest,
    /// The policy engine that examples were held against.
    pub engine: &'static str,
    /// What made questions of policies.
    pub compiler: &'static str,
    /// What answered, as it names itself; `None` if there was none to believe.
    pub solver: Option<String>,
    /// The request environments: principal's type, action, resource's type.
    pub environments: Vec<String>,
    /// What must be proved.
    pub statements: Vec<Statement>,
    /// What is odd, and may be meant.
    pub findings: Vec<Finding>,
}

impl ProofReport {
    /// Whether every statement is proved. Findings do not count.
    #[must_use]
    pub fn proved(&self) -> bool {
        self.solver.is_some() && self.statements.iter().all(|statement| statement.proof == Proof::Proved)
    }
}

/// A request environment, and the policies that can matter in it.
struct Place<'a> {
    room: Room<'a>,
    relevant: Vec<&'a Policy>,
    all: Result<Compiled, Unanswered>,
}

struct Work<'a> {
    content: &'a Content,
    policies: Vec<&'a Policy>,
    places: Vec<Place<'a>>,
    prover: &'a Prover<'a>,
    done: u64,
    total: u64,
}

pub(crate) fn prove(content: &Content, digest: BundleDigest, prover: &Prover<'_>) -> ProofReport {
    let solver = Known::meet(prover.solver, prover.limits, prover.stop);
    let mut report = ProofReport {
        name: content.manifest.name.clone(),
        version: content.manifest.version,
        bundle: digest,
        engine: engine(),
        compiler: symbolic_compiler(),
        solver: solver.as_ref().map_or(None, |known| Some(known.version.clone())),
        environments: content.schema.request_envs().map(|env| name(&env)).collect(),
        statements: Vec::new(),
        findings: Vec::new(),
    };
    report.environments.sort();
    match &solver {
        Ok(known) => {
            let mut work = Work::new(content, known, prover);
            report.statements = work.statements();
            report.findings = work.findings();
        }
        Err(cause) => report.statements = unproved(content, cause),
    }
    report
}

fn name(env: &cedar_policy::RequestEnv) -> String {
    format!("{}, {}, {}", env.principal(), env.action(), env.resource())
}

fn unproved(content: &Content, cause: &str) -> Vec<Statement> {
    let open = |_: &Policy| Proof::NotProved { cause: cause.to_owned() };
    let policies = content.ids.iter().map(|id| Statement {
        proof: Proof::NotProved { cause: cause.to_owned() },
        ..never_errors(id.clone())
    });
    let invariants = content.invariants.iter().map(|invariant| stated(invariant, open(&invariant.policy)));
    policies.chain(invariants).collect()
}

fn never_errors(id: PolicyId) -> Statement {
    let sentence = "no request makes it raise an error".to_owned();
    Statement { kind: Kind::NeverErrors, id, sentence, proof: Proof::Proved }
}

fn stated(invariant: &Invariant, proof: Proof) -> Statement {
    let (id, sentence) = (invariant.id.clone(), invariant.sentence.clone());
    Statement { kind: Kind::Invariant, id, sentence, proof }
}

/// What a statement comes to over all environments.
fn together<'a>(truths: impl Iterator<Item = (&'a Room<'a>, Truth)>) -> Proof {
    let mut proof = Proof::Proved;
    for (room, truth) in truths {
        match truth {
            Truth::Holds => {}
            Truth::Fails(counterexample) => {
                return Proof::Refuted { environment: room.name(), counterexample };
            }
            Truth::Open(cause) if proof == Proof::Proved => {
                proof = Proof::NotProved { cause: format!("{}: {cause}", room.name()) };
            }
            Truth::Open(_) => {}
        }
    }
    proof
}

impl<'a> Work<'a> {
    fn new(content: &'a Content, solver: &'a Known<'a>, prover: &'a Prover<'a>) -> Self {
        let policies: Vec<_> = content.slices.policies().into_values().collect();
        let places = places(&content.schema, &policies, solver);
        let steps = policies.len().saturating_mul(2).saturating_add(content.invariants.len());
        let total = u64::try_from(steps).map_or(u64::MAX, |steps| steps);
        Self { content, policies, places, prover, done: 0, total }
    }

    fn step(&mut self) {
        (self.prover.progress)(self.done, self.total);
        self.done = self.done.saturating_add(1);
    }

    fn statements(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        for policy in self.policies.clone() {
            self.step();
            let Some(id) = id_of(policy) else { continue };
            let truths = self.places.iter().map(|place| (&place.room, place.room.never_errs(policy)));
            statements.push(Statement { proof: together(truths), ..never_errors(id) });
        }
        for invariant in &self.content.invariants {
            self.step();
            statements.push(stated(invariant, self.invariant(invariant)));
        }
        statements
    }

    /// The policies of which it is not proved that they never raise an error.
    fn may_err(&self) -> Vec<PolicyId> {
        let errs = |policy: &&&Policy| {
            let truths = self.places.iter().map(|place| (&place.room, place.room.never_errs(policy)));
            together(truths) != Proof::Proved
        };
        self.policies.iter().filter(errs).filter_map(|policy| id_of(policy)).collect()
    }

    fn invariant(&self, invariant: &Invariant) -> Proof {
        let matched = match with_effect(&invariant.policy, Effect::Permit) {
            Ok(matched) => matched,
            Err(cause) => return Proof::NotProved { cause },
        };
        // Where its own condition raises an error it matches nothing, and would hold of whatever is granted there.
        let sound = self.places.iter().map(|place| (&place.room, place.room.never_errs(&matched)));
        match together(sound) {
            Proof::Proved => {}
            Proof::Refuted { .. } => {
                let cause = "its own condition can raise an error, and says nothing of the requests for which it does";
                return Proof::NotProved { cause: cause.to_owned() };
            }
            unknown @ Proof::NotProved { .. } => return unknown,
        }
        let proof =
            together(self.places.iter().map(|place| (&place.room, place.invariant(invariant, &matched))));
        if proof == Proof::Proved && self.places.iter().all(|place| !place.can_apply(&matched)) {
            let cause = "no request is known that it is about, so it says nothing".to_owned();
            return Proof::NotProved { cause };
        }
        proof
    }

    fn findings(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for policy in self.policies.clone() {
            self.step();
            let Some(id) = id_of(policy) else { continue };
            let grants = policy.effect() == Effect::Permit;
            findings.extend(self.oddity(policy).map(|oddity| Finding { policy: id, grants, oddity }));
        }
        findings
    }

    /// A policy that is needed is not odd, so that is asked first.
    fn oddity(&self, policy: &Policy) -> Option<Oddity> {
        let here: Vec<_> = self.places.iter().filter(|place| place.has(policy)).collect();
        let ask = |question: fn(&Place<'_>, &Policy) -> Truth| {
            together(here.iter().map(|place| (&place.room, question(place, policy))))
        };
        let undetermined = |cause| Some(Oddity::Undetermined { cause });
        match ask(|place, policy| place.is_spare(policy)) {
            Proof::Refuted { .. } => return None,
            Proof::NotProved { cause } => return undetermined(cause),
            Proof::Proved => {}
        }
        match ask(|place, policy| place.never_applies(policy)) {
            Proof::Proved => return Some(Oddity::NeverApplies),
            Proof::NotProved { cause } => return undetermined(cause),
            Proof::Refuted { .. } => {}
        }
        if policy.effect() == Effect::Permit {
            match ask(|place, policy| place.never_grants(policy)) {
                Proof::Proved => return Some(Oddity::NeverGrants),
                Proof::NotProved { cause } => return undetermined(cause),
                Proof::Refuted { .. } => {}
            }
        }
        // What it grants others grant too, but what it asks for beside that is its own.
        (policy.annotations().count() == 1).then_some(Oddity::Redundant)
    }
}

fn id_of(policy: &Policy) -> Option<PolicyId> {
    parsed(policy.id())
}

fn parsed(id: &cedar_policy::PolicyId) -> Option<PolicyId> {
    // Every policy of a bundle was read under an `@id` that is one.
    id.to_string().parse().ok() // tidy: allow a policy without an id is in no bundle
}

fn places<'a>(schema: &'a Schema, policies: &[&'a Policy], solver: &'a Known<'a>) -> Vec<Place<'a>> {
    let mut envs: Vec<_> = schema.request_envs().collect();
    envs.sort_by_cached_key(name);
    envs.into_iter().map(|env| Place::new(Room { schema, env, solver }, policies)).collect()
}

impl<'a> Place<'a> {
    fn new(room: Room<'a>, policies: &[&'a Policy]) -> Self {
        let relevant: Vec<_> = policies.iter().copied().filter(|policy| room.concerns(policy)).collect();
        let all = room.compile(relevant.iter().copied());
        Self { room, relevant, all }
    }
}

impl Place<'_> {
    fn has(&self, policy: &Policy) -> bool {
        self.relevant.iter().any(|other| other.id() == policy.id())
    }

    /// Whether a grant asks for this.
    fn asks(&self, asked: &str) -> bool {
        self.relevant.iter().any(|policy| policy.annotation(asked).is_some())
    }

    fn truth(&self, ask: impl FnOnce(&Compiled) -> Result<Truth, Unanswered>) -> Truth {
        match self.all.as_ref().map_err(Clone::clone).and_then(ask) {
            Ok(truth) => truth,
            Err(cause) => Truth::Open(cause),
        }
    }

    /// Whether what an invariant matches is never granted, or always.
    fn invariant(&self, invariant: &Invariant, matched: &Policy) -> Truth {
        self.truth(|all| {
            let matched = self.room.compile([matched])?;
            Ok(match (invariant.policy.effect(), invariant.unless.as_deref()) {
                (Effect::Permit, _) => self.room.implies(&matched, all),
                (Effect::Forbid, None) => self.room.disjoint(&matched, all),
                (Effect::Forbid, Some(asked)) => self.room.disjoint(&matched, &self.without_asking(asked)?),
            })
        })
    }

    /// The policies with whatever grants and asks for this turned into a `forbid`: they then grant exactly what is
    /// granted without any grant that asks for it. What a request needs is the union over all grants that it fulfils,
    /// so one that asks is enough.
    fn without_asking(&self, asked: &str) -> Result<Compiled, Unanswered> {
        let turned = self.relevant.iter().map(|policy| match (policy.effect(), policy.annotation(asked)) {
            (Effect::Permit, Some(_)) => with_effect(policy, Effect::Forbid),
            (Effect::Permit, None) | (Effect::Forbid, _) => Ok((*policy).clone()),
        });
        self.room.compile(&turned.collect::<Result<Vec<_>, _>>()?)
    }

    /// The policies without the grants that meet a demand, which forbid instead: they grant exactly what is granted and does
    /// not meet it.
    fn without_meeting(&self, meets: impl Fn(&Policy) -> bool) -> Result<Compiled, Unanswered> {
        let turned = self.relevant.iter().map(|policy| {
            let turns = policy.effect() == Effect::Permit && meets(policy);
            if turns { with_effect(policy, Effect::Forbid) } else { Ok((*policy).clone()) }
        });
        self.room.compile(&turned.collect::<Result<Vec<_>, _>>()?)
    }

    /// The grants that meet a demand, beside whatever forbids: they grant exactly what is granted and meets it.
    fn meeting(&self, meets: impl Fn(&Policy) -> bool) -> Result<Compiled, Unanswered> {
        let kept = self.relevant.iter().copied();
        self.room.compile(kept.filter(|policy| policy.effect() == Effect::Forbid || meets(policy)))
    }

    fn can_apply(&self, matched: &Policy) -> bool {
        matches!(self.grants_nothing([matched]), Truth::Fails(_))
    }

    /// Whether nothing is granted by these alone.
    fn grants_nothing<'p>(&self, policies: impl IntoIterator<Item = &'p Policy>) -> Truth {
        self.truth(|_| Ok(self.room.implies(&self.room.compile(policies)?, &self.room.compile([])?)))
    }

    /// Whether all is decided as it is without this policy.
    fn is_spare(&self, policy: &Policy) -> Truth {
        self.truth(|all| {
            let others = self.relevant.iter().copied().filter(|other| other.id() != policy.id());
            let others = self.room.compile(others)?;
            Ok(match policy.effect() {
                Effect::Permit => self.room.implies(all, &others),
                Effect::Forbid => self.room.implies(&others, all),
            })
        })
    }

    fn never_applies(&self, policy: &Policy) -> Truth {
        match with_effect(policy, Effect::Permit) {
            Ok(matched) => self.grants_nothing([&matched]),
            Err(cause) => Truth::Open(cause),
        }
    }

    /// Whether a `forbid` takes back all that a policy grants.
    fn never_grants(&self, policy: &Policy) -> Truth {
        let forbids = self.relevant.iter().copied().filter(|other| other.effect() == Effect::Forbid);
        self.grants_nothing(forbids.chain([policy]))
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
pub(crate) mod tests;
