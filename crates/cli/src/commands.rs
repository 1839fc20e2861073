//! One module a command.

mod bench;
mod bundle;
mod decide;
mod demo;
mod evidence;
mod explain;
mod governance;
mod init;
mod keys;
mod log;
mod mcp;
mod outcomes;
mod payloads;
mod policy;
mod prove;
mod receipts;
mod roster;
mod semantic;
mod serve;
mod simulate;
mod status;
mod verify;
mod witness;
mod wrap;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use portcullis_drills::toolserver;
use portcullis_gate::confine::Confinement;
use portcullis_policy::STACK;
use portcullis_server::config::{ArbiterConfig, Governing};
use portcullis_server::{Config, LogView, open_cosigned_log, open_log, place_in_force};
use portcullis_verify::{LogKey, VerifiedCheckpoint};

use crate::args::{Cli, Command, ToolserverArgs};
use crate::clients;
use crate::say;

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Mcp(args) => mcp::run(*args),
        Command::Wrap(args) => wrap::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Witness(args) => witness::run(&args),
        Command::Decide(args) => decide::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Receipts(args) => receipts::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Governance(args) => governance::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Outcomes(args) => outcomes::run(&args),
        Command::Payloads(args) => payloads::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Shut(args) => status::shut(&args),
        Command::Open(args) => status::open(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut shown(), "portcullis", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        // As they were given: what is between them and the command is for the gate to read.
        Command::Upstream(_) => {
            portcullis_gate::supervise::run(&std::env::args_os().skip(2).collect::<Vec<_>>())
        }
        Command::Toolserver(args) => toolserver(args),
    }
}

fn toolserver(args: ToolserverArgs) -> ExitCode {
    let ToolserverArgs { journal, listen, statement } = args;
    match toolserver::run(&toolserver::Options { journal, listen, statement }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::error(&error),
    }
}

/// The command line without what is hidden, which completion scripts would offer.
fn shown() -> clap::Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("portcullis")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(commands)
}

/// A bundle's place: the one given, else that of the bundle that decides by the log. From the first activation on that is
/// another than the configuration's, and what is said of the one says nothing of the other.
fn in_force_or(given: Option<&Path>, config: &Path) -> Result<PathBuf, ExitCode> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let config = Config::read(config).and_then(|config| config.arbiter());
    let config = config.map_err(|error| say::error(&error))?;
    place_in_force(&config).map_err(|error| say::error(&error))
}

/// A view of the log at its newest head, or at its newest cosigned checkpoint.
fn view(config: &ArbiterConfig, cosigned: bool) -> Result<LogView, ExitCode> {
    if !cosigned {
        return open_log(config).map_err(|error| say::error(&error));
    }
    match open_cosigned_log(config) {
        Ok(Some(view)) => Ok(view),
        Ok(None) => {
            let what =
                "no checkpoint of this log is cosigned; `portcullis log cosign` cosigns its newest head";
            Err(say::misuse(what))
        }
        Err(error) => Err(say::error(&error)),
    }
}

/// The key that vouches for a head: the log's, if it signed it, else one that signed before it.
fn signer_of(config: &ArbiterConfig, head: &VerifiedCheckpoint) -> LogKey {
    let signed = |key: &&LogKey| head.signed_by().contains(&key.key);
    let own = |key: &&LogKey| key.key == config.log_key;
    let keys = || config.log_keys.all().iter().filter(signed);
    keys().find(own).or_else(|| keys().next()).map_or_else(|| config.log_key.clone().into(), Clone::clone)
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-./:=_".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A runtime for a command that waits for others.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    survive_file_limit()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).thread_stack_size(STACK).enable_all().build()
}

/// A runtime for a gate: one thread, because a call passes through many tasks one after the other, and waking
/// another thread costs more than each of them does.
fn gate_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    survive_file_limit()?;
    tokio::runtime::Builder::new_current_thread().thread_stack_size(STACK).enable_all().build()
}

/// A failed write must be an error that trips evidence, not a signal that ends the process (setrlimit(2)).
fn survive_file_limit() -> std::io::Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default()).map(drop)
}

/// This very program, as the process between gate and tool server.
fn supervisor() -> std::io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into(), "__upstream".into()])
}

/// What a tool server is kept from: what governs it, the clients' own configurations, which name the gate, with the one
/// that started this gate, and this program.
fn confinement(governing: Governing, client: Option<&Path>) -> std::io::Result<Confinement> {
    let Governing { mut hidden, mut kept } = governing;
    let known = clients::configurations(std::env::home_dir().as_deref(), &std::env::current_dir()?);
    let client = client.map(std::path::absolute).transpose()?;
    hidden.extend(known.into_iter().chain(client).flat_map(clients::with_backup));
    kept.push(std::env::current_exe()?);
    Ok(Confinement { hidden, kept })
}

/// Turns true when the process is asked to end.
fn stop_signal() -> tokio::sync::watch::Receiver<bool> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        wait_for_signal().await;
        stop.send_replace(true);
    });
    stopped
}

/// What a piece of work comes to, or `None` if the process is asked to end first: dropping the work cleans up.
async fn until_signal<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = wait_for_signal() => None,
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = both else {
        // Without handlers the system's own end the process, which loses nothing recorded.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_space_was_two() {
        assert_eq!(quoted("log.example+1a2b3c4d+AbC/+="), "log.example+1a2b3c4d+AbC/+=");
        assert_eq!(quoted("key until 7"), "'key until 7'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
