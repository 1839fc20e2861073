//! The log's key in a token of SoftHSM, made by `softhsm2-util` and `pkcs11-tool`, and what becomes of it while
//! everything runs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_verify::VerifierKey;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

use crate::interlocks::Scene;

use crate::support::http::{Server, get};
use crate::support::{Daemon, Place, program, pull, text, until};

const DEADLINE: u64 = 1_900;
pub(crate) const GATE_DEADLINE: u64 = 6_000;

/// Where Debian and others put SoftHSM's module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

fn module() -> &'static str {
    let found = MODULES.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("SoftHSM's module is in none of {MODULES:?}: run `cargo xtask test`"))
}

/// SoftHSM's tokens below a folder of the test's own.
pub(crate) struct Hsm {
    pub(crate) folder: PathBuf,
    conf: PathBuf,
}

impl Hsm {
    pub(crate) fn new(place: &Place) -> Self {
        let folder = place.directory("tokens");
        let conf = place
            .file("softhsm2.conf", &format!("directories.tokendir = {}\nlog.level = ERROR\n", text(&folder)));
        let hsm = Self { folder, conf };
        hsm.run(
            "softhsm2-util",
            &["--init-token", "--free", "--label", "vault", "--pin", "4711", "--so-pin", "0815"],
        );
        hsm
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program);
        let output = command.args(arguments).env("SOFTHSM2_CONF", &self.conf).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn tool(&self, arguments: &[&str]) -> Vec<u8> {
        let token = ["--module", module(), "--token-label", "vault", "--login", "--pin", "4711"];
        self.run("pkcs11-tool", &[&token, arguments].concat())
    }

    /// Makes a key pair in the token.
    pub(crate) fn generate(&self, label: &str, name: &str) -> VerifierKey {
        let said = self.tool(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", label]);
        let said = String::from_utf8(said).unwrap();
        let point = said.lines().find_map(|line| line.trim().strip_prefix("EC_POINT:")).unwrap().trim();
        let point = point.strip_prefix("0420").expect("a DER octet string of 32 bytes");
        let key = self.run(&text(&program()), &["keys", "show", "--public", point, "--name", name]);
        String::from_utf8(key).unwrap().trim().parse().unwrap()
    }

    /// A deployment's section of a signer by the key `log` in the token, which its programs find from now on.
    pub(crate) fn section(&self, place: &mut Place) -> String {
        let pin = place.file("keys/pin", "4711\n");
        std::fs::set_permissions(pin, std::fs::Permissions::from_mode(0o600)).unwrap();
        place.environment.push(("SOFTHSM2_CONF".into(), text(&self.conf)));
        format!(
            "kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"vault\"\nkey = \"log\"\npin_file = \"keys/pin\"\n\
             deadline_ms = {DEADLINE}\n",
            module()
        )
    }

    /// The files of the objects in the token.
    fn objects(&self) -> Vec<PathBuf> {
        let token = std::fs::read_dir(&self.folder).unwrap().next().unwrap().unwrap().path();
        let files = std::fs::read_dir(token).unwrap().map(|entry| entry.unwrap().path());
        let mut objects: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|kind| kind == "object"))
            .filter(|path| path.file_name().is_some_and(|name| name != "token.object"))
            .collect();
        objects.sort();
        objects
    }
}

fn deployment(key: impl FnOnce(&Hsm, &str) -> VerifierKey) -> (Place, Hsm) {
    let mut place = Place::files();
    let hsm = Hsm::new(&place);
    let name = place.config.log_key.name().as_str().to_owned();
    let key = key(&hsm, &name);
    let section = hsm.section(&mut place);
    place.signed_by(&key, &section);
    (place, hsm)
}

fn scene() -> (Scene, Hsm) {
    let (place, hsm) = deployment(|hsm, name| hsm.generate("log", name));
    (Scene::on(place, GATE_DEADLINE, |place, _| place.socket_url()), hsm)
}

#[test]
fn a_log_signed_in_a_token_verifies() {
    let (mut scene, _hsm) = scene();
    for _ in 0..5 {
        scene.runs();
    }
    scene.verifies();
}

#[test]
fn without_the_token_nothing_is_permitted() {
    let (mut scene, hsm) = scene();
    for _ in 0..2 {
        let away = pull(&hsm.folder);
        scene.is_silent("signer.unavailable");
        scene.is_silent("signer.unavailable");
        away.back();
        scene.recovers();
    }
    scene.ends();
}

#[test]
fn a_token_that_hangs_permits_nothing() {
    let (mut scene, hsm) = scene();
    // Whoever opens a FIFO that nobody writes to waits for ever: the module, in the middle of a call.
    let objects = hsm.objects();
    assert_eq!(objects.len(), 2, "{objects:?}");
    for object in &objects {
        let aside = object.with_extension("aside");
        let made = Command::new("mkfifo").arg(&aside).status().unwrap();
        assert!(made.success());
        // At once: an object that is missing for a moment is another fault, and may be noticed.
        renameat_with(CWD, &aside, CWD, object, RenameFlags::EXCHANGE).unwrap();
    }
    scene.is_silent("signer.timeout");
    scene.is_silent("signer.timeout");
    for object in &objects {
        // Held open for writing until the object is in its place again, so that the module goes on.
        let writer = File::options().read(true).write(true).open(object).unwrap();
        std::fs::rename(object.with_extension("aside"), object).unwrap();
        drop(writer);
    }
    scene.recovers();
    scene.ends();
}

#[test]
fn a_token_with_another_key_permits_nothing() {
    let (place, _hsm) = deployment(|hsm, name| {
        hsm.generate("log", name);
        hsm.generate("other", name)
    });
    refuses(&place, "signer.wrong_key");
    // The token does not say which key it is: the signature does.
    let (place, hsm) = deployment(|hsm, name| {
        hsm.generate("log", name);
        hsm.generate("other", name)
    });
    hsm.tool(&["--delete-object", "--type", "pubkey", "--label", "log"]);
    refuses(&place, "signer.failed");
}

#[test]
fn with_a_wrong_pin_nothing_is_permitted_until_it_is_changed() {
    let (place, _hsm) = deployment(|hsm, name| hsm.generate("log", name));
    let pin = place.path("keys/pin");
    std::fs::write(&pin, "1234\n").unwrap();
    let daemon = Daemon::within(&place.config_path, &place.environment);
    tripped(&place, "signer.unavailable");
    std::fs::write(&pin, "4711\n").unwrap();
    place.ready();
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o640)).unwrap();
    daemon.end(Signal::TERM);
    let daemon = Daemon::within(&place.config_path, &place.environment);
    tripped(&place, "signer.unavailable");
    daemon.end(Signal::TERM);
}

fn refuses(place: &Place, code: &str) {
    let daemon = Daemon::within(&place.config_path, &place.environment);
    tripped(place, code);
    assert!(!place.is_ready());
    daemon.end(Signal::TERM);
}

/// Waits until the evidence interlock is tripped under this code.
fn tripped(place: &Place, code: &str) {
    until(code, || {
        let body = get(&Server::socket(&place.socket()), "/readyz").ok()?.body;
        body.contains(code).then_some(())
    });
}
