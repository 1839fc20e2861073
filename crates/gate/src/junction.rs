//! Several tool servers behind one client.
//!
//! It is a codec before gates, as the endpoint is: each server has a gate's session of its own, the very one that it would have
//! alone, with its own process, pins, confinement and bounds. There is no way from here to a tool server but through its gate, and
//! what a gate is told is to do is decided there, under the server's name and by the tool's own. What is done here: whom a message is
//! for (`names`), what several servers' answers come to as one (`gather`, `greeting`, `listen`), and which of them are there (`health`).
//!
//! One task has all state. It never waits: what a server does not take at once is refused, and what the client does not take holds up
//! the servers' output, as it does behind one gate.

mod asked;
mod gather;
mod greeting;
mod health;
mod heard;
mod life;
mod listen;
pub(crate) mod names;
mod shelf;
mod state;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::gate::{Basis, Ending, GateError, McpGate};
use crate::line::Lines;
use crate::session::CLIENT_LINE;

use life::Event;
use state::Junction;

/// What the servers have said and was not acted upon.
const EVENTS: usize = 64;
/// How long the servers may take to end, with what is under way, once the client has gone.
const FAREWELL: Duration = Duration::from_secs(12);
/// How long the client's last answers may take.
const REST: Duration = Duration::from_secs(1);
/// When there is nothing to be done at some time.
const IDLE: Duration = Duration::from_secs(3_600);

/// Serves one client until it closes its end.
pub(crate) async fn serve<R, W>(
    config: McpGate,
    basis: Basis,
    client_in: R,
    client_out: W,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, lines) = mpsc::channel(1);
    let mut writing = JoinSet::new();
    writing.spawn(write(lines, client_out));
    let (events, mut inbox) = mpsc::channel(EVENTS);
    let mut junction = Junction::new(config, basis.clone(), events)?;
    junction.start_all();
    let mut client = Lines::new(client_in, CLIENT_LINE);
    let mut closed = false;
    while !closed {
        let room = junction.has_room();
        let due = junction.due().unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            place = out.reserve(), if !junction.backlog.is_empty() => match place {
                Ok(place) => hand(place, &mut junction.backlog),
                Err(_) => closed = true,
            },
            line = client.next(), if room => match line {
                Ok(Some(line)) => junction.client_line(line),
                Ok(None) => closed = true,
                Err(error) => {
                    basis.notes.say(format!("the client's messages cannot be read: {error}"));
                    closed = true;
                }
            },
            event = inbox.recv(), if room => if let Some(event) = event { junction.event(event) },
            () = out.closed() => closed = true,
            () = sleep_until(due.into()) => junction.tick(Instant::now()),
        }
    }
    junction.leave();
    drop(timeout(FAREWELL, last_words(&mut junction, &mut inbox, &out)).await);
    let ending = junction.end().await;
    drop(out);
    drop(timeout(REST, writing.join_next()).await);
    basis.end(ending).await;
    Ok(ending)
}

fn hand(place: mpsc::Permit<'_, Vec<u8>>, backlog: &mut VecDeque<Vec<u8>>) {
    if let Some(line) = backlog.pop_front() {
        place.send(line);
    }
}

/// What the servers still say while they end.
async fn last_words(junction: &mut Junction, inbox: &mut mpsc::Receiver<Event>, out: &mpsc::Sender<Vec<u8>>) {
    let mut gone = false;
    while junction.lives() || (!junction.backlog.is_empty() && !gone) {
        if gone {
            junction.backlog.clear();
        }
        tokio::select! {
            place = out.reserve(), if !junction.backlog.is_empty() && !gone => match place {
                Ok(place) => hand(place, &mut junction.backlog),
                Err(_) => gone = true,
            },
            event = inbox.recv(), if junction.lives() => if let Some(event) = event { junction.event(event) },
        }
    }
}

/// Writes to the client, one whole line after the other.
async fn write<W: AsyncWrite + Unpin>(mut lines: mpsc::Receiver<Vec<u8>>, mut out: W) {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        let written = async {
            out.write_all(&line).await?;
            out.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}
