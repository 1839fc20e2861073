//! A document of facts that lies in a file, which somebody else replaces now and then.

use std::path::{Path, PathBuf};

use crate::disk::{self, Survey};
use crate::{FactSnapshot, clock};

/// The file of a source of facts.
#[derive(Debug)]
pub struct FactFile {
    path: PathBuf,
    probe: Option<PathBuf>,
}

/// How a file looks without being read. Two that are equal are of one content, if they are settled.
#[derive(Clone, Debug)]
pub struct FileLook(Survey);

impl PartialEq for FileLook {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl FileLook {
    /// Whether the file is old enough for a later change to be sure to show in another look.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.0.settled
    }
}

impl FactFile {
    /// The file at a path. It need not be there yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, probe: None }
    }

    /// The same, with a file that may be touched to see what time it is on its file system: if that is the source's too, what
    /// was just written there need not be read again until its times are old.
    #[must_use]
    pub fn with_probe(self, probe: PathBuf) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file, and does not read it.
    ///
    /// # Errors
    /// If there is no regular file, or it cannot be looked at.
    pub fn look(&self) -> std::io::Result<FileLook> {
        disk::survey_file(&self.path, clock::now()).map(FileLook)
    }

    /// Reads the file, of which it is not known whether it is a document of facts. At most one byte more than one may
    /// have.
    ///
    /// # Errors
    /// If it cannot be read, or is replaced meanwhile.
    pub fn read(&self) -> std::io::Result<(Vec<u8>, FileLook)> {
        let (most, probe) = (FactSnapshot::MAX_BYTES, self.probe.as_deref());
        let (bytes, survey) = disk::read_file_at(&self.path, most, clock::now(), probe)?;
        Ok((bytes, FileLook(survey)))
    }
}
