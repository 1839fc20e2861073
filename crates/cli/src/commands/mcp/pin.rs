//! `portcullis mcp pin`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_gate::lookalike::visible;
use portcullis_policy::{PinnedTools, Snapshot};
use portcullis_protocol::{ToolDefinition, ToolName, ToolSchema};
use portcullis_server::{Config, write_pins};
use serde_json::json;

use super::tools::{Asked, ask, odd};
use crate::args::{McpArgs, PinArgs};
use crate::say;

pub(super) fn run(args: &PinArgs, mcp: &McpArgs) -> Result<ExitCode, ExitCode> {
    let bundle = directory(args, mcp)?;
    // Before a server is started for nothing.
    let snapshot = Snapshot::read(&bundle).map_err(|error| say::error(&error))?;
    let before = snapshot.pinned_tools().map_err(|error| say::error(&error))?;
    let asked = ask(mcp, &args.server.command)?;
    let (tools, left_out) = chosen(args, &asked)?;
    let pinned = PinnedTools::new(&asked.server, tools).map_err(|error| {
        tell_left_out(&left_out);
        say::error(&error)
    })?;
    let content = pinned.to_file(&asked.server).map_err(|error| say::error(&error))?;
    let path = PinnedTools::path(&asked.server);
    let same = snapshot.files().any(|(name, bytes)| name == path && bytes == content);
    if !same {
        write_pins(&bundle, &path, &content).map_err(|error| say::error(&error))?;
    }
    let told = Told { file: bundle.join(&path), written: !same, left_out };
    told.tell(args.json, before.get(&asked.server), &pinned);
    Ok(ExitCode::SUCCESS)
}

fn directory(args: &PinArgs, mcp: &McpArgs) -> Result<PathBuf, ExitCode> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => {
            let config = Config::read(&mcp.config.config).and_then(|config| config.arbiter());
            config.map_err(|error| say::error(&error))?.bundle
        }
    };
    if bundle.is_dir() { Ok(bundle) } else { Err(no_directory(&bundle)) }
}

fn no_directory(bundle: &Path) -> ExitCode {
    say::misuse(&format!(
        "`{}` is no directory: pins are written into a bundle's directory, which `--bundle DIR` names",
        bundle.display()
    ))
}

/// The tools to be pinned, and what is left out, with the reason.
fn chosen(
    args: &PinArgs,
    asked: &Asked,
) -> Result<(Vec<ToolDefinition>, BTreeMap<String, String>), ExitCode> {
    if let Some(missing) = args.only.iter().find(|only| asked.tools.iter().all(|tool| tool.name() != *only)) {
        return Err(say::misuse(&format!("the server lists no tool `{}`", visible(missing))));
    }
    let (mut tools, mut left_out) = (Vec::new(), BTreeMap::new());
    for tool in &asked.tools {
        let name = tool.name();
        let nameable = format!("{}/{name}", asked.server).parse::<ToolName>().is_ok();
        let why = match odd(asked, tool) {
            odd if !odd.is_empty() => odd.join("; "),
            _ if !nameable => "a bundle cannot name it: 1 to 128 printable characters, no `/`".to_owned(),
            _ if !args.only.is_empty() && !args.only.iter().any(|only| only == name) => {
                "not asked for".to_owned()
            }
            _ => {
                tools.push(tool.clone());
                continue;
            }
        };
        left_out.insert(visible(name), why);
    }
    Ok((tools, left_out))
}

fn tell_left_out(left_out: &BTreeMap<String, String>) {
    for (name, why) in left_out {
        say::note(&format!("left out `{name}`: {why}"));
    }
}

/// The tools whose arguments cannot be held against their schema, and why.
fn refused(pinned: &PinnedTools) -> BTreeMap<String, String> {
    let why = |tool: &ToolDefinition| {
        let unusable = ToolSchema::of(tool).err()?;
        Some((visible(tool.name()), visible(&unusable.to_string())))
    };
    pinned.tools().values().filter_map(why).collect()
}

struct Told {
    file: PathBuf,
    written: bool,
    left_out: BTreeMap<String, String>,
}

impl Told {
    fn tell(&self, json: bool, before: Option<&PinnedTools>, pinned: &PinnedTools) {
        let Self { file, written, left_out } = self;
        let old = |name: &str| before.and_then(|before| before.tools().get(name));
        let names = |fits: &dyn Fn(&ToolDefinition) -> bool| -> Vec<&str> {
            pinned.tools().values().filter(|tool| fits(tool)).map(ToolDefinition::name).collect()
        };
        let added = names(&|tool| old(tool.name()).is_none());
        let changed = names(&|tool| old(tool.name()).is_some_and(|old| old.digest() != tool.digest()));
        let before = before.into_iter().flat_map(|before| before.tools().keys());
        let removed = before.map(String::as_str).filter(|name| !pinned.tools().contains_key(*name));
        let removed: Vec<&str> = removed.collect();
        let refused = refused(pinned);
        if json {
            let all: Vec<_> = pinned.tools().keys().collect();
            let said = json!({
                "file": file, "written": written, "pinned": all, "added": added, "changed": changed, "removed": removed,
                "left_out": left_out, "refused": refused,
            });
            return say::line(&said.to_string());
        }
        tell_left_out(left_out);
        for (name, why) in &refused {
            say::note(&format!("warning: calls of `{name}` will all be refused: {why}"));
        }
        for (what, names) in [("added", added), ("changed", changed), ("removed", removed)] {
            names.iter().for_each(|name| say::line(&format!("{what} `{}`", visible(name))));
        }
        let (file, count) = (file.display(), pinned.tools().len());
        if *written {
            say::line(&format!(
                "{file}: {count} tools pinned. They hold once the bundle is signed, under a higher version, and in force."
            ));
        } else {
            say::line(&format!("{file}: {count} tools, pinned already as they are"));
        }
    }
}
