//! Limits: what is reserved, what is given back, and what a start, a replay and a check make of it.

use std::sync::atomic::AtomicBool;

use portcullis_ledger::Ledger;
use portcullis_policy::bundles;
use portcullis_protocol::{Event, Outcome, ReasonCode};

use crate::harness::{Call, World, answer};
use crate::replay::replay;

/// Three charges a day, 50.00 a day in all, two open at once.
const LIMITS: &str = r#"
[limits.charges]
kind = "count"
surfaces = ["demo.charge"]
max = 3
window = { fixed = "1d" }
[limits.euros]
kind = "sum"
surfaces = ["demo.charge"]
per = ["agent"]
of = "amount"
unit = "EUR"
max = "50.00"
window = { sliding = "1d" }
[limits.open]
kind = "open"
surfaces = ["demo.charge"]
max = 2
"#;
const DAY: u64 = 24 * 60 * 60 * 1_000;

fn charge(attempt: u64, amount: &str) -> Call {
    Call::charge(attempt, amount, Some(&format!("key {attempt}")))
}

/// Permits a charge and says how it ended.
#[track_caller]
fn ends(world: &World, ledger: &Ledger, call: &Call, outcome: Outcome) {
    world.permitted(ledger, call);
    world.report(ledger, call, outcome, None).unwrap();
}

/// Reads until a mark is worth its record, so that closing makes one.
fn filled(world: &World, ledger: &Ledger) {
    let reads: Vec<_> = (10_000..11_100).map(|attempt| world.ask(ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
}

#[test]
fn a_limit_that_is_used_up_refuses_names_itself_and_says_what_it_had_counted() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    let first = world.permitted(&ledger, &charge(1, "20.00"));
    let read: Vec<_> =
        first.limits.iter().map(|one| (one.limit.as_str(), one.used, one.amount, one.max)).collect();
    assert_eq!(read, [("charges", 0, 1, 3), ("euros", 0, 2_000, 5_000), ("open", 0, 1, 2)]);
    world.report(&ledger, &charge(1, "20.00"), Outcome::Ok, None).unwrap();
    ends(&world, &ledger, &charge(2, "20.00"), Outcome::Failed);
    let decided = world.decide(&ledger, &charge(3, "10.01"));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::LimitsExceeded));
    assert_eq!(decided.detail.as_deref(), Some("limit `euros`"));
    let entry = world.recorded(&decided);
    assert_eq!(entry.limit.as_ref().map(|limit| limit.as_str()), Some("euros"));
    assert_eq!((entry.limits.len(), entry.limits[0].used, entry.limits[0].amount), (1, 4_000, 1_001));
    // A refusal takes nothing; the last cent is there, and then the count is what is used up.
    ends(&world, &ledger, &charge(4, "10.00"), Outcome::Ok);
    let decided = world.decide(&ledger, &charge(5, "0.01"));
    assert_eq!(decided.detail.as_deref(), Some("limit `charges`"));
    // Another surface is not counted.
    assert_eq!(world.permitted(&ledger, &Call::read(6)).limits, []);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn what_comes_too_fast_is_refused_until_its_time_is_over() {
    let limits =
        "[limits.pace]\nkind = \"rate\"\nsurfaces = [\"demo.read_balance\"]\nevery = \"10s\"\nmax = 2\n";
    let world = World::limited(limits);
    let ledger = world.start();
    for attempt in [1, 2] {
        world.permitted(&ledger, &Call::read(attempt));
    }
    let decided = world.decide(&ledger, &Call::read(3));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::LimitsTooFast));
    assert_eq!(decided.detail.as_deref(), Some("limit `pace`"));
    // Another surface has no pace to keep.
    world.permitted(&ledger, &charge(4, "1.00"));
    world.clocks.advance(9_000);
    assert_eq!(world.refused(&ledger, &Call::read(5)), ReasonCode::LimitsTooFast);
    world.clocks.advance(1_001);
    for attempt in [6, 7] {
        world.permitted(&ledger, &Call::read(attempt));
    }
    assert_eq!(world.refused(&ledger, &Call::read(8)), ReasonCode::LimitsTooFast);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn surfaces_share_a_limit_unless_it_counts_each_by_itself() {
    for (per, others) in [("", false), ("per = [\"surface\"]\n", true)] {
        let limits = format!(
            "[limits.calls]\nkind = \"count\"\nsurfaces = [\"demo.read_balance\", \"demo.charge\"]\n{per}max = 2\n\
             window = {{ fixed = \"1d\" }}\n"
        );
        let world = World::limited(&limits);
        let ledger = world.start();
        for attempt in [1, 2] {
            world.permitted(&ledger, &Call::read(attempt));
        }
        assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::LimitsExceeded);
        for attempt in [4, 5] {
            let decided = world.decide(&ledger, &charge(attempt, "1.00"));
            assert_eq!(decided.verdict.reason().is_none(), others, "{per}: {attempt}");
        }
        assert_eq!(world.refused(&ledger, &charge(6, "1.00")), ReasonCode::LimitsExceeded);
        assert_eq!(replay(&world), (vec![], vec![]));
    }
}

#[test]
fn what_never_ran_gives_back_and_what_is_unknown_does_not() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    for attempt in 1..20 {
        ends(&world, &ledger, &charge(attempt, "50.00"), Outcome::Expired);
    }
    let unknown = charge(20, "50.00");
    ends(&world, &ledger, &unknown, Outcome::Unknown);
    assert_eq!(world.refused(&ledger, &charge(21, "50.00")), ReasonCode::LimitsExceeded);
    // It is found out that it failed: it ran, so it keeps what it took.
    world.report(&ledger, &unknown, Outcome::Failed, None).unwrap();
    assert_eq!(world.refused(&ledger, &charge(22, "50.00")), ReasonCode::LimitsExceeded);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn permits_that_have_not_ended_are_counted_and_an_unknown_one_is() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    world.permitted(&ledger, &charge(1, "1.00"));
    world.permitted(&ledger, &charge(2, "1.00"));
    assert_eq!(world.refused(&ledger, &charge(3, "1.00")), ReasonCode::LimitsTooManyOpen);
    // Their outcomes are overdue: they are unknown, which ends nothing.
    world.clocks.advance(120_000);
    world.permitted(&ledger, &Call::read(4));
    assert_eq!(world.refused(&ledger, &charge(5, "1.00")), ReasonCode::LimitsTooManyOpen);
    world.report(&ledger, &charge(1, "1.00"), Outcome::Ok, None).unwrap();
    world.permitted(&ledger, &charge(6, "1.00"));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_batch_of_calls_that_wait_together_gets_no_more_than_the_limit() {
    let world = World::limited(&LIMITS.replace("max = 2", "max = 9").replace("max = 3", "max = 7"));
    let ledger = world.start();
    let held = crate::harness::Held::hold(&world, &ledger, 1);
    let asked: Vec<_> = (10..60).map(|attempt| world.ask(&ledger, &charge(attempt, "1.00"))).collect();
    held.release();
    let permitted = asked.iter().filter(|asked| answer(asked).verdict.reason().is_none()).count();
    assert_eq!(permitted, 7);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// 50.00 a day in each currency, on each resource.
const EACH: &str = r#"
[limits.money]
kind = "sum"
surfaces = ["demo.charge"]
per = ["resource"]
of = "amount"
currency = "currency"
max = { EUR = "50.00", USD = "20.00" }
window = { sliding = "1d" }

"#;

/// Whose charges say in which currency they are.
fn in_currencies() -> World {
    let mut files = bundles::demo();
    files.retain(|path, _| !path.starts_with("tests/"));
    let mut edit = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(files[path].clone()).unwrap();
        assert!(text.contains(from), "{from}");
        files.insert(path.to_owned(), text.replace(from, to).into_bytes());
    };
    let amount = "context.amount = ";
    edit("bundle.toml", amount, &format!("context.currency = {{ type = \"string\" }}\n{amount}"));
    let begin = "[surfaces.\"demo.read_balance\"]";
    edit("bundle.toml", begin, &format!("{EACH}{begin}"));
    edit("schema.cedarschema", "amount: decimal", "amount: decimal, currency: String");
    World::under(files)
}

/// How many of these calls are permitted, when so many threads ask at once.
fn raced(world: &World, ledger: &Ledger, calls: &[Call]) -> usize {
    const THREADS: usize = 8;
    let start = std::sync::Barrier::new(THREADS);
    let asked = |calls: &[Call]| {
        start.wait();
        let permitted = |call: &&Call| world.decide(ledger, call).verdict.reason().is_none();
        calls.iter().filter(permitted).count()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|at| {
                scope.spawn(move || {
                    asked(&calls.iter().skip(at).step_by(THREADS).cloned().collect::<Vec<_>>())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// Two resources share no counter, and neither do two currencies; of each, exactly as many run as fit, whoever asks first, and
/// after a start no more.
#[test]
fn of_the_last_of_a_sum_exactly_as_much_is_permitted_as_fits_in_each_currency_on_each_resource() {
    let world = in_currencies();
    let ledger = world.start();
    let shares = [
        ("demo.charge", "EUR", 50),
        ("demo.charge", "USD", 20),
        ("demo.read_balance", "EUR", 50),
        ("demo.read_balance", "USD", 20),
    ];
    let call = |attempt: u64, (resource, currency): (&str, &str), amount: &str| {
        charge(attempt, amount).on(resource).in_currency(currency)
    };
    // Of each all but 5.00 is gone, and 40 ask for 1.00 of each at once.
    let mut attempt = 0;
    for (resource, currency, max) in shares {
        attempt += 1;
        world.permitted(&ledger, &call(attempt, (resource, currency), &format!("{}.00", max - 5)));
    }
    let all: Vec<_> = (0..160_u64)
        .map(|number| {
            let (resource, currency, _) = shares[usize::try_from(number % 4).unwrap()];
            (number % 4, call(1_000 + number, (resource, currency), "1.00"))
        })
        .collect();
    let calls: Vec<_> = all.iter().map(|(_, call)| call.clone()).collect();
    assert_eq!(raced(&world, &ledger, &calls), 20);
    let permitted = |of: u64| {
        let own: std::collections::BTreeSet<_> =
            all.iter().filter(|(share, _)| *share == of).map(|(_, call)| call.attempt()).collect();
        let permits = world.permits();
        permits.iter().filter(|entry| own.contains(&entry.attempt)).count()
    };
    assert_eq!([0, 1, 2, 3].map(permitted), [5, 5, 5, 5]);
    let full = |ledger: &Ledger, from: u64| {
        for (number, (resource, currency, _)) in (from..).zip(shares) {
            let call = call(number, (resource, currency), "0.01");
            assert_eq!(world.refused(ledger, &call), ReasonCode::LimitsExceeded, "{resource} {currency}");
        }
    };
    full(&ledger, 2_000);
    assert_eq!(
        world.refused(&ledger, &call(2_100, ("demo.charge", "CHF"), "0.01")),
        ReasonCode::LimitsCurrencyUnlisted
    );
    drop(ledger);
    let ledger = world.start();
    full(&ledger, 3_000);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// Of many who ask at once for what few may have open, exactly as many get it, and as many more as have ended.
#[test]
fn of_many_who_ask_at_once_exactly_as_many_are_open_as_may_be() {
    let world = World::limited("[limits.open]\nkind = \"open\"\nsurfaces = [\"demo.charge\"]\nmax = 5\n");
    let ledger = world.start();
    let calls = |from: u64| (from..from + 80).map(|attempt| charge(attempt, "1.00")).collect::<Vec<_>>();
    assert_eq!(raced(&world, &ledger, &calls(1)), 5);
    let open: Vec<_> = world.permits().iter().map(|entry| entry.attempt).collect();
    assert_eq!(open.len(), 5);
    for call in calls(1).iter().filter(|call| open.contains(&call.attempt())).take(3) {
        world.report(&ledger, call, Outcome::Ok, None).unwrap();
    }
    assert_eq!(raced(&world, &ledger, &calls(1_001)), 3);
    assert_eq!(world.refused(&ledger, &charge(2_000, "1.00")), ReasonCode::LimitsTooManyOpen);
    drop(ledger);
    let ledger = world.start();
    assert_eq!(raced(&world, &ledger, &calls(3_001)), 0);
    assert_eq!(world.refused(&ledger, &charge(4_000, "1.00")), ReasonCode::LimitsTooManyOpen);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// Of many who ask within one span, exactly as many run as may in it, and as many in the next.
#[test]
fn of_many_who_ask_at_once_exactly_as_many_run_as_the_pace_allows() {
    let world = World::limited(
        "[limits.pace]\nkind = \"rate\"\nsurfaces = [\"demo.read_balance\"]\nevery = \"10s\"\nmax = 7\n",
    );
    let ledger = world.start();
    let calls = |from: u64| (from..from + 80).map(Call::read).collect::<Vec<_>>();
    assert_eq!(raced(&world, &ledger, &calls(1)), 7);
    assert_eq!(world.refused(&ledger, &Call::read(500)), ReasonCode::LimitsTooFast);
    world.clocks.advance(9_000);
    assert_eq!(raced(&world, &ledger, &calls(1_001)), 0);
    world.clocks.advance(1_001);
    assert_eq!(raced(&world, &ledger, &calls(2_001)), 7);
    drop(ledger);
    let ledger = world.start();
    assert_eq!(raced(&world, &ledger, &calls(3_001)), 0);
    assert_eq!(world.refused(&ledger, &Call::read(4_000)), ReasonCode::LimitsTooFast);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn windows_end_by_the_record_s_time_and_no_clock_that_is_set_begins_one() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    for attempt in 1..4 {
        ends(&world, &ledger, &charge(attempt, "1.00"), Outcome::Ok);
    }
    assert_eq!(world.refused(&ledger, &charge(4, "1.00")), ReasonCode::LimitsExceeded);
    // Set forward or back, the clock is not believed, and nothing is counted anew.
    for jump in [2 * DAY, 2 * DAY + DAY / 2] {
        let jump = i64::try_from(jump).unwrap();
        world.clocks.jump(jump);
        assert_eq!(world.refused(&ledger, &charge(5, "1.00")), ReasonCode::ClockJumped);
        world.clocks.jump(-2 * jump);
        let refused = world.refused(&ledger, &charge(6, "1.00"));
        assert!(matches!(refused, ReasonCode::ClockJumped | ReasonCode::ClockBehindLog), "{refused}");
        world.clocks.jump(jump);
    }
    assert_eq!(world.refused(&ledger, &charge(7, "1.00")), ReasonCode::LimitsExceeded);
    // Set back while nothing runs: a start believes no clock that is behind the log.
    drop(ledger);
    world.clocks.jump(-i64::try_from(DAY).unwrap());
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &charge(8, "1.00")), ReasonCode::ClockBehindLog);
    drop(ledger);
    world.clocks.jump(i64::try_from(DAY).unwrap());
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &charge(9, "1.00")), ReasonCode::LimitsExceeded);
    // A day later it is another one.
    world.clocks.advance(DAY);
    world.permitted(&ledger, &charge(10, "1.00"));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_start_has_what_was_reserved_whether_it_was_killed_closed_or_marked() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    ends(&world, &ledger, &charge(1, "30.00"), Outcome::Ok);
    world.permitted(&ledger, &charge(2, "10.00"));
    // Killed now, it is read from the first record on.
    let killed = world.crashed();
    let again = killed.start();
    let found = killed.permitted(&again, &charge(3, "10.00"));
    let used: Vec<_> = found.limits.iter().map(|one| one.used).collect();
    assert_eq!(used, [2, 4_000, 1]);
    drop(again);
    filled(&world, &ledger);
    drop(ledger);
    assert_eq!(world.events().iter().filter(|event| **event == Event::Marked).count(), 1);
    // From the mark on.
    let ledger = world.start();
    assert_eq!(world.permitted(&ledger, &charge(4, "10.00")).limits[1].used, 4_000);
    assert_eq!(world.refused(&ledger, &charge(5, "0.01")), ReasonCode::LimitsExceeded);
    // The PERMIT before the mark gives back.
    world.report(&ledger, &charge(2, "10.00"), Outcome::Expired, None).unwrap();
    assert_eq!(world.permitted(&ledger, &charge(6, "10.00")).limits[1].used, 4_000);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_reservation_missing_from_the_state_gave_its_room_away() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    ends(&world, &ledger, &charge(1, "30.00"), Outcome::Ok);
    world.permitted(&ledger, &charge(2, "10.00"));
    filled(&world, &ledger);
    drop(ledger);
    let rows = "name LIKE 'counter euros %'";
    for (what, statements) in [
        ("a counter missing", format!("DELETE FROM standing WHERE {rows}")),
        (
            "a counter flipped",
            format!(
                "UPDATE standing SET body = CAST(replace(CAST(body AS TEXT), '4000', '3000') AS BLOB) WHERE {rows}"
            ),
        ),
        ("a PERMIT's holding missing", "DELETE FROM standing WHERE name LIKE 'permit %'".to_owned()),
        ("all of it missing", "DELETE FROM standing".to_owned()),
        ("a row that is none", "UPDATE standing SET body = x'00'".to_owned()),
        ("the wrong slot", "UPDATE standing SET slot = 1 - slot".to_owned()),
    ] {
        let damaged = world.crashed();
        damaged.sql(&statements);
        let (_, found) = replay(&damaged);
        assert!(found.iter().any(|found| found.what.contains("in `standing`")), "{what}: {found:?}");
        let check = damaged.check().unwrap();
        let checked = check.run(None, &AtomicBool::new(false), &|_, _, _| {});
        assert!(checked.unwrap_err().to_string().contains("limits"), "{what}");
        let ledger = damaged.start();
        assert_eq!(damaged.refused(&ledger, &charge(9, "1.00")), ReasonCode::EvidenceCorrupt, "{what}");
    }
    let named = world.crashed();
    named.sql(&format!("DELETE FROM standing WHERE {rows}"));
    assert!(replay(&named).1.iter().any(|found| found.what.contains("counter euros ")));
}

#[test]
fn a_bundle_that_is_replaced_keeps_what_limits_of_the_same_name_had_counted() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    ends(&world, &ledger, &charge(1, "30.00"), Outcome::Ok);
    // More room, less room, another window: what was counted stays.
    let world =
        world.with_limits(&LIMITS.replace("50.00", "35.00").replace("sliding = \"1d\"", "fixed = \"2h\""));
    assert_eq!(world.refused(&ledger, &charge(2, "5.01")), ReasonCode::LimitsExceeded);
    let world = world.with_limits(&LIMITS.replace("50.00", "20.00"));
    assert_eq!(world.refused(&ledger, &charge(3, "0.01")), ReasonCode::LimitsExceeded);
    // Taken out and put in again it is what it was, without what happened meanwhile.
    let world = world.with_limits("");
    ends(&world, &ledger, &charge(4, "30.00"), Outcome::Ok);
    let world = world.with_limits(LIMITS);
    assert_eq!(world.permitted(&ledger, &charge(5, "20.00")).limits[1].used, 3_000);
    assert_eq!(world.refused(&ledger, &charge(6, "0.01")), ReasonCode::LimitsExceeded);
}

#[test]
fn a_repeat_of_an_attempt_takes_nothing_again() {
    let world = World::limited(LIMITS);
    let ledger = world.start();
    let call = charge(1, "50.00");
    let first = world.permitted(&ledger, &call);
    assert_eq!(world.permitted(&ledger, &call), first);
    world.report(&ledger, &call, Outcome::Expired, None).unwrap();
    world.permitted(&ledger, &charge(2, "50.00"));
}

#[test]
fn a_log_without_limits_has_nothing_to_say_of_them() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &charge(1, "1.00"));
    filled(&world, &ledger);
    drop(ledger);
    for record in world.records() {
        let text = String::from_utf8(record.to_bytes().unwrap()).unwrap();
        assert!(!text.contains("limit") && !text.contains("standing"), "{text}");
    }
}
