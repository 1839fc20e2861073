//! Canonical JSON, RFC 8785, of what this product hashes: objects, arrays, strings, integers, booleans and null.
//!
//! A record is written for every decision, so its bytes are made in one go: a type's fields are put out as they come
//! and put into order where they were not.

use serde::Serialize;

mod write;

/// The canonical bytes of a value could not be made. Nothing is hashed or decided on such a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no canonical form: {0}")]
pub struct NotCanonical(String);

impl serde::ser::Error for NotCanonical {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// RFC 8785 bytes of a value.
///
/// # Errors
/// If the value has no canonical form here: a number that is not an integer within ±(2^53 − 1), a map whose keys are
/// not distinct strings, bytes.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(1_024);
    value.serialize(write::Writer::new(&mut out))?;
    Ok(out)
}

#[cfg(test)]
mod tests;
