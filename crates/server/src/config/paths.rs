//! Every path that a configuration names, whatever section it stands in: none is forgotten that is typed as one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Config;
use super::issuers::SubjectTable;
use super::sections::File;

/// Keys whose files are no secrets, and which other programs may have to read: authorities, certificates, public keys, and a
/// library.
const READ_BY_OTHERS: [&str; 5] = ["ca", "arbiter_ca", "tls_certificate", "module", "jwks_file"];

/// What a configuration names of the file system, absolute. None of it is for those who are governed by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Governing {
    /// To be neither read nor changed: the configuration itself, keys, tokens, data, bundle, and the directories of the
    /// configuration's own in which keys and tokens lie.
    pub hidden: Vec<PathBuf>,
    /// To be read, and not changed.
    pub kept: Vec<PathBuf>,
}

/// Something that may name paths.
pub(super) trait Paths {
    /// Tells each path with the key that it is the value of. `key` is this value's own.
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path));
}

impl Paths for PathBuf {
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
        found(key, self);
    }
}

impl<T: Paths> Paths for Option<T> {
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
        self.iter().for_each(|value| value.paths(key, found));
    }
}

impl<T: Paths> Paths for Vec<T> {
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
        self.iter().for_each(|value| value.paths(key, found));
    }
}

impl<T: Paths> Paths for BTreeMap<String, T> {
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
        self.values().for_each(|value| value.paths(key, found));
    }
}

/// A socket, which whoever could put another in its place could answer in the arbiter's or a source's name.
impl Paths for String {
    fn paths(&self, key: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
        if let Some(path) = self.strip_prefix("unix:") {
            found(key, Path::new(path));
        }
    }
}

macro_rules! no_paths {
    ($($type:ty),*) => { $( impl Paths for $type {
        fn paths(&self, _: &'static str, _: &mut dyn FnMut(&'static str, &Path)) {}
    } )* };
}

no_paths!(bool, u32, u64, usize, SubjectTable);

impl Config {
    /// What this configuration names of the file system.
    #[must_use]
    pub fn governing(&self) -> Governing {
        let mut governing = Governing { hidden: vec![self.path.clone()], kept: Vec::new() };
        each(&self.file, &mut |key, path| {
            let path = self.at(path);
            if READ_BY_OTHERS.contains(&key) {
                governing.kept.push(path);
            } else {
                // Keys lie beside other keys, of which a configuration names only some.
                governing.hidden.extend(self.beside(&path).map(Path::to_owned));
                governing.hidden.push(path);
            }
        });
        let signers = [&self.file.signer, &self.file.next_signer].into_iter().flatten();
        let programs =
            signers.filter_map(|signer| signer.command.as_ref().and_then(|command| command.first()));
        governing.kept.extend(programs.map(|program| self.at(Path::new(program))));
        for paths in [&mut governing.hidden, &mut governing.kept] {
            paths.sort();
            paths.dedup();
        }
        governing
    }

    /// The directory of the gate's token, if it is one that is kept from tool servers as a whole.
    #[must_use]
    pub fn gate_keys(&self) -> Option<PathBuf> {
        let token = self.at(&self.file.gate.as_ref()?.token_file);
        self.beside(&token).map(Path::to_owned)
    }

    /// A directory of the configuration's own in which a file lies.
    fn beside<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.parent().filter(|beside| *beside != self.base && beside.starts_with(&self.base))
    }
}

fn each(file: &File, found: &mut dyn FnMut(&'static str, &Path)) {
    let File {
        arbiter,
        signer,
        next_signer,
        spool,
        policy,
        facts,
        agents,
        issuers,
        log,
        cosigning,
        auditors,
        operators,
        operator,
        gate,
        mcp,
        endpoint,
        witnessing,
        witnesses,
        witness,
        serve,
    } = file;
    let sections: [&dyn Paths; 20] = [
        arbiter,
        signer,
        next_signer,
        spool,
        policy,
        facts,
        agents,
        issuers,
        log,
        cosigning,
        auditors,
        operators,
        operator,
        gate,
        mcp,
        endpoint,
        witnessing,
        witnesses,
        witness,
        serve,
    ];
    sections.into_iter().for_each(|section| section.paths("", found));
}
