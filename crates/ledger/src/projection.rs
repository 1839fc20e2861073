//! The state as the log says it must be.
//!
//! Records are proved by signed heads; the tables beside them are not. What they say is compared with what the
//! records say, record by record. Each comparison needs its own rows only, so that any range of the log can be
//! compared by itself, while the ledger moves on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use portcullis_protocol::{
    AttemptId, Digest, Event, LabelName, Labels, LateRecord, LimitUse, Millis, Outcome, PrincipalId, Record,
    Snapshots,
};
use portcullis_verify::TileTree;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::edge;
use crate::error::LedgerError;
use crate::keys::{self, Entry};
use crate::late;
use crate::standing::STANDING;
use crate::store::{self, PermitRow};

/// What a record says that the state must agree with.
pub(crate) enum Said {
    Permit(Permitted),
    Refusal {
        attempt: AttemptId,
        time: Millis,
        /// The facts that it names.
        sources: Snapshots,
    },
    Outcome(Ended),
    Mark(Marked),
    Late(LateRecord),
    Nothing,
}

/// What a PERMIT says.
pub(crate) struct Permitted {
    pub(crate) seq: u64,
    pub(crate) time: Millis,
    pub(crate) agent: String,
    pub(crate) attempt: AttemptId,
    pub(crate) key: Option<Digest>,
    pub(crate) due: Option<Millis>,
    /// What it reserves of limits.
    pub(crate) limits: Vec<LimitUse>,
    /// For whom its agent acted.
    pub(crate) behind: Option<PrincipalId>,
    /// The labels that it gives its agent and whom that acts for, and until when.
    pub(crate) added: BTreeMap<LabelName, Millis>,
    /// The facts that it names.
    pub(crate) sources: Snapshots,
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) time: Millis,
    /// Digest of the keys.
    pub(crate) keys: Digest,
    /// Digest of what is reserved of limits, if anything is.
    pub(crate) standing: Option<Digest>,
}

/// What an outcome says.
pub(crate) struct Ended {
    pub(crate) seq: u64,
    pub(crate) time: Millis,
    pub(crate) permit: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: Outcome,
    /// Index of the `unknown` that it supersedes.
    pub(crate) supersedes: Option<u64>,
}

/// What a record did beyond rows of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It consumed a key or gave it back.
    Key(Entry),
    /// It says which keys were consumed before it, and what is reserved.
    Mark(Marked),
    /// Nothing.
    None,
}

/// How many rows the records that were compared speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Compares what one record says with the state. Returns what it says, too.
    pub(crate) fn compare(&mut self, seq: u64, body: &[u8]) -> Result<(Effect, Said), LedgerError> {
        // What nobody signed yet is about to be: it must be a record in every particular.
        if seq >= self.signed {
            Record::parse(body)?;
        }
        let said = said(seq, body)?;
        Ok((self.agrees(seq, &said)?, said))
    }

    fn agrees(&mut self, seq: u64, said: &Said) -> Result<Effect, LedgerError> {
        match said {
            Said::Permit(permit) => self.permit(permit),
            Said::Refusal { attempt, .. } => self.attempt(attempt, seq).map(|()| Effect::None),
            Said::Outcome(ended) => self.outcome(ended),
            Said::Mark(marked) => Ok(Effect::Mark(*marked)),
            Said::Late(record) => match late::agrees(self.connection, record)? {
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
        recorded_as(self.connection, seq, row.seq, outcome)
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
    pub(crate) fn key_of(&self, permit: u64) -> Result<Option<Digest>, LedgerError> {
        if let Some(tree) = self.before.filter(|tree| permit < tree.size()) {
            return match edge::proved(self.connection, tree, permit)? {
                Record::Decision(record) => Ok(record.key),
                Record::Outcome(_)
                | Record::Aggregate(_)
                | Record::Event(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => Err(differs(permit)),
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

pub(crate) fn differs(record: u64) -> LedgerError {
    LedgerError::Corrupt(format!("the state of record {record} is not what the records say"))
}

/// Whether the record at `seq` is this outcome of a PERMIT.
pub(crate) fn recorded_as(
    connection: &Connection,
    seq: u64,
    permit: u64,
    outcome: Outcome,
) -> Result<bool, LedgerError> {
    let Some(body) = store::record(connection, seq)? else { return Ok(false) };
    match said(seq, &body)? {
        Said::Outcome(ended) => Ok(ended.permit == permit && ended.outcome == outcome),
        Said::Permit(_) | Said::Refusal { .. } | Said::Mark(_) | Said::Late(_) | Said::Nothing => Ok(false),
    }
}

/// The fields of a record that the state depends on.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    seq: u64,
    #[serde(borrow)]
    decision: Option<Text<'a>>,
    time: Option<u64>,
    #[serde(borrow)]
    agent: Option<Text<'a>>,
    #[serde(borrow)]
    acts_for: Option<Text<'a>>,
    #[serde(borrow)]
    attempt: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    outcome_due: Option<u64>,
    #[serde(borrow)]
    outcome: Option<Text<'a>>,
    permit: Option<u64>,
    supersedes: Option<u64>,
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(default)]
    limits: Vec<LimitUse>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    facts: NamedFacts,
}

/// Of a decision's facts, those of the bundle's sources.
#[derive(Default, Deserialize)]
struct NamedFacts {
    #[serde(default)]
    sources: Snapshots,
}

/// A text that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Fields<'_> {
    fn number(&self, number: Option<u64>) -> Result<u64, LedgerError> {
        number.ok_or_else(|| damaged(self.seq))
    }

    fn parsed<T: FromStr>(&self, text: Option<&Text<'_>>) -> Result<T, LedgerError> {
        text.and_then(|text| text.0.parse().ok()).ok_or_else(|| damaged(self.seq)) // tidy: allow None is damage
    }

    fn attempt(&self) -> Result<AttemptId, LedgerError> {
        self.parsed(self.attempt.as_ref())
    }

    fn time(&self) -> Result<Millis, LedgerError> {
        self.number(self.time).map(Millis)
    }
}

/// Reads what a record says to the state. Leaves out most of what makes it a record: a log is long, and reading
/// it is what comparing it takes.
pub(crate) fn said(seq: u64, body: &[u8]) -> Result<Said, LedgerError> {
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|_| damaged(seq))?;
    if fields.seq != seq {
        return Err(damaged(seq));
    }
    match (fields.kind.0.as_ref(), fields.decision.as_ref().map(|text| text.0.as_ref())) {
        ("decision", Some("PERMIT")) => Ok(Said::Permit(Permitted {
            seq,
            time: fields.time()?,
            attempt: fields.attempt()?,
            key: fields.key.as_ref().map(|key| fields.parsed(Some(key))).transpose()?,
            due: fields.outcome_due.map(Millis),
            // A PERMIT for one whom the credential does not admit is no record.
            behind: fields.acts_for.as_ref().map(|who| fields.parsed(Some(who))).transpose()?,
            limits: fields.limits,
            added: fields.labels.added,
            sources: fields.facts.sources,
            agent: fields.agent.ok_or_else(|| damaged(seq))?.0.into_owned(),
        })),
        ("decision", Some("DENY" | "SILENCE")) => {
            let (attempt, time) = (fields.attempt()?, fields.time()?);
            Ok(Said::Refusal { attempt, time, sources: fields.facts.sources })
        }
        ("outcome", None) => Ok(Said::Outcome(Ended {
            seq,
            time: fields.time()?,
            permit: fields.number(fields.permit)?,
            attempt: fields.attempt()?,
            outcome: store::outcome_of(&fields.outcome.ok_or_else(|| damaged(seq))?.0)?,
            supersedes: fields.supersedes,
        })),
        ("event", _) if fields.event.as_ref().is_some_and(|event| event.0 == "marked") => {
            match Record::parse(body)? {
                Record::Event(record) if record.event == Event::Marked => {
                    mark(seq, record.time, &record.detail)
                }
                Record::Event(_)
                | Record::Decision(_)
                | Record::Outcome(_)
                | Record::Aggregate(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => Err(damaged(seq)),
            }
        }
        ("event", _) if fields.event.is_none() => Err(damaged(seq)),
        ("late", None) => match Record::parse(body)? {
            Record::Late(record) => Ok(Said::Late(record)),
            Record::Event(_)
            | Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Listing(_)
            | Record::Simulation(_) => Err(damaged(seq)),
        },
        // What would have been decided has left nothing.
        ("simulation", Some("PERMIT" | "DENY" | "SILENCE")) => Ok(Said::Nothing),
        ("aggregate" | "event" | "listing", None) => Ok(Said::Nothing),
        (_, _) => Err(damaged(seq)),
    }
}

/// What a mark's record calls the digest of the keys.
pub(crate) const KEYS: &str = "keys";

fn mark(seq: u64, time: Millis, detail: &BTreeMap<String, String>) -> Result<Said, LedgerError> {
    let digest = |name| detail.get(name).map(|text| text.parse::<Digest>()).transpose();
    let keys = digest(KEYS).map_err(|_| damaged(seq))?.ok_or_else(|| damaged(seq))?;
    let standing = digest(STANDING).map_err(|_| damaged(seq))?;
    Ok(Said::Mark(Marked { time, keys, standing }))
}

fn damaged(seq: u64) -> LedgerError {
    LedgerError::Corrupt(format!("record {seq} is not one"))
}
