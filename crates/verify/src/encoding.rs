//! The two encodings that all C2SP formats share. Both have one spelling for each value, and accept no other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text is not the one encoding of any value.
#[derive(Debug)]
pub(crate) struct NotCanonical;

/// Standard base64 with padding (RFC 4648 §4).
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// [`to_base64`] at the end of a text.
pub(crate) fn push_base64(text: &mut String, bytes: &[u8]) {
    STANDARD.encode_string(bytes, text);
}

/// Inverse of [`to_base64`]. The `STANDARD` engine refuses missing padding, white space and non-zero trailing bits.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, NotCanonical> {
    STANDARD.decode(text).map_err(|_| NotCanonical)
}

/// ASCII decimal without leading zeros. `u64::from_str` alone would also take `+1` and `01`.
pub(crate) fn from_decimal(text: &str) -> Result<u64, NotCanonical> {
    let value: u64 = text.parse().map_err(|_| NotCanonical)?;
    if value.to_string() == text { Ok(value) } else { Err(NotCanonical) }
}

#[cfg(test)]
mod tests {
    use super::{from_base64, from_decimal};

    #[test]
    fn decimals_have_one_spelling() {
        assert_eq!(from_decimal("0").unwrap(), 0);
        assert_eq!(from_decimal("18446744073709551615").unwrap(), u64::MAX);
        for text in ["", "00", "01", "+1", "-0", " 1", "1 ", "1_0", "١", "18446744073709551616"] {
            assert!(from_decimal(text).is_err(), "accepted `{text}`");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(from_base64("AAE=").unwrap(), [0, 1]);
        // In turn: trailing bits, no padding, excess padding, white space, the URL alphabet.
        for text in ["AAF=", "AAE", "AAE==", "AAE= ", "AA\nE=", "__8="] {
            assert!(from_base64(text).is_err(), "accepted `{text}`");
        }
    }
}
