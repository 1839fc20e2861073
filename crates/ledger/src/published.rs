//! Agents' labels, for those who ask policy outside the writer's thread. They may be older than what is settled by: the
//! writer looks again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_arbiter::{AllLabels, labels_of};
use portcullis_protocol::{AgentId, LabelName, Millis, PrincipalId};

/// The labels as of a sealed batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<AllLabels>>);

impl Published {
    fn with<T>(&self, work: impl FnOnce(&mut AllLabels) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) // tidy: allow each step leaves it whole
    }

    pub(crate) fn publish(&self, labels: &AllLabels) {
        self.with(|published| published.clone_from(labels));
    }

    pub(crate) fn of(
        &self,
        agent: &AgentId,
        behind: Option<&PrincipalId>,
        now: Millis,
    ) -> BTreeSet<LabelName> {
        self.with(|published| labels_of(published, agent, behind, now))
    }
}
