//! Bearer tokens that stood in clients' configurations: each lies in a file of its own beside the gate's keys, from which tool
//! servers are kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portcullis_protocol::Digest;
use portcullis_sdk::Token;

use super::document::{Document, Entry, Kind};
use super::error::WrapError;
use super::file::content;
use super::plan::wrapped;

/// Digits of a digest that tell one client's file, and one entry of it, from the others.
const DIGITS: usize = 12;

/// Where tokens go.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// The directory of the gate's keys; `None` if tool servers are not kept from it.
    pub(crate) directory: Option<String>,
    /// The client's configuration itself, behind links.
    pub(crate) client: PathBuf,
}

/// A token, and the file that is to hold it.
#[derive(Debug)]
pub(crate) struct TokenFile {
    pub(crate) path: PathBuf,
    pub(crate) token: Token,
}

impl Tokens {
    /// The file for an entry's token.
    pub(crate) fn path(&self, word: &str, entry: &[String]) -> Option<String> {
        let directory = self.directory.as_ref()?;
        Some(format!("{directory}/{}", name(word, &self.client, entry)))
    }
}

/// The name is the entry's own: no two of them share a file, and taking one back breaks none of the others.
fn name(word: &str, client: &Path, entry: &[String]) -> String {
    format!("mcp-{word}{}", end_of_name(client, entry))
}

fn end_of_name(client: &Path, entry: &[String]) -> String {
    let mut whose = client.as_os_str().as_encoded_bytes().to_vec();
    entry.iter().for_each(|part| {
        whose.push(0);
        whose.extend(part.as_bytes());
    });
    let digits: String = hex::encode(Digest::sha256(&whose).as_bytes()).chars().take(DIGITS).collect();
    format!("-{digits}.token")
}

impl TokenFile {
    fn line(&self) -> String {
        format!("{}\n", self.token.reveal())
    }

    /// That it could be written, or is there already as it is to be. Whether it is there.
    pub(crate) fn is_there(&self) -> Result<bool, WrapError> {
        match content(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Ok((bytes, metadata)) if bytes == self.line().as_bytes() && metadata.mode() & 0o077 == 0 => {
                Ok(true)
            }
            Ok(_) => Err(WrapError::OtherToken { path: self.path.clone() }),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// Writes it, whole and synced.
    pub(crate) fn write(&self) -> Result<(), WrapError> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let written = self.write_as(&beside);
        if written.is_err() {
            drop(fs::remove_file(&beside));
        }
        written.map_err(self.failed("written"))
    }

    fn write_as(&self, beside: &Path) -> io::Result<()> {
        // Left over when this program was killed.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        file.write_all(self.line().as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    /// Removes it. One that is gone already is as it should be.
    pub(crate) fn remove(&self) -> Result<(), WrapError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("removed")(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> WrapError + use<> {
        let path = self.path.clone();
        move |error| WrapError::File { path: path.clone(), what, error }
    }
}

/// Removes the files of the tokens that a configuration was never told of, because the run that wrote them was killed before it
/// changed it. Those that are something else by now stay, and are returned.
pub(crate) fn forget_untold(tokens: &Tokens, was: &Document) -> Result<Vec<PathBuf>, WrapError> {
    let Some(directory) = tokens.directory.as_deref().map(Path::new) else { return Ok(Vec::new()) };
    let failed = |error| WrapError::File { path: directory.to_owned(), what: "read", error };
    let mut stay = Vec::new();
    for file in fs::read_dir(directory).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name().to_string_lossy().into_owned();
        let of = |entry: &&Entry| {
            name.starts_with("mcp-") && name.ends_with(&end_of_name(&tokens.client, &entry.path))
        };
        let Some(Kind::Remote(remote)) = was.entries.iter().find(of).map(|entry| &entry.kind) else {
            continue;
        };
        let Some(token) = remote.reached().ok().and_then(|reached| reached.token) else { continue };
        let file = TokenFile { path: file.path(), token };
        match file.is_there() {
            Ok(true) => file.remove()?,
            Ok(false) => {}
            Err(_) => stay.push(file.path),
        }
    }
    Ok(stay)
}

/// Removes the files of the tokens that a client's configuration has itself again, each if it is what was put there. Those
/// that are something else by now stay, and are returned.
pub(crate) fn forget(client: &Path, was: &Document, now: &Document) -> Result<Vec<PathBuf>, WrapError> {
    let mut stay = Vec::new();
    for (entry, _, passage) in wrapped(now)? {
        let (Some(path), Some(word)) = (passage.token_file, passage.server) else { continue };
        let before = was.entries.iter().find(|before| before.path == entry.path);
        let Some(Kind::Remote(remote)) = before.map(|before| &before.kind) else { continue };
        let Some(token) = remote.reached().ok().and_then(|reached| reached.token) else { continue };
        let file = TokenFile { path, token };
        let own = file.path.file_name().is_some_and(|found| *found == *name(&word, client, &entry.path));
        match file.is_there() {
            Ok(true) if own => file.remove()?,
            Ok(false) => {}
            Ok(true) | Err(_) => stay.push(file.path),
        }
    }
    Ok(stay)
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
