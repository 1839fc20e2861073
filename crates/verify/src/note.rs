//! Signed notes (c2sp.org/signed-note): a text, a blank line, and lines with signatures of the text.

use crate::encoding::{from_base64, to_base64};
use crate::key::{KeyName, KeyNameError, VerifierKey};

#[cfg(test)]
mod tests;

/// The largest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// The most signatures that are read. The spec asks for 16 at least.
pub const MAX_SIGNATURES: usize = 64;

/// What a signature line begins with: an em dash (U+2014) and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("a note of {found} bytes is too large: at most {MAX_NOTE_BYTES} are read")]
    TooLarge {
        /// Bytes in the note.
        found: usize,
    },
    /// Not valid UTF-8.
    #[error("byte {offset} of the note is not UTF-8")]
    NotUtf8 {
        /// Zero-based offset of the first such byte.
        offset: usize,
    },
    /// An ASCII control character other than newline.
    #[error("byte {offset} of the note is a control character (a carriage return is one too)")]
    ControlCharacter {
        /// Zero-based offset of the first such byte.
        offset: usize,
    },
    /// The text to be signed does not end in a newline.
    #[error("the text of a note must end in a newline")]
    UnterminatedText,
    /// No blank line with signature lines after it.
    #[error("the note has no signatures")]
    NoSignatures,
    /// The last line does not end in a newline.
    #[error("the note ends within a line: it was cut, or something was added to it")]
    UnterminatedLine,
    /// More than [`MAX_SIGNATURES`].
    #[error("{found} signatures are too many: at most {MAX_SIGNATURES} are read")]
    TooManySignatures {
        /// Signature lines in the note.
        found: usize,
    },
    /// Not of the form `— <name> <base64>`.
    #[error("signature line {line} is not of the form `\u{2014} <name> <base64>`")]
    SignatureForm {
        /// Number of the signature line, from 1.
        line: usize,
    },
    /// The signer's name is no key name.
    #[error("the name in signature line {line} is not valid")]
    SignerName {
        /// Number of the signature line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: KeyNameError,
    },
    /// Not canonical base64.
    #[error("the signature in line {line} is not standard base64 with padding")]
    SignatureEncoding {
        /// Number of the signature line, from 1.
        line: usize,
    },
    /// No room for a key id and a signature.
    #[error("the signature in line {line} is too short")]
    SignatureTooShort {
        /// Number of the signature line, from 1.
        line: usize,
    },
    /// A signature under the name and id of a known key is not that key's signature of this text.
    #[error("the signature of `{name}` is wrong: the note was altered, or another key signed it")]
    BadSignature {
        /// Name of the known key.
        name: KeyName,
    },
    /// No known key signed.
    #[error("none of the known keys signed the note")]
    NoKnownSignature,
}

/// Why a signer's line is no signature of the key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureLineError {
    /// Not a signature line.
    #[error("not a signature line")]
    Form(#[from] NoteError),
    /// A signature line of another key.
    #[error("the signature is of another key than the one that was asked for")]
    OtherKey,
    /// Not 64 bytes behind the key id.
    #[error("an Ed25519 signature has 64 bytes, not {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
}

/// A note nobody has vouched for yet. Its text cannot be had before [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub struct UnverifiedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A line with a signature.
#[derive(Clone, Debug)]
pub(crate) struct NoteSignature {
    name: KeyName,
    key_id: u32,
    signature: Vec<u8>,
}

impl UnverifiedNote {
    /// Reads the form of a note.
    ///
    /// # Errors
    /// [`NoteError`], any variant but `BadSignature` and `NoKnownSignature`.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { found: bytes.len() });
        }
        let note = str::from_utf8(bytes).map_err(|e| NoteError::NotUtf8 { offset: e.valid_up_to() })?;
        refuse_control_characters(note)?;
        // The text may have blank lines of its own: the last one ends it.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        if lines.is_empty() {
            return Err(NoteError::NoSignatures);
        }
        Ok(Self { text: format!("{text}\n"), signatures: Self::parse_lines(lines)? })
    }

    /// Checks the signatures. Those under a name or id that is not in `keys` are ignored; every other must be good,
    /// and one of them must be there. `keys` are trusted: they come from configuration, never with the note.
    ///
    /// # Errors
    /// [`NoteError`]: `BadSignature` or `NoKnownSignature`.
    pub fn verify(self, keys: &[VerifierKey]) -> Result<VerifiedNote, NoteError> {
        let mut signed_by: Vec<VerifierKey> = Vec::new();
        for signature in &self.signatures {
            for key in keys.iter().filter(|key| signature.is_under(key)) {
                if !key.verifies(self.text.as_bytes(), &signature.signature) {
                    return Err(NoteError::BadSignature { name: key.name().clone() });
                }
                if !signed_by.contains(key) {
                    signed_by.push(key.clone());
                }
            }
        }
        if signed_by.is_empty() {
            return Err(NoteError::NoKnownSignature);
        }
        Ok(VerifiedNote { text: self.text, signed_by })
    }

    /// Name, key id and signature of every line, of which none is verified.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (&KeyName, u32, &[u8])> {
        self.signatures.iter().map(NoteSignature::parts)
    }

    /// The note with the signature lines of these keys alone.
    pub(crate) fn only(&self, keys: &[VerifierKey]) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for line in &self.signatures {
            if keys.iter().any(|key| line.is_under(key)) {
                note.push_str(&line_of(&line.name, line.key_id, &line.signature));
            }
        }
        note.into_bytes()
    }

    /// Signature lines alone, as witnesses answer them: each ends in a newline.
    pub(crate) fn parse_lines(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
        if lines.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { found: lines.len() });
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::UnterminatedLine)?;
        let found = lines.split('\n').count();
        if found > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures { found });
        }
        (1..).zip(lines.split('\n')).map(|(number, line)| NoteSignature::parse(line, number)).collect()
    }

    /// For formats that refuse malformed text before they verify it. Whoever calls this must not let it out.
    pub(crate) fn unverified_text(&self) -> &str {
        &self.text
    }
}

impl NoteSignature {
    fn parse(line: &str, number: usize) -> Result<Self, NoteError> {
        let form = NoteError::SignatureForm { line: number };
        let Some((name, signature)) =
            line.strip_prefix(SIGNATURE_PREFIX).and_then(|line| line.split_once(' '))
        else {
            return Err(form);
        };
        let name = KeyName::new(name).map_err(|source| NoteError::SignerName { line: number, source })?;
        let bytes = from_base64(signature).map_err(|_| NoteError::SignatureEncoding { line: number })?;
        match bytes.split_first_chunk() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(Self { name, key_id: u32::from_be_bytes(*id), signature: signature.to_vec() })
            }
            _ => Err(NoteError::SignatureTooShort { line: number }),
        }
    }

    /// Name, key id and signature.
    pub(crate) fn parts(&self) -> (&KeyName, u32, &[u8]) {
        (&self.name, self.key_id, &self.signature)
    }

    fn is_under(&self, key: &VerifierKey) -> bool {
        self.name == *key.name() && self.key_id == key.key_id()
    }
}

fn refuse_control_characters(text: &str) -> Result<(), NoteError> {
    match text.bytes().position(|byte| byte < b' ' && byte != b'\n') {
        Some(offset) => Err(NoteError::ControlCharacter { offset }),
        None => Ok(()),
    }
}

/// A text that one known key signed at least. Only [`UnverifiedNote::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedNote {
    text: String,
    signed_by: Vec<VerifierKey>,
}

impl VerifiedNote {
    /// The signed text, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The known keys whose signatures are on it: one at least, each once, in the order of the note.
    #[must_use]
    pub fn signed_by(&self) -> &[VerifierKey] {
        &self.signed_by
    }
}

/// For writers: the bytes that a key signs, which are the text itself.
///
/// # Errors
/// [`NoteError`]: `UnterminatedText` or `ControlCharacter`, if no note can hold this text.
pub fn signed_text(text: &str) -> Result<&[u8], NoteError> {
    refuse_control_characters(text)?;
    if text.ends_with('\n') { Ok(text.as_bytes()) } else { Err(NoteError::UnterminatedText) }
}

/// For writers: the line, with its newline, for a signature of [`signed_text`] by `key`.
///
/// A note is the text, a newline, and one such line for each signature:
///
/// ```
/// use portcullis_verify::note::{UnverifiedNote, signature_line, signed_text};
/// use portcullis_verify::VerifierKey;
/// use ed25519_dalek::{Signer, SigningKey};
///
/// let signing_key = SigningKey::from_bytes(&[7; 32]);
/// let key = VerifierKey::ed25519("example.com/log", signing_key.verifying_key().to_bytes())?;
/// let text = "some text\n";
/// let signature = signing_key.sign(signed_text(text)?).to_bytes();
/// let note = format!("{text}\n{}", signature_line(&key, &signature));
/// assert_eq!(UnverifiedNote::parse(note.as_bytes())?.verify(&[key])?.text(), text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn signature_line(key: &VerifierKey, signature: &[u8; 64]) -> String {
    line_of(key.name(), key.key_id(), signature)
}

/// A signature line, with its newline.
pub(crate) fn line_of(name: &KeyName, key_id: u32, signature: &[u8]) -> String {
    let identified = [key_id.to_be_bytes().as_slice(), signature].concat();
    format!("{SIGNATURE_PREFIX}{name} {}\n", to_base64(&identified))
}

/// For writers: the signature in a line that a signer made with `key`, without its newline. Says nothing about
/// whether the signature is good.
///
/// # Errors
/// [`SignatureLineError`].
pub fn signature_in_line(line: &str, key: &VerifierKey) -> Result<[u8; 64], SignatureLineError> {
    refuse_control_characters(line)?;
    let found = NoteSignature::parse(line, 1)?;
    if !found.is_under(key) {
        return Err(SignatureLineError::OtherKey);
    }
    let length = SignatureLineError::Length { found: found.signature.len() };
    <[u8; 64]>::try_from(found.signature).map_err(|_| length)
}
