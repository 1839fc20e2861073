use super::*;
use portcullis_policy::Window;
use portcullis_protocol::Digest;

fn agent() -> AgentId {
    "agent".parse().unwrap()
}

fn charge(counter: u8, amount: u64, max: u64) -> Charge {
    Charge {
        counter: Digest::sha256(&[counter]),
        max,
        amount,
        window: Some(Window::Fixed(1_000)),
        code: ReasonCode::LimitsExceeded,
    }
}

fn counting(limit: &str, charge: Result<Charge, ReasonCode>) -> Counting {
    Counting { limit: limit.parse().unwrap(), charge }
}

fn code(counting: &[Counting], standing: &Standing) -> Option<(ReasonCode, String)> {
    match weigh(counting, &agent(), standing, Millis(500)) {
        Weighed::Room(_) => None,
        Weighed::Full(code, limit, _) => Some((code, limit.to_string())),
    }
}

#[test]
fn every_limit_must_have_room_and_the_first_that_has_none_is_the_reason() {
    let roomy = || counting("a", Ok(charge(1, 4, 10)));
    let missing = || counting("b", Err(ReasonCode::LimitsAmountMissing));
    let full = || counting("c", Ok(charge(2, 11, 10)));
    let standing = Standing::new();
    assert_eq!(code(&[roomy()], &standing), None);
    let first = |all: &[Counting]| code(all, &standing).unwrap();
    assert_eq!(first(&[roomy(), missing(), full()]), (ReasonCode::LimitsAmountMissing, "b".into()));
    assert_eq!(first(&[roomy(), full(), missing()]), (ReasonCode::LimitsExceeded, "c".into()));
    assert_eq!(first(&[full(), missing()]).0, ReasonCode::LimitsExceeded);
}

#[test]
fn an_amount_that_no_integer_holds_beside_what_is_used_is_refused_and_does_not_wrap() {
    let mut standing = Standing::new();
    let Weighed::Room(uses) =
        weigh(&[counting("a", Ok(charge(1, 10, 10)))], &agent(), &standing, Millis(500))
    else {
        panic!("no room");
    };
    standing.reserve(1, &agent(), Millis(500), &uses);
    for amount in [1, MOST_COUNTED - 9, MOST_COUNTED] {
        let refused = code(&[counting("a", Ok(charge(1, amount, 10)))], &standing);
        assert_eq!(refused.unwrap().0, ReasonCode::LimitsExceeded, "{amount}");
    }
    for amount in [MOST_COUNTED + 1, u64::MAX - 9, u64::MAX] {
        let refused = code(&[counting("a", Ok(charge(1, amount, u64::MAX)))], &standing);
        assert_eq!(refused.unwrap().0, ReasonCode::LimitsUnreadable, "{amount}");
    }
    assert_eq!(code(&[counting("a", Ok(charge(1, 0, 10)))], &standing), None, "nothing fits beside anything");
}

#[test]
fn what_is_not_known_of_reservations_is_never_room() {
    let some = [counting("a", Ok(charge(1, 1, 10)))];
    let standing = Standing::new();
    let state = |counting, room| state(counting, &agent(), room, Millis(500));
    assert_eq!(state(Some(&some), Room::Of(&standing)), Fact::Known(LimitState::Room));
    assert_eq!(state(Some(&some), Room::Unknown), Fact::Unknown);
    assert_eq!(state(Some(&[]), Room::Unknown), Fact::Unknown);
    assert_eq!(state(None, Room::Of(&standing)), Fact::Unknown);
    assert_eq!(
        state(Some(&some), Room::Taken(&standing, &BTreeSet::new())),
        Fact::Known(LimitState::Room),
        "its own PERMIT took it"
    );
}

#[test]
fn an_agent_that_has_taken_its_share_is_refused_by_its_own_code_and_another_goes_on() {
    let mut standing = Standing::new();
    let by_resource =
        |number: u64| Charge { counter: Digest::sha256(&number.to_be_bytes()), ..charge(1, 1, 10) };
    let asked = |number, agent: &AgentId, standing: &Standing| {
        weigh(&[counting("a", Ok(by_resource(number)))], agent, standing, Millis(500))
    };
    let mut permits = 0;
    let refused = loop {
        match asked(permits, &agent(), &standing) {
            Weighed::Room(uses) => standing.reserve(permits, &agent(), Millis(500), &uses),
            Weighed::Full(code, limit, read) => break (code, limit.to_string(), read),
        }
        permits += 1;
    };
    assert_eq!(refused, (ReasonCode::LimitsAgentFull, "a".into(), None));
    let other = "other".parse().unwrap();
    assert!(matches!(asked(permits, &other, &standing), Weighed::Room(_)));
    assert!(matches!(asked(0, &other, &standing), Weighed::Room(_)), "in a counter that both share");
}
