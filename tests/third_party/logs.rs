//! Exported logs.

use std::path::PathBuf;

use crate::support::text;
use crate::{ALL, Evidence, Verifier, accepted, flipped, refused, run_go};

/// A way to spoil an exported log.
struct Tampering {
    what: &'static str,
    file: &'static str,
    change: fn(&[u8]) -> Vec<u8>,
    /// Who cannot notice, because it does not read the file.
    blind: &'static [&'static str],
}

fn note_with(bytes: &[u8], change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let mut lines: Vec<String> = std::str::from_utf8(bytes).unwrap().split('\n').map(str::to_owned).collect();
    change(&mut lines);
    lines.join("\n").into_bytes()
}

const KINDS: [Tampering; 10] = [
    Tampering {
        what: "a flipped bit in a record",
        file: "tile/entries/000",
        change: |bytes| flipped(bytes, 2_000),
        blind: &[],
    },
    Tampering {
        what: "a flipped bit in a record of the growing bundle",
        file: "tile/entries/001.p/*",
        change: |bytes| flipped(bytes, 100),
        blind: &[],
    },
    Tampering {
        what: "a bundle cut short",
        file: "tile/entries/000",
        change: |bytes| bytes[..bytes.len() - 1].to_vec(),
        blind: &[],
    },
    Tampering {
        what: "a bundle with half a record more",
        file: "tile/entries/000",
        change: |bytes| [bytes, b"\x00\x05more"].concat(),
        blind: &[],
    },
    Tampering {
        what: "a flipped bit in a tile",
        file: "tile/0/000",
        change: |bytes| flipped(bytes, 32 * 77),
        blind: &[],
    },
    Tampering {
        what: "a flipped bit in the growing tile",
        file: "tile/0/001.p/*",
        change: |bytes| flipped(bytes, 5),
        blind: &[],
    },
    Tampering {
        what: "a flipped bit in a tile of the level above",
        file: "tile/1/000.p/1",
        change: |bytes| flipped(bytes, 31),
        // It hashes the records, and looks at level 0.
        blind: &["Python"],
    },
    Tampering {
        what: "a flipped bit in the checkpoint's signature",
        file: "checkpoint",
        change: |bytes| {
            note_with(bytes, |lines| {
                let line = &mut lines[4];
                let at = line.len() - 20;
                let other = if &line[at..=at] == "A" { "B" } else { "A" };
                line.replace_range(at..=at, other);
            })
        },
        blind: &[],
    },
    Tampering {
        what: "a swapped root",
        file: "checkpoint",
        change: |bytes| {
            note_with(bytes, |lines| lines[2] = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned())
        },
        blind: &[],
    },
    Tampering {
        what: "a smaller size",
        file: "checkpoint",
        change: |bytes| note_with(bytes, |lines| lines[1] = "256".to_owned()),
        blind: &[],
    },
];

#[test]
fn an_exported_log_is_accepted_whole_and_refused_however_it_was_tampered_with() {
    let evidence = Evidence::of(140);
    let log = evidence.log("log");
    for verifier in ALL {
        accepted(verifier, "the exported log", &verifier.log(&evidence.key, &log));
    }
    for Tampering { what, file, change, blind } in &KINDS {
        let path = find(&log, file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, change(&good)).unwrap();
        for verifier in ALL {
            let output = verifier.log(&evidence.key, &log);
            if blind.contains(&format!("{verifier:?}").as_str()) {
                accepted(verifier, what, &output);
            } else {
                refused(verifier, what, &output);
            }
        }
        std::fs::write(&path, good).unwrap();
    }
    let other = Evidence::of(1);
    for verifier in ALL {
        accepted(verifier, "the log as it was", &verifier.log(&evidence.key, &log));
        refused(verifier, "the log under another log's key", &verifier.log(&other.key, &log));
    }
}

#[test]
fn cosigned_receipts_and_logs_are_accepted_by_programs_that_know_no_cosigner() {
    let mut evidence = Evidence::of(3);
    let name = evidence.place.config.log_key.name().to_string();
    let (secret, key) =
        portcullis_ledger::generate_cosigner(&name, portcullis_verify::CosignerKind::MlDsa44).unwrap();
    crate::support::witnesses::private(&evidence.place.path("keys/second.key"), &secret);
    let section = format!("[cosigning]\nkey = \"{key}\"\nkey_file = \"keys/second.key\"\n");
    evidence.place.add_sections(&section);
    evidence.portcullis(&["log", "cosign"]);
    let log = evidence.place.path("log");
    evidence.portcullis(&["log", "export", &text(&log), "--cosigned"]);
    let receipts = evidence.receipts();
    for file in receipts.iter().chain([&log.join("checkpoint")]) {
        let note = std::fs::read_to_string(file).unwrap();
        assert_eq!(note.lines().filter(|line| line.starts_with('\u{2014}')).count(), 2, "{}", file.display());
    }
    for verifier in ALL {
        accepted(verifier, "a cosigned log", &verifier.log(&evidence.key, &log));
        accepted(verifier, "cosigned receipts", &verifier.receipts(&evidence.key, &receipts));
    }
}

/// A file by its name, whose last element may be `*`.
fn find(log: &std::path::Path, file: &str) -> PathBuf {
    match file.strip_suffix("/*") {
        None => log.join(file),
        Some(folder) => {
            let mut entries = std::fs::read_dir(log.join(folder)).unwrap();
            entries.next().unwrap().unwrap().path()
        }
    }
}

#[test]
fn a_grown_log_contains_the_earlier_one_and_a_forked_one_does_not() {
    let evidence = Evidence::of(3);
    let log = evidence.log("log");
    let kept = text(&evidence.place.path("kept"));
    std::fs::copy(log.join("checkpoint"), &kept).unwrap();
    evidence.grow(130);
    evidence.log("log");
    let grown = run_go(&["grown", &evidence.key, &kept, &text(&log)]);
    accepted(Verifier::Go, "a log that grew", &grown);
    // An earlier head over other records: signed by the same key, which is what a fork is.
    let forked = evidence.place.path("forked");
    let note = std::fs::read_to_string(&kept).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let mut head: portcullis_verify::Checkpoint =
        note.split("\n\n").next().map(|text| format!("{text}\n")).unwrap().parse().unwrap();
    head.root = portcullis_verify::merkle::leaf_hash(b"another history");
    let signed = sign(&evidence, &head.to_string());
    std::fs::write(&forked, signed).unwrap();
    let fork = run_go(&["grown", &evidence.key, &text(&forked), &text(&log)]);
    refused(Verifier::Go, "a fork", &fork);
    let ours = std::process::Command::new(crate::program())
        .args(["log", "verify", &text(&log), "--key", &evidence.key, "--since", &text(&forked)])
        .output()
        .unwrap();
    refused(Verifier::Ours, "a fork", &ours);
    assert!(String::from_utf8_lossy(&ours.stdout).contains(&format!("first {size} records")));
}

/// A note of this text, signed by the log's own key: the operator who cheats has it.
fn sign(evidence: &Evidence, text: &str) -> String {
    use portcullis_ledger::{KeyFile, Signer};
    let mut signer = KeyFile::new(evidence.place.path("keys/log.key"), evidence.place.config.log_key.clone());
    let signature = signer.sign(portcullis_verify::note::signed_text(text).unwrap()).unwrap();
    format!("{text}\n{}", portcullis_verify::note::signature_line(&evidence.place.config.log_key, &signature))
}
