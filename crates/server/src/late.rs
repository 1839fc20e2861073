//! What a gate may have entered into the log late.

use portcullis_protocol::request::{Refused, parse_strict};
use portcullis_protocol::wire::LateCall;
use portcullis_protocol::{AgentId, Keeper, Limits, ReasonCode, Value, canonical};

/// Entries that a gate may send at once.
const MOST_LATE: usize = 64;
/// Longest of them, in bytes of JSON: its record must fit into one.
const LONGEST_LATE: usize = 32 * 1024;

/// Reads the body of a call. Each entry is read as strictly as a request is: a list of them is the only list in it.
pub(crate) fn parse_late(body: &[u8]) -> Result<LateCall, Refused> {
    let malformed = |detail: &str| Refused { code: ReasonCode::RequestMalformed, detail: detail.to_owned() };
    let value = Value::parse(body, Limits { bytes: body.len(), ..Limits::RECORD })?;
    let fields = value.as_object().ok_or_else(|| malformed("not an object"))?;
    if let Some(other) = fields.keys().find(|name| *name != "entries") {
        let detail = format!("unknown field `{other}`");
        return Err(Refused { code: ReasonCode::RequestUnknownField, detail });
    }
    let Some(Value::Array(entries)) = fields.get("entries") else {
        return Err(malformed("`entries` is no list"));
    };
    let read = |entry: &Value| {
        let bytes = canonical::to_bytes(entry).map_err(|error| malformed(&error.to_string()))?;
        parse_strict(&bytes)
    };
    Ok(LateCall { entries: entries.iter().map(read).collect::<Result<_, _>>()? })
}

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
