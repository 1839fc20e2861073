//! The log's witnesses (c2sp.org/tlog-witness), asked for cosignatures outside the writer's thread.
//!
//! Rounds: the newest anchored head is submitted to every witness at once, with the proof that it extends what that
//! witness has seen. When the quorum has cosigned it, whoever waits for a checkpoint that covers a record is told.
//! A witness that has seen a longer log, or another history, refutes the ledger: nothing is recorded, signed or
//! permitted until it agrees again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_ledger::{Beside, Checkpoints, Elsewhere, Heads, Held, Proved, Seen};
use portcullis_protocol::ReasonCode;
use portcullis_verify::{CosignerKey, Quorum, VerifiedCheckpoint};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::config::{ArbiterConfig, WitnessesConfig};
use crate::remote::WitnessHealth;

mod member;

use member::{Answer, Member};

/// How soon a round that came to nothing is tried again while a PERMIT waits.
const SOON: Duration = Duration::from_millis(200);

/// What a witness said last.
#[derive(Clone, Debug)]
enum Standing {
    Unasked,
    Cosigned,
    Refuted(String),
    Failed(String),
}

struct Shared {
    config: WitnessesConfig,
    members: Vec<Member>,
    keys: Vec<CosignerKey>,
    beside: Beside,
    checkpoints: Checkpoints,
    heads: watch::Sender<Option<Arc<VerifiedCheckpoint>>>,
    witnessed: watch::Sender<Option<Arc<VerifiedCheckpoint>>>,
    /// The least size that a waiting PERMIT needs to be covered by.
    wanted: watch::Sender<u64>,
    standing: Mutex<BTreeMap<String, (Standing, Option<u64>)>>,
}

/// Witnesses before the ledger is there.
pub(crate) struct Watching(Arc<Shared>);

/// Witnesses of a ledger. Dropping it ends the rounds.
pub(crate) struct Watched {
    shared: Arc<Shared>,
    rounds: JoinHandle<()>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watched").field("members", &self.shared.members.len()).finish_non_exhaustive()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.rounds.abort();
    }
}

impl Watching {
    pub(crate) fn new(arbiter: &ArbiterConfig, config: &WitnessesConfig) -> Self {
        let data: PathBuf = arbiter.data.clone();
        let unasked = |member: &Member| (member.name().to_owned(), (Standing::Unasked, None));
        let members: Vec<Member> =
            config.members.iter().map(|member| Member::new(member, config.patience)).collect();
        Self(Arc::new(Shared {
            standing: Mutex::new(members.iter().map(unasked).collect()),
            keys: config.quorum.keys().to_vec(),
            config: config.clone(),
            members,
            beside: Beside::new(&data),
            checkpoints: Checkpoints::of(&data, arbiter.log_keys.clone()),
            heads: watch::Sender::new(None),
            witnessed: watch::Sender::new(None),
            wanted: watch::Sender::new(0),
        }))
    }

    /// The witnesses, to be asked by the ledger when it is opened.
    pub(crate) fn elsewhere(&self) -> AskedFirst {
        AskedFirst { shared: Arc::clone(&self.0), runtime: Handle::current() }
    }

    /// Asks the witnesses about each head of a ledger from now on.
    pub(crate) fn follow(self, heads: Heads) -> Watched {
        let shared = self.0;
        let told = Arc::clone(&shared);
        heads.listen(Box::new(move |head| {
            told.heads.send_replace(Some(Arc::clone(head)));
        }));
        let rounds = tokio::spawn(Arc::clone(&shared).rounds(heads));
        Watched { shared, rounds }
    }
}

impl Watched {
    /// Waits until the quorum has cosigned a checkpoint that covers a held PERMIT, and makes its receipt under it.
    ///
    /// # Errors
    /// The code under which the PERMIT is withheld. Dropping this future withholds it too.
    pub(crate) async fn prove(&self, held: Box<Held>) -> Result<Proved, ReasonCode> {
        let size = held.seq().saturating_add(1);
        self.shared.wanted.send_if_modified(|wanted| {
            let further = size > *wanted;
            *wanted = size.max(*wanted);
            further
        });
        let mut witnessed = self.shared.witnessed.subscribe();
        let covers =
            |head: &Option<Arc<VerifiedCheckpoint>>| head.as_ref().is_some_and(|head| head.size() >= size);
        let checkpoint = witnessed.wait_for(covers).await.map_or(None, |head| head.clone());
        let checkpoint = checkpoint.ok_or(ReasonCode::EvidenceUnwitnessed)?;
        let (beside, quorum) = (self.shared.beside.clone(), self.quorum().clone());
        let proved = tokio::task::spawn_blocking(move || held.prove(&beside, &checkpoint, &quorum));
        proved.await.unwrap_or(Err(ReasonCode::EvidenceUnwitnessed))
    }

    fn quorum(&self) -> &Quorum {
        &self.shared.config.quorum
    }

    /// The newest size that the quorum cosigned in this process's life.
    pub(crate) fn witnessed(&self) -> Option<u64> {
        self.shared.witnessed.borrow().as_ref().map(|head| head.size())
    }

    /// How each witness is.
    pub(crate) fn health(&self) -> Vec<WitnessHealth> {
        let standing = self.shared.standing();
        let health = |(name, (standing, size)): (&String, &(Standing, Option<u64>))| {
            let (state, error) = match standing {
                Standing::Unasked => ("unasked", None),
                Standing::Cosigned => ("cosigned", None),
                Standing::Refuted(error) => ("refuted", Some(error.clone())),
                Standing::Failed(error) => ("failed", Some(error.clone())),
            };
            WitnessHealth { name: name.clone(), state: state.to_owned(), size: *size, error }
        };
        standing.iter().map(health).collect()
    }
}

impl Shared {
    fn standing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Standing, Option<u64>)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a witness said, and says whether any of them refutes the ledger.
    fn note(&self, name: &str, answer: &Answer) -> bool {
        let mut standing = self.standing();
        let entry = standing.entry(name.to_owned()).or_insert((Standing::Unasked, None));
        match answer {
            Answer::Cosigned { size, .. } => *entry = (Standing::Cosigned, Some(*size)),
            Answer::Refuted(error) => entry.0 = Standing::Refuted(error.clone()),
            // A witness that refuted the ledger and then fails has not taken it back.
            Answer::Failed(error) if !matches!(entry.0, Standing::Refuted(_)) => {
                entry.0 = Standing::Failed(error.clone());
            }
            Answer::Failed(_) | Answer::Busy => {}
        }
        standing.values().any(|(standing, _)| matches!(standing, Standing::Refuted(_)))
    }

    async fn rounds(self: Arc<Self>, heads: Heads) {
        let (mut newest, mut wanted) = (self.heads.subscribe(), self.wanted.subscribe());
        let mut refuted = false;
        loop {
            let begun = Instant::now();
            let head = newest.borrow_and_update().clone();
            wanted.mark_unchanged();
            if let Some(head) = head {
                let (decided, round_over) = oneshot::channel();
                tokio::spawn(Arc::clone(&self).round(head, heads.clone(), decided));
                // Ends early when the quorum has cosigned: a slow witness holds up nobody else's next round.
                refuted = round_over.await.unwrap_or(refuted);
            }
            self.rest(begun, refuted, &mut newest, &mut wanted).await;
        }
    }

    /// Waits until another round is due.
    async fn rest(
        &self,
        begun: Instant,
        refuted: bool,
        newest: &mut watch::Receiver<Option<Arc<VerifiedCheckpoint>>>,
        wanted: &mut watch::Receiver<u64>,
    ) {
        let regular = begun.checked_add(self.config.interval).map_or(begun, |at| at);
        loop {
            if !refuted && self.is_waited_for() {
                // Somebody waits: at once for a new head, soon again for one that did not get its quorum.
                tokio::select! {
                    _ = newest.changed() => {}
                    () = tokio::time::sleep(SOON) => {}
                }
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(regular) => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether a PERMIT waits that no witnessed checkpoint covers.
    fn is_waited_for(&self) -> bool {
        let witnessed = self.witnessed.borrow().as_ref().map_or(0, |head| head.size());
        *self.wanted.borrow() > witnessed
    }

    /// Submits a head to every witness. Tells `decided` whether the ledger is refuted, as soon as the quorum has cosigned
    /// or nobody is left to answer.
    async fn round(
        self: Arc<Self>,
        head: Arc<VerifiedCheckpoint>,
        heads: Heads,
        decided: oneshot::Sender<bool>,
    ) {
        let mut decided = Some(decided);
        let mut answers = JoinSet::new();
        for place in 0..self.members.len() {
            let (shared, head) = (Arc::clone(&self), Arc::clone(&head));
            answers.spawn(async move { shared.ask(place, &head).await });
        }
        let mut cosigned = (*head).clone();
        let mut refuted = false;
        while let Some(answered) = answers.join_next().await {
            let Ok((name, answer)) = answered else { continue };
            refuted = self.note(&name, &answer);
            heads.refute(refuted.then_some(ReasonCode::EvidenceBehindAnchor));
            let Answer::Cosigned { lines, .. } = answer else { continue };
            if let Ok(more) = cosigned.with_lines(&lines, &self.keys) {
                cosigned = more;
            }
            if self.config.quorum.check(&cosigned).is_ok() {
                self.publish(&cosigned);
                if let Some(decided) = decided.take() {
                    decided.send(refuted).unwrap_or_default();
                }
            }
            let (checkpoints, keys, head) = (self.checkpoints.clone(), self.keys.clone(), Arc::clone(&head));
            // Kept for those who come later; nothing waits for it, and what is not kept can be asked for again.
            drop(tokio::task::spawn_blocking(move || checkpoints.keep(&head, &lines, &keys)));
        }
        if let Some(decided) = decided {
            decided.send(refuted).unwrap_or_default();
        }
    }

    async fn ask(&self, place: usize, head: &VerifiedCheckpoint) -> (String, Answer) {
        let Some(member) = self.members.get(place) else {
            return (String::new(), Answer::Busy);
        };
        let newest = || self.heads.borrow().as_ref().map_or(0, |head| head.size()).max(head.size());
        (member.name().to_owned(), member.submit(head, &self.beside, newest).await)
    }

    /// Tells whoever waits, unless a later round was faster.
    fn publish(&self, cosigned: &VerifiedCheckpoint) {
        self.witnessed.send_if_modified(|newest| {
            let newer = newest.as_ref().is_none_or(|newest| newest.size() < cosigned.size());
            if newer {
                *newest = Some(Arc::new(cosigned.clone()));
            }
            newer
        });
    }

    /// Asks every witness about the head of a ledger that was just opened.
    async fn compare(self: Arc<Self>, head: VerifiedCheckpoint) -> Seen {
        let mut answers = JoinSet::new();
        for place in 0..self.members.len() {
            let (shared, head) = (Arc::clone(&self), head.clone());
            answers.spawn(async move { shared.ask(place, &head).await });
        }
        let (mut agreed, mut refuted) = (false, false);
        while let Some(answered) = answers.join_next().await {
            let Ok((name, answer)) = answered else { continue };
            refuted = self.note(&name, &answer);
            agreed |= matches!(answer, Answer::Cosigned { .. });
        }
        match (refuted, agreed) {
            (true, _) => Seen::More,
            (false, true) => Seen::NothingElse,
            (false, false) => Seen::Unknown,
        }
    }
}

/// The witnesses, asked on the writer's thread before a ledger that was opened records anything.
pub(crate) struct AskedFirst {
    shared: Arc<Shared>,
    runtime: Handle,
}

impl Elsewhere for AskedFirst {
    fn compare(&mut self, head: &VerifiedCheckpoint) -> Seen {
        let (answer, answered) = sync_channel(1);
        let (shared, head) = (Arc::clone(&self.shared), head.clone());
        let bound = self.shared.config.patience.saturating_mul(2);
        self.runtime.spawn(async move { answer.send(shared.compare(head).await).unwrap_or_default() });
        // A runtime that is ending drops the question, and with it the sender.
        answered.recv_timeout(bound).unwrap_or(Seen::Unknown)
    }
}
