//! Witnesses: the real one as a process, and one that answers what the test says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use portcullis_ledger::{Cosigner, generate_cosigner};
use portcullis_server::Config;
use portcullis_verify::{CosignerKey, CosignerKind, UnverifiedCheckpoint, VerifiedCheckpoint};

use super::arbiter::Notes;
use super::http::{Response, Server, request};
use super::process::{kill, signal};
use super::{Place, program};

/// Writes a private file.
pub(crate) fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// `portcullis witness` as a process. Killed when dropped; starts again with the same state and address.
pub(crate) struct WitnessProcess {
    config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) key: CosignerKey,
    pub(crate) signing: PathBuf,
    pub(crate) address: String,
    child: Option<(Child, Notes)>,
}

impl WitnessProcess {
    /// Sets a witness of the place's log up and starts it.
    pub(crate) fn start(place: &Place, name: &str, kind: CosignerKind) -> Self {
        let folder = place.directory(name);
        let (text, key) = generate_cosigner(&format!("witness.test/{name}"), kind).unwrap();
        private(&folder.join("key"), &text);
        // Its port must be known before and after it ends. Nobody else asks for it in between.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = folder.join("witness.toml");
        let log = &place.config.log_key;
        let text = format!(
            "[witness]\nlisten = \"{address}\"\nstate = \"state\"\nsigning_keys = [\"key\"]\nlogs = [\"{log}\"]\n\
             requests_per_second = 1000\n"
        );
        std::fs::write(&config, text).unwrap();
        let (state, signing) = (folder.join("state"), folder.join("key"));
        let mut witness = Self { config, state, key, signing, address, child: None };
        witness.begins(log.name().as_str()).unwrap();
        witness.again();
        witness
    }

    /// Says that it never saw a log.
    pub(crate) fn begins(&self, origin: &str) -> Result<(), String> {
        let mut command = Command::new(program());
        command.args(["witness", "--begin", origin, "--config"]).arg(&self.config);
        let output = command.output().unwrap();
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8(output.stderr).unwrap())
    }

    /// What it says when it is started and refuses to.
    pub(crate) fn refuses(&self) -> String {
        // One that does not refuse would serve for ever.
        let mut command = Command::new("timeout");
        command.arg("20").arg(program()).args(["witness", "--config"]).arg(&self.config);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts it again.
    pub(crate) fn again(&mut self) {
        self.again_by(Command::new(program()));
    }

    /// Starts it again by a command that runs the program.
    pub(crate) fn again_by(&mut self, mut command: Command) {
        let mut child = command
            .args(["witness", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let notes = Notes::of(&mut child);
        notes.told("listening on http://");
        self.child = Some((child, notes));
    }

    /// Starts it again with these keys of logs, and one that it never saw.
    pub(crate) fn serves_new(&mut self, log: &str) {
        self.configure(&[log.to_owned()]);
        self.begins(log.split('+').next().unwrap()).unwrap();
        self.again();
    }

    /// Starts it again with these keys of logs.
    pub(crate) fn serves(&mut self, logs: &[String]) {
        self.configure(logs);
        self.again();
    }

    fn configure(&mut self, logs: &[String]) {
        self.kill();
        let text = std::fs::read_to_string(&self.config).unwrap();
        let line = text.lines().find(|line| line.starts_with("logs = ")).unwrap();
        let logs: Vec<String> = logs.iter().map(|log| format!("\"{log}\"")).collect();
        let text = text.replace(line, &format!("logs = [{}]", logs.join(", ")));
        std::fs::write(&self.config, text).unwrap();
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, _)) = self.child.take() {
            kill(&mut child);
        }
    }

    /// Stops or continues it.
    pub(crate) fn signal(&self, by: rustix::process::Signal) {
        signal(&self.child.as_ref().unwrap().0, by);
    }

    /// `POST /add-checkpoint`
    pub(crate) fn add(&self, body: &[u8]) -> Response {
        self.try_add(body).unwrap()
    }

    /// `POST /add-checkpoint`, to a process that may die of it.
    pub(crate) fn try_add(&self, body: &[u8]) -> std::io::Result<Response> {
        request(&Server::Tcp(self.address.clone()), "POST", "/add-checkpoint", &[], body)
    }

    /// `GET path`
    pub(crate) fn get(&self, path: &str) -> Response {
        request(&Server::Tcp(self.address.clone()), "GET", path, &[], b"").unwrap()
    }

    /// The sections of a log's configuration that name it, as the only witness.
    pub(crate) fn section(&self, name: &str) -> String {
        format!("\n[witnesses.{name}]\nurl = \"http://{}\"\nkeys = [\"{}\"]\n", self.address, self.key)
    }

    /// The file with what it keeps of the place's log.
    pub(crate) fn file(&self) -> PathBuf {
        let files: Vec<_> =
            std::fs::read_dir(&self.state).unwrap().map(|entry| entry.unwrap().path()).collect();
        let file = files.iter().find(|path| path.extension().is_some_and(|kind| kind == "checkpoint"));
        file.unwrap().clone()
    }

    /// What it keeps of the place's log.
    pub(crate) fn kept(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

type Script = Box<dyn FnMut(&str) -> (u16, String) + Send>;

/// A witness that answers what the test says: `script` gets each body. Ends with the process.
pub(crate) struct Scripted {
    pub(crate) address: String,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) cosigner: Cosigner,
    signing: PathBuf,
}

impl Scripted {
    pub(crate) fn start(place: &Place, name: &str) -> Self {
        let folder = place.directory(name);
        let (text, _) = generate_cosigner(&format!("witness.test/{name}"), CosignerKind::Ed25519).unwrap();
        private(&folder.join("key"), &text);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| (500, String::new()))));
        let said = Arc::clone(&script);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let said = Arc::clone(&said);
                std::thread::spawn(move || {
                    let Some(body) = read_request(&mut stream) else { return };
                    let (status, answer) = (said.lock().unwrap())(&body);
                    let head = format!(
                        "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    drop(stream.write_all(head.as_bytes()));
                });
            }
        });
        let signing = folder.join("key");
        Self { address, script, cosigner: Cosigner::read(&signing).unwrap(), signing }
    }

    pub(crate) fn says(&self, script: impl FnMut(&str) -> (u16, String) + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Cosigns whatever the place's log submits, and answers something else where `instead` says so, of the head's size.
    pub(crate) fn cosigns(
        &self,
        place: &Place,
        mut instead: impl FnMut(u64) -> Option<(u16, String)> + Send + 'static,
    ) {
        let (log, key) = (place.config.log_key.clone(), self.signing.clone());
        self.says(move |body| {
            let note = body.split_once("\n\n").unwrap().1;
            let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
            let head = head.verify(std::slice::from_ref(&log)).unwrap();
            instead(head.size())
                .unwrap_or_else(|| (200, Cosigner::read(&key).unwrap().line(&head, 1_800_000_000).unwrap()))
        });
    }

    pub(crate) fn section(&self, name: &str) -> String {
        format!(
            "\n[witnesses.{name}]\nurl = \"http://{}\"\nkeys = [\"{}\"]\n",
            self.address,
            self.cosigner.key()
        )
    }
}

fn read_request(stream: &mut std::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_ascii_lowercase().split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
        }
    }
}

impl Place {
    /// The demo's deployment, whose charges must be witnessed.
    pub(crate) fn witnessed() -> Self {
        let mut bundle = portcullis_policy::bundles::demo();
        let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
        let (before, after) = manifest.split_once("[surfaces.\"demo.charge\"]\n").unwrap();
        let manifest = format!("{before}[surfaces.\"demo.charge\"]\nwitnessed = true\n{after}");
        bundle.insert("bundle.toml".into(), manifest.into_bytes());
        Self::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
    }

    /// The newest anchored head.
    pub(crate) fn head(&self) -> VerifiedCheckpoint {
        let note = portcullis_ledger::Anchor::read(&self.config.anchor).unwrap().unwrap();
        UnverifiedCheckpoint::parse(&note)
            .unwrap()
            .verify(std::slice::from_ref(&self.config.log_key))
            .unwrap()
    }

    /// Adds sections to the configuration.
    pub(crate) fn add_sections(&mut self, sections: &str) {
        let text = std::fs::read_to_string(&self.config_path).unwrap();
        private(&self.config_path, &format!("{text}\n{sections}"));
        self.config = Config::read(&self.config_path).unwrap().arbiter().unwrap();
    }

    /// Names witnesses in the configuration, of which so many must cosign.
    pub(crate) fn watched_by(&mut self, quorum: usize, sections: &[String]) {
        let witnessing = format!("[witnessing]\nquorum = {quorum}\ninterval_ms = 50\npatience_ms = 1000\n");
        self.add_sections(&[&[witnessing], sections].concat().join("\n"));
    }
}
