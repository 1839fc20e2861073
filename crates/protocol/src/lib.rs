//! What Portcullis says on the wire and writes to the log: requests, decisions, records, reason codes,
//! identifiers and their canonical bytes.
//!
//! This crate has no I/O, no clock and no async. Everything in it is a value or a pure function of bytes, so
//! that a verifier, an SDK in another language and the daemon cannot disagree about what was decided.

pub mod canonical;
pub mod definition;
pub mod digest;
pub mod facts;
pub mod ids;
pub mod json;
pub mod labels;
pub mod late;
pub mod limits;
pub mod listing;
pub mod obligations;
pub mod order;
pub mod payload;
pub mod pins;
pub mod precondition;
pub mod proving;
pub mod reason;
pub mod record;
pub mod reference;
pub mod request;
pub mod roots;
pub mod schema;
pub mod sources;
pub mod spelling;
pub mod succession;
pub mod surface;
pub mod tools;
pub mod verdict;
pub mod wire;

pub use definition::{DefinitionError, Exact, ToolDefinition};
pub use digest::{Digest, Domain};
pub use facts::RecordedFacts;
pub use ids::{
    ActionName, AgentId, AttemptId, AuditorId, BundleDigest, GateId, IdempotencyKey, InvalidId, LabelName,
    LimitName, Millis, Nonce, OperatorId, OrderReason, PersonId, PolicyId, PrincipalId, RoleName, Salt,
    ServerName, SourceName, SpoolId, SurfaceName, ToolName,
};
pub use json::{JsonError, Limits, Loose, Unread, Value};
pub use labels::Labels;
pub use late::{Attempted, Keeper, LateRecord, Spooled};
pub use limits::{LimitUse, MOST_COUNTED};
pub use listing::{LONGEST_LISTED, ListingRecord, MOST_LISTED, check_listed};
pub use obligations::{ApprovalNeed, Obligations};
pub use order::{Order, Ordered, Resolution};
pub use payload::{KeptRequest, KeptResult, Payload};
pub use pins::{ArgumentsSeen, CalledTool, ToolPins, ToolSeen};
pub use proving::{ProofDemand, ProofRef, Vetted, may_follow};
pub use reason::{Precondition, ReasonCode};
pub use record::{
    AggregateRecord, BundleRef, DecisionRecord, Event, EventRecord, Outcome, OutcomeRecord, Record,
};
pub use request::{Request, Resource};
pub use roots::{Lineage, RootRef};
pub use schema::{Fit, OutputSchema, ToolSchema, Unusable};
pub use sources::{Coverable, Excepted, SnapshotUse, Snapshots};
pub use spelling::{fold, skeleton};
pub use succession::{InForce, LostProofs, MOST_CHAINS, RolledBack, Succession};
pub use surface::{ContextKind, ContextRule, Idempotency, Keep, OnSilence, SurfaceSpec, SurfaceTable, Tier};
pub use tools::UNKNOWN;
pub use verdict::{Captured, Decision, Enforcement, Verdict};
