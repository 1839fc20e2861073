//! What end-to-end tests share: deployments, real processes, and what can be seen of them from outside.
//!
//! What ran is told by the tool server's effects and by a recording of what reached it, made by coreutils' `tee`.
//! What was decided is told by the log, verified with its public key.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub(crate) mod arbiter;
pub(crate) mod between;
pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod recording;
pub(crate) mod release;
pub(crate) mod signer;
pub(crate) mod spending;
pub(crate) mod witnesses;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use arbiter::Daemon;
pub(crate) use between::{Act, Asked, Between};
pub(crate) use client::{Answer, Gate};
pub(crate) use place::{Log, Place};
pub(crate) use process::{Pulled, limit_files, pull, signal};
pub(crate) use recording::Recording;
pub(crate) use signer::{Signed, openssl_signer};
pub(crate) use spending::{asked, spent};
pub(crate) use witnesses::{Scripted, WitnessProcess};

/// Longer than anything takes that works, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until `look` sees something, and returns it.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// Waits so long until `look` sees something, and returns it.
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        std::thread::park_timeout(LOOK);
    }
}

/// The program under test: the release binary where `cargo xtask test` names it, else the one just built.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("PORTCULLIS_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_portcullis")), PathBuf::from)
}

/// A program of the real peers: `bin/inspector`, `bin/node`, `bin/server-filesystem`, `bin/server-everything`,
/// `bin/server-memory`, `bin/log-check`, `bin/conformance`, `bin/conformance-server`, `py/bin/python`, `agents/bin/python`,
/// `agents/bin/mcp-server-git`, `agents/bin/mcp-server-sqlite`.
pub(crate) fn peer(path: &str) -> PathBuf {
    let folder = std::env::var_os("PORTCULLIS_PEERS").map_or_else(built_peers, PathBuf::from);
    let peer = folder.join(path);
    assert!(
        peer.exists(),
        "the peer `{}` is not there: run `cargo xtask test`, which installs the peers under the target directory, \
         or set PORTCULLIS_PEERS to a folder that has them",
        peer.display()
    );
    peer
}

/// Where `cargo xtask test` puts the peers: in the target directory that this test lies in.
fn built_peers() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().join("peers")
}

/// The command of the demo's tool server, which writes what it runs to `journal`.
pub(crate) fn demo_server(journal: &std::path::Path) -> Vec<String> {
    // It is there: beside what governs it a tool server can make no file.
    std::fs::File::options().create(true).append(true).open(journal).expect("a journal");
    vec![text(&program()), "__toolserver".into(), "--journal".into(), text(journal)]
}

/// The command of the real `@modelcontextprotocol/server-filesystem` over a directory.
pub(crate) fn files_server(directory: &std::path::Path) -> Vec<String> {
    vec![text(&peer("bin/server-filesystem")), text(directory)]
}

/// A path as text.
pub(crate) fn text(path: &std::path::Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
