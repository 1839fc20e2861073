//! What the tool's journal says, held against what the disk says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use portcullis_protocol::{Digest, Domain, Outcome, Record};
use portcullis_server::{LedgerReader, open_ledger};
use serde_json::Value;

use crate::scene::{Scene, Tally};
use crate::support::{Place, Recording, program, text};

pub(crate) const AGENT: &str = "demo-agent";

/// What ran, by the journal that `tee` kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    pub(crate) keys: BTreeSet<String>,
    pub(crate) reads: BTreeSet<String>,
}

impl Ran {
    /// Reads the journal. What is in it twice is a violation.
    pub(crate) fn read(recording: &Recording, violations: &mut Vec<String>) -> Self {
        let mut ran = Self::default();
        for message in recording.messages() {
            if message["method"] != "tools/call" {
                continue;
            }
            let params = &message["params"];
            let new = match params["_meta"]["portcullis/idempotency-key"].as_str() {
                Some(key) => ran.keys.insert(key.to_owned()),
                None => ran.reads.insert(params["arguments"]["account"].as_str().unwrap().to_owned()),
            };
            if !new {
                violations.push(format!("ran twice: {message}"));
            }
        }
        ran
    }

    /// Whether a call is in it.
    pub(crate) fn has(&self, name: &str, keyed: bool) -> bool {
        if keyed { self.keys.contains(name) } else { self.reads.contains(name) }
    }

    pub(crate) fn count(&self) -> usize {
        self.keys.len() + self.reads.len()
    }
}

/// The PERMITs on a disk, each with a receipt that verified.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permits {
    pub(crate) count: usize,
    /// What each receipt proves, by index: the refusals too.
    pub(crate) records: BTreeMap<u64, Value>,
    /// The receipts, one behind another.
    pub(crate) receipts: Vec<u8>,
    /// Of each key's commitment, how many may have run: neither withheld nor expired.
    live_keys: BTreeMap<String, usize>,
    /// Of each read that may have run, by index, the account: `None` where its kept request does not open.
    live_reads: BTreeMap<u64, Option<String>>,
}

impl Permits {
    /// Takes all receipts out of a deployment's files by `portcullis receipts export`, and verifies them by `portcullis
    /// verify` with nothing but the log's key.
    ///
    /// # Errors
    /// What the commands said, if they refused, and what is wrong with the ledger if it cannot be read.
    pub(crate) fn read(place: &Place) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let config = text(&place.config_path);
        run(&["receipts", "export", "--config", &config, &text(folder.path())])?;
        let verified = verify(folder.path(), &place.config.log_key.to_string())?;
        let listed = run(&["receipts", "list", "--json", "--last", "1000000", "--config", &config])?;
        let ledger = open_ledger(&place.config).map_err(|error| error.to_string())?;
        let mut permits = Self::default();
        for line in listed.lines() {
            let row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let record = &row["record"];
            let seq = record["seq"].as_u64().unwrap();
            if verified.get(&seq) != Some(record) {
                return Err(format!("the receipt of record {seq} proves another record"));
            }
            if record["decision"] == "PERMIT" {
                permits.add(place, &ledger, record, row["outcome"].as_str())?;
            }
        }
        permits.records = verified;
        for receipt in std::fs::read_dir(folder.path()).unwrap() {
            permits.receipts.extend(std::fs::read(receipt.unwrap().path()).unwrap());
        }
        Ok(permits)
    }

    fn add(
        &mut self,
        place: &Place,
        ledger: &LedgerReader,
        record: &Value,
        outcome: Option<&str>,
    ) -> Result<(), String> {
        self.count += 1;
        let never_ran = [Outcome::Withheld, Outcome::Expired].iter().any(|o| Some(o.as_str()) == outcome);
        match record["key"].as_str() {
            _ if never_ran => {}
            Some(key) => *self.live_keys.entry(key.to_owned()).or_default() += 1,
            None => {
                let seq = record["seq"].as_u64().unwrap();
                let Record::Decision(entry) = ledger.record(seq).map_err(|error| error.to_string())? else {
                    return Err(format!("record {seq} is no decision"));
                };
                self.live_reads.insert(seq, place.account(ledger, &entry));
            }
        }
        Ok(())
    }

    /// What ran without one of these PERMITs, and which key could have run under two of them.
    pub(crate) fn judge(&self, ran: &Ran, violations: &mut Vec<String>) {
        self.judge_but(0, ran, violations);
    }

    /// As [`judge`](Self::judge), of a disk on which something was flipped: which read a PERMIT was for is told by `before`
    /// where its request does not open any more, and is not known of the PERMITs since.
    pub(crate) fn judge_flipped(&mut self, before: &Self, ran: &Ran, violations: &mut Vec<String>) {
        let mut unknown = 0;
        for (seq, read) in self.live_reads.iter_mut().filter(|(_, read)| read.is_none()) {
            match before.live_reads.get(seq) {
                Some(known) => read.clone_from(known),
                None => unknown += 1,
            }
        }
        self.judge_but(unknown, ran, violations);
    }

    fn judge_but(&self, unknown: usize, ran: &Ran, violations: &mut Vec<String>) {
        for key in &ran.keys {
            if !self.live_keys.contains_key(&commitment(key)) {
                violations.push(format!("{key} ran without a PERMIT on the disk"));
            }
        }
        let permitted: BTreeSet<_> = self.live_reads.values().flatten().collect();
        let alone: Vec<_> = ran.reads.iter().filter(|read| !permitted.contains(read)).collect();
        if alone.len() > unknown {
            violations.extend(alone.iter().map(|read| format!("{read} ran without a PERMIT on the disk")));
        }
        for (key, permits) in self.live_keys.iter().filter(|(_, permits)| **permits > 1) {
            violations.push(format!("{permits} PERMITs may have run under the key {key}"));
        }
    }
}

/// What a record says of a key.
fn commitment(key: &str) -> String {
    Digest::of(Domain::Key, &[AGENT.as_bytes(), key.as_bytes()]).to_string()
}

/// The records that the receipts in a folder prove, by index.
fn verify(folder: &Path, key: &str) -> Result<BTreeMap<u64, Value>, String> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| text(&entry.unwrap().path())).collect();
    files.sort();
    let mut records = BTreeMap::new();
    for some in files.chunks(2_000) {
        let mut arguments = vec!["verify", "--json", "--key", key];
        arguments.extend(some.iter().map(String::as_str));
        for line in run(&arguments)?.lines() {
            let said: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let record = said["record"].clone();
            records.insert(record["seq"].as_u64().unwrap(), record);
        }
    }
    Ok(records)
}

/// What `portcullis` prints; an error unless it exits with 0.
pub(crate) fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program()).args(arguments).output().unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("portcullis {}: {}{}", arguments[..2].join(" "), out.trim(), error.trim()))
}

/// As many reads ran as have PERMITs, and one of them was another: it was excused by the PERMIT of the one that was not sent.
#[test]
fn a_read_was_excused_by_the_permit_of_another() {
    let (mut tally, _) = Tally::new("control: a read that ran under another's PERMIT");
    let mut scene = Scene::new();
    scene.start();
    let sent = vec![scene.send(false), scene.send(true)];
    assert_eq!(scene.answers(sent, &mut tally), 2);
    scene.settle();
    scene.judge(&mut tally);
    assert_eq!(tally.violations, [""; 0]);
    let recording = scene.place.path("recording");
    let said = std::fs::read_to_string(&recording).unwrap();
    assert!(said.contains("read-1"), "{said}");
    std::fs::write(&recording, said.replace("read-1", "read-7")).unwrap();
    scene.judge(&mut tally);
    assert_eq!(tally.violations, ["read-7 ran without a PERMIT on the disk"]);
}
