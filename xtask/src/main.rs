//! `cargo xtask`: the checks of this repository, each of them a command.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]

mod ci;
mod deny;
mod fuzz;
mod mutants;
mod needs;
mod peers;
mod process;
mod rust_source;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

Commands:
  tidy      style as a test: arrows, lengths, banned calls, generated files, links, paths
  test      set up what the tests need, then run all of them (nextest, doc tests, fuzz targets, mutants)
  fuzz      the fuzz targets, built with coverage, each for a minute
  mutants   break each guard that xtask/mutants.toml lists, and expect its test to fail
  deny      who may depend on what, licences and sources, by cargo-deny
  ci        fmt, clippy, tidy, deny, docs, then test: what .ci/run does

`cargo xtask <command> --help` tells more. CARGO_TARGET_DIR is respected by all of them.";

const TIDY_HELP: &str = "\
cargo xtask tidy [--bless]

Prints each finding as `path:line: what, and what to do instead`; exits with 1 if there is one.
  --bless   rewrite the generated files (api/reason-codes.md, docs/configuration.md) first

A line that must break a ban says why, at its end or on the line above: `// tidy: allow <reason>`.";

const TEST_HELP: &str = "\
cargo xtask test [--filter EXPR] [--long]

Installs what is missing (with apt when root, else it lists what to install), the pinned MCP peers of
tests/peers into the target directory, builds the release binary, then runs `cargo nextest run
--workspace`, the doc tests, the fuzz targets and the mutants.
  --filter EXPR   hand EXPR to nextest as its filter; all else is skipped
  --long          PORTCULLIS_LONG=1, PORTCULLIS_BUNDLES=2500: the heavy campaigns too, properties with more
                  than 100,000 requests each, ten minutes of each fuzz target, and every mutant; else a
                  sample of them, drawn anew each time

The tests get PORTCULLIS_PEERS (the peers' folder) and PORTCULLIS_BIN (the release binary).";

const FUZZ_HELP: &str = "\
cargo xtask fuzz [--seconds N] [--seed S] [--keep] [TARGET…]
cargo xtask fuzz TARGET --input FILE

Builds the targets of fuzz/ with coverage (needs a C++ compiler for libFuzzer), sees that a planted fault
is found, then runs all of them or those named, one more at once than there are processors. Prints the seed
and what was tried; an input that breaks something fails the command and is left in the target directory.
  --seconds N   how long each target runs; unless told 60, or 30 for what reads no evidence, bundle or request
  --seed S      of libFuzzer's choices, as an earlier run printed it
  --keep        add new small inputs to fuzz/corpus/
  --input FILE  run one target on one file";

const MUTANTS_HELP: &str = "\
cargo xtask mutants [--check] [--sample N] [--seed S] [NAME…]

For each entry of xtask/mutants.toml (or only those named): applies it to a copy of the tree in the
target directory and runs the test that is to notice. A mutant that survives fails the command.
  --check      only see that every entry still names one place in the source
  --sample N   only N of them
  --seed S     of the draw, as an earlier run printed it";

const DENY_HELP: &str = "\
cargo xtask deny

Runs `cargo deny check bans licenses sources` over deny.toml; installs cargo-deny if it is missing.";

const CI_HELP: &str = "\
cargo xtask ci

fmt, clippy, tidy, deny, docs and test, in this order; stops at the first that fails.";

/// Wrong use of the command line; printed with the help of the command, exit 2.
struct Usage(&'static str, String);

enum Task {
    Help(&'static str),
    Tidy { bless: bool },
    Test(suite::Options),
    Fuzz(fuzz::Options),
    Mutants(mutants::Options),
    Deny,
    Ci,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let task = match parse(&args) {
        Ok(task) => task,
        Err(Usage(help, message)) => {
            eprintln!("xtask: {message}\n\n{help}");
            return ExitCode::from(2);
        }
    };
    match run(&task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), String> {
    if let Task::Help(text) = task {
        println!("{text}");
        return Ok(());
    }
    let workspace = workspace::Workspace::load()?;
    match task {
        Task::Help(_) => Ok(()),
        Task::Tidy { bless } => tidy::run(&workspace, *bless),
        Task::Test(options) => suite::run(&workspace, options),
        Task::Fuzz(options) => fuzz::run(&workspace, options),
        Task::Mutants(options) => mutants::run(&workspace, options),
        Task::Deny => deny::run(&workspace),
        Task::Ci => ci::run(&workspace),
    }
}

fn parse(args: &[String]) -> Result<Task, Usage> {
    let Some((command, rest)) = args.split_first() else {
        return Err(Usage(HELP, "which command?".to_owned()));
    };
    let help = match command.as_str() {
        "help" | "--help" | "-h" => return Ok(Task::Help(HELP)),
        "tidy" => TIDY_HELP,
        "test" => TEST_HELP,
        "fuzz" => FUZZ_HELP,
        "mutants" => MUTANTS_HELP,
        "deny" => DENY_HELP,
        "ci" => CI_HELP,
        other => return Err(Usage(HELP, format!("no command `{other}`"))),
    };
    if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Task::Help(help));
    }
    let task = match command.as_str() {
        "tidy" => parse_tidy(rest),
        "test" => parse_test(rest),
        "fuzz" => parse_fuzz(rest),
        "mutants" => parse_mutants(rest),
        "deny" => no_arguments(rest).map(|()| Task::Deny),
        _ => no_arguments(rest).map(|()| Task::Ci),
    };
    task.map_err(|message| Usage(help, message))
}

fn no_arguments(rest: &[String]) -> Result<(), String> {
    rest.first().map_or(Ok(()), |arg| Err(format!("unexpected argument `{arg}`")))
}

fn parse_tidy(rest: &[String]) -> Result<Task, String> {
    match rest {
        [flag, rest @ ..] if flag == "--bless" => no_arguments(rest).map(|()| Task::Tidy { bless: true }),
        rest => no_arguments(rest).map(|()| Task::Tidy { bless: false }),
    }
}

fn parse_test(rest: &[String]) -> Result<Task, String> {
    let mut options = suite::Options::default();
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--long" => options.long = true,
            "--filter" => {
                let filter = rest.next().ok_or("`--filter` needs a nextest filter expression")?;
                options.filter = Some(filter.clone());
            }
            other => return Err(format!("unexpected argument `{other}`")),
        }
    }
    Ok(Task::Test(options))
}

fn parse_fuzz(rest: &[String]) -> Result<Task, String> {
    let mut options = fuzz::Options::default();
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{arg}` needs a value"));
        let number = |text: &String| text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
        match arg.as_str() {
            "--keep" => options.keep = true,
            "--seconds" => options.seconds = Some(number(value()?)?.into()),
            "--seed" => options.seed = Some(number(value()?)?),
            "--input" => options.input = Some(value()?.into()),
            flag if flag.starts_with('-') => return Err(format!("unexpected argument `{flag}`")),
            name => options.only.push(name.to_owned()),
        }
    }
    Ok(Task::Fuzz(options))
}

fn parse_mutants(rest: &[String]) -> Result<Task, String> {
    let mut options = mutants::Options::default();
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        let mut number = || {
            let text = rest.next().ok_or_else(|| format!("`{arg}` needs a value"))?;
            text.parse::<u32>().map_err(|_| format!("`{text}` is no number"))
        };
        match arg.as_str() {
            "--check" => options.check = true,
            "--sample" => options.sample = usize::try_from(number()?).ok(),
            "--seed" => options.seed = Some(number()?.into()),
            flag if flag.starts_with('-') => return Err(format!("unexpected argument `{flag}`")),
            name => options.only.push(name.to_owned()),
        }
    }
    Ok(Task::Mutants(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Task, Usage> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_has_help_and_refuses_what_it_does_not_know() {
        for command in ["tidy", "test", "fuzz", "mutants", "deny", "ci"] {
            assert!(matches!(parse_line(&format!("{command} --help")), Ok(Task::Help(_))), "{command}");
            assert!(parse_line(&format!("{command} --nonsense")).is_err(), "{command}");
            assert!(HELP.contains(&format!("  {command} ")), "{command}");
        }
        assert!(parse_line("").is_err());
        assert!(parse_line("tidyy").is_err());
        assert!(parse_line("test --filter").is_err());
        assert!(parse_line("tidy --bless --bless").is_err());
    }

    #[test]
    fn fuzz_flags_are_understood() {
        let Ok(Task::Fuzz(options)) = parse_line("fuzz json --seconds 5 --seed 7 --keep") else {
            panic!("not parsed");
        };
        assert_eq!(
            (options.only, options.seconds, options.seed, options.keep),
            (vec!["json".to_owned()], Some(5), Some(7), true)
        );
        assert!(parse_line("fuzz --seconds").is_err() && parse_line("fuzz --seed x").is_err());
    }

    #[test]
    fn mutants_flags_are_understood() {
        let Ok(Task::Mutants(options)) = parse_line("mutants --sample 9 --seed 7 one") else {
            panic!("not parsed");
        };
        assert_eq!(
            (options.only, options.sample, options.seed, options.check),
            (vec!["one".to_owned()], Some(9), Some(7), false)
        );
        assert!(parse_line("mutants --sample").is_err() && parse_line("mutants --seed x").is_err());
    }

    #[test]
    fn test_flags_are_understood() {
        let Ok(Task::Test(options)) = parse_line("test --long --filter package(xtask)") else {
            panic!("not parsed");
        };
        assert!(options.long);
        assert_eq!(options.filter.as_deref(), Some("package(xtask)"));
    }
}
