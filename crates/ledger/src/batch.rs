//! One batch: one transaction over records, tree and state.

use std::collections::BTreeMap;

use portcullis_arbiter::{Fact, Health, Intake, Settled, record, settle};
use portcullis_protocol::wire::StoredResult;
use portcullis_protocol::{
    AgentId, AggregateRecord, AttemptId, Captured, Decision, DecisionRecord, Digest, Domain, Event,
    EventRecord, Millis, Outcome, OutcomeRecord, ReasonCode, Record, Verdict,
};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{TileTree, VerifiedCheckpoint};
use rusqlite::{Connection, TransactionBehavior};

use crate::aggregate::Aggregates;
use crate::command::{Command, DecideReply, Decided, Found, OutcomeRefused, Reply, ReportedOutcome};
use crate::error::LedgerError;
use crate::opened::Opened;
use crate::quota::Quota;
use crate::store::{self, NewPermit, PermitRow};

/// Longest result that is kept for repeats of a key, in bytes.
const LONGEST_RESULT: usize = 1024 * 1024;

/// A transaction being filled.
pub(crate) struct Batch<'a> {
    connection: &'a Connection,
    tree: &'a mut TileTree,
    now: Millis,
    signed_at_open: u64,
    waiting: &'a mut Vec<Waiting>,
}

/// Somebody who waits for a batch to be durable, signed and anchored.
pub(crate) enum Waiting {
    Decision { reply: Reply<DecideReply>, decided: Box<Decided>, seq: u64, body: Vec<u8> },
    Outcome { reply: Reply<Result<u64, OutcomeRefused>>, seq: u64 },
    Event { reply: Reply<Result<u64, ReasonCode>>, seq: u64 },
}

impl Waiting {
    /// Hands out what is now on record.
    pub(crate) fn release(self, opened: &Opened) {
        match self {
            Self::Decision { reply, mut decided, seq, body } => match opened.receipt(seq, body) {
                Ok(receipt) => {
                    decided.receipt = Some(receipt);
                    reply(DecideReply::Decided(decided));
                }
                // A record whose receipt does not prove itself is not handed out.
                Err(error) => reply(unrecorded(error.code(), None)),
            },
            Self::Outcome { reply, seq } => reply(Ok(seq)),
            Self::Event { reply, seq } => reply(Ok(seq)),
        }
    }

    /// Says that it is not on record, as far as can be told.
    pub(crate) fn refuse(self, code: ReasonCode) {
        match self {
            Self::Decision { reply, .. } => reply(unrecorded(code, None)),
            Self::Outcome { reply, .. } => reply(Err(OutcomeRefused::Unavailable(code))),
            Self::Event { reply, .. } => reply(Err(code)),
        }
    }
}

/// A refusal without a record.
fn unrecorded(code: ReasonCode, detail: Option<String>) -> DecideReply {
    DecideReply::Decided(Box::new(Decided {
        verdict: Verdict::refuse(code),
        detail,
        captured: Captured::None,
        receipt: None,
        stored: None,
    }))
}

/// Answers a question while nothing can be recorded. Says what to count.
pub(crate) fn refuse(command: Command, health: &Health) -> Option<(ReasonCode, AgentId)> {
    match command {
        Command::Decide(intake, reply) => {
            let code = match settle(&intake, health, Fact::Unknown) {
                Settled::Decided(Verdict::Refuse(code, _)) => code,
                // What cannot be recorded is not permitted, whatever was computed.
                Settled::Decided(Verdict::Permit(_)) | Settled::EvaluateAgain => {
                    ReasonCode::EvidenceUnwritable
                }
            };
            reply(unrecorded(code, None));
            Some((code, intake.request.agent))
        }
        Command::Outcome(_, reply) => {
            reply(Err(OutcomeRefused::Unavailable(ReasonCode::EvidenceUnwritable)));
            None
        }
        Command::Event(_, _, reply) => {
            reply(Err(ReasonCode::EvidenceUnwritable));
            None
        }
        Command::Count(..) | Command::Find(..) | Command::Status(_) | Command::Close(_) => None,
    }
}

impl Batch<'_> {
    /// Fills a transaction and commits it. The open ledger's tree moves on only if the commit succeeds.
    pub(crate) fn write(
        opened: &mut Opened,
        now: Millis,
        waiting: &mut Vec<Waiting>,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut tree = opened.tree.clone();
        let signed_at_open = opened.signed_at_open;
        let transaction =
            opened.store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        fill(&mut Batch { connection: &transaction, tree: &mut tree, now, signed_at_open, waiting })?;
        for tile in tree.take_full_tiles() {
            store::add_tile(&transaction, &tile)?;
        }
        store::set_head(
            &transaction,
            tree.size(),
            &tree.root(),
            opened.head.as_ref().map(VerifiedCheckpoint::note_bytes),
        )?;
        transaction.commit()?;
        opened.tree = tree;
        opened.last = now;
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(u64, Vec<u8>), LedgerError> {
        let seq = self.tree.size();
        let body = record.to_bytes()?;
        store::add_record(self.connection, seq, &body)?;
        self.tree.append(leaf_hash(&body));
        Ok((seq, body))
    }

    pub(crate) fn event(
        &mut self,
        event: Event,
        detail: BTreeMap<String, String>,
    ) -> Result<u64, LedgerError> {
        let record = Record::Event(EventRecord { seq: self.tree.size(), time: self.now, event, detail });
        self.append(&record).map(|(seq, _)| seq)
    }

    pub(crate) fn aggregate(&mut self, mut record: AggregateRecord) -> Result<(), LedgerError> {
        record.seq = self.tree.size();
        self.append(&Record::Aggregate(record)).map(drop)
    }

    /// The first records of an opened ledger. PERMITs beyond the head that was signed were never released.
    pub(crate) fn open(&mut self, event: Event) -> Result<(), LedgerError> {
        if self.tree.size() == 0 {
            self.event(Event::Genesis, BTreeMap::new())?;
        }
        let withheld = store::open_permits_from(self.connection, self.signed_at_open)?;
        let adopted = self.tree.size().saturating_sub(self.signed_at_open);
        let detail = BTreeMap::from([
            ("records_never_released".to_owned(), adopted.to_string()),
            ("permits_withheld".to_owned(), withheld.len().to_string()),
        ]);
        self.event(event, detail)?;
        for permit in &withheld {
            self.end(permit, Outcome::Withheld, None)?;
        }
        Ok(())
    }

    /// Ends a PERMIT whose outcome never came.
    pub(crate) fn overdue(&mut self, permit: &PermitRow) -> Result<(), LedgerError> {
        self.end(permit, Outcome::Unknown, None).map(drop)
    }

    fn end(
        &mut self,
        permit: &PermitRow,
        outcome: Outcome,
        result: Option<&str>,
    ) -> Result<u64, LedgerError> {
        let record = Record::Outcome(OutcomeRecord {
            seq: self.tree.size(),
            time: self.now,
            permit: permit.seq,
            attempt: permit.attempt,
            outcome,
            result: result.map(|result| Digest::of(Domain::Result, &[result.as_bytes()])),
            supersedes: permit.outcome_seq,
        });
        let (seq, _) = self.append(&record)?;
        store::end_permit(self.connection, permit, outcome, seq, result)?;
        Ok(seq)
    }

    /// Takes one question into the batch.
    pub(crate) fn take(
        &mut self,
        command: Command,
        health: &Health,
        quota: &mut Quota,
        aggregates: &mut Aggregates,
    ) -> Result<(), LedgerError> {
        match command {
            Command::Decide(intake, reply) => self.decide(&intake, reply, health, quota, aggregates),
            Command::Outcome(report, reply) => self.outcome(&report, reply),
            Command::Event(event, detail, reply) => {
                let seq = self.event(event, detail)?;
                self.waiting.push(Waiting::Event { reply, seq });
                Ok(())
            }
            Command::Count(..) | Command::Find(..) | Command::Status(_) | Command::Close(_) => Ok(()),
        }
    }

    fn outcome(
        &mut self,
        report: &ReportedOutcome,
        reply: Reply<Result<u64, OutcomeRefused>>,
    ) -> Result<(), LedgerError> {
        let refused = match store::permit(self.connection, &report.attempt)? {
            Some(permit) if permit.agent == report.agent.as_str() => {
                match reportable(&permit, report.outcome) {
                    Ok(None) => {
                        let result = report.result.as_deref().filter(|result| result.len() <= LONGEST_RESULT);
                        let seq = self.end(&permit, report.outcome, result)?;
                        self.waiting.push(Waiting::Outcome { reply, seq });
                        return Ok(());
                    }
                    Ok(Some(already)) => {
                        reply(Ok(already));
                        return Ok(());
                    }
                    Err(refused) => refused,
                }
            }
            Some(_) | None => OutcomeRefused::NoSuchPermit,
        };
        reply(Err(refused));
        Ok(())
    }

    fn decide(
        &mut self,
        intake: &Intake,
        reply: Reply<DecideReply>,
        health: &Health,
        quota: &mut Quota,
        aggregates: &mut Aggregates,
    ) -> Result<(), LedgerError> {
        if let Some(seq) = store::attempt(self.connection, &intake.attempt)? {
            return self.ask_again(intake, seq, reply);
        }
        let stored = match &intake.key {
            None => Fact::Known(None),
            Some(key) => match store::key(self.connection, &intake.request.agent, key) {
                Ok(stored) => Fact::Known(stored),
                Err(_) => Fact::Unknown,
            },
        };
        let verdict = match settle(intake, health, stored) {
            Settled::EvaluateAgain => {
                reply(DecideReply::EvaluateAgain);
                return Ok(());
            }
            Settled::Decided(verdict) => verdict,
        };
        let over_quota = verdict.reason().filter(|_| !quota.admits(&intake.request.agent, health.boot));
        if let Some(code) = over_quota {
            aggregates.count(Some(code), Some(intake.request.agent.clone()), self.now);
            reply(unrecorded(code, intake.detail.clone()));
            return Ok(());
        }
        self.settled(intake, verdict, reply)
    }

    fn settled(
        &mut self,
        intake: &Intake,
        verdict: Verdict,
        reply: Reply<DecideReply>,
    ) -> Result<(), LedgerError> {
        let entry = record(intake, &verdict, self.tree.size(), self.now);
        let entry_bytes = Record::Decision(Box::new(entry.clone()));
        if entry_bytes.to_bytes().is_err() {
            reply(unrecorded(
                ReasonCode::RequestTooLarge,
                Some("its record would be longer than 65,535 bytes".into()),
            ));
            return Ok(());
        }
        let (seq, body) = self.append(&entry_bytes)?;
        store::add_attempt(self.connection, &intake.attempt, seq)?;
        self.consume(intake, &entry)?;
        let stored = self.stored(intake, &verdict)?;
        let detail = intake.detail.clone();
        let decided =
            Box::new(Decided { verdict, detail, captured: Captured::Logged, receipt: None, stored });
        self.waiting.push(Waiting::Decision { reply, decided, seq, body });
        Ok(())
    }

    /// Enters a PERMIT into the state. Only a PERMIT consumes a key.
    fn consume(&mut self, intake: &Intake, entry: &DecisionRecord) -> Result<(), LedgerError> {
        let (Decision::Permit, Some(due)) = (entry.decision, entry.outcome_due) else { return Ok(()) };
        store::add_permit(
            self.connection,
            &NewPermit {
                seq: entry.seq,
                attempt: &entry.attempt,
                agent: &entry.agent,
                key: intake.key.as_ref(),
                operation: &intake.operation,
                now: self.now,
                due,
            },
        )?;
        Ok(())
    }

    fn stored(&self, intake: &Intake, verdict: &Verdict) -> Result<Option<StoredResult>, LedgerError> {
        match (&intake.key, verdict.reason()) {
            (Some(key), Some(ReasonCode::IdempotencyCompleted)) => {
                Ok(store::stored_result(self.connection, &intake.request.agent, key)?)
            }
            (_, _) => Ok(None),
        }
    }

    /// The same attempt, asked again because its answer was lost: the same record, never a second one. A PERMIT
    /// that has ended is not released again.
    fn ask_again(&mut self, intake: &Intake, seq: u64, reply: Reply<DecideReply>) -> Result<(), LedgerError> {
        let body = store::record(self.connection, seq)?
            .ok_or_else(|| LedgerError::Corrupt(format!("record {seq} of an attempt is missing")))?;
        let Record::Decision(entry) = Record::parse(&body)? else {
            return Err(LedgerError::Corrupt(format!("record {seq} of an attempt is no decision")));
        };
        let ended =
            store::permit(self.connection, &intake.attempt)?.is_some_and(|permit| permit.outcome.is_some());
        if entry.request != intake.commitment || entry.agent != intake.request.agent || ended {
            reply(unrecorded(ReasonCode::RequestAttemptReused, None));
            return Ok(());
        }
        let verdict = match entry.reason {
            None => Verdict::Permit(entry.policies),
            Some(code) => Verdict::Refuse(code, entry.policies),
        };
        let stored = self.stored(intake, &verdict)?;
        let decided =
            Box::new(Decided { verdict, detail: None, captured: Captured::Logged, receipt: None, stored });
        self.waiting.push(Waiting::Decision { reply, decided, seq, body });
        Ok(())
    }
}

/// Whether a gate may end a PERMIT so: `Ok(None)` to record it, `Ok(Some(seq))` if that is on record already.
fn reportable(permit: &PermitRow, outcome: Outcome) -> Result<Option<u64>, OutcomeRefused> {
    if outcome == Outcome::Withheld {
        return Err(OutcomeRefused::NotReportable);
    }
    match permit.outcome {
        None => Ok(None),
        Some(ended) if ended == outcome => permit.outcome_seq.map(Some).ok_or(OutcomeRefused::Ended(ended)),
        // A late outcome supersedes `unknown`, by another record.
        Some(Outcome::Unknown) => Ok(None),
        Some(ended @ (Outcome::Ok | Outcome::Failed | Outcome::Expired | Outcome::Withheld)) => {
            Err(OutcomeRefused::Ended(ended))
        }
    }
}

impl Opened {
    /// The record of an attempt with its receipt, if it is there and proves itself.
    pub(crate) fn find(&self, attempt: &AttemptId) -> Option<Found> {
        let found = || -> Result<Option<Found>, LedgerError> {
            let Some(seq) = store::attempt(&self.store.connection, attempt)? else { return Ok(None) };
            let Some(body) = store::record(&self.store.connection, seq)? else { return Ok(None) };
            let record = Record::parse(&body)?;
            Ok(Some(Found { record, receipt: self.receipt(seq, body)? }))
        };
        found().unwrap_or(None) // tidy: allow what does not prove itself is not shown
    }
}
