//! The credentials that a server was shown, taken out of all that comes back from it.
//!
//! In a message the strings are looked through one by one, names of members too, each as a reader decodes it, and only within
//! its quotation marks: what is taken out cannot change where a string ends. The work grows with the length of what came, and
//! with nothing else that a server chooses.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_sdk::Token;
use serde::de::IgnoredAny;

/// What stands in a credential's place. It needs no escape, in a string or before a terminal.
const INSTEAD: &[u8] = b"***";
/// The same as a value of its own, where a number was.
const INSTEAD_OF_A_VALUE: &[u8] = b"\"***\"";

/// Credentials that are known again: where each call has its own, those of so many calls before.
const KNOWN: usize = 32;

/// Takes credentials out of what comes in.
#[derive(Debug, Default)]
pub(super) struct Redaction {
    /// Those that were shown last, the latest one at the end.
    known: Mutex<VecDeque<Arc<Secret>>>,
}

/// One credential.
#[derive(Debug)]
struct Secret {
    token: Token,
    /// Of each of its beginnings the longest one that is also its end (Knuth, Morris and Pratt 1977).
    borders: Vec<usize>,
}

/// Places in a text, and what is to stand there.
type Found = Vec<(Range<usize>, &'static [u8])>;

impl Redaction {
    /// Takes a credential out from here on. The ones that were shown longest ago are forgotten for it.
    pub(super) fn learn(&self, token: &Token) {
        if token.reveal().is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|secret| secret.token.reveal() == token.reveal());
        let secret = at.and_then(|at| known.remove(at)).unwrap_or_else(|| Arc::new(Secret::of(token)));
        known.push_back(secret);
        if known.len() > KNOWN {
            known.pop_front();
        }
    }

    /// The longest first: one may be a part of another.
    fn known(&self) -> Vec<Arc<Secret>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<_> = known.iter().cloned().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.token.reveal().len()));
        known
    }

    /// A message without them. What is no JSON is no message, and is taken for a text.
    pub(super) fn message(&self, message: Vec<u8>) -> Vec<u8> {
        self.known().iter().fold(message, |message, secret| secret.out_of_message(message))
    }

    /// A text without them, which may be JSON too.
    pub(super) fn text(&self, text: &[u8]) -> Vec<u8> {
        self.known().iter().fold(text.to_vec(), |text, secret| secret.out_of_text(text))
    }
}

impl Secret {
    fn of(token: &Token) -> Self {
        Self { token: token.clone(), borders: borders(token.reveal().as_bytes()) }
    }

    fn search(&self) -> Search<'_> {
        Search { secret: self.token.reveal().as_bytes(), borders: &self.borders, matched: 0 }
    }

    fn out_of_message(&self, message: Vec<u8>) -> Vec<u8> {
        let mut search = self.search();
        let found = search.in_json(&message);
        let redacted = replaced(message, &found);
        // In JSON, what reaches beyond a string is said by none.
        let found = search.in_text(&redacted);
        let is_json = found.is_empty() || serde_json::from_slice::<IgnoredAny>(&redacted).is_ok();
        if is_json { redacted } else { replaced(redacted, &found) }
    }

    fn out_of_text(&self, text: Vec<u8>) -> Vec<u8> {
        let mut search = self.search();
        let found = search.in_json(&text);
        let redacted = replaced(text, &found);
        let found = search.in_text(&redacted);
        replaced(redacted, &found)
    }
}

/// Of each beginning of a text the length of the longest shorter one that is also its end.
fn borders(text: &[u8]) -> Vec<usize> {
    let mut borders: Vec<usize> = vec![0];
    let mut length = 0;
    for byte in text.iter().skip(1) {
        while length > 0 && text.get(length) != Some(byte) {
            length = borders.get(length.saturating_sub(1)).copied().unwrap_or(0);
        }
        length = length.saturating_add(usize::from(text.get(length) == Some(byte)));
        borders.push(length);
    }
    borders
}

/// Looks for the credential, byte by byte.
struct Search<'a> {
    secret: &'a [u8],
    borders: &'a [usize],
    matched: usize,
}

impl Search<'_> {
    /// Whether the credential ends with this byte. What is found does not overlap.
    fn ends_with(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.secret.get(self.matched) != Some(&byte) {
            self.matched = self.borders.get(self.matched.saturating_sub(1)).copied().unwrap_or(0);
        }
        self.matched = self.matched.saturating_add(usize::from(self.secret.get(self.matched) == Some(&byte)));
        let whole = self.matched == self.secret.len();
        if whole {
            self.matched = 0;
        }
        whole
    }

    fn in_text(&mut self, text: &[u8]) -> Found {
        self.matched = 0;
        let mut found = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            if self.ends_with(*byte) {
                let end = at.saturating_add(1);
                found.push((end.saturating_sub(self.secret.len())..end, INSTEAD));
            }
        }
        found
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
        self.matched = 0;
        if word.iter().take(length).any(|byte| self.ends_with(*byte)) {
            found.push((start..end, INSTEAD_OF_A_VALUE));
        }
        end
    }

    /// Looks through a string's content; where its end is marked.
    fn in_string(&mut self, text: &[u8], start: usize, found: &mut Found) -> usize {
        self.matched = 0;
        let (mut at, mut count) = (start, 0_usize);
        let mut ends = Vec::new();
        while let Some(piece) = Piece::at(text, at) {
            for byte in piece.bytes() {
                count = count.saturating_add(1);
                if self.ends_with(*byte) {
                    ends.push(count);
                }
            }
            at = piece.next;
        }
        if !ends.is_empty() {
            self.places(text, start, &ends, found);
        }
        at
    }

    /// Where in a string's content that is written whose decoded bytes end there.
    fn places(&self, text: &[u8], start: usize, ends: &[usize], found: &mut Found) {
        let (mut at, mut count, mut begun) = (start, 0_usize, start);
        let mut ends = ends.iter().copied().peekable();
        while let (Some(piece), Some(end)) = (Piece::at(text, at), ends.peek().copied()) {
            if count == end.saturating_sub(self.secret.len()) {
                begun = at;
            }
            count = count.saturating_add(piece.bytes().len());
            at = piece.next;
            if count >= end {
                found.push((begun..at, INSTEAD));
                ends.next();
            }
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

    fn bytes(&self) -> &[u8] {
        self.decoded.get(..self.length).unwrap_or_default()
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
