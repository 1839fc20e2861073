//! Whether what was counted is so: calls that were answered, what the tool servers wrote down, and what is on record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use portcullis_ledger::LedgerReader;
use portcullis_protocol::{Decision, Outcome, Record};
use serde::Deserialize;
use serde_json::{Value, json};

use super::load::Got;
use crate::DrillError;

/// Which calls ran, by leg, as the tool servers wrote them down.
#[derive(Debug, Default)]
pub(super) struct Ran(BTreeMap<String, Vec<u64>>);

#[derive(Deserialize)]
struct Entry {
    arguments: Arguments,
}

#[derive(Deserialize)]
struct Arguments {
    account: String,
}

impl Ran {
    /// Adds what a tool server wrote down.
    pub(super) fn read(&mut self, journal: &Path) -> Result<(), DrillError> {
        let system = || DrillError::system(format!("reading {}", journal.display()));
        let file = File::open(journal).map_err(system())?;
        for line in BufReader::new(file).lines() {
            self.add(&line.map_err(system())?)?;
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> Result<(), DrillError> {
        let foreign = || DrillError::Answer(format!("a call ran that nobody here made: {line}"));
        let entry: Entry = serde_json::from_str(line).map_err(|_| foreign())?;
        let (leg, number) = entry.arguments.account.rsplit_once('-').ok_or_else(foreign)?;
        let number = number.parse().map_err(|_| foreign())?;
        self.0.entry(leg.to_owned()).or_default().push(number);
        Ok(())
    }

    /// Takes out what ran of a leg's calls, and holds it against the answers: each call that was answered as run ran once, one that
    /// was answered otherwise once at most, and no other ran.
    ///
    /// # Errors
    /// If that is not so.
    pub(super) fn check(&mut self, leg: &str, got: &Got) -> Result<u64, DrillError> {
        let mut ran = self.0.remove(leg).unwrap_or_default();
        ran.sort_unstable();
        let wrong =
            |what: String| DrillError::Answer(format!("the accounts of `{leg}` do not agree: {what}"));
        if let Some(twice) = ran.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(wrong(format!("call {twice:?} ran more than once")));
        }
        let missing = got.ran.iter().find(|number| ran.binary_search(number).is_err());
        if let Some(missing) = missing {
            return Err(wrong(format!(
                "call {missing} was answered, and is not in the tool server's journal"
            )));
        }
        let beyond = got.refused.iter().filter(|number| ran.binary_search(number).is_ok()).count();
        let known = got.ran.len().saturating_add(beyond);
        if ran.len() != known {
            return Err(wrong(format!("{} calls ran, and {known} of them were made here", ran.len())));
        }
        u64::try_from(known).map_err(|error| wrong(error.to_string()))
    }

    /// What ran of no leg that was asked for.
    pub(super) fn is_done(&self) -> Result<(), DrillError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(leg) => Err(DrillError::Answer(format!("calls of `{leg}` ran, which has made none"))),
        }
    }
}

/// Whether a leg is a measurement at all: of what ran more than of what was refused, and of what is gated with evidence on the disk.
///
/// # Errors
/// If it is not.
pub(super) fn is_measured((leg, gated): (&str, bool), got: &Got, syncs: u64) -> Result<(), DrillError> {
    let none = |what: String| Err(DrillError::Answer(format!("`{leg}` is not measured: {what}")));
    if gated && !got.ran.is_empty() && syncs == 0 {
        return none("calls ran through the gate, and the arbiter has synced nothing".to_owned());
    }
    let (ran, refused) = (got.ran.len(), got.refused.len());
    if refused > ran {
        return none(format!("{refused} calls were refused, and {ran} ran"));
    }
    Ok(())
}

/// What is on record, proved by the anchored head.
#[derive(Debug, Default)]
pub(super) struct OnRecord {
    permits: u64,
    refusals: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

impl OnRecord {
    /// Reads the log, a tile at a time and from its end: what is read first of a PERMIT is its newest outcome.
    pub(super) fn read(ledger: &LedgerReader) -> Result<Self, DrillError> {
        let (mut of, mut newest) = (Self::default(), BTreeMap::new());
        for tile in (0..ledger.tiles()).rev() {
            for listed in ledger.tile(tile)?.into_iter().rev() {
                of.add(listed.record, &mut newest);
            }
        }
        Ok(of)
    }

    fn add(&mut self, record: Record, newest: &mut BTreeMap<u64, Outcome>) {
        match record {
            Record::Decision(record) if record.decision == Decision::Permit => {
                self.permits = self.permits.saturating_add(1);
                let outcome = newest.remove(&record.seq).map_or("none", |outcome| outcome.as_str());
                let count = self.outcomes.entry(outcome).or_default();
                *count = count.saturating_add(1);
            }
            Record::Decision(_) => self.refusals = self.refusals.saturating_add(1),
            Record::Outcome(record) => {
                newest.entry(record.permit).or_insert(record.outcome);
            }
            Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => {}
        }
    }

    /// Holds it against what the tool servers behind gates wrote down: what ran had a PERMIT with the outcome `ok`, and nothing else
    /// has one.
    ///
    /// # Errors
    /// If that is not so.
    pub(super) fn check(&self, ran: u64) -> Result<(), DrillError> {
        let of = |outcome: Outcome| self.outcomes.get(outcome.as_str()).copied().unwrap_or_default();
        // Neither of them says that anything ran.
        let unspent = of(Outcome::Expired).saturating_add(of(Outcome::Withheld));
        if of(Outcome::Ok) == ran && self.permits == ran.saturating_add(unspent) {
            return Ok(());
        }
        Err(DrillError::Answer(format!(
            "{ran} gated calls ran, and on record are {} PERMITs with the outcomes {:?}",
            self.permits, self.outcomes
        )))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "permits": self.permits, "refusals": self.refusals, "outcomes": self.outcomes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(calls: &[&str]) -> Ran {
        let mut ran = Ran::default();
        for account in calls {
            ran.add(&json!({ "tool": "read_balance", "arguments": { "account": account } }).to_string())
                .unwrap();
        }
        ran
    }

    fn got(ran: &[u64], refused: &[u64]) -> Got {
        Got { ran: ran.to_vec(), refused: refused.to_vec(), ..Got::default() }
    }

    #[test]
    fn a_call_that_ran_twice_or_not_or_that_nobody_made_is_found() {
        let both = ["http-gated-7", "http-gated-8"];
        assert_eq!(journal(&both).check("http-gated", &got(&[8, 7], &[])).unwrap(), 2);
        assert_eq!(journal(&both).check("http-gated", &got(&[7], &[8, 9])).unwrap(), 2, "refused, and ran");
        for (calls, ran, refused) in [
            (&["http-gated-7", "http-gated-7"][..], &[7][..], &[][..]),
            (&["http-gated-7"], &[7, 8], &[]),
            (&both, &[7], &[]),
            (&both, &[7], &[9]),
            (&[], &[7], &[]),
        ] {
            let checked = journal(calls).check("http-gated", &got(ran, refused));
            assert!(checked.is_err(), "{calls:?} {ran:?} {refused:?}");
        }
        assert!(journal(&both).is_done().is_err(), "calls of a leg that nobody asks for");
        assert!(Ran::default().add("{}").is_err() && Ran::default().is_done().is_ok());
    }

    #[test]
    fn a_leg_that_was_refused_or_had_no_evidence_was_measured() {
        assert!(is_measured(("stdio-gated", true), &got(&[1, 2], &[3]), 1).is_ok());
        assert!(is_measured(("stdio-direct", false), &got(&[1], &[]), 0).is_ok());
        assert!(is_measured(("stdio-gated", true), &got(&[1], &[]), 0).is_err(), "no evidence on the disk");
        assert!(is_measured(("stdio-gated", true), &got(&[1], &[2, 3]), 4).is_err());
        assert!(is_measured(("stdio-direct", false), &got(&[], &[1]), 0).is_err());
    }

    #[test]
    fn what_ran_without_a_permit_or_without_an_outcome_is_found() {
        let of = |permits: u64, outcomes: &[(&'static str, u64)]| OnRecord {
            permits,
            refusals: 3,
            outcomes: outcomes.iter().copied().collect(),
        };
        assert!(of(5, &[("ok", 5)]).check(5).is_ok());
        assert!(of(6, &[("ok", 4), ("expired", 1), ("withheld", 1)]).check(4).is_ok());
        for (permits, outcomes, ran) in [
            (4, &[("ok", 4)][..], 5),
            (5, &[("ok", 4)], 4),
            (5, &[("ok", 4), ("unknown", 1)], 4),
            (5, &[("ok", 4), ("none", 1)], 4),
            (5, &[("ok", 5)], 4),
        ] {
            assert!(of(permits, outcomes).check(ran).is_err(), "{permits} {outcomes:?} {ran}");
        }
    }
}
