//! Other versions of a deployment's bundle, to be activated.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use portcullis_policy::Snapshot;

use super::{Place, program, text};

const FORBID: &str = "@id(\"nothing\")\nforbid (principal, action, resource);\n";

/// A copy of the deployment's bundle with another version, and with a policy that forbids everything and no cases if `shut`, unsigned.
pub(crate) fn copy(place: &Place, version: u64, shut: bool) -> PathBuf {
    let at = place.path(&format!("bundle-{version}-{shut}"));
    let snapshot = Snapshot::read(&place.config.bundle).unwrap();
    for (path, bytes) in snapshot.files().filter(|(path, _)| *path != "bundle.sig") {
        let file = at.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let untested = if shut { "untested = true\n" } else { "" };
        let said = format!("\nversion = {version}\n{untested}");
        let manifest = String::from_utf8_lossy(bytes).replace("\nversion = 1\n", &said);
        std::fs::write(file, if path == "bundle.toml" { manifest.as_bytes() } else { bytes }).unwrap();
    }
    if shut {
        std::fs::write(at.join("policies/nothing.cedar"), FORBID).unwrap();
        std::fs::remove_dir_all(at.join("tests")).unwrap();
    }
    at
}

/// The same, signed by the deployment's own key and in one file.
pub(crate) fn release(place: &Place, version: u64, shut: bool) -> String {
    let key = text(&place.path("keys/bundle.key"));
    signed_release(place, version, shut, &key, &format!("{version}-{shut}.bundle"))
}

/// The same, signed by this key and in a file of this name.
pub(crate) fn signed_release(place: &Place, version: u64, shut: bool, key: &str, name: &str) -> String {
    let file = text(&place.path(name));
    said(&["bundle", "build", &text(&copy(place, version, shut)), "-o", &file]);
    said(&["bundle", "sign", &file, "--key", key]);
    file
}

/// The command that activates a bundle.
pub(crate) fn activation(place: &Place, bundle: &str) -> Command {
    let mut command = Command::new(program());
    command.args(["bundle", "activate", bundle, "--reason", "a test", "--config"]).arg(&place.config_path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn said(arguments: &[&str]) {
    let Output { status, stderr, .. } = Command::new(program()).args(arguments).output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
}
