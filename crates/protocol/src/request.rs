//! The request: who wants to do what, to what, with which facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, NotCanonical};
use crate::digest::{Digest, Domain};
use crate::ids::{ActionName, AgentId, IdempotencyKey, PrincipalId, Salt, SurfaceName};
use crate::json::{JsonError, Limits, Value};
use crate::pins::CalledTool;
use crate::reason::ReasonCode;

/// The thing acted on, as an entity of the bundle's schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The entity's type, such as `Account` or `Billing::Account`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The entity's id.
    pub id: String,
}

/// What a caller asks, before its agent is known: the body of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The surface.
    pub surface: SurfaceName,
    /// The action; one of those that the surface declares.
    pub action: ActionName,
    /// The resource.
    pub resource: Resource,
    /// For whom the agent acts, if for anybody but itself. It is a claim: the agent's credential says whether it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<PrincipalId>,
    /// The facts that policy may read, exactly as the surface declares them.
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
    /// Under which it runs at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// Digest of what makes this operation the one it is, such as a tool's name and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// Digest of the exact bytes that will be sent, transport details included. A retry may differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Digest>,
    /// Digest of the surfaces by whose rules a tool call was read ([`crate::SurfaceTable::digest`]). The arbiter
    /// compares it with its own: a gate that was given other rules would ask about another call than it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped_with: Option<Digest>,
    /// The tool that is to be called, and what the gate saw of its definition. Where the bundle has pins, a gate says so
    /// of every tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<CalledTool>,
}

impl Ask {
    /// Reads a request from untrusted bytes, within [`Limits::REQUEST`].
    ///
    /// # Errors
    /// A `request.*` code and what exactly was refused.
    pub fn parse(text: &[u8]) -> Result<Self, Refused> {
        parse_strict(text)
    }

    /// This ask, made by `agent`.
    #[must_use]
    pub fn by(self, agent: AgentId) -> Request {
        Request { agent, ask: self }
    }
}

/// A request: an ask, and the agent whose credential came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who acts.
    pub agent: AgentId,
    /// What is asked.
    pub ask: Ask,
}

/// The canonical form that digests are made over.
#[derive(Serialize)]
struct Canonical<'a> {
    v: u8,
    agent: &'a AgentId,
    /// Left out where nobody is named, so that such a request has the digest that it had before there were principals.
    #[serde(skip_serializing_if = "Option::is_none")]
    acts_for: Option<&'a PrincipalId>,
    surface: &'a SurfaceName,
    action: &'a ActionName,
    resource: &'a Resource,
    context: &'a BTreeMap<String, Value>,
    idempotency_key: Option<&'a IdempotencyKey>,
    payload: Option<&'a Digest>,
    envelope: Option<&'a Digest>,
    mapped_with: Option<&'a Digest>,
    /// Left out where no tool is named, so that such a request has the digest that it had before there were pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a CalledTool>,
}

impl Request {
    /// With how it came about, or only what it means.
    fn canonical(&self, whole: bool) -> Result<Vec<u8>, NotCanonical> {
        let Ask { surface, action, resource, acts_for, context, idempotency_key, payload, .. } = &self.ask;
        canonical::to_bytes(&Canonical {
            v: 1,
            agent: &self.agent,
            acts_for: acts_for.as_ref(),
            surface,
            action,
            resource,
            context,
            idempotency_key: idempotency_key.as_ref(),
            payload: payload.as_ref(),
            envelope: self.ask.envelope.as_ref().filter(|_| whole),
            mapped_with: self.ask.mapped_with.as_ref().filter(|_| whole),
            tool: self.ask.tool.as_ref().filter(|_| whole),
        })
    }

    /// The digest that a permit is bound to: of everything that was asked and of the exact bytes to be sent.
    ///
    /// # Errors
    /// If the request has no canonical form; it is then refused as malformed.
    pub fn digest(&self) -> Result<Digest, NotCanonical> {
        Ok(Digest::of(Domain::Request, &[&self.canonical(true)?]))
    }

    /// The digest that tells whether two attempts mean the same operation: without the envelope, whatever rules it was
    /// read by, and however its tool is defined.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn operation(&self) -> Result<Digest, NotCanonical> {
        Ok(Digest::of(Domain::Operation, &[&self.canonical(false)?]))
    }

    /// What a record says of this request: its digest, salted, so that a small set of possible requests cannot
    /// be tried out against the log.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn commitment(&self, salt: &Salt) -> Result<Digest, NotCanonical> {
        Ok(Digest::of(Domain::Commitment, &[salt.as_bytes(), self.digest()?.as_bytes()]))
    }
}

/// Why a body was refused, with its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// A `request.*` code.
    pub code: ReasonCode,
    /// What exactly, for the caller.
    pub detail: String,
}

impl From<JsonError> for Refused {
    fn from(error: JsonError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}

/// Whether a body is an object, and holds arrays only in its context. Trap: serde takes an array for a struct, its
/// fields by position, which no reader of the API's description would.
fn has_named_fields(body: &Value) -> bool {
    let Some(members) = body.as_object() else { return false };
    members.iter().all(|(name, member)| match member {
        Value::Array(_) => false,
        Value::Object(_) => name == "context" || has_named_fields(member),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Str(_) => true,
    })
}

/// Reads a typed value from untrusted bytes: first as strict JSON within [`Limits::REQUEST`], then into its
/// type, which must deny unknown fields.
///
/// # Errors
/// A `request.*` code and what exactly was refused.
pub fn parse_strict<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Refused> {
    parse_within(text, Limits::REQUEST)
}

/// The same within other limits.
pub(crate) fn parse_within<T: serde::de::DeserializeOwned>(
    text: &[u8],
    limits: Limits,
) -> Result<T, Refused> {
    if !has_named_fields(&Value::parse(text, limits)?) {
        let detail = "an array where an object with named fields is expected".to_owned();
        return Err(Refused { code: ReasonCode::RequestMalformed, detail });
    }
    serde_json::from_slice(text).map_err(|error| {
        let detail = error.to_string();
        let code = match error.classify() {
            serde_json::error::Category::Data if detail.starts_with("unknown field") => {
                ReasonCode::RequestUnknownField
            }
            serde_json::error::Category::Data if detail.contains("is not a valid") => {
                ReasonCode::RequestInvalidValue
            }
            serde_json::error::Category::Data
            | serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => ReasonCode::RequestMalformed,
        };
        Refused { code, detail }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &str = r#"{"surface":"payments.charge","action":"charge","resource":{"type":"Account","id":"a-1"},
        "context":{"amount":"12.50"},"idempotency_key":"k1"}"#;

    fn refused(text: &str) -> ReasonCode {
        Ask::parse(text.as_bytes()).unwrap_err().code
    }

    fn request(agent: &str, text: &str) -> Request {
        Ask::parse(text.as_bytes()).unwrap().by(agent.parse().unwrap())
    }

    #[test]
    fn an_unknown_field_is_refused_not_ignored() {
        assert_eq!(refused(&ASK.replacen('{', r#"{"dry_run":true,"#, 1)), ReasonCode::RequestUnknownField);
        assert_eq!(
            refused(&ASK.replacen(r#""id":"#, r#""role":"admin","id":"#, 1)),
            ReasonCode::RequestUnknownField
        );
    }

    #[test]
    fn fields_have_names_not_places() {
        assert_eq!(
            refused(r#"["payments.charge","charge",{"type":"Account","id":"a-1"}]"#),
            ReasonCode::RequestMalformed
        );
        let placed = ASK.replace(r#"{"type":"Account","id":"a-1"}"#, r#"["Account","a-1"]"#);
        assert_ne!(placed, ASK);
        assert_eq!(refused(&placed), ReasonCode::RequestMalformed);
        let list = ASK.replace("\"12.50\"", r#"["12.50"]"#);
        assert!(Ask::parse(list.as_bytes()).is_ok(), "a context value may be an array");
    }

    #[test]
    fn the_body_cannot_name_the_agent() {
        assert_eq!(refused(&ASK.replacen('{', r#"{"agent":"root","#, 1)), ReasonCode::RequestUnknownField);
        assert_eq!(
            refused(&ASK.replacen('{', r#"{"subject":{"id":"root"},"#, 1)),
            ReasonCode::RequestUnknownField
        );
    }

    #[test]
    fn invalid_identifiers_and_missing_fields_have_their_codes() {
        assert_eq!(refused(&ASK.replace("payments.charge", "Payments")), ReasonCode::RequestInvalidValue);
        assert_eq!(refused(r#"{"surface":"a.b"}"#), ReasonCode::RequestMalformed);
        assert_eq!(refused("[]"), ReasonCode::RequestMalformed);
        assert_eq!(refused(&ASK.replace("\"12.50\"", "12.5")), ReasonCode::RequestFraction);
    }

    #[test]
    fn the_digest_covers_agent_and_every_field() {
        let base = request("bot", ASK);
        let same =
            request("bot", &ASK.replace(",\"idempotency_key\":\"k1\"}", ",  \"idempotency_key\" : \"k1\" }"));
        assert_eq!(base.digest(), same.digest());
        let others = [
            request("bot2", ASK),
            request("bot", &ASK.replace("payments.charge", "payments.refund")),
            request("bot", &ASK.replace("\"charge\"", "\"refund\"")),
            request("bot", &ASK.replace("a-1", "a-2")),
            request("bot", &ASK.replace("Account", "Wallet")),
            request("bot", &ASK.replace("12.50", "12.51")),
            request("bot", &ASK.replace("k1", "k2")),
            request("bot", &ASK.replacen('{', r#"{"acts_for":"maya","#, 1)),
            request("bot", &ASK.replacen('{', r#"{"acts_for":"bot","#, 1)),
        ];
        for other in others {
            assert_ne!(base.digest(), other.digest(), "{other:?}");
        }
        let mut sent = base.clone();
        sent.ask.payload = Some(Digest::sha256(b"x"));
        assert_ne!(base.digest(), sent.digest());
        let mut mapped = base.clone();
        mapped.ask.mapped_with = Some(Digest::sha256(b"x"));
        assert_ne!(base.digest(), mapped.digest(), "the rules it was read by are part of what was asked");
        assert_eq!(base.operation(), mapped.operation());
        let mut seen = base.clone();
        seen.ask.tool = Some(CalledTool {
            name: "s/t".parse().unwrap(),
            definition: crate::ToolSeen::Unknown,
            arguments: None,
        });
        assert_ne!(base.digest(), seen.digest(), "what was seen of its tool is part of what was asked");
        assert_eq!(base.operation(), seen.operation());
        let mut other = seen.clone();
        other.ask.tool.as_mut().unwrap().definition = crate::ToolSeen::Absent;
        assert_ne!(other.digest(), seen.digest());
        let mut fit = seen.clone();
        fit.ask.tool.as_mut().unwrap().arguments = Some(crate::ArgumentsSeen::Fit);
        assert_ne!(fit.digest(), seen.digest(), "and how its arguments fit");
        assert_eq!(fit.operation(), seen.operation());
    }

    #[test]
    fn a_request_that_names_nobody_has_the_bytes_that_it_had_before_there_were_principals() {
        let request = request("bot", ASK);
        let canonical = r#"{"action":"charge","agent":"bot","context":{"amount":"12.50"},"envelope":null,"idempotency_key":"k1","mapped_with":null,"payload":null,"resource":{"id":"a-1","type":"Account"},"surface":"payments.charge","v":1}"#;
        assert_eq!(request.canonical(true).unwrap(), canonical.as_bytes());
    }

    #[test]
    fn the_same_for_somebody_else_is_another_operation() {
        let [own, maya, zoe] = ["", r#""acts_for":"maya","#, r#""acts_for":"zoe","#]
            .map(|named| request("bot", &ASK.replacen('{', &format!("{{{named}"), 1)).operation().unwrap());
        assert!(own != maya && own != zoe && maya != zoe);
        let misnamed = |text: &str| refused(&ASK.replacen('{', &format!("{{\"acts_for\":{text},"), 1));
        assert_eq!(misnamed("\"Maya\""), ReasonCode::RequestInvalidValue);
        assert_eq!(misnamed("\"\""), ReasonCode::RequestInvalidValue);
        assert_eq!(misnamed(r#"{"type":"User","id":"maya"}"#), ReasonCode::RequestMalformed);
    }

    #[test]
    fn a_retry_with_another_envelope_is_the_same_operation_but_another_request() {
        let mut first = request("bot", ASK);
        let mut second = first.clone();
        first.ask.envelope = Some(Digest::sha256(b"id 1"));
        second.ask.envelope = Some(Digest::sha256(b"id 2"));
        assert_eq!(first.operation(), second.operation());
        assert_ne!(first.digest(), second.digest());
    }

    #[test]
    fn a_commitment_hides_the_request_behind_its_salt() {
        let request = request("bot", ASK);
        let salted = |byte| request.commitment(&Salt::from_bytes([byte; 32]));
        assert_ne!(salted(1), salted(2));
        assert_eq!(salted(1), salted(1));
    }
}
