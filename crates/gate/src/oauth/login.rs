//! A person says yes, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_protocol::Digest;
use portcullis_sdk::Authorities;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::asking::Unanswered;
use super::found::{self, Server};
use super::granted::{NoGrant, granted};
use super::redirect::{Expected, Listening};
use super::registered::registered;
use super::stored::{Held, NoStore, Stored, put};
use super::{Pair, form};
use crate::clock::wall;
use crate::notes::escape;
use crate::remote::{ServerUrl, Trust};

/// How long the store is waited for that a gate holds, and how often it is looked at.
const HOLDING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// Characters of what others said that people are shown.
const SAMPLE: usize = 200;
/// What OpenID Connect calls a refresh token by.
const OFFLINE: &str = "offline_access";

/// A login for one tool server.
#[derive(Clone, Debug)]
pub struct Login {
    /// The tool server's URL.
    pub url: ServerUrl,
    /// PEM of the only authorities that are believed, of the tool server and of who gives tokens for it; else the system's are.
    pub authorities: Option<String>,
    /// The file that it is stored in.
    pub store: PathBuf,
    /// Who asks.
    pub client: Client,
    /// What for; what the server says that it needs, if nothing is named.
    pub scopes: Vec<String>,
    /// How long a person may take.
    pub patience: Duration,
}

/// The client that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// One that the authorization server knows by this id, without a secret.
    Known(String),
    /// One that makes itself known.
    Registers,
}

/// What came of it. No token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who gave the tokens.
    pub issuer: String,
    /// What they are for.
    pub resource: String,
    /// Who they were given to.
    pub client_id: String,
    /// For how long the first one is good, if that was said.
    pub lifetime: Option<Duration>,
    /// Whether there is a token to refresh it with.
    pub refreshes: bool,
}

/// Why nobody is logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// A server does not answer.
    #[error("no answer of `{0}`: {1}")]
    Unanswered(String, String),
    /// A server answers with another status than it should.
    #[error("`{0}` answers with status {1}; redirections are not followed")]
    Status(String, u16),
    /// Nothing is said of who gives tokens.
    #[error(
        "`{0}` does not say who gives tokens for it (RFC 9728): give it a token that you have, with `--token-file` or `--credential`"
    )]
    NoResource(String),
    /// Tokens would be for something else.
    #[error(
        "the tool server calls itself `{0}`, which is not `{1}` nor above it: give the URL that it is known by"
    )]
    OtherResource(String, String),
    /// The authorization server says nothing of itself.
    #[error("the authorization server `{0}` says nothing of itself (RFC 8414, OpenID Connect Discovery)")]
    NoServer(String),
    /// The metadata are another server's.
    #[error(
        "the authorization server calls itself `{0}`, and the tool server calls it `{1}`: one of both is not who it says"
    )]
    OtherIssuer(String, String),
    /// A code could be used by who sees it.
    #[error(
        "the authorization server `{0}` does not say that it supports PKCE with S256, without which a code is anybody's"
    )]
    NoPkce(String),
    /// A URL to which nothing is sent.
    #[error(
        "{0} is `{1}`, which is no `https://HOST/PATH`; plain http is for a tool server on this machine alone"
    )]
    BadUrl(&'static str, String),
    /// The client cannot make itself known.
    #[error(
        "the authorization server registers nobody: register a client there, with `http://127.0.0.1/callback` as its redirection, and name it with `--client-id`"
    )]
    NoRegistration,
    /// The client was not taken.
    #[error(
        "the authorization server does not register this client (status {0}): register one there by hand, and name it with `--client-id`"
    )]
    NotRegistered(u16),
    /// A client with a secret.
    #[error(
        "the authorization server registers only clients that keep a secret: register one without there, and name it with `--client-id`"
    )]
    Secretive,
    /// A person said no.
    #[error("it was refused in the browser (`access_denied`)")]
    Denied,
    /// There is no code.
    #[error(
        "the authorization server came back without a code: it may not know the client, or not give what was asked for"
    )]
    NotGiven,
    /// The browser was led elsewhere.
    #[error(
        "who came back is not the authorization server that was asked (RFC 9207); nothing was sent to it"
    )]
    OtherServer,
    /// Nobody came back.
    #[error("nobody came back within {} s; run it again", .0.as_secs())]
    Late(Duration),
    /// No token was given.
    #[error("{0}")]
    NoTokens(String),
    /// A scope, an id or another word that none can be.
    #[error("`{0}` is no {1}")]
    Unfit(String, &'static str),
    /// The store cannot be had.
    #[error("`{0}`: {1}")]
    Store(PathBuf, String),
    /// The machine does not do its part.
    #[error("this machine: {0}")]
    Machine(String),
    /// What was said makes no sense.
    #[error("{0}")]
    Strange(&'static str),
}

impl LoginError {
    /// So much of what others said as people are shown.
    pub(super) fn sample(said: &str) -> String {
        escape(said.as_bytes(), SAMPLE)
    }

    pub(super) const fn strange(why: &'static str) -> Self {
        Self::Strange(why)
    }

    pub(super) fn unanswered(who: &str, why: &Unanswered) -> Self {
        Self::Unanswered(Self::sample(who), Self::sample(&why.to_string()))
    }

    fn machine(error: impl std::fmt::Display) -> Self {
        Self::Machine(error.to_string())
    }

    fn store(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Store(path.to_owned(), error.to_string())
    }
}

/// Logs in: finds out who gives tokens for a tool server, shows the URL at which a person says yes, waits for that, and writes the store.
/// Nothing is left behind if it ends before that.
///
/// Must run on a Tokio runtime with I/O and time.
///
/// # Errors
/// [`LoginError`]. What lay in the store lies there still.
pub async fn log_in(login: Login, show: impl FnOnce(&str) + Send) -> Result<LoggedIn, LoginError> {
    checked(&login)?;
    // Before a person is asked for nothing.
    drop(held(&login.store).await?);
    let trust = match &login.authorities {
        None => Trust::System,
        Some(pem) => Trust::Authorities(Authorities::parse(pem).map_err(LoginError::machine)?),
    };
    let resource = found::resource(&login.url, &trust).await?;
    let server = found::server(&login.url, &resource.issuer, &trust).await?;
    let scopes = scopes(&login, resource.scopes, &server)?;
    let listening = Listening::start().await.map_err(LoginError::machine)?;
    let redirect = listening.uri();
    let client_id = match (&login.client, &server.registration) {
        (Client::Known(id), _) => id.clone(),
        (Client::Registers, Some(endpoint)) => registered(endpoint, &trust, &redirect, &scopes).await?,
        (Client::Registers, None) => return Err(LoginError::NoRegistration),
    };
    let (state, verifier) = (random()?, random()?);
    let asks = Asks { client_id: &client_id, redirect: &redirect, resource: &resource.id, scopes: &scopes };
    show(&asks.url(&server, &state, &verifier));
    let expected = Expected { state, issuer: server.issuer.clone(), names_issuer: server.names_itself };
    let code = timeout(login.patience, listening.code(expected)).await;
    let code = code.unwrap_or(Err(LoginError::Late(login.patience)))?;
    let asked = Asked { server, resource: resource.id, client_id, redirect, verifier };
    let (stored, logged_in) = asked.exchange(login.url, &trust, login.authorities, &code).await?;
    store(&login.store, stored).await?;
    Ok(logged_in)
}

/// What was asked, and of whom.
struct Asked {
    server: Server,
    resource: String,
    client_id: String,
    redirect: String,
    verifier: Zeroizing<String>,
}

impl Asked {
    /// Tokens for a code, once.
    async fn exchange(
        self,
        url: ServerUrl,
        trust: &Trust,
        authorities: Option<String>,
        code: &str,
    ) -> Result<(Stored, LoggedIn), LoginError> {
        let Self { server, resource, client_id, redirect, verifier } = self;
        let asked_at_ms = wall().map_or(0, |at| at.0);
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("client_id", &client_id),
            ("code_verifier", &verifier),
            ("resource", &resource),
        ];
        let granted = granted(&server.token, trust, &pairs).await.map_err(|why| no_tokens(&why))?;
        let logged_in = LoggedIn {
            issuer: server.issuer.clone(),
            resource: resource.clone(),
            client_id: client_id.clone(),
            lifetime: granted.lifetime,
            refreshes: granted.refresh.is_some(),
        };
        let stored = Stored {
            version: Stored::VERSION,
            url: url.to_string(),
            resource,
            issuer: server.issuer,
            token_endpoint: server.token.to_string(),
            client_id,
            authorities,
            refresh_token: granted.refresh,
            access_token: granted.access,
            asked_at_ms,
            lifetime_seconds: granted.lifetime.map(|lifetime| lifetime.as_secs()),
        };
        Ok((stored, logged_in))
    }
}

/// The words that a person gave.
fn checked(login: &Login) -> Result<(), LoginError> {
    if let Some(scope) = login.scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(LoginError::Unfit(LoginError::sample(scope), "scope"));
    }
    match &login.client {
        Client::Known(id) if id.is_empty() || !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Err(LoginError::Unfit(LoginError::sample(id), "client's id"))
        }
        Client::Known(_) | Client::Registers => Ok(()),
    }
}

/// The characters of RFC 6749, section 3.3.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

/// What is asked for: what a person named, or what the tool server says that it needs, and a refresh token where that has a scope.
fn scopes(login: &Login, needed: Vec<String>, server: &Server) -> Result<Vec<String>, LoginError> {
    if !login.scopes.is_empty() {
        return Ok(login.scopes.clone());
    }
    if !needed.iter().all(|scope| is_scope(scope)) {
        return Err(LoginError::strange("the tool server needs what is no scope"));
    }
    let mut scopes = needed;
    if server.gives_offline_access && scopes.iter().all(|scope| scope != OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    Ok(scopes)
}

fn random() -> Result<Zeroizing<String>, LoginError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(LoginError::machine)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What is asked of the authorization server.
struct Asks<'a> {
    client_id: &'a str,
    redirect: &'a str,
    resource: &'a str,
    scopes: &'a [String],
}

impl Asks<'_> {
    /// The URL at which a person says yes.
    fn url(&self, server: &Server, state: &str, verifier: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Digest::sha256(verifier.as_bytes()).as_bytes());
        let scope = self.scopes.join(" ");
        let mut pairs: Vec<Pair<'_>> = vec![
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", self.redirect),
            ("resource", self.resource),
            ("state", state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if !scope.is_empty() {
            pairs.push(("scope", &scope));
        }
        if self.scopes.iter().any(|scope| scope == OFFLINE) {
            // OpenID Connect Core, section 11.
            pairs.push(("prompt", "consent"));
        }
        let separator = if server.authorization.query().is_some() { '&' } else { '?' };
        format!("{}{separator}{}", server.authorization, form(&pairs))
    }
}

fn no_tokens(why: &NoGrant) -> LoginError {
    LoginError::NoTokens(match why {
        NoGrant::Unanswered(unanswered) => {
            format!("no answer of the token endpoint: {}", LoginError::sample(&unanswered.to_string()))
        }
        NoGrant::InvalidGrant => {
            "the authorization server does not take the code (`invalid_grant`); run it again".to_owned()
        }
        NoGrant::Elsewhere(_)
        | NoGrant::InvalidClient
        | NoGrant::Refused(_)
        | NoGrant::Unclear
        | NoGrant::OtherKind
        | NoGrant::Unfit => why.to_string(),
    })
}

/// The store, if there is one, once no gate has it. What is no store is not written over.
async fn held(path: &Path) -> Result<Option<Held>, LoginError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(LoginError::store(path, "its directory is not there"));
    }
    let taking = async {
        loop {
            let own = path.to_owned();
            let taken = spawn_blocking(move || Held::take(&own)).await.map_err(LoginError::machine)?;
            match taken {
                Ok(Some(held)) => return Ok(Some(held)),
                Err(NoStore::Missing) => return Ok(None),
                Err(why) => return Err(LoginError::store(path, why)),
                Ok(None) => sleep(LOOK).await,
            }
        }
    };
    let taken = timeout(HOLDING, taking).await;
    taken.unwrap_or_else(|_| Err(LoginError::store(path, "another process holds it")))
}

async fn store(path: &Path, stored: Stored) -> Result<(), LoginError> {
    let held = held(path).await?;
    let own = path.to_owned();
    let written = spawn_blocking(move || match held {
        Some(held) => held.replace(&stored),
        None => put(&own, &stored),
    });
    written.await.map_err(LoginError::machine)?.map_err(|error| LoginError::store(path, error))
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
