//! Whose the first words of surfaces are.

use std::path::Path;

use portcullis_server::config::ServersConfig;

use super::Planning;
use crate::wrap::document::Entry;
use crate::wrap::error::{Problem, one_line};

impl<'a> Planning<'a> {
    /// Takes a word for a server. Two servers of one word would be one to policy.
    pub(super) fn take(
        &mut self,
        word: &str,
        entry: &'a Entry,
        command: Vec<&'a str>,
    ) -> Result<(), Problem> {
        let name = entry.name.as_str();
        match self.taken.get(word) {
            Some((other, _)) if *other != name => {
                let (word, server, other) = (word.to_owned(), name.to_owned(), (*other).to_owned());
                return Err(Problem::Taken { word, server, other });
            }
            Some((_, known)) if *known != command => self.warnings.push(format!(
                "`{}` starts one command here and another there, and the same rules hold for both: `{word}.…`",
                one_line(name)
            )),
            Some(_) => {}
            None => drop(self.taken.insert(word.to_owned(), (name, command))),
        }
        Ok(())
    }

    /// Takes the words of the servers that a file declares.
    pub(super) fn take_all(&mut self, entry: &'a Entry, file: &Path) -> Result<(), Problem> {
        // A relative one is found elsewhere by each process.
        let read = if file.is_absolute() { ServersConfig::read(file).ok() } else { None };
        let Some(read) = read else {
            self.warnings.push(format!(
                "which servers `{}` starts is not known here, as its `--servers` cannot be read: see that no other server has one of \
                 their names",
                one_line(&entry.name)
            ));
            return Ok(());
        };
        read.servers.iter().try_for_each(|server| self.take(&server.name, entry, Vec::new()))
    }
}
