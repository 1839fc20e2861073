//! The command line as people and scripts use it: what it prints, and with which code it exits.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod activation;
mod bench;
mod bundles;
mod check;
mod decide;
mod draft;
mod evidence;
mod explain;
mod explained;
mod facts;
mod forged;
mod gates;
mod golden;
mod listing;
mod log;
mod obligations;
mod operate;
mod outcomes;
mod payloads;
mod pins;
mod policy;
mod proof;
mod proving;
mod receipts;
mod registries;
mod replay;
mod simulate;
mod simulated;
mod sources;
mod wrap;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{program, text};

/// A command that has ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It succeeded, and said nothing on standard error; what it printed.
    fn ok(&self) -> &str {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        &self.out
    }

    /// It failed, printed nothing, and said why in these words.
    fn failed(&self, words: &str) {
        assert!(self.code == 1 && self.err.contains(words), "`{words}`: {self:?}");
    }
}

/// Runs `portcullis`.
fn run(arguments: &[&str]) -> Ended {
    Ended::of(&Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap())
}

/// Runs `portcullis` with a configuration.
fn with(config: &Path, arguments: &[&str]) -> Ended {
    let config = text(config);
    run(&[arguments, &["--config", &config]].concat())
}

/// Runs `portcullis` with this on its standard input.
fn fed(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ended::of(&child.wait_with_output().unwrap())
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let (_, commands) = help.split_once("Commands:\n").unwrap_or_default();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    // What a command is for may go on in the next line, further in.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

fn help_of(command: &[&str]) -> usize {
    let mut count = 1;
    let long = run(&[command, &["--help"]].concat());
    let usage = [&["Usage: portcullis"], command].concat().join(" ");
    assert!(long.ok().contains(&usage), "{usage}: {}", long.out);
    assert!(long.out.lines().all(|line| line.chars().count() <= 100), "{usage}: {}", long.out);
    let first = long.out.lines().next().unwrap();
    assert!(first.len() > 15 && !first.starts_with("Usage"), "{usage} says nothing of itself: {first}");
    assert!(!long.out.contains("__upstream") && !long.out.contains("__toolserver"), "{}", long.out);
    let short = run(&[command, &["-h"]].concat());
    assert!(short.ok().contains(&usage));
    for name in listed(&long.out) {
        count += help_of(&[command, &[name.as_str()]].concat());
    }
    count
}

#[test]
fn every_command_has_help() {
    let top = listed(run(&["--help"]).ok());
    let expected = [
        "demo", "init", "mcp", "wrap", "serve", "decide", "verify", "receipts", "bundle", "keys", "status",
        "shut", "open",
    ];
    for command in expected {
        assert!(top.iter().any(|name| name == command), "{command} is not in {top:?}");
    }
    assert!(help_of(&[]) > top.len() + 1, "no command has commands of its own");
}

#[test]
fn misuse_exits_with_1_and_says_how_it_is_used() {
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["decide"],
        &["decide", "--nonsense", "x"],
        &["verify"],
        &["verify", "x.tlog-proof"],
        &["mcp"],
        &["shut"],
        &["completions", "nosuchshell"],
    ];
    for case in cases {
        let ended = run(case);
        assert_eq!(ended.code, 1, "{case:?}: {ended:?}");
        assert!(ended.out.is_empty(), "{case:?}: {ended:?}");
        assert!(ended.err.contains("--help") || ended.err.contains("Usage"), "{case:?}: {ended:?}");
    }
}

#[test]
fn version_is_the_packages() {
    assert_eq!(run(&["--version"]).ok().trim(), concat!("portcullis ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_for_every_shell_and_bash_accepts_its_own() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]);
        for word in ["decide", "receipts", "--config"] {
            let bare = word.trim_start_matches('-');
            assert!(script.ok().contains(bare), "{shell} does not know {word}");
        }
        assert!(!script.out.contains("__toolserver"), "{shell} offers what is hidden");
    }
    let script = run(&["completions", "bash"]).out;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn a_missing_configuration_is_named_with_what_to_do() {
    let commands: &[&[&str]] = &[
        &["serve"],
        &["status"],
        &["open"],
        &["shut", "--reason", "x"],
        &["receipts", "list"],
        &["bundle", "pin"],
        &["bundle", "show"],
        &["keys", "show"],
    ];
    for command in commands {
        let ended = with(Path::new("/nonexistent/portcullis.toml"), command);
        ended.failed("/nonexistent/portcullis.toml");
        assert!(ended.err.contains("portcullis init"), "{command:?}: {ended:?}");
    }
}
