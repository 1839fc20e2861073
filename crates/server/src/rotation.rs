//! Putting another key in the place of the log's, by steps of which each leaves a configuration that works.

use std::fs;
use std::path::PathBuf;

use portcullis_ledger::{Anchor, DirectoryLock, LockError};
use portcullis_verify::{
    CheckpointError, LogKey, LogKeys, Standing, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey,
};
use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::config::{ArbiterConfig, Config, ConfigError};
use crate::making::replace;
use crate::setup::{SetupError, new_key, random_hex};

/// A rotation cannot be begun, ended, or a key not revoked. The configuration is as it was, unless its directory could not be synced: then either is there.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written, or a key not made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The configuration cannot be changed.
    #[error("`{path}` cannot be changed: {error}")]
    Edit {
        /// The configuration.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// One is under way.
    #[error("a rotation to `{to}` is under way; `portcullis keys rotate --finish` ends it")]
    UnderWay {
        /// The new key.
        to: Box<VerifierKey>,
    },
    /// None is.
    #[error("no rotation is under way; `portcullis keys rotate` begins one")]
    NotUnderWay,
    /// The new key's signer is not a file.
    #[error(
        "the log's signer is not a key file: write the new key's signer into a section `[next_signer]`, with its \
         `log_key`, and start the arbiter again; that begins the rotation"
    )]
    NoFile,
    /// The data directory's lock cannot be asked for.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An arbiter runs.
    #[error("an arbiter holds `{path}`; stop it, and the gates that host it, and try again")]
    Held {
        /// The data directory.
        path: PathBuf,
    },
    /// The anchor cannot be read.
    #[error("the anchor `{path}` cannot be read: {error}")]
    Anchor {
        /// The anchor.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The newest head does not verify.
    #[error("the newest head in the anchor does not verify: {0}")]
    Head(#[from] CheckpointError),
    /// Nothing else vouches for the newest head.
    #[error(
        "`{by}` has not signed the log's newest head yet: start the arbiter, wait until it is ready, stop it"
    )]
    NotSigned {
        /// The key that should have.
        by: Box<VerifierKey>,
    },
    /// The key is none that signed before.
    #[error(
        "`{key}` is not among `arbiter.other_log_keys`; a key that signs is first replaced by `portcullis keys rotate`"
    )]
    NoSuchKey {
        /// The key.
        key: String,
    },
}

/// A rotation that was ended.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The key that signs alone.
    pub key: VerifierKey,
    /// The key that it took the place of, and for which heads that still counts.
    pub retired: LogKey,
}

/// Begins: makes a key file, and a configuration under which both keys sign every head. Returns the new key.
///
/// # Errors
/// [`RotationError`].
pub fn begin_rotation(config: &Config) -> Result<VerifierKey, RotationError> {
    let arbiter = config.arbiter()?;
    if let Some((to, _)) = arbiter.next {
        return Err(RotationError::UnderWay { to: Box::new(to) });
    }
    let Some(own) = arbiter.signer.key_file() else { return Err(RotationError::NoFile) };
    let file = own.with_file_name(format!("log-{}.key", random_hex(4)?));
    let key = new_key(&file, arbiter.log_key.name().as_str())?;
    let mut document = document(config)?;
    let mut section = Table::new();
    section.insert("log_key", value(key.to_string()));
    section.insert("kind", value("file"));
    section.insert("key_file", value(file.display().to_string()));
    document.insert("next_signer", Item::Table(section));
    save(config, &document)?;
    Ok(key)
}

/// Ends: from now on the new key signs alone, and the old one counts up to the newest head. No arbiter may run, so
/// that there is none beyond it.
///
/// # Errors
/// [`RotationError`].
pub fn finish_rotation(config: &Config) -> Result<Rotated, RotationError> {
    let arbiter = config.arbiter()?;
    let Some((key, _)) = arbiter.next.clone() else { return Err(RotationError::NotUnderWay) };
    let _lock = DirectoryLock::acquire(&arbiter.data)?
        .ok_or_else(|| RotationError::Held { path: arbiter.data.clone() })?;
    let head = newest_head(&arbiter, &arbiter.log_keys)?;
    if !head.signed_by().contains(&key) {
        return Err(RotationError::NotSigned { by: Box::new(key) });
    }
    let retired = LogKey { key: arbiter.log_key.clone(), standing: Standing::Until(head.size()) };
    let others =
        arbiter.log_keys.all().iter().filter(|other| other.key != key && other.key != arbiter.log_key);
    let others: Vec<String> = others.chain([&retired]).map(ToString::to_string).collect();
    let mut document = document(config)?;
    let Some(Item::Table(mut signer)) = document.remove("next_signer") else {
        return Err(edit(config, "it has no section `[next_signer]`"));
    };
    signer.remove("log_key");
    document.insert("signer", Item::Table(signer));
    let section = section(config, &mut document)?;
    section.remove("signing_key");
    section.insert("log_key", value(key.to_string()));
    section.insert("other_log_keys", value(others.into_iter().collect::<Array>()));
    save(config, &document)?;
    Ok(Rotated { key, retired })
}

/// Revokes a key that signed before: it counts for nothing from now on. The log's newest head must stand without it.
///
/// # Errors
/// [`RotationError`].
pub fn revoke_key(config: &Config, key: &VerifierKey) -> Result<(), RotationError> {
    let arbiter = config.arbiter()?;
    let signs = |other: &VerifierKey| {
        *other == arbiter.log_key || arbiter.next.as_ref().is_some_and(|(next, _)| next == other)
    };
    let known = arbiter.log_keys.all().iter().any(|other| other.key == *key);
    if !known || signs(key) {
        return Err(RotationError::NoSuchKey { key: key.to_string() });
    }
    let revoked = |other: &LogKey| match other.key == *key {
        true => LogKey { key: key.clone(), standing: Standing::Revoked },
        false => other.clone(),
    };
    let keys: Vec<LogKey> = arbiter.log_keys.all().iter().map(revoked).collect();
    // A gate without a ledger of its own has nothing that could depend on the key.
    if arbiter.data.join("ledger").exists() {
        newest_head(&arbiter, &LogKeys::new(keys.clone()))?;
    }
    let others = keys.iter().filter(|other| !signs(&other.key)).map(ToString::to_string);
    let mut document = document(config)?;
    section(config, &mut document)?.insert("other_log_keys", value(others.collect::<Array>()));
    save(config, &document)
}

fn newest_head(arbiter: &ArbiterConfig, keys: &LogKeys) -> Result<VerifiedCheckpoint, RotationError> {
    let failed = |error| RotationError::Anchor { path: arbiter.anchor.clone(), error };
    let note = Anchor::read(&arbiter.anchor).map_err(failed)?;
    let note = note.ok_or_else(|| failed(std::io::Error::other("it holds no head")))?;
    Ok(UnverifiedCheckpoint::parse(&note)?.verify_with(keys)?)
}

fn document(config: &Config) -> Result<DocumentMut, RotationError> {
    let text = fs::read_to_string(config.path()).map_err(|error| edit(config, error))?;
    text.parse().map_err(|error| edit(config, error))
}

fn section<'a>(config: &Config, document: &'a mut DocumentMut) -> Result<&'a mut Table, RotationError> {
    let section = document.get_mut("arbiter").and_then(Item::as_table_mut);
    section.ok_or_else(|| edit(config, "it has no section `[arbiter]`"))
}

fn save(config: &Config, document: &DocumentMut) -> Result<(), RotationError> {
    Ok(replace(config.path(), document.to_string().as_bytes(), 0o600)?)
}

fn edit(config: &Config, error: impl std::fmt::Display) -> RotationError {
    RotationError::Edit { path: config.path().to_owned(), error: error.to_string() }
}
