//! Agents that an OpenID provider vouches for: npm `oidc-provider`, its access tokens, and what forgers make of them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::http::{Server, get, post, request};
use crate::support::process::kill;
use crate::support::{Act, Asked, Between, Daemon, Gate, Place, Recording, demo_server, peer, text, until};

const AUDIENCE: &str = "https://gate.test/";

fn script(name: &str) -> String {
    format!("{}/../../tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The provider. Killed when dropped.
struct Provider {
    child: Child,
    port: String,
    keys: PathBuf,
    algorithm: &'static str,
}

impl Provider {
    fn start(place: &Place, name: &str, algorithm: &'static str) -> Self {
        Self::on(place.path(name), "0", algorithm)
    }

    fn on(keys: PathBuf, port: &str, algorithm: &'static str) -> Self {
        let mut child = Command::new(peer("bin/node"))
            .args([script("identity_provider.mjs"), text(&peer("node")), port.to_owned()])
            .args([text(&keys), algorithm.to_owned()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim().to_owned();
        assert!(!port.is_empty(), "the provider does not start");
        Self { child, port, keys, algorithm }
    }

    /// Ends it. What it knew comes back with [`Self::back`].
    fn down(mut self) -> (PathBuf, String, &'static str) {
        kill(&mut self.child);
        (self.keys.clone(), self.port.clone(), self.algorithm)
    }

    /// Starts it again where it was.
    fn back((keys, port, algorithm): (PathBuf, String, &'static str)) -> Self {
        Self::on(keys, &port, algorithm)
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn server(&self) -> Server {
        Server::url(&self.issuer())
    }

    /// What it gives a client for a resource.
    fn token(&self, client: &str, resource: &str) -> String {
        let basic = format!("Basic {}", STANDARD.encode(format!("{client}:s3cret")));
        let form = "application/x-www-form-urlencoded";
        let headers = [("authorization", basic.as_str()), ("content-type", form)];
        let body = format!("grant_type=client_credentials&scope=tools%3Acall&resource={resource}");
        let answer = request(&self.server(), "POST", "/token", &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = body_of(&answer.body);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    fn jwks(&self) -> String {
        body_of(&get(&self.server(), "/jwks").unwrap().body).to_string()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The JSON object in a body, whether or not it came in chunks.
fn body_of(body: &str) -> Value {
    let (begin, end) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    serde_json::from_str(&body[begin..=end]).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// An arbiter that believes a provider, and a gate whose decisions are asked for with the token at hand. What became of
/// PERMITs the gate says with its own static token.
struct Scene {
    place: Place,
    daemon: Daemon,
    gate: Gate,
    recording: Recording,
    token: Arc<Mutex<String>>,
    runs: usize,
    _between: Between,
}

/// The demo's configuration, whose agent is also whom the provider's tokens for a client name.
fn configured(place: &Place, provider: &Provider, client: &str, more: &str) -> PathBuf {
    let text = std::fs::read_to_string(&place.config_path).unwrap();
    let (own, issuer) = ("[agents.\"demo-agent\"]\n", provider.issuer());
    assert!(text.contains(own), "{text}");
    let subject = format!("{own}subject = {{ issuer = \"{issuer}\", sub = \"{client}\" }}\n");
    let text = text.replace(own, &subject);
    let issuer = format!("\n[issuers.\"{issuer}\"]\naudience = \"{AUDIENCE}\"\n{more}\n");
    std::fs::write(&place.config_path, text + &issuer).unwrap();
    place.config_path.clone()
}

impl Scene {
    fn new(place: Place, provider: &Provider, more: &str) -> Self {
        configured(&place, provider, "agent-1", more);
        let daemon = Daemon::start(&place);
        until("the provider's keys", || health(&daemon)["issuers"][0]["age_ms"].as_u64());
        let between = Between::before(daemon.server());
        let token = Arc::new(Mutex::new(provider.token("agent-1", AUDIENCE)));
        let config = place.gate("gate.toml", &between.url, 9_000);
        let held = Arc::clone(&token);
        between.decisions(move |asked: &Asked, arbiter: &Server| {
            Act::pass(&asked.with_token(&held.lock().unwrap()).put_to(arbiter).unwrap())
        });
        let recording = Recording::new(&place.path("recording"));
        let gate = Gate::start(&config, &recording.of(&demo_server(&place.path("journal"))));
        Self { place, daemon, gate, recording, token, runs: 0, _between: between }
    }

    fn call(&mut self, token: &str) -> crate::support::Answer {
        token.clone_into(&mut self.token.lock().unwrap());
        self.gate.call("read_balance", json!({ "account": "acme" }))
    }

    fn runs(&mut self, token: &str) {
        let answer = self.call(token);
        assert!(answer.ran().contains("acme"), "{answer:?}");
        self.runs += 1;
        assert_eq!(self.gate.settled(&self.recording).len(), self.runs);
    }

    fn is_silent(&mut self, what: &str, token: &str, code: &str) {
        let answer = self.call(token);
        assert_eq!(answer.code(), code, "{what}");
        assert_eq!(self.gate.settled(&self.recording).len(), self.runs, "{what}");
    }

    /// How many tokens were refused under each code.
    fn refused(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(health(&self.daemon)["refused_tokens"].clone()).unwrap_or_default()
    }

    /// The token is refused under this code, and nothing runs.
    fn is_nobody(&mut self, what: &str, token: &str, code: &str) {
        let before = self.refused().get(code).copied().unwrap_or_default();
        self.is_silent(what, token, "identity.unverified");
        assert_eq!(
            self.refused().get(code).copied().unwrap_or_default(),
            before + 1,
            "{what}: {:?}",
            self.refused()
        );
    }

    /// Every file of the deployment, and what is told about it, has none of these in it.
    fn tells_nothing_of(&self, tokens: &[String]) {
        let mut told = self.daemon.notes.text() + &self.gate.notes.text();
        for path in ["/readyz", "/metrics"] {
            told += &get(&self.daemon.server(), path).unwrap().body;
        }
        for entry in walk(self.place.path("data")) {
            told += &String::from_utf8_lossy(&std::fs::read(entry).unwrap());
        }
        for token in tokens {
            for part in token.split('.').filter(|part| part.len() > 8) {
                assert!(!told.contains(part), "a part of a token is kept or told");
            }
        }
    }
}

fn walk(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { walk(path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.is_file()).collect()
}

fn health(daemon: &Daemon) -> Value {
    get(&daemon.server(), "/readyz").unwrap().json()
}

fn identity_interlock(daemon: &Daemon) -> String {
    let health = health(daemon);
    let all = health["interlocks"].as_array().unwrap().iter();
    let own = all
        .filter(|interlock| interlock["name"] == "identity")
        .map(|interlock| interlock["state"].to_string());
    own.collect()
}

fn an_access_token_runs(algorithm: &'static str) {
    let place = Place::demo();
    let provider = Provider::start(&place, "keys.json", algorithm);
    let mut scene = Scene::new(place, &provider, "");
    let token = provider.token("agent-1", AUDIENCE);
    scene.runs(&token);
    let answer = scene.gate.call("wipe", json!({}));
    assert_eq!(answer.code(), "surface.unknown", "the provider says who asks, and the bundle what they may");
    // Nothing of a token is an operator's or an auditor's.
    let operator = post(&scene.daemon.server(), "/v1/operator/orders", &token, b"{}").unwrap();
    assert_eq!(operator.status, 403);
    scene.tells_nothing_of(&[token]);
    let rows = scene.place.log().rows;
    assert!(rows.len() == 2 && rows.iter().all(|row| row.record.facts.credential_expires.is_some()));
    assert!(
        rows.iter()
            .all(|row| row.record.agent.as_str() == "demo-agent" && row.record.facts.authenticated.is_some())
    );
}

#[test]
fn an_access_token_of_a_real_provider_runs_what_its_agent_may_under_es256() {
    an_access_token_runs("ES256");
}

#[test]
fn an_access_token_of_a_real_provider_runs_what_its_agent_may_under_rs256() {
    an_access_token_runs("RS256");
}

#[test]
fn an_access_token_of_a_real_provider_runs_what_its_agent_may_under_ps256_and_eddsa() {
    an_access_token_runs("PS256");
    an_access_token_runs("EdDSA");
}

#[test]
fn what_is_for_another_resource_or_of_another_or_has_expired_or_was_forged_runs_nothing() {
    let place = Place::demo();
    let provider = Provider::start(&place, "keys.json", "ES256");
    let other = Provider::start(&place, "other.json", "ES256");
    let mut scene = Scene::new(place, &provider, "");
    let good = provider.token("agent-1", AUDIENCE);
    let brief = provider.token("brief", AUDIENCE);
    scene.runs(&good);
    scene.is_nobody("another resource", &provider.token("agent-1", "https://other.test/"), "token.audience");
    scene.is_nobody("a client that is no agent", &provider.token("agent-2", AUDIENCE), "token.subject");
    scene.is_nobody("another provider", &other.token("agent-1", AUDIENCE), "token.issuer");
    // It lives for seconds, and whose it is does not matter once they are over.
    until("a token that has expired", || {
        scene.is_silent("a token that lives for seconds", &brief, "identity.unverified");
        scene.refused().contains_key("token.expired").then_some(())
    });
    let forger = Command::new(peer("py/bin/python"))
        .arg(script("forged.py"))
        .args([&good, &provider.jwks()])
        .output()
        .unwrap();
    assert!(forger.status.success(), "{}", String::from_utf8_lossy(&forger.stderr));
    let forged: BTreeMap<String, String> = serde_json::from_slice(&forger.stdout).unwrap();
    assert!(forged.len() >= 10);
    for (how, token) in &forged {
        scene.is_nobody(how, token, how.split(' ').next().unwrap());
    }
    scene.runs(&good);
    let tokens: Vec<String> = forged.into_values().chain([good, brief]).collect();
    scene.tells_nothing_of(&tokens);
}

#[test]
fn a_provider_that_is_down_silences_its_agents_alone_and_only_once_its_keys_are_too_old() {
    let place = Place::demo();
    let stranger = std::fs::read_to_string(place.path("keys/stranger-agent.token")).unwrap();
    let provider = Provider::start(&place, "keys.json", "ES256");
    let mut scene = Scene::new(place, &provider, "fresh_seconds = 1\nexpire_seconds = 12\n");
    let token = provider.token("agent-1", AUDIENCE);
    let gone = provider.down();
    scene.runs(&token);
    until("keys that are too old", || identity_interlock(&scene.daemon).contains("tripped").then_some(()));
    scene.is_silent("a provider that is down", &token, "identity.unavailable");
    let answer = get(&scene.daemon.server(), "/readyz").unwrap();
    assert_eq!(answer.status, 200, "others are not shut: {}", answer.body);
    let surfaces = [("authorization", format!("Bearer {}", stranger.trim()))];
    let headers: Vec<_> = surfaces.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(request(&scene.daemon.server(), "GET", "/v1/surfaces", &headers, b"").unwrap().status, 200);
    let _provider = Provider::back(gone);
    until("keys", || identity_interlock(&scene.daemon).contains("clear").then_some(()));
    scene.runs(&token);
}

#[test]
fn a_rotated_key_counts_when_it_is_first_used_and_the_one_before_it_no_longer() {
    let place = Place::demo();
    let provider = Provider::start(&place, "keys.json", "ES256");
    let mut scene = Scene::new(place, &provider, "fresh_seconds = 3600\n");
    let old = provider.token("agent-1", AUDIENCE);
    scene.runs(&old);
    let (keys, port, algorithm) = provider.down();
    std::fs::remove_file(&keys).unwrap();
    let provider = Provider::back((keys, port, algorithm));
    let new = provider.token("agent-1", AUDIENCE);
    // Keys are not asked for so soon after the last time.
    until("the new key", || {
        let ran = scene.call(&new).told().is_none();
        scene.runs += usize::from(ran);
        ran.then_some(())
    });
    assert_eq!(scene.gate.settled(&scene.recording).len(), scene.runs);
    scene.is_nobody("the key before", &old, "token.unknown_key");
    scene.runs(&new);
}

#[test]
fn a_gate_that_hosts_the_arbiter_has_its_token_looked_at_for_each_call() {
    let place = Place::demo();
    let provider = Provider::start(&place, "keys.json", "ES256");
    let config = configured(&place, &provider, "brief", "");
    let recording = Recording::new(&place.path("recording"));
    let server = recording.of(&demo_server(&place.path("journal")));
    let account = json!({ "account": "acme" });
    // On a slow machine its few seconds may be over before the first call.
    let mut gate = until("a gate that begins in time", || {
        std::fs::write(place.path("keys/demo-agent.token"), provider.token("brief", AUDIENCE)).unwrap();
        let mut gate = Gate::start(&config, &server);
        let ran = gate.call("read_balance", account.clone()).told().is_none();
        if !ran {
            gate.end();
            return None;
        }
        Some(gate)
    });
    // A call that comes in its last moment is settled after it.
    let mut ran = 1;
    let mut codes = Vec::new();
    while codes.last().is_none_or(|code| code != "identity.unverified") {
        let answer = gate.call("read_balance", account.clone());
        match answer.told() {
            None => ran += 1,
            Some(_) => codes.push(answer.code().to_owned()),
        }
    }
    assert!(
        codes.iter().all(|code| code == "identity.unverified" || code == "identity.expired"),
        "{codes:?}"
    );
    assert_eq!(gate.settled(&recording).len(), ran);
}
