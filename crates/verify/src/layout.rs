//! What a tiled log consists of (c2sp.org/tlog-tiles): the names of its resources, and their bytes.
//!
//! A log is a finite set of files: `checkpoint`, `tile/<L>/<N>[.p/<W>]` with tree hashes, and
//! `tile/entries/<N>[.p/<W>]` with the records. The same names serve as paths of an HTTP API and of a directory.

use std::fmt;
use std::str::FromStr;

use crate::encoding::from_decimal;
use crate::merkle::Hash;
use crate::proof::MAX_EXTRA_BYTES;
use crate::tiles::{TILE_WIDTH, TileTree};

#[cfg(test)]
mod tests;

/// The highest tile level that a path may name.
pub const MAX_LEVEL: u8 = 63;
/// Bytes of a hash in a tile.
const HASH_BYTES: usize = 32;

/// One resource of a tiled log. Its text form is the path below the log's prefix, and has one spelling.
///
/// ```
/// use portcullis_verify::layout::LogPath;
///
/// let path: LogPath = "tile/entries/x001/x234/067.p/8".parse()?;
/// assert_eq!(path, LogPath::Entries { index: 1_234_067, width: 8 });
/// assert_eq!(path.to_string(), "tile/entries/x001/x234/067.p/8");
/// # Ok::<(), portcullis_verify::layout::LogPathError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogPath {
    /// The signed head.
    Checkpoint,
    /// Tree hashes.
    Tile {
        /// Tile level, at most [`MAX_LEVEL`]: 0 holds leaf hashes.
        level: u8,
        /// Zero-based index within the level.
        index: u64,
        /// Hashes in it, 1 to 256. A full tile has 256.
        width: u16,
    },
    /// Records.
    Entries {
        /// Zero-based index: the bundle begins with record 256 × `index`.
        index: u64,
        /// Records in it, 1 to 256. A full bundle has 256.
        width: u16,
    },
}

/// The text names no resource of a tiled log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a path of a tiled log: `checkpoint`, `tile/<level>/<index>` or `tile/entries/<index>`, in its one spelling"
)]
pub struct LogPathError;

impl LogPath {
    /// The path of a tile, or of the entry bundle, with as many hashes or records as a log of `size` records has
    /// there; `None` if it has none.
    fn widest(self, size: u64) -> Option<u16> {
        let (level, index) = match self {
            Self::Checkpoint => return None,
            Self::Tile { level, index, .. } => (level, index),
            Self::Entries { index, .. } => (0, index),
        };
        let hashes = size.checked_shr(u32::from(level) * 8)?;
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let there = hashes.checked_sub(first)?.min(u64::from(TILE_WIDTH));
        u16::try_from(there).map_or(None, |there| (there > 0).then_some(there))
    }

    /// Whether a log of `size` records has this resource: the checkpoint, or a tile of at least this width.
    #[must_use]
    pub fn is_within(self, size: u64) -> bool {
        match self {
            Self::Checkpoint => true,
            Self::Tile { width, .. } | Self::Entries { width, .. } => {
                self.widest(size).is_some_and(|widest| width <= widest)
            }
        }
    }

    /// Whether this is the form in which a log of `size` records has it now: full, or as wide as it has grown.
    #[must_use]
    pub fn is_current(self, size: u64) -> bool {
        match self {
            Self::Checkpoint => true,
            Self::Tile { width, .. } | Self::Entries { width, .. } => self.widest(size) == Some(width),
        }
    }

    /// The same resource, as wide as it is in a log of `size` records; `None` if that has no part of it.
    #[must_use]
    pub fn grown(self, size: u64) -> Option<Self> {
        match self {
            Self::Checkpoint => Some(Self::Checkpoint),
            Self::Tile { level, index, .. } => {
                self.widest(size).map(|width| Self::Tile { level, index, width })
            }
            Self::Entries { index, .. } => self.widest(size).map(|width| Self::Entries { index, width }),
        }
    }

    /// Index of the first record that the resource does not span; `None` if it is not full, or beyond 2^64.
    fn end(self) -> Option<u64> {
        let (level, index, width) = match self {
            Self::Checkpoint => return None,
            Self::Tile { level, index, width } => (level, index, width),
            Self::Entries { index, width } => (0, index, width),
        };
        if width != TILE_WIDTH {
            return None;
        }
        let span = 1_u64.checked_shl(u32::from(level).checked_add(1)?.checked_mul(8)?)?;
        index.checked_add(1)?.checked_mul(span)
    }

    /// Whether a log that is pruned below record `minimum` may lack this: a full tile or bundle that ends there or
    /// before (tlog-tiles, "Pruning").
    #[must_use]
    pub fn is_prunable(self, minimum: u64) -> bool {
        self.end().is_some_and(|end| end <= minimum)
    }
}

/// How many full tiles of each level a log of `size` records has, level 0 first.
#[must_use]
pub fn full_tiles(size: u64) -> Vec<(u8, u64)> {
    TileTree::right_edge_shape(size)
        .iter()
        .map(|edge| (edge.level, edge.index))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The growing tiles of a log of `size` records, level 0 first.
#[must_use]
pub fn partial_tiles(size: u64) -> Vec<LogPath> {
    let shape = TileTree::right_edge_shape(size);
    let growing = shape.iter().filter(|edge| edge.width > 0);
    growing.map(|edge| LogPath::Tile { level: edge.level, index: edge.index, width: edge.width }).collect()
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match self {
            Self::Checkpoint => return f.write_str("checkpoint"),
            Self::Tile { level, index, width } => {
                write!(f, "tile/{level}/")?;
                (*index, *width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                (*index, *width)
            }
        };
        let mut elements = Vec::new();
        let mut rest = index;
        loop {
            elements.push(rest % 1000);
            rest /= 1000;
            if rest == 0 {
                break;
            }
        }
        while elements.len() > 1 {
            if let Some(element) = elements.pop() {
                write!(f, "x{element:03}/")?;
            }
        }
        if let Some(last) = elements.pop() {
            write!(f, "{last:03}")?;
        }
        if width == TILE_WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
    }
}

impl FromStr for LogPath {
    type Err = LogPathError;

    fn from_str(text: &str) -> Result<Self, LogPathError> {
        if text == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let rest = text.strip_prefix("tile/").ok_or(LogPathError)?;
        let (kind, rest) = rest.split_once('/').ok_or(LogPathError)?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, partial_width(width)?),
            None => (rest, TILE_WIDTH),
        };
        let index = parse_index(number)?;
        let path = if kind == "entries" {
            Self::Entries { index, width }
        } else {
            let level = from_decimal(kind).map_err(|_| LogPathError)?;
            let level = u8::try_from(level).map_err(|_| LogPathError)?;
            if level > MAX_LEVEL {
                return Err(LogPathError);
            }
            Self::Tile { level, index, width }
        };
        // Superfluous elements, as in `x000/001`, are another spelling of the same number.
        if path.to_string() == text { Ok(path) } else { Err(LogPathError) }
    }
}

fn partial_width(text: &str) -> Result<u16, LogPathError> {
    let width = from_decimal(text).map_err(|_| LogPathError)?;
    let width = u16::try_from(width).map_err(|_| LogPathError)?;
    if (1..TILE_WIDTH).contains(&width) { Ok(width) } else { Err(LogPathError) }
}

fn parse_index(text: &str) -> Result<u64, LogPathError> {
    text.split('/').try_fold(0_u64, |index, element| {
        let digits = element.strip_prefix('x').map_or(element, |digits| digits);
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LogPathError);
        }
        let value: u64 = digits.parse().map_err(|_| LogPathError)?;
        index.checked_mul(1000).and_then(|index| index.checked_add(value)).ok_or(LogPathError)
    })
}

/// Why the bytes of a tile or of an entry bundle are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A tile is as many times 32 bytes as its path says.
    #[error("a tile of {width} hashes has {expected} bytes, not {found}")]
    TileLength {
        /// Hashes that the path calls for.
        width: u16,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// An entry is cut short, or half a length is left.
    #[error("entry {entry} of the bundle is cut short")]
    EntryCut {
        /// Zero-based number of the entry within the bundle.
        entry: usize,
    },
    /// More or fewer entries than the path says.
    #[error("the bundle has {found} entries, not {expected}")]
    EntryCount {
        /// Entries that the path calls for.
        expected: u16,
        /// Entries found.
        found: usize,
    },
    /// An entry is longer than its length can say.
    #[error("an entry of {found} bytes is too large: at most {MAX_EXTRA_BYTES} fit into a bundle")]
    EntryTooLarge {
        /// Bytes of the entry.
        found: usize,
    },
}

/// The bytes of a tile: its hashes, one after the other.
#[must_use]
pub fn join_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile of this width.
///
/// # Errors
/// [`LayoutError::TileLength`].
pub fn split_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, LayoutError> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() != usize::from(width) || !rest.is_empty() {
        let expected = usize::from(width) * HASH_BYTES;
        return Err(LayoutError::TileLength { width, expected, found: bytes.len() });
    }
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// The bytes of an entry bundle: each record behind its length, two bytes, big endian.
///
/// # Errors
/// [`LayoutError::EntryTooLarge`].
pub fn join_entries<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    for record in records {
        let length =
            u16::try_from(record.len()).map_err(|_| LayoutError::EntryTooLarge { found: record.len() })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

/// The records of an entry bundle of this width.
///
/// # Errors
/// [`LayoutError`]: `EntryCut` or `EntryCount`.
pub fn split_entries(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, LayoutError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = LayoutError::EntryCut { entry: entries.len() };
        let Some((length, after)) = rest.split_first_chunk() else { return Err(cut) };
        let Some((entry, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            return Err(cut);
        };
        entries.push(entry);
        rest = after;
    }
    if entries.len() != usize::from(width) {
        return Err(LayoutError::EntryCount { expected: width, found: entries.len() });
    }
    Ok(entries)
}
