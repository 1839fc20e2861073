//! Who an operator's bearer token names.

use std::collections::BTreeMap;

use portcullis_protocol::{Digest, Millis, OperatorId};

use crate::agents::{Agents, bearer_token};
use crate::config::OperatorConfig;

/// The operators that have a token. They are no agents: an operator's token opens no agent's endpoint, nor an
/// agent's an operator's. As with agents, tokens themselves are not kept.
#[derive(Clone, Debug)]
pub struct Operators(BTreeMap<Digest, OperatorConfig>);

impl Operators {
    /// From the configuration.
    #[must_use]
    pub fn new(operators: &[OperatorConfig]) -> Self {
        Self(operators.iter().map(|operator| (operator.token, operator.clone())).collect())
    }

    /// The operator that a token names at `now`. A token that may have expired, because nobody knows the time, names
    /// nobody.
    #[must_use]
    pub fn named(&self, token: &str, now: Option<Millis>) -> Option<&OperatorId> {
        let operator = self.0.get(&Agents::digest(token))?;
        let valid = operator.expires.is_none_or(|expires| now.is_some_and(|now| now < expires));
        valid.then_some(&operator.operator)
    }

    /// The operator in an `authorization` header.
    #[must_use]
    pub fn bearer(&self, header: Option<&str>, now: Option<Millis>) -> Option<&OperatorId> {
        self.named(bearer_token(header)?, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_token_names_an_operator_and_only_until_it_expires() {
        let operator = |name: &str, token, expires| OperatorConfig {
            operator: name.parse().unwrap(),
            token: Agents::digest(token),
            expires,
        };
        let operators =
            Operators::new(&[operator("alice", "a", None), operator("bob", "b", Some(Millis(1_000)))]);
        let named = |header, now: Option<u64>| {
            operators.bearer(Some(header), now.map(Millis)).map(OperatorId::as_str)
        };
        assert_eq!(named("Bearer a", None), Some("alice"));
        assert_eq!(named("Bearer b", Some(999)), Some("bob"));
        for (header, now) in
            [("Bearer b", Some(1_000)), ("Bearer b", None), ("Bearer c", Some(1)), ("Basic a", Some(1))]
        {
            assert_eq!(named(header, now), None, "{header} at {now:?}");
        }
        assert_eq!(operators.bearer(None, None), None);
    }
}
