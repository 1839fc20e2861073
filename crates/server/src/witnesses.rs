//! The log's witnesses (c2sp.org/tlog-witness), asked for cosignatures outside the writer's thread.
//!
//! Rounds: the newest anchored head is submitted to every witness at once, with the proof that it extends what that
//! witness has seen. When the quorum has cosigned it, whoever waits for a checkpoint that covers a record is told.
//! A witness that has seen a longer log, or another history, refutes the ledger: nothing is recorded, signed or
//! permitted until it agrees again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use portcullis_ledger::{Beside, Checkpoints, Elsewhere, Heads, Held, Proved, Refutations, Seen};
use portcullis_protocol::ReasonCode;
use portcullis_verify::{CosignerKey, Quorum, VerifiedCheckpoint};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::config::{ArbiterConfig, WitnessesConfig};
use crate::remote::WitnessHealth;

mod keeper;
mod member;

use keeper::Keeper;
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
    keeper: Keeper,
    refutations: Refutations,
    /// What is told that the ledger is refuted, once there is a ledger.
    told: OnceLock<Heads>,
    /// Whether any witness cosigned when it was asked last.
    answering: Arc<AtomicBool>,
    heads: watch::Sender<Option<Arc<VerifiedCheckpoint>>>,
    witnessed: watch::Sender<Option<Arc<VerifiedCheckpoint>>>,
    /// The sizes that PERMITs which wait now need to be covered by, and how many of them.
    wanted: watch::Sender<BTreeMap<u64, usize>>,
    standing: Mutex<BTreeMap<String, (Standing, Option<u64>)>>,
}

/// Witnesses before the ledger is there.
pub(crate) struct Watching(Arc<Shared>);

/// Witnesses of a ledger. Dropping it ends the rounds.
pub(crate) struct Watched {
    shared: Arc<Shared>,
    rounds: JoinHandle<()>,
    keeps: JoinHandle<()>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watched").field("members", &self.shared.members.len()).finish_non_exhaustive()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.rounds.abort();
        self.keeps.abort();
    }
}

impl Watching {
    pub(crate) fn new(arbiter: &ArbiterConfig, config: &WitnessesConfig) -> Self {
        let data: PathBuf = arbiter.data.clone();
        let checkpoints = Checkpoints::of(&data, arbiter.log_keys.clone());
        let unasked = |member: &Member| (member.name().to_owned(), (Standing::Unasked, None));
        let new = |member| Member::new(member, config.patience, &checkpoints);
        let members: Vec<Member> = config.members.iter().map(new).collect();
        let refutations = Refutations::of(&data);
        let mut standing: BTreeMap<_, _> = members.iter().map(unasked).collect();
        standing.extend(refuted_before(&refutations));
        Self(Arc::new(Shared {
            standing: Mutex::new(standing),
            refutations,
            told: OnceLock::new(),
            answering: Arc::new(AtomicBool::new(false)),
            keys: config.quorum.keys().to_vec(),
            config: config.clone(),
            members,
            beside: Beside::new(&data),
            keeper: Keeper::new(checkpoints, config.quorum.keys().to_vec(), config.interval),
            heads: watch::Sender::new(None),
            witnessed: watch::Sender::new(None),
            wanted: watch::Sender::new(BTreeMap::new()),
        }))
    }

    /// The witnesses, to be asked by the ledger when it is opened.
    pub(crate) fn elsewhere(&self) -> AskedFirst {
        AskedFirst { shared: Arc::clone(&self.0), runtime: Handle::current() }
    }

    /// Whether any witness cosigned when it was asked last: without that nothing is recorded that waits for them.
    pub(crate) fn answering(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.answering)
    }

    /// Asks the witnesses about each head of a ledger from now on.
    pub(crate) fn follow(self, heads: Heads) -> Watched {
        let shared = self.0;
        let told = Arc::clone(&shared);
        heads.listen(Box::new(move |head| {
            told.heads.send_replace(Some(Arc::clone(head)));
        }));
        // What was found out before there was a ledger to be told.
        {
            let standing = shared.standing();
            heads.refute(is_refuted(&standing).then_some(ReasonCode::EvidenceBehindAnchor));
            drop(shared.told.set(heads));
        }
        let rounds = tokio::spawn(Arc::clone(&shared).rounds());
        let keeps = tokio::spawn(shared.keeper.clone().keeps());
        Watched { shared, rounds, keeps }
    }
}

impl Watched {
    /// Waits until the quorum has cosigned a checkpoint that covers a held PERMIT, and makes its receipt under it.
    ///
    /// # Errors
    /// The code under which the PERMIT is withheld. Dropping this future withholds it too.
    pub(crate) async fn prove(&self, held: Box<Held>) -> Result<Proved, ReasonCode> {
        let size = held.seq().saturating_add(1);
        let _wanted = Wanted::new(&self.shared.wanted, size);
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

    /// Notes what a witness said. Whether the ledger is refuted is told before anything else can be noted, and a
    /// refutation is kept beyond the process; it ends when that is known to be noted too.
    fn note(&self, name: &str, answer: &Answer) {
        let mut standing = self.standing();
        let entry = standing.entry(name.to_owned()).or_insert((Standing::Unasked, None));
        let refuted_before = matches!(entry.0, Standing::Refuted(_));
        match answer {
            Answer::Cosigned { size, .. } if refuted_before => match self.refutations.withdraw(name) {
                Ok(()) => *entry = (Standing::Cosigned, Some(*size)),
                Err(error) => {
                    entry.0 = Standing::Refuted(format!("it cosigned, which cannot be noted: {error}"));
                }
            },
            Answer::Cosigned { size, .. } => *entry = (Standing::Cosigned, Some(*size)),
            Answer::Refuted(error) => entry.0 = Standing::Refuted(error.clone()),
            // A witness that refuted the ledger and then fails has not taken it back.
            Answer::Failed(error) if !refuted_before => entry.0 = Standing::Failed(error.clone()),
            Answer::Failed(_) | Answer::Busy => {}
        }
        let cosigned = standing.values().any(|(standing, _)| matches!(standing, Standing::Cosigned));
        self.answering.store(cosigned, Ordering::Release);
        if let Some(heads) = self.told.get() {
            heads.refute(is_refuted(&standing).then_some(ReasonCode::EvidenceBehindAnchor));
        }
        if let Answer::Refuted(error) = answer {
            // What cannot be noted stands in this process, and is noted at its next answer.
            drop(self.refutations.raise(name, error));
        }
    }

    fn is_refuted(&self) -> bool {
        is_refuted(&self.standing())
    }

    async fn rounds(self: Arc<Self>) {
        let (mut newest, mut wanted) = (self.heads.subscribe(), self.wanted.subscribe());
        loop {
            let begun = Instant::now();
            let head = newest.borrow_and_update().clone();
            wanted.mark_unchanged();
            if let Some(head) = head {
                let (decided, round_over) = oneshot::channel();
                tokio::spawn(Arc::clone(&self).round(head, decided));
                // Ends early when the quorum has cosigned: a slow witness holds up nobody else's next round.
                drop(round_over.await);
            }
            self.rest(begun, &mut newest, &mut wanted).await;
        }
    }

    /// Waits until another round is due.
    async fn rest(
        &self,
        begun: Instant,
        newest: &mut watch::Receiver<Option<Arc<VerifiedCheckpoint>>>,
        wanted: &mut watch::Receiver<BTreeMap<u64, usize>>,
    ) {
        let regular = begun.checked_add(self.config.interval).map_or(begun, |at| at);
        loop {
            if self.is_waited_for() && !self.is_refuted() {
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
        self.wanted.borrow().last_key_value().is_some_and(|(size, _)| *size > witnessed)
    }

    /// Submits a head to every witness. Tells `decided` as soon as the quorum has cosigned or nobody is left to answer.
    async fn round(self: Arc<Self>, head: Arc<VerifiedCheckpoint>, decided: oneshot::Sender<()>) {
        let mut decided = Some(decided);
        let mut answers = JoinSet::new();
        for place in 0..self.members.len() {
            let (shared, head) = (Arc::clone(&self), Arc::clone(&head));
            answers.spawn(async move { shared.ask(place, &head).await });
        }
        let mut cosigned = (*head).clone();
        while let Some(answered) = answers.join_next().await {
            let Ok(Answer::Cosigned { lines, .. }) = answered else { continue };
            if let Ok(more) = cosigned.with_lines(&lines, &self.keys) {
                cosigned = more;
            }
            if self.config.quorum.check(&cosigned).is_ok() {
                self.publish(&cosigned);
                if let Some(decided) = decided.take() {
                    decided.send(()).unwrap_or_default();
                }
            }
            self.keeper.keep(&head, &lines);
        }
        if let Some(decided) = decided {
            decided.send(()).unwrap_or_default();
        }
    }

    async fn ask(&self, place: usize, head: &VerifiedCheckpoint) -> Answer {
        let Some(member) = self.members.get(place) else { return Answer::Busy };
        let newest = || self.heads.borrow().as_ref().map_or(0, |head| head.size()).max(head.size());
        member.submit(head, &self.beside, newest, |answer| self.note(member.name(), answer)).await
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

    /// Asks every witness about the head of a ledger that was just opened. So many must agree that one of them is among any
    /// quorum that has seen a newer one.
    async fn compare(self: Arc<Self>, head: VerifiedCheckpoint) -> Seen {
        let mut answers = JoinSet::new();
        for place in 0..self.members.len() {
            let (shared, head) = (Arc::clone(&self), head.clone());
            answers.spawn(async move { shared.ask(place, &head).await });
        }
        let mut agreed = 0_usize;
        while let Some(answered) = answers.join_next().await {
            agreed = agreed.saturating_add(usize::from(matches!(answered, Ok(Answer::Cosigned { .. }))));
        }
        let agreed = agreed >= enough_to_open(self.members.len(), self.config.quorum.needed());
        match (self.is_refuted(), agreed) {
            (true, _) => Seen::More,
            (false, true) => Seen::NothingElse,
            (false, false) => Seen::Unknown,
        }
    }
}

/// How many of these witnesses must agree with a ledger that was opened: a quorum, and as many as any quorum has one of.
const fn enough_to_open(witnesses: usize, quorum: usize) -> usize {
    let meet = witnesses.saturating_sub(quorum).saturating_add(1);
    if meet > quorum { meet } else { quorum }
}

fn is_refuted(standing: &BTreeMap<String, (Standing, Option<u64>)>) -> bool {
    standing.values().any(|(standing, _)| matches!(standing, Standing::Refuted(_)))
}

/// What was refuted before this process, by witnesses that are configured or no longer are. A file that cannot be read
/// refutes too.
fn refuted_before(refutations: &Refutations) -> Vec<(String, (Standing, Option<u64>))> {
    let refuted = |(name, said)| (name, (Standing::Refuted(said), None));
    match refutations.standing() {
        Ok(standing) => standing.into_iter().map(refuted).collect(),
        Err(error) => vec![refuted(("REFUTED".to_owned(), format!("the file cannot be read: {error}")))],
    }
}

/// A PERMIT that waits for a head of some size, as long as somebody waits for it.
struct Wanted<'a> {
    wanted: &'a watch::Sender<BTreeMap<u64, usize>>,
    size: u64,
}

impl<'a> Wanted<'a> {
    fn new(wanted: &'a watch::Sender<BTreeMap<u64, usize>>, size: u64) -> Self {
        wanted.send_modify(|wanted| {
            let waiting = wanted.entry(size).or_default();
            *waiting = waiting.saturating_add(1);
        });
        Self { wanted, size }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.wanted.send_if_modified(|wanted| {
            let left = wanted.remove(&self.size).and_then(|waiting| waiting.checked_sub(1));
            if let Some(left) = left.filter(|left| *left > 0) {
                wanted.insert(self.size, left);
            }
            // That fewer wait is no cause for a round.
            false
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_opens_a_ledger_has_asked_one_of_every_quorum() {
        for witnesses in 1..9_usize {
            for quorum in 1..=witnesses {
                let enough = enough_to_open(witnesses, quorum);
                assert!((quorum..=witnesses).contains(&enough), "{quorum} of {witnesses}: {enough}");
                assert!(enough + quorum > witnesses, "{quorum} of {witnesses}: {enough}");
            }
        }
    }
}
