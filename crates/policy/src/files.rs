//! Which files a bundle may have, and how large they may be.

use std::collections::BTreeMap;

use crate::error::{BundleError, Fault};
use crate::{ENTITIES_FILE, MANIFEST_FILE, SCHEMA_FILE, SIGNATURE_FILE};

/// The most files that a bundle may have, its signature included.
pub(crate) const MAX_FILES: usize = 256;
/// The largest file, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The most bytes in all files together.
pub(crate) const MAX_TOTAL_BYTES: usize = 8 * 1024 * 1024;
/// The directory of policies within a bundle.
pub(crate) const POLICIES: &str = "policies";
/// The directory of cases that a bundle is tried with.
pub(crate) const TESTS: &str = "tests";
/// The directory of what must hold of a bundle.
pub(crate) const INVARIANTS: &str = "invariants";
/// The directory of tools as they were defined when the bundle was signed.
pub(crate) const TOOLS: &str = "tools";
/// The directories within a bundle. None has another one in it.
pub(crate) const DIRECTORIES: [&str; 4] = [POLICIES, TESTS, INVARIANTS, TOOLS];

/// The content of a bundle's files by their path, `/` between directory and file.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Whether a bundle may have a file of this path.
pub(crate) fn admit(path: &str) -> Result<(), BundleError> {
    if path.chars().any(char::is_control) {
        return Err(BundleError::corrupt(path, Fault::FileName));
    }
    let known = [MANIFEST_FILE, SCHEMA_FILE, ENTITIES_FILE, SIGNATURE_FILE, "README.md"];
    let within =
        [(POLICIES, ".cedar"), (TESTS, ".toml"), (TESTS, ".json"), (INVARIANTS, ".cedar"), (TOOLS, ".json")];
    if known.contains(&path) || within.iter().any(|(directory, ending)| is_within(path, directory, ending)) {
        return Ok(());
    }
    Err(BundleError::corrupt(path, Fault::UnknownFile))
}

fn is_within(path: &str, directory: &str, ending: &str) -> bool {
    let name = path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
    let stem = name.and_then(|name| name.strip_suffix(ending));
    stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && !stem.contains('/'))
}

/// Holds files against every bound, so that a snapshot of bytes is judged as one of a directory.
pub(crate) fn admit_all(files: &Files) -> Result<(), BundleError> {
    admit_count(files.len())?;
    let mut total = 0_usize;
    for (path, bytes) in files {
        admit(path)?;
        total = total.saturating_add(bytes.len());
        admit_size(path, bytes.len(), total)?;
    }
    Ok(())
}

pub(crate) fn admit_count(files: usize) -> Result<(), BundleError> {
    if files > MAX_FILES { Err(BundleError::corrupt("", Fault::TooManyFiles)) } else { Ok(()) }
}

pub(crate) fn admit_size(path: &str, bytes: usize, total: usize) -> Result<(), BundleError> {
    if bytes > MAX_FILE_BYTES {
        return Err(BundleError::corrupt(path, Fault::FileTooLarge));
    }
    if total > MAX_TOTAL_BYTES {
        return Err(BundleError::corrupt("", Fault::BundleTooLarge));
    }
    Ok(())
}

/// A file as text.
pub(crate) fn text<'a>(files: &'a Files, path: &str) -> Result<&'a str, BundleError> {
    let bytes = files.get(path).ok_or_else(|| BundleError::corrupt(path, Fault::FileMissing))?;
    str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).map_or(0, count_newlines);
        BundleError::corrupt_at(path, Some(before.saturating_add(1)), Fault::NotUtf8)
    })
}

fn count_newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The line, from 1, in which the byte at `offset` lies.
pub(crate) fn line_at(text: &str, offset: usize) -> Option<usize> {
    text.as_bytes().get(..offset).map(|before| count_newlines(before).saturating_add(1))
}
