//! Starting programs: what runs is printed before, how long it took after.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

/// The cargo that started us, else the one on the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.stdin(Stdio::null());
    command
}

/// Runs `command` with its output shown; an error unless it exits with 0.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), String> {
    timed(name, &show(command), || {
        let status = command.stdin(Stdio::null()).status().map_err(|error| cannot_start(command, &error))?;
        check(status, &show(command))
    })
}

/// Prints `name` and `what`, runs `work`, prints the seconds.
pub(crate) fn timed<T>(
    name: &str,
    what: &str,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    println!("── {name}: {what}");
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    println!("── {name}: {verdict}, {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Runs `command` with its output kept; `Err` only when it cannot start.
pub(crate) fn quiet(command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))
}

/// The standard output of `command`, if it starts and exits with 0.
pub(crate) fn answer(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs `command`, shows its output as it comes and returns the lines that `keep` selects.
pub(crate) fn tee(
    command: &mut Command,
    keep: fn(&str) -> bool,
) -> Result<(ExitStatus, Vec<String>), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    let lines = forward_both(&mut child, keep);
    let status = child.wait().map_err(|error| format!("lost `{}`: {error}", show(command)))?;
    Ok((status, lines?))
}

fn forward_both(child: &mut Child, keep: fn(&str) -> bool) -> Result<Vec<String>, String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| forward(stderr, &mut std::io::stderr(), keep));
        let mut lines = forward(stdout, &mut std::io::stdout(), keep)?;
        lines.extend(errors.join().map_err(|_| "the reader of standard error died".to_owned())??);
        Ok(lines)
    })
}

fn forward(
    from: Option<impl Read>,
    to: &mut impl Write,
    keep: fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let mut kept = Vec::new();
    let Some(from) = from else { return Ok(kept) };
    for line in BufReader::new(from).split(b'\n') {
        let line = line.map_err(|error| format!("cannot read a program's output: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        writeln!(to, "{line}").map_err(|error| format!("cannot print: {error}"))?;
        if keep(&line) {
            kept.push(line.trim().to_owned());
        }
    }
    Ok(kept)
}

/// Runs a `cargo build …` and returns the path of what it made: the executable of the target called
/// `name`, or of the only one of kind `kind` when `name` is `None`.
pub(crate) fn built(command: &mut Command, kind: &str, name: Option<&str>) -> Result<String, String> {
    command.args(["--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    check(output.status, &show(command))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut executables = stdout.lines().filter_map(|line| executable_of(line, kind, name));
    let found = executables.next().ok_or_else(|| format!("`{}` built no {kind}", show(command)))?;
    match executables.next() {
        Some(second) => Err(format!("`{}` built both {found} and {second}", show(command))),
        None => Ok(found),
    }
}

fn executable_of(line: &str, kind: &str, name: Option<&str>) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let is_kind = target.get("kind")?.as_array()?.iter().any(|entry| entry == kind);
    let is_name = name.is_none_or(|name| target.get("name").is_some_and(|entry| entry == name));
    (is_kind && is_name).then_some(())?;
    message.get("executable")?.as_str().map(str::to_owned)
}

/// An error that names the command unless `status` is success.
pub(crate) fn check(status: ExitStatus, command: &str) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("`{command}` failed: {status}")) }
}

/// The command line, for people.
pub(crate) fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", show(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = step("try", Command::new("sh").args(["-c", "exit 3"])).expect_err("exits with 3");
        assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
        let error = step("try", &mut Command::new("no-such-program-here")).expect_err("cannot start");
        assert!(error.contains("no-such-program-here"), "{error}");
    }

    #[test]
    fn tee_keeps_lines_of_both_streams() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out Summary; echo other; echo err Summary >&2; exit 1"]);
        let (status, lines) = tee(&mut command, |line| line.contains("Summary")).expect("runs");
        assert!(!status.success());
        assert_eq!(lines, ["out Summary", "err Summary"]);
    }

    #[test]
    fn the_executable_is_read_from_cargo_s_messages() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"p"},"executable":"/t/p"}"#;
        assert_eq!(executable_of(line, "bin", None).as_deref(), Some("/t/p"));
        assert_eq!(executable_of(line, "bin", Some("q")), None);
        assert_eq!(executable_of(line, "example", None), None);
        assert_eq!(executable_of("Compiling", "bin", None), None);
    }
}
