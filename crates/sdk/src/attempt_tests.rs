use super::*;
use crate::outcomes::Outcomes;
use crate::refusal::Unverifiable;
use crate::testing::{LONG, Log, attempt, outcomes, permit, refusal, request, text, wait_until};
use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::{
    AggregateRecord, Domain, Event, EventRecord, Keeper, LateRecord, Millis, Outcome, OutcomeRecord,
    ReasonCode, Resource, SpoolId, Spooled,
};
use portcullis_verify::{CosignerKey, CosignerKind};

const DEADLINE: Duration = Duration::from_secs(1);

/// What a receipt of the PERMIT of this attempt comes to, once its record was changed before it was signed.
fn redeemed(change: impl FnOnce(&mut DecisionRecord)) -> Result<Permit, Refusal> {
    let (log, attempt) = (Log::new(), attempt());
    let mut record = permit(&attempt.call(DEADLINE), LONG);
    change(&mut record);
    attempt.redeem(&log.receipt(record), &log.trusted())
}

fn cause(redeemed: Result<Permit, Refusal>) -> String {
    match redeemed {
        Err(Refusal::Unverifiable(Unverifiable { cause })) => cause,
        other => panic!("must be unverifiable: {other:?}"),
    }
}

#[tokio::test]
async fn a_verified_permit_for_this_attempt_is_a_permit_for_its_request() {
    let (log, attempt) = (Log::new(), attempt());
    let (id, call) = (attempt.id(), attempt.call(DEADLINE));
    let receipt = log.receipt(permit(&call, LONG));
    let permit = attempt.redeem(&receipt, &log.trusted()).unwrap();
    assert_eq!(permit.request(), &request());
    assert_eq!((permit.attempt(), permit.receipt()), (id, receipt.as_str()));
    let running = permit.begin(&outcomes()).unwrap();
    assert_eq!(running.request(), &request());
    let report = running.finish(Outcome::Ok, Some("done".into()));
    assert_eq!(report.attempt, id);
    assert_eq!(report.call.nonce.parse::<Nonce>().unwrap().attempt_id(), id);
    assert_eq!((report.call.outcome, report.call.result.as_deref()), (Outcome::Ok, Some("done")));
}

#[test]
fn a_receipt_that_differs_in_one_bound_field_is_no_permit() {
    type Change = fn(&mut DecisionRecord);
    let changes: [(&str, Change); 10] = [
        ("attempt", |record| record.attempt = AttemptId::from_bytes([9; 32])),
        ("request", |record| record.request = Digest::sha256(b"another")),
        ("agent", |record| record.agent = "other".parse().unwrap()),
        ("principal", |record| {
            record.acts_for = Some("maya".parse().unwrap());
            record.facts.principal = PrincipalFact::Admitted;
        }),
        ("gate", |record| record.gate = "other".parse().unwrap()),
        ("surface", |record| record.surface = "payments.refund".parse().unwrap()),
        ("action", |record| record.action = "refund".parse().unwrap()),
        ("resource", |record| record.resource.id = "a-2".into()),
        ("resource", |record| record.resource.kind = "Wallet".into()),
        ("resource", |record| record.resource = Resource { kind: "a-1".into(), id: "Account".into() }),
    ];
    assert!(redeemed(|_| {}).is_ok());
    for (what, change) in changes {
        assert_eq!(cause(redeemed(change)), format!("the receipt is for another {what}"));
    }
}

/// A record that leaves out for whom the agent acts, or names another, is not of what was asked.
#[test]
fn a_receipt_for_another_principal_is_no_permit() {
    let asked = |acts_for: &str| {
        let mut request = request();
        request.ask.acts_for = Some(acts_for.parse().unwrap());
        Attempt::new("gate".parse().unwrap(), request).unwrap()
    };
    let log = Log::new();
    let redeemed = |attempt: Attempt, change: fn(&mut DecisionRecord)| {
        let mut record = permit(&attempt.call(DEADLINE), LONG);
        change(&mut record);
        attempt.redeem(&log.receipt(record), &log.trusted())
    };
    let permitted = redeemed(asked("maya"), |_| {}).unwrap();
    assert_eq!(permitted.request().ask.acts_for, Some("maya".parse().unwrap()));
    type Change = fn(&mut DecisionRecord);
    let others: [Change; 2] = [
        |record| record.acts_for = Some("kim".parse().unwrap()),
        |record| {
            record.acts_for = None;
            record.facts.principal = PrincipalFact::Nobody;
        },
    ];
    for change in others {
        assert_eq!(cause(redeemed(asked("maya"), change)), "the receipt is for another principal");
    }
    // Another's attempt commits to another request.
    let call = asked("kim").call(DEADLINE);
    let attempt = asked("maya");
    let record = DecisionRecord { attempt: attempt.id(), ..permit(&call, LONG) };
    assert_eq!(
        cause(attempt.redeem(&log.receipt(record), &log.trusted())),
        "the receipt is for another request"
    );
}

#[test]
fn a_refusals_receipt_is_no_permit() {
    for code in [ReasonCode::PolicyNoGrant, ReasonCode::EvidenceUnwritable] {
        let (log, attempt) = (Log::new(), attempt());
        let receipt = log.receipt(refusal(&attempt.call(DEADLINE), code));
        let cause = cause(attempt.redeem(&receipt, &log.trusted()));
        assert_eq!(cause, "the receipt does not record a PERMIT", "{code}");
    }
}

#[test]
fn a_receipt_that_another_key_or_another_log_signed_is_no_permit() {
    for (other, why) in [
        (Log::of("gate.example/log", 8), "the receipt's checkpoint is not valid"),
        (Log::of("gate.example/other", 7), "the receipt's checkpoint is not valid"),
    ] {
        let attempt = attempt();
        let receipt = other.receipt(permit(&attempt.call(DEADLINE), LONG));
        assert_eq!(cause(attempt.redeem(&receipt, &Log::new().trusted())), why);
    }
}

/// The late record of an attempt: all of it is as in a PERMIT's record.
fn late(attempt: &Attempt) -> LateRecord {
    let attempted = attempt.attempted(Millis(1), ReasonCode::EvidenceUnwritable);
    let entry = Spooled { spool: SpoolId::from_bytes([2; 32]), number: 0, attempted };
    LateRecord { seq: 0, time: Millis(1), keeper: Keeper::Arbiter, entry }
}

#[test]
fn a_late_record_of_this_very_attempt_is_no_permit() {
    let (log, attempt) = (Log::new(), attempt());
    let receipt = text(&log.proof_at(0, &Record::Late(late(&attempt))));
    let cause = cause(attempt.redeem(&receipt, &log.trusted()));
    assert_eq!(cause, "the receipt's record is not a decision");
}

#[test]
fn what_the_log_has_there_must_be_a_decision() {
    let (time, attempt_id) = (Millis(1), AttemptId::from_bytes([1; 32]));
    let records = [
        Record::Outcome(OutcomeRecord {
            seq: 0,
            time,
            permit: 0,
            attempt: attempt_id,
            outcome: Outcome::Ok,
            result: None,
            kept_until: None,
            supersedes: None,
            by: None,
            reason: None,
        }),
        Record::Aggregate(AggregateRecord {
            seq: 0,
            time,
            reason: None,
            agent: None,
            count: 1,
            first: time,
            last: time,
        }),
        Record::Event(EventRecord {
            seq: 0,
            time,
            event: Event::Opened,
            detail: std::collections::BTreeMap::new(),
            order: None,
        }),
        Record::Late(late(&attempt())),
    ];
    for record in records {
        let log = Log::new();
        let receipt = text(&log.proof_at(0, &record));
        let cause = cause(attempt().redeem(&receipt, &log.trusted()));
        assert_eq!(cause, "the receipt's record is not a decision", "{record:?}");
    }
}

#[test]
fn a_record_in_anothers_place_is_no_permit() {
    let (log, attempt) = (Log::new(), attempt());
    let record = DecisionRecord { seq: 3, ..permit(&attempt.call(DEADLINE), LONG) };
    let receipt = text(&log.proof_at(2, &Record::Decision(Box::new(record))));
    let cause = cause(attempt.redeem(&receipt, &log.trusted()));
    assert_eq!(cause, "the record says that it is number 3, the log has it as number 2");
}

#[test]
fn a_record_in_its_place_behind_others_is_a_permit() {
    let (log, attempt) = (Log::new(), attempt());
    let record = DecisionRecord { seq: 5, ..permit(&attempt.call(DEADLINE), LONG) };
    let receipt = text(&log.proof_at(5, &Record::Decision(Box::new(record))));
    assert!(attempt.redeem(&receipt, &log.trusted()).is_ok());
}

#[test]
fn a_receipt_altered_after_it_was_signed_is_no_permit() {
    let log = Log::new();
    let altered = |alter: fn(&mut portcullis_verify::TlogProof)| {
        let attempt = attempt();
        let record = permit(&attempt.call(DEADLINE), LONG);
        let mut proof = log.proof_at(0, &Record::Decision(Box::new(record)));
        alter(&mut proof);
        attempt.redeem(&text(&proof), &log.trusted())
    };
    assert!(altered(|_| {}).is_ok());
    let record = cause(altered(|proof| {
        let record = String::from_utf8(proof.extra.take().unwrap()).unwrap();
        proof.extra = Some(record.replace("\"permit_ttl_ms\":60000", "\"permit_ttl_ms\":99999").into());
    }));
    assert_eq!(record, "the receipt does not prove that its record is in the log");
    assert_eq!(cause(altered(|proof| proof.index = 1)), record);
    let note = cause(altered(|proof| {
        let note = String::from_utf8(proof.checkpoint.clone()).unwrap();
        proof.checkpoint = note.replacen("\n1\n", "\n2\n", 1).into_bytes();
    }));
    assert_eq!(note, "the receipt's checkpoint is not valid");
    let without = cause(altered(|proof| proof.extra = None));
    assert_eq!(without, "the proof file carries no record, so it is not a receipt");
}

#[test]
fn no_part_of_a_receipt_is_a_receipt() {
    let (log, attempt) = (Log::new(), attempt());
    let receipt = log.receipt(permit(&attempt.call(DEADLINE), LONG));
    let verifies = |text: &str| attempt.verify(text, &log.trusted()).is_ok();
    assert!(verifies(&receipt));
    for end in 0..receipt.len() {
        assert!(!receipt.is_char_boundary(end) || !verifies(&receipt[..end]), "{end}");
    }
    for text in ["PERMIT", "{}", "null", "\n"] {
        assert!(!verifies(text), "{text}");
    }
}

#[test]
fn a_receipt_permits_its_own_attempt_and_no_other() {
    let (log, first, second) = (Log::new(), attempt(), attempt());
    let receipt = log.receipt(permit(&first.call(DEADLINE), LONG));
    assert_ne!(first.id(), second.id());
    assert_eq!(cause(second.redeem(&receipt, &log.trusted())), "the receipt is for another attempt");
    assert!(first.redeem(&receipt, &log.trusted()).is_ok());
}

#[test]
fn a_lifetime_counts_from_the_attempts_beginning() {
    let (log, attempt) = (Log::new(), attempt());
    let receipt = log.receipt(permit(&attempt.call(DEADLINE), 5));
    wait_until(attempt.started.plus(Duration::from_millis(5)));
    let refusal = attempt.redeem(&receipt, &log.trusted()).unwrap_err();
    assert_eq!(refusal, Refusal::own(ReasonCode::PermitExpired, None));
}

#[test]
fn a_lifetime_of_nothing_is_over_at_once() {
    let (log, attempt) = (Log::new(), attempt());
    let receipt = log.receipt(permit(&attempt.call(DEADLINE), 0));
    let refusal = attempt.redeem(&receipt, &log.trusted()).unwrap_err();
    assert_eq!(refusal.code(), ReasonCode::PermitExpired);
}

#[test]
fn no_receipt_gives_a_longer_lifetime_than_the_gate_accepts() {
    for (ttl, lives) in [
        (9_007_199_254_740_991, LONGEST_TTL),
        (300_001, LONGEST_TTL),
        (299_999, Duration::from_millis(299_999)),
    ] {
        let (log, attempt) = (Log::new(), attempt());
        let (receipt, began) = (log.receipt(permit(&attempt.call(DEADLINE), ttl)), attempt.started);
        let permit = attempt.redeem(&receipt, &log.trusted()).unwrap();
        assert_eq!(permit.expires(), began.plus(lives), "{ttl}");
    }
}

#[test]
fn a_refusals_receipt_proves_its_code_for_its_attempt() {
    let (log, attempt) = (Log::new(), attempt());
    let mut record = refusal(&attempt.call(DEADLINE), ReasonCode::PolicyNoGrant);
    let receipt = log.receipt(record.clone());
    let proved = attempt.refused(&receipt, ReasonCode::PolicyNoGrant, &log.trusted()).unwrap();
    assert_eq!(proved, ReceiptRef { attempt: attempt.id(), index: 0, text: receipt.clone() });
    let other = attempt.refused(&receipt, ReasonCode::PolicyForbidden, &log.trusted()).unwrap_err();
    assert_eq!(other, Refusal::unverifiable("the answer and its receipt disagree"));
    record.attempt = AttemptId::from_bytes([9; 32]);
    let foreign = attempt.refused(&log.receipt(record), ReasonCode::PolicyNoGrant, &log.trusted());
    assert_eq!(foreign.unwrap_err(), Refusal::unverifiable("the receipt is for another attempt"));
}

#[test]
fn no_key_is_no_trust() {
    assert_eq!(TrustedLog::new(Vec::new()).unwrap_err(), UntrustedLog);
}

#[tokio::test]
async fn an_attempt_keeps_its_nonce_to_itself() {
    let (log, attempt) = (Log::new(), attempt());
    let call = attempt.call(DEADLINE);
    let said = format!("{attempt:?} {call:?}");
    let permit = attempt.redeem(&log.receipt(permit(&call, LONG)), &log.trusted()).unwrap();
    let shown = format!("{permit:?}");
    let running = permit.begin(&outcomes()).unwrap();
    let running_shown = format!("{running:?}");
    let nonce = running.finish(Outcome::Ok, None).call.nonce;
    for text in [said, shown, running_shown] {
        assert!(!text.contains(&nonce), "{text}");
    }
}

#[tokio::test]
async fn a_permit_bound_to_bytes_is_spent_for_these_bytes_only() {
    let sending = |bytes: &'static [u8]| {
        let log = Log::new();
        let mut request = request();
        request.ask.envelope = Some(Digest::of(Domain::Payload, &[b"{\"amount\":1}"]));
        let attempt = Attempt::new("gate".parse().unwrap(), request).unwrap();
        let receipt = log.receipt(permit(&attempt.call(DEADLINE), LONG));
        let permit = attempt.redeem(&receipt, &log.trusted()).unwrap();
        (permit.attempt(), permit, bytes)
    };
    let (_, permit, bytes) = sending(b"{\"amount\":1}");
    assert!(permit.begin_sending(bytes, &outcomes()).is_ok());
    for bytes in [&b"{\"amount\":2}"[..], b"{\"amount\":1} ", b""] {
        let (attempt, permit, bytes) = sending(bytes);
        let lapsed = permit.begin_sending(bytes, &outcomes()).unwrap_err();
        assert_eq!(lapsed.refusal, Refusal::own(ReasonCode::PermitMismatch, None));
        assert_eq!((lapsed.report.attempt, lapsed.report.call.outcome), (attempt, Outcome::Expired));
    }
    let (attempt, permit, _) = sending(b"");
    let lapsed = permit.begin(&outcomes()).unwrap_err();
    assert_eq!(lapsed.refusal.code(), ReasonCode::PermitMismatch, "bound to bytes, and begun without any");
    assert_eq!((lapsed.report.attempt, lapsed.report.call.outcome), (attempt, Outcome::Expired));
}

#[tokio::test]
async fn a_permit_bound_to_no_bytes_sends_none() {
    let (log, attempt) = (Log::new(), attempt());
    let receipt = log.receipt(permit(&attempt.call(DEADLINE), LONG));
    let lapsed =
        attempt.redeem(&receipt, &log.trusted()).unwrap().begin_sending(b"", &outcomes()).unwrap_err();
    assert_eq!(lapsed.refusal.code(), ReasonCode::PermitMismatch);
}

#[tokio::test]
async fn a_permit_that_outlived_its_lifetime_lapses_with_its_report() {
    type Spend = fn(Permit, &Outcomes) -> Result<crate::Running, Box<crate::Lapsed>>;
    let spent: [Spend; 2] = [Permit::begin, |permit, outcomes| permit.begin_sending(b"x", outcomes)];
    for (spend, envelope) in spent.into_iter().zip([None, Some(Digest::of(Domain::Payload, &[b"x"]))]) {
        let mut request = request();
        request.ask.envelope = envelope;
        let (log, attempt) = (Log::new(), Attempt::new("gate".parse().unwrap(), request).unwrap());
        let (id, receipt) = (attempt.id(), log.receipt(permit(&attempt.call(DEADLINE), 1_000)));
        let permit = attempt.redeem(&receipt, &log.trusted()).unwrap();
        wait_until(permit.expires());
        let lapsed = spend(permit, &outcomes()).unwrap_err();
        assert_eq!(lapsed.refusal, Refusal::own(ReasonCode::PermitExpired, None));
        assert_eq!((lapsed.report.attempt, lapsed.report.call.outcome), (id, Outcome::Expired));
        assert_eq!(lapsed.report.call.nonce.parse::<Nonce>().unwrap().attempt_id(), id);
    }
}

#[test]
fn a_permit_that_is_declined_ends_as_expired() {
    let (log, attempt) = (Log::new(), attempt());
    let (id, receipt) = (attempt.id(), log.receipt(permit(&attempt.call(DEADLINE), LONG)));
    let report = attempt.redeem(&receipt, &log.trusted()).unwrap().decline();
    assert_eq!((report.attempt, report.call.outcome, report.call.result), (id, Outcome::Expired, None));
}

/// Witnesses with their signing keys.
fn witnesses(names: &[&str]) -> Vec<(SigningKey, CosignerKey)> {
    let witness = |(seed, name): (u8, &&str)| {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let key = CosignerKey::new(name, CosignerKind::Ed25519, signing.verifying_key().as_bytes()).unwrap();
        (signing, key)
    };
    (50..).zip(names).map(witness).collect()
}

/// The receipt with cosignatures of these witnesses on its checkpoint.
fn cosigned(log: &Log, receipt: &str, by: &[(SigningKey, CosignerKey)]) -> String {
    let verified =
        UnverifiedReceipt::parse(receipt.as_bytes()).unwrap().verify(std::slice::from_ref(&log.key)).unwrap();
    let lines: String = by
        .iter()
        .map(|(signing, key)| {
            let message = key.message(verified.checkpoint().checkpoint(), 1_700_000_000).unwrap();
            key.line(1_700_000_000, &signing.sign(&message).to_bytes())
        })
        .collect();
    format!("{receipt}{lines}")
}

#[test]
fn a_permit_that_must_be_witnessed_is_none_without_the_quorum() {
    let log = Log::new();
    let known = witnesses(&["w1", "w2", "w3"]);
    let strangers = witnesses(&["x1", "x2", "x3", "x4"]);
    let keys = known.iter().map(|(_, key)| key.clone()).collect();
    let quorum = Quorum::new(2, keys).unwrap();
    let surfaces = |names: &[&str]| Witnessed::On(names.iter().map(|name| name.parse().unwrap()).collect());
    let pinned = |witnessed: Witnessed| log.trusted().witnessed(quorum.clone(), witnessed);
    let redeem = |asked: bool, trusted: &TrustedLog, by: &[(SigningKey, CosignerKey)]| {
        let attempt = attempt();
        let call = attempt.call(Duration::from_secs(1));
        let receipt = log.receipt(DecisionRecord { witnessed: asked, ..permit(&call, LONG) });
        attempt.redeem(&cosigned(&log, &receipt, by), trusted).map(drop).map_err(|refusal| refusal.code())
    };
    let refused = Err(ReasonCode::ReceiptUnverifiable);
    // The record asks: the quorum, or no permit; and no permit where no witness is pinned.
    for trusted in
        [pinned(surfaces(&[])), pinned(surfaces(&["payments.charge"])), pinned(Witnessed::Everywhere)]
    {
        assert_eq!(redeem(true, &trusted, &known[..2]), Ok(()));
        assert_eq!(redeem(true, &trusted, &known[..1]), refused);
        assert_eq!(redeem(true, &trusted, &strangers), refused);
        assert_eq!(redeem(true, &trusted, &[]), refused);
    }
    assert_eq!(redeem(true, &log.trusted(), &known), refused);
    // The record does not ask, and the gate does.
    for trusted in [pinned(surfaces(&["payments.charge"])), pinned(Witnessed::Everywhere)] {
        assert_eq!(redeem(false, &trusted, &known[1..]), Ok(()));
        assert_eq!(redeem(false, &trusted, &known[1..2]), refused);
    }
    // Nobody does.
    assert_eq!(redeem(false, &pinned(surfaces(&["payments.refund"])), &[]), Ok(()));
    assert_eq!(redeem(false, &log.trusted(), &[]), Ok(()));
}
