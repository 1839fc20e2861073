//! What an auditor runs: checks of Portcullis evidence, over bytes alone.
//!
//! The log is a C2SP transparency log, so every format here has a public specification and independent
//! implementations. This crate holds keys that verify, never keys that sign. It does no I/O, reads no clock, and
//! answers any input whatsoever with a value or an error.
//!
//! | module | what it checks | source |
//! |---|---|---|
//! | [`merkle`] | inclusion and consistency of Merkle trees | RFC 6962 §2.1, RFC 9162 §2.1 |
//! | [`note`], [`key`] | text signed by Ed25519 keys | c2sp.org/signed-note |
//! | [`trust`] | which keys of a log count for what | rotation and revocation |
//! | [`checkpoint`] | a log's size and root, signed by that log | c2sp.org/tlog-checkpoint |
//! | [`cosignature`] | that witnesses saw a checkpoint, and when | c2sp.org/tlog-cosignature |
//! | [`witness`] | what a witness is asked, and whether the log only grew | c2sp.org/tlog-witness |
//! | [`proof`] | the file format that joins index, hashes and checkpoint | c2sp.org/tlog-proof |
//! | [`receipt`] | that a record is in a signed log | a tlog-proof carrying its record |
//! | [`log`] | that a whole log is what its checkpoints say | all of the above |
//! | [`layout`] | the names and bytes of a tiled log's files | c2sp.org/tlog-tiles |
//! | [`static_log`] | that an exported log is what its checkpoint signs, file by file | c2sp.org/tlog-tiles |
//! | [`range`] | that leaf hashes are those of a whole range of a tree | RFC 6962 §2.1 |
//! | [`pack`] | that an evidence pack is whole, and its range too | docs/evidence-pack.md |
//! | [`dsse`] | the other side: receipts as in-toto statements in DSSE envelopes | in-toto v1, DSSE v1 |
//! | [`tree`], [`tiles`], [`checked`] | the other side: building trees and proofs, and reading tiles back | c2sp.org/tlog-tiles |
//!
//! What has not been verified has a type of its own (`Unverified…`) that yields no content. The matching
//! `Verified…` type has no constructor but `verify`: holding one is the proof that its checks passed.
//!
//! ```
//! use portcullis_verify::{ReceiptError, UnverifiedReceipt, VerifiedReceipt, VerifierKey};
//!
//! fn check(receipt: &[u8], log_key: VerifierKey) -> Result<VerifiedReceipt, ReceiptError> {
//!     UnverifiedReceipt::parse(receipt)?.verify(&[log_key])
//! }
//! ```

pub mod checked;
pub mod checkpoint;
pub mod cosignature;
pub mod dsse;
mod encoding;
pub mod key;
pub mod layout;
pub mod log;
pub mod merkle;
pub mod note;
pub mod pack;
pub mod proof;
pub mod range;
pub mod receipt;
pub mod static_log;
pub mod tiles;
pub mod tree;
pub mod trust;
pub mod witness;

#[cfg(test)]
mod testing;

pub use checked::{CheckedTileError, CheckedTiles};
pub use checkpoint::{Checkpoint, CheckpointError, UnverifiedCheckpoint, VerifiedCheckpoint};
pub use cosignature::{Cosignature, CosignatureError, CosignerKey, CosignerKind, Quorum};
pub use key::{KeyName, KeyNameError, VerifierKey, VerifierKeyError};
pub use layout::{LayoutError, LogPath, LogPathError};
pub use log::{LogAudit, LogError, LogSummary};
pub use merkle::{Hash, HashError, MerkleError};
pub use note::{NoteError, UnverifiedNote, VerifiedNote};
pub use pack::{PackError, PackParts, Selection, UnverifiedPack, VerifiedPack};
pub use proof::{ProofError, TlogProof};
pub use receipt::{ReceiptError, UnverifiedReceipt, VerifiedReceipt};
pub use static_log::{StaticLog, StaticLogError, VerifiedStaticLog};
pub use tiles::{EdgeTile, Tile, TileError, TileReader, TileTree, TileTreeError};
pub use tree::{NodeReader, TreeError};
pub use trust::{LogKey, LogKeyError, LogKeys, Standing};
