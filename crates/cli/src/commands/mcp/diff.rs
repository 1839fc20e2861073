//! `portcullis mcp diff`

use std::collections::BTreeSet;
use std::process::ExitCode;

use portcullis_gate::lookalike::visible;
use portcullis_policy::PinnedTools;
use portcullis_protocol::{Exact, ToolDefinition};
use serde_json::{Value, json};
use similar::TextDiff;

use super::review::{gone, text};
use super::tools::{Asked, ask, odd, pins};
use crate::args::{McpArgs, ToolsArgs};
use crate::say;

/// Exit code of a difference.
const DIFFERENT: u8 = 2;

/// What became of a tool since it was pinned.
enum Change<'a> {
    Added(&'a ToolDefinition),
    Changed(&'a ToolDefinition, &'a ToolDefinition),
    Gone(String),
}

pub(super) fn run(args: &ToolsArgs, mcp: &McpArgs) -> Result<ExitCode, ExitCode> {
    let asked = ask(mcp, &args.server.command)?;
    let Some(pins) = pins(mcp, args.bundle.as_deref(), &asked.server)? else {
        return Err(say::misuse(&format!(
            "the bundle pins no tool of `{}`: there is nothing to compare with. Pin what you have reviewed with \
             `portcullis mcp pin`, or name another bundle with --bundle.",
            visible(&asked.server)
        )));
    };
    let changes = changes(&asked, &pins);
    if args.json {
        let changes: Vec<_> = changes.iter().map(change_json).collect();
        say::line(&json!({ "server": asked.server, "changes": changes }).to_string());
    } else {
        changes.iter().for_each(|change| tell(&asked, change));
        if changes.is_empty() {
            say::line(&format!("all {} tools are as they were pinned", asked.tools.len()));
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

fn changes<'a>(asked: &'a Asked, pins: &'a PinnedTools) -> Vec<Change<'a>> {
    let of = |tool: &'a ToolDefinition| match pins.tools().get(tool.name()) {
        None => Some(Change::Added(tool)),
        Some(pin) if pin.digest() == tool.digest() => None,
        Some(pin) => Some(Change::Changed(pin, tool)),
    };
    let gone = gone(asked, Some(pins)).into_iter().map(Change::Gone);
    asked.tools.iter().filter_map(of).chain(gone).collect()
}

/// The members that differ, with what each was and is.
fn members<'a>(
    old: &'a ToolDefinition,
    new: &'a ToolDefinition,
) -> Vec<(&'a str, Option<&'a Exact>, Option<&'a Exact>)> {
    let (old, new) = (old.members(), new.members());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let each = names.into_iter().map(|name| (name.as_str(), old.get(name), new.get(name)));
    each.filter(|(_, old, new)| old != new).collect()
}

fn tell(asked: &Asked, change: &Change<'_>) {
    match change {
        Change::Added(tool) => {
            say::line(&format!("tool `{}` is not pinned", visible(tool.name())));
            odd(asked, tool).iter().for_each(|odd| say::line(&format!("  {odd}")));
        }
        Change::Gone(name) => say::line(&format!("tool `{}` is not there any more", visible(name))),
        Change::Changed(old, new) => {
            say::line(&format!("tool `{}` changed", visible(new.name())));
            odd(asked, new).iter().for_each(|odd| say::line(&format!("  {odd}")));
            for (member, old, new) in members(old, new) {
                let what = match (old, new) {
                    (None, _) => " is new",
                    (Some(_), None) => " is gone",
                    (Some(_), Some(_)) => "",
                };
                say::line(&format!("  {}{what}:", visible(member)));
                lines(old, new).iter().for_each(|line| say::line(&format!("    {line}")));
            }
        }
    }
}

/// A unified diff of a member, as people read it.
fn lines(old: Option<&Exact>, new: Option<&Exact>) -> Vec<String> {
    let shown = |value: Option<&Exact>| value.map_or_else(String::new, |value| format!("{}\n", text(value)));
    let (old, new) = (shown(old), shown(new));
    let diff = TextDiff::from_lines(&old, &new).unified_diff().context_radius(2).to_string();
    diff.lines().map(str::to_owned).collect()
}

fn change_json(change: &Change<'_>) -> Value {
    let exact = |value: Option<&Exact>| value.map(Exact::to_canonical);
    match change {
        Change::Added(tool) => json!({ "tool": tool.name(), "change": "added", "digest": tool.digest() }),
        Change::Gone(name) => json!({ "tool": name, "change": "gone" }),
        Change::Changed(old, new) => {
            let members = members(old, new).into_iter();
            let members: Vec<_> = members
                .map(|(member, old, new)| json!({ "member": member, "old": exact(old), "new": exact(new) }))
                .collect();
            json!({
                "tool": new.name(), "change": "changed", "pin": old.digest(), "digest": new.digest(), "members": members,
            })
        }
    }
}
