use super::*;

pub(crate) fn permit() -> DecisionRecord {
    DecisionRecord {
        seq: 3,
        time: Millis(1_700_000_000_000),
        decision: Decision::Permit,
        reason: None,
        agent: "bot".parse().unwrap(),
        acts_for: None,
        gate: "fs".parse().unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        surface: "fs.read".parse().unwrap(),
        action: "fs.read".parse().unwrap(),
        resource: Resource { kind: "Surface".into(), id: "fs.read".into() },
        tier: Some(Tier::Read),
        request: Digest::sha256(b"x"),
        key: None,
        bundle: Some(BundleRef {
            name: "starter".into(),
            version: 1,
            digest: BundleDigest(Digest::sha256(b"b")),
        }),
        policies: vec!["a".parse().unwrap()],
        permit_ttl_ms: Some(5_000),
        outcome_due: Some(Millis(1_700_000_060_000)),
        kept_until: None,
        witnessed: false,
        limit: None,
        limits: Vec::new(),
        labels: crate::labels::Labels::none(),
        obligations: crate::obligations::Obligations::none(),
        exception: None,
        engine: "cedar-policy 4".into(),
        facts: RecordedFacts::sound(),
    }
}

fn text(record: DecisionRecord) -> String {
    String::from_utf8(Record::Decision(Box::new(record)).to_bytes().unwrap()).unwrap()
}

#[test]
fn a_record_is_read_back_only_from_its_canonical_bytes() {
    let bytes = text(permit());
    assert_eq!(Record::parse(bytes.as_bytes()), Ok(Record::Decision(Box::new(permit()))));
    assert_eq!(Record::parse(format!("{bytes} ").as_bytes()), Err(RecordError::NotCanonical));
    let unknown = bytes.replacen('{', r#"{"aaa":1,"#, 1);
    assert!(matches!(Record::parse(unknown.as_bytes()), Err(RecordError::Shape(_))));
    let kind = bytes.replace(r#""kind":"decision""#, r#""kind":"permission""#);
    assert!(matches!(Record::parse(kind.as_bytes()), Err(RecordError::Shape(_))));
}

#[test]
fn a_record_names_for_whom_only_with_what_the_credential_says_of_it() {
    use crate::facts::PrincipalFact::{Admitted, Nobody, NotAdmitted};
    let said = |acts_for: Option<&str>, principal| {
        let acts_for = acts_for.map(|name| name.parse().unwrap());
        let facts = RecordedFacts { principal, ..RecordedFacts::sound() };
        Record::parse(text(DecisionRecord { acts_for, facts, ..permit() }).as_bytes())
    };
    let Ok(Record::Decision(read)) = said(Some("maya"), Admitted) else { panic!() };
    assert_eq!(read.behind().map(|name| name.as_str()), Some("maya"));
    for (named, fact) in
        [(Some("maya"), Nobody), (None, Admitted), (Some("maya"), NotAdmitted), (None, NotAdmitted)]
    {
        assert!(matches!(said(named, fact), Err(RecordError::Contradiction(_))), "{named:?} {fact:?}");
    }
    let misnamed = text(permit()).replacen("{\"action\":", "{\"acts_for\":\"Maya\",\"action\":", 1);
    assert!(matches!(Record::parse(misnamed.as_bytes()), Err(RecordError::Shape(_))));
}

#[test]
fn a_decision_that_contradicts_itself_is_no_record() {
    let deny_without_reason = text(permit()).replace(r#""PERMIT""#, r#""DENY""#);
    assert!(matches!(Record::parse(deny_without_reason.as_bytes()), Err(RecordError::Contradiction(_))));
    let mut with_reason = permit();
    with_reason.reason = Some(ReasonCode::PolicyNoGrant);
    assert!(matches!(Record::parse(text(with_reason).as_bytes()), Err(RecordError::Contradiction(_))));
    let mut no_terms = permit();
    no_terms.permit_ttl_ms = None;
    assert!(matches!(Record::parse(text(no_terms).as_bytes()), Err(RecordError::Contradiction(_))));
    let mut refusal = permit();
    refusal.decision = Decision::Silence;
    refusal.reason = Some(ReasonCode::PolicyExpired);
    assert!(matches!(Record::parse(text(refusal).as_bytes()), Err(RecordError::Contradiction(_))));
}

#[test]
fn an_order_and_what_an_operator_resolved_name_who_and_why_or_are_no_records() {
    let ordered = crate::order::Ordered {
        by: "alice".parse().unwrap(),
        what: crate::order::Order::ResolveOutcome {
            attempt: AttemptId::from_bytes([1; 32]),
            outcome: crate::order::Resolution::Ok,
        },
        reason: "seen".parse().unwrap(),
    };
    let order = |event, order| {
        let record = EventRecord { seq: 0, time: Millis(1), event, detail: BTreeMap::new(), order };
        Record::parse(&Record::Event(record).to_bytes().unwrap())
    };
    assert!(order(Event::Ordered, Some(ordered.clone())).is_ok());
    assert!(matches!(order(Event::Ordered, None), Err(RecordError::Contradiction(_))));
    assert!(matches!(order(Event::Opened, Some(ordered)), Err(RecordError::Contradiction(_))));
    let outcome = |outcome, supersedes, by: Option<&str>, reason: Option<&str>| {
        Record::parse(
            &Record::Outcome(OutcomeRecord {
                seq: 9,
                time: Millis(1),
                permit: 3,
                attempt: AttemptId::from_bytes([1; 32]),
                outcome,
                result: None,
                kept_until: None,
                supersedes,
                by: by.map(|by| by.parse().unwrap()),
                reason: reason.map(|reason| reason.parse().unwrap()),
            })
            .to_bytes()
            .unwrap(),
        )
    };
    assert!(outcome(Outcome::Expired, Some(4), Some("alice"), Some("seen")).is_ok());
    assert!(outcome(Outcome::Ok, None, None, None).is_ok());
    for contradiction in [
        outcome(Outcome::Ok, Some(4), Some("alice"), None),
        outcome(Outcome::Ok, Some(4), None, Some("seen")),
        outcome(Outcome::Ok, None, Some("alice"), Some("seen")),
        outcome(Outcome::Unknown, Some(4), Some("alice"), Some("seen")),
        outcome(Outcome::Withheld, Some(4), Some("alice"), Some("seen")),
    ] {
        assert!(matches!(contradiction, Err(RecordError::Contradiction(_))));
    }
}

#[test]
fn what_is_kept_is_there_and_not_past_its_time_or_it_is_no_record() {
    let decision = |until| {
        let entry = DecisionRecord { kept_until: until, ..permit() };
        Record::parse(&Record::Decision(Box::new(entry)).to_bytes().unwrap())
    };
    let time = permit().time;
    assert!(decision(None).is_ok() && decision(Some(time)).is_ok());
    assert!(matches!(decision(Some(Millis(time.0 - 1))), Err(RecordError::Contradiction(_))));
    let outcome = |result, until| {
        let entry = OutcomeRecord {
            seq: 9,
            time,
            permit: 3,
            attempt: AttemptId::from_bytes([1; 32]),
            outcome: Outcome::Ok,
            result,
            kept_until: until,
            supersedes: None,
            by: None,
            reason: None,
        };
        Record::parse(&Record::Outcome(entry).to_bytes().unwrap())
    };
    let result = Some(Digest::from_bytes([7; 32]));
    assert!(outcome(result, Some(time)).is_ok() && outcome(result, None).is_ok());
    for contradiction in [outcome(None, Some(time)), outcome(result, Some(Millis(time.0 - 1)))] {
        assert!(matches!(contradiction, Err(RecordError::Contradiction(_))));
    }
}

#[test]
fn an_overlong_record_is_refused_before_it_is_hashed() {
    let mut record = permit();
    record.resource.id = "x".repeat(70_000);
    assert!(matches!(
        Record::Decision(Box::new(record)).to_bytes(),
        Err(RecordError::Json(JsonError::TooLarge { .. }))
    ));
}
