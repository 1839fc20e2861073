//! Entries as lines: the SHA-256 of an entry's JSON, a space, the JSON, and a line feed, which JSON never holds.

use portcullis_protocol::{Attempted, Digest, SpoolId, Spooled};

/// Longest entry's line, in bytes: its late record must fit into a record.
const LONGEST: usize = 32 * 1024;
/// Bytes of `sha256:` with 64 digits.
const DIGEST: usize = 71;

/// The line of an entry; `None` if it is longer than a spool keeps.
pub(crate) fn encode(entry: &Spooled) -> Option<Vec<u8>> {
    let Ok(json) = serde_json::to_vec(entry) else { return None };
    let mut line = Digest::sha256(&json).to_string().into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    (line.len() <= LONGEST).then_some(line)
}

/// Whether an attempt is short enough to be kept, and for a record.
#[must_use]
pub fn is_short(attempted: &Attempted) -> bool {
    let spool = SpoolId::from_bytes([0; 32]);
    encode(&Spooled { spool, number: u64::MAX, attempted: attempted.clone() }).is_some()
}

/// The entry of a line, without its line feed.
fn decode(line: &[u8]) -> Option<Spooled> {
    let (digest, rest) = line.split_at_checked(DIGEST)?;
    let json = rest.strip_prefix(b" ")?;
    if digest != Digest::sha256(json).to_string().as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// What a spool's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Its entries, in order.
    pub(crate) entries: Vec<Spooled>,
    /// Bytes of whole lines that are no entries: they were entries, and are damaged.
    pub(crate) unreadable: u64,
    /// Bytes behind the last whole line: what was being written when the writer died. Nobody was told that it is kept.
    pub(crate) torn: u64,
}

/// Reads a spool's bytes. Never fails: what is no entry is counted.
pub(crate) fn parse(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let length = u64::try_from(line.len()).map_or(u64::MAX, |length| length);
        match line.strip_suffix(b"\n") {
            Some(whole) => match decode(whole) {
                Some(entry) => content.entries.push(entry),
                None => content.unreadable = content.unreadable.saturating_add(length),
            },
            None => match last(line) {
                Some(entry) => content.entries.push(entry),
                None => content.torn = length,
            },
        }
    }
    content
}

/// The entry of a last line that lacks its line feed alone, or has another byte in its place.
fn last(line: &[u8]) -> Option<Spooled> {
    decode(line).or_else(|| line.split_last().and_then(|(_, line)| decode(line)))
}

#[cfg(test)]
pub(crate) mod tests {
    use portcullis_protocol::{Attempted, Digest, Millis, ReasonCode, Resource, SpoolId};
    use proptest::prelude::*;

    use super::*;

    /// An attempt of this agent.
    pub(crate) fn attempted(agent: &str) -> Attempted {
        Attempted {
            at: Millis(1_700_000_000_000),
            reason: ReasonCode::EvidenceUnwritable,
            agent: agent.parse().unwrap(),
            acts_for: None,
            gate: "gate".parse().unwrap(),
            attempt: portcullis_protocol::AttemptId::from_bytes([3; 32]),
            surface: "demo.charge".parse().unwrap(),
            action: "demo.charge".parse().unwrap(),
            resource: Resource { kind: "Surface".into(), id: "a\nb\u{2028}".into() },
            request: Digest::sha256(b"x"),
        }
    }

    fn entry(number: u64) -> Spooled {
        Spooled { spool: SpoolId::from_bytes([1; 32]), number, attempted: attempted("bot") }
    }

    fn bytes(count: u64) -> Vec<u8> {
        (0..count).flat_map(|number| encode(&entry(number)).unwrap()).collect()
    }

    #[test]
    fn a_spool_is_read_back_as_it_was_written_and_a_torn_tail_is_told_from_damage() {
        let whole = bytes(3);
        let all: Vec<_> = (0..3).map(entry).collect();
        assert_eq!(parse(&whole), Content { entries: all.clone(), unreadable: 0, torn: 0 });
        let line = encode(&entry(3)).unwrap();
        for cut in 0..line.len() - 1 {
            let torn = [whole.as_slice(), &line[..cut]].concat();
            assert_eq!(
                parse(&torn),
                Content { entries: all.clone(), unreadable: 0, torn: u64::try_from(cut).unwrap() }
            );
        }
        // The entry is all there: only its line feed is not.
        let unended = [whole.as_slice(), &line[..line.len() - 1]].concat();
        assert_eq!(parse(&unended).entries.len(), 4);
        let zeros = [whole.as_slice(), &[0; 4096]].concat();
        assert_eq!(parse(&zeros), Content { entries: all, unreadable: 0, torn: 4096 });
    }

    #[test]
    fn what_no_record_could_hold_is_not_kept() {
        let mut long = entry(0);
        long.attempted.resource.id = "x".repeat(LONGEST);
        assert_eq!(encode(&long), None);
    }

    proptest! {
        #[test]
        fn a_changed_byte_costs_at_most_two_entries_and_is_never_silent(at in 0_usize..3_000, flip in 1_u8..=255) {
            let whole = bytes(5);
            let mut changed = whole.clone();
            let at = at % changed.len();
            changed[at] ^= flip;
            let content = parse(&changed);
            // The last line feed alone can be told from what it was.
            if at != changed.len() - 1 {
                prop_assert!(content.entries.len() < 5 && content.unreadable + content.torn > 0);
            }
            prop_assert!(content.entries.len() >= 3);
            prop_assert!(content.entries.iter().all(|found| *found == entry(found.number)));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(parse(&bytes).entries.len(), 0);
        }
    }

    #[test]
    fn what_is_too_long_for_a_record_is_no_entry() {
        let long = |bytes: usize| Attempted {
            resource: Resource { kind: "Surface".into(), id: "a".repeat(bytes) },
            ..attempted("bot")
        };
        let bytes =
            encode(&Spooled { spool: SpoolId::from_bytes([0; 32]), number: u64::MAX, attempted: long(0) });
        let room = LONGEST - bytes.unwrap().len();
        assert!(is_short(&long(room)) && !is_short(&long(room + 1)));
    }
}
