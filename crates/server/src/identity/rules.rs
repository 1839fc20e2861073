//! What a token must say, whoever signed it: looked at before its signature is, so that a forgery costs no signature.

use std::collections::BTreeSet;

use portcullis_protocol::Millis;

use super::keys::Algorithm;
use super::refused::TokenRefused;
use super::token::{TokenType, Unverified};

/// How long after it has expired a token may still say what became of a PERMIT, in milliseconds.
const REPORTS: u64 = 24 * 60 * 60 * 1_000;

/// For what a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// For anything that its agent may.
    Acting,
    /// To say what became of a PERMIT. That takes the attempt's nonce too, and runs nothing: what ran longer than its token
    /// lived was refused its outcome otherwise.
    Reporting,
}

/// What an issuer's tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The issuer, letter for letter.
    pub issuer: String,
    /// The resource that tokens must be for: the arbiter's own name at the provider.
    pub audience: String,
    /// Algorithms that count.
    pub algorithms: BTreeSet<Algorithm>,
    /// Types that are taken as access tokens.
    pub types: BTreeSet<TokenType>,
    /// How far the issuer's clock may be ahead of this machine's, in milliseconds.
    pub skew_ms: u64,
}

impl TokenRules {
    /// Looks at what a token says at `now`.
    ///
    /// # Errors
    /// The first of these that it breaks.
    pub(crate) fn admit(
        &self,
        token: &Unverified<'_>,
        now: Millis,
        shown_for: Use,
    ) -> Result<(), TokenRefused> {
        let (header, claims) = (&token.header, &token.claims);
        if claims.issuer != self.issuer {
            return Err(TokenRefused::Issuer);
        }
        if !self.algorithms.contains(&header.algorithm) {
            return Err(TokenRefused::Algorithm);
        }
        if !self.types.contains(&header.kind) {
            return Err(TokenRefused::Type);
        }
        if !claims.audiences.contains(&self.audience) {
            return Err(TokenRefused::Audience);
        }
        // A token lives as long as it says, and by this machine's clock: what the issuer's is ahead is not added.
        let end = match shown_for {
            Use::Acting => claims.expires,
            Use::Reporting => claims.expires.plus(REPORTS),
        };
        if now >= end {
            return Err(TokenRefused::Expired);
        }
        let latest = now.plus(self.skew_ms);
        let begins = [claims.not_before, Some(claims.issued), claims.authenticated];
        if begins.into_iter().flatten().any(|begin| begin > latest) {
            return Err(TokenRefused::NotYet);
        }
        Ok(())
    }
}
