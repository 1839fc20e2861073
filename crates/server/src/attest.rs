//! Signing attestations of receipts, with a key that signs nothing else.

use std::path::Path;

use portcullis_ledger::{KeyFile, KeyFileError, SignError, Signer};
use portcullis_policy::{Authority, BundleError};
use portcullis_verify::dsse::{DsseError, envelope, statement, to_be_signed};
use portcullis_verify::{LogKeys, Standing, VerifierKey};

use crate::config::ArbiterConfig;

/// An attestation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The key has another purpose.
    #[error("`{0}` {1}; make a key for attestations alone with `portcullis keys generate FILE --name NAME`")]
    OtherPurpose(String, &'static str),
    /// It cannot be told which keys sign bundles.
    #[error("it cannot be told whether this key signs bundles: {0}")]
    Signers(Box<BundleError>),
    /// The signature could not be made.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// There is nothing to be attested.
    #[error(transparent)]
    Statement(#[from] DsseError),
}

/// Who attests.
#[derive(Debug)]
pub struct Attestor {
    signer: KeyFile,
    log: LogKeys,
}

impl Attestor {
    /// Attests with the key in a file. Each key of the log is refused, whether it signs, is to sign or signed before, and so are
    /// those of bundles: a key has one purpose.
    ///
    /// # Errors
    /// [`AttestError`]: `Key` or `OtherPurpose`.
    pub fn new(path: &Path, config: &ArbiterConfig) -> Result<Self, AttestError> {
        let (_, key) = KeyFile::read(path)?;
        let is_same = |other: &VerifierKey| other.public_key() == key.public_key();
        let other_purpose = |purpose| Err(AttestError::OtherPurpose(path.display().to_string(), purpose));
        if let Some(own) = config.log_keys.all().iter().find(|own| is_same(&own.key)) {
            return other_purpose(match own.standing {
                Standing::Valid => "signs the log",
                Standing::Until(_) => "signed the log before",
                Standing::Revoked => "signed the log, and is revoked",
            });
        }
        // A chain that cannot be read names no key that could be kept from a second purpose.
        let authorities =
            config.signers.authorities().map_err(|error| AttestError::Signers(Box::new(error)))?;
        if authorities.iter().flat_map(Authority::keys).any(is_same) {
            return other_purpose("signs bundles");
        }
        Ok(Self { signer: KeyFile::new(path.to_owned(), key), log: config.log_keys.clone() })
    }

    /// The key that verifies what is attested.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// The attestation of a receipt: a DSSE envelope with an in-toto statement.
    ///
    /// # Errors
    /// [`AttestError`]: `Statement` or `Sign`.
    pub fn attest(&mut self, receipt: &str) -> Result<String, AttestError> {
        let statement = statement(receipt, &self.log)?;
        let signature = self.signer.sign(&to_be_signed(&statement))?;
        Ok(envelope(&statement, self.signer.verifier(), &signature)?)
    }
}
