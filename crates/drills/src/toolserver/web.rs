//! The tool server over Streamable HTTP: no sessions, no streams, one JSON answer to each POST.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Tools;

type Answer = Response<Full<Bytes>>;

/// Serves until it is ended. The address is said first, on standard output: it may have been chosen by the system.
pub(super) fn serve(address: SocketAddr, tools: Tools) -> io::Result<()> {
    // One thread, as a server of one process has it: what is measured before it is the gate.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}/mcp\n", listener.local_addr()?);
        io::stdout().write_all(url.as_bytes())?;
        let tools = Arc::new(Mutex::new(tools));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let tools = Arc::clone(&tools);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, Arc::clone(&tools)));
                // A connection that breaks off has its error at the other end.
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

async fn answer(request: Request<Incoming>, tools: Arc<Mutex<Tools>>) -> Result<Answer, Infallible> {
    if request.method() != Method::POST {
        return Ok(bare(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(bare(StatusCode::BAD_REQUEST)) };
    let answered = tools.lock().unwrap_or_else(PoisonError::into_inner).answer(&body.to_bytes());
    Ok(match answered {
        Ok(Some(message)) => {
            let mut answer = Response::new(Full::from(message.to_string()));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        Ok(None) => bare(StatusCode::ACCEPTED),
        // What cannot be put into the journal did not run.
        Err(_) => bare(StatusCode::INTERNAL_SERVER_ERROR),
    })
}

fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
