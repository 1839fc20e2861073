//! `tools/SERVER.json`: the tools of an MCP server as they were defined when the bundle was signed, whole, so that a later
//! change can be shown beside what was reviewed.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{Digest, Exact, SurfaceName, SurfaceSpec, ToolDefinition, ToolName, ToolPins};

use crate::Snapshot;
use crate::error::{BundleError, Fault};
use crate::files::{self, Files, TOOLS};
use crate::manifest::Manifest;

/// The version of the form.
const FORM: &str = "1";

/// The tools of one server, by their names, as a bundle pins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedTools(BTreeMap<String, ToolDefinition>);

/// Tools that cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The server's name cannot be the first word of a surface.
    #[error("server name `{}` is not valid: use a-z, 0-9, `_` and `-`, beginning with a letter or digit", .0.escape_debug())]
    ServerName(String),
    /// The tool's name cannot be one that a bundle names.
    #[error("`{}` cannot be a tool's name in a bundle: 1 to 128 printable characters, no `/`", .0.escape_debug())]
    ToolName(String),
    /// Two of one name.
    #[error("tool `{}` is there twice", .0.escape_debug())]
    Twice(String),
    /// None at all.
    #[error("there is no tool to pin")]
    Nothing,
    /// More than a bundle's file holds.
    #[error("the definitions are longer than the 1 MiB that a bundle's file may have")]
    TooLarge,
}

impl PinnedTools {
    /// These tools of a server, and no others.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn new(server: &str, tools: impl IntoIterator<Item = ToolDefinition>) -> Result<Self, PinError> {
        if server.contains('.') || format!("{server}.mcp.unknown").parse::<SurfaceName>().is_err() {
            return Err(PinError::ServerName(server.to_owned()));
        }
        let mut pinned = BTreeMap::new();
        for tool in tools {
            let name = tool.name().to_owned();
            if tool_name(server, &name).is_none() {
                return Err(PinError::ToolName(name));
            }
            if pinned.contains_key(&name) {
                return Err(PinError::Twice(name));
            }
            pinned.insert(name, tool);
        }
        if pinned.is_empty() { Err(PinError::Nothing) } else { Ok(Self(pinned)) }
    }

    /// The definitions by the tools' names.
    #[must_use]
    pub const fn tools(&self) -> &BTreeMap<String, ToolDefinition> {
        &self.0
    }

    /// The path of the file within a bundle.
    #[must_use]
    pub fn path(server: &str) -> String {
        format!("{TOOLS}/{server}.json")
    }

    /// The file's content. Equal tools are equal bytes.
    ///
    /// # Errors
    /// [`PinError::TooLarge`].
    pub fn to_file(&self, server: &str) -> Result<Vec<u8>, PinError> {
        let tools = self.0.values().map(ToolDefinition::to_exact).collect();
        let members = [
            ("v", Exact::Number(FORM.to_owned())),
            ("server", Exact::Str(server.to_owned())),
            ("tools", Exact::Array(tools)),
        ];
        let members = members.map(|(key, value)| (key.to_owned(), value));
        let text = format!("{}\n", Exact::Object(members.into()).to_pretty());
        if text.len() > files::MAX_FILE_BYTES { Err(PinError::TooLarge) } else { Ok(text.into_bytes()) }
    }

    fn read(server: &str, text: &[u8]) -> Result<Self, String> {
        let read = Exact::parse(text).map_err(|error| error.to_string())?;
        let Exact::Object(mut members) = read else { return Err("it is no object".to_owned()) };
        if members.remove("v") != Some(Exact::Number(FORM.to_owned())) {
            return Err(format!("`v` is not {FORM}"));
        }
        if members.remove("server").as_ref().and_then(Exact::as_str) != Some(server) {
            return Err(format!("`server` is not `{server}`, as the file is called"));
        }
        let Some(Exact::Array(tools)) = members.remove("tools") else {
            return Err("it has no array `tools`".to_owned());
        };
        if let Some(key) = members.keys().next() {
            return Err(format!("unknown key `{key}`"));
        }
        let tools = tools.into_iter().map(ToolDefinition::from_exact).collect::<Result<Vec<_>, _>>();
        Self::new(server, tools.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }
}

fn tool_name(server: &str, name: &str) -> Option<ToolName> {
    format!("{server}/{name}").parse().ok() // tidy: allow None means that no bundle can name the tool
}

/// The pinned tools of every server, by the servers' names.
pub(crate) type Pinned = BTreeMap<String, PinnedTools>;

/// Reads every file of pins.
pub(crate) fn load(files: &Files) -> Result<Pinned, BundleError> {
    let mut pinned = Pinned::new();
    for (path, text) in files {
        let name = path.strip_prefix(TOOLS).and_then(|rest| rest.strip_prefix('/'));
        let Some(server) = name.and_then(|name| name.strip_suffix(".json")) else { continue };
        let tools = PinnedTools::read(server, text)
            .map_err(|message| BundleError::corrupt(path, Fault::Pins { message }))?;
        pinned.insert(server.to_owned(), tools);
    }
    Ok(pinned)
}

/// What gates and arbiter hold calls against.
pub(crate) fn digests(required: bool, pinned: &Pinned) -> ToolPins {
    let tools = pinned.iter().flat_map(|(server, tools)| {
        tools.0.values().filter_map(move |tool| Some((tool_name(server, tool.name())?, tool.digest())))
    });
    ToolPins { required, tools: tools.collect::<BTreeMap<ToolName, Digest>>() }
}

/// The tools that surfaces list, and those that a surface is called after, each with its surface.
pub(crate) fn surfaced(manifest: &Manifest) -> impl Iterator<Item = (&SurfaceName, &SurfaceSpec, ToolName)> {
    manifest.surfaces.iter().flat_map(|(name, spec)| {
        let own = name.as_str().split_once('.').filter(|(_, tool)| !tool.contains('.') && *tool != "mcp");
        let own = own.filter(|_| spec.tools.is_empty()).and_then(|(server, tool)| tool_name(server, tool));
        spec.tools.iter().cloned().chain(own).map(move |tool| (name, spec, tool))
    })
}

/// What surfaces and pins say that does not go together.
pub(crate) fn warn(manifest: &Manifest, pinned: &Pinned, warnings: &mut Vec<String>) {
    let pins = digests(manifest.require_pins, pinned);
    for (_, _, tool) in surfaced(manifest) {
        let (server, _) = tool.parts();
        if pinned.contains_key(server) && !pins.tools.contains_key(&tool) {
            warnings.push(format!(
                "tool `{tool}` has a surface and is not in {}: it cannot be called",
                PinnedTools::path(server)
            ));
        }
    }
    if pins.required && pins.tools.is_empty() {
        let nothing =
            "`mcp.require_pins` is set and nothing is pinned: no tool of any MCP server can be called";
        warnings.push(nothing.to_owned());
    }
}

/// Servers whose tools surfaces list and that have no pins, where none are required: what their tools say of themselves can
/// change after it was reviewed.
pub(crate) fn unpinned(manifest: &Manifest, pinned: &Pinned) -> Vec<String> {
    let listed = manifest.surfaces.values().flat_map(|spec| &spec.tools).map(|tool| tool.parts().0);
    let servers: BTreeSet<_> = listed.filter(|server| !pinned.contains_key(*server)).collect();
    servers.into_iter().filter(|_| !manifest.require_pins).map(str::to_owned).collect()
}

impl Snapshot {
    /// The tools that the bundle pins, by the names of their servers. It says nothing of who signed it.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first file that is none of pins.
    pub fn pinned_tools(&self) -> Result<BTreeMap<String, PinnedTools>, BundleError> {
        load(&self.files)
    }
}

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod tests;
