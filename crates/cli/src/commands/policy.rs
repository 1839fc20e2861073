//! `portcullis policy`

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use portcullis_policy::{Draft, Heading};
use portcullis_protocol::{InvalidId, Limits, Loose};
use portcullis_server::config::Governing;
use portcullis_server::{Config, read_trace, write_draft};

use crate::args::{DraftArgs, DraftSource, PolicyArgs, PolicyCommand};
use crate::commands::bundle;
use crate::commands::mcp::{listed, listed_by, server_at};
use crate::progress::Progress;
use crate::say;

/// How long a server may take to say which tools it has. Some are downloaded first.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &PolicyArgs) -> ExitCode {
    let PolicyCommand::Draft(args) = &args.command;
    match draft(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn draft(args: &DraftArgs) -> Result<(), ExitCode> {
    refuse_full(&args.output)?;
    // From here on a signal ends the work between two steps: no directory is left half-written.
    let work = Progress::new("drafting").map_err(|error| say::error(&error))?;
    let drafted = drafted(args)?;
    if work.stopped() {
        return Err(say::misuse("stopped; nothing was written"));
    }
    write_draft(&args.output, &drafted.files, || work.stopped()).map_err(|error| say::error(&error))?;
    tell(args, &drafted);
    Ok(())
}

fn drafted(args: &DraftArgs) -> Result<Draft, ExitCode> {
    let heading = heading(args)?;
    let drafted = match &args.source {
        DraftSource { from_mcp: Some(command), .. } => {
            let (server, mut environment, governing) = server_of(args.server.as_ref(), &args.config.config)?;
            environment.extend(args.pass_env.iter().cloned());
            let tools = tools(command, environment, governing)?;
            Draft::from_tools(&heading, &server, &tools, &args.only)
        }
        DraftSource { from_url: Some(url), .. } => {
            let (server, ..) = server_of(args.server.as_ref(), &args.config.config)?;
            let asked = server_at(url, args.ca.as_deref(), args.token_file.as_deref())?;
            let tools = read_tools(&listed_by(asked)?)?;
            Draft::from_tools(&heading, &server, &tools, &args.only)
        }
        DraftSource { from_openapi: Some(file), .. } => {
            let (server, ..) = server_of(args.server.as_ref(), &args.config.config)?;
            Draft::from_openapi(&heading, &server, &read(file)?, &args.only)
        }
        DraftSource { from_trace: Some(file), .. } => {
            let trace = read_trace(&read(file)?);
            let trace = trace.map_err(|error| say::misuse(&format!("`{}`, {error}", file.display())))?;
            if trace.iter().any(|seen| !seen.labels.is_empty()) {
                say::note("the trace has labels; grants in the draft do not ask for them (docs/labels.md)");
            }
            let requests: Vec<_> = trace.into_iter().map(|seen| seen.request).collect();
            Draft::from_requests(&heading, &requests)
        }
        DraftSource { from_mcp: None, from_url: None, from_openapi: None, from_trace: None } => {
            return Err(say::misuse("say what to draft from"));
        }
    };
    drafted.map_err(|error| say::error(&error))
}

fn read(file: &Path) -> Result<Vec<u8>, ExitCode> {
    super::simulate::read(file)
        .map_err(|error| say::misuse(&format!("`{}` cannot be read: {error}", file.display())))
}

/// The server's name and the variables that it is passed: those of the configuration, where there is one.
pub(super) fn server_of(
    server: Option<&String>,
    config: &Path,
) -> Result<(String, Vec<String>, Governing), ExitCode> {
    if let (Some(server), false) = (server, config.exists()) {
        return Ok((server.clone(), Vec::new(), Governing::default()));
    }
    match Config::read(config).and_then(|config| Ok((config.mcp()?, config.governing()))) {
        Ok(((configured, environment), governing)) => {
            Ok((server.cloned().unwrap_or(configured), environment, governing))
        }
        Err(error) => {
            let code = say::error(&error);
            say::note(
                "Say with --server NAME what the gate calls the server; then no configuration is needed.",
            );
            Err(code)
        }
    }
}

/// Before a server is started for nothing. Whether it still is empty shows when the draft is put in place.
fn refuse_full(directory: &Path) -> Result<(), ExitCode> {
    let mut entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(say::misuse(&format!("`{}`: {error}", directory.display()))),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(say::misuse(&format!(
            "`{}` is not empty, and nothing is written over; choose another directory",
            directory.display()
        ))),
    }
}

fn heading(args: &DraftArgs) -> Result<Heading, ExitCode> {
    let (valid_from, valid_until) = bundle::a_year_from_now()?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => "assistant".parse().map_err(|error: InvalidId| say::error(&error))?,
    };
    Ok(Heading { name: bundle::name_of(&args.output), valid_from, valid_until, agent })
}

/// What tools a server lists.
fn tools(command: &str, pass_environment: Vec<String>, governing: Governing) -> Result<Vec<Loose>, ExitCode> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words =
        words.ok_or_else(|| say::misuse("--from-mcp needs a command, with its quotation marks closed"))?;
    let words = words.into_iter().map(OsString::from).collect();
    read_tools(&listed(words, pass_environment, governing, None)?)
}

fn read_tools(listed: &[String]) -> Result<Vec<Loose>, ExitCode> {
    let limits = Limits { bytes: Limits::MESSAGE.bytes.saturating_mul(4), ..Limits::MESSAGE };
    let read = |text: &String| {
        Loose::parse(text.as_bytes(), limits).map_err(|error| {
            say::misuse(&format!("the tool server's answer to `tools/list` is not understood: {error}"))
        })
    };
    listed.iter().map(read).collect()
}

fn tell(args: &DraftArgs, drafted: &Draft) {
    let at = args.output.display();
    if args.json {
        let said = serde_json::json!({
            "directory": args.output, "surfaces": drafted.surfaces, "grants_in_comments": drafted.grants,
            "left_out": drafted.left_out,
        });
        return say::line(&said.to_string());
    }
    for left in &drafted.left_out {
        say::note(&format!("left out {}: {}", left.what, left.why));
    }
    let (surfaces, left) = (drafted.surfaces.len(), drafted.left_out.len());
    say::line(&format!(
        "{at}: {surfaces} surfaces, {left} left out, {} grants in comments. It grants nothing.\n\
         Next: read {at}/README.md, uncomment and narrow grants in {at}/policies/grants.cedar, then\n  \
         portcullis bundle check {at}\n  portcullis bundle test {at}\n  portcullis bundle sign {at}",
        drafted.grants
    ));
}
