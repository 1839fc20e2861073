//! Files that a program of ours prints are what it prints now.

use std::process::Command;

use super::{Finding, Tree};
use crate::process;
use crate::workspace::Workspace;

/// A checked-in file and the example that prints it.
struct Generated {
    path: &'static str,
    package: &'static str,
    example: &'static str,
}

const GENERATED: [Generated; 2] = [
    Generated { path: "api/reason-codes.md", package: "portcullis-protocol", example: "reason_codes" },
    Generated { path: "docs/configuration.md", package: "portcullis-server", example: "configuration" },
];

pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let findings = GENERATED.iter().filter_map(|generated| match generated.print(workspace) {
        Ok(printed) => compare(generated.path, tree.text(generated.path), &printed),
        Err(message) => Some(Finding::new(generated.path, 1, message)),
    });
    findings.collect()
}

/// Rewrites every generated file.
pub(super) fn bless(workspace: &Workspace) -> Result<(), String> {
    for generated in &GENERATED {
        match generated.print(workspace) {
            Ok(printed) => write(workspace, generated.path, &printed)?,
            // The check that follows reports it, beside the other findings.
            Err(message) => println!("tidy: {} left as it is: {message}", generated.path),
        }
    }
    Ok(())
}

fn write(workspace: &Workspace, path: &str, printed: &str) -> Result<(), String> {
    let full = workspace.root.join(path);
    if std::fs::read_to_string(&full).is_ok_and(|text| text == printed) {
        return Ok(());
    }
    let folder = full.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| std::fs::write(&full, printed)).map_err(|error| format!("`{path}`: {error}"))?;
    println!("tidy: wrote {path}");
    Ok(())
}

fn compare(path: &str, text: Option<&str>, printed: &str) -> Option<Finding> {
    let remedy = "run `cargo xtask tidy --bless` and look at the difference";
    let Some(text) = text else {
        return Some(Finding::new(path, 1, format!("is missing; {remedy}")));
    };
    if text == printed {
        return None;
    }
    let same = text.lines().zip(printed.lines()).take_while(|(old, new)| old == new).count();
    Some(Finding::new(
        path,
        same.saturating_add(1),
        format!("differs from what its program prints; {remedy}"),
    ))
}

impl Generated {
    /// What the example prints.
    ///
    /// Built with `--workspace`, so that features, and with them the dependencies' builds, are those of the
    /// tests: `-p` would build most of them a second time.
    fn print(&self, workspace: &Workspace) -> Result<String, String> {
        let Self { package, example, .. } = self;
        let known = workspace.package(package).is_some_and(|package| package.examples.contains(*example));
        if !known {
            return Err(format!(
                "comes from the example `{example}` of {package}, which does not exist; write it"
            ));
        }
        let mut build = process::cargo();
        build.args(["build", "--quiet", "--workspace", "--example", example]).current_dir(&workspace.root);
        let program = process::built(&mut build, "example", Some(example)).map_err(|error| {
            format!("comes from the example `{example}` of {package}, which does not build; mend it first: {error}")
        })?;
        let output = process::quiet(Command::new(program).current_dir(&workspace.root))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("its example `{example}` of {package} failed: {}", errors.trim()));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| format!("the example `{example}` of {package} printed no UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;
    use crate::workspace::Package;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let finding = |text| compare("api/a.md", text, "one\ntwo\n").into_iter().collect::<Vec<_>>();
        expect(&finding(Some("one\ntwo\n")), &[]);
        expect(&finding(Some("one\n2\n")), &[("api/a.md", 2, "differs")]);
        expect(&finding(Some("one\ntwo")), &[("api/a.md", 3, "differs")]);
        expect(&finding(None), &[("api/a.md", 1, "is missing")]);
    }

    #[test]
    fn a_missing_example_is_said_plainly() {
        let package = Package { name: "portcullis-protocol".to_owned(), ..Package::default() };
        let workspace = Workspace { root: "/".into(), target: "/".into(), packages: vec![package] };
        let findings = check(&workspace, &Tree::of(&[]));
        expect(
            &findings,
            &[
                ("api/reason-codes.md", 1, "`reason_codes` of portcullis-protocol, which does not exist"),
                ("docs/configuration.md", 1, "`configuration` of portcullis-server, which does not exist"),
            ],
        );
    }
}
