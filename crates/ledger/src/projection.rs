//! The state as the log says it must be.
//!
//! Records are proved by signed heads; the tables beside them are not. A key that is missing from them would run
//! twice. So on opening, what the tables say is compared with what the records say, PERMIT by PERMIT.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use portcullis_protocol::{AttemptId, Digest, Limits, Millis, Outcome, Record, Value};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::store::{self, PermitRow};

/// What a record says that the state must agree with.
enum Said {
    Permit(Permitted),
    Outcome { seq: u64, permit: u64, attempt: AttemptId, outcome: Outcome },
    Nothing,
}

/// What a PERMIT says.
struct Permitted {
    seq: u64,
    time: Millis,
    agent: String,
    attempt: AttemptId,
    key: Option<Digest>,
    due: Option<Millis>,
}

/// A comparison in progress.
pub(crate) struct Projection<'a> {
    connection: &'a Connection,
    /// Records below this index are proved by a signed head, so that they are ours, byte for byte.
    signed: u64,
    permits: u64,
    ended: u64,
    keys: u64,
    /// Commitments to keys that are not consumed although their PERMIT ran: a later PERMIT must have taken them
    /// over, after their window.
    lapsed: BTreeSet<Digest>,
}

impl<'a> Projection<'a> {
    pub(crate) const fn new(connection: &'a Connection, signed: u64) -> Self {
        Self { connection, signed, permits: 0, ended: 0, keys: 0, lapsed: BTreeSet::new() }
    }

    /// Compares what one record says.
    pub(crate) fn compare(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        // What nobody signed yet is about to be: it must be a record in every particular.
        if seq >= self.signed {
            Record::parse(body)?;
        }
        match said(seq, body)? {
            Said::Permit(permit) => self.permit(&permit),
            Said::Outcome { seq, permit, attempt, outcome } => self.outcome(seq, permit, &attempt, outcome),
            Said::Nothing => Ok(()),
        }
    }

    /// Compares the totals: what no record speaks of must not be there either.
    pub(crate) fn finish(self) -> Result<(), LedgerError> {
        let state = store::totals(self.connection)?;
        if (state.permits, state.ended, state.keys) != (self.permits, self.ended, self.keys) {
            return Err(LedgerError::Corrupt("the state holds what no record speaks of".into()));
        }
        if !self.lapsed.is_empty() {
            return Err(LedgerError::Corrupt("a consumed key is missing from the state".into()));
        }
        Ok(())
    }

    fn permit(&mut self, entry: &Permitted) -> Result<(), LedgerError> {
        self.permits += 1;
        let row = store::permit(self.connection, &entry.attempt)?;
        let row = row.filter(|row| row.seq == entry.seq && row.agent == entry.agent);
        let row = row.ok_or_else(|| differs(entry.seq))?;
        if Some(row.due) != entry.due || store::attempt(self.connection, &entry.attempt)? != Some(entry.seq) {
            return Err(differs(entry.seq));
        }
        match (&entry.key, &row.key) {
            (None, None) => Ok(()),
            (Some(commitment), Some(key)) if commitment == key => self.key(entry, *commitment, &row),
            (Some(_), Some(_)) => Err(differs(entry.seq)),
            (Some(_), None) | (None, Some(_)) => Err(differs(entry.seq)),
        }
    }

    fn key(&mut self, entry: &Permitted, commitment: Digest, row: &PermitRow) -> Result<(), LedgerError> {
        self.lapsed.remove(&commitment);
        let given_back = matches!(row.outcome, Some(Outcome::Expired | Outcome::Withheld));
        match store::key_permit(self.connection, &commitment)? {
            Some((permit, consumed)) if permit == entry.seq => {
                self.keys += 1;
                if given_back || consumed != entry.time { Err(differs(entry.seq)) } else { Ok(()) }
            }
            // A later PERMIT consumed it, and is compared when its turn comes.
            Some((permit, _)) if permit > entry.seq => Ok(()),
            Some(_) | None if given_back => Ok(()),
            Some(_) | None => {
                self.lapsed.insert(commitment);
                Ok(())
            }
        }
    }

    fn outcome(
        &mut self,
        seq: u64,
        permit: u64,
        attempt: &AttemptId,
        outcome: Outcome,
    ) -> Result<(), LedgerError> {
        let row = store::permit(self.connection, attempt)?.filter(|row| row.seq == permit);
        match row.and_then(|row| row.outcome_seq.zip(row.outcome)) {
            Some((ended, by)) if ended == seq && by == outcome => {
                self.ended += 1;
                Ok(())
            }
            // Superseded by a later record, which is compared when its turn comes.
            Some((ended, _)) if ended > seq && outcome == Outcome::Unknown => Ok(()),
            Some(_) | None => Err(differs(permit)),
        }
    }
}

fn differs(permit: u64) -> LedgerError {
    LedgerError::Corrupt(format!("the state of PERMIT {permit} is not what the records say"))
}

/// Reads what a record says to the state. Leaves out most of what makes it a record: a log is long, and reading
/// it is what opening it takes.
fn said(seq: u64, body: &[u8]) -> Result<Said, LedgerError> {
    let record = Value::parse(body, Limits::RECORD).map_err(|_| damaged(seq))?;
    let fields = Fields { seq, of: record.as_object().ok_or_else(|| damaged(seq))? };
    if fields.number("seq")? != seq {
        return Err(damaged(seq));
    }
    match (fields.text("kind")?, fields.of.get("decision").and_then(Value::as_str)) {
        ("decision", Some("PERMIT")) => Ok(Said::Permit(Permitted {
            seq,
            time: Millis(fields.number("time")?),
            agent: fields.text("agent")?.to_owned(),
            attempt: fields.parsed("attempt")?,
            key: fields.of.get("key").map(|_| fields.parsed("key")).transpose()?,
            due: fields.of.get("outcome_due").map(|_| fields.number("outcome_due")).transpose()?.map(Millis),
        })),
        ("outcome", None) => Ok(Said::Outcome {
            seq,
            permit: fields.number("permit")?,
            attempt: fields.parsed("attempt")?,
            outcome: store::outcome_of(fields.text("outcome")?)?,
        }),
        ("decision" | "aggregate" | "event", _) => Ok(Said::Nothing),
        (_, _) => Err(damaged(seq)),
    }
}

/// The fields of a record.
struct Fields<'a> {
    seq: u64,
    of: &'a BTreeMap<String, Value>,
}

impl Fields<'_> {
    fn number(&self, name: &str) -> Result<u64, LedgerError> {
        match self.of.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| damaged(self.seq)),
            Some(_) | None => Err(damaged(self.seq)),
        }
    }

    fn text(&self, name: &str) -> Result<&str, LedgerError> {
        self.of.get(name).and_then(Value::as_str).ok_or_else(|| damaged(self.seq))
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<T, LedgerError> {
        self.text(name)?.parse().map_err(|_| damaged(self.seq))
    }
}

fn damaged(seq: u64) -> LedgerError {
    LedgerError::Corrupt(format!("record {seq} is not one"))
}
