use proptest::prelude::*;

use super::*;
use crate::json::{Limits, Value};

fn canonical(text: &str) -> String {
    String::from_utf8(to_bytes(&Value::parse(text.as_bytes(), Limits::REQUEST).unwrap()).unwrap()).unwrap()
}

#[test]
fn keys_sort_by_utf_16_code_units() {
    // RFC 8785 section 3.2.3: U+1F600 is a surrogate pair (D83D…) and sorts before U+FB33.
    assert_eq!(
        canonical("{\"\u{fb33}\":1,\"\u{1f600}\":2,\"\\r\":3,\"1\":4}"),
        "{\"\\r\":3,\"1\":4,\"\u{1f600}\":2,\"\u{fb33}\":1}"
    );
}

#[test]
fn strings_use_the_shortest_escapes() {
    assert_eq!(
        canonical(r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#),
        "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""
    );
}

#[test]
fn canonical_bytes_are_a_fixed_point() {
    let text = canonical(r#" {"b" : [1, -5, "x"], "a": {"z": null, "y": true}} "#);
    assert_eq!(text, r#"{"a":{"y":true,"z":null},"b":[1,-5,"x"]}"#);
    assert_eq!(canonical(&text), text);
}

#[test]
fn what_has_no_canonical_form_here_is_refused() {
    assert!(to_bytes(&1.5).is_err());
    assert!(to_bytes(&(1_u64 << 53)).is_err());
    assert!(to_bytes(&-(1_i64 << 53)).is_err());
    assert_eq!(to_bytes(&((1_i64 << 53) - 1)).unwrap(), b"9007199254740991");
    assert!(to_bytes(&std::collections::BTreeMap::from([(1, "x")])).is_err());
    assert!(to_bytes(serde_json::value::RawValue::from_string("[1.5]".into()).unwrap().as_ref()).is_err());
}

/// Serde's data model has more than records use today.
#[test]
fn every_kind_of_variant_has_the_bytes_that_another_implementation_gives_it() {
    #[derive(serde::Serialize)]
    enum Any {
        Unit,
        One(u8),
        Two(u8, &'static str),
        Named { zebra: u8, apple: Option<bool>, deep: Box<Any> },
    }
    let named = |deep| Any::Named { zebra: 1, apple: None, deep: Box::new(deep) };
    for value in [Any::Unit, Any::One(7), Any::Two(7, "\n"), named(Any::Two(1, "x")), named(named(Any::Unit))]
    {
        assert_eq!(to_bytes(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
    }
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![".{0,12}", "[\\x00-\\x1f\"\\\\/é\u{fb33}\u{1f600}\u{2028}]{0,8}", "[a-c]{0,3}"];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Into::into),
        text.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::hash_map(text.clone(), inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Another implementation of RFC 8785 says the same.
    #[test]
    fn values_have_the_bytes_that_another_implementation_gives_them(value in any_value()) {
        prop_assert_eq!(to_bytes(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
    }

    /// Types whose fields are declared in any order too, through tags, options, newtypes and texts that are collected.
    #[test]
    fn records_have_the_bytes_that_another_implementation_gives_them(
        seq in 0_u64..1 << 53, permits in any::<bool>(), id in ".{1,40}", keyed in any::<bool>(), detail in any_value(),
    ) {
        let mut record = crate::record::tests::permit();
        record.seq = seq;
        record.resource.id = id.clone();
        record.key = keyed.then(|| crate::Digest::sha256(id.as_bytes()));
        if !permits {
            record.reason = Some(crate::ReasonCode::PolicyNoGrant);
        }
        let resolved = crate::Order::ResolveOutcome {
            attempt: crate::AttemptId::from_bytes([9; 32]),
            outcome: crate::Resolution::NotRun,
        };
        let erased = crate::Order::ErasePayloads { subject: "bot".parse().unwrap() };
        let event = crate::EventRecord {
            seq,
            time: crate::Millis(7),
            event: crate::Event::Opened,
            detail: [(detail.to_string(), id.clone()), (id, detail.to_string())].into(),
            order: Some(crate::Ordered {
                by: "alice".parse().unwrap(),
                what: if keyed { resolved } else { erased },
                reason: "seen \"so\"".parse().unwrap(),
            }),
        };
        let outcome = crate::OutcomeRecord {
            seq,
            time: crate::Millis(7),
            permit: seq / 2,
            attempt: crate::AttemptId::from_bytes([3; 32]),
            outcome: crate::Outcome::Withheld,
            result: keyed.then(|| crate::Digest::sha256(b"result")),
            kept_until: None,
            supersedes: permits.then_some(seq),
            by: permits.then(|| "alice".parse().unwrap()),
            reason: keyed.then(|| "seen".parse().unwrap()),
        };
        let aggregate = crate::AggregateRecord {
            seq,
            time: crate::Millis(7),
            reason: permits.then_some(crate::ReasonCode::OverloadShed),
            agent: keyed.then(|| "bot".parse().unwrap()),
            count: seq,
            first: crate::Millis(1),
            last: crate::Millis(2),
        };
        for record in [
            crate::Record::Decision(Box::new(record)),
            crate::Record::Event(event),
            crate::Record::Outcome(outcome),
            crate::Record::Aggregate(aggregate),
        ] {
            prop_assert_eq!(to_bytes(&record).unwrap(), serde_json_canonicalizer::to_vec(&record).unwrap());
        }
    }
}
