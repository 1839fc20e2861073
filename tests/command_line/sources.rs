//! Bundles that are fetched over TLS from a web server that is not ours. What comes is believed for its signatures and its digest, and comes into force by a pin or an order alone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_policy::Snapshot;
use serde_json::Value;

use crate::bundles::decided;
use crate::support::http::{Server, get};
use crate::support::process::kill;
use crate::support::release::{copy, release, signed_release};
use crate::support::{Daemon, Place, text, until};
use crate::{run, with};

/// A server of bundles over TLS. Killed when dropped.
struct Source {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Source {
    /// Serves `folder/files`, with a certificate of its own authority `folder/ca.pem`.
    fn start(place: &Place) -> Self {
        let folder = place.directory("files");
        std::fs::write(folder.join("mode"), "ok").unwrap();
        certificate(place);
        let (child, port) = Self::serve(place, &folder);
        Self { child, folder, port }
    }

    fn serve(place: &Place, folder: &Path) -> (Child, u16) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/command_line/source.py");
        let mut command = Command::new("python3");
        command.arg(script).args([place.path("server.pem"), place.path("server.key")]).arg(folder);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line.trim().parse().expect("a port"))
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/demo.bundle", self.port)
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.folder.join("mode"), mode).unwrap();
    }

    /// Serves these bytes from now on.
    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.folder.join("new"), bytes).unwrap();
        std::fs::rename(self.folder.join("new"), self.folder.join("demo.bundle")).unwrap();
    }

    fn put_file(&self, file: &str) {
        self.put(&std::fs::read(file).unwrap());
    }

    /// What it was asked, and what it answered.
    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A certificate for `localhost` of an authority of its own, `ca.pem`, made by OpenSSL.
pub(crate) fn certificate(place: &Place) {
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(place.folder()).output();
        let made = made.expect("openssl");
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=bundles-ca -keyout ca.key -out ca.pem"));
    openssl(&format!("req -new {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    place.file("server.ext", "subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n");
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.pem",
    );
}

/// Has the configuration fetch its bundle from somewhere, and look there each second.
pub(crate) fn fetch_from(place: &mut Place, location: &str, more: &str) {
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let fetched = format!("bundle = \"{location}\"\npoll_seconds = 1\n{more}");
    let changed = config.replace("bundle = \"bundle\"\n", &fetched);
    assert_ne!(config, changed);
    std::fs::write(&place.config_path, changed).unwrap();
}

pub(crate) fn answered(place: &Place, key: &str) -> String {
    let said = decided(place, key);
    said["reason"]["code"].as_str().or(said["decision"].as_str()).unwrap().to_owned()
}

fn health(place: &Place) -> Value {
    get(&Server::socket(&place.socket()), "/readyz").unwrap().json()
}

/// Waits until the daemon says this of its source.
pub(crate) fn told(place: &Place, state: &str, code: Option<&str>) -> Value {
    until(&format!("source {state} {code:?}"), || {
        let source = health(place)["source"].clone();
        (source["state"] == state && source["code"].as_str() == code).then_some(source)
    })
}

/// A bundle's file in the one form that is read.
pub(crate) fn spelled(file: &Value) -> Vec<u8> {
    portcullis_protocol::canonical::to_bytes(file).unwrap()
}

#[test]
fn a_pinned_bundle_is_fetched_kept_and_decides_whether_or_not_its_source_answers() {
    let mut place = Place::demo();
    let first = release(&place, 1, false);
    let source = Source::start(&place);
    source.put_file(&first);
    fetch_from(&mut place, &source.url(), "ca = \"ca.pem\"\n");
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    assert_eq!(told(&place, "same", None)["bundle"]["version"], 1);
    until("a question by ETag", || source.log().iter().any(|line| line.ends_with(" 304")).then_some(()));
    // The source is gone: the pinned bundle is what it is, over restarts too.
    let (folder, url) = (source.folder.clone(), source.url());
    drop(source);
    told(&place, "failed", Some("source.unreachable"));
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "b"), "PERMIT");
    let kept = std::fs::read_dir(place.config.data.join("bundles")).unwrap();
    let mut kept =
        kept.map(|file| file.unwrap().path()).filter(|file| file.extension().is_some_and(|e| e == "bundle"));
    let kept = kept.next().unwrap();
    // What is kept is as untrusted as any file.
    let good = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, b"PK\x03\x04").unwrap();
    assert_eq!(answered(&place, "c"), "policy.corrupt");
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(answered(&place, "d"), "policy.missing");
    drop(daemon);
    // It is back, somewhere else, and serves another bundle at first: that is no substitute.
    let (child, port) = Source::serve(&place, &folder);
    let source = Source { child, folder, port };
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    std::fs::write(&place.config_path, config.replace(&url, &source.url())).unwrap();
    source.put_file(&release(&place, 2, true));
    let _daemon = Daemon::with(&place.config_path);
    told(&place, "refused", Some("policy.pin_mismatch"));
    assert_eq!(answered(&place, "e"), "policy.missing");
    source.put_file(&first);
    until("the pinned bundle", || (answered(&place, "f") == "PERMIT").then_some(()));
    assert_eq!(std::fs::read(&kept).unwrap(), good);
}

/// The source had nothing new to say of it, so that it was never fetched again.
#[test]
fn a_kept_bundle_that_was_spoiled_was_never_fetched_again() {
    let mut place = Place::demo();
    let source = Source::start(&place);
    source.put_file(&release(&place, 1, false));
    fetch_from(&mut place, &source.url(), "ca = \"ca.pem\"\n");
    let _daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    until("a question by ETag", || source.log().iter().any(|line| line.ends_with(" 304")).then_some(()));
    let kept = std::fs::read_dir(place.config.data.join("bundles")).unwrap();
    let mut kept =
        kept.map(|file| file.unwrap().path()).filter(|file| file.extension().is_some_and(|e| e == "bundle"));
    let kept = kept.next().unwrap();
    let good = std::fs::read(&kept).unwrap();
    let mut unsigned: Value = serde_json::from_slice(&good).unwrap();
    unsigned["files"].as_object_mut().unwrap().remove("bundle.sig");
    for (what, spoiled) in [("garbage", b"PK\x03\x04".to_vec()), ("no signature", spelled(&unsigned))] {
        std::fs::write(&kept, spoiled).unwrap();
        until(&format!("the pinned bundle instead of {what}"), || {
            std::fs::read(&kept).is_ok_and(|bytes| bytes == good).then_some(())
        });
        assert_eq!(answered(&place, what), "PERMIT");
    }
    let asked = source.log().len();
    // Then it is only asked again what is new.
    until("a question by ETag", || {
        source.log().iter().skip(asked).any(|line| line.ends_with(" 304")).then_some(())
    });
}

#[test]
fn what_else_lies_at_a_source_is_told_and_never_comes_into_force_by_itself() {
    let mut place = Place::demo();
    let first = release(&place, 1, false);
    let source = Source::start(&place);
    source.put_file(&first);
    fetch_from(&mut place, &source.url(), "ca = \"ca.pem\"\n");
    let daemon = Daemon::start(&place);
    let second = release(&place, 2, true);
    source.put_file(&second);
    assert_eq!(told(&place, "newer", None)["bundle"]["version"], 2);
    let metrics = get(&Server::socket(&place.socket()), "/metrics").unwrap().body;
    assert!(metrics.contains("portcullis_source_newer_version 2\n"), "{metrics}");
    let status = with(&place.config_path, &["status"]);
    assert!(status.ok().contains("newer demo version 2"), "{status:?}");
    assert_eq!(answered(&place, "a"), "PERMIT", "the new one would forbid it");
    // A source that fails is asked again, and again later.
    source.mode("500");
    let failed = told(&place, "failed", Some("source.status"));
    until("more failures", || {
        (health(&place)["source"]["failures"].as_u64() > failed["failures"].as_u64()).then_some(())
    });
    source.mode("302");
    told(&place, "failed", Some("source.redirect"));
    source.mode("ok");
    told(&place, "newer", None);
    // An operator activates what lies there.
    let url = source.url();
    let activate = || with(&place.config_path, &["bundle", "activate", &url, "--reason", "a test"]);
    assert!(with(&place.config_path, &["bundle", "diff", &first, &url]).ok().contains("version changed"));
    activate().ok();
    assert_eq!(answered(&place, "b"), "policy.forbidden");
    told(&place, "same", None);
    let other = text(&place.path("other.key"));
    run(&["keys", "generate", &other, "--name", "other.example"]).ok();
    let elsewhere = copy(&place, 3, false);
    let manifest = elsewhere.join("bundle.toml");
    let renamed =
        std::fs::read_to_string(&manifest).unwrap().replace("name = \"demo\"", "name = \"staging\"");
    std::fs::write(&manifest, renamed).unwrap();
    run(&["bundle", "sign", &text(&elsewhere), "--key", &text(&place.path("keys/bundle.key"))]).ok();
    let elsewhere = Snapshot::read(&elsewhere).unwrap().to_bytes().unwrap();
    let third = std::fs::read_to_string(release(&place, 4, false)).unwrap();
    let mut files: Value = serde_json::from_str(&third).unwrap();
    let stripped = {
        let mut it = files.clone();
        it["files"].as_object_mut().unwrap().remove("bundle.sig");
        it
    };
    let swapped = {
        let mut it = files.clone();
        it["files"]["entities.json"] = STANDARD.encode("[]").into();
        it
    };
    let mixed = {
        let mut it = files.clone();
        let old: Value = serde_json::from_slice(&std::fs::read(&second).unwrap()).unwrap();
        it["files"]["bundle.sig"] = old["files"]["bundle.sig"].clone();
        it
    };
    files["files"]["../../../etc/cron.d/x"] = "".into();
    let twice = third.replacen("\"bundle.toml\":", "\"bundle.toml\":\"\",\"bundle.toml\":", 1);
    let strangers = std::fs::read(signed_release(&place, 5, false, &other, "strangers.bundle")).unwrap();
    for (what, bytes, code) in [
        ("an older one", std::fs::read(&first).unwrap(), "policy.rolled_back"),
        ("one for another place", elsewhere, "policy.pin_mismatch"),
        ("a stranger's", strangers, "policy.untrusted_key"),
        ("a stripped one", spelled(&stripped), "policy.unsigned"),
        ("a swapped file", spelled(&swapped), "policy.signature_invalid"),
        ("another's signature", spelled(&mixed), "policy.signature_invalid"),
        ("a way out", spelled(&files), "policy.corrupt"),
        ("a name twice", twice.into_bytes(), "policy.corrupt"),
        ("half of it", third.as_bytes()[..third.len() / 2].to_vec(), "policy.corrupt"),
        ("a zip", b"PK\x03\x04".to_vec(), "policy.corrupt"),
        ("a tar", [b"bundle.toml".as_slice(), &[0; 501]].concat(), "policy.corrupt"),
        ("a bomb", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "policy.corrupt"),
    ] {
        source.put(&bytes);
        let asked = source.log().len();
        // One question may have been under way; the next one is about these bytes.
        until("a question about it", || (source.log().len() > asked + 1).then_some(()));
        told(&place, "refused", Some(code));
        let said = activate();
        said.failed(&format!("{code}: "));
        assert_eq!(code == "policy.rolled_back", said.err.contains("higher"), "{what}: {said:?}");
        let said = with(&place.config_path, &["bundle", "verify", &url, "--json"]);
        let said: Value = serde_json::from_str(&said.out).unwrap();
        let signed = code == "policy.rolled_back" || code == "policy.pin_mismatch";
        assert_eq!(said["reason"].as_str(), (!signed).then_some(code), "{what}: {said}");
        assert_eq!(answered(&place, what), "policy.forbidden", "{what}");
    }
    assert!(!Path::new("/etc/cron.d/x").exists());
    source.put_file(&release(&place, 6, false));
    told(&place, "newer", None);
    assert!(health(&place)["source"].get("error").is_none());
    drop(daemon);
}

#[test]
fn a_credential_goes_to_the_host_of_the_configuration_s_bundle_alone_and_no_stranger_s_certificate_is_believed()
 {
    let mut place = Place::demo();
    let first = release(&place, 1, false);
    let source = Source::start(&place);
    source.put_file(&first);
    let url = source.url();
    let verify = |place: &Place, url: &str, more: &[&str]| {
        with(&place.config_path, &[&["bundle", "verify", url][..], more].concat())
    };
    verify(&place, &url, &[]).failed("--source-ca");
    let stranger = Place::demo();
    certificate(&stranger);
    verify(&place, &url, &["--source-ca", &text(&stranger.path("ca.pem"))]).failed("source.unreachable");
    verify(&place, &url, &["--source-ca", &text(&place.path("ca.pem"))]).ok();
    fetch_from(&mut place, &url, "ca = \"ca.pem\"\ntoken_file = \"source.token\"\n");
    with(&place.config_path, &["bundle", "pin"]).failed("source.token");
    let token = place.file("source.token", "s3cret-of-the-source\n");
    with(&place.config_path, &["bundle", "pin"]).failed("chmod 600");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    with(&place.config_path, &["bundle", "pin"]).ok();
    let asked = |source: &Source| source.log().last().unwrap().clone();
    assert!(asked(&source).contains("Bearer s3cret-of-the-source"), "{:?}", source.log());
    verify(&place, &url, &[]).ok();
    assert!(asked(&source).contains("Bearer s3cret-of-the-source"), "{:?}", source.log());
    // The same machine under another port is another host.
    let (child, port) = Source::serve(&place, &source.folder);
    let other = Source { child, folder: source.folder.clone(), port };
    verify(&place, &other.url(), &[]).ok();
    assert!(asked(&other).contains(" None 200"), "{:?}", other.log());
    // Pinned and kept, it decides before the source was ever asked by a daemon.
    source.mode("500");
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    assert!(!daemon.notes.text().contains("s3cret"));
    // What nobody signed is not pinned.
    source.mode("ok");
    source.put(&Snapshot::read(&copy(&place, 9, false)).unwrap().to_bytes().unwrap());
    with(&place.config_path, &["bundle", "pin"]).failed("policy.unsigned");
}
