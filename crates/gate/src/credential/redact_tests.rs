use serde_json::{Value, json};

use super::*;

impl Redaction {
    /// This one alone.
    fn message(self: &Arc<Self>, message: Vec<u8>) -> Vec<u8> {
        Redactions::of([Arc::clone(self)]).message(message)
    }

    fn text(self: &Arc<Self>, text: &[u8]) -> Vec<u8> {
        Redactions::of([Arc::clone(self)]).text(text)
    }
}

fn of(secret: &str) -> Arc<Redaction> {
    let redaction = Arc::new(Redaction::default());
    drop(redaction.learn(&Token::new(secret)).unwrap());
    redaction
}

#[test]
fn what_one_source_took_out_left_a_rest_of_what_another_would_have() {
    for secrets in [
        ["sesame", "sesame-9f8e7d"],
        ["sesame-9f8e7d", "sesame"],
        ["ses-sesa", "sesame"],
        ["a-sesame", "sesame-b"],
    ] {
        let all = Redactions::of(secrets.map(of));
        let said = "x sesame-9f8e7d ses-sesame a-sesame-b y";
        for redacted in [
            String::from_utf8(all.text(said.as_bytes())).unwrap(),
            String::from_utf8(all.message(json!([said]).to_string().into_bytes())).unwrap(),
        ] {
            for secret in secrets {
                assert!(!redacted.contains(secret), "{secrets:?}: {redacted}");
            }
            assert!(
                !secrets.contains(&"sesame-9f8e7d") || !redacted.contains("9f8e7d"),
                "a rest: {redacted}"
            );
        }
    }
    let all = Redactions::of(["ab", "bc"].map(of));
    assert_eq!(all.text(b"said \"xabcy ab bc\""), b"said \"x***y *** ***\"");
    assert_eq!(all.message(br#"["xabcy","\u0061bc"]"#.to_vec()), br#"["x***y","***"]"#);
}

#[test]
fn a_source_that_changes_with_each_call_had_another_s_forgotten() {
    let redaction = Arc::new(Redaction::default());
    drop(redaction.learn_of(1, &Token::new("lasting")).unwrap());
    for number in 0..100 {
        drop(redaction.learn_of(2, &Token::new(&format!("passing-{number}."))).unwrap());
    }
    let said = redaction.text(b"\"lasting passing-99. passing-1.\"");
    assert_eq!(said, b"\"*** *** passing-1.\"");
}

fn message(secret: &str, message: &str) -> String {
    String::from_utf8(of(secret).message(message.as_bytes().to_vec())).unwrap()
}

fn text(secret: &str, said: &str) -> String {
    String::from_utf8(of(secret).text(said.as_bytes())).unwrap()
}

/// Ways to write a character in a JSON string.
fn written(c: char, way: u32) -> String {
    match way {
        0 => c.to_string(),
        1 => format!("\\u{:04x}", u32::from(c)),
        _ => format!("\\u{:04X}", u32::from(c)),
    }
}

#[test]
fn a_token_is_found_however_its_characters_are_escaped_and_nothing_else_changes() {
    let secret = "se/6k";
    for ways in 0..3_u32.pow(5) {
        let echoed: String = secret
            .chars()
            .enumerate()
            .map(|(at, c)| written(c, ways / 3_u32.pow(at.try_into().unwrap()) % 3))
            .collect();
        let line = format!(r#"{{"a\n{echoed}": ["x{echoed}\"", "\\{echoed}{echoed}", "se/6"], "n": 1}}"#);
        let expected = r#"{"a\n***": ["x***\"", "\\******", "se/6"], "n": 1}"#;
        assert_eq!(message(secret, &line), expected, "{line}");
    }
    assert_eq!(message(secret, r#"["s\u0065\/6k"]"#), r#"["***"]"#);
}

#[test]
fn what_is_taken_out_never_changes_where_a_string_ends() {
    // Tokens of the very characters that JSON is made of.
    for secret in ["\"", "\\", "\\\"", "\",\"", "a\":\"b", "u0041", "\\u0041", "{}", "n\\"] {
        for said in
            [secret.to_owned(), format!("x{secret}y"), format!("{secret}{secret}\\"), "a\\u0041b".to_owned()]
        {
            let value = json!({ said.clone(): [said.clone(), 7, null, { "b": said.clone() }] });
            let redacted: Value = serde_json::from_str(&message(secret, &value.to_string())).unwrap();
            let without = said.replace(secret, "***");
            let expected = json!({ without.clone(): [without.clone(), 7, null, { "b": without }] });
            assert_eq!(redacted, expected, "{secret:?} in {value}");
        }
    }
}

#[test]
fn a_token_of_digits_is_no_number_either() {
    assert_eq!(
        message("123", r#"{"id":1234,"a":[-123.5e1, 12, 3],"b":"123"}"#),
        r#"{"id":"***","a":["***", 12, 3],"b":"***"}"#
    );
    assert_eq!(message("true", "[true,false]"), "[\"***\",false]");
}

#[test]
fn escapes_that_say_no_character_hide_nothing_behind_them() {
    for odd in [r"\ud800", r"\udc00", r"\ud800\u0041", r"\uzzzz", r"\u12", r"\x", r"\u00"] {
        let redacted = message("sesame", &format!(r#"["{odd}sesame","x"]"#));
        assert!(!redacted.contains("sesame") && redacted.ends_with(r#"","x"]"#), "{redacted}");
    }
    assert_eq!(message("\u{1f511}", r#"["\ud83d\udd11","\ud83d","🔑"]"#), r#"["***","\ud83d","***"]"#);
}

#[test]
fn what_is_no_json_is_a_text() {
    for garbage in [
        "sesame",
        "\"sesame",
        "{\"a\": sesame",
        "<p title='sesame'>",
        "a:sesame,\\",
        "\\u0073",
        "\"s\\u0065same",
    ] {
        for redacted in [message("sesame", garbage), text("sesame", garbage)] {
            assert!(!redacted.contains("sesame") && !redacted.contains("same\""), "{redacted}");
        }
    }
    assert_eq!(message("user:pass", "no such user:pass here"), "no such *** here");
    assert_eq!(text("a\":\"b", r#"{"a":"b"}"#), r#"{"***"}"#);
    assert_eq!(text("sesame", r#"{"e":"s\u0065same"} sesame"#), r#"{"e":"***"} "***""#);
}

#[test]
fn without_a_token_everything_stays() {
    for nothing in [Arc::new(Redaction::default()), of(" ")] {
        assert_eq!(nothing.message(b"[\"***\"]".to_vec()), b"[\"***\"]");
        assert_eq!(nothing.text(b"x"), b"x");
    }
}

#[test]
fn the_work_grows_with_the_message_and_not_with_the_token_times_it() {
    // Each place of the message begins a match that fails at the token's last character: 10^11 comparisons one by one.
    let secret = format!("{}b", "a".repeat(60_000));
    let long = format!(r#"["{}","\n{}"]"#, "a".repeat(1_000_000), "a".repeat(1_000_000));
    assert_eq!(message(&secret, &long), long);
    let echoed = format!(r#"["\n{long}{secret}"]"#, long = "a".repeat(1_000_000));
    assert_eq!(message(&secret, &echoed).len(), 1_000_000 + "[\"\\n***\"]".len());
}

#[test]
fn every_one_of_several_is_found_the_longer_first_and_the_oldest_are_forgotten() {
    let redaction = Arc::new(Redaction::default());
    let learn = |secret: &str| drop(redaction.learn(&Token::new(secret)).unwrap());
    let said = |words: &str| String::from_utf8(redaction.text(words.as_bytes())).unwrap();
    learn("sesame");
    learn("sesame-2");
    assert_eq!(said(r#""sesame-2 sesame sesame-3""#), r#""*** *** ***-3""#);
    assert_eq!(redaction.message(br#"["sesame-2"]"#.to_vec()), br#"["***"]"#);
    // What is shown again is no more the oldest, and takes no second place.
    for number in 0..IDLE {
        learn(&format!("other-{number}."));
        learn("sesame");
    }
    assert_eq!(said(r#""sesame other-1. other-31.""#), r#""*** *** ***""#);
    assert_eq!(said(r#""sesame-2""#), r#""***-2""#, "it is the oldest of one too many");
}

#[test]
fn of_two_that_overlap_neither_leaves_a_rest() {
    let redaction = Arc::new(Redaction::default());
    for secret in ["abcd", "cdef", "f", "xx", "bc"] {
        redaction.learn(&Token::new(secret)).unwrap();
    }
    for (said, redacted) in [
        (r#"["abcdef","abcdab","xxx","cdefabcd"]"#, r#"["***","***ab","***","******"]"#),
        (r#"["abce","bc"]"#, r#"["a***e","***"]"#),
        (r#"["\u0061bcdef","abc\u0064e\u0066f"]"#, r#"["***","******"]"#),
    ] {
        assert_eq!(String::from_utf8(redaction.message(said.as_bytes().to_vec())).unwrap(), redacted);
    }
}

#[test]
fn what_is_held_was_forgotten_for_what_was_shown_after_it() {
    let redaction = Arc::new(Redaction::default());
    let said = |words: &str| String::from_utf8(redaction.text(words.as_bytes())).unwrap();
    let first = redaction.learn(&Token::new("sesame")).unwrap();
    let again = first.clone();
    drop(first);
    for number in 0..1_000 {
        drop(redaction.learn(&Token::new(&format!("other-{number}."))).unwrap());
    }
    assert_eq!(said(r#""sesame""#), r#""***""#);
    assert_eq!(said(r#""other-0. other-999.""#), r#""other-0. ***""#, "it grows without end");
    drop(again);
    drop(redaction.learn(&Token::new("another")).unwrap());
    assert_eq!(said(r#""sesame another""#), r#""sesame ***""#, "what nobody holds is the oldest again");
}

#[test]
fn what_could_not_be_known_again_is_not_shown() {
    let redaction = Arc::new(Redaction::default());
    let token = |number: usize| Token::new(&format!("{number:016384}"));
    let held: Vec<_> =
        (0..MOST_BYTES / 16_384).map(|number| redaction.learn(&token(number)).unwrap()).collect();
    assert_eq!(redaction.learn(&Token::new("x")).err(), Some(TooMuch));
    assert!(redaction.learn(&token(0)).is_ok(), "one that is known takes nothing");
    drop(held);
    assert!(redaction.learn(&Token::new("x")).is_ok());
}

proptest::proptest! {
    /// Of a few letters, so that they begin and end with one another.
    #[test]
    fn whatever_is_in_a_text_of_what_is_known_is_taken_out_and_nothing_else(
        secrets in proptest::collection::vec("[abc]{1,5}", 1..8),
        said in "[abc]{0,40}",
    ) {
        let redaction = Arc::new(Redaction::default());
        for secret in &secrets {
            drop(redaction.learn(&Token::new(secret)).unwrap());
        }
        let mut covered = vec![false; said.len()];
        for at in 0..said.len() {
            for secret in secrets.iter().filter(|secret| said[at..].starts_with(secret.as_str())) {
                covered[at..at + secret.len()].fill(true);
            }
        }
        let rest = |said: &str| said.chars().filter(|c| *c != '*').collect::<String>();
        let expected: String =
            said.chars().zip(covered).filter(|(_, covered)| !covered).map(|(c, _)| c).collect();
        let message = serde_json::to_vec(&[&said]).unwrap();
        let redacted: Vec<String> = serde_json::from_slice(&redaction.message(message)).unwrap();
        proptest::prop_assert_eq!(rest(&redacted[0]), expected);
    }
}
