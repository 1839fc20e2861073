//! Identity providers whose access tokens name agents: `[issuers."URL"]`, and `agents.NAME.subject`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use portcullis_protocol::PrincipalId;
use portcullis_sdk::Authorities;
use serde::Deserialize;

use super::sections::{AgentSection, IssuerSection};
use super::{AgentConfig, Config, ConfigError, parse, value};
use crate::identity::{Algorithm, KeyAges, Place, TokenRules, TokenType, is_issuer};

/// Bounds, in seconds.
const SKEW: std::ops::RangeInclusive<u64> = 0..=60;
const FRESH: std::ops::RangeInclusive<u64> = 1..=86_400;
const LONGEST_EXPIRE: u64 = 604_800;
/// Longest subject, client and audience, in bytes.
const LONGEST_NAME: usize = 1024;

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub enum KeysAt {
    /// In a file.
    File(PathBuf),
    /// There.
    Place(Place),
    /// Where the issuer's metadata say, of which one of these is to be had.
    Metadata([Place; 2]),
}

/// An identity provider.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// What its tokens must say.
    pub rules: TokenRules,
    /// How old its keys may be.
    pub ages: KeyAges,
    /// Where they are.
    pub keys: KeysAt,
    /// Whose certificates are believed there.
    pub authorities: Option<Authorities>,
}

/// Whom an issuer's tokens must name to name an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectConfig {
    /// The issuer.
    pub issuer: String,
    /// The client that they must be of, if it matters.
    pub client: Option<String>,
    /// Their subjects, each with the person for whom the agent then acts, if it is one.
    pub subs: BTreeMap<String, Option<PrincipalId>>,
}

/// Which access tokens name an agent, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectTable {
    issuer: String,
    sub: Option<String>,
    client_id: Option<String>,
    people: Option<BTreeMap<String, String>>,
}

impl Config {
    pub(super) fn issuers(&self, agents: &[AgentConfig]) -> Result<Vec<IssuerConfig>, ConfigError> {
        let issuers: Vec<_> = self
            .file
            .issuers
            .iter()
            .map(|(name, section)| self.issuer(name, section))
            .collect::<Result<_, _>>()?;
        for subject in agents.iter().filter_map(|agent| agent.subject.as_ref()) {
            if !issuers.iter().any(|issuer| issuer.rules.issuer == subject.issuer) {
                let error = format!(
                    "names the issuer `{0}`, which is not configured: add a section `[issuers.\"{0}\"]`, letter for letter \
                     as its tokens say it",
                    subject.issuer.escape_debug()
                );
                return Err(ConfigError::Value { key: "agents.subject", error });
            }
        }
        refuse_shared(agents)?;
        Ok(issuers)
    }

    fn issuer(&self, name: &str, section: &IssuerSection) -> Result<IssuerConfig, ConfigError> {
        if !is_issuer(name) {
            let error =
                "is no issuer: expected its URL, letter for letter as its tokens say it, without query";
            return Err(value("issuers.URL", &error));
        }
        let authorities = section.ca.as_ref().map(|path| Authorities::read(&self.at(path))).transpose();
        let authorities = authorities.map_err(|error| value("issuers.ca", &error))?;
        let keys = match (&section.jwks, &section.jwks_file) {
            (Some(_), Some(_)) => {
                return Err(value(
                    "issuers.jwks",
                    &"cannot stand beside `jwks_file`: the keys are in one place",
                ));
            }
            (Some(jwks), None) => {
                let place = Place::parse(jwks, authorities.as_ref());
                KeysAt::Place(place.map_err(|error| value("issuers.jwks", &error))?)
            }
            (None, Some(file)) => KeysAt::File(self.at(file)),
            (None, None) => {
                let places = Place::metadata(name, authorities.as_ref());
                KeysAt::Metadata(places.map_err(|error| value("issuers.URL", &error))?)
            }
        };
        Ok(IssuerConfig { rules: rules(name, section)?, ages: ages(section)?, keys, authorities })
    }
}

fn rules(name: &str, section: &IssuerSection) -> Result<TokenRules, ConfigError> {
    let audience = section.audience.clone();
    if audience.is_empty() || audience.len() > LONGEST_NAME {
        return Err(value(
            "issuers.audience",
            &"must say for what tokens are, or any token of the issuer's would do",
        ));
    }
    let algorithms = match &section.algorithms {
        None => Algorithm::ALL.into(),
        Some(names) => listed(names, Algorithm::parse).ok_or_else(|| {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            value("issuers.algorithms", &format!("expected some of {known}, each once"))
        })?,
    };
    let types = match &section.types {
        None => [TokenType::AccessToken].into(),
        Some(names) => listed(names, TokenType::parse)
            .ok_or_else(|| value("issuers.types", &"expected `at+jwt`, `JWT`, or both"))?,
    };
    let skew = section.skew_seconds.map_or(10, |seconds| seconds);
    if !SKEW.contains(&skew) {
        return Err(value("issuers.skew_seconds", &"is not within 0 and 60"));
    }
    let skew_ms = skew.saturating_mul(1_000);
    Ok(TokenRules { issuer: name.to_owned(), audience, algorithms, types, skew_ms })
}

/// Some things by their names, each once.
fn listed<T: Ord>(names: &[String], parse: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
    let parsed: BTreeSet<T> = names.iter().map(|name| parse(name)).collect::<Option<_>>()?;
    (!parsed.is_empty() && parsed.len() == names.len()).then_some(parsed)
}

fn ages(section: &IssuerSection) -> Result<KeyAges, ConfigError> {
    let fresh = section.fresh_seconds.map_or(300, |seconds| seconds);
    if !FRESH.contains(&fresh) {
        return Err(value("issuers.fresh_seconds", &"is not within 1 and 86400"));
    }
    let expire = section.expire_seconds.unwrap_or_else(|| fresh.saturating_mul(12).min(LONGEST_EXPIRE));
    if expire <= fresh || expire > LONGEST_EXPIRE {
        let error = "must be more than `fresh_seconds`, or keys would count for nothing between two answers, and at most 604800";
        return Err(value("issuers.expire_seconds", &error));
    }
    Ok(KeyAges { fresh: Duration::from_secs(fresh), expire: Duration::from_secs(expire) })
}

impl SubjectConfig {
    /// Reads what names an agent. Whoever logs in with a client is not that client: without a subject, each person must be
    /// listed.
    pub(super) fn read(section: &AgentSection) -> Result<Option<Self>, ConfigError> {
        let Some(SubjectTable { issuer, sub, client_id, people }) = &section.subject else { return Ok(None) };
        let refused = |error: &str| Err(value("agents.subject", &error));
        let fits = |text: &String| !text.is_empty() && text.len() <= LONGEST_NAME;
        let subs: BTreeMap<String, Option<PrincipalId>> = match (sub, people) {
            (Some(sub), None) => [(sub.clone(), None)].into(),
            (None, Some(people)) if !people.is_empty() => {
                if section.acts_for.is_some() || section.token.is_some() || client_id.is_none() {
                    return refused(
                        "with `people` goes with a `client_id` and without `acts_for` and `token`: whose token it is says for \
                         whom the agent acts",
                    );
                }
                let person =
                    |(sub, name): (&String, &String)| Ok((sub.clone(), Some(parse("agents.subject", name)?)));
                people.iter().map(person).collect::<Result<_, ConfigError>>()?
            }
            (Some(_), Some(_)) | (None, Some(_) | None) => {
                return refused("must have `sub`, or `people` with somebody in it, and not both");
            }
        };
        if !subs.keys().all(fits) || !client_id.iter().all(fits) {
            return refused("has a subject or client that is empty or longer than 1,024 bytes");
        }
        Ok(Some(Self { issuer: issuer.clone(), client: client_id.clone(), subs }))
    }

    /// Whether one token could be of both.
    fn meets(&self, other: &Self) -> bool {
        let clients = match (&self.client, &other.client) {
            (Some(own), Some(theirs)) => own == theirs,
            (None, _) | (_, None) => true,
        };
        self.issuer == other.issuer && clients && self.subs.keys().any(|sub| other.subs.contains_key(sub))
    }
}

/// A token that named two agents would not tell who asks.
fn refuse_shared(agents: &[AgentConfig]) -> Result<(), ConfigError> {
    for (at, agent) in agents.iter().enumerate() {
        let Some(own) = &agent.subject else { continue };
        let before = agents.iter().take(at);
        if let Some(other) =
            before.into_iter().find(|other| other.subject.as_ref().is_some_and(|it| it.meets(own)))
        {
            let error = format!(
                "one access token could name both `{}` and `{}`, so it would not tell who asks; give each its own `sub`, or \
                 each a `client_id`",
                other.agent, agent.agent
            );
            return Err(ConfigError::Value { key: "agents.subject", error });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "issuers_tests.rs"]
mod tests;
