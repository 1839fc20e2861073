//! `portcullis witness` over its socket, against c2sp.org/tlog-witness.

use portcullis_verify::cosignature::CosignerKey;
use portcullis_verify::{CosignerKind, Quorum, VerifiedCheckpoint};

use crate::support::{Daemon, Place, WitnessProcess};

/// A log of some records that is not running, and its head.
fn log(place: &Place) -> VerifiedCheckpoint {
    let daemon = Daemon::start(place);
    daemon.end(rustix::process::Signal::TERM);
    place.head()
}

fn body(old: u64, head: &VerifiedCheckpoint, place: &Place) -> Vec<u8> {
    let beside = portcullis_ledger::Beside::new(&place.config.data);
    let proof = if old == 0 { Vec::new() } else { beside.consistency(old, head).unwrap() };
    portcullis_verify::witness::AddCheckpoint::body(old, &proof, head)
}

fn cosigned(head: &VerifiedCheckpoint, lines: &str, key: &CosignerKey) {
    let quorum = Quorum::new(1, vec![key.clone()]).unwrap();
    let cosigned = head.with_lines(lines, std::slice::from_ref(key)).unwrap();
    assert!(quorum.check(&cosigned).unwrap()[0].time() > 1_700_000_000);
}

#[test]
fn a_witness_answers_as_the_specification_says_and_forgets_nothing_when_killed() {
    let place = Place::demo();
    let older = log(&place);
    let newer = log(&place);
    assert!(newer.size() > older.size());
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    let key = witness.key.clone();
    // Never seen: the size is 0, and only that is told.
    let conflict = witness.add(&body(older.size(), &older, &place));
    assert_eq!((conflict.status, conflict.body.as_str()), (409, "0\n"));
    let first = witness.add(&body(0, &older, &place));
    assert_eq!(first.status, 200, "{}", first.body);
    cosigned(&older, &first.body, &key);
    // Again, with its own size.
    assert_eq!(witness.add(&body(older.size(), &older, &place)).status, 200);
    witness.kill();
    witness.again();
    let conflict = witness.add(&body(0, &newer, &place));
    assert_eq!((conflict.status, conflict.body), (409, format!("{}\n", older.size())));
    let grown = witness.add(&body(older.size(), &newer, &place));
    assert_eq!(grown.status, 200, "{}", grown.body);
    cosigned(&newer, &grown.body, &key);
    // It never goes back.
    assert_eq!(witness.add(&body(older.size(), &older, &place)).status, 409);
    assert_eq!(witness.add(&body(0, &older, &place)).body, format!("{}\n", newer.size()));
    // What it tells monitors: the log's line and its own.
    let path = format!("/{}/checkpoint", sha256(place.config.log_key.name().as_str()));
    let told = witness.get(&path);
    assert_eq!((told.status, told.body.as_str()), (200, witness.kept().as_str()));
    assert_eq!(told.body.lines().filter(|line| line.starts_with('\u{2014}')).count(), 2);
    assert_eq!(witness.get(&format!("/{}/checkpoint", sha256("other"))).status, 404);
}

fn sha256(text: &str) -> String {
    portcullis_protocol::Digest::sha256(text.as_bytes())
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn what_is_not_the_logs_own_is_refused_with_its_status() {
    let place = Place::demo();
    let head = log(&place);
    let witness = WitnessProcess::start(&place, "w1", CosignerKind::MlDsa44);
    let text = String::from_utf8(head.note_bytes().to_vec()).unwrap();
    let origin = head.origin().as_str();
    let line = text.lines().last().unwrap();
    let other_size = text.replace(&format!("\n{}\n", head.size()), &format!("\n{}\n", head.size() + 1));
    let cases = [
        (404, format!("old 0\n\n{}", text.replace(origin, "stranger.test/log"))),
        (403, format!("old 0\n\n{other_size}")),
        (403, format!("old 0\n\n{}", text.replace(line, &line.replacen(origin, "stranger.test/log", 1)))),
        (400, format!("old {}\n\n{text}", head.size() + 1)),
        (400, format!("old zero\n\n{text}")),
        (400, String::new()),
        (422, format!("old 0\n{}\n\n{text}", head.root())),
    ];
    for (status, body) in cases {
        let answer = witness.add(body.as_bytes());
        assert_eq!(answer.status, status, "`{body}`: {}", answer.body);
        assert!(!answer.body.contains('\u{2014}'), "{}", answer.body);
    }
    assert_eq!(witness.add(&vec![b'x'; 200_000]).status, 413);
    assert_eq!(witness.add(&body(0, &head, &place)).status, 200);
}

#[test]
fn of_many_at_once_one_history_is_cosigned() {
    let place = Place::demo();
    let heads: Vec<VerifiedCheckpoint> = (0..5).map(|_| log(&place)).collect();
    let witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    let bodies: Vec<Vec<u8>> = heads.iter().map(|head| body(0, head, &place)).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = bodies.iter().map(|body| scope.spawn(|| witness.add(body))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    // All claim that it has seen nothing: that is true of one of them.
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 4);
}

#[test]
fn a_damaged_state_is_no_empty_one() {
    let place = Place::demo();
    let head = log(&place);
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    assert_eq!(witness.add(&body(0, &head, &place)).status, 200);
    let kept = witness.kept();
    witness.kill();
    let file = std::fs::read_dir(&witness.state).unwrap().map(|entry| entry.unwrap().path());
    let file =
        file.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "checkpoint")).unwrap();
    for damaged in ["", &kept[..kept.len() - 9], &kept.replace(&format!("\n{}\n", head.size()), "\n1\n")] {
        std::fs::write(&file, damaged).unwrap();
        let said = witness.refuses();
        assert!(said.contains("holds no checkpoint that log"), "{said}");
    }
}

#[test]
fn a_state_that_is_missing_was_taken_for_one_that_has_seen_nothing() {
    let place = Place::demo();
    let head = log(&place);
    let mut witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    assert_eq!(witness.add(&body(0, &head, &place)).status, 200);
    witness.kill();
    let away = place.path("away");
    for missing in [witness.file(), witness.state.clone()] {
        std::fs::rename(&missing, &away).unwrap();
        for _ in 0..2 {
            let said = witness.refuses();
            assert!(said.contains("is not there: what this witness has seen of log"), "{said}");
        }
        std::fs::rename(&away, &missing).unwrap();
    }
    // A log begins once, and none begins that is not served.
    for (origin, error) in
        [(head.origin().as_str(), "is there already"), ("stranger.test/log", "no key of log")]
    {
        let said = witness.begins(origin).unwrap_err();
        assert!(said.contains(error), "{said}");
    }
    witness.again();
    assert_eq!(witness.add(&body(0, &head, &place)).body, format!("{}\n", head.size()));
}

#[test]
fn connections_that_never_send_their_body_kept_others_from_being_cosigned() {
    use std::io::Write;
    let place = Place::demo();
    let head = log(&place);
    let witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    let idle: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(&witness.address).unwrap();
            stream
                .write_all(b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    // Those are attended to before: one connection is accepted after the other.
    (0..20).for_each(|_| assert_eq!(witness.get("/nothing/checkpoint").status, 404));
    assert_eq!(witness.add(&body(0, &head, &place)).status, 200);
    drop(idle);
}
