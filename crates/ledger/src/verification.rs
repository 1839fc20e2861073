//! What is believed of a database that lies on a disk: nothing, before its records hash to heads that the log's
//! key signed, and its state is what those records say.
//!
//! A start reads the end of the log: from the newest mark on, at least from the last whole tile. What lies before is
//! there as tiles that the heads prove, and is read by the scrub ([`crate::scrub`]) once the ledger is open. After a
//! failure the whole of it is read before anything is permitted.

use portcullis_arbiter::Standing;
use portcullis_protocol::{Event, Millis, Record, Succession};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, LogKeys, TileTree, UnverifiedCheckpoint, VerifiedCheckpoint};
use rusqlite::Connection;

use crate::edge;
use crate::error::LedgerError;
use crate::keys::{self, Chains, Mark};
use crate::projection::{Counted, Effect, KEYS, Projection, Said};
use crate::standing::{self, STANDING};
use crate::store::{self, Head};

/// How much of the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The end of it.
    Tail,
    /// All of it.
    Whole,
}

/// A database that was verified.
pub(crate) struct Verified {
    /// The tree over its records.
    pub(crate) tree: TileTree,
    /// The anchored head, if there is one. What lies beyond it was committed, but never released.
    pub(crate) anchored: Option<VerifiedCheckpoint>,
    /// When the newest record was written.
    pub(crate) last: Millis,
    /// The keys.
    pub(crate) chains: Chains,
    /// What earlier PERMITs left.
    pub(crate) standing: Standing,
    /// The newest mark, if there is one that can be read on from.
    pub(crate) mark: Option<Mark>,
    /// Which bundles were in force, by the records that a signed head covers: what lies beyond is nobody's word.
    pub(crate) succession: Succession,
    /// The same by all records.
    pub(crate) latest: Succession,
}

/// How a canonical record says that it is about bundles in force. Inside a text its quotes would be escaped.
const EVENTS: [&[u8]; 6] = [
    b"\"event\":\"bundle_in_force\"",
    b"\"event\":\"head_given_up\"",
    b"\"event\":\"marked\"",
    b"\"event\":\"opened\"",
    b"\"event\":\"ordered\"",
    b"\"event\":\"recovered\"",
];

/// A head that the records must contain.
struct Expected {
    size: u64,
    root: Hash,
    met: bool,
}

impl Expected {
    fn of(head: &VerifiedCheckpoint) -> Self {
        // The empty tree has one root, which reading the checkpoint has checked.
        Self { size: head.size(), root: head.root(), met: head.size() == 0 }
    }

    fn compare(&mut self, tree: &TileTree) {
        if self.size == tree.size() {
            self.met = self.root == tree.root();
        }
    }
}

/// Verifies a database against the anchor, and against newer heads that are `known` from elsewhere.
///
/// Every head must be signed by a key that counts for it, and the records must hash to its root at its size. The database may be
/// ahead of the anchor, by what was committed and not yet anchored, never behind it; and the anchor may be behind
/// no head that was ever signed and kept elsewhere, or what was released would be taken for what never was.
pub(crate) fn verify(
    connection: &Connection,
    anchor: Option<&[u8]>,
    key: &LogKeys,
    known: &[&VerifiedCheckpoint],
    depth: Depth,
) -> Result<Verified, LedgerError> {
    let head =
        store::head(connection)?.ok_or_else(|| LedgerError::Corrupt("the database has no head".into()))?;
    let anchored = anchor.map(|note| checkpoint(note, key)).transpose()?;
    let carried = head.note.as_deref().map(|note| checkpoint(note, key)).transpose()?;
    let anchored_size = anchored.as_ref().map(VerifiedCheckpoint::size);
    if anchored_size.is_none() && head.size > 0 {
        return Err(behind("the anchor is empty or was replaced"));
    }
    let newer = |head: &&VerifiedCheckpoint| anchored_size.is_none_or(|size| size < head.size());
    if carried.iter().chain(known.iter().copied()).any(|head| newer(&head)) {
        return Err(behind("the anchor is older than a head that was signed"));
    }
    if anchored_size.is_some_and(|size| size > head.size) {
        return Err(behind("the anchor has more records than the ledger"));
    }
    let heads: Vec<_> = anchored.iter().chain(&carried).chain(known.iter().copied()).collect();
    let signed = anchored_size.map_or(0, |size| size);
    let start = Start::of(connection, signed, depth)?;
    let mut reading = Reading::from(connection, &start, signed, &heads);
    store::for_each_record(connection, start.tree.size(), u64::MAX, |seq, body| reading.take(seq, body))?;
    let Reading { tree, chains, standing, newest, succession, sealed, .. } = reading.finish(&head)?;
    if depth == Depth::Whole {
        marked(connection, signed)?;
    }
    let latest = succession;
    let succession = sealed.unwrap_or_else(|| latest.clone()); // tidy: allow then a signed head covers all of it
    for old in heads.iter().filter(|head| head.size() < start.tree.size()) {
        edge::extends(connection, &start.tree, old)?;
    }
    let last = newest.map(|body| Record::parse(&body)).transpose()?;
    let last = last.map_or(Millis(0), |record| record.time());
    Ok(Verified { tree, anchored, last, chains, standing, mark: start.mark, succession, latest })
}

/// Compares what the newest mark keeps with what its record says. A start that reads the whole log builds on none of it,
/// and the one after it would.
fn marked(connection: &Connection, end: u64) -> Result<(), LedgerError> {
    let Some(mark) = keys::newest_mark(connection, end)? else { return Ok(()) };
    let differs = || LedgerError::Corrupt(format!("what is kept of the mark in record {} differs", mark.seq));
    let body = store::record(connection, mark.seq)?.ok_or_else(differs)?;
    let Record::Event(record) = Record::parse(&body)? else { return Err(differs()) };
    let heads = Chains::load(connection, mark.slot)?.digest().to_string();
    let standing = standing::digest(connection, mark.slot)?;
    let agrees = record.event == Event::Marked
        && record.detail.get(KEYS) == Some(&heads)
        && record.detail.get(STANDING) == standing.as_ref();
    if agrees { Ok(()) } else { Err(differs()) }
}

fn behind(what: &str) -> LedgerError {
    LedgerError::BehindAnchor(what.into())
}

pub(crate) fn checkpoint(note: &[u8], key: &LogKeys) -> Result<VerifiedCheckpoint, LedgerError> {
    Ok(UnverifiedCheckpoint::parse(note)?.verify_with(key)?)
}

/// From where the log is read, and what it came to before.
struct Start {
    tree: TileTree,
    chains: Chains,
    standing: Standing,
    mark: Option<Mark>,
}

impl Start {
    /// Of the marks only one that was anchored is read on from: what lies beyond is nobody's word.
    fn of(connection: &Connection, signed: u64, depth: Depth) -> Result<Self, LedgerError> {
        let mark = match depth {
            Depth::Tail => keys::newest_mark(connection, signed)?,
            Depth::Whole => None,
        };
        Ok(match mark {
            // The newest record is read in any case: it says when it was written.
            Some(mark) => Self {
                tree: edge::restore(connection, mark.seq)?,
                chains: Chains::load(connection, mark.slot)?,
                standing: standing::load(connection, mark.slot)?,
                mark: Some(mark),
            },
            None => {
                Self { tree: TileTree::new(), chains: Chains::new(), standing: Standing::new(), mark: None }
            }
        })
    }
}

/// Hashes the records from a start on, comparing the root on the way with the heads that are expected at their
/// sizes, the tiles with those that are stored, and the state with what the records say.
struct Reading<'a> {
    connection: &'a Connection,
    start: &'a Start,
    tree: TileTree,
    chains: Chains,
    standing: Standing,
    projection: Projection<'a>,
    expected: Vec<Expected>,
    succession: Succession,
    /// How many records a signed head covers, and which bundles were in force by them; `None` until there are more.
    signed: u64,
    sealed: Option<Succession>,
    /// The newest record.
    newest: Option<Vec<u8>>,
}

impl<'a> Reading<'a> {
    fn from(
        connection: &'a Connection,
        start: &'a Start,
        signed: u64,
        heads: &[&VerifiedCheckpoint],
    ) -> Self {
        let tree = start.tree.clone();
        let ahead = heads.iter().filter(|head| head.size() >= tree.size());
        let mut expected: Vec<_> = ahead.map(|head| Expected::of(head)).collect();
        expected.iter_mut().for_each(|head| head.compare(&tree));
        let projection = Projection::new(connection, signed, Some(&start.tree));
        let (chains, standing) = (start.chains.clone(), start.standing.clone());
        let succession = Succession::default();
        Self {
            connection,
            start,
            tree,
            chains,
            standing,
            projection,
            expected,
            succession,
            signed,
            sealed: None,
            newest: None,
        }
    }

    fn take(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        if seq != self.tree.size() {
            return Err(LedgerError::Corrupt(format!("record {} is missing", self.tree.size())));
        }
        if seq == self.signed {
            self.sealed = Some(self.succession.clone());
        }
        self.tree.append(leaf_hash(body));
        compare_tiles(self.connection, &mut self.tree)?;
        let (effect, said) = self.projection.compare(seq, body)?;
        self.follow(seq, effect)?;
        self.follow_standing(seq, &said)?;
        self.follow_succession(seq, body)?;
        self.newest = Some(body.to_vec());
        self.expected.iter_mut().for_each(|head| head.compare(&self.tree));
        Ok(())
    }

    /// Follows the chains of keys from the mark on, and compares them with every mark.
    fn follow(&mut self, seq: u64, effect: Effect) -> Result<(), LedgerError> {
        let mark = self.start.mark.map_or(0, |mark| mark.seq);
        match effect {
            Effect::Mark(marked) if seq >= mark && marked.keys != self.chains.digest() => {
                Err(LedgerError::Corrupt(format!("the keys are not those of the mark in record {seq}")))
            }
            Effect::Key(_) | Effect::None if self.start.mark.is_some() && seq == mark => {
                Err(LedgerError::Corrupt(format!("record {seq} is no mark")))
            }
            Effect::Key(entry) if seq >= mark => {
                self.chains.follow(&entry);
                Ok(())
            }
            Effect::Key(_) | Effect::Mark(_) | Effect::None => Ok(()),
        }
    }

    /// Follows what PERMITs reserve and outcomes give back from the mark on, and compares it with every mark.
    fn follow_standing(&mut self, seq: u64, said: &Said) -> Result<(), LedgerError> {
        if self.start.mark.is_some_and(|mark| seq < mark.seq) {
            return Ok(());
        }
        match said {
            Said::Permit(permit) => {
                let agent = permit.agent.parse();
                let agent = agent.map_err(|_| LedgerError::Corrupt(format!("record {seq} is not one")))?;
                self.standing.reserve(permit.seq, &agent, permit.time, &permit.limits);
                self.standing.label(&agent, permit.behind.as_ref(), permit.time, &permit.added);
                self.standing.hear(permit.time, &permit.sources);
            }
            Said::Refusal { time, sources, .. } => self.standing.hear(*time, sources),
            Said::Outcome(ended) => self.standing.end(ended.permit, ended.outcome),
            Said::Mark(marked) => {
                self.standing.forget(marked.time);
                return standing::agrees(&self.standing, marked.standing, seq);
            }
            Said::Late(_) | Said::Nothing => {}
        }
        Ok(())
    }

    /// Follows which bundles were in force, from what the mark says on, and compares it with every later mark.
    fn follow_succession(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        // Most records are none of these, and parsing every one is what a start would spend its time on.
        if !EVENTS.iter().any(|event| body.windows(event.len()).any(|part| part == *event)) {
            return Ok(());
        }
        let Record::Event(record) = Record::parse(body)? else { return Ok(()) };
        self.succession.follow(&record);
        if record.event != Event::Marked {
            return Ok(());
        }
        let differs = || {
            LedgerError::Corrupt(format!("the bundles in force are not those of the mark in record {seq}"))
        };
        let said = Succession::of_mark(&record.detail).ok_or_else(differs)?;
        match self.start.mark {
            Some(mark) if mark.seq == seq => self.succession = said,
            mark if mark.is_none_or(|mark| mark.seq < seq) && said != self.succession => {
                return Err(differs());
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Compares what there is in all.
    fn finish(self, head: &Head) -> Result<Self, LedgerError> {
        let (size, first) = (self.tree.size(), self.start.tree.size());
        if size != head.size {
            return Err(LedgerError::Corrupt(format!("{size} records, where the head says {}", head.size)));
        }
        if self.tree.root() != head.root {
            return Err(LedgerError::Corrupt("records and tiles do not hash to the database's head".into()));
        }
        if self.expected.iter().any(|head| !head.met) {
            return Err(behind("its records are not those that were signed"));
        }
        let counted = self.projection.counted;
        let mut held =
            Counted { permits: store::permits_between(self.connection, first, u64::MAX)?, ..counted };
        if first == 0 {
            held.attempts = store::attempts_before(self.connection, u64::MAX)?;
            held.keys = keys::entries_before(self.connection, u64::MAX)?;
        }
        if held != counted {
            return Err(LedgerError::Corrupt("the state holds what no record speaks of".into()));
        }
        compare_last_tiles(self.connection, size, first == 0)?;
        Ok(self)
    }
}

/// Compares the tiles that became full with those in the database.
pub(crate) fn compare_tiles(connection: &Connection, tree: &mut TileTree) -> Result<(), LedgerError> {
    for tile in tree.take_full_tiles() {
        if store::tile(connection, tile.level, tile.index)? != tile.hashes {
            return Err(LedgerError::Corrupt(format!("tile {} of level {} differs", tile.index, tile.level)));
        }
    }
    Ok(())
}

/// Checks that there is no tile of records that do not exist.
fn compare_last_tiles(connection: &Connection, size: u64, count: bool) -> Result<(), LedgerError> {
    let strange = || LedgerError::Corrupt("there are tiles of records that do not exist".into());
    let full: Vec<_> = TileTree::right_edge_shape(size).into_iter().filter(|tile| tile.index > 0).collect();
    let last: Vec<_> =
        full.iter().map(|tile| (u64::from(tile.level), tile.index.saturating_sub(1))).collect();
    if store::last_tiles(connection)? != last {
        return Err(strange());
    }
    for tile in full.iter().filter(|_| count) {
        if store::tiles_before(connection, tile.level, u64::MAX)? != tile.index {
            return Err(strange());
        }
    }
    Ok(())
}
