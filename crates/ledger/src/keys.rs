//! Idempotency keys: which are consumed, proved.
//!
//! A key that is missing from the state would run twice, and no proof of the log's shows what is not there. So the
//! state of keys is kept as a function of the log that can be checked where it is read: each key belongs to one of
//! 2^18 buckets, each bucket is the list of what records did to its keys, oldest first, and the list is chained by
//! hashes to a head. The heads are in memory. They come from the log alone: from its newest mark, whose record
//! has their digest, and the records after it. Whoever looks a key up reads its bucket whole and compares the end of
//! its chain with the head, so that a row that is missing, changed or added is noticed by the first call that it
//! could mislead. See `docs/decisions/0003-opening-by-the-tail.md`.

use portcullis_protocol::{Digest, Domain, Millis};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::row;

/// Chains of keys.
const BUCKETS: usize = 1 << 18;
/// Heads that are stored as one row.
const PART: usize = 256;
const PARTS: usize = BUCKETS / PART;
/// The head of a chain without entries.
const NONE: [u8; 32] = [0; 32];

/// What a record did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of the record.
    pub(crate) seq: u64,
    /// When it was recorded.
    pub(crate) time: Millis,
    /// Commitment to the key, as records have it.
    pub(crate) name: Digest,
    /// Index of the PERMIT that consumed the key. Equal to `seq` where it is consumed, below it where it is given
    /// back.
    pub(crate) permit: u64,
}

impl Entry {
    fn follow(&self, head: &[u8; 32]) -> [u8; 32] {
        let numbers = [self.seq, self.permit, self.time.0].map(u64::to_be_bytes);
        let parts: [&[u8]; 3] = [head, self.name.as_bytes(), numbers.as_flattened()];
        *Digest::of(Domain::KeyEntry, &parts).as_bytes()
    }
}

/// A consumed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Consumed {
    /// Index of the PERMIT that consumed it.
    pub(crate) permit: u64,
    /// When.
    pub(crate) time: Millis,
    /// What for. No record says it in clear; its row marks it against damage, not against whoever can write the database. It
    /// tells one refusal from another.
    pub(crate) operation: Digest,
}

/// The heads of all chains.
#[derive(Clone)]
pub(crate) struct Chains {
    heads: Vec<[u8; 32]>,
    /// By part, the slots (bit 0, bit 1) whose stored copy is older.
    stale: Vec<u8>,
}

impl std::fmt::Debug for Chains {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Chains").field("digest", &self.digest()).finish()
    }
}

impl Chains {
    /// Those of a log without records.
    pub(crate) fn new() -> Self {
        Self { heads: vec![NONE; BUCKETS], stale: vec![0; PARTS] }
    }

    /// Those that were stored in a slot. Nothing is believed of them before their digest is compared with the
    /// mark's record.
    pub(crate) fn load(connection: &Connection, slot: Slot) -> Result<Self, LedgerError> {
        let mut chains = Self::new();
        // What the other slot holds is not known, so all of it is older.
        chains.stale.fill(slot.other().bit());
        let mut statement = connection.prepare_cached("SELECT part, heads FROM chains WHERE slot = ?1")?;
        let mut rows = statement.query([slot.number()])?;
        while let Some(row) = rows.next()? {
            let part: usize = row.get(0)?;
            let heads: Vec<u8> = row.get(1)?;
            let (heads, rest) = heads.as_chunks::<32>();
            let place = chains.heads.chunks_exact_mut(PART).nth(part);
            match place {
                Some(place) if rest.is_empty() && heads.len() == PART => place.copy_from_slice(heads),
                Some(_) | None => {
                    return Err(LedgerError::Corrupt(format!("part {part} of the keys' heads")));
                }
            }
        }
        Ok(chains)
    }

    /// Those that the state's entries of records before index `end` come to.
    pub(crate) fn of_entries(connection: &Connection, end: u64) -> Result<Self, LedgerError> {
        let mut chains = Self::new();
        let text = "SELECT seq, name, permit, time FROM keys WHERE seq < ?1 ORDER BY bucket, seq";
        let mut statement = connection.prepare_cached(text)?;
        let mut rows = statement.query([crate::store::signed(end)])?;
        while let Some(row) = rows.next()? {
            let name = Digest::from_bytes(row.get(1)?);
            let (seq, permit, time) = (row.get(0)?, row.get(2)?, Millis(row.get(3)?));
            chains.follow(&Entry { seq, time, name, permit });
        }
        Ok(chains)
    }

    /// Stores what has changed since the slot was last written.
    pub(crate) fn store(&mut self, connection: &Connection, slot: Slot) -> Result<(), LedgerError> {
        let text = "INSERT OR REPLACE INTO chains (slot, part, heads) VALUES (?1, ?2, ?3)";
        let mut statement = connection.prepare_cached(text)?;
        for ((part, heads), stale) in (0_u64..).zip(self.heads.chunks_exact(PART)).zip(&mut self.stale) {
            if *stale & slot.bit() != 0 {
                *stale &= !slot.bit();
                // A chain never becomes empty again: where there is nothing, nothing was ever stored.
                if heads.iter().any(|head| *head != NONE) {
                    statement.execute(params![slot.number(), part, heads.as_flattened()])?;
                }
            }
        }
        Ok(())
    }

    /// The digest of all heads: what a mark's record says.
    pub(crate) fn digest(&self) -> Digest {
        let used = (0_u32..).zip(self.heads.chunks_exact(PART));
        let used = used.filter(|(_, heads)| heads.iter().any(|head| *head != NONE));
        let used: Vec<_> = used.map(|(part, heads)| (part.to_be_bytes(), heads.as_flattened())).collect();
        let parts: Vec<&[u8]> = used.iter().flat_map(|(part, heads)| [part.as_slice(), heads]).collect();
        Digest::of(Domain::Keys, &parts)
    }

    /// Chains what a record did.
    pub(crate) fn follow(&mut self, entry: &Entry) {
        let bucket = bucket(&entry.name);
        if let Some(head) = self.heads.get_mut(bucket) {
            *head = entry.follow(head);
        }
        if let Some(stale) = self.stale.get_mut(bucket / PART) {
            *stale = Slot::First.bit() | Slot::Second.bit();
        }
    }

    /// Enters what a record did, into the state and its chain. A key that is consumed says what for.
    pub(crate) fn enter(
        &mut self,
        connection: &Connection,
        entry: &Entry,
        operation: Option<&Digest>,
    ) -> Result<(), LedgerError> {
        let text =
            "INSERT INTO keys (bucket, seq, name, permit, time, operation) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        connection.prepare_cached(text)?.execute(params![
            bucket(&entry.name),
            entry.seq,
            entry.name.as_bytes(),
            entry.permit,
            entry.time.0,
            operation.map(|operation| marked(entry.seq, operation))
        ])?;
        self.follow(entry);
        Ok(())
    }

    /// What a key was consumed for, if it is consumed.
    ///
    /// # Errors
    /// If its bucket is not what the log made it: then nothing is known of the key.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        name: &Digest,
    ) -> Result<Option<Consumed>, LedgerError> {
        let bucket = bucket(name);
        let (head, found) = read(connection, bucket, name)?;
        if self.heads.get(bucket) == Some(&head) {
            return Ok(found);
        }
        Err(LedgerError::Corrupt(format!(
            "the keys of bucket {bucket} are not those that the records consumed"
        )))
    }
}

/// The operation of a key as its row has it, with a mark: no record says it in clear.
fn marked(seq: u64, operation: &Digest) -> Vec<u8> {
    let mark = row::mark("keys", &[&seq.to_be_bytes(), operation.as_bytes()]);
    [operation.as_bytes().as_slice(), &mark].concat()
}

/// The operation in a row of this record.
fn operation(seq: u64, value: ValueRef<'_>) -> Result<Digest, LedgerError> {
    let damaged = || LedgerError::Corrupt(format!("the operation of the key of record {seq} was altered"));
    let held = value.as_blob().map_err(|_| damaged())?;
    let (operation, _mark) = held.split_first_chunk::<32>().ok_or_else(damaged)?;
    let operation = Digest::from_bytes(*operation);
    if marked(seq, &operation) == held { Ok(operation) } else { Err(damaged()) }
}

/// Checks the operations of the keys that records before index `end` consumed, in one of 256 parts of the buckets.
pub(crate) fn operations(connection: &Connection, part: u16, end: u64) -> Result<(), LedgerError> {
    let text =
        "SELECT seq, operation FROM keys WHERE bucket >= ?1 AND bucket < ?2 AND seq < ?3 AND seq = permit";
    let first = u32::from(part) << 10;
    let mut statement = connection.prepare_cached(text)?;
    let mut rows =
        statement.query(params![first, first.saturating_add(1 << 10), crate::store::signed(end)])?;
    while let Some(row) = rows.next()? {
        operation(row.get(0)?, row.get_ref(1)?)?;
    }
    Ok(())
}

/// Reads a bucket: where its chain ends, and what a key of it was consumed for.
fn read(
    connection: &Connection,
    bucket: usize,
    name: &Digest,
) -> Result<([u8; 32], Option<Consumed>), LedgerError> {
    let text = "SELECT seq, name, permit, time, operation FROM keys WHERE bucket = ?1 ORDER BY seq";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([bucket])?;
    let (mut head, mut found) = (NONE, None);
    while let Some(row) = rows.next()? {
        let entry = Entry {
            seq: row.get(0)?,
            name: Digest::from_bytes(row.get(1)?),
            permit: row.get(2)?,
            time: Millis(row.get(3)?),
        };
        head = entry.follow(&head);
        if entry.name == *name {
            found = if entry.seq == entry.permit {
                let operation = operation(entry.seq, row.get_ref(4)?)?;
                Some(Consumed { permit: entry.permit, time: entry.time, operation })
            } else {
                // A PERMIT that had lost the key to a later one does not give that one's back.
                found.filter(|found: &Consumed| found.permit != entry.permit)
            };
        }
    }
    Ok((head, found))
}

/// What the state says that a key was consumed for, unproved.
pub(crate) fn claimed(connection: &Connection, name: &Digest) -> Result<Option<Consumed>, LedgerError> {
    Ok(read(connection, bucket(name), name)?.1)
}

/// What the state says that a record did to a key.
pub(crate) fn entry(connection: &Connection, name: &Digest, seq: u64) -> Result<Option<Entry>, LedgerError> {
    let text = "SELECT name, permit, time FROM keys WHERE bucket = ?1 AND seq = ?2";
    let mut statement = connection.prepare_cached(text)?;
    let read = |row: &rusqlite::Row<'_>| {
        let name = Digest::from_bytes(row.get(0)?);
        Ok(Entry { seq, name, permit: row.get(1)?, time: Millis(row.get(2)?) })
    };
    Ok(statement.query_row(params![bucket(name), seq], read).optional()?)
}

/// How many entries the state has of records before index `end`. Reads them all.
pub(crate) fn entries_before(connection: &Connection, end: u64) -> Result<u64, LedgerError> {
    let end = crate::store::signed(end);
    Ok(connection.query_row("SELECT count(*) FROM keys WHERE seq < ?1", [end], |row| row.get(0))?)
}

/// How many entries the state has of records before index `end`, in one of 256 parts of the buckets; and the newest record that
/// any of these is of.
pub(crate) fn entries_between(
    connection: &Connection,
    part: u16,
    end: u64,
) -> Result<(u64, Option<u64>), LedgerError> {
    let text =
        "SELECT count(*) FILTER (WHERE seq < ?3), max(seq) FROM keys WHERE bucket >= ?1 AND bucket < ?2";
    let first = u32::from(part) << 10;
    let range = params![first, first.saturating_add(1 << 10), crate::store::signed(end)];
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    Ok(connection.prepare_cached(text)?.query_row(range, read)?)
}

/// Calls `each` with the entries of one of 256 parts of the buckets, and the bucket that each lies in.
pub(crate) fn for_each_entry(
    connection: &Connection,
    part: u16,
    mut each: impl FnMut(usize, &Entry),
) -> Result<(), LedgerError> {
    let text = "SELECT bucket, seq, name, permit, time FROM keys WHERE bucket >= ?1 AND bucket < ?2";
    let first = u32::from(part) << 10;
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params![first, first.saturating_add(1 << 10)])?;
    while let Some(row) = rows.next()? {
        let (seq, name) = (row.get(1)?, Digest::from_bytes(row.get(2)?));
        each(row.get(0)?, &Entry { seq, name, permit: row.get(3)?, time: Millis(row.get(4)?) });
    }
    Ok(())
}

/// A key's bucket: the first 18 bits of its commitment.
pub(crate) fn bucket(name: &Digest) -> usize {
    let [a, b, c, ..] = *name.as_bytes();
    (usize::from(a) << 10) | (usize::from(b) << 2) | (usize::from(c) >> 6)
}

/// Where heads are stored. There are two, written in turns: the newer one may belong to a mark that was committed
/// and never anchored, of which nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    First,
    Second,
}

impl Slot {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.number()
    }
}

/// A mark: a record that says which keys were consumed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Index of its record.
    pub(crate) seq: u64,
    /// Where the heads lie that it is about.
    pub(crate) slot: Slot,
}

/// The newest mark before index `end`, as the state has it. One of a record that is not there would be the newest once there
/// are so many.
pub(crate) fn newest_mark(connection: &Connection, end: u64) -> Result<Option<Mark>, LedgerError> {
    let text = "SELECT EXISTS (SELECT 1 FROM marks WHERE seq > (SELECT coalesce(max(seq), -1) FROM records))";
    if connection.query_row(text, [], |row| row.get(0))? {
        return Err(LedgerError::Corrupt("a mark names a record that is not there".into()));
    }
    let text = "SELECT slot, seq FROM marks WHERE seq < ?1 ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let slot = if row.get::<_, u8>(0)? == 0 { Slot::First } else { Slot::Second };
        Ok(Mark { seq: row.get(1)?, slot })
    };
    Ok(connection.query_row(text, [crate::store::signed(end)], read).optional()?)
}

pub(crate) fn set_mark(connection: &Connection, mark: Mark) -> Result<(), LedgerError> {
    let text = "INSERT OR REPLACE INTO marks (slot, seq) VALUES (?1, ?2)";
    connection.execute(text, params![mark.slot.number(), mark.seq])?;
    Ok(())
}
