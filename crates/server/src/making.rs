//! Writing and signing bundles and roots.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_ledger::KeyFile;
use portcullis_policy::{RootError, SIGNATURE_FILE, Snapshot};
use portcullis_protocol::BundleDigest;

use crate::config::read_chain;
use crate::setup::{SetupError, at, make_directory};

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

/// Writes a file that is not there yet.
///
/// # Errors
/// [`SetupError`].
pub fn new_file(path: &Path, content: &[u8]) -> Result<(), SetupError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

/// Writes a file that everybody may read, at once.
///
/// # Errors
/// [`SetupError`]; the file is then as it was.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), SetupError> {
    replace(path, content, 0o644)
}

/// Replaces a file at once: whoever reads it meets the old content or the new, never half of either.
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
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(at(path))
}
