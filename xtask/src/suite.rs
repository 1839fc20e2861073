//! `cargo xtask test`: sets up what the tests need, then runs all of them.

use std::process::Command;

use crate::workspace::Workspace;
use crate::{fuzz, mutants, needs, peers, process};

/// How many mutants are run unless all are asked for; each takes half a minute of compiling.
const SAMPLE: usize = 12;

/// Flags of `cargo xtask test`.
#[derive(Default)]
pub(crate) struct Options {
    /// A nextest filter expression; without doc tests, fuzz targets and mutants.
    pub(crate) filter: Option<String>,
    /// Heavy campaigns too.
    pub(crate) long: bool,
}

/// Sets up and runs; an error that names every part that failed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    process::timed(
        "tools",
        "git, strace, util-linux, procps, Node, Python, Go, cvc5, cargo-nextest",
        needs::provide,
    )?;
    process::timed(
        "peers",
        "the pinned programs of tests/peers: MCP servers and clients, verifiers",
        || peers::provide(workspace),
    )?;
    let binary = process::timed("release binary", "cargo build --release", || {
        process::built(
            process::cargo().args(["build", "--release"]).current_dir(&workspace.root),
            "bin",
            None,
        )
    })?;

    let mut report = Report::default();
    let tests = nextest(workspace, options, &binary);
    let passed = report.add("tests", |counts| tee("tests", &mut { tests }, is_nextest_count, counts));
    if options.filter.is_none() {
        let mut doc = process::cargo();
        doc.args(["test", "--doc", "--workspace"]).current_dir(&workspace.root);
        report.add("doc tests", |counts| tee("doc tests", &mut doc, is_doc_count, counts));
        let seconds = options.long.then_some(600);
        report.add("fuzz", |_| {
            process::timed("fuzz", "cargo xtask fuzz", || {
                fuzz::run(workspace, &fuzz::Options { seconds, ..fuzz::Options::default() })
            })
        });
        if passed {
            report.add("mutants", |_| {
                process::timed("mutants", "cargo xtask mutants", || {
                    let sample = (!options.long).then_some(SAMPLE);
                    mutants::run(workspace, &mutants::Options { sample, ..mutants::Options::default() })
                })
            });
        } else {
            // A mutant is noticed by a test that passed before, so there is nothing to learn yet.
            println!("── mutants: not run, because tests fail");
        }
    }
    report.close()
}

#[derive(Default)]
struct Report {
    counts: Vec<String>,
    failures: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &str, work: impl FnOnce(&mut Vec<String>) -> Result<(), String>) -> bool {
        let result = work(&mut self.counts);
        let passed = result.is_ok();
        self.failures.extend(result.err().map(|error| format!("{name}: {error}")));
        passed
    }

    /// Prints what the runners counted, last, where a reader looks first.
    fn close(self) -> Result<(), String> {
        println!("── results");
        for line in &self.counts {
            println!("{line}");
        }
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.join("\nxtask: ")) }
    }
}

fn nextest(workspace: &Workspace, options: &Options, binary: &str) -> Command {
    let mut command = process::cargo();
    let profile = if options.long { "long" } else { "ci" };
    command.args(["nextest", "run", "--workspace", "--profile", profile]).current_dir(&workspace.root);
    command.env("PORTCULLIS_PEERS", peers::folder(workspace)).env("PORTCULLIS_BIN", binary);
    if let Some(filter) = &options.filter {
        command.args(["--filterset", filter]);
    }
    if options.long {
        command.env("PORTCULLIS_LONG", "1").env("PORTCULLIS_BUNDLES", "2500");
    }
    command
}

fn tee(
    name: &str,
    command: &mut Command,
    keep: fn(&str) -> bool,
    counts: &mut Vec<String>,
) -> Result<(), String> {
    let shown = process::show(command);
    process::timed(name, &shown, || {
        let (status, lines) = process::tee(command, keep)?;
        counts.extend(lines);
        process::check(status, &shown)
    })
}

fn is_nextest_count(line: &str) -> bool {
    line.trim_start().starts_with("Summary [")
}

/// Crates without doc tests print a count too; those say nothing.
fn is_doc_count(line: &str) -> bool {
    line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_counts_are_recognised() {
        assert!(is_nextest_count("     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped"));
        assert!(!is_nextest_count("        PASS [   0.005s] xtask Summary"));
        assert!(is_doc_count("test result: FAILED. 1 passed; 1 failed; 0 ignored"));
        assert!(!is_doc_count("test result: ok. 0 passed; 0 failed; 0 ignored"));
    }

    #[test]
    fn one_failed_part_fails_the_whole() {
        let mut report = Report::default();
        assert!(report.add("a", |counts| {
            counts.push("1 passed".to_owned());
            Ok(())
        }));
        assert!(!report.add("b", |_| Err("broke".to_owned())));
        assert!(report.add("c", |_| Ok(())));
        assert_eq!(report.close(), Err("b: broke".to_owned()));
    }
}
