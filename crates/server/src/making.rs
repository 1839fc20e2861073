//! Writing and signing bundles and roots.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_ledger::{KeyFile, sync_parent};
use portcullis_policy::{RootError, SIGNATURE_FILE, Snapshot};
use portcullis_protocol::BundleDigest;

use crate::config::read_chain;
use crate::setup::{SetupError, at, make_directory};

/// What is longer is written in parts, each synced by itself: the ledger's syncs wait for what the disk was given before them.
const PART: usize = 64 * 1024;

/// Adds a signature to a bundle in place, with the key in a file. Returns the bundle's digest, to be pinned.
///
/// # Errors
/// [`SetupError`].
pub fn sign_bundle(bundle: &Path, key: &Path) -> Result<BundleDigest, SetupError> {
    let (signing, verifier) = KeyFile::read(key)?;
    let snapshot = Snapshot::read(bundle)?;
    let digest = snapshot.digest();
    let signature = snapshot.sign(&signing, verifier.name().as_str())?;
    if bundle.is_dir() {
        replace(&bundle.join(SIGNATURE_FILE), &signature, 0o644)?;
    } else {
        replace(bundle, &snapshot.with_signature(signature)?.to_bytes()?, 0o644)?;
    }
    Ok(digest)
}

/// Adds a signature to the newest root of a chain in place, with the key in a file. Returns its version.
///
/// # Errors
/// [`SetupError`].
pub fn sign_root(file: &Path, key: &Path) -> Result<u64, SetupError> {
    let (signing, verifier) = KeyFile::read(key)?;
    let mut chain = read_chain(file)?;
    let newest = chain.roots().last().map(portcullis_policy::Root::version);
    let newest = newest.ok_or(RootError::Form("it is empty"))?;
    chain.sign(&signing, verifier.name().as_str())?;
    replace(file, chain.to_text().as_bytes(), 0o644)?;
    Ok(newest)
}

/// Writes a bundle's files into a directory that is not there yet.
///
/// # Errors
/// [`SetupError`].
pub fn write_bundle(directory: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), SetupError> {
    if directory.symlink_metadata().is_ok() {
        return Err(SetupError::Exists { path: directory.to_owned() });
    }
    for (name, content) in files {
        let path = directory.join(name);
        path.parent().map_or(Ok(()), make_directory)?;
        fs::write(&path, content).map_err(at(&path))?;
    }
    Ok(())
}

/// Writes a bundle's files into a directory that is new or empty, all of them or none: they are written beside it, and
/// put in its place at once. `stopped` is asked before that.
///
/// # Errors
/// [`SetupError`]. Then nothing is left of it, and what was there is as it was.
pub fn write_draft(
    directory: &Path,
    files: &BTreeMap<String, Vec<u8>>,
    stopped: impl Fn() -> bool,
) -> Result<(), SetupError> {
    let absolute = std::path::absolute(directory).map_err(at(directory))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(SetupError::Exists { path: directory.to_owned() });
    };
    make_directory(parent)?;
    let beside = parent.join(format!(".{}.{}.draft", name.to_string_lossy(), std::process::id()));
    let placed = write_bundle(&beside, files).and_then(|()| {
        if stopped() {
            let error = std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped; nothing was written");
            return Err(SetupError::File { path: directory.to_owned(), error });
        }
        // Replaces an empty directory, and nothing else: a full one, a file and a link make it fail (rename(2)).
        fs::rename(&beside, &absolute).map_err(at(directory))
    });
    if placed.is_err() && !matches!(placed, Err(SetupError::Exists { .. })) {
        match fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&beside)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    placed
}

/// Writes a file that is not there yet.
///
/// # Errors
/// [`SetupError`].
pub fn new_file(path: &Path, content: &[u8]) -> Result<(), SetupError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        sync_parent(path)
    };
    write().map_err(at(path))
}

/// Writes a file that everybody may read, at once.
///
/// # Errors
/// [`SetupError`]; the file is then as it was, unless its directory could not be synced.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), SetupError> {
    replace(path, content, 0o644)
}

/// Replaces a file at once, durably: whoever reads it meets the old content or the new, never half of either.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), SetupError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    // A bundle's directory must not hold a file that is no part of it, not even for a moment.
    let temporary = match path.parent().and_then(Path::parent) {
        Some(above) if path.file_name().is_some_and(|name| name == "bundle.sig") => {
            above.join(".bundle.sig.new")
        }
        Some(_) | None => PathBuf::from(temporary),
    };
    replace_by(&temporary, path, content, mode)
}

/// The same, for what nobody misses after a crash: it is not waited for that it lies on the disk.
pub(crate) fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), SetupError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let write = || -> std::io::Result<()> {
        made(temporary.as_ref(), mode)?.write_all(content)?;
        fs::rename(&temporary, path)
    };
    write().map_err(at(path))
}

fn replace_by(temporary: &Path, path: &Path, content: &[u8], mode: u32) -> Result<(), SetupError> {
    let write = || -> std::io::Result<()> {
        let mut file = made(temporary, mode)?;
        for part in content.chunks(PART) {
            file.write_all(part)?;
            if content.len() > PART {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        fs::rename(temporary, path)?;
        // A name that is not synced names the old content again after a power cut: a revoked key's, for one.
        sync_parent(path)
    };
    write().map_err(at(path))
}

fn made(path: &Path, mode: u32) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(mode).open(path)
}

/// Writes a file of pins into a bundle's directory, at once; `file` is its path within. The bundle's other files stay as they
/// are, so that its signatures are of another content then.
///
/// # Errors
/// [`SetupError`]; the file is then as it was, unless its directory could not be synced.
pub fn write_pins(bundle: &Path, file: &str, content: &[u8]) -> Result<(), SetupError> {
    let bundle = fs::canonicalize(bundle).map_err(at(bundle))?;
    let path = bundle.join(file);
    path.parent().map_or(Ok(()), make_directory)?;
    // As with signatures: nothing lies in the bundle's directory that is no part of it.
    let name = format!(".{}.new", file.replace('/', "."));
    replace_by(&bundle.with_file_name(name), &path, content, 0o644)
}

#[cfg(test)]
mod tests {
    use super::{PART, put, replace};

    #[test]
    fn what_is_written_in_parts_is_there_whole_and_what_it_replaces_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for length in [3 * PART + 1, 2 * PART, PART, 1, 0] {
            let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            replace(&path, &content, 0o600).unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "{length}");
            put(&path, b"other", 0o600).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"other");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }
}
