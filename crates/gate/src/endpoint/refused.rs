//! What a client is told that is not heard.

use hyper::StatusCode;
use hyper::header::{ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use portcullis_protocol::ReasonCode;
use portcullis_sdk::Refusal;
use serde_json::json;

use crate::answer;
use crate::form::TypedTools;
use crate::message::{Defect, Id, Reply};

use super::respond::{Answer, json};

/// JSON-RPC error code of what HTTP says already.
const REFUSED: i32 = -32000;
/// Headers and body disagree (MCP 2026-07-28, "Server Validation").
pub(super) const HEADER_MISMATCH: i32 = -32020;
/// The revision is not spoken here (MCP 2026-07-28, "Protocol Version Negotiation").
pub(super) const UNSUPPORTED_REVISION: i32 = -32022;
/// JSON-RPC: there is no such method.
pub(super) const NO_METHOD: i32 = -32601;
/// JSON-RPC: the parameters are not what the method asks for.
const INVALID_PARAMETERS: i32 = -32602;
/// The status of a client that has too much under way (RFC 6585, section 4).
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// Why a request is not heard. Nothing of it reached a tool server.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    /// The JSON-RPC error, and whose.
    error: String,
    id: Option<Id>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    fn with(status: StatusCode, rpc: i32, code: ReasonCode, detail: &str) -> Self {
        let data =
            json!({ "portcullis": { "code": code, "message": code.message(), "remedy": code.remedy() } });
        let error = json!({ "code": rpc, "message": format!("{detail} [{code}]"), "data": data }).to_string();
        Self { status, error, id: None, headers: Vec::new() }
    }

    /// Refused for what it is.
    pub(super) fn new(status: StatusCode, code: ReasonCode, detail: &str) -> Self {
        Self::with(status, REFUSED, code, detail)
    }

    /// It says two things at once.
    pub(super) fn mismatch(detail: &str) -> Self {
        Self::with(StatusCode::BAD_REQUEST, HEADER_MISMATCH, ReasonCode::RequestInvalidValue, detail)
    }

    /// Its parameters lack what its revision asks of every request (MCP 2026-07-28, "Per-Request Protocol Fields").
    pub(super) fn parameters(detail: &str) -> Self {
        Self::with(StatusCode::BAD_REQUEST, INVALID_PARAMETERS, ReasonCode::RequestInvalidValue, detail)
    }

    /// It is in a revision that is not spoken here.
    pub(super) fn revision(requested: &str, supported: &[&str]) -> Self {
        let data = json!({ "supported": supported, "requested": requested });
        let error =
            json!({ "code": UNSUPPORTED_REVISION, "message": "Unsupported protocol version", "data": data });
        Self { status: StatusCode::BAD_REQUEST, error: error.to_string(), id: None, headers: Vec::new() }
    }

    /// There is no such method in its revision.
    pub(super) fn method(detail: &str) -> Self {
        Self::with(StatusCode::NOT_FOUND, NO_METHOD, ReasonCode::RequestInvalidValue, detail)
    }

    /// There is no such session of this client's.
    pub(super) fn no_session() -> Self {
        let detail = "there is no such session; begin another with `initialize`";
        Self::new(StatusCode::NOT_FOUND, ReasonCode::RequestInvalidValue, detail)
    }

    /// This agent has too much under way.
    pub(super) fn too_many(detail: &str) -> Self {
        Self::new(TOO_MANY, ReasonCode::OverloadShed, detail)
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// All have.
    pub(super) fn shed(detail: &str) -> Self {
        let shed = Self::new(StatusCode::SERVICE_UNAVAILABLE, ReasonCode::OverloadShed, detail);
        shed.header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// There is nothing to ask any more.
    pub(super) fn gone() -> Self {
        let detail = "the tool server is not running";
        Self::new(StatusCode::BAD_GATEWAY, ReasonCode::UpstreamUnavailable, detail)
    }

    /// It is no message, or one that could be read in two ways.
    pub(super) fn defect(defect: &Defect) -> Self {
        let status = StatusCode::from_u16(defect.refused.code.http_status());
        // A tool's result says that a tool was asked, and with an error status it would be none.
        let nameless = Defect { id: None, tool: false, ..defect.clone() };
        let (Reply::Error(error) | Reply::Result(error)) = answer::defect(&nameless, &TypedTools::default());
        Self {
            status: status.unwrap_or(StatusCode::BAD_REQUEST),
            error,
            id: defect.id.clone().filter(|_| defect.answerable),
            headers: Vec::new(),
        }
    }

    /// What the arbiter would not have.
    pub(super) fn refusal(status: StatusCode, refusal: &Refusal) -> Self {
        Self::new(status, refusal.code(), refusal.code().message())
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn allow(methods: &'static str) -> Self {
        let refused = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ReasonCode::RequestInvalidValue,
            "there is no such method here",
        );
        refused.header(ALLOW, HeaderValue::from_static(methods))
    }

    /// The connection ends with it: what is left of the request is not read.
    pub(super) fn and_close(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// In answer to the request of this id.
    pub(super) fn to(mut self, id: &Id) -> Self {
        self.id = Some(id.clone());
        self
    }

    /// The HTTP status.
    #[cfg(test)]
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self) -> Answer {
        let id = self.id.map_or_else(|| "null".to_owned(), |id| id.to_json());
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, self.error);
        let mut answer = json(self.status, text.into_bytes());
        for (name, value) in self.headers {
            answer.headers_mut().append(name, value);
        }
        answer
    }
}
