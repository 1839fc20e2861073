//! Receipts, one by one.

use std::path::PathBuf;

use crate::{ALL, Evidence, accepted, refused};

/// A way to spoil a receipt, line by line. Its lines: header, extra, index, hashes, an empty line, and the checkpoint.
type Change = fn(&mut Vec<String>);

fn letter(line: &mut String, at: usize) {
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    line.replace_range(at..=at, other);
}

const KINDS: [(&str, Change); 9] = [
    ("a changed record", |lines| letter(&mut lines[1], 40)),
    ("no record", |lines| drop(lines.remove(1))),
    ("another index", |lines| lines[2] = "index 9".to_owned()),
    ("a changed hash", |lines| letter(&mut lines[3], 7)),
    ("a hash less", |lines| drop(lines.remove(3))),
    ("a hash more", |lines| lines.insert(3, lines[3].clone())),
    ("two hashes in each other's place", |lines| lines.swap(3, 4)),
    ("a truncated checkpoint", |lines| lines.truncate(lines.len() - 2)),
    ("a swapped root", |lines| {
        let root = lines.len() - 4;
        letter(&mut lines[root], 3);
    }),
];

#[test]
fn receipts_are_accepted_and_refused_however_they_were_tampered_with() {
    let evidence = Evidence::of(12);
    let files = evidence.receipts();
    assert_eq!(files.len(), 13);
    for verifier in ALL {
        accepted(verifier, "the receipts", &verifier.receipts(&evidence.key, &files));
    }
    let good = std::fs::read_to_string(&files[2]).unwrap();
    let bad: PathBuf = evidence.place.path("bad.tlog-proof");
    for (what, change) in KINDS {
        let mut lines: Vec<String> = good.split('\n').map(str::to_owned).collect();
        change(&mut lines);
        let spoiled = lines.join("\n");
        assert_ne!(spoiled, good, "{what}");
        std::fs::write(&bad, spoiled).unwrap();
        for verifier in ALL {
            refused(verifier, what, &verifier.receipts(&evidence.key, std::slice::from_ref(&bad)));
        }
    }
    let other = Evidence::of(1);
    for verifier in ALL {
        refused(verifier, "another log's key", &verifier.receipts(&other.key, &files));
    }
}
