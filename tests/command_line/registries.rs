//! Bundles in a registry that is not ours: open, over TLS with a password, with tokens that somebody else gives, and with its
//! blobs elsewhere.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_policy::{Artifact, EMPTY, MANIFEST_TYPE};
use serde_json::{Value, json};

use crate::sources::{answered, certificate, fetch_from, spelled, told};
use crate::support::http::{Server, get, request};
use crate::support::process::kill;
use crate::support::release::release;
use crate::support::{Daemon, Place, text, until};
use crate::{Ended, with};

/// Debian's `docker-registry` on a port of its own. Killed when dropped.
struct Registry {
    child: Child,
    server: Server,
    host: String,
}

impl Registry {
    fn start(place: &Place) -> Self {
        let registry = Self::serve(place, "", "");
        until("a registry", || {
            get(&registry.server, "/v2/").is_ok_and(|answer| answer.status == 200).then_some(())
        });
        registry
    }

    /// Serves what lies in `registry`, with more in its section on HTTP and in its configuration.
    fn serve(place: &Place, http: &str, more: &str) -> Self {
        // The registry takes its port from its configuration, so a free one is looked for first.
        let host = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        };
        let folder = place.path("registry");
        std::fs::create_dir_all(&folder).unwrap();
        let config = place.file(
            "registry.yml",
            &format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: \"{}\" }} }}\n\
                 http: {{ addr: \"{host}\"{http} }}\n{more}",
                text(&folder)
            ),
        );
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).current_dir(place.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry: `cargo xtask test` installs it");
        until("a registry", || TcpStream::connect(&host).ok());
        Self { child, server: Server::url(&host), host }
    }

    fn blob(&self, bytes: &[u8]) {
        let begun = raw(&self.host, "POST", "/v2/team/demo/blobs/uploads/", &[], b"");
        let location =
            begun.lines().find_map(|line| line.strip_prefix("Location: ")).expect("where to put it");
        let path = &location[location.find("/v2/").unwrap()..];
        let path = format!("{path}&digest={}", Artifact::of(bytes).digest);
        let put = raw(&self.host, "PUT", &path, &[("content-type", "application/octet-stream")], bytes);
        assert!(put.starts_with("HTTP/1.1 201"), "{put}");
    }

    /// Pushes a bundle's file under a tag, by the distribution specification. Returns the manifest's digest.
    fn push(&self, tag: &str, file: &[u8]) -> String {
        self.blob(file);
        self.blob(EMPTY);
        self.tag(tag, &Artifact::of(file).to_manifest().unwrap())
    }

    fn tag(&self, tag: &str, manifest: &[u8]) -> String {
        let path = format!("/v2/team/demo/manifests/{tag}");
        let put = request(&self.server, "PUT", &path, &[("content-type", MANIFEST_TYPE)], manifest).unwrap();
        assert_eq!(put.status, 201, "{put:?}");
        Artifact::of(manifest).digest.to_string()
    }

    fn at(&self, reference: &str) -> String {
        format!("oci://{}/team/demo{reference}", self.host)
    }

    /// The same by a name that its certificate has.
    fn by_name(&self, reference: &str) -> String {
        format!("oci://{}/team/demo{reference}", self.host.replace("127.0.0.1", "localhost"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The whole text of an answer, with its head.
fn raw(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_registry_s_bundle_is_verified_pinned_followed_and_activated() {
    let mut place = Place::demo();
    let registry = Registry::start(&place);
    let bytes = |file: String| std::fs::read(file).unwrap();
    let (first, second) = (bytes(release(&place, 1, false)), bytes(release(&place, 2, true)));
    let digest = registry.push("stable", &first);
    let stable = registry.at(":stable");
    for location in [&stable, &registry.at(&format!("@{digest}"))] {
        let said = with(&place.config_path, &["bundle", "verify", location, "--json"]);
        let said: Value = serde_json::from_str(said.ok()).unwrap();
        assert_eq!(said["bundle"]["version"], 1, "{said}");
    }
    fetch_from(&mut place, &stable, "");
    let _daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    told(&place, "same", None);
    // The tag moves; what decides does not.
    registry.push("stable", &second);
    assert_eq!(told(&place, "newer", None)["bundle"]["version"], 2);
    assert_eq!(answered(&place, "b"), "PERMIT");
    with(&place.config_path, &["bundle", "activate", &stable, "--reason", "a test"]).ok();
    assert_eq!(answered(&place, "c"), "policy.forbidden");
    told(&place, "same", None);
    // What is pushed there is as untrusted as what lies anywhere.
    registry.push("stable", &first);
    told(&place, "refused", Some("policy.rolled_back"));
    let mut archive: Value = serde_json::from_slice(&second).unwrap();
    archive["files"].as_object_mut().unwrap().remove("bundle.sig");
    registry.push("stable", &spelled(&archive));
    told(&place, "refused", Some("policy.unsigned"));
    let other = Artifact::of(EMPTY);
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": other.digest, "size": other.size },
        "layers": [],
    });
    registry.tag("stable", image.to_string().as_bytes());
    told(&place, "failed", Some("source.manifest"));
    let said = |reference: &str| -> Ended {
        with(&place.config_path, &["bundle", "activate", &registry.at(reference), "--reason", "a test"])
    };
    said(":stable").failed("source.manifest");
    said(":none").failed("source.not_found");
    said(&format!("@sha256:{}", "0".repeat(64))).failed("source.not_found");
    said("").failed("`:TAG` or `@sha256:DIGEST`");
    assert_eq!(answered(&place, "d"), "policy.forbidden");
}

/// `bundles` with the password `sesame` (bcrypt, made by libxcrypt).
const PASSWORDS: &str = "bundles:$2y$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n";

/// A registry's bundle in `registry`, pushed while nobody asked who pushes.
fn pushed(place: &Place) {
    let bytes = std::fs::read(release(place, 1, false)).unwrap();
    Registry::start(place).push("stable", &bytes);
}

/// A file with a credential in it.
fn credential(place: &Place, name: &str, content: &str) -> String {
    let file = place.file(name, content);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    text(&file)
}

fn verify(place: &Place, location: &str, more: &[&str]) -> Ended {
    with(&place.config_path, &[&["bundle", "verify", location][..], more].concat())
}

#[test]
fn a_registry_over_tls_gives_a_bundle_to_whom_it_knows_and_is_believed_by_its_certificate() {
    let mut place = Place::demo();
    pushed(&place);
    certificate(&place);
    place.file("htpasswd", PASSWORDS);
    let tls = ", tls: { certificate: server.pem, key: server.key }";
    let registry = Registry::serve(&place, tls, "auth: { htpasswd: { realm: bundles, path: htpasswd } }\n");
    let (location, ca) = (registry.by_name(":stable"), text(&place.path("ca.pem")));
    let ca = ["--source-ca", ca.as_str()];
    let stranger = Place::demo();
    certificate(&stranger);
    verify(&place, &location, &["--source-ca", &text(&stranger.path("ca.pem"))]).failed("source.unreachable");
    // In plain, and under the name of its address, which its certificate has not.
    verify(&place, &registry.at(":stable"), &[]).failed("source.");
    verify(&place, &location, &ca).failed("source.unauthorized");
    let by = |content: &str| {
        let file = credential(&place, "registry.token", content);
        verify(&place, &location, &[&ca[..], &["--source-token-file", &file]].concat())
    };
    by("bundles:simsalabim").failed("source.unauthorized");
    by("sesame").failed("source.unauthorized");
    by("bundles:sesame\n").ok();
    fetch_from(&mut place, &location, "ca = \"ca.pem\"\ntoken_file = \"registry.token\"\n");
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    told(&place, "same", None);
    credential(&place, "registry.token", "bundles:simsalabim");
    drop(daemon);
    // It is kept, and decides whether or not its source knows whoever asks.
    let daemon = Daemon::start(&place);
    told(&place, "failed", Some("source.unauthorized"));
    assert_eq!(answered(&place, "b"), "PERMIT");
    assert!(!daemon.notes.text().contains("simsalabim"));
}

/// What gives tokens for a registry: a key, and what is signed with it, by the distribution project's specification.
struct Tokens {
    folder: PathBuf,
}

impl Tokens {
    /// `NAME.key` and `NAME.pem`.
    fn new(place: &Place, name: &str) -> Self {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tokens"])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
            .current_dir(place.folder())
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{made:?}");
        Self { folder: place.path(name) }
    }

    fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let made = Command::new("openssl").args(arguments).output().expect("openssl");
        assert!(made.status.success(), "{arguments:?}: {made:?}");
        made.stdout
    }

    /// A token that lets one pull a repository, until so many seconds from now.
    fn pulling(&self, repository: &str, seconds: i64) -> String {
        let (key, pem) = (self.folder.with_extension("key"), self.folder.with_extension("pem"));
        let certificate = self.openssl(&["x509", "-in", &text(&pem), "-outform", "DER"]);
        let now = chrono::Utc::now().timestamp();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(certificate)] });
        let claims = json!({
            "iss": "tokens.example", "sub": "bundles", "aud": "bundles.example", "jti": "1",
            "iat": now - 7200, "nbf": now - 7200, "exp": now + seconds,
            "access": [{ "type": "repository", "name": repository, "actions": ["pull"] }],
        });
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let file = self.folder.with_extension("signed");
        std::fs::write(&file, &signed).unwrap();
        let signature = self.openssl(&["dgst", "-sha256", "-sign", &text(&key), &text(&file)]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Who gives tokens is said by the registry, and so by whoever answers for it. Nobody is asked: the token is what is in the file.
#[test]
fn a_registry_that_wants_a_token_gives_a_bundle_for_one_and_who_gives_tokens_is_never_asked() {
    let place = Place::demo();
    pushed(&place);
    let (tokens, others) = (Tokens::new(&place, "tokens"), Tokens::new(&place, "others"));
    let realm = TcpListener::bind("127.0.0.1:0").unwrap();
    realm.set_nonblocking(true).unwrap();
    let auth = format!(
        "auth: {{ token: {{ realm: \"http://{}/token\", service: bundles.example, issuer: tokens.example, \
         rootcertbundle: tokens.pem }} }}\n",
        realm.local_addr().unwrap()
    );
    let registry = Registry::serve(&place, "", &auth);
    let location = registry.at(":stable");
    let challenge = raw(&registry.host, "GET", "/v2/team/demo/manifests/stable", &[], b"").to_lowercase();
    assert!(challenge.contains("www-authenticate: bearer realm=\"http://"), "{challenge}");
    verify(&place, &location, &[]).failed("source.unauthorized");
    let by = |token: &str| {
        let file = credential(&place, "registry.token", token);
        verify(&place, &location, &["--source-token-file", &file])
    };
    for (refused, why) in [
        (tokens.pulling("team/other", 600), "of another repository"),
        (tokens.pulling("team/demo", -3600), "over"),
        (others.pulling("team/demo", 600), "of somebody else"),
        ("bundles:sesame".to_owned(), "none"),
    ] {
        let said = by(&refused);
        assert!(said.err.contains("source.unauthorized"), "{why}: {said:?}");
        assert!(!said.err.contains(&refused), "{why}: {said:?}");
    }
    by(&tokens.pulling("team/demo", 600)).ok();
    let asked = realm.accept();
    assert!(asked.is_err(), "{asked:?}");
}

#[test]
fn a_registry_that_has_its_blobs_elsewhere_gives_nothing_and_its_token_goes_nowhere() {
    let place = Place::demo();
    pushed(&place);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let redirect = format!(
        "middleware: {{ storage: [ {{ name: redirect, options: {{ baseurl: \"http://{}/\" }} }} ] }}\n",
        elsewhere.local_addr().unwrap()
    );
    let registry = Registry::serve(&place, "", &redirect);
    let file = credential(&place, "registry.token", "s3cret");
    verify(&place, &registry.at(":stable"), &["--source-token-file", &file]).failed("source.redirect");
    let asked = elsewhere.accept();
    assert!(asked.is_err(), "{asked:?}");
}
