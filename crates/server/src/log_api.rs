//! The log over HTTP (c2sp.org/tlog-tiles), for auditors: `/log/checkpoint` and `/log/tile/…`.
//!
//! Records say in clear who did what, so an agent's token does not open them.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use portcullis_protocol::ReasonCode;
use portcullis_protocol::wire::DecisionReply;
use portcullis_verify::LogPath;
use portcullis_verify::tiles::TILE_WIDTH;

use crate::api::{authorization, turned_away};
use crate::service::Arbiter;

/// What resources of the log lie below.
const PREFIX: &str = "/log/";

/// Somebody who may read the log: an auditor, or anybody if it is public. An agent gets a bare 403 and is counted by its
/// name; anybody else gets a bare 401.
pub(crate) struct AsAuditor;

impl FromRequestParts<Arc<Arbiter>> for AsAuditor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, arbiter: &Arc<Arbiter>) -> Result<Self, Response> {
        let (shelf, header) = (arbiter.shelf(), authorization(parts));
        if shelf.public || shelf.auditors.bearer(header, arbiter.now()).is_some() {
            return Ok(Self);
        }
        Err(turned_away(arbiter, header).await)
    }
}

/// Serves a resource of the log. The path is taken as it was sent: an escaped one is another spelling, and no resource.
pub(crate) async fn resource(State(arbiter): State<Arc<Arbiter>>, _: AsAuditor, uri: Uri) -> Response {
    let path = uri.path().strip_prefix(PREFIX).filter(|_| uri.query().is_none());
    let Some(path) = path.and_then(|path| path.parse::<LogPath>().ok()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let shelf = arbiter.shelf();
    let public = shelf.public;
    match Arc::clone(shelf).read(path).await {
        Ok(Some(bytes)) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(content_type(path))),
                (CACHE_CONTROL, HeaderValue::from_static(cache_control(path, public))),
                (VARY, HeaderValue::from_static("authorization")),
            ];
            (headers, bytes).into_response()
        }
        // What is not there yet will be: nobody is to remember that it was not.
        Ok(None) => (StatusCode::NOT_FOUND, [(CACHE_CONTROL, "no-store")]).into_response(),
        Err(code) => failed(code),
    }
}

/// What cannot be shown is an error with its code, never something that the head does not prove.
fn failed(code: ReasonCode) -> Response {
    let shed = code == ReasonCode::OverloadShed;
    let status = if shed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
    match serde_json::to_vec(&DecisionReply::unrecorded(code, None)) {
        Ok(body) => {
            let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
            (status, headers, body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const fn content_type(path: LogPath) -> &'static str {
    match path {
        LogPath::Checkpoint => "text/plain; charset=utf-8",
        LogPath::Tile { .. } | LogPath::Entries { .. } => "application/octet-stream",
    }
}

/// Tiles and bundles never change, so they may be kept for long; one that still grows is of use for a while only. What
/// was sent on account of a token must not be kept for others (RFC 9111 section 3.5).
const fn cache_control(path: LogPath, public: bool) -> &'static str {
    match (path, public) {
        (LogPath::Checkpoint, _) => "no-cache",
        (LogPath::Tile { width: TILE_WIDTH, .. } | LogPath::Entries { width: TILE_WIDTH, .. }, true) => {
            "public, max-age=31536000, immutable"
        }
        (LogPath::Tile { width: TILE_WIDTH, .. } | LogPath::Entries { width: TILE_WIDTH, .. }, false) => {
            "private, max-age=31536000, immutable"
        }
        (LogPath::Tile { .. } | LogPath::Entries { .. }, true) => "public, max-age=3600",
        (LogPath::Tile { .. } | LogPath::Entries { .. }, false) => "private, max-age=3600",
    }
}
