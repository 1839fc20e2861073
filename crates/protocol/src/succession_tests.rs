use super::*;
use crate::ids::Millis;

fn digest(of: &str) -> BundleDigest {
    BundleDigest(Digest::sha256(of.as_bytes()))
}

/// The root of a version of a chain that never forked.
fn root(chain: &str, version: u64) -> RootRef {
    let digest = |version: u64| Digest::sha256(format!("{chain} {version}").as_bytes());
    RootRef { chain: digest(1), version, digest: digest(version) }
}

/// That chain up to this version.
fn chain(of: &str, version: u64) -> Lineage {
    let first = Lineage::of_first(1, root(of, 1).digest);
    (2..=version).fold(first, |chain, version| chain.followed_by(root(of, version).digest))
}

fn seen<const N: usize>(roots: [RootRef; N]) -> BTreeMap<Digest, RootRef> {
    roots.into_iter().map(|root| (root.chain, root)).collect()
}

fn came(version: u64, of: &str, root: Option<RootRef>) -> EventRecord {
    let bundle = BundleRef { name: "team".into(), version, digest: digest(of) };
    event(Event::BundleInForce, InForce { bundle, root }.detail())
}

fn event(event: Event, detail: BTreeMap<String, String>) -> EventRecord {
    EventRecord { seq: 0, time: Millis(0), event, detail, order: None }
}

/// Follows records, and sees at each that a mark says it all.
fn followed(records: &[EventRecord]) -> Succession {
    let mut succession = Succession::default();
    for record in records {
        succession.follow(record);
        assert_eq!(Succession::of_mark(&succession.detail().collect()), Some(succession.clone()));
    }
    succession
}

#[test]
fn versions_only_grow_and_each_chain_of_roots_keeps_its_own() {
    let succession = followed(&[
        came(3, "c", None),
        came(2, "b", Some(root("one", 4))),
        came(5, "e", Some(root("one", 2))),
        came(5, "e", None),
        came(1, "a", Some(root("two", 1))),
        event(Event::Closed, came(9, "i", None).detail),
    ]);
    let roots = seen([root("one", 4), root("two", 1)]);
    assert_eq!(
        succession,
        Succession { version: 5, digest: Some(digest("e")), roots, ..Succession::default() }
    );
}

#[test]
fn pinning_another_chain_of_roots_in_between_let_old_roots_of_the_first_sign_again() {
    let succession = followed(&[came(1, "a", Some(root("one", 4))), came(2, "b", Some(root("two", 1)))]);
    let admit = |roots: Option<Lineage>| succession.admit(3, digest("c"), roots.as_ref());
    assert_eq!(admit(Some(chain("one", 3))), Err(RolledBack::Root { found: 3, seen: 4 }));
    assert_eq!(admit(None), Err(RolledBack::Root { found: 0, seen: 4 }));
    assert_eq!(admit(Some(chain("one", 4))), Ok(()));
    assert_eq!(admit(Some(chain("two", 1))), Ok(()));
    assert_eq!(admit(Some(chain("three", 1))), Ok(()));
}

/// Keys that a root had left out signed another root in its place, and whatever followed that.
#[test]
fn another_root_of_a_version_that_was_in_force_was_admitted_and_so_was_what_followed_it() {
    let held = root("one", 3);
    let succession = followed(&[came(1, "a", Some(held))]);
    let other = |of: &str| Digest::sha256(of.as_bytes());
    let forked = chain("one", 2).followed_by(other("3'"));
    let fork = Err(RolledBack::Fork { version: 3, seen: held.digest });
    let admit = |roots: &Lineage| succession.admit(2, digest("b"), Some(roots));
    assert_eq!(admit(&forked), fork);
    assert_eq!(admit(&forked.followed_by(other("4'"))), fork);
    assert_eq!(admit(&forked.followed_by(held.digest)), fork, "in another place it is not that one");
    assert_eq!((admit(&chain("one", 3)), admit(&chain("one", 5))), (Ok(()), Ok(())));
    // A record names the newest alone.
    let named = |root: RootRef| {
        let bundle = BundleRef { name: "team".into(), version: 2, digest: digest("b") };
        succession.admit_named(&InForce { bundle, root: Some(root) })
    };
    assert_eq!(named(RootRef { digest: other("3'"), ..held }), fork);
    assert_eq!((named(held), named(root("one", 4))), (Ok(()), Ok(())));
    // The first of a version stays the one, in whatever order they come.
    let mut told = succession.clone();
    told.saw_root(RootRef { digest: other("3'"), ..held });
    assert_eq!(told, succession);
    let beside =
        Succession { roots: seen([RootRef { digest: other("3'"), ..held }]), ..Succession::default() };
    assert_eq!(succession.clone().beside(&beside), succession);
    assert!(
        !succession.continues(&Succession { roots: beside.roots, ..succession.clone() }, LostProofs::Unknown)
    );
    let further = Succession { roots: seen([root("one", 4)]), ..succession.clone() };
    assert_eq!(
        succession.clone().beside_roots(&forked.followed_by(other("4'"))),
        Err(RolledBack::Fork { version: 3, seen: held.digest })
    );
    assert_eq!(succession.clone().beside_roots(&chain("one", 4)), Ok(further.clone()));
    assert_eq!(succession.clone().beside_roots(&chain("one", 2)), Ok(succession.clone()));
    assert!(further.continues(&succession, LostProofs::Unknown));
}

#[test]
fn another_bundle_under_a_version_that_was_in_force_passed_by_the_pin() {
    let succession = followed(&[came(7, "one", None), came(7, "other", None)]);
    let content = RolledBack::Content { version: 7, seen: digest("one") };
    assert_eq!(succession.admit(7, digest("other"), None), Err(content));
    assert_eq!(succession.admit(7, digest("one"), None), Ok(()));
    assert_eq!(succession.admit(8, digest("other"), None), Ok(()));
    let older = RolledBack::Bundle { found: 6, seen: 7 };
    assert_eq!(succession.admit(6, digest("one"), None), Err(older));
    assert!(!succession.takes(7) && succession.takes(8));
}

#[test]
fn where_nobody_knows_which_bundle_had_a_version_it_comes_once() {
    let mut succession = Succession { version: 7, ..Succession::default() };
    assert!(succession.takes(7) && !succession.takes(6) && !Succession::default().takes(0));
    assert_eq!(succession.admit(7, digest("one"), None), Ok(()));
    succession.follow(&came(7, "one", None));
    assert!(!succession.takes(7));
    assert!(succession.admit(7, digest("other"), None).is_err());
}

#[test]
fn chains_beyond_those_that_are_remembered_are_not_taken() {
    let mut succession = Succession::default();
    for number in 0..=MOST_CHAINS {
        succession.saw_root(root(&number.to_string(), 1));
    }
    assert_eq!(succession.roots.len(), MOST_CHAINS);
    let admit = |number: usize| succession.admit(1, digest("a"), Some(&chain(&number.to_string(), 1)));
    assert_eq!((admit(MOST_CHAINS), admit(0)), (Err(RolledBack::Chains), Ok(())));
    // And a mark holds them.
    let mark = event(Event::Marked, succession.detail().collect());
    assert!(crate::Record::Event(mark).to_bytes().is_ok());
}

#[test]
fn an_activation_is_followed_and_stands_in_marks() {
    let bundle = BundleRef { name: "team".into(), version: 4, digest: digest("another") };
    let mut ordered = came(9, "x", None);
    ordered.event = Event::Ordered;
    ordered.order = Some(crate::Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: bundle.clone() },
        reason: "a test".parse().unwrap(),
    });
    let succession = followed(&[came(3, "c", None), ordered]);
    let roots = BTreeMap::new();
    assert_eq!(
        succession,
        Succession {
            version: 4,
            digest: Some(bundle.digest),
            roots,
            activated: Some(bundle),
            ..Succession::default()
        }
    );
}

#[test]
fn what_begins_anew_says_what_holds_and_what_forgets_is_told() {
    let before = followed(&[came(7, "one", Some(root("one", 2)))]);
    let raised = before.clone().raised_to(9, LostProofs::Unknown);
    for says in [Event::Opened, Event::Recovered, Event::HeadGivenUp] {
        let mut succession = before.clone();
        succession.follow(&event(says, raised.detail().collect()));
        assert_eq!(succession, raised);
    }
    let continues = |one: &Succession, other| one.continues(other, LostProofs::Unknown);
    assert!(continues(&raised, &before) && continues(&before, &before) && !continues(&before, &raised));
    let forgets = [
        Succession { roots: BTreeMap::new(), ..raised.clone() },
        Succession { digest: None, ..before.clone() },
        Succession { digest: Some(digest("other")), ..before.clone() },
    ];
    assert!(forgets.iter().all(|other| !continues(other, &before)));
}

/// What is left, and by an operator's word more than that was in force: it said of the lost bundles that none had demanded a
/// proof, and of the one that was activated last what it liked.
#[test]
fn a_log_that_went_on_dropped_demands_that_only_lost_records_knew_and_named_any_proof() {
    let activated = BundleRef { name: "team".into(), version: 7, digest: digest("one") };
    let proof = Some(Digest::sha256(b"a report"));
    let before = |demand| Succession {
        activated: Some(activated.clone()),
        demand,
        proof,
        ..followed(&[came(7, "one", None)])
    };
    let (unknown, none) = (LostProofs::Unknown, LostProofs::NotDemanded);
    for demand in [ProofDemand::Unsaid, ProofDemand::Waived, ProofDemand::Required] {
        let before = before(demand);
        // By the word nothing newer was in force, so that no lost record activated anything.
        assert_eq!(before.clone().raised_to(7, unknown), before);
        assert_eq!(before.clone().raised_to(8, unknown).demand, ProofDemand::Required);
        // The word lowers nothing that is left.
        assert_eq!(before.clone().raised_to(8, none).demand, demand);
        for (version, lost) in [(7, unknown), (8, unknown), (7, none), (8, none)] {
            let raised = before.clone().raised_to(version, lost);
            assert!(raised.continues(&before, lost));
            let other = BundleRef { name: "team".into(), version: 6, digest: digest("planted") };
            let planted = [
                Succession { proof: Some(Digest::sha256(b"another")), ..raised.clone() },
                Succession { proof: None, ..raised.clone() },
                Succession { activated: Some(other), ..raised.clone() },
                Succession { activated: None, ..raised.clone() },
            ];
            assert!(planted.iter().all(|planted| !planted.continues(&before, lost)));
            for says in [ProofDemand::Unsaid, ProofDemand::Waived, ProofDemand::Required] {
                let says = Succession { demand: says, ..raised.clone() };
                assert_eq!(says.continues(&before, lost), says == raised);
            }
        }
        assert!(
            !before.clone().raised_to(8, none).continues(&before, unknown) || demand == ProofDemand::Required
        );
    }
    // Where nobody knows which bundle had the version, one of it may have been activated.
    let unnamed = Succession { digest: None, ..before(ProofDemand::Unsaid) };
    assert_eq!(unnamed.raised_to(7, unknown).demand, ProofDemand::Required);
    assert_eq!(Succession::default().raised_to(0, unknown), Succession::default());
}

#[test]
fn what_an_operator_says_of_lost_demands_is_one_word_or_nothing() {
    for lost in [LostProofs::Unknown, LostProofs::NotDemanded] {
        assert_eq!(LostProofs::of_detail(&lost.detail()), lost);
    }
    let perhaps = BTreeMap::from([(LOST_PROOFS.to_owned(), "perhaps".to_owned())]);
    assert_eq!(LostProofs::of_detail(&perhaps), LostProofs::Unknown);
}

#[test]
fn what_is_left_of_a_log_is_a_lower_bound_and_an_operators_word_raises_it() {
    let signed = followed(&[came(3, "c", Some(root("one", 2)))]);
    let left = followed(&[came(3, "c", Some(root("one", 3))), came(4, "d", Some(root("two", 1)))]);
    let roots = seen([root("one", 3), root("two", 1)]);
    let both = signed.clone().beside(&left);
    let known =
        Succession { version: 4, digest: Some(digest("d")), roots: roots.clone(), ..Succession::default() };
    let raised = |version| both.clone().raised_to(version, LostProofs::NotDemanded);
    assert_eq!((raised(0), raised(4)), (known.clone(), known));
    assert_eq!(raised(9), Succession { version: 9, digest: None, roots, ..Succession::default() });
    // What no head is known to cover may have been in force: its demand counts, and none of its waivers does.
    let demanding = |succession: &Succession, demand| Succession { demand, ..succession.clone() };
    for (sealed, latest, both) in [
        (ProofDemand::Unsaid, ProofDemand::Required, ProofDemand::Required),
        (ProofDemand::Required, ProofDemand::Waived, ProofDemand::Required),
        (ProofDemand::Waived, ProofDemand::Unsaid, ProofDemand::Waived),
    ] {
        assert_eq!(demanding(&signed, sealed).beside(&demanding(&left, latest)).demand, both);
    }
}

#[test]
fn what_says_less_or_is_garbled_says_nothing() {
    let mut older = came(7, "one", None);
    older.detail.remove(VERSION);
    assert_eq!(followed(&[older]), Succession::default());
    assert_eq!(Succession::of_mark(&BTreeMap::from([("keys".to_owned(), "x".to_owned())])), None);
    let whole: BTreeMap<_, _> = followed(&[came(7, "one", Some(root("one", 2)))]).detail().collect();
    for key in [SEEN, SEEN_DIGEST, ROOTS] {
        let mut garbled = whole.clone();
        garbled.insert(key.to_owned(), "x".to_owned());
        assert_eq!(Succession::of_mark(&garbled), None, "{key}");
    }
    for part in [ROOT, ROOT_VERSION, ROOT_DIGEST] {
        let mut half = came(7, "one", Some(root("one", 2))).detail;
        half.remove(part);
        assert_eq!(InForce::of_detail(&half), None, "{part}");
    }
    let mut half = whole.clone();
    half.insert(ROOTS.to_owned(), format!("{} 2", root("one", 2).chain));
    assert_eq!(Succession::of_mark(&half), None, "as earlier builds wrote it");
}

#[test]
fn what_is_demanded_of_proofs_is_known_by_the_newest_activation_alone_and_stands_in_marks() {
    let bundle = BundleRef { name: "team".into(), version: 4, digest: digest("d") };
    let order = crate::Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: bundle.clone() },
        reason: "a test".parse().unwrap(),
    };
    let report = Digest::sha256(b"a report");
    let text = |text: &str| text.to_owned();
    let proof = crate::ProofRef {
        report,
        engine: text("engine"),
        compiler: text("compiler"),
        solver: text("solver"),
        statements: 4,
    };
    let (demand, pinned) = (ProofDemand::Required, ProofDemand::Unsaid);
    let vetted = Vetted { bundle: bundle.digest, demand, proof: Some(proof), pinned };
    let mut ordered = event(Event::Ordered, vetted.detail());
    ordered.order = Some(order);
    let succession = followed(&[ordered.clone()]);
    assert_eq!((succession.demand, succession.proof), (ProofDemand::Required, Some(report)));
    let mut next = ordered.clone();
    next.detail.clear();
    let succession = followed(&[ordered, next]);
    assert_eq!((succession.demand, succession.proof), (ProofDemand::Unsaid, None));
}
