use proptest::prelude::*;

use super::{Decimal, Number};

fn number(text: &str) -> Decimal {
    Decimal::read(text).unwrap()
}

#[test]
fn a_number_is_what_it_says_however_it_is_written() {
    for (one, other) in [
        ("1", "1.0"),
        ("1", "10e-1"),
        ("-0", "0.000e7"),
        ("0", "0e99999999999999999999"),
        ("120", "1.2E2"),
        ("120", "1.2e+2"),
        ("0.0012", "12e-4"),
    ] {
        assert_eq!(number(one), number(other), "{one} and {other}");
        assert_eq!(number(one).to_text(), number(other).to_text());
    }
    assert_eq!(Decimal::read("1e9999999999999999999"), None);
}

#[test]
fn numbers_that_a_double_cannot_tell_apart_are_told_apart() {
    let sorted = [
        "-1e400",
        "-9007199254740993",
        "-9007199254740992",
        "-0.1",
        "-0.01",
        "0",
        "0.1",
        "0.10000000000000000001",
        "0.2",
        "9007199254740992",
        "9007199254740993",
        "1e400",
        "1.0000000000000000000000001e400",
    ];
    for (place, one) in sorted.iter().enumerate() {
        for (other_place, other) in sorted.iter().enumerate() {
            assert_eq!(number(one).cmp(&number(other)), place.cmp(&other_place), "{one} and {other}");
        }
    }
}

#[test]
fn what_is_whole_and_what_divides_is_told_exactly() {
    for (text, whole) in
        [("0", true), ("3.0", true), ("3.10", false), ("1e3", true), ("1e-3", false), ("1200e-2", true)]
    {
        assert_eq!(number(text).is_integer(), whole, "{text}");
    }
    for (text, step, fits) in [
        ("0.3", "0.1", true),
        ("0.35", "0.1", false),
        ("19.99", "0.01", true),
        ("-7.5", "2.5", true),
        ("5", "10", false),
        ("50", "25", true),
        ("1e308", "3", false),
        ("3e308", "3", true),
        ("9007199254740993", "2", false),
        ("0", "7", true),
    ] {
        assert_eq!(number(text).is_multiple_of(&number(step)), Some(fits), "{text} of {step}");
    }
    assert!(!number("0").divides() && !number("-1").divides() && !number("1234567890123456789").divides());
    assert_eq!(number("1").is_multiple_of(&number("0")), None);
}

proptest! {
    #[test]
    fn integers_compare_and_divide_as_integers_do(one in -1_000_000_i64..1_000_000, other in 1_i64..5_000) {
        let (left, right) = (number(&one.to_string()), number(&other.to_string()));
        prop_assert_eq!(left.cmp(&right), one.cmp(&other));
        prop_assert_eq!(left.is_multiple_of(&right), Some(one % other == 0));
        prop_assert!(left.is_integer());
    }

    /// Near a bound, where the two readings part: whatever both say is what a program says that compares doubles.
    #[test]
    fn what_both_readings_say_is_what_doubles_say(
        whole in 0_u64..20_000_000_000_000_000, near in prop::sample::select(vec!["0", "5", "9"]), many in 0_usize..30,
        power in -330_i32..300, bound in -2_i64..=2,
    ) {
        let text = format!("{whole}.{}1e{power}", near.repeat(many));
        for (text, other) in [
            (text.clone(), bound.to_string()), (text.clone(), format!("{whole}e{power}")), (format!("-{text}"), format!("-{whole}e{power}")),
        ] {
            let (Ok(one), Ok(two)) = (text.parse::<f64>(), other.parse::<f64>()) else { panic!("{text}") };
            let (Some(number), Some(bound)) =
                (Number::read(&text, Decimal::read(&text).unwrap()), Number::read(&other, Decimal::read(&other).unwrap()))
            else {
                prop_assert!(one.is_infinite() || two.is_infinite());
                continue;
            };
            prop_assert_eq!(Some(number.double.cmp(&bound.double)), one.partial_cmp(&two), "{} and {}", text, other);
            prop_assert_eq!(number.double.is_integer(), one.fract() == 0.0, "{}", text);
        }
    }
}
