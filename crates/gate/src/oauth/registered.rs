//! A client that makes itself known (RFC 7591): a public one, for a program of a person's keeps no secret from that person.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::asking::{Answer, Question, ask};
use super::login::LoginError;
use crate::remote::{ServerUrl, Trust};

/// How long the answer may take.
const ANSWERING: Duration = Duration::from_secs(30);
/// Longest id of a client, in bytes.
const LONGEST_ID: usize = 2_048;

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

/// The id that the server gives a client which is redirected there.
pub(super) async fn registered(
    endpoint: &ServerUrl,
    trust: &Trust,
    redirect: &str,
    scopes: &[String],
) -> Result<String, LoginError> {
    let mut client = json!({
        "client_name": "Portcullis",
        "application_type": "native",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    if let (false, Some(client)) = (scopes.is_empty(), client.as_object_mut()) {
        client.insert("scope".to_owned(), scopes.join(" ").into());
    }
    let answer = ask(endpoint, trust, &Question::Json(&client.to_string()), ANSWERING).await;
    understood(&answer.map_err(|why| LoginError::unanswered(&endpoint.to_string(), &why))?)
}

pub(super) fn understood(answer: &Answer) -> Result<String, LoginError> {
    if !matches!(answer.status, 200 | 201) {
        return Err(LoginError::NotRegistered(answer.status));
    }
    let registered: Registered = serde_json::from_slice(&answer.body)
        .map_err(|_| LoginError::strange("the answer to the client's registration is not understood"))?;
    if registered.token_endpoint_auth_method.is_some_and(|method| method != "none") {
        return Err(LoginError::Secretive);
    }
    let id = registered.client_id;
    let fits = !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if fits { Ok(id) } else { Err(LoginError::strange("the authorization server gives an id that is none")) }
}
