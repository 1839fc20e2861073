use portcullis_protocol::{BundleRef, Digest, InForce, OutcomeRecord, Succession};
use std::collections::BTreeMap;

use super::*;
use crate::released::{NEVER_RELEASED, WITHHELD};

pub(crate) fn digest(of: &str) -> BundleDigest {
    BundleDigest(Digest::sha256(of.as_bytes()))
}

/// A record, as it is read from a log.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Event(EventRecord),
    /// A refusal, or a PERMIT, that this bundle decided.
    Refused(Option<BundleDigest>),
    Permitted(Option<BundleDigest>),
    Ended(u64, Outcome),
    /// A decision, by the bundle `old`, with the gate so.
    Gate(Decision, GateFact),
    /// An outcome, with all that it says.
    Outcome(OutcomeRecord),
    Counted,
}

pub(crate) fn event(event: Event, detail: BTreeMap<String, String>) -> Said {
    Said::Event(EventRecord { seq: 0, time: Millis(0), event, detail, order: None })
}

/// An opening that says this of what was in force, over so many records that no head was signed over, so many of them open
/// PERMITs.
pub(crate) fn opened(says: &Succession, unsigned: u64, withheld: u64) -> Said {
    let counts = [(NEVER_RELEASED, unsigned), (WITHHELD, withheld)]
        .map(|(key, count)| (key.to_owned(), count.to_string()));
    event(Event::Opened, says.detail().chain(counts).collect())
}

impl Said {
    fn body(&self, seq: u64, time: u64) -> Vec<u8> {
        let by = |by: &Option<BundleDigest>| {
            by.map_or_else(String::new, |by| format!(r#""bundle":{{"digest":"{by}"}},"#))
        };
        let decision = |decision: &str, digest| {
            let facts = r#""facts":{"gate":"open","policy":"valid"}"#;
            format!(r#"{{"kind":"decision","time":{time},"decision":"{decision}",{}{facts}}}"#, by(digest))
        };
        match self {
            Self::Event(record) => {
                return Record::Event(EventRecord { seq, time: Millis(time), ..record.clone() })
                    .to_bytes()
                    .unwrap();
            }
            Self::Refused(digest) => decision("DENY", digest),
            Self::Permitted(digest) => decision("PERMIT", digest),
            Self::Ended(permit, outcome) => {
                let outcome = serde_json::to_string(outcome).unwrap();
                format!(r#"{{"kind":"outcome","time":{time},"permit":{permit},"outcome":{outcome}}}"#)
            }
            Self::Gate(decided, gate) => {
                let (decided, gate) =
                    (serde_json::to_string(decided).unwrap(), serde_json::to_string(gate).unwrap());
                let facts = format!(r#""facts":{{"gate":{gate},"policy":"unknown"}}"#);
                let by = by(&Some(digest("old")));
                format!(r#"{{"kind":"decision","time":{time},"decision":{decided},{by}{facts}}}"#)
            }
            Self::Outcome(record) => {
                return Record::Outcome(OutcomeRecord { seq, time: Millis(time), ..record.clone() })
                    .to_bytes()
                    .unwrap();
            }
            Self::Counted => format!(r#"{{"kind":"aggregate","time":{time}}}"#),
        }
        .into_bytes()
    }
}

/// Reads a range of a log.
pub(crate) fn read(first: u64, records: &[(u64, Said)]) -> Turns {
    let mut turns = Turns::default();
    for (seq, (time, said)) in (first..).zip(records) {
        turns.read(seq, &said.body(seq, *time)).unwrap();
    }
    turns
}

/// Follows a log, as one range and as any two, which must come to the same.
pub(crate) fn follow(records: &[(u64, Said)]) -> Result<(), String> {
    let followed = |turns: &Turns| turns.follow().map_err(|error| error.to_string());
    let whole = followed(&read(0, records));
    for split in 0..records.len() {
        let (before, behind) = records.split_at(split);
        let mut turns = read(0, before);
        turns.join(read(u64::try_from(split).unwrap(), behind));
        assert_eq!(followed(&turns), whole, "split before record {split}");
    }
    whole
}

fn came(of: &str) -> Said {
    let bundle = BundleRef { name: "team".into(), version: 1, digest: digest(of) };
    event(Event::BundleInForce, InForce { bundle, root: None }.detail())
}

fn seen(of: &str) -> Succession {
    Succession { version: 1, digest: Some(digest(of)), ..Succession::default() }
}

/// A log that was opened, permitted so much in batches of this many and, in between, told what became of it; then a crash,
/// and an opening that says this.
fn crashed(permits: u64, batch: u64, unsigned: u64) -> Vec<(u64, Said)> {
    let bundle = Some(digest("one"));
    let mut records = vec![
        (1, event(Event::Genesis, BTreeMap::new())),
        (1, opened(&Succession::default(), 1, 0)),
        (2, came("one")),
    ];
    for permit in 0..permits {
        let time = 3 + permit / batch;
        records.push((time, Said::Permitted(bundle)));
        records.push((time, Said::Counted));
        records.push((time, Said::Refused(bundle)));
    }
    let size = u64::try_from(records.len()).unwrap();
    let open = (size - unsigned..size)
        .filter(|seq| matches!(records[usize::try_from(*seq).unwrap()].1, Said::Permitted(_)));
    let open: Vec<_> = open.collect();
    let time = 4 + permits;
    records.push((time, opened(&seen("one"), unsigned, u64::try_from(open.len()).unwrap())));
    records.extend(open.into_iter().map(|permit| (time, Said::Ended(permit, Outcome::Withheld))));
    records.extend([
        (time, event(Event::KeyAdded, BTreeMap::new())),
        (time, came("one")),
        (time, Said::Permitted(bundle)),
    ]);
    records.extend((0..permits).map(|more| (time + more, Said::Counted)));
    records
}

#[test]
fn what_is_read_in_ranges_tells_the_same_as_what_is_read_at_once() {
    for batch in [1, 3] {
        for unsigned in 0..=3 * batch {
            let permits = 6;
            assert_eq!(follow(&crashed(permits, batch, unsigned)), Ok(()), "{batch} {unsigned}");
        }
        let more = 3 * batch + 1;
        let error = follow(&crashed(6, batch, more)).unwrap_err();
        assert!(error.contains("record 21: by it no head was signed over records"), "{batch}: {error}");
    }
}

/// A log is long, and who checks it keeps what its ranges tell.
#[test]
fn what_was_long_released_takes_no_memory() {
    for (permits, batch) in [(1_000, 1), (1_000, 7)] {
        let records = crashed(permits, batch, 3);
        let kept = read(0, &records).entries.len();
        assert!(kept < 60, "{kept} of {}", records.len());
        let mut joined = Turns::default();
        for (range, part) in (0..).zip(records.chunks(50)) {
            joined.join(read(50 * range, part));
        }
        let joined = joined.entries.len();
        assert!(joined < 60, "{joined} of {}", records.len());
    }
}

#[test]
fn a_refusal_while_nothing_was_in_force_says_of_no_bundle_that_it_was() {
    let (old, new) = (Some(digest("old")), Some(digest("new")));
    for policy in [PolicyFact::Unknown, PolicyFact::Refused(portcullis_protocol::ReasonCode::PolicyMissing)] {
        assert_eq!(decided_by(Decision::Silence, policy, None, old), None);
        assert_eq!(decided_by(Decision::Permit, policy, None, old), Some(old));
    }
    for policy in [PolicyFact::Valid, PolicyFact::NotYetValid, PolicyFact::Expired] {
        assert_eq!(decided_by(Decision::Silence, policy, new, old), Some(new));
        assert_eq!(decided_by(Decision::Deny, policy, None, old), Some(old));
        assert_eq!(decided_by(Decision::Silence, policy, None, None), Some(None));
    }
}

#[test]
fn what_is_no_record_tells_nothing_and_is_named() {
    for body in [
        &b"{}"[..],
        b"{\"kind\":\"decision\",\"time\":1}",
        b"{\"kind\":\"outcome\",\"time\":1}",
        b"{\"kind\":\"outcome\",\"time\":1,\"permit\":2}",
        b"{\"kind\":\"event\",\"time\":1}",
        b"{\"kind\":\"event\",\"event\":\"opened\",\"time\":1}",
        b"{\"kind\":\"aggregate\"}",
    ] {
        assert!(Turns::default().read(3, body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}
