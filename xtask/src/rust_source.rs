//! Rust source as far as a style check needs it: code apart from comments and strings, the lines that
//! belong to tests, and where each function begins and ends.

/// A `.rs` file, split into what each check looks at. All texts have the lines of the file.
pub(crate) struct RustSource {
    /// The file with comments, strings and character literals blanked out.
    pub(crate) code: String,
    /// The file with everything but comments blanked out.
    pub(crate) comments: String,
    /// One entry a line: whether it belongs to a test (the whole file, or a `#[cfg(test)]` item).
    pub(crate) in_test: Vec<bool>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of the `fn` keyword, from 1.
    pub(crate) line: usize,
    /// Lines from the `fn` keyword to the closing brace, both included.
    pub(crate) length: usize,
}

impl RustSource {
    /// Reads `text`, the content of the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let in_test = if is_test_file(path) || code.trim_start().starts_with("#![cfg(test)]") {
            vec![true; text.lines().count()]
        } else {
            test_lines(&code)
        };
        Self { code, comments, in_test }
    }

    /// Whether the line (from 1) belongs to a test.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|index| self.in_test.get(index)).copied().unwrap_or(false)
    }

    /// How many lines are not tests.
    pub(crate) fn production_lines(&self) -> usize {
        self.in_test.iter().filter(|test| !**test).count()
    }

    /// Every function with a body that is not part of a test.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let starts = self.code.match_indices("fn ").filter(|(at, _)| is_word_start(&self.code, *at));
        let functions = starts.filter_map(|(at, _)| function_at(&self.code, at));
        functions.filter(|function| !self.is_test(function.line)).collect()
    }
}

/// `tests.rs`, `*_tests.rs` and whatever lies in a folder `tests`.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.split('/').any(|part| part == "tests")
}

/// Whether no identifier runs into the byte at `at` from the left.
pub(crate) fn is_word_start(text: &str, at: usize) -> bool {
    text.get(..at).and_then(|before| before.chars().next_back()).is_none_or(|c| !is_ident(c))
}

/// Whether `c` can be part of an identifier.
pub(crate) fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The line (from 1) of the byte at `at`.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

fn function_at(code: &str, at: usize) -> Option<Function> {
    let after = code.get(at..)?;
    let name: String = after.get(3..)?.trim_start().chars().take_while(|c| is_ident(*c)).collect();
    if name.is_empty() {
        return None;
    }
    let body = item_end(after)?;
    let text = after.get(..body.end)?;
    body.has_block.then(|| Function { name, line: line_of(code, at), length: text.lines().count() })
}

/// Where an item ends, in bytes.
struct ItemEnd {
    end: usize,
    /// It ended with a `{…}` block rather than with `;`.
    has_block: bool,
}

/// The end of the item that `code` begins with: its first `;` outside brackets, or the end of its first block.
fn item_end(code: &str) -> Option<ItemEnd> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        let end = at.saturating_add(1);
        match byte {
            b'(' | b'[' if braces == 0 => brackets = brackets.saturating_add(1),
            b')' | b']' if braces == 0 => brackets = brackets.saturating_sub(1),
            b';' if braces == 0 && brackets == 0 => return Some(ItemEnd { end, has_block: false }),
            b'{' => braces = braces.saturating_add(1),
            b'}' if braces == 1 && brackets == 0 => return Some(ItemEnd { end, has_block: true }),
            b'}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count()];
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let rest = code.get(at.saturating_add(attribute.len())..).unwrap_or_default();
        let item = skip_attributes(rest);
        let item_start = code.len().saturating_sub(item.len());
        let length = item_end(item).map_or(item.len(), |item| item.end);
        let first = line_of(code, at);
        let last = line_of(code, item_start.saturating_add(length).saturating_sub(1));
        let skip = first.saturating_sub(1);
        let count = last.saturating_sub(skip);
        lines.iter_mut().skip(skip).take(count).for_each(|line| *line = true);
    }
    lines
}

fn skip_attributes(mut code: &str) -> &str {
    loop {
        code = code.trim_start();
        match code.strip_prefix("#[").and_then(after_bracket) {
            Some(rest) => code = rest,
            None => return code,
        }
    }
}

/// What follows the `]` that closes an already open `[`.
fn after_bracket(code: &str) -> Option<&str> {
    let mut open = 1_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'[' => open = open.saturating_add(1),
            b']' if open == 1 => return code.get(at.saturating_add(1)..),
            b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text twice: only its code, and only its comments; the rest is spaces.
fn split(text: &str) -> (String, String) {
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let (kind, length) = token(rest, previous);
        // A token is at least one character, so the loop ends.
        let length = length.max(first.len_utf8());
        let (piece, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
        blank_unless(kind == Kind::Code, piece, &mut code);
        blank_unless(kind == Kind::Comment, piece, &mut comments);
        previous = piece.chars().next_back().unwrap_or(' ');
        rest = tail;
    }
    (code, comments)
}

fn blank_unless(keep: bool, piece: &str, to: &mut String) {
    if keep {
        to.push_str(piece);
    } else {
        to.extend(piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
    }
}

/// Kind and length of the token that `rest` begins with; `previous` is the character before it.
fn token(rest: &str, previous: char) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        return character(rest).map_or((Kind::Code, 1), |length| (Kind::Literal, length));
    }
    if !is_ident(previous)
        && let Some(length) = raw_string(rest)
    {
        return (Kind::Literal, length);
    }
    (Kind::Code, rest.chars().next().map_or(0, char::len_utf8))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0_usize;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let step = if here.starts_with("/*") {
            depth = depth.saturating_add(1);
            2
        } else if here.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            here.chars().next().map_or(1, char::len_utf8)
        };
        at = at.saturating_add(step);
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of a literal between two `quote`s, backslash escapes honoured.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at.saturating_add(c.len_utf8());
        }
    }
    rest.len()
}

/// Length of a character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.chars().skip(1);
    let first = chars.next()?;
    if first == '\\' {
        return Some(quoted(rest, '\''));
    }
    (chars.next() == Some('\'')).then(|| first.len_utf8().saturating_add(2))
}

/// Length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; `None` if `rest` begins with something else.
fn raw_string(rest: &str) -> Option<usize> {
    let after =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let body = after.trim_start_matches('#');
    let hashes = "#".repeat(after.len().saturating_sub(body.len()));
    let inner = body.strip_prefix('"')?;
    let close = format!("\"{hashes}");
    let end = inner.find(&close).map_or(inner.len(), |at| at.saturating_add(close.len()));
    Some(rest.len().saturating_sub(inner.len()).saturating_add(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which words of `text` are code.
    #[track_caller]
    fn code_of(text: &str, expect: &str) {
        let source = RustSource::new("src/a.rs", text);
        assert_eq!(source.code.split_whitespace().collect::<Vec<_>>().join(" "), expect);
        assert_eq!(source.code.len(), text.len(), "blanking must not move anything");
        assert_eq!(source.code.lines().count(), text.lines().count());
        assert_eq!(source.comments.len(), text.len());
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        code_of("a // b\nc", "a c");
        code_of("a /* b /* c */ */ d", "a d");
        code_of(r#"x("a\"b", y)"#, "x( , y)");
        code_of("x(r#\"a\"b\"#, y)", "x( , y)");
        code_of("br\"\\\" y", "y");
        code_of("&'a str '{' '\\'' y '\\u{7d}' z", "&'a str y z");
        code_of("for\"x\" b'x' c", "for b c");
        code_of("\"é\n\" 'é' y", "y");
    }

    #[test]
    fn comments_are_kept_apart() {
        let source = RustSource::new("src/a.rs", "a(\"// no\"); // yes\n");
        assert_eq!(source.comments.trim(), "// yes");
    }

    #[test]
    fn a_test_module_is_not_production() {
        let text =
            "fn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n fn b() { \"}\" }\n}\nfn c() {}\n";
        let source = RustSource::new("src/a.rs", text);
        assert_eq!(source.in_test, [false, true, true, true, true, true, false]);
        let names: Vec<_> = source.functions().into_iter().map(|function| function.name).collect();
        assert_eq!(names, ["a", "c"]);
        let outside = RustSource::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert_eq!(outside.in_test, [true, true, false]);
    }

    #[test]
    fn test_files_are_known_by_name() {
        for path in ["src/a/tests.rs", "src/a_tests.rs", "crates/x/tests/all.rs", "tests/peers/a.rs"] {
            assert_eq!(RustSource::new(path, "fn a() {}\n").production_lines(), 0, "{path}");
        }
        assert_eq!(RustSource::new("src/contests.rs", "fn a() {}\n").production_lines(), 1);
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let text = "trait T { fn no_body(&self) -> [u8; 3]; }\nfn long<'a>(x: fn(u8)) -> [u8; 2]\nwhere\n{\n '}';\n}\n";
        let functions = RustSource::new("src/a.rs", text).functions();
        assert_eq!(functions, [Function { name: "long".to_owned(), line: 2, length: 5 }]);
    }
}
