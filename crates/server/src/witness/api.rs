//! A witness's HTTP interface: `POST /add-checkpoint` and `GET /<origin hash>/checkpoint`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_ledger::{Clocks, SystemClocks};
use portcullis_verify::witness::{MAX_REQUEST_BYTES, NotWitnessed, SIZE_CONTENT_TYPE};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Refused, Witness, WitnessError};
use crate::config::ListenConfig;
use crate::listen::Door;

/// Requests that are judged at once, and as many that read.
const AT_ONCE: usize = 8;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

struct Shared {
    witness: Witness,
    judging: Arc<Semaphore>,
    rate: Mutex<Rate>,
    reading: Arc<Semaphore>,
    /// Of those who read, apart: they use up nothing of the logs'.
    reads: Mutex<Rate>,
}

/// Whether a request is answered now: within a rate, and with a place.
fn admitted(
    rate: &Mutex<Rate>,
    places: &Arc<Semaphore>,
) -> Result<OwnedSemaphorePermit, (StatusCode, &'static str)> {
    let now = SystemClocks.boot();
    if !rate.lock().unwrap_or_else(PoisonError::into_inner).admits(now) {
        return Err((StatusCode::TOO_MANY_REQUESTS, "more requests than this witness answers\n"));
    }
    let shed = |_| (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n");
    Arc::clone(places).try_acquire_owned().map_err(shed)
}

/// A bucket of requests that fills with time. What it holds is counted in thousandths of a request.
struct Rate {
    per_second: u64,
    held: u64,
    filled: u64,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, held: per_second.saturating_mul(1_000), filled: SystemClocks.boot() }
    }

    /// Whether a request is within the rate, at this boot-clock time in milliseconds.
    fn admits(&mut self, now: u64) -> bool {
        let elapsed = now.saturating_sub(self.filled);
        self.filled = now;
        let most = self.per_second.saturating_mul(1_000);
        self.held = self.held.saturating_add(elapsed.saturating_mul(self.per_second)).min(most);
        match self.held.checked_sub(1_000) {
            Some(rest) => {
                self.held = rest;
                true
            }
            None => false,
        }
    }
}

/// Serves a witness over HTTP until `stop` turns true.
///
/// # Errors
/// [`WitnessError::Listen`].
pub async fn serve_witness(
    witness: Witness,
    listen: ListenConfig,
    requests_per_second: u32,
    stop: watch::Receiver<bool>,
    say: impl Fn(String),
) -> Result<(), WitnessError> {
    let ListenConfig { address, tls } = listen;
    let failed = |error| WitnessError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (scheme, door) = match tls {
        Some(tls) => ("https", Door::Tls(listener, tls.into())),
        None => ("http", Door::Tcp(listener)),
    };
    say(format!("listening on {scheme}://{bound}"));
    let shared = Shared {
        witness,
        judging: Arc::new(Semaphore::new(AT_ONCE)),
        rate: Mutex::new(Rate::new(requests_per_second)),
        reading: Arc::new(Semaphore::new(AT_ONCE)),
        reads: Mutex::new(Rate::new(requests_per_second)),
    };
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint).layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES)))
        .route("/{hash}/checkpoint", get(checkpoint))
        .with_state(Arc::new(shared));
    door.serve(router, stop).await;
    Ok(())
}

async fn add_checkpoint(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    use axum::extract::FromRequest;
    let body = match tokio::time::timeout(BODY_PATIENCE, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return rejection.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    // Not before the body is there: whoever sends none uses nothing up but its connection.
    let place = match admitted(&shared.rate, &shared.judging) {
        Ok(place) => place,
        Err(refused) => return refused.into_response(),
    };
    // Judging syncs a file. It is not undone by a caller who leaves.
    let judged = tokio::task::spawn_blocking(move || {
        let judged = shared.witness.add_checkpoint(&body);
        drop(place);
        judged
    });
    match judged.await {
        Ok(Ok(lines)) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response(),
        Ok(Err(Refused::Judged(refused))) => refusal(&refused),
        Ok(Err(Refused::Broken(error))) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("nothing is cosigned: {error}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refusal(refused: &NotWitnessed) -> Response {
    let status = StatusCode::from_u16(refused.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refused {
        NotWitnessed::Conflict { seen } | NotWitnessed::OtherRoot { seen } => {
            (status, [(CONTENT_TYPE, SIZE_CONTENT_TYPE)], format!("{seen}\n")).into_response()
        }
        NotWitnessed::Malformed(_)
        | NotWitnessed::Checkpoint(_)
        | NotWitnessed::UnknownOrigin(_)
        | NotWitnessed::Unsigned(_)
        | NotWitnessed::OldAboveNew { .. }
        | NotWitnessed::Inconsistent(_) => (status, format!("{refused}\n")).into_response(),
    }
}

async fn checkpoint(State(shared): State<Arc<Shared>>, Path(hash): Path<String>) -> Response {
    let place = match admitted(&shared.reads, &shared.reading) {
        Ok(place) => place,
        Err(refused) => return refused.into_response(),
    };
    // The state's lock is held while a file is synced.
    let found = tokio::task::spawn_blocking(move || {
        let found = shared.witness.checkpoint(&hash);
        drop(place);
        found
    })
    .await;
    match found {
        Ok(Some(note)) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_flood_is_held_to_the_rate_and_silence_fills_it_again() {
        let mut rate = Rate { per_second: 5, held: 5_000, filled: 1_000 };
        let admitted = |rate: &mut Rate, now: u64| (0..100).filter(|_| rate.admits(now)).count();
        assert_eq!(admitted(&mut rate, 1_000), 5);
        assert_eq!(admitted(&mut rate, 1_199), 0);
        assert_eq!(admitted(&mut rate, 1_400), 2);
        assert_eq!(admitted(&mut rate, 90_000), 5);
        assert_eq!(admitted(&mut rate, 80_000), 0);
    }
}
