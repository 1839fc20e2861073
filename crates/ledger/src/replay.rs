//! The state once more, from the log alone, and compared with the tables.
//!
//! Whoever replays a log feeds it the records in order. It answers what the log before a record says of a key, as
//! the writer's tables did when the record was settled; it checks that each record can follow those before it; and
//! in the end the tables must hold what it holds, and nothing else.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use portcullis_arbiter::{ConsumedKey, KeyStatus, Keys, Standing, StoredKey, standing_digest};
use portcullis_protocol::{
    AttemptId, Decision, DecisionRecord, Digest, Event, EventRecord, LateRecord, LimitUse, ListingRecord,
    Millis, Outcome, OutcomeRecord, Record,
};
use portcullis_verify::TileTree;
use portcullis_verify::merkle::leaf_hash;

use crate::disagreement;
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::following::{Following, Resolved};
use crate::keys;
use crate::late::{self, Entered};
use crate::projection::KEYS;
use crate::reader::LedgerReader;
use crate::released::{Step, Wrong};
use crate::standing::{self, STANDING};
use crate::store::{self, PermitRow};

mod beside;

pub use beside::{COMPARED, NOT_COMPARED};

/// What the log says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prior {
    /// It was consumed so, or is free.
    Known(Option<StoredKey>),
    /// The PERMIT at this index consumed it, and for which operation cannot be told: its request is not to be had.
    OfUnknownOperation(u64),
}

/// Something that the log or the tables say and that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Index of the record that it is about; `None` for what no record speaks of.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

struct Permit {
    attempt: AttemptId,
    agent: String,
    key: Option<Digest>,
    due: Option<Millis>,
    /// The `unknown` that it ended as, which a late outcome may supersede.
    unknown: Option<u64>,
}

/// The state that the records so far lead to. Takes memory for keys, and for PERMITs that are open or in doubt.
pub struct StateReplay<'a> {
    reader: &'a LedgerReader,
    next: u64,
    last: Millis,
    keys: Keys,
    permits: BTreeMap<u64, Permit>,
    decided: u64,
    granted: u64,
    ended: u64,
    /// How often keys were consumed or given back.
    entries: u64,
    /// How many tiles the records fill.
    tiles: u64,
    /// What each mark says of the keys' chains.
    marks: BTreeMap<u64, Option<String>>,
    /// How far each series of a spool was entered.
    spools: BTreeMap<Digest, Entered>,
    standing: Standing,
    following: Following,
    erasures: Erasures,
    found: Vec<Contradiction>,
}

impl std::fmt::Debug for StateReplay<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StateReplay").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Why reading ended before the last record.
enum Ended {
    BrokenOff,
    Failed(LedgerError),
}

impl<E: Into<LedgerError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl LedgerReader {
    /// Calls `each` with every record of the database as it is now, and the state that those before it lead to, in
    /// order; then compares the tables with the state that all lead to. Returns how many records there were, and
    /// every contradiction; `None` if `each` broke off.
    ///
    /// `each` returns the operation that a PERMIT's key was consumed for, if it can be told.
    ///
    /// # Errors
    /// If the database cannot be read, or its records are not those of the signed head: then nothing in it is
    /// worth a replay.
    pub fn replay(
        &self,
        mut each: impl FnMut(&Record, &[u8], &StateReplay<'_>) -> ControlFlow<(), Option<Digest>>,
    ) -> Result<Option<(u64, Vec<Contradiction>)>, LedgerError> {
        // One view of the database throughout, whatever the writer does meanwhile.
        let _view = self.connection.unchecked_transaction()?;
        let newest = store::head(&self.connection)?
            .ok_or_else(|| LedgerError::Corrupt("the database has no head".into()))?;
        let mut tree = TileTree::new();
        let mut state = StateReplay::over(self);
        let mut met = self.head().size() == 0;
        let read = store::for_each_record(&self.connection, 0, u64::MAX, |_, body| {
            tree.append(leaf_hash(body));
            state.tiles(tree.take_full_tiles())?;
            let record = Record::parse(body).map_err(LedgerError::from)?;
            let ControlFlow::Continue(operation) = each(&record, body, &state) else {
                return Err(Ended::BrokenOff);
            };
            state.apply(&record, operation)?;
            if tree.size() == self.head().size() {
                met = tree.root() == self.head().root();
            }
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(Ended::BrokenOff) => return Ok(None),
            Err(Ended::Failed(error)) => return Err(error),
        }
        if !met {
            return Err(disagreement::of_records(&self.connection));
        }
        if (tree.size(), tree.root()) != (newest.size, newest.root) {
            return Err(LedgerError::Corrupt("the records do not hash to the database's head".into()));
        }
        Ok(Some((tree.size(), state.finish()?)))
    }
}

impl<'a> StateReplay<'a> {
    fn over(reader: &'a LedgerReader) -> Self {
        Self {
            reader,
            next: 0,
            last: Millis(0),
            keys: Keys::new(),
            permits: BTreeMap::new(),
            decided: 0,
            granted: 0,
            ended: 0,
            entries: 0,
            tiles: 0,
            marks: BTreeMap::new(),
            spools: BTreeMap::new(),
            standing: Standing::new(),
            following: Following::default(),
            erasures: Erasures::default(),
            found: Vec::new(),
        }
    }

    /// What the log so far says of a key, by its commitment.
    #[must_use]
    pub fn prior(&self, key: Option<&Digest>) -> Prior {
        match key.and_then(|key| self.keys.get(key)) {
            None => Prior::Known(None),
            Some(ConsumedKey { operation: None, permit, .. }) => Prior::OfUnknownOperation(*permit),
            Some(ConsumedKey { operation: Some(operation), consumed, status, .. }) => {
                Prior::Known(Some(StoredKey { operation: *operation, status: *status, consumed: *consumed }))
            }
        }
    }

    /// Whose PERMIT the outcome at hand is about, while it can still have one.
    #[must_use]
    pub fn agent_of(&self, permit: u64) -> Option<&str> {
        self.permits.get(&permit).map(|permit| permit.agent.as_str())
    }

    fn say(&mut self, seq: u64, what: impl Into<String>) {
        self.found.push(Contradiction { seq: Some(seq), what: what.into() });
    }

    fn apply(&mut self, record: &Record, operation: Option<Digest>) -> Result<(), LedgerError> {
        let seq = self.next;
        if record.seq() != seq {
            self.say(seq, format!("it says that it is number {}", record.seq()));
        }
        if record.time() < self.last {
            self.say(seq, "it is earlier than the record before it");
        }
        (self.next, self.last) = (seq.saturating_add(1), record.time());
        if let Err(Wrong { seq, what }) = self.follow(seq, record) {
            self.say(seq, what);
        }
        match record {
            Record::Decision(entry) => self.decision(seq, entry, operation),
            Record::Outcome(entry) => self.outcome(seq, entry),
            Record::Late(entry) => {
                self.late(seq, entry);
                Ok(())
            }
            Record::Event(entry) if entry.event == Event::Marked => self.mark(seq, entry),
            Record::Simulation(entry) => {
                self.counted(seq, entry);
                Ok(())
            }
            Record::Event(_) | Record::Aggregate(_) | Record::Listing(_) => Ok(()),
        }
    }

    /// Follows which bundles were in force, how the lever stood, what operators ordered, and what was released.
    fn follow(&mut self, seq: u64, record: &Record) -> Result<(), Wrong> {
        let step = match record {
            Record::Event(entry) => {
                self.erasures.read(seq, entry);
                return self.following.event(seq, entry);
            }
            Record::Decision(entry) if entry.decision == Decision::Permit => Step::Permit,
            Record::Outcome(entry) => Step::Ended { permit: entry.permit, outcome: entry.outcome },
            Record::Decision(_)
            | Record::Late(_)
            | Record::Aggregate(_)
            | Record::Listing(_)
            | Record::Simulation(_) => Step::Other,
        };
        let stepped = self.following.step(seq, record.time(), step);
        let Record::Outcome(entry) = record else { return stepped };
        let said = Resolved::by_outcome(entry);
        stepped.and(said.map_or(Ok(()), |said| self.following.resolved(seq, entry.time, &said)))
    }

    /// Compares what is reserved with what a mark says, and with the rows that were kept with it, if they still are.
    fn mark(&mut self, seq: u64, entry: &EventRecord) -> Result<(), LedgerError> {
        self.marks.insert(seq, entry.detail.get(KEYS).cloned());
        self.standing.forget(entry.time);
        let digest = standing_digest(&self.standing.rows()).map(|digest| digest.to_string());
        if entry.detail.get(STANDING) != digest.as_ref() {
            self.say(seq, "what is reserved of limits is not what it says");
        }
        let connection = &self.reader.connection;
        let Some(kept) = keys::newest_mark(connection, seq.saturating_add(1))?.filter(|mark| mark.seq == seq)
        else {
            return Ok(());
        };
        if let Some(row) = self.standing.differs(&standing::stored(connection, kept.slot)?) {
            self.say(seq, format!("row `{row}` in `standing` is missing or says something else"));
        }
        Ok(())
    }

    /// Whether a decision or a simulation, which comes next, was made by the bundle that the log so far says was in force, and with the gate
    /// as an operator had left it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn in_force(&self, entry: &DecisionRecord) -> Result<(), &'static str> {
        self.following.admits(entry)
    }

    /// Whether a list, which comes next, was answered by the bundle that the log so far says was in force, and with the gate open.
    ///
    /// # Errors
    /// What is wrong.
    pub fn lists(&self, entry: &ListingRecord) -> Result<(), &'static str> {
        self.following.lists(entry.bundle.digest)
    }

    /// What the log so far left for later decisions.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Compares what a decision, or a simulation, says that limits had counted with what the records before it come to.
    fn counted(&mut self, seq: u64, entry: &DecisionRecord) {
        for read in &entry.limits {
            let used = self.standing.used(&read.limit, &read.counter, entry.time);
            if used != read.used {
                let LimitUse { limit, used: said, .. } = read;
                let what = format!("it says that limit `{limit}` had counted {said}, and it was {used}");
                self.say(seq, what);
            }
        }
    }

    /// The same of a decision, and reserves what a PERMIT takes.
    fn limits(&mut self, seq: u64, entry: &DecisionRecord) {
        self.counted(seq, entry);
        if entry.decision == Decision::Permit {
            self.standing.reserve(seq, &entry.agent, entry.time, &entry.limits);
            self.standing.label(&entry.agent, entry.behind(), entry.time, &entry.labels.added);
        }
    }

    fn decision(
        &mut self,
        seq: u64,
        entry: &DecisionRecord,
        operation: Option<Digest>,
    ) -> Result<(), LedgerError> {
        if store::attempt(&self.reader.connection, &entry.attempt)? != Some(seq) {
            self.say(seq, "its attempt is not in the state");
        }
        self.decided += 1;
        self.limits(seq, entry);
        self.standing.hear(entry.time, &entry.facts.sources);
        if entry.decision != Decision::Permit {
            return Ok(());
        }
        self.granted += 1;
        let key = entry.key;
        let (attempt, agent, due) = (entry.attempt, entry.agent.to_string(), entry.outcome_due);
        self.permits.insert(seq, Permit { attempt, agent, key, due, unknown: None });
        if let Some(key) = key {
            // A window that is over makes a key free again; what became of its run must be known by then.
            let before = self.keys.get(&key).map(|before| (before.status, before.permit));
            if let Some((KeyStatus::InFlight | KeyStatus::Unknown, permit)) = before {
                self.say(seq, format!("its key is in use since record {permit}, which may have run"));
            }
            self.keys.consume(key, operation, seq, entry.time);
            self.entries += 1;
        }
        Ok(())
    }

    fn late(&mut self, seq: u64, entry: &LateRecord) {
        let (series, said) = late::said(entry);
        if self.spools.get(&series).is_some_and(|before| before.next >= said.next) {
            self.say(seq, "what it enters was entered before");
        }
        self.spools.insert(series, said);
    }

    fn outcome(&mut self, seq: u64, entry: &OutcomeRecord) -> Result<(), LedgerError> {
        let Some(mut permit) = self.permits.remove(&entry.permit) else {
            self.say(seq, format!("record {} is no PERMIT that could still end", entry.permit));
            return Ok(());
        };
        if permit.attempt != entry.attempt {
            self.say(seq, "it names another attempt than its PERMIT");
        }
        if permit.unknown != entry.supersedes {
            self.say(seq, "it does not supersede what its PERMIT had ended as");
        }
        if permit.unknown.is_none() {
            self.ended += 1;
        }
        self.end_key(entry.permit, permit.key, entry.outcome);
        self.standing.end(entry.permit, entry.outcome);
        if entry.outcome == Outcome::Unknown {
            permit.unknown = Some(seq);
            self.permits.insert(entry.permit, permit);
            return Ok(());
        }
        self.compare(entry.permit, &permit, Some((entry.outcome, seq)))
    }

    fn end_key(&mut self, permit: u64, key: Option<Digest>, outcome: Outcome) {
        let Some(key) = key else { return };
        if matches!(outcome, Outcome::Expired | Outcome::Withheld) {
            self.entries += 1;
        }
        self.keys.end(&key, permit, outcome);
    }

    /// Compares a PERMIT's row with what the log says of it.
    fn compare(
        &mut self,
        seq: u64,
        permit: &Permit,
        ended: Option<(Outcome, u64)>,
    ) -> Result<(), LedgerError> {
        let row = match store::permit(&self.reader.connection, &permit.attempt).map_err(LedgerError::from) {
            // A row that was altered is one finding among others.
            Err(LedgerError::Corrupt(what)) => {
                self.say(seq, format!("its row in `permits`: {what}"));
                return Ok(());
            }
            row => row?,
        };
        if let Some(what) = difference(seq, permit, ended, row.as_ref()) {
            self.say(seq, format!("its row in `permits` {what}"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Contradiction>, LedgerError> {
        if let Err(Wrong { seq, what }) = self.following.end() {
            self.say(seq, what);
        }
        for (seq, permit) in std::mem::take(&mut self.permits) {
            let ended = permit.unknown.map(|seq| (Outcome::Unknown, seq));
            self.compare(seq, &permit, ended)?;
        }
        let connection = &self.reader.connection;
        let mut found = Vec::new();
        for (commitment, key) in self.keys.iter() {
            // A row that was altered is one finding among others.
            let row = match keys::claimed(connection, commitment) {
                Err(LedgerError::Corrupt(_)) => None,
                row => row?,
            };
            let agrees = row.is_some_and(|row| {
                (row.permit, row.time) == (key.permit, key.consumed)
                    && key.operation.is_none_or(|own| own == row.operation)
            });
            if !agrees {
                let what = "its key's row in `keys` is missing or says something else".to_owned();
                found.push(Contradiction { seq: Some(key.permit), what });
            }
        }
        for (series, said) in &self.spools {
            if late::entered(connection, series)? != Some(*said) {
                let what = "its series' row in `spools` is missing or says something else".to_owned();
                found.push(Contradiction { seq: Some(said.seq), what });
            }
        }
        let series = u64::try_from(self.spools.len()).map_or(u64::MAX, |series| series);
        let totals = store::totals(connection)?;
        let entries = keys::entries_before(connection, u64::MAX)?;
        let attempts = store::attempts_before(connection, u64::MAX)?;
        let tables = [
            ("attempts", attempts, self.decided),
            ("permits", totals.permits, self.granted),
            ("permits with an outcome", totals.ended, self.ended),
            ("entries of keys", entries, self.entries),
            ("series of spools", late::series_count(connection)?, series),
            ("tiles", store::tile_count(connection)?, self.tiles),
        ];
        for (table, held, said) in tables {
            if held != said {
                let what = format!("the state holds {held} {table}, and the records speak of {said}");
                found.push(Contradiction { seq: None, what });
            }
        }
        self.found.append(&mut found);
        self.chains()?;
        self.kept()?;
        Ok(self.found)
    }
}

fn difference(
    seq: u64,
    permit: &Permit,
    ended: Option<(Outcome, u64)>,
    row: Option<&PermitRow>,
) -> Option<&'static str> {
    let Some(row) = row else { return Some("is missing") };
    if row.seq != seq || row.agent != permit.agent {
        return Some("is of another PERMIT");
    }
    if row.key != permit.key {
        return Some("has another key");
    }
    if Some(row.due) != permit.due {
        return Some("has its outcome due at another time");
    }
    (row.outcome.zip(row.outcome_seq) != ended).then_some("has another outcome")
}
