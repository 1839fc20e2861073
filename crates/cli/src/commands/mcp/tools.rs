//! The tools that a server has, beside those that a bundle pins.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use portcullis_gate::lookalike::{Oddity, oddities, twins, visible};
use portcullis_gate::{ListingError, RemoteServer, ToolListing, list_remote_tools, list_tools};
use portcullis_policy::{PinnedTools, Snapshot};
use portcullis_protocol::ToolDefinition;
use portcullis_server::config::Governing;

use crate::args::McpArgs;
use crate::commands::policy::{PATIENCE, server_of};
use crate::commands::{confinement, in_force_or, runtime, supervisor, until_signal};
use crate::say;

/// What a server was asked for.
pub(super) struct Asked {
    /// Its name.
    pub(super) server: String,
    /// Its tools, by their names, and those of one name as they came.
    pub(super) tools: Vec<ToolDefinition>,
    twins: BTreeSet<String>,
}

impl Asked {
    /// Whether a tool could be taken for another one.
    pub(super) fn has_twin(&self, tool: &ToolDefinition) -> bool {
        self.twins.contains(tool.name())
    }

    /// Whether a tool is one that no gate calls, whatever is pinned.
    pub(super) fn is_ambiguous(&self, tool: &ToolDefinition) -> bool {
        self.has_twin(tool) || !oddities(tool).is_empty()
    }
}

/// Starts a server, asks it, and ends it.
pub(super) fn ask(args: &McpArgs, command: &[OsString]) -> Result<Asked, ExitCode> {
    let (server, mut environment, governing) = server_of(args.server.as_ref(), &args.config.config)?;
    environment.extend(args.pass_env.iter().cloned());
    let listed = listed(command.to_vec(), environment, governing, args.client.as_deref())?;
    let read = |text: &String| {
        ToolDefinition::parse(text.as_bytes())
            .map_err(|error| say::misuse(&format!("a tool that the server lists is not understood: {error}")))
    };
    let mut tools = listed.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    tools.sort_by(|one, other| one.name().cmp(other.name()));
    let twins = twins(tools.iter().map(ToolDefinition::name)).into_iter().map(str::to_owned).collect();
    Ok(Asked { server, tools, twins })
}

/// The texts of the tools that a server lists.
pub(in crate::commands) fn listed(
    command: Vec<OsString>,
    pass_environment: Vec<String>,
    governing: Governing,
    client: Option<&Path>,
) -> Result<Vec<String>, ExitCode> {
    let listing = ToolListing {
        command,
        supervisor: supervisor().map_err(|error| say::error(&error))?,
        // A server that nobody has looked at yet is kept from what will govern it.
        confinement: confinement(governing, client).map_err(|error| say::error(&error))?,
        pass_environment,
        deadline: PATIENCE,
    };
    answered(list_tools(&listing, |line| say::note(&line)))
}

/// The texts of the tools that a server lists which is reached by URL.
pub(in crate::commands) fn listed_by(server: RemoteServer) -> Result<Vec<String>, ExitCode> {
    answered(list_remote_tools(server, PATIENCE, |line| say::note(&line)))
}

fn answered(
    listing: impl Future<Output = Result<Vec<String>, ListingError>>,
) -> Result<Vec<String>, ExitCode> {
    let runtime = runtime().map_err(|error| say::error(&error))?;
    match runtime.block_on(until_signal(listing)) {
        Some(Ok(tools)) => Ok(tools),
        Some(Err(error)) => Err(say::error(&error)),
        None => Err(say::misuse("stopped; nothing was written")),
    }
}

/// The pins of a server in a bundle: the one given, else the one in force. `None` if there are none, or no bundle is named
/// anywhere.
pub(super) fn pins(
    args: &McpArgs,
    bundle: Option<&Path>,
    server: &str,
) -> Result<Option<PinnedTools>, ExitCode> {
    if bundle.is_none() && !args.config.config.exists() {
        return Ok(None);
    }
    let place = in_force_or(bundle, &args.config.config)?;
    let pinned = Snapshot::read(&place).and_then(|snapshot| snapshot.pinned_tools());
    let mut pinned = pinned.map_err(|error| {
        let code = say::error(&error);
        say::note(error.remedy());
        code
    })?;
    Ok(pinned.remove(server))
}

/// How a tool stands against the pins of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pinned,
    Changed,
    Unpinned,
    Ambiguous,
    /// The server has no pins.
    NoPins,
    /// The server does not list it any more.
    Gone,
}

impl State {
    pub(super) fn of(asked: &Asked, tool: &ToolDefinition, pins: Option<&PinnedTools>) -> Self {
        if asked.is_ambiguous(tool) {
            return Self::Ambiguous;
        }
        let Some(pins) = pins else { return Self::NoPins };
        match pins.tools().get(tool.name()) {
            None => Self::Unpinned,
            Some(pin) if pin.digest() == tool.digest() => Self::Pinned,
            Some(_) => Self::Changed,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Changed => "changed",
            Self::Unpinned => "unpinned",
            Self::Ambiguous => "ambiguous",
            Self::NoPins => "no pins",
            Self::Gone => "gone",
        }
    }
}

/// What is odd about a tool, in words.
pub(super) fn odd(asked: &Asked, tool: &ToolDefinition) -> Vec<String> {
    let twin =
        asked.has_twin(tool).then(|| "another tool has this name, or one that looks the same".to_owned());
    let said = |Oddity { place, what }: Oddity| format!("{}: {what}", visible(&place));
    twin.into_iter().chain(oddities(tool).into_iter().map(said)).collect()
}
