//! Cosignatures that our witnesses and a log's own second key make.

use std::path::PathBuf;

use portcullis_ledger::generate_cosigner;
use portcullis_verify::witness::AddCheckpoint;
use portcullis_verify::{CosignerKey, CosignerKind, UnverifiedCheckpoint, VerifiedCheckpoint};

use crate::support::witnesses::private;
use crate::support::{Place, WitnessProcess, text};
use crate::{Evidence, Verifier, accepted, refused, run_python};

const KINDS: [CosignerKind; 2] = [CosignerKind::Ed25519, CosignerKind::MlDsa44];

/// A checkpoint that a key cosigned.
struct Cosigned {
    key: CosignerKey,
    note: String,
}

impl Cosigned {
    /// By a witness of this kind, which never saw the log.
    fn by_witness(place: &Place, name: &str, kind: CosignerKind, head: &VerifiedCheckpoint) -> Self {
        let witness = WitnessProcess::start(place, name, kind);
        let answer = witness.add(&AddCheckpoint::body(0, &[], head));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let note = format!("{}{}", std::str::from_utf8(head.note_bytes()).unwrap(), answer.body);
        Self { key: witness.key.clone(), note }
    }

    /// The line of the cosignature, which is the last.
    fn line(&self) -> &str {
        self.note.lines().last().unwrap()
    }

    /// The note with another character at a place in the base64 of the cosignature.
    fn changed(&self, at: usize) -> String {
        let (before, base64) = self.line().rsplit_once(' ').unwrap();
        let mut base64 = base64.to_owned();
        let other = if base64.as_bytes()[at] == b'A' { "B" } else { "A" };
        base64.replace_range(at..=at, other);
        self.note.replace(self.line(), &format!("{before} {base64}"))
    }
}

/// Both say the same of a checkpoint: the peer, and ours.
#[track_caller]
fn agree(evidence: &Evidence, key: &CosignerKey, note: &str, what: &str, accepts: bool) {
    let file = evidence.place.file("cosigned", note);
    let output = run_python("log_check.py", &["cosigned", &evidence.key, &key.to_string(), &text(&file)]);
    let ours = UnverifiedCheckpoint::parse(note.as_bytes())
        .unwrap()
        .verify(std::slice::from_ref(&evidence.place.config.log_key))
        .unwrap()
        .cosigned_by(std::slice::from_ref(key))
        .is_ok();
    assert_eq!(ours, accepts, "{what}");
    if accepts { accepted(Verifier::Python, what, &output) } else { refused(Verifier::Python, what, &output) }
}

#[test]
fn what_a_witness_cosigned_is_accepted_and_refused_however_it_was_tampered_with() {
    let evidence = Evidence::of(2);
    let older = evidence.place.head();
    evidence.grow(1);
    let newer = evidence.place.head();
    assert!(newer.size() > older.size());
    for kind in KINDS {
        let own = |name: &str, head| {
            Cosigned::by_witness(&evidence.place, &format!("{name}{}", kind.as_str()), kind, head)
        };
        let (cosigned, other) = (own("one", &newer), own("two", &older));
        let says = |note: &str, what: &str, accepts| {
            agree(&evidence, &cosigned.key, note, &format!("{what}, {kind:?}"), accepts)
        };
        says(&cosigned.note, "the checkpoint", true);
        agree(&evidence, &other.key, &other.note, "the older one", true);
        let length = cosigned.line().rsplit(' ').next().unwrap().len();
        // Four bytes of the key id, eight of the time, and the signature.
        for (at, what) in
            [(1, "another key id"), (15, "another time"), (17, "another signature"), (length - 8, "its end")]
        {
            says(&cosigned.changed(at), what, false);
        }
        let line = format!("{}\n", cosigned.line());
        says(&cosigned.note.replace(&line, ""), "without the line", false);
        let renamed = line.replace("witness.test/one", "witness.test/two");
        says(&cosigned.note.replace(&line, &renamed), "under another name", false);
        // A line of an older checkpoint says nothing of a newer one.
        let own_of_older = format!("{}{line}", std::str::from_utf8(older.note_bytes()).unwrap());
        says(&own_of_older, "the line under another checkpoint", false);
        agree(&evidence, &other.key, &cosigned.note, "by another key", false);
    }
}

#[test]
fn what_the_logs_second_key_cosigned_is_accepted_and_refused_without_its_line() {
    let mut evidence = Evidence::of(2);
    let place = &mut evidence.place;
    let name = place.config.log_key.name().to_string();
    let (secret, key) = generate_cosigner(&name, CosignerKind::MlDsa44).unwrap();
    private(&place.path("keys/second.key"), &secret);
    place.add_sections(&format!("[cosigning]\nkey = \"{key}\"\nkey_file = \"keys/second.key\"\n"));
    evidence.portcullis(&["log", "cosign"]);
    let directory: PathBuf = evidence.place.path("cosigned-log");
    evidence.portcullis(&["log", "export", &text(&directory), "--cosigned"]);
    let note = std::fs::read_to_string(directory.join("checkpoint")).unwrap();
    agree(&evidence, &key, &note, "an exported log's checkpoint", true);
    let seq = evidence.place.rows()[0].record.seq.to_string();
    let receipt = String::from_utf8(evidence.portcullis(&["receipts", "show", &seq])).unwrap();
    let (proof, cosigned) = receipt.split_once("\n\n").unwrap();
    agree(&evidence, &key, cosigned, "a receipt's checkpoint", true);
    let line = cosigned.lines().last().unwrap();
    for (what, cosigned) in [
        ("a receipt", cosigned.to_owned()),
        ("a receipt without the line", cosigned.replace(&format!("{line}\n"), "")),
    ] {
        let file = evidence.place.file("receipt", &format!("{proof}\n\n{cosigned}"));
        let arguments = ["cosigned", &evidence.key, &key.to_string(), &text(&file)];
        let output = run_python("log_check.py", &arguments);
        if what == "a receipt" {
            accepted(Verifier::Python, what, &output)
        } else {
            refused(Verifier::Python, what, &output)
        }
    }
}
