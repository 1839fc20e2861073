//! Where a ledger's files lie: `ledger/CURRENT` names the generation, `ledger/<generation>/ledger.db` is its
//! database. A rebuilt ledger is a new generation in a new directory; the failed one is kept for examination.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::LedgerError;

/// The generations of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Generations {
    root: PathBuf,
}

impl Generations {
    pub(crate) fn of(directory: &Path) -> Self {
        Self { root: directory.join("ledger") }
    }

    /// The database in use, or `None` if there never was one.
    pub(crate) fn current(&self) -> Result<Option<PathBuf>, LedgerError> {
        let pointer = self.root.join("CURRENT");
        match fs::read_to_string(&pointer) {
            Ok(name) => Ok(Some(self.database(parse(&name)?))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.is_untouched() => Ok(None),
            Err(error) => Err(LedgerError::file(format!("reading `{}`", pointer.display()))(error)),
        }
    }

    /// Whether no generation was ever made. A directory with generations and no pointer is damage, not a
    /// beginning.
    fn is_untouched(&self) -> bool {
        match fs::read_dir(&self.root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Makes the directory of a new generation. Returns its number and its database's path.
    pub(crate) fn next(&self) -> Result<(u64, PathBuf), LedgerError> {
        fs::create_dir_all(&self.root).map_err(LedgerError::file("making the ledger's directory"))?;
        let mut newest = 0;
        for entry in fs::read_dir(&self.root).map_err(LedgerError::file("reading the ledger's directory"))? {
            let entry = entry.map_err(LedgerError::file("reading the ledger's directory"))?;
            if let Some(Ok(number)) = entry.file_name().to_str().map(parse) {
                newest = newest.max(number);
            }
        }
        let number = newest.saturating_add(1);
        let database = self.database(number);
        if let Some(directory) = database.parent() {
            fs::create_dir(directory).map_err(LedgerError::file("making a generation's directory"))?;
        }
        sync(&self.root)?;
        Ok((number, database))
    }

    /// Makes a generation the one in use, durably.
    pub(crate) fn switch(&self, number: u64) -> Result<(), LedgerError> {
        let temporary = self.root.join("CURRENT.new");
        let mut file = File::create(&temporary).map_err(LedgerError::file("writing the ledger's pointer"))?;
        writeln!(file, "{number:06}").map_err(LedgerError::file("writing the ledger's pointer"))?;
        file.sync_all().map_err(LedgerError::file("syncing the ledger's pointer"))?;
        fs::rename(&temporary, self.root.join("CURRENT"))
            .map_err(LedgerError::file("switching the ledger's pointer"))?;
        sync(&self.root)
    }

    /// Drops generations older than the one before `number`: one failed database is kept, not all of them.
    pub(crate) fn prune(&self, number: u64) {
        for old in 1..number.saturating_sub(1) {
            if let Some(directory) = self.database(old).parent() {
                drop(fs::remove_dir_all(directory));
            }
        }
    }

    fn database(&self, number: u64) -> PathBuf {
        self.root.join(format!("{number:06}")).join("ledger.db")
    }
}

/// Makes a directory's entries durable.
pub(crate) fn sync(directory: &Path) -> Result<(), LedgerError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(LedgerError::file(format!("syncing `{}`", directory.display())))
}

fn parse(name: &str) -> Result<u64, LedgerError> {
    name.trim_end()
        .parse()
        .map_err(|_| LedgerError::Corrupt("the ledger's pointer does not name a generation".into()))
}
