//! The proof file (c2sp.org/tlog-proof): extra data, index, inclusion proof and checkpoint in one text.
//!
//! This module reads and writes the form. Nothing in a [`TlogProof`] is verified; [`crate::receipt`] does that.

use std::iter::Peekable;
use std::str::Split;

use crate::encoding::{from_base64, from_decimal, push_base64};
use crate::merkle::Hash;
use crate::note::MAX_NOTE_BYTES;

#[cfg(test)]
mod tests;

/// The most bytes of extra data, so also of a record: what an entry bundle of c2sp.org/tlog-tiles can hold.
pub const MAX_EXTRA_BYTES: usize = 65_535;
/// The most hashes in an inclusion proof: one for each level of a tree with up to 2^64 leaves.
pub const MAX_HASHES: usize = 64;
/// The largest proof that is read, in bytes: more than its largest parts can add up to.
pub const MAX_PROOF_BYTES: usize = 4 * MAX_EXTRA_BYTES.div_ceil(3) + 45 * MAX_HASHES + MAX_NOTE_BYTES + 100;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
const EXTRA_PREFIX: &str = "extra ";
const INDEX_PREFIX: &str = "index ";

/// The parts of a proof file, of which none is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Data of the application's, at most [`MAX_EXTRA_BYTES`].
    pub extra: Option<Vec<u8>>,
    /// Zero-based index of the leaf.
    pub index: u64,
    /// Inclusion proof, from the leaf's sibling to the root's child. At most [`MAX_HASHES`].
    pub hashes: Vec<Hash>,
    /// The checkpoint's signed note.
    pub checkpoint: Vec<u8>,
}

/// Why a proof file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Larger than [`MAX_PROOF_BYTES`].
    #[error("a proof of {found} bytes is too large: at most {MAX_PROOF_BYTES} are read")]
    TooLarge {
        /// Bytes in the proof.
        found: usize,
    },
    /// A carriage return: some program changed the line ends.
    #[error("byte {offset} of the proof is a carriage return; get the file again, as binary")]
    CarriageReturn {
        /// Zero-based offset of the first one.
        offset: usize,
    },
    /// No blank line with a checkpoint after it.
    #[error("the proof has no checkpoint: it may have been cut")]
    NoCheckpoint,
    /// The part before the checkpoint is not valid UTF-8.
    #[error("byte {offset} of the proof is not UTF-8")]
    NotUtf8 {
        /// Zero-based offset of the first such byte.
        offset: usize,
    },
    /// Another first line.
    #[error("the first line is not `{HEADER}`")]
    Header,
    /// The extra data is not canonical base64.
    #[error("the extra data is not standard base64 with padding")]
    ExtraEncoding,
    /// The extra data has more than [`MAX_EXTRA_BYTES`].
    #[error("{found} bytes of extra data are too many: at most {MAX_EXTRA_BYTES} are read")]
    ExtraTooLarge {
        /// Bytes of extra data.
        found: usize,
    },
    /// The line that should state the index does not.
    #[error(
        "the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64"
    )]
    Index,
    /// A line of the inclusion proof is no hash.
    #[error("line {line} of the inclusion proof is not the base64 encoding of 32 bytes")]
    Hash {
        /// Number of the line within the inclusion proof, from 1.
        line: usize,
    },
    /// More than [`MAX_HASHES`].
    #[error("{found} hashes are too many: at most {MAX_HASHES} are read")]
    TooManyHashes {
        /// Hashes in the proof.
        found: usize,
    },
}

impl TlogProof {
    /// Reads the canonical form, and no other: [`to_bytes`](Self::to_bytes) gives the same bytes again. The
    /// checkpoint is taken as it is.
    ///
    /// # Errors
    /// [`ProofError`] names the first part that is not as it should be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLarge { found: bytes.len() });
        }
        if let Some(offset) = bytes.iter().position(|byte| *byte == b'\r') {
            return Err(ProofError::CarriageReturn { offset });
        }
        let (head, checkpoint) = split_at_blank_line(bytes).ok_or(ProofError::NoCheckpoint)?;
        let head = str::from_utf8(head).map_err(|e| ProofError::NotUtf8 { offset: e.valid_up_to() })?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Header);
        }
        Ok(Self {
            extra: parse_extra(&mut lines)?,
            index: parse_index(lines.next())?,
            hashes: parse_hashes(lines)?,
            checkpoint: checkpoint.to_vec(),
        })
    }

    /// The canonical form. It can be parsed again if the parts are within their bounds.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let record = self.extra.as_ref().map_or(0, |extra| extra.len().div_ceil(3) * 4);
        let mut head = String::with_capacity(record + 45 * self.hashes.len() + self.checkpoint.len() + 64);
        head.push_str(HEADER);
        head.push('\n');
        if let Some(extra) = &self.extra {
            head.push_str(EXTRA_PREFIX);
            push_base64(&mut head, extra);
            head.push('\n');
        }
        head.push_str(INDEX_PREFIX);
        head.push_str(&self.index.to_string());
        head.push('\n');
        for hash in &self.hashes {
            push_base64(&mut head, &hash.0);
            head.push('\n');
        }
        head.push('\n');
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.checkpoint);
        bytes
    }
}

/// The lines before the first blank one, without the newline that ends them, and all after it if there is any.
fn split_at_blank_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, rest) = bytes.split_at_checked(end)?;
    let checkpoint = rest.strip_prefix(b"\n\n")?;
    (!checkpoint.is_empty()).then_some((head, checkpoint))
}

fn parse_extra(lines: &mut Peekable<Split<'_, char>>) -> Result<Option<Vec<u8>>, ProofError> {
    let Some(text) = lines.next_if_map(|line| line.strip_prefix(EXTRA_PREFIX).ok_or(line)) else {
        return Ok(None);
    };
    let extra = from_base64(text).map_err(|_| ProofError::ExtraEncoding)?;
    if extra.len() > MAX_EXTRA_BYTES {
        return Err(ProofError::ExtraTooLarge { found: extra.len() });
    }
    Ok(Some(extra))
}

fn parse_index(line: Option<&str>) -> Result<u64, ProofError> {
    let text = line.and_then(|line| line.strip_prefix(INDEX_PREFIX)).ok_or(ProofError::Index)?;
    from_decimal(text).map_err(|_| ProofError::Index)
}

fn parse_hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, ProofError> {
    let lines: Vec<&str> = lines.collect();
    if lines.len() > MAX_HASHES {
        return Err(ProofError::TooManyHashes { found: lines.len() });
    }
    let hashes = (1..).zip(lines).map(|(line, text)| text.parse().map_err(|_| ProofError::Hash { line }));
    hashes.collect()
}
