//! What of a message the HTTP request that carries it says in its headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::message::{Body, From, Id, Message, NAMED, read};

/// What a message is to the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A request under the gate's own number.
    Request {
        number: u64,
        method: String,
        /// The revision that it names itself, and what it is called by; a request of the older era names none.
        revision: Option<(String, Option<String>)>,
    },
    /// A notification.
    Notification(String),
    /// An answer to a request of the server's.
    Answer,
}

impl Head {
    /// Reads the gate's own message.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        match read(message, From::Client).ok()? {
            Message::Request(Id::Int(number), body) => {
                let revision = body.revision().map(|revision| (revision.to_owned(), name(&body)));
                Some(Self::Request { number: u64::try_from(number).ok()?, method: body.method, revision })
            }
            Message::Request(Id::Text(_), _) => None,
            Message::Notification(body) => Some(Self::Notification(body.method)),
            Message::Response(..) => Some(Self::Answer),
        }
    }
}

fn name(body: &Body) -> Option<String> {
    let (_, key) = NAMED.iter().find(|(method, _)| *method == body.method)?;
    body.params.as_ref()?.read.get(*key)?.as_str().map(header_value)
}

/// A text as a header value: as it is where that is safe, and else in Base64 between the marks of the transport.
pub(crate) fn header_value(text: &str) -> String {
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let marked = text.starts_with("=?base64?") && text.ends_with("?=");
    if visible && text.trim() == text && !marked {
        return text.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_the_stateless_era_says_in_its_headers_what_it_says_in_its_body() {
        let request = |method: &str, params: &str| {
            let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
            Head::of(
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}{meta}}}}}"#)
                    .as_bytes(),
            )
        };
        let head = |method: &str, name: Option<&str>| {
            let revision = Some(("2026-07-28".to_owned(), name.map(str::to_owned)));
            Some(Head::Request { number: 7, method: method.to_owned(), revision })
        };
        assert_eq!(request("tools/call", r#""name":"read","#), head("tools/call", Some("read")));
        assert_eq!(
            request("resources/read", r#""uri":"file:///a","#),
            head("resources/read", Some("file:///a"))
        );
        assert_eq!(request("tools/list", r#""name":"read","#), head("tools/list", None));
        let line = request("tools/call", r#""name":"a\nx-other: b","#);
        assert_eq!(line, head("tools/call", Some("=?base64?YQp4LW90aGVyOiBi?=")));
    }

    #[test]
    fn one_of_the_older_era_says_nothing_of_the_kind() {
        let line = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read"}}"#;
        let head = Head::Request { number: 7, method: "tools/call".to_owned(), revision: None };
        assert_eq!(Head::of(line), Some(head));
        let notice = Head::of(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(notice, Some(Head::Notification("notifications/initialized".to_owned())));
        assert_eq!(Head::of(br#"{"jsonrpc":"2.0","id":"a","result":{}}"#), Some(Head::Answer));
    }

    #[test]
    fn a_value_that_is_not_plain_is_encoded_as_the_specification_shows() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            ("Hello, \u{4e16}\u{754c}", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(header_value(text), value);
        }
    }
}
