//! A draft's files. Every text of others in them went through [`super::text`].

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{ContextKind, Resource, Value};

use super::{Argument, Grant, Heading, Proposal, Proposed, Sample, text};
use crate::entities::{AGENT, SURFACE};
use crate::files::Files;
use crate::{ENTITIES_FILE, MANIFEST_FILE, SCHEMA_FILE};

/// The group of agents to which nothing is granted.
const SUSPENDED: &str = "suspended";

pub(super) fn files(heading: &Heading, proposal: &Proposal) -> Files {
    let agents = agents(proposal);
    [
        (MANIFEST_FILE, manifest(heading, proposal)),
        (SCHEMA_FILE, schema(proposal)),
        (ENTITIES_FILE, entities(&agents, proposal)),
        ("policies/suspended.cedar", suspended()),
        ("policies/grants.cedar", grants(proposal)),
        ("tests/refused.toml", cases(proposal)),
        ("README.md", readme(heading, proposal)),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.into_bytes()))
    .collect()
}

/// Everybody who is named.
fn agents(proposal: &Proposal) -> BTreeSet<String> {
    let cases = proposal.surfaces.iter().flat_map(|surface| &surface.cases);
    cases.map(|case| case.agent.to_string()).collect()
}

/// An agent that is in the group, so that a case can show what that means. Nobody else is called so.
fn example(agents: &BTreeSet<String>) -> String {
    let mut name = "suspended-example".to_owned();
    while agents.contains(&name) {
        name.push_str("-2");
    }
    name
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push_str(&format!("{line}\n"));
}

fn manifest(heading: &Heading, proposal: &Proposal) -> String {
    let Heading { name, valid_from, valid_until, .. } = heading;
    let mut text = format!(
        r#"# Drafted from {origin}. It grants nothing; README.md says how to go on.
name = "{name}"
# Each version that is to come into force is higher than the last.
version = 1

# Before the first and from the second instant on, this bundle permits nothing.
valid_from = "{valid_from}"
valid_until = "{valid_until}"

# What is not declared here does not run. Of each surface, look at:
#
#   tier         `high` for all of them, because nobody but you can say which change nothing: read, standard, high, critical
#   idempotency  `derived`: equal calls within a minute run once. For what only reads, `none` lets each call run
#   context      what policy may read. A call without one that is not optional, or with one of another type, is refused
"#,
        origin = proposal.origin,
    );
    for proposed in &proposal.surfaces {
        surface(&mut text, proposed);
    }
    text
}

fn surface(text: &mut String, proposed: &Proposed) {
    text.push('\n');
    for note in &proposed.notes {
        line(text, format_args!("# {note}"));
    }
    line(text, format_args!("[surfaces.{}]", text::toml(proposed.name.as_str())));
    if let Some(tool) = &proposed.tool {
        line(text, format_args!("tools = [{}]", text::toml(tool.as_str())));
    }
    if has_others(proposed) {
        let actions: Vec<_> = proposed.actions.iter().map(|action| text::toml(action)).collect();
        line(text, format_args!("actions = [{}]", actions.join(", ")));
    }
    text.push_str(
        "tier = \"high\"\non_silence = \"terminate\"\nidempotency = \"derived\"\npermit_ttl = \"5s\"\n",
    );
    for argument in &proposed.arguments {
        let note = argument.note.map_or_else(String::new, |note| format!(" # {note}"));
        line(text, format_args!("context.{} = {{ {} }}{note}", text::toml(&argument.key), rule(argument)));
    }
}

/// Whether it has other actions than the one of its own name.
fn has_others(proposed: &Proposed) -> bool {
    proposed.actions.iter().any(|action| action != proposed.name.as_str())
}

fn rule(argument: &Argument) -> String {
    let (kind, scale) = match argument.kind {
        ContextKind::String => ("string", None),
        ContextKind::Integer => ("integer", None),
        ContextKind::Boolean => ("boolean", None),
        ContextKind::Decimal { scale } => ("decimal", Some(scale)),
        ContextKind::Path => ("path", None),
        ContextKind::Url => ("url", None),
        ContextKind::Strings => ("strings", None),
    };
    let mut rule = format!("type = \"{kind}\"");
    if let Some(scale) = scale {
        rule.push_str(&format!(", scale = {scale}"));
    }
    if let Some(from) = &argument.from {
        rule.push_str(&format!(", from = {}", text::toml(from)));
    }
    if argument.optional {
        rule.push_str(", optional = true");
    }
    rule
}

fn schema(proposal: &Proposal) -> String {
    let mut text = "// What policies of this bundle can speak about. The context of each action must equal the context that its surface\n\
        // declares in bundle.toml, or the bundle does not load.\n\n\
        entity Group;\nentity Agent in [Group];\nentity Surface;\n".to_owned();
    let kinds: BTreeSet<&str> =
        proposal.surfaces.iter().flat_map(|surface| &surface.kinds).map(String::as_str).collect();
    for kind in kinds {
        line(&mut text, format_args!("entity {kind};"));
    }
    for surface in &proposal.surfaces {
        text.push_str(&action(surface));
    }
    text
}

fn action(surface: &Proposed) -> String {
    let keys = surface.arguments.iter().map(|argument| {
        let (mark, kind) = (if argument.optional { "?" } else { "" }, cedar_type(argument.kind));
        format!("  {}{mark}: {kind},\n", text::cedar(&argument.key))
    });
    let keys: String = keys.collect();
    let context = if keys.is_empty() { "{}".to_owned() } else { format!("{{\n{keys}}}") };
    let names: Vec<_> = surface.actions.iter().map(|action| text::cedar(action)).collect();
    let names = names.join(", ");
    let kinds: BTreeSet<&str> = surface.kinds.iter().map(String::as_str).chain([SURFACE]).collect();
    let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
    let resource = if kinds == SURFACE { kinds } else { format!("[{kinds}]") };
    format!("\naction {names} appliesTo {{ principal: Agent, resource: {resource}, context: {context} }};\n")
}

const fn cedar_type(kind: ContextKind) -> &'static str {
    match kind {
        ContextKind::String | ContextKind::Path | ContextKind::Url => "String",
        ContextKind::Integer => "Long",
        ContextKind::Boolean => "Bool",
        ContextKind::Decimal { .. } => "decimal",
        ContextKind::Strings => "Set<String>",
    }
}

fn entities(agents: &BTreeSet<String>, proposal: &Proposal) -> String {
    let entity = |kind: &str, id: &str, parents: serde_json::Value| {
        let uid = serde_json::json!({ "type": kind, "id": id });
        format!("  {{ \"uid\": {uid}, \"attrs\": {{}}, \"parents\": {parents} }}")
    };
    let none = || serde_json::json!([]);
    let suspended = serde_json::json!([{ "type": "Group", "id": SUSPENDED }]);
    let mut lines: Vec<String> = agents.iter().map(|agent| entity(AGENT, agent, none())).collect();
    lines.push(entity(AGENT, &example(agents), suspended));
    lines.push(entity("Group", SUSPENDED, none()));
    lines.extend(proposal.resources.iter().map(|Resource { kind, id }| entity(kind, id, none())));
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn suspended() -> String {
    "// Whoever is in this group in entities.json gets nothing, whatever grants say.\n\
     @id(\"suspended\")\nforbid (principal in Group::\"suspended\", action, resource);\n"
        .to_owned()
}

fn grants(proposal: &Proposal) -> String {
    let mut text = "// What no policy grants is denied, and here nothing is granted. To grant, remove the two slashes at the beginning of the\n\
        // lines of a grant, narrow it with a condition on what the surface's context has, as in\n\
        //\n\
        // when { context.path like \"/srv/shared/*\" };\n\
        //\n\
        // and write in tests/ what is then to be permitted, and what is not.\n".to_owned();
    for surface in &proposal.surfaces {
        let context: Vec<_> = surface.arguments.iter().map(said).collect();
        let context = if context.is_empty() { "nothing".to_owned() } else { context.join(", ") };
        line(&mut text, format_args!("\n// `{}`. Its context has {context}.", surface.name));
        for grant in &surface.grants {
            text.push_str(&commented(grant));
        }
    }
    text
}

fn said(argument: &Argument) -> String {
    format!("`{}`{}", argument.key, if argument.optional { " (optional)" } else { "" })
}

fn commented(Grant { id, agent, action, resource, when }: &Grant) -> String {
    let (agent, action) = (text::cedar(agent.as_str()), text::cedar(action));
    let resource = format!("{}::{}", resource.kind, text::cedar(&resource.id));
    let scope = format!("principal == Agent::{agent}, action == Action::{action}, resource == {resource}");
    let (end, when) = match when {
        None => (";", String::new()),
        Some(when) => ("", format!("//when {{ {when} }};\n")),
    };
    format!("//@id({})\n//permit ({scope}){end}\n{when}", text::cedar(id))
}

fn cases(proposal: &Proposal) -> String {
    let mut text = "# What this bundle refuses: everything. Whoever uncomments a grant says here what it is to permit.\n".to_owned();
    for surface in &proposal.surfaces {
        for (number, sample) in (1_usize..).zip(&surface.cases) {
            let name = match surface.cases.len() {
                1 => format!("{} is not granted", surface.name),
                _ => format!("{} is not granted, request {number}", surface.name),
            };
            case(&mut text, surface, &name, sample, "policy.no_grant");
        }
    }
    let first = proposal.surfaces.iter().find_map(|surface| Some((surface, surface.cases.first()?)));
    let agent = example(&agents(proposal)).parse();
    if let (Some((surface, sample)), Ok(agent)) = (first, agent) {
        let sample = Sample { agent, ..sample.clone() };
        case(&mut text, surface, "who is suspended gets nothing", &sample, "policy.forbidden");
    }
    text
}

fn case(text: &mut String, surface: &Proposed, name: &str, sample: &Sample, reason: &str) {
    let resource = sample.resource.as_ref().map_or_else(String::new, |Resource { kind, id }| {
        format!("resource = {{ type = {}, id = {} }}\n", text::toml(kind), text::toml(id))
    });
    let action = match has_others(surface) {
        true => format!("action = {}\n", text::toml(&sample.action)),
        false => String::new(),
    };
    let (name, agent, surface) =
        (text::toml(name), text::toml(sample.agent.as_str()), text::toml(surface.name.as_str()));
    let context = inline(&sample.context);
    text.push_str(&format!(
        "\n[[case]]\nname = {name}\nagent = {agent}\nsurface = {surface}\n{action}{resource}context = {context}\n\
         expect = \"deny\"\nreason = \"{reason}\"\n"
    ));
}

fn inline(members: &BTreeMap<String, Value>) -> String {
    let members: Vec<_> =
        members.iter().map(|(key, value)| format!("{} = {}", text::toml(key), toml_value(value))).collect();
    if members.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", members.join(", ")) }
}

/// TOML has no null; nothing that a context may hold is one.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Str(value) => text::toml(value),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => inline(members),
    }
}

fn readme(heading: &Heading, proposal: &Proposal) -> String {
    let (name, count, origin) = (&heading.name, proposal.surfaces.len(), proposal.origin);
    let mut text = format!(
        r"# Bundle `{name}`, drafted

Drafted from {origin}: {count} surfaces, no grant. Whatever is asked is denied until somebody uncomments a grant in
`policies/grants.cedar`, and the bundle is signed and in force.

1. Remove from `bundle.toml` and `schema.cedarschema` what no agent needs. What has no surface does not run.
2. Look at each surface that stays: tier, idempotency, and the types of its context. Types that were guessed say so.
3. Uncomment and narrow grants. Say in `tests/` what they are to permit and what not.
4. `portcullis bundle check DIR`, `portcullis bundle test --strict DIR`, then sign and pin.

Nothing that the source says of itself is relied on: not descriptions, not hints that something only reads.
"
    );
    if !proposal.left_out.is_empty() {
        text.push_str("\n## Left out\n\nThese have no surface, so that they do not run:\n\n");
    }
    for left in proposal.left_out.iter().take(200) {
        line(&mut text, format_args!("- {}: {}", left.what.replace('`', "'"), left.why));
    }
    if let Some(more @ 1..) = proposal.left_out.len().checked_sub(200) {
        line(&mut text, format_args!("- and {more} more"));
    }
    text
}
