//! Agents' labels, for those who ask policy outside the writer's thread. They may be older than what is settled by: the
//! writer looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_arbiter::{Labelled, labels_at};
use portcullis_protocol::{AgentId, LabelName, Millis};

/// The labels as of a sealed batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<BTreeMap<AgentId, Labelled>>>);

impl Published {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<AgentId, Labelled>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) // tidy: allow each step leaves it whole
    }

    pub(crate) fn publish(&self, labels: &BTreeMap<AgentId, Labelled>) {
        self.with(|published| published.clone_from(labels));
    }

    pub(crate) fn of(&self, agent: &AgentId, now: Millis) -> BTreeSet<LabelName> {
        self.with(|published| published.get(agent).map_or_else(BTreeSet::new, |own| labels_at(own, now)))
    }
}
