//! A bundle to begin with, drafted from what somebody else says there is: a server's tools, an API's description, or
//! requests that were seen. It declares surfaces and grants nothing; what would grant stands in comments.
//!
//! All of it comes from others and is written into files that people read and sign: names that could be taken for
//! other names have no surface, texts are quoted so that they stay within their line, and nothing that a server says of
//! itself makes a surface's rules milder. A draft that would not load, or would grant anything, is no draft.

mod names;
mod openapi;
mod property;
mod text;
mod tools;
mod trace;
mod write;

use std::collections::BTreeMap;

use portcullis_protocol::{
    AgentId, ContextKind, Decision, Loose, Request, Resource, SurfaceName, ToolName, Value,
};
use serde::Serialize;

use crate::Snapshot;
use crate::error::BundleError;
use crate::files::Files;

/// The most surfaces that a draft declares.
const MAX_SURFACES: usize = 2_000;
/// The most grants that it has in comments. People read them one by one.
const MAX_GRANTS: usize = 5_000;

/// What a draft is for, whatever it is made of.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The bundle's name.
    pub name: String,
    /// From when on it may decide, as in `2026-01-31T12:00:00Z`.
    pub valid_from: String,
    /// From when on it may not decide any more.
    pub valid_until: String,
    /// The agent that the commented grants are for.
    pub agent: AgentId,
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The bundle's files by their paths, unsigned.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The surfaces that it declares, sorted.
    pub surfaces: Vec<SurfaceName>,
    /// What has no surface, and why; in the order in which it came.
    pub left_out: Vec<LeftOut>,
    /// How many grants stand in comments.
    pub grants: usize,
}

/// Something that a draft does not declare. It does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name as it came, quoted.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// Why there is no draft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The server's name cannot be the first word of a surface.
    #[error("server name `{0}` is not valid: use a-z, 0-9, `_` and `-`, beginning with a letter or digit")]
    ServerName(String),
    /// The bundle's name is none.
    #[error(
        "`{0}` cannot be a bundle's name: use 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit"
    )]
    BundleName(String),
    /// What was given is not what it should be.
    #[error("{0}")]
    Source(String),
    /// Nothing that could have a surface.
    #[error("nothing in it can have a surface: {0} left out")]
    Nothing(usize),
    /// More than a bundle is for.
    #[error("{found} surfaces, and a draft has at most {MAX_SURFACES}; name those that you need with --only")]
    TooMany {
        /// How many there would be.
        found: usize,
    },
    /// More than people read.
    #[error("{found} different requests, and a draft has at most {MAX_GRANTS} grants; draft from fewer")]
    TooManyGrants {
        /// How many there would be.
        found: usize,
    },
    /// It would be larger than a bundle may be.
    #[error("the draft is larger than a bundle may be; name what you need with --only")]
    TooLarge(#[source] BundleError),
    /// It would not load, would not do what it is for, or would grant something. It is not written.
    #[error("the draft is not sound, and is not written: {0}")]
    Unsound(String),
}

/// A surface that is proposed.
#[derive(Clone, Debug)]
struct Proposed {
    name: SurfaceName,
    /// The tool whose calls belong to it, if that is not the one of its own name.
    tool: Option<ToolName>,
    /// At least one; the one of its own name, unless others were seen.
    actions: Vec<String>,
    /// Lines for whoever reads the bundle, quoted.
    notes: Vec<String>,
    arguments: Vec<Argument>,
    /// Types of resources besides the surface itself.
    kinds: Vec<String>,
    grants: Vec<Grant>,
    cases: Vec<Sample>,
}

/// An input that policy may read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Argument {
    key: String,
    kind: ContextKind,
    /// A JSON Pointer into a tool's arguments.
    from: Option<String>,
    optional: bool,
    note: Option<&'static str>,
}

/// A grant to be uncommented.
#[derive(Clone, Debug)]
struct Grant {
    id: String,
    agent: AgentId,
    action: String,
    resource: Resource,
    /// The text of its conditions, if it has any.
    when: Option<String>,
}

/// A request that the bundle refuses.
#[derive(Clone, Debug)]
struct Sample {
    agent: AgentId,
    action: String,
    resource: Option<Resource>,
    context: BTreeMap<String, Value>,
}

/// What is proposed, all of it.
struct Proposal {
    surfaces: Vec<Proposed>,
    left_out: Vec<LeftOut>,
    /// What it was made of, in a few words.
    origin: &'static str,
    /// The resources that were seen besides the surfaces themselves.
    resources: Vec<Resource>,
}

impl Draft {
    /// A draft from the tools that an MCP server lists: what `tools/list` has in `tools`, each as it came. `server` is the
    /// name under which the gate knows it, and the first word of the surfaces. With `only`, of these tools and no others.
    ///
    /// # Errors
    /// [`DraftError`]. What a tool is or says is no error: what cannot have a surface is left out, with the reason.
    pub fn from_tools(
        heading: &Heading,
        server: &str,
        tools: &[Loose],
        only: &[String],
    ) -> Result<Self, DraftError> {
        check_server(server)?;
        Self::of(heading, tools::propose(heading, server, tools, only))
    }

    /// A draft from an OpenAPI 3.0 or 3.1 description in JSON. `server` and `only` as above, by `operationId`, or by method
    /// and path where there is none.
    ///
    /// # Errors
    /// As above, and [`DraftError::Source`] if it is no such description.
    pub fn from_openapi(
        heading: &Heading,
        server: &str,
        description: &[u8],
        only: &[String],
    ) -> Result<Self, DraftError> {
        check_server(server)?;
        let document = openapi::read(description)?;
        Self::of(heading, openapi::propose(heading, server, &document, only))
    }

    /// A draft from requests that were seen. Uncommented, its grants grant those and no others.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn from_requests(heading: &Heading, requests: &[Request]) -> Result<Self, DraftError> {
        Self::of(heading, trace::propose(requests))
    }

    fn of(heading: &Heading, proposal: Proposal) -> Result<Self, DraftError> {
        if !crate::manifest::is_bundle_name(&heading.name) {
            return Err(DraftError::BundleName(text::short(&heading.name)));
        }
        let found = proposal.surfaces.len();
        let grants = proposal.surfaces.iter().map(|surface| surface.grants.len()).sum();
        if found == 0 {
            return Err(DraftError::Nothing(proposal.left_out.len()));
        }
        if found > MAX_SURFACES {
            return Err(DraftError::TooMany { found });
        }
        if grants > MAX_GRANTS {
            return Err(DraftError::TooManyGrants { found: grants });
        }
        let files = write::files(heading, &proposal);
        check(&files)?;
        let mut surfaces: Vec<_> = proposal.surfaces.iter().map(|surface| surface.name.clone()).collect();
        surfaces.sort();
        Ok(Self { files, surfaces, left_out: proposal.left_out, grants })
    }
}

fn check_server(server: &str) -> Result<(), DraftError> {
    if server.contains('.') || format!("{server}.mcp.unknown").parse::<SurfaceName>().is_err() {
        return Err(DraftError::ServerName(text::short(server)));
    }
    Ok(())
}

/// What is promised of a draft is looked at in the draft itself, by the code that would load it.
fn check(files: &Files) -> Result<(), DraftError> {
    let unsound = |error: BundleError| DraftError::Unsound(error.to_string());
    let snapshot = Snapshot::from_files(files.clone()).map_err(DraftError::TooLarge)?;
    let report = snapshot.check().map_err(unsound)?;
    if let Some(warning) = report.warnings.first() {
        return Err(DraftError::Unsound(warning.clone()));
    }
    if let Some(id) = snapshot.rehearse().map_err(unsound)?.first_grant() {
        return Err(DraftError::Unsound(format!("policy `{id}` grants something")));
    }
    let tried = snapshot.test().map_err(unsound)?;
    match tried.cases.iter().find(|case| !case.passed || case.found.decision == Decision::Permit) {
        Some(case) => Err(DraftError::Unsound(format!("case `{}` does not pass", text::short(&case.name)))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "draft/tests.rs"]
mod tests;
