//! Ids and progress tokens: each request has a number of its own towards the gate, so that those of two clients are never taken
//! for one another, and the client's own are put back into what comes for it.

use portcullis_protocol::{Loose, ReasonCode, fold};

use crate::message::{Body, Id, Members, Params, Refused, Reply, members_of, quote};
use crate::subscription;

/// Where a request says by which name it wants to hear of its progress, in `_meta`.
const PROGRESS_TOKEN: &str = "progressToken";

/// A request as it goes to the gate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    pub(crate) line: Vec<u8>,
    /// The client's progress token, as raw JSON.
    pub(crate) token: Option<String>,
}

/// Gives a request its number.
pub(crate) fn request(body: &Body, number: u64) -> Result<Renamed, Refused> {
    let (params, token) = match &body.params {
        None => (None, None),
        Some(params) => {
            let (text, token) = with_token(params, number)?;
            (Some(Params { text, ..params.clone() }), token)
        }
    };
    let bytes = Body { params, ..body.clone() }.to_bytes();
    let rest = bytes.strip_prefix(b"{").unwrap_or_default();
    Ok(Renamed { line: [format!(r#"{{"id":{number},"#).as_bytes(), rest].concat(), token })
}

/// The parameters with the number in the place of their progress token, and the token.
fn with_token(params: &Params, number: u64) -> Result<(String, Option<String>), Refused> {
    let Some(mut meta) = params.raw.get("_meta").and_then(members_of) else {
        return Ok((params.text.clone(), None));
    };
    let folded = fold(PROGRESS_TOKEN);
    if meta.0.iter().any(|(key, _)| key != PROGRESS_TOKEN && fold(key) == folded) {
        let detail = "the progress token's name in another spelling";
        return Err(Refused::new(ReasonCode::RequestAmbiguousKey, detail));
    }
    let Some((_, token)) = meta.0.iter_mut().find(|(key, _)| key == PROGRESS_TOKEN) else {
        return Ok((params.text.clone(), None));
    };
    let read = params.read.get("_meta").and_then(|meta| meta.pointer("/progressToken"));
    if !matches!(read, Some(Loose::Str(_) | Loose::Int(_))) {
        let detail = "a progress token is a string or an exact integer";
        return Err(Refused::new(ReasonCode::RequestInvalidValue, detail));
    }
    let named = std::mem::replace(token, number.to_string());
    Ok((params.raw.with("_meta", meta.to_text()).to_text(), Some(named)))
}

/// A notification as it goes to the gate.
pub(crate) fn notice(body: &Body) -> Vec<u8> {
    body.to_bytes()
}

/// The cancellation of the request with this number.
pub(crate) fn cancelled(number: u64, reason: Option<&str>) -> Vec<u8> {
    let reason = reason.map_or(String::new(), |reason| format!(r#","reason":{reason}"#));
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number}{reason}}}}}"#
    )
    .into_bytes()
}

/// An answer under a request's id, whoever's it is.
pub(crate) fn answer(id: &Id, reply: &Reply) -> Vec<u8> {
    let (member, raw) = match reply {
        Reply::Result(raw) => ("result", raw),
        Reply::Error(raw) => ("error", raw),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{},"{member}":{raw}}}"#, id.to_json()).into_bytes()
}

/// The same where it ends a subscription: it names that too.
pub(crate) fn answer_to(id: &Id, number: u64, reply: &Reply) -> Vec<u8> {
    let renamed = match reply {
        Reply::Result(raw) if subscription::may_be_named(raw) => {
            subscription::renamed_result(raw, number, id)
        }
        Reply::Result(_) | Reply::Error(_) => None,
    };
    answer(id, &renamed.map_or_else(|| reply.clone(), Reply::Result))
}

/// The number of the request whose progress a notification tells of.
pub(crate) fn progress_of(body: &Body) -> Option<u64> {
    number(body.params.as_ref()?.read.get(PROGRESS_TOKEN)?)
}

fn number(value: &Loose) -> Option<u64> {
    if let Loose::Int(number) = value { u64::try_from(*number).ok() } else { None }
}

/// A notification of progress under the client's own token.
pub(crate) fn progress(body: &Body, token: &str) -> Option<Vec<u8>> {
    let params = body.params.as_ref()?;
    Some(with_params(body, params.raw.with(PROGRESS_TOKEN, token.to_owned()).to_text()))
}

/// A notification to a subscriber under the id that it subscribed with.
pub(crate) fn subscribed(body: &Body, number: u64, id: &Id) -> Option<Vec<u8>> {
    let params = subscription::renamed(&body.params.as_ref()?.raw, number, id)?;
    Some(with_params(body, params))
}

fn with_params(body: &Body, params: String) -> Vec<u8> {
    let mut members = vec![("jsonrpc".to_owned(), quote("2.0")), ("method".to_owned(), quote(&body.method))];
    members.push(("params".to_owned(), params));
    Members(members).to_text().into_bytes()
}

#[cfg(test)]
mod tests {
    use crate::message::{From, Message, read};

    use super::*;

    fn body(text: &str, from: From) -> Body {
        match read(text.as_bytes(), from).unwrap() {
            Message::Request(_, body) | Message::Notification(body) => body,
            other @ Message::Response(..) => panic!("{other:?}"),
        }
    }

    fn asked(params: &str) -> Result<Renamed, Refused> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{params},"x":1}}"#);
        request(&body(&text, From::Client), 42)
    }

    #[test]
    fn a_request_keeps_all_but_its_id_and_its_progress_token() {
        let params =
            r#"{"name":"a", "arguments":{"n": 1.50},"_meta":{"a":[1 ],"progressToken":"1","b":null}}"#;
        let Renamed { line, token } = asked(params).unwrap();
        let line = String::from_utf8(line).unwrap();
        let params = r#"{"name":"a","arguments":{"n": 1.50},"_meta":{"a":[1 ],"progressToken":42,"b":null}}"#;
        assert_eq!(
            line,
            format!(r#"{{"id":42,"jsonrpc":"2.0","method":"tools/call","params":{params},"x":1}}"#)
        );
        assert_eq!(token.as_deref(), Some("\"1\""));
        let plain = asked(r#"{"name": "a"}"#).unwrap();
        assert!(plain.token.is_none() && plain.line.ends_with(br#""params":{"name": "a"},"x":1}"#));
    }

    #[test]
    fn a_progress_token_that_two_parsers_read_differently_is_refused() {
        let refused = |meta: &str| asked(&format!(r#"{{"name":"a","_meta":{meta}}}"#)).unwrap_err().code;
        let ambiguous = ReasonCode::RequestAmbiguousKey;
        assert_eq!(refused(r#"{"progressToken":1,"ProgressToken":2}"#), ambiguous);
        assert_eq!(refused(r#"{"progresstoken":2}"#), ambiguous);
        for odd in ["null", "1.5", "{}", "[1]", "true", "12345678901234567890"] {
            assert_eq!(
                refused(&format!(r#"{{"progressToken":{odd}}}"#)),
                ReasonCode::RequestInvalidValue,
                "{odd}"
            );
        }
    }

    #[test]
    fn progress_goes_back_under_the_clients_token() {
        let told = body(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":42,"progress":0.5}}"#,
            From::Upstream,
        );
        assert_eq!(progress_of(&told), Some(42));
        let line = progress(&told, "\"1\"").unwrap();
        assert!(line.ends_with(br#""params":{"progressToken":"1","progress":0.5}}"#));
    }

    #[test]
    fn a_subscriber_is_told_by_its_own_id() {
        let told = body(
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":42}}}"#,
            From::Upstream,
        );
        let line = String::from_utf8(subscribed(&told, 42, &Id::Text("a".into())).unwrap()).unwrap();
        assert!(
            line.ends_with(r#""params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}}"#),
            "{line}"
        );
        let result = Reply::Result(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":42}}"#.into());
        let line = String::from_utf8(answer_to(&Id::Int(7), 42, &result)).unwrap();
        assert!(line.contains(r#""id":7"#) && line.contains(r#"subscriptionId":7"#), "{line}");
        let other = Reply::Result(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":4}}"#.into());
        assert!(answer_to(&Id::Int(7), 42, &other).ends_with(br#"subscriptionId":4}}}"#));
    }
}
