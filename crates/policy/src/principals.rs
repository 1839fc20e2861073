//! For whom agents act: which entities those are, and what policies see of it.

use std::collections::BTreeMap;

use cedar_policy::{Entities, EntityTypeName, EntityUid};
use portcullis_protocol::{AgentId, PrincipalId, skeleton};
use serde::Deserialize;

use crate::compile::Compiled;
use crate::entities::{ACTION, AGENT, SURFACE, Types};
use crate::error::{BundleError, Fault};
use crate::roster::Roster;
use crate::{Bundle, ENTITIES_FILE, Gathered, MANIFEST_FILE};

/// The context key under which policies see for whom the agent acts. No surface declares it: the arbiter gives it.
pub(crate) const CONTEXT_KEY: &str = "acts_for";

/// `[principals]`: of which type the people are for whom agents act. Other agents need no mention.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrincipalsText {
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// Whom a request is counted for: whom its agent acts for, else the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Agent(String),
    Person(String),
}

impl Whom {
    /// What tells an agent from a person of the same name.
    pub(crate) const fn parts(&self) -> [&str; 2] {
        match self {
            Self::Agent(name) => ["agent", name.as_str()],
            Self::Person(name) => ["person", name.as_str()],
        }
    }
}

/// The type of people, of those that the schema has.
pub(crate) fn people(
    kind: &str,
    all: &BTreeMap<String, EntityTypeName>,
) -> Result<EntityTypeName, BundleError> {
    let refused = |message: String| BundleError::corrupt(MANIFEST_FILE, Fault::Principals { message });
    if [AGENT, SURFACE, ACTION].contains(&kind) {
        return Err(refused(format!("`{kind}` is no type of people; agents are principals without mention")));
    }
    all.get(kind).cloned().ok_or_else(|| refused(format!("the schema has no entity type `{kind}`")))
}

impl Types {
    /// The entity for which somebody acts who names it: the agent of that name, else the person. `None` if the entities
    /// hold neither; they never hold both.
    pub(crate) fn principal(&self, name: &PrincipalId, entities: &Entities) -> Option<EntityUid> {
        let agent = Some(self.agent(name.as_str()));
        [agent, self.person(name.as_str())].into_iter().flatten().find(|uid| entities.get(uid).is_some())
    }
}

impl Compiled {
    /// Whom a request is counted for; `None` if the entities do not hold whom it names.
    pub(crate) fn whom(
        &self,
        agent: &AgentId,
        acts_for: Option<&PrincipalId>,
        entities: &Entities,
    ) -> Option<Whom> {
        let Some(named) = acts_for else { return Some(Whom::Agent(agent.to_string())) };
        let uid = self.types.principal(named, entities)?;
        let is_agent = self.types.is_agent(&uid);
        Some(if is_agent { Whom::Agent(named.to_string()) } else { Whom::Person(named.to_string()) })
    }
}

impl Bundle {
    /// Whether the entities hold whom an agent acts for, as an agent or as a person of the type that `[principals]` names;
    /// `None` if sources of facts would have to say, and these do not.
    #[must_use]
    pub fn knows_principal(&self, principal: &PrincipalId, facts: Option<&Gathered>) -> Option<bool> {
        self.content().knows_principal(principal, facts)
    }
}

/// Refuses a person who could be taken for an agent, and one who looks like somebody else of the roster: whoever acts for
/// them could approve what it asks for. One of the same name in the roster is the same person.
pub(crate) fn refuse_namesakes(
    types: &Types,
    entities: &Entities,
    (agents, roster): (&[String], Option<&Roster>),
) -> Result<(), BundleError> {
    let looks: BTreeMap<String, &String> = agents.iter().map(|agent| (skeleton(agent), agent)).collect();
    let people = roster.into_iter().flat_map(|roster| roster.people().keys());
    let roster: BTreeMap<String, &str> = people.map(|id| (skeleton(id.as_str()), id.as_str())).collect();
    for person in types.people(entities) {
        let look = skeleton(&person);
        if let Some(agent) = looks.get(&look) {
            let agent = (*agent).clone();
            return Err(BundleError::corrupt(ENTITIES_FILE, Fault::PersonAgent { person, agent }));
        }
        if let Some(other) = roster.get(&look).filter(|other| **other != person) {
            let other = (*other).to_owned();
            return Err(BundleError::corrupt(ENTITIES_FILE, Fault::LookAlike { person, other }));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "principals_tests.rs"]
pub(crate) mod tests;
