//! Policy: what a bundle is, when one may be used, and what it says about a request.
//!
//! A bundle is a directory of policies, schema, entities and surfaces. It decides only after it was read once
//! into memory ([`Snapshot`]), its signature was verified, its digest compared with the pin, and everything in
//! it parsed and validated: [`Snapshot::verify`] is the only way to a [`Bundle`].
//!
//! This is the only crate that names Cedar. Cedar's authorizer skips a policy that errors, a `forbid` too, and
//! answers Allow; here every such doubt is SILENCE (see [`Bundle::evaluate`]).
//!
//! Everything is a pure function of bytes but [`Snapshot::read`], [`BundleSource`] and [`FactFile`], which read files, and
//! [`Snapshot::prove`] and [`Snapshot::compare`], which ask a solver. What decides uses none of them.
//!
//! There is no other way to a bundle:
//!
//! ```compile_fail,E0451
//! # fn forge(real: portcullis_policy::Bundle, reference: portcullis_protocol::BundleRef) {
//! let forged = portcullis_policy::Bundle { reference, ..real };
//! # }
//! ```
//!
//! ```compile_fail,E0277
//! fn made_of_nothing<T: Default>() -> T { T::default() }
//! let forged: portcullis_policy::Bundle = made_of_nothing();
//! ```

mod annotations;
mod archive;
mod artifact;
mod asks;
mod authority;
mod bundle;
pub mod bundles;
mod clock;
mod compile;
mod content;
mod diagnosis;
mod diff;
mod disk;
mod draft;
mod entities;
mod error;
mod evaluate;
mod exceptions;
mod explained;
mod extent;
mod fact_file;
mod facts;
mod files;
mod governance;
mod hierarchy;
mod invariants;
mod labels;
mod letting_go;
mod limits;
mod manifest;
mod mapping;
mod meaning;
mod near;
mod nesting;
mod parallel;
mod pinned;
mod policies;
mod principals;
mod proof;
mod rehearsal;
mod root;
mod roster;
mod schema;
mod signature;
mod signers;
mod slices;
mod snapshot;
mod source;
mod sources;
mod trial;
mod units;
mod validation;
mod visible;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use archive::MAX_ARCHIVE_BYTES;
pub use artifact::{Artifact, BUNDLE_TYPE, EMPTY, InvalidManifest, MANIFEST_TYPE, MAX_MANIFEST_BYTES};
pub use authority::Authority;
pub use bundle::{Bundle, Evaluation, engine};
pub use compile::CheckReport;
pub use content::Content;
pub use diagnosis::{Diagnosis, Label, Position};
pub use diff::Difference;
pub use draft::{Draft, DraftError, Heading, LeftOut};
pub use error::{
    BundleError, Defect, Fault, Missing, PinMismatch, SignError, SignatureInvalid, TooFewSignatures,
    Unproved, Unsigned, Untested, UntrustedKey,
};
pub use exceptions::Exception;
pub use explained::Otherwise;
pub use fact_file::{FactFile, FileLook};
pub use facts::{FactError, FactSnapshot};
pub use governance::{Governance, OwnedException, SurfaceGovernance};
pub use letting_go::give_way;
pub use limits::{Charge, Counting, Limit, Measure, Most, Per, Window};
pub use meaning::{Change as Meaning, Tendency};
pub use near::{Held, Near, Part};
pub use nesting::STACK;
pub use pinned::{PinError, PinnedTools};
pub use proof::{
    AskedOf, Comparison, Counterexample, Direction, Finding, KeptProof, Kind, Oddity, Proof, ProofReport,
    Prover, Shift, Shown, SolverLimits, Statement, Weaker, symbolic_compiler,
};
pub use rehearsal::Rehearsal;
pub use root::{MAX_CHAIN_BYTES, Root, RootChain, RootError};
pub use roster::{Person, PersonKey, Roster};
pub use signature::Trust;
pub use signers::{BundleSigners, read_chain};
pub use snapshot::Snapshot;
pub use source::BundleSource;
pub use sources::{FactSource, Gathered, Given, Ungathered};
pub use trial::{CaseReport, Change, Expected, Mutant, SurfaceReport, TrialReport};

/// Name of the file that holds a bundle's signature. It is the one file that the digest does not cover.
pub const SIGNATURE_FILE: &str = "bundle.sig";
/// Name of the file that declares a bundle's name, version, validity and surfaces.
pub const MANIFEST_FILE: &str = "bundle.toml";
/// Name of the file that holds the Cedar schema.
pub const SCHEMA_FILE: &str = "schema.cedarschema";
/// Name of the file that holds the entities.
pub const ENTITIES_FILE: &str = "entities.json";
