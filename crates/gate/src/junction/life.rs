//! One life of a server behind its gate: from its start to the end of all that was under way with it.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, duplex};
use tokio::sync::{mpsc, watch};

use crate::gate::{Basis, GateError, McpGate, NamedServer, serve_one};
use crate::line::{Line, Lines};
use crate::message::{From, Message, read};
use crate::room::{Room, Rooms};
use crate::session::UPSTREAM_LINE;

/// Bytes between the junction and a gate.
const PIPE: usize = 64 * 1024;
/// How much longer a gate's line may be than what the tool server said: what it puts around it.
const AROUND: usize = 64 * 1024;

/// Which life of which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) server: usize,
    pub(super) life: u64,
}

/// What comes of a life.
#[derive(Debug)]
pub(super) enum What {
    /// Its gate says something to the client.
    Said(Box<Message>, Option<Room>),
    /// The server is gone; what was under way is still being answered.
    Lost,
    /// Nothing more comes.
    Ended(Option<GateError>),
}

/// What comes of a life, and of which.
pub(super) type Event = (Which, What);

/// What a life is led with.
pub(super) struct Birth {
    pub(super) config: Arc<McpGate>,
    pub(super) server: NamedServer,
    pub(super) basis: Basis,
    pub(super) which: Which,
    /// What the client says to it. Its end is the life's.
    pub(super) inbox: mpsc::Receiver<Vec<u8>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Birth {
    pub(super) async fn live(self) {
        let Self { config, server, basis, which, inbox, events } = self;
        let (to_gate, gate_in) = duplex(PIPE);
        let (gate_out, from_gate) = duplex(PIPE);
        let (lost, told) = (watch::Sender::new(false), events.clone());
        let is_lost = lost.subscribe();
        let session = serve_one(&config, server, &basis, (gate_in, gate_out), lost);
        let (ended, (), ()) = tokio::join!(
            session,
            feed(inbox, to_gate, is_lost, async { drop(told.send((which, What::Lost)).await) }),
            hear(from_gate, which, (&events, config.rooms())),
        );
        drop(events.send((which, What::Ended(ended.err()))).await);
    }
}

/// Hands on to the gate, also when the server is gone: the gate says so of each call.
async fn feed(
    mut inbox: mpsc::Receiver<Vec<u8>>,
    mut gate: impl AsyncWrite + Unpin,
    mut lost: watch::Receiver<bool>,
    tell: impl Future<Output = ()>,
) {
    let mut tell = Box::pin(async {
        drop(lost.wait_for(|lost| *lost).await);
        tell.await;
    });
    let mut told = false;
    loop {
        let line = tokio::select! {
            line = inbox.recv() => line,
            () = &mut tell, if !told => {
                told = true;
                continue;
            }
        };
        let Some(mut line) = line else { return };
        line.push(b'\n');
        if gate.write_all(&line).await.is_err() {
            // The gate does not start, or has ended.
            inbox.close();
        }
    }
}

/// Takes up what the gate says, as much as there is room for until the junction takes it up.
async fn hear(gate: impl AsyncRead + Unpin, which: Which, (events, rooms): (&mpsc::Sender<Event>, Rooms)) {
    let mut lines = Lines::new(gate, UPSTREAM_LINE.saturating_add(AROUND));
    // What a gate says to a client is a message of no more than that.
    while let Ok(Some(line)) = lines.next().await {
        if let Line::Whole(bytes) = line
            && let Ok(message) = read(&bytes, From::Upstream)
        {
            let room = rooms.take(bytes.len()).await;
            drop(events.send((which, What::Said(Box::new(message), room))).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_several_servers_say_was_held_as_messages_and_not_as_bytes() {
        const TWO_MEGABYTES: usize = 2 << 20;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"data\":\"{}\"}}}}\n",
            "x".repeat(TWO_MEGABYTES - 100)
        );
        let said = line.repeat(6).into_bytes();
        let (events, mut inbox) = mpsc::channel(64);
        // One of so many has four megabytes.
        let hearing = tokio::spawn(async move {
            hear(said.as_slice(), Which { server: 0, life: 1 }, (&events, Rooms::of_one(32))).await;
        });
        let mut held = Vec::new();
        for _ in 0..2 {
            let event = timeout(Duration::from_secs(30), inbox.recv()).await;
            held.push(event.expect("there is room for two").unwrap());
        }
        assert!(timeout(Duration::from_secs(1), inbox.recv()).await.is_err(), "and for no more");
        held.clear();
        for _ in 0..4 {
            assert!(inbox.recv().await.is_some(), "what was taken up makes room");
        }
        hearing.await.unwrap();
    }
}
