use super::*;
use crate::testing::{TestKey, TestLog};
use crate::tree::consistency_proof;
use crate::trust::LogKey;

fn submitted(log: &TestLog, old: u64, new: u64) -> Result<Submitted, NotWitnessed> {
    let proof = consistency_proof(old, new, &log.reader()).unwrap();
    AddCheckpoint::parse(&AddCheckpoint::body(old, &proof, &log.verified_at(new)))?.verify(&alone(&log.key))
}

fn alone(key: &TestKey) -> LogKeys {
    LogKeys::from(&key.public)
}

#[test]
fn a_log_that_grows_is_cosigned_from_every_size_to_every_other() {
    let log = TestLog::new(20);
    for new in 0..=20 {
        for old in 0..=new {
            let submitted = submitted(&log, old, new).unwrap();
            assert_eq!(submitted.extends(Some(&log.checkpoint_at(old))), Ok(()), "{old} to {new}");
            if old > 0 {
                assert_eq!(submitted.extends(None), Err(NotWitnessed::Conflict { seen: 0 }));
            }
        }
    }
    let fresh = submitted(&log, 0, 7).unwrap();
    assert_eq!(fresh.extends(None), Ok(()));
}

#[test]
fn the_size_seen_is_told_before_anything_is_proved() {
    let log = TestLog::new(20);
    for seen in [0, 5, 12, 19, 20] {
        let refused = submitted(&log, 7, 15).unwrap().extends(Some(&log.checkpoint_at(seen))).unwrap_err();
        assert_eq!((refused.http_status(), refused), (409, NotWitnessed::Conflict { seen }));
    }
    assert_eq!(seen_size(b"20\n"), Some(20));
    for body in ["20", "020\n", "+20\n", "\n", "20\n\n", " 20\n", "18446744073709551616\n"] {
        assert_eq!(seen_size(body.as_bytes()), None, "`{body}`");
    }
}

#[test]
fn another_history_is_not_cosigned() {
    let mut fork = TestLog::new(6);
    fork.append(b"another");
    let log = TestLog::new(12);
    (0..5).for_each(|_| fork.append(b"more"));
    // One size, two roots.
    let same = submitted(&fork, 12, 12).unwrap().extends(Some(&log.checkpoint_at(12))).unwrap_err();
    assert_eq!(same, NotWitnessed::OtherRoot { seen: 12 });
    assert_eq!(same.http_status(), 409);
    // A longer tree on another history.
    let longer = submitted(&fork, 8, 12).unwrap().extends(Some(&log.checkpoint_at(8))).unwrap_err();
    assert_eq!(longer.http_status(), 422);
    // The fork begins at 6: up to there both are one.
    assert_eq!(submitted(&fork, 6, 12).unwrap().extends(Some(&log.checkpoint_at(6))), Ok(()));
}

#[test]
fn a_proof_that_proves_nothing_is_not_cosigned() {
    let log = TestLog::new(12);
    let good = consistency_proof(5, 12, &log.reader()).unwrap();
    let head = log.verified_at(12);
    let judge = |old: u64, proof: &[Hash], seen: u64| {
        let body = AddCheckpoint::body(old, proof, &head);
        let submitted = AddCheckpoint::parse(&body).unwrap().verify(&alone(&log.key)).unwrap();
        submitted.extends(Some(&log.checkpoint_at(seen))).map_err(|refused| refused.http_status())
    };
    assert_eq!(judge(5, &good, 5), Ok(()));
    assert_eq!(judge(5, &good[1..], 5), Err(422));
    assert_eq!(judge(5, &[], 5), Err(422));
    assert_eq!(judge(5, &[good.clone(), vec![empty_root()]].concat(), 5), Err(422));
    // From an empty tree nothing is to be proved, and nothing may be.
    assert_eq!(judge(0, &good, 0), Err(422));
    assert_eq!(judge(0, &[], 0), Ok(()));
}

#[test]
fn only_the_log_itself_can_submit_its_checkpoints() {
    let log = TestLog::new(4);
    let head = log.checkpoint_at(4).to_string();
    let parse = |note: &str| AddCheckpoint::parse(format!("old 0\n\n{note}").as_bytes()).unwrap();
    let judge = |note: &str, keys: &LogKeys| {
        parse(note).verify(keys).map(drop).map_err(|refused| refused.http_status())
    };
    let only = &alone(&log.key);
    let stranger = TestKey::new("gate.example/log", 2);
    let other = TestKey::new("other.example/log", 3);
    assert_eq!(judge(&log.key.note(&head), only), Ok(()));
    assert_eq!(judge(&log.key.note(&head), &alone(&other)), Err(404));
    assert_eq!(judge(&stranger.note(&head), only), Err(403));
    assert_eq!(
        judge(&other.note(&head), &vec![log.key.public.clone(), other.public.clone()].into()),
        Err(403)
    );
    // The known key's id over a wrong signature, even beside a good one.
    let wrong = log.key.line("something else\n");
    assert_eq!(judge(&format!("{}{wrong}", log.key.note(&head)), only), Err(403));
    // Unknown lines are ignored.
    assert_eq!(judge(&format!("{}{}", log.key.note(&head), stranger.line(&head)), only), Ok(()));
}

#[test]
fn a_witness_follows_a_replaced_key_and_no_stolen_one() {
    let log = TestLog::new(8);
    let new = TestKey::new("gate.example/log", 2);
    let judge = |size: u64, signers: &[&TestKey], keys: &[String]| {
        let text = log.checkpoint_at(size).to_string();
        let lines: String = signers.iter().map(|signer| signer.line(&text)).collect();
        let body = format!("old 0\n\n{text}\n{lines}");
        let keys = LogKeys::new(keys.iter().map(|key| key.parse::<LogKey>().unwrap()).collect());
        AddCheckpoint::parse(body.as_bytes()).unwrap().verify(&keys).map(drop).map_err(|e| e.http_status())
    };
    let (old_vkey, new_vkey) = (log.key.public.to_string(), new.public.to_string());
    let retired = [format!("{old_vkey} until 5"), new_vkey.clone()];
    assert_eq!(judge(5, &[&log.key], &retired), Ok(()));
    assert_eq!(judge(6, &[&log.key], &retired), Err(403));
    assert_eq!(judge(6, &[&new], &retired), Ok(()));
    let revoked = [format!("{old_vkey} revoked"), new_vkey.clone()];
    assert_eq!(judge(5, &[&log.key], &revoked), Err(403));
    assert_eq!(judge(6, &[&log.key, &new], &revoked), Ok(()));
    // A log all of whose keys were stolen is a known one.
    assert_eq!(judge(5, &[&log.key], &[format!("{old_vkey} revoked")]), Err(403));
}

#[test]
fn every_malformed_body_is_refused() {
    let log = TestLog::new(4);
    let note = log.key.note(&log.checkpoint_at(4).to_string());
    let hash = empty_root();
    let old_above = format!("old 5\n\n{note}");
    let refused = AddCheckpoint::parse(old_above.as_bytes()).unwrap().verify(&alone(&log.key)).unwrap_err();
    assert_eq!((refused.http_status(), refused), (400, NotWitnessed::OldAboveNew { old: 5, size: 4 }));
    let many = format!("{hash}\n").repeat(64);
    let bodies = [
        String::new(),
        "old 0".to_owned(),
        "old 0\n".to_owned(),
        "old 0\n\n".to_owned(),
        note.clone(),
        format!("\n{note}"),
        format!("old\n\n{note}"),
        format!("old 00\n\n{note}"),
        format!("old -1\n\n{note}"),
        format!("old 0 \n\n{note}"),
        format!("OLD 0\n\n{note}"),
        format!("old 0\r\n\n{note}"),
        format!("old 0\nnot base64\n\n{note}"),
        format!("old 0\n{hash} \n\n{note}"),
        format!("old 0\n{many}\n{note}"),
        format!("old 0\n\n\n{note}"),
        format!("old 0\n\n{}", note.replace("\n4\n", "\n04\n")),
        format!("old 0\n\n{note}more"),
        format!("old 0\n\n{}", "x".repeat(MAX_REQUEST_BYTES)),
    ];
    for body in bodies {
        let refused = AddCheckpoint::parse(body.as_bytes()).map(drop).unwrap_err();
        assert_eq!(refused.http_status(), 400, "`{body}`: {refused}");
    }
    // The empty tree has one root.
    let zero = log.key.note(&format!("gate.example/log\n0\n{}\n", Hash([7; 32])));
    let refused = AddCheckpoint::parse(format!("old 0\n\n{zero}").as_bytes()).map(drop).unwrap_err();
    assert_eq!(refused.http_status(), 422);
}
