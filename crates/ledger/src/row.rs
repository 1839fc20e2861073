//! Marks on rows of which no record says what they hold.
//!
//! What records say is compared with them, and what is sealed opens or does not. The few columns that are neither, such as
//! the operation of a key, carry a mark of their own: a disk that changed one is noticed by whoever reads the row. A mark is
//! no signature: whoever can write the database can write marks.

use portcullis_protocol::{Digest, Domain};

/// Bytes of a mark.
pub(crate) const MARK: usize = 8;

/// The mark of a row of this table that holds these values.
pub(crate) fn mark(table: &str, values: &[&[u8]]) -> [u8; MARK] {
    let parts: Vec<&[u8]> = std::iter::once(table.as_bytes()).chain(values.iter().copied()).collect();
    let mut mark = [0; MARK];
    for (mark, byte) in mark.iter_mut().zip(Digest::of(Domain::Row, &parts).as_bytes()) {
        *mark = *byte;
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_table_and_of_each_value_in_its_place() {
        let own = mark("keys", &[b"a", b"bc"]);
        assert_eq!(own, mark("keys", &[b"a", b"bc"]));
        for other in
            [mark("uses", &[b"a", b"bc"]), mark("keys", &[b"ab", b"c"]), mark("keys", &[b"bc", b"a"])]
        {
            assert_ne!(own, other);
        }
    }
}
