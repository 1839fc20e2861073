//! Credentials that a program of the system gets at: age(1) in a file that is encrypted, secret-tool(1) in the keyring of a desktop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_programs::Program;
use zeroize::Zeroizing;

use super::here::open_private;
use super::{LONGEST, NoCredential};

/// Attributes by which a keyring finds a secret.
const MOST_ATTRIBUTES: usize = 8;
/// Longest of their names and values, in bytes.
const LONGEST_ATTRIBUTE: usize = 256;
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
        // Others could decrypt it too.
        open_private(&self.identity)
            .map_err(|why| NoCredential::Unavailable(format!("`{}`: {why}", self.identity.display())))?;
        let arguments = ["--decrypt", "--identity", &identity, "--", &file].map(str::to_owned).to_vec();
        let program = Program { path: self.program.clone(), arguments };
        Ok(program.run(&[], LONGEST, left)?)
    }
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
