//! Who gives tokens for a tool server, as the server's metadata (RFC 9728) and the authorization server's (RFC 8414, OpenID Connect
//! Discovery) say, in the order of MCP 2025-11-25, "Authorization".

use std::time::Duration;

use serde::Deserialize;

use super::asking::{Answer, Question, ask};
use super::challenge::Challenge;
use super::login::LoginError;
use super::may_name;
use crate::remote::{ServerUrl, Trust};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
/// How long each answer may take.
const ANSWERING: Duration = Duration::from_secs(15);

/// A tool server that takes tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// How tokens for it name it.
    pub(super) id: String,
    pub(super) issuer: String,
    /// The scopes that are asked for, if nobody names others.
    pub(super) scopes: Vec<String>,
}

/// A server that gives them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) authorization: ServerUrl,
    pub(super) token: ServerUrl,
    pub(super) registration: Option<ServerUrl>,
    /// Whether it says in each redirection who it is (RFC 9207).
    pub(super) names_itself: bool,
    /// Whether it gives refresh tokens to whoever asks for them in OpenID Connect's way.
    pub(super) gives_offline_access: bool,
}

#[derive(Deserialize)]
struct ResourceMetadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    bearer_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ServerMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    registration_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    response_types_supported: Option<Vec<String>>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What the server at `url` says of who gives tokens for it.
pub(super) async fn resource(url: &ServerUrl, trust: &Trust) -> Result<Resource, LoginError> {
    let asked = ask(url, trust, &Question::Events, ANSWERING).await;
    let answer = asked.map_err(|why| LoginError::unanswered(&url.to_string(), &why))?;
    let challenge = if answer.status == 401 { Challenge::of(&answer.headers) } else { Challenge::default() };
    let places = match &challenge.metadata {
        Some(place) => vec![of_origin(url, place)?],
        None => resource_places(url)?,
    };
    let answer = first(&places, trust).await?.ok_or_else(|| LoginError::NoResource(url.to_string()))?;
    read_resource(url, &answer.body, &challenge)
}

/// The place of the metadata that the server names: its own, for who speaks for another origin speaks not for it.
fn of_origin(url: &ServerUrl, place: &str) -> Result<ServerUrl, LoginError> {
    let named: ServerUrl =
        place.parse().map_err(|_| LoginError::strange("`resource_metadata` is no URL to ask"))?;
    if named.origin() == url.origin() {
        Ok(named)
    } else {
        Err(LoginError::strange("its metadata is said to be at another origin than its own"))
    }
}

fn resource_places(url: &ServerUrl) -> Result<Vec<ServerUrl>, LoginError> {
    let (origin, path) = (url.origin(), url.path().trim_end_matches('/'));
    let mut places = vec![format!("{origin}{RESOURCE}{path}")];
    if !path.is_empty() {
        places.push(format!("{origin}{RESOURCE}"));
    }
    parsed(&places)
}

fn server_places(issuer: &ServerUrl) -> Result<Vec<ServerUrl>, LoginError> {
    let (origin, path) = (issuer.origin(), issuer.path().trim_end_matches('/'));
    let mut places = vec![format!("{origin}{SERVER}{path}"), format!("{origin}{OPENID}{path}")];
    if !path.is_empty() {
        places.push(format!("{origin}{path}{OPENID}"));
    }
    parsed(&places)
}

fn parsed(places: &[String]) -> Result<Vec<ServerUrl>, LoginError> {
    let parsed: Result<Vec<_>, _> = places.iter().map(|place| place.parse()).collect();
    parsed.map_err(|_| LoginError::strange("its metadata is at no URL to ask"))
}

/// The first that is there. One that is there and says no good counts all the same: it is not for others to be asked in its place.
async fn first(places: &[ServerUrl], trust: &Trust) -> Result<Option<Answer>, LoginError> {
    for place in places {
        let asked = ask(place, trust, &Question::Get, ANSWERING).await;
        let answer = asked.map_err(|why| LoginError::unanswered(&place.to_string(), &why))?;
        match answer.status {
            200 => return Ok(Some(answer)),
            400..=499 => {}
            status => return Err(LoginError::Status(LoginError::sample(&place.to_string()), status)),
        }
    }
    Ok(None)
}

fn read_resource(url: &ServerUrl, body: &[u8], challenge: &Challenge) -> Result<Resource, LoginError> {
    let said: ResourceMetadata = serde_json::from_slice(body)
        .map_err(|_| LoginError::strange("the tool server's metadata is not understood"))?;
    if !covers(&said.resource, url) {
        return Err(LoginError::OtherResource(LoginError::sample(&said.resource), url.to_string()));
    }
    if said.bearer_methods_supported.is_some_and(|methods| methods.iter().all(|method| method != "header")) {
        return Err(LoginError::strange("the tool server takes no token in a header"));
    }
    let issuer = said.authorization_servers.into_iter().next();
    let issuer =
        issuer.ok_or_else(|| LoginError::strange("the tool server names no authorization server"))?;
    let scopes = match &challenge.scope {
        Some(scope) => scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        None => said.scopes_supported,
    };
    Ok(Resource { id: said.resource, issuer, scopes })
}

/// Whether a resource is the server at `url`, or what that is below.
fn covers(resource: &str, url: &ServerUrl) -> bool {
    let Ok(named) = resource.parse::<ServerUrl>() else { return false };
    if named.origin() != url.origin() {
        return false;
    }
    if named.query().is_some() {
        return named.parts().0 == url.parts().0;
    }
    let above = named.path().trim_end_matches('/');
    url.path().strip_prefix(above).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// What the authorization server says of itself.
pub(super) async fn server(url: &ServerUrl, issuer: &str, trust: &Trust) -> Result<Server, LoginError> {
    let at: ServerUrl =
        issuer.parse().map_err(|_| LoginError::BadUrl("the issuer", LoginError::sample(issuer)))?;
    if !may_name(url, &at) || at.query().is_some() {
        return Err(LoginError::BadUrl("the issuer", LoginError::sample(issuer)));
    }
    let answer = first(&server_places(&at)?, trust).await?;
    let answer = answer.ok_or_else(|| LoginError::NoServer(LoginError::sample(issuer)))?;
    read_server(url, issuer, &answer.body)
}

fn read_server(url: &ServerUrl, issuer: &str, body: &[u8]) -> Result<Server, LoginError> {
    let said: ServerMetadata = serde_json::from_slice(body)
        .map_err(|_| LoginError::strange("the authorization server's metadata is not understood"))?;
    if !is_same(&said.issuer, issuer) {
        return Err(LoginError::OtherIssuer(LoginError::sample(&said.issuer), LoginError::sample(issuer)));
    }
    if !said.code_challenge_methods_supported.iter().any(|method| method == "S256") {
        return Err(LoginError::NoPkce(LoginError::sample(issuer)));
    }
    if said.response_types_supported.is_some_and(|types| types.iter().all(|kind| kind != "code")) {
        return Err(LoginError::strange("the authorization server gives no codes"));
    }
    let endpoint = |what: &'static str, text: &str| match text.parse::<ServerUrl>() {
        Ok(endpoint) if may_name(url, &endpoint) => Ok(endpoint),
        Ok(_) | Err(_) => Err(LoginError::BadUrl(what, LoginError::sample(text))),
    };
    Ok(Server {
        issuer: said.issuer,
        authorization: endpoint("`authorization_endpoint`", &said.authorization_endpoint)?,
        token: endpoint("`token_endpoint`", &said.token_endpoint)?,
        registration: said
            .registration_endpoint
            .map(|text| endpoint("`registration_endpoint`", &text))
            .transpose()?,
        names_itself: said.authorization_response_iss_parameter_supported,
        gives_offline_access: said.scopes_supported.iter().any(|scope| scope == "offline_access"),
    })
}

/// Whether two texts are one issuer: the same characters, but that an empty path may be written as `/`, as libraries do.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |text: &str| {
        let is_root = text.parse::<ServerUrl>().is_ok_and(|url| url.parts().0 == "/");
        if is_root { text.trim_end_matches('/').to_owned() } else { text.to_owned() }
    };
    one == other || bare(one) == bare(other)
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
