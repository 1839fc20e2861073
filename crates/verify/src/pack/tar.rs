//! The container of an evidence pack: an uncompressed tar file (POSIX ustar) of regular files, which every tar program
//! opens.
//!
//! A tar header can say the same thing in many ways, and tar programs disagree about what malformed ones mean. Here
//! each name and size has one header: what is read is encoded again and compared, so that a pack has one spelling and
//! nothing can be hidden from one program and shown to another.

/// Bytes of a block: headers are one, contents are filled up to one.
const BLOCK: usize = 512;
/// Longest name.
pub(super) const LONGEST_NAME: usize = 100;

/// Why bytes are not the one spelling of a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The file ends before its end mark.
    #[error("the file is cut short, in or after member {member}")]
    Cut {
        /// Number of the member, from 0.
        member: usize,
    },
    /// A header that is not the one that its name and size have.
    #[error("the header of member {member} is not in its one form")]
    Header {
        /// Number of the member, from 0.
        member: usize,
    },
    /// What fills a member's last block is not zero.
    #[error("member {member} has bytes behind its end")]
    Filling {
        /// Number of the member, from 0.
        member: usize,
    },
    /// More than the end mark after the last member.
    #[error("the file goes on behind its end")]
    Trailing,
    /// A name that no header holds, or a content too large for one.
    #[error("`{name}` does not fit into the container")]
    TooLarge {
        /// The member's name.
        name: String,
    },
}

/// A member: its name and its bytes.
pub(super) type Member<'a> = (&'a str, &'a [u8]);

/// The bytes of a container.
pub(super) fn join(members: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ContainerError> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let too_large = || ContainerError::TooLarge { name: name.clone() };
        let size = u64::try_from(content.len()).map_err(|_| too_large())?;
        bytes.extend_from_slice(&header(name, size).ok_or_else(too_large)?);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Ok(bytes)
}

/// The members of a container, in order.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Member<'_>>, ContainerError> {
    let mut members = Vec::new();
    let mut rest = bytes;
    loop {
        let member = members.len();
        let cut = ContainerError::Cut { member };
        let Some((block, after)) = rest.split_first_chunk::<BLOCK>() else { return Err(cut) };
        if *block == [0; BLOCK] {
            let Some((mark, after)) = after.split_first_chunk::<BLOCK>() else { return Err(cut) };
            let ended = *mark == [0; BLOCK] && after.is_empty();
            return if ended { Ok(members) } else { Err(ContainerError::Trailing) };
        }
        let (name, size) = read_header(block).ok_or(ContainerError::Header { member })?;
        let Some((content, after)) = after.split_at_checked(size) else { return Err(cut) };
        let filling = size.next_multiple_of(BLOCK) - size;
        let Some((filling, after)) = after.split_at_checked(filling) else { return Err(cut) };
        if filling.iter().any(|byte| *byte != 0) {
            return Err(ContainerError::Filling { member });
        }
        members.push((name, content));
        rest = after;
    }
}

/// Name and size of a header, if it is the one that they have.
fn read_header(block: &[u8; BLOCK]) -> Option<(&str, usize)> {
    let name = block.get(..LONGEST_NAME)?;
    let end = name.iter().position(|byte| *byte == 0).map_or(LONGEST_NAME, |end| end);
    let name = match str::from_utf8(name.get(..end)?) {
        Ok(name) => name,
        Err(_) => return None,
    };
    let size = block.get(124..135)?.iter().try_fold(0_u64, |size, digit| match digit {
        b'0'..=b'7' => Some(size * 8 + u64::from(digit - b'0')),
        _ => None,
    })?;
    if header(name, size)? != *block {
        return None;
    }
    usize::try_from(size).ok().map(|size| (name, size)) // tidy: allow None is a header that is refused
}

/// The header of a regular file of this name and size, readable by all, of nobody, of no time.
fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    let size = format!("{size:011o}\0");
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') || size.len() > 12 {
        return None;
    }
    let fields: [(usize, &[u8]); 10] = [
        (0, name.as_bytes()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size.as_bytes()),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\x000000000\0"),
    ];
    let mut block = [0; BLOCK];
    for (at, field) in fields {
        block.get_mut(at..)?.get_mut(..field.len())?.copy_from_slice(field);
    }
    // The checksum is taken with spaces in its own place.
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block.get_mut(148..156)?.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ContainerError, join, split};

    fn members() -> Vec<(String, Vec<u8>)> {
        let long = "x".repeat(100);
        [("a", &b""[..]), ("b/c", &[7; 512][..]), (&long, b"one")]
            .map(|(name, content)| (name.to_owned(), content.to_vec()))
            .to_vec()
    }

    #[test]
    fn what_is_joined_is_split_into_the_same_and_nothing_else_is_split() {
        let bytes = join(&members()).unwrap();
        assert_eq!(bytes.len(), 512 + 1024 + 1024 + 1024);
        let parts = split(&bytes).unwrap();
        let parts: Vec<_> =
            parts.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
        assert_eq!(parts, members());
        for end in 0..bytes.len() {
            assert!(matches!(split(&bytes[..end]), Err(ContainerError::Cut { .. })), "cut at {end}");
        }
        for more in [&b"\0"[..], b"x", &[0; 512], &bytes] {
            assert_eq!(split(&[&bytes, more].concat()), Err(ContainerError::Trailing));
        }
        // Every byte of headers and filling has one value.
        for at in (0..1024).chain(1536..2048).chain(2051..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let same = split(&changed).is_ok_and(|parts| parts == split(&bytes).unwrap());
            assert!(!same, "byte {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for name in ["", "a\0b", &"x".repeat(101)] {
            assert!(join(&[(name.to_owned(), Vec::new())]).is_err(), "{name:?}");
        }
        assert_eq!(super::header("a", 1 << 33), None);
        assert!(super::header("a", (1 << 33) - 1).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), block in 0..5_usize) {
            drop(split(&bytes));
            let mut good = join(&members()).unwrap();
            let at = (block * 512).min(good.len() - 1);
            let end = (at + bytes.len()).min(good.len());
            good[at..end].copy_from_slice(&bytes[..end - at]);
            drop(split(&good));
        }
    }
}
