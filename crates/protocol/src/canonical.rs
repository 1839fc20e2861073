//! Canonical JSON, RFC 8785.

use serde::Serialize;

/// The canonical bytes of a value could not be made. Nothing is hashed or decided on such a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no canonical form: {0}")]
pub struct NotCanonical(String);

/// RFC 8785 bytes of a value.
///
/// # Errors
/// If the value has no JSON form, such as a map whose keys are not strings. Every number must be an integer
/// within ±(2^53 − 1), which [`crate::Value`] guarantees and the types of this crate keep.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, NotCanonical> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| NotCanonical(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, Value};

    fn canonical(text: &str) -> String {
        String::from_utf8(to_bytes(&Value::parse(text.as_bytes(), Limits::REQUEST).unwrap()).unwrap())
            .unwrap()
    }

    #[test]
    fn keys_sort_by_utf_16_code_units() {
        // RFC 8785 section 3.2.3: U+1F600 is a surrogate pair (D83D…) and sorts before U+FB33.
        assert_eq!(
            canonical("{\"\u{fb33}\":1,\"\u{1f600}\":2,\"\\r\":3,\"1\":4}"),
            "{\"\\r\":3,\"1\":4,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn strings_use_the_shortest_escapes() {
        assert_eq!(
            canonical(r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#),
            "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""
        );
    }

    #[test]
    fn canonical_bytes_are_a_fixed_point() {
        let text = canonical(r#" {"b" : [1, -5, "x"], "a": {"z": null, "y": true}} "#);
        assert_eq!(text, r#"{"a":{"y":true,"z":null},"b":[1,-5,"x"]}"#);
        assert_eq!(canonical(&text), text);
    }
}
