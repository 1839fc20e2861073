//! Labels: what an agent has come into touch with, as a decision found it and as a PERMIT adds to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{LabelName, Millis};
use crate::verdict::Decision;

/// What a record says of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Those that the agent had or whom it acts for, where policy was to be asked with them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<LabelName>,
    /// Those that this PERMIT gives the agent and whom it acts for, and until when; only of a PERMIT.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<LabelName, Millis>,
}

impl Labels {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { held: BTreeSet::new(), added: BTreeMap::new() }
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.added.is_empty()
    }

    /// Whether they go with a decision made at `time`.
    pub(crate) fn check(&self, decision: Decision, time: Millis) -> Result<(), &'static str> {
        if decision != Decision::Permit && !self.added.is_empty() {
            return Err("a refusal that adds labels");
        }
        if self.added.values().any(|until| *until <= time) {
            return Err("a label that is over before it begins");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_permit_adds_labels_and_none_that_is_over() {
        let added = BTreeMap::from([("untrusted".parse().unwrap(), Millis(10))]);
        let labels = Labels { added, ..Labels::none() };
        assert_eq!(labels.check(Decision::Permit, Millis(9)), Ok(()));
        assert!(labels.check(Decision::Permit, Millis(10)).is_err());
        assert!(labels.check(Decision::Deny, Millis(9)).is_err());
        assert!(labels.check(Decision::Silence, Millis(9)).is_err());
        assert_eq!(Labels::none().check(Decision::Deny, Millis(9)), Ok(()));
    }
}
