use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use portcullis_protocol::ReasonCode;
use tempfile::TempDir;

use crate::signing::tests::{TEXT, code, signed};

/// Long enough for any program that answers.
const PATIENCE: Duration = Duration::from_secs(30);

struct Script {
    directory: TempDir,
    program: Program,
    line: String,
}

/// A shell script. `LINE` in it is the right answer.
fn script(body: &str) -> Script {
    let directory = tempfile::tempdir().unwrap();
    let (key, line) = signed();
    let path = directory.path().join("signer");
    let body = body.replace("LINE", &format!("printf '%s\\n' '{}'", line.trim_end()));
    std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", directory.path().display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    Script { directory, program: Program::new(path, vec!["one".into(), "two".into()], key), line }
}

impl Script {
    fn sign(&mut self, patience: Duration) -> Result<[u8; 64], SignError> {
        self.program.sign(TEXT, BootInstant::now().plus(patience))
    }

    fn wrote(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

#[test]
fn a_program_gets_the_text_its_arguments_and_nothing_of_the_environment() {
    let mut script = script("cat > text\necho \"$@\" > arguments\nenv > environment\necho secret >&2\nLINE");
    let signature = script.sign(PATIENCE).unwrap();
    assert_eq!(answered(script.line.as_bytes(), &script.program.key).unwrap(), signature);
    assert_eq!(script.wrote("text").as_bytes(), TEXT);
    assert_eq!(script.wrote("arguments"), "one two\n");
    let environment = script.wrote("environment");
    let names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell itself adds the second and the third.
    assert!(names.iter().all(|name| ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)), "{environment}");
}

#[test]
fn a_program_that_fails_or_answers_something_else_gives_no_signature() {
    let cases = [
        ("LINE; exit 1", ReasonCode::SignerFailed),
        ("LINE; kill -KILL $$", ReasonCode::SignerFailed),
        ("exit 0", ReasonCode::SignerFailed),
        ("echo garbage", ReasonCode::SignerFailed),
        ("LINE; LINE", ReasonCode::SignerFailed),
        ("LINE | tr -d '\\n'", ReasonCode::SignerFailed),
        ("LINE | head -c 40", ReasonCode::SignerFailed),
        ("head -c 5000 /dev/zero; LINE", ReasonCode::SignerFailed),
        ("yes", ReasonCode::SignerFailed),
        ("LINE | sed 's/gate.test/gate.tist/'", ReasonCode::SignerWrongKey),
    ];
    for (body, expected) in cases {
        assert_eq!(code(script(body).sign(PATIENCE)), Some(expected), "{body}");
    }
}

#[test]
fn a_program_that_is_gone_exposed_or_not_executable_is_not_run() {
    for mode in [0o600, 0o720, 0o702] {
        let mut script = script("touch ran; LINE");
        std::fs::set_permissions(&script.program.program.path, std::fs::Permissions::from_mode(mode))
            .unwrap();
        assert_eq!(code(script.program.watch()), Some(ReasonCode::SignerUnavailable), "{mode:o}");
        assert_eq!(code(script.sign(PATIENCE)), Some(ReasonCode::SignerUnavailable), "{mode:o}");
        assert!(!script.directory.path().join("ran").exists(), "{mode:o}");
    }
    let mut script = script("touch ran; LINE");
    let folder = |mode| {
        std::fs::set_permissions(script.directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    folder(0o770);
    assert_eq!(code(script.program.watch()), Some(ReasonCode::SignerUnavailable), "others could replace it");
    folder(0o700);
    assert!(script.program.watch().is_ok());
    std::fs::remove_file(&script.program.program.path).unwrap();
    assert_eq!(code(script.program.watch()), Some(ReasonCode::SignerUnavailable));
    assert_eq!(code(script.sign(PATIENCE)), Some(ReasonCode::SignerUnavailable));
}

#[test]
fn a_program_that_hangs_is_killed_at_the_deadline_with_what_it_started() {
    // Before an answer, within one, after one with the output kept open, and after it was closed.
    let hanging = [
        "sleep 600",
        "printf '\\342\\200\\224 gate'; sleep 600",
        "LINE; sleep 600",
        "LINE; exec >&-; sleep 600",
    ];
    for body in hanging {
        let mut script = script(&format!("sleep 601 & echo $$ $! > pids\n{body}"));
        let began = Instant::now();
        assert_eq!(code(script.sign(Duration::from_millis(400))), Some(ReasonCode::SignerTimeout), "{body}");
        assert!(began.elapsed() < PATIENCE / 2, "{body} took {:?}", began.elapsed());
        for pid in script.wrote("pids").split_whitespace() {
            gone(pid);
        }
    }
}

#[test]
fn what_a_program_leaves_behind_is_killed_when_it_has_answered() {
    let mut script = script("sleep 601 > /dev/null & echo $! > pids\nLINE");
    script.sign(PATIENCE).unwrap();
    gone(script.wrote("pids").trim());
}

/// Waits until a process is no more, or only a zombie that nobody has buried yet.
fn gone(pid: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        assert!(Instant::now() < end, "{stat}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
