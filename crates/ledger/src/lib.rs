//! Evidence and state: what was decided, and what became of it.
//!
//! One thread writes. It takes whatever waits as one batch: settles each call against the state, writes records,
//! state and tree in one transaction, commits it durably, signs the new head, verifies its own signature,
//! anchors the signed head outside the database, and only then releases receipts. Anything that fails poisons
//! the writer: nothing is retried in place, and nothing is permitted until the ledger was rebuilt into a new file
//! that agrees with its anchor.
//!
//! The head is signed after the commit, not before: a signature made before a commit that then fails is a second
//! root for one size as soon as another batch takes that size. See `docs/decisions/0001-sign-after-commit.md`.

mod abandon;
mod aggregate;
mod anchor;
mod anchored;
mod archive;
mod archive_audit;
mod audit;
mod batch;
mod beside;
mod bundle_archive;
mod check;
mod checkpoints;
mod clock;
mod command;
mod cosigner;
mod disagreement;
mod doubt;
mod durable;
mod edge;
mod elsewhere;
mod erasures;
mod error;
mod floor;
mod following;
mod generation;
mod heads;
mod health;
mod held;
mod kept;
mod keyring;
mod keys;
mod lasting;
mod late;
mod ledger;
mod lock;
mod opened;
mod orders;
mod payload_audit;
mod payloads;
mod place;
mod projection;
mod proofs;
mod published;
mod queue;
mod quota;
mod reader;
mod refuted;
mod released;
mod replay;
mod reports;
mod row;
mod scrub;
mod signer;
mod slot;
mod spooling;
mod standing;
mod store;
mod successor;
mod sums;
mod suspect;
mod sweep;
#[cfg(test)]
mod testing;
mod turns;
mod unasked;
mod vault;
mod verification;
mod view;
mod waiting;
mod writer;

pub use abandon::{AbandonError, Loss, is_given_up, mark_given_up, survey};
pub use anchor::Anchor;
pub use archive_audit::BundleDigestOf;
pub use beside::Beside;
pub use check::{Check, CheckBeside, CheckPosition, CheckProgress, Checked};
pub use checkpoints::Checkpoints;
pub use clock::{Clocks, SystemClocks};
pub use command::{
    DecideReply, Decided, Found, Given, ListReply, OrderRefused, OutcomeRefused, ReportedOutcome,
    ScrubStatus, SimulateReply, Status,
};
pub use cosigner::{Cosigner, generate_cosigner};
pub use doubt::InDoubt;
pub use durable::{replace_durably, sync_parent};
pub use elsewhere::{Elsewhere, Seen};
pub use error::LedgerError;
pub use floor::Floor;
pub use heads::{Heads, Listener};
pub use held::{Held, Proved};
pub use keyring::Keyring;
pub use lasting::make_directory;
pub use ledger::{Ledger, LedgerConfig, Overloaded};
pub use lock::{DirectoryLock, LockError};
pub use payloads::Kept;
pub use portcullis_spool::SpoolStatus;
pub use reader::{LedgerReader, Listed};
pub use refuted::Refutations;
pub use replay::{COMPARED, Contradiction, NOT_COMPARED, Prior, StateReplay};
pub use signer::{KeyFile, KeyFileError, SignError, Signer, generate};
pub use spooling::SpoolConfig;
pub use successor::Successor;
pub use sweep::SweepPosition;
pub use vault::{MasterKey, VaultError, generate_vault_key};
pub use view::{LogTip, LogView};
