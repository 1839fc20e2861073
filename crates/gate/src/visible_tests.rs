use portcullis_protocol::Digest;

use super::*;

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn bundle(of: &str) -> BundleDigest {
    BundleDigest(Digest::sha256(of.as_bytes()))
}

fn answered(all: &[&str], hidden: &[&str], by: &str) -> Answered {
    let (all, hidden) = (Arc::new(names(all)), Arc::new(names(hidden)));
    Answered { names: all, hidden, bundle: bundle(by), asked: Instant::now() }
}

#[test]
fn the_same_list_is_asked_about_once_within_its_bound_and_never_beyond_it() {
    let visible = Visible::default();
    let first = answered(&["a", "b"], &["b"], "one");
    let asked = first.asked;
    visible.keep(first);
    let at = |all: &[&str], by: &str, after: Duration| {
        visible.of(&names(all), bundle(by), asked + after).map(|it| (*it.hidden).clone())
    };
    let kept = |all: &[&str], by: &str| at(all, by, Duration::ZERO);
    assert_eq!(kept(&["a", "b"], "one"), Some(names(&["b"])));
    assert_eq!(kept(&["a"], "one"), None, "other names are another list");
    assert_eq!(kept(&["a", "b", "c"], "one"), None);
    assert_eq!(at(&["a", "b"], "one", SHOWN_FOR - Duration::from_millis(1)), Some(names(&["b"])));
    assert_eq!(at(&["a", "b"], "one", SHOWN_FOR), None);
}

#[test]
fn what_another_bundle_hid_is_forgotten() {
    let visible = Visible::default();
    visible.keep(answered(&["a"], &["a"], "one"));
    assert!(visible.of(&names(&["a"]), bundle("two"), Instant::now()).is_none());
    assert!(
        visible.of(&names(&["a"]), bundle("one"), Instant::now()).is_none(),
        "what was in force before is asked about anew"
    );
}

#[test]
fn few_lists_are_remembered_and_each_once() {
    let visible = Visible::default();
    for number in 0..=KEPT {
        visible.keep(answered(&[&number.to_string()], &[], "one"));
    }
    visible.keep(answered(&["8"], &["8"], "one"));
    let now = Instant::now();
    assert_eq!(visible.answered().len(), KEPT);
    assert!(visible.of(&names(&["0"]), bundle("one"), now).is_none());
    assert_eq!(*visible.of(&names(&["8"]), bundle("one"), now).unwrap().hidden, names(&["8"]));
}

#[test]
fn a_list_is_parted_so_that_each_part_is_one_that_an_arbiter_takes() {
    let server: ServerName = "rec".parse().unwrap();
    let mut all: BTreeSet<String> = (0..1_100).map(|number| format!("{}{number}", "x".repeat(100))).collect();
    all.insert("a/b".to_owned());
    let (unnamed, parts) = parts(&server, &all);
    assert_eq!((unnamed, parts.iter().map(BTreeSet::len).sum::<usize>()), (1, 1_100));
    assert!(parts.len() > 3, "as many bytes are no longer one part");
    for part in &parts {
        assert_eq!(portcullis_protocol::check_listed(&server, part), Ok(()));
    }
    assert_eq!(
        super::parts(&server, &BTreeSet::new()),
        (0, vec![BTreeSet::new()]),
        "an empty list is one too"
    );
}
