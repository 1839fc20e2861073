//! The schemas of pinned tools, compiled once each from the definition whose digest is the pin: the very text that the gate hashed,
//! and no other listing. Conversations of one process share them. They are compiled, and arguments are held against them, apart from
//! the thread that all conversations share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portcullis_protocol::{
    AgentId, Digest, Fit, ToolDefinition, ToolName, ToolPins, ToolSchema, ToolSeen, Unusable,
};
use tokio::task::spawn_blocking;

use crate::simulated::Outputs;

/// How large the patterns of all pinned tools of a server may be together, in bytes, once they are compiled.
const PATTERNS_SIZE: usize = 8 * 1024 * 1024;

type Compiled = Result<ToolSchema, Unusable>;

/// What some conversation of this process has compiled, with as much room as a tool may have. The same definition compiles to the same.
static COMPILED: Mutex<BTreeMap<Digest, Weak<Compiled>>> = Mutex::new(BTreeMap::new());
/// Where each agent's arguments are looked at, one call at a time and in order, whatever conversations it has.
static LANES: Mutex<BTreeMap<AgentId, Weak<Lane>>> = Mutex::new(BTreeMap::new());

type Lane = tokio::sync::Mutex<()>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lane_of(agent: &AgentId) -> Arc<Lane> {
    let mut lanes = locked(&LANES);
    if let Some(lane) = lanes.get(agent).and_then(Weak::upgrade) {
        return lane;
    }
    let lane = Arc::new(Lane::new(()));
    lanes.retain(|_, lane| lane.strong_count() > 0);
    lanes.insert(agent.clone(), Arc::downgrade(&lane));
    lane
}

/// The schema of a definition, from whoever has it. Takes long.
fn compiled(tool: &ToolDefinition, digest: Digest, room: usize) -> Arc<Compiled> {
    let shared = locked(&COMPILED).get(&digest).and_then(Weak::upgrade);
    let fits = |schema: &Compiled| schema.as_ref().map_or(0, ToolSchema::patterns_size) <= room;
    if let Some(schema) = shared.filter(|schema| fits(schema)) {
        return schema;
    }
    let schema = Arc::new(ToolSchema::of_within(tool, room));
    if room == PATTERNS_SIZE || schema.is_ok() {
        let mut all = locked(&COMPILED);
        all.retain(|_, schema| schema.strong_count() > 0);
        all.insert(digest, Arc::downgrade(&schema));
    }
    schema
}

/// By the digests of the definitions.
#[derive(Default)]
pub(crate) struct Schemas {
    inner: Arc<Mutex<State>>,
    /// What they say of their results, where that is kept.
    pub(crate) outputs: Outputs,
}

#[derive(Default)]
struct State {
    /// The pins of the server.
    wanted: BTreeSet<Digest>,
    known: BTreeMap<Digest, Arc<Compiled>>,
}

impl State {
    /// What the patterns of one more tool may take, if its definition is pinned and not known yet.
    fn room_for(&self, digest: &Digest) -> Option<usize> {
        if !self.wanted.contains(digest) || self.known.contains_key(digest) {
            return None;
        }
        let known = self.known.values().filter_map(|schema| schema.as_ref().as_ref().ok());
        let taken = known.fold(0, |taken: usize, schema| taken.saturating_add(schema.patterns_size()));
        Some(PATTERNS_SIZE.saturating_sub(taken))
    }
}

impl Schemas {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.inner)
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
    pub(crate) async fn hear(&self, tool: &ToolDefinition) {
        self.outputs.hear(tool);
        let digest = tool.digest();
        let Some(room) = self.state().room_for(&digest) else { return };
        let (tool, state) = (tool.clone(), Arc::clone(&self.inner));
        // What was compiled is kept, whether or not it is waited for that long. What was not is not known.
        let compiling = spawn_blocking(move || {
            let schema = compiled(&tool, digest, room);
            locked(&state).known.insert(digest, schema);
        });
        drop(compiling.await);
    }

    /// How an agent's arguments, as they are sent, fit the definition of a tool that is defined as it is pinned; `None` of any other.
    pub(crate) async fn fit(
        &self,
        (tool, seen): (&ToolName, ToolSeen),
        pins: &ToolPins,
        (agent, arguments): (&AgentId, &str),
    ) -> Option<Fit> {
        let pin = pins.tools.get(tool).filter(|pin| seen == ToolSeen::Defined(**pin))?;
        let schema = self.state().known.get(pin).cloned();
        let Some(schema) = schema else {
            return Some(Fit::Unchecked("the gate has not read the tool's definition yet".to_owned()));
        };
        // Who does not wait any more has its place taken until this is done: an agent never has two.
        let (place, arguments) = (lane_of(agent).lock_owned().await, arguments.to_owned());
        let looked = spawn_blocking(move || match &*schema {
            Ok(schema) => (schema.check_text(&arguments), place),
            Err(unusable) => (Fit::Unchecked(unusable.to_string()), place),
        });
        Some(match looked.await {
            Ok((fit, _place)) => fit,
            Err(_) => Fit::Unchecked("the arguments were not looked at to the end".to_owned()),
        })
    }
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
