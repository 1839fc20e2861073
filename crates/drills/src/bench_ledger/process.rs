//! What the system says of this process and its files.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};

use crate::DrillError;

/// Processor time of this process so far, of all its threads, in user and system mode.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither part is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Resident memory of this process in kilobytes, where the system tells.
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Bytes of all files in and below a directory.
pub(super) fn bytes(directory: &Path) -> Result<u64, DrillError> {
    let mut sum = 0_u64;
    each_file(directory, &mut |path| {
        let length = std::fs::metadata(path).map_err(DrillError::system("measuring a file"))?.len();
        sum = sum.saturating_add(length);
        Ok(())
    })?;
    Ok(sum)
}

/// Asks the system to forget what it holds in memory of the files below a directory, so that what is read next comes
/// from the disk. What was not written yet stays.
pub(super) fn forget(directory: &Path) -> Result<(), DrillError> {
    each_file(directory, &mut |path| {
        let file = File::open(path).map_err(DrillError::system("opening a file"))?;
        file.sync_all().map_err(DrillError::system("syncing a file"))?;
        let advised = fadvise(&file, 0, None, Advice::DontNeed);
        advised.map_err(|error| DrillError::system("forgetting a file")(error.into()))
    })
}

fn each_file(
    directory: &Path,
    each: &mut dyn FnMut(&Path) -> Result<(), DrillError>,
) -> Result<(), DrillError> {
    let entries = std::fs::read_dir(directory).map_err(DrillError::system("listing a directory"))?;
    for entry in entries {
        let path = entry.map_err(DrillError::system("listing a directory"))?.path();
        if path.is_dir() {
            each_file(&path, each)?;
        } else {
            each(&path)?;
        }
    }
    Ok(())
}
