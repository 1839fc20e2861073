//! Patterns: ECMA 262's, as far as they mean the same to an engine that takes time in proportion to the text, whatever both are.

use regex::{Regex, RegexBuilder};

use super::shortened;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4_096;
/// How large a compiled pattern may be, in bytes, and what it then takes to look at one byte of a text, in units of work.
const SIZES: [(usize, u64); 4] = [(4 * 1024, 64), (16 * 1024, 256), (64 * 1024, 1_024), (256 * 1024, 4_096)];
/// What the engine may keep of what it has seen, in bytes, for each who looks at the same time.
const CACHE: usize = 128 * 1024;
/// ECMA's `\d`, `\w` and `\s`, as members of a class. The engine's own are wider: `\d` would take digits of every script.
const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const BLANKS: &str = "\\t\\n\\x0B\\x0C\\r \\u{a0}\\u{1680}\\u{2000}-\\u{200a}\\u{2028}\\u{2029}\\u{202f}\\u{205f}\\u{3000}\\u{feff}";
const LINE_ENDS: &str = "\\n\\r\\u{2028}\\u{2029}";

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    weight: u64,
    /// Its bytes, at the most.
    pub(super) size: usize,
    /// As it was written, for people.
    pub(super) written: String,
}

impl Pattern {
    /// `None` if it is no pattern, means something else to the engine, such as a look-ahead, or is larger than this, once compiled.
    pub(super) fn new(text: &str, room: usize) -> Option<Self> {
        let translated = if text.len() <= MAX_PATTERN { Translator::of(text)? } else { return None };
        let built = SIZES.into_iter().filter(|(size, _)| *size <= room).find_map(|(size, weight)| {
            let mut builder = RegexBuilder::new(&translated);
            let built = builder.size_limit(size).dfa_size_limit(CACHE).nest_limit(64).build();
            match built {
                Ok(regex) => Some((regex, weight, size)),
                Err(_) => None,
            }
        });
        let (regex, weight, size) = built?;
        Some(Self { regex, weight, size, written: shortened(text) })
    }

    /// What it takes to look at a text of so many bytes, in units of work.
    pub(super) fn cost(&self, bytes: u64) -> u64 {
        self.weight.saturating_mul(bytes.saturating_add(1))
    }

    /// Whether some part of the text is as it says.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Writes a pattern anew for the engine. What the two could read differently is not written.
struct Translator<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    out: String,
    /// Whether what was written last can be repeated. Two counts in a row are a mistake to one engine, and something else to
    /// the next.
    repeats: bool,
}

impl<'a> Translator<'a> {
    fn of(text: &'a str) -> Option<String> {
        let mut translator = Self { rest: text.chars().peekable(), out: String::new(), repeats: false };
        while let Some(next) = translator.rest.next() {
            translator.outside(next)?;
        }
        Some(translator.out)
    }

    fn put(&mut self, text: &str) -> Option<()> {
        self.out.push_str(text);
        Some(())
    }

    fn outside(&mut self, next: char) -> Option<()> {
        let repeated = std::mem::replace(&mut self.repeats, !matches!(next, '^' | '$' | '|' | '('));
        match next {
            '\\' => {
                self.repeats = self.rest.peek() != Some(&'b');
                self.escape(false)
            }
            '[' => self.class(),
            ']' => self.put("\\]"),
            '.' => self.put(&format!("[^{LINE_ENDS}]")),
            '(' => self.group(),
            '*' | '+' | '?' | '{' => {
                self.repeats = false;
                if repeated { self.count(next) } else { None }
            }
            '}' => self.put("\\}"),
            other => {
                self.out.push(other);
                Some(())
            }
        }
    }

    /// How often what is before it is there, as few or as many as can be.
    fn count(&mut self, next: char) -> Option<()> {
        if next == '{' {
            self.times()?;
        } else {
            self.out.push(next);
        }
        if self.rest.next_if_eq(&'?').is_some() { self.put("?") } else { Some(()) }
    }

    /// After `(`. Of what can follow `?` only what means the same to both: no look-around, no flags.
    fn group(&mut self) -> Option<()> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Some(());
        }
        match self.rest.next()? {
            ':' => self.put("?:"),
            '<' if !matches!(self.rest.peek(), Some('=' | '!') | None) => self.put("?<"),
            _ => None,
        }
    }

    /// After `{`, which begins a count or stands for nothing that both agree on.
    fn times(&mut self) -> Option<()> {
        let mut count = String::new();
        loop {
            match self.rest.next()? {
                '}' => break,
                digit @ ('0'..='9' | ',') => count.push(digit),
                _ => return None,
            }
        }
        let (least, most) = count.split_once(',').map_or((count.as_str(), None), |(a, b)| (a, Some(b)));
        if least.is_empty() || most.is_some_and(|most| most.contains(',')) {
            return None;
        }
        self.put(&format!("{{{count}}}"))
    }

    /// After `[`.
    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        // `[]` is nothing to one and the beginning of a class with a bracket to the other.
        if self.rest.peek() == Some(&']') {
            return None;
        }
        let (mut before, mut set) = (None, false);
        loop {
            let next = self.rest.next()?;
            let begins_set =
                next == '\\' && matches!(self.rest.peek(), Some('d' | 'D' | 'w' | 'W' | 's' | 'S'));
            match next {
                ']' => return self.put("]"),
                // A set that is one end of a range, and two hyphens, which the engine takes for a difference.
                '-' if before == Some('-') || self.rest.peek() == Some(&'-') => return None,
                '-' if before.is_some() && self.rest.peek() == Some(&'\\') => return None,
                // What ECMA has for a hyphen the engine has for one too, and takes what follows for the beginning of a range.
                '-' if set && self.rest.peek() != Some(&']') => return None,
                '-' => self.out.push('-'),
                '\\' => self.escape(true)?,
                // Nested classes and operators of the engine's own.
                '[' | '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(next);
                }
                other => self.out.push(other),
            }
            (before, set) = (Some(next), begins_set);
        }
    }

    /// After `\`.
    fn escape(&mut self, in_class: bool) -> Option<()> {
        match self.rest.next()? {
            'd' => self.put(&format!("[{DIGITS}]")),
            'D' => self.put(&format!("[^{DIGITS}]")),
            'w' => self.put(&format!("[{WORD}]")),
            'W' => self.put(&format!("[^{WORD}]")),
            's' => self.put(&format!("[{BLANKS}]")),
            'S' => self.put(&format!("[^{BLANKS}]")),
            'b' if !in_class => self.put("(?-u:\\b)"),
            same @ ('t' | 'n' | 'r' | 'f' | 'v') => self.put(&format!("\\{same}")),
            'x' => self.code_point(2),
            'u' => self.code_point(4),
            sign @ ('<' | '>') => self.put(&sign.to_string()),
            sign if sign.is_ascii_punctuation() => self.put(&format!("\\{sign}")),
            // References to groups, properties of Unicode, `\B`, and letters that mean themselves to some.
            _ => None,
        }
    }

    /// A character by its number, in so many digits. With braces it means something else without ECMA's flag `u`.
    fn code_point(&mut self, digits: usize) -> Option<()> {
        let number: String = self.rest.by_ref().take(digits).collect();
        let fits = number.len() == digits && number.chars().all(|c| c.is_ascii_hexdigit());
        if fits { self.put(&format!("\\u{{{number}}}")) } else { None }
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
