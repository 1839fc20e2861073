//! What the asker of a simulated call is told: what would have been decided, and in the place of a result something of its form. All of
//! it says that it is simulated, to people and models in its text, to programs in `_meta`.

use portcullis_protocol::{Captured, Decision, Enforcement};
use portcullis_sdk::{Refusal, Simulated};
use serde_json::json;
use serde_json::value::RawValue;

use super::{DECISION, Told, sentence};
use crate::form::Form;
use crate::message::{Members, Reply, members_of, quote};

/// Where a result says that it is none, in `_meta`.
pub(crate) const SIMULATED: &str = "portcullis/simulated";

/// What every answer to what would have been permitted begins with.
const PERMITTED: &str =
    "simulated: Portcullis would permit this call. It was not run, and the tool server does not know of it.";

/// What a result is, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An example that somebody recorded.
    Example,
    /// A value that fits the tool's output schema.
    Instance,
    /// Nothing but word of the simulation: the tool declares no output schema, and there is no example.
    Nothing,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Example => "What follows is a recorded example of a result.",
            Self::Instance => {
                "What follows has the form that the tool declares for its results; the values in it mean nothing."
            }
            Self::Nothing => {
                "The tool declares no form for its results and there is no recorded example of one, so that there is none."
            }
        }
    }
}

/// What is said of a simulated refusal, and where it is on record.
fn refused_as(refusal: &Refusal) -> Told {
    let told = Told { simulated: true, ..Told::blocked(refusal, refusal.captured()) };
    match refusal.receipt() {
        Some(receipt) => Told { record: Some(receipt.index), proof: Some(receipt.text.clone()), ..told },
        None => told,
    }
}

/// What is said of what would have been permitted. It was not run, and in that it was blocked.
fn permitted_as(simulated: &Simulated) -> Told {
    Told {
        decision: Decision::Permit,
        enforcement: Enforcement::Blocked,
        reason: None,
        outcome: None,
        captured: Captured::Logged,
        receipt: Some(simulated.receipt.attempt),
        waiting_helps: false,
        simulated: true,
        record: Some(simulated.receipt.index),
        proof: Some(simulated.receipt.text.clone()),
    }
}

/// The answer to what would have been refused, as it would have been, marked.
pub(crate) fn refused(refusal: &Refusal, form: Form) -> Reply {
    refused_as(refusal).reply(form, &format!("simulated: {}", sentence(refusal)))
}

/// The answer to what would have been permitted, and not been sent by this gate all the same.
pub(crate) fn unsent(simulated: &Simulated, refusal: &Refusal, form: Form) -> Reply {
    let reason = Some(refusal.reason());
    let told = Told { decision: refusal.decision(), reason, ..permitted_as(simulated) };
    told.reply(form, &format!("simulated: {}", sentence(refusal)))
}

/// The answer to a call that would have been permitted, with a result.
pub(crate) fn result(simulated: &Simulated, kind: Kind, mut result: Members) -> Reply {
    let Ok(content) =
        result.get("content").map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Box<RawValue>>>)
    else {
        return no_result(simulated, "its content is no list", Form::Error);
    };
    let said = json!({ "type": "text", "text": format!("{PERMITTED} {}", kind.text()) }).to_string();
    let content: Vec<&str> =
        std::iter::once(said.as_str()).chain(content.iter().map(|item| item.get())).collect();
    result.set("content", format!("[{}]", content.join(",")));
    match result.get("_meta").map_or_else(|| Some(Members::default()), members_of) {
        Some(meta) => marked(simulated, result, meta),
        None => no_result(simulated, "its `_meta` is no object", Form::Error),
    }
}

/// A result with what every simulated one says in `_meta`.
fn marked(simulated: &Simulated, mut result: Members, mut meta: Members) -> Reply {
    meta.set(SIMULATED, "true".to_owned());
    meta.set(DECISION, json!(permitted_as(simulated)).to_string());
    result.set("_meta", meta.to_text());
    Reply::Result(result.to_text())
}

/// The answer to a call that would have been permitted, and for which there is no result that may be given.
pub(crate) fn no_result(simulated: &Simulated, why: &str, form: Form) -> Reply {
    let text = format!(
        "{PERMITTED} No result can be given in its place: {why}. Give recorded examples of results with `--examples`."
    );
    permitted_as(simulated).reply(form, &text)
}

/// The answer to another request that would have been permitted: an empty result, where it is known what that is.
pub(crate) fn of_method(simulated: &Simulated, method: &str, stateless: bool) -> Reply {
    let said = quote(PERMITTED);
    let empty: &[(&str, &str)] = match method {
        // A client of the stateless revision is told for how long it may go by it.
        "resources/read" if stateless => &[("contents", "[]"), ("ttlMs", "0"), ("cacheScope", "\"private\"")],
        "resources/read" => &[("contents", "[]")],
        "prompts/get" => &[("messages", "[]"), ("description", &said)],
        "completion/complete" => &[("completion", r#"{"values":[]}"#)],
        "resources/subscribe" | "resources/unsubscribe" => &[],
        _ => return no_result(simulated, "nobody knows the form of such a result", Form::Error),
    };
    let mut result = Members::default();
    empty.iter().for_each(|(key, value)| result.set(key, (*value).to_owned()));
    marked(simulated, result, Members::default())
}

/// The answer to what the tool server asked of the client, which does not reach that: what would have been decided is told.
pub(crate) fn not_passed_on(would: Result<&Simulated, &Refusal>) -> Reply {
    let text =
        "simulated: this gate only simulates. The request was decided, and not passed on to the client.";
    match would {
        Ok(simulated) => permitted_as(simulated).reply(Form::Error, text),
        Err(refusal) => refused_as(refusal).reply(Form::Error, &format!("{text} {}", sentence(refusal))),
    }
}
