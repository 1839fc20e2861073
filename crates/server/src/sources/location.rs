//! Places of bundles, as they are written.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_protocol::Digest;

/// Longest location, in bytes.
const LONGEST: usize = 1024;
/// Longest name of a repository and of a tag (OCI distribution specification 1.1, "Pulling manifests").
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory or a file of this machine.
    Here(PathBuf),
    /// Somewhere else.
    Elsewhere(Remote),
}

/// A place across the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    text: String,
    tls: bool,
    authority: String,
    pub(super) what: What,
}

/// What is asked for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file, by path and query.
    File(String),
    /// An artifact in a registry's repository.
    Artifact {
        repository: String,
        /// A tag, or a manifest's digest.
        reference: Reference,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// A text that names no place of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no place of a bundle: {expected}")]
pub struct InvalidLocation {
    text: String,
    expected: &'static str,
}

impl Location {
    /// Reads a place: `https://HOST[:PORT]/PATH`, `oci://HOST[:PORT]/REPOSITORY:TAG` or `…@sha256:DIGEST`, or a path. Plain
    /// HTTP is spoken with numeric loopback addresses only: as `http://127.0.0.1:PORT/PATH`, and by `oci://127.0.0.1:PORT/…`.
    ///
    /// # Errors
    /// [`InvalidLocation`].
    pub fn parse(place: &Path) -> Result<Self, InvalidLocation> {
        let Some((text, scheme, rest)) = place.to_str().and_then(|text| {
            let (scheme, rest) = text.split_once("://")?;
            Some((text, scheme, rest))
        }) else {
            return Ok(Self::Here(place.to_owned()));
        };
        Remote::parse(text, scheme, rest)
            .map(Self::Elsewhere)
            .map_err(|expected| InvalidLocation { text: named(text).escape_debug().to_string(), expected })
    }
}

impl Remote {
    fn parse(text: &str, scheme: &str, rest: &str) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("it has more than 1,024 characters");
        }
        let (host, rest) =
            rest.split_at_checked(rest.find('/').map_or(rest.len(), |at| at)).unwrap_or((rest, ""));
        let (tls, authority) = authority(scheme, host)?;
        let what = if scheme == "oci" { artifact(rest)? } else { file(rest)? };
        Ok(Self { text: text.to_owned(), tls, authority, what })
    }

    /// Where it is, as whoever asks may be told.
    #[must_use]
    pub fn named(&self) -> &str {
        named(&self.text)
    }

    /// Whether it is asked over TLS, and so needs authorities to believe.
    #[must_use]
    pub const fn needs_authorities(&self) -> bool {
        self.tls
    }

    /// Scheme, host and port, as endpoints are written.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// Whether a credential for the one is one for the other.
    #[must_use]
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.tls == other.tls && self.authority == other.authority
    }
}

/// A URL without its query, which may be a key to what lies there.
pub(crate) fn named(url: &str) -> &str {
    url.split_once('?').map_or(url, |(place, _)| place)
}

/// Whether TLS is spoken, and with which host and port.
fn authority(scheme: &str, host: &str) -> Result<(bool, String), &'static str> {
    let loopback = host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    let tls = match scheme {
        "https" => true,
        "http" if loopback => false,
        "http" => return Err("plain http goes to a numeric loopback address with a port only; use https"),
        "oci" => !loopback,
        _ => return Err("expected `https://…`, `oci://…`, or a path"),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    if host.is_empty() || !host.chars().all(named) {
        return Err("expected a host, with a port if it is another one than 443, and no user before it");
    }
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            && !host.ends_with(']');
    Ok((tls, if has_port { host.to_owned() } else { format!("{host}:443") }))
}

fn file(path: &str) -> Result<What, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%?=&+,@:!;".contains(c);
    if path.len() < 2 || !path.chars().all(plain) {
        return Err("expected the path of a bundle's file behind the host, without spaces and `#`");
    }
    Ok(What::File(path.to_owned()))
}

fn artifact(path: &str) -> Result<What, &'static str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (repository, reference) = if let Some((repository, digest)) = path.split_once('@') {
        let digest = digest.parse().map_err(|_| "expected `@sha256:` and 64 hexadecimal digits")?;
        (repository, Reference::Digest(digest))
    } else {
        let tagged = path.rsplit_once(':').filter(|(_, tag)| is_tag(tag));
        let (repository, tag) = tagged.ok_or("expected `:TAG` or `@sha256:DIGEST` behind the repository")?;
        (repository, Reference::Tag(tag.to_owned()))
    };
    let is_repository = repository.len() <= LONGEST_REPOSITORY && repository.split('/').all(is_component);
    if !is_repository {
        return Err("expected a repository of a-z, 0-9, `.`, `_`, `-` and `/` behind the host");
    }
    Ok(What::Artifact { repository: repository.to_owned(), reference })
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let other = |c: char| first(c) || ".-".contains(c);
    tag.len() <= LONGEST_TAG && tag.starts_with(first) && tag.chars().all(other)
}

/// Of a-z and 0-9, with separators between them, so never `.` or `..`.
fn is_component(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || "._-".contains(c))
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
