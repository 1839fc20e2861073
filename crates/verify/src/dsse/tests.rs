use serde_json::Value;

use super::{DsseError, PAYLOAD_TYPE, PREDICATE_TYPE, envelope, key_id, statement, to_be_signed};
use crate::encoding::from_base64;
use crate::note::{UnverifiedNote, signature_line};
use crate::testing::{TestKey, TestLog};
use crate::trust::{LogKey, LogKeys, Standing};

fn receipt(log: &TestLog, index: u64) -> String {
    String::from_utf8(log.receipt(index).to_bytes()).unwrap()
}

fn keys(key: &TestKey) -> LogKeys {
    LogKeys::from(&key.public)
}

#[test]
fn what_is_signed_is_the_encoding_of_dsse() {
    // The example of the DSSE specification, with our payload type.
    assert_eq!(to_be_signed(b"hello world"), format!("DSSEv1 28 {PAYLOAD_TYPE} 11 hello world").into_bytes());
}

#[test]
fn a_statement_names_the_record_and_carries_its_receipt() {
    let log = TestLog::of_events(3);
    let receipt = receipt(&log, 1);
    let stated: Value = serde_json::from_slice(&statement(&receipt, &keys(&log.key)).unwrap()).unwrap();
    assert_eq!(stated["predicateType"], PREDICATE_TYPE);
    assert_eq!(stated["subject"][0]["name"], "gate.example/log/1");
    assert_eq!(stated["predicate"]["receipt"], receipt);
    assert_eq!(stated["predicate"]["record"]["seq"], 1);
}

#[test]
fn nothing_is_stated_about_a_receipt_that_does_not_verify() {
    let log = TestLog::of_events(3);
    let other = TestKey::new("gate.example/log", 9);
    let good = receipt(&log, 1);
    assert!(matches!(statement(&good, &keys(&other)), Err(DsseError::Receipt(_))));
    let bad = good.replace("index 1", "index 2");
    assert!(matches!(statement(&bad, &keys(&log.key)), Err(DsseError::Receipt(_))));
}

/// A key that was replaced: what it signed while it was the log's could not be attested any more.
#[test]
fn what_a_retired_key_signed_in_its_time_is_stated_and_nothing_else_of_it() {
    let log = TestLog::of_events(3);
    let (good, new) = (receipt(&log, 1), TestKey::new("gate.example/log", 9));
    let old = |standing| LogKey { key: log.key.public.clone(), standing };
    let stated = |standing| statement(&good, &LogKeys::new(vec![new.public.clone().into(), old(standing)]));
    stated(Standing::Until(3)).unwrap();
    for standing in [Standing::Until(2), Standing::Revoked] {
        assert!(matches!(stated(standing), Err(DsseError::Receipt(_))));
    }
}

#[test]
fn an_envelope_has_the_signature_of_its_key_or_is_none() {
    let log = TestLog::of_events(1);
    let attestor = TestKey::new("example.org/attest", 5);
    let stated = statement(&receipt(&log, 0), &keys(&log.key)).unwrap();
    let signature = attestor.sign(&to_be_signed(&stated));
    let made: Value =
        serde_json::from_str(&envelope(&stated, &attestor.public, &signature).unwrap()).unwrap();
    assert_eq!(from_base64(made["payload"].as_str().unwrap()).unwrap(), stated);
    assert_eq!(made["signatures"][0]["keyid"], key_id(&attestor.public));
    let refused = Err(DsseError::Signature("example.org/attest".into()));
    assert_eq!(envelope(&stated, &attestor.public, &attestor.sign(&stated)), refused);
    assert_eq!(envelope(b"{}", &attestor.public, &signature), refused);
}

#[test]
fn a_signature_of_a_statement_is_never_one_of_a_checkpoint() {
    let log = TestLog::of_events(1);
    let stated = statement(&receipt(&log, 0), &keys(&log.key)).unwrap();
    // Even one by the log's own key: what was signed has no line end, so no note has it as its text.
    let signed = to_be_signed(&stated);
    assert!(!signed.contains(&b'\n'));
    let line = signature_line(&log.key.public, &log.key.sign(&signed));
    let text = String::from_utf8(signed).unwrap();
    for note in [format!("{text}\n\n{line}"), format!("{text}\n{line}"), format!("{text}{line}")] {
        let verified = UnverifiedNote::parse(note.as_bytes()).map(|note| note.verify(log.key.alone()));
        assert!(!matches!(verified, Ok(Ok(_))));
    }
    // And the text of a checkpoint is nothing that DSSE signs.
    assert!(!log.checkpoint_at(1).to_string().starts_with("DSSEv1 "));
    assert!(crate::key::KeyName::new("DSSEv1 28").is_err());
}
