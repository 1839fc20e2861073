//! The schemas of pinned tools, compiled once each from the definition whose digest is the pin: the very text that the gate hashed,
//! and no other listing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::{Digest, Fit, ToolDefinition, ToolName, ToolPins, ToolSchema, ToolSeen, Unusable};

/// By the digests of the definitions.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<State>);

#[derive(Default)]
struct State {
    /// The pins of the server.
    wanted: BTreeSet<Digest>,
    known: BTreeMap<Digest, Arc<Result<ToolSchema, Unusable>>>,
}

impl Schemas {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up which definitions are pinned.
    pub(crate) fn want<'a>(&self, pins: impl Iterator<Item = (&'a str, &'a Digest)>) {
        let mut state = self.state();
        state.wanted = pins.map(|(_, pin)| *pin).collect();
        let State { wanted, known } = &mut *state;
        known.retain(|digest, _| wanted.contains(digest));
    }

    /// Whether the schema of each of these definitions that is pinned is known. One that was heard before it was pinned is not.
    pub(crate) fn know<'a>(&self, mut tools: impl Iterator<Item = &'a ToolSeen>) -> bool {
        let state = self.state();
        tools.all(|seen| match seen {
            ToolSeen::Defined(digest) => !state.wanted.contains(digest) || state.known.contains_key(digest),
            ToolSeen::Ambiguous | ToolSeen::Absent | ToolSeen::Unknown => true,
        })
    }

    /// Takes up a definition that the gate was given by the server, if it is pinned and not known yet.
    pub(crate) fn hear(&self, tool: &ToolDefinition) {
        let digest = tool.digest();
        let is_news = {
            let state = self.state();
            state.wanted.contains(&digest) && !state.known.contains_key(&digest)
        };
        if is_news {
            // Nobody waits for what is known meanwhile.
            let schema = Arc::new(ToolSchema::of(tool));
            self.state().known.insert(digest, schema);
        }
    }

    /// How arguments, as they are sent, fit the definition of a tool that is defined as it is pinned; `None` of any other.
    pub(crate) fn fit(
        &self,
        (tool, seen): (&ToolName, ToolSeen),
        pins: &ToolPins,
        arguments: &str,
    ) -> Option<Fit> {
        let pin = pins.tools.get(tool).filter(|pin| seen == ToolSeen::Defined(**pin))?;
        let schema = self.state().known.get(pin).cloned();
        Some(match schema.as_deref() {
            Some(Ok(schema)) => schema.check_text(arguments),
            Some(Err(unusable)) => Fit::Unchecked(unusable.to_string()),
            None => Fit::Unchecked("the gate has not read the tool's definition yet".to_owned()),
        })
    }
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
