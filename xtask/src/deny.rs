//! `cargo xtask deny`: deny.toml, enforced by cargo-deny.

use crate::workspace::Workspace;
use crate::{needs, process};

/// Bans, licences and sources. Advisories need a database from elsewhere, so they are not part of it.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    needs::cargo_tool("deny", "cargo-deny@0.20.2")?;
    let deny = |args: &[&str]| {
        let mut deny = process::cargo();
        deny.arg("deny").args(args).current_dir(&workspace.root);
        deny
    };
    // Beside warnings, cargo-deny shortens the graph of an error until it no longer names who is to blame.
    process::step(
        "deny, licences and sources",
        &mut deny(&["--log-level=error", "check", "licenses", "sources"]),
    )?;
    // The fuzz targets are a workspace of their own, and so are the benchmark of policy engines and the conformance suite's server.
    for (title, manifest) in [
        ("deny, fuzz", "fuzz/Cargo.toml"),
        ("deny, bench", "bench/Cargo.toml"),
        ("deny, conformance", "tests/peers/conformance/Cargo.toml"),
    ] {
        let check = ["--config", "deny.toml", "check", "licenses", "sources"];
        let arguments = [&["--log-level=error", "--manifest-path", manifest], &check[..]].concat();
        process::step(title, &mut deny(&arguments))?;
    }
    // Who may depend on what is about what ships: tests of other crates sign with Ed25519 too.
    process::step("deny, bans", &mut deny(&["--log-level=error", "--exclude-dev", "check", "bans"]))?;
    process::step(
        "deny, duplicates",
        &mut deny(&["--exclude-dev", "check", "--hide-inclusion-graph", "bans"]),
    )
}
