//! Keeping the newest cosigned checkpoint beside the database, for those who come later.

use std::sync::Arc;
use std::time::Duration;

use portcullis_ledger::Checkpoints;
use portcullis_verify::{CosignerKey, VerifiedCheckpoint};
use tokio::sync::watch;

/// Keeps cosigned checkpoints one at a time, the newest when it comes to it: rounds follow one another faster than
/// files can be synced.
#[derive(Clone)]
pub(super) struct Keeper {
    checkpoints: Checkpoints,
    keys: Vec<CosignerKey>,
    /// At most one file is written in this time.
    interval: Duration,
    newest: Arc<watch::Sender<Option<VerifiedCheckpoint>>>,
}

impl Keeper {
    pub(super) fn new(checkpoints: Checkpoints, keys: Vec<CosignerKey>, interval: Duration) -> Self {
        Self { checkpoints, keys, interval, newest: Arc::new(watch::Sender::new(None)) }
    }

    /// Has a head kept with these lines, unless a newer one is to be kept. Waits for nothing, and what is not kept can be
    /// asked for again.
    pub(super) fn keep(&self, head: &VerifiedCheckpoint, lines: &str) {
        self.newest.send_if_modified(|newest| {
            if newest.as_ref().is_some_and(|newest| newest.size() > head.size()) {
                return false;
            }
            let same = newest.as_ref().filter(|newest| newest.checkpoint() == head.checkpoint());
            let Ok(cosigned) = same.map_or(head, |same| same).with_lines(lines, &self.keys) else {
                return false;
            };
            let changed = newest.as_ref().is_none_or(|newest| newest.note_bytes() != cosigned.note_bytes());
            *newest = Some(cosigned);
            changed
        });
    }

    /// Keeps what there is to be kept, for ever.
    pub(super) async fn keeps(self) {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        while newest.changed().await.is_ok() {
            let Some(cosigned) = newest.borrow_and_update().clone() else { continue };
            let (checkpoints, keys) = (self.checkpoints.clone(), self.keys.clone());
            let kept = tokio::task::spawn_blocking(move || {
                let note = String::from_utf8_lossy(cosigned.note_bytes());
                let lines = note.split_once("\n\n").map_or("", |(_, lines)| lines);
                checkpoints.keep(&cosigned.signed_only(), lines, &keys)
            });
            drop(kept.await);
            tokio::time::sleep(self.interval).await;
        }
    }
}
