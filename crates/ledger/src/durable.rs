//! Small files that are replaced whole, durably.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub use crate::generation::sync_parent;

/// Replaces a file's content: whoever reads it meets the old content or the new, and what was written is on the disk
/// when this returns. Only its owner may read it.
///
/// # Errors
/// If it was not written, renamed or synced: which content lies there is then unknown.
pub fn replace_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    // One that a killed process left keeps its mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}
