//! Attestations: receipts in DSSE envelopes, as tools for in-toto read them.

use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{program, text};
use crate::{Evidence, Verifier, accepted, run_python};

/// The attestor's key: its file, its name in envelopes, and its bytes in hexadecimal digits.
struct Attestor {
    file: String,
    id: String,
    public: String,
}

fn attestor(evidence: &Evidence) -> Attestor {
    let file = text(&evidence.place.path("keys/attest.key"));
    let made = evidence.portcullis(&["keys", "generate", &file, "--name", "example.org/attest"]);
    let key: portcullis_verify::VerifierKey = std::str::from_utf8(&made).unwrap().trim().parse().unwrap();
    let public = key.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    Attestor { file, id: portcullis_verify::dsse::key_id(&key), public }
}

fn check(attestor: &Attestor, files: &[PathBuf]) -> Output {
    let files: Vec<String> = files.iter().map(|file| text(file)).collect();
    let mut arguments = vec![attestor.id.as_str(), attestor.public.as_str()];
    arguments.extend(files.iter().map(String::as_str));
    run_python("dsse_check.py", &arguments)
}

#[test]
fn attestations_are_accepted_by_tools_for_in_toto_and_refused_tampered_with() {
    let evidence = Evidence::of(3);
    let attestor = attestor(&evidence);
    let folder = evidence.place.path("attestations");
    evidence.portcullis(&["receipts", "export", "--format", "dsse", "--key", &attestor.file, &text(&folder)]);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let output = check(&attestor, &files);
    accepted(Verifier::Python, "the attestations", &output);
    let decisions: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["decision"].clone())
        .collect();
    assert_eq!(decisions, ["PERMIT", "PERMIT", "PERMIT", "SILENCE"]);

    // The receipt in a statement verifies by itself, with the log's key.
    let envelope: Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let receipt =
        evidence.place.file("inner.tlog-proof", statement["predicate"]["receipt"].as_str().unwrap());
    accepted(Verifier::Ours, "the receipt", &Verifier::Ours.receipts(&evidence.key, &[receipt]));

    let bad = evidence.place.path("bad.json");
    let tampered = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = envelope.clone();
        change(&mut changed);
        assert_ne!(changed, envelope, "{what}");
        std::fs::write(&bad, changed.to_string()).unwrap();
        let output = check(&attestor, std::slice::from_ref(&bad));
        assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("dsse_check: ") && !said.contains("Traceback"), "{what}: {said}");
    };
    tampered("another decision", &|envelope| {
        let said = String::from_utf8(payload.clone()).unwrap().replace("PERMIT", "DENYED");
        envelope["payload"] = STANDARD.encode(said).into();
    });
    tampered("another payload type", &|envelope| envelope["payloadType"] = "text/plain".into());
    tampered("another signature", &|envelope| {
        let mut signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        signature[7] ^= 1;
        envelope["signatures"][0]["sig"] = STANDARD.encode(signature).into();
    });
    tampered("another key", &|envelope| {
        envelope["signatures"][0]["keyid"] = "example.org/other+00000000".into()
    });
    tampered("no signature", &|envelope| envelope["signatures"] = Value::Array(Vec::new()));
}

#[test]
fn the_keys_of_the_log_and_of_bundles_attest_nothing() {
    let evidence = Evidence::of(1);
    for (key, purpose) in [("keys/log.key", "signs the log"), ("keys/bundle.key", "signs bundles")] {
        let key = text(&evidence.place.path(key));
        let output = Command::new(program())
            .args(["receipts", "show", "3", "--format", "dsse", "--key", &key, "--config"])
            .arg(&evidence.place.config_path)
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(purpose), "{output:?}");
    }
}
