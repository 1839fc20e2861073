use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::super::tests::issuer::{Asked, Issuer, Reply, json as answer};
use super::*;
use crate::credential::{CredentialSource, Origin};

const URL: &str = "http://127.0.0.1:1/mcp";
const PATIENCE: Duration = Duration::from_secs(30);
const REFRESH: &str = "refresh-canary-0";

/// A store whose access token was good for so long from now on, and an issuer for it.
struct Scene {
    folder: TempDir,
    issuer: Issuer,
}

impl Scene {
    async fn new(stored: impl FnOnce(&mut Stored)) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::start().await };
        scene.store(stored);
        scene
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("crm.oauth")
    }

    /// Stores what is good for an hour, but for what is changed.
    fn store(&self, change: impl FnOnce(&mut Stored)) {
        let mut stored = Stored {
            version: 1,
            url: URL.into(),
            resource: "http://127.0.0.1:1/mcp".into(),
            issuer: self.issuer.url.clone(),
            token_endpoint: format!("{}/token?tenant=1", self.issuer.url),
            client_id: "client one".into(),
            authorities: None,
            refresh_token: Some(Secret::new(REFRESH)),
            access_token: Secret::new("access-canary-0"),
            asked_at_ms: wall().unwrap().0,
            lifetime_seconds: Some(3_600),
        };
        change(&mut stored);
        super::super::stored::put(&self.path(), &stored).unwrap();
    }

    fn stored(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path()).unwrap()).unwrap()
    }

    fn oauth(&self) -> Arc<OAuth> {
        let oauth = Arc::new(OAuth::new(self.path()));
        oauth.is_for(&URL.parse().unwrap());
        oauth
    }

    fn source(&self, deadline: Duration) -> CredentialSource {
        CredentialSource::new(Origin::OAuth(self.oauth()), deadline, Duration::ZERO)
    }

    /// Gives the next tokens to whoever has the refresh token of before, as servers do that rotate them.
    fn rotates(&self) {
        let mut given = 0;
        self.issuer.answers(move |asked| rotated(asked, &mut given));
    }
}

fn rotated(asked: &Asked, given: &mut usize) -> Reply {
    if asked.member("refresh_token") != Some(&format!("refresh-canary-{given}")) {
        return answer(400, &json!({ "error": "invalid_grant", "error_description": "canary" }));
    }
    *given += 1;
    answer(200, &tokens(*given))
}

fn tokens(number: usize) -> Value {
    json!({ "access_token": format!("access-canary-{number}"), "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": format!("refresh-canary-{number}") })
}

fn expired(stored: &mut Stored) {
    stored.asked_at_ms -= 3_600_000;
}

async fn access(oauth: &Arc<OAuth>) -> Result<String, NoCredential> {
    oauth.access().await.map(|token| String::from_utf8(token.to_vec()).unwrap())
}

fn why(no: Result<String, NoCredential>) -> String {
    let no = no.unwrap_err();
    let said = format!("{no} {no:?}");
    assert!(!said.contains("canary"), "{said}");
    said
}

#[tokio::test]
async fn a_token_is_shown_while_it_is_good_and_then_another_is_had_with_what_was_stored() {
    let scene = Scene::new(|_| {}).await;
    scene.rotates();
    let oauth = scene.oauth();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-0"));
    assert!(scene.issuer.asked().is_empty(), "it was good");
    // Its time is over, by the clock that nobody sets.
    oauth.state().kept.as_mut().unwrap().until = BootInstant::now();
    scene.store(expired);
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
    let asked = scene.issuer.asked();
    assert_eq!(
        (asked.len(), asked[0].method.as_str(), asked[0].path.as_str()),
        (1, "POST", "/token?tenant=1")
    );
    for (name, value) in [
        ("grant_type", "refresh_token"),
        ("refresh_token", REFRESH),
        ("client_id", "client%20one"),
        ("resource", "http%3A%2F%2F127.0.0.1%3A1%2Fmcp"),
    ] {
        assert_eq!(asked[0].member(name), Some(value), "{asked:?}");
    }
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert!(!asked[0].headers.contains_key("authorization"));
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
    assert!(scene.issuer.asked().is_empty(), "it is kept");
    let stored = scene.stored();
    assert_eq!(
        (&stored["refresh_token"], &stored["access_token"]),
        (&json!("refresh-canary-1"), &json!("access-canary-1"))
    );
    let mode = std::fs::metadata(scene.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(scene.folder.path()).unwrap().count(), 1, "nothing lies beside it");
}

#[tokio::test]
async fn a_token_that_was_revoked_was_shown_until_its_time_was_over() {
    let scene = Scene::new(|_| {}).await;
    scene.rotates();
    let oauth = scene.oauth();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-0"));
    oauth.doubt();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-0"), "a moment ago it was good");
    let old = || oauth.state().kept.as_mut().unwrap().doubtful = BootInstant::now();
    old();
    oauth.doubt();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
    oauth.doubt();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
    // Another gate has had another since.
    old();
    oauth.doubt();
    scene.store(|stored| stored.access_token = Secret::new("access-canary-other"));
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-other"));
    assert_eq!(scene.issuer.asked().len(), 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_rotated_stays() {
    let scene = Scene::new(expired).await;
    scene.issuer.answers(|_| {
        answer(200, &json!({ "access_token": "access-canary-1", "token_type": "bearer", "expires_in": "0" }))
    });
    let oauth = scene.oauth();
    // One that is good for no time is for one message.
    for _ in 0..2 {
        assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
        assert_eq!(scene.issuer.asked()[0].member("refresh_token"), Some(REFRESH));
    }
    assert_eq!(scene.stored()["refresh_token"], REFRESH);
}

#[tokio::test]
async fn what_the_clock_says_is_a_hint_that_errs_towards_refreshing() {
    let now = wall().unwrap().0;
    for (what, asked_at_ms, lifetime, is_asked) in [
        ("good", now - 1_000, Some(3_600), false),
        ("near its end", now - 3_580_000, Some(3_600), true),
        ("near the end of a short one", now - 8_000, Some(10), true),
        ("of an hour to come: the clock was set since", now + 3_600_000, Some(3_600), true),
        ("nobody said for how long, a moment ago", now - 1_000, None, false),
        ("nobody said for how long, ten minutes ago", now - 600_000, None, true),
        ("of 1970", 0, Some(3_600), true),
    ] {
        let scene = Scene::new(|stored| {
            (stored.asked_at_ms, stored.lifetime_seconds) = (asked_at_ms, lifetime);
        })
        .await;
        scene.rotates();
        assert!(access(&scene.oauth()).await.is_ok(), "{what}");
        assert_eq!(scene.issuer.asked().len(), usize::from(is_asked), "{what}");
    }
}

#[tokio::test]
async fn of_many_who_wait_one_asks_and_all_have_what_came_of_it() {
    let scene = Scene::new(expired).await;
    scene.rotates();
    let oauth = scene.oauth();
    let all = async || {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let oauth = Arc::clone(&oauth);
            asking.spawn(async move { access(&oauth).await });
        }
        asking.join_all().await
    };
    assert!(all().await.iter().all(|one| one.as_deref() == Ok("access-canary-1")));
    assert_eq!(scene.issuer.asked().len(), 1);
    // And one has all told what went wrong.
    oauth.state().kept = None;
    scene.store(expired);
    scene.issuer.answers(|_| answer(503, &json!({ "error": "canary" })));
    for one in all().await {
        assert!(why(one).contains("refuses (status 503)"));
    }
    assert_eq!(scene.issuer.asked().len(), 1, "who waits does not ask again");
    assert!(access(&oauth).await.is_err());
    assert_eq!(scene.issuer.asked().len(), 1, "who comes later does");
}

#[tokio::test]
async fn a_refresh_that_nobody_waited_for_any_more_was_lost_with_its_token() {
    let scene = Scene::new(expired).await;
    let (release, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    // Answers by itself what the source asks, once it is told to.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/token", listener.local_addr().unwrap());
    scene.store(|stored| {
        expired(stored);
        stored.token_endpoint = endpoint;
    });
    let (own, at) = (Arc::clone(&release), Arc::clone(&reached));
    let served = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 64 * 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        at.notify_one();
        own.notified().await;
        let body = tokens(1).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream
    });
    let source = scene.source(Duration::from_millis(200));
    assert_eq!(source.fetch().await.unwrap_err(), NoCredential::Late(Duration::from_millis(200)));
    reached.notified().await;
    // Nor does a gate that ends break it off.
    let Origin::OAuth(oauth) = source.origin() else { panic!() };
    let patient = CredentialSource::new(Origin::OAuth(Arc::clone(oauth)), PATIENCE, Duration::ZERO);
    let mut ending = Box::pin(patient.end());
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut ending).await.is_err());
    release.notify_one();
    ending.await.unwrap();
    assert_eq!(scene.stored()["refresh_token"], "refresh-canary-1");
    assert_eq!(source.fetch().await.unwrap().reveal(), "access-canary-1");
    drop(served.await.unwrap());
}

#[tokio::test]
async fn two_gates_that_share_a_store_refresh_it_once() {
    let scene = Scene::new(expired).await;
    scene.rotates();
    let (one, two) = (scene.oauth(), scene.oauth());
    let (first, second) = tokio::join!(access(&one), access(&two));
    assert_eq!((first.as_deref(), second.as_deref()), (Ok("access-canary-1"), Ok("access-canary-1")));
    assert_eq!(scene.issuer.asked().len(), 1);
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_waited_for_and_read_again() {
    let scene = Scene::new(expired).await;
    scene.rotates();
    let held = Held::take(&scene.path()).unwrap().unwrap();
    let oauth = scene.oauth();
    let mut waiting = tokio::spawn(async move { access(&oauth).await });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "it did not wait");
    let other = Stored {
        access_token: Secret::new("access-canary-other"),
        asked_at_ms: wall().unwrap().0,
        ..held.stored.clone()
    };
    held.replace(&other).unwrap();
    assert_eq!(waiting.await.unwrap().as_deref(), Ok("access-canary-other"));
    assert!(scene.issuer.asked().is_empty());
}

#[tokio::test]
async fn a_new_token_was_shown_before_its_refresh_token_was_stored() {
    let scene = Scene::new(expired).await;
    scene.rotates();
    // Nothing can be put there.
    let beside = scene.folder.path().join("crm.oauth.new");
    std::fs::create_dir(&beside).unwrap();
    let oauth = scene.oauth();
    assert!(why(access(&oauth).await).contains("could not be written"));
    assert_eq!(scene.stored()["refresh_token"], REFRESH);
    assert!(access(&oauth).await.is_err(), "it still cannot");
    std::fs::remove_dir(&beside).unwrap();
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-1"));
    assert_eq!(scene.stored()["refresh_token"], "refresh-canary-1");
    assert_eq!(scene.issuer.asked().len(), 1, "what was given once is not asked for again");
}

#[tokio::test]
async fn a_refresh_token_that_is_not_taken_any_more_is_asked_with_once_and_a_person_logs_in_again() {
    let scene = Scene::new(expired).await;
    scene
        .issuer
        .answers(|_| answer(400, &json!({ "error": "invalid_grant", "error_description": "canary" })));
    let oauth = scene.oauth();
    for _ in 0..3 {
        let said = why(access(&oauth).await);
        assert!(
            said.contains("`invalid_grant`") && said.contains("run `portcullis mcp login` again"),
            "{said}"
        );
    }
    assert_eq!(scene.issuer.asked().len(), 1);
    scene.store(|stored| {
        expired(stored);
        stored.refresh_token = Some(Secret::new("refresh-canary-7"));
    });
    scene.issuer.answers(|_| answer(200, &tokens(8)));
    assert_eq!(access(&oauth).await.as_deref(), Ok("access-canary-8"));
}

#[tokio::test]
async fn whatever_else_a_token_endpoint_says_is_no_credential_and_changes_nothing() {
    let good = tokens(1).to_string();
    let with = |name: &str, value: Value| {
        let mut tokens = tokens(1);
        tokens[name] = value;
        tokens.to_string()
    };
    let elsewhere = Issuer::start().await;
    let moved = format!("location: {}/token\r\n", elsewhere.url);
    for (status, head, body, expected) in [
        (307, moved.as_str(), good.as_str(), "sends whoever asks elsewhere"),
        (302, moved.as_str(), "", "sends whoever asks elsewhere"),
        (201, "", &good, "refuses (status 201)"),
        (500, "", &good, "refuses (status 500)"),
        (500, "", r#"{"error":"invalid_grant"}"#, "refuses (status 500)"),
        (400, "", r#"{"error":"canary"}"#, "refuses (status 400)"),
        (401, "", r#"{"error":"invalid_client"}"#, "`invalid_client`"),
        (400, "", "canary", "refuses (status 400)"),
        (200, "", "", "not understood"),
        (200, "", r#"{"error":"invalid_grant"}"#, "not understood"),
        (200, "", r#"{"access_token":"canary"}"#, "not understood"),
        (200, "", &format!("{good}{good}"), "not understood"),
        (200, "", &good.replacen('{', r#"{"access_token":"other-canary","#, 1), "not understood"),
        (200, "", &with("token_type", json!("DPoP")), "another kind"),
        (200, "", &with("access_token", json!("")), "no header"),
        (200, "", &with("access_token", json!("canary\r\nx-other: 1")), "no header"),
        (200, "", &with("access_token", json!("c".repeat(20_000))), "no header"),
        (200, "", &with("refresh_token", json!("canary\n")), "no header"),
        (200, "", &with("pad", json!("canary".repeat(50_000))), "no whole answer"),
    ] {
        let scene = Scene::new(expired).await;
        let (head, body) = (head.to_owned(), body.to_owned());
        scene.issuer.answers(move |_| Some((status, head.clone(), body.clone())));
        let before = std::fs::read(scene.path()).unwrap();
        let said = why(access(&scene.oauth()).await);
        assert!(said.contains(expected), "{status}: {said}");
        assert_eq!(std::fs::read(scene.path()).unwrap(), before, "{said}");
    }
    assert!(elsewhere.asked().is_empty(), "a redirection was followed");
}

#[tokio::test]
async fn a_store_that_is_open_to_others_or_of_another_login_gives_no_credential() {
    type Change = fn(&mut Stored);
    let cases: [(&str, Change); 6] = [
        ("for another URL", |stored| stored.url = "http://127.0.0.1:1/mcp/".into()),
        ("for another URL", |stored| stored.url = "http://127.0.0.1:2/mcp".into()),
        ("no store of", |stored| stored.version = 2),
        ("no store of", |stored| {
            expired(stored);
            stored.token_endpoint = "http://auth.example/token".into();
        }),
        ("no store of", |stored| {
            expired(stored);
            stored.authorities = Some("canary".into());
        }),
        ("none to refresh it with", |stored| {
            expired(stored);
            stored.refresh_token = None;
        }),
    ];
    for (expected, change) in cases {
        let scene = Scene::new(change).await;
        let said = why(access(&scene.oauth()).await);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(scene.issuer.asked().is_empty());
    }
    let scene = Scene::new(|_| {}).await;
    let path = scene.path();
    let mode = |bits| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
    for bits in [0o640, 0o604, 0o620] {
        mode(bits);
        assert!(why(access(&scene.oauth()).await).contains("open to others"), "{bits:o}");
    }
    mode(0o600);
    assert!(access(&scene.oauth()).await.is_ok());
    // A link, through which another file would be replaced by none.
    std::fs::rename(&path, scene.folder.path().join("other")).unwrap();
    assert!(why(access(&scene.oauth()).await).contains("there is none"));
    symlink("other", &path).unwrap();
    assert!(why(access(&scene.oauth()).await).contains("symbolic links"));
    std::fs::remove_file(&path).unwrap();
    for text in ["canary", "{}", "{\"canary\": 1}", "[]"] {
        std::fs::write(&path, text).unwrap();
        mode(0o600);
        assert!(why(access(&scene.oauth()).await).contains("no store of"), "{text}");
    }
}

#[tokio::test]
async fn a_token_was_shown_to_another_server_than_it_is_for() {
    let scene = Scene::new(|_| {}).await;
    let nobody = Arc::new(OAuth::new(scene.path()));
    assert!(why(access(&nobody).await).contains("for one tool server by URL"));
    let oauth = scene.oauth();
    oauth.is_for(&URL.parse().unwrap());
    assert!(access(&oauth).await.is_ok(), "it is said twice that it is for the same");
    oauth.is_for(&"http://127.0.0.1:2/mcp".parse().unwrap());
    assert!(why(access(&oauth).await).contains("for one tool server by URL"));
    oauth.is_for(&URL.parse().unwrap());
    assert!(access(&oauth).await.is_err(), "and for good");
}

#[tokio::test]
async fn a_token_endpoint_in_the_clear_was_asked_for_a_server_elsewhere() {
    let far = "https://tools.example/mcp";
    let scene = Scene::new(|stored| {
        expired(stored);
        stored.url = far.into();
    })
    .await;
    scene.rotates();
    let oauth = Arc::new(OAuth::new(scene.path()));
    oauth.is_for(&far.parse().unwrap());
    assert!(why(access(&oauth).await).contains("no store of"));
    assert!(scene.issuer.asked().is_empty());
}

#[test]
fn nothing_of_a_store_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("crm.oauth");
    let stored = Stored {
        version: 1,
        url: URL.into(),
        resource: URL.into(),
        issuer: "http://127.0.0.1:2".into(),
        token_endpoint: "http://127.0.0.1:2/token".into(),
        client_id: "c".into(),
        authorities: None,
        refresh_token: Some(Secret::new("canary")),
        access_token: Secret::new("canary"),
        asked_at_ms: 0,
        lifetime_seconds: None,
    };
    let oauth = OAuth::new(path.to_owned());
    oauth.state().kept =
        Some(Kept { token: Secret::new("canary"), doubtful: BootInstant::now(), until: BootInstant::now() });
    oauth.state().unsaved = Some((Some(Secret::new("canary")), stored.clone()));
    let printed = format!("{stored:?} {oauth:?}");
    assert!(printed.contains("***") && !printed.contains("canary"), "{printed}");
}
