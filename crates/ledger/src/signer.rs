//! The log's signer.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_protocol::ReasonCode;
use portcullis_verify::{LogKeys, VerifierKey};
use zeroize::Zeroizing;

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key cannot be read.
    #[error("the signing key cannot be read: {0}")]
    Unavailable(String),
    /// The signer gave no answer within its deadline.
    #[error("the signer did not answer within its deadline")]
    Timeout,
    /// The key is not the log's.
    #[error("the signing key is not the log's: expected `{expected}`")]
    WrongKey {
        /// The log's verifier key.
        expected: String,
    },
    /// The signature that was made does not verify.
    #[error("the signer's signature does not verify")]
    Failed,
}

impl SignError {
    /// The reason code under which nothing is permitted.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Unavailable(_) => ReasonCode::SignerUnavailable,
            Self::Timeout => ReasonCode::SignerTimeout,
            Self::WrongKey { .. } => ReasonCode::SignerWrongKey,
            Self::Failed => ReasonCode::SignerFailed,
        }
    }
}

/// Signs checkpoints with the log's key.
///
/// The writer's thread asks it and waits. A signer that depends on another process or machine must answer within a
/// bound of its own, whatever becomes of that.
pub trait Signer: Send {
    /// The key that verifies.
    fn verifier(&self) -> &VerifierKey;

    /// The keys whose signatures on heads of this log count: those that sign, and those that signed before.
    fn trusted(&self) -> LogKeys {
        LogKeys::from(self.verifier())
    }

    /// The signer of the key that is to follow this one, which signs every head too until it does.
    fn next(&mut self) -> Option<&mut dyn Signer> {
        None
    }

    /// Whether a signature could be made now, as far as that is known without making one: this is asked before
    /// every batch. What it misses, [`Self::sign`] does not.
    ///
    /// # Errors
    /// Why not.
    fn ready(&mut self) -> Result<(), SignError>;

    /// An Ed25519 signature (RFC 8032) over a note's text. It is verified by whoever asked for it.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&mut self, text: &[u8]) -> Result<[u8; 64], SignError>;
}

/// What tells whether a key file is still the one that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self(
            [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()],
            [metadata.dev(), metadata.ino(), metadata.size()],
        )
    }
}

/// A key file that is no key, or that others can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("the key file `{path}` cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: String,
    },
    /// Others than its owner may read or write it.
    #[error("the key file `{path}` is open to others; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is not in the note signer format.
    #[error("the key file `{path}` does not hold a note signing key (`PRIVATE+KEY+name+id+base64`)")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// It is not a vault key.
    #[error("the key file `{path}` does not hold a vault key (`PORTCULLIS-VAULT-KEY+base64`)")]
    NoVaultKey {
        /// The file.
        path: PathBuf,
    },
}

/// The text of a key file, which only its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let unreadable =
        |error: std::io::Error| KeyFileError::Unreadable { path: path.into(), error: error.to_string() };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into() });
    }
    let mut text = Zeroizing::new(String::new());
    file.by_ref().take(4096).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// A signing key in a file: one line in the format of Go's `sumdb/note`,
/// `PRIVATE+KEY+<name>+<key id>+<base64(0x01 || seed)>`.
///
/// The file is looked at before every batch. When it is gone the key in memory is dropped too: whoever pulls the
/// key stops the gate.
pub struct KeyFile {
    path: PathBuf,
    verifier: VerifierKey,
    loaded: Option<(Stamp, SigningKey)>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyFile").field("path", &self.path).field("key", &"***").finish()
    }
}

impl KeyFile {
    /// The key at `path`, which must be the one that `verifier` verifies.
    #[must_use]
    pub const fn new(path: PathBuf, verifier: VerifierKey) -> Self {
        Self { path, verifier, loaded: None }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<(SigningKey, VerifierKey), KeyFileError> {
        let text = read_private(path)?;
        parse(text.trim_end()).ok_or_else(|| KeyFileError::Malformed { path: path.into() })
    }

    fn key(&mut self) -> Result<&SigningKey, SignError> {
        let stamp = match std::fs::metadata(&self.path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => {
                self.loaded = None;
                return Err(SignError::Unavailable(error.to_string()));
            }
        };
        let current = matches!(&self.loaded, Some((loaded, _)) if *loaded == stamp);
        if !current {
            self.loaded = None;
            let (key, verifier) =
                Self::read(&self.path).map_err(|error| SignError::Unavailable(error.to_string()))?;
            if verifier != self.verifier {
                return Err(SignError::WrongKey { expected: self.verifier.to_string() });
            }
            self.loaded = Some((stamp, key));
        }
        match &self.loaded {
            Some((_, key)) => Ok(key),
            None => Err(SignError::Unavailable("the key was not loaded".into())),
        }
    }
}

impl Signer for KeyFile {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn ready(&mut self) -> Result<(), SignError> {
        self.key().map(|_| ())
    }

    fn sign(&mut self, text: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.key()?.sign(text).to_bytes())
    }
}

/// Makes a key. Returns the key file's text, and the key that verifies.
///
/// # Errors
/// If the name is not a key name or the system gives no random bytes.
pub fn generate(name: &str) -> Result<(Zeroizing<String>, VerifierKey), String> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| error.to_string())?;
    let key = SigningKey::from_bytes(&seed);
    let verifier =
        VerifierKey::ed25519(name, key.verifying_key().to_bytes()).map_err(|error| error.to_string())?;
    let mut typed = Zeroizing::new(vec![1]);
    typed.extend_from_slice(seed.as_ref());
    let encoded = Zeroizing::new(STANDARD.encode(&*typed));
    let text = format!("PRIVATE+KEY+{name}+{:08x}+{}\n", verifier.key_id(), encoded.as_str());
    Ok((Zeroizing::new(text), verifier))
}

fn parse(text: &str) -> Option<(SigningKey, VerifierKey)> {
    let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
    let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let typed = Zeroizing::new(STANDARD.decode(encoded).ok()?); // tidy: allow None is KeyFileError::Malformed
    let (kind, seed) = typed.split_first()?;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.try_into().ok()?); // tidy: allow None is KeyFileError::Malformed
    let key = SigningKey::from_bytes(&seed);
    let verifier = VerifierKey::ed25519(name, key.verifying_key().to_bytes()).ok()?; // tidy: allow None is KeyFileError::Malformed
    (*kind == 1 && id == format!("{:08x}", verifier.key_id())).then_some((key, verifier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    #[test]
    fn a_pulled_key_signs_no_more_and_signs_again_when_it_is_back() {
        let (text, verifier) = generate("gate.test/log").unwrap();
        let (_directory, path) = file(&text, 0o600);
        let mut signer = KeyFile::new(path.clone(), verifier);
        let first = signer.sign(b"text\n").unwrap();
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        assert_eq!(signer.ready().unwrap_err().code(), ReasonCode::SignerUnavailable);
        assert_eq!(signer.sign(b"text\n").unwrap_err().code(), ReasonCode::SignerUnavailable);
        std::fs::rename(path.with_extension("away"), &path).unwrap();
        assert_eq!(signer.sign(b"text\n").unwrap(), first);
    }

    #[test]
    fn another_key_in_its_place_is_the_wrong_key() {
        let (text, verifier) = generate("gate.test/log").unwrap();
        let (_directory, path) = file(&text, 0o600);
        let mut signer = KeyFile::new(path.clone(), verifier);
        signer.ready().unwrap();
        std::fs::write(&path, generate("gate.test/log").unwrap().0.as_bytes()).unwrap();
        assert_eq!(signer.sign(b"text\n").unwrap_err().code(), ReasonCode::SignerWrongKey);
    }

    #[test]
    fn an_exposed_or_garbled_key_is_not_used() {
        let (text, verifier) = generate("gate.test/log").unwrap();
        let (_directory, path) = file(&text, 0o644);
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Exposed { .. })));
        assert_eq!(KeyFile::new(path, verifier).ready().unwrap_err().code(), ReasonCode::SignerUnavailable);
        let (_directory, path) = file("PRIVATE+KEY+x", 0o600);
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Malformed { .. })));
        let (_directory, path) = file(&text.replacen("gate", "gote", 1), 0o600);
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Malformed { .. })));
    }
}
