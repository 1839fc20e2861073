//! Signers that are slow, dead, garbled or of another key, each under a gate and a daemon that are never restarted.
//!
//! The key is OpenSSL's and so is every signature: a program of `openssl pkeyutl`, or a Python service that calls
//! it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portcullis_protocol::Event;
use portcullis_verify::VerifierKey;

use crate::interlocks::Scene;
use crate::support::{Place, openssl_signer, pull, text, until};

/// The signer's deadline, in milliseconds; the gates wait long enough for two of them.
pub(crate) const DEADLINE: u64 = 1_900;
const GATE_DEADLINE: u64 = 6_000;

/// What the signers of these tests do, by the word in their file `mode`. `sign` is right.
pub(crate) const MODES: &str = r#"
case $(cat "$folder/mode") in
    sign) sign log ;;
    slow) sleep 1; sign log ;;
    wrong-key) sign other ;;
    another-text) echo more >> "$work/text"; sign log ;;
    late) sleep 3; sign log ;;
    hang) sleep 600 ;;
    garbage) head -c 200 /dev/urandom ;;
    partial) sign log | head -c 60 ;;
    flood) yes ;;
    dead) exit 1 ;;
esac
"#;

/// A deployment whose log's key is OpenSSL's, and the folder of its signer.
fn deployment() -> (Place, PathBuf, VerifierKey) {
    let place = Place::files();
    let (folder, key) = openssl_signer(&place, MODES);
    set(&folder, "sign");
    (place, folder, key)
}

pub(crate) fn set(folder: &Path, mode: &str) {
    std::fs::write(folder.join("new"), mode).unwrap();
    std::fs::rename(folder.join("new"), folder.join("mode")).unwrap();
}

/// Under a signer in this mode nothing runs, for the call that meets it first and for the next; then it signs again.
pub(crate) fn under(scene: &mut Scene, folder: &Path, mode: &str, code: &str) {
    set(folder, mode);
    scene.is_silent(code);
    scene.is_silent(code);
    set(folder, "sign");
    scene.recovers();
}

/// Ends everything and verifies the log: the ledger was opened again once for each fault that it met in a signature, and
/// what was recorded under one, at most the call that met it first, was withheld.
fn verifies(scene: Scene, recoveries: usize) {
    let log = scene.place.log();
    assert_eq!(log.events().iter().filter(|event| **event == Event::Recovered).count(), recoveries);
    assert!(scene.ends() <= recoveries);
}

fn by_command() -> (Scene, PathBuf) {
    let (mut place, folder, key) = deployment();
    let program = text(&folder.join("sign"));
    let section = format!("kind = \"command\"\ncommand = [\"{program}\"]\ndeadline_ms = {DEADLINE}\n");
    place.signed_by(&key, &section);
    (Scene::on(place, GATE_DEADLINE, |place, _| place.socket_url()), folder)
}

#[test]
fn a_program_that_is_slow_or_hangs_permits_nothing() {
    let (mut scene, folder) = by_command();
    under(&mut scene, &folder, "late", "signer.timeout");
    under(&mut scene, &folder, "hang", "signer.timeout");
    verifies(scene, 2);
}

#[test]
fn a_program_that_answers_garbage_permits_nothing() {
    let (mut scene, folder) = by_command();
    for mode in ["garbage", "partial", "flood", "dead", "another-text"] {
        under(&mut scene, &folder, mode, "signer.failed");
    }
    verifies(scene, 5);
}

#[test]
fn a_program_with_another_key_permits_nothing() {
    let (mut scene, folder) = by_command();
    under(&mut scene, &folder, "wrong-key", "signer.wrong_key");
    verifies(scene, 1);
}

#[test]
fn without_the_signers_program_nothing_is_permitted() {
    let (mut scene, folder) = by_command();
    let away = pull(&folder.join("sign"));
    scene.is_silent("signer.unavailable");
    scene.is_silent("signer.unavailable");
    away.back();
    scene.recovers();
    // The call that met it first may have been recorded before its head could not be signed.
    assert!(scene.ends() <= 1);
}

/// A service in Python that answers a POST with what the program says.
const SERVICE: &str = r#"
import http.server, socketserver, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = self.rfile.read(int(self.headers["content-length"]))
        allowed = self.headers.get("authorization") == "Bearer sesame" and self.path == "/sign"
        done = subprocess.run([sys.argv[1]], input=text, stdout=subprocess.PIPE)
        self.send_response(200 if allowed and done.returncode == 0 else 500)
        self.send_header("content-length", str(len(done.stdout)))
        self.end_headers()
        self.wfile.write(done.stdout)

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

server = Server(("127.0.0.1", int(sys.argv[3])), Handler)
with open(sys.argv[2], "w") as port:
    port.write(str(server.server_address[1]) + "\n")
server.serve_forever()
"#;

struct Service(Child);

impl Service {
    /// Starts it on a port; on any that is free, if that is 0. Returns the port.
    fn start(folder: &Path, port: u16) -> (Self, u16) {
        let noted = folder.join("port");
        drop(std::fs::remove_file(&noted));
        let mut command = Command::new("python3");
        command.args(["-c", SERVICE]).arg(folder.join("sign")).arg(&noted).arg(port.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let service = Self(child);
        let port = until("the service's port", || {
            let text = std::fs::read_to_string(&noted).ok()?;
            text.strip_suffix('\n').map(|port| port.parse().unwrap())
        });
        (service, port)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn by_service() -> (Scene, PathBuf, Service, u16) {
    let (mut place, folder, key) = deployment();
    let (service, port) = Service::start(&folder, 0);
    let token = place.file("keys/signer.token", "sesame\n");
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let section = format!(
        "kind = \"http\"\nendpoint = \"http://127.0.0.1:{port}\"\ntoken_file = \"keys/signer.token\"\ndeadline_ms = {DEADLINE}\n"
    );
    place.signed_by(&key, &section);
    (Scene::on(place, GATE_DEADLINE, |place, _| place.socket_url()), folder, service, port)
}

#[test]
fn a_service_that_is_slow_or_hangs_permits_nothing() {
    let (mut scene, folder, service, _) = by_service();
    under(&mut scene, &folder, "late", "signer.timeout");
    under(&mut scene, &folder, "hang", "signer.timeout");
    crate::support::signal(&service.0, rustix::process::Signal::STOP);
    scene.is_silent("signer.timeout");
    scene.is_silent("signer.timeout");
    crate::support::signal(&service.0, rustix::process::Signal::CONT);
    scene.recovers();
    verifies(scene, 3);
}

#[test]
fn a_service_that_answers_garbage_permits_nothing() {
    let (mut scene, folder, _service, _) = by_service();
    for mode in ["garbage", "partial", "dead", "another-text"] {
        under(&mut scene, &folder, mode, "signer.failed");
    }
    under(&mut scene, &folder, "wrong-key", "signer.wrong_key");
    verifies(scene, 5);
}

#[test]
fn without_the_service_nothing_is_permitted() {
    let (mut scene, folder, service, port) = by_service();
    drop(service);
    scene.is_silent("signer.unavailable");
    scene.is_silent("signer.unavailable");
    let (_service, _) = Service::start(&folder, port);
    scene.recovers();
    // The call that met it first may have been recorded before its head could not be signed.
    assert!(scene.ends() <= 1);
}
