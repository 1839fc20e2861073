//! `portcullis wrap`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_gate::{Trust, asks_for_token};
use portcullis_protocol::AgentId;
use portcullis_server::Config;
use serde::Serialize;

use crate::args::{Edits, WrapArgs};
use crate::commands::runtime;
use crate::say;
use crate::wrap::{
    Asked, Became, Document, Failed, Format, Found, Gate, Kind, Listed, Plan, Server, State, TokenFile,
    Tokens, WrapError, all, forget, forget_untold, one_line, quote, shown, unwrapped, wrap, wrapped,
    wrapped_again,
};

pub(crate) fn run(args: &WrapArgs) -> ExitCode {
    let Some(file) = &args.file else { return list(args) };
    let done = if args.undo { undo(args, file) } else { wrap_file(args, file) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// What was done to a file, or would be.
#[derive(Serialize)]
struct Said<'a> {
    file: &'a Path,
    format: &'static str,
    /// Whether there was anything to change.
    changes: bool,
    /// Whether it was changed.
    written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<PathBuf>,
    servers: &'a [Server],
    warnings: &'a [String],
}

fn refused(error: &WrapError) -> ExitCode {
    say::error(error)
}

/// A file, and the form that it has.
fn read(args: &WrapArgs, file: &Path) -> Result<(Found, Format), WrapError> {
    let at = |error| WrapError::File { path: file.to_owned(), what: "found", error };
    let format = args.format.or(Format::of(&std::path::absolute(file).map_err(at)?));
    let format = format.ok_or_else(|| WrapError::UnknownFormat { path: file.to_owned() })?;
    Ok((Found::read(file)?, format))
}

fn wrap_file(args: &WrapArgs, file: &Path) -> Result<(), ExitCode> {
    // A gate that does not start would leave the client without its servers.
    let config = Config::read(&args.config.config).and_then(|config| {
        config.mcp()?;
        let agent = config.gate()?.agent;
        Ok((config, agent))
    });
    let (config, agent) = config.map_err(|error| say::error(&error))?;
    wrap_with(args, file, &config, &agent).map_err(|error| refused(&error))
}

fn wrap_with(args: &WrapArgs, file: &Path, config: &Config, agent: &AgentId) -> Result<(), WrapError> {
    let (found, format) = read(args, file)?;
    let document = Document::parse(&found.bytes, format, &found.path)?;
    let (asked, unheard) = asked(args, file, config, (&found, &document))?;
    let mut plan = wrap(&document, &asked, format)?;
    plan.warnings.extend(unheard);
    let changes = plan.bytes != found.bytes;
    let keep = changes && needs_backup(&found, &document)?;
    let written = changes && !args.dry_run;
    let new = new_tokens(&plan.tokens)?;
    if written {
        replace(&found, &plan.bytes, keep, &new)?;
    }
    let backup = changes.then(|| found.backup());
    let said = Said {
        file: &found.path,
        format: format.name(),
        changes,
        written,
        backup,
        servers: &plan.servers,
        warnings: &plan.warnings,
    };
    if args.json {
        say::line(&text(&said));
        return Ok(());
    }
    let after = Document::parse(&plan.bytes, format, &found.path)?;
    tell(&said, &shown(&document, &after, ("as it was", "through the gate"))?);
    next(&plan, &said, agent);
    Ok(())
}

/// What is to be done, and what could not be found out for it.
fn asked(
    args: &WrapArgs,
    file: &Path,
    config: &Config,
    (found, document): (&Found, &Document),
) -> Result<(Asked, Vec<String>), WrapError> {
    let named = |path: PathBuf| word(file, std::path::absolute(path));
    let left: BTreeSet<String> = args.leave_remote.iter().cloned().collect();
    let (asking, unheard) = asking(document, &left)?;
    let directory = config.gate_keys().map(named).transpose()?;
    let asked = Asked {
        gate: gate(file, config.path())?,
        names: args.name.iter().map(|named| (named.server.clone(), named.word.clone())).collect(),
        passed: args.pass_env.clone(),
        left,
        left_gates: args.leave_gate.iter().cloned().collect(),
        asking,
        tokens: Tokens { directory, client: found.path.clone() },
    };
    Ok((asked, unheard))
}

/// Entries without a token whose servers let nobody in who has none.
fn asking(
    document: &Document,
    left: &BTreeSet<String>,
) -> Result<(BTreeSet<Vec<String>>, Vec<String>), WrapError> {
    let (mut asking, mut unheard) = (BTreeSet::new(), Vec::new());
    for entry in document.entries.iter().filter(|entry| !left.contains(&entry.name)) {
        let Kind::Remote(remote) = &entry.kind else { continue };
        let Ok(reached) = remote.reached() else { continue };
        if reached.token.is_some() {
            continue;
        }
        match runtime().map(|runtime| runtime.block_on(asks_for_token(&reached.url, Trust::System))) {
            Ok(Ok(true)) => drop(asking.insert(entry.path.clone())),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => unheard.push(format!(
                "`{}` was not heard, so that it is not known whether it wants a token: {error}",
                one_line(&entry.name)
            )),
            Err(error) => return Err(WrapError::Runtime(error)),
        }
    }
    Ok((asking, unheard))
}

/// The token files that are not there yet.
fn new_tokens(tokens: &[TokenFile]) -> Result<Vec<&TokenFile>, WrapError> {
    let mut new = Vec::new();
    for token in tokens {
        if !token.is_there()? {
            new.push(token);
        }
    }
    Ok(new)
}

/// Replaces the file, once the tokens are where it says that they are. They are taken back if it is not there to say so.
fn replace(found: &Found, bytes: &[u8], keep: bool, tokens: &[&TokenFile]) -> Result<(), WrapError> {
    let written = tokens.iter().try_for_each(|token| token.write()).map_err(Failed::from);
    let Err(failed) = written.and_then(|()| found.replace(bytes, keep)) else { return Ok(()) };
    if !failed.in_place {
        for token in tokens {
            // What stays is in the way of nothing, and only its owner reads it.
            drop(token.remove());
        }
    }
    Err(failed.error)
}

/// A path as it stands in an entry. A client would read `${` in it as the beginning of a variable.
fn word(file: &Path, path: std::io::Result<PathBuf>) -> Result<String, WrapError> {
    let path = path.map_err(|error| WrapError::File { path: file.to_owned(), what: "named", error })?;
    match path.to_str().filter(|text| !text.contains("${") && !text.contains('\0')) {
        Some(text) => Ok(text.to_owned()),
        None => Err(WrapError::Path(path)),
    }
}

/// What stands in each entry.
fn gate(file: &Path, config: &Path) -> Result<Gate, WrapError> {
    Ok(Gate {
        program: word(file, std::env::current_exe())?,
        config: word(file, std::path::absolute(config))?,
        client: word(file, std::path::absolute(file))?,
    })
}

/// Whether the file is to be kept as its backup: not if it is already, nor if it was wrapped before, because then the backup
/// has what it was before that.
fn needs_backup(found: &Found, document: &Document) -> Result<bool, WrapError> {
    match found.kept()? {
        None => Ok(true),
        Some(kept) if kept == found.bytes => Ok(false),
        Some(_) if !wrapped(document)?.is_empty() => Ok(false),
        Some(_) => Err(WrapError::OtherBackup { path: found.backup() }),
    }
}

fn undo(args: &WrapArgs, file: &Path) -> Result<(), ExitCode> {
    let undone = read(args, file).and_then(|(found, format)| match args.edits {
        None => put_back(args, &found, format),
        Some(Edits::Keep) => take_out(args, &found, format),
        Some(Edits::Discard) => discard(args, &found, format),
    });
    undone.map_err(|error| refused(&error))
}

/// The file as it was, if nobody has edited it since it was wrapped.
fn put_back(args: &WrapArgs, found: &Found, format: Format) -> Result<(), WrapError> {
    let backup = found.kept()?.ok_or_else(|| WrapError::NoBackup { path: found.backup() })?;
    if backup == found.bytes {
        if !args.dry_run {
            forget_untold_tokens(args, found, format)?;
            found.forget()?;
        }
        return finished(args, found, format, false);
    }
    let now = Document::parse(&found.bytes, format, &found.path)?;
    let was = Document::parse(&backup, format, &found.backup())?;
    match wrapped_again(&was, &now)? {
        Some(again) if again == found.bytes => restore(args, found, format, &backup, (&was, &now)),
        again => {
            let again = again.map_or(Ok(was), |again| Document::parse(&again, format, &found.path))?;
            let difference = shown(&again, &now, ("as it was wrapped", "as it is"))?;
            let difference = if difference.is_empty() {
                "(in form, or in values that are not shown)"
            } else {
                &difference
            };
            say::note(difference);
            Err(WrapError::Edited { path: found.path.clone() })
        }
    }
}

fn restore(
    args: &WrapArgs,
    found: &Found,
    format: Format,
    backup: &[u8],
    (was, now): (&Document, &Document),
) -> Result<(), WrapError> {
    if !args.json {
        say::line(shown(now, was, ("through the gate", "as it was"))?.trim_end());
    }
    if !args.dry_run {
        found.replace(backup, false)?;
        forget_tokens(found, was, now)?;
        found.forget()?;
    }
    finished(args, found, format, true)
}

/// Removes the files of tokens that the client has again, and says which stay.
fn forget_tokens(found: &Found, was: &Document, now: &Document) -> Result<(), WrapError> {
    forget(&found.path, was, now)?.iter().for_each(|path| say_stays(path));
    Ok(())
}

/// Removes the files of tokens that a run wrote which was killed before it changed the client's file.
fn forget_untold_tokens(args: &WrapArgs, found: &Found, format: Format) -> Result<(), WrapError> {
    let document = Document::parse(&found.bytes, format, &found.path)?;
    if !has_tokens(&document) {
        return Ok(());
    }
    let Ok(directory) = Config::read(&args.config.config).map(|config| config.gate_keys()) else {
        let config = args.config.config.display();
        say::note(&say::harmless(&format!(
            "the gate's configuration `{config}` cannot be read: tokens of a run that was killed may lie beside the gate's keys, as \
             `mcp-….token`"
        )));
        return Ok(());
    };
    let directory = directory.map(|path| word(&found.path, std::path::absolute(path))).transpose()?;
    let stay = forget_untold(&Tokens { directory, client: found.path.clone() }, &document)?;
    stay.iter().for_each(|path| say_stays(path));
    Ok(())
}

fn say_stays(path: &Path) {
    say::note(&say::harmless(&format!("{} is no more what was put there, and stays", path.display())));
}

/// The file as it is, without the gates.
fn take_out(args: &WrapArgs, found: &Found, format: Format) -> Result<(), WrapError> {
    let now = Document::parse(&found.bytes, format, &found.path)?;
    let kept = found.kept()?;
    // One that cannot be read has no server of the file's, and is left alone.
    let backup = kept.and_then(|kept| Document::parse(&kept, format, &found.backup()).ok());
    let bytes = unwrapped(&now, backup.as_ref(), format, &found.path)?
        .ok_or_else(|| WrapError::NotWrapped { path: found.path.clone() })?;
    let after = Document::parse(&bytes, format, &found.path)?;
    if !args.json {
        say::line(shown(&now, &after, ("through the gate", "without it"))?.trim_end());
    }
    if !args.dry_run {
        found.replace(&bytes, false)?;
        if let Some(backup) = &backup {
            forget_tokens(found, backup, &now)?;
        }
    }
    if !args.json && found.kept()?.is_some() {
        let backup = found.backup();
        say::line(&format!("backup  {} stays; the next wrap needs it moved away", backup.display()));
    }
    finished(args, found, format, true)
}

fn has_tokens(document: &Document) -> bool {
    let has_token = |kind: &Kind| match kind {
        Kind::Remote(remote) => remote.reached().is_ok_and(|reached| reached.token.is_some()),
        Kind::Local(_) => false,
    };
    document.entries.iter().any(|entry| has_token(&entry.kind))
}

/// The file as it was, whatever it is now.
fn discard(args: &WrapArgs, found: &Found, format: Format) -> Result<(), WrapError> {
    let backup = found.kept()?.ok_or_else(|| WrapError::NoBackup { path: found.backup() })?;
    if !args.dry_run {
        found.replace(&backup, false)?;
        if let Ok(was) = Document::parse(&backup, format, &found.path) {
            match Document::parse(&found.bytes, format, &found.path) {
                Ok(now) => forget_tokens(found, &was, &now)?,
                Err(_) if !has_tokens(&was) => {}
                Err(_) => say::note(
                    "The tokens that were moved out of the file stay beside the gate's keys, as `mcp-….token`.",
                ),
            }
        }
        found.forget()?;
    }
    finished(args, found, format, backup != found.bytes)
}

fn finished(args: &WrapArgs, found: &Found, format: Format, changes: bool) -> Result<(), WrapError> {
    let written = changes && !args.dry_run;
    if args.json {
        let file = &found.path;
        let format = format.name();
        say::line(&text(&Said { file, format, changes, written, backup: None, servers: &[], warnings: &[] }));
    } else {
        say::line(match (changes, written) {
            (true, true) => "The gate is out of it. Start the client again.",
            (true, false) => "Nothing was changed.",
            (false, _) => "It is as it was before.",
        });
    }
    Ok(())
}

fn tell(said: &Said<'_>, difference: &str) {
    say::line(&format!("{} ({})", said.file.display(), said.format));
    for server in said.servers {
        let project =
            server.project.as_ref().map_or_else(String::new, |project| format!(" of {}", one_line(project)));
        let became = match &server.became {
            Became::Wrapped { surfaces, passes, .. } => {
                let passes = if passes.is_empty() {
                    String::new()
                } else {
                    format!("; gets {}", one_line(&passes.join(", ")))
                };
                format!("through the gate, surfaces `{surfaces}.…`{passes}")
            }
            Became::ByUrl { surfaces, .. } => {
                format!("through the gate, which connects to it, surfaces `{surfaces}.…`")
            }
            Became::Through { .. } => "goes through this gate already".into(),
            Became::OtherGate { gate } => {
                format!(
                    "NOT governed by this gate: goes through {}, and left so as you asked",
                    one_line(gate)
                )
            }
            Became::NotGoverned => "NOT governed: remote, and left out as you asked".into(),
        };
        say::line(&say::harmless(&format!("  {}{project}: {became}", one_line(&server.name))));
    }
    for warning in said.warnings {
        say::line(&say::harmless(&format!("  note: {warning}")));
    }
    if said.changes {
        say::line(difference.trim_end());
    }
}

/// What there is to do after it.
fn next(plan: &Plan, said: &Said<'_>, agent: &AgentId) {
    match &said.backup {
        None => return say::line("Nothing is to be changed."),
        Some(_) if !said.written => return say::line("Nothing was changed."),
        Some(backup) => say::line(&format!("backup  {}", backup.display())),
    }
    say::line(
        "Start the client again. Nothing of a server runs before the bundle names its tools and grants them:",
    );
    let drafts: BTreeSet<String> = plan.servers.iter().filter_map(|server| draft(server, agent)).collect();
    drafts.iter().for_each(|draft| say::line(&say::harmless(&format!("  {draft}"))));
}

/// The command that drafts a bundle of a server that was wrapped.
fn draft(server: &Server, agent: &AgentId) -> Option<String> {
    let (surfaces, source) = match &server.became {
        Became::Wrapped { surfaces, passes, command } => {
            let words = command.iter().map(String::as_str);
            // A client's variables mean nothing to a shell.
            let command = shlex::try_join(words).ok().filter(|command| !command.contains("${"));
            let command = command.map_or_else(|| "COMMAND".into(), |command| quote(&command));
            // Their values are in the client's file, and are not shown.
            let passed: String = passes.iter().map(|name| format!("--pass-env {} ", quote(name))).collect();
            (surfaces, format!("{passed}--from-mcp {command}"))
        }
        // Nor are addresses.
        Became::ByUrl { surfaces, token_file } => {
            let token = token_file.as_ref().map(|file| format!("--token-file {} ", quote(file)));
            (surfaces, format!("{}--from-url URL", token.unwrap_or_default()))
        }
        Became::Through { .. } | Became::OtherGate { .. } | Became::NotGoverned => return None,
    };
    Some(format!("portcullis policy draft --agent {agent} --server {surfaces} -o draft-{surfaces} {source}"))
}

fn list(args: &WrapArgs) -> ExitCode {
    // What the client's file is does not matter here.
    let gate = gate(Path::new("/"), &args.config.config);
    let (project, gate) = match (std::env::current_dir(), gate) {
        (Ok(project), Ok(gate)) => (project, gate),
        (Err(error), _) => return say::error(&error),
        (_, Err(error)) => return refused(&error),
    };
    let listed = all(std::env::home_dir().as_deref(), &project, &gate);
    if args.json {
        listed.iter().for_each(|found| say::line(&text(found)));
        return ExitCode::SUCCESS;
    }
    if listed.is_empty() {
        say::line("No client's configuration was found, neither of this user nor in this directory.");
        return ExitCode::SUCCESS;
    }
    say::line(&say::harmless(&format!("The gate of `{}`:", one_line(&gate.config))));
    listed.iter().for_each(|found| say::line(&say::harmless(&in_words(found))));
    ExitCode::SUCCESS
}

fn in_words(found: &Listed) -> String {
    let Listed { file, format, state, others } = found;
    let elsewhere = |other: &usize| match other {
        0 => String::new(),
        other => format!(", {other} through what is not this gate"),
    };
    let state = match state {
        State::Empty => "names no servers".into(),
        State::Wrapped { through } => format!("wrapped: {through} through the gate"),
        State::Partly { through, other, past, remote } => {
            let other = elsewhere(other);
            format!("PARTLY: {through} through the gate, {past} past it, {remote} remote{other}")
        }
        State::Unwrapped { other, past, remote } => {
            format!("unwrapped: {past} past the gate, {remote} remote{}", elsewhere(other))
        }
        State::Unknown { because } => format!("cannot be told: {because}"),
    };
    let others: String =
        others.iter().map(|other| format!("\n  NOT this gate: {}", one_line(other))).collect();
    format!("{} ({format})\n  {state}{others}", file.display())
}

fn text(value: &impl Serialize) -> String {
    // Strings, numbers and paths that were text.
    serde_json::to_string(value).unwrap_or_default()
}
