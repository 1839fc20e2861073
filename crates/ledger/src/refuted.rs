//! Who outside refutes this log, kept beyond the process: a refutation that a restart forgot would be none.
//!
//! The file `REFUTED` in the data directory says which witness, and what it said. While it is there nothing is opened
//! for recording, and whoever reads the log beside its writer is told so. Only a cosignature of that witness takes its word
//! out again; a log that goes on after `log abandon` has another data directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::durable::replace_durably;
use crate::error::LedgerError;
use crate::generation::sync_parent;

/// The file's name in the data directory: a JSON object, from the witness's name to what it said.
const REFUTED: &str = "REFUTED";

/// The refutations of a data directory's log.
#[derive(Clone, Debug)]
pub struct Refutations {
    path: PathBuf,
}

impl Refutations {
    /// Those of a data directory.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(REFUTED) }
    }

    /// Who refutes the log, and what each said.
    ///
    /// # Errors
    /// If that cannot be told. It is refuted then.
    pub fn standing(&self) -> io::Result<BTreeMap<String, String>> {
        match fs::read(&self.path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Notes that a witness refutes the log, durably.
    ///
    /// # Errors
    /// If that is not known to lie on the disk.
    pub fn raise(&self, who: &str, what: &str) -> io::Result<()> {
        let mut standing = self.standing()?;
        if standing.get(who).is_some_and(|said| said == what) {
            return Ok(());
        }
        standing.insert(who.to_owned(), what.to_owned());
        self.write(&standing)
    }

    /// Takes a witness's refutation back, durably: it has cosigned a head of this ledger.
    ///
    /// # Errors
    /// If that is not known to lie on the disk. The refutation stands.
    pub fn withdraw(&self, who: &str) -> io::Result<()> {
        let mut standing = self.standing()?;
        if standing.remove(who).is_none() {
            return Ok(());
        }
        if !standing.is_empty() {
            return self.write(&standing);
        }
        fs::remove_file(&self.path)?;
        sync_parent(&self.path)
    }

    fn write(&self, standing: &BTreeMap<String, String>) -> io::Result<()> {
        replace_durably(&self.path, &serde_json::to_vec_pretty(standing)?)
    }
}

/// Whether a log is refuted. It is, unless its directory says that there is no such file.
pub(crate) fn stands(directory: &Path) -> bool {
    !matches!(directory.join(REFUTED).try_exists(), Ok(false))
}

/// Tells whoever reads a log who refutes it, and what each said.
///
/// # Errors
/// [`LedgerError::BehindAnchor`] while the log is refuted: somebody outside has seen more of it, or another history.
pub(crate) fn refuses(directory: &Path) -> Result<(), LedgerError> {
    // Before it is looked whether the file is there: a word that is taken back meanwhile refutes nothing.
    let said = Refutations::of(directory).standing();
    if !stands(directory) {
        return Ok(());
    }
    let what = match said {
        Ok(said) => {
            let words: Vec<String> = said.iter().map(|(who, what)| format!("`{who}`: {what}")).collect();
            format!("it is refuted, as `{REFUTED}` in its directory says: {}", words.join("; "))
        }
        Err(error) => {
            format!("`{REFUTED}` in its directory, which says who refutes it, cannot be read: {error}")
        }
    };
    Err(LedgerError::BehindAnchor(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_witness_takes_back_its_own_word_only() {
        let directory = tempfile::tempdir().unwrap();
        let refutations = Refutations::of(directory.path());
        assert!(!stands(directory.path()));
        refutations.withdraw("w1").unwrap();
        refutations.raise("w1", "100 records").unwrap();
        refutations.raise("w2", "another history").unwrap();
        refutations.withdraw("w1").unwrap();
        assert_eq!(
            refutations.standing().unwrap().into_iter().collect::<Vec<_>>(),
            [("w2".to_owned(), "another history".to_owned())]
        );
        assert!(stands(directory.path()));
        let told = refuses(directory.path()).unwrap_err().to_string();
        assert!(told.ends_with("`w2`: another history") && !told.contains("w1"), "{told}");
        refutations.withdraw("w2").unwrap();
        assert!(!stands(directory.path()));
        refuses(directory.path()).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_refutes_and_is_not_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(REFUTED), "torn").unwrap();
        let refutations = Refutations::of(directory.path());
        refutations.standing().unwrap_err();
        refutations.withdraw("w1").unwrap_err();
        assert!(stands(directory.path()));
        assert!(refuses(directory.path()).unwrap_err().to_string().contains("cannot be read"));
        // One that names nobody is no word that was taken back.
        std::fs::write(directory.path().join(REFUTED), "{}").unwrap();
        refuses(directory.path()).unwrap_err();
    }
}
