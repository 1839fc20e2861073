//! Accepting connections, within bounds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Served;
use super::bounds::{HEADER, HEADER_FIELDS};

/// How long it is waited when no connection can be accepted, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes a second that a client takes, at the least, of what it is answered.
const LEAST_RATE: u64 = 32 * 1024;

/// Accepts connections for ever. When this is dropped, all of them end.
pub(super) async fn accept(served: Arc<Served>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let places = Arc::new(Semaphore::new(served.bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match (listener.accept().await, Arc::clone(&places).try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => {
                connections.spawn(attend(Arc::clone(&served), stream, tls.clone(), place));
            }
            // More than there is room for: the connection is dropped.
            (Ok(_), Err(_)) => {}
            (Err(_), _) => sleep(PAUSE).await,
        }
    }
}

async fn attend(
    served: Arc<Served>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
) {
    let _place = place;
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Patient::new(stream, served.bounds.reading);
    match tls {
        None => http(served, stream).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(served.bounds.header, tls.accept(stream)).await {
                http(served, stream).await;
            }
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(served: Arc<Served>, stream: S) {
    let header = served.bounds.header;
    let service = service_fn(move |request| {
        let served = Arc::clone(&served);
        async move { Ok::<_, std::convert::Infallible>(served.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_header_size(HEADER)
        .max_headers(HEADER_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks off has its error at the other end.
    drop(connection.await);
}

/// A connection that fails when it was waited for too long until the other side took what is written to it. What it takes makes good for
/// the time that it takes at the least rate, so that neither who reads nothing nor who reads next to nothing keeps what it is answered.
struct Patient<S> {
    stream: S,
    patience: Duration,
    /// How long it was waited for, less what was made good for.
    waited: Duration,
    /// Since when it is waited, and how long it may be.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Patient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waited: Duration::ZERO, waiting: None }
    }

    /// What a write came to; an error if it has waited too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = written {
            if let Some((since, _)) = self.waiting.take() {
                self.waited = self.waited.saturating_add(since.elapsed());
            }
            let bytes = done.as_ref().map_or(0, bytes);
            self.waited = self.waited.saturating_sub(least_time(bytes));
            return Poll::Ready(done);
        }
        let left = self.patience.saturating_sub(self.waited);
        let (_, waiting) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How long so many bytes take at the least rate.
fn least_time(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_micros(bytes.saturating_mul(1_000_000).checked_div(LEAST_RATE).unwrap_or(0))
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.within(context, written, |bytes| *bytes)
    }

    /// What is written in pieces is not copied together first: each gives its room back once it was written.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// How much of a MiB gets to a reader that takes so many bytes each so often.
    async fn taken(bytes: usize, pause: Duration) -> usize {
        let (ours, mut theirs) = tokio::io::duplex(bytes);
        let mut writer = Patient::new(ours, Duration::from_millis(200));
        let writing = tokio::spawn(async move { writer.write_all(&vec![0; 1 << 20]).await });
        let (mut buffer, mut taken) = (vec![0; bytes], 0);
        loop {
            // tidy: allow a reader that is slow on purpose is what is tried
            sleep(pause).await;
            match theirs.read(&mut buffer).await.unwrap() {
                0 => break,
                read => taken += read,
            }
        }
        drop(writing.await.unwrap());
        taken
    }

    #[tokio::test]
    async fn who_takes_next_to_nothing_is_let_go_of_and_who_is_slow_is_not() {
        assert!(taken(1, Duration::from_millis(100)).await < 10);
        assert!(taken(256, Duration::from_millis(20)).await < 64 * 1024, "less than half of the least rate");
        assert_eq!(taken(32 * 1024, Duration::from_millis(20)).await, 1 << 20);
    }
}
