//! One witness: what it has seen, and what it answers.

use std::time::Duration;

use portcullis_ledger::{Beside, Checkpoints};
use portcullis_sdk::HttpClient;
use portcullis_verify::witness::{AddCheckpoint, seen_size};
use portcullis_verify::{CosignerKey, Hash, VerifiedCheckpoint};
use tokio::sync::Mutex;

use crate::config::WitnessConfig;

/// How often a witness may say that it has seen another size, before that counts as failing.
const CONFLICTS: u32 = 3;

/// Longest answer that is read, in bytes: some signature lines.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A witness of this log.
pub(crate) struct Member {
    name: String,
    path: String,
    keys: Vec<CosignerKey>,
    client: HttpClient,
    patience: Duration,
    /// Held while it is asked, and until what it said is noted: one question at a time, and the answers in order.
    known: Mutex<Known>,
}

/// What is known of what a witness has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The size of it, as it said last.
    seen: Option<u64>,
    /// The largest size on which a cosignature of it was verified: it has seen no less.
    cosigned: u64,
}

/// What a witness answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It cosigned: these lines are on a head of this size.
    Cosigned { size: u64, lines: String },
    /// It has seen a longer log, or another history.
    Refuted(String),
    /// It did not cosign, for a cause that says nothing about the log.
    Failed(String),
    /// It is still being asked about another head.
    Busy,
}

impl Member {
    /// `kept` are checkpoints that it may have cosigned before.
    pub(crate) fn new(config: &WitnessConfig, patience: Duration, kept: &Checkpoints) -> Self {
        let its = |head: &VerifiedCheckpoint| {
            head.cosignatures(&config.keys).is_ok_and(|cosignatures| !cosignatures.is_empty())
        };
        let cosigned = kept.newest(its).map_or(0, |head| head.size());
        Self {
            name: config.name.clone(),
            path: format!("{}/add-checkpoint", config.prefix),
            keys: config.keys.clone(),
            client: HttpClient::new(config.endpoint.clone(), None),
            patience,
            known: Mutex::new(Known { seen: None, cosigned }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Submits a head. `newest` is the size of the newest head that this process signed, whenever it is asked. `note` is
    /// given each answer before another question is put.
    pub(crate) async fn submit(
        &self,
        head: &VerifiedCheckpoint,
        beside: &Beside,
        newest: impl Fn() -> u64,
        note: impl FnOnce(&Answer),
    ) -> Answer {
        let Ok(mut known) = self.known.try_lock() else { return Answer::Busy };
        let asked = self.exchange(head, beside, newest, &mut known);
        let answer = match tokio::time::timeout(self.patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed("no answer in time".into()),
        };
        note(&answer);
        answer
    }

    async fn exchange(
        &self,
        head: &VerifiedCheckpoint,
        beside: &Beside,
        newest: impl Fn() -> u64,
        known: &mut Known,
    ) -> Answer {
        for _ in 0..CONFLICTS {
            // Without knowing what it has seen, its own size is as good a guess as any: the answer says the right one.
            let old = known.seen.filter(|seen| *seen <= head.size()).unwrap_or(head.size());
            let proof = match proof(old, head, beside).await {
                Ok(proof) => proof,
                Err(error) => return Answer::Failed(error),
            };
            let answer = {
                let body = AddCheckpoint::body(old, &proof, head);
                self.client
                    .post(&self.path, "application/octet-stream", &body, LONGEST_ANSWER, self.patience)
                    .await
            };
            let (status, body) = match answer {
                Ok(answer) => answer,
                Err(refusal) => {
                    return Answer::Failed(refusal.reason().detail.unwrap_or(refusal.to_string()));
                }
            };
            match status {
                200 => {
                    known.seen = Some(head.size());
                    let answer = self.cosigned(head, &body);
                    if let Answer::Cosigned { size, .. } = &answer {
                        known.cosigned = known.cosigned.max(*size);
                    }
                    return answer;
                }
                409 => {
                    if let Some(answer) = conflict(seen_size(&body), old, head.size(), newest(), known) {
                        return answer;
                    }
                }
                422 => {
                    let text = format!("what it has seen at size {old} is not in this ledger");
                    return Answer::Refuted(text);
                }
                status => return Answer::Failed(explained(status)),
            }
        }
        Answer::Failed("it contradicts itself about the size that it has seen".into())
    }

    fn cosigned(&self, head: &VerifiedCheckpoint, body: &[u8]) -> Answer {
        let Ok(lines) = str::from_utf8(body) else {
            return Answer::Failed("its answer is not UTF-8".into());
        };
        let cosigned = head.signed_only().with_lines(lines, &self.keys);
        let signed = cosigned.and_then(|cosigned| cosigned.cosignatures(&self.keys));
        match signed {
            Ok(cosignatures) if cosignatures.is_empty() => {
                Answer::Failed("its answer has no cosignature of the key that is configured".into())
            }
            Ok(_) => Answer::Cosigned { size: head.size(), lines: lines.to_owned() },
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

/// What a witness says that answers 409, with the size that it has seen; `None` if it is to be asked about that size.
fn conflict(said: Option<u64>, old: u64, size: u64, newest: u64, known: &mut Known) -> Option<Answer> {
    match said {
        Some(seen) if seen > newest => {
            Some(Answer::Refuted(format!("it has seen {seen} records, this ledger has {newest}")))
        }
        // The old size is right, so it is the root that is not (c2sp.org/tlog-witness, 409 without a size).
        Some(seen) if seen == old && old == size && size > 0 => Some(another_root(size)),
        None if old == size && size > 0 => Some(another_root(size)),
        None => Some(Answer::Failed("it answered 409 without a size".into())),
        Some(seen) if seen < known.cosigned => Some(Answer::Failed(format!(
            "it has forgotten: it cosigned {} records, and says that it has seen {seen}",
            known.cosigned
        ))),
        Some(seen) => {
            known.seen = Some(seen);
            (seen > size).then(|| Answer::Failed("it has seen a newer head of this ledger".into()))
        }
    }
}

fn another_root(size: u64) -> Answer {
    Answer::Refuted(format!("it has seen another root at size {size}"))
}

fn explained(status: u16) -> String {
    match status {
        403 => "it does not trust this log's key (403)".into(),
        404 => "it does not serve this log (404)".into(),
        429 => "it answers no more requests for now (429)".into(),
        other => format!("it answered {other}"),
    }
}

/// The proof from what a witness has seen, made where waiting for the disk holds up nobody.
async fn proof(old: u64, head: &VerifiedCheckpoint, beside: &Beside) -> Result<Vec<Hash>, String> {
    if old == 0 || old == head.size() {
        return Ok(Vec::new());
    }
    let (beside, head) = (beside.clone(), head.clone());
    let made = tokio::task::spawn_blocking(move || beside.consistency(old, &head)).await;
    match made {
        Ok(Ok(proof)) => Ok(proof),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the proof was not made".into()),
    }
}
