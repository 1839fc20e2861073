//! A tool server that wants access tokens (the Python SDK's), and who gives them (npm `oidc-provider`): a login with the real command, in
//! which a script is the person, and a gate that shows and refreshes what came of it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use portcullis_protocol::Outcome;
use serde_json::{Value, json};

use crate::support::http::{Server, request};
use crate::support::process::{kill, pid};
use crate::support::{Answer, Gate, Place, peer, program, text, until};

/// For how many seconds an access token is good. A gate shows a short one for three quarters of that.
const SHORT: u64 = 12;
const LONG: u64 = 3_600;
const PLAIN: &str = "http://127.0.0.1";

fn script(name: &str) -> String {
    format!("{}/../../tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A peer that prints its port. Killed when dropped.
struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    /// Its URL begins so.
    fn start(origin: &str, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        assert!(!port.trim().is_empty(), "a peer does not start: {command:?}");
        Self { child, url: format!("{origin}:{}", port.trim()) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Both, and a gate's place.
struct Scene {
    place: Place,
    provider: Peer,
    server: Peer,
    /// Whose certificates are believed, with TLS.
    ca: Option<String>,
    /// All that was told to anybody, by whatever ran.
    told: String,
    /// Every token that there ever was.
    tokens: BTreeSet<String>,
}

impl Scene {
    /// Access tokens are good for so many seconds.
    fn new(seconds: u64) -> Self {
        Self::of(Place::demo(), seconds, PLAIN, &[])
    }

    /// Both speak TLS, with certificates of an authority of the place's own.
    fn with_tls() -> Self {
        let place = Place::demo();
        certificates(place.folder());
        let folder = text(place.folder());
        Self::of(place, LONG, "https://localhost", &[folder])
    }

    fn of(place: Place, seconds: u64, origin: &str, folder: &[String]) -> Self {
        let provider = [script("oauth_provider.mjs"), text(&peer("node")), seconds.to_string()];
        let provider = Peer::start(origin, Command::new(peer("bin/node")).args(provider).args(folder));
        let server = [script("oauth_server.py"), provider.url.clone(), text(&place.file("journal", ""))];
        let server = Peer::start(origin, Command::new(peer("py/bin/python")).args(server).args(folder));
        let ca = folder.first().map(|folder| format!("{folder}/ca.pem"));
        Self { place, provider, server, ca, told: String::new(), tokens: BTreeSet::new() }
    }

    fn url(&self) -> String {
        format!("{}/mcp", self.server.url)
    }

    fn store(&self) -> PathBuf {
        self.place.path("crm.oauth")
    }

    fn believes(&self) -> Vec<String> {
        self.ca.iter().flat_map(|ca| ["--ca".to_owned(), ca.clone()]).collect()
    }

    fn begin(&self) -> (Child, BufReader<ChildStdout>, String) {
        let (url, store) = (self.url(), text(&self.store()));
        let mut login = Command::new(program())
            .args(["mcp", "login", "--no-browser", "--url", &url, "--store", &store])
            .args(self.believes())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(login.stdout.take().unwrap());
        let mut shown = String::new();
        out.read_line(&mut shown).unwrap();
        assert!(shown.starts_with(&self.provider.url), "{shown}");
        (login, out, shown.trim().to_owned())
    }

    /// Logs in, with a person who says yes.
    fn log_in(&mut self) {
        let (login, mut out, shown) = self.begin();
        let page = self.browse(&shown);
        assert!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        let ended = login.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && err.contains("logged in to"), "{err}");
        self.told += &format!("{shown}{rest}{err}{}", String::from_utf8_lossy(&page.stdout));
        self.learn();
    }

    fn stored(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.store()).unwrap()).unwrap()
    }

    /// Remembers what lies in the store now.
    fn learn(&mut self) -> (String, String) {
        let stored = self.stored();
        let of = |name: &str| stored[name].as_str().unwrap().to_owned();
        let (access, refresh) = (of("access_token"), of("refresh_token"));
        self.tokens.extend([access.clone(), refresh.clone()]);
        (access, refresh)
    }

    /// Has the stored access token be of an hour ago, as it is after a night.
    fn expire(&self) {
        let mut stored = self.stored();
        stored["asked_at_ms"] = json!(stored["asked_at_ms"].as_u64().unwrap() - 3_600_000);
        std::fs::write(self.store(), stored.to_string()).unwrap();
    }

    fn gate(&self) -> Gate {
        let credential = self.place.file("crm.toml", "oauth = { store = \"crm.oauth\" }\n");
        let mut command = Command::new(program());
        command.args(["mcp", "--config"]).arg(&self.place.config_path);
        command.args(["--url", &self.url(), "--credential"]).arg(credential).args(self.believes());
        let mut gate = Gate::connect(command);
        gate.handshake();
        gate
    }

    fn call(&mut self, gate: &mut Gate) -> Answer {
        let answer = gate.call("read_balance", json!({ "account": "acme" }));
        self.told += &format!("{:?}", answer.0);
        self.learn();
        answer
    }

    /// Which tokens the server was shown for calls that ran, in their order.
    fn shown(&self) -> Vec<String> {
        let journal = std::fs::read_to_string(self.place.path("journal")).unwrap();
        journal.lines().map(|line| line.strip_prefix("read_balance ").unwrap().to_owned()).collect()
    }

    /// A call runs, with what lies in the store, and nobody hears with what.
    fn runs(&mut self, gate: &mut Gate) -> String {
        let answer = self.call(gate);
        assert_eq!(
            answer.ran(),
            "the balance of acme is 1000.00 for ***",
            "{answer:?}\n{}",
            gate.notes.text()
        );
        let shown = self.shown().pop().unwrap();
        assert_eq!(shown, self.learn().0);
        shown
    }

    fn browse(&self, url: &str) -> Output {
        let mut browser = Command::new(peer("bin/node"));
        browser.args([script("oauth_browser.mjs").as_str(), url]);
        browser.envs(self.ca.iter().map(|ca| ("NODE_EXTRA_CA_CERTS", ca)));
        browser.output().unwrap()
    }

    /// No token is in anything but the store.
    fn tells_nothing(mut self, gates: &[&Gate]) {
        for gate in gates {
            self.told += &gate.notes.text();
        }
        let (store, journal) = (self.store(), self.place.path("journal"));
        for path in walk(self.place.folder().to_owned()).into_iter().filter(|path| *path != journal) {
            let said = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            if path != store {
                self.told += &said;
            }
        }
        assert!(self.tokens.len() > 2);
        for token in &self.tokens {
            assert!(!self.told.contains(token.as_str()), "a token is kept or told");
        }
    }
}

fn walk(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { walk(path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.is_file()).collect()
}

/// An authority of one's own, a certificate for `localhost`, and another authority.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=tools-ca -keyout ca.key -out ca.pem"));
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=strangers-ca -keyout other.key -out other.pem"));
    openssl(&format!("req -new {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    std::fs::write(
        folder.join("server.ext"),
        "subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n",
    )
    .unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.pem",
    );
}

#[test]
fn a_token_of_a_login_runs_what_is_permitted_is_refreshed_and_survives_a_killed_gate() {
    let mut scene = Scene::new(SHORT);
    scene.log_in();
    let (_, refresh) = scene.learn();
    let mut gate = scene.gate();
    let first = scene.runs(&mut gate);
    // Its time comes to an end, and another takes its place in the midst of the session.
    let second = until("another token", || Some(scene.runs(&mut gate)).filter(|shown| *shown != first));
    let rotated = scene.learn().1;
    assert_ne!(rotated, refresh, "the provider rotates refresh tokens");
    let refused = gate.call("delete_account", json!({ "account": "acme" }));
    assert!(refused.told().is_some(), "{refused:?}");
    let notes = gate.notes.text();
    scene.told += &notes;
    gate.kill();
    scene.expire();
    let mut again = scene.gate();
    let third = scene.runs(&mut again);
    assert_ne!(third, second);
    assert_ne!(scene.learn().1, rotated, "the next one was had with the one that was stored");
    // Another gate beside it goes on with what lies there.
    let mut beside = scene.gate();
    scene.runs(&mut beside);
    scene.runs(&mut again);
    scene.tells_nothing(&[&again, &beside]);
}

#[test]
fn a_login_that_was_revoked_gives_the_permit_up_until_a_person_logs_in_again() {
    let mut scene = Scene::new(LONG);
    scene.log_in();
    let mut gate = scene.gate();
    scene.runs(&mut gate);
    let revoked = request(&Server::url(&scene.provider.url), "POST", "/revoke-all", &[], b"").unwrap();
    assert_eq!(revoked.status, 200);
    // The server refuses the token first, and nobody knows behind whom; then there is none.
    let answer = until("no credential", || {
        let blocked = |answer: &Answer| answer.told().is_some_and(|told| told["enforcement"] == "BLOCKED");
        Some(scene.call(&mut gate)).filter(blocked)
    });
    assert_eq!(answer.code(), "credential.unavailable");
    assert_eq!(answer.told().unwrap()["captured"], "logged");
    let notes = gate.notes.told("run `portcullis mcp login` again");
    assert!(notes.contains("invalid_grant"), "{notes}");
    assert_eq!(scene.shown().len(), 1, "nothing ran");
    until("a PERMIT that was given up", || {
        (scene.place.log().outcomes(Some(Outcome::Expired)) > 0).then_some(())
    });
    scene.log_in();
    // To the server it is another client, to whom the old session is none: the gate begins another.
    let answer =
        until("a call that runs", || Some(scene.call(&mut gate)).filter(|answer| answer.told().is_none()));
    assert_eq!(answer.ran(), "the balance of acme is 1000.00 for ***");
    assert_eq!(scene.shown().pop(), Some(scene.learn().0), "the gate was not started again");
    scene.tells_nothing(&[&gate]);
}

#[test]
fn a_login_that_is_refused_or_interrupted_leaves_nothing_and_is_of_one_person_alone() {
    let scene = Scene::new(LONG);
    let (mut login, _out, shown) = scene.begin();
    // The browser of somebody else, who was sent here to log in as somebody else.
    let redirect = shown.split('&').find_map(|pair| pair.strip_prefix("redirect_uri=")).unwrap();
    let redirect = redirect.replace("%3A", ":").replace("%2F", "/");
    let (origin, path) = redirect.split_at(redirect.rfind('/').unwrap());
    let answer =
        request(&Server::url(origin), "GET", &format!("{path}?code=evil&state=evil"), &[], b"").unwrap();
    assert_eq!(answer.status, 404);
    rustix::process::kill_process(pid(&login), rustix::process::Signal::INT).unwrap();
    let ended = crate::support::process::ended(&mut login, "the login");
    assert_eq!(ended.code(), Some(1));
    assert!(!scene.store().exists() && !scene.place.path("crm.oauth.new").exists());
    let server = Peer::start(
        PLAIN,
        Command::new(peer("py/bin/python")).arg(script("http_server.py")).arg(scene.place.file("other", "")),
    );
    let (url, store) = (format!("{}/mcp", server.url), text(&scene.store()));
    let refused = crate::portcullis(&["mcp", "login", "--no-browser", "--url", &url, "--store", &store]);
    assert_eq!(refused.status.code(), Some(1));
    let err = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(err.contains("does not say who gives tokens") && refused.stdout.is_empty(), "{err}");
    assert!(!scene.store().exists());
}

#[test]
fn a_token_is_refreshed_with_the_authorities_that_were_believed_at_the_login_and_with_no_others() {
    let mut scene = Scene::with_tls();
    let (url, store) = (scene.url(), text(&scene.store()));
    let strangers = text(&scene.place.path("other.pem"));
    for ca in [&[][..], &["--ca", strangers.as_str()]] {
        let login = ["mcp", "login", "--no-browser", "--url", &url, "--store", &store];
        let refused = crate::portcullis(&[&login, ca].concat());
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        assert!(!scene.store().exists());
    }
    scene.log_in();
    scene.expire();
    let first = scene.learn().0;
    let mut gate = scene.gate();
    assert_ne!(scene.runs(&mut gate), first, "it was refreshed");
    gate.kill();
    // Whoever answers for the issuer's name with another's certificate is not asked.
    scene.expire();
    let mut stored = scene.stored();
    stored["authorities"] = json!(std::fs::read_to_string(&strangers).unwrap());
    std::fs::write(scene.store(), stored.to_string()).unwrap();
    let credential = scene.place.path("crm.toml");
    let mut command = Command::new(program());
    command.args(["mcp", "--config"]).arg(&scene.place.config_path);
    command.args(["--url", &url, "--credential"]).arg(credential).args(scene.believes());
    let mut gate = Gate::connect(command);
    let id = gate.send("initialize", &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } }));
    gate.notes.told("its authorization server cannot be reached");
    drop(gate.answer(id));
    assert_eq!(scene.stored()["refresh_token"], stored["refresh_token"]);
}
