use std::path::Path;
use std::sync::Arc;

use portcullis_arbiter::PolicyNow;

use super::*;
use crate::clock::SystemClocks;
use crate::elsewhere::Nobody;
use crate::signer::KeyFile;

struct Nothing;

impl Ports for Nothing {
    fn gate(&self) -> Fact<GateState> {
        Fact::Unknown
    }

    fn policy(&self, _now: Millis) -> Fact<PolicyNow> {
        Fact::Unknown
    }

    fn in_force(&self) -> Option<portcullis_protocol::InForce> {
        None
    }
}

fn writer(directory: &Path, anchor: &Path) -> Writer {
    let verifier = crate::signer::generate("gate.test/log").unwrap().1;
    let config = LedgerConfig {
        directory: directory.to_owned(),
        anchor: anchor.to_owned(),
        vault_key: directory.join("vault"),
        bundle_digest: std::sync::Arc::new(|_: &[u8]| None),
        disk_reserve: 0,
        spool: None,
        clocks: Arc::new(SystemClocks),
    };
    let lock = DirectoryLock::acquire(directory).unwrap().unwrap();
    let signer = Box::new(KeyFile::new(directory.join("key"), verifier));
    let shared = (Counts::default(), Heads::default(), Spooling::start(None).unwrap(), Published::default());
    Writer::new(config, lock, signer, Box::new(Nothing), Box::new(Nobody), shared)
}

#[test]
fn every_call_began_another_recovery_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &directory.path().join("missing/anchor"));
    writer.step(VecDeque::new());
    assert_eq!(writer.phase.as_ref().err(), Some(&ReasonCode::EvidenceAnchorUnwritable));
    assert_ne!(format!("{:?}", writer.reopening), format!("{:?}", Pacing::default()), "it rests");
}
