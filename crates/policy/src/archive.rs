//! A bundle as one file, and as the ledger keeps it: its files by their paths, the signature among them. Deterministic:
//! equal files give equal bytes, and no other bytes are read (docs/bundle-format.md).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_protocol::canonical;
use serde::{Deserialize, Serialize};

use crate::Snapshot;
use crate::error::{BundleError, Fault};
use crate::files::{Files, MAX_TOTAL_BYTES};

/// The largest archive that is read, in bytes: base64 of the largest bundle, with room for names.
pub const MAX_ARCHIVE_BYTES: usize = 4 * MAX_TOTAL_BYTES.div_ceil(3) + 256 * 1024;

/// An archive: canonical JSON (RFC 8785), contents in base64 by path.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    v: u8,
    files: BTreeMap<String, String>,
}

/// The archive of a bundle's files.
pub(crate) fn write(files: &Files) -> Result<Vec<u8>, BundleError> {
    let files = files.iter().map(|(path, bytes)| (path.clone(), STANDARD.encode(bytes))).collect();
    canonical::to_bytes(&Archive { v: 1, files }).map_err(|_| BundleError::corrupt("", Fault::NoDigest))
}

/// The files in an archive. Nothing is expanded, followed or written on the way: the form has no compression, no links
/// and no place outside itself.
pub(crate) fn read(bytes: &[u8]) -> Result<Files, BundleError> {
    let corrupt = || BundleError::corrupt("", Fault::Archive);
    if bytes.len() > MAX_ARCHIVE_BYTES {
        return Err(corrupt());
    }
    let archive: Archive = serde_json::from_slice(bytes).map_err(|_| corrupt())?;
    if archive.v != 1 {
        return Err(corrupt());
    }
    let decode = |(path, text): (String, String)| Some((path, STANDARD.decode(text).ok()?)); // tidy: allow None is a corrupt archive
    let files = archive.files.into_iter().map(decode).collect::<Option<Files>>().ok_or_else(corrupt)?;
    // Only what an archive is written as is one: a path given twice, say, is not.
    if write(&files)? == bytes { Ok(files) } else { Err(corrupt()) }
}

impl Snapshot {
    /// A bundle from its file. As unverified as one that was read from a directory.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if these bytes are no bundle's file, and as [`Self::from_files`].
    pub fn from_archive(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::from_files(read(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Snapshot, bundles};

    #[test]
    fn an_archive_is_the_bundle_and_nothing_else_is_an_archive() {
        let files = bundles::demo();
        let bytes = super::write(&files).unwrap();
        let snapshot = Snapshot::from_archive(&bytes).unwrap();
        assert_eq!(snapshot.digest(), Snapshot::from_files(files).unwrap().digest());
        let text = String::from_utf8(bytes.clone()).unwrap();
        let twice = text.replacen(r#""files":{"#, r#""files":{"README.md":"","README.md":"","#, 1);
        for other in [text.replace(r#""v":1"#, r#""v":2"#), format!("{text} "), twice, text[1..].to_owned()] {
            assert_ne!(other, text);
            assert!(Snapshot::from_archive(other.as_bytes()).is_err(), "{other}");
        }
        assert!(Snapshot::from_archive(&[]).is_err());
    }
}
