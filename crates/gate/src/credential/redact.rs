//! The credentials that a server was shown, taken out of all that comes back from it.
//!
//! In a message the strings are looked through one by one, names of members too, each as a reader decodes it, and only within
//! its quotation marks: what is taken out cannot change where a string ends. The work grows with the length of what came, and
//! with nothing else that a server chooses.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_sdk::Token;
use serde::de::IgnoredAny;
use zeroize::Zeroize;

/// What stands in a credential's place. It needs no escape, in a string or before a terminal.
const INSTEAD: &[u8] = b"***";
/// The same as a value of its own, where a number was.
const INSTEAD_OF_A_VALUE: &[u8] = b"\"***\"";

/// Credentials of one source that are known again though nothing is outstanding for which they were shown: the last ones.
const IDLE: usize = 32;
/// Bytes of all that are known at once; forty times as many are held to find them.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Takes the credentials of one source out of what comes in, whichever session it comes in.
#[derive(Default)]
pub(crate) struct Redaction {
    known: Mutex<Known>,
}

/// Takes the credentials of all sources of one server out of what it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactions(Vec<Arc<Redaction>>);

impl Redactions {
    /// Of these sources.
    pub(crate) fn of(all: impl IntoIterator<Item = Arc<Redaction>>) -> Self {
        Self(all.into_iter().collect())
    }

    /// The same, and those of another.
    pub(crate) fn and(mut self, other: Arc<Redaction>) -> Self {
        self.0.push(other);
        self
    }

    /// A message without them. What is no JSON is no message, and is taken for a text.
    pub(crate) fn message(&self, message: Vec<u8>) -> Vec<u8> {
        let finders = self.finders();
        if finders.iter().all(|finder| finder.finds_nothing()) {
            return message;
        }
        let found = found_by(&finders, |search| search.in_json(&message));
        let redacted = replaced(message, &found);
        // In JSON, what reaches beyond a string is said by none.
        let found = found_by(&finders, |search| search.in_text(&redacted));
        let is_json = found.is_empty() || serde_json::from_slice::<IgnoredAny>(&redacted).is_ok();
        if is_json { redacted } else { replaced(redacted, &found) }
    }

    /// A text without them, which may be JSON too.
    pub(crate) fn text(&self, text: &[u8]) -> Vec<u8> {
        let finders = self.finders();
        let found = found_by(&finders, |search| search.in_json(text));
        let redacted = replaced(text.to_vec(), &found);
        let found = found_by(&finders, |search| search.in_text(&redacted));
        replaced(redacted, &found)
    }

    fn finders(&self) -> Vec<Arc<Finder>> {
        self.0.iter().map(|one| one.finder()).collect()
    }
}

/// What any of them finds. Of what overlaps all is one place: what one took out would hide from another what is left of its own.
fn found_by(finders: &[Arc<Finder>], look: impl Fn(&mut Search<'_>) -> Found) -> Found {
    let mut all: Found = finders.iter().flat_map(|finder| look(&mut Search::with(finder))).collect();
    all.sort_by_key(|(place, _)| place.start);
    let mut merged: Found = Vec::with_capacity(all.len());
    for (place, instead) in all {
        match merged.last_mut().filter(|(before, _)| before.end > place.start) {
            Some((before, _)) => before.end = before.end.max(place.end),
            None => merged.push((place, instead)),
        }
    }
    merged
}

/// Those that were shown and are not forgotten.
#[derive(Default)]
struct Known {
    /// In the order in which they were last shown.
    secrets: VecDeque<Arc<Secret>>,
    /// Finds them; `None` if others have come or gone since it was made.
    finder: Option<Arc<Finder>>,
}

/// One credential, and the number of the source that it came from first.
struct Secret(Token, usize);

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A credential that is known for as long as this is held.
#[derive(Clone)]
pub(crate) struct Held {
    _secret: Arc<Secret>,
}

/// Too much is being shown at once to know all of it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// Places in a text, and what is to stand there.
type Found = Vec<(Range<usize>, &'static [u8])>;

impl fmt::Debug for Redaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl Secret {
    fn bytes(&self) -> &[u8] {
        self.0.reveal().as_bytes()
    }
}

impl Known {
    /// Forgets those for which nothing is outstanding, but for the last ones.
    fn forget(&mut self) {
        let is_idle = |secret: &Arc<Secret>| Arc::strong_count(secret) == 1;
        let mut idle: BTreeMap<usize, usize> = BTreeMap::new();
        for secret in self.secrets.iter().filter(|secret| is_idle(secret)) {
            let count = idle.entry(secret.1).or_default();
            *count = count.saturating_add(1);
        }
        self.secrets.retain(|secret| {
            let Some(left) = idle.get_mut(&secret.1).filter(|left| **left > IDLE && is_idle(secret)) else {
                return true;
            };
            *left = left.saturating_sub(1);
            false
        });
    }

    fn bytes(&self) -> usize {
        self.secrets.iter().map(|secret| secret.bytes().len()).sum()
    }
}

impl Redaction {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a credential out from here on, at least until what is returned is dropped.
    pub(crate) fn learn(&self, token: &Token) -> Result<Held, TooMuch> {
        self.learn_of(0, token)
    }

    /// The same of one of several sources. Of each the last ones are known again, however often the others change.
    pub(crate) fn learn_of(&self, source: usize, token: &Token) -> Result<Held, TooMuch> {
        let mut known = self.known();
        let at = known.secrets.iter().position(|secret| secret.0.reveal() == token.reveal());
        if let Some(secret) = at.and_then(|at| known.secrets.remove(at)) {
            known.secrets.push_back(Arc::clone(&secret));
            return Ok(Held { _secret: secret });
        }
        known.forget();
        if known.bytes().saturating_add(token.reveal().len()) > MOST_BYTES {
            return Err(TooMuch);
        }
        let secret = Arc::new(Secret(token.clone(), source));
        known.secrets.push_back(Arc::clone(&secret));
        known.finder = None;
        Ok(Held { _secret: secret })
    }

    fn finder(&self) -> Arc<Finder> {
        let mut known = self.known();
        if let Some(finder) = &known.finder {
            return Arc::clone(finder);
        }
        let finder = Arc::new(Finder::of(known.secrets.iter().map(|secret| secret.bytes())));
        known.finder = Some(Arc::clone(&finder));
        finder
    }
}

/// Finds all of some texts in one pass (Aho and Corasick 1975). Written here, so that what it holds is wiped.
struct Finder {
    /// The tree of all beginnings of the texts; the first is the empty one.
    states: Vec<State>,
    /// By their only byte those of one: most of what is looked through begins none. Nought is none.
    first: [usize; 256],
}

/// A beginning of one of the texts or several.
#[derive(Clone, Copy, Default, Zeroize)]
struct State {
    /// Its last byte.
    byte: u8,
    /// The first of those that are a byte longer, and the next one as long as this and otherwise the same. Nought is none.
    child: usize,
    sibling: usize,
    /// The longest other beginning that it ends with.
    falls_to: usize,
    /// Length of the longest text that it ends with; nought if there is none.
    whole: usize,
}

impl Drop for Finder {
    fn drop(&mut self) {
        self.states.zeroize();
    }
}

impl Finder {
    fn of<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let most = texts.clone().map(<[u8]>::len).sum::<usize>().saturating_add(1);
        // Never moved, for what it was moved from is not wiped.
        let mut finder = Self { states: Vec::with_capacity(most), first: [0; 256] };
        finder.states.push(State::default());
        for text in texts {
            let end = text.iter().fold(0, |at, byte| finder.grown(at, *byte));
            finder.change(end, |state| state.whole = text.len());
        }
        finder.link();
        finder
    }

    fn finds_nothing(&self) -> bool {
        self.first.iter().all(|at| *at == 0)
    }

    fn state(&self, at: usize) -> State {
        self.states.get(at).copied().unwrap_or_default()
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.states.get_mut(at) {
            change(state);
        }
    }

    /// The beginnings that are a byte longer than one.
    fn children(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let some = |at: usize| Some(at).filter(|at| *at != 0);
        std::iter::successors(some(self.state(at).child), move |at| some(self.state(*at).sibling))
    }

    fn longer(&self, at: usize, byte: u8) -> Option<usize> {
        if at == 0 {
            return self.first.get(usize::from(byte)).copied().filter(|first| *first != 0);
        }
        self.children(at).find(|child| self.state(*child).byte == byte)
    }

    fn grown(&mut self, at: usize, byte: u8) -> usize {
        if let Some(child) = self.longer(at, byte) {
            return child;
        }
        let (child, sibling) = (self.states.len(), self.state(at).child);
        self.states.push(State { byte, sibling, ..State::default() });
        self.change(at, |state| state.child = child);
        if at == 0
            && let Some(first) = self.first.get_mut(usize::from(byte))
        {
            *first = child;
        }
        child
    }

    /// Says of each beginning where it falls to, the shorter ones first.
    fn link(&mut self) {
        let mut next = VecDeque::from([0]);
        while let Some(parent) = next.pop_front() {
            let children: Vec<usize> = self.children(parent).collect();
            for child in children {
                let State { byte, .. } = self.state(child);
                let falls_to = if parent == 0 { 0 } else { self.after(self.state(parent).falls_to, byte) };
                let ends_with = self.state(falls_to).whole;
                self.change(child, |state| {
                    state.falls_to = falls_to;
                    // What is whole itself is longer.
                    state.whole = state.whole.max(ends_with);
                });
                next.push_back(child);
            }
        }
    }

    /// The longest beginning that ends with this byte behind another.
    fn after(&self, mut at: usize, byte: u8) -> usize {
        loop {
            match self.longer(at, byte) {
                Some(longer) => return longer,
                None if at == 0 => return 0,
                None => at = self.state(at).falls_to,
            }
        }
    }
}

/// Looks for the credentials, byte by byte.
struct Search<'a> {
    finder: &'a Finder,
    at: usize,
}

impl<'a> Search<'a> {
    fn with(finder: &'a Finder) -> Self {
        Self { finder, at: 0 }
    }

    /// Length of the longest credential that ends with this byte; nought if none does.
    fn ends_with(&mut self, byte: u8) -> usize {
        self.at = self.finder.after(self.at, byte);
        self.finder.state(self.at).whole
    }

    fn in_text(&mut self, text: &[u8]) -> Found {
        let places = self.in_bytes(text.iter().copied());
        places.into_iter().map(|place| (place, INSTEAD)).collect()
    }

    /// Where credentials are in decoded bytes. Of those that overlap all is one place.
    fn in_bytes(&mut self, bytes: impl Iterator<Item = u8>) -> Vec<Range<usize>> {
        self.at = 0;
        let mut places: Vec<Range<usize>> = Vec::new();
        for (at, byte) in bytes.enumerate() {
            let length = self.ends_with(byte);
            if length > 0 {
                let end = at.saturating_add(1);
                let mut start = end.saturating_sub(length);
                while let Some(before) = places.pop_if(|before| before.end > start) {
                    start = start.min(before.start);
                }
                places.push(start..end);
            }
        }
        places
    }

    fn in_json(&mut self, text: &[u8]) -> Found {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            at = match byte {
                b'"' => self.in_string(text, at.saturating_add(1), &mut found).saturating_add(1),
                byte if is_between(*byte) => at.saturating_add(1),
                _ => self.in_word(text, at, &mut found),
            };
        }
        found
    }

    /// Looks through a number or the like; where it ends.
    fn in_word(&mut self, text: &[u8], start: usize, found: &mut Found) -> usize {
        let word = text.get(start..).unwrap_or_default();
        let length = word.iter().position(|byte| *byte == b'"' || is_between(*byte)).unwrap_or(word.len());
        let end = start.saturating_add(length);
        self.at = 0;
        if word.iter().take(length).any(|byte| self.ends_with(*byte) > 0) {
            found.push((start..end, INSTEAD_OF_A_VALUE));
        }
        end
    }

    /// Looks through a string's content; where its end is marked.
    fn in_string(&mut self, text: &[u8], start: usize, found: &mut Found) -> usize {
        let mut at = start;
        let pieces = std::iter::from_fn(|| {
            let piece = Piece::at(text, at)?;
            at = piece.next;
            Some(piece)
        });
        let places = self.in_bytes(pieces.flat_map(Piece::into_bytes));
        if !places.is_empty() {
            written(text, start, &places, found);
        }
        at
    }
}

/// Where in a string's content that is written whose decoded bytes are at these places.
fn written(text: &[u8], start: usize, places: &[Range<usize>], found: &mut Found) {
    let (mut at, mut count, mut begun) = (start, 0_usize, start);
    let mut places = places.iter().peekable();
    while let (Some(piece), Some(place)) = (Piece::at(text, at), places.peek()) {
        let length = piece.length;
        // A piece is decoded to several bytes, and the place may begin within.
        if place.start >= count && place.start < count.saturating_add(length) {
            begun = at;
        }
        count = count.saturating_add(length);
        at = piece.next;
        if count >= place.end {
            found.push((begun..at, INSTEAD));
            places.next();
        }
    }
}

fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':')
}

/// What is written at one place of a string: a byte, or an escape.
struct Piece {
    /// As a reader decodes it.
    decoded: [u8; 4],
    length: usize,
    /// Where the next one begins.
    next: usize,
}

impl Piece {
    /// What is written at a place; `None` where the string ends.
    fn at(text: &[u8], at: usize) -> Option<Self> {
        let (c, next) = match text.get(at..)? {
            [] | [b'"', ..] => return None,
            [b'\\', b'u', rest @ ..] => {
                let (c, digits) = unicode(rest);
                (c, at.saturating_add(2).saturating_add(digits))
            }
            [b'\\', escaped, ..] => (simple(*escaped), at.saturating_add(2)),
            [byte, ..] => {
                let decoded = [*byte, 0, 0, 0];
                return Some(Self { decoded, length: 1, next: at.saturating_add(1) });
            }
        };
        let mut decoded = [0; 4];
        let length = c.encode_utf8(&mut decoded).len();
        Some(Self { decoded, length, next })
    }

    fn into_bytes(self) -> impl Iterator<Item = u8> {
        self.decoded.into_iter().take(self.length)
    }
}

fn simple(escaped: u8) -> char {
    match escaped {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(other),
    }
}

/// The character of an escape, and how many bytes behind `\u` say it. What is none is a character that no token has.
fn unicode(rest: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits =
            rest.get(at..at.saturating_add(4)).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    let second = rest.get(4..6).filter(|mark| *mark == b"\\u").and_then(|_| unit(6));
    let decode = |units: &[u16]| char::decode_utf16(units.iter().copied()).next().and_then(Result::ok);
    let pair = second.and_then(|second| decode(&[first, second]).filter(|c| c.len_utf16() == 2));
    match pair {
        Some(c) => (c, 10),
        None => (decode(&[first]).unwrap_or(char::REPLACEMENT_CHARACTER), 4),
    }
}

fn replaced(text: Vec<u8>, found: &Found) -> Vec<u8> {
    if found.is_empty() {
        return text;
    }
    let (mut redacted, mut from) = (Vec::with_capacity(text.len()), 0);
    for (place, instead) in found {
        redacted.extend_from_slice(text.get(from..place.start).unwrap_or_default());
        redacted.extend_from_slice(instead);
        from = place.end;
    }
    redacted.extend_from_slice(text.get(from..).unwrap_or_default());
    redacted
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
