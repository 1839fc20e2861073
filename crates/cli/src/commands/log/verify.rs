//! `portcullis log verify`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_server::UNFINISHED;
use portcullis_verify::{
    CosignerKey, LogKeys, LogPath, StaticLog, StaticLogError, UnverifiedCheckpoint, VerifiedCheckpoint,
    VerifiedStaticLog,
};

use crate::commands::verify::{chain, read_cosigners, read_log_key};
use crate::progress::Progress;
use crate::say;

/// What is to be verified, and how.
pub(super) struct Asked<'a> {
    pub(super) directory: &'a Path,
    pub(super) key: &'a [String],
    pub(super) cosigners: &'a [String],
    pub(super) pruned_below: u64,
    pub(super) since: &'a [PathBuf],
    pub(super) json: bool,
}

pub(super) fn run(asked: &Asked<'_>) -> ExitCode {
    let keys = match asked.key.iter().map(|key| read_log_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => LogKeys::new(keys),
        Err(error) => return say::misuse(&error),
    };
    let since = match asked.since.iter().map(|path| checkpoint(path, &keys)).collect::<Result<Vec<_>, _>>() {
        Ok(since) => since,
        Err(error) => return say::misuse(&error),
    };
    let cosigners = match read_cosigners(asked.cosigners) {
        Ok(cosigners) => cosigners,
        Err(error) => return say::misuse(&error),
    };
    match verify(asked, &keys, &cosigners, &since) {
        Ok(log) => {
            say::line(&describe(asked, &log));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say::line(&if asked.json {
                serde_json::json!({ "verified": false, "error": error }).to_string()
            } else {
                format!("{}: NOT VERIFIED: {error}", asked.directory.display())
            });
            ExitCode::from(say::FAILED)
        }
    }
}

/// A checkpoint that the verifier kept.
fn checkpoint(path: &Path, keys: &LogKeys) -> Result<VerifiedCheckpoint, String> {
    let named = |error: String| format!("`{}`: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    let note = UnverifiedCheckpoint::parse(&bytes).and_then(|note| note.verify_with(keys));
    note.map_err(|error| named(chain(&error)))
}

fn verify(
    asked: &Asked<'_>,
    keys: &LogKeys,
    cosigners: &[CosignerKey],
    since: &[VerifiedCheckpoint],
) -> Result<VerifiedStaticLog, String> {
    let mut progress = Progress::new("verified record").map_err(|error| error.to_string())?;
    if asked.directory.join(UNFINISHED).exists() {
        return Err(
            "an export into it was interrupted; run `portcullis log export` again to finish it".into()
        );
    }
    let read = |path: &LogPath| match std::fs::read(asked.directory.join(path.to_string())) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let log = StaticLog { keys, pruned_below: asked.pruned_below, since };
    // The size is not known before the checkpoint is; nothing here may be longer than it says.
    let verified = log.verify(read, |record, size| progress.step(record, size)).map_err(told)?;
    verified.head().cosigned_by(cosigners).map_err(|error| format!("`checkpoint`: {}", chain(&error)))?;
    others(asked.directory, "", &mut |name| verified.check_other(name, read).map_err(told))?;
    Ok(verified)
}

/// Tells each file's name, relative to the directory.
fn others(
    directory: &Path,
    below: &str,
    each: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("`{}`: {error}", directory.join(below).display());
    for entry in std::fs::read_dir(directory.join(below)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| format!("`{}` is no part of this log", name.display()))?;
        let name = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        if entry.file_type().map_err(failed)?.is_dir() {
            others(directory, &name, each)?;
        } else {
            each(&name)?;
        }
    }
    Ok(())
}

/// An error with its cause and, where there is one, what to do.
#[expect(clippy::needless_pass_by_value, reason = "it goes where errors go")]
fn told(error: StaticLogError<io::Error>) -> String {
    let text = chain(&error);
    if let StaticLogError::Missing { path } = &error
        && path.is_prunable(u64::MAX)
    {
        return format!(
            "{text}; if the log was pruned by agreement, say below which record with --pruned-below"
        );
    }
    text
}

fn describe(asked: &Asked<'_>, log: &VerifiedStaticLog) -> String {
    let (head, records, absent) = (log.head(), log.records(), log.absent());
    if asked.json {
        return serde_json::json!({
            "verified": true, "log": head.origin().as_str(), "size": head.size(), "root": head.root().to_string(),
            "records": records, "pruned": absent,
        })
        .to_string();
    }
    let pruned = if absent == 0 {
        String::new()
    } else {
        format!("\n  pruned  {absent} records are not there; the tree still covers them")
    };
    format!(
        "{}: verified\n  log     {}\n  head    {} records, root {}\n  records {records} there, each in the signed tree{pruned}",
        asked.directory.display(),
        head.origin(),
        head.size(),
        head.root()
    )
}
