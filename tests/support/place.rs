//! A deployment below a directory of its own, and its log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_ledger::Kept;
use portcullis_policy::bundles;
use portcullis_protocol::{Decision, DecisionRecord, Event, Outcome, ReasonCode, Record};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{Config, Deployment, LedgerReader, Row, deploy, open_ledger, rows, vault_key};
use portcullis_verify::{UnverifiedReceipt, VerifierKey};
use tempfile::TempDir;

use super::http::{Server, get};
use super::{text, until};

/// Two people of finance and one of security.
const ROSTER: &str = r#"
[roster.people.ada]
name = "Ada"
roles = ["finance"]
keys = [{ type = "ed25519", key = "MSRhegRhQBLrL0CPpRSoy2JRh+8RFm+Z1CYAtg2OlHU=" }]
[roster.people.ben]
name = "Ben"
roles = ["finance"]
keys = [{ type = "ed25519", key = "MUkIUn05XTMNq/XinTGRgFA2mvDE8J5CL+l+ovWeOOE=" }]
[roster.people.zoe]
name = "Zoe"
roles = ["security"]
keys = [{ type = "ed25519", key = "V3D4WZ+CZa7gLcBOttAja3VDSil3UDrfx5DX8eTrcdg=" }]
"#;

/// A deployment. Goes away with the value.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) config_path: PathBuf,
    pub(crate) config: ArbiterConfig,
    /// What its daemon finds in its environment beside what the test has.
    pub(crate) environment: Vec<(String, String)>,
}

impl Place {
    /// The demo's deployment: agent `demo-agent` may read balances and charge at most 100.00 over server `demo`.
    /// Its gate hosts the arbiter or asks the data directory's host.
    pub(crate) fn demo() -> Self {
        Self::deploy(bundles::demo(), &["demo-agent", "stranger-agent"], "demo")
    }

    /// The demo's deployment with one grant more, for every charge of its agent, that asks for what these annotations say.
    pub(crate) fn asking(annotations: &str) -> Self {
        let mut bundle = bundles::demo();
        let grant = format!(
            "@id(\"asks\")\n{annotations}\n\
             permit (principal == Agent::\"demo-agent\", action == Action::\"demo.charge\", resource);\n"
        );
        bundle.insert("policies/asks.cedar".into(), grant.into_bytes());
        if let Some(manifest) = bundle.get_mut("bundle.toml") {
            manifest.extend_from_slice(ROSTER.as_bytes());
        }
        Self::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
    }

    /// The starter's deployment: agent `assistant` may read over server `files`.
    pub(crate) fn files() -> Self {
        Self::deploy(bundles::starter(), &["assistant"], "files")
    }

    /// A deployment with any bundle; the gate asks for the first of the agents.
    pub(crate) fn deploy(bundle: BTreeMap<String, Vec<u8>>, agents: &[&str], server: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let deployment =
            Deployment { bundle, agents, server, listen: "127.0.0.1:0", arbiter: None, spool: false };
        let config_path = deploy(folder.path(), &deployment).unwrap().config;
        let config = Config::read(&config_path).unwrap().arbiter().unwrap();
        Self { folder, config_path, config, environment: Vec::new() }
    }

    /// The same deployment once more, somewhere else: a copy of its files as they lie.
    pub(crate) fn copied(&self) -> Self {
        let folder = TempDir::new().unwrap();
        let from = self.folder.path().join(".");
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let config_path = folder.path().join("portcullis.toml");
        let config = Config::read(&config_path).unwrap().arbiter().unwrap();
        Self { folder, config_path, config, environment: self.environment.clone() }
    }

    /// A path in the deployment's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The deployment's directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new directory in it.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A file in it, with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A second configuration beside the first, with other lines: `change` gets the text of the first.
    pub(crate) fn configure(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let before = std::fs::read_to_string(&self.config_path).unwrap();
        let path = self.file(name, &change(before));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        // What does not parse is a mistake of the test.
        Config::read(&path).unwrap().gate().unwrap();
        path
    }

    /// A configuration whose gate asks an arbiter elsewhere (`unix:/path` or `http://127.0.0.1:PORT`), and never hosts
    /// one.
    pub(crate) fn elsewhere(&self, arbiter: &str) -> PathBuf {
        self.gate("elsewhere.toml", arbiter, 2_000)
    }

    /// As [`Self::elsewhere`], with a name and a deadline.
    pub(crate) fn gate(&self, name: &str, arbiter: &str, deadline_ms: u64) -> PathBuf {
        self.configure(name, |text| {
            let deadline = format!("deadline_ms = {deadline_ms}\narbiter = \"{arbiter}\"");
            assert!(text.contains("\ndeadline_ms = 2000\n"), "{text}");
            text.replace("deadline_ms = 2000", &deadline)
        })
    }

    /// Puts another signer in the place of the key file: a section `[signer]`, and the key that verifies.
    pub(crate) fn signed_by(&mut self, key: &VerifierKey, section: &str) {
        let text = std::fs::read_to_string(&self.config_path).unwrap();
        let own = "signing_key = \"keys/log.key\"\n";
        assert!(text.contains(own) && text.contains("\n[policy]\n"), "{text}");
        let text =
            text.replace(own, "").replace("\n[policy]\n", &format!("\n[signer]\n{section}\n[policy]\n"));
        let text = text.replace(&self.config.log_key.to_string(), &key.to_string());
        std::fs::write(&self.config_path, text).unwrap();
        self.config = Config::read(&self.config_path).unwrap().arbiter().unwrap();
    }

    /// The log's signing key, which is a file unless a test says otherwise.
    pub(crate) fn signing_key(&self) -> PathBuf {
        self.config.signer.key_file().expect("a key file").clone()
    }

    /// The data directory's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.config.data.join("arbiter.sock")
    }

    /// The data directory's socket, as configurations name it.
    pub(crate) fn socket_url(&self) -> String {
        format!("unix:{}", text(&self.socket()))
    }

    /// Whether an arbiter of the data directory could issue a PERMIT now.
    pub(crate) fn is_ready(&self) -> bool {
        get(&Server::socket(&self.socket()), "/readyz").is_ok_and(|response| response.status == 200)
    }

    /// Waits until it could.
    pub(crate) fn ready(&self) {
        until("an arbiter that is ready", || self.is_ready().then_some(()));
    }

    /// Waits until the outcome of every PERMIT is on record.
    pub(crate) fn settle(&self) {
        let open = |row: &Row| row.record.decision == Decision::Permit && row.outcome.is_none();
        until("the outcomes of all PERMITs", || (!self.rows().iter().any(open)).then_some(()));
    }

    /// Waits until the outcome of the newest PERMIT is on record, and whoever reported it has been told so: a fault that
    /// comes before that is another one to the gate, which then has an outcome to deliver. Older PERMITs may be such that
    /// no gate ever had.
    pub(crate) fn settle_newest(&self) {
        until("the outcome of the newest PERMIT", || {
            let rows = self.rows();
            let newest = rows.iter().rfind(|row| row.record.decision == Decision::Permit)?;
            newest.outcome.is_some().then_some(())
        });
        // What the arbiter answers after that, it answers later.
        self.ready();
    }

    /// The token of an agent.
    pub(crate) fn token(&self, agent: &str) -> String {
        std::fs::read_to_string(self.path(&format!("keys/{agent}.token"))).unwrap().trim().to_owned()
    }

    /// The decisions on record, with their outcomes, verified against the anchored head.
    pub(crate) fn rows(&self) -> Vec<Row> {
        rows(&open_ledger(&self.config).unwrap()).unwrap()
    }

    /// The whole log, every receipt of it verified with nothing but the log's public key.
    pub(crate) fn log(&self) -> Log {
        let ledger = open_ledger(&self.config).unwrap();
        let mut records = Vec::new();
        ledger.for_each(|listed| records.push(listed.record)).unwrap();
        for record in &records {
            let receipt = ledger.receipt(record.seq()).unwrap();
            assert_eq!(self.verify(&receipt), *record);
        }
        Log { records, rows: rows(&ledger).unwrap() }
    }

    /// Whose account a decision on record was about: its kept request, opened with the vault's key, names it. `None` if
    /// what is kept does not open, or is not what the record commits to.
    pub(crate) fn account(&self, ledger: &LedgerReader, record: &DecisionRecord) -> Option<String> {
        let Ok(Kept::Here(kept)) = ledger.kept_request(&vault_key(&self.config).unwrap(), record) else {
            return None;
        };
        let account = kept.request.context.get("account").map(|account| account.as_str().unwrap().to_owned());
        let commitment = kept.request.by(record.agent.clone()).commitment(&kept.salt).unwrap();
        account.filter(|_| commitment == record.request)
    }

    /// The receipt of the record at an index.
    pub(crate) fn receipt(&self, seq: u64) -> String {
        open_ledger(&self.config).unwrap().receipt(seq).unwrap()
    }

    /// The record that a receipt proves.
    pub(crate) fn verify(&self, receipt: &str) -> Record {
        let receipt = UnverifiedReceipt::parse(receipt.as_bytes()).unwrap();
        receipt.verify_with(&self.config.log_keys).unwrap().record().unwrap()
    }
}

/// A log that verifies.
pub(crate) struct Log {
    /// Every record, in order.
    pub(crate) records: Vec<Record>,
    /// Every decision, with its newest outcome.
    pub(crate) rows: Vec<Row>,
}

impl Log {
    /// The PERMITs, with their outcomes.
    pub(crate) fn permits(&self) -> Vec<(&DecisionRecord, Option<Outcome>)> {
        let permits = self.rows.iter().filter(|row| row.record.decision == Decision::Permit);
        permits.map(|row| (&row.record, row.outcome)).collect()
    }

    /// How many PERMITs have this outcome.
    pub(crate) fn outcomes(&self, outcome: Option<Outcome>) -> usize {
        self.permits().iter().filter(|(_, became)| *became == outcome).count()
    }

    /// The codes of the refusals, in order.
    pub(crate) fn refusals(&self) -> Vec<ReasonCode> {
        self.rows.iter().filter_map(|row| row.record.reason).collect()
    }

    /// The events, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let event =
            |record: &Record| if let Record::Event(event) = record { Some(event.event) } else { None };
        self.records.iter().filter_map(event).collect()
    }
}
