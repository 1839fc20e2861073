//! `cargo xtask ci`: what .ci/run does, stopping at the first failure.

use crate::workspace::Workspace;
use crate::{deny, process, suite, tidy};

/// fmt, clippy, tidy, deny, docs, test.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let cargo = |args: &[&str]| {
        let mut cargo = process::cargo();
        cargo.args(args).current_dir(&workspace.root);
        cargo
    };
    process::step("fmt", &mut cargo(&["fmt", "--all", "--check"]))?;
    process::step("fmt, fuzz", &mut cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    process::step("fmt, bench", &mut cargo(&["fmt", "--manifest-path", "bench/Cargo.toml", "--check"]))?;
    let conformance = ["fmt", "--manifest-path", "tests/peers/conformance/Cargo.toml", "--check"];
    process::step("fmt, conformance", &mut cargo(&conformance))?;
    process::step("clippy", &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let bench = [
        "clippy",
        "--locked",
        "--manifest-path",
        "bench/Cargo.toml",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    process::step("clippy, bench", cargo(&bench).env("CARGO_TARGET_DIR", &workspace.target))?;
    process::timed("tidy", "cargo xtask tidy", || tidy::run(workspace, false))?;
    deny::run(workspace)?;
    process::step("docs", cargo(&["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    suite::run(workspace, &suite::Options::default())
}
