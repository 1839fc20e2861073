//! Cosignatures (c2sp.org/tlog-cosignature): timestamped signatures on checkpoints, by witnesses or by the log itself
//! with a second key. Ed25519 (type 0x04) and ML-DSA-44 (type 0x06, FIPS 204), which stands where quantum computers
//! forge the former.
//!
//! A cosigner's key is of another type than a log's: what merely witnesses can never speak for a log.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use ml_dsa::{EncodedVerifyingKey, MlDsa44, Signature as PqSignature, signature::Verifier};

use crate::checkpoint::{Checkpoint, VerifiedCheckpoint};
use crate::encoding::{from_base64, to_base64};
use crate::key::{KeyName, KeyNameError, verifies_strictly};
use crate::note::{NoteError, NoteSignature, UnverifiedNote, line_of};

#[cfg(test)]
mod tests;

/// Signature type of timestamped Ed25519.
const ED25519: u8 = 0x04;
/// Signature type of timestamped ML-DSA-44.
const ML_DSA_44: u8 = 0x06;
/// Longest name of a log or cosigner that an ML-DSA-44 message can hold, in bytes.
pub const LONGEST_NAME: usize = 255;
/// The latest time that a cosignature can carry, in seconds since 1970: 2^63 − 1.
pub const LATEST_TIME: u64 = i64::MAX.unsigned_abs();

/// How a cosigner signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CosignerKind {
    /// Ed25519, type 0x04.
    Ed25519,
    /// ML-DSA-44, type 0x06.
    MlDsa44,
}

impl CosignerKind {
    const fn identifier(self) -> u8 {
        match self {
            Self::Ed25519 => ED25519,
            Self::MlDsa44 => ML_DSA_44,
        }
    }

    /// Bytes of a public key.
    #[must_use]
    pub const fn public_key_length(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::MlDsa44 => 1_312,
        }
    }

    /// Bytes of a signature, without its timestamp.
    #[must_use]
    pub const fn signature_length(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::MlDsa44 => 2_420,
        }
    }

    /// The algorithm's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
        }
    }
}

/// Why a text or a key is refused as a cosigner's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignerKeyError {
    /// Not three parts.
    #[error("a cosigner's key has the form `<name>+<key id>+<key>`")]
    Form,
    /// The first part is no key name.
    #[error("the name in the cosigner's key is not valid")]
    Name(#[from] KeyNameError),
    /// The name does not fit into the message that is signed.
    #[error("a cosigner's name has at most {LONGEST_NAME} bytes, not {found}")]
    LongName {
        /// Bytes in the name.
        found: usize,
    },
    /// The last part is not canonical base64.
    #[error("the last part of the cosigner's key is not standard base64 with padding")]
    Encoding,
    /// The last part does not begin with the type of a cosigner's key.
    #[error("the key is not a cosigner's (type 0x04 or 0x06): a log's own key (type 0x01) cannot witness")]
    UnknownType,
    /// Not as long as a key of its type.
    #[error("an {} public key has {} bytes, not {found}", kind.as_str(), kind.public_key_length())]
    Length {
        /// The type.
        kind: CosignerKind,
        /// Bytes found after the type.
        found: usize,
    },
    /// The bytes encode no point of the curve, or one that anybody can sign for.
    #[error("the Ed25519 public key is no point of the curve, or anyone can sign for it")]
    Weak,
    /// The second part is not the id of this name and key.
    #[error("the key id should be `{expected:08x}`: name, id or key has been altered")]
    KeyId {
        /// The id that name and key call for.
        expected: u32,
    },
}

#[derive(Clone)]
enum PublicKey {
    Ed25519(VerifyingKey),
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
}

/// A cosigner's public key with the name it signs under. Its text form is a vkey (c2sp.org/signed-note) of type 0x04
/// or 0x06.
#[derive(Clone)]
pub struct CosignerKey {
    name: KeyName,
    id: u32,
    kind: CosignerKind,
    bytes: Vec<u8>,
    key: PublicKey,
}

impl CosignerKey {
    /// A key from its name and bytes: 32 of Ed25519 (RFC 8032 §5.1.5), or 1,312 of ML-DSA-44 (FIPS 204 §7.2).
    ///
    /// # Errors
    /// [`CosignerKeyError`]: `Name`, `LongName`, `Length` or `Weak`.
    pub fn new(name: &str, kind: CosignerKind, public_key: &[u8]) -> Result<Self, CosignerKeyError> {
        let name = KeyName::new(name)?;
        if name.as_str().len() > LONGEST_NAME {
            return Err(CosignerKeyError::LongName { found: name.as_str().len() });
        }
        let length = CosignerKeyError::Length { kind, found: public_key.len() };
        let key = match kind {
            CosignerKind::Ed25519 => {
                let bytes = <[u8; 32]>::try_from(public_key).map_err(|_| length)?;
                let key = VerifyingKey::from_bytes(&bytes).map_err(|_| CosignerKeyError::Weak)?;
                if key.is_weak() {
                    return Err(CosignerKeyError::Weak);
                }
                PublicKey::Ed25519(key)
            }
            CosignerKind::MlDsa44 => {
                let bytes = EncodedVerifyingKey::<MlDsa44>::try_from(public_key).map_err(|_| length)?;
                PublicKey::MlDsa44(Box::new(ml_dsa::VerifyingKey::decode(&bytes)))
            }
        };
        let id = crate::key::id_of(&name, kind.identifier(), public_key);
        Ok(Self { name, id, kind, bytes: public_key.to_vec(), key })
    }

    /// The name it signs under.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Whether it is a log's own: under its name, or with its Ed25519 key.
    #[must_use]
    pub fn is_of(&self, log: &crate::key::VerifierKey) -> bool {
        self.name == *log.name() || self.bytes == log.public_key()
    }

    /// How it signs.
    #[must_use]
    pub const fn kind(&self) -> CosignerKind {
        self.kind
    }

    /// The first four bytes, big-endian, of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.id
    }

    /// The bytes of the public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that this cosigner signs for a checkpoint as of `time`, in seconds since 1970.
    ///
    /// # Errors
    /// [`CosignatureError::Time`] or [`CosignatureError::LongOrigin`], if no cosignature can say this.
    pub fn message(&self, checkpoint: &Checkpoint, time: u64) -> Result<Vec<u8>, CosignatureError> {
        if time == 0 || time > LATEST_TIME {
            return Err(CosignatureError::Time { name: self.name.clone(), time });
        }
        match self.kind {
            CosignerKind::Ed25519 => Ok(format!("cosignature/v1\ntime {time}\n{checkpoint}").into_bytes()),
            CosignerKind::MlDsa44 => self.subtree_message(checkpoint, time),
        }
    }

    /// `cosigned_message` of the specification, in the presentation language of RFC 8446 §3.
    fn subtree_message(&self, checkpoint: &Checkpoint, time: u64) -> Result<Vec<u8>, CosignatureError> {
        let too_long = CosignatureError::LongOrigin { found: checkpoint.origin.as_str().len() };
        let (name, origin) = (self.name.as_str(), checkpoint.origin.as_str());
        let (Ok(name_length), Ok(origin_length)) = (u8::try_from(name.len()), u8::try_from(origin.len()))
        else {
            return Err(too_long);
        };
        let mut message = b"subtree/v1\n\0".to_vec();
        message.push(name_length);
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&time.to_be_bytes());
        message.push(origin_length);
        message.extend_from_slice(origin.as_bytes());
        // A checkpoint is the subtree from leaf 0.
        message.extend_from_slice(&0_u64.to_be_bytes());
        message.extend_from_slice(&checkpoint.size.to_be_bytes());
        message.extend_from_slice(&checkpoint.root.0);
        Ok(message)
    }

    /// For cosigners: the line, with its newline, for a signature of [`message`](Self::message) as of `time`.
    #[must_use]
    pub fn line(&self, time: u64, signature: &[u8]) -> String {
        line_of(&self.name, self.id, &[&time.to_be_bytes(), signature].concat())
    }

    /// Checks a `timestamped_signature` on a checkpoint. Returns its time.
    fn verify(&self, checkpoint: &Checkpoint, stamped: &[u8]) -> Result<u64, CosignatureError> {
        let bad = || CosignatureError::Bad { name: self.name.clone() };
        let (time, signature) = stamped.split_first_chunk().ok_or_else(bad)?;
        let time = u64::from_be_bytes(*time);
        let message = self.message(checkpoint, time)?;
        let verifies = match &self.key {
            PublicKey::Ed25519(key) => verifies_strictly(key, &message, signature),
            PublicKey::MlDsa44(key) => PqSignature::<MlDsa44>::try_from(signature)
                .is_ok_and(|signature| key.verify(&message, &signature).is_ok()),
        };
        if verifies { Ok(time) } else { Err(bad()) }
    }
}

impl PartialEq for CosignerKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.kind, &self.bytes) == (&other.name, other.kind, &other.bytes)
    }
}

impl Eq for CosignerKey {}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({}+{:08x}, {})", self.name, self.id, self.kind.as_str())
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind.identifier()], self.bytes.as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&typed))
    }
}

impl FromStr for CosignerKey {
    type Err = CosignerKeyError;

    fn from_str(text: &str) -> Result<Self, CosignerKeyError> {
        // Base64 may contain `+`: only the first two separate.
        let (name, rest) = text.split_once('+').ok_or(CosignerKeyError::Form)?;
        let (id, key) = rest.split_once('+').ok_or(CosignerKeyError::Form)?;
        let typed = from_base64(key).map_err(|_| CosignerKeyError::Encoding)?;
        let (kind, public_key) = match typed.split_first() {
            Some((&ED25519, public_key)) => (CosignerKind::Ed25519, public_key),
            Some((&ML_DSA_44, public_key)) => (CosignerKind::MlDsa44, public_key),
            Some(_) | None => return Err(CosignerKeyError::UnknownType),
        };
        let key = Self::new(name, kind, public_key)?;
        // Comparing texts also refuses upper case and wrong lengths.
        if id != format!("{:08x}", key.id) {
            return Err(CosignerKeyError::KeyId { expected: key.id });
        }
        Ok(key)
    }
}

/// Why cosignatures do not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The note of the checkpoint is malformed.
    #[error("the cosigned checkpoint's note is not valid")]
    Note(#[from] NoteError),
    /// A cosignature under the name and id of a known key is not that key's.
    #[error("the cosignature of `{name}` is wrong: the checkpoint was altered, or another key signed it")]
    Bad {
        /// Name of the known key.
        name: KeyName,
    },
    /// A time that no statement about a newest checkpoint can have: zero, or beyond 2^63 − 1.
    #[error("the cosignature of `{name}` has the time {time}, which says nothing")]
    Time {
        /// Name of the known key.
        name: KeyName,
        /// The time.
        time: u64,
    },
    /// The log's name does not fit into the message.
    #[error("the log's name has {found} bytes: an ML-DSA-44 cosignature holds at most {LONGEST_NAME}")]
    LongOrigin {
        /// Bytes in the name.
        found: usize,
    },
    /// A cosigner that was asked for did not.
    #[error("`{name}` ({}) did not cosign the checkpoint", kind.as_str())]
    Missing {
        /// Name of its key.
        name: KeyName,
        /// How it would have signed.
        kind: CosignerKind,
    },
    /// Fewer cosigners than asked for.
    #[error("{found} of the known cosigners signed, where {needed} are needed")]
    TooFew {
        /// Cosigners that did.
        found: usize,
        /// Cosigners that must.
        needed: usize,
    },
}

/// A cosignature that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    key: CosignerKey,
    time: u64,
}

impl Cosignature {
    /// Who cosigned.
    #[must_use]
    pub const fn key(&self) -> &CosignerKey {
        &self.key
    }

    /// When, by the cosigner's clock, in seconds since 1970. Nothing here compares it with a clock.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.time
    }
}

impl VerifiedCheckpoint {
    /// The cosignatures of known keys on this checkpoint, each key's first. Lines of other keys are ignored; every
    /// line of a known key must be good.
    ///
    /// # Errors
    /// [`CosignatureError`], any variant but `TooFew`.
    pub fn cosignatures(&self, keys: &[CosignerKey]) -> Result<Vec<Cosignature>, CosignatureError> {
        let note = UnverifiedNote::parse(self.note_bytes())?;
        let mut found: Vec<Cosignature> = Vec::new();
        for (name, id, stamped) in note.signatures() {
            for key in keys.iter().filter(|key| key.name == *name && key.id == id) {
                let time = key.verify(self.checkpoint(), stamped)?;
                if !found.iter().any(|cosignature| cosignature.key == *key) {
                    found.push(Cosignature { key: key.clone(), time });
                }
            }
        }
        Ok(found)
    }

    /// Checks that each of these keys cosigned this checkpoint. Returns their cosignatures.
    ///
    /// # Errors
    /// [`CosignatureError`]: `Missing` names the first that did not; any variant but `TooFew`.
    pub fn cosigned_by(&self, keys: &[CosignerKey]) -> Result<Vec<Cosignature>, CosignatureError> {
        let found = self.cosignatures(keys)?;
        match keys.iter().find(|key| !found.iter().any(|cosignature| cosignature.key == **key)) {
            Some(key) => Err(CosignatureError::Missing { name: key.name.clone(), kind: key.kind }),
            None => Ok(found),
        }
    }
}

impl VerifiedCheckpoint {
    /// This checkpoint with the lines of cosignatures that known keys made of it, as a witness answers them. Lines of
    /// other keys are left out, as are those of keys that cosigned it before.
    ///
    /// # Errors
    /// [`CosignatureError`], any variant but `TooFew`. Nothing of the answer counts then.
    pub fn with_lines(&self, lines: &str, keys: &[CosignerKey]) -> Result<Self, CosignatureError> {
        let mut already: Vec<CosignerKey> =
            self.cosignatures(keys)?.into_iter().map(|cosignature| cosignature.key).collect();
        let mut note = self.note_bytes().to_vec();
        for (name, id, stamped) in UnverifiedNote::parse_lines(lines)?.iter().map(NoteSignature::parts) {
            for key in keys.iter().filter(|key| key.name == *name && key.id == id) {
                let time = key.verify(self.checkpoint(), stamped)?;
                if !already.contains(key) {
                    let signature = stamped.get(8..).map_or(&[][..], |signature| signature);
                    note.extend_from_slice(key.line(time, signature).as_bytes());
                    already.push(key.clone());
                }
            }
        }
        // Within the bounds of a note still, or it would be stored and never read again.
        UnverifiedNote::parse(&note)?;
        Ok(self.with_note(note))
    }
}

/// Witnesses, of which so many must have cosigned. There is none that nobody can meet, and none that needs nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    keys: Vec<CosignerKey>,
    needed: usize,
}

/// Why there is no such quorum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// None are needed.
    #[error("a quorum of 0 witnesses would witness nothing; need 1 at least")]
    Nobody,
    /// More are needed than there are.
    #[error("{needed} witnesses are needed and only {known} are named")]
    TooMany {
        /// Witnesses that must cosign.
        needed: usize,
        /// Witnesses named.
        known: usize,
    },
    /// One public key under two names would count twice.
    #[error("`{first}` and `{second}` have one public key: a witness must not count twice")]
    SharedKey {
        /// A name.
        first: KeyName,
        /// The other name.
        second: KeyName,
    },
}

impl Quorum {
    /// `needed` of these. Keys of one name are one witness, however many it signs with.
    ///
    /// # Errors
    /// [`QuorumError`].
    pub fn new(needed: usize, keys: Vec<CosignerKey>) -> Result<Self, QuorumError> {
        if needed == 0 {
            return Err(QuorumError::Nobody);
        }
        for (place, key) in keys.iter().enumerate() {
            let shares = |other: &&CosignerKey| other.bytes == key.bytes && other.name != key.name;
            if let Some(other) = keys.iter().take(place).find(shares) {
                let (first, second) = (other.name.clone(), key.name.clone());
                return Err(QuorumError::SharedKey { first, second });
            }
        }
        let known = names(keys.iter());
        if known < needed { Err(QuorumError::TooMany { needed, known }) } else { Ok(Self { keys, needed }) }
    }

    /// The witnesses' keys.
    #[must_use]
    pub fn keys(&self) -> &[CosignerKey] {
        &self.keys
    }

    /// How many witnesses must have cosigned.
    #[must_use]
    pub const fn needed(&self) -> usize {
        self.needed
    }

    /// Checks that so many witnesses cosigned a checkpoint. Returns their cosignatures.
    ///
    /// # Errors
    /// [`CosignatureError`].
    pub fn check(&self, checkpoint: &VerifiedCheckpoint) -> Result<Vec<Cosignature>, CosignatureError> {
        let cosignatures = checkpoint.cosignatures(&self.keys)?;
        let found = names(cosignatures.iter().map(Cosignature::key));
        if found < self.needed {
            return Err(CosignatureError::TooFew { found, needed: self.needed });
        }
        Ok(cosignatures)
    }
}

fn names<'a>(keys: impl Iterator<Item = &'a CosignerKey>) -> usize {
    keys.map(CosignerKey::name).collect::<BTreeSet<_>>().len()
}
