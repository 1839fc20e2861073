use super::*;
use portcullis_policy::Window;
use proptest::prelude::*;
use proptest::sample::select;

fn name() -> LimitName {
    "l".parse().unwrap()
}

fn counter(which: u8) -> Digest {
    Digest::sha256(&[which])
}

fn taken(which: u8, amount: u64, lapses: Option<u64>) -> LimitUse {
    LimitUse {
        limit: name(),
        counter: counter(which),
        used: 0,
        max: u64::MAX,
        amount,
        lapses: lapses.map(Millis),
    }
}

fn used(standing: &Standing, which: u8, now: u64) -> u64 {
    standing.used(&name(), &counter(which), Millis(now))
}

#[test]
fn what_never_ran_gives_back_and_what_ran_or_may_have_run_does_not() {
    for (outcome, window, open) in [
        (Outcome::Ok, 5, 0),
        (Outcome::Failed, 5, 0),
        (Outcome::Unknown, 5, 1),
        (Outcome::Expired, 0, 0),
        (Outcome::Withheld, 0, 0),
    ] {
        let mut standing = Standing::new();
        standing.reserve(7, Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
        assert_eq!((used(&standing, 1, 10), used(&standing, 2, 10)), (5, 1));
        standing.end(7, outcome);
        assert_eq!((used(&standing, 1, 10), used(&standing, 2, 10)), (window, open), "{outcome:?}");
        // A second end, or one of another PERMIT, gives nothing back again.
        standing.end(8, Outcome::Expired);
        if outcome != Outcome::Unknown {
            standing.end(7, Outcome::Expired);
        }
        assert_eq!((used(&standing, 1, 10), used(&standing, 2, 10)), (window, open), "{outcome:?}");
    }
}

#[test]
fn an_unknown_that_is_found_out_ends_as_what_it_was() {
    for (outcome, window) in [(Outcome::Ok, 5), (Outcome::Failed, 5), (Outcome::Expired, 0)] {
        let mut standing = Standing::new();
        standing.reserve(7, Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
        standing.end(7, Outcome::Unknown);
        standing.end(7, outcome);
        assert_eq!((used(&standing, 1, 10), used(&standing, 2, 10)), (window, 0), "{outcome:?}");
    }
}

#[test]
fn a_clock_that_went_back_begins_no_window_anew() {
    let mut standing = Standing::new();
    let day = Window::Fixed(86_400_000);
    let (late, early) = (Millis(10 * 86_400_000 + 5), Millis(9 * 86_400_000));
    standing.reserve(1, late, &[taken(1, 3, Some(day.lapses(late).0))]);
    assert_eq!(used(&standing, 1, early.0), 3);
    // What is reserved meanwhile lapses with what is there, not before it.
    assert_eq!(standing.at(early), late);
    // Nor does what has lapsed come back.
    let next = Millis(11 * 86_400_000);
    standing.reserve(2, next, &[taken(1, 1, Some(day.lapses(next).0))]);
    assert_eq!((used(&standing, 1, next.0), used(&standing, 1, late.0)), (1, 1));
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    let mut standing = Standing::new();
    let most = u64::try_from(MOST_KEPT / 2).unwrap();
    for permit in 0..most {
        assert!(standing.takes(2, Millis(1)));
        standing.reserve(permit, Millis(1), &[taken(1, 1, Some(1_000 + permit))]);
    }
    assert!(!standing.takes(2, Millis(1)));
    // What has lapsed makes room, whether or not it was forgotten; what ended does too.
    assert!(standing.takes(2, Millis(1_000)));
    standing.end(9, Outcome::Ok);
    assert!(standing.takes(1, Millis(1)) && !standing.takes(2, Millis(1)));
}

#[test]
fn a_row_that_is_missing_changed_or_added_changes_the_digest_and_is_named() {
    let mut standing = Standing::new();
    standing.reserve(7, Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
    let rows = standing.rows();
    assert_eq!(standing.differs(&rows), None);
    for at in rows.keys() {
        let mut others = [rows.clone(), rows.clone()];
        others[0].remove(at);
        others[1].get_mut(at).unwrap().push(b' ');
        for other in others {
            assert_ne!(digest(&other), digest(&rows));
            assert_eq!(standing.differs(&other).as_ref(), Some(at));
        }
    }
    let mut more = rows.clone();
    more.insert("permit 00000000000000000008".to_owned(), b"[]".to_vec());
    assert_ne!(digest(&more), digest(&rows));
    assert_eq!(digest(&Standing::new().rows()), None);
    for bad in ["counter", "permit x", "what"] {
        let rows = BTreeMap::from([(bad.to_owned(), b"{}".to_vec())]);
        assert!(Standing::from_rows(&rows).is_err(), "{bad}");
    }
}

#[test]
fn a_label_stays_for_whichever_time_is_longer() {
    let (agent, label): (AgentId, LabelName) = ("a".parse().unwrap(), "l".parse().unwrap());
    let mut standing = Standing::new();
    for until in [100, 50, 70] {
        standing.label(&agent, Millis(10), &Labelled::from([(label.clone(), Millis(until))]));
    }
    let has = |standing: &Standing, now| standing.labels(&agent, Millis(now)).contains(&label);
    assert!(has(&standing, 99) && !has(&standing, 100));
    assert!(!standing.labels(&"b".parse().unwrap(), Millis(10)).contains(&label));
    let read = Standing::from_rows(&standing.rows()).unwrap();
    assert!(has(&read, 99) && read.rows() == standing.rows());
    standing.forget(Millis(100));
    assert_eq!(standing.rows(), BTreeMap::new());
}

/// What happens, in the order of a log.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask(u8, u64),
    End(usize, Outcome),
    Forget,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let outcomes = [Outcome::Ok, Outcome::Failed, Outcome::Unknown, Outcome::Expired, Outcome::Withheld];
    prop_oneof![
        3 => (0_u64..700).prop_map(Step::Wait),
        6 => (0_u8..3, 1_u64..40).prop_map(|(which, amount)| Step::Ask(which, amount)),
        3 => (0_usize..40, select(outcomes.to_vec())).prop_map(|(of, outcome)| Step::End(of, outcome)),
        1 => Just(Step::Forget),
        1 => Just(Step::Reopen),
    ]
}

/// The naive model: every PERMIT there ever was.
struct Permitted {
    which: u8,
    amount: u64,
    at: u64,
    ended: Option<Outcome>,
}

impl Permitted {
    fn gave_back(&self) -> bool {
        matches!(self.ended, Some(Outcome::Expired | Outcome::Withheld))
    }
}

fn within(all: &[Permitted], which: u8, after: u64, until: u64) -> u64 {
    let counts =
        |one: &&Permitted| one.which == which && !one.gave_back() && one.at > after && one.at <= until;
    all.iter().filter(counts).map(|one| one.amount).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn counters_are_what_a_list_of_all_permits_says(
        steps in proptest::collection::vec(step(), 1..120),
        kind in 0_u8..4,
        max in 20_u64..120,
    ) {
        const SPAN: u64 = 1_000;
        const BEGIN: u64 = 1_700_000_000_123;
        let part = if kind == 1 { 1 } else { 37 };
        let window = match kind {
            0 => Some(Window::Fixed(SPAN)),
            1 | 2 => Some(Window::Sliding { span: SPAN, part }),
            _ => None,
        };
        let (mut standing, mut all, mut now) = (Standing::new(), Vec::<Permitted>::new(), BEGIN);
        for step in steps {
            match step {
                Step::Wait(span) => now += span,
                Step::Ask(which, amount) => {
                    let lapses = window.map(|window| window.lapses(Millis(now)).0);
                    let used = used(&standing, which, now);
                    if used + amount <= max {
                        let permit = u64::try_from(all.len()).unwrap();
                        standing.reserve(permit, Millis(now), &[taken(which, amount, lapses)]);
                        all.push(Permitted { which, amount, at: now, ended: None });
                    }
                }
                Step::End(of, outcome) => {
                    // An outcome is superseded only if it was unknown.
                    if let Some(one) = all.get_mut(of)
                        && matches!(one.ended, None | Some(Outcome::Unknown))
                    {
                        one.ended = Some(outcome);
                        standing.end(u64::try_from(of).unwrap(), outcome);
                    }
                }
                Step::Forget => standing.forget(Millis(now)),
                Step::Reopen => {
                    standing.forget(Millis(now));
                    let rows = standing.rows();
                    standing = Standing::from_rows(&rows).unwrap();
                    prop_assert_eq!(standing.rows(), rows);
                }
            }
            for which in 0..3 {
                let counted = used(&standing, which, now);
                let naive = match kind {
                    0 => within(&all, which, now - now % SPAN - 1, now),
                    3 => {
                        let open = |one: &&Permitted| {
                            one.which == which && matches!(one.ended, None | Some(Outcome::Unknown))
                        };
                        all.iter().filter(open).map(|one| one.amount).sum()
                    }
                    _ => within(&all, which, now - SPAN, now),
                };
                if part == 1 || kind == 0 || kind == 3 {
                    prop_assert_eq!(counted, naive);
                } else {
                    prop_assert!(counted >= naive);
                    prop_assert!(counted <= within(&all, which, now - SPAN - part, now));
                }
                prop_assert!(counted <= max);
            }
        }
    }
}
