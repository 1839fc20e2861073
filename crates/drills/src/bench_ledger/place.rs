//! Where a ledger is measured: its files, its keys, its bundle.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_arbiter::{Fact, GateState, Policy, PolicyNow, Ports, Validity};
use portcullis_ledger::{
    DirectoryLock, KeyFile, Ledger, LedgerConfig, SystemClocks, generate, generate_vault_key,
};
use portcullis_policy::{Bundle, Snapshot, Trust, bundles};
use portcullis_protocol::{InForce, Millis};
use portcullis_server::bundle_digest;
use portcullis_verify::VerifierKey;

use crate::DrillError;

/// Policies of the bundle, with the demo's own.
const POLICIES: usize = 10;

/// A ledger's files, and what surrounds it.
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) bundle: Bundle,
    pub(super) verifier: VerifierKey,
}

impl Place {
    pub(super) fn new(directory: &Path) -> Result<Self, DrillError> {
        std::fs::create_dir(directory.join("data")).map_err(DrillError::system("making a directory"))?;
        let verifier = new_key(&directory.join("log.key"), "bench.test/log")?;
        let bundle = bundle(&directory.join("bundle.key"))?;
        let vault = generate_vault_key().map_err(|error| DrillError::Answer(error.to_string()))?;
        write_private(&directory.join("vault.key"), vault.as_bytes())?;
        Ok(Self { directory: directory.to_owned(), bundle, verifier })
    }

    pub(super) fn open(&self) -> Result<Ledger, DrillError> {
        let config = LedgerConfig {
            directory: self.data(),
            anchor: self.anchor(),
            vault_key: self.directory.join("vault.key"),
            bundle_digest: Arc::new(bundle_digest),
            disk_reserve: 0,
            spool: None,
            clocks: Arc::new(SystemClocks),
        };
        let lock = DirectoryLock::acquire(&config.directory);
        let lock = lock.map_err(|error| DrillError::Answer(error.to_string()))?;
        let lock = lock.ok_or_else(|| DrillError::Answer("the directory is locked".into()))?;
        let signer = KeyFile::new(self.directory.join("log.key"), self.verifier.clone());
        let bundle = self.bundle.reference().clone();
        let policy =
            PolicyNow { digest: Some(bundle.digest), root: None, policy: Policy::InForce(Validity::Valid) };
        let ports = Steady(policy, InForce { bundle, root: None });
        let started = Ledger::start(config, lock, Box::new(signer), Box::new(ports));
        started.map_err(DrillError::system("starting the ledger"))
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(super) fn anchor(&self) -> PathBuf {
        self.directory.join("anchor")
    }
}

struct Steady(PolicyNow, InForce);

impl Ports for Steady {
    fn gate(&self) -> Fact<GateState> {
        Fact::Known(GateState::Open)
    }

    fn policy(&self, _now: Millis) -> Fact<PolicyNow> {
        Fact::Known(self.0)
    }

    fn in_force(&self) -> Option<InForce> {
        Some(self.1.clone())
    }
}

fn new_key(path: &Path, name: &str) -> Result<VerifierKey, DrillError> {
    let (text, verifier) = generate(name).map_err(|error| DrillError::Answer(error.to_string()))?;
    write_private(path, text.as_bytes())?;
    Ok(verifier)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DrillError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(DrillError::system("writing a key"))
}

/// The demo's bundle with more policies, none of which applies.
fn bundle(key: &Path) -> Result<Bundle, DrillError> {
    let failed = |error: String| DrillError::Answer(error);
    let verifier = new_key(key, "bench.test/bundle")?;
    let (signing, _) = KeyFile::read(key).map_err(|error| failed(error.to_string()))?;
    let mut files = bundles::demo();
    let own =
        files.get("policies/demo.cedar").map(|text| String::from_utf8_lossy(text).matches("@id(").count());
    let more: String = (own.unwrap_or_default()..POLICIES)
        .map(|number| {
            format!(
                "@id(\"bench-{number}\")\nforbid (principal, action == Action::\"demo.read_balance\", resource)\nwhen {{ context.account == \"nobody-{number}\" }};\n"
            )
        })
        .collect();
    files.insert("policies/bench.cedar".into(), more.into_bytes());
    let unsigned = Snapshot::from_files(files.clone()).map_err(|error| failed(error.to_string()))?;
    let pin = unsigned.digest();
    let signature =
        unsigned.sign(&signing, "bench.test/bundle").map_err(|error| failed(error.to_string()))?;
    files.insert("bundle.sig".into(), signature);
    let signed = Snapshot::from_files(files).map_err(|error| failed(error.to_string()))?;
    signed.verify(&Trust::of_keys(vec![verifier], pin)).map_err(|error| failed(error.to_string()))
}
