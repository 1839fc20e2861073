//! `portcullis bundle build` makes the same bytes on any machine: of the files in `golden/` those of one digest, written here.
//! Whoever runs the tests elsewhere compares that machine with the one where it was written.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use portcullis_protocol::Digest;

use crate::Ended;
use crate::support::{program, text};

/// Of the content, as it is signed and pinned.
const CONTENT: &str = "sha256:f0bbc2a38e60fba07b25fe2ce0cba9fcb07e0fe7a188189dfcacd20099c3d533";
/// SHA-256 of the file's bytes.
const FILE: &str = "sha256:528a61bac4f7fb8a0722722ec478a98c867b47002ce3b2728655c30f8ba4b46b";

/// The files of the bundle by their paths in it, in order.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/command_line/golden");
    let mut files = Vec::new();
    let mut folders = vec![golden.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                files.push((path.strip_prefix(&golden).unwrap().to_owned(), bytes));
            }
        }
    }
    files.sort();
    files
}

/// What may differ from one machine to another.
struct Machine {
    /// Where the directory lies.
    place: &'static str,
    /// Whether the files come into being in the reverse order.
    reversed: bool,
    mode: u32,
    /// Seconds since 1970 at which they were written.
    written: u64,
    umask: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// The user and group that build it, if they can be changed.
    user: Option<&'static str>,
}

const MACHINES: [Machine; 3] = [
    Machine {
        place: "bundle",
        reversed: false,
        mode: 0o644,
        written: 1_700_000_000,
        umask: "022",
        environment: &[("TZ", "UTC"), ("LC_ALL", "C"), ("HOME", "/root"), ("USER", "root")],
        user: None,
    },
    Machine {
        place: "Ünder a päth/with spaces and 東京/x.bundle",
        reversed: true,
        mode: 0o604,
        written: 1,
        umask: "000",
        environment: &[
            ("TZ", "Pacific/Kiritimati"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "ja_JP.EUC-JP"),
            ("HOME", "/nonexistent"),
            ("USER", "nobody"),
            ("SOURCE_DATE_EPOCH", "1"),
        ],
        user: Some("65534"),
    },
    Machine {
        place: "a/b/c/d/e/f/g/h/i/j",
        reversed: true,
        mode: 0o777,
        written: 4_000_000_000,
        umask: "077",
        environment: &[("TZ", "America/St_Johns"), ("LC_ALL", "ar_EG.UTF-8"), ("COLUMNS", "7")],
        user: None,
    },
];

impl Machine {
    fn lay(&self, folder: &Path) -> PathBuf {
        let bundle = folder.join(self.place);
        let mut files = files();
        if self.reversed {
            files.reverse();
        }
        for (path, bytes) in files {
            let path = bundle.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(self.mode)).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(self.written);
            std::fs::File::open(&path).unwrap().set_modified(written).unwrap();
        }
        bundle
    }

    /// Builds the bundle's file, by the program itself.
    fn build(&self, folder: &Path) -> (Ended, Vec<u8>) {
        let (bundle, output) = (self.lay(folder), folder.join("out/golden.bundle"));
        std::fs::create_dir(folder.join("out")).unwrap();
        // Whoever builds may be another user.
        for open in [folder, &folder.join("out")] {
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o777)).unwrap();
        }
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {}; exec \"$@\"", self.umask), "sh"]);
        if let (Some(user), true) = (self.user, rustix::process::geteuid().is_root()) {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command.arg(program()).args(["bundle", "build", &text(&bundle), "--output", &text(&output)]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(self.environment.iter().copied()).current_dir("/").stdin(Stdio::null());
        let ended = Ended::of(&command.output().unwrap());
        (ended, std::fs::read(output).unwrap_or_default())
    }
}

#[test]
fn what_is_built_of_the_same_content_is_the_same_bytes_on_any_machine() {
    for machine in MACHINES {
        let folder = tempfile::tempdir().unwrap();
        let (ended, bytes) = machine.build(folder.path());
        let digest = ended.ok().lines().last().unwrap();
        assert_eq!(
            (digest, Digest::sha256(&bytes).to_string().as_str()),
            (CONTENT, FILE),
            "{}",
            machine.place
        );
    }
}
