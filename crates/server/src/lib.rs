//! The daemon: configuration, identity of callers, the arbiter as a service, its HTTP API, and the one process
//! that hosts it for a data directory.

mod abandon;
mod agents;
mod api;
mod aside;
mod attest;
mod auditors;
mod before;
mod bundle_history;
mod bundles;
mod check;
pub mod config;
mod cosigning;
mod evidence;
mod export;
mod facts;
mod host;
mod identity;
mod in_force;
mod kept_facts;
mod kept_payloads;
mod late;
mod listen;
mod local;
mod log_api;
mod making;
mod metrics;
mod offer;
mod operator;
mod operator_client;
mod operators;
mod proving;
mod records;
mod refused;
mod remote;
mod replay;
mod rotation;
mod seats;
mod serve;
mod service;
mod setup;
mod shelf;
mod signing;
mod simulate;
mod sources;
mod stages;
mod surroundings;
mod whoami;
mod witness;
mod witnesses;

pub use abandon::{AbandonLogError, Abandoned, Abandonment, Outlook, abandon, look};
pub use agents::Agents;
pub use api::{Caller, ROUTES, Route};
pub use aside::give_way;
pub use attest::{AttestError, Attestor};
pub use before::{Before, Earlier, Labelled, Taken, before};
pub use bundle_history::{CameIntoForce, bundle_history};
pub use bundles::{Deciding, bundle_source, deciding_source};
pub use check::{CheckAsked, CheckError, LogChecked, POSITION, check_log};
pub use config::{Config, ConfigError};
pub use cosigning::{CosignError, cosign, newest_cosigned};
pub use evidence::{EvidenceError, PackWith, Packed, bundle_digest, evidence_pack};
pub use export::{ExportError, Exported, UNFINISHED, export_log, open_cosigned_log, open_log};
pub use host::{HostError, Node};
pub use identity::{Algorithm, KeyAges, Place, TokenRefused, TokenRules, TokenType};
pub use in_force::{InForceError, archived_bundle, place_in_force};
pub use kept_payloads::{KeptContent, KeptPayload, PayloadError, kept_payload};
pub use local::LocalAuthorizer;
pub use making::{new_file, replace_file, sign_bundle, sign_root, write_bundle, write_draft, write_pins};
pub use metrics::Metrics;
pub use offer::Offer;
pub use operator::{OperatorError, is_shut, open, shut};
pub use operator_client::{OrderError, activate, give_order};
pub use operators::Operators;
pub use portcullis_ledger::{
    COMPARED, Checked, InDoubt, LedgerError, LedgerReader, LogView, Loss, NOT_COMPARED,
};
pub use proving::{is_kept, proof_file};
pub use records::{RecordsError, Row, newest, open_ledger, rows};
pub use remote::{
    CosigningHealth, FactsHealth, Health, Interlock, IssuerHealth, Scrubbed, SourceHealth, Spool,
    WitnessHealth, ask_health, ask_metrics,
};
pub use replay::{
    Finding, Lists, NotReplayable, ReplaySummary, ReplayWith, Replayed, Simulations, replay, vault_key,
};
pub use rotation::{Rotated, RotationError, begin_rotation, finish_rotation, revoke_key};
pub use serve::{ServeError, serve};
pub use service::{Arbiter, StartError};
pub use setup::{
    Deployment, Initialized, SetupError, add_agent, add_auditor, add_operator, demo, deploy, init,
    new_cosigner, new_key, pin_bundle, pin_fetched, verifier_of,
};
pub use simulate::{
    Assumed, Group, NotSimulated, Said, Simulation, Traced, facts_on_record, read_trace, request_on_record,
    simulate_ledger, simulate_trace,
};
pub use sources::{Access, Fetched, InvalidLocation, Location, Remote, Source, SourceError};
pub use witness::{Witness, WitnessError, serve_witness};
