//! What the asker of a blocked request is told.

pub(crate) mod simulated;

use portcullis_protocol::wire::{ReasonBody, StoredResult};
use portcullis_protocol::{AttemptId, Captured, Decision, Enforcement, Outcome, ReasonCode};
use portcullis_sdk::Refusal;
use serde::Serialize;
use serde_json::json;

use crate::form::{Form, TypedTools};
use crate::handles::task_of;
use crate::message::{Defect, Members, Reply, members_of, quote};
use crate::questions::{asks, is_complete};

/// Where a tool's result says what was decided, in `_meta`.
pub(crate) const DECISION: &str = "portcullis/decision";
/// JSON-RPC error code of a blocked request.
const BLOCKED: i32 = -32001;
/// JSON-RPC error code of what is no request.
const INVALID: i32 = -32600;
/// JSON-RPC error code of parameters that are not what the method asks for.
const INVALID_PARAMETERS: i32 = -32602;

/// The structured form of an answer, under the key `portcullis`.
#[derive(Serialize)]
struct Told {
    decision: Decision,
    enforcement: Enforcement,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    captured: Captured,
    /// The attempt that a receipt is kept for.
    receipt: Option<AttemptId>,
    waiting_helps: bool,
    /// Whether it was decided at all, or only what would have been.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    /// The index of the record, and the receipt itself, where it is not found by its attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

impl Told {
    fn blocked(refusal: &Refusal, captured: Captured) -> Self {
        Self {
            decision: refusal.decision(),
            enforcement: Enforcement::Blocked,
            reason: Some(refusal.reason()),
            outcome: None,
            captured,
            receipt: refusal.receipt().map(|receipt| receipt.attempt),
            waiting_helps: refusal.waiting_helps(),
            simulated: false,
            record: None,
            proof: None,
        }
    }

    fn unknown(attempt: AttemptId) -> Self {
        Self {
            decision: Decision::Permit,
            enforcement: Enforcement::Executed,
            reason: None,
            outcome: Some(Outcome::Unknown),
            captured: Captured::Logged,
            receipt: Some(attempt),
            waiting_helps: false,
            simulated: false,
            record: None,
            proof: None,
        }
    }

    /// A tool's result, or for other methods an error.
    fn reply(&self, form: Form, text: &str) -> Reply {
        let content = json!([{ "type": "text", "text": text }]);
        let (mut meta, data) = (json!({ DECISION: self }), json!({ "portcullis": self }));
        if let (true, Some(meta)) = (self.simulated, meta.as_object_mut()) {
            meta.insert(simulated::SIMULATED.to_owned(), true.into());
        }
        match form {
            Form::Error => {
                Reply::Error(json!({ "code": BLOCKED, "message": text, "data": data }).to_string())
            }
            Form::TypedTool => {
                Reply::Result(json!({ "content": content, "isError": true, "_meta": meta }).to_string())
            }
            // Some clients show their model nothing of a result but its structured part.
            Form::Tool => Reply::Result(
                json!({
                    "content": content,
                    "isError": true,
                    "structuredContent": { "message": text, "portcullis": self },
                    "_meta": meta,
                })
                .to_string(),
            ),
        }
    }
}

/// The answer to a request that did not run.
pub(crate) fn blocked(refusal: &Refusal, form: Form) -> Reply {
    blocked_and(refusal, refusal.captured(), form)
}

/// The same, of a request that is kept so.
pub(crate) fn blocked_and(refusal: &Refusal, captured: Captured, form: Form) -> Reply {
    Told::blocked(refusal, captured).reply(form, &sentence(refusal))
}

/// The answer to a request whose PERMIT is on record, under this attempt, and that was not sent.
pub(crate) fn unsent(attempt: AttemptId, refusal: &Refusal, form: Form) -> Reply {
    let told = Told { receipt: Some(attempt), ..Told::blocked(refusal, Captured::Logged) };
    told.reply(form, &sentence(refusal))
}

/// The answer to a request that was sent, and of which nobody knows what became of it.
pub(crate) fn unknown(attempt: AttemptId, form: Form) -> Reply {
    let text = "Portcullis: the call was permitted and sent, but the tool server gave no answer. It may or may not \
                have taken effect. Do not repeat it; tell the user, so that a person can find out.";
    Told::unknown(attempt).reply(form, text)
}

/// The answer to a message that is not acted upon, whether or not it has an id.
pub(crate) fn defect(defect: &Defect, typed: &TypedTools) -> Reply {
    let refusal = Refusal::own(defect.refused.code, Some(defect.refused.detail.clone()));
    if defect.id.is_some() {
        return blocked(&refusal, if defect.tool { typed.form(None) } else { Form::Error });
    }
    let data = json!({ "portcullis": Told::blocked(&refusal, refusal.captured()) });
    Reply::Error(json!({ "code": INVALID, "message": sentence(&refusal), "data": data }).to_string())
}

/// The answer to a request that goes on with a state that its server did not give it. The client is told, by an error of the
/// protocol's, and not the model by a tool's result: clients bring states along by themselves.
pub(crate) fn foreign_state() -> Reply {
    let detail = "the tool server gave no such state to this request in this session";
    let refusal = Refusal::own(ReasonCode::RequestInvalidValue, Some(detail.to_owned()));
    let data = json!({ "portcullis": Told::blocked(&refusal, refusal.captured()) });
    Reply::Error(
        json!({ "code": INVALID_PARAMETERS, "message": sentence(&refusal), "data": data }).to_string(),
    )
}

/// One paragraph for a model: the reason, what it means, the remedy, and that there is no way around.
fn sentence(refusal: &Refusal) -> String {
    let ReasonBody { code, message, remedy, detail } = refusal.reason();
    let meaning = match (refusal.decision(), code) {
        (_, ReasonCode::IdempotencyCompleted) => "It ran once already and was not run again.",
        (_, ReasonCode::IdempotencyInFlight | ReasonCode::IdempotencyOutcomeUnknown) => {
            "It was not run a second time."
        }
        (Decision::Deny, _) => "This was decided by policy; asking again will not change it.",
        (Decision::Silence | Decision::Permit, _) => {
            "No permission could be established, so nothing was run; this is not a failure of the tool."
        }
    };
    let detail = detail.filter(|detail| *detail != message);
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    format!(
        "Blocked by Portcullis: {message} [{code}]{detail}. {meaning} {remedy} Do not try to reach the same effect in \
         another way; tell the user."
    )
}

/// What an earlier run under the same key left: its own result, marked as a replay. `None` if no receipt proves
/// that there was one, or no result was kept.
pub(crate) fn replay(refusal: &Refusal) -> Option<Reply> {
    if refusal.code() != ReasonCode::IdempotencyCompleted || refusal.receipt().is_none() {
        return None;
    }
    let StoredResult { result, .. } = refusal.stored()?;
    let mut result = members_of(result.as_deref()?)?;
    let meta = result.get("_meta").map_or_else(|| Some(Members::default()), members_of)?;
    let mut meta = meta.without(&[REPLAYED]);
    meta.0.push((REPLAYED.to_owned(), "true".to_owned()));
    result = result.without(&["_meta"]);
    result.0.push(("_meta".to_owned(), meta.to_text()));
    Some(Reply::Result(result.to_text()))
}

const REPLAYED: &str = "portcullis/replayed";

/// The same as a client of the stateless era reads it, which is told of every result whether it is whole (MCP 2026-07-28,
/// "ResultType").
pub(crate) fn whole(reply: Reply) -> Reply {
    match reply {
        Reply::Result(text) => match members_of(&text) {
            Some(mut result) if result.get("resultType").is_none() => {
                result.0.push(("resultType".to_owned(), quote("complete")));
                Reply::Result(result.to_text())
            }
            Some(_) | None => Reply::Result(text),
        },
        Reply::Error(text) => Reply::Error(text),
    }
}

/// The answer to a request that needs no decision, while there is nobody to answer it.
pub(crate) fn unavailable() -> Reply {
    blocked(&Refusal::own(ReasonCode::UpstreamUnavailable, None), Form::Error)
}

/// The same, while there is no credential to show it.
pub(crate) fn unshown() -> Reply {
    blocked(&Refusal::own(ReasonCode::CredentialUnavailable, None), Form::Error)
}

/// The answer to a request that needs no decision, and that the server answered with questions.
pub(crate) fn unasked_for() -> Reply {
    let detail =
        "the tool server asked the client for something in answer to a request that only asks what there is";
    blocked(&Refusal::own(ReasonCode::SurfaceUnknown, Some(detail.to_owned())), Form::Error)
}

/// The answer to a request that no tool server may make of the client (JSON-RPC 2.0, section 5.1).
pub(crate) fn no_such_method() -> Reply {
    Reply::Error(r#"{"code":-32601,"message":"no server may ask this of a client"}"#.to_owned())
}

/// The answer to a permitted request that its server answered with questions, of which one may not be asked.
pub(crate) fn not_to_be_asked(attempt: Option<AttemptId>, refusal: &Refusal, form: Form) -> Reply {
    let reason = refusal.reason();
    let text = format!(
        "Portcullis: the call was permitted and reached the tool server, which asked something of this client before it goes on. \
         That was not passed on: {} [{}]. {} Do not try to reach the same effect in another way; tell the user.",
        reason.message, reason.code, reason.remedy
    );
    let told = Told {
        decision: Decision::Permit,
        enforcement: Enforcement::Executed,
        reason: Some(reason),
        outcome: None,
        captured: attempt.map_or_else(|| refusal.captured(), |_| Captured::Logged),
        receipt: attempt,
        ..Told::blocked(refusal, refusal.captured())
    };
    told.reply(form, &text)
}

/// The answer to a request for tools whose answer is not passed on.
pub(crate) fn unlisted(why: &str) -> Reply {
    blocked(&Refusal::own(ReasonCode::ToolDefinitionUnknown, Some(why.to_owned())), Form::Error)
}

/// The answer to a permitted request of which nothing came: it did not reach the tool server, or was refused there. Without
/// an attempt it is one of the gate's own.
pub(crate) fn void(attempt: Option<AttemptId>, why: &str) -> Reply {
    let text = format!("Portcullis: the call was permitted, and the tool server did not take it: {why}");
    let Some(attempt) = attempt else {
        return Reply::Error(format!(r#"{{"code":{BLOCKED},"message":{}}}"#, quote(&text)));
    };
    let told = Told { outcome: Some(Outcome::Failed), ..Told::unknown(attempt) };
    told.reply(Form::Error, &text)
}

/// The answer to a request whose gate has ended without a word about it: it may have been sent.
pub(crate) fn lost() -> Reply {
    let message = "Portcullis: the tool server is gone, and nobody knows what became of the request. It may or may not have \
                   taken effect. Do not repeat it; tell the user, so that a person can find out.";
    Reply::Error(format!(r#"{{"code":{BLOCKED},"message":{}}}"#, quote(message)))
}

/// The answer to a request whose answer cannot be read.
pub(crate) fn unreadable() -> Reply {
    let message = quote("the tool server's answer has not exactly one of `result` and `error`");
    Reply::Error(format!(r#"{{"code":-32603,"message":{message}}}"#))
}

/// What a reply says became of the action. Success is only what says so: one that asks the client for something has not succeeded,
/// and may have done half of it; one that names a task to come back for has not ended, and of one that is of a kind that nobody
/// knows, nobody knows.
pub(crate) fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Error(_) => Outcome::Failed,
        Reply::Result(text) => match members_of(text) {
            None => Outcome::Unknown,
            Some(result) if is_error(&result) || asks(&result) => Outcome::Failed,
            Some(result) if task_of(reply).is_some() || !is_complete(&result) => Outcome::Unknown,
            Some(_) => Outcome::Ok,
        },
    }
}

fn is_error(result: &Members) -> bool {
    result.0.iter().any(|(key, value)| key == "isError" && value != "false")
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
