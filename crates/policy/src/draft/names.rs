//! Which names of others are taken, and what becomes of those that cannot be a surface's.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{SurfaceName, fold};

/// Why a name is not taken.
pub(super) const NO_NAME: &str = "its name is not 1 to 128 of A-Z, a-z, 0-9, `_`, `-` and `.`";
pub(super) const LOOKALIKE: &str = "another has the same name, or one that is equal but for case";

/// What the Model Context Protocol asks of a tool's name, without the slash. Whatever else there is could be taken for
/// another name by whoever reads the bundle.
pub(super) fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The names, folded, that stand for more than one.
pub(super) fn lookalikes<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        let count = counted.entry(fold(name)).or_insert(0);
        *count = count.saturating_add(1);
    }
    counted.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

/// Surfaces for plain names, each its own.
pub(super) struct Surfaces<'a> {
    server: &'a str,
    taken: BTreeSet<SurfaceName>,
}

impl<'a> Surfaces<'a> {
    /// `own` are the names that are a surface's second word as they are. Others make room for them.
    pub(super) fn new(server: &'a str, own: impl Iterator<Item = SurfaceName>) -> Self {
        Self { server, taken: own.collect() }
    }

    /// The surface that a name is the second word of, as it is.
    pub(super) fn own(server: &str, name: &str) -> Option<SurfaceName> {
        if name.contains('.') {
            return None;
        }
        format!("{server}.{name}").parse().ok() // tidy: allow None means that the name cannot be a surface's
    }

    /// A surface that resembles a name which none can have as it is; `None` if there is no room for one.
    pub(super) fn like(&mut self, name: &str) -> Option<SurfaceName> {
        let spelled = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let word: String = name.chars().map(spelled).take(60).collect();
        let word = match word.trim_start_matches('_') {
            "" => "tool",
            word => word,
        };
        let numbered = (2..=1_000_u32).map(|number| format!("{word}-{number}"));
        let mut candidates = std::iter::once(word.to_owned()).chain(numbered);
        let found = candidates
            .find_map(|word| Self::own(self.server, &word).filter(|name| !self.taken.contains(name)))?;
        self.taken.insert(found.clone());
        Some(found)
    }
}
