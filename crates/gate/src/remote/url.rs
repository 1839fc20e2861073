//! Where a tool server is reached.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;

/// The URL of a tool server's MCP endpoint: `https://HOST[:PORT]/PATH`, or `http://` with a numeric loopback address, because
/// calls and credentials would cross a network in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    /// Host and port, as a connection takes them.
    pub(super) address: (String, u16),
    /// As the `host` header has it.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
    /// The name that the certificate must be for; `None` for plain HTTP.
    pub(super) name: Option<ServerName<'static>>,
}

/// A text that is no usable URL of a tool server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a usable URL of a tool server: {expected}. Use `https://HOST/PATH`, or `http://127.0.0.1:PORT/PATH` on \
     this machine"
)]
pub struct InvalidUrl {
    text: String,
    expected: &'static str,
}

impl InvalidUrl {
    /// What is wrong with it, without the text.
    #[must_use]
    pub const fn expected(&self) -> &'static str {
        self.expected
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        // Without what may be credentials.
        let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("…@{rest}"));
        let invalid = |expected| InvalidUrl { text: shown.chars().take(200).collect(), expected };
        if text.contains('#') {
            return Err(invalid("it has a fragment, which is never sent"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("credentials do not belong in it; name a file with `mcp.token_file`"));
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (name, port) = match uri.scheme_str() {
            Some("https") => {
                let name =
                    ServerName::try_from(bare.to_owned()).map_err(|_| invalid("its host is no name"))?;
                (Some(name), 443)
            }
            Some("http") if bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) => (None, 80),
            Some("http") => return Err(invalid("plain http goes to a numeric loopback address only")),
            Some(_) | None => return Err(invalid("it is neither https nor http")),
        };
        // A port that is written and is none must not become the usual one.
        let port = match (authority.port_u16(), authority.as_str().len() > host.len()) {
            (Some(port), _) => port,
            (None, false) => port,
            (None, true) => return Err(invalid("its port is none")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            text: text.to_owned(),
            address: (bare.to_owned(), port),
            authority: authority.as_str().to_owned(),
            target: target.to_owned(),
            name,
        })
    }
}

impl ServerUrl {
    /// Whether what is sent there is nobody else's to read.
    pub(crate) const fn is_secret(&self) -> bool {
        self.name.is_some()
    }

    /// Scheme, host and port, as they are written.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_secret() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority.to_ascii_lowercase())
    }

    /// Path and query, and what the `host` header has.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.target, &self.authority)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_keep_what_they_carry_to_themselves_are_taken_and_others_are_not() {
        let read = |text: &str| text.parse::<ServerUrl>();
        let url = read("https://tools.example/mcp?tenant=1").unwrap();
        assert_eq!(url.address, ("tools.example".to_owned(), 443));
        assert_eq!((url.target.as_str(), url.authority.as_str()), ("/mcp?tenant=1", "tools.example"));
        let url = read("http://[::1]:8080").unwrap();
        assert_eq!((url.address, url.target.as_str(), url.name), (("::1".to_owned(), 8080), "/", None));
        for (text, expected) in [
            ("http://tools.example/mcp", "loopback"),
            ("http://10.0.0.1/mcp", "loopback"),
            ("http://localhost:80/mcp", "loopback"),
            ("https://user:secret@tools.example/", "credentials"),
            ("https://tools.example/#x", "fragment"),
            ("https://tools.example:99999/", "port"),
            ("https://tools.example:/", "port"),
            ("ftp://tools.example/", "neither"),
            ("/mcp", "no host"),
            ("tools.example", "neither"),
            ("https://a b/", "no URL"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
