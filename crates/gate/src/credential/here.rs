//! Credentials that lie on this machine: in a file that only its owner may read, or in a variable of the gate's own.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use zeroize::Zeroizing;

use super::{LONGEST, NoCredential};
use crate::upstream::OWN_PREFIX;

/// A file or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// A file of mode 0600 or less.
    File(PathBuf),
    /// A variable of the gate's environment, whose name begins with `PORTCULLIS_`: no tool server gets such a one.
    Variable(String),
}

impl Here {
    /// What is there now, at most a little more than a credential can be.
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        match self {
            Self::File(path) => read_file(path).map_err(|why| unavailable(&path.display().to_string(), &why)),
            Self::Variable(name) if !name.starts_with(OWN_PREFIX) => Err(unavailable(
                name,
                "its name does not begin with `PORTCULLIS_`, so tool servers may get it",
            )),
            Self::Variable(name) => {
                let value = std::env::var_os(name).ok_or_else(|| unavailable(name, "it is not set"))?;
                Ok(Zeroizing::new(value.into_vec()))
            }
        }
    }
}

fn unavailable(name: &str, why: &str) -> NoCredential {
    NoCredential::Unavailable(format!("`{name}`: {why}"))
}

/// Opens a file that nobody else may read.
pub(super) fn open_private(path: &Path) -> Result<File, String> {
    // What is no file may have nobody at its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).map_err(|error| error.to_string())?);
    // Of what was opened: another may have its name by now.
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err("it is open to others; run `chmod 600` on it".to_owned());
    }
    Ok(file)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut file = open_private(path)?;
    // One byte more than there can be; as large as it may become, for what grew would leave a copy behind.
    let mut read = Zeroizing::new(vec![0; LONGEST.saturating_add(1)]);
    let mut length = 0;
    loop {
        let rest = read.get_mut(length..).unwrap_or_default();
        match file.read(rest).map_err(|error| error.to_string())? {
            0 => break,
            more => length = length.saturating_add(more),
        }
    }
    read.truncate(length);
    Ok(read)
}
