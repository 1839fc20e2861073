//! Credentials that a program of the system gets at: age(1) in a file that is encrypted, secret-tool(1) in the keyring of a desktop.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_programs::Program;
use zeroize::Zeroizing;

use super::here::open_private;
use super::{LONGEST, NoCredential};

/// Attributes by which a keyring finds a secret.
const MOST_ATTRIBUTES: usize = 8;
/// Longest of their names and values, in bytes.
const LONGEST_ATTRIBUTE: usize = 256;
/// Largest file with identities that is read, in bytes.
const LARGEST_IDENTITY: u64 = 64 * 1024;
/// How the keyring is reached (libsecret over D-Bus).
const BUS: [&str; 2] = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];

/// A file that was encrypted to an identity of the gate's (age-encryption.org/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    /// age(1), or what is used like it.
    pub program: PathBuf,
    /// The file with the identity, of mode 0600 or less.
    pub identity: PathBuf,
    /// The encrypted file.
    pub file: PathBuf,
}

impl Age {
    /// Where age(1) is.
    pub const PROGRAM: &str = "/usr/bin/age";

    pub(super) fn read(&self, left: &dyn Fn() -> Duration) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        let text = |path: &PathBuf| path.to_str().map(str::to_owned);
        let (Some(identity), Some(file)) = (text(&self.identity), text(&self.file)) else {
            return Err(NoCredential::Unavailable("a path of it is no UTF-8".to_owned()));
        };
        let unavailable =
            |path: &PathBuf, why: String| NoCredential::Unavailable(format!("`{}`: {why}", path.display()));
        // Others could decrypt it too.
        let identity_file = open_private(&self.identity).map_err(|why| unavailable(&self.identity, why))?;
        if !is_native(identity_file).map_err(|error| unavailable(&self.identity, error.to_string()))? {
            let why = "it is no identity of age-keygen(1); others may ask for a passphrase";
            return Err(unavailable(&self.identity, why.to_owned()));
        }
        // Whoever may write it chooses what is in it: anybody can encrypt to an identity.
        if let Some(why) =
            others_may_write(&self.file).map_err(|error| unavailable(&self.file, error.to_string()))?
        {
            return Err(unavailable(&self.file, why.to_owned()));
        }
        let arguments = ["--decrypt", "--identity", &identity, "--", &file].map(str::to_owned).to_vec();
        let program = Program { path: self.program.clone(), arguments };
        Ok(program.run(&[], LONGEST, left)?)
    }
}

/// Whether a file has identities of age's own kind and nothing else: those ask for nothing.
pub(super) fn is_native(file: File) -> io::Result<bool> {
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    file.take(LARGEST_IDENTITY).read_to_string(&mut text)?;
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    Ok(lines.peek().is_some() && lines.all(|line| line.starts_with("AGE-SECRET-KEY-1")))
}

/// Why others may write a file, if they may.
fn others_may_write(path: &Path) -> io::Result<Option<&'static str>> {
    let metadata = std::fs::metadata(path)?;
    let own = rustix::process::geteuid().as_raw();
    Ok(if metadata.mode() & 0o022 != 0 {
        Some("others may write it; run `chmod go-w` on it")
    } else if metadata.uid() != 0 && metadata.uid() != own {
        Some("it belongs to another user, who may write it")
    } else {
        None
    })
}

/// A secret in the keyring of the gate's user (freedesktop.org Secret Service), found by its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    program: PathBuf,
    attributes: BTreeMap<String, String>,
}

/// Attributes that no secret is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there must be from 1 to {MOST_ATTRIBUTES} attributes, named with a-z, A-Z, 0-9, `_`, `-`, `.` and `:`, with values that do not begin with `-`"
)]
pub struct InvalidAttributes;

impl Keyring {
    /// Where secret-tool(1) is.
    pub const PROGRAM: &str = "/usr/bin/secret-tool";

    /// The secret with these attributes, as `secret-tool lookup` finds it.
    ///
    /// # Errors
    /// [`InvalidAttributes`].
    pub fn new(program: PathBuf, attributes: BTreeMap<String, String>) -> Result<Self, InvalidAttributes> {
        let may_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let is_option =
            |text: &str| text.is_empty() || text.starts_with('-') || text.len() > LONGEST_ATTRIBUTE;
        let fits = |(name, value): (&String, &String)| {
            name.chars().all(may_name) && !value.contains('\0') && !is_option(name) && !is_option(value)
        };
        let counts = (1..=MOST_ATTRIBUTES).contains(&attributes.len());
        if !counts || !attributes.iter().all(fits) {
            return Err(InvalidAttributes);
        }
        Ok(Self { program, attributes })
    }

    pub(super) fn read(&self, left: &dyn Fn() -> Duration) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        let mut arguments = vec!["lookup".to_owned()];
        arguments.extend(self.attributes.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
        let program = Program { path: self.program.clone(), arguments };
        Ok(program.run_passing(&BUS, &[], LONGEST, left)?)
    }
}
