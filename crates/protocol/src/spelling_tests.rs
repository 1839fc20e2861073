use super::*;
use crate::json::Limits;

fn refuse(pointer: &str, arguments: &str) -> Result<(), ReasonCode> {
    refuse_other_spellings(&Loose::parse(arguments.as_bytes(), Limits::MESSAGE).unwrap(), pointer)
}

#[test]
fn folding_reaches_beyond_ascii() {
    for (name, other) in [
        ("argument\u{17f}", "ARGUMENTS"),
        ("\u{212a}ey", "Key"),
        ("stra\u{1e9e}e", "stra\u{df}e"),
        ("\u{212b}", "\u{e5}"),
        ("\u{3bf}\u{3c2}", "\u{39f}\u{3a3}"),
    ] {
        assert_eq!(fold(name), fold(other), "{name} {other}");
    }
    assert_ne!(fold("amount"), fold("amounts"));
}

/// Whatever a parser does first, upper or lower case, it finds no two names that this takes for different ones.
#[test]
fn folding_joins_every_letter_with_its_cases() {
    for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
        let name = c.to_string();
        let folded = fold(&name);
        assert_eq!(folded, fold(&name.to_lowercase()), "{c:?}");
        assert_eq!(folded, fold(&name.to_uppercase()), "{c:?}");
        assert_eq!(folded, fold(&folded), "{c:?}");
    }
}

#[test]
fn a_lone_other_spelling_is_refused_on_the_way_to_a_declared_argument() {
    for arguments in [
        r#"{"Pay":{"amount":"1"}}"#,
        r#"{"pay":{"Amount":"1"}}"#,
        r#"{"pay":{"amount":"1"},"PAY":{}}"#,
        r#"{"pay":{"amount":"1","x":1,"X":2}}"#,
    ] {
        assert_eq!(refuse("/pay/amount", arguments), Err(ReasonCode::RequestAmbiguousKey), "{arguments}");
    }
    assert_eq!(refuse("/tax", r#"{"ta\u0078":1}"#), Ok(()));
    assert_eq!(refuse("/a~1s", r#"{"a/\u017f":1}"#), Err(ReasonCode::RequestAmbiguousKey));
    assert_eq!(refuse("/a~1s", r#"{"a/s":1}"#), Ok(()));
}

#[test]
fn what_policy_does_not_read_may_be_spelt_at_will() {
    for arguments in [
        r#"{"env":{"PATH":"a","Path":"b"}}"#,
        r#"{"pay":{"sum":{"Amount":1,"amount":2}}}"#,
        r#"{"pay":[{"Amount":1}]}"#,
        r#"{"pay":"Amount"}"#,
    ] {
        assert_eq!(refuse("/pay/amount", arguments), Ok(()), "{arguments}");
    }
    assert_eq!(refuse("", r#"{"a":1,"A":2}"#), Ok(()));
}

#[test]
fn names_that_look_alike_have_one_skeleton() {
    for (one, other) in [
        ("ada-l", "ada-1"),
        ("bill", "bi11"),
        ("o-neil", "0-neil"),
        ("ann.r", "ann_r"),
        ("arnold", "amold"),
        ("sam5", "sams"),
        ("clare", "dare"),
    ] {
        assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
    }
    for (one, other) in [("ada", "adam"), ("ann", "anna"), ("bob", "rob"), ("finance", "finance2")] {
        assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
    }
}
