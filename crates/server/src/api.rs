//! The HTTP API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use portcullis_arbiter::Credential;
use portcullis_protocol::request::{Refused, parse_strict};
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, ListingCall, OrderCall, OrderReply, OutcomeCall, ProofCall,
};
use portcullis_protocol::{AttemptId, Digest, OperatorId, Ordered, ReasonCode};
use serde::Serialize;

use crate::identity::{Nobody, Use};
use crate::log_api;
use crate::refused::{order_code, outcome_code};
use crate::service::{Arbiter, is_permit, is_reportable};

/// Longest body of a decision call, in bytes; the request in it is bounded by the protocol.
const DECISION_BODY: usize = DecisionCall::LONGEST;
/// Longest body of an outcome call, in bytes: a result of 1 MiB, escaped.
const OUTCOME_BODY: usize = 7 * 1024 * 1024;
/// Longest body of entries to be entered late, in bytes.
const LATE_BODY: usize = 256 * 1024;
/// Longest body of a question for a list, in bytes: as many names as one record is about, escaped.
const LISTING_BODY: usize = 192 * 1024;
/// Longest body of an order, in bytes.
const ORDER_BODY: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// An endpoint of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Whose bearer token it needs.
    pub needs: Caller,
}

/// Who may use an endpoint. The token of one kind of caller opens none of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No token is asked for.
    Anybody,
    /// An agent's.
    Agent,
    /// An auditor's; none is asked for if the log is public.
    Auditor,
    /// An operator's.
    Operator,
}

/// Every endpoint. The router is built from this list and nothing else, and a test asks each without a token.
pub const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/decisions", needs: Caller::Agent },
    Route { method: "POST", path: "/v1/decisions/{attempt}/outcome", needs: Caller::Agent },
    Route { method: "POST", path: "/v1/late", needs: Caller::Agent },
    Route { method: "POST", path: "/v1/listings", needs: Caller::Agent },
    Route { method: "POST", path: "/v1/simulations", needs: Caller::Agent },
    Route { method: "GET", path: "/v1/receipts/{attempt}", needs: Caller::Agent },
    Route { method: "GET", path: "/v1/surfaces", needs: Caller::Agent },
    Route { method: "GET", path: "/v1/whoami", needs: Caller::Agent },
    Route { method: "GET", path: "/log/checkpoint", needs: Caller::Auditor },
    Route { method: "GET", path: "/log/tile/{*resource}", needs: Caller::Auditor },
    Route { method: "POST", path: "/v1/operator/orders", needs: Caller::Operator },
    Route { method: "POST", path: "/v1/operator/proofs", needs: Caller::Operator },
    Route { method: "GET", path: "/healthz", needs: Caller::Anybody },
    Route { method: "GET", path: "/readyz", needs: Caller::Anybody },
    Route { method: "GET", path: "/metrics", needs: Caller::Anybody },
    Route { method: "GET", path: "/openapi.json", needs: Caller::Anybody },
];

type Shared = State<Arc<Arbiter>>;

/// The API over an arbiter.
pub(crate) fn router(arbiter: Arc<Arbiter>) -> Router {
    let add = |router: Router<Arc<Arbiter>>, route: &Route| match handler(route.path) {
        Some(handler) => router.route(route.path, handler),
        None => router,
    };
    ROUTES.iter().fold(Router::new(), add).with_state(arbiter)
}

fn handler(path: &str) -> Option<MethodRouter<Arc<Arbiter>>> {
    Some(match path {
        "/v1/decisions" => post(decide).layer(DefaultBodyLimit::max(DECISION_BODY)),
        "/v1/decisions/{attempt}/outcome" => post(outcome).layer(DefaultBodyLimit::max(OUTCOME_BODY)),
        "/v1/late" => post(late).layer(DefaultBodyLimit::max(LATE_BODY)),
        "/v1/listings" => post(list).layer(DefaultBodyLimit::max(LISTING_BODY)),
        "/v1/simulations" => post(simulate).layer(DefaultBodyLimit::max(DECISION_BODY)),
        "/v1/receipts/{attempt}" => get(receipt),
        "/v1/surfaces" => get(surfaces),
        "/v1/whoami" => get(whoami),
        "/log/checkpoint" | "/log/tile/{*resource}" => get(log_api::resource),
        "/v1/operator/orders" => post(order).layer(DefaultBodyLimit::max(ORDER_BODY)),
        "/v1/operator/proofs" => post(proof).layer(DefaultBodyLimit::max(ORDER_BODY)),
        "/healthz" => get(async || "ok\n"),
        "/readyz" => get(ready),
        "/metrics" => get(metrics),
        "/openapi.json" => get(async || ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))),
        _ => return None,
    })
}

/// Who asks, by the header alone. A caller that is nobody gets a bare 401, is counted, and nothing of its body is
/// read: it cannot make the arbiter wait for it, or keep it. Of whom it cannot be told is counted by the reason.
struct AsAgent(Credential);

impl FromRequestParts<Arc<Arbiter>> for AsAgent {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, arbiter: &Arc<Arbiter>) -> Result<Self, Response> {
        named(parts, arbiter, Use::Acting).await.map(|(credential, _)| Self(credential))
    }
}

/// Who says what became of a PERMIT, likewise.
struct AsReporter(Credential);

impl FromRequestParts<Arc<Arbiter>> for AsReporter {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, arbiter: &Arc<Arbiter>) -> Result<Self, Response> {
        named(parts, arbiter, Use::Reporting).await.map(|(credential, _)| Self(credential))
    }
}

/// Who asks whom its token names, and who bears that.
struct AsBearer(Credential, Option<Digest>);

impl FromRequestParts<Arc<Arbiter>> for AsBearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, arbiter: &Arc<Arbiter>) -> Result<Self, Response> {
        named(parts, arbiter, Use::Acting).await.map(|(credential, bearer)| Self(credential, bearer))
    }
}

async fn named(
    parts: &Parts,
    arbiter: &Arbiter,
    shown_for: Use,
) -> Result<(Credential, Option<Digest>), Response> {
    arbiter.bearer(authorization(parts), shown_for).await.map_err(|nobody| {
        let code = if let Nobody::Untold(code) = nobody { Some(code) } else { None };
        arbiter.count(code, None);
        code.map_or_else(|| unauthorized(nobody), |code| refusal(code, None))
    })
}

/// A bare 401, which says that a bearer token is wanted, and of one that came no more than its bearer may know (RFC 6750,
/// section 3).
pub(crate) fn unauthorized(nobody: Nobody) -> Response {
    let challenge = match nobody {
        Nobody::Silent | Nobody::Untold(_) => "Bearer".to_owned(),
        Nobody::Unknown => {
            r#"Bearer error="invalid_token", error_description="the token is not known here""#.to_owned()
        }
        Nobody::Refused(why) => {
            format!(r#"Bearer error="invalid_token", error_description="{}""#, why.told())
        }
    };
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
}

/// Which operator asks, likewise. An agent gets a bare 403, and is counted by its name.
struct AsOperator(OperatorId);

impl FromRequestParts<Arc<Arbiter>> for AsOperator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, arbiter: &Arc<Arbiter>) -> Result<Self, Response> {
        let header = authorization(parts);
        match arbiter.operator(header) {
            Some(operator) => Ok(Self(operator.clone())),
            None => Err(turned_away(arbiter, header).await),
        }
    }
}

/// The answer to one who is no operator or auditor: a bare 403 to an agent, counted by its name, and a bare 401 to anybody
/// else.
pub(crate) async fn turned_away(arbiter: &Arbiter, header: Option<&str>) -> Response {
    match arbiter.bearer(header, Use::Acting).await {
        Ok((credential, _)) => {
            arbiter.count(None, Some(credential.agent));
            StatusCode::FORBIDDEN.into_response()
        }
        Err(nobody) => {
            arbiter.count(None, None);
            unauthorized(nobody)
        }
    }
}

/// The one credential of a request. Two could name two callers, so they name none.
pub(crate) fn authorization(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok())
}

/// A body: whole, within its limit and in time, or the code under which it is refused.
struct Content(Result<Bytes, (ReasonCode, String)>);

impl FromRequest<Arc<Arbiter>> for Content {
    type Rejection = Infallible;

    async fn from_request(request: Request, arbiter: &Arc<Arbiter>) -> Result<Self, Infallible> {
        let read = tokio::time::timeout(BODY_PATIENCE, Bytes::from_request(request, arbiter)).await;
        Ok(Self(match read {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) => {
                let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
                let code = if too_large { ReasonCode::RequestTooLarge } else { ReasonCode::RequestMalformed };
                Err((code, rejection.body_text()))
            }
            Err(_) => Err((ReasonCode::OverloadDeadline, "the body did not arrive in time".to_owned())),
        }))
    }
}

fn json<T: Serialize>(status: u16, body: &T) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A refusal's answer, with the status of its code.
fn refusal(code: ReasonCode, detail: Option<String>) -> Response {
    json(code.http_status(), &DecisionReply::unrecorded(code, detail))
}

/// A refusal of what never became a call, counted.
fn refuse(arbiter: &Arbiter, credential: &Credential, code: ReasonCode, detail: Option<String>) -> Response {
    arbiter.count(Some(code), Some(credential.agent.clone()));
    refusal(code, detail)
}

async fn decide(State(arbiter): Shared, AsAgent(credential): AsAgent, Content(content): Content) -> Response {
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let call = match DecisionCall::parse(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let reply = arbiter.decide(call, &credential).await;
    match &reply.reason {
        Some(reason) => json(reason.code.http_status(), &reply),
        None if is_permit(&reply) => json(200, &reply),
        None => refusal(ReasonCode::PolicyEngineFailed, None),
    }
}

async fn outcome(
    State(arbiter): Shared,
    AsReporter(credential): AsReporter,
    Path(attempt): Path<String>,
    Content(content): Content,
) -> Response {
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let Ok(attempt) = attempt.parse::<AttemptId>() else {
        return refuse(&arbiter, &credential, ReasonCode::RequestInvalidValue, None);
    };
    match serde_json::from_slice::<OutcomeCall>(&body) {
        Ok(call) if is_reportable(call.outcome) => {
            match arbiter.outcome(attempt, call, &credential.agent).await {
                Ok(reply) => json(200, &reply),
                Err(refused) => refusal(outcome_code(&refused), Some(refused.to_string())),
            }
        }
        Ok(_) => refuse(&arbiter, &credential, ReasonCode::RequestInvalidValue, None),
        Err(error) => refuse(&arbiter, &credential, ReasonCode::RequestMalformed, Some(error.to_string())),
    }
}

async fn late(State(arbiter): Shared, AsAgent(credential): AsAgent, Content(content): Content) -> Response {
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let call = match LateCall::parse(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    match arbiter.late(call, &credential.agent).await {
        Ok(reply) => json(200, &reply),
        // No attempt of anybody's: a gate brings what it kept again and again until it is taken.
        Err(code) => refusal(code, None),
    }
}

async fn list(State(arbiter): Shared, AsAgent(credential): AsAgent, Content(content): Content) -> Response {
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let call = match ListingCall::parse(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    match arbiter.list(call, &credential).await {
        Ok(reply) => json(200, &reply),
        Err(code) => refusal(code, None),
    }
}

/// Says what would be decided. Of what is refused without a record, that is said and no more.
async fn simulate(
    State(arbiter): Shared,
    AsAgent(credential): AsAgent,
    Content(content): Content,
) -> Response {
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    let call = match DecisionCall::parse(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refuse(&arbiter, &credential, code, Some(detail)),
    };
    match arbiter.simulate(call, &credential).await {
        Ok(reply) => json(200, &reply),
        Err((code, detail)) => refusal(code, detail),
    }
}

async fn receipt(
    State(arbiter): Shared,
    AsAgent(credential): AsAgent,
    Path(attempt): Path<String>,
) -> Response {
    let Ok(attempt) = attempt.parse::<AttemptId>() else {
        return refuse(&arbiter, &credential, ReasonCode::RequestInvalidValue, None);
    };
    match arbiter.find(attempt, &credential.agent).await {
        Ok(Some(receipt)) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], receipt).into_response(),
        // Whether it is another agent's or nobody's is not told.
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(code) => refusal(code, None),
    }
}

async fn surfaces(State(arbiter): Shared, _: AsAgent) -> Response {
    match arbiter.surfaces().await {
        Ok(table) => json(200, &table),
        Err(code) => refusal(code, None),
    }
}

async fn whoami(State(arbiter): Shared, AsBearer(credential, bearer): AsBearer) -> Response {
    match arbiter.whoami(&credential, bearer) {
        Ok(who) => json(200, &who),
        Err(code) => refuse(&arbiter, &credential, code, None),
    }
}

async fn order(State(arbiter): Shared, AsOperator(by): AsOperator, Content(content): Content) -> Response {
    let refused = |code, detail| {
        arbiter.count(Some(code), None);
        refusal(code, Some(detail))
    };
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refused(code, detail),
    };
    let OrderCall { what, reason } = match parse_strict(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refused(code, detail),
    };
    match arbiter.order(Ordered { by, what, reason }).await {
        Ok(seq) => json(200, &OrderReply { seq }),
        Err(error) => refusal(order_code(&error), Some(error.to_string())),
    }
}

/// Begins, looks at or stops the proof of a bundle. Nothing is activated by it.
async fn proof(State(arbiter): Shared, AsOperator(_): AsOperator, Content(content): Content) -> Response {
    let refused = |code, detail| {
        arbiter.count(Some(code), None);
        refusal(code, Some(detail))
    };
    let body = match content {
        Ok(body) => body,
        Err((code, detail)) => return refused(code, detail),
    };
    let call: ProofCall = match parse_strict(&body) {
        Ok(call) => call,
        Err(Refused { code, detail }) => return refused(code, detail),
    };
    match arbiter.prove(call).await {
        Ok(reply) => json(200, &reply),
        Err(error) => refusal(order_code(&error), Some(error.to_string())),
    }
}

async fn ready(State(arbiter): Shared) -> Response {
    let health = arbiter.health().await;
    json(if health.ready { 200 } else { 503 }, &health)
}

async fn metrics(State(arbiter): Shared) -> Response {
    let text = arbiter.metrics().render(&arbiter.health().await) + &arbiter.stages();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
