//! `cargo xtask mutants`: every guard that xtask/mutants.toml lists is broken on purpose, in a copy of the
//! tree, and the test that names it must notice.

mod functions;
mod list;
mod tree;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use self::functions::Functions;
use self::list::Mutant;
use self::tree::Copy;
use crate::process;
use crate::tidy::Finding;
use crate::workspace::Workspace;

/// Flags of `cargo xtask mutants`.
#[derive(Default)]
pub(crate) struct Options {
    /// Only see that the list fits the source.
    pub(crate) check: bool,
    /// Only the mutants of these names; all when empty.
    pub(crate) only: Vec<String>,
    /// Only so many of them, drawn by the seed.
    pub(crate) sample: Option<usize>,
    /// What the draw depends on; printed, and by the clock unless told.
    pub(crate) seed: Option<u64>,
}

/// The selections of tests that mutants name, each with the flags of Cargo that build no more than the binaries it is in.
type Selections<'a> = BTreeMap<(&'a str, &'a str), Vec<String>>;

/// How a run of the selected tests ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Passed,
    TestFailed,
    DoesNotBuild,
    SelectsNothing,
    /// Nextest itself failed, with this exit code.
    Other(Option<i32>),
}

/// What became of a mutant.
enum Outcome {
    Killed,
    Survived,
    /// The entry, not the test, is wrong.
    Error(String),
}

/// Where the list does not fit the source, for `cargo xtask tidy`.
pub(crate) fn check_list(root: &Path) -> Vec<Finding> {
    match list::load(root) {
        Err(error) => vec![Finding::new(list::FILE, error.line, error.message)],
        Ok(mutants) => {
            let mut functions = Functions::default();
            let finding = |mutant: &Mutant| mutant.finding(root).or_else(|| functions.finding(root, mutant));
            mutants.iter().filter_map(finding).collect()
        }
    }
}

/// Runs the mutants; an error if one survives or an entry is wrong.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let findings = check_list(&workspace.root);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        return Err(format!("mutants: {} entries do not fit the source", findings.len()));
    }
    let mutants = selected(list::load(&workspace.root).map_err(|error| error.message)?, &options.only)?;
    if options.check || mutants.is_empty() {
        println!("mutants: {} listed in {}", mutants.len(), list::FILE);
        return Ok(());
    }
    let mutants = drawn(mutants, options)?;
    let failed = apply(workspace, &mutants)?;
    println!("mutants: {} passed, {failed} failed", mutants.len().saturating_sub(failed));
    if failed == 0 { Ok(()) } else { Err(format!("{failed} mutants were not killed by a test")) }
}

/// Breaks every guard. Two copies of the tree, because most of a mutant's time is one compiler's and one linker's: a
/// package's mutants stay in one copy, so that what they share is built once. How many failed.
fn apply(workspace: &Workspace, mutants: &[Mutant]) -> Result<usize, String> {
    let mut packages: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        packages.entry(&mutant.package).or_default().push(mutant);
    }
    let mut packages: Vec<_> = packages.into_values().collect();
    // The largest last, which is taken first.
    packages.sort_by_key(Vec::len);
    let first = Copy::lay(workspace, 1)?;
    first.begin_with(&workspace.target)?;
    if packages.len() == 1 {
        return packages
            .iter()
            .try_fold(0, |failed: usize, package| Ok(failed.saturating_add(kill(&first, package)?)));
    }
    let second = Copy::lay(workspace, 2)?;
    second.begin_with(&workspace.target)?;
    let (waiting, failed) = (Mutex::new(packages), Mutex::new(0_usize));
    // Called, and not written into the loop's head: there the lock would be held while the package is worked on.
    let next = || locked(&waiting).pop();
    let work = |copy: &Copy| {
        while let Some(package) = next() {
            let survived = kill(copy, &package)?;
            let mut failed = locked(&failed);
            *failed = failed.saturating_add(survived);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&second));
        let own = work(&first);
        other.join().map_err(|_| "mutants: a worker panicked".to_owned()).and_then(|other| own.and(other))
    })?;
    Ok(*locked(&failed))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Breaks the guards of one package's list. How many were not noticed.
fn kill(copy: &Copy, mutants: &[&Mutant]) -> Result<usize, String> {
    let selections = check_unmutated(copy, mutants)?;
    let mut failed = 0_usize;
    for mutant in mutants {
        let start = Instant::now();
        let outcome = attempt(copy, mutant, &selections)?;
        let seconds = start.elapsed().as_secs_f64();
        let name = &mutant.name;
        match outcome {
            Outcome::Killed => println!("killed    {seconds:6.1} s  {name}"),
            Outcome::Survived => {
                println!("SURVIVED  {seconds:6.1} s  {name}: no test of `{}` failed", mutant.test);
                failed = failed.saturating_add(1);
            }
            Outcome::Error(error) => {
                println!("ERROR     {seconds:6.1} s  {name}: {error}");
                failed = failed.saturating_add(1);
            }
        }
    }
    Ok(failed)
}

fn selected(mutants: Vec<Mutant>, only: &[String]) -> Result<Vec<Mutant>, String> {
    let unknown = only.iter().find(|name| !mutants.iter().any(|mutant| mutant.name == **name));
    if let Some(name) = unknown {
        return Err(format!("{} has no mutant `{name}`", list::FILE));
    }
    Ok(mutants.into_iter().filter(|mutant| only.is_empty() || only.contains(&mutant.name)).collect())
}

/// So many mutants as are wanted, drawn by the seed.
fn drawn(mut mutants: Vec<Mutant>, options: &Options) -> Result<Vec<Mutant>, String> {
    let Some(sample) = options.sample.filter(|sample| *sample < mutants.len()) else { return Ok(mutants) };
    let seed = options.seed.map_or_else(by_the_clock, Ok)?;
    println!("mutants: {sample} of {}; the same again: --sample {sample} --seed {seed}", mutants.len());
    mutants.sort_by_key(|mutant| {
        let mut hasher = DefaultHasher::new();
        (seed, &mutant.name).hash(&mut hasher);
        hasher.finish()
    });
    mutants.truncate(sample);
    // As they are listed: a package's neighbours share what is built.
    mutants.sort_by_key(|mutant| mutant.line);
    Ok(mutants)
}

fn by_the_clock() -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(now.subsec_nanos().into())
}

/// Each selection of tests exists and passes on the tree as it is; else a failure would prove nothing.
fn check_unmutated<'a>(copy: &Copy, mutants: &[&'a Mutant]) -> Result<Selections<'a>, String> {
    let mut selections = Selections::new();
    let mut problems = Vec::new();
    for mutant in mutants {
        let (package, test) = (mutant.package.as_str(), mutant.test.as_str());
        if selections.contains_key(&(package, test)) {
            continue;
        }
        let start = Instant::now();
        let flags = binaries(copy, package, test)?;
        // Without a flag everything would be built, to select nothing of it.
        let (ending, output) = match flags.as_slice() {
            [] => (Ending::SelectsNothing, String::new()),
            [_, ..] => run_tests(copy, package, test, &flags)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        selections.insert((package, test), flags);
        let problem = match ending {
            Ending::Passed => {
                println!("unmutated {seconds:6.1} s  {package}: {test}");
                continue;
            }
            Ending::TestFailed => "fails on the unmutated tree",
            Ending::DoesNotBuild => "does not build on the unmutated tree",
            Ending::SelectsNothing => "selects no test",
            Ending::Other(_) => "cannot be run",
        };
        println!("{}", tail(&output));
        problems.push(format!("`{test}` in {package} {problem}"));
    }
    if problems.is_empty() { Ok(selections) } else { Err(problems.join("\nxtask: ")) }
}

fn attempt(copy: &Copy, mutant: &Mutant, selections: &Selections<'_>) -> Result<Outcome, String> {
    let original = copy.read(&mutant.file)?;
    copy.write(&mutant.file, &original.replacen(&mutant.find, &mutant.replace, 1))?;
    let flags = selections.get(&(mutant.package.as_str(), mutant.test.as_str()));
    let result = run_tests(copy, &mutant.package, &mutant.test, flags.map_or(&[], Vec::as_slice));
    copy.write(&mutant.file, &original)?;
    let (ending, output) = result?;
    Ok(match ending {
        Ending::TestFailed => Outcome::Killed,
        Ending::Passed => Outcome::Survived,
        Ending::DoesNotBuild => {
            println!("{}", tail(&output));
            Outcome::Error("does not build; a compiler's no proves nothing about a test".to_owned())
        }
        Ending::SelectsNothing => Outcome::Error("selects no test once mutated".to_owned()),
        Ending::Other(code) => {
            println!("{}", tail(&output));
            Outcome::Error(format!("nextest ended with {code:?}"))
        }
    })
}

/// The flags of Cargo for the test binaries of a package that have tests of a selection. None if none has, or that cannot be told.
fn binaries(copy: &Copy, package: &str, test: &str) -> Result<Vec<String>, String> {
    let mut metadata = process::cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&copy.tree);
    let metadata = serde_json::from_slice(&process::quiet(&mut metadata)?.stdout).unwrap_or(Value::Null);
    let mut command = nextest(copy, "list", package, test);
    command.args(targets(&metadata, package)).args(["--message-format", "json"]);
    let output = process::quiet(&mut command)?;
    let listed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let suites = listed.get("rust-suites").and_then(Value::as_object);
    Ok(suites.into_iter().flatten().filter_map(|(_, suite)| flag_of(suite)).flatten().collect())
}

/// The flags of Cargo for every target of a package that has tests, from `cargo metadata`.
fn targets(metadata: &Value, package: &str) -> Vec<String> {
    let packages = metadata.get("packages").and_then(Value::as_array).into_iter().flatten();
    let own = packages.filter(|found| found.get("name").is_some_and(|name| name == package));
    let targets = own.filter_map(|found| found.get("targets")?.as_array()).flatten();
    targets.filter_map(|target| flags(target.pointer("/kind/0")?, target.get("name")?)).flatten().collect()
}

/// The flag for one binary, if it has a test that is selected.
fn flag_of(suite: &Value) -> Option<Vec<String>> {
    let tests = suite.get("testcases")?.as_object()?;
    let selected =
        |test: &Value| test.pointer("/filter-match/status").is_some_and(|status| status == "matches");
    tests.values().any(selected).then_some(())?;
    flags(suite.get("kind")?, suite.get("binary-name")?)
}

/// The flags of Cargo for a target of this kind and name, if tests are in such.
fn flags(kind: &Value, name: &Value) -> Option<Vec<String>> {
    let name = name.as_str()?.to_owned();
    match kind.as_str()? {
        "lib" => Some(vec!["--lib".to_owned()]),
        "test" => Some(vec!["--test".to_owned(), name]),
        "bin" => Some(vec!["--bin".to_owned(), name]),
        _ => None,
    }
}

fn run_tests(copy: &Copy, package: &str, test: &str, flags: &[String]) -> Result<(Ending, String), String> {
    if flags.iter().any(|flag| flag == "--test") {
        // Tests of a package run its examples, which Cargo builds beside them only where no binary is named.
        let mut examples = process::cargo();
        examples.args(["build", "--quiet", "--examples"]).args(packages(copy, package));
        examples.current_dir(&copy.tree).env("CARGO_TARGET_DIR", &copy.target).env("CARGO_INCREMENTAL", "1");
        let output = process::quiet(&mut examples)?;
        if !output.status.success() {
            return Ok((Ending::DoesNotBuild, String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    let mut command = nextest(copy, "run", package, test);
    command.args(["--no-tests", "fail"]).args(flags);
    let output = process::quiet(&mut command)?;
    Ok((ending(output.status.code()), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn nextest(copy: &Copy, verb: &str, package: &str, test: &str) -> Command {
    let mut command: Command = process::cargo();
    command.args(["nextest", verb, "--profile", "mutants"]).args(packages(copy, package));
    command.args(["--filterset", &format!("package({package}) & ({test})")]);
    command.current_dir(&copy.tree).env("CARGO_TARGET_DIR", &copy.target);
    // A mutant is a line: most of what was compiled for the one before is as it was.
    command.env("CARGO_INCREMENTAL", "1");
    // The release binary has no mutant in it, and a snapshot must not adapt to one.
    command.env_remove("PORTCULLIS_BIN").env("INSTA_UPDATE", "no").env("PORTCULLIS_PEERS", &copy.peers);
    command
}

/// The flags of Cargo for a package, and for those beside which others' crates have the features that they were built with
/// for the tests. Of a package alone some have fewer, and everything that stands on them would be built again.
fn packages(copy: &Copy, package: &str) -> Vec<String> {
    let others = copy.beside.iter().copied().filter(|other| *other != package);
    others.chain([package]).flat_map(|name| ["--package".to_owned(), name.to_owned()]).collect()
}

/// Reads nextest's exit codes, which tell a failed test from a failed build.
fn ending(code: Option<i32>) -> Ending {
    match code {
        Some(0) => Ending::Passed,
        Some(100) => Ending::TestFailed,
        Some(101) => Ending::DoesNotBuild,
        Some(4) => Ending::SelectsNothing,
        other => Ending::Other(other),
    }
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_is_no_failed_test() {
        assert_eq!(ending(Some(100)), Ending::TestFailed);
        assert_eq!(ending(Some(101)), Ending::DoesNotBuild);
        assert_eq!(ending(Some(4)), Ending::SelectsNothing);
        assert_eq!(ending(None), Ending::Other(None));
    }

    #[test]
    fn a_sample_is_drawn_by_its_seed() {
        let mutants = || {
            let mutant = |line: usize| Mutant {
                name: format!("m{line}"),
                file: String::new(),
                find: String::new(),
                replace: String::new(),
                package: String::new(),
                test: String::new(),
                line,
            };
            (0..100).map(mutant).collect::<Vec<_>>()
        };
        let lines = |sample, seed| {
            let options = Options { sample, seed: Some(seed), ..Options::default() };
            drawn(mutants(), &options).expect("drawn").iter().map(|mutant| mutant.line).collect::<Vec<_>>()
        };
        assert_eq!(lines(Some(10), 1), lines(Some(10), 1));
        assert_ne!(lines(Some(10), 1), lines(Some(10), 2));
        assert_eq!(
            (lines(Some(10), 1).len(), lines(Some(100), 1).len(), lines(None, 1).len()),
            (10, 100, 100)
        );
        assert!(lines(Some(10), 1).is_sorted());
    }

    /// A test that runs an example ran the example as it had been before the guard was broken.
    #[test]
    fn an_example_is_built_anew_for_each_mutant() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, target) = (folder.path().join("tree"), folder.path().join("target"));
        let copy = Copy { tree, target, peers: folder.path().join("peers"), beside: &[] };
        copy.write("Cargo.toml", "[package]\nname = \"guard\"\nedition = \"2024\"\n[workspace]\n")
            .expect("written");
        copy.write(".config/nextest.toml", "[profile.mutants]\nfail-fast = true\n").expect("written");
        copy.write("src/lib.rs", "pub fn may(x: u8) -> bool { x < 3 }\n").expect("written");
        copy.write("examples/host.rs", "fn main() { std::process::exit(i32::from(guard::may(3))) }\n")
            .expect("written");
        let test = "#[test] fn three_is_too_many() {\n\
                    let host = std::env::current_exe().unwrap().with_file_name(\"../examples/host\");\n\
                    assert!(std::process::Command::new(host).status().unwrap().success()); }\n";
        copy.write("tests/it.rs", test).expect("written");
        let mutant = Mutant {
            name: "m".to_owned(),
            file: "src/lib.rs".to_owned(),
            find: "x < 3".to_owned(),
            replace: "x <= 3".to_owned(),
            package: "guard".to_owned(),
            test: "test(three_is_too_many)".to_owned(),
            line: 1,
        };
        let selections = check_unmutated(&copy, &[&mutant]).expect("passes");
        assert!(matches!(attempt(&copy, &mutant, &selections), Ok(Outcome::Killed)));
    }

    /// A crate without dependencies, whose mutants meet every end.
    #[test]
    fn every_outcome_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        let (target, peers) = (folder.path().join("target"), folder.path().join("peers"));
        let copy = Copy { tree, target, peers, beside: &[] };
        copy.write("Cargo.toml", "[package]\nname = \"guard\"\nedition = \"2024\"\n[workspace]\n")
            .expect("written");
        copy.write(".config/nextest.toml", "[profile.mutants]\nfail-fast = true\n").expect("written");
        let source = "pub fn may(x: u8) -> bool { x < 3 }\npub fn idle() -> u8 { 1 }\n\
                      #[cfg(test)] mod tests { #[test] fn three_is_too_many() { assert!(!super::may(3)); } }\n";
        copy.write("src/lib.rs", source).expect("written");
        let mutant = |find: &str, replace: &str| Mutant {
            name: "m".to_owned(),
            file: "src/lib.rs".to_owned(),
            find: find.to_owned(),
            replace: replace.to_owned(),
            package: "guard".to_owned(),
            test: "test(three_is_too_many)".to_owned(),
            line: 1,
        };
        let none = Selections::new();
        let outcome =
            |find: &str, replace: &str| attempt(&copy, &mutant(find, replace), &none).expect("runs");
        assert!(matches!(outcome("x < 3", "x <= 3"), Outcome::Killed));
        assert!(matches!(outcome("-> u8 { 1 }", "-> u8 { 2 }"), Outcome::Survived));
        assert!(matches!(outcome("x < 3", "x < y"), Outcome::Error(_)));
        assert_eq!(copy.read("src/lib.rs").as_deref(), Ok(source), "the copy must be restored");

        let good = mutant("x < 3", "x <= 3");
        let selections = check_unmutated(&copy, &[&good]).expect("passes");
        assert_eq!(selections.into_values().collect::<Vec<_>>(), [["--lib".to_owned()]]);
        let nothing = Mutant { test: "test(no_such_test)".to_owned(), ..mutant("x < 3", "x <= 3") };
        let error = check_unmutated(&copy, &[&nothing]).expect_err("selects nothing");
        assert!(error.contains("selects no test"), "{error}");
    }
}
