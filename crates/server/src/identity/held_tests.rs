use super::*;

const AGES: KeyAges = KeyAges { fresh: Duration::from_secs(300), expire: Duration::from_secs(3_600) };

fn keys(names: &[&str]) -> KeySet {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys: Vec<_> = names
        .iter()
        .map(|name| serde_json::json!({ "kid": name, "kty": "OKP", "crv": "Ed25519", "x": x }))
        .collect();
    let all = crate::identity::Algorithm::ALL.into();
    KeySet::parse(serde_json::json!({ "keys": keys }).to_string().as_bytes(), &all).unwrap()
}

fn had(names: &[&str], since: u64) -> Held {
    let mut held = Held::new(AGES);
    held.begin(since);
    held.hear(Ok(keys(names)), since);
    held
}

#[test]
fn keys_count_until_they_are_too_old_and_not_a_moment_longer() {
    let mut held = had(&["a"], 1_000);
    assert!(held.key("a", 1_000).is_ok());
    assert_eq!(held.key("b", 1_000).unwrap_err(), Lacking::Unknown);
    held.hear(Err("down".to_owned()), 301_000);
    assert_eq!(held.state(301_001), KeysState::Stale);
    assert!(held.key("a", 3_600_999).is_ok(), "the provider is down, and its keys count");
    assert_eq!(held.key("a", 3_601_000).unwrap_err(), Lacking::Expired);
    assert_eq!(
        held.key("b", 3_601_000).unwrap_err(),
        Lacking::Expired,
        "whether it has such a key is not known"
    );
    assert_eq!(held.state(3_601_000), KeysState::Expired);
    held.hear(Ok(keys(&["a"])), 3_700_000);
    assert!(held.key("a", 3_700_001).is_ok() && held.failure() == (None, 0));
}

#[test]
fn keys_are_as_old_as_the_question_not_as_the_answer() {
    let mut held = Held::new(AGES);
    held.begin(1_000);
    held.hear(Ok(keys(&["a"])), 1_000);
    assert_eq!(held.age(11_000), Some(10_000));
}

#[test]
fn what_was_never_had_does_not_count() {
    let mut held = Held::new(AGES);
    assert_eq!((held.key("a", 0).unwrap_err(), held.state(0)), (Lacking::Expired, KeysState::Missing));
    held.hear(Err("down".to_owned()), 0);
    assert_eq!((held.key("a", 1).unwrap_err(), held.failure()), (Lacking::Expired, (Some("down"), 1)));
}

#[test]
fn a_key_that_its_issuer_no_longer_shows_is_none() {
    let mut held = had(&["a", "b"], 0);
    held.hear(Ok(keys(&["b"])), 10);
    assert_eq!(held.key("a", 11).unwrap_err(), Lacking::Unknown);
    held.hear(Ok(keys(&[])), 20);
    assert_eq!(held.key("b", 21).unwrap_err(), Lacking::Unknown);
}

#[test]
fn tokens_have_keys_asked_for_once_at_a_time_and_not_often() {
    let mut held = had(&["a"], 0);
    let rest = millis(REST);
    assert_eq!(held.turn(rest - 1), Turn::NotYet);
    assert_eq!(held.turn(rest), Turn::Mine);
    assert_eq!((held.turn(rest), held.turn(rest * 9)), (Turn::Waits, Turn::Waits));
    held.hear(Err("down".to_owned()), rest);
    assert_eq!(held.turn(rest + 1), Turn::NotYet, "a failure is no reason to ask more often");
    assert_eq!(held.turn(rest * 2), Turn::Mine);
}

#[test]
fn after_failures_the_provider_is_asked_again_soon_and_then_less_often() {
    let mut held = had(&["a"], 0);
    assert_eq!(held.pause(), AGES.fresh);
    let pauses: Vec<u64> = (0..9)
        .map(|round| {
            held.hear(Err("down".to_owned()), round);
            held.pause().as_secs()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let short = KeyAges { fresh: Duration::from_secs(3), expire: Duration::from_secs(4) };
    let mut held = Held::new(short);
    for _ in 0..40 {
        held.hear(Err("down".to_owned()), 0);
    }
    assert_eq!(held.pause().as_secs(), 3);
}
