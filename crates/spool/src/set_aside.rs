//! Damaged spools, set aside as they were found: `SPOOL.damaged.N` until the log says so, `SPOOL.set-aside.N` from
//! then on. Nothing of them is thrown away; who has examined them removes them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::frame::parse;

/// Damaged spools that may lie there. With more the spool is not opened before somebody has looked.
const MOST: u8 = 16;

fn named(spool: &Path, ending: &str, number: u8) -> PathBuf {
    let mut name = spool.as_os_str().to_owned();
    name.push(format!(".{ending}.{number}"));
    PathBuf::from(name)
}

fn damaged(spool: &Path, number: u8) -> PathBuf {
    named(spool, "damaged", number)
}

fn examined(spool: &Path, number: u8) -> PathBuf {
    named(spool, "set-aside", number)
}

/// Keeps the spool's file as it is under another name, too.
pub(crate) fn keep(spool: &Path) -> io::Result<()> {
    for number in 1..=MOST {
        if !damaged(spool, number).try_exists()? && !examined(spool, number).try_exists()? {
            return fs::hard_link(spool, damaged(spool, number));
        }
    }
    Err(io::Error::other(format!(
        "{MOST} damaged spools are set aside beside it; look at them, and remove them"
    )))
}

/// Bytes that could not be read in what was set aside and is not on record yet. A file that nobody can read is one of which
/// nothing could be.
pub(crate) fn unreported(spool: &Path) -> u64 {
    let counted = (1..=MOST).map(|number| match fs::read(damaged(spool, number)) {
        Ok(bytes) => parse(&bytes).unreadable.max(1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => 1,
    });
    counted.fold(0, u64::saturating_add)
}

/// It is on record now.
pub(crate) fn reported(spool: &Path) {
    for number in 1..=MOST {
        // One that cannot be renamed is reported once more by the next start.
        drop(fs::rename(damaged(spool, number), examined(spool, number)));
    }
}
