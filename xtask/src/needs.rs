//! Programs that the tests use: found, installed where that is possible, or all asked for at once.

use std::path::Path;
use std::process::Command;

use crate::process::{self, answer};

struct Need {
    name: &'static str,
    why: &'static str,
    present: fn() -> bool,
    /// Debian packages that bring it.
    apt: &'static [&'static str],
    /// What to do where those cannot be installed.
    otherwise: &'static str,
}

/// Where the Debian package puts the sources of `golang.org/x/mod`.
pub(crate) const GO_SOURCES: &str = "/usr/share/gocode";

const NEEDS: [Need; 18] = [
    Need {
        name: "git",
        why: "lists the files of the tree",
        present: || answer("git", &["--version"]).is_some(),
        apt: &["git"],
        otherwise: "install git",
    },
    Need {
        name: "strace",
        why: "injects failing syscalls into real processes",
        present: || answer("strace", &["--version"]).is_some(),
        apt: &["strace"],
        otherwise: "install strace 5.0 or later (Linux)",
    },
    Need {
        name: "a C++ compiler",
        why: "builds libFuzzer",
        present: || answer("c++", &["--version"]).is_some(),
        apt: &["g++"],
        otherwise: "install a C++ compiler as `c++`",
    },
    Need {
        name: "prlimit",
        why: "takes resources away from real processes",
        present: || answer("prlimit", &["--version"]).is_some(),
        apt: &["util-linux"],
        otherwise: "install util-linux",
    },
    Need {
        name: "mount and fsfreeze",
        why: "gives ledgers small disks, and lets them stand still",
        present: || answer("mount", &["--version"]).is_some() && answer("fsfreeze", &["--version"]).is_some(),
        apt: &["mount", "util-linux"],
        otherwise: "install util-linux",
    },
    Need {
        name: "mkfs.ext4 and e2fsck",
        why: "make disks that turn read-only, and repair them",
        present: || {
            process::quiet(Command::new("mkfs.ext4").arg("-V")).is_ok()
                && process::quiet(Command::new("e2fsck").arg("-V")).is_ok()
        },
        apt: &["e2fsprogs"],
        otherwise: "install e2fsprogs",
    },
    Need {
        name: "FUSE",
        why: "gives ledgers a disk that forgets what was not synced",
        present: || Path::new("/dev/fuse").exists() && answer("fusermount3", &["--version"]).is_some(),
        apt: &["fuse3"],
        otherwise: "install fuse3, on a kernel with FUSE (Linux)",
    },
    Need {
        name: "libfaketime",
        why: "moves the clock of a single process",
        present: || {
            Path::new("/usr/lib").read_dir().is_ok_and(|mut folders| {
                folders.any(|folder| {
                    folder.is_ok_and(|folder| folder.path().join("faketime/libfaketime.so.1").exists())
                })
            })
        },
        apt: &["libfaketime"],
        otherwise: "install libfaketime below /usr/lib (Linux)",
    },
    Need {
        name: "ps",
        why: "shows what real processes were started with",
        present: || answer("ps", &["--version"]).is_some(),
        apt: &["procps"],
        otherwise: "install procps",
    },
    Need {
        name: "OpenSSL 3",
        why: "is a signer that nobody here wrote",
        present: || version_of_openssl().is_some_and(|version| version >= (3, 0)),
        apt: &["openssl"],
        otherwise: "install OpenSSL 3.0 or later",
    },
    Need {
        name: "SoftHSM 2 and pkcs11-tool",
        why: "are the token that holds the log's key",
        present: || {
            answer("softhsm2-util", &["--version"]).is_some()
                && answer("sh", &["-c", "command -v pkcs11-tool"]).is_some()
        },
        apt: &["softhsm2", "opensc"],
        otherwise: "install SoftHSM 2 with EdDSA, and OpenSC",
    },
    Need {
        name: "age",
        why: "decrypts what a credential is kept in",
        present: || answer("age", &["--version"]).is_some() && answer("age-keygen", &["--version"]).is_some(),
        apt: &["age"],
        otherwise: "install age 1.1 or later",
    },
    Need {
        name: "dbus-daemon, GNOME's keyring and secret-tool",
        why: "are a desktop's keyring",
        present: || {
            answer("dbus-daemon", &["--version"]).is_some()
                && answer("gnome-keyring-daemon", &["--version"]).is_some()
                && answer("sh", &["-c", "command -v secret-tool"]).is_some()
        },
        apt: &["dbus", "gnome-keyring", "libsecret-tools"],
        otherwise: "install dbus, gnome-keyring and libsecret-tools",
    },
    Need {
        name: "Node 18 or later, with npm",
        why: "installs the MCP peers, which bring their own Node 22",
        present: || {
            version_of("node").is_some_and(|version| version >= (18, 0))
                && answer("npm", &["--version"]).is_some()
        },
        apt: &["nodejs", "npm"],
        otherwise: "install Node 18 or later",
    },
    Need {
        name: "Python 3.10 or later, with venv",
        why: "runs the MCP client in Python",
        present: || {
            version_of("python3").is_some_and(|version| version >= (3, 10))
                && answer("python3", &["-c", "import venv, ensurepip"]).is_some()
        },
        apt: &["python3", "python3-venv"],
        otherwise: "install Python 3.10 or later with its venv module",
    },
    Need {
        name: "cvc5",
        why: "proves statements about policies",
        present: || {
            answer("sh", &["-c", "\"${CVC5:-cvc5}\" --version"]).is_some_and(|text| text.contains("cvc5"))
        },
        apt: &["cvc5"],
        otherwise: "install cvc5 1.0.3 or later, and name it in the environment variable CVC5",
    },
    Need {
        name: "docker-registry",
        why: "is a registry of bundles that nobody here wrote",
        present: || answer("docker-registry", &["--version"]).is_some(),
        apt: &["docker-registry"],
        otherwise: "install the registry of the distribution project (2.8) as `docker-registry`",
    },
    Need {
        name: "Go with golang.org/x/mod",
        why: "verifies exported logs and receipts with code that is not ours",
        present: || {
            answer("go", &["version"]).is_some()
                && Path::new(GO_SOURCES).join("src/golang.org/x/mod/sumdb/tlog").is_dir()
        },
        apt: &["golang-go", "golang-golang-x-mod-dev"],
        otherwise: "install Go, and the sources of golang.org/x/mod below /usr/share/gocode/src",
    },
];

/// Installs what is missing, or returns one error that lists all of it.
pub(crate) fn provide() -> Result<(), String> {
    let missing = missing();
    if !missing.is_empty() && can_apt() {
        for need in &missing {
            println!("   {} is missing: {}", need.name, need.why);
        }
        let packages: Vec<&str> = missing.iter().flat_map(|need| need.apt).copied().collect();
        process::step("apt-get update", apt().arg("update"))?;
        let mut install = apt();
        install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        process::step("apt-get install", &mut install)?;
    }
    refuse(&self::missing())?;
    cargo_tool("nextest", "cargo-nextest@0.9.143")
}

/// Sees that `cargo <subcommand>` exists in whatever version, or installs `package`: the last version known to
/// build with the toolchain of this workspace.
pub(crate) fn cargo_tool(subcommand: &str, package: &str) -> Result<(), String> {
    if process::quiet(process::cargo().args([subcommand, "--version"]))
        .is_ok_and(|output| output.status.success())
    {
        return Ok(());
    }
    println!("   {package} is missing: building it takes some minutes, once");
    process::step(package, process::cargo().args(["install", "--locked", package]))
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.present)()).collect()
}

fn refuse(missing: &[&Need]) -> Result<(), String> {
    if missing.is_empty() {
        return Ok(());
    }
    let lines = missing.iter().map(|need| format!("\n  {} ({}): {}", need.name, need.why, need.otherwise));
    let packages = missing.iter().flat_map(|need| need.apt).copied().collect::<Vec<_>>().join(" ");
    Err(format!(
        "the tests need what is not here:{}\non Debian, as root: apt-get install {packages}",
        lines.collect::<String>()
    ))
}

fn can_apt() -> bool {
    answer("id", &["-u"]).is_some_and(|id| id == "0") && answer("apt-get", &["--version"]).is_some()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    command
}

/// Major and minor version that `program --version` prints.
pub(crate) fn version_of(program: &str) -> Option<(u32, u32)> {
    parse_version(&answer(program, &["--version"])?)
}

/// OpenSSL does not know `--version` everywhere.
fn version_of_openssl() -> Option<(u32, u32)> {
    parse_version(&answer("openssl", &["version"])?)
}

/// Reads `v22.23.3` or `Python 3.11.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("v22.23.3"), Some((22, 23)));
        assert_eq!(parse_version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(parse_version("OpenSSL 3.0.19 27 Jan 2026"), Some((3, 0)));
        assert_eq!(parse_version("none"), None);
    }

    #[test]
    fn one_error_lists_everything_that_is_missing() {
        let error = refuse(&NEEDS.iter().collect::<Vec<_>>()).expect_err("all are missing");
        for need in &NEEDS {
            assert!(error.contains(need.name) && error.contains(need.otherwise), "{error}");
        }
        assert!(NEEDS.iter().flat_map(|need| need.apt).all(|package| error.contains(package)), "{error}");
        assert_eq!(refuse(&[]), Ok(()));
    }
}
