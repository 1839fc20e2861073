//! Whether what is kept of requests and results is what the records say: there for its time and no longer than it says, of
//! its own subject, and sealed for its own record.
//!
//! A record says until when its request or result is kept, so that a row that is gone, or would go too early, is found. That
//! a subject's key was destroyed is found in the log too: its row names the record of the order, and a key that is there for what
//! an order had destroyed was put back. None of that takes the
//! vault's master key; what is sealed is opened with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use portcullis_protocol::{AgentId, Digest, Millis, Order, Record, Snapshots, SourceName};
use rusqlite::{Connection, OptionalExtension};

use crate::archive;
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::payloads::{self, Said};
use crate::store;
use crate::vault::{MasterKey, SealedAt, SubjectKey};

/// Compares what is kept of the records in a range, and opens it with the master key if that is given, but of subjects
/// whose key was destroyed: that it was, the orders of all records say. Says how much was opened.
///
/// Each row is looked up by itself, as whoever needs it does: in a damaged table a walk can end before it has seen all.
pub(crate) fn payloads(
    connection: &Connection,
    (master, erasures): (Option<&MasterKey>, &Erasures),
    range: Range<u64>,
) -> Result<u64, LedgerError> {
    let mut audit = Audit::new(connection, master, erasures);
    let Range { start, end } = range;
    store::for_each_record(connection, start, end, |seq, body| audit.record(seq, body))?;
    if payloads::between(connection, start, end)? != audit.found {
        return Err(LedgerError::Corrupt(format!(
            "something is kept of records from {start} on that none of them speaks of"
        )));
    }
    Ok(audit.opened)
}

/// Compares and opens what is kept of records from index `size` on: what came meanwhile, and nothing else.
pub(crate) fn payloads_behind(
    connection: &Connection,
    (master, erasures): (Option<&MasterKey>, &Erasures),
    size: u64,
) -> Result<(), LedgerError> {
    let mut audit = Audit::new(connection, master, erasures);
    for seq in payloads::from(connection, size)? {
        let body = store::record(connection, seq)?.ok_or_else(|| altered(seq))?;
        audit.record(seq, &body)?;
    }
    Ok(())
}

/// A row of what is kept, beside its subject's.
struct Row {
    expires: u64,
    subject: i64,
    sealed: Vec<u8>,
    agent: Option<String>,
    wrapped: Option<Vec<u8>>,
    erased: Option<u64>,
}

/// Until when facts are kept, and by which order they were erased.
type FactsKept = (Millis, Option<u64>);

struct Audit<'a> {
    connection: &'a Connection,
    master: Option<&'a MasterKey>,
    erasures: &'a Erasures,
    /// The subjects' keys that were unwrapped, by number.
    keys: BTreeMap<i64, SubjectKey>,
    /// Records that were found to be orders to destroy the key of the subject with this number.
    orders: BTreeSet<(u64, i64)>,
    /// The time of the newest record, once it was needed.
    newest: Option<Millis>,
    /// Until when what sources gave is kept, and by which order it was erased, as far as it was looked up.
    facts: BTreeMap<(SourceName, Digest), Option<FactsKept>>,
    found: u64,
    opened: u64,
}

impl<'a> Audit<'a> {
    fn new(connection: &'a Connection, master: Option<&'a MasterKey>, erasures: &'a Erasures) -> Self {
        let (keys, orders, facts) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { connection, master, erasures, keys, orders, newest: None, facts, found: 0, opened: 0 }
    }

    fn record(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        let said = Said::of(seq, body)?;
        let Some(until) = said.kept_until else { return Ok(()) };
        self.informed(seq, until, said.sources())?;
        let Some(row) = self.row(seq)? else { return self.removed(seq, until) };
        self.found = self.found.saturating_add(1);
        let agent = said.agent(self.connection, seq)?;
        if row.expires != until.0 || row.agent.as_deref() != Some(agent.as_str()) {
            return Err(altered(seq));
        }
        if !payloads::is_listed(self.connection, seq, until)? {
            return Err(LedgerError::Corrupt(format!(
                "what is kept of record {seq} would stay beyond its time: no index has it"
            )));
        }
        match (&row.wrapped, row.erased) {
            (Some(_), None) if self.erasures.erased(&agent, seq) => Err(LedgerError::Corrupt(format!(
                "what is kept of record {seq} was erased, and a key of `{agent}` is there for it again"
            ))),
            (Some(wrapped), None) => self.opens(seq, &row, &agent, wrapped),
            (None, Some(order)) if order > seq => self.destroyed(order, row.subject, &agent),
            (Some(_) | None, _) => Err(altered(seq)),
        }
    }

    fn row(&self, seq: u64) -> Result<Option<Row>, LedgerError> {
        let text = "SELECT expires, subject, sealed, agent, wrapped, erased FROM payloads
            LEFT JOIN subjects ON subjects.id = payloads.subject WHERE seq = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Row {
                expires: row.get(0)?,
                subject: row.get(1)?,
                sealed: row.get(2)?,
                agent: row.get(3)?,
                wrapped: row.get(4)?,
                erased: row.get(5)?,
            })
        };
        let mut statement = self.connection.prepare_cached(text)?;
        Ok(statement.query_row([store::signed(seq)], read).optional()?)
    }

    /// A row that is gone was kept for its time, which the newest record lies behind: its removal is on record.
    fn removed(&mut self, seq: u64, until: Millis) -> Result<(), LedgerError> {
        if self.is_over(until)? {
            return Ok(());
        }
        Err(LedgerError::Corrupt(format!("what is kept of record {seq} is gone before its time")))
    }

    /// Whether the newest record lies at or behind a time.
    fn is_over(&mut self, until: Millis) -> Result<bool, LedgerError> {
        let newest = match self.newest {
            Some(newest) => newest,
            None => *self.newest.insert(store::newest_time(self.connection)?),
        };
        Ok(until <= newest)
    }

    /// What a request was decided by is kept for as long, or was erased by an order behind it, and a row says which.
    fn informed(&mut self, seq: u64, until: Millis, sources: &Snapshots) -> Result<(), LedgerError> {
        if sources.is_empty() || self.is_over(until)? {
            return Ok(());
        }
        for (source, used) in sources {
            let name = (source.clone(), used.digest);
            let kept = match self.facts.get(&name) {
                Some(kept) => *kept,
                None => {
                    let kept = archive::used(self.connection, source, &used.digest)?;
                    let kept = kept.map(|kept| (kept.expires, kept.erased));
                    *self.facts.entry(name).or_insert(kept)
                }
            };
            if kept.is_none_or(|(kept, erased)| kept < until || erased.is_some_and(|order| order <= seq)) {
                let digest = used.digest;
                return Err(LedgerError::Corrupt(format!(
                    "the facts {digest} of record {seq} are gone before its time"
                )));
            }
        }
        Ok(())
    }

    /// What its key does not open was altered. Without the master key that is not told.
    fn opens(&mut self, seq: u64, row: &Row, agent: &AgentId, wrapped: &[u8]) -> Result<(), LedgerError> {
        let Some(master) = self.master else { return Ok(()) };
        let subject = row.subject;
        let key = match self.keys.remove(&subject) {
            Some(key) => key,
            None => master.unwrap_subject(agent, wrapped).map_err(|_| altered(seq))?,
        };
        drop(key.open(SealedAt { seq, subject }, &row.sealed).map_err(|_| altered(seq))?);
        self.keys.insert(subject, key);
        self.opened = self.opened.saturating_add(1);
        Ok(())
    }

    /// A subject's key is gone by an operator's order, or it was lost.
    fn destroyed(&mut self, order: u64, subject: i64, agent: &AgentId) -> Result<(), LedgerError> {
        if self.orders.contains(&(order, subject)) || ordered(self.connection, order, agent)? {
            self.orders.insert((order, subject));
            return Ok(());
        }
        Err(LedgerError::Corrupt(format!(
            "the vault's key of `{agent}` is gone, and record {order} is no order to destroy it"
        )))
    }
}

/// Whether a record is the order to destroy an agent's key.
fn ordered(connection: &Connection, seq: u64, agent: &AgentId) -> Result<bool, LedgerError> {
    let Some(body) = store::record(connection, seq)? else { return Ok(false) };
    let Record::Event(event) = Record::parse(&body)? else { return Ok(false) };
    let order = event.order.map(|order| order.what);
    Ok(matches!(order, Some(Order::ErasePayloads { subject }) if subject == *agent))
}

fn altered(seq: u64) -> LedgerError {
    LedgerError::Corrupt(format!("what is kept of record {seq} does not open"))
}

#[cfg(test)]
#[path = "payload_audit_tests.rs"]
mod tests;
