//! What is signed of a bundle, and whom to believe.

use portcullis_protocol::BundleDigest;
use portcullis_verify::{NoteError, UnverifiedNote, VerifierKey};

use crate::error::{BundleError, PinMismatch, SignatureInvalid, Unsigned, UntrustedKey};

const HEADER: &str = "portcullis bundle v1";

/// Whose signatures count, and which bundle is wanted. Comes from configuration, never with a bundle.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Keys that may sign bundles. With none, no bundle is believed.
    pub keys: Vec<VerifierKey>,
    /// The digest of the only bundle that may decide.
    pub pin: BundleDigest,
}

/// What a signature says: that these files are this version of the bundle of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) digest: BundleDigest,
}

impl Statement {
    pub(crate) fn to_text(&self) -> String {
        format!("{HEADER}\n{}\n{}\n{}\n", self.name, self.version, self.digest)
    }

    /// Reads exactly what [`Self::to_text`] writes.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (_header, name, version, digest) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let (Ok(version), Ok(digest)) = (version.parse(), digest.parse()) else { return None };
        let statement = Self { name: name.to_owned(), version, digest };
        // Only one text is a statement's, header, number and all.
        (statement.to_text() == text).then_some(statement)
    }

    /// The statement in a signature file, if a trusted key signed it, it is about these files, and they are the
    /// pinned ones. Nothing else of a bundle was looked into by then.
    pub(crate) fn verify(
        signature: Option<&[u8]>,
        found: BundleDigest,
        trust: &Trust,
    ) -> Result<Self, BundleError> {
        let statement = Self::open(signature, trust)?;
        if statement.digest != found {
            return Err(BundleError::SignatureInvalid(SignatureInvalid::Digest {
                signed: statement.digest,
                found,
            }));
        }
        if found != trust.pin {
            return Err(BundleError::PinMismatch(PinMismatch { pin: trust.pin, found }));
        }
        Ok(statement)
    }

    fn open(signature: Option<&[u8]>, trust: &Trust) -> Result<Self, BundleError> {
        let unsigned = |state| BundleError::Unsigned(Unsigned { state });
        let bytes = signature.ok_or_else(|| unsigned("is not there"))?;
        if bytes.trim_ascii().is_empty() {
            return Err(unsigned("is empty"));
        }
        let note = UnverifiedNote::parse(bytes).map_err(|error| refused(error, trust))?;
        let note = note.verify(&trust.keys).map_err(|error| refused(error, trust))?;
        Self::parse(note.text()).ok_or(BundleError::SignatureInvalid(SignatureInvalid::NoStatement))
    }

    /// `bundle.toml` must say of itself what was signed of it.
    pub(crate) fn agree(&self, name: &str, version: u64) -> Result<(), BundleError> {
        if self.name == name && self.version == version {
            return Ok(());
        }
        let signed = format!("{} {}", self.name, self.version);
        let found = format!("{name} {version}");
        Err(BundleError::SignatureInvalid(SignatureInvalid::Naming { signed, found }))
    }
}

fn refused(error: NoteError, trust: &Trust) -> BundleError {
    match error {
        NoteError::NoSignatures => BundleError::Unsigned(Unsigned { state: "has no signature in it" }),
        NoteError::NoKnownSignature => {
            let trusted = trust.keys.iter().map(|key| key.name().to_string()).collect();
            BundleError::UntrustedKey(UntrustedKey { trusted })
        }
        NoteError::TooLarge { .. }
        | NoteError::NotUtf8 { .. }
        | NoteError::ControlCharacter { .. }
        | NoteError::UnterminatedText
        | NoteError::UnterminatedLine
        | NoteError::TooManySignatures { .. }
        | NoteError::SignatureForm { .. }
        | NoteError::SignerName { .. }
        | NoteError::SignatureEncoding { .. }
        | NoteError::SignatureTooShort { .. }
        | NoteError::BadSignature { .. } => BundleError::SignatureInvalid(SignatureInvalid::Note(error)),
    }
}
