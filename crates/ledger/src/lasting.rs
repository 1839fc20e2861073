//! Directories that are still there when the power comes back.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Makes a directory with those above it, for its owner alone, and makes it durable that they are there: a directory
/// that was synced lies nowhere if the one above it was not.
///
/// Not only what was made just now: whoever made it before may have ended before it was durable. So each directory
/// above is synced, up to the first that belongs to somebody else or lies on another file system.
///
/// # Errors
/// If one of them cannot be made or synced.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let directory = fs::canonicalize(directory)?;
    let device = fs::metadata(&directory)?.dev();
    let own = rustix::process::geteuid().as_raw();
    for above in directory.ancestors().skip(1) {
        let metadata = fs::metadata(above)?;
        let foreign = metadata.uid() != own;
        if metadata.dev() != device {
            break;
        }
        match File::open(above) {
            Ok(above) => above.sync_all()?,
            // Nobody makes directories where only others may look.
            Err(error) if foreign && error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
        if foreign {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::make_directory;

    #[test]
    fn directories_are_made_for_their_owner_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_directory(&deep).unwrap();
        make_directory(&deep).unwrap();
        for made in [deep.as_path(), deep.parent().unwrap()] {
            assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_directory(&folder.path().join("file/below")).is_err());
    }
}
