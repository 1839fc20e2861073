//! What is kept of requests and results, encrypted, beside the log: records only commit to it.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::ids::{AgentId, Salt};
use crate::json::Limits;
use crate::request::{Ask, Refused, parse_within};
use crate::wire::DecisionCall;

/// What makes a call of a tool, or of another method, the operation that it is, with its arguments: what
/// [`Ask::payload`] is the digest of.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// The tool server, as its gate calls it.
    pub server: String,
    /// The method, such as `tools/call`.
    pub method: String,
    /// What the method is called of, such as the tool's name; empty if it names nothing.
    pub name: String,
    /// The arguments as JSON, canonical where they have an exact form, else as they came; empty without any.
    pub arguments: String,
    /// The other parameters, likewise.
    pub rest: String,
}

impl Payload {
    /// Most bytes of all its parts that can be kept.
    pub const LONGEST: usize = 256 * 1024;

    /// What a caller is told whose arguments are longer.
    pub const TOO_LONG: &str = "they are longer than 262,144 bytes, the most that is kept";

    /// Reads one from strict JSON, of any length that a call may have.
    ///
    /// # Errors
    /// A `request.*` code and what exactly was refused.
    pub fn parse(text: &[u8]) -> Result<Self, Refused> {
        parse_within(text, Limits { bytes: DecisionCall::LONGEST, ..Limits::REQUEST })
    }

    /// The digest that a request has of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Self { server, method, name, arguments, rest } = self;
        let parts = [server, method, name, arguments, rest].map(String::as_bytes);
        Digest::of(Domain::Payload, &parts)
    }

    /// Whether it is short enough to be kept.
    #[must_use]
    pub fn can_be_kept(&self) -> bool {
        let Self { server, method, name, arguments, rest } = self;
        let bytes = [server, method, name, arguments, rest].map(String::len);
        bytes.into_iter().fold(0, usize::saturating_add) <= Self::LONGEST
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.arguments.len();
        formatter.debug_struct("Payload").field("arguments_bytes", &bytes).finish_non_exhaustive()
    }
}

/// A request, as replaying it needs it. The record names its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRequest {
    /// What was asked.
    pub request: Ask,
    /// Salt of the record's commitment to it.
    pub salt: Salt,
    /// What its payload digest is of, if its surface has arguments kept and it came with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

impl KeptRequest {
    /// Whether it is the one of this agent's that a record has this commitment to, and what is kept of its arguments is what it
    /// was made with.
    #[must_use]
    pub fn is_committed_to(&self, agent: &AgentId, commitment: &Digest) -> bool {
        let request = self.request.clone().by(agent.clone());
        let own = self.payload.as_ref().is_none_or(|kept| self.request.payload == Some(kept.digest()));
        own && request.commitment(&self.salt).is_ok_and(|own| own == *commitment)
    }
}

/// A result, as repeats of its key get it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptResult {
    /// The result's text.
    pub result: String,
    /// Salt of the outcome's commitment to it.
    pub salt: Salt,
}

impl std::fmt::Debug for KeptResult {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeptResult").field("bytes", &self.result.len()).finish_non_exhaustive()
    }
}

impl KeptResult {
    /// What the outcome's record says of this result: its digest, salted, so that a small set of possible results
    /// cannot be tried out against the log.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        Digest::of(Domain::Result, &[self.salt.as_bytes(), self.result.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(arguments: &str) -> Payload {
        let [server, method, name] = ["srv", "tools/call", "t"].map(str::to_owned);
        Payload { server, method, name, arguments: arguments.to_owned(), rest: String::new() }
    }

    #[test]
    fn arguments_that_a_request_was_not_made_with_are_not_what_its_record_commits_to() {
        let ask = r#"{"surface":"a.b","action":"b","resource":{"type":"R","id":"r"}}"#;
        let mut request: Ask = serde_json::from_str(ask).unwrap();
        request.payload = Some(payload("{\"to\":1}").digest());
        let (agent, salt) = ("bot".parse().unwrap(), Salt::from_bytes([2; 32]));
        let commitment = request.clone().by("bot".parse().unwrap()).commitment(&salt).unwrap();
        let kept = |arguments: Option<&str>| KeptRequest {
            request: request.clone(),
            salt,
            payload: arguments.map(payload),
        };
        assert!(kept(Some("{\"to\":1}")).is_committed_to(&agent, &commitment));
        assert!(kept(None).is_committed_to(&agent, &commitment), "nothing is kept of them");
        assert!(!kept(Some("{\"to\":2}")).is_committed_to(&agent, &commitment));
        assert!(!kept(None).is_committed_to(&"bob".parse().unwrap(), &commitment));
        let salted = KeptRequest { salt: Salt::from_bytes([3; 32]), ..kept(None) };
        assert!(!salted.is_committed_to(&agent, &commitment));
        // What one part ends with is not what the next begins with.
        let moved = Payload { name: String::new(), method: "tools/callt".into(), ..payload("") };
        assert_ne!(moved.digest(), payload("").digest());
        assert!(!format!("{:?}", payload("canary")).contains("canary"));
    }

    #[test]
    fn a_request_that_was_kept_before_arguments_could_be_is_read_and_kept_as_it_was() {
        let text = concat!(
            r#"{"request":{"surface":"a.b","action":"b","resource":{"type":"R","id":"r"},"context":{}},"salt":""#,
            "0202020202020202020202020202020202020202020202020202020202020202\"}"
        );
        let kept: KeptRequest = serde_json::from_str(text).unwrap();
        assert_eq!(kept.payload, None);
        assert_eq!(serde_json::to_string(&kept).unwrap(), text);
    }
}
