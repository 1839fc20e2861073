//! The one module that touches a file system: what a bundle's directory or file holds, and whether it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, fstat, futimens, open,
    openat, stat, statat,
};
use rustix::io::Errno;

use crate::archive;
use crate::clock::Deadline;
use crate::error::{BundleError, Fault, Missing};
use crate::files::{self, DIRECTORIES, Files};
use crate::{MANIFEST_FILE, MAX_CHAIN_BYTES, RootError};

/// Two changes within this many seconds may leave a file with the same times: two seconds on FAT, a clock tick
/// on most others.
const COARSEST_TIMESTAMP: i128 = 2;
/// How long it may take until a file system's clock is seen to go on: it moves every 10 ms at most on those of Linux.
const TICKS: Duration = Duration::from_millis(50);
/// How often that is looked at.
const LOOK: Duration = Duration::from_micros(500);

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

impl Survey {
    fn of(marks: BTreeMap<String, Mark>, now: i128) -> Self {
        let newest = marks.values().map(|mark| mark.modified.0.max(mark.changed.0)).max();
        let settled = newest.is_some_and(|newest| newest.saturating_add(COARSEST_TIMESTAMP) < now);
        Self { fingerprint: Fingerprint(marks), settled }
    }
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
    Ok(Survey::of(marks, now))
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

/// Looks at one file, over a symlink if there is one, without reading it.
pub(crate) fn survey_file(path: &Path, now: i128) -> std::io::Result<Survey> {
    survey_one(&stat(path)?, now)
}

fn survey_one(stat: &Stat, now: i128) -> std::io::Result<Survey> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok(Survey::of(BTreeMap::from([(String::new(), Mark::of(stat))]), now))
}

/// Reads one file to its end, or to one byte more than it may have, as it was at one moment. The survey is of the file that
/// was opened, whatever lies at its path by then. With a `probe` as for [`read`].
pub(crate) fn read_file_at(
    path: &Path,
    most: usize,
    now: i128,
    probe: Option<&Path>,
) -> std::io::Result<(Vec<u8>, Survey)> {
    read_file_while(path, most, (now, probe), || {})
}

/// As [`read_file_at`], while `meanwhile` happens between the first look at the opened file and its first byte.
fn read_file_while(
    path: &Path,
    most: usize,
    (now, probe): (i128, Option<&Path>),
    meanwhile: impl FnOnce(),
) -> std::io::Result<(Vec<u8>, Survey)> {
    // Without NONBLOCK, a pipe put in the file's place would hang here.
    let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let mut before = survey_one(&fstat(&file)?, now)?;
    before.settled = before.settled || probe.is_some_and(|probe| is_past(probe, &before.fingerprint));
    meanwhile();
    let limit = u64::try_from(most).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut bytes = Vec::new();
    let file = File::from(file);
    (&file).take(limit).read_to_end(&mut bytes)?;
    if survey_one(&fstat(&file)?, now)?.fingerprint != before.fingerprint {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    Ok((bytes, before))
}

/// Reads every file once. The survey before and the survey after must agree, and each file opened must be the
/// one that was surveyed, so that what was read was there at one moment. With a `probe`, a file that may be touched, it is
/// found out whether the survey tells every change from now on though the files are young.
pub(crate) fn read(dir: &Path, now: i128, probe: Option<&Path>) -> Result<(Files, Survey), BundleError> {
    read_while(dir, now, probe, || {})
}

/// As [`read`], while `meanwhile` happens between the last file and the second survey.
fn read_while(
    dir: &Path,
    now: i128,
    probe: Option<&Path>,
    meanwhile: impl FnOnce(),
) -> Result<(Files, Survey), BundleError> {
    let mut before = survey(dir, now)?;
    before.settled = before.settled || probe.is_some_and(|probe| is_past(probe, &before.fingerprint));
    let files = read_surveyed(dir, &before.fingerprint)?;
    meanwhile();
    if survey(dir, now)?.fingerprint == before.fingerprint {
        Ok((files, before))
    } else {
        Err(BundleError::corrupt("", Fault::Changed))
    }
}

/// Whether the file system's clock has gone on since the newest change of what was surveyed, so that the next one has
/// another time. A file that is touched says what time it is there, however coarse that clock is and whoever's it is. Where
/// that cannot be told, the files are taken for young.
fn is_past(probe: &Path, surveyed: &Fingerprint) -> bool {
    let changed = surveyed.0.values().map(|mark| (mark.device, mark.changed));
    let Some((device, newest)) = changed.max_by_key(|(_, changed)| *changed) else { return false };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = open(probe, flags, Mode::RUSR | Mode::WUSR) else { return false };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let touch = Timestamps { last_access: now, last_modification: now };
    let end = Deadline::within(TICKS);
    while !end.is_over() {
        let touched = futimens(&file, &touch).and_then(|()| fstat(&file));
        match touched.map(|stat| is_later(&Mark::of(&stat), device, newest)) {
            Ok(Some(true)) => return true,
            Ok(Some(false)) => std::thread::park_timeout(LOOK),
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// Whether a touched file has a later time than the newest of others; `None` if its file system has another clock.
fn is_later(touched: &Mark, device: i128, newest: (i128, i128)) -> Option<bool> {
    (touched.device == device).then_some(touched.changed > newest)
}

/// Looks at the file of a chain of roots without reading it. `now` in seconds since 1970.
pub(crate) fn survey_chain(file: &Path, now: i128) -> Result<Survey, RootError> {
    Ok(Survey::of(
        BTreeMap::from([(String::new(), Mark::of(&stat(file).map_err(|e| unreadable(file, e))?))]),
        now,
    ))
}

/// Reads the file of a chain of roots, as it was at one moment.
pub(crate) fn read_chain(file: &Path, now: i128) -> Result<(Vec<u8>, Survey), RootError> {
    let survey = survey_chain(file, now)?;
    let is = |mark: &Mark| survey.fingerprint.0.get("") == Some(mark);
    // A pipe in its place would hold whoever opens it until somebody writes.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = open(file, flags, Mode::empty()).map_err(|e| unreadable(file, e))?;
    let stat = fstat(&opened).map_err(|e| unreadable(file, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(file, "it is not a regular file"));
    }
    let limit = u64::try_from(MAX_CHAIN_BYTES).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut bytes = Vec::new();
    let opened = File::from(opened);
    (&opened).take(limit).read_to_end(&mut bytes).map_err(|e| unreadable(file, e))?;
    let after = fstat(&opened).map_err(|e| unreadable(file, e))?;
    if is(&Mark::of(&stat)) && is(&Mark::of(&after)) {
        Ok((bytes, survey))
    } else {
        Err(unreadable(file, "it changed while it was read"))
    }
}

fn unreadable(file: &Path, cause: impl std::fmt::Display) -> RootError {
    RootError::Unreadable { path: file.display().to_string(), cause: cause.to_string() }
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
