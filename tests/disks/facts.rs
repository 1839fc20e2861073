//! A file of facts on a file system that does not answer any more.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};
use portcullis_policy::bundles;
use portcullis_protocol::Outcome;
use serde_json::{Value, json};

use crate::support::http::{get, post};
use crate::support::{Daemon, Gate, PATIENCE, Place, demo_server, spent, text, until};

const FILE: u64 = 2;

/// The file's side that the kernel speaks to.
struct Served(Arc<State>);

struct State {
    document: Vec<u8>,
    hangs: Mutex<bool>,
    goes_on: Condvar,
    /// How many looks are waiting.
    waiting: Mutex<usize>,
}

impl Served {
    /// Waits as long as the file system does not answer.
    fn answers(&self) {
        *self.0.waiting.lock().unwrap() += 1;
        let hangs = self.0.hangs.lock().unwrap();
        drop(self.0.goes_on.wait_while(hangs, |hangs| *hangs).unwrap());
        *self.0.waiting.lock().unwrap() -= 1;
    }

    fn attributes(&self, number: u64) -> FileAttr {
        let file = number == FILE;
        let size = if file { u64::try_from(self.0.document.len()).unwrap() } else { 0 };
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.answers();
        match name.to_str() {
            Some("directory.json") => {
                reply.entry(&Duration::ZERO, &self.attributes(FILE), Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answers();
        reply.attr(&Duration::ZERO, &self.attributes(ino.0));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let document = &self.0.document;
        let start = usize::try_from(offset).unwrap().min(document.len());
        let end = (start + usize::try_from(size).unwrap()).min(document.len());
        reply.data(&document[start..end]);
    }
}

/// A file system with one file, mounted. Unmounted when dropped.
struct Hanging {
    state: Arc<State>,
    session: Option<BackgroundSession>,
}

impl Hanging {
    fn mount(at: &Path, document: Vec<u8>) -> Self {
        let (hangs, goes_on, waiting) = (Mutex::new(false), Condvar::new(), Mutex::new(0));
        let state = Arc::new(State { document, hangs, goes_on, waiting });
        let session = fuser::spawn_mount(Served(Arc::clone(&state)), at, &Config::default());
        Self { state, session: Some(session.expect("root may mount a FUSE file system")) }
    }

    /// Answers nobody until the value is dropped.
    fn hang(&self) -> Hung<'_> {
        *self.state.hangs.lock().unwrap() = true;
        Hung(self)
    }
}

struct Hung<'a>(&'a Hanging);

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        *self.0.state.hangs.lock().unwrap() = false;
        self.0.state.goes_on.notify_all();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            drop(session.umount_and_join());
        }
    }
}

/// The demo's deployment, whose agents come from the file that hangs.
fn deployed() -> (Place, Hanging) {
    let mut bundle = bundles::demo();
    let declared = "\n[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"7d\"\n";
    bundle.get_mut("bundle.toml").unwrap().extend_from_slice(declared.as_bytes());
    let agents = bundle.insert("entities.json".into(), b"[]".to_vec()).unwrap();
    bundle.insert("tests/directory.json".into(), agents.clone());
    let place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    let folder = place.directory("mounted");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let as_of = chrono::DateTime::from_timestamp(i64::try_from(now).unwrap(), 0).unwrap();
    let as_of = as_of.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let agents: Value = serde_json::from_slice(&agents).unwrap();
    let document = json!({ "v": 1, "as_of": as_of, "entities": agents }).to_string().into_bytes();
    let hanging = Hanging::mount(&folder, document);
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let file = text(&folder.join("directory.json"));
    std::fs::write(&place.config_path, format!("{config}\n[facts.directory]\nfile = \"{file}\"\n")).unwrap();
    (place, hanging)
}

/// The ledger's writer looked at the file before each batch: as long as its file system did not answer, no outcome, no order and
/// no refusal came on record, and every caller waited for its own deadline.
#[test]
fn a_file_of_facts_whose_file_system_hung_held_up_all_that_is_recorded() {
    let (place, hanging) = deployed();
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    let mut gate = Gate::start(&place.elsewhere(&place.socket_url()), &demo_server(&journal));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    let ask = json!({
        "surface": "demo.charge", "action": "demo.charge", "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "1.00" }, "idempotency_key": "spent",
    });
    let (id, outcome) = spent(&place, &daemon.server(), &ask, (Outcome::Ok, None));
    let ran = std::fs::read_to_string(&journal).unwrap();
    // Dropped first of all: a process that waits for the file system cannot be killed.
    let hung = hanging.hang();
    until("somebody who looks", || (*hanging.state.waiting.lock().unwrap() > 0).then_some(()));
    // What was permitted before is told and recorded.
    let began = Instant::now();
    let path = format!("/v1/decisions/{id}/outcome");
    let told = post(&daemon.server(), &path, &place.token("demo-agent"), &outcome).unwrap();
    assert_eq!(told.status, 200, "{}", told.json());
    // What is asked now is refused, with its reason, on record.
    for _ in 0..3 {
        assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "fact.unavailable");
        let newest = place.rows().pop().unwrap().record;
        assert_eq!(newest.reason.map(|reason| reason.as_str()), Some("fact.unavailable"));
    }
    // What is wrong is told, and an operator's order is carried out.
    let ready = get(&daemon.server(), "/readyz").unwrap();
    assert_eq!(ready.status, 503);
    let token = std::fs::read_to_string(place.path("keys/operator.token")).unwrap();
    let order = json!({ "what": { "erase_payloads": { "subject": "demo-agent" } }, "reason": "a test" });
    let order = order.to_string();
    let order = post(&daemon.server(), "/v1/operator/orders", token.trim(), order.as_bytes()).unwrap();
    assert_eq!(order.status, 200, "{}", order.json());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), ran, "it ran");
    drop(hung);
    until("facts that are there again", || {
        gate.call("read_balance", json!({ "account": "acme" })).told().is_none().then_some(())
    });
    gate.end();
}
