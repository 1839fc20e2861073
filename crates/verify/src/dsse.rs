//! Receipts as attestations that other tools read: an in-toto Statement v1 in a DSSE envelope.
//!
//! The statement says what the receipt proves, and carries the receipt. The signature on the envelope is that of whoever
//! exported it; that the record is in the log, the receipt in it proves by itself. What is signed (DSSE's *PAE*) begins
//! with `DSSEv1` and a space, and a checkpoint with a name that has none: a signature of one is never one of the other.

use portcullis_protocol::{Digest, canonical};
use serde_json::json;

use crate::encoding::to_base64;
use crate::key::VerifierKey;
use crate::receipt::{ReceiptError, UnverifiedReceipt};
use crate::trust::LogKeys;

#[cfg(test)]
mod tests;

/// What the envelope holds.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What the statement is about: docs/attestations.md.
pub const PREDICATE_TYPE: &str = "https://portcullis.local/attestations/receipt/v1";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// An attestation could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// The receipt does not verify.
    #[error("the receipt does not verify")]
    Receipt(#[from] ReceiptError),
    /// The statement has no canonical form.
    #[error("the statement cannot be written: {0}")]
    Form(String),
    /// The signature is not the key's.
    #[error("the signature is not that of `{0}`")]
    Signature(String),
}

/// The statement about a receipt, canonical JSON: its subject is the record, by name and SHA-256 of its bytes.
///
/// # Errors
/// [`DsseError`]: `Receipt` or `Form`. Nothing is stated about a receipt that does not verify.
pub fn statement(receipt: &str, keys: &LogKeys) -> Result<Vec<u8>, DsseError> {
    let verified = UnverifiedReceipt::parse(receipt.as_bytes())?.verify_with(keys)?;
    let (record, head) = (verified.record()?, verified.checkpoint());
    let digest = Digest::sha256(verified.record_bytes()).to_string();
    let digits = digest.strip_prefix("sha256:").map_or(digest.as_str(), |digits| digits);
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{ "name": format!("{}/{}", head.origin(), verified.index()), "digest": { "sha256": digits } }],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "log": head.origin().as_str(),
            "index": verified.index(),
            "size": head.size(),
            "record": record,
            "receipt": receipt,
            "proves": "the log signed a tree of `size` records in which the subject is the record at `index`",
        },
    });
    canonical::to_bytes(&statement).map_err(|error| DsseError::Form(error.to_string()))
}

/// The bytes that are signed for a statement: DSSE's pre-authentication encoding.
#[must_use]
pub fn to_be_signed(statement: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), statement.len());
    [head.as_bytes(), statement].concat()
}

/// The name of a key in an envelope: name and id of its verifier key, `<name>+<id>`.
#[must_use]
pub fn key_id(key: &VerifierKey) -> String {
    format!("{}+{:08x}", key.name(), key.key_id())
}

/// The envelope of a statement with a signature of [`to_be_signed`].
///
/// # Errors
/// [`DsseError::Signature`].
pub fn envelope(statement: &[u8], key: &VerifierKey, signature: &[u8; 64]) -> Result<String, DsseError> {
    if !key.verifies(&to_be_signed(statement), signature) {
        return Err(DsseError::Signature(key.name().to_string()));
    }
    let envelope = json!({
        "payload": to_base64(statement),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{ "keyid": key_id(key), "sig": to_base64(signature) }],
    });
    Ok(format!("{envelope}\n"))
}
