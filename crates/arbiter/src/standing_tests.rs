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

/// One of two agents.
fn agent(number: u64) -> AgentId {
    if number.is_multiple_of(2) { "even" } else { "odd" }.parse().unwrap()
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
        standing.reserve(7, &agent(0), Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
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
        standing.reserve(7, &agent(0), Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
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
    standing.reserve(1, &agent(0), late, &[taken(1, 3, Some(day.lapses(late).0))]);
    assert_eq!(used(&standing, 1, early.0), 3);
    // What is reserved meanwhile lapses with what is there, not before it.
    assert_eq!(standing.at(early), late);
    // Nor does what has lapsed come back.
    let next = Millis(11 * 86_400_000);
    standing.reserve(2, &agent(0), next, &[taken(1, 1, Some(day.lapses(next).0))]);
    assert_eq!((used(&standing, 1, next.0), used(&standing, 1, late.0)), (1, 1));
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    let mut standing = Standing::new();
    let most = u64::try_from(MOST_KEPT / 2).unwrap();
    let own = u64::try_from(MOST_OF_AGENT / 2).unwrap();
    let of = |number: u64| -> AgentId { format!("agent-{}", number / own).parse().unwrap() };
    let other = of(most);
    for permit in 0..most {
        assert_eq!(standing.takes(&of(permit), 2, Millis(1)), Ok(()));
        standing.reserve(permit, &of(permit), Millis(1), &[taken(1, 1, Some(1_000 + permit))]);
    }
    let full = Err(ReasonCode::LimitsUnreadable);
    assert_eq!(standing.takes(&other, 2, Millis(1)), full);
    // What has lapsed makes room, whether or not it was forgotten; what ended does too.
    assert_eq!(standing.takes(&other, 2, Millis(1_000)), Ok(()));
    standing.end(9, Outcome::Ok);
    assert_eq!(standing.takes(&other, 1, Millis(1)), Ok(()));
    assert_eq!(standing.takes(&other, 2, Millis(1)), full);
}

#[test]
fn one_agent_took_all_the_room_that_others_needed() {
    let mut standing = Standing::new();
    let (greedy, other) = (agent(0), agent(1));
    let mut permits = 0_u64;
    // Whatever it is counted by: here each PERMIT has a counter of its own, as with `per = ["resource"]`.
    while standing.takes(&greedy, 2, Millis(1)) == Ok(()) {
        let counter = Digest::sha256(&permits.to_be_bytes());
        let taken = LimitUse { counter, ..taken(1, 1, Some(1_000)) };
        standing.reserve(permits, &greedy, Millis(1), &[taken]);
        permits += 1;
    }
    assert_eq!(permits, u64::try_from(MOST_OF_AGENT / 2).unwrap());
    let full = Err(ReasonCode::LimitsAgentFull);
    let again = Standing::from_rows(&standing.rows()).unwrap();
    for standing in [&standing, &again] {
        assert_eq!(standing.takes(&greedy, 1, Millis(1)), full);
        assert_eq!(standing.takes(&other, MOST_KEPT / 2, Millis(1)), full, "more than anybody may have");
        assert_eq!(standing.takes(&other, MOST_OF_AGENT, Millis(1)), Ok(()));
        assert_eq!(standing.takes(&greedy, 1, Millis(1_000)), Ok(()), "what has lapsed is nobody's");
    }
    // An outcome gives its place back; what never ran, both.
    standing.end(0, Outcome::Ok);
    assert_eq!(standing.takes(&greedy, 1, Millis(1)), Ok(()));
    standing.end(1, Outcome::Expired);
    assert_eq!(
        (standing.takes(&greedy, 3, Millis(1)), standing.takes(&greedy, 4, Millis(1))),
        (Ok(()), full)
    );
}

#[test]
fn a_row_that_is_missing_changed_or_added_changes_the_digest_and_is_named() {
    let mut standing = Standing::new();
    standing.reserve(7, &agent(0), Millis(10), &[taken(1, 5, Some(100)), taken(2, 1, None)]);
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
        standing.label(&agent, None, Millis(10), &Labelled::from([(label.clone(), Millis(until))]));
    }
    let has = |standing: &Standing, now| standing.labels(&agent, None, Millis(now)).contains(&label);
    assert!(has(&standing, 99) && !has(&standing, 100));
    assert!(!standing.labels(&"b".parse().unwrap(), None, Millis(10)).contains(&label));
    let read = Standing::from_rows(&standing.rows()).unwrap();
    assert!(has(&read, 99) && read.rows() == standing.rows());
    standing.forget(Millis(100));
    assert_eq!(standing.rows(), BTreeMap::new());
}

#[test]
fn labels_are_seen_and_added_by_whoever_acts_and_by_whom_it_acts_for() {
    let [bot, planner]: [AgentId; 2] = ["bot", "planner"].map(|name| name.parse().unwrap());
    let [maya, zoe, as_planner]: [PrincipalId; 3] =
        ["maya", "zoe", "planner"].map(|name| name.parse().unwrap());
    let added = |label: &str| Labelled::from([(label.parse().unwrap(), Millis(100))]);
    let mut standing = Standing::new();
    standing.label(&bot, Some(&maya), Millis(10), &added("web"));
    standing.label(&planner, None, Millis(10), &added("customers"));
    let has = |standing: &Standing, agent: &AgentId, behind: Option<&PrincipalId>| -> Vec<String> {
        standing.labels(agent, behind, Millis(20)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(has(&standing, &bot, None), ["web"], "the agent keeps what it read for somebody");
    assert_eq!(
        has(&standing, &planner, Some(&maya)),
        ["customers", "web"],
        "another agent of the same person sees it"
    );
    assert_eq!(has(&standing, &planner, Some(&zoe)), ["customers"], "and of another person does not");
    assert_eq!(
        has(&standing, &bot, Some(&as_planner)),
        ["customers", "web"],
        "a delegate sees what its principal has"
    );
    standing.label(&bot, Some(&as_planner), Millis(10), &added("mail"));
    assert_eq!(
        has(&standing, &planner, None),
        ["customers", "mail"],
        "and the principal gets what the delegate adds"
    );
    assert_eq!(has(&standing, &planner, Some(&maya)), ["customers", "mail", "web"]);
    let read = Standing::from_rows(&standing.rows()).unwrap();
    assert_eq!(has(&read, &planner, Some(&maya)), ["customers", "mail", "web"]);
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
    lapses: Option<u64>,
    ended: Option<Outcome>,
}

impl Permitted {
    fn gave_back(&self) -> bool {
        matches!(self.ended, Some(Outcome::Expired | Outcome::Withheld))
    }
}

/// How many amounts are kept of one of the two agents.
fn kept_of(all: &[Permitted], agent: usize, now: u64) -> usize {
    let own = all
        .iter()
        .enumerate()
        .filter(|(number, one)| number % 2 == agent && one.lapses.is_none_or(|lapses| lapses > now));
    let own: Vec<_> = own.map(|(_, one)| one).collect();
    let held = own.iter().filter(|one| matches!(one.ended, None | Some(Outcome::Unknown))).count();
    let counted = own.iter().filter(|one| !one.gave_back());
    let places: BTreeSet<_> = counted.filter_map(|one| Some((one.which, one.lapses?))).collect();
    held + places.len()
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
                        standing.reserve(permit, &agent(permit), Millis(now), &[taken(which, amount, lapses)]);
                        all.push(Permitted { which, amount, at: now, lapses, ended: None });
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
            for number in 0..2 {
                let kept = standing.shares.of(&agent(number), Millis(now));
                prop_assert_eq!(kept, kept_of(&all, usize::try_from(number).unwrap(), now));
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
