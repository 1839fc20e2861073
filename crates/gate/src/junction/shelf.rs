//! Lists that a client reads page by page: each as it was when its first page was asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use portcullis_protocol::{Digest, Domain};

/// Items of one page, and about how many bytes.
const PAGE_ITEMS: usize = 500;
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Lists that are kept, and how many bytes of them: the oldest is forgotten first.
const MOST: usize = 8;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// For so long the pages of a list are those that were there when it was begun: what an agent may be shown changes.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Digits of a cursor that name its list.
const NAME: usize = 24;

/// One page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) items: Vec<String>,
    pub(super) next: Option<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    method: &'static str,
    items: Vec<String>,
    /// For how long the servers let clients keep it.
    ttl: u64,
    since: Instant,
}

/// The lists of one conversation.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Cursors of one conversation mean nothing in another.
    run: [u8; 32],
    last: u64,
    lists: VecDeque<List>,
}

impl Shelf {
    pub(super) const fn new(run: [u8; 32]) -> Self {
        Self { run, last: 0, lists: VecDeque::new() }
    }

    /// The first page of a list. The list is kept if there are others.
    pub(super) fn put(&mut self, method: &'static str, items: Vec<String>, ttl: u64) -> Page {
        self.last = self.last.saturating_add(1);
        let digest = Digest::of(Domain::Key, &[&self.run, b"list", &self.last.to_be_bytes()]).to_string();
        let name = digest.trim_start_matches("sha256:").chars().take(NAME).collect();
        let list = List { name, method, items, ttl, since: Instant::now() };
        let page = list.page(0);
        if page.next.is_some() {
            self.lists.push_back(list);
        }
        while self.lists.len() > MOST || self.bytes() > MOST_BYTES {
            self.lists.pop_front();
        }
        page
    }

    fn bytes(&self) -> usize {
        self.lists.iter().flat_map(|list| &list.items).map(String::len).sum()
    }

    /// The page at a cursor, if that is one of a list of this kind that is kept.
    pub(super) fn page(&self, method: &'static str, cursor: &str) -> Option<(Page, u64)> {
        let (name, from) = cursor.split_once('-')?;
        let list = self.lists.iter().find(|list| list.name == name && list.method == method)?;
        let since = list.since.elapsed();
        if since >= READ_WITHIN {
            return None;
        }
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let from = from.parse().ok().filter(|from| *from < list.items.len())?;
        Some((list.page(from), list.ttl.saturating_sub(since)))
    }
}

impl List {
    fn page(&self, from: usize) -> Page {
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        for item in self.items.iter().skip(from).take(PAGE_ITEMS) {
            bytes = bytes.saturating_add(item.len());
            if bytes > PAGE_BYTES && !items.is_empty() {
                break;
            }
            items.push(item.clone());
        }
        let behind = from.saturating_add(items.len());
        let next = (behind < self.items.len()).then(|| format!("{}-{behind}", self.name));
        Page { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn a_list_is_read_as_it_was_when_it_was_asked_for() {
        let mut shelf = Shelf::new([1; 32]);
        let mut page = shelf.put("tools/list", items(PAGE_ITEMS * 2 + 1), u64::MAX);
        let mut read = page.items.clone();
        while let Some(cursor) = page.next {
            assert_eq!(shelf.page("prompts/list", &cursor), None, "a cursor of another list");
            let ttl;
            (page, ttl) = shelf.page("tools/list", &cursor).unwrap();
            assert!(ttl > u64::MAX / 2);
            read.extend(page.items.clone());
        }
        assert_eq!(read, items(PAGE_ITEMS * 2 + 1));
        assert_eq!(shelf.put("tools/list", items(PAGE_ITEMS), 0).next, None);
    }

    #[test]
    fn pages_of_a_list_that_was_begun_long_ago_are_nobodys() {
        let mut shelf = Shelf::new([1; 32]);
        let cursor = shelf.put("tools/list", items(PAGE_ITEMS + 1), 60_000).next.unwrap();
        shelf.lists[0].since -= Duration::from_secs(10);
        let (_, ttl) = shelf.page("tools/list", &cursor).unwrap();
        assert!(ttl <= 50_000, "what has gone by is gone: {ttl}");
        shelf.lists[0].since -= READ_WITHIN;
        assert_eq!(shelf.page("tools/list", &cursor), None);
    }

    #[test]
    fn no_other_cursor_is_one() {
        let mut shelf = Shelf::new([1; 32]);
        let cursor = shelf.put("tools/list", items(PAGE_ITEMS + 1), 0).next.unwrap();
        let other = Shelf::new([2; 32]).put("tools/list", items(PAGE_ITEMS + 1), 0).next.unwrap();
        let (name, _) = cursor.split_once('-').unwrap();
        for wrong in [other.as_str(), "", "-0", name, &format!("{name}-x"), &format!("{name}-501"), "1"] {
            assert_eq!(shelf.page("tools/list", wrong), None, "{wrong}");
        }
        assert!(shelf.page("tools/list", &cursor).is_some());
    }

    #[test]
    fn lists_that_nobody_reads_on_are_forgotten_and_bound_in_bytes() {
        let mut shelf = Shelf::new([1; 32]);
        let first = shelf.put("tools/list", items(PAGE_ITEMS + 1), 0).next.unwrap();
        for _ in 0..MOST {
            shelf.put("tools/list", items(PAGE_ITEMS + 1), 0);
        }
        assert_eq!(shelf.page("tools/list", &first), None);
        assert_eq!(shelf.lists.len(), MOST);
        let big = vec!["x".repeat(PAGE_BYTES); 40];
        let page = shelf.put("tools/list", big, 0);
        assert_eq!(page.items.len(), 1, "a page has about so many bytes");
        assert!(shelf.bytes() <= MOST_BYTES);
    }
}
