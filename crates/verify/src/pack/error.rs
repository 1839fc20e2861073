//! Why a pack is refused.

use portcullis_protocol::Digest;

use crate::checkpoint::CheckpointError;
use crate::merkle::MerkleError;
use crate::pack::tar::ContainerError;
use crate::receipt::ReceiptError;

/// Why a pack is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Not a container, or not in its one spelling.
    #[error("the pack's container is damaged")]
    Container(#[from] ContainerError),
    /// The first member is not the manifest.
    #[error("the file does not begin with a manifest: it is no evidence pack")]
    NoManifest,
    /// The manifest cannot be read, or is not in its one spelling.
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// A name that no member has.
    #[error("`{name}` is no member of a pack")]
    UnknownMember {
        /// The name.
        name: String,
    },
    /// A member that is there or listed twice.
    #[error("`{name}` is there twice")]
    Duplicate {
        /// The member.
        name: String,
    },
    /// A member that is not in its place.
    #[error("`{name}` is out of order")]
    OutOfOrder {
        /// The member.
        name: String,
    },
    /// A member that the manifest does not list.
    #[error("`{name}` is not in the manifest")]
    Unlisted {
        /// The member.
        name: String,
    },
    /// A member that must be there.
    #[error("`{name}` is missing")]
    Missing {
        /// The member.
        name: String,
    },
    /// A member that has another size or digest than the manifest says.
    #[error("`{name}` was altered: it is not what the manifest lists")]
    Altered {
        /// The member.
        name: String,
    },
    /// A member that should hold hashes does not.
    #[error("`{name}` is not a sequence of hashes")]
    Hashes {
        /// The member.
        name: String,
    },
    /// The checkpoint is malformed, or not signed by its log.
    #[error("the pack's checkpoint is not valid")]
    Checkpoint(#[from] CheckpointError),
    /// The key in the pack is none of those that signed the checkpoint.
    #[error("the key in the pack is not the one that signed its checkpoint")]
    Key,
    /// The manifest claims something that is not so.
    #[error("the manifest's `{what}` is not what the pack proves")]
    Claim {
        /// The member of the manifest.
        what: &'static str,
    },
    /// The leaf hashes are not those of the range.
    #[error("the pack does not prove its range: a record was left out, added, moved or altered")]
    Range(#[from] MerkleError),
    /// A receipt does not verify.
    #[error("the receipt of record {index} does not verify")]
    Receipt {
        /// Index of the record.
        index: u64,
        /// Why.
        #[source]
        source: ReceiptError,
    },
    /// A receipt under another head than the pack's.
    #[error("the receipt of record {index} is under another checkpoint than the pack")]
    OtherCheckpoint {
        /// Index of the record.
        index: u64,
    },
    /// A receipt of another record than its name says.
    #[error("the receipt in the place of record {index} is of another one")]
    OtherRecord {
        /// Index of the record.
        index: u64,
    },
    /// A selected record that is not in the range.
    #[error("record {index} is not in the pack's range")]
    OutsideRange {
        /// Index of the record.
        index: u64,
    },
    /// A record in full that the selection does not name.
    #[error("record {index} is not what the pack says that it selects")]
    NotSelected {
        /// Index of the record.
        index: u64,
    },
    /// A record of the range is not there, although all of them are selected.
    #[error("record {index} was left out, although the pack says that it has every record of its range")]
    Omitted {
        /// Index of the record.
        index: u64,
    },
    /// A range that is cut by time lacks the record next to it.
    #[error(
        "record {index}, next to the range, is missing: nothing shows that the range was cut at the right time"
    )]
    NoNeighbour {
        /// Index of the record.
        index: u64,
    },
    /// The record next to the range belongs into it by its time.
    #[error("record {index}, next to the range, belongs into it by its time")]
    CutWrong {
        /// Index of the record.
        index: u64,
    },
    /// An outcome whose PERMIT is not there, so that nothing shows that it was selected.
    #[error("the PERMIT {permit} of outcome {outcome} is missing")]
    NoPermit {
        /// Index of the outcome.
        outcome: u64,
        /// Index of the PERMIT.
        permit: u64,
    },
    /// A record outside the range that explains nothing in it.
    #[error("record {index} explains nothing in the range")]
    Unexplained {
        /// Index of the record.
        index: u64,
    },
    /// A record that is older than one before it.
    #[error("record {index} is older than the one before it")]
    TimeGoesBack {
        /// Index of the record.
        index: u64,
    },
    /// A bundle that no record in the pack names.
    #[error("no record of the pack was decided by bundle {digest}")]
    UnexplainedBundle {
        /// The bundle's digest.
        digest: Digest,
    },
    /// A bundle by which a record of the pack was decided is not there.
    #[error("bundle {digest}, by which a record of the pack was decided, is missing")]
    NoBundle {
        /// The bundle's digest.
        digest: Digest,
    },
    /// An archive of another bundle than its name says.
    #[error("the archive in the place of bundle {digest} is not of that bundle")]
    OtherBundle {
        /// The bundle's digest.
        digest: Digest,
    },
    /// The text for people is not what the evidence says.
    #[error("`evidence/index.txt` does not say what the evidence says")]
    Text,
}
