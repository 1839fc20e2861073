//! How credentials go from the gate to the process that becomes the tool server: a length in four bytes, most significant first, and
//! `NAME=VALUE` for each, ended by a NUL, on its standard input and before any message.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// Variables of one server.
pub(crate) const MOST: usize = 32;
/// Longest handover, without its length.
const LONGEST: usize = 1024 * 1024;

/// Names and values.
pub(crate) type Variables = Vec<(String, Zeroizing<String>)>;

/// More than can be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// As it is written. There is no other copy of it: it has its room from the start.
pub(crate) fn written<'a>(
    all: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<Zeroizing<Vec<u8>>, TooLong> {
    let bytes = |(name, value): (&str, &str)| name.len().saturating_add(value.len()).saturating_add(2);
    let length = all.clone().map(bytes).fold(0, usize::saturating_add);
    let head = u32::try_from(length).ok().filter(|_| length <= LONGEST).ok_or(TooLong)?.to_be_bytes();
    let mut text = Zeroizing::new(Vec::with_capacity(length.saturating_add(head.len())));
    text.extend_from_slice(&head);
    for (name, value) in all {
        for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
            text.extend_from_slice(part);
        }
    }
    Ok(text)
}

/// Reads it, and nothing behind it: that is the server's.
///
/// # Errors
/// If it ends early, or is not such a one. Then the server must not be started: it would run without what it is for.
pub(crate) fn read(mut from: impl Read) -> io::Result<Variables> {
    let invalid = || io::Error::other("what it is to be given cannot be read");
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(|_| invalid())?;
    if length > LONGEST {
        return Err(invalid());
    }
    let mut text = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| invalid())?;
    let mut variables = Vec::new();
    for entry in text.split_terminator('\0') {
        let (name, value) = entry.split_once('=').ok_or_else(invalid)?;
        variables.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_read_whole_and_what_is_behind_it_is_left_to_the_server() {
        let mut said = written([("A", "one"), ("B_2", "t=wo")].into_iter()).unwrap().to_vec();
        said.extend_from_slice(b"{\"jsonrpc\"");
        let mut from = said.as_slice();
        let variables = read(&mut from).unwrap();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(variables, [("A", "one"), ("B_2", "t=wo")]);
        assert_eq!(from, b"{\"jsonrpc\"");
    }

    #[test]
    fn what_ends_early_or_is_too_long_is_no_handover() {
        let said = written([("A", "one")].into_iter()).unwrap();
        for end in 0..said.len() {
            assert!(read(&said[..end]).is_err(), "{end}");
        }
        assert!(read([255, 255, 255, 255].as_slice()).is_err());
        assert!(read([0, 0, 0, 2, b'A', 0].as_slice()).is_err(), "a name without a value");
        let long = "x".repeat(LONGEST);
        assert_eq!(written([("A", long.as_str())].into_iter()), Err(TooLong));
    }
}
