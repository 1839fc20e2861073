//! A slot of the anchor as it lies in the file. What is fuzzed takes this file too, and nothing else of the ledger.

use portcullis_protocol::Digest;

/// Bytes of a slot. A checkpoint of one signature has some 250.
pub(crate) const SLOT: usize = 4096;
/// Bytes in front of the note: a SHA-256 of the rest, a sequence number, and the note's length.
const HEADER: usize = 32 + 8 + 4;

/// [`SLOT`] as a file offset.
pub(crate) const fn slot_length() -> u64 {
    4096
}

/// A slot with this note, written in its turn; `None` if the note is longer than there is room for.
pub(crate) fn encode(turn: u64, note: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(note.len()).ok()?; // tidy: allow None is an error of the caller
    let mut body = Vec::with_capacity(SLOT);
    body.extend_from_slice(&turn.to_be_bytes());
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(note);
    let mut slot = Digest::sha256(&body).as_bytes().to_vec();
    slot.extend_from_slice(&body);
    (slot.len() <= SLOT).then(|| {
        slot.resize(SLOT, 0);
        slot
    })
}

/// The turn and the note of a slot, or `None` if it was never written or is torn.
pub(crate) fn decode(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (digest, body) = slot.split_at_checked(32)?;
    let turn = u64::from_be_bytes(body.get(..8)?.try_into().ok()?); // tidy: allow eight bytes always fit
    let length = u32::from_be_bytes(body.get(8..12)?.try_into().ok()?); // tidy: allow four bytes always fit
    let end = usize::try_from(length).ok()?.checked_add(HEADER - 32)?; // tidy: allow a length beyond memory is torn
    let body = body.get(..end)?;
    let whole = Digest::sha256(body).as_bytes() == digest;
    let note = body.get(HEADER - 32..)?;
    whole.then(|| (turn, note.to_vec()))
}
