//! The arbiter across a network or a Unix socket.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OrderCall, OrderReply,
    OutcomeReply, ProofCall, ProofReply, SimulationReply, WhoAmI,
};
use portcullis_protocol::{Captured, Decision, Limits, ReasonCode, SurfaceTable, json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authorizer::{Authorizer, Call};
use crate::client::{Answer, HttpClient, Question, Token, unreachable};
use crate::endpoint::Endpoint;
use crate::permit::OutcomeReport;
use crate::refusal::Refusal;

/// Longest answer that is read, in bytes. A stored result is at most 1 MiB.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// An arbiter reached over HTTP/1.1. Keeps connections; asks within deadlines.
#[derive(Debug)]
pub struct HttpAuthorizer {
    client: HttpClient,
    patience: Duration,
}

impl HttpAuthorizer {
    /// An arbiter at `endpoint`, asked as the agent whose token this is. `patience` bounds the calls that carry
    /// no deadline of their own.
    #[must_use]
    pub const fn new(endpoint: Endpoint, token: Token, patience: Duration) -> Self {
        Self { client: HttpClient::arbiter(endpoint, token), patience }
    }

    async fn within(
        &self,
        deadline: Duration,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, Refusal> {
        let (content_type, body, longest) = ("application/json", Bytes::from(body), LONGEST_ANSWER);
        let question = Question { method, path, content_type, headers: &[], body, longest };
        Ok(self.client.within(deadline, &question).await?)
    }
}

/// The body of `GET path`, whatever its status: for health pages, which are no decisions.
///
/// # Errors
/// If the arbiter does not answer within `patience`.
pub async fn fetch(endpoint: &Endpoint, path: &str, patience: Duration) -> Result<Vec<u8>, Refusal> {
    let arbiter = HttpAuthorizer::new(endpoint.clone(), Token::new(""), patience);
    Ok(arbiter.within(patience, Method::GET, path, Vec::new()).await?.body.to_vec())
}

/// Gives an operator's order to an arbiter. It is sent once: an order that was not answered may have been carried out.
///
/// # Errors
/// [`Refusal`]. `arbiter.unreachable`, `arbiter.timeout` and answers that prove nothing leave open whether it was
/// carried out.
pub async fn order(
    endpoint: &Endpoint,
    token: &Token,
    call: &OrderCall,
    patience: Duration,
) -> Result<OrderReply, Refusal> {
    let arbiter = HttpAuthorizer::new(endpoint.clone(), token.clone(), patience);
    let answer = arbiter.within(patience, Method::POST, "/v1/operator/orders", body(call)?).await?;
    operators(&answer)?;
    success(&answer)
}

/// Asks for, looks at or stops the proof of a bundle, with the operator's token.
///
/// # Errors
/// [`Refusal`]. Nothing is activated by it, whatever comes back.
pub async fn prove(
    endpoint: &Endpoint,
    token: &Token,
    call: &ProofCall,
    patience: Duration,
) -> Result<ProofReply, Refusal> {
    let arbiter = HttpAuthorizer::new(endpoint.clone(), token.clone(), patience);
    let answer = arbiter.within(patience, Method::POST, "/v1/operator/proofs", body(call)?).await?;
    operators(&answer)?;
    success(&answer)
}

/// Refuses an answer to a token that is an agent's.
fn operators(answer: &Answer) -> Result<(), Refusal> {
    if answer.status == StatusCode::FORBIDDEN && answer.body.is_empty() {
        return Err(Refusal::own(
            ReasonCode::IdentityUnverified,
            Some("the token is an agent's, not an operator's".into()),
        ));
    }
    Ok(())
}

fn body<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(unreachable)
}

/// Reads an answer of which only `200 OK` counts.
fn success<T: DeserializeOwned>(answer: &Answer) -> Result<T, Refusal> {
    if answer.status != StatusCode::OK {
        return Err(refusal(answer));
    }
    json::read(&answer.body, Limits::MESSAGE).map_err(|error| Refusal::unverifiable(error.to_string()))
}

/// What an answer other than `200 OK` says. Whatever it says, nothing runs.
fn refusal(answer: &Answer) -> Refusal {
    if answer.status == StatusCode::UNAUTHORIZED {
        let told = challenge(answer).map_or_else(String::new, |told| format!(": {told}"));
        let detail = format!("the arbiter does not know this token{told}");
        return Refusal::own(ReasonCode::IdentityUnverified, Some(detail));
    }
    match json::read::<DecisionReply>(&answer.body, Limits::MESSAGE) {
        Ok(DecisionReply { decision: Decision::Deny | Decision::Silence, reason: Some(reason), .. }) => {
            Refusal::from_reason(reason, (None, Captured::None), None)
        }
        Ok(_) | Err(_) => {
            Refusal::unverifiable(format!("status {} with a body that is no answer", answer.status))
        }
    }
}

/// What a 401 says of the token (RFC 6750, section 3), if it is short and plain: an access token may just have expired.
fn challenge(answer: &Answer) -> Option<&str> {
    let header = answer.headers.get("www-authenticate")?.to_str().ok()?;
    let (_, rest) = header.split_once("error_description=\"")?;
    let (told, _) = rest.split_once('"')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    (told.len() <= 80 && told.chars().all(plain)).then_some(told)
}

/// Reads the answer to a decision call: a reply whose status fits what it says. A success status with a refusal,
/// or an error status with a PERMIT, is neither.
fn decision(answer: &Answer) -> Result<DecisionReply, Refusal> {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(refusal(answer));
    }
    let reply: DecisionReply = json::read(&answer.body, Limits::MESSAGE)
        .map_err(|error| Refusal::unverifiable(error.to_string()))?;
    let fitting = match &reply.reason {
        None => StatusCode::OK.as_u16(),
        Some(reason) => reason.code.http_status(),
    };
    if answer.status.as_u16() != fitting {
        return Err(Refusal::unverifiable(format!("status {} does not fit its body", answer.status)));
    }
    Ok(reply)
}

impl Authorizer for HttpAuthorizer {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(async move {
            let deadline = Duration::from_millis(call.deadline_ms);
            decision(&self.within(deadline, Method::POST, "/v1/decisions", body(&call)?).await?)
        })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async move {
            let path = format!("/v1/decisions/{}/outcome", report.attempt);
            success(&self.within(self.patience, Method::POST, &path, body(&report.call)?).await?)
        })
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        Box::pin(async move {
            success(&self.within(self.patience, Method::POST, "/v1/late", body(&call)?).await?)
        })
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        Box::pin(async move {
            let deadline = Duration::from_millis(call.deadline_ms);
            success(&self.within(deadline, Method::POST, "/v1/listings", body(&call)?).await?)
        })
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        Box::pin(async move {
            let deadline = Duration::from_millis(call.deadline_ms);
            success(&self.within(deadline, Method::POST, "/v1/simulations", body(&call)?).await?)
        })
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        Box::pin(
            async move { success(&self.within(self.patience, Method::GET, "/v1/whoami", Vec::new()).await?) },
        )
    }

    fn ready(&self) -> Call<'_, bool> {
        Box::pin(async move {
            let answer = self.within(self.patience, Method::GET, "/readyz", Vec::new()).await?;
            match answer.status {
                StatusCode::OK => Ok(true),
                StatusCode::SERVICE_UNAVAILABLE => Ok(false),
                status => Err(Refusal::unverifiable(format!("status {status} says nothing of readiness"))),
            }
        })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async move {
            success(&self.within(self.patience, Method::GET, "/v1/surfaces", Vec::new()).await?)
        })
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
