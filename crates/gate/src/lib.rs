//! Enforcement: what stands between an agent and a tool server, and lets nothing through without a permit.
//!
//! [`serve`] is an MCP server over stdio to the agent's client, and a client to the real server behind it, a process of its
//! own or a URL. What
//! only asks what there is passes; everything else, known or not, is decided first. It is sent only as the bytes
//! that were decided, by moving the [`Permit`](portcullis_sdk::Permit) for them into the writer.
//!
//! Architecture invariant: there is one place that writes to the tool server (`peer`), and no way to it without a
//! harmless message of the closed lists (`harmless`), a spent permit, or an answer to the server's own request.

mod answer;
mod attempts;
mod case;
mod clock;
mod company;
mod config;
pub mod confine;
mod credential;
mod desk;
pub mod endpoint;
mod form;
mod gate;
mod handles;
mod handover;
mod harmless;
mod hold;
mod incoming;
mod junction;
mod line;
mod listing;
pub mod lookalike;
mod message;
mod mirrored;
mod notes;
pub mod oauth;
mod operation;
mod page;
mod peer;
mod pins;
mod questions;
mod reach;
mod remote;
mod room;
mod schemas;
mod session;
mod simulated;
mod start;
mod subscription;
pub mod supervise;
mod table;
mod upstream;
mod visible;
mod weight;

pub use config::{Ending, GateError, LocalServer, McpGate, NamedServer, ToolServer};
pub use credential::{
    Age, ArgumentSlot, ArgumentSlots, Credential, CredentialSource, Engine, EnvironmentCredentials, Here,
    InvalidAttributes, InvalidHeader, InvalidPath, InvalidSlots, InvalidVariables, Keyring, NoCredential,
    Origin, Vault, VaultPath, give_back,
};
pub use gate::serve;
pub use listing::{ListingError, ToolListing, list_remote_tools, list_tools};
pub use remote::{InvalidUrl, NotHeard, RemoteServer, ServerUrl, Trust, asks_for_token};
pub use simulated::{ExampleFault, Examples, ExamplesError};
