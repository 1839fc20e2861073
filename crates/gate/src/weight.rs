//! What a message takes of memory from when it was read until it is answered, by what it is made of.

/// How often its text is there at once: as it came, as the gate reads it, and as it is sent.
const COPIES: usize = 4;
/// What a message weighs beside its text, in bytes.
pub(crate) const BESIDE: usize = 256;
/// Bytes of an element of an array, of a member of an object beside that, and of an object: a node of a tree has room for
/// eleven members from the start.
const ELEMENT: usize = 32;
const MEMBER: usize = 64;
const OBJECT: usize = 640;

/// The bytes that a message takes of which nothing is kept but its text.
pub(crate) const fn of_text(message: &[u8]) -> usize {
    message.len().saturating_mul(COPIES).saturating_add(BESIDE)
}

/// The bytes that a message takes, at most.
pub(crate) fn weight(message: &[u8]) -> usize {
    let (mut within, mut escaped) = (false, false);
    let mut weight = of_text(message);
    for byte in message {
        let more = match (within, byte) {
            (true, _) if escaped => {
                escaped = false;
                0
            }
            (true, b'\\') => {
                escaped = true;
                0
            }
            (_, b'"') => {
                within = !within;
                0
            }
            (false, b',' | b'[') => ELEMENT,
            (false, b':') => MEMBER,
            (false, b'{') => OBJECT,
            (true | false, _) => 0,
        };
        weight = weight.saturating_add(more);
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_parts_weigh_more_than_their_text_and_what_is_in_strings_does_not() {
        let plain = |length: usize| length * COPIES + BESIDE;
        assert_eq!(weight(b"\"{{[[,,::\\\"{\""), plain(13));
        assert_eq!(weight(b"[0,0]"), plain(5) + 2 * ELEMENT);
        assert_eq!(weight(br#"{"a":[{}]}"#), plain(10) + 2 * OBJECT + MEMBER + ELEMENT);
        let zeros = format!("[{}0]", "0,".repeat(4_000_000));
        assert!(weight(zeros.as_bytes()) > 128_000_000, "half of what four million values take");
    }
}
