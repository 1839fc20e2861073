//! One question to a server, over a connection of its own, and its bounded answer. Nothing is asked twice: of two refreshes with one
//! token the second ends the login at many servers. No redirection is followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::remote::wire::{Unsent, Wire};
use crate::remote::{ServerUrl, Trust};

/// Longest answer that is read, in bytes.
const LONGEST: usize = 256 * 1024;

/// What is asked.
pub(super) enum Question<'a> {
    Get,
    /// For a stream of events, as MCP has it.
    Events,
    Form(&'a str),
    Json(&'a str),
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is none. What is said of the connection may have words of the other side's in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("no whole answer came within {} s", .0.as_secs())]
    Late(Duration),
    #[error("its answer is longer than {LONGEST} bytes")]
    TooLong,
    #[error("no whole answer came")]
    Broken,
}

pub(super) async fn ask(
    url: &ServerUrl,
    trust: &Trust,
    question: &Question<'_>,
    within: Duration,
) -> Result<Answer, Unanswered> {
    let asked = timeout(within, exchange(url, trust, question)).await;
    asked.unwrap_or(Err(Unanswered::Late(within)))
}

async fn exchange(url: &ServerUrl, trust: &Trust, question: &Question<'_>) -> Result<Answer, Unanswered> {
    let wire = Wire::to(url.clone(), trust.clone()).map_err(Unanswered::Unreachable)?;
    let request = request(url, question).map_err(|error| Unanswered::Unreachable(error.to_string()))?;
    let connection = wire.get().await.map_err(Unanswered::Unreachable)?;
    // The connection stays until the body was read.
    let (_connection, response) = wire.send(connection, request).await.map_err(|unsent| match unsent {
        Unsent::Before(why) => Unanswered::Unreachable(why),
        Unsent::After(_) => Unanswered::Broken,
    })?;
    let (head, body) = response.into_parts();
    let read = match question {
        // It may go on for ever, and only its head is looked at.
        Question::Events => Zeroizing::default(),
        Question::Get | Question::Form(_) | Question::Json(_) => {
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { Unanswered::TooLong } else { Unanswered::Broken }
            })?;
            Zeroizing::new(body.to_bytes().to_vec())
        }
    };
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: read })
}

fn request(url: &ServerUrl, question: &Question<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let (method, accept, content_type, body) = match question {
        Question::Get => (Method::GET, "application/json", None, ""),
        Question::Events => (Method::GET, "text/event-stream", None, ""),
        Question::Form(form) => {
            (Method::POST, "application/json", Some("application/x-www-form-urlencoded"), *form)
        }
        Question::Json(json) => (Method::POST, "application/json", Some("application/json"), *json),
    };
    let (target, authority) = url.parts();
    let mut request =
        Request::builder().method(method).uri(target).header("host", authority).header("accept", accept);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
}
