//! How deeply a text in Cedar's language may be nested, asked before Cedar reads it.
//!
//! Parsing, validating, evaluating and translating for the solver go down into an expression once for each level. How far
//! they get depends on the stack of the thread that they happen to run on, and a stack that is used up ends the process. So
//! one bound holds wherever a bundle is read, far below what the smallest of those stacks takes.
//!
//! What is measured is at least as much as the height of what Cedar makes of the text: each bracket is a level, and so is
//! each operator on the way, `a && b && c` being `(a && b) && c`.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{BundleError, Fault};
use crate::files;

/// Bytes of stack that a thread must have which reads bundles or asks them: with so many it has been tried that the bound holds.
/// It is asked for, because what a thread gets else depends on the environment.
pub const STACK: usize = 2 * 1024 * 1024;

/// The most levels.
pub(crate) const MOST: usize = 32;

/// Refuses policies that are nested more deeply than any thread is asked to go.
pub(crate) fn refuse_deep_policies(path: &str, text: &str) -> Result<(), BundleError> {
    measured(path, text, false).map(drop)
}

/// Refuses a schema whose types are, what they call by name included.
pub(crate) fn refuse_deep_schema(path: &str, text: &str) -> Result<(), BundleError> {
    let (height, names) = measured(path, text, true)?;
    if height.saturating_add(names.longest()) > MOST { Err(deep(path, None)) } else { Ok(()) }
}

/// How high a text is, and how high the types are that it gives names to.
fn measured(path: &str, text: &str, types: bool) -> Result<(usize, Names), BundleError> {
    let (mut levels, mut names) = (Levels::new(text, types), Names::default());
    while let Some(token) = levels.scan.next() {
        levels.meet(&token);
        levels.check(path, text)?;
        if types {
            names.meet(&token, levels.open.len());
        }
    }
    // What is not closed is no policy, and may be read as far as it goes.
    while !levels.open.is_empty() {
        levels.meet(&Token::Close);
    }
    levels.check(path, text)?;
    Ok((levels.height(), names))
}

fn deep(path: &str, line: Option<usize>) -> BundleError {
    BundleError::corrupt_at(path, line, Fault::TooDeep)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Word(&'a str),
    /// Text in quotation marks, with these.
    Quoted(&'a str),
    Open,
    Close,
    /// What separates siblings: `,`.
    Sibling,
    /// What ends a policy or a declaration: `;`.
    End,
    Or,
    And,
    /// What comes before a member.
    Point,
    /// Any other operator.
    Other,
}

/// The tokens of a text, as far as they make levels. Text in quotation marks and comments make none.
pub(crate) struct Scan<'a> {
    rest: &'a str,
    /// Whether `<` and `>` are brackets.
    types: bool,
}

impl<'a> Iterator for Scan<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let first = self.rest.chars().next()?;
            if self.rest.starts_with("//") {
                // Cedar ends a comment at either of the two.
                let end = self.rest.find(['\n', '\r']);
                self.rest = end.and_then(|end| self.rest.get(end..)).map_or("", |rest| rest);
                continue;
            }
            if first == '"' {
                return Some(Token::Quoted(self.quoted()));
            }
            if first.is_alphanumeric() || first == '_' {
                let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                return Some(Token::Word(self.take(end.map_or(self.rest.len(), |end| end))));
            }
            if let Some(token) = self.sign(first) {
                return Some(token);
            }
        }
    }
}

impl<'a> Scan<'a> {
    /// Of a schema if it has `types`, else of policies.
    pub(crate) const fn new(text: &'a str, types: bool) -> Self {
        Self { rest: text, types }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).map_or((self.rest, ""), |parts| parts);
        self.rest = rest;
        taken
    }

    /// Takes a text in quotation marks, or all that is left if it has no end.
    fn quoted(&mut self) -> &'a str {
        let mut escaped = true;
        let end = self.rest.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            // The first one opens it.
            escaped = *c == '\\' && !escaped;
            ends
        });
        self.take(end.map_or(self.rest.len(), |(end, _)| end.saturating_add(1)))
    }

    fn sign(&mut self, first: char) -> Option<Token<'a>> {
        let two =
            self.rest.get(..2).filter(|two| matches!(*two, "||" | "&&" | "==" | "!=" | "<=" | ">=" | "::"));
        let sign = match two {
            // A schema's `>=` would be the end of a type before a `=`.
            Some(two) if !(self.types && two.starts_with(['<', '>'])) => two,
            Some(_) | None => return self.single(first),
        };
        self.take(sign.len());
        match sign {
            "||" => Some(Token::Or),
            "&&" => Some(Token::And),
            // A longer name is no deeper.
            "::" => None,
            _ => Some(Token::Other),
        }
    }

    fn single(&mut self, first: char) -> Option<Token<'a>> {
        self.take(first.len_utf8());
        match first {
            '(' | '[' | '{' => Some(Token::Open),
            ')' | ']' | '}' => Some(Token::Close),
            '<' if self.types => Some(Token::Open),
            '>' if self.types => Some(Token::Close),
            ',' => Some(Token::Sibling),
            ';' => Some(Token::End),
            '<' | '>' | '!' | '-' | '+' | '*' | '/' | '%' => Some(Token::Other),
            '.' => Some(Token::Point),
            _ => None,
        }
    }
}

/// What stands between two brackets, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Operators that join, of the sibling that is read.
    joined: usize,
    /// Other operators, since the last one that joins.
    others: usize,
    /// The height of what stands in brackets, since then.
    inside: usize,
    /// Whether it is asked since then whether something `has` a member: `a has b.c` is `a has b && a.b has c`.
    has: bool,
    /// The height of its highest part so far, what joins the parts not counted.
    part: usize,
    /// The height of the highest sibling so far.
    highest: usize,
}

impl Level {
    fn part(&mut self) {
        self.part = self.part.max(self.others.saturating_add(self.inside));
        (self.others, self.inside, self.has) = (0, 0, false);
    }

    fn sibling(&mut self) {
        self.part();
        self.highest = self.highest.max(self.joined.saturating_add(self.part));
        (self.joined, self.part) = (0, 0);
    }

    fn height(mut self) -> usize {
        self.sibling();
        self.highest
    }
}

struct Levels<'a> {
    scan: Scan<'a>,
    /// From the outside in.
    open: Vec<Level>,
    own: Level,
    /// How high the outermost got.
    total: usize,
}

impl<'a> Levels<'a> {
    const fn new(text: &'a str, types: bool) -> Self {
        let scan = Scan::new(text, types);
        let own = Level { joined: 0, others: 0, inside: 0, has: false, part: 0, highest: 0 };
        Self { scan, open: Vec::new(), own, total: 0 }
    }

    fn meet(&mut self, token: &Token<'a>) {
        match token {
            Token::Open => self.open.push(std::mem::take(&mut self.own)),
            Token::Close => {
                let inside = self.own.height().saturating_add(1);
                self.own = self.open.pop().unwrap_or_default(); // tidy: allow Cedar refuses a bracket that opens nothing
                self.own.inside = self.own.inside.max(inside);
            }
            Token::Sibling | Token::End => {
                self.own.sibling();
                self.total = self.total.max(self.own.highest);
            }
            Token::Word("if" | "when" | "unless") | Token::Or | Token::And => {
                self.own.part();
                self.own.joined = self.own.joined.saturating_add(1);
            }
            Token::Word("then" | "else") => self.own.part(),
            Token::Word("in" | "has" | "like" | "is") | Token::Other | Token::Point => {
                self.own.has |= *token == Token::Word("has");
                let twice = self.own.has && *token == Token::Point;
                self.own.others = self.own.others.saturating_add(if twice { 2 } else { 1 });
            }
            Token::Word(_) | Token::Quoted(_) => {}
        }
        // Policies have nothing in common with one another.
        if self.open.is_empty() && matches!(token, Token::Sibling | Token::End) {
            self.own = Level::default();
        }
    }

    /// How high what was read is, at least in what it will have become.
    fn height(&self) -> usize {
        self.open.len().saturating_add(self.own.height()).max(self.total)
    }

    fn check(&self, path: &str, text: &str) -> Result<(), BundleError> {
        if self.height() <= MOST {
            return Ok(());
        }
        let read = text.len().saturating_sub(self.scan.rest.len());
        Err(deep(path, files::line_at(text, read.saturating_sub(1))))
    }
}

/// The types that a schema gives names to.
#[derive(Default)]
struct Names {
    /// By name, how high each is by itself, and what it calls by name. Two of one name in two namespaces count as one.
    types: BTreeMap<String, (usize, BTreeSet<String>)>,
    /// The declaration that is read: how deep it stands, its name once that was met, and how high it got.
    reading: Option<(usize, Option<String>, usize)>,
}

impl Names {
    fn meet(&mut self, token: &Token<'_>, depth: usize) {
        if let Some((at, name, high)) = &mut self.reading {
            if depth < *at || (depth == *at && matches!(token, Token::Sibling | Token::End)) {
                self.reading = None;
                return;
            }
            *high = depth.saturating_sub(*at).saturating_add(1).max(*high);
            match (token, name.as_deref()) {
                (Token::Word(word), None) => *name = Some((*word).to_owned()),
                (_, None) => {}
                (token, Some(name)) => {
                    let known = self.types.entry(name.to_owned()).or_default();
                    known.0 = known.0.max(*high);
                    if let Token::Word(word) = token {
                        known.1.insert((*word).to_owned());
                    }
                }
            }
        } else if *token == Token::Word("type") {
            self.reading = Some((depth, None, 1));
        }
    }

    /// How high the highest is, with all that it calls by name; more than [`MOST`] if they call one another in a circle.
    fn longest(&self) -> usize {
        let all = self.types.values().fold(0_usize, |sum, (high, _)| sum.saturating_add(*high));
        if all <= MOST {
            return all;
        }
        let mut known = BTreeMap::new();
        self.types.keys().map(|name| self.height(name, MOST, &mut known)).max().map_or(0, |longest| longest)
    }

    /// The height of one, looked into as far as `most` levels.
    fn height<'a>(&'a self, name: &'a str, most: usize, known: &mut BTreeMap<&'a str, usize>) -> usize {
        let Some((own, calls)) = self.types.get(name) else { return 0 };
        if let Some(known) = known.get(name) {
            return *known;
        }
        // Who is met again on the way is in a circle.
        known.insert(name, MOST.saturating_add(1));
        let Some(rest) = most.checked_sub(*own) else { return MOST.saturating_add(1) };
        let below = calls.iter().map(|call| self.height(call, rest, known)).max().map_or(0, |below| below);
        let height = own.saturating_add(below);
        known.insert(name, height);
        height
    }
}

#[cfg(test)]
#[path = "nesting_tests.rs"]
mod tests;
