//! Evidence in the hands of others: programs over `golang.org/x/mod/sumdb`, `sigstore`, `pymerkle`, `securesystemslib` and
//! `cryptography` accept what a real run left, and refuse it tampered with, as we do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod attestations;
mod cosignatures;
mod logs;
mod receipts;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use support::{Gate, Place, demo_server, peer, program, text};

/// A run through the gate, and what an auditor gets of it.
struct Evidence {
    place: Place,
    key: String,
}

impl Evidence {
    /// So many calls, each with a decision and an outcome on record, and a refusal.
    fn of(calls: usize) -> Self {
        let place = Place::demo();
        let key = place.config.log_key.to_string();
        let evidence = Self { place, key };
        evidence.grow(calls);
        evidence
    }

    fn grow(&self, calls: usize) {
        let mut gate = Gate::start(&self.place.config_path, &demo_server(&self.place.path("journal")));
        for _ in 0..calls {
            gate.call("read_balance", json!({ "account": "acme" })).ran();
        }
        assert_eq!(gate.call("delete_everything", json!({})).code(), "surface.unknown");
        assert!(gate.end().success());
    }

    /// Runs `portcullis` with the deployment's configuration, which must succeed; what it printed.
    fn portcullis(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program());
        let output = command.args(arguments).arg("--config").arg(&self.place.config_path).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    }

    /// The log as static files, in a new directory.
    fn log(&self, name: &str) -> PathBuf {
        let directory = self.place.path(name);
        self.portcullis(&["log", "export", &text(&directory)]);
        directory
    }

    /// Every receipt, in a new directory.
    fn receipts(&self) -> Vec<PathBuf> {
        let directory = self.place.path("receipts");
        self.portcullis(&["receipts", "export", &text(&directory)]);
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// Who verifies.
#[derive(Clone, Copy, Debug)]
enum Verifier {
    Ours,
    Go,
    Python,
}

const ALL: [Verifier; 3] = [Verifier::Ours, Verifier::Go, Verifier::Python];

impl Verifier {
    fn log(self, key: &str, directory: &Path) -> Output {
        let directory = text(directory);
        match self {
            Self::Ours => {
                Command::new(program()).args(["log", "verify", &directory, "--key", key]).output().unwrap()
            }
            Self::Go => run_go(&["log", key, &directory]),
            Self::Python => run_python("log_check.py", &["log", key, &directory]),
        }
    }

    fn receipts(self, key: &str, files: &[PathBuf]) -> Output {
        let files: Vec<String> = files.iter().map(|file| text(file)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        match self {
            Self::Ours => Command::new(program())
                .args([&["verify", "--key", key], files.as_slice()].concat())
                .output()
                .unwrap(),
            Self::Go => run_go(&[&["receipts", key], files.as_slice()].concat()),
            Self::Python => run_python("log_check.py", &[&["receipts", key], files.as_slice()].concat()),
        }
    }
}

fn run_go(arguments: &[&str]) -> Output {
    Command::new(peer("bin/log-check")).args(arguments).output().unwrap()
}

fn run_python(script: &str, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(script);
    Command::new(peer("py/bin/python")).arg(script).args(arguments).output().unwrap()
}

#[track_caller]
fn accepted(verifier: Verifier, what: &str, output: &Output) {
    assert!(output.status.success(), "{verifier:?} refused {what}: {output:?}");
}

/// Refused with a reason, and not for want of anything else.
#[track_caller]
fn refused(verifier: Verifier, what: &str, output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{verifier:?} accepted {what}: {output:?}");
    let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    let reasoned = match verifier {
        Verifier::Ours => said.contains("NOT VERIFIED"),
        Verifier::Go => said.contains("log-check: "),
        Verifier::Python => said.contains("log_check: ") && !said.contains("Traceback"),
    };
    assert!(reasoned, "{verifier:?} on {what}: {said}");
}

/// Bytes with one bit changed.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}
