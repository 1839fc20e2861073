//! Callers whom an identity provider vouches for.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_protocol::{AgentId, Outcome, ReasonCode};
use portcullis_sdk::{Authorizer, Token};
use portcullis_server::{Config, Node, demo};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{DEADLINE, PATIENCE, Served, recorded};

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://gate.example/";
/// What no token may leave behind.
const CANARY: &str = "canary-of-a-claim";

/// An issuer of the test's own.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap())
    }

    fn jwks(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({ "keys": [{ "kid": "a", "kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig" }] }).to_string()
    }

    /// A token that lives for so many seconds, with other claims.
    fn token(&self, lifetime: i64, more: Value) -> String {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let mut claims = json!({
            "iss": ISSUER, "sub": "agent-1", "aud": AUDIENCE, "exp": now + lifetime, "iat": now - 30,
            "client_id": "c", "jti": CANARY, "email": CANARY,
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "a" });
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    fn good(&self) -> String {
        self.token(300, json!({}))
    }
}

/// The demo's deployment, in which `demo-agent` has no static token and is whom the issuer says.
fn configured(keys: Option<&str>) -> (TempDir, Config) {
    let folder = TempDir::new().unwrap();
    let made = demo(folder.path(), true).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    let begin = text.find("[agents.\"demo-agent\"]").unwrap();
    let end = begin + 1 + text[begin + 1..].find("\n[").unwrap();
    let own = format!(
        "\n[issuers.\"{ISSUER}\"]\naudience = \"{AUDIENCE}\"\njwks_file = \"jwks.json\"\nfresh_seconds = 1\n\
         [agents.demo-agent]\nsubject = {{ issuer = \"{ISSUER}\", sub = \"agent-1\" }}\n"
    );
    std::fs::write(&made.config, format!("{}{}{own}", &text[..begin], &text[end..])).unwrap();
    if let Some(keys) = keys {
        std::fs::write(folder.path().join("jwks.json"), keys).unwrap();
    }
    let config = Config::read(&made.config).unwrap();
    (folder, config)
}

async fn served(keys: Option<&str>) -> Served {
    let (folder, config) = configured(keys);
    Served::over(folder, config.arbiter().unwrap()).await
}

fn state(answer: &Value, name: &str) -> String {
    let all = answer["interlocks"].as_array().unwrap().iter();
    all.filter(|interlock| interlock["name"] == name).map(|one| one["state"].as_str().unwrap()).collect()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

#[tokio::test]
async fn an_access_token_is_its_agents_and_its_record_keeps_nothing_of_it() {
    let issuer = Issuer::new();
    let served = served(Some(&issuer.jwks())).await;
    let token = issuer.token(300, json!({ "auth_time": 1_600_000_000 }));
    assert_eq!(served.get("/v1/surfaces", &token).await.status, 200);
    let attempt = served.read();
    let answer = served.decide(&attempt.call(DEADLINE), &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(attempt.redeem(answer.json()["receipt"].as_str().unwrap(), &served.trusted()).is_ok());
    let bad = issuer.token(300, json!({ "aud": "https://other.example/" }));
    assert_eq!(served.get("/v1/surfaces", &bad).await.status, 401);
    let told = served.get("/metrics", "").await.text() + &served.get("/readyz", "").await.text();
    assert!(told.contains("portcullis_tokens_refused_total{code=\"token.audience\"} 1"), "{told}");
    assert!(told.contains("portcullis_issuer_keys_count{issuer=\"https://idp.example\"} 1"), "{told}");
    let (folder, config) = served.stop().await;
    let rows = recorded(&config);
    let facts = &rows[0].record.facts;
    assert_eq!(facts.authenticated.unwrap().0, 1_600_000_000_000);
    assert!(facts.credential_expires.is_some() && rows[0].record.agent.as_str() == "demo-agent");
    let mut kept = told;
    collect(folder.path(), &mut kept);
    for secret in [CANARY].into_iter().chain(token.split('.')).chain(bad.split('.').skip(1)) {
        assert!(!kept.contains(secret), "something of a token is kept");
    }
}

/// Whoever goes on with a renewed token is who began, and nobody else of the same agent is.
#[tokio::test]
async fn the_tokens_of_one_subjects_client_have_one_bearer_and_static_ones_none() {
    let issuer = Issuer::new();
    let served = served(Some(&issuer.jwks())).await;
    let mut told = Vec::new();
    for (lifetime, more) in
        [(300, json!({})), (600, json!({ "jti": "2" })), (300, json!({ "client_id": "d" }))]
    {
        let who = served.get("/v1/whoami", &issuer.token(lifetime, more)).await.json();
        assert_eq!(who["agent"], "demo-agent");
        told.push((who["bearer"].as_str().unwrap().to_owned(), who["expires"].as_u64().unwrap()));
    }
    assert!(told[0].0 == told[1].0 && told[0].1 < told[1].1, "{told:?}");
    assert_ne!(told[0].0, told[2].0);
    let who = served.get("/v1/whoami", "stranger-agent").await.json();
    assert!(who["bearer"].is_null() && who["agent"] == "stranger-agent", "{who}");
}

#[tokio::test]
async fn of_a_persons_token_only_its_auth_time_says_when_that_person_proved_anything() {
    let issuer = Issuer::new();
    let (folder, config) = configured(Some(&issuer.jwks()));
    let path = folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let of_client = "sub = \"agent-1\" }";
    assert!(text.contains(of_client), "{text}");
    let of_people = "client_id = \"c\", people = { \"agent-1\" = \"maya\" } }";
    std::fs::write(&path, text.replace(of_client, of_people)).unwrap();
    drop(config);
    let served = Served::over(folder, Config::read(&path).unwrap().arbiter().unwrap()).await;
    for more in [json!({}), json!({ "auth_time": 1_600_000_000 })] {
        let mut call = served.read().call(DEADLINE);
        call.request.acts_for = Some("maya".parse().unwrap());
        served.decide(&call, &issuer.token(300, more)).await;
    }
    let (_folder, config) = served.stop().await;
    let rows = recorded(&config);
    let proved: Vec<_> = rows.iter().map(|row| row.record.facts.authenticated.map(|at| at.0)).collect();
    assert_eq!(proved, [None, Some(1_600_000_000_000)]);
}

fn collect(folder: &Path, kept: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, kept);
        } else if entry.is_file() {
            kept.push_str(&String::from_utf8_lossy(&std::fs::read(&entry).unwrap()));
        }
    }
}

#[tokio::test]
async fn whoever_is_nobody_is_told_that_a_token_is_wanted_and_no_more() {
    let issuer = Issuer::new();
    let served = served(Some(&issuer.jwks())).await;
    let invalid = |told: &str| format!("Bearer error=\"invalid_token\", error_description=\"{told}\"");
    let forged = issuer.good().replace('.', ".e");
    let mut other = issuer.good();
    other.truncate(other.len() - 3);
    let cases = [
        (String::new(), "Bearer".to_owned()),
        ("pcl_unknown".to_owned(), invalid("the token is not known here")),
        (issuer.token(-1, json!({})), invalid("the access token has expired")),
        (issuer.token(300, json!({ "aud": "x" })), invalid("the access token is not valid here")),
        (issuer.token(300, json!({ "sub": "x" })), invalid("the access token is not valid here")),
        (issuer.token(300, json!({ "act": { "sub": "x" } })), invalid("the access token is not valid here")),
        (forged, invalid("the access token is not valid here")),
        (other, invalid("the access token is not valid here")),
        ("a.b.c".to_owned(), invalid("the access token is not valid here")),
    ];
    for (token, told) in &cases {
        let answer = served.get("/v1/surfaces", token).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0), "{answer:?}");
        assert_eq!(header(&answer.head, "www-authenticate"), Some(told.as_str()), "{answer:?}");
    }
    let counted = served.metric("portcullis_unrecorded_total{reason=\"unauthenticated\"}").await;
    assert_eq!(counted, u64::try_from(cases.len()).unwrap());
}

#[tokio::test]
async fn the_outcome_of_what_ran_longer_than_its_token_lived_is_recorded_and_nothing_more_decided() {
    let issuer = Issuer::new();
    let served = served(Some(&issuer.jwks())).await;
    let token = issuer.token(4, json!({}));
    let attempt = served.read();
    let answer = served.decide(&attempt.call(DEADLINE), &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let permit = attempt.redeem(answer.json()["receipt"].as_str().unwrap(), &served.trusted()).unwrap();
    let report = served.begin(permit).finish(Outcome::Ok, None);
    served.until("/v1/surfaces", &token, |answer| answer.status == 401).await;
    assert_eq!(served.decide(&served.read().call(DEADLINE), &token).await.status, 401);
    let recorded = served.report(&report, &token).await;
    assert_eq!(recorded.status, 200, "{recorded:?}");
}

#[tokio::test]
async fn an_access_token_opens_nothing_of_an_operators_or_an_auditors() {
    let issuer = Issuer::new();
    let served = served(Some(&issuer.jwks())).await;
    for path in ["/v1/operator/orders", "/v1/operator/proofs"] {
        assert_eq!(served.post(path, &issuer.good(), b"{}").await.status, 403, "{path}");
    }
    assert_eq!(served.get("/log/checkpoint", &issuer.good()).await.status, 403);
    let expired = served.get("/log/checkpoint", &issuer.token(-1, json!({}))).await;
    assert_eq!(expired.status, 401);
}

/// The configuration names a file that is not there yet: an arbiter starts without its provider.
#[tokio::test]
async fn an_issuer_without_keys_shuts_its_own_agents_and_nobody_else() {
    let issuer = Issuer::new();
    let served = served(None).await;
    let health = served.get("/readyz", "").await;
    assert_eq!((health.status, state(&health.json(), "identity").as_str()), (200, "tripped"));
    assert_eq!(health.json()["issuers"][0]["state"], "missing");
    let answer = served.decide(&served.read().call(DEADLINE), &issuer.good()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "identity.unavailable"));
    assert_eq!(answer.json()["captured"], "none");
    assert_eq!(served.get("/v1/surfaces", "stranger-agent").await.status, 200);
    let counted = served.metric("portcullis_unrecorded_total{reason=\"identity.unavailable\"}").await;
    assert_eq!(counted, 1);
    std::fs::write(served.folder.path().join("jwks.json"), issuer.jwks()).unwrap();
    served.until("/v1/surfaces", &issuer.good(), |answer| answer.status == 200).await;
    assert_eq!(state(&served.get("/readyz", "").await.json(), "identity"), "clear");
}

/// An arbiter in the gate's own process once kept the credential that its token stood for when it started.
#[tokio::test]
async fn a_token_that_ends_is_nobodys_in_the_gates_own_process_too() {
    let issuer = Issuer::new();
    let deployed = || configured(Some(&issuer.jwks()));
    let (_elsewhere, other) = deployed();
    let strange = Node::join(other.arbiter().unwrap(), Token::new("a.b.c"), PATIENCE);
    assert!(strange.is_err(), "what is no token of anybody's is refused at the start");
    let (_folder, config) = deployed();
    let config = config.arbiter().unwrap();
    let token = issuer.token(4, json!({}));
    let node = Arc::new(Node::join(config, Token::new(&token), PATIENCE).unwrap());
    let refused = async {
        loop {
            match node.surfaces().await {
                // Its keys may not have been read yet.
                Ok(_) => {}
                Err(refusal) if refusal.code() == ReasonCode::IdentityUnavailable => {}
                Err(refusal) => return refusal,
            }
        }
    };
    let refusal = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(refusal.code(), ReasonCode::IdentityUnverified);
    assert_eq!(refusal.reason().detail.as_deref(), Some("the access token has expired"));
    let agent: AgentId = "demo-agent".parse().unwrap();
    let attempt = crate::support::attempt(
        r#"{"surface":"demo.read_balance","action":"demo.read_balance",
            "resource":{"type":"Surface","id":"demo.read_balance"},"context":{"account":"acme"}}"#,
    );
    assert_eq!(attempt.request().agent, agent);
    let decided = node.decide(attempt.call(DEADLINE)).await.map(|reply| reply.decision);
    assert_eq!(decided.unwrap_err().code(), ReasonCode::IdentityUnverified);
    node.leave().await;
}
