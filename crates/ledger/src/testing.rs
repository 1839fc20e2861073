//! What the tests of this crate share.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A file with this text and these permissions, alone in a directory that goes with it.
pub(crate) fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}
