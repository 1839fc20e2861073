//! `cargo xtask deny`: deny.toml, enforced by cargo-deny.

use crate::workspace::Workspace;
use crate::{needs, process};

/// Bans, licences and sources. Advisories need a database from elsewhere, so they are not part of it.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    needs::cargo_tool("deny", "cargo-deny@0.20.2")?;
    let mut deny = process::cargo();
    deny.args(["deny", "check", "bans", "licenses", "sources"]);
    process::step("deny", deny.current_dir(&workspace.root))
}
