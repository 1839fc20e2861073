//! What is signed of a bundle, and whom to believe.

use portcullis_protocol::{BundleDigest, RolledBack, Succession};
use portcullis_verify::{NoteError, UnverifiedNote, VerifierKey};

use crate::authority::{Agreed, Authority, Disagreed};
use crate::error::{BundleError, PinMismatch, SignatureInvalid, TooFewSignatures, Unsigned, UntrustedKey};

const HEADER: &str = "portcullis bundle v1";

/// Whose signatures count, and which bundle is wanted. Comes from configuration and log, never with a bundle.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Who may sign bundles.
    pub authority: Authority,
    /// The digest of the only bundle that may decide.
    pub pin: BundleDigest,
    /// What was in force before, by the log: nothing older ever is again, and nothing else of the same version.
    pub seen: Succession,
}

impl Trust {
    /// Trust in any one of these keys, and in no bundle but this. Nothing was in force before.
    #[must_use]
    pub fn of_keys(keys: Vec<VerifierKey>, pin: BundleDigest) -> Self {
        Self { authority: Authority::any_of(keys), pin, seen: Succession::default() }
    }
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

    /// The statement in a signature file and who signed it, if enough trusted keys did, it is about these files, they
    /// are no older than what was in force, and they are the pinned ones. Nothing else of a bundle was looked into
    /// by then.
    pub(crate) fn verify(
        signature: Option<&[u8]>,
        found: BundleDigest,
        trust: &Trust,
    ) -> Result<(Self, Vec<VerifierKey>), BundleError> {
        let (statement, signers) = Self::vouched(signature, found, &trust.authority)?;
        match trust.seen.admit(statement.version, found, trust.authority.roots()) {
            // One that is not even the pinned one is told by that.
            Err(RolledBack::Content { .. }) if found != trust.pin => {}
            admitted => admitted.map_err(BundleError::RolledBack)?,
        }
        if found != trust.pin {
            return Err(BundleError::PinMismatch(PinMismatch { pin: trust.pin, found }));
        }
        Ok((statement, signers))
    }

    /// The statement in a signature file and who signed it, if enough trusted keys did and it is about these files.
    pub(crate) fn vouched(
        signature: Option<&[u8]>,
        found: BundleDigest,
        authority: &Authority,
    ) -> Result<(Self, Vec<VerifierKey>), BundleError> {
        let (statement, signers) = Self::open(signature, authority)?;
        if statement.digest != found {
            return Err(BundleError::SignatureInvalid(SignatureInvalid::Digest {
                signed: statement.digest,
                found,
            }));
        }
        Ok((statement, signers))
    }

    fn open(
        signature: Option<&[u8]>,
        authority: &Authority,
    ) -> Result<(Self, Vec<VerifierKey>), BundleError> {
        let bytes = signature.ok_or(BundleError::Unsigned(Unsigned::Stripped))?;
        if bytes.trim_ascii().is_empty() {
            return Err(BundleError::Unsigned(Unsigned::Empty));
        }
        let note = UnverifiedNote::parse(bytes).map_err(|error| refused(error, authority))?;
        let Agreed { text, signers } = authority.agree(note).map_err(|disagreed| match disagreed {
            Disagreed::Note(error) => refused(error, authority),
            Disagreed::TooFew { needed, signers } => {
                let signers = signers.iter().map(|key| key.name().to_string()).collect();
                BundleError::TooFewSignatures(TooFewSignatures { needed, signers })
            }
        })?;
        let statement = Self::parse(&text);
        let statement = statement.ok_or(BundleError::SignatureInvalid(SignatureInvalid::NoStatement))?;
        Ok((statement, signers))
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

fn refused(error: NoteError, authority: &Authority) -> BundleError {
    match error {
        NoteError::NoSignatures => BundleError::Unsigned(Unsigned::TextOnly),
        NoteError::NoKnownSignature => {
            let trusted = authority.keys().iter().map(|key| key.name().to_string()).collect();
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
