//! Arbiters that hang, break off, lie, or answer with something that proves nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_protocol::{Decision, Event, Record};
use portcullis_server::{Config, new_key, open_ledger};
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::{Act, Asked, Between, Daemon, Gate, Place, Recording, demo_server, files_server, text};

/// The gates' deadline, in milliseconds.
const DEADLINE: u64 = 2_000;
/// What an answer may take beyond the deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// A gate whose arbiter is reached through [`Between`], with a real file server behind it.
struct Scene {
    place: Place,
    daemon: Daemon,
    between: Between,
    gate: Gate,
    recording: Recording,
    arguments: Value,
    reads: usize,
}

impl Scene {
    fn new() -> Self {
        let place = Place::files();
        let folder = place.directory("shared");
        let file = folder.join("note.txt");
        std::fs::write(&file, "what the file says").unwrap();
        let daemon = Daemon::start(&place);
        let between = Between::before(daemon.server());
        let config = place.gate("gate.toml", &between.url, DEADLINE);
        let recording = Recording::new(&place.path("recording"));
        let gate = Gate::start(&config, &recording.of(&files_server(&folder)));
        let arguments = json!({ "path": text(&file) });
        let mut scene = Self { place, daemon, between, gate, recording, arguments, reads: 0 };
        scene.runs();
        scene
    }

    /// With an arbiter that is told the truth and tells it, the read runs.
    fn runs(&mut self) {
        self.between.honest();
        let answer = self.gate.call("read_text_file", self.arguments.clone());
        assert_eq!(answer.ran(), "what the file says");
        self.reads += 1;
        assert_eq!(self.gate.settled(&self.recording).len(), self.reads);
    }

    /// With an arbiter that does this, the same read is SILENCE with this code in time, and nothing reaches the server.
    fn is_silent(
        &mut self,
        name: &str,
        code: &str,
        script: impl FnMut(&Asked, &Server) -> Act + Send + 'static,
    ) {
        self.between.decisions(script);
        let (answer, took) = self.gate.timed("read_text_file", self.arguments.clone());
        assert_eq!(answer.code(), code, "{name}: {}", answer.0);
        assert!(took < Duration::from_millis(DEADLINE) + SLACK, "{name} took {took:?}");
        assert_eq!(self.gate.settled(&self.recording).len(), self.reads, "{name} reached the tool server");
    }

    /// In the end, as many calls reached the server as were answered with a result, late ones included.
    fn ends(mut self) {
        self.runs();
        self.gate.end();
        assert_eq!(self.recording.calls().len(), self.reads);
    }
}

/// The beginning of an answer that promises more.
fn half(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn an_arbiter_that_hangs_is_a_timeout() {
    let mut scene = Scene::new();
    let whole_but_one = |asked: &Asked, arbiter: &Server| {
        let Act::Bytes(mut bytes) = Act::pass(&asked.put_to(arbiter).unwrap()) else { panic!() };
        bytes.pop();
        Act::Hang(bytes)
    };
    scene.is_silent("no answer", "arbiter.timeout", |_, _| Act::Hang(Vec::new()));
    scene.is_silent("half a head", "arbiter.timeout", |_, _| Act::Hang(b"HTTP/1.1 200 OK\r\nconte".into()));
    scene.is_silent("half a body", "arbiter.timeout", |_, _| Act::Hang(half(r#"{"decision":"PERMIT""#)));
    scene.is_silent("all but the last byte of a true PERMIT", "arbiter.timeout", whole_but_one);
    scene.ends();
}

#[test]
fn an_answer_that_breaks_off_proves_nothing() {
    let mut scene = Scene::new();
    scene
        .is_silent("half a body", "receipt.unverifiable", |_, _| Act::Bytes(half(r#"{"decision":"PERMIT""#)));
    scene.is_silent("all but the end of a true PERMIT", "receipt.unverifiable", |asked, arbiter| {
        let Act::Bytes(mut bytes) = Act::pass(&asked.put_to(arbiter).unwrap()) else { panic!() };
        bytes.truncate(bytes.len() - 20);
        Act::Bytes(bytes)
    });
    // Not even the beginning of an answer: nobody can be said to have been reached.
    scene.is_silent("nothing at all", "arbiter.unreachable", |_, _| Act::Bytes(Vec::new()));
    scene.ends();
}

#[test]
fn an_answer_without_a_receipt_proves_nothing() {
    let mut scene = Scene::new();
    let cases: &[(&str, u16, &str)] = &[
        ("200 and nothing", 200, ""),
        ("200 and null", 200, "null"),
        ("200 and true", 200, "true"),
        ("200 and an object", 200, "{}"),
        ("200 and an array", 200, "[]"),
        ("200 and OK", 200, "OK"),
        ("PERMIT alone", 200, r#"{"decision":"PERMIT"}"#),
        ("PERMIT without a receipt", 200, r#"{"decision":"PERMIT","captured":"logged"}"#),
        ("PERMIT with an empty receipt", 200, r#"{"decision":"PERMIT","captured":"logged","receipt":""}"#),
        ("PERMIT with a null receipt", 200, r#"{"decision":"PERMIT","captured":"logged","receipt":null}"#),
        ("allow", 200, r#"{"allow":true,"allowed":true,"result":true,"decision":true}"#),
        ("an unknown word", 200, r#"{"decision":"ALLOW","captured":"logged","receipt":"x"}"#),
        ("an unknown field", 200, r#"{"decision":"PERMIT","captured":"logged","receipt":"x","ok":true}"#),
        ("204", 204, ""),
        ("302", 302, ""),
        ("304", 304, ""),
        ("400 and nothing", 400, ""),
        ("404 and nothing", 404, ""),
        ("500 and nothing", 500, ""),
        ("500 and PERMIT", 500, r#"{"decision":"PERMIT","captured":"logged","receipt":"x"}"#),
        ("503 and words", 503, "upstream connect error"),
        ("599 and nothing", 599, ""),
    ];
    for (name, status, body) in cases {
        scene.is_silent(name, "receipt.unverifiable", move |_, _| Act::reply(*status, body));
    }
    scene.ends();
}

#[test]
fn what_is_no_http_proves_nothing() {
    let mut scene = Scene::new();
    for bytes in [&b"\x00\xff\x80garbage\r\n\r\n"[..], b"PERMIT\n", b"HTTP/9.9 200 OK\r\n\r\n{}"] {
        scene.is_silent(&format!("{bytes:?}"), "receipt.unverifiable", |_, _| Act::Bytes(bytes.into()));
    }
    scene.ends();
}

#[test]
fn a_true_permit_under_a_wrong_status_proves_nothing() {
    let mut scene = Scene::new();
    for status in [201, 202, 206, 302, 403, 500, 503] {
        scene.is_silent(&status.to_string(), "receipt.unverifiable", move |asked, arbiter| {
            Act::reply(status, asked.put_to(arbiter).unwrap().body)
        });
    }
    scene.ends();
}

#[test]
fn a_permit_with_any_part_of_its_receipt_changed_proves_nothing() {
    let mut scene = Scene::new();
    let change = |from: usize, to: usize| {
        move |asked: &Asked, arbiter: &Server| {
            let mut reply = asked.put_to(arbiter).unwrap().json();
            let receipt = reply["receipt"].as_str().unwrap().to_owned();
            let at = receipt.len() * from / to;
            let old = receipt.as_bytes()[at];
            let new = if old == b'A' { 'B' } else { 'A' };
            reply["receipt"] = format!("{}{new}{}", &receipt[..at], &receipt[at + 1..]).into();
            Act::reply(200, reply.to_string())
        }
    };
    for place in 0..40 {
        scene.is_silent(&format!("at {place} of 40"), "receipt.unverifiable", change(place, 40));
    }
    scene.ends();
}

/// A deployment with the same bundle and a log of the same name, but with a signing key of its own.
fn impostor(of: &Place) -> (Place, Daemon) {
    let mut place = Place::files();
    std::fs::remove_file(place.signing_key()).unwrap();
    let key = new_key(&place.signing_key(), of.config.log_key.name().as_str()).unwrap();
    let own = place.config.log_key.to_string();
    let path = place.configure("impostor.toml", |text| text.replace(&own, &key.to_string()));
    place.config = Config::read(&path).unwrap().arbiter().unwrap();
    let daemon = Daemon::with(&path);
    (place, daemon)
}

#[test]
fn a_permit_signed_by_another_key_proves_nothing() {
    let mut scene = Scene::new();
    let (other, daemon) = impostor(&scene.place);
    let (token, server) = (other.token("assistant"), daemon.server());
    scene.is_silent("another log of the same name", "receipt.unverifiable", move |asked, _| {
        let reply = asked.with_token(&token).put_to(&server).unwrap();
        assert_eq!(reply.json()["decision"], "PERMIT");
        Act::pass(&reply)
    });
    assert_eq!(other.log().permits().len(), 1);
    scene.ends();
}

#[test]
fn a_true_receipt_of_anything_else_in_the_log_proves_nothing() {
    let mut scene = Scene::new();
    // A refusal, so that the log has every kind of record: decisions of both kinds, outcomes, events.
    let outside = json!({ "path": "/x/.env" });
    assert_eq!(scene.gate.call("read_text_file", outside).code(), "policy.forbidden");
    let ledger = open_ledger(&scene.place.config).unwrap();
    let mut kinds = Vec::new();
    ledger.for_each(|listed| kinds.push(listed.record)).unwrap();
    let (mut permits, mut others) = (0, 0);
    for record in kinds {
        let receipt = ledger.receipt(record.seq()).unwrap();
        assert_eq!(scene.place.verify(&receipt), record);
        let is_permit = matches!(&record, Record::Decision(it) if it.decision == Decision::Permit);
        if is_permit {
            permits += 1
        } else {
            others += 1
        }
        let reply = json!({ "decision": "PERMIT", "captured": "logged", "receipt": receipt }).to_string();
        let name = format!("the receipt of record {}", record.seq());
        scene.is_silent(&name, "receipt.unverifiable", move |_, _| Act::reply(200, &reply));
    }
    assert!(permits == 1 && others >= 3, "{permits} {others}");
    scene.ends();
}

#[test]
fn a_refusal_called_a_permit_proves_nothing() {
    let mut scene = Scene::new();
    let place = &scene.place;
    portcullis_server::shut(&place.config.data, "a test").unwrap();
    scene.is_silent("a refusal with its true receipt", "receipt.unverifiable", |asked, arbiter| {
        let mut reply = asked.put_to(arbiter).unwrap().json();
        assert_eq!(reply["decision"], "SILENCE");
        reply["decision"] = "PERMIT".into();
        reply.as_object_mut().unwrap().remove("reason");
        Act::reply(200, reply.to_string())
    });
    portcullis_server::open(&scene.place.config.data).unwrap();
    scene.ends();
}

/// Asks the true arbiter something else than the gate asked, and gives its PERMIT for that.
fn asks_for(pointer: &'static str, value: Value) -> impl FnMut(&Asked, &Server) -> Act + Send + 'static {
    move |asked, arbiter| {
        let mut call = asked.json();
        *call.pointer_mut(pointer).unwrap() = value.clone();
        let reply = asked.with(&call).put_to(arbiter).unwrap();
        assert_eq!(reply.json()["decision"], "PERMIT", "{pointer}: {}", reply.body);
        Act::pass(&reply)
    }
}

#[test]
fn a_true_permit_for_another_question_proves_nothing() {
    let mut scene = Scene::new();
    let hex = |digit: &str| Value::from(digit.repeat(64));
    let digest = |digit: &str| Value::from(format!("sha256:{}", digit.repeat(64)));
    let cases = [
        ("/attempt", hex("a")),
        ("/salt", hex("b")),
        ("/gate", "another-gate".into()),
        ("/request/context/path", "/somewhere/else".into()),
        ("/request/payload", digest("c")),
        ("/request/envelope", digest("d")),
    ];
    for (pointer, value) in cases {
        scene.is_silent(pointer, "receipt.unverifiable", asks_for(pointer, value));
    }
    scene.is_silent("another surface", "receipt.unverifiable", |asked, arbiter| {
        let mut call = asked.json();
        for part in ["/request/surface", "/request/action"] {
            *call.pointer_mut(part).unwrap() = "files.list_directory".into();
        }
        call["request"]["resource"] = json!({ "type": "Surface", "id": "files.list_directory" });
        let reply = asked.with(&call).put_to(arbiter).unwrap();
        assert_eq!(reply.json()["decision"], "PERMIT", "{}", reply.body);
        Act::pass(&reply)
    });
    scene.ends();
}

#[test]
fn another_agents_permit_for_the_same_question_proves_nothing() {
    let place = Place::demo();
    let mut entities = std::fs::read_to_string(place.config.bundle.join("policies/demo.cedar")).unwrap();
    entities = entities.replace(r#"principal == Agent::"demo-agent""#, "principal");
    std::fs::write(place.config.bundle.join("policies/demo.cedar"), entities).unwrap();
    portcullis_server::sign_bundle(&place.config.bundle, &place.path("keys/bundle.key")).unwrap();
    portcullis_server::pin_bundle(&Config::read(&place.config_path).unwrap()).unwrap();
    let journal = place.file("journal", "");
    let daemon = Daemon::start(&place);
    let between = Between::before(daemon.server());
    let config = place.gate("gate.toml", &between.url, DEADLINE);
    let mut gate = Gate::start(&config, &demo_server(&journal));
    let stranger = place.token("stranger-agent");
    between.decisions(move |asked, arbiter| {
        let reply = asked.with_token(&stranger).put_to(arbiter).unwrap();
        assert_eq!(reply.json()["decision"], "PERMIT", "{}", reply.body);
        Act::pass(&reply)
    });
    let answer = gate.call("read_balance", json!({ "account": "acme" }));
    assert_eq!(answer.code(), "receipt.unverifiable");
    between.honest();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), 1);
}

#[test]
fn an_arbiter_that_does_not_know_the_token_permits_nothing_and_the_log_says_that_it_was_asked() {
    let mut scene = Scene::new();
    scene.is_silent("another token", "identity.unverified", |asked, arbiter| {
        let reply = asked.with_token("pcl_nobody").put_to(arbiter).unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (401, ""));
        Act::pass(&reply)
    });
    scene.runs();
    let Scene { place, daemon, gate, .. } = scene;
    gate.end();
    daemon.end(rustix::process::Signal::TERM);
    let log = place.log();
    let counted = log.records.iter().find_map(|record| match record {
        Record::Aggregate(record) => Some(record.count),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    assert_eq!(counted, Some(1));
    assert_eq!(log.events().last(), Some(&Event::Closed));
}

/// A relay that changes by which rules the gate reads a call, so that the arbiter judges another argument than the
/// tool server gets.
#[test]
fn rules_that_are_not_the_arbiters_made_it_permit_another_call_than_was_sent() {
    let mut scene = Scene::new();
    let seen = Arc::new(Mutex::new(Value::Null));
    let mapped = Arc::clone(&seen);
    scene.between.decisions(move |asked, arbiter| {
        *mapped.lock().unwrap() = asked.json()["request"]["mapped_with"].clone();
        Act::pass(&asked.put_to(arbiter).unwrap())
    });
    assert_eq!(scene.gate.call("read_text_file", scene.arguments.clone()).ran(), "what the file says");
    scene.reads += 1;

    let folder = scene.place.path("shared");
    std::fs::create_dir(folder.join(".ssh")).unwrap();
    let secret = folder.join(".ssh/key");
    std::fs::write(&secret, "a secret").unwrap();
    let arguments = json!({ "path": text(&secret), "decoy": scene.arguments["path"] });
    assert_eq!(scene.gate.call("read_text_file", arguments.clone()).code(), "policy.forbidden");

    scene.between.honest();
    scene.between.surfaces(|table| {
        table["surfaces"]["files.read_text_file"]["context"]["path"]["from"] = "/decoy".into();
    });
    let config = scene.place.gate("lied-to.toml", &scene.between.url, DEADLINE);
    let recording = Recording::new(&scene.place.path("lied-to"));
    let mut gate = Gate::start(&config, &recording.of(&files_server(&folder)));
    assert_eq!(gate.call("read_text_file", arguments.clone()).code(), "surface.mapping_changed");
    // The relay can say that the arbiter's own rules were used, but then the receipt is for another request.
    let honest = seen.lock().unwrap().clone();
    assert!(honest.is_string());
    scene.between.decisions(move |asked, arbiter| {
        let mut call = asked.json();
        call["request"]["mapped_with"] = honest.clone();
        let reply = asked.with(&call).put_to(arbiter).unwrap();
        assert_eq!(reply.json()["decision"], "PERMIT", "{}", reply.body);
        Act::pass(&reply)
    });
    assert_eq!(gate.call("read_text_file", arguments).code(), "receipt.unverifiable");
    gate.end();
    assert_eq!(recording.calls(), []);
    scene.ends();
}
