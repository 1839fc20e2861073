//! A draft from the tools of an MCP server.

use portcullis_protocol::{Loose, Resource, SurfaceName, fold};

use super::names::{self, Surfaces};
use super::property::{self, Source};
use super::{Argument, Grant, Heading, LeftOut, Proposal, Proposed, Sample, text};
use crate::entities::SURFACE;

/// What a server may claim of a tool (the protocol's `ToolAnnotations`). It is quoted, and nothing rests on it.
const CLAIMS: [&str; 4] = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];

pub(super) fn propose(heading: &Heading, server: &str, tools: &[Loose], only: &[String]) -> Proposal {
    let (mut surfaces, mut left_out) = (Vec::new(), Vec::new());
    let named: Vec<(&str, &Loose)> = tools.iter().filter_map(|tool| Some((name(tool)?, tool))).collect();
    for _ in named.len()..tools.len() {
        left_out.push(LeftOut { what: "\"\"".to_owned(), why: "a tool without a name" });
    }
    let twins = names::lookalikes(named.iter().map(|(name, _)| *name));
    let own = named.iter().filter_map(|(name, _)| Surfaces::own(server, name));
    let mut room = Surfaces::new(server, own);
    for (name, tool) in named {
        let why = match name {
            name if !names::is_plain(name) => names::NO_NAME,
            name if twins.contains(&fold(name)) => names::LOOKALIKE,
            name if !only.is_empty() && !only.iter().any(|wanted| wanted == name) => "not asked for",
            name => match surface(heading, server, &mut room, name, tool) {
                Some(surface) => {
                    surfaces.push(surface);
                    continue;
                }
                None => "there is no name left for its surface",
            },
        };
        left_out.push(LeftOut { what: text::quoted(name), why });
    }
    surfaces.sort_by(|one, other| one.name.cmp(&other.name));
    Proposal { surfaces, left_out, origin: "the tools that an MCP server lists", resources: Vec::new() }
}

fn name(tool: &Loose) -> Option<&str> {
    tool.pointer("/name").and_then(Loose::as_str)
}

fn surface(
    heading: &Heading,
    server: &str,
    room: &mut Surfaces<'_>,
    name: &str,
    tool: &Loose,
) -> Option<Proposed> {
    let own = Surfaces::own(server, name);
    let listed = match own {
        Some(_) => None,
        // A name without a slash or a control character is always a tool's.
        None => match format!("{server}/{name}").parse() {
            Ok(tool) => Some(tool),
            Err(_) => return None,
        },
    };
    let surface = own.or_else(|| room.like(name))?;
    let (arguments, left) = property::arguments(tool.pointer("/inputSchema"), Source::Tool);
    let mut notes = vec![format!("The tool {}.", text::quoted(name))];
    notes.extend(said(tool));
    notes.extend(left.iter().map(|(key, why)| format!("Not for policy to read: {key}: {why}.")));
    Some(plain(heading, surface, notes, arguments).listing(listed))
}

/// What the server says of a tool.
fn said(tool: &Loose) -> Vec<String> {
    let described = tool.pointer("/description").and_then(Loose::as_str);
    let described = described.filter(|text| !text.trim().is_empty());
    let mut notes: Vec<String> =
        described.map(|said| format!("The server says: {}", text::quoted(said))).into_iter().collect();
    let claims = CLAIMS.iter().filter_map(|claim| match tool.pointer(&format!("/annotations/{claim}")) {
        Some(Loose::Bool(value)) => Some(format!("{claim} = {value}")),
        Some(_) | None => None,
    });
    let claims: Vec<_> = claims.collect();
    if !claims.is_empty() {
        notes.push(format!("The server claims: {}. Nothing here rests on it.", claims.join(", ")));
    }
    notes
}

/// A surface whose grant is as wide as the surface, with one case.
pub(super) fn plain(
    heading: &Heading,
    name: SurfaceName,
    notes: Vec<String>,
    arguments: Vec<Argument>,
) -> Proposed {
    let resource = Resource { kind: SURFACE.to_owned(), id: name.to_string() };
    let (id, agent, action) = (name.to_string(), heading.agent.clone(), name.to_string());
    let grant = Grant { id, agent, action: action.clone(), resource, when: None };
    let context = arguments.iter().map(|argument| (argument.key.clone(), property::sample(argument.kind)));
    let case = Sample {
        agent: heading.agent.clone(),
        action: action.clone(),
        resource: None,
        context: context.collect(),
    };
    Proposed {
        name,
        tool: None,
        actions: vec![action],
        notes,
        arguments,
        kinds: Vec::new(),
        grants: vec![grant],
        cases: vec![case],
    }
}

impl Proposed {
    fn listing(self, tool: Option<portcullis_protocol::ToolName>) -> Self {
        Self { tool, ..self }
    }
}
