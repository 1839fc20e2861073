//! Where clients learn where tokens come from (RFC 9728, as MCP's authorization asks for).

use hyper::{StatusCode, Uri};
use serde_json::json;

use super::respond::{Answer, json as json_answer};

/// Where the metadata of a resource is, before the resource's own path (RFC 9728, section 3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What the endpoint is to those who give out tokens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The URL that it is known by, which tokens for it name as their audience.
    url: Uri,
    text: String,
    servers: Vec<String>,
    scopes: Vec<String>,
}

/// A resource that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {expected}")]
pub struct InvalidResource {
    text: String,
    expected: &'static str,
}

impl Resource {
    /// An endpoint that is known by `url`, for which `servers`, by their issuers' URLs, give out tokens of these `scopes`.
    ///
    /// # Errors
    /// [`InvalidResource`] names the text that cannot be used.
    pub fn new(url: &str, servers: Vec<String>, scopes: Vec<String>) -> Result<Self, InvalidResource> {
        let parsed = web(url)?;
        for server in &servers {
            web(server)?;
        }
        // The characters of RFC 6749, section 3.3: others would end the header's value.
        let plain = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
        match scopes.iter().find(|scope| scope.is_empty() || !scope.bytes().all(plain)) {
            Some(scope) => Err(InvalidResource { text: shown(scope), expected: "is no scope" }),
            None => Ok(Self { url: parsed, text: url.to_owned(), servers, scopes }),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A URL with a host and nothing that a quoted value could not hold.
fn web(text: &str) -> Result<Uri, InvalidResource> {
    let invalid = |expected| InvalidResource { text: shown(text), expected };
    if text.contains(['#', '"', '\\', '?']) || !text.is_ascii() {
        return Err(invalid("is no URL without query and fragment"));
    }
    let uri: Uri = text.parse().map_err(|_| invalid("is no URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("https" | "http"), Some(authority)) if !authority.as_str().contains('@') => Ok(uri),
        (_, _) => Err(invalid("is no URL with a host")),
    }
}

/// The metadata, as it is served.
pub(super) struct Metadata {
    /// The path for resources with a path, and for those without.
    paths: [String; 2],
    challenge: String,
    text: String,
}

impl Metadata {
    pub(super) fn of(resource: Resource) -> Self {
        let Resource { url, text, servers, scopes } = resource;
        let path = url.path().trim_end_matches('/');
        let own = format!("{WELL_KNOWN}{path}");
        let root = text.strip_suffix(url.path()).unwrap_or(text.as_str()).trim_end_matches('/');
        let scope =
            if scopes.is_empty() { String::new() } else { format!(", scope=\"{}\"", scopes.join(" ")) };
        let challenge = format!("Bearer resource_metadata=\"{root}{own}\"{scope}");
        let mut told = json!({
            "resource": text, "authorization_servers": servers, "bearer_methods_supported": ["header"],
        });
        if !scopes.is_empty()
            && let Some(told) = told.as_object_mut()
        {
            told.insert("scopes_supported".to_owned(), json!(scopes));
        }
        Self { paths: [own, WELL_KNOWN.to_owned()], challenge, text: told.to_string() }
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        self.paths.iter().any(|own| own == path)
    }

    /// What a client without a token is told, as a header's value.
    pub(super) fn challenge(&self) -> String {
        self.challenge.clone()
    }

    pub(super) fn answer(&self) -> Answer {
        json_answer(StatusCode::OK, self.text.clone().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(url: &str) -> Result<Resource, InvalidResource> {
        Resource::new(url, vec!["https://idp.example".into()], vec!["mcp:call".into(), "mcp:list".into()])
    }

    #[test]
    fn the_challenge_names_the_place_where_the_metadata_is() {
        for (url, place) in [
            ("https://gate.example/mcp", "https://gate.example/.well-known/oauth-protected-resource/mcp"),
            ("https://gate.example", "https://gate.example/.well-known/oauth-protected-resource"),
            ("https://gate.example/", "https://gate.example/.well-known/oauth-protected-resource"),
            (
                "http://127.0.0.1:8080/a/mcp",
                "http://127.0.0.1:8080/.well-known/oauth-protected-resource/a/mcp",
            ),
        ] {
            let metadata = Metadata::of(resource(url).unwrap());
            let challenge = format!("Bearer resource_metadata=\"{place}\", scope=\"mcp:call mcp:list\"");
            assert_eq!(metadata.challenge(), challenge);
            assert!(metadata.is_at(place.parse::<Uri>().unwrap().path()) && !metadata.is_at("/mcp"), "{url}");
        }
    }

    #[test]
    fn what_would_end_a_headers_value_is_no_resource() {
        for url in [
            "https://a\"b/",
            "https://a/\\",
            "ftp://a/",
            "/mcp",
            "https://user@a/",
            "https://a/#x",
            "https://a/?x",
            "https://ä/",
        ] {
            assert!(resource(url).is_err(), "{url}");
        }
        for scope in ["", "a b", "a\"", "\\", "ä"] {
            assert!(Resource::new("https://a/", Vec::new(), vec![scope.into()]).is_err(), "{scope}");
        }
        assert!(Resource::new("https://a/", vec!["x".into()], Vec::new()).is_err());
    }
}
