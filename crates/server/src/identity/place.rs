//! Where a provider is asked: URLs as they are written in the configuration and in a provider's metadata.

use std::fmt;

use portcullis_sdk::{Authorities, Endpoint};

use crate::sources::named;

/// Longest URL, in characters.
const LONGEST: usize = 1024;

/// A URL that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    text: String,
    endpoint: Endpoint,
    path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is in errors that whoever asks is told.
        formatter.write_str(named(&self.text))
    }
}

impl Place {
    /// Reads `https://HOST[:PORT]/PATH`, or `http://127.0.0.1:PORT/PATH` with a numeric loopback address.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(text: &str, authorities: Option<&Authorities>) -> Result<Self, String> {
        if text.len() > LONGEST || !text.chars().all(is_plain) {
            return Err("expected a URL of at most 1,024 plain characters, without a fragment".to_owned());
        }
        let (scheme, rest) = text.split_once("://").ok_or("expected `https://HOST/PATH`")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let origin = match scheme {
            "https" if has_port(host) => format!("https://{host}"),
            "https" => format!("https://{host}:443"),
            "http" => format!("http://{host}"),
            _ => return Err("expected `https://HOST/PATH`".to_owned()),
        };
        if scheme == "https" && authorities.is_none() {
            return Err("https needs the certificate authorities to believe: `ca`, a PEM file".to_owned());
        }
        let endpoint = Endpoint::parse(&origin, authorities).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), endpoint, path })
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self.endpoint, Endpoint::Tls { .. })
    }

    /// Where the metadata of an issuer are: by RFC 8414, section 3.1, and by OpenID Connect Discovery 1.0, section 4.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn metadata(issuer: &str, authorities: Option<&Authorities>) -> Result<[Self; 2], String> {
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        let begin = issuer.find("://").map_or(0, |at| at.saturating_add(3));
        let end = issuer.get(begin..).and_then(|rest| rest.find('/')).map(|at| at.saturating_add(begin));
        let (origin, path) = end.and_then(|end| issuer.split_at_checked(end)).unwrap_or((issuer, ""));
        Ok([
            Self::parse(&format!("{origin}/.well-known/oauth-authorization-server{path}"), authorities)?,
            Self::parse(&format!("{issuer}/.well-known/openid-configuration"), authorities)?,
        ])
    }
}

/// What a URL is made of here: no user before the host, no fragment, nothing that a header or a line of text could end by.
const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            ':' | '/' | '?' | '[' | ']' | '-' | '.' | '_' | '~' | '%' | '=' | '&' | '+' | ',' | '!' | ';'
        )
}

fn has_port(host: &str) -> bool {
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.ends_with(']') && host.rsplit_once(':').is_some_and(|(_, port)| digits(port))
}

/// Whether a text can be an issuer (RFC 8414, section 2): a URL that is asked, without query.
pub(crate) fn is_issuer(text: &str) -> bool {
    text.len() <= LONGEST && text.chars().all(is_plain) && !text.contains('?') && text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_where_the_standards_say() {
        for (issuer, first, second) in [
            (
                "http://127.0.0.1:80",
                "http://127.0.0.1:80/.well-known/oauth-authorization-server",
                "http://127.0.0.1:80/.well-known/openid-configuration",
            ),
            (
                "http://127.0.0.1:80/realms/a/",
                "http://127.0.0.1:80/.well-known/oauth-authorization-server/realms/a",
                "http://127.0.0.1:80/realms/a/.well-known/openid-configuration",
            ),
        ] {
            let found = Place::metadata(issuer, None).unwrap().map(|place| place.to_string());
            assert_eq!(found, [first, second]);
        }
    }

    #[test]
    fn a_key_in_the_query_of_a_place_of_keys_was_told_to_whoever_asked() {
        let keyed = Place::parse("http://127.0.0.1:7/keys?key=secret", None).unwrap();
        assert_eq!(
            (keyed.to_string().as_str(), keyed.path()),
            ("http://127.0.0.1:7/keys", "/keys?key=secret")
        );
    }

    #[test]
    fn only_places_that_may_be_asked_are_places() {
        let place = Place::parse("http://127.0.0.1:7/keys?of=a", None).unwrap();
        assert_eq!((place.path(), place.is_tls()), ("/keys?of=a", false));
        assert_eq!(Place::parse("http://127.0.0.1:7", None).unwrap().path(), "/");
        for bad in [
            "",
            "keys",
            "/etc/keys",
            "ftp://127.0.0.1:7/",
            "file:///etc/passwd",
            "http://idp.example/keys",
            "http://127.0.0.1/keys",
            "http://127.0.0.1:7@idp.example/keys",
            "http://user@127.0.0.1:7/",
            "http://127.0.0.1:7/#keys",
            "http://127.0.0.1:7/a b",
            "http://127.0.0.1:7/\r\nx: y",
            "http://192.0.2.1:7/",
            "https://idp.example/keys",
        ] {
            assert!(Place::parse(bad, None).is_err(), "{bad}");
        }
    }
}
