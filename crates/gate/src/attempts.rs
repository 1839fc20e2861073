//! Attempts for which there was no answer of the arbiter's: kept in a spool of the gate's own, and sent to the arbiter
//! when it is there again, to be entered into the log late.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::wire::{LateCall, LateReply};
use portcullis_protocol::{AgentId, Attempted, GateId, Precondition, ReasonCode, Spooled};
use portcullis_sdk::{Authorizer, Refusal};
use portcullis_spool::{Bounds, Spool};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::notes::Notes;

/// How much one gate keeps.
const BOUNDS: Bounds = Bounds { entries: 1_000, bytes: 1024 * 1024 };
/// Gates that may use one directory at once. What one leaves behind is taken over by another.
const GATES: usize = 64;
/// How long a caller waits for the spool's disk.
const DISK: Duration = Duration::from_millis(500);
/// Entries that are sent at once, at most, and about how many bytes.
const MOST_SENT: usize = 64;
const BYTES_SENT: usize = 128 * 1024;
/// How often it is looked for what another gate has left behind.
const LOOK: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The gate's spool, if it has one.
pub(crate) struct Attempts {
    spool: Option<Arc<Spool>>,
    arbiter: Arc<dyn Authorizer>,
    deadline: Duration,
    notes: Notes,
    come: Notify,
}

impl Attempts {
    /// `folder` holds the spools of gates, each with a file of its own; it must be there.
    pub(crate) fn start(
        folder: Option<&Path>,
        (agent, gate): (&AgentId, &GateId),
        arbiter: Arc<dyn Authorizer>,
        deadline: Duration,
        notes: Notes,
    ) -> io::Result<Self> {
        let spool = folder.map(|folder| {
            // No name of a gate or an agent has an `@` in it: two gates never share a file.
            let file = |number| folder.join(format!("{gate}@{agent}@{number}"));
            let files: Vec<PathBuf> = (0..GATES).map(file).collect();
            Spool::start_one_of(files, BOUNDS, DISK).map(Arc::new)
        });
        Ok(Self { spool: spool.transpose()?, arbiter, deadline, notes, come: Notify::new() })
    }

    /// Whether there is a spool at all.
    pub(crate) const fn are_kept(&self) -> bool {
        self.spool.is_some()
    }

    /// Keeps what of a refused attempt is the gate's to keep. Whether it is durable now, and what its caller is told.
    pub(crate) async fn kept(&self, refusal: Refusal, attempted: Option<Attempted>) -> (bool, Refusal) {
        if attempted.is_none() {
            return (false, refusal);
        }
        match self.keep(attempted).await {
            true => (true, refusal),
            false => (false, nowhere(refusal)),
        }
    }

    /// Keeps an attempt. Whether it is durable now.
    async fn keep(&self, attempted: Option<Attempted>) -> bool {
        let (Some(spool), Some(attempted)) = (&self.spool, attempted) else { return false };
        let spool = Arc::clone(spool);
        let kept = tokio::task::spawn_blocking(move || spool.keep(vec![attempted])).await;
        let kept = kept.is_ok_and(|kept| kept == 1);
        if kept {
            self.come.notify_one();
        }
        kept
    }

    /// Sends what is kept, oldest first, for ever. Only the arbiter's word that it is in the log takes it out.
    pub(crate) async fn send(self: Arc<Self>) {
        let Some(spool) = &self.spool else { return };
        let (mut pause, mut most) = (FIRST_PAUSE, MOST_SENT);
        loop {
            if let Some(bytes) = spool.unreadable() {
                self.notes
                    .say(format!("{bytes} bytes of spooled attempts cannot be read; they were set aside"));
                spool.reported();
            }
            let entries = some(spool.oldest(most));
            if entries.is_empty() {
                drop(timeout(LOOK, self.come.notified()).await);
                continue;
            }
            match self.sent(&entries).await {
                Sent::Taken(taken) => {
                    spool.entered(taken);
                    (pause, most) = (FIRST_PAUSE, MOST_SENT);
                }
                // One of them is refused for what it is: the others go without it.
                Sent::Refused if entries.len() > 1 => most = 1,
                Sent::Refused => {
                    self.say_refused(&entries);
                    spool.entered(1);
                }
                Sent::Later => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn sent(&self, entries: &[Spooled]) -> Sent {
        let call = LateCall { entries: entries.to_vec() };
        match timeout(self.deadline, self.arbiter.late(call)).await {
            Ok(Ok(LateReply { taken: 0 })) | Err(_) => Sent::Later,
            Ok(Ok(LateReply { taken })) => {
                Sent::Taken(usize::try_from(taken).map_or(entries.len(), |taken| taken.min(entries.len())))
            }
            Ok(Err(refusal)) if refusal.code().precondition() == Precondition::Request => Sent::Refused,
            Ok(Err(_)) => Sent::Later,
        }
    }

    fn say_refused(&self, entries: &[Spooled]) {
        for entry in entries {
            let attempt = entry.attempted.attempt;
            self.notes.say(format!("the arbiter does not take the spooled attempt {attempt}: it is dropped"));
        }
    }
}

/// Why an attempt is refused that the gate was to keep and does not: evidence of it can be written nowhere. An answer that
/// proves nothing keeps its name.
fn nowhere(refusal: Refusal) -> Refusal {
    let code = refusal.code();
    let hidden = matches!(
        code,
        ReasonCode::ArbiterUnreachable | ReasonCode::ArbiterTimeout | ReasonCode::EvidenceOutcomeUnrecorded
    );
    if !hidden {
        return refusal;
    }
    Refusal::own(
        ReasonCode::EvidenceUnwritable,
        Some(format!("`{code}`, and the gate's spool is full or fails")),
    )
}

enum Sent {
    /// So many of the first are in the log.
    Taken(usize),
    /// They cannot be entered as they are.
    Refused,
    /// They may be entered later.
    Later,
}

/// As many of the first as may be sent at once; at least one, if there is any.
fn some(entries: Vec<Spooled>) -> Vec<Spooled> {
    let mut bytes: usize = 0;
    let mut sent = Vec::new();
    for entry in entries {
        let length = serde_json::to_vec(&entry).map_or(BYTES_SENT, |json| json.len());
        bytes = bytes.saturating_add(length);
        if !sent.is_empty() && bytes > BYTES_SENT {
            break;
        }
        sent.push(entry);
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_spool_hides_is_never_an_answer_that_proves_nothing() {
        let told = |code| nowhere(Refusal::own(code, None)).code();
        for code in ReasonCode::ALL {
            let hidden = matches!(
                code,
                ReasonCode::ArbiterUnreachable
                    | ReasonCode::ArbiterTimeout
                    | ReasonCode::EvidenceOutcomeUnrecorded
            );
            assert_eq!(told(*code), if hidden { ReasonCode::EvidenceUnwritable } else { *code });
        }
        let why = nowhere(Refusal::own(ReasonCode::ArbiterTimeout, None)).reason().detail;
        assert_eq!(why.as_deref(), Some("`arbiter.timeout`, and the gate's spool is full or fails"));
    }
}
