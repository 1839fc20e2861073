use super::*;

#[test]
fn amounts_are_written_as_the_surface_writes_them() {
    for (amount, scale, text) in
        [(0, 2, "0.00"), (5, 2, "0.05"), (1_234, 2, "12.34"), (7, 0, "7"), (100, 4, "0.0100")]
    {
        assert_eq!(scaled(amount, scale), text);
    }
}

#[test]
fn room_comes_when_enough_has_lapsed_and_never_for_what_the_limit_never_holds() {
    let by = || Earlier {
        seq: 1,
        time: Millis(0),
        agent: "bot".parse().unwrap(),
        surface: "demo.charge".parse().unwrap(),
        outcome: None,
    };
    let taken = |amount, lapses: Option<u64>| Taken { by: by(), amount, lapses: lapses.map(Millis) };
    let used = |used, amount| LimitUse {
        limit: "a".parse().unwrap(),
        counter: Digest::sha256(b"x"),
        used,
        max: 10,
        amount,
        lapses: None,
    };
    let three = [taken(5, Some(30)), taken(2, Some(10)), taken(3, Some(20))];
    assert_eq!(room_at(&used(10, 2), &three), Some(Millis(10)));
    assert_eq!(room_at(&used(10, 3), &three), Some(Millis(20)));
    assert_eq!(room_at(&used(10, 10), &three), Some(Millis(30)));
    assert_eq!(room_at(&used(10, 11), &three), None);
    assert_eq!(room_at(&used(10, 1), &[taken(10, None)]), None, "what lasts until it ends has no time");
}
