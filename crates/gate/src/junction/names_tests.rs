//! Whom a name means, and for how long.

use super::*;

fn lists(servers: &[(&str, &[&str])]) -> Vec<(String, Vec<Item>)> {
    let item = |name: &&str| Item::read(format!(r#"{{"n":1.50,"name":"{name}"}}"#), "name").unwrap();
    servers.iter().map(|(server, names)| ((*server).to_owned(), names.iter().map(item).collect())).collect()
}

fn shown(merged: &Merged) -> Vec<String> {
    merged.items.iter().map(|text| Item::read(text.clone(), "name").unwrap().name).collect()
}

fn merge(bound: &mut Bound, servers: &[(&str, &[&str])]) -> Vec<String> {
    shown(&bound.merge(&lists(servers), Rule::Prefix, |_, _| false))
}

#[test]
fn names_are_prefixed_only_on_collision_and_nothing_else_changes() {
    let mut bound = Bound::default();
    let merged =
        bound
            .merge(&lists(&[("a", &["read", "write"]), ("b", &["pay", "read"])]), Rule::Prefix, |_, _| false);
    assert_eq!(shown(&merged), ["a__read", "write", "pay", "b__read"]);
    assert_eq!(merged.items[0], r#"{"n":1.50,"name":"a__read"}"#);
    assert_eq!((bound.get("write"), bound.get("pay"), bound.get("read")), (Some(0), Some(1), None));
}

#[test]
fn a_name_that_was_shown_for_one_servers_tool_is_never_shown_for_anothers() {
    let mut bound = Bound::default();
    assert_eq!(merge(&mut bound, &[("a", &["read"]), ("b", &[])]), ["read"]);
    assert_eq!(merge(&mut bound, &[("a", &["read"]), ("b", &["read"])]), ["a__read", "b__read"]);
    assert_eq!(bound.get("read"), Some(0), "who holds the first list still means the first server's");
    assert_eq!(merge(&mut bound, &[("a", &[]), ("b", &["read"])]), ["b__read"]);
    assert_eq!(bound.get("read"), Some(0));
    assert_eq!(merge(&mut bound, &[("a", &["read"]), ("b", &[])]), ["read"]);
}

#[test]
fn what_could_be_taken_for_another_one_is_not_shown_and_means_nobody() {
    let mut bound = Bound::default();
    let merged =
        bound.merge(&lists(&[("a", &["x"]), ("b", &["y"])]), Rule::Prefix, |server, _| server == "a");
    assert_eq!(shown(&merged), ["y"]);
    assert_eq!(merged.left_out, ["`a/x` (could be taken for another one)"]);
    assert_eq!(bound.get("x"), None);
}

#[test]
fn a_uri_of_two_servers_is_not_shown() {
    let mut bound = Bound::default();
    let merged = bound.merge(&lists(&[("a", &["u", "v"]), ("b", &["u"])]), Rule::Unique, |_, _| false);
    assert_eq!((shown(&merged), bound.get("u")), (vec!["v".to_owned()], None));
    // Nor one that meant another server's before.
    let merged = bound.merge(&lists(&[("a", &[]), ("b", &["v"])]), Rule::Unique, |_, _| false);
    assert_eq!((shown(&merged).len(), bound.get("v")), (0, Some(0)));
}

#[test]
fn names_that_would_be_one_too_many_to_be_held_to_are_prefixed() {
    let mut bound = Bound::default();
    assert!((0..MOST_BOUND).all(|number| bound.bind(&number.to_string(), 0)));
    assert_eq!(merge(&mut bound, &[("a", &["1", "new"]), ("b", &[])]), ["1", "a__new"]);
}

#[test]
fn a_prefixed_name_is_read_in_one_way() {
    let servers: BTreeSet<String> = ["a", "a-b", "x_y"].map(str::to_owned).into();
    assert_eq!(parts("a__read", &servers), Some(("a", "read")));
    assert_eq!(parts("a__b__c", &servers), Some(("a", "b__c")));
    assert_eq!(parts("a___c", &servers), Some(("a", "_c")));
    assert_eq!(parts("x_y__z", &servers), Some(("x_y", "z")));
    assert_eq!(parts("b__read", &servers), None);
    assert_eq!(parts("a_read", &servers), None);
}

#[test]
fn names_of_servers_that_are_not_clear_are_refused() {
    let refused = |names: &[&str]| check(names.iter().copied()).is_err();
    assert!(!refused(&["files", "git", "my-crm", "a_b"]));
    for unclear in [&["files", "files"][..], &["files", "fi1es"], &["a__b", "c"], &["a_", "b"]] {
        assert!(refused(unclear), "{unclear:?}");
    }
    let many: Vec<String> = (0..=MOST_SERVERS).map(|number| format!("s-{number}-x")).collect();
    assert!(check(many.iter().map(String::as_str)).is_err());
}

#[test]
fn a_template_fits_what_it_may_stand_for() {
    for (template, uri, expected) in [
        ("file:///{path}", "file:///a/b", true),
        ("file:///{path}", "file://a", false),
        ("db://{table}/rows/{id}", "db://t/rows/7", true),
        ("db://{table}/rows/{id}", "db://t/row/7", false),
        ("db://{table}/rows", "db://t/rows/7", false),
        ("a{x}b", "ab", true),
        ("a{x}", "a", true),
        ("plain", "plain", true),
        ("plain", "plainer", false),
        ("{broken", "x", false),
    ] {
        assert_eq!(fits(uri, template), expected, "{template} {uri}");
    }
}
