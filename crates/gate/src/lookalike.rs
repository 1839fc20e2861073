//! What people cannot tell apart, or cannot see, in what a server says of its tools.
//!
//! Confusables are those of Unicode Technical Standard 39, categories those of Unicode Standard Annex 44; no table of them is
//! kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portcullis_protocol::{Digest, Exact, ToolDefinition, ToolSeen, fold};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_security::MixedScript;
use unicode_security::confusable_detection::skeleton;

/// Members that the protocol gives a meaning. Another spelling of one would be read as it by a parser that ignores case.
const KNOWN: [&str; 9] = [
    "name",
    "title",
    "description",
    "icons",
    "inputSchema",
    "outputSchema",
    "annotations",
    "execution",
    "_meta",
];

/// Longest name that is compared with others, in bytes. No bundle can name a tool by a longer one, so that none is called by it, and
/// who looks at it as long as it is would keep others waiting.
const LONGEST: usize = 512;

/// What is wrong with what a server says of a tool, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oddity {
    /// An RFC 6901 JSON Pointer into the definition.
    pub place: String,
    /// What is there.
    pub what: What,
}

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A character that shows as nothing, changes the direction of the text or steers a terminal.
    Hidden(char),
    /// A name in another form than the compatible composed one (NFKC).
    NotNormal,
    /// A name of letters of several scripts.
    MixedScripts,
    /// No name.
    Empty,
    /// A name that nobody reads to its end.
    TooLong,
    /// Two members whose names are equal but for case.
    Spellings,
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden(c) => write!(formatter, "hidden character U+{:04X}", u32::from(*c)),
            Self::NotNormal => formatter.write_str("name not in its normal form (NFKC)"),
            Self::MixedScripts => formatter.write_str("name with letters of several scripts"),
            Self::Empty => formatter.write_str("empty name"),
            Self::TooLong => write!(formatter, "name of more than {LONGEST} bytes"),
            Self::Spellings => formatter.write_str("members that are equal but for case"),
        }
    }
}

/// All that is odd about a definition, wherever in it.
#[must_use]
pub fn oddities(tool: &ToolDefinition) -> Vec<Oddity> {
    let mut found = BTreeSet::new();
    let mut say = |place: &str, what| {
        found.insert(Oddity { place: place.to_owned(), what });
    };
    let name = tool.name();
    odd_names(name).for_each(|what| say("/name", what));
    let mut spellings: BTreeMap<String, &str> = KNOWN.map(|key| (fold(key), key)).into();
    if tool.members().keys().any(|key| spellings.insert(fold(key), key).is_some_and(|other| other != key)) {
        say("", What::Spellings);
    }
    look_into(tool.members(), "", &mut say);
    found.into_iter().collect()
}

fn odd_names(name: &str) -> impl Iterator<Item = What> {
    let long = is_too_long(name);
    let whole = [
        (name.is_empty(), What::Empty),
        (long, What::TooLong),
        (!long && !unicode_normalization::is_nfkc(name), What::NotNormal),
        (!long && !name.is_single_script(), What::MixedScripts),
    ];
    // Within a name nothing ends a line.
    let hidden = name.chars().take(LONGEST).filter(|c| c.is_control()).map(What::Hidden);
    whole.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).chain(hidden)
}

/// Whether a name is too long to be compared with others.
pub(crate) const fn is_too_long(name: &str) -> bool {
    name.len() > LONGEST
}

/// As much of a name as people are shown.
pub(crate) fn beginning(name: &str) -> String {
    const SHOWN: usize = 128;
    let mut shown = visible(&name.chars().take(SHOWN).collect::<String>());
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn look(value: &Exact, place: &str, say: &mut impl FnMut(&str, What)) {
    match value {
        Exact::Null | Exact::Bool(_) | Exact::Number(_) => {}
        Exact::Str(text) => hidden(text).for_each(|(_, c)| say(place, What::Hidden(c))),
        Exact::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                look(item, &format!("{place}/{number}"), say);
            }
        }
        Exact::Object(members) => look_into(members, place, say),
    }
}

fn look_into(members: &BTreeMap<String, Exact>, place: &str, say: &mut impl FnMut(&str, What)) {
    for (key, value) in members {
        let at = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
        let lines = key.chars().filter(|c| c.is_control()).map(|c| (0, c));
        hidden(key).chain(lines).for_each(|(_, c)| say(&at, What::Hidden(c)));
        look(value, &at, say);
    }
}

/// The hidden characters of a text, with the places of their first bytes.
fn hidden(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|(at, c)| is_hidden(*c) && !is_of_emoji(text, *at, *c))
}

/// Whether a character shows as nothing, or does something to others. Ends of lines and tabs are layout.
fn is_hidden(c: char) -> bool {
    if matches!(c, '\n' | '\r' | '\t') {
        return false;
    }
    // Of other categories, and yet without a form of their own (Default_Ignorable_Code_Point), or a blank that is a symbol.
    let formless = matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2065}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
    );
    let category = c.general_category();
    formless
        || matches!(
            category,
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

/// Whether a character does nothing but make an emoji of its neighbours: U+FE0F behind one, and U+200D between two.
fn is_of_emoji(text: &str, at: usize, c: char) -> bool {
    let (Some(before), Some(after)) = (text.get(..at), text.get(at.saturating_add(c.len_utf8())..)) else {
        return false;
    };
    let picture = |c: char| !c.is_ascii() && c.is_emoji_char_or_emoji_component() && !is_hidden(c);
    let mut behind = before.chars().rev();
    match (c, behind.next(), after.chars().next()) {
        ('\u{fe0f}', Some('0'..='9' | '#' | '*'), Some('\u{20e3}')) => true,
        ('\u{fe0f}', Some(before), _) => picture(before),
        ('\u{200d}', Some('\u{fe0f}'), Some(next)) => behind.next().is_some_and(picture) && picture(next),
        ('\u{200d}', Some(before), Some(next)) => picture(before) && picture(next),
        (_, _, _) => false,
    }
}

/// A text as people can see all of it: each hidden character as `⟨U+200B⟩`.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, c) in hidden(text) {
        shown.push_str(text.get(rest..at).map_or("", |part| part));
        shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
        rest = at.saturating_add(c.len_utf8());
    }
    shown.push_str(text.get(rest..).map_or("", |part| part));
    // A carriage return at its end would have a terminal write over the line.
    shown.replace('\r', "⟨U+000D⟩")
}

/// The forms under which names are compared: two names that share one can be taken for each other. One that is too long has none: it
/// is ambiguous by itself.
pub(crate) fn forms(name: &str) -> BTreeSet<String> {
    if is_too_long(name) {
        return BTreeSet::new();
    }
    let folded = fold(&name.nfkc().collect::<String>());
    let seen = fold(&skeleton(name).collect::<String>());
    let both: String = skeleton(&folded).collect();
    BTreeSet::from([folded, seen, both])
}

/// Whether two different names can be taken for each other: equal but for case, for compatible forms of the same letters, or
/// for letters that look alike.
#[must_use]
pub fn are_alike(one: &str, other: &str) -> bool {
    one != other && !forms(one).is_disjoint(&forms(other))
}

/// Which of several names, given once or more often, can be taken for another one of them.
#[must_use]
pub fn twins<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut holders: BTreeMap<String, &str> = BTreeMap::new();
    let mut twins = BTreeSet::new();
    for name in names {
        let mut met = BTreeSet::new();
        for form in forms(name) {
            if let Some(holder) = holders.insert(form, name) {
                met.insert(holder);
            }
        }
        if !met.is_empty() {
            twins.extend(met);
            twins.insert(name);
        }
    }
    twins
}

/// What is remembered of a tool on a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    digest: Digest,
    odd: bool,
}

impl Entry {
    pub(crate) fn of(tool: &ToolDefinition) -> Self {
        Self { name: tool.name().to_owned(), digest: tool.digest(), odd: !oddities(tool).is_empty() }
    }
}

/// What is seen of each tool of a list.
pub(crate) fn seen(tools: &[Entry]) -> BTreeMap<String, ToolSeen> {
    let twins = twins(tools.iter().map(|tool| tool.name.as_str()));
    let seen = |tool: &Entry| {
        let ambiguous = tool.odd || twins.contains(tool.name.as_str());
        if ambiguous { ToolSeen::Ambiguous } else { ToolSeen::Defined(tool.digest) }
    };
    tools.iter().map(|tool| (tool.name.clone(), seen(tool))).collect()
}

#[cfg(test)]
#[path = "lookalike_tests.rs"]
mod tests;
