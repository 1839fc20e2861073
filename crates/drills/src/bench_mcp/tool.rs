//! What is called, and whether an answer says that it ran.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::DrillError;

/// The tool whose results are small.
pub(super) const BALANCE: &str = "read_balance";
/// The tool whose results are long.
pub(super) const STATEMENT: &str = "read_statement";
/// How much of a refusal is kept.
const KEPT: usize = 160;

/// One call's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// The tool says that it ran, for the very account that was asked about.
    Ran,
    /// It is an error of whoever is asked.
    Refused(String),
}

/// What is asked, of whom, and how long the text of its result is at least.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The tool's name where it is called: another gateway may have given it another.
    pub(super) name: String,
    /// How the text of its results begins, before the account.
    pub(super) begins: &'static str,
    /// Bytes of its result's text at least.
    pub(super) bytes: usize,
}

impl Asked {
    pub(super) fn balance(name: &str) -> Self {
        Self { name: name.to_owned(), begins: "the balance of ", bytes: 0 }
    }

    pub(super) fn statement(name: &str, bytes: usize) -> Self {
        Self { name: name.to_owned(), begins: "the statement of ", bytes }
    }

    /// The call's message.
    pub(super) fn message(&self, id: u64, account: &str) -> String {
        let params = json!({ "name": self.name, "arguments": { "account": account } });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
    }

    /// What a message says to the call of this id about this account.
    ///
    /// # Errors
    /// If it is an answer to another call, or none: then nothing that is counted here can be believed.
    pub(super) fn judge(&self, message: &[u8], id: u64, account: &str) -> Result<Answered, DrillError> {
        let wrong = |what: &str| {
            let shown: String = String::from_utf8_lossy(message).chars().take(KEPT).collect();
            DrillError::Answer(format!("{what} about `{account}`: {shown}"))
        };
        let said: Said<'_> =
            serde_json::from_slice(message).map_err(|_| wrong("something that is no answer"))?;
        if said.id != Some(id) {
            return Err(wrong("an answer to another call"));
        }
        let refused = |what: &str| Ok(Answered::Refused(what.chars().take(KEPT).collect()));
        let Some(result) = said.result else {
            return refused(&said.error.unwrap_or_default().to_string());
        };
        let text = result.content.first().and_then(|content| content.text.as_deref()).unwrap_or_default();
        if result.is_error {
            return refused(text);
        }
        let expected = text.strip_prefix(self.begins).and_then(|rest| rest.strip_prefix(account));
        if !expected.is_some_and(|rest| rest.starts_with(" is ")) {
            return Err(wrong("an answer to another question than that"));
        }
        if text.len() < self.bytes {
            return Err(wrong("an answer that is too short"));
        }
        Ok(Answered::Ran)
    }
}

/// A message's id, if it has one of ours.
#[derive(Deserialize)]
pub(super) struct Numbered {
    pub(super) id: Option<u64>,
}

#[derive(Deserialize)]
struct Said<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<ToolResult<'a>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow, default)]
    content: Vec<Content<'a>>,
    #[serde(rename = "isError", default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_for_the_call_that_it_answers() {
        let asked = Asked::balance(BALANCE);
        let judge = |message: Value| asked.judge(message.to_string().as_bytes(), 7, "acme-1");
        let ran = |id: u64, text: &str| json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": text }] } });
        assert_eq!(judge(ran(7, "the balance of acme-1 is 1000.00")).unwrap(), Answered::Ran);
        assert!(judge(ran(8, "the balance of acme-1 is 1000.00")).is_err(), "another call");
        assert!(judge(ran(7, "the balance of acme-11 is 1000.00")).is_err(), "another account");
        assert!(judge(json!({ "id": 7, "result": {} })).is_err(), "no text");
        let refused = json!({ "id": 7, "result": { "isError": true, "content": [{ "text": "no" }] } });
        assert_eq!(judge(refused).unwrap(), Answered::Refused("no".into()));
        let error = judge(json!({ "id": 7, "error": { "code": 1 } })).unwrap();
        assert_eq!(error, Answered::Refused(r#"{"code":1}"#.into()));
        let long = Asked::statement(STATEMENT, 100);
        let short = ran(7, "the statement of acme-1 is .").to_string();
        assert!(long.judge(short.as_bytes(), 7, "acme-1").is_err(), "a result that was cut");
    }
}
