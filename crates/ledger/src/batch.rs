//! One batch: one transaction over records, tree and state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portcullis_arbiter::{Evidence, Fact, Health, Intake, Room, Settled, Standing, record, settle};
use portcullis_protocol::wire::StoredResult;
use portcullis_protocol::{
    AgentId, BundleDigest, BundleRef, Captured, Decision, Digest, Event, Keep, KeptRequest, KeptResult,
    Millis, Ordered, Outcome, OutcomeRecord, ReasonCode, Record, Snapshots, Succession, Verdict,
};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, TileTree, VerifiedCheckpoint};
use rusqlite::{Connection, TransactionBehavior};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::archive::{self, Archive};
use crate::command::{Command, Decided, OrderRefused, OutcomeRefused};
use crate::error::LedgerError;
use crate::held::Witnessed;
use crate::keys::{Chains, Mark};
use crate::opened::Opened;
use crate::payloads::{self, Kept};
use crate::proofs::Fresh;
use crate::quota::Quota;
use crate::released::{NEVER_RELEASED, WITHHELD};
use crate::store::{self, NewPermit, PermitRow};
use crate::vault::Vault;
use crate::waiting::{Answer, Waiting};

pub(crate) mod again;
mod events;
mod held;
mod keys;
mod lists;
mod simulations;

/// Longest result that is kept for repeats of a key, in bytes. Of a longer one only the digest is recorded.
const LONGEST_RESULT: usize = 1024 * 1024;

/// Payloads that are removed in one batch because their time is over, at most.
const MOST_EXPIRED: u32 = 256;
/// How long they are removed. Whoever calls meanwhile waits for it.
const BRIEF: Duration = Duration::from_millis(2);
/// What sources gave, at most 8 MiB each, that is removed in one batch because its time is over.
const MOST_EXPIRED_FACTS: u32 = 4;

/// A transaction being filled.
pub(crate) struct Batch<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) tree: &'a mut TileTree,
    /// The first record that it may append.
    pub(crate) first: u64,
    /// What it has appended to the tree.
    fresh: Vec<Hash>,
    /// The keys, as of what the transaction has recorded. Only good as long as nothing fails: then the ledger is
    /// opened anew.
    chains: &'a mut Chains,
    /// What earlier PERMITs left, likewise.
    standing: &'a mut Standing,
    mark: Option<Mark>,
    pub(crate) succession: Succession,
    pub(crate) health: &'a Health,
    signed_at_open: u64,
    pub(crate) vault: &'a mut Vault,
    pub(crate) archived: &'a BTreeSet<BundleDigest>,
    /// Whether this batch destroyed a subject's key, or what a source of facts gave.
    pub(crate) erased: bool,
    /// Bundles of which this batch archives the last part.
    pub(crate) archives: BTreeSet<BundleDigest>,
    /// Bundles of which something is archived and that no record names yet.
    pub(crate) unnamed: BTreeSet<BundleDigest>,
    /// Bundles of which this batch removes the archive.
    pub(crate) forgotten: BTreeSet<BundleDigest>,
    /// Whether it keeps something that is no record and of which none tells.
    pub(crate) kept_beside: bool,
    /// What sources of facts gave, likewise.
    pub(crate) archive: &'a mut Archive,
    pub(crate) waiting: &'a mut Vec<Waiting>,
}

/// What a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Records are in the database, durably.
    Committed,
    /// No records, but what is kept beside them: what is on record is sealed already.
    Beside,
    /// Nothing was to be recorded: nothing was written, and what is on record is sealed already.
    Nothing,
}

impl Batch<'_> {
    /// Fills a transaction and commits it. The open ledger's tree moves on only if the commit succeeds.
    pub(crate) fn write(
        opened: &mut Opened,
        vault: &mut Vault,
        health: &Health,
        waiting: &mut Vec<Waiting>,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), LedgerError>,
    ) -> Result<Written, LedgerError> {
        let written = Self::attempt(opened, vault, health, waiting, fill);
        if !matches!(written, Ok(Written::Committed | Written::Beside)) {
            // Keys of subjects that the transaction made went with it.
            vault.forget();
        }
        written
    }

    fn attempt(
        opened: &mut Opened,
        vault: &mut Vault,
        health: &Health,
        waiting: &mut Vec<Waiting>,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), LedgerError>,
    ) -> Result<Written, LedgerError> {
        let mut tree = opened.tree.clone();
        let (signed_at_open, archived) = (opened.signed_at_open, &opened.archived);
        let (chains, standing, archive) = (&mut opened.chains, &mut opened.standing, &mut opened.archive);
        let (mark, succession, unnamed) = (opened.mark, opened.succession.clone(), opened.unnamed.clone());
        let transaction =
            opened.store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch {
            connection: &transaction,
            first: tree.size(),
            tree: &mut tree,
            fresh: Vec::new(),
            chains,
            standing,
            mark,
            succession,
            health,
            signed_at_open,
            vault: &mut *vault,
            archived,
            erased: false,
            archives: BTreeSet::new(),
            unnamed,
            forgotten: BTreeSet::new(),
            kept_beside: false,
            archive,
            waiting,
        };
        fill(&mut batch)?;
        batch.mark_after(keys::MARK_EVERY)?;
        let (mark, archives, erased, leaves) = (batch.mark, batch.archives, batch.erased, batch.fresh);
        let (succession, kept_beside) = (batch.succession, batch.kept_beside);
        let (unnamed, forgotten) = (batch.unnamed, batch.forgotten);
        // The state changes only with records, so without records there is no head to commit.
        if tree.size() == opened.tree.size() {
            if !kept_beside {
                return Ok(Written::Nothing);
            }
            transaction.commit()?;
            opened.keeps(archives, unnamed, &forgotten);
            return Ok(Written::Beside);
        }
        for tile in tree.take_full_tiles() {
            store::add_tile(&transaction, &tile)?;
        }
        let (root, signed) = (tree.root(), opened.head.as_ref().map(VerifiedCheckpoint::note_bytes));
        store::set_head(&transaction, tree.size(), &root, signed)?;
        transaction.commit()?;
        opened.fresh = Fresh { first: opened.tree.size(), leaves };
        (opened.tree, opened.root, opened.mark, opened.succession) = (tree, root, mark, succession);
        opened.keeps(archives, unnamed, &forgotten);
        opened.unwiped |= erased;
        if let (None, Ok(master)) = (&opened.master, vault.master()) {
            opened.master = Some(master.id());
        }
        opened.last = health.now;
        Ok(Written::Committed)
    }

    pub(crate) fn now(&self) -> Millis {
        self.health.now
    }

    pub(crate) fn append(&mut self, body: &[u8]) -> Result<u64, LedgerError> {
        let seq = self.tree.size();
        // A start reads records in the order of their pages. Where a page's keys lead elsewhere, what is appended lies out of it.
        if seq == self.first
            && let Some(newest) = seq.checked_sub(1)
            && !store::has_record(self.connection, newest)?
        {
            return Err(LedgerError::Corrupt(format!("record {newest} is not where its key leads")));
        }
        store::add_record(self.connection, seq, body)?;
        let leaf = leaf_hash(body);
        self.tree.append(leaf);
        self.fresh.push(leaf);
        Ok(seq)
    }

    /// The first records of an opened ledger. PERMITs beyond the head that was signed were never released.
    pub(crate) fn open(&mut self, event: Event) -> Result<(), LedgerError> {
        if self.tree.size() == 0 {
            self.event(Event::Genesis, BTreeMap::new())?;
        }
        if payloads::master(self.connection)?.is_none() {
            // A log that begins with another's end has kept nothing yet, and named no key.
            if payloads::any_subject(self.connection)? {
                return Err(LedgerError::Corrupt("the vault does not name its master key any more".into()));
            }
            payloads::set_master(self.connection, &self.vault.master()?.id())?;
        }
        let withheld = store::open_permits_from(self.connection, self.signed_at_open)?;
        let adopted = self.tree.size().saturating_sub(self.signed_at_open);
        let said = [
            (NEVER_RELEASED.to_owned(), adopted.to_string()),
            (WITHHELD.to_owned(), withheld.len().to_string()),
        ];
        // An activation that was never sealed was told to nobody, and does not hold.
        let detail = said.into_iter().chain(self.succession.detail()).collect();
        self.event(event, detail)?;
        for permit in &withheld {
            self.end(permit, Outcome::Withheld, None)?;
        }
        Ok(())
    }

    /// Removes what was kept for its time, and says so.
    pub(crate) fn expire(&mut self) -> Result<(), LedgerError> {
        let now = self.health.now;
        let payloads = payloads::remove_expired(self.connection, now, (MOST_EXPIRED, BRIEF))?;
        let facts = self.archive.expire(self.connection, now, MOST_EXPIRED_FACTS)?;
        let removed = [("payloads", payloads), ("facts", facts)].into_iter().filter(|(_, count)| *count > 0);
        let detail: BTreeMap<_, _> =
            removed.map(|(what, count)| (what.to_owned(), count.to_string())).collect();
        if detail.is_empty() { Ok(()) } else { self.event(Event::PayloadsExpired, detail).map(drop) }
    }

    /// Ends the PERMIT at an index, whose outcome never came.
    pub(crate) fn overdue(&mut self, permit: u64) -> Result<(), LedgerError> {
        // It was looked for before the batch began, and what came first in it may have ended the PERMIT.
        match store::permit_at(self.connection, permit)? {
            Some(open) if open.outcome.is_none() => self.end(&open, Outcome::Unknown, None).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn end(
        &mut self,
        permit: &PermitRow,
        outcome: Outcome,
        result: Option<&str>,
    ) -> Result<u64, LedgerError> {
        self.end_by(permit, outcome, result, None)
    }

    /// Ends a PERMIT, on an operator's word if there is one.
    pub(crate) fn end_by(
        &mut self,
        permit: &PermitRow,
        outcome: Outcome,
        result: Option<&str>,
        ordered: Option<&Ordered>,
    ) -> Result<u64, LedgerError> {
        let result = result.map(payloads::salted).transpose()?;
        let keeps = result.as_ref().is_some_and(|result| self.keeps(&result.result));
        let until = permit.keep_result_ms.filter(|_| keeps).map(|for_ms| self.health.now.plus(for_ms));
        let record = Record::Outcome(OutcomeRecord {
            seq: self.tree.size(),
            time: self.health.now,
            permit: permit.seq,
            attempt: permit.attempt,
            outcome,
            result: result.as_ref().map(KeptResult::commitment),
            kept_until: until,
            supersedes: permit.outcome_seq,
            by: ordered.map(|ordered| ordered.by.clone()),
            reason: ordered.map(|ordered| ordered.reason.clone()),
        });
        let seq = self.append(&record.to_bytes()?)?;
        store::end_permit(self.connection, permit, outcome, seq)?;
        self.give_back(permit, outcome, seq)?;
        self.standing.end(permit.seq, outcome);
        if let Some((result, until)) = result.zip(until) {
            let agent = permit.agent.parse().map_err(|_| LedgerError::Corrupt("an agent is none".into()))?;
            self.keep(seq, &agent, &result, until)?;
        }
        Ok(seq)
    }

    /// Keeps what a record commits to, sealed.
    fn keep<T: Serialize>(
        &mut self,
        seq: u64,
        agent: &AgentId,
        content: &T,
        until: Millis,
    ) -> Result<(), LedgerError> {
        let content = serde_json::to_vec(content).map(Zeroizing::new);
        let content = content.map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        self.vault.keep(self.connection, seq, agent, &content, until)
    }

    /// Whether a result's text is kept. The disk's reserve is for what became of PERMITs, not for what they gave.
    fn keeps(&self, result: &str) -> bool {
        result.len() <= LONGEST_RESULT && self.health.evidence == Fact::Known(Evidence::Sound)
    }

    /// Takes one question into the batch. Whatever fails, whoever asked is among those that wait for an answer.
    pub(crate) fn take(&mut self, command: Command, quota: &mut Quota) -> Result<(), LedgerError> {
        match command {
            Command::Decide(intake, reply) => {
                let (answer, failed) = match self.decide(&intake, quota) {
                    Ok(answer) => (answer, Ok(())),
                    Err(error) => (Answer::Unlogged(error.code(), None), Err(error)),
                };
                self.waiting.push(Waiting::Decision { reply, intake, answer });
                failed
            }
            Command::Outcome(report, reply) => {
                let (answer, failed) = match self.outcome(&report) {
                    Ok(answer) => (answer, Ok(())),
                    Err(error) => (Err(OutcomeRefused::Unavailable(error.code())), Err(error)),
                };
                self.waiting.push(Waiting::Outcome { reply, answer });
                failed
            }
            Command::Order(given, reply) => {
                let (answer, failed) = match self.ordered(&given) {
                    Ok(answer) => (answer, Ok(())),
                    Err(error) => (Err(OrderRefused::Unavailable(error.code())), Err(error)),
                };
                self.waiting.push(Waiting::Order { reply, answer });
                failed
            }
            Command::Late(entries, reply) => self.take_late(&entries, reply, quota),
            Command::List(intake, reply) => self.take_list(&intake, reply, quota),
            Command::Simulate(intake, reply) => self.take_simulation(&intake, reply, quota),
            Command::Archive(..)
            | Command::Release(..)
            | Command::Find(..)
            | Command::Status(_)
            | Command::Close(_) => Ok(()),
        }
    }

    fn decide(&mut self, intake: &Intake, quota: &mut Quota) -> Result<Answer, LedgerError> {
        if let Some(seq) = store::attempt(self.connection, &intake.attempt)? {
            return self.ask_again(intake, seq);
        }
        // A state that cannot be read now fails the batch: no record may rest on what no replay can find.
        let stored = match intake.key_commitment() {
            None => None,
            Some(name) => self.stored_key(&name)?,
        };
        let stored = Fact::Known(stored);
        let verdict = match settle(intake, self.health, stored, Room::Of(self.standing)) {
            Settled::EvaluateAgain => return Ok(Answer::EvaluateAgain(None)),
            Settled::Decided(verdict) => verdict,
        };
        let over_quota = verdict.reason().filter(|_| !quota.admits(&intake.request.agent, self.health.boot));
        match over_quota {
            Some(code) => Ok(Answer::Unlogged(code, intake.detail_of(code))),
            None => self.settled(intake, verdict),
        }
    }

    fn settled(&mut self, intake: &Intake, verdict: Verdict) -> Result<Answer, LedgerError> {
        let entry = record(intake, &verdict, self.tree.size(), self.health, self.standing);
        let due = match (entry.decision, entry.outcome_due) {
            (Decision::Permit, Some(due)) => Some(due),
            // A PERMIT that the state could not hold is none.
            (Decision::Permit, None) => return Ok(Answer::Unlogged(ReasonCode::PolicyEngineFailed, None)),
            (Decision::Deny | Decision::Silence, _) => None,
        };
        let witnessed = entry.witnessed.then(|| Witnessed::of(intake, true));
        let refused_by = entry.limit.as_ref().map(|limit| format!("limit `{limit}`"));
        let (limits, added) = (entry.limits.clone(), entry.labels.added.clone());
        let (sources, until) = (entry.facts.sources.clone(), entry.kept_until);
        let Ok(body) = Record::Decision(Box::new(entry)).to_bytes() else {
            let detail = "its record would be longer than 65,535 bytes".to_owned();
            return Ok(Answer::Unlogged(ReasonCode::RequestTooLarge, Some(detail)));
        };
        let seq = self.append(&body)?;
        store::add_attempt(self.connection, &intake.attempt, seq)?;
        self.standing.hear(self.health.now, &sources);
        if let Some(due) = due {
            self.consume(intake, seq, due)?;
            self.standing.reserve(seq, &intake.request.agent, self.health.now, &limits);
            self.standing.label(&intake.request.agent, intake.behind(), self.health.now, &added);
        }
        self.keep_request(seq, intake, until)?;
        self.archive(intake, &sources, until)?;
        let detail = refused_by.or_else(|| verdict.reason().and_then(|code| intake.detail_of(code)));
        self.logged(intake, verdict, detail, (seq, body), witnessed)
    }

    /// Keeps the request of a record, and what it brought of its arguments, until then; not at all without a time.
    fn keep_request(&mut self, seq: u64, intake: &Intake, until: Option<Millis>) -> Result<(), LedgerError> {
        let Some(until) = until else { return Ok(()) };
        let payload = intake.payload_to_keep().cloned();
        let kept = KeptRequest { request: intake.request.ask.clone(), salt: intake.salt, payload };
        self.keep(seq, &intake.request.agent, &kept, until)
    }

    /// Keeps the bundle's files with the first record that names it, and the facts of its sources for as long as the request
    /// is kept: without it nobody decides again.
    fn archive(
        &mut self,
        intake: &Intake,
        sources: &Snapshots,
        until: Option<Millis>,
    ) -> Result<(), LedgerError> {
        self.keep_facts(sources, intake.snapshots(), until)?;
        let Some(bundle) = &intake.bundle else { return Ok(()) };
        self.archive_named(bundle, intake.archive.as_deref())
    }

    /// Keeps the facts that a record names, of those that it was computed by, for as long as they are needed.
    fn keep_facts(
        &mut self,
        named: &Snapshots,
        snapshots: &[(Digest, Arc<[u8]>)],
        until: Option<Millis>,
    ) -> Result<(), LedgerError> {
        let Some(until) = until else { return Ok(()) };
        for (source, used) in named {
            let (digest, entities) = archive::given(snapshots, source, used)?;
            self.archive.keep(self.connection, (source, *digest), entities, until)?;
        }
        Ok(())
    }

    /// Keeps the files of the bundle that a record names, unless they are kept.
    fn archive_named(&mut self, bundle: &BundleRef, archive: Option<&[u8]>) -> Result<(), LedgerError> {
        let archive = archive.ok_or_else(|| {
            let digest = bundle.digest;
            LedgerError::Corrupt(format!("a record names the bundle {digest}, whose files nobody gave"))
        })?;
        self.archive_whole(&bundle.digest, archive)
    }

    /// Enters a PERMIT into the state. Only a PERMIT consumes a key.
    fn consume(&mut self, intake: &Intake, seq: u64, due: Millis) -> Result<(), LedgerError> {
        let keep = intake.spec.as_ref().map_or(Keep::UNDECLARED, |spec| spec.keep);
        let key = intake.key_commitment();
        let permit = NewPermit {
            seq,
            attempt: &intake.attempt,
            agent: &intake.request.agent,
            key: key.as_ref(),
            due,
            keep_result_ms: keep.result.then_some(keep.for_ms),
        };
        store::add_permit(self.connection, &permit)?;
        match key {
            Some(name) => self.consume_key(name, seq, &intake.operation),
            None => Ok(()),
        }
    }

    fn logged(
        &self,
        intake: &Intake,
        verdict: Verdict,
        detail: Option<String>,
        (seq, body): (u64, Vec<u8>),
        witnessed: Option<Witnessed>,
    ) -> Result<Answer, LedgerError> {
        let stored = self.stored(intake, &verdict)?;
        let decided =
            Box::new(Decided { verdict, detail, captured: Captured::Logged, receipt: None, stored });
        Ok(Answer::Logged { decided, seq, body, witnessed })
    }

    fn stored(&self, intake: &Intake, verdict: &Verdict) -> Result<Option<StoredResult>, LedgerError> {
        match (intake.key_commitment(), verdict.reason()) {
            (Some(key), Some(ReasonCode::IdempotencyCompleted)) => {
                let Some((outcome, seq)) = self.key_outcome(&key)? else { return Ok(None) };
                let result = self.kept_result(seq, &intake.request.agent)?;
                Ok(Some(StoredResult { outcome, result }))
            }
            (_, _) => Ok(None),
        }
    }

    /// The result that an outcome's record commits to, if it is kept.
    fn kept_result(&self, seq: u64, agent: &AgentId) -> Result<Option<String>, LedgerError> {
        let sealed = match payloads::open(self.connection, self.vault.master()?, seq, agent)? {
            Kept::Here(sealed) => sealed,
            Kept::Erased | Kept::Nothing => return Ok(None),
        };
        let body = store::record(self.connection, seq)?;
        let result = body.and_then(|body| payloads::committed_result(&sealed, &body));
        let differs = || LedgerError::Corrupt(format!("the kept result of record {seq} is not what it says"));
        result.map(Some).ok_or_else(differs)
    }
}
