//! The real MCP peers of the tests, pinned in tests/peers and installed under the target directory:
//!
//! - `bin/node`: the Node that the peers run on, 22.19 or later;
//! - `bin/inspector`, `bin/server-filesystem`, `bin/server-everything`, `bin/server-memory`: the npm peers, which need no
//!   environment; `node`: what other npm packages are loaded from;
//! - `py/bin/python`: a Python that can `import mcp`, and the verifiers that tests/peers/*.py name;
//! - `agents/bin/python`: one that can import the agents' frameworks, with `agents/bin/mcp-server-git` and `…-sqlite`;
//! - `schema-suite`: JSON Schema's own suite, a folder a dialect, out of the source of a package that brings it;
//! - `bin/log-check`: tests/peers/go, built with Debian's `golang.org/x/mod`;
//! - `bin/conformance`, `bin/conformance-server`: MCP's conformance suite, and tests/peers/conformance, which it is run against.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs;
use crate::process::{self, answer};
use crate::workspace::Workspace;

const MANIFESTS: [&str; 6] = [
    "package.json",
    "package-lock.json",
    "requirements.txt",
    "agents/requirements.txt",
    "suite/requirements.txt",
    "go/main.go",
];
/// Python peers, each with its manifest and what it must be able to import.
const VENVS: [(&str, &str, &str); 2] = [
    ("py", "requirements.txt", "in_toto_attestation, mcp, pymerkle, securesystemslib, sigstore"),
    (
        "agents",
        "agents/requirements.txt",
        "agents, langchain.agents, langchain_mcp_adapters, mcp_server_git, mcp_server_sqlite, pydantic_ai.mcp",
    ),
];
/// The source package that has JSON Schema's suite, and where it has it.
const SUITE: (&str, &str) = ("suite/requirements.txt", "json/tests");
/// Built anew whenever it changed, which cargo sees by itself.
const CONFORMANCE_SERVER: &str = "conformance/Cargo.toml";
/// The oldest Node that Inspector 2 starts on.
const NODE: (u32, u32) = (22, 19);
const LAUNCHERS: [(&str, &str); 5] = [
    ("conformance", "conformance/dist/index.js"),
    ("inspector", "inspector/clients/launcher/build/index.js"),
    ("server-filesystem", "server-filesystem/dist/index.js"),
    ("server-everything", "server-everything/dist/index.js"),
    ("server-memory", "server-memory/dist/index.js"),
];

/// Where the peers are, once they are.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peers")
}

/// Installs the peers unless those that are there came from the same manifests, on the same platform.
pub(crate) fn provide(workspace: &Workspace) -> Result<(), String> {
    let source = workspace.root.join("tests/peers");
    let peers = folder(workspace);
    let wanted = stamp(&source, &peers)?;
    let stamp = peers.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("── peers: as pinned, in {}", peers.display());
        return conformance_server(&source, &peers);
    }
    if stamp.exists() {
        std::fs::remove_file(&stamp).map_err(failed("remove", &stamp))?;
    }
    install_node_peers(&source, &peers)?;
    for (folder, manifest, imports) in VENVS {
        install_python_peers(&peers.join(folder), &source.join(manifest), imports)?;
    }
    install_suite(&source, &peers)?;
    install_go_peers(&source, &peers)?;
    write(&stamp, &wanted)?;
    conformance_server(&source, &peers)
}

/// Everything that an installation depends on: manifests, platform, and its own place (a venv cannot move).
fn stamp(source: &Path, peers: &Path) -> Result<String, String> {
    let python = answer("python3", &["--version"]).unwrap_or_default();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let mut stamp = format!("{os} {arch} {python} {} {LAUNCHERS:?}\n", peers.display());
    for name in MANIFESTS {
        let path = source.join(name);
        stamp.push_str(&std::fs::read_to_string(&path).map_err(failed("read", &path))?);
    }
    Ok(stamp)
}

fn install_node_peers(source: &Path, peers: &Path) -> Result<(), String> {
    let node = peers.join("node");
    std::fs::create_dir_all(&node).map_err(failed("make", &node))?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), node.join(name)).map_err(failed("copy", &source.join(name)))?;
    }
    // Scripts of packages do not run: none of the peers needs its own.
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&node);
    process::step("npm peers", &mut npm)?;
    let bin = peers.join("bin");
    if bin.exists() {
        std::fs::remove_dir_all(&bin).map_err(failed("remove", &bin))?;
    }
    std::fs::create_dir_all(&bin).map_err(failed("make", &bin))?;
    let link = bin.join("node");
    symlink(node_22(&node)?, &link).map_err(failed("link", &link))?;
    for (name, script) in LAUNCHERS {
        launcher(&bin.join(name), script)?;
    }
    Ok(())
}

/// The Node that npm brought, or the machine's own where npm has none for this platform.
fn node_22(node: &Path) -> Result<PathBuf, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let brought = node.join(format!("node_modules/node-{}-{arch}/bin/node", std::env::consts::OS));
    if is_recent(&brought) {
        return Ok(brought);
    }
    let own = answer("sh", &["-c", "command -v node"]).map(PathBuf::from);
    own.filter(|own| is_recent(own)).ok_or_else(|| {
        format!(
            "npm brought no Node for this platform, and `node` is older than {}.{}; install a newer one",
            NODE.0, NODE.1
        )
    })
}

fn is_recent(node: &Path) -> bool {
    node.to_str().and_then(needs::version_of).is_some_and(|version| version >= NODE)
}

/// A script that starts a peer without looking at the environment, which the gate scrubs.
fn launcher(path: &Path, script: &str) -> Result<(), String> {
    let modules = "${0%/*}/../node/node_modules/@modelcontextprotocol";
    write(path, &format!("#!/bin/sh\nexec \"${{0%/*}}/node\" \"{modules}/{script}\" \"$@\"\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(failed("make executable", path))
}

/// Installs what the manifest pins and nothing that it does not: it names all that its packages bring.
fn install_python_peers(venv: &Path, manifest: &Path, imports: &str) -> Result<(), String> {
    process::step("python venv", Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let python = venv.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
    ]);
    process::step("python peers", pip.arg(manifest))?;
    process::step("python import", Command::new(&python).args(["-c", &format!("import {imports}")]))
}

/// Takes the suite out of the source of its package, which is the one whose digest the manifest has.
fn install_suite(source: &Path, peers: &Path) -> Result<(), String> {
    let (manifest, within) = SUITE;
    let manifest = source.join(manifest);
    let (package, suite) = (pinned_package(&manifest)?, peers.join("schema-suite"));
    if suite.exists() {
        std::fs::remove_dir_all(&suite).map_err(failed("remove", &suite))?;
    }
    std::fs::create_dir_all(&suite).map_err(failed("make", &suite))?;
    let mut pip = Command::new(peers.join("py/bin/python"));
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--no-binary", &package.0, "--require-hashes", "--dest"]).arg(&suite);
    process::step("schema suite", pip.arg("--requirement").arg(&manifest))?;
    let name = format!("{}-{}", package.0, package.1);
    let archive = suite.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--strip-components=3", "--file"]).arg(&archive);
    process::step("schema suite", tar.arg("--directory").arg(&suite).arg(format!("{name}/{within}")))?;
    std::fs::remove_file(&archive).map_err(failed("remove", &archive))
}

/// The name and version of the one package of a manifest.
fn pinned_package(manifest: &Path) -> Result<(String, String), String> {
    let text = std::fs::read_to_string(manifest).map_err(failed("read", manifest))?;
    let line = text.lines().find(|line| !line.starts_with('#'));
    let pinned = line.and_then(|line| line.split_whitespace().next()?.split_once("=="));
    let (name, version) = pinned.ok_or_else(|| format!("`{}` pins no package", manifest.display()))?;
    Ok((name.to_owned(), version.to_owned()))
}

/// Builds against the sources that the Debian package brings: without modules, so without a module proxy.
fn install_go_peers(source: &Path, peers: &Path) -> Result<(), String> {
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(peers.join("bin/log-check")).arg(source.join("go/main.go"));
    go.env("GO111MODULE", "off").env("GOPATH", needs::GO_SOURCES).env("GOFLAGS", "");
    process::step("go peers", go.env("GOCACHE", peers.join("go-cache")))
}

/// Builds the server of the conformance suite with its own lock file.
fn conformance_server(source: &Path, peers: &Path) -> Result<(), String> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--locked", "--manifest-path"]).arg(source.join(CONFORMANCE_SERVER));
    cargo.arg("--target-dir").arg(peers.join("conformance"));
    let built = process::timed("conformance server", &process::show(&cargo), || {
        process::built(&mut cargo, "bin", None)
    })?;
    let link = peers.join("bin/conformance-server");
    if link.is_symlink() {
        std::fs::remove_file(&link).map_err(failed("remove", &link))?;
    }
    symlink(built, &link).map_err(failed("link", &link))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(failed("write", path))
}

fn failed(what: &str, path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("cannot {what} `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_manifest_changes_the_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["agents", "go", "suite"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        for name in MANIFESTS {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        let before = stamp(folder.path(), Path::new("/peers")).expect("readable");
        assert_eq!(stamp(folder.path(), Path::new("/peers")), Ok(before.clone()));
        assert_ne!(stamp(folder.path(), Path::new("/elsewhere")), Ok(before.clone()));
        for manifest in VENVS.map(|(_, manifest, _)| manifest).into_iter().chain([SUITE.0]) {
            let as_it_was = std::fs::read(folder.path().join(manifest)).expect("readable");
            std::fs::write(folder.path().join(manifest), "mcp==0").expect("written");
            assert_ne!(stamp(folder.path(), Path::new("/peers")), Ok(before.clone()));
            std::fs::write(folder.path().join(manifest), as_it_was).expect("written");
        }
    }

    #[test]
    fn the_lock_file_names_no_host_and_the_manifests_pin_exactly() {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers");
        let read = |name: &str| std::fs::read_to_string(peers.join(name)).expect("checked in");
        assert!(!read("package-lock.json").contains("\"resolved\""));
        let package: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
        for group in ["dependencies", "optionalDependencies"] {
            let versions = package.get(group).and_then(|group| group.as_object()).expect("a table");
            for (name, version) in versions {
                assert!(
                    version.as_str().expect("a string").starts_with(|c: char| c.is_ascii_digit()),
                    "{name}"
                );
            }
        }
        for (_, manifest, _) in VENVS {
            let requirements = read(manifest);
            let lines = requirements.lines().filter(|line| !line.starts_with('#'));
            assert!(lines.clone().all(|line| line.contains("==")) && lines.count() > 0, "{requirements}");
        }
        let suite = read(SUITE.0);
        assert!(suite.contains(" --hash=sha256:"), "{suite}");
        assert_eq!(pinned_package(&peers.join(SUITE.0)).expect("a package").0, "jsonschema");
    }
}
