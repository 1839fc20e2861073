//! What a login left, in a file that only its owner may read. Several gates share it: whoever changes it holds it alone, and each
//! change is another file in its place, on the disk before anything of it is used.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_sdk::Authorities;
use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::remote::Trust;

/// Longest store, in bytes.
const LONGEST: u64 = 1024 * 1024;
/// How often a store is opened that was replaced in the same moment.
const OPENED: usize = 16;
const VERSION: u8 = 1;

/// A text that nobody is shown. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    #[cfg(test)]
    pub(super) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reveal())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) version: u8,
    /// The tool server's URL, and no other is shown the token.
    pub(super) url: String,
    /// How the authorization server calls it (RFC 8707).
    pub(super) resource: String,
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
    pub(super) client_id: String,
    /// PEM of the only authorities that are believed; the system's, if there is none.
    pub(super) authorities: Option<String>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) access_token: Secret,
    /// When the access token was asked for, in milliseconds since 1970 of a clock that may have been set since.
    pub(super) asked_at_ms: u64,
    /// For how long it was given then, if that was said.
    pub(super) lifetime_seconds: Option<u64>,
}

impl Stored {
    pub(super) const VERSION: u8 = VERSION;

    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.lifetime_seconds.map(Duration::from_secs)
    }

    /// Whose certificates its authorization server may show.
    pub(super) fn trust(&self) -> Option<Trust> {
        match &self.authorities {
            None => Some(Trust::System),
            Some(pem) => Authorities::parse(pem).ok().map(Trust::Authorities),
        }
    }
}

/// Why there is no store. None of it is what lies in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoStore {
    #[error("there is none; run `portcullis mcp login` first")]
    Missing,
    #[error("{0}")]
    Unreadable(String),
    #[error("it is open to others; run `chmod 600` on it")]
    Open,
    #[error("it is no store of `portcullis mcp login`")]
    Unknown,
}

impl From<io::Error> for NoStore {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// A store that nobody else changes while this is held.
pub(super) struct Held {
    path: PathBuf,
    pub(super) stored: Stored,
    _lock: File,
}

impl Held {
    /// Takes the store, as it is once it is held; `None` while another has it.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, NoStore> {
        for _ in 0..OPENED {
            let mut file = opened(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Another may have its name by now, and then that is the store.
            if is_still_at(&file, path)? {
                let stored = read(&mut file)?;
                return Ok(Some(Self { path: path.to_owned(), stored, _lock: file }));
            }
        }
        Ok(None)
    }

    /// Puts another in its place.
    pub(super) fn replace(self, stored: &Stored) -> io::Result<()> {
        put(&self.path, stored)
    }
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let (own, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
}

fn opened(path: &Path) -> Result<File, NoStore> {
    // What is no file may have nobody at its other end; and what replaces a link would be no link.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(NoStore::Missing),
        Err(error) => return Err(NoStore::Unreadable(error.to_string())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(NoStore::Unknown);
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(NoStore::Open);
    }
    Ok(file)
}

fn read(file: &mut File) -> Result<Stored, NoStore> {
    let mut text = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut text)?;
    // Not the parser's words, which quote what it reads.
    let stored: Stored = serde_json::from_slice(&text).map_err(|_| NoStore::Unknown)?;
    if stored.version == VERSION { Ok(stored) } else { Err(NoStore::Unknown) }
}

/// The file that becomes the store. It is hidden as the store is.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// Writes a store, whether or not there is one. Nobody has it before it is on the disk.
pub(super) fn put(path: &Path, stored: &Stored) -> io::Result<()> {
    let beside = beside(path);
    // One that a killed process left.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write(&beside, path, stored);
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

fn write(beside: &Path, path: &Path, stored: &Stored) -> io::Result<()> {
    let text = Zeroizing::new(serde_json::to_vec_pretty(stored)?);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(beside)?;
    file.lock()?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_replaced_since_it_was_opened_was_taken_for_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crm.oauth");
        let text = |version: u8| {
            format!(
                r#"{{"version":{version},"url":"u","resource":"u","issuer":"i","token_endpoint":"t","client_id":"c","authorities":null,
            "refresh_token":null,"access_token":"a","asked_at_ms":0,"lifetime_seconds":null}}"#
            )
        };
        let stored: Stored = serde_json::from_str(&text(1)).unwrap();
        put(&path, &stored).unwrap();
        let before = opened(&path).unwrap();
        assert!(is_still_at(&before, &path).unwrap());
        // Who replaces it has it alone, to the end.
        let held = Held::take(&path).unwrap().unwrap();
        assert!(Held::take(&path).unwrap().is_none());
        held.replace(&stored).unwrap();
        assert!(!is_still_at(&before, &path).unwrap());
        // The lock of the old one is nobody's business any more.
        before.try_lock().unwrap();
        assert!(Held::take(&path).unwrap().is_some());
        put(&path, &Stored { version: 2, ..stored }).unwrap();
        assert_eq!(Held::take(&path).map(|_| ()).unwrap_err(), NoStore::Unknown);
    }
}
