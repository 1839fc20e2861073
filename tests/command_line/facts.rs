//! Sources of facts under a running daemon, exceptions, and what is told of both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_policy::bundles;
use portcullis_protocol::{DecisionRecord, Record};
use serde_json::{Value, json};

use crate::support::{Daemon, Gate, Place, demo_server, text, until};
use crate::{Ended, with};

const ROSTER: &str = r#"
[roster.people.zoe]
name = "Zoe"
roles = ["security"]
keys = [{ type = "ed25519", key = "V3D4WZ+CZa7gLcBOttAja3VDSil3UDrfx5DX8eTrcdg=" }]
"#;

/// An instant, so many seconds ago.
pub(crate) fn ago(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then = chrono::DateTime::from_timestamp(i64::try_from(now).unwrap() - seconds, 0).unwrap();
    then.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The demo's deployment, whose agents come from `directory.json`.
pub(crate) struct Scene {
    pub(crate) place: Place,
    journal: PathBuf,
}

impl Scene {
    /// With the document as of so many seconds ago, which may be ten minutes; and more in `bundle.toml`.
    pub(crate) fn new(age: i64, more: &str) -> Self {
        let place = Self::deployed("10m", more);
        let scene = Self::of(place, "file = \"directory.json\"\n");
        scene.aged(age);
        scene
    }

    /// A deployment whose bundle takes agents from the directory, which may be so old.
    fn deployed(max_age: &str, more: &str) -> Place {
        let mut bundle = bundles::demo();
        let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
        let declared = format!("[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"{max_age}\"\n");
        // As it was before the exceptions began: they last ninety days at most.
        let manifest = manifest.replace("2025-01-01T00:00:00Z", &ago(86_400));
        bundle.insert("bundle.toml".into(), format!("{manifest}\n{declared}{more}{ROSTER}").into_bytes());
        let agents = bundle.insert("entities.json".into(), b"[]".to_vec()).unwrap();
        bundle.insert("tests/directory.json".into(), agents);
        Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
    }

    /// The deployment with a configuration that says where the directory is.
    fn of(place: Place, source: &str) -> Self {
        let config = std::fs::read_to_string(&place.config_path).unwrap();
        std::fs::write(&place.config_path, format!("{config}\n[facts.directory]\n{source}")).unwrap();
        let journal = place.file("journal", "");
        Self { place, journal }
    }

    /// Puts another document in the file's place, as whoever keeps it does.
    fn document(&self, as_of: &str, entities: &str) {
        self.replace(&format!(r#"{{"v":1,"as_of":"{as_of}","entities":{entities}}}"#));
    }

    /// The agents of the demo, as of so many seconds ago.
    fn aged(&self, seconds: i64) {
        self.document(&ago(seconds), &agents());
    }

    fn replace(&self, content: &str) {
        let new = self.place.file("directory.new", content);
        std::fs::rename(new, self.place.path("directory.json")).unwrap();
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::start(&self.place.elsewhere(&self.place.socket_url()), &demo_server(&self.journal))
    }

    /// How many calls reached the tool, by its own journal.
    fn ran(&self) -> usize {
        std::fs::read_to_string(&self.journal).unwrap().lines().count()
    }

    fn status(&self) -> (i32, Value) {
        let ended = with(&self.place.config_path, &["status", "--json"]);
        (ended.code, serde_json::from_str(&ended.out).unwrap())
    }

    /// The newest decision on record.
    fn newest(&self) -> DecisionRecord {
        self.place.rows().pop().unwrap().record
    }
}

/// The agents of the demo.
fn agents() -> String {
    String::from_utf8(bundles::demo()["entities.json"].clone()).unwrap()
}

/// A directory that answers over HTTP with its agents as of now, to whoever shows its token, until it is closed.
struct Directory {
    address: SocketAddr,
    /// What it says in the place of its agents as of now.
    says: Arc<Mutex<Option<String>>>,
    open: Arc<AtomicBool>,
    answers: Option<JoinHandle<()>>,
}

impl Directory {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
        let still = Arc::clone(&open);
        let says = Arc::new(Mutex::new(None));
        let said = Arc::clone(&says);
        let answers = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !still.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever asks may have gone.
                drop(Self::answer(stream.unwrap(), said.lock().unwrap().clone()));
            }
        });
        Self { address, says, open, answers: Some(answers) }
    }

    /// The configuration of a deployment that asks it every tenth of a second.
    fn source(&self, place: &Place) -> String {
        let token = place.file("directory.token", "for-the-directory\n");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let address = self.address;
        format!(
            "endpoint = \"http://{address}\"\npath = \"/agents\"\ntoken_file = \"directory.token\"\ninterval_ms = 100\n"
        )
    }

    fn say(&self, as_of: &str, entities: &str) {
        let document = format!(r#"{{"v":1,"as_of":"{as_of}","entities":{entities}}}"#);
        *self.says.lock().unwrap() = Some(document);
    }

    fn answer(mut stream: TcpStream, said: Option<String>) -> std::io::Result<()> {
        let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
        while !asked.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                read => asked.extend_from_slice(&piece[..read]),
            }
        }
        let asked = String::from_utf8(asked).unwrap();
        let known = asked.starts_with("GET /agents ")
            && asked.contains("authorization: Bearer for-the-directory\r\n");
        let status = if known { "200 OK" } else { "403 Forbidden" };
        let now = || format!(r#"{{"v":1,"as_of":"{}","entities":{}}}"#, ago(0), agents());
        let body = said.unwrap_or_else(now);
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    fn close(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.answers.take().unwrap().join().unwrap();
    }
}

fn balance(gate: &mut Gate) -> crate::support::Answer {
    gate.call("read_balance", json!({ "account": "acme" }))
}

fn charge(gate: &mut Gate, key: &str) -> crate::support::Answer {
    gate.call_with("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(key))
}

fn replayed(place: &Place) -> (Ended, Value) {
    let ended = with(&place.config_path, &["log", "replay", "--json"]);
    let said = serde_json::from_str(&ended.out).unwrap();
    (ended, said)
}

#[test]
fn what_policy_is_asked_with_is_the_file_as_it_is_now_and_never_as_it_was() {
    let scene = Scene::new(5, "");
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    let used = *scene.newest().facts.sources.values().next().unwrap();
    assert!(used.age_at(scene.newest().time).is_some_and(|age| age >= 4_000), "{used:?}");
    let path = scene.place.path("directory.json");
    let good = std::fs::read_to_string(&path).unwrap();

    // Each way to have no facts, while the daemon runs; and each time they come back.
    let others = r#"[{"uid":{"type":"Agent","id":"stranger-agent"},"attrs":{},"parents":[]}]"#;
    let unused: [(&str, &dyn Fn()); 6] = [
        ("gone", &|| std::fs::remove_file(&path).unwrap()),
        ("cut short", &|| scene.replace(good.get(..good.len() / 2).unwrap())),
        ("empty", &|| scene.replace("")),
        ("a directory", &|| {
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }),
        ("without whom policies name", &|| scene.document(&ago(0), others)),
        ("from the future", &|| scene.aged(-3_600)),
    ];
    for (what, make) in unused {
        make();
        let ran = scene.ran();
        assert_eq!(balance(&mut gate).code(), "fact.unavailable", "{what}");
        assert_eq!(
            (scene.ran(), scene.newest().reason.unwrap().as_str()),
            (ran, "fact.unavailable"),
            "{what}"
        );
        let (code, status) = scene.status();
        assert_eq!((code, &status["ready"]), (1, &json!(false)), "{what}");
        assert_eq!(status["facts"][0]["state"], "unavailable", "{what}: {status}");
        assert!(status["facts"][0]["error"].is_string(), "{what}: {status}");
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        }
        scene.aged(0);
        balance(&mut gate).ran();
        assert_eq!(scene.status().1["facts"][0]["state"], "fresh", "{what}");
    }

    // From the future, and refused: whoever comes after is not held to it.
    scene.document("9999-12-31T23:59:59Z", &good_without_stranger());
    assert_eq!(balance(&mut gate).code(), "fact.unavailable");
    scene.aged(0);
    balance(&mut gate).ran();

    // Whom the directory does not give any more is nobody.
    scene.document(&ago(0), &good_without_stranger());
    let stranger = with(&scene.place.config_path, &["status"]);
    assert!(stranger.ok().contains("facts of directory fresh"), "{stranger:?}");
    gate.end();
    drop(daemon);
    let (ended, said) = replayed(&scene.place);
    assert_eq!((ended.code, &said["different"]), (0, &json!(0)), "{said}");
    assert_eq!(said["not_replayable"], json!({}));
}

fn good_without_stranger() -> String {
    r#"[{"uid":{"type":"Agent","id":"demo-agent"},"attrs":{},"parents":[]}]"#.to_owned()
}

#[test]
fn facts_that_go_stale_under_a_running_daemon_permit_nothing() {
    let scene = Scene::new(0, "");
    let _daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    scene.aged(601);
    let ran = scene.ran();
    for _ in 0..2 {
        assert_eq!(balance(&mut gate).code(), "fact.stale");
        assert_eq!(charge(&mut gate, "k").code(), "fact.stale");
    }
    assert_eq!(scene.ran(), ran, "it ran");
    let entry = scene.newest();
    assert!(
        entry.facts.sources.values().all(|used| used.is_stale_at(entry.time)) && entry.exception.is_none()
    );
    let (code, status) = scene.status();
    assert_eq!((code, &status["facts"][0]["state"]), (1, &json!("stale")));
    let told = with(&scene.place.config_path, &["status"]);
    assert!(
        told.out.contains("facts of directory stale, 10m") && told.out.contains("(at most 10m)"),
        "{told:?}"
    );
    scene.aged(0);
    charge(&mut gate, "k").ran();
}

#[test]
fn a_service_that_stops_answering_counts_until_what_it_gave_is_too_old() {
    let mut directory = Directory::open();
    let place = Scene::deployed("3s", "");
    let source = directory.source(&place);
    let scene = Scene::of(place, &source);
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    directory.close();
    until("a source that is told to have failed", || {
        let (_, status) = scene.status();
        status["facts"][0]["error"].is_string().then_some(())
    });
    until("facts that are too old", || {
        let answer = balance(&mut gate);
        // Until then it counts, or the call ran on what was fresh.
        answer.told().map(|_| assert_eq!(answer.code(), "fact.stale"))
    });
    assert_eq!(scene.status().1["facts"][0]["state"], "stale");
    for row in scene.place.rows() {
        let record = row.record;
        let stale = record.facts.sources.values().any(|used| used.is_stale_at(record.time));
        assert_eq!(record.reason.is_some(), stale, "{record:?}");
    }
    gate.end();
    drop(daemon);
    let (ended, said) = replayed(&scene.place);
    assert_eq!((ended.code, &said["different"]), (0, &json!(0)), "{said}");
}

/// The agents of the demo without one of them.
fn agents_without_stranger() -> String {
    let mut agents: Value = serde_json::from_str(&agents()).unwrap();
    agents.as_array_mut().unwrap().retain(|agent| agent["uid"]["id"] != "stranger-agent");
    agents.to_string()
}

/// Somebody who was put out of the directory comes back with the copy of yesterday.
#[test]
fn an_older_document_was_taken_though_a_newer_one_was_on_record() {
    let scene = Scene::new(60, "");
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    let yesterday = (ago(30), agents());
    scene.document(&ago(10), &agents_without_stranger());
    balance(&mut gate).ran();
    let refused = |gate: &mut Gate, when: &str| {
        let ran = scene.ran();
        assert_eq!(balance(gate).code(), "fact.rolled_back", "{when}");
        assert_eq!(
            (scene.ran(), scene.newest().reason.unwrap().as_str()),
            (ran, "fact.rolled_back"),
            "{when}"
        );
        let (code, status) = scene.status();
        assert_eq!((code, &status["facts"][0]["state"]), (1, &json!("rolled back")), "{when}: {status}");
        assert!(status["facts"][0]["error"].as_str().unwrap().contains("on record"), "{when}: {status}");
    };
    scene.document(&yesterday.0, &yesterday.1);
    refused(&mut gate, "while it runs");
    gate.end();
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    let daemon = Daemon::with(&scene.place.config_path);
    let mut gate = scene.gate();
    refused(&mut gate, "after a restart");
    gate.end();
    daemon.end(rustix::process::Signal::KILL);
    let daemon = Daemon::with(&scene.place.config_path);
    let mut gate = scene.gate();
    refused(&mut gate, "after a crash");
    // The same people as of an earlier time are no older truth.
    scene.document(&ago(30), &agents_without_stranger());
    balance(&mut gate).ran();
    scene.aged(0);
    balance(&mut gate).ran();
    gate.end();
    drop(daemon);
    let (ended, said) = replayed(&scene.place.copied());
    assert_eq!(
        (ended.code, &said["different"], &said["not_replayable"]),
        (0, &json!(0), &json!({})),
        "{said}"
    );
}

#[test]
fn a_service_that_gave_an_old_answer_after_a_restart_was_believed_and_one_from_the_future_wedged_it() {
    let directory = Directory::open();
    let place = Scene::deployed("10m", "");
    let source = directory.source(&place);
    let scene = Scene::of(place, &source);
    let (first, older, newer) = (ago(20), ago(15), ago(10));
    directory.say(&first, &agents_without_stranger());
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    let error = |scene: &Scene| scene.status().1["facts"][0]["error"].as_str().map(str::to_owned);
    until("the first answer", || balance(&mut gate).told().is_none().then_some(()));
    directory.say("9999-12-31T23:59:59Z", &agents());
    let wedged = until("an answer from the future", || error(&scene));
    assert!(wedged.contains("more than 5 s after now"), "{wedged}");
    // What it gave before counts as long as it is fresh.
    balance(&mut gate).ran();
    directory.say(&newer, &agents_without_stranger());
    until("an answer in time", || error(&scene).is_none().then_some(()));
    balance(&mut gate).ran();
    gate.end();
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    directory.say(&older, &agents());
    let _daemon = Daemon::with(&scene.place.config_path);
    until("an answer", || (scene.status().1["facts"][0]["state"] == "rolled back").then_some(()));
    let mut gate = scene.gate();
    let ran = scene.ran();
    assert_eq!(balance(&mut gate).code(), "fact.rolled_back");
    assert_eq!(scene.ran(), ran, "it ran");
    directory.say(&ago(0), &agents());
    until("a newer answer", || (scene.status().1["facts"][0]["state"] == "fresh").then_some(()));
    balance(&mut gate).ran();
}

/// The exception for reading balances: a day, until tomorrow.
pub(crate) fn exception(review: &str) -> String {
    format!(
        "[[exceptions]]\nsurface = \"demo.read_balance\"\ncovers = [\"fact.stale\"]\nsources = [\"directory\"]\n\
         max_age = \"24h\"\nowner = \"zoe\"\nreason = \"the directory is moved\"\nreview = \"{review}\"\nuntil = \"{}\"\n",
        ago(-86_400)
    )
}

#[test]
fn an_exception_permits_its_surface_on_stale_facts_and_no_other() {
    let scene = Scene::new(3_600, &exception(&ago(-3_600)));
    let daemon = Daemon::within(&scene.place.config_path, &[]);
    until("an arbiter that answers", || scene.place.socket().exists().then_some(()));
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    let entry = scene.newest();
    let excepted = entry.exception.clone().unwrap();
    assert_eq!((excepted.max_age_ms, excepted.covers.code().as_str()), (86_400_000, "fact.stale"));
    assert_eq!(charge(&mut gate, "k").code(), "fact.stale", "a high surface");
    scene.aged(86_401);
    assert_eq!(balance(&mut gate).code(), "fact.stale", "beyond the exception's own bound");
    std::fs::remove_file(scene.place.path("directory.json")).unwrap();
    assert_eq!(balance(&mut gate).code(), "fact.unavailable", "what is not there is not merely old");
    assert_eq!(scene.ran(), 1);
    gate.end();
    drop(daemon);

    // Whoever gets the receipt sees it, and so does who decides again, on another machine.
    let receipt = scene.place.file("receipt", &scene.place.receipt(entry.seq));
    let told = with(&scene.place.config_path, &["explain", &text(&receipt)]);
    assert!(told.ok().contains("permitted by an exception of the bundle for fact.stale"), "{told:?}");
    let key = scene.place.config.log_key.to_string();
    let told = crate::run(&["verify", "--key", &key, &text(&receipt)]);
    assert!(told.ok().contains("by an exception for fact.stale, of directory"), "{told:?}");
    let Record::Decision(shown) = scene.place.verify(&scene.place.receipt(entry.seq)) else { panic!() };
    assert_eq!(shown.exception, entry.exception);
    let copy = scene.place.copied();
    let (ended, said) = replayed(&copy);
    assert_eq!((ended.code, &said["different"], &said["identical"]), (0, &json!(0), &json!(4)), "{said}");

    // Under a bundle without the exception the same request is refused.
    let plain = scene.place.path("plain");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(&scene.place.config.bundle).arg(&plain).status();
    assert!(copied.unwrap().success());
    let manifest = std::fs::read_to_string(plain.join("bundle.toml")).unwrap();
    let without = manifest.replace(&exception_of(&manifest), "");
    std::fs::write(plain.join("bundle.toml"), without).unwrap();
    let simulated = with(&scene.place.config_path, &["simulate", "--bundle", &text(&plain), "--ledger"]);
    let told = "PERMIT by an exception for fact.stale -> SILENCE fact.stale";
    assert!(simulated.ok().contains(told), "{simulated:?}");
}

/// The text of the one exception in a manifest.
fn exception_of(manifest: &str) -> String {
    let from = manifest.find("[[exceptions]]").unwrap();
    let length = manifest[from..].find("\n[roster").unwrap();
    manifest[from..from + length].to_owned()
}

#[test]
fn facts_that_are_missing_from_the_archive_are_named_with_their_record() {
    let scene = Scene::new(0, "");
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    gate.end();
    drop(daemon);
    crate::replay::sql(&scene.place, "DELETE FROM snapshots");
    let (ended, said) = replayed(&scene.place);
    let what = said["findings"][0]["what"].as_str().unwrap();
    assert!(
        ended.code == 1 && what.contains("of its source `directory` are missing from the archive"),
        "{said}"
    );
}

#[test]
fn facts_that_were_erased_are_not_replayable_and_nothing_is_said_to_differ() {
    let scene = Scene::new(0, "");
    let daemon = Daemon::start(&scene.place);
    let mut gate = scene.gate();
    balance(&mut gate).ran();
    let erase = |more: &[&str]| {
        with(&scene.place.config_path, &[&["payloads", "erase", "--reason", "asked for"], more].concat())
    };
    erase(&["--facts", "payroll"]).failed("nothing is kept of what this source of facts gave");
    erase(&["--facts", "directory", "--subject", "demo-agent"]).failed("cannot be used with");
    erase(&[]).failed("--subject");
    assert!(erase(&["--facts", "directory"]).ok().contains("what source `directory` gave is destroyed"));
    // What it gives now is kept again.
    scene.document(&ago(0), &agents_without_stranger());
    balance(&mut gate).ran();
    gate.end();
    drop(daemon);
    let (ended, said) = replayed(&scene.place);
    assert_eq!((ended.code, &said["different"], &said["findings"]), (0, &json!(0), &json!([])), "{said}");
    assert_eq!(said["not_replayable"], json!({ "facts_erased": 1 }));
    assert_eq!(said["identical"], json!(1));
    let orders = scene
        .place
        .log()
        .records
        .iter()
        .filter(|record| {
            let text = String::from_utf8(record.to_bytes().unwrap()).unwrap();
            text.contains("erase_facts") && text.contains("asked for")
        })
        .count();
    assert_eq!(orders, 1, "the erasure is on record");
}

#[test]
fn a_bundle_whose_source_the_configuration_does_not_know_permits_nothing() {
    let scene = Scene::new(0, "");
    let config = std::fs::read_to_string(&scene.place.config_path).unwrap();
    let other = config.replace("[facts.directory]", "[facts.payroll]");
    std::fs::write(&scene.place.config_path, other).unwrap();
    let _daemon = Daemon::with(&scene.place.config_path);
    let mut gate = scene.gate();
    assert_eq!(balance(&mut gate).code(), "fact.unavailable");
    let (_, status) = scene.status();
    assert_eq!(status["facts"][0]["state"], "unavailable", "{status}");
    assert_eq!(
        (&status["facts"][1]["name"], &status["facts"][1]["state"]),
        (&json!("payroll"), &json!("unused"))
    );
}

#[test]
fn a_report_lists_exceptions_with_those_to_be_looked_at_first() {
    let (due, overdue) = (Scene::new(0, &exception(&ago(-60))), Scene::new(0, &exception(&ago(60))));
    let report = |scene: &Scene, more: &[&str]| {
        with(&scene.place.config_path, &[&["governance", "report"], more].concat())
    };
    let told = report(&due, &[]);
    for line in [
        "exception for demo.read_balance: fact.stale, facts of directory up to 1d old",
        "    owner   zoe (Zoe)",
        "    reason  the directory is moved",
        "facts of directory: Agent, at most 10m old, for every decision",
        "surface demo.charge: high, on silence terminate, idempotency key",
        "    grant   demo-small-charge, asks for nothing more",
    ] {
        assert!(told.ok().lines().any(|found| found == line), "{line}: {told:?}");
    }
    let told = report(&overdue, &[]);
    assert!(told.code == 2 && told.out.contains("OVERDUE exception for demo.read_balance"), "{told:?}");
    let json: Value = serde_json::from_str(&report(&overdue, &["--json"]).out).unwrap();
    assert_eq!(json["exceptions"][0]["review_overdue"], json!(true));
    assert_eq!(json["exceptions"][0]["covers"], json!("fact.stale"));
    let checked = with(&due.place.config_path, &["bundle", "check"]);
    assert!(checked.ok().contains("facts   directory: Agent, at most 10m old"), "{checked:?}");
    assert!(checked.out.contains("exception demo.read_balance: fact.stale until"), "{checked:?}");
    let (old, new) = (text(&due.place.config.bundle), text(&overdue.place.config.bundle));
    let changed = with(&due.place.config_path, &["bundle", "diff", &old, &new]);
    assert!(changed.out.contains("exceptions demo.read_balance fact.stale"), "{changed:?}");
}
