//! What is kept of requests and results, encrypted.
//!
//! Every subject (an agent) has a key of its own, wrapped by a master key that lies in a file elsewhere. Erasing a
//! subject means destroying its key: what was sealed under it is noise from then on, also in places that nobody
//! can reach any more, and the records, which only commit to it, still prove themselves.
//!
//! Sealed bytes are a random nonce of 24 bytes and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) of the content, with
//! its place (record index and subject) as associated data: what is put in another place does not open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use portcullis_protocol::{AgentId, Digest, Domain, ReasonCode};
use zeroize::Zeroizing;

use crate::signer::{KeyFileError, Stamp};

/// What a vault key file begins with.
const PREFIX: &str = "PORTCULLIS-VAULT-KEY+";
/// Bytes of a nonce of XChaCha20-Poly1305.
const NONCE: usize = 24;

/// Why the vault cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The master key cannot be read.
    #[error("the vault's master key cannot be read: {0}")]
    Unavailable(String),
    /// The master key is not the one that the ledger's subject keys are wrapped by.
    #[error("the vault's master key is not the ledger's")]
    WrongKey,
    /// The system gives no random bytes, or the cipher refuses.
    #[error("the vault cannot seal")]
    Seal,
    /// Sealed bytes that do not open: they were altered, or belong elsewhere.
    #[error("sealed bytes do not open")]
    Altered,
}

impl VaultError {
    /// The reason code under which nothing is permitted.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Unavailable(_) | Self::Seal => ReasonCode::EvidenceVaultUnavailable,
            Self::WrongKey => ReasonCode::EvidenceVaultWrongKey,
            Self::Altered => ReasonCode::EvidenceCorrupt,
        }
    }
}

/// A key of 32 bytes, wiped when dropped.
struct Key(Zeroizing<[u8; 32]>);

impl Key {
    fn random() -> Result<Self, VaultError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(|_| VaultError::Seal)?;
        Ok(Self(key))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }

    fn seal(&self, content: &[u8], place: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::Seal)?;
        let payload = Payload { msg: content, aad: place };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Seal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8], place: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(VaultError::Altered)?;
        let payload = Payload { msg: sealed, aad: place };
        let opened = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| VaultError::Altered)
    }

    /// Names the key without telling it.
    fn id(&self) -> Digest {
        Digest::of(Domain::VaultKey, &[self.0.as_ref()])
    }
}

/// The key of one subject.
pub(crate) struct SubjectKey(Key);

impl SubjectKey {
    pub(crate) fn seal(&self, place: SealedAt, content: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.0.seal(content, &place.bytes())
    }

    pub(crate) fn open(&self, place: SealedAt, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.0.open(sealed, &place.bytes())
    }
}

/// Where sealed bytes belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedAt {
    /// Index of the record that commits to them.
    pub(crate) seq: u64,
    /// The subject's number.
    pub(crate) subject: i64,
}

impl SealedAt {
    fn bytes(self) -> Vec<u8> {
        let (seq, subject) = (self.seq.to_be_bytes(), self.subject.to_be_bytes());
        [b"portcullis/payload/v1\0".as_slice(), &seq, &subject].concat()
    }
}

/// The master key, read from its file.
pub struct MasterKey(Key);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("MasterKey").field(&"***").finish()
    }
}

impl MasterKey {
    /// Reads a vault key file: one line, `PORTCULLIS-VAULT-KEY+` and the base64 of 32 bytes.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let unreadable =
            |error: std::io::Error| KeyFileError::Unreadable { path: path.into(), error: error.to_string() };
        let mut file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.into() });
        }
        let mut text = Zeroizing::new(String::new());
        file.by_ref().take(4096).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(text.trim_end()).ok_or_else(|| KeyFileError::NoVaultKey { path: path.into() })
    }

    fn parse(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?); // tidy: allow None is KeyFileError::NoVaultKey
        let key: [u8; 32] = decoded.as_slice().try_into().ok()?; // tidy: allow None is KeyFileError::NoVaultKey
        Some(Self(Key(Zeroizing::new(key))))
    }

    /// Names the key without telling it: a digest.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.0.id()
    }

    /// A new subject's key, and as it is stored.
    pub(crate) fn new_subject(&self, agent: &AgentId) -> Result<(SubjectKey, Vec<u8>), VaultError> {
        let key = Key::random()?;
        let wrapped = self.0.seal(key.0.as_ref(), &wrapped_at(agent))?;
        Ok((SubjectKey(key), wrapped))
    }

    /// A subject's key from what is stored.
    pub(crate) fn unwrap_subject(&self, agent: &AgentId, wrapped: &[u8]) -> Result<SubjectKey, VaultError> {
        let key = self.0.open(wrapped, &wrapped_at(agent))?;
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| VaultError::Altered)?;
        Ok(SubjectKey(Key(Zeroizing::new(key))))
    }
}

fn wrapped_at(agent: &AgentId) -> Vec<u8> {
    [b"portcullis/subject-key/v1\0".as_slice(), agent.as_str().as_bytes()].concat()
}

/// Makes a master key. Returns the file's text.
///
/// # Errors
/// If the system gives no random bytes.
pub fn generate_vault_key() -> Result<Zeroizing<String>, String> {
    let key = Key::random().map_err(|error| error.to_string())?;
    let encoded = Zeroizing::new(STANDARD.encode(key.0.as_ref()));
    Ok(Zeroizing::new(format!("{PREFIX}{}\n", encoded.as_str())))
}

/// The writer's vault: the master key as long as its file is there, and the subjects' keys.
///
/// The file is looked at before every batch. When it is gone, every key in memory is dropped too.
pub(crate) struct Vault {
    path: PathBuf,
    master: Option<(Stamp, MasterKey)>,
    pub(crate) subjects: BTreeMap<AgentId, (i64, SubjectKey)>,
}

impl Vault {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, master: None, subjects: BTreeMap::new() }
    }

    /// Whether something could be sealed now, in a ledger whose subjects are wrapped by the key that `expected`
    /// names, if there are any.
    pub(crate) fn ready(&mut self, expected: Option<&Digest>) -> Result<(), VaultError> {
        let master = self.load()?;
        if expected.is_some_and(|expected| *expected != master.id()) {
            return Err(VaultError::WrongKey);
        }
        Ok(())
    }

    fn load(&mut self) -> Result<&MasterKey, VaultError> {
        let stamp = std::fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata));
        let current = matches!((&self.master, &stamp), (Some((loaded, _)), Ok(stamp)) if loaded == stamp);
        if !current {
            self.master = None;
            self.forget();
        }
        let unavailable = |error: String| VaultError::Unavailable(error);
        let stamp = stamp.map_err(|error| unavailable(error.to_string()))?;
        if self.master.is_none() {
            let key = MasterKey::read(&self.path).map_err(|error| unavailable(error.to_string()))?;
            self.master = Some((stamp, key));
        }
        self.master()
    }

    /// The key that [`Self::ready`] found.
    pub(crate) fn master(&self) -> Result<&MasterKey, VaultError> {
        match &self.master {
            Some((_, key)) => Ok(key),
            None => Err(VaultError::Unavailable("the key was not loaded".into())),
        }
    }

    /// Drops the subjects' keys: what the database holds of them may have changed.
    pub(crate) fn forget(&mut self) {
        self.subjects.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    fn master() -> MasterKey {
        MasterKey::parse(generate_vault_key().unwrap().trim_end()).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_and_nowhere_else() {
        let (master, agent) = (master(), "bot".parse().unwrap());
        let (key, wrapped) = master.new_subject(&agent).unwrap();
        let place = SealedAt { seq: 7, subject: 1 };
        let sealed = key.seal(place, b"content").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"content"));
        let unwrapped = master.unwrap_subject(&agent, &wrapped).unwrap();
        assert_eq!(unwrapped.open(place, &sealed).unwrap().as_slice(), b"content");
        for other in [SealedAt { seq: 8, subject: 1 }, SealedAt { seq: 7, subject: 2 }] {
            assert_eq!(key.open(other, &sealed).unwrap_err(), VaultError::Altered);
        }
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert_eq!(key.open(place, &flipped).unwrap_err(), VaultError::Altered, "byte {index}");
        }
        assert_eq!(key.open(place, &sealed[..20]).unwrap_err(), VaultError::Altered);
    }

    #[test]
    fn a_subject_s_key_opens_under_its_own_name_and_master_only() {
        let (own, other) = (master(), master());
        let agent = "bot".parse().unwrap();
        let (_, wrapped) = own.new_subject(&agent).unwrap();
        assert!(own.unwrap_subject(&agent, &wrapped).is_ok());
        assert_eq!(own.unwrap_subject(&"bob".parse().unwrap(), &wrapped).err(), Some(VaultError::Altered));
        assert_eq!(other.unwrap_subject(&agent, &wrapped).err(), Some(VaultError::Altered));
    }

    #[test]
    fn a_pulled_exposed_garbled_or_wrong_master_key_seals_nothing() {
        let text = generate_vault_key().unwrap();
        let (_directory, path) = file(&text, 0o600);
        let mut vault = Vault::new(path.clone());
        assert_eq!(vault.ready(None), Ok(()));
        let id = vault.master().unwrap().id();
        assert_eq!(vault.ready(Some(&id)), Ok(()));
        assert_eq!(vault.ready(Some(&Digest::sha256(b"x"))), Err(VaultError::WrongKey));
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        assert_eq!(vault.ready(None).unwrap_err().code(), ReasonCode::EvidenceVaultUnavailable);
        assert!(vault.master().is_err(), "the key is gone from memory too");
        std::fs::rename(path.with_extension("away"), &path).unwrap();
        assert_eq!(vault.ready(Some(&id)), Ok(()));
        std::fs::write(&path, generate_vault_key().unwrap().as_bytes()).unwrap();
        assert_eq!(vault.ready(Some(&id)), Err(VaultError::WrongKey));
        for (text, mode) in [(text.as_str(), 0o644), ("PORTCULLIS-VAULT-KEY+AAAA", 0o600), ("", 0o600)] {
            let (_directory, path) = file(text, mode);
            let code = Vault::new(path).ready(None).unwrap_err().code();
            assert_eq!(code, ReasonCode::EvidenceVaultUnavailable, "{text}");
        }
    }
}
