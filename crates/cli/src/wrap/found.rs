//! The configurations that are on this machine, and how far they go through the gate.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::{Document, Kind};
use super::error::WrapError;
use super::file::Found;
use super::format::Format;
use super::gate::Passage;
use crate::clients;

/// A configuration, and how far it goes through the gate.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) file: PathBuf,
    pub(crate) format: &'static str,
    #[serde(flatten)]
    pub(crate) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    /// It names no servers.
    Empty,
    /// Every server goes through a gate.
    Wrapped { through: usize },
    /// Some do.
    Partly { through: usize, past: usize, remote: usize },
    /// None does.
    Unwrapped { past: usize, remote: usize },
    /// It cannot be told.
    Unknown { because: String },
}

/// Every configuration of a known form that is there.
pub(crate) fn all(home: Option<&Path>, project: &Path) -> Vec<Listed> {
    let known = |path: PathBuf| Format::of(&path).map(|format| (path, format));
    let listed = |(file, format): (PathBuf, Format)| {
        let state = match state(&file, format) {
            Ok(state) => state,
            Err(WrapError::NoServers { .. }) => State::Empty,
            Err(error) => State::Unknown { because: error.to_string() },
        };
        Listed { file, format: format.name(), state }
    };
    clients::configurations(home, project).into_iter().filter_map(known).map(listed).collect()
}

fn state(path: &Path, format: Format) -> Result<State, WrapError> {
    let found = Found::read(path)?;
    let document = Document::parse(&found.bytes, format, path)?;
    let (mut through, mut past, mut remote) = (0, 0, 0);
    for entry in &document.entries {
        let count = match &entry.kind {
            Kind::Remote(_) => &mut remote,
            // What starts a gate in an unknown way is none that could be relied on.
            Kind::Local(launch) => match Passage::of(launch) {
                Ok(Some(_)) => &mut through,
                Ok(None) | Err(_) => &mut past,
            },
        };
        *count += 1;
    }
    Ok(match (through, past + remote) {
        (0, 0) => State::Empty,
        (_, 0) => State::Wrapped { through },
        (0, _) => State::Unwrapped { past, remote },
        (_, _) => State::Partly { through, past, remote },
    })
}
