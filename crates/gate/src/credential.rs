//! What a tool server is shown so that it lets the gate in, and where that comes from.
//!
//! It is fetched when a call was permitted and before its permit is spent: without it nothing is sent, and the PERMIT is given
//! up. It is kept no longer than was declared. Whatever a source says goes one way to what is shown: [`checked`].

mod environment;
mod here;
mod programs;
mod redact;
mod slots;
mod vault;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use portcullis_programs::{NoAnswer, Program};
use portcullis_sdk::{BootInstant, Token};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::oauth::OAuth;
use crate::remote::ServerUrl;

pub use environment::{EnvironmentCredentials, InvalidVariables};
pub(crate) use environment::{Given, Handover};
pub use here::Here;
pub use programs::{Age, InvalidAttributes, Keyring};
pub(crate) use redact::{Held, Redactions};
use redact::{Redaction, TooMuch};
pub use slots::{ArgumentSlot, ArgumentSlots, InvalidSlots};
pub(crate) use slots::{Filled, NAMED, unnamed};
use vault::Lease;
pub use vault::{Engine, InvalidPath, Vault, VaultPath};

/// Longest credential, in bytes. HTTP servers take no longer headers.
pub(crate) const LONGEST: usize = 16 * 1024;
/// Questions to one source at once: files, programs and services that hang are no more than these.
const AT_ONCE: usize = 8;
/// Headers that say what a message is, or how it is carried, and not who sends it.
const OTHERS: [&str; 13] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a tool server by URL is shown: a header, made of a credential when it is sent.
#[derive(Clone, Debug)]
pub struct Credential {
    header: HeaderName,
    prefix: String,
    source: Arc<CredentialSource>,
}

/// A header that no credential can be in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no header that a credential can be in")]
pub struct InvalidHeader(String);

impl Credential {
    /// A credential as a bearer token (RFC 6750).
    #[must_use]
    pub fn bearer(source: CredentialSource) -> Self {
        let (header, prefix) = (hyper::header::AUTHORIZATION, "Bearer ".to_owned());
        Self { header, prefix, source: Arc::new(source) }
    }

    /// A credential in a header of this name, behind `prefix`, which is no secret.
    ///
    /// # Errors
    /// [`InvalidHeader`] for a name that is none, or that of a header which the gate itself sets, and for a prefix that no header has.
    pub fn in_header(header: &str, prefix: &str, source: CredentialSource) -> Result<Self, InvalidHeader> {
        let invalid = || InvalidHeader(header.chars().take(80).collect());
        let name = HeaderName::try_from(header).map_err(|_| invalid())?;
        let text = name.as_str();
        let is_other = OTHERS.contains(&text) || text.starts_with("mcp-") || text.starts_with("proxy-");
        if is_other || HeaderValue::try_from(prefix).is_err() {
            return Err(invalid());
        }
        Ok(Self { header: name, prefix: prefix.to_owned(), source: Arc::new(source) })
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> &Arc<CredentialSource> {
        &self.source
    }

    /// What is shown of a credential. It is known again from here on, for as long as that is held.
    pub(crate) fn shown(&self, credential: &Token) -> Result<Shown, NoCredential> {
        let held = self.source.redaction.learn(credential).map_err(|TooMuch| NoCredential::TooMany)?;
        let text = Zeroizing::new(format!("{}{}", self.prefix, credential.reveal()));
        let mut value = HeaderValue::try_from(text.as_str()).map_err(|_| NoCredential::NoText)?;
        value.set_sensitive(true);
        let showing = Some(Showing { header: self.header.clone(), value, _held: held });
        Ok(Shown { showing, ..Shown::default() })
    }
}

/// What one message shows its server: a header, or none where no credential is needed, and those that say its arguments once more. Does
/// not print.
///
/// While it is held what comes back has the credential taken out, however many others are shown meanwhile: whoever sends it
/// holds it until nothing more is read in answer.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    showing: Option<Showing>,
    mirrored: Arc<[(HeaderName, HeaderValue)]>,
    /// What is in the message itself.
    _outstanding: Option<Arc<[Held]>>,
}

#[derive(Clone)]
struct Showing {
    header: HeaderName,
    value: HeaderValue,
    _held: Held,
}

impl Shown {
    /// The same, with what says the message's arguments once more, and what is filled in in them.
    pub(crate) fn of_call(
        self,
        mirrored: Vec<(HeaderName, HeaderValue)>,
        outstanding: Option<Arc<[Held]>>,
    ) -> Self {
        Self { mirrored: mirrored.into(), _outstanding: outstanding, ..self }
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let showing = self.showing.iter().map(|showing| (&showing.header, &showing.value));
        showing.chain(self.mirrored.iter().map(|(name, value)| (name, value)))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What a credential is fetched from.
#[derive(Debug)]
pub enum Origin {
    /// It was given, once for all.
    Given(Token),
    /// A file, or a variable of the gate's own.
    Here(Here),
    /// A program of the operator's: one line on its standard output.
    Command(Program),
    /// A file that is encrypted.
    Age(Age),
    /// The keyring of a desktop.
    Keyring(Keyring),
    /// A Vault or OpenBao server.
    Vault(Box<Vault>),
    /// What a login for a tool server left.
    OAuth(Arc<OAuth>),
}

/// Where a credential comes from, how long fetching it may take, and how long it may be kept.
#[derive(Debug)]
pub struct CredentialSource {
    origin: Arc<Origin>,
    deadline: Duration,
    max_age: Duration,
    places: Arc<Semaphore>,
    kept: Mutex<Option<Kept>>,
    /// For all sessions: a server may say in one what it was shown in another.
    redaction: Arc<Redaction>,
}

/// A credential that is shown again.
#[derive(Debug)]
struct Kept {
    credential: Token,
    until: BootInstant,
    lease: Option<Lease>,
}

/// A credential, and until when it may be used, if it is leased.
pub(crate) type Lent = (Token, Option<BootInstant>);

impl Kept {
    fn lent(&self) -> Lent {
        (self.credential.clone(), self.lease.as_ref().map(|_| self.until))
    }
}

/// Why there is no credential. None of it is what a source said: that may be a secret, or part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredential {
    /// It did not come in time.
    #[error("it did not come within {} ms", .0.as_millis())]
    Late(Duration),
    /// The source gives none.
    #[error("{0}")]
    Unavailable(String),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is longer than any can be.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It has a line end or another control character in it, with which a header would be another.
    #[error("it has a line end or another control character in it")]
    ControlCharacter,
    /// It is no text that a header can have.
    #[error("it is no text that a header can have")]
    NoText,
    /// It is so short that whoever tries texts would find it.
    #[error("it is shorter than {0} bytes: what is taken out of answers could be guessed")]
    TooShort(usize),
    /// It could not be known again: too many others are being shown.
    #[error("too many others are being shown for it to be known again")]
    TooMany,
}

impl From<NoAnswer> for NoCredential {
    fn from(no: NoAnswer) -> Self {
        match no {
            NoAnswer::TooLong => Self::TooLong,
            NoAnswer::Unfit(_) | NoAnswer::Unavailable(_) | NoAnswer::Late | NoAnswer::Failed => {
                Self::Unavailable(no.to_string())
            }
        }
    }
}

impl CredentialSource {
    /// A source that has so long to give a credential. With a `max_age` that is not zero one is shown again within it, counted from
    /// when it was asked for; a lease is kept as [`Vault`] says.
    #[must_use]
    pub fn new(origin: Origin, deadline: Duration, max_age: Duration) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (kept, redaction) = (Mutex::default(), Arc::default());
        Self { origin: Arc::new(origin), deadline, max_age, places, kept, redaction }
    }

    /// A credential that does not change.
    #[must_use]
    pub fn given(token: Token) -> Self {
        Self::new(Origin::Given(token), Duration::from_secs(1), Duration::ZERO)
    }

    /// The credential to show now.
    ///
    /// # Errors
    /// [`NoCredential`], within the deadline.
    pub async fn fetch(&self) -> Result<Token, NoCredential> {
        Ok(self.lent().await?.0)
    }

    /// The same, and until when it may be used where it is leased: not what is shown once, but what a server is to go on with.
    pub(crate) async fn lent(&self) -> Result<Lent, NoCredential> {
        let fetched = timeout(self.deadline, async {
            if self.keeps() { self.kept().await } else { Ok((self.fresh().await?.0, None)) }
        });
        fetched.await.unwrap_or(Err(NoCredential::Late(self.deadline)))
    }

    /// Gives back what is kept, and the lease that it is under, if it is: at the end, when nothing is shown any more.
    ///
    /// # Errors
    /// [`NoCredential`] if there was a lease which could not be revoked; it runs out by itself.
    pub async fn end(&self) -> Result<(), NoCredential> {
        let ended = timeout(self.deadline, async {
            let kept = self.kept.lock().await.take();
            match (kept.and_then(|kept| kept.lease), self.origin.as_ref()) {
                (Some(lease), Origin::Vault(vault)) => {
                    vault.revoke(&lease, self.place().await?, self.deadline).await
                }
                (_, Origin::OAuth(oauth)) => {
                    oauth.settled().await;
                    Ok(())
                }
                (Some(_) | None, _) => Ok(()),
            }
        });
        ended.await.unwrap_or(Err(NoCredential::Late(self.deadline)))
    }

    /// What takes its credentials out of all that their server says.
    pub(crate) fn redaction(&self) -> Arc<Redaction> {
        Arc::clone(&self.redaction)
    }

    #[cfg(test)]
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it gives is shown to the server at `url`.
    pub(crate) fn is_for(&self, url: &ServerUrl) {
        if let Origin::OAuth(oauth) = self.origin.as_ref() {
            oauth.is_for(url);
        }
    }

    /// The server did not take what it was shown.
    pub(crate) fn doubt(&self) {
        if let Origin::OAuth(oauth) = self.origin.as_ref() {
            oauth.doubt();
        }
    }

    fn keeps(&self) -> bool {
        !self.max_age.is_zero() || matches!(self.origin.as_ref(), Origin::Vault(vault) if vault.leases())
    }

    /// The kept one while it may be shown, else another in its place. Of many who ask one fetches.
    async fn kept(&self) -> Result<Lent, NoCredential> {
        let mut place = self.kept.lock().await;
        let asked = BootInstant::now();
        if let Some(kept) = place.as_ref().filter(|kept| asked < kept.until) {
            return Ok(kept.lent());
        }
        if let Some(kept) = place.as_mut()
            && let Some(until) = self.renewed(kept, asked).await
        {
            kept.until = until;
            return Ok(kept.lent());
        }
        // It is not shown any more, whatever comes.
        *place = None;
        let (credential, lease) = self.fresh().await?;
        let shown_for = lease.as_ref().map_or(self.max_age, Lease::kept_for);
        let kept = place.insert(Kept { credential, until: asked.plus(shown_for), lease });
        Ok(kept.lent())
    }

    /// Until when a kept one may be shown again, if its lease could be renewed.
    async fn renewed(&self, kept: &mut Kept, asked: BootInstant) -> Option<BootInstant> {
        let (Some(lease), Origin::Vault(vault)) = (&mut kept.lease, self.origin.as_ref()) else {
            return None;
        };
        let renewed = vault.renew(lease, self.place().await.ok()?, self.deadline).await;
        renewed.ok().map(|shown_for| asked.plus(shown_for))
    }

    async fn fresh(&self) -> Result<(Token, Option<Lease>), NoCredential> {
        // Who waits for a token takes no place: of them one alone asks.
        if let Origin::OAuth(oauth) = self.origin.as_ref() {
            return Ok((checked(&oauth.access().await?)?, None));
        }
        let place = self.place().await?;
        let (said, lease) = match self.origin.as_ref() {
            Origin::Given(token) => (Zeroizing::new(token.reveal().as_bytes().to_vec()), None),
            Origin::Here(_) | Origin::Command(_) | Origin::Age(_) | Origin::Keyring(_) | Origin::OAuth(_) => {
                (self.blocking(place).await?, None)
            }
            Origin::Vault(vault) => vault.read(place, self.deadline).await?,
        };
        Ok((checked(&said)?, lease))
    }

    /// One of the few in which something may be asked, once there is one.
    async fn place(&self) -> Result<OwnedSemaphorePermit, NoCredential> {
        let closed = |_| NoCredential::Unavailable("the gate is ending".to_owned());
        Arc::clone(&self.places).acquire_owned().await.map_err(closed)
    }

    /// Asks what may block, on a thread for that. Its place is taken until that has ended, however long nobody waits for it.
    async fn blocking(&self, place: OwnedSemaphorePermit) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        let (origin, until) = (Arc::clone(&self.origin), BootInstant::now().plus(self.deadline));
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            let left = || until.since(BootInstant::now());
            match origin.as_ref() {
                Origin::Here(here) => here.read(),
                Origin::Command(program) => Ok(program.run(&[], LONGEST, &left)?),
                Origin::Age(age) => age.read(&left),
                Origin::Keyring(keyring) => keyring.read(&left),
                Origin::Given(_) | Origin::Vault(_) | Origin::OAuth(_) => Err(NoCredential::Empty),
            }
        });
        asked.await.unwrap_or_else(|_| Err(NoCredential::Unavailable("it could not be asked for".to_owned())))
    }
}

/// [Ends](CredentialSource::end) sources, all at once and within `at_most` together; why each that did not was not ended.
///
/// Must run on a Tokio runtime with I/O and time.
pub async fn give_back(sources: &[Arc<CredentialSource>], at_most: Duration) -> Vec<NoCredential> {
    let mut ending = JoinSet::new();
    for source in sources {
        let source = Arc::clone(source);
        ending.spawn(async move { timeout(at_most, source.end()).await });
    }
    let ended = ending.join_all().await;
    ended.into_iter().filter_map(|ended| ended.unwrap_or(Err(NoCredential::Late(at_most))).err()).collect()
}

/// A credential out of what a source said: one line of text.
fn checked(said: &[u8]) -> Result<Token, NoCredential> {
    if said.len() > LONGEST {
        return Err(NoCredential::TooLong);
    }
    let text = std::str::from_utf8(said).map_err(|_| NoCredential::NoText)?;
    // Files and programs end their one line.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.chars().any(char::is_control) {
        return Err(NoCredential::ControlCharacter);
    }
    let token = Token::new(text);
    if token.reveal().is_empty() { Err(NoCredential::Empty) } else { Ok(token) }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
