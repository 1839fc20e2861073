//! How the server reads access tokens and issuers' keys: nobody else's business, and so not public.

#[path = "../../crates/server/src/identity/keys.rs"]
pub(crate) mod keys;
#[path = "../../crates/server/src/identity/refused.rs"]
#[expect(dead_code, reason = "the server uses all of it")]
pub(crate) mod refused;
#[path = "../../crates/server/src/identity/rules.rs"]
pub(crate) mod rules;
#[path = "../../crates/server/src/identity/token.rs"]
#[expect(dead_code, reason = "the server uses all of it")]
pub(crate) mod token;
