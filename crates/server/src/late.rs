//! What a gate may have entered into the log late.

use portcullis_protocol::wire::LateCall;
use portcullis_protocol::{AgentId, Keeper, ReasonCode};

/// Entries that a gate may send at once.
const MOST_LATE: usize = 64;
/// Longest of them, in bytes of JSON: its record must fit into one.
const LONGEST_LATE: usize = 32 * 1024;

/// Whether these are entries that a gate may have entered as this agent.
pub(crate) fn check_late(call: &LateCall, agent: &AgentId) -> Result<(), ReasonCode> {
    if call.entries.is_empty() || call.entries.len() > MOST_LATE {
        return Err(ReasonCode::RequestInvalidValue);
    }
    for entry in &call.entries {
        let attempted = &entry.attempted;
        if attempted.agent != *agent || !Keeper::Gate.keeps(attempted.reason) {
            return Err(ReasonCode::RequestInvalidValue);
        }
        if serde_json::to_vec(entry).map_or(true, |json| json.len() > LONGEST_LATE) {
            return Err(ReasonCode::RequestTooLarge);
        }
    }
    Ok(())
}
