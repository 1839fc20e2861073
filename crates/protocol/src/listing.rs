//! Lists of tools: which of a server's tools an agent was shown, and which were hidden from it. What is shown is not
//! permitted by that, and what is hidden is decided like anything else when it is called.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AgentId, GateId, Millis, PrincipalId, ServerName, ToolName};
use crate::record::{BundleRef, RecordError};
use crate::sources::Snapshots;

/// Tools that one record is about, at most.
pub const MOST_LISTED: usize = 500;
/// Bytes of their names, together, at most: however they are escaped, a record has room for them.
pub const LONGEST_LISTED: usize = 24 * 1024;

/// A list of a server's tools that was answered, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListingRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was answered; assigned once.
    pub time: Millis,
    /// Who asked.
    pub agent: AgentId,
    /// For whom that acts, if for anybody but itself. Its credential lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<PrincipalId>,
    /// The gate that asked.
    pub gate: GateId,
    /// Which list it is: random, by the gate, so that the record of no other one passes for it.
    pub listing: Digest,
    /// The server, as the gate calls it.
    pub server: ServerName,
    /// The tools for which a grant in scope exists.
    pub shown: BTreeSet<ToolName>,
    /// Those for which there is none.
    pub hidden: BTreeSet<ToolName>,
    /// How many others there are, whose names no bundle can have. They are hidden too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unnamed: u64,
    /// The bundle whose grants these are.
    pub bundle: BundleRef,
    /// What its sources of facts gave.
    #[serde(default, skip_serializing_if = "Snapshots::is_empty")]
    pub sources: Snapshots,
    /// The policy engine and its version.
    pub engine: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether these may be the tools of one server that one record is about.
///
/// # Errors
/// What they are not.
pub fn check_listed<'a>(
    server: &ServerName,
    tools: impl IntoIterator<Item = &'a ToolName>,
) -> Result<(), &'static str> {
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for tool in tools {
        if tool.parts().0 != server.as_str() {
            return Err("a list of one server's tools has another one's");
        }
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(tool.as_str().len());
    }
    if count > MOST_LISTED || bytes > LONGEST_LISTED {
        return Err("a list of more tools than one record is about");
    }
    Ok(())
}

impl ListingRecord {
    /// How many tools were hidden.
    #[must_use]
    pub fn all_hidden(&self) -> u64 {
        u64::try_from(self.hidden.len()).map_or(u64::MAX, |hidden| hidden.saturating_add(self.unnamed))
    }

    /// All tools that were asked about by name.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<ToolName> {
        self.shown.union(&self.hidden).cloned().collect()
    }

    pub(crate) fn check(&self) -> Result<(), RecordError> {
        if !self.shown.is_disjoint(&self.hidden) {
            return Err(RecordError::Contradiction("a tool that is shown and hidden"));
        }
        check_listed(&self.server, self.shown.iter().chain(&self.hidden))
            .map_err(RecordError::Contradiction)?;
        if self.sources.values().any(|source| source.is_stale_at(self.time)) {
            return Err(RecordError::Contradiction("a list by stale facts"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
pub(crate) mod tests;
