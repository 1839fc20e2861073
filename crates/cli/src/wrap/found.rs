//! The configurations that are on this machine, and how far they go through the gate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::{Document, Kind};
use super::error::WrapError;
use super::file::Found;
use super::format::Format;
use super::gate::{Gate, Passage};
use crate::clients;

/// A configuration, and how far it goes through the gate.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) file: PathBuf,
    pub(crate) format: &'static str,
    #[serde(flatten)]
    pub(crate) state: State,
    /// What servers go through that is another than this gate.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) others: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    /// It names no servers.
    Empty,
    /// Every server goes through this gate.
    Wrapped { through: usize },
    /// Some do.
    Partly { through: usize, other: usize, past: usize, remote: usize },
    /// None does.
    Unwrapped { other: usize, past: usize, remote: usize },
    /// It cannot be told.
    Unknown { because: String },
}

/// Every configuration of a known form that is there, and how far it goes through this gate.
pub(crate) fn all(home: Option<&Path>, project: &Path, gate: &Gate) -> Vec<Listed> {
    let known = |path: PathBuf| Format::of(&path).map(|format| (path, format));
    let listed = |(file, format): (PathBuf, Format)| {
        let (state, others) = match state(&file, format, gate) {
            Ok(found) => found,
            Err(WrapError::NoServers { .. }) => (State::Empty, BTreeSet::new()),
            Err(error) => (State::Unknown { because: error.to_string() }, BTreeSet::new()),
        };
        Listed { file, format: format.name(), state, others }
    };
    clients::configurations(home, project).into_iter().filter_map(known).map(listed).collect()
}

fn state(path: &Path, format: Format, gate: &Gate) -> Result<(State, BTreeSet<String>), WrapError> {
    let found = Found::read(path)?;
    let document = Document::parse(&found.bytes, format, path)?;
    let (mut through, mut other, mut past, mut remote) = (0, 0, 0, 0);
    let mut others = BTreeSet::new();
    for entry in &document.entries {
        let count = match &entry.kind {
            Kind::Remote(_) => &mut remote,
            // What starts a gate in an unknown way is none that could be relied on.
            Kind::Local(launch) => match Passage::of(launch).map(|it| it.map(|it| it.other_than(gate))) {
                Ok(Some(None)) => &mut through,
                Ok(Some(Some(found))) => {
                    others.insert(found.to_string());
                    &mut other
                }
                Ok(None) | Err(_) => &mut past,
            },
        };
        *count += 1;
    }
    let state = match (through, other + past + remote) {
        (0, 0) => State::Empty,
        (_, 0) => State::Wrapped { through },
        (0, _) => State::Unwrapped { other, past, remote },
        (_, _) => State::Partly { through, other, past, remote },
    };
    Ok((state, others))
}
