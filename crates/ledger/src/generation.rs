//! Where a ledger's files lie: `ledger/CURRENT` names the generation, `ledger/<generation>/ledger.db` is its
//! database. A rebuilt ledger is a new generation in a new directory; the failed one is kept for examination.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::LedgerError;
use crate::lasting::make_directory;
use crate::store::Store;

/// The generations of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Generations {
    root: PathBuf,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) database: PathBuf,
}

impl Generations {
    pub(crate) fn of(directory: &Path) -> Self {
        Self { root: directory.join("ledger") }
    }

    /// The generation in use, or `None` if there never was one.
    pub(crate) fn current(&self) -> Result<Option<Generation>, LedgerError> {
        let pointer = self.root.join("CURRENT");
        match fs::read_to_string(&pointer) {
            Ok(name) => Ok(Some(self.generation(parse(&name)?))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.is_untouched()? => Ok(None),
            Err(error) => Err(LedgerError::file(format!("reading `{}`", pointer.display()))(error)),
        }
    }

    /// Whether no generation ever held a record. Records without a pointer to them are damage, not a beginning;
    /// a beginning that was cut short is a beginning.
    fn is_untouched(&self) -> Result<bool, LedgerError> {
        if !self.root.try_exists().map_err(LedgerError::file("looking for the ledger's directory"))? {
            return Ok(true);
        }
        for number in self.numbers()? {
            if !Store::is_blank(&self.generation(number).database)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes durable what a process may have left half done that ended in the middle of it: this one builds on it.
    pub(crate) fn settle(&self, current: &Generation) -> Result<(), LedgerError> {
        sync(current.directory())?;
        sync(&self.root)
    }

    /// Makes the directory of a new generation.
    pub(crate) fn next(&self) -> Result<Generation, LedgerError> {
        make_directory(&self.root).map_err(LedgerError::file("making the ledger's directory"))?;
        let newest = self.numbers()?.into_iter().fold(0, u64::max);
        let generation = self.generation(newest.saturating_add(1));
        fs::create_dir(generation.directory())
            .map_err(LedgerError::file("making a generation's directory"))?;
        sync(&self.root)?;
        Ok(generation)
    }

    fn numbers(&self) -> Result<Vec<u64>, LedgerError> {
        let reading = || LedgerError::file("reading the ledger's directory");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(reading())? {
            if let Some(Ok(number)) = entry.map_err(reading())?.file_name().to_str().map(parse) {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// Makes a generation the one in use, durably.
    pub(crate) fn switch(&self, generation: &Generation) -> Result<(), LedgerError> {
        let temporary = self.root.join("CURRENT.new");
        let mut file = File::create(&temporary).map_err(LedgerError::file("writing the ledger's pointer"))?;
        writeln!(file, "{:06}", generation.number)
            .map_err(LedgerError::file("writing the ledger's pointer"))?;
        file.sync_all().map_err(LedgerError::file("syncing the ledger's pointer"))?;
        fs::rename(&temporary, self.root.join("CURRENT"))
            .map_err(LedgerError::file("switching the ledger's pointer"))?;
        sync(&self.root)
    }

    /// Drops every generation but those given: one failed database is kept, not all of them.
    pub(crate) fn keep(&self, kept: &[&Generation]) {
        let Ok(numbers) = self.numbers() else { return };
        for number in numbers {
            if !kept.iter().any(|kept| kept.number == number) {
                self.generation(number).discard();
            }
        }
    }

    /// Drops databases that failed and were kept for examination: they hold what is erased.
    ///
    /// # Errors
    /// One of them is there still, or may be.
    pub(crate) fn keep_current(&self) -> Result<(), LedgerError> {
        let current = self.current()?.map(|current| current.number);
        let others: Vec<u64> =
            self.numbers()?.into_iter().filter(|number| Some(*number) != current).collect();
        for number in &others {
            let other = self.generation(*number);
            let removing = || format!("removing `{}`", other.directory().display());
            fs::remove_dir_all(other.directory()).map_err(LedgerError::file(removing()))?;
        }
        if others.is_empty() { Ok(()) } else { sync(&self.root) }
    }

    fn generation(&self, number: u64) -> Generation {
        let database = self.root.join(format!("{number:06}")).join("ledger.db");
        Generation { number, database }
    }
}

impl Generation {
    fn directory(&self) -> &Path {
        self.database.parent().map_or(self.database.as_path(), |directory| directory)
    }

    /// Removes what was built of it. What cannot be removed now goes with the next generation that succeeds.
    pub(crate) fn discard(&self) {
        drop(fs::remove_dir_all(self.directory()));
    }
}

/// Makes a directory's entries durable.
pub(crate) fn sync(directory: &Path) -> Result<(), LedgerError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(LedgerError::file(format!("syncing `{}`", directory.display())))
}

/// Makes a file's entry in its directory durable.
///
/// # Errors
/// If it was not synced: what the name names after a power cut is then unknown.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = match path.parent() {
        // A bare name lies in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    File::open(parent)?.sync_all()
}

fn parse(name: &str) -> Result<u64, LedgerError> {
    name.trim_end()
        .parse()
        .map_err(|_| LedgerError::Corrupt("the ledger's pointer does not name a generation".into()))
}
