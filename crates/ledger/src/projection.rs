//! The state as the log says it must be.
//!
//! Records are proved by signed heads; the tables beside them are not. What they say is compared with what the
//! records say, record by record. Each comparison needs its own rows only, so that any range of the log can be
//! compared by itself, while the ledger moves on.

use std::collections::BTreeMap;
use std::str::FromStr;

use portcullis_protocol::{AttemptId, Digest, Event, LateRecord, Limits, Millis, Outcome, Record, Value};
use portcullis_verify::TileTree;
use rusqlite::Connection;

use crate::edge;
use crate::error::LedgerError;
use crate::keys::{self, Entry};
use crate::late;
use crate::store::{self, PermitRow};

/// What a record says that the state must agree with.
enum Said {
    Permit(Permitted),
    Refusal { attempt: AttemptId },
    Outcome(Ended),
    Mark(Digest),
    Late(LateRecord),
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

/// What an outcome says.
struct Ended {
    seq: u64,
    time: Millis,
    permit: u64,
    attempt: AttemptId,
    outcome: Outcome,
}

/// What a record did beyond rows of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It consumed a key or gave it back.
    Key(Entry),
    /// It says which keys were consumed before it.
    Mark(Digest),
    /// Nothing.
    None,
}

/// How many rows the records that were compared speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) permits: u64,
    pub(crate) attempts: u64,
    pub(crate) keys: u64,
}

impl Counted {
    pub(crate) const fn add(&mut self, more: &Self) {
        self.permits = self.permits.saturating_add(more.permits);
        self.attempts = self.attempts.saturating_add(more.attempts);
        self.keys = self.keys.saturating_add(more.keys);
    }
}

/// A comparison in progress.
pub(crate) struct Projection<'a> {
    connection: &'a Connection,
    /// Records below this index are proved by a signed head, so that they are ours, byte for byte.
    signed: u64,
    /// Proves the records before those that are compared, if it is not compared too that they are ours.
    before: Option<&'a TileTree>,
    pub(crate) counted: Counted,
}

impl<'a> Projection<'a> {
    pub(crate) fn new(connection: &'a Connection, signed: u64, before: Option<&'a TileTree>) -> Self {
        Self { connection, signed, before, counted: Counted::default() }
    }

    /// Compares what one record says with the state.
    pub(crate) fn compare(&mut self, seq: u64, body: &[u8]) -> Result<Effect, LedgerError> {
        // What nobody signed yet is about to be: it must be a record in every particular.
        if seq >= self.signed {
            Record::parse(body)?;
        }
        match said(seq, body)? {
            Said::Permit(permit) => self.permit(&permit),
            Said::Refusal { attempt } => self.attempt(&attempt, seq).map(|()| Effect::None),
            Said::Outcome(ended) => self.outcome(&ended),
            Said::Mark(digest) => Ok(Effect::Mark(digest)),
            Said::Late(record) => match late::agrees(self.connection, &record)? {
                true => Ok(Effect::None),
                false => Err(differs(seq)),
            },
            Said::Nothing => Ok(Effect::None),
        }
    }

    fn attempt(&mut self, attempt: &AttemptId, seq: u64) -> Result<(), LedgerError> {
        self.counted.attempts += 1;
        if store::attempt(self.connection, attempt)? == Some(seq) { Ok(()) } else { Err(differs(seq)) }
    }

    fn permit(&mut self, entry: &Permitted) -> Result<Effect, LedgerError> {
        self.counted.permits += 1;
        self.attempt(&entry.attempt, entry.seq)?;
        let row = store::permit_at(self.connection, entry.seq)?.ok_or_else(|| differs(entry.seq))?;
        let same = row.attempt == entry.attempt && row.agent == entry.agent && row.key == entry.key;
        if !same || Some(row.due) != entry.due || !self.ended_as_recorded(&row)? {
            return Err(differs(entry.seq));
        }
        let Some(name) = entry.key else { return Ok(Effect::None) };
        self.key(Entry { seq: entry.seq, time: entry.time, name, permit: entry.seq })
    }

    /// Whether the outcome that the state has of a PERMIT is on record where it says.
    fn ended_as_recorded(&self, row: &PermitRow) -> Result<bool, LedgerError> {
        let (outcome, seq) = match (row.outcome, row.outcome_seq) {
            (None, None) => return Ok(true),
            (Some(outcome), Some(seq)) => (outcome, seq),
            (Some(_), None) | (None, Some(_)) => return Ok(false),
        };
        let Some(body) = store::record(self.connection, seq)? else { return Ok(false) };
        match said(seq, &body)? {
            Said::Outcome(ended) => Ok(ended.permit == row.seq && ended.outcome == outcome),
            Said::Permit(_) | Said::Refusal { .. } | Said::Mark(_) | Said::Late(_) | Said::Nothing => {
                Ok(false)
            }
        }
    }

    fn key(&mut self, entry: Entry) -> Result<Effect, LedgerError> {
        self.counted.keys += 1;
        if keys::entry(self.connection, &entry.name, entry.seq)? == Some(entry) {
            Ok(Effect::Key(entry))
        } else {
            Err(differs(entry.permit))
        }
    }

    fn outcome(&mut self, ended: &Ended) -> Result<Effect, LedgerError> {
        let row = store::permit_at(self.connection, ended.permit)?;
        let row = row.filter(|row| row.attempt == ended.attempt).ok_or_else(|| differs(ended.permit))?;
        match row.outcome_seq.zip(row.outcome) {
            Some((seq, by)) if seq == ended.seq && by == ended.outcome => {}
            // Superseded by a later record, which is compared when its turn comes.
            Some((seq, _)) if seq > ended.seq && ended.outcome == Outcome::Unknown => {}
            Some(_) | None => return Err(differs(ended.permit)),
        }
        match ended.outcome {
            Outcome::Expired | Outcome::Withheld => self.given_back(ended),
            Outcome::Ok | Outcome::Failed | Outcome::Unknown => Ok(Effect::None),
        }
    }

    /// A PERMIT that ended without having run gives its key back.
    fn given_back(&mut self, ended: &Ended) -> Result<Effect, LedgerError> {
        match self.key_of(ended.permit)? {
            None => Ok(Effect::None),
            Some(name) => self.key(Entry { seq: ended.seq, time: ended.time, name, permit: ended.permit }),
        }
    }

    /// The key that a PERMIT consumed, by its record.
    fn key_of(&self, permit: u64) -> Result<Option<Digest>, LedgerError> {
        if let Some(tree) = self.before.filter(|tree| permit < tree.size()) {
            return match edge::proved(self.connection, tree, permit)? {
                Record::Decision(record) => Ok(record.key),
                Record::Outcome(_) | Record::Aggregate(_) | Record::Event(_) | Record::Late(_) => {
                    Err(differs(permit))
                }
            };
        }
        let body = store::record(self.connection, permit)?.ok_or_else(|| differs(permit))?;
        match said(permit, &body)? {
            Said::Permit(permit) => Ok(permit.key),
            Said::Refusal { .. } | Said::Outcome(_) | Said::Mark(_) | Said::Late(_) | Said::Nothing => {
                Err(differs(permit))
            }
        }
    }
}

fn differs(record: u64) -> LedgerError {
    LedgerError::Corrupt(format!("the state of record {record} is not what the records say"))
}

/// Reads what a record says to the state. Leaves out most of what makes it a record: a log is long, and reading
/// it is what comparing it takes.
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
        ("decision", Some("DENY" | "SILENCE")) => Ok(Said::Refusal { attempt: fields.parsed("attempt")? }),
        ("outcome", None) => Ok(Said::Outcome(Ended {
            seq,
            time: Millis(fields.number("time")?),
            permit: fields.number("permit")?,
            attempt: fields.parsed("attempt")?,
            outcome: store::outcome_of(fields.text("outcome")?)?,
        })),
        ("event", _) if fields.text("event")? == "marked" => match Record::parse(body)? {
            Record::Event(record) if record.event == Event::Marked => mark(seq, &record.detail),
            Record::Event(_)
            | Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Late(_) => Err(damaged(seq)),
        },
        ("late", None) => match Record::parse(body)? {
            Record::Late(record) => Ok(Said::Late(record)),
            Record::Event(_) | Record::Decision(_) | Record::Outcome(_) | Record::Aggregate(_) => {
                Err(damaged(seq))
            }
        },
        ("aggregate" | "event", _) => Ok(Said::Nothing),
        (_, _) => Err(damaged(seq)),
    }
}

/// What a mark's record calls the digest of the keys.
pub(crate) const KEYS: &str = "keys";

fn mark(seq: u64, detail: &BTreeMap<String, String>) -> Result<Said, LedgerError> {
    let digest = detail.get(KEYS).ok_or_else(|| damaged(seq))?;
    digest.parse().map(Said::Mark).map_err(|_| damaged(seq))
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
