//! Reading an access token: a JWS in compact form (RFC 7515), whose header and claims say one thing each. What was read is
//! not believed before its signature was verified, and what that leads to is another type.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_protocol::Millis;
use portcullis_protocol::json::{Limits, Loose};

use super::keys::{Algorithm, Key};
use super::refused::TokenRefused;

/// Longest token that is read, in characters.
const LONGEST: usize = 8 * 1024;
/// Longest header, in characters.
const LONGEST_HEADER: usize = 1024;
/// Longest name of a key, a subject or a client, in characters; longest issuer and audience.
const LONGEST_NAME: usize = 1024;
/// Bounds on header and claims.
const LIMITS: Limits = Limits { bytes: LONGEST, depth: 16 };
/// What a header may say. `x5t` and `x5t#S256` are a second name of the key, by which none is looked for. Anything else
/// either brings a key along (`jwk`, `x5c`), says where to get one (`jku`, `x5u`), changes what was signed (`b64`, `crit`,
/// `zip`, `enc`), or is not understood.
const KNOWN_HEADER: [&str; 5] = ["alg", "kid", "typ", "x5t", "x5t#S256"];
/// Claims that ID tokens and logout tokens have, and access tokens have not (OpenID Connect Core 1.0, section 3.3.2.11).
const OF_OTHER_TOKENS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
/// Last second that has a number of milliseconds.
const LAST_SECOND: i64 = 9_007_199_254_740;

/// What a token's header says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenType {
    /// `at+jwt`: an access token, and nothing else (RFC 9068).
    AccessToken,
    /// `JWT`: some token.
    Any,
}

impl TokenType {
    /// As a configuration and a header name it. Media types are the same in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = match text.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            Some(_) | None => text,
        };
        match bare {
            it if it.eq_ignore_ascii_case("at+jwt") => Some(Self::AccessToken),
            it if it.eq_ignore_ascii_case("jwt") => Some(Self::Any),
            _ => None,
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kind: TokenType,
    pub(crate) key: String,
}

/// What is read of claims. Nothing else of them is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) client: Option<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) expires: Millis,
    pub(crate) not_before: Option<Millis>,
    pub(crate) issued: Millis,
    pub(crate) authenticated: Option<Millis>,
}

/// A token that was read. Whoever wrote it said all of this; whether the issuer did is not known.
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// The claims of a token that its issuer signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified(Claims);

impl Verified {
    pub(crate) const fn claims(&self) -> &Claims {
        &self.0
    }
}

type Members = BTreeMap<String, Loose>;

impl<'a> Unverified<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenRefused`], for what needs neither key nor configuration.
    pub(crate) fn read(token: &'a str) -> Result<Self, TokenRefused> {
        if token.len() > LONGEST {
            return Err(TokenRefused::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenRefused::Malformed)?;
        if header.len() > LONGEST_HEADER {
            return Err(TokenRefused::TooLarge);
        }
        let header = Header::read(&object(header)?)?;
        let claims = Claims::read(&object(claims)?)?;
        let signature = decode(signature)?;
        Ok(Self { header, claims, signed, signature })
    }

    /// Verifies the signature. The key is the one of the issuer's that the header names.
    ///
    /// # Errors
    /// [`TokenRefused::KeyType`], [`TokenRefused::Signature`].
    pub(crate) fn verify(self, key: &Key) -> Result<Verified, TokenRefused> {
        key.verify(self.header.algorithm, self.signed.as_bytes(), &self.signature)?;
        Ok(Verified(self.claims))
    }
}

/// Base64url has one spelling here: no padding, no other alphabet, no stray bits.
fn decode(part: &str) -> Result<Vec<u8>, TokenRefused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefused::Malformed)
}

fn object(part: &str) -> Result<Members, TokenRefused> {
    match Loose::parse(&decode(part)?, LIMITS) {
        Ok(Loose::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(TokenRefused::Malformed),
    }
}

impl Header {
    fn read(members: &Members) -> Result<Self, TokenRefused> {
        if !members.keys().all(|name| KNOWN_HEADER.contains(&name.as_str())) {
            return Err(TokenRefused::Header);
        }
        let text = |name: &str, missing| match members.get(name) {
            Some(Loose::Str(text)) if text.len() <= LONGEST_NAME => Ok(text.as_str()),
            Some(_) => Err(TokenRefused::Malformed),
            None => Err(missing),
        };
        let algorithm = Algorithm::parse(text("alg", TokenRefused::Algorithm)?);
        let kind = TokenType::parse(text("typ", TokenRefused::Type)?);
        Ok(Self {
            algorithm: algorithm.ok_or(TokenRefused::Algorithm)?,
            kind: kind.ok_or(TokenRefused::Type)?,
            key: text("kid", TokenRefused::UnknownKey)?.to_owned(),
        })
    }
}

impl Claims {
    fn read(members: &Members) -> Result<Self, TokenRefused> {
        refuse_others(members)?;
        let required = |claim: Option<String>| claim.ok_or(TokenRefused::Malformed);
        let moment = |claim: Option<Millis>| claim.ok_or(TokenRefused::Malformed);
        Ok(Self {
            issuer: required(name(members, "iss")?)?,
            subject: required(name(members, "sub")?)?,
            client: client(members)?,
            audiences: audiences(members)?,
            expires: moment(time(members, "exp")?)?,
            not_before: time(members, "nbf")?,
            issued: moment(time(members, "iat")?)?,
            authenticated: time(members, "auth_time")?,
        })
    }
}

/// Refuses what is no access token, or not one of its bearer's alone.
fn refuse_others(members: &Members) -> Result<(), TokenRefused> {
    if OF_OTHER_TOKENS.iter().any(|claim| members.contains_key(*claim)) {
        return Err(TokenRefused::Type);
    }
    // Some providers say in a claim what RFC 9068 says in the header: Keycloak `Bearer`, Cognito `access`.
    let says = |claim: &str, wanted: &str| match members.get(claim) {
        None => true,
        Some(Loose::Str(said)) => said.eq_ignore_ascii_case(wanted),
        Some(_) => false,
    };
    if !says("typ", "Bearer") || !says("token_use", "access") {
        return Err(TokenRefused::Type);
    }
    if members.contains_key("cnf") {
        return Err(TokenRefused::Bound);
    }
    if members.contains_key("act") {
        return Err(TokenRefused::Delegated);
    }
    Ok(())
}

fn name(members: &Members, claim: &str) -> Result<Option<String>, TokenRefused> {
    match members.get(claim) {
        None => Ok(None),
        Some(Loose::Str(name)) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(Some(name.clone())),
        Some(_) => Err(TokenRefused::Malformed),
    }
}

/// The client: `client_id` (RFC 9068), or `azp`, as older providers call it. Two that differ are two clients.
fn client(members: &Members) -> Result<Option<String>, TokenRefused> {
    match (name(members, "client_id")?, name(members, "azp")?) {
        (Some(client), Some(party)) if client != party => Err(TokenRefused::Malformed),
        (client, party) => Ok(client.or(party)),
    }
}

fn audiences(members: &Members) -> Result<Vec<String>, TokenRefused> {
    let one = |value: &Loose| value.as_str().filter(|audience| !audience.is_empty()).map(str::to_owned);
    let read: Option<Vec<String>> = match members.get("aud") {
        Some(Loose::Array(audiences)) => audiences.iter().map(one).collect(),
        Some(audience) => one(audience).map(|audience| vec![audience]),
        None => return Err(TokenRefused::Audience),
    };
    read.ok_or(TokenRefused::Malformed)
}

/// A time in whole seconds since 1970.
fn time(members: &Members, claim: &str) -> Result<Option<Millis>, TokenRefused> {
    match members.get(claim) {
        None => Ok(None),
        Some(Loose::Int(seconds @ 0..=LAST_SECOND)) => {
            let seconds = u64::try_from(*seconds).map_err(|_| TokenRefused::Malformed)?;
            Ok(Some(Millis(seconds.saturating_mul(1_000))))
        }
        Some(_) => Err(TokenRefused::Malformed),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
