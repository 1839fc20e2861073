//! Texts of others, written so that they stay where they are put and show as what they are.

/// The longest text of somebody else that is quoted, in characters.
const LONGEST: usize = 160;

/// Whether a character shows, as itself, and neither joins nor turns what stands around it.
fn shows(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}

/// Whether a text of 1 to 256 characters shows as it is.
pub(super) fn is_shown(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 256 && text.chars().all(shows)
}

/// The beginning of a text, on one line, between quotation marks.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", short(text))
}

/// The beginning of a text, on one line: white space becomes single blanks, and what does not show is written as its number.
pub(super) fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let line = words.join(" ");
    let mut shown = escaped(&line.chars().take(LONGEST).collect::<String>());
    if line.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A text within the quotation marks of TOML or Cedar, which have different escapes for what does not show.
fn escaped_with(text: &str, number: fn(char) -> String) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if shows(c) => escaped.push(c),
            c => escaped.push_str(&number(c)),
        }
    }
    escaped
}

fn escaped(text: &str) -> String {
    escaped_with(text, |c| format!("\\u{{{:x}}}", u32::from(c)))
}

/// A TOML basic string.
pub(super) fn toml(text: &str) -> String {
    format!("\"{}\"", escaped_with(text, |c| format!("\\U{:08X}", u32::from(c))))
}

/// A Cedar string.
pub(super) fn cedar(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The key of an object as a token of a JSON Pointer (RFC 6901, section 3).
pub(super) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
