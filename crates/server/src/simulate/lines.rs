//! A trace as it is written. What is fuzzed takes this file too, and nothing else of the server.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::request::{Ask, parse_strict};
use portcullis_protocol::{AgentId, LabelName, Millis, Outcome, Request, SourceName};
use serde::Deserialize;

/// A line of a trace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    agent: AgentId,
    request: Ask,
    at: Option<Millis>,
    /// Separated by commas: strict JSON has no lists but in a context.
    labels: Option<String>,
    outcome: Option<Outcome>,
    #[serde(default)]
    facts: BTreeMap<SourceName, String>,
}

impl Line {
    fn labels(&self) -> Result<BTreeSet<LabelName>, String> {
        let names = self.labels.iter().flat_map(|labels| labels.split(','));
        names.map(|name| name.trim().parse::<LabelName>().map_err(|error| error.to_string())).collect()
    }
}

/// A request of a trace.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its line, from 1.
    pub line: u64,
    /// What was asked, and by whom.
    pub request: Request,
    /// The labels that the agent had, beside those that PERMITs of the lines before gave it.
    pub labels: BTreeSet<LabelName>,
    /// When; `None` for any time.
    pub at: Option<Millis>,
    /// What became of it if it was permitted; `None` if the trace does not say.
    pub outcome: Option<Outcome>,
    /// By source, the file of the facts that were there, by the name that a bundle's cases call it.
    pub facts: BTreeMap<SourceName, String>,
}

/// Reads a trace: a line each, `{"agent": …, "request": …, "labels": "a, b", "at": …, "outcome": …, "facts": {…}}`, the request as
/// `POST /v1/decisions` takes it, `at` in milliseconds since 1970. Empty lines are skipped.
///
/// # Errors
/// The first line that is none, by its number, and why.
pub fn read_trace(trace: &[u8]) -> Result<Vec<Traced>, String> {
    let mut read = Vec::new();
    for (number, line) in (1..).zip(trace.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed =
            parse_strict::<Line>(line).map_err(|refused| format!("line {number}: {}", refused.detail))?;
        let labels = parsed.labels().map_err(|error| format!("line {number}: {error}"))?;
        let Line { agent, request, at, outcome, facts, .. } = parsed;
        read.push(Traced { line: number, request: request.by(agent), labels, at, outcome, facts });
    }
    Ok(read)
}
