//! The bodies of the native API, `/v1/…`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;
use crate::ids::{AgentId, AttemptId, GateId, Millis, OrderReason, PrincipalId, Salt, ServerName, ToolName};
use crate::json::{JsonError, Limits, Value};
use crate::late::Spooled;
use crate::listing::check_listed;
use crate::order::Order;
use crate::payload::Payload;
use crate::reason::ReasonCode;
use crate::record::{BundleRef, Outcome};
use crate::request::{Ask, Refused, parse_strict, parse_within};
use crate::verdict::{Captured, Decision};

/// `POST /v1/decisions`: a request, and the attempt that it is asked for. The bearer key names the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionCall {
    /// What is asked.
    pub request: Ask,
    /// The attempt's public name; its nonce stays with the gate.
    pub attempt: AttemptId,
    /// Salt of the request's commitment.
    pub salt: Salt,
    /// The gate that asks.
    pub gate: GateId,
    /// How long the gate waits for an answer, in milliseconds.
    pub deadline_ms: u64,
    /// What the request's payload digest is of, where the surface has arguments kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

impl DecisionCall {
    /// Longest body of a call, in bytes: a request, and a payload of which each byte is escaped.
    pub const LONGEST: usize = Limits::REQUEST.bytes + 6 * Payload::LONGEST;

    /// Reads the body of a call. But for the payload that comes with it, it is no longer than any request may be.
    ///
    /// # Errors
    /// A `request.*` code and what exactly was refused.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        if body.len() <= Limits::REQUEST.bytes {
            return parse_strict(body);
        }
        let too_large = || Refused::from(JsonError::TooLarge { limit: Limits::REQUEST.bytes });
        let read = parse_within(body, Limits { bytes: Self::LONGEST, ..Limits::REQUEST });
        // What is no call brings nothing that its length could be for.
        let call: Self =
            read.map_err(
                |refused: Refused| {
                    if refused.code == ReasonCode::RequestMalformed { too_large() } else { refused }
                },
            )?;
        let brought =
            call.payload.as_ref().map_or(0, |brought| serde_json::to_vec(brought).map_or(0, |it| it.len()));
        let rest = body.len().saturating_sub(brought);
        if rest > Limits::REQUEST.bytes { Err(too_large()) } else { Ok(call) }
    }
}

/// Why a request was refused, as callers are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// The code.
    pub code: ReasonCode,
    /// One sentence.
    pub message: String,
    /// What can be done.
    pub remedy: String,
    /// Particulars of this request, where they can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<ReasonCode> for ReasonBody {
    fn from(code: ReasonCode) -> Self {
        Self { code, message: code.message().to_owned(), remedy: code.remedy().to_owned(), detail: None }
    }
}

/// What was stored of an execution under the same idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The result's text, if it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// The answer to a decision call. Only its receipt is evidence; the other fields are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionReply {
    /// What was decided.
    pub decision: Decision,
    /// Why not; absent for PERMIT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonBody>,
    /// How the attempt is kept.
    pub captured: Captured,
    /// The receipt, a C2SP tlog-proof, if the attempt is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What an earlier execution under the same key left, with `idempotency.completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredResult>,
}

impl DecisionReply {
    /// A refusal that is kept nowhere.
    #[must_use]
    pub fn unrecorded(code: ReasonCode, detail: Option<String>) -> Self {
        Self {
            decision: code.decision(),
            reason: Some(ReasonBody { detail, ..code.into() }),
            captured: Captured::None,
            receipt: None,
            stored: None,
        }
    }
}

/// `POST /v1/decisions/{attempt}/outcome`: what became of a PERMIT, by the gate that held the attempt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeCall {
    /// The attempt's nonce, in hexadecimal: proof that the reporter is the gate that held it.
    pub nonce: String,
    /// `ok`, `failed`, `unknown` or `expired`.
    pub outcome: Outcome,
    /// The result's text, to be returned to repeats of the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl std::fmt::Debug for OutcomeCall {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { outcome, result, .. } = self;
        let kept = result.as_ref().map(String::len);
        formatter
            .debug_struct("OutcomeCall")
            .field("outcome", outcome)
            .field("result_bytes", &kept)
            .finish_non_exhaustive()
    }
}

/// The answer to an outcome call: that it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeReply {
    /// Index of the outcome's record.
    pub seq: u64,
}

/// The answer to `GET /v1/whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoAmI {
    /// The agent that the bearer token names.
    pub agent: AgentId,
    /// Who bears it, if other tokens may come for it: the same for each that an issuer gives one client for one subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Digest>,
    /// When it expires, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// `POST /v1/operator/orders`: what an operator orders. The bearer key names the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderCall {
    /// What is ordered.
    pub what: Order,
    /// Why.
    pub reason: OrderReason,
}

/// The answer to an order: that it was carried out and is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderReply {
    /// Index of the order's record.
    pub seq: u64,
}

/// `POST /v1/operator/proofs`: what is to be done about the proof of a bundle that lies ready to be activated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofCall {
    /// The bundle.
    pub bundle: BundleRef,
    /// What is to be done.
    pub step: ProofStep,
}

/// What is to be done about a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofStep {
    /// Begin it, if one is demanded and there is none.
    Begin,
    /// Say how far it is. A proof that nobody looks at is stopped after a while.
    Look,
    /// Stop it.
    Stop,
}

/// How the proof of a bundle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProofReply {
    /// Nobody demands one.
    NotDemanded,
    /// None was begun since the arbiter started.
    NotBegun,
    /// It is being made.
    Running {
        /// Statements that are settled.
        done: u64,
        /// Of how many; 0 before that is known.
        total: u64,
    },
    /// Every statement is proved.
    Proved {
        /// SHA-256 of the report, which lies in the data directory under this name.
        report: Digest,
        /// The policy engine and its version.
        engine: String,
        /// What made questions of policies, and its version.
        compiler: String,
        /// What answered, as it names itself.
        solver: String,
        /// How many statements were proved.
        statements: u64,
    },
    /// It is not proved: refuted, not known, or stopped.
    NotProved {
        /// Each statement that is not proved with why, or why there is none that is.
        causes: Vec<String>,
    },
}

/// `POST /v1/late`: attempts for which a gate had no answer, to be entered into the log late, oldest first. All are of
/// the agent that the bearer key names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateCall {
    /// The entries of the gate's spool.
    pub entries: Vec<Spooled>,
}

impl LateCall {
    /// Reads the body of a call. Each entry is read as strictly as a request is: a list of them is the only list in it.
    ///
    /// # Errors
    /// A `request.*` code and what exactly was refused.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let malformed =
            |detail: &str| Refused { code: ReasonCode::RequestMalformed, detail: detail.to_owned() };
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
        Ok(Self { entries: entries.iter().map(read).collect::<Result<_, _>>()? })
    }
}

/// The answer: what is in the log, durably, since this call or an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateReply {
    /// How many of the first entries.
    pub taken: u64,
}

/// The answer to `POST /v1/simulations`, whose body is that of a decision call: what would have been decided is on record, as a
/// simulation. Its receipt makes no permit. An arbiter that knows no simulations has no such path, so that none is asked to decide by
/// mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationReply {
    /// Why it would have been refused, with particulars; absent if it would have been a PERMIT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonBody>,
    /// The record's receipt, a C2SP tlog-proof. It alone says what would have been decided.
    pub receipt: String,
}

/// `POST /v1/listings`: which of a server's tools the agent may be shown. The bearer key names the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListingCall {
    /// Which list it is: 32 random bytes, as a digest is written.
    pub listing: Digest,
    /// The gate that asks.
    pub gate: GateId,
    /// For whom the agent acts, if for anybody but itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<PrincipalId>,
    /// The server, as the gate calls it.
    pub server: ServerName,
    /// Its tools ([`crate::check_listed`]).
    pub tools: BTreeSet<ToolName>,
    /// How many others it has, whose names no bundle can have.
    #[serde(default)]
    pub unnamed: u64,
    /// How long the gate waits for an answer, in milliseconds.
    pub deadline_ms: u64,
}

impl ListingCall {
    /// Reads the body of a call: JSON in which no key is there twice, and whose only list is `tools`.
    ///
    /// # Errors
    /// A `request.*` code and what exactly was refused.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let value = Value::parse(body, Limits { bytes: body.len(), ..Limits::RECORD })?;
        let refused = |code, detail: String| Refused { code, detail };
        if value.as_object().is_none() {
            return Err(refused(ReasonCode::RequestMalformed, "not an object".to_owned()));
        }
        let call: Self = serde_json::from_slice(body).map_err(|error| {
            let detail = error.to_string();
            let code = match detail.starts_with("unknown field") {
                true => ReasonCode::RequestUnknownField,
                false => ReasonCode::RequestMalformed,
            };
            refused(code, detail)
        })?;
        check_listed(&call.server, &call.tools)
            .map_err(|what| refused(ReasonCode::RequestInvalidValue, what.to_owned()))?;
        Ok(call)
    }
}

/// The answer: the list is on record, and the record says which tools may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListingReply {
    /// The record's receipt, a C2SP tlog-proof.
    pub receipt: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(context: usize, arguments: Option<usize>) -> Vec<u8> {
        let text = |bytes| "\u{1}".repeat(bytes);
        let ask = format!(
            r#"{{"surface":"a.b","action":"b","resource":{{"type":"R","id":"r"}},"context":{{"x":"{}"}}}}"#,
            "x".repeat(context)
        );
        let [server, method, name] = ["srv", "tools/call", "t"].map(str::to_owned);
        let payload = |bytes| Payload { server, method, name, arguments: text(bytes), rest: String::new() };
        let call = DecisionCall {
            request: serde_json::from_str(&ask).unwrap(),
            attempt: AttemptId::from_bytes([1; 32]),
            salt: Salt::from_bytes([2; 32]),
            gate: "gate".parse().unwrap(),
            deadline_ms: 1_000,
            payload: arguments.map(payload),
        };
        serde_json::to_vec(&call).unwrap()
    }

    #[test]
    fn what_comes_with_a_call_makes_room_for_itself_and_for_no_longer_request() {
        let limit = Limits::REQUEST.bytes;
        let room = limit - call(0, None).len();
        let refused = |body: &[u8]| DecisionCall::parse(body).err().map(|refused| refused.code);
        assert_eq!(refused(&call(room, None)), None);
        assert_eq!(refused(&call(room + 1, None)), Some(ReasonCode::RequestTooLarge));
        // Each byte of the arguments is escaped as six.
        let longest = Payload::LONGEST - "srvtools/callt".len();
        let most = call(room - 20, Some(longest));
        assert!(most.len() <= DecisionCall::LONGEST && most.len() > 6 * longest);
        assert_eq!(DecisionCall::parse(&most).unwrap().payload.unwrap().arguments.len(), longest);
        assert_eq!(refused(&call(room + 1, Some(longest))), Some(ReasonCode::RequestTooLarge));
        assert_eq!(refused(&call(room + 1, Some(1))), Some(ReasonCode::RequestTooLarge));
        // What is read strictly of a short call is read so of a long one.
        let twice = String::from_utf8(most).unwrap().replacen('{', r#"{"gate":"gate","#, 1);
        assert_eq!(refused(twice.as_bytes()), Some(ReasonCode::RequestDuplicateKey));
        let unknown = String::from_utf8(call(0, Some(longest))).unwrap().replacen('{', r#"{"dry":1,"#, 1);
        assert_eq!(refused(unknown.as_bytes()), Some(ReasonCode::RequestUnknownField));
    }
}
