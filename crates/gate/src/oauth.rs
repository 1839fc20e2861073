//! Access tokens for tool servers by URL (OAuth 2.1, as MCP's "Authorization" has it): had once with a person's leave, and
//! refreshed without one.
//!
//! [`log_in`] finds out who gives tokens for a server, has a person say yes in a browser, and writes a store. [`OAuth`] gives what
//! lies in the store while it is good, and then another. Whatever an authorization server says is data: none of it is in an error of
//! a source, and nothing goes to another place than the one that was found and checked at the login.

mod asking;
mod challenge;
mod found;
mod granted;
mod login;
mod redirect;
mod registered;
mod source;
mod stored;

use crate::remote::ServerUrl;

pub use login::{Client, LoggedIn, Login, LoginError, log_in};
pub use source::OAuth;

/// A name and its value, as a form or a query has them (`application/x-www-form-urlencoded`).
type Pair<'a> = (&'a str, &'a str);

/// All of them, encoded.
fn form(pairs: &[Pair<'_>]) -> String {
    let one = |(name, value): &Pair<'_>| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

/// With all but what RFC 3986 leaves alone as `%XX`.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What is behind a `%XX` or a `+`; `None` if it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Whether `other` may be asked on behalf of the server at `url`: what one says that is elsewhere must not lead to plain HTTP on
/// this machine.
fn may_name(url: &ServerUrl, other: &ServerUrl) -> bool {
    other.is_secret() || !url.is_secret()
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
