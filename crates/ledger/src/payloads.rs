//! Payloads in the database: sealed requests and results, and the subjects' wrapped keys.

use portcullis_protocol::{AgentId, Digest, KeptResult, Millis, Record, Salt};
use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::error::LedgerError;
use crate::vault::{MasterKey, SealedAt, SubjectKey, Vault, VaultError};

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

pub(crate) fn sealed(connection: &Connection, seq: u64) -> Result<Option<Sealed>> {
    let mut statement = connection.prepare_cached("SELECT subject, sealed FROM payloads WHERE seq = ?1")?;
    statement.query_row([seq], |row| Ok(Sealed { subject: row.get(0)?, sealed: row.get(1)? })).optional()
}

/// A subject's number and wrapped key.
fn subject(connection: &Connection, agent: &AgentId) -> Result<Option<(i64, Vec<u8>)>> {
    let mut statement = connection.prepare_cached("SELECT id, wrapped FROM subjects WHERE agent = ?1")?;
    statement.query_row([agent.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn add_subject(connection: &Connection, agent: &AgentId, wrapped: &[u8]) -> Result<i64> {
    let mut statement = connection.prepare_cached("INSERT INTO subjects (agent, wrapped) VALUES (?1, ?2)")?;
    statement.insert(params![agent.as_str(), wrapped])
}

/// Destroys a subject's key. Says whether there was one.
pub(crate) fn erase_subject(connection: &Connection, agent: &AgentId) -> Result<bool> {
    Ok(connection.execute("DELETE FROM subjects WHERE agent = ?1", [agent.as_str()])? > 0)
}

/// Removes at most `most` payloads whose time is over. Says how many.
pub(crate) fn remove_expired(connection: &Connection, now: Millis, most: u32) -> Result<usize> {
    let text = "DELETE FROM payloads WHERE seq IN (SELECT seq FROM payloads WHERE expires <= ?1 LIMIT ?2)";
    connection.prepare_cached(text)?.execute(params![now.0, most])
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
        Some(_) | None => Ok(Kept::Erased),
    }
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
