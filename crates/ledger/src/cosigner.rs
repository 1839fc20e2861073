//! Keys that cosign checkpoints: a witness's, and the log's own second key.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use ml_dsa::signature::Keypair as _;
use ml_dsa::{MlDsa44, SignatureEncoding as _};
use portcullis_verify::{CosignerKey, CosignerKind, VerifiedCheckpoint};
use zeroize::Zeroizing;

use crate::signer::{KeyFileError, SignError, read_private};

/// Signature types of c2sp.org/tlog-cosignature.
const KINDS: [(u8, CosignerKind); 2] = [(4, CosignerKind::Ed25519), (6, CosignerKind::MlDsa44)];

enum Secret {
    Ed25519(Box<SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

/// A cosigner's private key, from a file of one line: `PRIVATE+KEY+<name>+<key id>+<base64(type || seed)>`, where the
/// type is 0x04 or 0x06 and the seed has 32 bytes (of ML-DSA-44, ξ of FIPS 204 §5.1).
pub struct Cosigner {
    key: CosignerKey,
    secret: Secret,
}

impl std::fmt::Debug for Cosigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cosigner").field("key", &self.key).field("secret", &"***").finish()
    }
}

impl Cosigner {
    /// Reads a key file, which only its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = read_private(path)?;
        parse(text.trim_end()).ok_or_else(|| KeyFileError::Malformed { path: path.into() })
    }

    /// What verifies it.
    #[must_use]
    pub const fn key(&self) -> &CosignerKey {
        &self.key
    }

    /// The signature line for a checkpoint as of `time`, in seconds since 1970; checked once more by the code that an
    /// auditor runs.
    ///
    /// # Errors
    /// [`SignError::Failed`] if no cosignature can say this, or if what was made does not verify.
    pub fn line(&self, checkpoint: &VerifiedCheckpoint, time: u64) -> Result<String, SignError> {
        let message = self.key.message(checkpoint.checkpoint(), time).map_err(|_| SignError::Failed)?;
        let signature = match &self.secret {
            Secret::Ed25519(key) => key.sign(&message).to_bytes().to_vec(),
            Secret::MlDsa44(key) => ml_dsa::signature::Signer::try_sign(key.as_ref(), &message)
                .map_err(|_| SignError::Failed)?
                .to_bytes()
                .to_vec(),
        };
        let line = self.key.line(time, &signature);
        let cosigned = checkpoint.with_lines(&line, std::slice::from_ref(&self.key));
        cosigned.map(|_| line).map_err(|_| SignError::Failed)
    }
}

/// Makes a cosigner's key. Returns the key file's text, and the key that verifies.
///
/// # Errors
/// If the name is not a key name or the system gives no random bytes.
pub fn generate_cosigner(name: &str, kind: CosignerKind) -> Result<(Zeroizing<String>, CosignerKey), String> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| error.to_string())?;
    let (_, key) = secret(name, kind, &seed).map_err(|error| error.to_string())?;
    let identifier = KINDS.iter().find(|(_, known)| *known == kind).map(|(identifier, _)| *identifier);
    let mut typed = Zeroizing::new(Vec::from_iter(identifier));
    typed.extend_from_slice(seed.as_ref());
    let encoded = Zeroizing::new(STANDARD.encode(&*typed));
    let text = format!("PRIVATE+KEY+{name}+{:08x}+{}\n", key.key_id(), encoded.as_str());
    Ok((Zeroizing::new(text), key))
}

fn secret(
    name: &str,
    kind: CosignerKind,
    seed: &[u8; 32],
) -> Result<(Secret, CosignerKey), portcullis_verify::cosignature::CosignerKeyError> {
    match kind {
        CosignerKind::Ed25519 => {
            let secret = SigningKey::from_bytes(seed);
            let key = CosignerKey::new(name, kind, secret.verifying_key().as_bytes())?;
            Ok((Secret::Ed25519(Box::new(secret)), key))
        }
        CosignerKind::MlDsa44 => {
            let secret = ml_dsa::SigningKey::from_seed(&(*seed).into());
            let key = CosignerKey::new(name, kind, &secret.verifying_key().encode())?;
            Ok((Secret::MlDsa44(Box::new(secret)), key))
        }
    }
}

fn parse(text: &str) -> Option<Cosigner> {
    let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
    let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let typed = Zeroizing::new(STANDARD.decode(encoded).ok()?); // tidy: allow None is KeyFileError::Malformed
    let (identifier, seed) = typed.split_first()?;
    let kind = KINDS.iter().find(|(known, _)| known == identifier).map(|(_, kind)| *kind)?;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.try_into().ok()?); // tidy: allow None is KeyFileError::Malformed
    let (secret, key) = secret(name, kind, &seed).ok()?; // tidy: allow None is KeyFileError::Malformed
    (id == format!("{:08x}", key.key_id())).then_some(Cosigner { key, secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_of_each_kind_is_read_back_and_another_kind_or_an_exposed_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        for (identifier, kind) in KINDS {
            let (text, key) = generate_cosigner("witness.test/w1", kind).unwrap();
            let path = directory.path().join(identifier.to_string());
            std::fs::write(&path, text.as_bytes()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(*Cosigner::read(&path).unwrap().key(), key);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Cosigner::read(&path), Err(KeyFileError::Exposed { .. })));
            assert!(parse(text.replacen("w1", "w2", 1).trim_end()).is_none());
        }
        // The log's own key is no cosigner's.
        let (text, _) = crate::signer::generate("witness.test/w1").unwrap();
        assert!(parse(text.trim_end()).is_none());
    }
}
