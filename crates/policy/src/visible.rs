//! Which tools an agent is shown: those whose call some grant could permit, as far as that is known before there is a call.
//!
//! Of a tool's call the agent, the action and the resource are known without its arguments, and they are all that a scope is
//! about. Conditions are not evaluated: whoever may be granted something under some condition is shown it. Nothing is
//! permitted by that.

use std::collections::BTreeSet;

use cedar_policy::Entities;
use portcullis_protocol::{AgentId, ToolName, UNKNOWN};

use crate::compile::Compiled;
use crate::slices::Who;
use crate::{Bundle, Gathered};

impl Bundle {
    /// Those of a server's tools for which a grant to this agent is in scope, and no `forbid` without conditions. `None` if
    /// the bundle has sources of facts and this is not what they gave for it: then nothing is known.
    ///
    /// A tool that has no surface is none of them, nor is one whose surface lacks the action of its calls. Whether the agent is
    /// known, and may act for whom it says, is not asked here.
    #[must_use]
    pub fn visible(
        &self,
        agent: &AgentId,
        tools: &BTreeSet<ToolName>,
        facts: Option<&Gathered>,
    ) -> Option<BTreeSet<ToolName>> {
        let entities = self.compiled.entities_with(&self.reference.digest, facts)?;
        let could = |tool: &&ToolName| self.could_be_called(agent, tool, entities) == Some(true);
        Some(tools.iter().filter(could).cloned().collect())
    }

    /// `None` if no call of it could be asked about.
    fn could_be_called(&self, agent: &AgentId, tool: &ToolName, entities: &Entities) -> Option<bool> {
        let (server, name) = tool.parts();
        let surface = self.surfaces().surface_of_tool(server, name)?;
        let spec = self.surfaces().surfaces.get(&surface)?;
        let declared = |action| spec.actions.contains(&action).then_some(action);
        let action = spec.action_of_calls(&surface).map_or(None, declared)?;
        // Gates run nothing on it.
        if surface.as_str().ends_with(UNKNOWN) {
            return None;
        }
        let Compiled { types, slices, .. } = &*self.compiled;
        let resource = types.resource(&spec.resource_of_calls(&surface))?;
        let (principal, action) = (types.agent(agent.as_str()), types.action(action.as_str()));
        // Of what is not there no policy decides anything.
        [&principal, &action, &resource].into_iter().all(|uid| entities.get(uid).is_some()).then(|| {
            let who = Who { principal: &principal, action: &action, resource: &resource };
            slices.could_grant(who, entities)
        })
    }
}

#[cfg(test)]
#[path = "visible_tests.rs"]
mod tests;
