//! What is wrong in a bundle's files, all that can be told at once, with the places: for whoever edits them.
//!
//! It decides nothing. Whether a bundle loads is said by what loads it; only once that has refused is the bundle gone
//! through again, for further findings and for places. So nothing here can make a bundle load, and what was refused is
//! always among the findings.

mod cedar;
mod place;

use std::ops::Range;

use crate::compile::CheckReport;
use crate::entities::Types;
use crate::error::{BundleError, Defect};
use crate::files::{Files, TESTS};
use crate::manifest::Manifest;
use crate::sources::Sourced;
use crate::{Snapshot, entities, mapping, pinned, schema, trial};

/// The most findings that are told.
const MOST: usize = 100;

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Path within the bundle; empty for the bundle as a whole.
    pub file: String,
    /// What is wrong.
    pub message: String,
    /// What the parser of the file would do about it.
    pub help: Option<String>,
    /// What to do about it.
    pub remedy: &'static str,
    /// The places, the first of them where it is wrong. Empty if that cannot be told.
    pub labels: Vec<Label>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the file, both ends at the boundary of a character.
    pub span: Range<usize>,
    /// What is there.
    pub text: Option<String>,
}

/// Lines and columns, from 1; columns and lengths in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// How far it reaches.
    pub length: usize,
}

impl Label {
    fn new(text: &str, span: Range<usize>, said: Option<String>) -> Self {
        Self { span: within(text, &span), text: said }
    }

    /// Where it is in the text of its file.
    #[must_use]
    pub fn position(&self, text: &str) -> Position {
        let (before, at) = text.split_at_checked(self.span.start).map_or((text, ""), |parts| parts);
        let line = before.matches('\n').count().saturating_add(1);
        let begun = before.rsplit_once('\n').map_or(before, |(_, begun)| begun);
        let length = self.span.end.saturating_sub(self.span.start);
        let length = at.get(..length).map_or(0, |at| at.chars().count());
        Position { line, column: begun.chars().count().saturating_add(1), length }
    }
}

/// The span, cut and moved to boundaries of characters of the text.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at = at.saturating_sub(1);
        }
        at
    };
    let (start, end) = (floor(span.start), floor(span.end));
    start..end.max(start)
}

impl Snapshot {
    /// As [`Self::check`], but with all that can be found wrong at once, and where. There is at least one finding.
    ///
    /// # Errors
    /// The findings, by file, and within a file by place.
    pub fn diagnose(&self) -> Result<CheckReport, Vec<Diagnosis>> {
        self.check().map_err(|error| findings(&self.files, &error))
    }
}

fn findings(files: &Files, first: &BundleError) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    cedar::find(files, &mut found);
    for error in settled(files) {
        found.push(of(files, &error));
    }
    let refused = of(files, first);
    // What Cedar says of a file was told above, in its own words and with its help apart.
    if !cedar::is_cedars(first) || !found.iter().any(|other| other.file == refused.file) {
        found.push(refused);
    }
    let start = |one: &Diagnosis| one.labels.first().map(|label| label.span.start);
    found.sort_by(|one, other| {
        (&one.file, start(one), &one.message).cmp(&(&other.file, start(other), &other.message))
    });
    found.dedup();
    found.truncate(MOST);
    found
}

/// The first defect of each part that can be read without the others. What Cedar says of its own files is told elsewhere.
fn settled(files: &Files) -> Vec<BundleError> {
    let mut errors = Vec::new();
    let manifest = match Manifest::parse(files) {
        Ok(manifest) => manifest,
        Err(error) => return vec![error],
    };
    let people = manifest.people.as_deref();
    match schema::load(files, (&manifest.surfaces, people), &mut Vec::new()) {
        Ok((schema, _)) => {
            let types = Types::new(&schema, people);
            let sourced = Sourced::of(&manifest.sources);
            let loaded =
                types.and_then(|types| entities::load(files, &schema, &types, &manifest.surfaces, &sourced));
            errors.extend(loaded.err());
        }
        Err(error) if cedar::is_cedars(&error) => {}
        Err(error) => errors.push(error),
    }
    if let Ok(pinned) = pinned::load(files) {
        errors.extend(mapping::faults(&manifest, &pinned, &mut Vec::new()));
    }
    errors.extend(trial::cases(files, &manifest).err());
    errors
}

/// One error with its place.
fn of(files: &Files, error: &BundleError) -> Diagnosis {
    match error {
        BundleError::Corrupt(defect) => of_defect(files, defect),
        BundleError::Missing(_)
        | BundleError::Root(_)
        | BundleError::Unsigned(_)
        | BundleError::UntrustedKey(_)
        | BundleError::TooFewSignatures(_)
        | BundleError::SignatureInvalid(_)
        | BundleError::RolledBack(_)
        | BundleError::PinMismatch(_)
        | BundleError::Unproved(_)
        | BundleError::Untested(_) => Diagnosis {
            file: String::new(),
            message: error.to_string(),
            help: None,
            remedy: error.remedy(),
            labels: Vec::new(),
        },
    }
}

fn of_defect(files: &Files, defect: &Defect) -> Diagnosis {
    let Defect { file, line, fault } = defect;
    let (file, labels) = match place::of(files, file, *line, fault) {
        Some((file, label)) => (file, vec![label]),
        None => (file.clone(), Vec::new()),
    };
    Diagnosis { file, message: fault.to_string(), help: None, remedy: fault.remedy(), labels }
}

/// Whether a file is of those that Cedar parses.
fn is_policies(path: &str) -> bool {
    path.ends_with(".cedar")
}

/// Whether a file is one of cases.
fn is_cases(path: &str) -> bool {
    path.starts_with(TESTS) && path.ends_with(".toml")
}

#[cfg(test)]
#[path = "diagnosis/tests.rs"]
mod tests;
