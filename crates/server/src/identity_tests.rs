use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::Config;

/// What `tests/data/tokens.py` made with PyJWT.
#[derive(Deserialize)]
struct Corpus {
    now: u64,
    subject: String,
    keys: serde_json::Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    what: String,
    says: String,
    token: String,
}

fn corpus() -> Corpus {
    serde_json::from_str(include_str!("../tests/data/tokens.json")).unwrap()
}

/// An arbiter's configuration with these sections, beside the file with the keys of the corpus.
fn configured(sections: &str) -> (TempDir, ArbiterConfig) {
    let folder = TempDir::new().unwrap();
    let made = crate::setup::init(folder.path()).unwrap();
    std::fs::write(folder.path().join("jwks.json"), corpus().keys.to_string()).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    std::fs::write(&made.config, format!("{text}\n{sections}")).unwrap();
    let config = Config::read(&made.config).unwrap().arbiter().unwrap();
    (folder, config)
}

const ISSUER: &str =
    "[issuers.\"https://idp.example\"]\naudience = \"https://gate.example/\"\njwks_file = \"jwks.json\"\n";

fn agent(subject: &str) -> String {
    format!("{ISSUER}[agents.agent-1]\nsubject = {{ issuer = \"https://idp.example\", {subject} }}\n")
}

/// The code, or the agent.
fn said(named: &Result<Credential, Nobody>) -> &str {
    match named {
        Ok(credential) => credential.agent.as_str(),
        Err(Nobody::Refused(why)) => why.code(),
        Err(Nobody::Untold(code)) => code.as_str(),
        Err(Nobody::Silent | Nobody::Unknown) => "nobody",
    }
}

struct Scene {
    _folder: TempDir,
    identities: Identities,
    now: Millis,
}

impl Scene {
    async fn new(sections: &str) -> Self {
        let (folder, config) = configured(sections);
        let scene =
            Self { _folder: folder, identities: Identities::new(&config), now: Millis(corpus().now * 1_000) };
        scene.has_keys().await;
        scene
    }

    async fn has_keys(&self) {
        let having = async {
            while self.identities.health(millis(Duration::from_secs(1))).iter().any(|issuer| issuer.keys == 0)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), having).await.expect("keys");
    }

    async fn asks(&self, token: &str) -> Result<Credential, Nobody> {
        self.identities.credential(token, || Some(self.now), Use::Acting).await.map(|(named, _)| named)
    }
}

/// The token of the corpus that is about this.
fn token(what: &str) -> String {
    corpus().cases.into_iter().find(|case| case.what == what).unwrap().token
}

#[tokio::test]
async fn every_token_of_another_library_names_its_agent_or_has_its_code() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    let corpus = corpus();
    assert_eq!(corpus.subject, "agent-1");
    let mut seen = BTreeMap::<String, usize>::new();
    for case in &corpus.cases {
        assert_eq!(said(&scene.asks(&case.token).await), case.says, "{}", case.what);
        *seen.entry(case.says.clone()).or_default() += 1;
    }
    // Each way to be refused is tried, and counted.
    for why in TokenRefused::ALL {
        let tried = seen.get(why.code()).copied().unwrap_or_default();
        assert!(tried > 0, "{}", why.code());
        assert_eq!(scene.identities.notes().all()[why], u64::try_from(tried).unwrap());
    }
    // What has no dot in it is no access token, and is neither read nor counted as one.
    assert_eq!(seen.len(), TokenRefused::ALL.len() + 2);
}

/// Every bit of what is signed, and of the signature, changed.
#[tokio::test]
async fn a_token_with_any_bit_changed_names_nobody() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    for what in ["ES256", "EdDSA", "RS256"] {
        let good = token(what);
        assert_eq!(said(&scene.asks(&good).await), "agent-1");
        for at in 0..good.len() {
            for bit in [1, 2, 4, 8, 16, 32] {
                let mut bytes = good.clone().into_bytes();
                bytes[at] ^= bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(scene.asks(&changed).await.is_err(), "{what} {at} {bit}");
            }
        }
        for end in 0..good.len() {
            assert!(scene.asks(&good[..end]).await.is_err(), "{what} cut at {end}");
        }
    }
}

#[tokio::test]
async fn a_credential_lives_as_long_as_its_token_and_says_when_its_bearer_logged_in() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    let credential = scene.asks(&token("ES256")).await.unwrap();
    assert_eq!(credential.expires, Some(Millis(scene.now.0 + 300_000)));
    assert_eq!(credential.authenticated, Some(Millis(scene.now.0 - 5_000)));
    assert_eq!(credential.acts_for, Mandate::nobody());
    // Issued by a clock that is ahead: at the latest now.
    let ahead = scene.asks(&token("a clock ahead within bounds")).await.unwrap();
    assert_eq!(ahead.authenticated, Some(scene.now));
    let limited = format!("{}expires_ms = {}\n", agent("sub = \"agent-1\""), scene.now.0 + 1_000);
    let credential = Scene::new(&limited).await.asks(&token("ES256")).await.unwrap();
    assert_eq!(credential.expires, Some(Millis(scene.now.0 + 1_000)));
}

#[tokio::test]
async fn an_issuer_that_may_use_one_algorithm_takes_no_other() {
    let only = agent("sub = \"agent-1\"").replace(ISSUER, &format!("{ISSUER}algorithms = [\"RS256\"]\n"));
    let scene = Scene::new(&only).await;
    for (what, says) in [("RS256", "agent-1"), ("PS256", "token.algorithm"), ("ES256", "token.algorithm")] {
        assert_eq!(said(&scene.asks(&token(what)).await), says);
    }
}

/// What ran longer than its token lived once ended as unknown.
#[tokio::test]
async fn a_token_that_has_expired_says_what_became_of_a_permit_for_a_day_and_nothing_else() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    let (token, end) = (token("ES256"), scene.now.0 + 300_000);
    let day = 24 * 60 * 60 * 1_000;
    for (now, shown_for, says) in [
        (end - 1, Use::Acting, "agent-1"),
        (end - 1, Use::Reporting, "agent-1"),
        (end, Use::Acting, "token.expired"),
        (end, Use::Reporting, "agent-1"),
        (end + day - 1, Use::Reporting, "agent-1"),
        (end + day, Use::Reporting, "token.expired"),
    ] {
        let named = scene.identities.credential(&token, || Some(Millis(now)), shown_for).await;
        assert_eq!(said(&named.map(|(named, _)| named)), says, "{now} {shown_for:?}");
    }
}

#[tokio::test]
async fn without_a_clock_a_token_that_expires_names_nobody() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    let named = scene.identities.credential(&token("ES256"), || None, Use::Acting).await;
    assert_eq!(said(&named.map(|(named, _)| named)), "clock.unreadable");
}

#[tokio::test]
async fn a_token_of_another_client_or_a_person_who_is_not_listed_names_nobody() {
    for (subject, says) in [
        ("sub = \"agent-1\", client_id = \"c\"", "agent-1"),
        ("sub = \"agent-1\", client_id = \"d\"", "token.subject"),
        ("client_id = \"c\", people = { \"agent-1\" = \"maya\" }", "agent-1"),
        ("client_id = \"d\", people = { \"agent-1\" = \"maya\" }", "token.subject"),
        ("client_id = \"c\", people = { \"agent-2\" = \"maya\" }", "token.subject"),
    ] {
        let scene = Scene::new(&agent(subject)).await;
        assert_eq!(said(&scene.asks(&token("ES256")).await), says, "{subject}");
    }
}

#[tokio::test]
async fn a_persons_token_lets_the_agent_act_for_that_person_and_nobody_else() {
    let people = "client_id = \"c\", people = { \"agent-1\" = \"maya\", \"agent-2\" = \"kim\" }";
    let credential = Scene::new(&agent(people)).await.asks(&token("ES256")).await.unwrap();
    assert_eq!(credential.acts_for, Mandate::of(["maya".parse().unwrap()].into()));
    let listed = format!("{}acts_for = [\"maya\", \"kim\"]\n", agent("sub = \"agent-1\""));
    let credential = Scene::new(&listed).await.asks(&token("ES256")).await.unwrap();
    assert_eq!(credential.acts_for, Mandate::of(["maya", "kim"].map(|name| name.parse().unwrap()).into()));
}

#[tokio::test]
async fn a_person_who_logged_in_in_the_morning_was_fresh_with_each_token_that_was_renewed() {
    let people = "client_id = \"c\", people = { \"agent-1\" = \"maya\" }";
    let scene = Scene::new(&agent(people)).await;
    for renewed in ["ES256", "a clock ahead within bounds"] {
        assert_eq!(scene.asks(&token(renewed)).await.unwrap().authenticated, None, "{renewed}");
    }
}

#[tokio::test]
async fn without_an_issuer_no_access_token_is_read() {
    let scene = Scene::new("").await;
    assert_eq!(scene.asks(&token("ES256")).await, Err(Nobody::Unknown));
    assert!(scene.identities.notes().all().is_empty() && !scene.identities.may_name(&token("ES256")));
}

#[tokio::test]
async fn keys_that_others_may_write_are_no_keys() {
    let (folder, config) = configured(&agent("sub = \"agent-1\""));
    let keys = folder.path().join("jwks.json");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o664)).unwrap();
    let identities = Identities::new(&config);
    let named =
        identities.credential(&token("ES256"), || Some(Millis(corpus().now * 1_000)), Use::Acting).await;
    assert_eq!(said(&named.map(|(named, _)| named)), "identity.unavailable");
    let health = identities.health(0);
    assert_eq!((health[0].state.as_str(), health[0].keys), ("missing", 0));
    assert!(health[0].error.as_ref().unwrap().contains("can be written by others"), "{health:?}");
}

/// What a token says, in whole or in part, is told nowhere.
#[tokio::test]
async fn nothing_of_a_token_is_told() {
    let scene = Scene::new(&agent("sub = \"agent-1\"")).await;
    let mut told = String::new();
    for case in corpus().cases {
        told += &format!("{:?}", scene.asks(&case.token).await.map_err(|nobody| format!("{nobody:?}")));
    }
    told += &format!("{:?} {:?}", scene.identities, scene.identities.health(0));
    for secret in ["eyJ", "agent-2", "\"j\"", "other.example"] {
        assert!(!told.contains(secret), "{secret}");
    }
}
