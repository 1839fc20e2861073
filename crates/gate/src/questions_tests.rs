use super::*;

#[test]
fn the_oldest_state_is_forgotten_first() {
    let given = Given::default();
    let state = |number: usize| state_of(number.to_string().as_bytes());
    for number in 0..=REMEMBERED {
        given.remember(state(number));
        // Given twice, it is no newer.
        given.remember(state(number));
    }
    assert!(!given.holds(state(0)));
    assert!(given.holds(state(1)) && given.holds(state(REMEMBERED)));
    let states = given.0.lock().unwrap();
    assert_eq!((states.known.len(), states.order.len()), (REMEMBERED, REMEMBERED));
}

#[test]
fn a_state_is_the_same_in_any_spelling_of_it() {
    let state = |text: &str| {
        let reply = Reply::Result(format!(r#"{{"requestState":{text}}}"#));
        Questions::of("srv", &reply).unwrap().unwrap().state
    };
    assert_eq!(state(r#""é""#), state(r#""\u00e9""#));
    assert_ne!(state(r#""e""#), state(r#""é""#));
    assert_ne!(state("1.0"), state("1"));
}
