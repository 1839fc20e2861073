//! A pack in words. A function of what was proved, so that the text in a pack cannot say anything else.

use std::collections::BTreeMap;
use std::fmt::Write;

use chrono::DateTime;
use portcullis_protocol::{DecisionRecord, Millis, Outcome, ReasonCode, Record};

use crate::pack::VerifiedPack;

pub(super) fn of(pack: &VerifiedPack) -> String {
    let mut text = String::from("Evidence pack of Portcullis\n\n");
    let parts = [head, completeness, records, bundles];
    // Writing to a string does not fail; a text that was cut would not be the one that is expected.
    if parts.into_iter().try_for_each(|part| part(&mut text, pack)).is_err() {
        return String::new();
    }
    text.push_str(
        "\nHow to check it: portcullis verify FILE --key VKEY\n\
         The log's verifier key must come from the log's operator by another way than this pack: the copy in keys/ is\n\
         for information. Each file in receipts/ and context/ is a C2SP tlog-proof and verifies by itself.\n",
    );
    text
}

fn head(text: &mut String, pack: &VerifiedPack) -> std::fmt::Result {
    let (head, (first, end), selection) = (pack.head(), pack.range(), pack.selection());
    writeln!(text, "log       {}", head.origin())?;
    writeln!(text, "head      {} records, root {}", head.size(), head.root())?;
    match end.checked_sub(1).filter(|last| *last >= first) {
        Some(last) => writeln!(text, "range     records {first} to {last}: {} of them", end - first)?,
        None => writeln!(text, "range     no record")?,
    }
    if let Some(since) = selection.since {
        writeln!(text, "since     {}", time(since))?;
    }
    if let Some(until) = selection.until {
        writeln!(text, "until     {}, not included", time(until))?;
    }
    if let Some(agent) = &selection.agent {
        writeln!(text, "agent     {agent}")?;
    }
    if let Some(surface) = &selection.surface {
        writeln!(text, "surface   {surface}")?;
    }
    writeln!(text, "in full   {} records, {} withheld", pack.records().len(), pack.withheld())
}

/// What follows from the proof, and what does not.
fn completeness(text: &mut String, pack: &VerifiedPack) -> std::fmt::Result {
    let ((first, end), size) = (pack.range(), pack.head().size());
    writeln!(text, "\nWhat is proved")?;
    writeln!(
        text,
        "- The log's key signed a tree in which these are the records of the range, each in its place. None is left\n\
         \x20 out, added, repeated or moved: the hash of every record of the range is here, under one proof."
    )?;
    if pack.selection().is_everything() {
        writeln!(text, "- Every record of the range is here in full.")?;
    }
    if first > 0 {
        writeln!(text, "- The record before the range is older than `since`: it is in context/.")?;
    }
    if end < size {
        writeln!(text, "- The record after the range is not older than `until`: it is in context/.")?;
    }
    writeln!(text, "\nWhat is not proved")?;
    if !pack.selection().is_everything() {
        writeln!(
            text,
            "- That the {} withheld records do not match the selection. They are here by hash only; whoever holds the log\n\
             \x20 can show any of them, and the hash tells whether it is the one.",
            pack.withheld()
        )?;
    }
    if end == size {
        writeln!(
            text,
            "- What the log recorded after its record {size}: the pack was made when that was its end."
        )?;
    }
    writeln!(text, "- What became of a PERMIT after the range.")?;
    if pack.named_bundles().is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "- By the log's key alone, who signed the bundles: no digest covers their signatures. Who has the keys or the root\n\
         \x20 that are pinned for bundles asks for it with --bundle-key VKEY, or with --root FILE --root-pin DIGEST."
    )
}

fn records(text: &mut String, pack: &VerifiedPack) -> std::fmt::Result {
    let mut outcomes: BTreeMap<u64, Outcome> = BTreeMap::new();
    for record in pack.records().values() {
        if let Record::Outcome(outcome) = record {
            outcomes.insert(outcome.permit, outcome.outcome);
        }
    }
    writeln!(text, "\nRecords")?;
    for (index, record) in pack.records() {
        let what = match record {
            Record::Decision(decision) => {
                let became =
                    outcomes.get(index).map_or("no outcome in the range", |outcome| outcome.as_str());
                let became = decision.reason.map_or(became, ReasonCode::as_str);
                format!(
                    "{:<8} {became:<28} {}{} on {}",
                    decision.decision.as_str(),
                    decision.agent,
                    acts_for(decision),
                    decision.surface
                )
            }
            Record::Simulation(would) => {
                let code = would.reason.map_or("", ReasonCode::as_str);
                format!(
                    "simulated: would be {} {code:<28} {}{} on {}; no decision",
                    would.decision.as_str(),
                    would.agent,
                    acts_for(would),
                    would.surface
                )
            }
            Record::Outcome(outcome) => {
                format!("outcome  {} of the PERMIT {}", outcome.outcome.as_str(), outcome.permit)
            }
            Record::Aggregate(counted) => {
                let of =
                    counted.agent.as_ref().map_or_else(|| "nobody known".to_owned(), ToString::to_string);
                let code = counted.reason.map_or("unauthenticated", ReasonCode::as_str);
                format!("counted  {} attempts of {of}: {code}", counted.count)
            }
            Record::Event(event) => format!("event    {:?}", event.event),
            Record::Listing(listing) => {
                format!(
                    "list     of `{}`: {} tools shown to {}, {} hidden; no decision",
                    listing.server,
                    listing.shown.len(),
                    listing.agent,
                    listing.all_hidden()
                )
            }
            Record::Late(late) => {
                let attempted = &late.entry.attempted;
                format!(
                    "late     {:<28} {} on {}: refused at {}, kept by the {}; no decision",
                    attempted.reason.as_str(),
                    attempted.agent,
                    attempted.surface,
                    time(attempted.at),
                    late.keeper.as_str()
                )
            }
        };
        writeln!(text, "{index:>10}  {}  {what}", time(record.time()))?;
    }
    Ok(())
}

/// For whom an agent acted; of one whom its credential did not admit, that it said so.
fn acts_for(decision: &DecisionRecord) -> String {
    match (&decision.acts_for, decision.behind()) {
        (None, _) => String::new(),
        (Some(named), Some(_)) => format!(" for {named}"),
        (Some(named), None) => format!(" claiming to act for {named}"),
    }
}

fn bundles(text: &mut String, pack: &VerifiedPack) -> std::fmt::Result {
    let named = pack.named_bundles();
    if named.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nBundles that decided, in bundles/")?;
    named.into_iter().try_for_each(|digest| writeln!(text, "{digest}"))
}

/// A time in UTC (RFC 3339).
fn time(at: Millis) -> String {
    let known = i64::try_from(at.0).map_or(None, DateTime::from_timestamp_millis);
    known.map_or_else(|| format!("{} ms", at.0), |time| format!("{time:?}"))
}
