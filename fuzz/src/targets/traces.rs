//! Traces: requests that somebody wrote down to have them asked of another bundle.

use portcullis_protocol::Outcome;
use serde_json::Value;

use crate::lines::{Traced, read_trace};

/// Each line says beside others what it says alone, and what another reader of JSON finds in it; the first that is none is told
/// by its number.
pub(crate) fn trace(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let read = match read_trace(data) {
        Ok(read) => read,
        Err(error) => {
            let first = lines.iter().position(|line| read_trace(line).is_err()).expect("a line that is none");
            return assert!(error.starts_with(&format!("line {}: ", first + 1)), "{error}");
        }
    };
    let mut read = read.iter();
    for (number, line) in (1..).zip(lines) {
        let alone = read_trace(line).expect("it was read beside others");
        if line.trim_ascii().is_empty() {
            assert!(alone.is_empty());
            continue;
        }
        let traced = read.next().expect("one for each line");
        assert_eq!((traced.line, said(traced)), (number, said(&alone[0])));
        as_written(traced, line);
    }
    assert!(read.next().is_none());
}

fn said(traced: &Traced) -> String {
    let Traced { line: _, request, labels, at, outcome, facts } = traced;
    format!("{request:?} {labels:?} {at:?} {outcome:?} {facts:?}")
}

fn as_written(traced: &Traced, line: &[u8]) {
    let value: Value = serde_json::from_slice(line).expect("JSON");
    let known = ["agent", "request", "at", "labels", "outcome", "facts"];
    assert!(value.as_object().expect("an object").keys().all(|key| known.contains(&key.as_str())));
    assert_eq!(value["agent"], traced.request.agent.as_str());
    assert_eq!(value["request"]["surface"], traced.request.ask.surface.as_str());
    assert_eq!(value["request"]["action"], traced.request.ask.action.as_str());
    assert_eq!(value["at"].as_u64(), traced.at.map(|at| at.0));
    let outcome: Option<Outcome> =
        serde_json::from_value(value["outcome"].clone()).expect("an outcome, or null");
    assert_eq!(outcome, traced.outcome);
    let labels = value["labels"].as_str().into_iter().flat_map(|labels| labels.split(',')).map(str::trim);
    assert!(labels.clone().all(|label| traced.labels.iter().any(|known| known.as_str() == label)));
    assert!(traced.labels.iter().all(|known| labels.clone().any(|label| known.as_str() == label)));
    let facts = value.get("facts").map_or(0, |facts| facts.as_object().expect("an object").len());
    assert_eq!(facts, traced.facts.len());
    assert!(traced.facts.iter().all(|(source, file)| value["facts"][source.as_str()] == file.as_str()));
}
