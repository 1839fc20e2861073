//! Where the browser comes back to: a port of this machine's own, for one login (RFC 8252, section 7.3).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::decoded;
use super::login::LoginError;

const PATH: &str = "/callback";
/// Connections at once, and how long each may take to say what it wants.
const CONNECTIONS: usize = 16;
const SAYING: Duration = Duration::from_secs(10);

/// What a redirection must be to be the one that is waited for.
#[derive(Debug)]
pub(super) struct Expected {
    /// What nobody else knows.
    pub(super) state: Zeroizing<String>,
    pub(super) issuer: String,
    /// Whether the issuer must be named.
    pub(super) names_issuer: bool,
}

/// What a redirection says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The code.
    Code(Zeroizing<String>),
    /// There will be none.
    No(LoginError),
    /// Nothing of this login.
    Nothing,
}

/// The port.
pub(super) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// What the authorization server is to redirect to.
    pub(super) fn uri(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// The code of the first redirection that is of this login. Nobody is heard after it.
    pub(super) async fn code(self, expected: Expected) -> Result<Zeroizing<String>, LoginError> {
        let (say, mut said) = mpsc::channel(1);
        let (expected, places) = (Arc::new(expected), Arc::new(Semaphore::new(CONNECTIONS)));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(said) = said.recv() => {
                    // Whoever looks at the browser is told, and nobody waits for that for long.
                    drop(tokio::time::timeout(SAYING, connections.join_next()).await);
                    return said;
                }
                accepted = self.listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (expected, say) = (Arc::clone(&expected), say.clone());
                    connections.spawn(async move {
                        let _place = place;
                        let answer = service_fn(move |request| answered(request, Arc::clone(&expected), say.clone()));
                        let mut http = http1::Builder::new();
                        http.timer(TokioTimer::new()).header_read_timeout(SAYING).keep_alive(false);
                        drop(http.serve_connection(TokioIo::new(stream), answer).await);
                    });
                    while connections.try_join_next().is_some() {}
                }
            }
        }
    }
}

type Saying = mpsc::Sender<Result<Zeroizing<String>, LoginError>>;

async fn answered(
    request: Request<Incoming>,
    expected: Arc<Expected>,
    say: Saying,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_here = request.method() == Method::GET && request.uri().path() == PATH;
    let query = request.uri().query().filter(|_| is_here);
    let (status, text) = match query.map_or(Said::Nothing, |query| said(query, &expected)) {
        Said::Nothing => (StatusCode::NOT_FOUND, "This is not the login that is waited for.\n"),
        // Only the first is heard.
        Said::Code(code) => match say.try_send(Ok(code)) {
            Ok(()) => (StatusCode::OK, "The terminal says how it ended. This window can be closed.\n"),
            Err(_) => (StatusCode::GONE, "The login is over.\n"),
        },
        Said::No(why) => {
            drop(say.try_send(Err(why)));
            (StatusCode::OK, "Nobody is logged in. The terminal says why. This window can be closed.\n")
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// What the query of a redirection says. Without the state it is of nobody that this login knows; with it, but of another issuer, the
/// person was led to another server than the one that was found (RFC 9207).
pub(super) fn said(query: &str, expected: &Expected) -> Said {
    let pairs: Option<Vec<(String, String)>> = query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect();
    let Some(pairs) = pairs else { return Said::Nothing };
    // What is said twice is not said.
    let one = |wanted: &str| {
        let mut found = pairs.iter().filter(|(name, _)| name == wanted);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    };
    if one("state") != Some(expected.state.as_str()) {
        return Said::Nothing;
    }
    let named = pairs.iter().any(|(name, _)| name == "iss");
    if (named || expected.names_issuer) && one("iss") != Some(expected.issuer.as_str()) {
        return Said::No(LoginError::OtherServer);
    }
    match (one("error"), one("code")) {
        (Some("access_denied"), _) => Said::No(LoginError::Denied),
        (Some(_), _) | (None, None) => Said::No(LoginError::NotGiven),
        (None, Some(code)) => Said::Code(Zeroizing::new(code.to_owned())),
    }
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
