//! What a token endpoint gives (RFC 6749, section 5). A refusal is one of a few, whatever words it has.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::asking::{Answer, Question, Unanswered, ask};
use super::stored::Secret;
use super::{Pair, form};
use crate::remote::{ServerUrl, Trust};

/// How long the answer may take. Who waits for a credential waits for a shorter time; the question is asked to its end all the same, for
/// the token that it was asked with may be no good any more.
const ANSWERING: Duration = Duration::from_secs(30);
/// Longest token, in bytes: HTTP servers take no longer headers.
const LONGEST: usize = 16 * 1024;

/// Tokens.
pub(super) struct Granted {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    /// For how long the access token is good, if that was said.
    pub(super) lifetime: Option<Duration>,
}

/// Why there are none. None of it is what the server said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoGrant {
    #[error("its authorization server cannot be reached, or gave no whole answer")]
    Unanswered(Unanswered),
    /// Where to is nobody's business: what was asked with would go there.
    #[error("its authorization server sends whoever asks elsewhere (status {0}), which is not followed")]
    Elsewhere(u16),
    #[error("its authorization server does not take what a person said yes to any more (`invalid_grant`)")]
    InvalidGrant,
    #[error("its authorization server does not know the client (`invalid_client`)")]
    InvalidClient,
    #[error("its authorization server refuses (status {0})")]
    Refused(u16),
    #[error("the answer of its authorization server is not understood")]
    Unclear,
    #[error("its authorization server gives another kind of token than a bearer token")]
    OtherKind,
    #[error("its authorization server gives a token that no header can have")]
    Unfit,
}

#[derive(Deserialize)]
struct Body {
    access_token: Secret,
    token_type: String,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    expires_in: Value,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Asks a token endpoint, once.
pub(super) async fn granted(
    endpoint: &ServerUrl,
    trust: &Trust,
    pairs: &[Pair<'_>],
) -> Result<Granted, NoGrant> {
    let form = Zeroizing::new(form(pairs));
    let answer = ask(endpoint, trust, &Question::Form(&form), ANSWERING).await;
    understood(&answer.map_err(NoGrant::Unanswered)?)
}

pub(super) fn understood(answer: &Answer) -> Result<Granted, NoGrant> {
    match answer.status {
        200 => {}
        status @ 300..=399 => return Err(NoGrant::Elsewhere(status)),
        status @ 400..=499 => {
            let refusal = serde_json::from_slice::<Refusal>(&answer.body).ok();
            return Err(match refusal.as_ref().map(|refusal| refusal.error.as_str()) {
                Some("invalid_grant") => NoGrant::InvalidGrant,
                Some("invalid_client" | "unauthorized_client") => NoGrant::InvalidClient,
                Some(_) | None => NoGrant::Refused(status),
            });
        }
        status => return Err(NoGrant::Refused(status)),
    }
    let body: Body = serde_json::from_slice(&answer.body).map_err(|_| NoGrant::Unclear)?;
    if !body.token_type.eq_ignore_ascii_case("bearer") {
        return Err(NoGrant::OtherKind);
    }
    let refresh = body.refresh_token.filter(|token| !token.reveal().is_empty());
    if !fits(&body.access_token) || refresh.as_ref().is_some_and(|token| !fits(token)) {
        return Err(NoGrant::Unfit);
    }
    Ok(Granted { access: body.access_token, refresh, lifetime: seconds(&body.expires_in) })
}

/// The characters of RFC 6749, appendix A.12.
fn fits(token: &Secret) -> bool {
    let text = token.reveal();
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whole seconds; some servers put them in quotes. What is no number says nothing.
fn seconds(said: &Value) -> Option<Duration> {
    let seconds = said.as_u64().or_else(|| said.as_str().and_then(|text| text.parse().ok()));
    seconds.map(Duration::from_secs)
}
