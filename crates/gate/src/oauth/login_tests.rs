use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::decoded;
use super::super::tests::issuer::{Asked, Issuer, Reply, json as answer};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A tool server and an authorization server at one address, which say what is changed of the usual.
#[derive(Clone, Default)]
struct Said {
    resource: Arc<Mutex<Value>>,
    server: Arc<Mutex<Value>>,
    registered: Arc<Mutex<Value>>,
    token: Arc<Mutex<Option<(u16, Value)>>>,
}

struct Scene {
    folder: TempDir,
    issuer: Issuer,
    said: Said,
}

fn changed(mut usual: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().into_iter().flatten() {
        usual[name] = value.clone();
    }
    usual
}

impl Said {
    fn reply(&self, url: &str, asked: &Asked) -> Reply {
        let of = |change: &Mutex<Value>| change.lock().unwrap().clone();
        match asked.path.as_str() {
            "/a/mcp" => Some((
                401,
                format!("www-authenticate: Bearer resource_metadata=\"{url}/metadata\", scope=\"tools\"\r\n"),
                "canary".into(),
            )),
            "/metadata" => {
                let usual = json!({ "resource": format!("{url}/a/mcp"), "authorization_servers": [format!("{url}/t")] });
                answer(200, &changed(usual, &of(&self.resource)))
            }
            "/t/.well-known/openid-configuration" => {
                let usual = json!({ "issuer": format!("{url}/t"), "authorization_endpoint": format!("{url}/t/auth?x=1"),
                    "token_endpoint": format!("{url}/t/token"), "registration_endpoint": format!("{url}/t/reg"),
                    "code_challenge_methods_supported": ["S256"], "scopes_supported": ["offline_access"] });
                answer(200, &changed(usual, &of(&self.server)))
            }
            "/t/reg" => {
                let usual = json!({ "client_id": "client one", "token_endpoint_auth_method": "none" });
                let said = changed(usual, &of(&self.registered));
                answer(said["status"].as_u64().map_or(201, |status| u16::try_from(status).unwrap()), &said)
            }
            "/t/token" => {
                let usual = json!({ "access_token": "access-canary", "token_type": "Bearer", "expires_in": 3600,
                    "refresh_token": "refresh-canary" });
                let said = self.token.lock().unwrap().clone();
                said.map_or_else(|| answer(200, &usual), |(status, said)| answer(status, &said))
            }
            _ => answer(404, &json!({})),
        }
    }
}

impl Scene {
    async fn new() -> Self {
        let (issuer, said) = (Issuer::start().await, Said::default());
        let (own, url) = (said.clone(), issuer.url.clone());
        issuer.answers(move |asked| own.reply(&url, asked));
        Self { folder: tempfile::tempdir().unwrap(), issuer, said }
    }

    fn login(&self) -> Login {
        Login {
            url: format!("{}/a/mcp", self.issuer.url).parse().unwrap(),
            authorities: None,
            store: self.folder.path().join("crm.oauth"),
            client: Client::Registers,
            scopes: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// A login that has come so far that a person is to say yes, and where.
    async fn begun(&self, login: Login) -> (JoinHandle<Result<LoggedIn, LoginError>>, String) {
        let (shown, shows) = oneshot::channel();
        let running = tokio::spawn(log_in(login, |url| drop(shown.send(url.to_owned()))));
        (running, shows.await.unwrap())
    }

    /// How a login ends that comes to nothing before a person is asked.
    async fn refused(&self, login: Login) -> LoginError {
        log_in(login, |url| panic!("a person was asked: {url}")).await.unwrap_err()
    }

    fn paths(&self) -> Vec<String> {
        self.issuer.asked().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found: Vec<_> = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).collect();
    assert_eq!(found.len(), 1, "{name}: {url}");
    decoded(found[0]).unwrap()
}

/// What the browser is told when it comes back with this.
async fn back(url: &str, query: &str) -> String {
    let redirect = parameter(url, "redirect_uri");
    let (address, path) = redirect.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /{path}?{query} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn a_person_says_yes_once_and_the_tokens_are_in_the_store_and_nowhere_else() {
    let scene = Scene::new().await;
    let (running, url) = scene.begun(scene.login()).await;
    assert_eq!(
        scene.paths(),
        [
            "GET /a/mcp",
            "GET /metadata",
            "GET /.well-known/oauth-authorization-server/t",
            "GET /.well-known/openid-configuration/t",
            "GET /t/.well-known/openid-configuration",
            "POST /t/reg",
        ]
    );
    assert!(url.starts_with(&format!("{}/t/auth?x=1&", scene.issuer.url)), "{url}");
    let resource = format!("{}/a/mcp", scene.issuer.url);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client one"),
        ("resource", &resource),
        ("code_challenge_method", "S256"),
        ("scope", "tools offline_access"),
        ("prompt", "consent"),
    ] {
        assert_eq!(parameter(&url, name), value);
    }
    let state = parameter(&url, "state");
    assert_eq!(state.len(), 43, "256 bits");
    // Of another login, or of nobody.
    for query in ["code=evil&state=x", "error=access_denied", ""] {
        assert!(back(&url, query).await.starts_with("HTTP/1.1 404"), "{query}");
    }
    let said = back(&url, &format!("code=code-1&state={state}")).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("no-store"), "{said}");
    let logged_in = running.await.unwrap().unwrap();
    assert_eq!((logged_in.issuer, logged_in.resource), (format!("{}/t", scene.issuer.url), resource.clone()));
    assert!(logged_in.refreshes && logged_in.lifetime == Some(Duration::from_secs(3_600)));
    let asked = scene.issuer.asked();
    let asked = asked.iter().find(|asked| asked.path == "/t/token").unwrap();
    let sent = |name: &str| decoded(asked.member(name).unwrap()).unwrap();
    let (grant, code) = (sent("grant_type"), sent("code"));
    assert_eq!((grant.as_str(), code.as_str()), ("authorization_code", "code-1"));
    assert_eq!((sent("client_id"), sent("resource")), ("client one".into(), resource));
    assert_eq!(sent("redirect_uri"), parameter(&url, "redirect_uri"));
    let digest = Digest::sha256(sent("code_verifier").as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(digest.as_bytes()), parameter(&url, "code_challenge"));
    let path = scene.folder.path().join("crm.oauth");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("access-canary") && text.contains("refresh-canary") && !text.contains("code-1"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(scene.files(), 1);
}

#[tokio::test]
async fn a_client_that_was_registered_by_hand_is_not_registered_again() {
    let scene = Scene::new().await;
    let login = Login {
        client: Client::Known("by hand".into()),
        scopes: vec!["one".into(), "two".into()],
        ..scene.login()
    };
    let (running, url) = scene.begun(login).await;
    assert_eq!(
        (parameter(&url, "client_id"), parameter(&url, "scope")),
        ("by hand".into(), "one two".into())
    );
    assert!(!scene.paths().contains(&"POST /t/reg".to_owned()));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(scene.files(), 0, "who gives up leaves nothing");
    for login in [
        Login { client: Client::Known("a\nb".into()), ..scene.login() },
        Login { scopes: vec!["a b".into()], ..scene.login() },
        Login { scopes: vec![String::new()], ..scene.login() },
    ] {
        assert!(matches!(scene.refused(login).await, LoginError::Unfit(_, _)));
    }
}

#[tokio::test]
async fn what_comes_back_of_another_server_or_with_a_no_is_the_end_of_the_login() {
    for (query, expected) in [
        ("code=c&iss=http://evil.example", LoginError::OtherServer),
        ("error=access_denied", LoginError::Denied),
        ("error=canary", LoginError::NotGiven),
    ] {
        let scene = Scene::new().await;
        let (running, url) = scene.begun(scene.login()).await;
        scene.paths();
        back(&url, &format!("{query}&state={}", parameter(&url, "state"))).await;
        assert_eq!(running.await.unwrap().unwrap_err(), expected);
        assert!(scene.paths().is_empty() && scene.files() == 0, "{query}");
    }
    // It promised to say who it is.
    let scene = Scene::new().await;
    *scene.said.server.lock().unwrap() = json!({ "authorization_response_iss_parameter_supported": true });
    let (running, url) = scene.begun(scene.login()).await;
    back(&url, &format!("code=c&state={}", parameter(&url, "state"))).await;
    assert_eq!(running.await.unwrap().unwrap_err(), LoginError::OtherServer);
}

#[tokio::test]
async fn nobody_is_waited_for_for_ever() {
    let scene = Scene::new().await;
    let patience = Duration::from_millis(300);
    let (running, _) = scene.begun(Login { patience, ..scene.login() }).await;
    assert_eq!(running.await.unwrap().unwrap_err(), LoginError::Late(patience));
    assert_eq!(scene.files(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_what_it_says_is_asked_for_nothing() {
    let evil = json!("http://127.0.0.1:1/t");
    type Of = fn(&Said, Value);
    type Change = (Of, Value, &'static str);
    let (resource, server, registered): (Of, Of, Of) = (
        |said, change| *said.resource.lock().unwrap() = change,
        |said, change| *said.server.lock().unwrap() = change,
        |said, change| *said.registered.lock().unwrap() = change,
    );
    let cases: [Change; 8] = [
        (resource, json!({ "resource": "http://127.0.0.1:1/a/mcp" }), "calls itself"),
        (resource, json!({ "authorization_servers": ["http://auth.example"] }), "the issuer is"),
        (resource, json!({ "authorization_servers": ["http://127.0.0.1:1/?x"] }), "the issuer is"),
        (server, json!({ "issuer": evil }), "one of both is not who it says"),
        (server, json!({ "code_challenge_methods_supported": ["plain"] }), "PKCE"),
        (server, json!({ "registration_endpoint": null }), "registers nobody"),
        (
            registered,
            json!({ "status": 403, "error": "canary" }),
            "does not register this client (status 403)",
        ),
        (
            registered,
            json!({ "token_endpoint_auth_method": "client_secret_basic", "client_secret": "canary" }),
            "keep a secret",
        ),
    ];
    for (of, change, expected) in cases {
        let scene = Scene::new().await;
        of(&scene.said, change.clone());
        let error = scene.refused(scene.login()).await.to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{change}: {error}");
        assert_eq!(scene.files(), 0);
    }
    let scene = Scene::new().await;
    let elsewhere = format!("{}/other", scene.issuer.url).parse().unwrap();
    let error = scene.refused(Login { url: elsewhere, ..scene.login() }).await;
    assert!(matches!(error, LoginError::NoResource(_)), "{error}");
}

#[tokio::test]
async fn a_token_endpoint_that_gives_none_is_the_end_of_the_login_and_its_words_are_said_to_nobody() {
    for (status, said, expected) in [
        (400, json!({ "error": "invalid_grant", "error_description": "canary" }), "does not take the code"),
        (302, json!({ "access_token": "canary" }), "elsewhere (status 302)"),
        (200, json!({ "access_token": "canary", "token_type": "mac" }), "another kind"),
    ] {
        let scene = Scene::new().await;
        *scene.said.token.lock().unwrap() = Some((status, said));
        let (running, url) = scene.begun(scene.login()).await;
        back(&url, &format!("code=c&state={}", parameter(&url, "state"))).await;
        let error = running.await.unwrap().unwrap_err();
        let error = format!("{error} {error:?}");
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
        assert_eq!(scene.files(), 0);
    }
}

#[tokio::test]
async fn a_login_wrote_over_a_file_that_is_no_store() {
    let scene = Scene::new().await;
    let path = scene.folder.path().join("crm.oauth");
    std::fs::write(&path, "somebody's letters").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(scene.refused(scene.login()).await.to_string().contains("no store of"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's letters");
    assert!(scene.paths().is_empty(), "nobody was asked for nothing");
    std::fs::remove_file(&path).unwrap();
    let store = scene.folder.path().join("nowhere/crm.oauth");
    assert!(scene.refused(Login { store, ..scene.login() }).await.to_string().contains("is not there"));
    // One of a login before is.
    for _ in 0..2 {
        let (running, url) = scene.begun(scene.login()).await;
        back(&url, &format!("code=c&state={}", parameter(&url, "state"))).await;
        running.await.unwrap().unwrap();
    }
}
