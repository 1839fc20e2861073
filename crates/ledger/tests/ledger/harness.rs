//! A data directory, an anchor beside it, and what surrounds a ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_arbiter::{
    Credential, Fact, GateState, Intake, Mandate, Policy, PolicyNow, Ports, Validity, prepare_informed,
};
use portcullis_ledger::{
    Check, CheckBeside, Clocks, DecideReply, Decided, DirectoryLock, KeyFile, Ledger, LedgerConfig,
    LedgerError, MasterKey, OutcomeRefused, ReportedOutcome, SignError, Signer, SpoolConfig, Status,
};
use portcullis_policy::{Bundle, FactSnapshot, Gathered, Given, Snapshot, Trust, bundles};
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{
    AttemptId, BundleDigest, Decision, DecisionRecord, Digest, Event, InForce, LabelName, Millis, Outcome,
    Payload, ReasonCode, Record, Salt, Snapshots, Succession, request::Ask,
};
use portcullis_verify::{Checkpoint, UnverifiedReceipt, VerifiedReceipt, VerifierKey};
use tempfile::TempDir;

/// Long enough that only a ledger that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(100);
/// When the tests begin: within the validity of the demo bundle.
const BEGIN: u64 = 1_800_000_000_000;

/// A clock that the test moves.
#[derive(Debug)]
pub(crate) struct TestClocks {
    wall: AtomicU64,
    boot: AtomicU64,
    readable: AtomicBool,
}

impl TestClocks {
    fn new() -> Self {
        let (wall, boot) = (AtomicU64::new(BEGIN), AtomicU64::new(1_000_000));
        Self { wall, boot, readable: AtomicBool::new(true) }
    }

    /// Time passes.
    pub(crate) fn advance(&self, milliseconds: u64) {
        self.wall.fetch_add(milliseconds, Ordering::SeqCst);
        self.boot.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&self, milliseconds: i64) {
        let moved = self.wall.load(Ordering::SeqCst).strict_add_signed(milliseconds);
        self.wall.store(moved, Ordering::SeqCst);
    }

    pub(crate) fn set_wall(&self, wall: u64) {
        self.wall.store(wall, Ordering::SeqCst);
    }

    pub(crate) fn set_readable(&self, readable: bool) {
        self.readable.store(readable, Ordering::SeqCst);
    }
}

impl Clocks for TestClocks {
    fn wall(&self) -> Option<Millis> {
        self.readable.load(Ordering::SeqCst).then(|| Millis(self.wall.load(Ordering::SeqCst)))
    }

    fn boot(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }
}

/// Surroundings that the test sets.
#[derive(Clone)]
pub(crate) struct TestPorts {
    pub(crate) gate: Arc<Mutex<Fact<GateState>>>,
    pub(crate) policy: Arc<Mutex<Fact<PolicyNow>>>,
    /// What is said of the bundle in force.
    pub(crate) in_force: Arc<Mutex<Option<InForce>>>,
    /// What was last told of those that were.
    pub(crate) stood: Arc<Mutex<Option<Succession>>>,
    /// What the bundle's sources of facts give, if it has any.
    pub(crate) facts: Arc<Mutex<Option<Gathered>>>,
    /// The archive of the bundle in force.
    pub(crate) archive: Arc<Mutex<Option<Arc<[u8]>>>>,
}

impl Ports for TestPorts {
    fn gate(&self) -> Fact<GateState> {
        self.gate.lock().unwrap().clone()
    }

    fn witnesses(&self) -> Fact<bool> {
        Fact::Known(true)
    }

    fn in_force(&self) -> Option<InForce> {
        self.in_force.lock().unwrap().clone()
    }

    fn archive(&self, _digest: &BundleDigest) -> Option<Arc<[u8]>> {
        self.archive.lock().unwrap().clone()
    }

    fn stands(&self, succession: &Succession) {
        *self.stood.lock().unwrap() = Some(succession.clone());
    }

    fn sources(&self) -> Fact<Snapshots> {
        let facts = self.facts.lock().unwrap();
        Fact::Known(facts.as_ref().map_or_else(Snapshots::new, |facts| facts.used().clone()))
    }

    fn policy(&self, _now: Millis) -> Fact<PolicyNow> {
        self.policy.lock().unwrap().clone()
    }
}

/// A signer that does what the test says, and remembers what it was asked to sign.
pub(crate) struct TestSigner {
    key: SigningKey,
    verifier: VerifierKey,
    behaviour: Arc<Behaviour>,
}

type BeforeSigning = Box<dyn FnMut(u64) + Send>;

/// What a [`TestSigner`] does.
#[derive(Default)]
pub(crate) struct Behaviour {
    pub(crate) ready: Mutex<Option<SignError>>,
    pub(crate) fails: Mutex<Option<SignError>>,
    pub(crate) garbage: AtomicBool,
    /// Every root that was to be signed, by size.
    pub(crate) roots: Mutex<BTreeMap<u64, Vec<String>>>,
    /// Runs before each signature, with the size: after the commit, before the anchor.
    pub(crate) before: Mutex<Option<BeforeSigning>>,
}

impl Behaviour {
    /// Fails if two roots were ever signed for one size.
    pub(crate) fn assert_one_root_for_each_size(&self) {
        for (size, roots) in self.roots.lock().unwrap().iter() {
            assert!(roots.windows(2).all(|pair| pair[0] == pair[1]), "two roots for size {size}: {roots:?}");
        }
    }

    pub(crate) fn before(&self, work: impl FnMut(u64) + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(work));
    }
}

impl Signer for TestSigner {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn ready(&mut self) -> Result<(), SignError> {
        self.behaviour.ready.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn sign(&mut self, text: &[u8]) -> Result<[u8; 64], SignError> {
        let head: Checkpoint = std::str::from_utf8(text).unwrap().parse().unwrap();
        if let Some(before) = self.behaviour.before.lock().unwrap().as_mut() {
            before(head.size);
        }
        if let Some(error) = self.behaviour.fails.lock().unwrap().clone() {
            return Err(error);
        }
        if self.behaviour.garbage.load(Ordering::SeqCst) {
            return Ok([7; 64]);
        }
        self.behaviour.roots.lock().unwrap().entry(head.size).or_default().push(head.root.to_string());
        Ok(self.key.sign(text).to_bytes())
    }
}

/// Everything that a ledger needs, and its files.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) clocks: Arc<TestClocks>,
    pub(crate) ports: TestPorts,
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) disk_reserve: u64,
    /// How many entries its spool keeps, if it has one.
    pub(crate) spool: Option<usize>,
    key: SigningKey,
    pub(crate) verifier: VerifierKey,
    /// Who else has seen the log.
    pub(crate) elsewhere: Option<crate::watched::Judge>,
}

/// A directory of agents, and an exception for reads on what it said up to an hour ago.
const DIRECTORY: &str = r#"
[facts.directory]
types = ["Agent"]
max_age = "10m"

[roster.people.zoe]
name = "Zoe"
roles = ["security"]
keys = [{ type = "ed25519", key = "V3D4WZ+CZa7gLcBOttAja3VDSil3UDrfx5DX8eTrcdg=" }]

[[exceptions]]
surface = "demo.read_balance"
covers = ["fact.stale"]
sources = ["directory"]
max_age = "1h"
owner = "zoe"
reason = "the directory is moved"
review = "2027-01-02T00:00:00Z"
until = "2027-01-31T00:00:00Z"

"#;

/// The digest of an archived bundle.
fn bundle_digest(archive: &[u8]) -> Option<BundleDigest> {
    Snapshot::from_archive(archive).ok().map(|bundle| bundle.digest())
}

/// The demo bundle, with other words in its manifest.
fn bundle(words: &[(&str, &str)]) -> Bundle {
    changed(bundles::demo(), words)
}

/// Who reads account `web` has read untrusted input, who reads account `customer` confidential data; who has read both
/// charges nothing. Agents act for maya and kim.
pub(crate) fn labelled() -> BTreeMap<String, Vec<u8>> {
    let mut files = bundles::demo();
    files.retain(|path, _| !path.starts_with("tests/"));
    let edit = |text: &[u8], from: &str, to: &str| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    let schema =
        edit(&files["schema.cedarschema"], "amount: decimal", "amount: decimal, labels: Set<String>");
    let schema = edit(&schema, "entity Agent;", "entity Agent;\nentity User;");
    files.insert("schema.cedarschema".into(), schema);
    let people = r#"[ { "uid": { "type": "User", "id": "maya" }, "attrs": {}, "parents": [] },
        { "uid": { "type": "User", "id": "kim" }, "attrs": {}, "parents": [] },"#;
    let entities = edit(&files["entities.json"], "[\n", people);
    files.insert("entities.json".into(), entities);
    let labels = "[labels.untrusted-input]\nlifetime = \"8h\"\n[labels.confidential]\nlifetime = \"1d\"\n\n\
                  [principals]\ntype = \"User\"\n\n";
    let begin = "[surfaces.\"demo.read_balance\"]";
    let manifest = edit(&files["bundle.toml"], begin, &format!("{labels}{begin}"));
    files.insert("bundle.toml".into(), manifest);
    let policies = r#"
@id("reads-the-web") @adds_label("untrusted-input")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "web" };
@id("reads-customers") @adds_label("confidential")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "customer" };
@id("nothing-out-after-both")
forbid (principal, action == Action::"demo.charge", resource)
when { context.labels.containsAll(["untrusted-input", "confidential"]) };
@id("sends-with-care") @adds_label("confidential")
permit (principal, action == Action::"demo.charge", resource)
when { context.labels.contains("untrusted-input") && context.amount == decimal("7.00") };
"#;
    files.insert("policies/labels.cedar".into(), policies.into());
    files
}

fn changed(mut files: BTreeMap<String, Vec<u8>>, words: &[(&str, &str)]) -> Bundle {
    let key = SigningKey::from_bytes(&[7; 32]);
    let verifier = VerifierKey::ed25519("bundle.test", key.verifying_key().to_bytes()).unwrap();
    for (word, other) in words {
        let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
        let changed = manifest.replace(word, other);
        assert_ne!(changed, manifest);
        files.insert("bundle.toml".into(), changed.into_bytes());
    }
    let unsigned = Snapshot::from_files(files.clone()).unwrap();
    let pin = unsigned.digest();
    files.insert("bundle.sig".into(), unsigned.sign(&key, "bundle.test").unwrap());
    Snapshot::from_files(files).unwrap().verify(&Trust::of_keys(vec![verifier], pin)).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(bundle(&[]))
    }

    /// Whose charges have derived keys.
    pub(crate) fn derived() -> Self {
        Self::with(bundle(&[(r#"idempotency = "key""#, r#"idempotency = "derived""#)]))
    }

    /// Whose charges say this of what is kept of them.
    pub(crate) fn keeping(keep: &str) -> Self {
        let key = r#"idempotency = "key""#;
        Self::with(bundle(&[(key, &format!("{key}\n{keep}"))]))
    }

    /// Whose charges and reads are kept for these times.
    pub(crate) fn spans(charges: &str, reads: &str) -> Self {
        let kept = |surface: &str, span: &str| {
            let begin = format!("[surfaces.\"demo.{surface}\"]\n");
            (begin.clone(), format!("{begin}keep_for = \"{span}\"\n"))
        };
        let words = [kept("charge", charges), kept("read_balance", reads)];
        Self::with(bundle(&words.each_ref().map(|(word, other)| (word.as_str(), other.as_str()))))
    }

    /// Whose charges must be witnessed.
    pub(crate) fn witnessed() -> Self {
        let begin = "[surfaces.\"demo.charge\"]\n";
        Self::with(bundle(&[(begin, &format!("{begin}witnessed = true\n"))]))
    }

    /// Whose bundle has these limits.
    pub(crate) fn limited(limits: &str) -> Self {
        let begin = "[surfaces.\"demo.read_balance\"]\n";
        Self::with(bundle(&[(begin, &format!("{limits}\n{begin}"))]))
    }

    /// Whose agents come from a directory, which gives them as of now; and whose reads say this of what is kept of them.
    pub(crate) fn sourced(keep: &str) -> Self {
        let mut files = bundles::demo();
        let begin = "[surfaces.\"demo.read_balance\"]\n";
        let source = "[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"7d\"\n\n";
        let agents = files.insert("entities.json".into(), b"[]".to_vec()).unwrap();
        files.insert("tests/directory.json".into(), agents);
        let world = Self::with(changed(files, &[(begin, &format!("{source}{begin}{keep}\n"))]));
        world.directory(0, &[]);
        world
    }

    /// The directory gives the demo's agent and these, as of so many milliseconds ago.
    pub(crate) fn directory(&self, ago: u64, agents: &[&str]) {
        let agent =
            |id: &&str| format!(r#"{{"uid":{{"type":"Agent","id":"{id}"}},"attrs":{{}},"parents":[]}}"#);
        let agents: Vec<_> = ["demo-agent"].iter().chain(agents).map(agent).collect();
        let text = format!(r#"{{"v":1,"as_of":"2026-01-01T00:00:00Z","entities":[{}]}}"#, agents.join(","));
        let as_of = Millis(self.clocks.wall().unwrap().0 - ago);
        let snapshot = FactSnapshot::parse(text.as_bytes()).unwrap().at(as_of);
        let given = Given::from([("directory".parse().unwrap(), Arc::new(snapshot))]);
        *self.ports.facts.lock().unwrap() = Some(self.bundle.gather(&given, None).unwrap());
    }

    /// Whose agents get labels: see [`labelled`].
    pub(crate) fn labelled() -> Self {
        Self::with(changed(labelled(), &[]))
    }

    /// The same, whose charges must be witnessed.
    pub(crate) fn labelled_and_witnessed() -> Self {
        let begin = "[surfaces.\"demo.charge\"]\n";
        Self::with(changed(labelled(), &[(begin, &format!("{begin}witnessed = true\n"))]))
    }

    /// Whose reads must be witnessed, and whose agents come from a directory that may be ten minutes old or, by an
    /// exception, an hour. What it says is so old, in milliseconds.
    pub(crate) fn excepting(age: u64) -> Self {
        let mut files = bundles::demo();
        let agents = files.insert("entities.json".into(), b"[]".to_vec()).unwrap();
        files.insert("tests/directory.json".into(), agents);
        let begin = "[surfaces.\"demo.read_balance\"]\n";
        let words = [
            ("2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (begin, &format!("{DIRECTORY}{begin}witnessed = true\n")),
        ];
        let world = Self::with(changed(files, &words));
        let said = r#"{"v":1,"as_of":"2026-01-01T00:00:00Z","entities":[{"uid":{"type":"Agent","id":"demo-agent"},"attrs":{},"parents":[]}]}"#;
        let said = FactSnapshot::parse(said.as_bytes()).unwrap().at(Millis(BEGIN - age));
        let given = Given::from([("directory".parse().unwrap(), Arc::new(said))]);
        *world.ports.facts.lock().unwrap() = Some(world.bundle.gather(&given, None).unwrap());
        world
    }

    /// Whose bundle has these files.
    pub(crate) fn under(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::with(changed(files, &[]))
    }

    /// The same world once its bundle was replaced by one with other limits.
    pub(crate) fn with_limits(self, limits: &str) -> Self {
        let begin = "[surfaces.\"demo.read_balance\"]\n";
        let version = format!("version = {}", self.bundle.reference().version + 1);
        let other = Self::with(bundle(&[(begin, &format!("{limits}\n{begin}")), ("version = 1", &version)]));
        self.ports.policy.lock().unwrap().clone_from(&other.ports.policy.lock().unwrap());
        self.ports.in_force.lock().unwrap().clone_from(&other.ports.in_force.lock().unwrap());
        Self { bundle: other.bundle, ..self }
    }

    fn with(bundle: Bundle) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["data", "anchor", "keys", "spool"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let vault_key = portcullis_ledger::generate_vault_key().unwrap();
        write_private(&directory.path().join("keys/vault"), vault_key.as_bytes());
        let key = SigningKey::from_bytes(&[9; 32]);
        let verifier = VerifierKey::ed25519("gate.test/log", key.verifying_key().to_bytes()).unwrap();
        let policy = Policy::InForce(Validity::Valid);
        let policy = PolicyNow { digest: Some(bundle.reference().digest), root: None, policy };
        let ports = TestPorts {
            gate: Arc::new(Mutex::new(Fact::Known(GateState::Open))),
            policy: Arc::new(Mutex::new(Fact::Known(policy))),
            in_force: Arc::new(Mutex::new(Some(InForce { bundle: bundle.reference().clone(), root: None }))),
            stood: Arc::default(),
            facts: Arc::default(),
            archive: Arc::default(),
        };
        Self {
            directory,
            clocks: Arc::new(TestClocks::new()),
            ports,
            behaviour: Arc::default(),
            bundle: Arc::new(bundle),
            disk_reserve: 0,
            spool: None,
            key,
            verifier,
            elsewhere: None,
        }
    }

    /// What decides is its bundle, described so.
    pub(crate) fn decides(&self, described: InForce) {
        let root = described.root.map(|root| root.digest);
        *self.ports.in_force.lock().unwrap() = Some(described);
        if let Fact::Known(now) = &mut *self.ports.policy.lock().unwrap() {
            now.root = root;
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn vault_key(&self) -> PathBuf {
        self.directory.path().join("keys/vault")
    }

    pub(crate) fn spool_path(&self) -> PathBuf {
        self.directory.path().join("spool/attempts")
    }

    pub(crate) fn anchor(&self) -> PathBuf {
        self.directory.path().join("anchor/head")
    }

    /// A world with the same clock and keys whose files are a copy of those of this one, as a crash now would
    /// leave them.
    pub(crate) fn crashed(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(self.directory.path(), copy.path());
        self.at(copy)
    }

    /// A world with the same clock and keys at another place. Its signer behaves, and remembers what the other's
    /// had signed.
    pub(crate) fn at(&self, directory: TempDir) -> Self {
        let behaviour = Behaviour::default();
        behaviour.roots.lock().unwrap().clone_from(&self.behaviour.roots.lock().unwrap());
        Self {
            directory,
            clocks: Arc::clone(&self.clocks),
            ports: self.ports.clone(),
            behaviour: Arc::new(behaviour),
            bundle: Arc::clone(&self.bundle),
            disk_reserve: self.disk_reserve,
            spool: self.spool,
            key: self.key.clone(),
            verifier: self.verifier.clone(),
            elsewhere: self.elsewhere.clone(),
        }
    }

    pub(crate) fn lock(&self) -> DirectoryLock {
        DirectoryLock::acquire(&self.data()).unwrap().unwrap()
    }

    /// A check of the ledger, its payloads included, beside whoever has it open.
    pub(crate) fn check(&self) -> Result<Check, LedgerError> {
        self.check_with(Some(MasterKey::read(&self.vault_key()).unwrap()))
    }

    /// A check of the ledger with this master key.
    pub(crate) fn check_with(&self, master: Option<MasterKey>) -> Result<Check, LedgerError> {
        let master = master.map(Arc::new);
        let beside = CheckBeside { bundle_digest: Arc::new(bundle_digest), master };
        Check::open(&self.data(), &self.anchor(), &self.verifier, beside)
    }

    /// Starts the ledger with the signer that the test controls.
    pub(crate) fn start(&self) -> Ledger {
        self.start_with(self.signer())
    }

    pub(crate) fn signer(&self) -> Box<dyn Signer> {
        let (key, verifier) = (self.key.clone(), self.verifier.clone());
        Box::new(TestSigner { key, verifier, behaviour: Arc::clone(&self.behaviour) })
    }

    pub(crate) fn start_with(&self, signer: Box<dyn Signer>) -> Ledger {
        self.start_locked(self.lock(), signer)
    }

    pub(crate) fn start_locked(&self, lock: DirectoryLock, signer: Box<dyn Signer>) -> Ledger {
        let config = LedgerConfig {
            directory: self.data(),
            anchor: self.anchor(),
            vault_key: self.vault_key(),
            bundle_digest: Arc::new(bundle_digest),
            disk_reserve: self.disk_reserve,
            spool: self.spool.map(|entries| SpoolConfig {
                path: self.spool_path(),
                entries,
                bytes: 1 << 20,
                deadline: PATIENCE,
            }),
            clocks: self.clocks.clone(),
        };
        let ports = Box::new(self.ports.clone());
        let ledger = match &self.elsewhere {
            None => Ledger::start(config, lock, signer, ports).unwrap(),
            Some(elsewhere) => {
                let elsewhere = elsewhere.asked_by(&self.data());
                Ledger::start_watched(config, lock, signer, ports, elsewhere).unwrap()
            }
        };
        // Opening comes before the first answer: from here on, what the test does is done to an open ledger.
        self.status(&ledger);
        ledger
    }

    /// A key file with a new key, and its signer.
    pub(crate) fn key_file(&mut self) -> (PathBuf, KeyFile) {
        let (text, verifier) = portcullis_ledger::generate("gate.test/log").unwrap();
        let path = self.directory.path().join("keys/log");
        write_private(&path, text.as_bytes());
        self.verifier = verifier.clone();
        (path.clone(), KeyFile::new(path, verifier))
    }

    pub(crate) fn database(&self) -> PathBuf {
        let root = self.data().join("ledger");
        let current = std::fs::read_to_string(root.join("CURRENT")).unwrap();
        root.join(current.trim_end()).join("ledger.db")
    }

    /// Works on the database behind the ledger's back.
    pub(crate) fn sql(&self, statements: &str) {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.execute_batch(statements).unwrap();
    }

    pub(crate) fn intake(&self, call: &Call) -> Intake {
        self.intake_with(call, &BTreeSet::new())
    }

    /// What policy says of a call of an agent with these labels.
    pub(crate) fn intake_with(&self, call: &Call, labels: &BTreeSet<LabelName>) -> Intake {
        let credential = Credential {
            agent: call.agent.parse().unwrap(),
            acts_for: call.mandate(),
            expires: None,
            authenticated: None,
        };
        let facts = self.ports.facts.lock().unwrap();
        let known = (labels, facts.as_ref());
        prepare_informed(call.wire(), credential, Ok(&self.bundle), self.clocks.boot(), known).unwrap()
    }

    /// Asks, and does not wait.
    pub(crate) fn ask(&self, ledger: &Ledger, call: &Call) -> Receiver<DecideReply> {
        let (sender, receiver) = channel();
        let labels = self.labels(ledger, call);
        ledger.decide(self.intake_with(call, &labels), move |reply| drop(sender.send(reply))).unwrap();
        receiver
    }

    /// Asks and waits, and asks policy again where that is to be done.
    pub(crate) fn decide(&self, ledger: &Ledger, call: &Call) -> Decided {
        let mut reply = self.ask(ledger, call);
        for evaluation in 2..=3 {
            let labels = match reply.recv_timeout(PATIENCE).expect("an answer") {
                DecideReply::Decided(decided) => return *decided,
                DecideReply::Held(_) => panic!("held for witnesses"),
                DecideReply::EvaluateAgain(labels) => labels,
            };
            let labels = labels.unwrap_or_else(|| self.labels(ledger, call));
            let mut intake = self.intake_with(call, &labels);
            intake.last_try = evaluation == 3;
            let (sender, receiver) = channel();
            ledger.decide(intake, move |answer| drop(sender.send(answer))).unwrap();
            reply = receiver;
        }
        answer(&reply)
    }

    pub(crate) fn labels(&self, ledger: &Ledger, call: &Call) -> BTreeSet<LabelName> {
        let (request, mandate) = (call.wire().request, call.mandate());
        let now = Millis(self.clocks.wall.load(Ordering::SeqCst));
        ledger.labels(&call.agent.parse().unwrap(), mandate.behind(request.acts_for.as_ref()), now)
    }

    /// Asks, and expects a refusal with its code.
    pub(crate) fn refused(&self, ledger: &Ledger, call: &Call) -> ReasonCode {
        self.decide(ledger, call).verdict.reason().expect("a refusal")
    }

    /// Asks, and expects a PERMIT whose receipt verifies and says what was asked.
    #[track_caller]
    pub(crate) fn permitted(&self, ledger: &Ledger, call: &Call) -> DecisionRecord {
        let decided = self.decide(ledger, call);
        assert_eq!(decided.verdict.reason(), None, "a PERMIT");
        let record = self.recorded(&decided);
        assert_eq!((record.decision, record.attempt), (Decision::Permit, call.attempt()));
        record
    }

    /// What a decision's receipt proves to somebody who has only the public key.
    pub(crate) fn recorded(&self, decided: &Decided) -> DecisionRecord {
        let receipt = self.verified(decided.receipt.as_ref().expect("a receipt"));
        let Record::Decision(record) = Record::parse(receipt.record_bytes()).unwrap() else {
            panic!("not a decision");
        };
        assert_eq!(record.seq, receipt.index());
        *record
    }

    pub(crate) fn verified(&self, receipt: &str) -> VerifiedReceipt {
        let keys = std::slice::from_ref(&self.verifier);
        UnverifiedReceipt::parse(receipt.as_bytes()).unwrap().verify(keys).unwrap()
    }

    /// Reports an outcome and waits.
    pub(crate) fn report(
        &self,
        ledger: &Ledger,
        call: &Call,
        outcome: Outcome,
        result: Option<&str>,
    ) -> Result<u64, OutcomeRefused> {
        let (sender, receiver) = channel();
        let report = ReportedOutcome {
            attempt: call.attempt(),
            agent: call.agent.parse().unwrap(),
            outcome,
            result: result.map(str::to_owned),
        };
        ledger.outcome(report, move |reply| sender.send(reply).unwrap()).unwrap();
        receiver.recv_timeout(PATIENCE).expect("an answer")
    }

    pub(crate) fn status(&self, ledger: &Ledger) -> Status {
        let (sender, receiver) = channel();
        ledger.status(move |status| drop(sender.send(status))).unwrap();
        receiver.recv_timeout(PATIENCE).expect("an answer")
    }

    pub(crate) fn tripped(&self, ledger: &Ledger) -> Option<ReasonCode> {
        self.status(ledger).tripped
    }

    pub(crate) fn reader(&self) -> portcullis_ledger::LedgerReader {
        portcullis_ledger::LedgerReader::open(&self.data(), &self.anchor(), &self.verifier).unwrap()
    }

    /// Every record, verified against the anchor.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        self.reader().for_each(|listed| records.push(listed.record)).unwrap();
        records
    }

    /// How many records the anchored head covers.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.records().len()).unwrap()
    }

    /// The PERMITs on record.
    pub(crate) fn permits(&self) -> Vec<DecisionRecord> {
        let entries = self.records().into_iter().filter_map(|record| match record {
            Record::Decision(entry) if entry.decision == Decision::Permit => Some(*entry),
            Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        });
        entries.collect()
    }

    pub(crate) fn outcomes(&self) -> Vec<(u64, Outcome)> {
        let outcomes = self.records().into_iter().filter_map(|record| match record {
            Record::Outcome(record) => Some((record.permit, record.outcome)),
            Record::Decision(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        });
        outcomes.collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = self.records().into_iter().filter_map(|record| match record {
            Record::Event(record) => Some(record.event),
            Record::Decision(_)
            | Record::Aggregate(_)
            | Record::Outcome(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        });
        events.collect()
    }

    /// How many attempts the aggregate records speak of, by reason.
    pub(crate) fn counted(&self) -> BTreeMap<Option<ReasonCode>, u64> {
        let mut counted = BTreeMap::new();
        for record in self.records() {
            if let Record::Aggregate(record) = record {
                *counted.entry(record.reason).or_insert(0) += record.count;
            }
        }
        counted
    }
}

/// Waits for a decision.
pub(crate) fn answer(receiver: &Receiver<DecideReply>) -> Decided {
    match receiver.recv_timeout(PATIENCE).expect("an answer") {
        DecideReply::Decided(decided) => *decided,
        DecideReply::Held(_) => panic!("held for witnesses"),
        DecideReply::EvaluateAgain(_) => panic!("evaluate again"),
    }
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) agent: &'static str,
    /// For whom its credential lets it act.
    may_act_for: Vec<&'static str>,
    attempt: u64,
    ask: String,
    /// What the request commits to, and what comes with it.
    brings: (Option<Digest>, Option<Payload>),
}

impl Call {
    /// A charge, permitted up to 100.00. Its surface keeps keys.
    pub(crate) fn charge(attempt: u64, amount: &str, key: Option<&str>) -> Self {
        let key = key.map_or(String::new(), |key| format!(r#","idempotency_key":"{key}""#));
        let ask = format!(
            r#"{{"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
            "context":{{"account":"a","amount":"{amount}"}}{key}}}"#
        );
        Self { agent: "demo-agent", may_act_for: Vec::new(), attempt, ask, brings: (None, None) }
    }

    /// The same on another resource.
    pub(crate) fn on(self, resource: &str) -> Self {
        let to = format!(r#""resource":{{"type":"Surface","id":"{resource}"}}"#);
        Self { ask: self.ask.replace(r#""resource":{"type":"Surface","id":"demo.charge"}"#, &to), ..self }
    }

    /// The same in a currency, where the surface declares one.
    pub(crate) fn in_currency(self, currency: &str) -> Self {
        let to = format!(r#""currency":"{currency}","account":"a""#);
        Self { ask: self.ask.replace(r#""account":"a""#, &to), ..self }
    }

    /// A read, permitted. Its surface keeps no keys.
    pub(crate) fn read(attempt: u64) -> Self {
        let ask = r#"{"surface":"demo.read_balance","action":"demo.read_balance",
            "resource":{"type":"Surface","id":"demo.read_balance"},"context":{"account":"a"}}"#;
        Self {
            agent: "demo-agent",
            may_act_for: Vec::new(),
            attempt,
            ask: ask.to_owned(),
            brings: (None, None),
        }
    }

    /// A read of an account that a label may hang on.
    pub(crate) fn reads(attempt: u64, account: &str) -> Self {
        let read = Self::read(attempt);
        Self { ask: read.ask.replace(r#""account":"a""#, &format!(r#""account":"{account}""#)), ..read }
    }

    /// Something that nothing governs: SILENCE.
    pub(crate) fn ungoverned(attempt: u64) -> Self {
        let ask = r#"{"surface":"demo.other","action":"demo.other","resource":{"type":"Surface","id":"x"}}"#;
        Self {
            agent: "demo-agent",
            may_act_for: Vec::new(),
            attempt,
            ask: ask.to_owned(),
            brings: (None, None),
        }
    }

    /// A read of a resource called `poison`: SILENCE, for policy does not know it.
    pub(crate) fn poison(attempt: u64) -> Self {
        let read = Self::read(attempt);
        Self { ask: read.ask.replace(r#""id":"demo.read_balance""#, r#""id":"poison""#), ..read }
    }

    pub(crate) fn by(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    /// The same, made with this payload, which comes with it.
    pub(crate) fn bringing(self, payload: Payload) -> Self {
        self.committing(&payload).bringing_only(payload)
    }

    /// The same, made with this payload.
    pub(crate) fn committing(self, payload: &Payload) -> Self {
        Self { brings: (Some(payload.digest()), None), ..self }
    }

    /// The same with this payload, whatever it was made with.
    pub(crate) fn bringing_only(self, payload: Payload) -> Self {
        Self { brings: (self.brings.0, Some(payload)), ..self }
    }

    /// The same for somebody for whom the credential lets the agent act.
    pub(crate) fn acting_for(self, principal: &'static str) -> Self {
        self.trusted_for(principal).claiming(principal)
    }

    /// The same, by an agent whose credential lets it act for somebody.
    pub(crate) fn trusted_for(self, principal: &'static str) -> Self {
        Self { may_act_for: vec![principal], ..self }
    }

    /// The same for somebody, whatever the credential says.
    pub(crate) fn claiming(self, principal: &'static str) -> Self {
        let ask = self.ask.replacen('{', &format!("{{\"acts_for\":\"{principal}\","), 1);
        Self { ask, ..self }
    }

    fn mandate(&self) -> Mandate {
        Mandate::of(self.may_act_for.iter().map(|principal| principal.parse().unwrap()).collect())
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        AttemptId::from_bytes(*Digest::sha256(&self.attempt.to_be_bytes()).as_bytes())
    }

    fn wire(&self) -> DecisionCall {
        DecisionCall {
            request: Ask { payload: self.brings.0, ..Ask::parse(self.ask.as_bytes()).unwrap() },
            attempt: self.attempt(),
            salt: Salt::from_bytes([2; 32]),
            gate: "gate".parse().unwrap(),
            deadline_ms: 1_000_000,
            payload: self.brings.1.clone(),
        }
    }
}

/// Makes the database refuse a record that contains `poison`.
pub(crate) const POISON: &str =
    "CREATE TRIGGER broken BEFORE INSERT ON records WHEN instr(CAST(NEW.body AS TEXT), 'poison')
     BEGIN SELECT RAISE(ABORT, 'broken'); END";

/// Holds the writer in its next signature, so that what is asked meanwhile becomes one batch.
pub(crate) struct Held {
    go: std::sync::mpsc::Sender<()>,
    asked: Receiver<DecideReply>,
}

impl Held {
    pub(crate) fn hold(world: &World, ledger: &Ledger, attempt: u64) -> Self {
        let (entered, is_held) = channel();
        let (go, gone) = channel();
        let mut once = Some(());
        world.behaviour.before(move |_| {
            if once.take().is_some() {
                entered.send(()).unwrap();
                gone.recv().unwrap_or(());
            }
        });
        let asked = world.ask(ledger, &Call::read(attempt));
        is_held.recv_timeout(PATIENCE).expect("the writer signs");
        Self { go, asked }
    }

    /// Lets the writer go on. Returns where the held call is answered.
    pub(crate) fn release(self) -> Receiver<DecideReply> {
        self.go.send(()).unwrap();
        self.asked
    }
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
