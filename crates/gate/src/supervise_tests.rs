use super::*;

#[test]
fn a_process_name_cannot_pass_for_a_parent() {
    assert_eq!(parent_of("7 (sh) S 5 7 7"), Some(5));
    assert_eq!(parent_of("7 (a) S 1 (b) S 5 7 7"), Some(5));
    assert_eq!(parent_of("7 sh S"), None);
}
