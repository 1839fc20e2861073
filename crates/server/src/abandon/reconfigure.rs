//! The configuration of the log that goes on, and of what is left of the old one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portcullis_verify::VerifierKey;
use toml_edit::{DocumentMut, Item, Table, value};

use super::AbandonLogError;
use crate::config::{ArbiterConfig, Config};

/// Where everything new lies: beside the old, with a random word in its name.
pub(super) struct Places {
    word: String,
    /// The new log's name.
    pub(super) origin: String,
    /// Its signing key.
    pub(super) signing_key: PathBuf,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// Its anchor.
    pub(super) anchor: PathBuf,
    /// The anchor of what is left of the old log.
    pub(super) left: PathBuf,
    /// The configuration of what is left of the old log.
    pub(super) archive: PathBuf,
}

impl Places {
    pub(super) fn of(config: &Config, arbiter: &ArbiterConfig, word: &str) -> Self {
        let keys = config.path().with_file_name("keys").join("log");
        let key = arbiter.signer.key_file().map_or(keys.as_path(), |file| file.as_path());
        Self {
            word: word.to_owned(),
            origin: another_name(arbiter.log_key.name().as_str(), word),
            signing_key: key.with_file_name(format!("log-{word}.key")),
            data: beside(&arbiter.data, word),
            anchor: beside(&arbiter.anchor, word),
            left: beside(&arbiter.anchor, &format!("left-{word}")),
            archive: config.path().with_file_name(format!("portcullis.given-up-{word}.toml")),
        }
    }
}

impl Places {
    /// Removes what was made, as far as that can be done: a run that comes to nothing must not fill the disk.
    pub(super) fn discard(&self) {
        drop(std::fs::remove_dir_all(&self.data));
        for file in [&self.anchor, &self.left, &self.archive, &self.signing_key] {
            drop(std::fs::remove_file(file));
        }
    }
}

/// The name without the word that a log before this one got, and with its own.
fn another_name(name: &str, word: &str) -> String {
    let is_word = |end: &str| end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('-') {
        Some((stem, end)) if is_word(end) => format!("{stem}-{word}"),
        Some(_) | None => format!("{name}-{word}"),
    }
}

/// A path beside another, without the word that the other one got: it must not grow each time.
fn beside(path: &Path, word: &str) -> PathBuf {
    let name = path.file_name().map_or_else(OsString::new, OsString::from);
    let name = match name.to_str() {
        Some(name) => OsString::from(another_name(name, word)),
        None => {
            let mut name = name;
            name.push("-");
            name.push(word);
            name
        }
    };
    path.with_file_name(name)
}

/// The configuration of the log that goes on.
pub(super) fn reconfigured(
    config: &Config,
    arbiter: &ArbiterConfig,
    places: &Places,
    log_key: &VerifierKey,
) -> Result<String, AbandonLogError> {
    let mut document = read(config)?;
    document.remove("signer");
    document.remove("next_signer");
    let section = section(config, &mut document, "arbiter")?;
    let word = places.word.as_str();
    rename(config, section, "data", &places.data, word)?;
    rename(config, section, "anchor", &places.anchor, word)?;
    section.insert("log_key", value(log_key.to_string()));
    section.insert("signing_key", value(written(config, &places.signing_key)?));
    // They are keys of a log of another name.
    section.remove("other_log_keys");
    if let Some(gate) = document.get_mut("gate").and_then(Item::as_table_mut) {
        let socket = |data: &Path| format!("unix:{}", data.join("arbiter.sock").display());
        let of_old = gate.get("arbiter").and_then(Item::as_str) == Some(socket(&arbiter.data).as_str());
        if of_old {
            gate.insert("arbiter", value(socket(&places.data)));
        }
    }
    Ok(document.to_string())
}

/// The configuration of what is left of the old log.
pub(super) fn archived(config: &Config, places: &Places) -> Result<String, AbandonLogError> {
    let mut document = read(config)?;
    let section = section(config, &mut document, "arbiter")?;
    rename(config, section, "anchor", &places.left, &format!("left-{}", places.word))?;
    let about = format!(
        "# What is left of a log of which a head was given up, for `portcullis log check`, `log export` and `receipts`.\n\
         # Nothing opens it for writing again. The log that goes on: {}\n",
        config.path().display()
    );
    Ok(format!("{about}{document}"))
}

/// Writes a path as the old one was written: relative if that was.
fn rename(
    config: &Config,
    section: &mut Table,
    key: &str,
    new: &Path,
    word: &str,
) -> Result<(), AbandonLogError> {
    let old = section.get(key).and_then(Item::as_str).map(PathBuf::from);
    let relative = old.filter(|old| old.file_name().is_some() && old.is_relative());
    let path = relative.map_or_else(|| new.to_owned(), |old| beside(&old, word));
    section.insert(key, value(written(config, &path)?));
    Ok(())
}

/// A path as a configuration can hold it.
fn written(config: &Config, path: &Path) -> Result<String, AbandonLogError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| edit(config, format!("`{}` is not UTF-8", path.display())))
}

fn read(config: &Config) -> Result<DocumentMut, AbandonLogError> {
    let text = std::fs::read_to_string(config.path()).map_err(|error| edit(config, error))?;
    text.parse().map_err(|error| edit(config, error))
}

fn section<'a>(
    config: &Config,
    document: &'a mut DocumentMut,
    name: &str,
) -> Result<&'a mut Table, AbandonLogError> {
    let section = document.get_mut(name).and_then(Item::as_table_mut);
    section.ok_or_else(|| edit(config, format!("it has no section `[{name}]`")))
}

fn edit(config: &Config, error: impl std::fmt::Display) -> AbandonLogError {
    AbandonLogError::Edit { path: config.path().to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_goes_on_has_another_name_and_lies_beside_the_old_one() {
        let word = "0123abcd";
        assert_eq!(another_name("portcullis.local/log-89ab4567", word), "portcullis.local/log-0123abcd");
        assert_eq!(another_name("example.org/log", word), "example.org/log-0123abcd");
        assert_eq!(another_name("example.org/my-log", word), "example.org/my-log-0123abcd");
        assert_eq!(beside(Path::new("/a/data/"), word), Path::new("/a/data-0123abcd"));
        assert_eq!(beside(Path::new("/a/data-89ab4567"), word), Path::new("/a/data-0123abcd"));
        assert_eq!(beside(Path::new("/a/."), word), Path::new("/a-0123abcd"));
        assert_eq!(beside(Path::new("anchor/head"), word), Path::new("anchor/head-0123abcd"));
    }
}
