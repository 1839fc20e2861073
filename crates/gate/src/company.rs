//! What several servers behind one gate list, beside one another: a name that people could take for another server's is
//! neither's, whatever each of the two says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::junction::names::parts;
use crate::lookalike::{forms, is_too_long};
use crate::page::MAX_TOOLS;

/// Who was told of a list: two lists of one server may differ, and neither is forgotten for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    /// The client.
    Client,
    /// The gate itself.
    Gate,
}

/// The names of one list, by the forms under which names are compared.
type Forms = BTreeMap<String, BTreeSet<String>>;

/// What is hidden of a server's list, as far as it was read, and of the one before: what is on a later page is not forgotten while the
/// list is read anew.
#[derive(Debug, Default)]
struct Hidden {
    now: BTreeSet<String>,
    before: BTreeSet<String>,
}

/// What the servers behind one gate list, as it was heard last.
#[derive(Debug)]
pub(crate) struct Company {
    servers: BTreeSet<String>,
    heard: Mutex<BTreeMap<(String, Which), Forms>>,
    /// What of each is hidden from the client.
    hidden: Mutex<BTreeMap<String, Hidden>>,
}

impl Company {
    pub(crate) fn of(servers: impl IntoIterator<Item = String>) -> Self {
        Self { servers: servers.into_iter().collect(), heard: Mutex::default(), hidden: Mutex::default() }
    }

    /// Whether there are several.
    fn is_several(&self) -> bool {
        self.servers.len() > 1
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<(String, Which), Forms>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what a server lists now.
    pub(crate) fn hear<'a>(
        &self,
        (server, which): (&str, Which),
        names: impl IntoIterator<Item = &'a String>,
    ) {
        if !self.is_several() {
            return;
        }
        let mut all = Forms::new();
        for name in names {
            for form in forms(name) {
                all.entry(form).or_default().insert(name.clone());
            }
        }
        self.heard().insert((server.to_owned(), which), all);
    }

    /// Takes up which of a server's names are hidden from the client: on the first page of a list, or on one more.
    pub(crate) fn hide(&self, server: &str, names: &BTreeSet<String>, first: bool) {
        if !self.is_several() {
            return;
        }
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let of = hidden.entry(server.to_owned()).or_default();
        if first {
            of.before = std::mem::take(&mut of.now);
        }
        let room = MAX_TOOLS.saturating_sub(of.now.len());
        of.now.extend(names.iter().take(room).cloned());
    }

    /// The only server that has a tool of this name which the client is not shown. Its gate decides a call of it.
    pub(crate) fn hides(&self, name: &str) -> Option<String> {
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |hidden: &Hidden| hidden.now.contains(name) || hidden.before.contains(name);
        let mut having = hidden.iter().filter(|(_, hidden)| has(hidden)).map(|(server, _)| server);
        having.next().filter(|_| having.next().is_none()).cloned()
    }

    /// Whether a server's name could be taken for one of another server's: it looks like one, or is written as the gate writes
    /// those of a server whose names others have too.
    pub(crate) fn is_ambiguous(&self, server: &str, name: &str) -> bool {
        if !self.is_several() {
            return false;
        }
        if parts(name, &self.servers).is_some() || is_too_long(name) {
            return true;
        }
        let forms = forms(name);
        let heard = self.heard();
        let others = heard.iter().filter(|((other, _), _)| other != server).map(|(_, list)| list);
        let mut alike = others.flat_map(|list| forms.iter().filter_map(|form| list.get(form))).flatten();
        alike.any(|other| other != name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(lists: &[(&str, &[&str])]) -> Company {
        let company = Company::of(lists.iter().map(|(server, _)| (*server).to_owned()));
        for (server, names) in lists {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            company.hear((server, Which::Client), &names);
        }
        company
    }

    #[test]
    fn a_name_that_looks_like_another_servers_is_neithers() {
        let company = company(&[("a", &["read_file", "pay", "same"]), ("b", &["read_fi1e", "Pay", "same"])]);
        for (server, name) in [("a", "read_file"), ("b", "read_fi1e"), ("a", "pay"), ("b", "Pay")] {
            assert!(company.is_ambiguous(server, name), "{server} {name}");
        }
        // One name is told apart by the servers' own; one's own names are held against each other elsewhere.
        assert!(!company.is_ambiguous("a", "same") && !company.is_ambiguous("b", "same"));
        assert!(!company.is_ambiguous("a", "other"));
    }

    #[test]
    fn a_name_that_is_written_as_another_servers_is_ambiguous_whether_or_not_that_has_it() {
        let company = company(&[("a", &["b__read"]), ("b", &[])]);
        for name in ["b__read", "a__read", "b__", "b__x__y"] {
            assert!(company.is_ambiguous("a", name), "{name}");
        }
        for name in ["c__read", "b_read", "ab__read", "_b__read"] {
            assert!(!company.is_ambiguous("a", name), "{name}");
        }
    }

    #[test]
    fn what_the_gate_heard_is_not_forgotten_for_what_the_client_heard() {
        let company = company(&[("a", &["pay"]), ("b", &[])]);
        company.hear(("b", Which::Gate), &["Pay".to_owned()]);
        company.hear(("b", Which::Client), &[]);
        assert!(company.is_ambiguous("a", "pay"));
        company.hear(("b", Which::Gate), &[]);
        assert!(!company.is_ambiguous("a", "pay"));
    }

    #[test]
    fn a_name_that_is_too_long_to_be_compared_is_nobodys() {
        let long = "x".repeat(513);
        let company = company(&[("a", &[long.as_str(), "pay"]), ("b", &[])]);
        assert!(company.is_ambiguous("a", &long) && !company.is_ambiguous("a", &long[1..]));
    }

    /// A list that was begun anew had forgotten what its later pages hide, and a call of that was on no record.
    #[test]
    fn a_hidden_name_was_nobodys_while_the_list_was_read_anew() {
        let company = company(&[("a", &[]), ("b", &[])]);
        let hide = |server: &str, names: &[&str], first: bool| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            company.hide(server, &names, first);
        };
        hide("a", &["pay", "same"], true);
        hide("b", &["same"], true);
        assert_eq!(company.hides("pay").as_deref(), Some("a"));
        assert_eq!((company.hides("same"), company.hides("other")), (None, None), "two have it, and nobody");
        hide("a", &["more"], false);
        hide("a", &["pay"], true);
        assert_eq!(
            (company.hides("pay").as_deref(), company.hides("more").as_deref()),
            (Some("a"), Some("a")),
            "its second page is not read yet"
        );
        hide("a", &[], true);
        assert_eq!((company.hides("pay").as_deref(), company.hides("more")), (Some("a"), None));
        hide("a", &[], true);
        assert_eq!((company.hides("pay"), company.hides("same").as_deref()), (None, Some("b")));
    }

    #[test]
    fn one_server_alone_has_no_company() {
        let company = company(&[("a", &["a__read", "b__read"])]);
        assert!(!company.is_ambiguous("a", "a__read"));
    }
}
