//! Who a caller is, by the credential that came with what it asks: a static token of the configuration, or an access token
//! of an identity provider (OAuth 2.1; RFC 9068). Looked at for each call, and kept for none.
//!
//! What an access token says is looked at before its signature is, so that a forgery costs no signature unless it says all
//! that a good token would. What it says counts for nothing before that: [`token::Verified`] comes from a signature alone.

use std::collections::BTreeMap;

use portcullis_arbiter::{Credential, Mandate};
use portcullis_protocol::{AgentId, Digest, Domain, Millis, PrincipalId, ReasonCode};

use crate::agents::Agents;
use crate::config::{AgentConfig, ArbiterConfig, SubjectConfig};
use crate::remote::IssuerHealth;

mod held;
mod keys;
mod notes;
mod place;
mod provider;
mod refused;
mod rules;
mod token;

pub use held::KeyAges;
pub use keys::Algorithm;
pub use place::Place;
pub use refused::TokenRefused;
pub use rules::TokenRules;
pub use token::TokenType;

use held::{Lacking, millis};
pub(crate) use notes::Notes;
pub(crate) use place::is_issuer;
use provider::Provider;
pub(crate) use rules::Use;
use token::{Claims, Unverified, Verified};

/// Why a caller is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// No credential came.
    Silent,
    /// It is no token of the configuration's.
    Unknown,
    /// It is an access token, and names nobody.
    Refused(TokenRefused),
    /// It is an access token, and it cannot be told whom it names.
    Untold(ReasonCode),
}

/// An agent that access tokens may name.
#[derive(Debug)]
struct Mapped {
    agent: AgentId,
    client: Option<String>,
    acts_for: Mandate,
    expires: Option<Millis>,
    /// Whether the token is a person's, which its client gets anew for a refresh token, without that person.
    of_person: bool,
}

#[derive(Debug)]
struct Issuer {
    rules: TokenRules,
    ages: KeyAges,
    provider: Provider,
}

/// Everybody whom a credential can name.
#[derive(Debug)]
pub(crate) struct Identities {
    agents: Agents,
    issuers: BTreeMap<String, Issuer>,
    /// By issuer and subject.
    mapped: BTreeMap<(String, String), Vec<Mapped>>,
    notes: Notes,
}

impl Identities {
    /// From the configuration. Providers are asked for their keys from now on.
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        let issuer = |issuer: &crate::config::IssuerConfig| {
            let (rules, ages) = (issuer.rules.clone(), issuer.ages);
            let provider = Provider::follow(issuer.clone());
            (rules.issuer.clone(), Issuer { rules, ages, provider })
        };
        Self {
            agents: Agents::new(&config.agents),
            issuers: config.issuers.iter().map(issuer).collect(),
            mapped: mapped(&config.agents),
            notes: Notes::default(),
        }
    }

    pub(crate) const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Whether a token could name somebody, now or later: it is one of the configuration's, or says that it is of an issuer
    /// of the configuration's.
    pub(crate) fn may_name(&self, token: &str) -> bool {
        self.agents.credential(token).is_some()
            || Unverified::read(token).is_ok_and(|token| self.issuers.contains_key(&token.claims.issuer))
    }

    /// The credential that a token stands for now, and who bears it: one subject's client, whichever of its tokens it is. A static
    /// token is its own, and none comes after it.
    pub(crate) async fn credential(
        &self,
        token: &str,
        now: impl Fn() -> Option<Millis>,
        shown_for: Use,
    ) -> Result<(Credential, Option<Digest>), Nobody> {
        if let Some(credential) = self.agents.credential(token) {
            return Ok((credential.clone(), None));
        }
        // No static token has a dot in it, and no access token has none.
        if self.issuers.is_empty() || !token.contains('.') {
            return Err(Nobody::Unknown);
        }
        let named = self.access_token(token, now, shown_for).await;
        if let Err(Nobody::Refused(why)) = &named {
            self.notes.refused(*why);
        }
        named
    }

    async fn access_token(
        &self,
        token: &str,
        now: impl Fn() -> Option<Millis>,
        shown_for: Use,
    ) -> Result<(Credential, Option<Digest>), Nobody> {
        let (verified, now) = self.verified(token, now, shown_for).await?;
        let credential = self.named(&verified, now).map_err(Nobody::Refused)?;
        let Claims { issuer, subject, client, .. } = verified.claims();
        let mut parts = vec![issuer.as_bytes(), subject.as_bytes()];
        parts.extend(client.as_ref().map(|client| client.as_bytes()));
        Ok((credential, Some(Digest::of(Domain::Token, &parts))))
    }

    /// What an access token says, signed by its issuer, and when that was found.
    async fn verified(
        &self,
        token: &str,
        now: impl Fn() -> Option<Millis>,
        shown_for: Use,
    ) -> Result<(Verified, Millis), Nobody> {
        // A token that expires stands for nobody while nobody knows the time.
        let time = || now().ok_or(Nobody::Untold(ReasonCode::ClockUnreadable));
        let token = Unverified::read(token).map_err(Nobody::Refused)?;
        let issuer = self.issuers.get(&token.claims.issuer).ok_or(Nobody::Refused(TokenRefused::Issuer))?;
        issuer.rules.admit(&token, time()?, shown_for).map_err(Nobody::Refused)?;
        self.agent(&token.claims).map_err(Nobody::Refused)?;
        let key = issuer.provider.key(&token.header.key).await.map_err(|lacking| match lacking {
            Lacking::Unknown => Nobody::Refused(TokenRefused::UnknownKey),
            Lacking::Expired => Nobody::Untold(ReasonCode::IdentityUnavailable),
        })?;
        // Keys may have been waited for.
        let now = time()?;
        issuer.rules.admit(&token, now, shown_for).map_err(Nobody::Refused)?;
        Ok((token.verify(&key).map_err(Nobody::Refused)?, now))
    }

    /// The agent that claims name, whoever wrote them.
    fn agent(&self, claims: &Claims) -> Result<&Mapped, TokenRefused> {
        let named = self.mapped.get(&(claims.issuer.clone(), claims.subject.clone()));
        let fits = |mapped: &&Mapped| mapped.client.is_none() || mapped.client == claims.client;
        named.and_then(|all| all.iter().find(fits)).ok_or(TokenRefused::Subject)
    }

    /// The credential of the agent that an issuer's token names.
    fn named(&self, token: &Verified, now: Millis) -> Result<Credential, TokenRefused> {
        let claims = token.claims();
        let mapped = self.agent(claims)?;
        let expires = mapped.expires.map_or(claims.expires, |own| own.min(claims.expires));
        // When its bearer logged in. A client proves who it is for each token of its own, so that it did when that was issued;
        // a person did at some time, unknown, before that. A provider whose clock is ahead says either too late.
        let issued = (!mapped.of_person).then_some(claims.issued);
        let authenticated = claims.authenticated.or(issued).map(|at| at.min(now));
        Ok(Credential {
            agent: mapped.agent.clone(),
            acts_for: mapped.acts_for.clone(),
            expires: Some(expires),
            authenticated,
        })
    }

    /// How each issuer's keys are at `boot`.
    pub(crate) fn health(&self, boot: u64) -> Vec<IssuerHealth> {
        let health = |(name, issuer): (&String, &Issuer)| {
            let held = issuer.provider.held();
            let (keys, passed_over) = held.count();
            let (error, failures) = held.failure();
            IssuerHealth {
                issuer: name.clone(),
                state: held.state(boot).as_str().to_owned(),
                keys,
                passed_over,
                age_ms: held.age(boot),
                expire_ms: millis(issuer.ages.expire),
                failures,
                error: error.map(str::to_owned),
            }
        };
        self.issuers.iter().map(health).collect()
    }
}

fn mapped(agents: &[AgentConfig]) -> BTreeMap<(String, String), Vec<Mapped>> {
    let mut all = BTreeMap::<_, Vec<Mapped>>::new();
    for agent in agents {
        let Some(SubjectConfig { issuer, client, subs }) = &agent.subject else { continue };
        for (sub, person) in subs {
            let mapped = Mapped {
                agent: agent.agent.clone(),
                client: client.clone(),
                acts_for: mandate(agent, person.as_ref()),
                expires: agent.expires,
                of_person: person.is_some(),
            };
            all.entry((issuer.clone(), sub.clone())).or_default().push(mapped);
        }
    }
    all
}

/// For whom a token lets its agent act: of a token of a person's, for that person alone.
fn mandate(agent: &AgentConfig, person: Option<&PrincipalId>) -> Mandate {
    match person {
        Some(person) => Mandate::of([person.clone()].into()),
        None => Mandate::of(agent.acts_for.clone()),
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
