//! Keys that verify notes (c2sp.org/signed-note, "Verifier keys"), and the names they go by.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::encoding::{from_base64, to_base64};

#[cfg(test)]
mod tests;

/// Signature type of plain Ed25519.
const ED25519: u8 = 0x01;

/// Name of a key, and of the log whose checkpoints it signs: non-empty, without Unicode spaces, `+` or ASCII
/// control characters. A URL without scheme is customary: `gate.example/log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Why a text is not a key name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyNameError {
    /// Nothing there.
    #[error("a key name must not be empty")]
    Empty,
    /// A character of Unicode's `White_Space`.
    #[error("a key name must not contain spaces")]
    Space,
    /// The separator of the parts of a verifier key.
    #[error("a key name must not contain `+`")]
    Plus,
    /// A character below U+0020.
    #[error("a key name must not contain control characters")]
    Control,
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`KeyNameError`] says what a name must not be.
    pub fn new(name: &str) -> Result<Self, KeyNameError> {
        if name.is_empty() {
            return Err(KeyNameError::Empty);
        }
        if name.contains(char::is_whitespace) {
            return Err(KeyNameError::Space);
        }
        if name.contains('+') {
            return Err(KeyNameError::Plus);
        }
        if name.contains(|c: char| c < ' ') {
            return Err(KeyNameError::Control);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        Self::new(text)
    }
}

/// Why a text or a key is refused as verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Not three parts.
    #[error("a verifier key has the form `<name>+<key id>+<key>`")]
    Form,
    /// The first part is no key name.
    #[error("the name in the verifier key is not valid")]
    Name(#[from] KeyNameError),
    /// The last part is not canonical base64.
    #[error("the last part of the verifier key is not standard base64 with padding")]
    Encoding,
    /// The last part does not begin with the type of an Ed25519 key.
    #[error("the verifier key is not an Ed25519 key (type 0x01)")]
    UnknownType,
    /// Not 32 bytes.
    #[error("an Ed25519 public key has 32 bytes, not {found}")]
    Length {
        /// Bytes found after the type.
        found: usize,
    },
    /// The bytes encode no point of the curve.
    #[error("the public key is not a point of the curve")]
    NotAPoint,
    /// A point of small order: signatures under it can be made without a private key.
    #[error("the public key is weak: anyone can sign for it")]
    Weak,
    /// The second part is not the id of this name and key.
    #[error("the key id should be `{expected:08x}`: name, id or key has been altered")]
    KeyId {
        /// The id that name and key call for.
        expected: u32,
    },
}

/// An Ed25519 public key with the name it signs under. Its text form is the spec's *vkey*.
///
/// ```
/// use portcullis_verify::VerifierKey;
///
/// let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// let key: VerifierKey = text.parse()?;
/// assert_eq!(key.name().as_str(), "example.com/foo");
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), portcullis_verify::VerifierKeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: u32,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key from its name and its 32 bytes (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`VerifierKeyError`]: `Name`, `NotAPoint` or `Weak`.
    pub fn ed25519(name: &str, public_key: [u8; 32]) -> Result<Self, VerifierKeyError> {
        let name = KeyName::new(name)?;
        let key = VerifyingKey::from_bytes(&public_key).map_err(|_| VerifierKeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(VerifierKeyError::Weak);
        }
        let id = id_of(&name, ED25519, &public_key);
        Ok(Self { name, id, key })
    }

    /// The name it signs under.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The first four bytes, big-endian, of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). Identifies a key among
    /// honest ones; it is too short to stand for the key.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.id
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether `signature` is 64 bytes and this key's signature of `message`. Strict: small-order points are
    /// refused, which RFC 8032 leaves open, so that a signature vouches for one message only.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verifies_strictly(&self.key, message, signature)
    }
}

/// Whether `signature` is 64 bytes and this key's signature of `message`, by no point of small order.
pub(crate) fn verifies_strictly(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

/// Id of a key of signature type `kind` (c2sp.org/signed-note, "Signatures").
pub(crate) fn id_of(name: &KeyName, kind: u8, public_key: &[u8]) -> u32 {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name.as_str())
        .chain_update([b'\n', kind])
        .chain_update(public_key)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed: Vec<u8> = [ED25519].into_iter().chain(self.public_key()).collect();
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&typed))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        // Base64 may contain `+`: only the first two separate.
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError::Form)?;
        let (id, key) = rest.split_once('+').ok_or(VerifierKeyError::Form)?;
        let key = from_base64(key).map_err(|_| VerifierKeyError::Encoding)?;
        let public_key = key.strip_prefix(&[ED25519]).ok_or(VerifierKeyError::UnknownType)?;
        let public_key = <[u8; 32]>::try_from(public_key)
            .map_err(|_| VerifierKeyError::Length { found: public_key.len() })?;
        let key = Self::ed25519(name, public_key)?;
        // Comparing texts also refuses upper case and wrong lengths.
        if id != format!("{:08x}", key.id) {
            return Err(VerifierKeyError::KeyId { expected: key.id });
        }
        Ok(key)
    }
}
