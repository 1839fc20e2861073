//! Who a bearer token names.

use std::collections::BTreeMap;

use portcullis_arbiter::{Credential, Mandate};
use portcullis_protocol::{Digest, Domain};

use crate::config::AgentConfig;

/// The agents that have a static token. Tokens themselves are not kept: a token is looked up by its digest, so that
/// comparing takes no time that depends on a stored token.
#[derive(Clone, Debug)]
pub struct Agents(BTreeMap<Digest, Credential>);

impl Agents {
    /// From the configuration.
    #[must_use]
    pub fn new(agents: &[AgentConfig]) -> Self {
        // Who holds a static token has proved nothing at any time that is known.
        let authenticated = None;
        let credential = |agent: &AgentConfig| {
            let acts_for = Mandate::of(agent.acts_for.clone());
            let (agent, token, expires) = (agent.agent.clone(), agent.token?, agent.expires);
            Some((token, Credential { agent, acts_for, expires, authenticated }))
        };
        Self(agents.iter().filter_map(credential).collect())
    }

    /// The digest under which a token is kept.
    #[must_use]
    pub fn digest(token: &str) -> Digest {
        Digest::of(Domain::Token, &[token.as_bytes()])
    }

    /// The credential that a token stands for.
    #[must_use]
    pub fn credential(&self, token: &str) -> Option<&Credential> {
        self.0.get(&Self::digest(token))
    }

    /// The credential in an `authorization` header.
    #[must_use]
    pub fn bearer(&self, header: Option<&str>) -> Option<&Credential> {
        self.credential(bearer_token(header)?)
    }
}

/// The token in an `authorization` header of the bearer scheme.
pub(crate) fn bearer_token(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_token_names_an_agent() {
        let (token, acts_for) = (Agents::digest("s3cret"), Default::default());
        let agent = AgentConfig {
            agent: "bot".parse().unwrap(),
            token: Some(token),
            subject: None,
            expires: None,
            acts_for,
        };
        let agents = Agents::new(&[agent]);
        assert_eq!(agents.bearer(Some("Bearer s3cret")).unwrap().agent.as_str(), "bot");
        for header in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer x"),
            Some("Basic s3cret"),
            Some("s3cret"),
            Some("Bearer s3cret x"),
        ] {
            assert_eq!(agents.bearer(header), None, "{header:?}");
        }
        assert_eq!(Agents::new(&[]).bearer(Some("Bearer s3cret")), None);
        assert_eq!(Agents::new(&[]).bearer(Some("Bearer ")), None);
    }
}
