//! What is looked at before anything of a request's body is read.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use portcullis_protocol::ReasonCode;

use super::refused::Refused;

/// The one value of a header; `None` if it is not there.
///
/// # Errors
/// If it is there twice, or is no plain text: two readers could take two different values from it.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let unclear = || Refused::mismatch(&format!("the header `{name}` is not one plain value"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| unclear()),
        (Some(_), Some(_)) => Err(unclear()),
    }
}

/// The names that the endpoint goes by, and who may ask from a browser.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// As the `host` header has them, in lower case.
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
}

impl Names {
    /// An endpoint at this address: on a loopback address it is known by the names of this machine, and otherwise by that
    /// address. `others` are hosts, with or without a port.
    pub(super) fn new(address: SocketAddr, others: &[String], origins: &[String], tls: bool) -> Self {
        let port = address.port();
        let mut hosts = vec![match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        }];
        if address.ip().is_loopback() {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        let usual = if tls { 443 } else { 80 };
        let mut known: BTreeSet<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
        known.extend(hosts.into_iter().filter(|_| port == usual));
        known.extend(others.iter().map(|host| host.to_ascii_lowercase()));
        Self { hosts: known, origins: origins.iter().map(|origin| origin.to_ascii_lowercase()).collect() }
    }

    /// Refuses a request that was meant for another server, or that a web page makes which nobody allowed: a page of anywhere
    /// can have a name of its own lead here (DNS rebinding).
    pub(super) fn admit(&self, parts: &Parts) -> Result<(), Refused> {
        let forbidden = |detail| Refused::new(StatusCode::FORBIDDEN, ReasonCode::RequestInvalidValue, detail);
        let known = |host: &str| self.hosts.contains(&host.to_ascii_lowercase());
        let host = one(&parts.headers, &HOST)?;
        let named = host.is_some_and(known);
        // The target's own host counts before the header (RFC 9112, section 3.2.2), so that both must be right.
        let target = parts.uri.authority().is_none_or(|authority| known(authority.as_str()));
        if !named || !target {
            return Err(forbidden("the endpoint is not known by this host; `--host NAME` makes it so"));
        }
        match one(&parts.headers, &ORIGIN)? {
            Some(origin) if !self.origins.contains(&origin.to_ascii_lowercase()) => {
                Err(forbidden("web pages of this origin may not ask here"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The token of the one `authorization` header. Two could name two callers, so they name none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = one(headers, &AUTHORIZATION).ok().flatten()?.split_once(' ')?;
    let token = token.trim();
    // The characters of RFC 6750, section 2.1: what is none of them is no token, and goes nowhere.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let usable = !token.is_empty() && token.bytes().all(plain);
    (scheme.eq_ignore_ascii_case("bearer") && usable).then_some(token)
}

/// Refuses a client that would not read what it may be answered.
pub(super) fn accepts(headers: &HeaderMap, all: &[&str]) -> Result<(), Refused> {
    let values: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    // A range with `q=0` is one that is not accepted (RFC 9110, section 12.4.2).
    let ranges: Vec<String> = values.iter().filter_map(|range| accepted(range)).collect();
    let fits = |wanted: &&str| {
        let kind = wanted.split_once('/').map_or(*wanted, |(kind, _)| kind);
        ranges.iter().any(|range| range == wanted || range == "*/*" || *range == format!("{kind}/*"))
    };
    if all.iter().all(fits) {
        return Ok(());
    }
    let detail = format!("the client must accept {}", all.join(" and "));
    Err(Refused::new(StatusCode::NOT_ACCEPTABLE, ReasonCode::RequestInvalidValue, &detail))
}

fn accepted(range: &str) -> Option<String> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let none = |parameter: &str| {
        let weight = parameter.to_ascii_lowercase();
        weight
            .strip_prefix("q=")
            .is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    };
    (!parts.any(none)).then_some(name)
}

/// Refuses a body that is not JSON in UTF-8 as it is: what a browser sends without asking first is none either.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Refused> {
    let unsupported = || {
        let detail = "the body must be application/json, in UTF-8 and without another encoding";
        Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ReasonCode::RequestMalformed, detail)
    };
    let kind = one(headers, &CONTENT_TYPE)?.ok_or_else(unsupported)?.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next() == Some("application/json");
    let plain = parts.all(|parameter| matches!(parameter, "" | "charset=utf-8" | "charset=\"utf-8\""));
    if json && plain && headers.get(CONTENT_ENCODING).is_none() { Ok(()) } else { Err(unsupported()) }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
