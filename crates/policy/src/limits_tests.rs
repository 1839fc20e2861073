use super::*;
use crate::testing::{bundle, charge, edit, fault, files, request};

const LIMIT: &str = "
[limits.per-day]
kind = \"sum\"
surfaces = [\"pay.charge\"]
per = [\"agent\"]
of = \"amount\"
unit = \"EUR\"
max = \"100.00\"
window = { fixed = \"1d\" }
";

/// The test bundle with this text behind its manifest.
fn with(text: &str) -> crate::files::Files {
    let last = "context.dry = { type = \"boolean\", from = \"/dry\", optional = true }\n";
    edit(files(), "bundle.toml", last, &format!("{last}{text}"))
}

fn changed(from: &str, to: &str) -> crate::files::Files {
    assert!(LIMIT.contains(from), "{from}");
    with(&LIMIT.replace(from, to))
}

/// What is wrong with a limit.
#[track_caller]
fn wrong(from: &str, to: &str) -> String {
    let fault = fault(changed(from, to));
    let (Fault::Limit { message, .. } | Fault::Manifest { message }) = fault else { panic!("{fault}") };
    message
}

#[test]
fn a_limit_that_names_what_is_not_there_or_of_another_kind_is_a_load_error() {
    assert_eq!(bundle(with(LIMIT)).limits().len(), 1);
    for (from, to, said) in [
        ("pay.charge", "pay.refund", "no surface"),
        ("[\"pay.charge\"]", "[]", "empty"),
        ("[\"pay.charge\"]", "[\"pay.charge\", \"pay.charge\"]", "twice"),
        ("of = \"amount\"", "of = \"sum\"", "no context key"),
        ("of = \"amount\"", "of = \"note\"", "no decimal"),
        ("[\"pay.charge\"]", "[\"pay.charge\", \"fs.read\"]", "no context key"),
        ("[\"agent\"]", "[\"person\"]", "unknown variant"),
        ("[\"agent\"]", "[\"agent\", \"agent\"]", "twice"),
        ("kind = \"sum\"", "kind = \"total\"", "unknown variant"),
        ("window", "burst = 2\nwindow", "unknown field"),
        ("window = { fixed = \"1d\" }", "", "missing field"),
        ("{ fixed = \"1d\" }", "{ fixed = \"1d\", sliding = \"1d\" }", ""),
        ("{ fixed = \"1d\" }", "\"1d\"", ""),
        ("unit = \"EUR\"", "currency = \"note\"", "each currency"),
        ("unit = \"EUR\"", "unit = \"EUR\"\ncurrency = \"note\"", "does not go with"),
        ("unit = \"EUR\"", "unit = \"\"", "1 to 64"),
        ("unit = \"EUR\"", "unit = \"E\\nR\"", "1 to 64"),
        ("max = \"100.00\"", "max = { EUR = \"1.00\" }", "go with `currency`"),
        ("max = \"100.00\"", "currency = \"count\"\nmax = { EUR = \"1.00\" }", "is no string"),
        ("max = \"100.00\"", "currency = \"coin\"\nmax = { EUR = \"1.00\" }", "no context key"),
        ("unit = \"EUR\"\nmax = \"100.00\"", "currency = \"note\"\nmax = {}", "1 to 256"),
        ("per-day", "Per_Day", "not a valid"),
    ] {
        let message = wrong(from, to);
        assert!(message.contains(said), "{to}: {message}");
    }
}

/// 500 of one currency and 500 of another were 1,000 of neither, where a limit said of no key that it is the currency.
#[test]
fn amounts_of_which_nobody_said_in_what_they_are_were_added() {
    for amount in
        ["of = \"amount\"\nunit = \"EUR\"\nmax = \"100.00\"", "of = \"count\"\nunit = \"calls\"\nmax = 100"]
    {
        let named = LIMIT.replace("of = \"amount\"\nunit = \"EUR\"\nmax = \"100.00\"", amount);
        bundle(with(&named));
        let unnamed: String =
            named.lines().filter(|line| !line.starts_with("unit")).map(|line| format!("{line}\n")).collect();
        let Fault::Limit { message, .. } = fault(with(&unnamed)) else { panic!("{unnamed}") };
        assert!(message.starts_with("a sum says in what its amounts are"), "{message}");
    }
}

#[test]
fn amounts_that_do_not_fit_and_absurd_windows_are_load_errors() {
    for max in ["100", "100.0", "100.000", "-1.00", "0.00", "+1.00", "", ".00", "90071992547409.92", "1e2.00"]
    {
        wrong("\"100.00\"", &format!("\"{max}\""));
    }
    for max in ["100", "100.00", "true"] {
        wrong("\"100.00\"", max);
    }
    bundle(changed("100.00", "90071992547409.91"));
    for span in ["0s", "999ms", "367d", "1w", "-1d"] {
        wrong("\"1d\"", &format!("\"{span}\""));
        wrong("{ fixed = \"1d\" }", &format!("{{ sliding = \"{span}\" }}"));
    }
    let whole = LIMIT.replace("of = \"amount\"", "of = \"count\"");
    bundle(with(&whole.replace("\"100.00\"", "100")));
    for max in ["0", "-1", "9007199254740992", "\"100\"", "1.0"] {
        fault(with(&whole.replace("\"100.00\"", max)));
    }
    let rate =
        |rest: &str| with(&format!("[limits.r]\nkind = \"rate\"\nsurfaces = [\"pay.charge\"]\n{rest}"));
    bundle(rate("every = \"10ms\""));
    bundle(rate("every = \"1h\"\nmax = 1024"));
    for rest in [
        "every = \"9ms\"",
        "every = \"61m\"",
        "every = \"1s\"\nmax = 1025",
        "every = \"1s\"\nmax = 0",
        "max = 1",
    ] {
        fault(rate(rest));
    }
}

#[test]
fn a_bundle_has_no_more_limits_than_a_record_can_hold() {
    let limits = |count: usize, surface: &str| {
        let one = |n| format!("[limits.l{n}]\nkind = \"open\"\nsurfaces = [\"{surface}\"]\nmax = 1\n");
        (0..count).map(one).collect::<String>()
    };
    bundle(with(&limits(16, "pay.charge")));
    assert!(matches!(fault(with(&limits(17, "pay.charge"))), Fault::Limit { .. }));
    assert_eq!(fault(with(&limits(65, "pay.charge"))), Fault::TooManyLimits);
}

fn only(text: &str, request: &Request) -> Result<Charge, ReasonCode> {
    let mut counting = bundle(with(text)).counting(request, None);
    assert_eq!(counting.len(), 1);
    counting.remove(0).charge
}

#[test]
fn an_amount_is_its_exact_last_digit() {
    for (amount, units) in [("0.01", 1), ("12.50", 1_250), ("0.00", 0), ("90071992547409.91", MOST_COUNTED)] {
        assert_eq!(only(LIMIT, &charge("bot", amount)).unwrap().amount, units, "{amount}");
    }
    for amount in ["90071992547409.92", "99999999999999.99"] {
        assert_eq!(only(LIMIT, &charge("bot", amount)), Err(ReasonCode::LimitsExceeded), "{amount}");
    }
    assert_eq!(
        scaled(&format!("{}.00", u64::MAX), 2),
        Some(u64::MAX),
        "saturates, and so is above any limit"
    );
}

#[test]
fn a_negative_amount_is_refused_and_a_missing_one_is_not_zero() {
    for amount in ["-0.01", "-99999999999999.99"] {
        assert_eq!(only(LIMIT, &charge("bot", amount)), Err(ReasonCode::LimitsAmountNegative), "{amount}");
    }
    let whole = LIMIT.replace("of = \"amount\"", "of = \"count\"").replace("\"100.00\"", "100");
    let counted = |count: &str| {
        let context = format!(r#"{{"amount":"1.00","count":{count}}}"#);
        only(&whole, &request("bot", "pay.charge", "charge", "Account:a-1", &context))
    };
    assert_eq!(counted("-1"), Err(ReasonCode::LimitsAmountNegative));
    assert_eq!(counted("7").unwrap().amount, 7);
    let mut missing = charge("bot", "1.00");
    missing.ask.context.remove("amount");
    assert_eq!(only(LIMIT, &missing), Err(ReasonCode::LimitsAmountMissing));
    missing.ask.context.insert("amount".into(), Value::Int(1));
    assert_eq!(only(LIMIT, &missing), Err(ReasonCode::LimitsAmountMissing), "an integer is no decimal");
}

#[test]
fn two_currencies_are_never_added() {
    let text = LIMIT.replace(
        "unit = \"EUR\"\nmax = \"100.00\"",
        "currency = \"note\"\nmax = { EUR = \"100.00\", JPY = \"5.00\" }",
    );
    let paid = |currency: &str| {
        let context = format!(r#"{{"amount":"1.00","count":1,"note":"{currency}"}}"#);
        only(&text, &request("bot", "pay.charge", "charge", "Account:a-1", &context))
    };
    let (euro, yen) = (paid("EUR").unwrap(), paid("JPY").unwrap());
    assert_ne!(euro.counter, yen.counter);
    assert_eq!((euro.max, yen.max), (10_000, 500));
    for other in ["USD", "eur", "EUR ", ""] {
        assert_eq!(paid(other), Err(ReasonCode::LimitsCurrencyUnlisted), "{other}");
    }
    assert_eq!(only(&text, &charge("bot", "1.00")), Err(ReasonCode::LimitsAmountMissing));
}

#[test]
fn a_counter_is_of_what_the_limit_says_and_of_nothing_else() {
    let counter = |text: &str, request: &Request| only(text, request).unwrap().counter;
    let (bot, rogue) = (charge("bot", "1.00"), charge("rogue", "1.00"));
    assert_ne!(counter(LIMIT, &bot), counter(LIMIT, &rogue));
    let shared = LIMIT.replace("per = [\"agent\"]\n", "");
    assert_eq!(counter(&shared, &bot), counter(&shared, &rogue));
    let mut elsewhere = bot.clone();
    elsewhere.ask.resource.id = "a-2".into();
    assert_eq!(counter(LIMIT, &bot), counter(LIMIT, &elsewhere));
    let both = LIMIT.replace("[\"agent\"]", "[\"resource\", \"agent\"]");
    assert_ne!(counter(&both, &bot), counter(&both, &elsewhere));
    // What was counted stays when there may be more or less of it, or over another time; not under another name.
    let other = LIMIT.replace("100.00", "7.00").replace("fixed = \"1d\"", "sliding = \"2h\"");
    assert_eq!(counter(LIMIT, &bot), counter(&other, &bot));
    assert_ne!(counter(LIMIT, &bot), counter(&LIMIT.replace("per-day", "daily"), &bot));
    // Nor is what was counted in one unit so much in another.
    assert_ne!(counter(LIMIT, &bot), counter(&LIMIT.replace("EUR", "JPY"), &bot));
    let read = request("bot", "fs.read", "fs.read", "Surface:fs.read", r#"{"path":"/safe/a"}"#);
    assert_eq!(bundle(with(LIMIT)).counting(&read, None), [], "another surface");
}

#[test]
fn fixed_windows_begin_with_the_epoch_and_sliding_ones_with_what_they_count() {
    let day = Window::Fixed(86_400_000);
    assert_eq!(day.lapses(Millis(0)), Millis(86_400_000));
    assert_eq!(day.lapses(Millis(86_399_999)), Millis(86_400_000));
    assert_eq!(day.lapses(Millis(86_400_000)), Millis(172_800_000));
    let exact = Window::Sliding { span: 1_000, part: 1 };
    assert_eq!(exact.lapses(Millis(5)), Millis(1_005));
    // Never before its time, and less than a part after it.
    let parts = Window::Sliding { span: 1_000, part: 10 };
    assert_eq!(parts.lapses(Millis(5)), Millis(1_009));
    assert_eq!(parts.lapses(Millis(9)), Millis(1_009));
    assert_eq!(parts.lapses(Millis(10)), Millis(1_019));
    assert_eq!(day.lapses(Millis(u64::MAX)), Millis(u64::MAX), "and never wraps");
}
