//! What is asked of the solver about one request environment, and what its answers are worth.

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Entities, Policy, PolicySet, Request, RequestEnv, Schema,
};
use cedar_policy_symcc::err::{Error, SolverError};
use cedar_policy_symcc::solver::{Decision as Sat, DecisionWithModel, Solver};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env, ResetMode};
use serde::Serialize;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::solver::{Known, Unanswered};

/// A request, and entities, for which something does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// Who asks, as Cedar writes it.
    pub principal: String,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The context, as Cedar's JSON.
    pub context: serde_json::Value,
    /// The entities, as Cedar's JSON: only those that matter.
    pub entities: serde_json::Value,
}

/// What is known of a statement about all requests of an environment and all entities that fit the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It holds of all.
    Holds,
    /// It does not hold of this one, and Cedar's own authorizer says so too.
    Fails(Box<Counterexample>),
    /// Nobody knows.
    Open(String),
}

/// Policies, as they are and as the symbolic compiler has them for one environment.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    set: PolicySet,
    compiled: CompiledPolicySet,
}

/// One request environment.
pub(crate) struct Room<'a> {
    pub(super) schema: &'a Schema,
    pub(super) env: RequestEnv,
    pub(super) solver: &'a Known<'a>,
}

/// Never answers, so that what is had is had without a solver.
struct Silent(Vec<u8>);

impl Solver for Silent {
    fn smtlib_input(&mut self) -> &mut (dyn tokio::io::AsyncWrite + Unpin + Send) {
        &mut self.0
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        Ok(())
    }

    async fn check_sat(&mut self) -> Result<Sat, SolverError> {
        Ok(Sat::Unknown)
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        Ok(DecisionWithModel::Unknown)
    }
}

/// What a future comes to that never waits: the solver is asked while it is polled.
fn now<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Unanswered> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(|error| told(&error)),
        Poll::Pending => Err("the question was not put".to_owned()),
    }
}

fn told(error: &Error) -> Unanswered {
    if let Error::SolverUnknown = error { "the solver does not know".to_owned() } else { error.to_string() }
}

impl Room<'_> {
    /// As people read it: `Agent, Action::"charge", Account`.
    pub(crate) fn name(&self) -> String {
        format!("{}, {}, {}", self.env.principal(), self.env.action(), self.env.resource())
    }

    fn compiler<S: Solver>(solver: S) -> Result<CedarSymCompiler<S>, Unanswered> {
        let compiler = CedarSymCompiler::new(solver).map_err(|error| told(&error))?;
        Ok(compiler.with_reset_mode(ResetMode::Comment))
    }

    /// Whether a policy can matter here at all. In doubt it can.
    pub(crate) fn concerns(&self, policy: &Policy) -> bool {
        self.is_about_the_action(policy) && self.can_match(policy)
    }

    /// By its scope alone: a policy of another version may name an action that this schema does not have.
    fn is_about_the_action(&self, policy: &Policy) -> bool {
        let own = self.env.action();
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == *own,
            ActionConstraint::In(uids) => self.schema.action_entities().map_or(true, |actions| {
                let above = actions.ancestors(own).into_iter().flatten();
                above.chain([own]).any(|uid| uids.contains(uid))
            }),
        }
    }

    fn can_match(&self, policy: &Policy) -> bool {
        let never = CompiledPolicy::compile(policy, &self.env, self.schema)
            .map_err(|error| told(&error))
            .and_then(|compiled| now(Self::compiler(Silent(Vec::new()))?.check_never_matches_opt(&compiled)));
        never != Ok(true)
    }

    pub(crate) fn compile<'p>(
        &self,
        policies: impl IntoIterator<Item = &'p Policy>,
    ) -> Result<Compiled, Unanswered> {
        let set =
            PolicySet::from_policies(policies.into_iter().cloned()).map_err(|error| error.to_string())?;
        let compiled =
            CompiledPolicySet::compile(&set, &self.env, self.schema).map_err(|error| told(&error))?;
        Ok(Compiled { set, compiled })
    }

    /// That no request makes this policy raise an error.
    pub(crate) fn never_errs(&self, policy: &Policy) -> Truth {
        let compiled = match CompiledPolicy::compile(policy, &self.env, self.schema) {
            Ok(compiled) => compiled,
            Err(error) => return Truth::Open(told(&error)),
        };
        let found = Self::compiler(self.solver.ask())
            .and_then(|mut asked| now(asked.check_never_errors_with_counterexample_opt(&compiled)));
        let set = PolicySet::from_policies([policy.clone()]);
        self.weigh(found, |example| {
            set.as_ref().is_ok_and(|set| {
                let response = Authorizer::new().is_authorized(&example.request, set, &example.entities);
                response.diagnostics().errors().next().is_some()
            })
        })
    }

    /// That whatever the first policies grant, the second grant too.
    pub(crate) fn implies(&self, first: &Compiled, second: &Compiled) -> Truth {
        let found = Self::compiler(self.solver.ask()).and_then(|mut asked| {
            now(asked.check_implies_with_counterexample_opt(&first.compiled, &second.compiled))
        });
        self.weigh(found, |example| first.grants(example) && !second.grants(example))
    }

    /// That nothing is granted by both.
    pub(crate) fn disjoint(&self, first: &Compiled, second: &Compiled) -> Truth {
        self.disjoint_noting(first, second, |_| {})
    }

    /// The same; an example to the contrary is shown to `note` first.
    pub(crate) fn disjoint_noting(
        &self,
        first: &Compiled,
        second: &Compiled,
        note: impl FnOnce(&Env),
    ) -> Truth {
        let found = Self::compiler(self.solver.ask()).and_then(|mut asked| {
            now(asked.check_disjoint_with_counterexample_opt(&first.compiled, &second.compiled))
        });
        self.weigh(found, |example| {
            let both = first.grants(example) && second.grants(example);
            note(example);
            both
        })
    }

    /// An example is one only if Cedar's authorizer agrees.
    fn weigh(&self, found: Result<Option<Env>, Unanswered>, agrees: impl FnOnce(&Env) -> bool) -> Truth {
        match found {
            Ok(None) => Truth::Holds,
            Ok(Some(example)) if agrees(&example) => match shown(&example) {
                Ok(example) => Truth::Fails(Box::new(example)),
                Err(cause) => Truth::Open(cause),
            },
            Ok(Some(_)) => Truth::Open(format!(
                "the solver's example in {} is none by the policy engine's own evaluation",
                self.name()
            )),
            Err(cause) => Truth::Open(cause),
        }
    }
}

impl Compiled {
    /// The policies as they are.
    pub(super) const fn policies(&self) -> &PolicySet {
        &self.set
    }

    fn grants(&self, example: &Env) -> bool {
        let response = Authorizer::new().is_authorized(&example.request, &self.set, &example.entities);
        response.decision() == Decision::Allow
    }
}

fn shown(example: &Env) -> Result<Counterexample, String> {
    let Env { request, entities } = example;
    let unknown = || "the solver's example is not whole".to_owned();
    let named = |uid: Option<&cedar_policy::EntityUid>| uid.map(ToString::to_string).ok_or_else(unknown);
    Ok(Counterexample {
        principal: named(Request::principal(request))?,
        action: named(request.action())?,
        resource: named(request.resource())?,
        context: request.context().ok_or_else(unknown)?.to_json_value().map_err(|error| error.to_string())?,
        entities: told_entities(entities)?,
    })
}

fn told_entities(entities: &Entities) -> Result<serde_json::Value, String> {
    let value = entities.to_json_value().map_err(|error| error.to_string())?;
    // Actions are the schema's, and always there.
    let serde_json::Value::Array(mut items) = value else { return Ok(value) };
    items.retain(|item| item.pointer("/uid/type") != Some(&"Action".into()));
    items.sort_by_cached_key(ToString::to_string);
    Ok(items.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use cedar_policy::{Entities, Request, Schema};
    use cedar_policy_symcc::Env;

    use super::super::solver::{Known, SolverLimits};
    use super::super::tests::cvc5;
    use super::{Room, Truth};

    /// Whoever makes questions of policies may be as wrong as whoever answers them.
    #[test]
    fn an_example_that_cedar_does_not_confirm_was_shown_as_one() {
        let text = "entity Agent; entity Surface;\n\
                    action \"a\" appliesTo { principal: Agent, resource: Surface, context: {} };";
        let (schema, _) = Schema::from_cedarschema_str(text).unwrap();
        let (program, stop) = (cvc5(), AtomicBool::new(false));
        let solver = Known::meet(&program, SolverLimits::default(), &stop).unwrap();
        let env = schema.request_envs().next().unwrap();
        let room = Room { schema: &schema, env, solver: &solver };
        let example = || {
            let [principal, action, resource] =
                ["Agent::\"x\"", "Action::\"a\"", "Surface::\"y\""].map(|uid| uid.parse().unwrap());
            let context = cedar_policy::Context::empty();
            let request = Request::new(principal, action, resource, context, None).unwrap();
            Ok(Some(Env { request, entities: Entities::empty() }))
        };
        assert!(matches!(room.weigh(example(), |_| true), Truth::Fails(_)));
        let Truth::Open(cause) = room.weigh(example(), |_| false) else { panic!("it is shown") };
        assert!(cause.ends_with("is none by the policy engine's own evaluation"), "{cause}");
        assert_eq!(room.weigh(Ok(None), |_| false), Truth::Holds);
        assert_eq!(room.weigh(Err("no".to_owned()), |_| true), Truth::Open("no".to_owned()));
    }
}
