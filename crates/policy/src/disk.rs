//! The one module that touches a file system: what a bundle's directory or file holds, and whether it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, stat, statat};
use rustix::io::Errno;

use crate::MANIFEST_FILE;
use crate::archive;
use crate::error::{BundleError, Fault, Missing};
use crate::files::{self, DIRECTORIES, Files};

/// Two changes within this many seconds may leave a file with the same times: two seconds on FAT, a clock tick
/// on most others.
const COARSEST_TIMESTAMP: i128 = 2;

/// The identity, size and times of a bundle's directory, of those in it and of every file; or of its one file. It tells whether
/// anything was replaced, added, removed or written since; equal content elsewhere has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<String, Mark>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: i128,
    inode: i128,
    mode: i128,
    size: i128,
    modified: (i128, i128),
    changed: (i128, i128),
}

impl Mark {
    fn of(stat: &Stat) -> Self {
        Self {
            device: i128::from(stat.st_dev),
            inode: i128::from(stat.st_ino),
            mode: i128::from(stat.st_mode),
            size: i128::from(stat.st_size),
            modified: (i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
            changed: (i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
        }
    }
}

/// A fingerprint, and whether a later change is sure to show in another one.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) settled: bool,
}

impl Fingerprint {
    /// Whether the bundle is one file: a directory has its manifest in it.
    fn is_of_file(&self) -> bool {
        !self.0.contains_key(MANIFEST_FILE)
    }
}

/// Looks at a bundle without reading a file. `now` in seconds since 1970.
pub(crate) fn survey(place: &Path, now: i128) -> Result<Survey, BundleError> {
    // The bundle itself may be reached over a symlink: what is in it is bound by digest, not by place.
    let stat = stat(place).map_err(|e| missing(place, e))?;
    let marks = if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        BTreeMap::from([(String::new(), Mark::of(&stat))])
    } else {
        survey_directory(place)?
    };
    let newest = marks.values().map(|mark| mark.modified.0.max(mark.changed.0)).max();
    let settled = newest.is_some_and(|newest| newest.saturating_add(COARSEST_TIMESTAMP) < now);
    Ok(Survey { fingerprint: Fingerprint(marks), settled })
}

fn survey_directory(dir: &Path) -> Result<BTreeMap<String, Mark>, BundleError> {
    let root = open_directory(dir)?;
    let mut marks = BTreeMap::from([(String::new(), Mark::of(&fstat(&root).map_err(|e| missing(dir, e))?))]);
    for name in list(&root, dir, "")? {
        let stat = look(&root, dir, &name)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && DIRECTORIES.contains(&name.as_str()) {
            survey_within(&root, dir, &name, &mut marks)?;
        } else {
            add(&mut marks, name, &stat)?;
        }
    }
    if !marks.contains_key(MANIFEST_FILE) {
        return Err(missing(&dir.join(MANIFEST_FILE), Errno::NOENT));
    }
    Ok(marks)
}

fn survey_within(
    root: &OwnedFd,
    dir: &Path,
    name: &str,
    marks: &mut BTreeMap<String, Mark>,
) -> Result<(), BundleError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = openat(root, name, flags, Mode::empty()).map_err(|e| vanished(dir, name, e))?;
    let mark = Mark::of(&fstat(&within).map_err(|e| vanished(dir, name, e))?);
    marks.insert(name.to_owned(), mark);
    for file in list(&within, dir, name)? {
        let path = format!("{name}/{file}");
        let stat = look(root, dir, &path)?;
        add(marks, path, &stat)?;
    }
    Ok(())
}

fn add(marks: &mut BTreeMap<String, Mark>, path: String, stat: &Stat) -> Result<(), BundleError> {
    files::admit(&path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(BundleError::corrupt(&path, Fault::NotRegular));
    }
    marks.insert(path, Mark::of(stat));
    Ok(())
}

/// The names in a directory, in order, so that the first defect is the same in every run.
fn list(directory: &OwnedFd, dir: &Path, within: &str) -> Result<BTreeSet<String>, BundleError> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory).map_err(|e| vanished(dir, within, e))? {
        let entry = entry.map_err(|e| vanished(dir, within, e))?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." {
            continue;
        }
        if entry.file_name().to_str().is_err() {
            return Err(BundleError::corrupt(&name, Fault::FileName));
        }
        names.insert(name.into_owned());
        files::admit_count(names.len())?;
    }
    Ok(names)
}

fn look(root: &OwnedFd, dir: &Path, path: &str) -> Result<Stat, BundleError> {
    statat(root, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| vanished(dir, path, e))
}

fn open_directory(dir: &Path) -> Result<OwnedFd, BundleError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(dir, flags, Mode::empty()).map_err(|e| missing(dir, e))
}

fn missing(path: &Path, errno: Errno) -> BundleError {
    let cause = std::io::Error::from(errno).to_string();
    BundleError::Missing(Missing { path: PathBuf::from(path), cause })
}

/// What was there a moment ago and is not any more has changed; anything else cannot be read.
fn vanished(dir: &Path, path: &str, errno: Errno) -> BundleError {
    match errno {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR => BundleError::corrupt(path, Fault::Changed),
        other => missing(&dir.join(path), other),
    }
}

/// Reads every file once. The survey before and the survey after must agree, and each file opened must be the
/// one that was surveyed, so that what was read was there at one moment.
pub(crate) fn read(dir: &Path, now: i128) -> Result<(Files, Survey), BundleError> {
    read_while(dir, now, || {})
}

/// As [`read`], while `meanwhile` happens between the last file and the second survey.
fn read_while(dir: &Path, now: i128, meanwhile: impl FnOnce()) -> Result<(Files, Survey), BundleError> {
    let before = survey(dir, now)?;
    let files = read_surveyed(dir, &before.fingerprint)?;
    meanwhile();
    if survey(dir, now)?.fingerprint == before.fingerprint {
        Ok((files, before))
    } else {
        Err(BundleError::corrupt("", Fault::Changed))
    }
}

fn read_surveyed(dir: &Path, surveyed: &Fingerprint) -> Result<Files, BundleError> {
    if surveyed.is_of_file() {
        return archive::read(&read_whole(dir, surveyed)?);
    }
    let root = open_directory(dir)?;
    let mut files = Files::new();
    let mut total = 0_usize;
    for (path, mark) in &surveyed.0 {
        if path.is_empty() || DIRECTORIES.contains(&path.as_str()) {
            continue;
        }
        let bytes = read_file(&root, dir, path, mark)?;
        total = total.saturating_add(bytes.len());
        files::admit_size(path, bytes.len(), total)?;
        files.insert(path.clone(), bytes);
    }
    Ok(files)
}

fn read_file(root: &OwnedFd, dir: &Path, path: &str, mark: &Mark) -> Result<Vec<u8>, BundleError> {
    // Without NONBLOCK, a pipe put in the file's place would hang here.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(root, path, flags, Mode::empty()).map_err(|e| vanished(dir, path, e))?;
    if Mark::of(&fstat(&file).map_err(|e| vanished(dir, path, e))?) != *mark {
        return Err(BundleError::corrupt(path, Fault::Changed));
    }
    read_bounded(file, files::MAX_FILE_BYTES, &dir.join(path))
}

/// Reads a bundle that is one file, if it is still the one that was surveyed.
fn read_whole(place: &Path, surveyed: &Fingerprint) -> Result<Vec<u8>, BundleError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(place, flags, Mode::empty()).map_err(|e| missing(place, e))?;
    let mark = Mark::of(&fstat(&file).map_err(|e| missing(place, e))?);
    if surveyed.0.get("") != Some(&mark) {
        return Err(BundleError::corrupt("", Fault::Changed));
    }
    read_bounded(file, archive::MAX_ARCHIVE_BYTES, place)
}

/// Reads a file to its end, or to one byte more than it may have.
fn read_bounded(file: OwnedFd, most: usize, path: &Path) -> Result<Vec<u8>, BundleError> {
    let limit = u64::try_from(most).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut bytes = Vec::new();
    let unreadable = |error: std::io::Error| {
        BundleError::Missing(Missing { path: path.to_owned(), cause: error.to_string() })
    };
    File::from(file).take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
