use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::identity::held::KeysState;
use crate::identity::{Algorithm, KeyAges, TokenRules, TokenType};

const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PATIENT: Duration = Duration::from_secs(60);

fn jwks(names: &[&str]) -> String {
    let key = |name: &&str| serde_json::json!({ "kid": name, "kty": "OKP", "crv": "Ed25519", "x": X });
    serde_json::json!({ "keys": names.iter().map(key).collect::<Vec<_>>() }).to_string()
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

type Answers = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A provider that answers as a test wants, by path: nothing is 404, and no bytes are no answer at all.
struct Scripted {
    origin: String,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (answers, asked) = (Answers::default(), Arc::new(Mutex::new(Vec::new())));
        let (serving, seen) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (serving, seen) = (Arc::clone(&serving), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    let read = stream.read(&mut head).await.unwrap();
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    seen.lock().unwrap().push(head);
                    let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
                    let answer = serving.lock().unwrap().get(&path).cloned().unwrap_or(none);
                    if answer.is_empty() {
                        return std::future::pending().await;
                    }
                    drop(stream.write_all(&answer).await);
                });
            }
        });
        Self { origin, answers, asked }
    }

    fn answers(&self, path: &str, answer: Vec<u8>) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn config(&self, path: Option<&str>) -> IssuerConfig {
        let place = |path: &str| Place::parse(&format!("{}{path}", self.origin), None).unwrap();
        let keys = match path {
            Some(path) => KeysAt::Place(place(path)),
            None => KeysAt::Metadata(Place::metadata(&self.origin, None).unwrap()),
        };
        IssuerConfig {
            rules: TokenRules {
                issuer: self.origin.clone(),
                audience: "a".to_owned(),
                algorithms: Algorithm::ALL.into(),
                types: [TokenType::AccessToken].into(),
                skew_ms: 0,
            },
            ages: KeyAges { fresh: Duration::from_secs(300), expire: Duration::from_secs(3_600) },
            keys,
            authorities: None,
        }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn failed(config: &IssuerConfig) -> String {
    ask(config).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_provider_that_gives_no_keys_is_told_apart_by_what_it_does_instead() {
    let provider = Scripted::start().await;
    let config = provider.config(Some("/jwks"));
    let huge =
        [ok("")[..15].to_vec(), b"\r\ncontent-length: 10485760\r\n\r\n".to_vec(), vec![b' '; 10_485_760]]
            .concat();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: {}/keys\r\ncontent-length: 0\r\n\r\n", provider.origin);
    provider.answers("/keys", ok(&jwks(&["a"])));
    for (answer, told) in [
        (ok("<html>"), "no JWK set"),
        (ok(""), "no JWK set"),
        (ok(r#"{"keys":[],"keys":[]}"#), "no JWK set"),
        (redirect.into_bytes(), "status 302, and no redirection is followed"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(), "status 500"),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "something else than HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{".to_vec(), "broke off"),
        (huge, "more than is read"),
    ] {
        provider.answers("/jwks", answer);
        let error = failed(&config).await;
        assert!(error.contains(told), "{told}: {error}");
    }
    assert!(
        provider.asked.lock().unwrap().iter().all(|head| !head.contains("GET /keys")),
        "a redirection was followed"
    );
    provider.answers("/jwks", ok(&jwks(&["a"])));
    assert_eq!(ask(&config).await.unwrap().len(), 1);
    let nobody = Place::parse("http://127.0.0.1:1/jwks", None).unwrap();
    let error = failed(&IssuerConfig { keys: KeysAt::Place(nobody), ..config }).await;
    assert!(error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn metadata_count_only_if_they_are_of_this_very_issuer() {
    let provider = Scripted::start().await;
    let (oauth, oidc) = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration");
    let config = provider.config(None);
    let metadata = |issuer: &str, keys: &str| {
        ok(&serde_json::json!({ "issuer": issuer, "jwks_uri": keys, "more": 1.5 }).to_string())
    };
    let (own, keys) = (provider.origin.clone(), format!("{}/jwks", provider.origin));
    provider.answers("/jwks", ok(&jwks(&["a"])));
    assert!(failed(&config).await.contains("status 404"));
    provider.answers(oidc, metadata(&own, &keys));
    assert_eq!(ask(&config).await.unwrap().len(), 1, "one that has the second alone");
    for (answer, told) in [
        (metadata(&format!("{own}/"), &keys), "another issuer"),
        (metadata("https://idp.example", &keys), "another issuer"),
        (metadata(&own, "https://idp.example/jwks"), "names no place of keys"),
        (metadata(&own, "http://idp.example/jwks"), "names no place of keys"),
        (metadata(&own, "file:///etc/passwd"), "names no place of keys"),
        (ok(&format!(r#"{{"issuer":"{own}"}}"#)), "no metadata"),
        (ok(&format!(r#"{{"issuer":"x","issuer":"{own}","jwks_uri":"{keys}"}}"#)), "no metadata"),
        (ok("[]"), "no metadata"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(), "status 500"),
    ] {
        // Whatever the first says counts, and the second is not asked after it.
        provider.answers(oauth, answer);
        let error = failed(&config).await;
        assert!(error.contains(told), "{told}: {error}");
    }
    provider.answers(oauth, metadata(&own, &keys));
    assert_eq!(ask(&config).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_provider_that_refuses_the_first_place_of_metadata_was_not_asked_at_the_second() {
    let provider = Scripted::start().await;
    let (oauth, oidc) = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration");
    let config = provider.config(None);
    let keys = format!("{}/jwks", provider.origin);
    provider.answers("/jwks", ok(&jwks(&["a"])));
    let metadata = serde_json::json!({ "issuer": provider.origin, "jwks_uri": keys }).to_string();
    let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    for (answer, told) in [
        (status("400 Bad Request"), "status 404"),
        (status("401 Unauthorized"), "status 404"),
        (status("403 Forbidden"), "status 404"),
        (ok("\n <!doctype html><html>not here</html>"), "status 404"),
    ] {
        provider.answers(oauth, answer);
        provider.answers(oidc, status("404 Not Found"));
        assert!(failed(&config).await.contains(told));
        provider.answers(oidc, ok("<html>"));
        assert!(failed(&config).await.contains("no metadata"), "a page says where no keys are");
        provider.answers(oidc, ok(&metadata));
        assert_eq!(ask(&config).await.unwrap().len(), 1);
    }
    // One that is out of order has said nothing of where its metadata are.
    provider.answers(oauth, status("503 Service Unavailable"));
    assert!(failed(&config).await.contains("status 503"));
}

#[test]
fn keys_are_never_asked_for_in_clear_where_the_metadata_are_not() {
    let tls = tls_place();
    assert!(named("http://127.0.0.1:9/jwks", &tls, None).unwrap_err().contains("TLS"));
    let clear = Place::parse("http://127.0.0.1:9/", None).unwrap();
    assert!(named("http://127.0.0.1:9/jwks", &clear, None).is_ok());
}

fn tls_place() -> Place {
    let certificate = rcgen::generate_simple_self_signed(["idp.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate.cert.pem()).unwrap();
    Place::parse("https://idp.example/", Some(&Authorities::read(&file).unwrap())).unwrap()
}

#[tokio::test]
async fn a_key_that_is_not_held_is_asked_for_once_whoever_asks_and_how_often() {
    let scripted = Scripted::start().await;
    scripted.answers("/jwks", ok(&jwks(&["a"])));
    let provider = Arc::new(Provider::follow(scripted.config(Some("/jwks"))));
    // The first answer may still be under way, and is waited for.
    tokio::time::timeout(PATIENT, async { while provider.key("a").await.is_err() {} }).await.unwrap();
    assert_eq!(scripted.count(), 1);
    let asking: Vec<_> = (0..200)
        .map(|number| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.key(&format!("forged-{number}")).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap_err(), Lacking::Unknown);
    }
    assert_eq!(scripted.count(), 1, "not so soon after the last time");
    // As if that were long ago.
    provider.held().hear(Ok(KeySet::default()), 0);
    provider.held().begin(0);
    provider.held().hear(Ok(KeySet::default()), SystemClocks.boot());
    scripted.answers("/jwks", ok(&jwks(&["b"])));
    let asking: Vec<_> = (0..WAITING)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.key("b").await.is_ok() })
        })
        .collect();
    for asked in asking {
        assert!(asked.await.unwrap());
    }
    assert_eq!(scripted.count(), 2);
}

#[tokio::test]
async fn a_provider_that_hangs_keeps_nobody_waiting_whose_key_is_held() {
    let scripted = Scripted::start().await;
    scripted.answers("/jwks", ok(&jwks(&["a"])));
    let provider = Provider::follow(scripted.config(Some("/jwks")));
    tokio::time::timeout(PATIENT, async { while provider.key("a").await.is_err() {} }).await.unwrap();
    scripted.answers("/jwks", Vec::new());
    provider.held().begin(0);
    provider.held().hear(
        Ok(KeySet::parse(jwks(&["a"]).as_bytes(), &Algorithm::ALL.into()).unwrap()),
        SystemClocks.boot(),
    );
    let waits = provider.key("b");
    tokio::pin!(waits);
    tokio::select! {
        biased;
        _ = &mut waits => panic!("there is no answer to the question that this token has had asked"),
        held = provider.key("a") => assert!(held.is_ok()),
    }
    assert_eq!(waits.await.unwrap_err(), Lacking::Unknown, "and that one does not wait for ever");
    assert_eq!(provider.held().state(SystemClocks.boot()), KeysState::Fresh);
}
