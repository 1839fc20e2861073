//! Which requests another version of a bundle would grant that the one before it did not, and the other way round: asked
//! of the solver for each request environment, with a request that shows it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Policy, RequestEnv, Schema};
use portcullis_protocol::{BundleDigest, PolicyId};
use serde::Serialize;
use serde_json::Value;

use super::demand::{Demand, Weaker, asked_of};
use super::solver::{Known, Unanswered};
use super::theorem::{Compiled, Counterexample, Room, Truth};
use super::{Place, Prover, Work, id_of, name, symbolic_compiler};
use crate::annotations::Annotations;
use crate::compile::Compiled as Content;
use crate::invariants::ASKING;

/// In which direction a bundle moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The new policies grant what the old ones did not.
    MorePermissive,
    /// The old policies granted what the new ones do not.
    LessPermissive,
}

/// What is known of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Shown {
    /// There is such a request.
    Example {
        /// This one, for instance.
        counterexample: Box<Counterexample>,
    },
    /// Nobody knows whether there is one.
    NotKnown {
        /// Why not.
        cause: String,
    },
}

/// A request environment in which the bundle moved, or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Principal's type, action, resource's type.
    pub environment: String,
    /// Where to.
    pub direction: Direction,
    /// What the grant does not ask for: an annotation such as `approval_roles`. `None`: it is about grants as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<&'static str>,
    /// What one of the bundles demands of requests that both grant, and the other does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weaker: Option<Box<Weaker>>,
    /// What is known.
    #[serde(flatten)]
    pub shown: Shown,
}

/// How the policies of two bundles differ in what they grant. An environment without a shift grants the same, proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The digest of the bundle before.
    pub old: BundleDigest,
    /// The digest of the bundle after.
    pub new: BundleDigest,
    /// What made questions of policies.
    pub compiler: &'static str,
    /// What answered, as it names itself; `None` if there was none to believe.
    pub solver: Option<String>,
    /// The request environments of both.
    pub environments: Vec<String>,
    /// Where they differ, or may.
    pub shifts: Vec<Shift>,
    /// Policies that are not proved never to raise an error. What they err on is refused, and not compared.
    pub may_err: Vec<PolicyId>,
}

impl Comparison {
    /// Whether every environment was settled, and no policy may err.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let open = |shift: &Shift| matches!(shift.shown, Shown::NotKnown { .. });
        self.solver.is_some() && self.may_err.is_empty() && !self.shifts.iter().any(open)
    }
}

/// One of two bundles.
pub(crate) struct Side<'a> {
    pub(crate) content: &'a Content,
    pub(crate) digest: BundleDigest,
    /// The schema in its JSON form.
    pub(crate) schema: Value,
}

impl Side<'_> {
    fn annotations(&self, policy: &Policy) -> Option<&Annotations> {
        self.content.annotations.get(&id_of(policy)?)
    }
}

pub(crate) fn compare(old: &Side<'_>, new: &Side<'_>, prover: &Prover<'_>) -> Comparison {
    let (before, after) = (envs(&old.content.schema), envs(&new.content.schema));
    let mut environments: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    environments.sort();
    environments.dedup();
    let solver = Known::meet(prover.solver, prover.limits, prover.stop);
    let mut comparison = Comparison {
        old: old.digest,
        new: new.digest,
        compiler: symbolic_compiler(),
        solver: solver.as_ref().map_or(None, |known| Some(known.version.clone())),
        environments,
        shifts: Vec::new(),
        may_err: Vec::new(),
    };
    let Ok(solver) = &solver.map_err(|cause| comparison.shifts = unknown(&comparison.environments, &cause))
    else {
        return comparison;
    };
    let pair = Pair { old, new, solver };
    let total = u64::try_from(comparison.environments.len()).map_or(u64::MAX, |total| total);
    for (done, environment) in (0..).zip(&comparison.environments) {
        (prover.progress)(done, total);
        let shifts = match (before.get(environment), after.get(environment)) {
            (Some(_), Some(env)) => pair.both(environment, env),
            (Some(env), None) => pair.one(environment, old, env, Direction::LessPermissive),
            (None, Some(env)) => pair.one(environment, new, env, Direction::MorePermissive),
            (None, None) => Vec::new(),
        };
        comparison.shifts.extend(shifts);
    }
    comparison.may_err =
        [old, new].into_iter().flat_map(|side| Work::new(side.content, solver, prover).may_err()).collect();
    comparison.may_err.sort();
    comparison.may_err.dedup();
    comparison
}

fn envs(schema: &Schema) -> BTreeMap<String, RequestEnv> {
    schema.request_envs().map(|env| (name(&env), env)).collect()
}

fn unknown(environments: &[String], cause: &str) -> Vec<Shift> {
    let both = [Direction::MorePermissive, Direction::LessPermissive];
    let shifts = environments.iter().flat_map(|environment| {
        both.map(|direction| {
            let shown = Shown::NotKnown { cause: cause.to_owned() };
            Shift { environment: environment.clone(), direction, without: None, weaker: None, shown }
        })
    });
    shifts.collect()
}

struct Pair<'a> {
    old: &'a Side<'a>,
    new: &'a Side<'a>,
    solver: &'a Known<'a>,
}

impl<'a> Pair<'a> {
    fn place(&self, side: &'a Side<'a>, schema: &'a Schema, env: &RequestEnv) -> Place<'a> {
        let room = Room { schema, env: env.clone(), solver: self.solver };
        let policies: Vec<&Policy> = side.content.slices.policies().into_values().collect();
        Place::new(room, &policies)
    }

    /// An environment that only one of them has: all that is granted there is a move.
    fn one(
        &self,
        environment: &str,
        side: &'a Side<'a>,
        env: &RequestEnv,
        direction: Direction,
    ) -> Vec<Shift> {
        let place = self.place(side, &side.content.schema, env);
        let truth = place.truth(|all| Ok(place.room.implies(all, &place.room.compile([])?)));
        shown(truth).map(|shown| shift(environment, direction, None, shown)).into_iter().collect()
    }

    /// An environment that both have. Where the schema gives it another shape, each direction is asked about requests of
    /// the shape that the granting bundle knows: an example is one, and that there is none says nothing of requests that
    /// only that bundle admits.
    fn both(&self, environment: &str, env: &RequestEnv) -> Vec<Shift> {
        let reshaped = shape(&self.old.schema, env) != shape(&self.new.schema, env);
        let directions = [
            (Direction::MorePermissive, self.new, self.old),
            (Direction::LessPermissive, self.old, self.new),
        ];
        let mut shifts = Vec::new();
        for (direction, grants, refuses) in directions {
            let schema = &grants.content.schema;
            let (first, second) = (self.place(grants, schema, env), self.place(refuses, schema, env));
            let granted = outrun(&first, &second, None);
            let granted = match &granted {
                Truth::Holds if reshaped => Truth::Open(
                    "the schema gives this environment another shape; no request shows a move, and what only one shape admits is \
                     refused by the other bundle"
                        .to_owned(),
                ),
                Truth::Holds | Truth::Fails(_) | Truth::Open(_) => granted,
            };
            shifts.extend(shown(granted).map(|shown| shift(environment, direction, None, shown)));
            let asked = ASKING.into_iter().filter(|asked| first.asks(asked) || second.asks(asked));
            for asked in asked {
                let truth = outrun(&first, &second, Some(asked));
                shifts.extend(shown(truth).map(|shown| shift(environment, direction, Some(asked), shown)));
            }
            let demanding = Demanding { first: (grants, &first), second: (refuses, &second), direction };
            shifts.extend(demanding.shifts(environment));
        }
        shifts
    }
}

/// Of requests that both bundles grant: what the second demands, and the first, in whose direction it goes, does not.
struct Demanding<'a> {
    first: (&'a Side<'a>, &'a Place<'a>),
    second: (&'a Side<'a>, &'a Place<'a>),
    direction: Direction,
}

impl Demanding<'_> {
    /// The demands of the second. Where the first asks for nothing of the kind at all, that was said already.
    fn demands(&self) -> BTreeSet<Demand> {
        let (side, place) = self.second;
        let said = place.relevant.iter().filter_map(|policy| side.annotations(policy));
        let demands = said.flat_map(Demand::of);
        let asks = |demand: &Demand| demand.annotation().is_none_or(|asked| self.first.1.asks(asked));
        demands.filter(asks).collect()
    }

    fn shifts(&self, environment: &str) -> Vec<Shift> {
        let demands = self.demands().into_iter();
        demands.filter_map(|demand| self.weaker(environment, &demand)).collect()
    }

    fn weaker(&self, environment: &str, demand: &Demand) -> Option<Shift> {
        let ((granting, first), (asking, second)) = (self.first, self.second);
        let meets = |side: &Side<'_>, policy: &Policy| {
            side.annotations(policy).is_some_and(|said| demand.is_met_by(said))
        };
        let mut asked = None;
        let truth = first.without_meeting(|policy| meets(granting, policy)).and_then(|less| {
            let more = second.meeting(|policy| meets(asking, policy))?;
            let sets =
                (first.all.as_ref().map_err(Clone::clone)?, second.all.as_ref().map_err(Clone::clone)?);
            Ok(first.room.disjoint_noting(&less, &more, |example| {
                let of = |side: &Side<'_>, all: &Compiled| {
                    asked_of(all.policies(), &side.content.annotations, example)
                };
                asked = Some((of(granting, sets.0), of(asking, sets.1)));
            }))
        });
        let truth = match truth {
            Ok(truth) => truth,
            Err(cause) => Truth::Open(cause),
        };
        let shown = shown(truth)?;
        let (one, other) = asked.unwrap_or_default(); // tidy: allow without an example nothing is asked of any
        let (old, new) = match self.direction {
            Direction::MorePermissive => (other, one),
            Direction::LessPermissive => (one, other),
        };
        let given = demand.annotation().is_none();
        let weaker = Some(Box::new(Weaker { demand: demand.to_string(), given, old, new }));
        Some(Shift { weaker, ..shift(environment, self.direction, None, shown) })
    }
}

/// Whether all that the first grants, without asking for something, the second grants likewise.
fn outrun(first: &Place<'_>, second: &Place<'_>, asked: Option<&str>) -> Truth {
    let granted = |place: &Place<'_>| -> Result<Compiled, Unanswered> {
        match asked {
            None => place.all.clone(),
            Some(asked) => place.without_asking(asked),
        }
    };
    match granted(first).and_then(|one| granted(second).map(|other| first.room.implies(&one, &other))) {
        Ok(truth) => truth,
        Err(cause) => Truth::Open(cause),
    }
}

fn shown(truth: Truth) -> Option<Shown> {
    match truth {
        Truth::Holds => None,
        Truth::Fails(counterexample) => Some(Shown::Example { counterexample }),
        Truth::Open(cause) => Some(Shown::NotKnown { cause }),
    }
}

fn shift(environment: &str, direction: Direction, without: Option<&'static str>, shown: Shown) -> Shift {
    Shift { environment: environment.to_owned(), direction, without, weaker: None, shown }
}

/// Something that a schema declares: its kind, namespace and name. An action's name may be any text, so that these are not one.
type Declared<'a> = (&'static str, &'a str, &'a str);

/// All of a schema that can matter in an environment, in whatever namespace: the entity types, its action, and whatever common
/// types and groups of actions these name, directly or not. Rather too much than too little: a name counts in every namespace.
fn shape<'a>(schema: &'a Value, env: &RequestEnv) -> BTreeMap<Declared<'a>, Value> {
    let own = env.action();
    let mut shape = BTreeMap::new();
    shape.extend(
        declared(schema, "entityTypes").map(|(space, name, kind)| (("entity", space, name), kind.clone())),
    );
    let named_own = declared(schema, "actions").filter(|(_, id, _)| *id == own.id().unescaped());
    shape.extend(named_own.map(|(space, id, action)| (("action", space, id), action.clone())));
    loop {
        let mut named = BTreeSet::new();
        shape.values().for_each(|value| texts(value, &mut named));
        // A type is named alone or behind its namespace.
        let is_named =
            |name: &str| named.iter().any(|text| text == name || text.rsplit("::").next() == Some(name));
        let before = shape.len();
        let common = declared(schema, "commonTypes").filter(|(_, name, _)| is_named(name));
        shape.extend(common.map(|(space, name, kind)| (("type", space, name), kind.clone())));
        // An action's id is a text of its own, whatever it holds.
        let groups = declared(schema, "actions").filter(|(_, id, _)| named.contains(*id));
        shape.extend(groups.map(|(space, id, group)| {
            (("group", space, id), group.get("memberOf").cloned().into_iter().collect())
        }));
        if shape.len() == before {
            return shape;
        }
    }
}

/// What a schema declares of one kind: each with its namespace and name.
fn declared<'a>(schema: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let spaces = schema.as_object().into_iter().flatten();
    spaces.flat_map(move |(space, declared)| {
        let declared = declared.get(kind).and_then(Value::as_object).into_iter().flatten();
        declared.map(move |(name, value)| (space.as_str(), name.as_str(), value))
    })
}

fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
