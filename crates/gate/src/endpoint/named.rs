//! Tokens that named an agent when they were last asked about.

use std::collections::BTreeMap;

use portcullis_protocol::{Digest, Millis};

/// Tokens that are remembered.
pub(super) const REMEMBERED: usize = 1024;

struct One {
    expires: Option<Millis>,
    /// When it named an agent last, in the order of all.
    turn: u64,
}

/// So many of them, by their digests. Those that have expired make place for others, and then the one that named an agent longest ago.
#[derive(Default)]
pub(super) struct Named {
    tokens: BTreeMap<Digest, One>,
    turn: u64,
}

impl Named {
    /// A token that `expires` names an agent `now`. By a clock that says nothing none has expired.
    pub(super) fn add(&mut self, token: Digest, expires: Option<Millis>, now: Option<Millis>) {
        self.turn = self.turn.saturating_add(1);
        self.tokens.insert(token, One { expires, turn: self.turn });
        if self.tokens.len() <= REMEMBERED {
            return;
        }
        let is_over = |one: &One| matches!((one.expires, now), (Some(end), Some(now)) if end <= now);
        self.tokens.retain(|_, one| !is_over(one));
        if self.tokens.len() > REMEMBERED {
            let oldest = self.tokens.iter().min_by_key(|(_, one)| one.turn).map(|(token, _)| *token);
            oldest.and_then(|oldest| self.tokens.remove(&oldest));
        }
    }

    /// It names nobody any more.
    pub(super) fn remove(&mut self, token: &Digest) {
        self.tokens.remove(token);
    }

    pub(super) fn contains(&self, token: &Digest) -> bool {
        self.tokens.contains_key(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Digest {
        Digest::sha256(&number.to_be_bytes())
    }

    /// Whose digests were the smallest went, whether or not they were in use, and maybe the one that came.
    #[test]
    fn after_many_renewals_agents_tokens_were_strangers_again() {
        let mut named = Named::default();
        for number in 0..3 * REMEMBERED {
            // One that is in use all the time, and others that are renewed.
            for one in [token(0), token(number)] {
                named.add(one, None, None);
            }
            assert!(named.contains(&token(0)) && named.contains(&token(number)), "{number}");
        }
        assert_eq!(named.tokens.len(), REMEMBERED);
        assert!(named.contains(&token(2 * REMEMBERED + 1)) && !named.contains(&token(2 * REMEMBERED)));
    }

    #[test]
    fn tokens_that_had_expired_had_the_place_of_one_that_had_not() {
        let mut named = Named::default();
        named.add(token(0), Some(Millis(3_000)), Some(Millis(0)));
        for number in 1..REMEMBERED {
            named.add(token(number), Some(Millis(1_000)), Some(Millis(0)));
        }
        named.add(token(REMEMBERED), Some(Millis(4_000)), Some(Millis(1_000)));
        assert_eq!(named.tokens.len(), 2);
        assert!(named.contains(&token(0)) && named.contains(&token(REMEMBERED)));
    }
}
