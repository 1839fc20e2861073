//! Payloads in the database: sealed requests and results, and the subjects' wrapped keys.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_protocol::{AgentId, Digest, KeptResult, Millis, Record, Salt, Snapshots};
use rusqlite::{Connection, OptionalExtension, Result, params};
use serde::Deserialize;

use crate::clock::Attempt;
use crate::error::LedgerError;
use crate::store;
use crate::vault::{MasterKey, SealedAt, SubjectKey, Vault, VaultError};

/// Of what is over so many are removed at once, however long that takes, so that each time comes further.
const FEWEST_REMOVED: usize = 16;

/// What is kept of a record's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<T> {
    /// It is there, and is what the record commits to as far as its seal tells.
    Here(T),
    /// Its subject's key was destroyed.
    Erased,
    /// The bundle did not ask for it to be kept, or it was kept for its time.
    Nothing,
}

/// A sealed payload's row.
pub(crate) struct Sealed {
    pub(crate) subject: i64,
    pub(crate) sealed: Vec<u8>,
}

/// The name of the master key that the subjects' keys are wrapped by; `None` before the first.
pub(crate) fn master(connection: &Connection) -> Result<Option<Digest>> {
    let mut statement = connection.prepare_cached("SELECT master FROM vault WHERE id = 1")?;
    statement.query_row([], |row| row.get(0).map(Digest::from_bytes)).optional()
}

pub(crate) fn set_master(connection: &Connection, master: &Digest) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO vault (id, master) VALUES (1, ?1)")?;
    statement.execute([master.as_bytes()]).map(drop)
}

/// Whether anything was ever sealed: subjects stay, even those whose key was destroyed.
pub(crate) fn any_subject(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM subjects)")?;
    statement.query_row([], |row| row.get(0))
}

pub(crate) fn sealed(connection: &Connection, seq: u64) -> Result<Option<Sealed>> {
    let mut statement = connection.prepare_cached("SELECT subject, sealed FROM payloads WHERE seq = ?1")?;
    statement.query_row([seq], |row| Ok(Sealed { subject: row.get(0)?, sealed: row.get(1)? })).optional()
}

/// A subject's number and wrapped key.
fn subject(connection: &Connection, agent: &AgentId) -> Result<Option<(i64, Vec<u8>)>> {
    let mut statement = connection
        .prepare_cached("SELECT id, wrapped FROM subjects WHERE agent = ?1 AND wrapped IS NOT NULL")?;
    statement.query_row([agent.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn add_subject(connection: &Connection, agent: &AgentId, wrapped: &[u8]) -> Result<i64> {
    let mut statement = connection.prepare_cached("INSERT INTO subjects (agent, wrapped) VALUES (?1, ?2)")?;
    statement.insert(params![agent.as_str(), wrapped])
}

/// Whether an agent has a key that can be destroyed.
pub(crate) fn has_subject(connection: &Connection, agent: &AgentId) -> Result<bool> {
    Ok(subject(connection, agent)?.is_some())
}

/// Destroys a subject's key, by the order at this index.
pub(crate) fn erase_subject(connection: &Connection, agent: &AgentId, order: u64) -> Result<()> {
    let text = "UPDATE subjects SET wrapped = NULL, erased = ?2 WHERE agent = ?1 AND wrapped IS NOT NULL";
    connection.execute(text, params![agent.as_str(), order]).map(drop)
}

/// The keys that were destroyed: by which order, and of which agent.
pub(crate) fn destroyed(connection: &Connection) -> Result<BTreeSet<(u64, String)>> {
    let text = "SELECT erased, agent FROM subjects WHERE erased IS NOT NULL AND wrapped IS NULL";
    let mut statement = connection.prepare_cached(text)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Removes at most `most` payloads whose time is over, and only a few once it has taken as long as it may. Says how many.
///
/// # Errors
/// If the database fails, or the record of one says that its time is another. Nothing is removed then: the caller's
/// transaction is at its end.
pub(crate) fn remove_expired(
    connection: &Connection,
    now: Millis,
    (most, brief): (u32, Duration),
) -> std::result::Result<usize, LedgerError> {
    let began = Attempt::begin();
    let mut removed = 0_usize;
    let due =
        numbers(connection, "SELECT seq FROM payloads WHERE expires <= ?1 LIMIT ?2", params![now.0, most])?;
    for seq in &due {
        if removed >= FEWEST_REMOVED && began.took() >= brief {
            break;
        }
        if !is_over(connection, *seq, now)? {
            return Err(LedgerError::Corrupt(format!(
                "what is kept of record {seq} would go before its time"
            )));
        }
        connection.prepare_cached("DELETE FROM payloads WHERE seq = ?1")?.execute([seq])?;
        removed = removed.saturating_add(1);
    }
    Ok(removed)
}

/// Whether the time of what is kept of a record is over, by the record. An index alone does not tell: what it leads to may be
/// anything.
fn is_over(connection: &Connection, seq: u64, now: Millis) -> std::result::Result<bool, LedgerError> {
    let Some(body) = store::record(connection, seq)? else { return Ok(false) };
    Ok(Said::of(seq, &body)?.kept_until.is_some_and(|until| until <= now))
}

/// Whether what is kept of a record is found by its time: by the index that leads its removal, and by nothing else.
pub(crate) fn is_listed(connection: &Connection, seq: u64, expires: Millis) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM payloads INDEXED BY payloads_expires
        WHERE expires = ?1 AND seq = ?2)";
    connection.prepare_cached(text)?.query_row([expires.0, seq], |row| row.get(0))
}

/// Indexes of the records from this one on of which something is kept.
pub(crate) fn from(connection: &Connection, first: u64) -> Result<Vec<u64>> {
    numbers(connection, "SELECT seq FROM payloads WHERE seq >= ?1", params![store::signed(first)])
}

/// Of how many of the records in a range something is kept.
pub(crate) fn between(connection: &Connection, first: u64, end: u64) -> Result<u64> {
    let text = "SELECT count(*) FROM payloads WHERE seq >= ?1 AND seq < ?2";
    let range = params![store::signed(first), store::signed(end)];
    connection.prepare_cached(text)?.query_row(range, |row| row.get(0))
}

fn numbers(connection: &Connection, text: &str, parameters: impl rusqlite::Params) -> Result<Vec<u64>> {
    let mut statement = connection.prepare_cached(text)?;
    statement.query_map(parameters, |row| row.get(0))?.collect()
}

/// What a record says of what is kept beside it.
#[derive(Deserialize)]
pub(crate) struct Said {
    pub(crate) kept_until: Option<Millis>,
    agent: Option<AgentId>,
    permit: Option<u64>,
    /// A decision has its sources among its facts.
    #[serde(default)]
    facts: SaidFacts,
    /// A list of tools has them here.
    #[serde(default)]
    sources: Snapshots,
}

#[derive(Default, Deserialize)]
struct SaidFacts {
    #[serde(default)]
    sources: Snapshots,
}

impl Said {
    pub(crate) fn of(seq: u64, body: &[u8]) -> std::result::Result<Self, LedgerError> {
        serde_json::from_slice(body).map_err(|_| LedgerError::Corrupt(format!("record {seq} is not one")))
    }

    /// What sources of facts gave for it.
    pub(crate) fn sources(&self) -> &Snapshots {
        if self.sources.is_empty() { &self.facts.sources } else { &self.sources }
    }

    /// The agent that it is about; an outcome is about its PERMIT's.
    pub(crate) fn agent(
        self,
        connection: &Connection,
        seq: u64,
    ) -> std::result::Result<AgentId, LedgerError> {
        let unknown = || LedgerError::Corrupt(format!("record {seq} is about no agent"));
        match (self.agent, self.permit) {
            (Some(agent), _) => Ok(agent),
            (None, Some(permit)) => {
                let body = store::record(connection, permit)?.ok_or_else(unknown)?;
                Self::of(permit, &body)?.agent.ok_or_else(unknown)
            }
            (None, None) => Err(unknown()),
        }
    }
}

/// Whether a payload's time is over.
pub(crate) fn any_expired(connection: &Connection, now: Millis) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM payloads WHERE expires <= ?1)";
    connection.prepare_cached(text)?.query_row([now.0], |row| row.get(0))
}

impl Vault {
    /// Seals content for a record of an agent, and keeps it until `expires`.
    pub(crate) fn keep(
        &mut self,
        connection: &Connection,
        seq: u64,
        agent: &AgentId,
        content: &[u8],
        expires: Millis,
    ) -> std::result::Result<(), LedgerError> {
        let (number, key) = self.subject(connection, agent)?;
        let sealed = key.seal(SealedAt { seq, subject: number }, content)?;
        let text = "INSERT INTO payloads (seq, subject, expires, sealed) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(text)?.execute(params![seq, number, expires.0, sealed])?;
        Ok(())
    }

    /// The number and key of an agent; a new one if it has none, or had one that was destroyed.
    fn subject(
        &mut self,
        connection: &Connection,
        agent: &AgentId,
    ) -> std::result::Result<(i64, &SubjectKey), LedgerError> {
        if !self.subjects.contains_key(agent) {
            let known = match subject(connection, agent)? {
                Some((number, wrapped)) => (number, self.master()?.unwrap_subject(agent, &wrapped)?),
                None => {
                    let (key, wrapped) = self.master()?.new_subject(agent)?;
                    (add_subject(connection, agent, &wrapped)?, key)
                }
            };
            self.subjects.insert(agent.clone(), known);
        }
        match self.subjects.get(agent) {
            Some((number, key)) => Ok((*number, key)),
            None => Err(LedgerError::Corrupt("a subject's key was not kept".into())),
        }
    }
}

/// Opens what is kept of a record of an agent.
///
/// # Errors
/// If the database fails, or what is there does not open: it was altered, and not erased.
pub(crate) fn open(
    connection: &Connection,
    master: &MasterKey,
    seq: u64,
    agent: &AgentId,
) -> std::result::Result<Kept<zeroize::Zeroizing<Vec<u8>>>, LedgerError> {
    let Some(Sealed { subject: number, sealed }) = sealed(connection, seq)? else { return Ok(Kept::Nothing) };
    match subject(connection, agent)? {
        // The agent has a new key since: what was sealed under the old one stays erased.
        Some((current, wrapped)) if current == number => {
            let key = master.unwrap_subject(agent, &wrapped)?;
            Ok(Kept::Here(key.open(SealedAt { seq, subject: number }, &sealed)?))
        }
        Some(_) | None if is_erased(connection, number, agent)? => Ok(Kept::Erased),
        Some(_) | None => {
            Err(LedgerError::Corrupt(format!("what is kept of record {seq} is of a subject that is none")))
        }
    }
}

/// Whether the key of an agent's subject with this number was destroyed.
/// Whether anything was ever erased that this ledger kept, an agent's payloads or what a source of facts gave.
pub(crate) fn was_erased(connection: &Connection) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM subjects WHERE erased IS NOT NULL)
                    OR EXISTS (SELECT 1 FROM snapshot_uses WHERE erased IS NOT NULL)";
    connection.query_row(text, [], |row| row.get(0))
}

fn is_erased(connection: &Connection, number: i64, agent: &AgentId) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM subjects WHERE id = ?1 AND agent = ?2 AND erased IS NOT NULL)";
    connection.prepare_cached(text)?.query_row(params![number, agent.as_str()], |row| row.get(0))
}

/// A result with a salt of its own, to be committed to.
pub(crate) fn salted(result: &str) -> std::result::Result<KeptResult, LedgerError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|_| VaultError::Seal)?;
    Ok(KeptResult { result: result.to_owned(), salt: Salt::from_bytes(salt) })
}

/// The result in opened bytes, if it is the one that an outcome's record commits to.
pub(crate) fn committed_result(opened: &[u8], body: &[u8]) -> Option<String> {
    let (Ok(kept), Ok(Record::Outcome(entry))) =
        (serde_json::from_slice::<KeptResult>(opened), Record::parse(body))
    else {
        return None;
    };
    (entry.result == Some(kept.commitment())).then_some(kept.result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_protocol::{AttemptId, Outcome, OutcomeRecord};

    #[test]
    fn only_the_result_that_the_outcome_commits_to_is_its_result() {
        let kept =
            |result: &str, salt| KeptResult { result: result.into(), salt: Salt::from_bytes([salt; 32]) };
        let opened = |kept: &KeptResult| serde_json::to_vec(kept).unwrap();
        let body = |result| {
            let entry = OutcomeRecord {
                seq: 7,
                time: Millis(1),
                permit: 3,
                attempt: AttemptId::from_bytes([1; 32]),
                outcome: Outcome::Ok,
                result,
                kept_until: None,
                supersedes: None,
                by: None,
                reason: None,
            };
            Record::Outcome(entry).to_bytes().unwrap()
        };
        let own = kept("paid", 1);
        let record = body(Some(own.commitment()));
        assert_eq!(committed_result(&opened(&own), &record).as_deref(), Some("paid"));
        assert_eq!(committed_result(&opened(&kept("refused", 1)), &record), None);
        assert_eq!(committed_result(&opened(&kept("paid", 2)), &record), None);
        assert_eq!(committed_result(&opened(&own), &body(None)), None);
        assert_eq!(committed_result(b"{}", &record), None);
        assert_eq!(committed_result(&opened(&own), b"{}"), None);
    }
}
