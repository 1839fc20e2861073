//! Whether a server lets anybody in who has no token.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::reading::SAMPLE;
use super::wire::{Unsent, Wire};
use super::{ServerUrl, Trust};
use crate::notes::escape;

/// How long the answer may take.
const ANSWERING: Duration = Duration::from_secs(10);

/// A server of which nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotHeard(String);

/// Whether a server answers who has no token with status 401, as one does that is reached with OAuth (MCP, "Authorization"). It
/// is asked for its own stream of events, which begins nothing.
///
/// Must run on a Tokio runtime with I/O and time.
///
/// # Errors
/// [`NotHeard`].
pub async fn asks_for_token(url: &ServerUrl, trust: Trust) -> Result<bool, NotHeard> {
    let answered = timeout(ANSWERING, status(url, trust)).await;
    let status = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWERING.as_secs())));
    let status = status.map_err(|why| NotHeard(escape(why.as_bytes(), SAMPLE)))?;
    Ok(status == StatusCode::UNAUTHORIZED)
}

async fn status(url: &ServerUrl, trust: Trust) -> Result<StatusCode, String> {
    let wire = Wire::to(url.clone(), trust)?;
    let request = Request::builder()
        .uri(&url.target)
        .header("host", &url.authority)
        .header("accept", "text/event-stream")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let connection = wire.get().await?;
    let sent = wire.send(connection, request).await;
    let (_, response) = sent.map_err(|(Unsent::Before(why) | Unsent::After(why))| why)?;
    Ok(response.status())
}
