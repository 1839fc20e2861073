//! Every head of a log that is shown anywhere, by its size: whatever fails when, two roots are never signed for one size.
//!
//! A signature cannot be seen where it is made, but where it is used: in the anchor, in what is kept of what was released, in
//! receipts off the disk, and in every answer that an arbiter gives its gate. All of them are looked at again and again, while the
//! log lives, and what was seen once is never forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use portcullis_verify::{Hash, UnverifiedCheckpoint};

use crate::support::{Place, text};

/// Where heads are seen.
pub(crate) const SOURCES: [&str; 4] = ["anchor", "released", "receipts", "answers"];

/// More bytes than a head has.
const HEAD: usize = 4096;

/// What was answered on each connection, and was not looked through yet.
type Answers = Arc<Mutex<Vec<Vec<u8>>>>;

/// The heads of one log.
pub(crate) struct Roots {
    /// Where a gate reaches the arbiter: all that is answered there is noted before it is handed on.
    pub(crate) url: String,
    answers: Answers,
    seen: BTreeMap<u64, BTreeSet<Hash>>,
    /// How many different heads were seen where.
    counted: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Roots {
    /// Those of a deployment, of which none was seen yet.
    pub(crate) fn of(place: &Place) -> Self {
        let own = place.path("noted.sock");
        let answers = Answers::default();
        hand_on(&own, place.socket(), Arc::clone(&answers));
        let url = format!("unix:{}", text(&own));
        Self { url, answers, seen: BTreeMap::new(), counted: BTreeMap::new() }
    }

    /// Looks at the anchor, at what was released, and at what was answered.
    pub(crate) fn look(&mut self, place: &Place) {
        // One that cannot be read shows nothing now.
        let file = |path: &Path| std::fs::read(path).unwrap_or_default();
        self.note(place, "anchor", &file(&place.config.anchor));
        self.note(place, "released", &file(&place.config.data.join("released")));
        let answered: Vec<Vec<u8>> = {
            let mut answers = self.answers.lock().unwrap();
            // The end of one may be the beginning of a head.
            let rest = |bytes: &mut Vec<u8>| {
                let end = bytes.split_off(bytes.len().saturating_sub(HEAD));
                [std::mem::replace(bytes, end.clone()), end].concat()
            };
            answers.iter_mut().map(rest).collect()
        };
        for bytes in answered {
            // An answer has its receipt as JSON.
            let text = String::from_utf8_lossy(&bytes).replace("\\n", "\n");
            self.note(place, "answers", text.as_bytes());
        }
    }

    /// Takes in what lies in receipts.
    pub(crate) fn receipts(&mut self, place: &Place, receipts: &[u8]) {
        self.note(place, "receipts", receipts);
    }

    /// The heads in some bytes that the log's key has signed.
    fn note(&mut self, place: &Place, source: &'static str, bytes: &[u8]) {
        let counted = self.counted.entry(source).or_default();
        for note in notes(&String::from_utf8_lossy(bytes), place.config.log_key.name().as_str()) {
            if counted.contains(&note) {
                continue;
            }
            let head = UnverifiedCheckpoint::parse(note.as_bytes());
            // What was torn, or flipped, nobody has signed.
            if let Ok(head) = head.and_then(|head| head.verify_with(&place.config.log_keys)) {
                self.seen.entry(head.size()).or_default().insert(head.root());
                counted.insert(note);
            }
        }
    }

    /// The sizes for which more than one root was seen.
    pub(crate) fn split(&self) -> Vec<u64> {
        self.seen.iter().filter(|(_, roots)| roots.len() > 1).map(|(size, _)| *size).collect()
    }

    /// How many different heads were seen where.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.counted.iter().map(|(source, heads)| (*source, heads.len()))
    }
}

/// Everything in a text that has the form of a note with a head of this log.
fn notes(text: &str, origin: &str) -> Vec<String> {
    let begin = format!("{origin}\n");
    let note = |(at, _): (usize, &str)| {
        let (body, signatures) = text[at..].split_once("\n\n")?;
        let signatures: Vec<_> = signatures.split('\n').take_while(|line| line.starts_with('—')).collect();
        (body.lines().count() == 3 && !signatures.is_empty())
            .then(|| format!("{body}\n\n{}\n", signatures.join("\n")))
    };
    text.match_indices(&begin).filter_map(note).collect()
}

/// Hands all that comes to a socket on to another, and what is answered back, noted.
fn hand_on(own: &Path, to: PathBuf, answers: Answers) {
    let listener = UnixListener::bind(own).unwrap();
    std::thread::spawn(move || {
        for gate in listener.incoming().flatten() {
            // Where nobody listens the gate's connection is closed.
            let Ok(arbiter) = UnixStream::connect(&to) else { continue };
            let (from_gate, to_arbiter) = (gate.try_clone(), arbiter.try_clone());
            let (Ok(from_gate), Ok(to_arbiter)) = (from_gate, to_arbiter) else { continue };
            std::thread::spawn(move || pass(from_gate, to_arbiter, |_| {}));
            let answers = Arc::clone(&answers);
            let place = {
                let mut answers = answers.lock().unwrap();
                answers.push(Vec::new());
                answers.len() - 1
            };
            std::thread::spawn(move || {
                pass(arbiter, gate, |bytes| answers.lock().unwrap()[place].extend_from_slice(bytes));
            });
        }
    });
}

/// Until either end is closed.
fn pass(mut from: UnixStream, mut to: UnixStream, note: impl Fn(&[u8])) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        note(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // One that is closed already need not be.
        drop(end.shutdown(Shutdown::Both));
    }
}

#[test]
fn a_head_is_found_wherever_it_lies_and_what_is_no_head_is_not() {
    let head = "a.test/log\n12\nAAAA\n\n— a.test/log AbC=\n— w.test/w1 DeF=\n";
    let found = |text: &str| notes(text, "a.test/log");
    assert_eq!(found(head), [head]);
    assert_eq!(found(&format!("\u{1}\u{fffd}{head}\u{0}\u{0}")), [head], "in a slot");
    assert_eq!(found(&format!("index 3\nAAAA\n\n{head}more")), [head], "behind a proof");
    assert_eq!(found(&format!("{head}{head}")), [head, head]);
    assert_eq!(found(&head.replace("\n\n—", "\n\nx")), [""; 0], "unsigned");
    assert_eq!(found("a.test/log\n12\n"), [""; 0], "cut off");
    assert_eq!(notes(head, "b.test/log"), [""; 0]);
}
