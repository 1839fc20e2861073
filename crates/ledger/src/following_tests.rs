use std::collections::BTreeMap;

use portcullis_protocol::{Digest, ProofDemand, ProofRef, Resolution, RootRef};

use super::*;
use crate::released::LEFT_SIGNED;
use crate::turns::tests::{Said, digest, event, opened};

fn bundle(version: u64, of: &str) -> BundleRef {
    BundleRef { name: "team".into(), version, digest: digest(of) }
}

fn came(version: u64, of: &str) -> Said {
    event(Event::BundleInForce, InForce { bundle: bundle(version, of), root: None }.detail())
}

/// As [`came`], by a root of this version and digest.
fn came_by(version: u64, of: &str, (root, digest): (u64, &[u8])) -> Said {
    let (chain, digest) = (Digest::sha256(b"a chain"), Digest::sha256(digest));
    let root = Some(RootRef { chain, version: root, digest });
    event(Event::BundleInForce, InForce { bundle: bundle(version, of), root }.detail())
}

/// The activation of a bundle that was vetted so.
fn ordered(version: u64, of: &str, vetted: &Vetted) -> Said {
    let order = Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: bundle(version, of) },
        reason: "a test".parse().unwrap(),
    };
    let Said::Event(record) = event(Event::Ordered, vetted.detail()) else { panic!("an event") };
    Said::Event(EventRecord { order: Some(order), ..record })
}

fn vetted(demand: ProofDemand, proved: bool) -> Vetted {
    let text = |text: &str| text.to_owned();
    let proof = proved.then(|| ProofRef {
        report: report(),
        engine: text("engine"),
        compiler: text("compiler"),
        solver: text("solver"),
        statements: 4,
    });
    Vetted { bundle: digest("any"), demand, proof, pinned: ProofDemand::Unsaid }
}

fn report() -> Digest {
    Digest::sha256(b"a report")
}

fn activated(version: u64, of: &str) -> Said {
    ordered(version, of, &vetted(ProofDemand::Unsaid, false))
}

/// A head is given up, of which so many records are known to be signed, and this counts as having been in force.
fn given_up(says: &Succession, signed: u64, lost: LostProofs) -> Said {
    let signed = (LEFT_SIGNED.to_owned(), signed.to_string());
    event(Event::HeadGivenUp, says.detail().chain([signed]).chain(lost.detail()).collect())
}

fn marked(says: &Succession) -> Said {
    event(Event::Marked, says.detail().collect())
}

fn seen(version: u64, of: &str) -> Succession {
    Succession { version, digest: Some(digest(of)), ..Succession::default() }
}

fn by(of: &str) -> Said {
    Said::Refused(Some(digest(of)))
}

/// Follows records that all have one time, and returns what is said of the first that cannot be.
fn follow(records: &[Said]) -> Result<(), String> {
    let records: Vec<_> = records.iter().map(|said| (7, said.clone())).collect();
    crate::turns::tests::follow(&records)
}

#[track_caller]
fn assert_named(records: &[Said], seq: usize, what: &str) {
    let error = follow(records).unwrap_err();
    assert!(error.contains(&format!("record {seq}: ")) && error.contains(what), "{error}");
}

/// What was in force at the end of [`life`].
fn after() -> Succession {
    Succession { activated: Some(bundle(3, "new")), ..seen(3, "new") }
}

/// A life: opened, decided, another activated and decided by, opened again.
fn life() -> Vec<Said> {
    vec![
        opened(&Succession::default(), 0, 0),
        came(2, "old"),
        by("old"),
        marked(&seen(2, "old")),
        activated(3, "new"),
        came(3, "new"),
        by("new"),
        opened(&after(), 1, 0),
        came(3, "new"),
        by("new"),
    ]
}

/// Who signed bundles by a root that was put in another one's place had them on record as if nothing had been there before.
#[test]
fn a_bundle_by_another_root_of_a_version_that_was_in_force_is_named_where_it_comes() {
    let records = |roots: &[(u64, &[u8])]| {
        let begins = opened(&Succession::default(), 0, 0);
        let came = roots.iter().map(|root| came_by(2, "one", *root));
        [begins].into_iter().chain(came).collect::<Vec<_>>()
    };
    assert_eq!(follow(&records(&[(1, b"1"), (2, b"2"), (2, b"2"), (3, b"3")])), Ok(()));
    assert_named(&records(&[(1, b"1"), (2, b"2"), (2, b"other")]), 3, "or its root is");
    assert_named(&records(&[(2, b"2"), (1, b"1")]), 2, "or its root is");
}

#[test]
fn what_was_decided_by_the_bundle_in_force_is_sound() {
    assert_eq!(follow(&life()), Ok(()));
}

#[test]
fn a_decision_by_a_bundle_that_was_not_in_force_there_is_named() {
    for (at, other) in [(2, "new"), (6, "old"), (9, "old")] {
        let mut records = life();
        records[at] = by(other);
        assert_named(&records, at, "was not in force there");
    }
    let mut nameless = life();
    nameless[2] = Said::Permitted(None);
    assert_named(&nameless, 2, "was not in force there");
    // Nothing is in force before it came, after an opening and after an activation.
    for at in [1, 5, 8] {
        let mut records = life();
        records[at] = Said::Counted;
        assert_named(&records, at + 1, "was not in force there");
    }
}

#[test]
fn a_bundle_that_was_rolled_back_or_is_another_than_the_activated_one_is_named_where_it_comes() {
    let older = "older than one that was, or another of its version";
    for (at, record, what) in [
        (8, came(2, "old"), older),
        (8, came(3, "twin"), older),
        (5, came(4, "other"), "not the one that was activated last"),
        (4, activated(2, "old"), "not newer than those"),
        (5, event(Event::BundleInForce, BTreeMap::new()), "does not say which"),
    ] {
        let mut records = life();
        records[at] = record;
        assert_named(&records, at, what);
    }
}

#[test]
fn a_mark_or_an_opening_that_says_something_else_is_named() {
    let forgets = seen(1, "older");
    let says = "are not those that it says";
    for (at, record, what) in [
        (3, marked(&forgets), says),
        (3, event(Event::Marked, BTreeMap::new()), says),
        (7, opened(&forgets, 0, 0), says),
        (7, opened(&forgets, u64::MAX, 0), "no head was signed"),
        (7, event(Event::Recovered, BTreeMap::new()), "no head was signed"),
        (7, given_up(&forgets, 7, LostProofs::Unknown), says),
    ] {
        let mut records = life();
        records[at] = record;
        assert_named(&records, at, what);
    }
}

/// Whoever had the log's key could say of as many records as it took that they were never released: what was in force by
/// them did not hold.
#[test]
fn a_planted_count_of_records_that_were_never_released_rolled_the_bundle_in_force_back() {
    for (unsigned, says) in
        [(3, seen(2, "old")), (4, seen(2, "old")), (6, Succession::default()), (7, Succession::default())]
    {
        let mut records = life();
        records[7] = opened(&says, unsigned, 0);
        records[8] = came(2, "old");
        records[9] = by("old");
        assert_named(
            &records,
            7,
            "by it no head was signed over records of which the log shows that one was",
        );
    }
    // One batch may be without a head: what comes into force with it did not.
    let mut records = life();
    let sealed = Succession { activated: Some(bundle(3, "new")), ..seen(3, "new") };
    records[7] = opened(&sealed, 2, 0);
    assert_eq!(follow(&records), Ok(()));
    // It is said of PERMITs, too, and then each is withheld.
    records[6] = Said::Permitted(Some(digest("new")));
    assert_named(&records, 7, "not as many as it says");
    records[7] = opened(&sealed, 2, 1);
    assert_named(&records, 7, "is not withheld by it");
    records.insert(8, Said::Ended(6, Outcome::Withheld));
    assert_eq!(follow(&records), Ok(()));
    records.insert(7, Said::Ended(6, Outcome::Ok));
    records[8] = opened(&sealed, 3, 0);
    records.remove(9);
    assert_named(&records, 8, "no head was signed");
}

#[test]
fn an_activation_that_no_head_was_signed_over_does_not_hold() {
    let mut records = life();
    records.truncate(5);
    records.extend([opened(&seen(2, "old"), 1, 0), came(2, "old"), by("old")]);
    assert_eq!(follow(&records), Ok(()));
}

#[test]
fn an_activation_that_a_demand_was_made_of_before_is_named_where_it_has_no_proof() {
    use ProofDemand::{Required, Unsaid, Waived};
    let what = "though a proof was demanded";
    let after = |first: Vetted, second: &Vetted| {
        [
            opened(&Succession::default(), 0, 0),
            ordered(3, "one", &first),
            came(3, "one"),
            ordered(4, "two", second),
        ]
    };
    assert_eq!(follow(&after(vetted(Required, true), &vetted(Required, true))), Ok(()));
    assert_eq!(follow(&after(vetted(Required, true), &vetted(Waived, true))), Ok(()));
    assert_eq!(follow(&after(vetted(Waived, false), &vetted(Unsaid, false))), Ok(()));
    assert_named(&after(vetted(Required, false), &vetted(Required, true)), 1, what);
    for second in
        [vetted(Waived, false), vetted(Required, false), vetted(Unsaid, true), vetted(Unsaid, false)]
    {
        assert_named(&after(vetted(Required, true), &second), 3, what);
    }
    // What the pinned bundle said, which never came into force for it, is in the record of the first activation.
    let pinned = |vetted: Vetted| Vetted { pinned: Required, ..vetted };
    assert_named(&after(pinned(vetted(Waived, false)), &vetted(Unsaid, false)), 1, what);
    assert_eq!(follow(&after(pinned(vetted(Waived, true)), &vetted(Unsaid, false))), Ok(()));
    // The demand of an activation that no head was signed over ends with it.
    let unsigned = [
        opened(&Succession::default(), 0, 0),
        ordered(3, "one", &vetted(Required, true)),
        opened(&Succession::default(), 1, 0),
        ordered(3, "two", &vetted(Unsaid, false)),
    ];
    assert_eq!(follow(&unsigned), Ok(()));
}

#[test]
fn a_log_that_goes_on_says_no_less_than_what_is_left() {
    let mut records = life();
    records.truncate(4);
    let raised = Succession { demand: ProofDemand::Required, ..seen(9, "") };
    let raised = Succession { digest: None, ..raised };
    let lost = |says: &Succession, signed, lost| {
        let mut records = records.clone();
        records.extend([given_up(says, signed, lost), opened(says, 0, 0)]);
        records
    };
    let (unknown, none) = (LostProofs::Unknown, LostProofs::NotDemanded);
    let waived = Succession { demand: ProofDemand::Unsaid, ..raised.clone() };
    assert_eq!(follow(&lost(&raised, 3, unknown)), Ok(()));
    assert_eq!(follow(&lost(&waived, 4, none)), Ok(()));
    let says = "are not those that it says";
    assert_named(&lost(&waived, 3, unknown), 4, says);
    assert_named(&lost(&raised, 5, unknown), 4, "no head was signed");
    assert_named(&lost(&Succession::default(), 0, unknown), 4, "no head was signed");
    // Nothing that was pinned comes into force, for it may have been demanded that it be proved.
    let comes = |says: &Succession, lost_proofs| {
        [lost(says, 3, lost_proofs), vec![came(9, "lost"), by("lost")]].concat()
    };
    assert_named(&comes(&raised, unknown), 6, "a proof of it was demanded");
    assert_eq!(follow(&comes(&waived, none)), Ok(()));
    // What was never activated is not made to decide by giving a head up.
    let planted = Succession { activated: Some(bundle(9, "planted")), ..raised };
    let mut records = life();
    records.push(given_up(&planted, 10, unknown));
    assert_named(&records, 10, says);
}

/// It said so by the record that gives the head up, and nobody asked the records before it.
#[test]
fn a_log_that_went_on_was_believed_that_a_bundle_was_proved_or_that_an_earlier_one_was_the_last() {
    let proved = ordered(3, "new", &vetted(ProofDemand::Required, true));
    let next = ordered(4, "newer", &vetted(ProofDemand::Required, true));
    let records = [
        opened(&Succession::default(), 0, 0),
        proved,
        came(3, "new"),
        by("new"),
        next,
        came(4, "newer"),
        by("newer"),
    ];
    let left = Succession {
        activated: Some(bundle(4, "newer")),
        demand: ProofDemand::Required,
        proof: Some(report()),
        ..seen(4, "newer")
    };
    let says = |says: &Succession, signed| {
        [records.to_vec(), vec![given_up(says, signed, LostProofs::Unknown), opened(says, 0, 0)]].concat()
    };
    for signed in [5, 6, 7] {
        assert_eq!(follow(&says(&left, signed)), Ok(()));
    }
    let first = Some(bundle(3, "new"));
    for planted in [
        Succession { proof: None, ..left.clone() },
        Succession { proof: Some(Digest::sha256(b"another report")), ..left.clone() },
        Succession { activated: first.clone(), ..left.clone() },
        Succession { activated: None, ..left.clone() },
        Succession { demand: ProofDemand::Unsaid, ..left.clone() },
        Succession { demand: ProofDemand::Waived, version: 5, digest: None, ..left.clone() },
    ] {
        assert_named(&says(&planted, 7), 7, "are not those that it says");
    }
    // By what it calls signed the activation would not hold, and the log shows that it does.
    assert_named(&says(&Succession { activated: first, ..left }, 4), 7, "no head was signed");
    let unproved = ordered(4, "newer", &vetted(ProofDemand::Waived, false));
    let unsealed = [records[..4].to_vec(), vec![unproved.clone()]].concat();
    // What no head is known to cover activates nothing, and its version counts; the demand before it does, too.
    let kept = Succession {
        activated: Some(bundle(3, "new")),
        demand: ProofDemand::Required,
        proof: Some(report()),
        ..seen(4, "newer")
    };
    assert_named(
        &[unsealed, vec![given_up(&kept, 4, LostProofs::Unknown)]].concat(),
        4,
        "though a proof was demanded",
    );
    let waived = ordered(4, "newer", &vetted(ProofDemand::Waived, true));
    let unsealed = [records[..4].to_vec(), vec![waived]].concat();
    assert_eq!(follow(&[unsealed, vec![given_up(&kept, 4, LostProofs::Unknown)]].concat()), Ok(()));
}

fn turned(event: Event) -> Said {
    crate::turns::tests::event(event, BTreeMap::new())
}

/// A life in which an operator shuts the gate, opens it, and shuts it again before another process goes on.
fn shut_and_reopened() -> Vec<Said> {
    use Decision::{Deny, Permit, Silence};
    vec![
        opened(&Succession::default(), 0, 0),
        came(2, "old"),
        Said::Gate(Permit, GateFact::Open),
        Said::Gate(Silence, GateFact::Unknown),
        turned(Event::Shut),
        Said::Gate(Silence, GateFact::Shut),
        Said::Gate(Silence, GateFact::Unknown),
        Said::Gate(Silence, GateFact::Shut),
        turned(Event::Reopened),
        Said::Gate(Permit, GateFact::Open),
        Said::Gate(Deny, GateFact::Open),
        turned(Event::Shut),
        // Whoever opens it next takes the lever for open, and says so if it is not.
        opened(&seen(2, "old"), 0, 0),
        came(2, "old"),
        turned(Event::Shut),
        Said::Gate(Silence, GateFact::Shut),
        turned(Event::Reopened),
        Said::Gate(Permit, GateFact::Open),
        turned(Event::Shut),
        opened(&seen(2, "old"), 0, 0),
        came(2, "old"),
        Said::Gate(Permit, GateFact::Open),
    ]
}

#[test]
fn a_permit_by_an_open_gate_while_it_was_shut_was_sound() {
    use Decision::{Deny, Permit, Silence};
    let shut = "the gate was open, and an operator had shut it";
    let open = "the gate was shut, and that it was shut is not on record there";
    assert_eq!(follow(&shut_and_reopened()), Ok(()));
    for (at, other, what) in [
        (5, Said::Gate(Permit, GateFact::Open), shut),
        (7, Said::Gate(Deny, GateFact::Open), shut),
        (15, Said::Gate(Permit, GateFact::Open), shut),
        (10, Said::Gate(Silence, GateFact::Shut), open),
        (21, Said::Gate(Silence, GateFact::Shut), open),
        (2, Said::Gate(Permit, GateFact::Unknown), "does not say that the gate was open"),
        (5, Said::Gate(Permit, GateFact::Shut), "does not say that the gate was open"),
        (8, turned(Event::Shut), "the gate was shut, which it was"),
        (4, turned(Event::Reopened), "nobody had shut it"),
        (14, turned(Event::Reopened), "nobody had shut it"),
    ] {
        let mut records = shut_and_reopened();
        records[at] = other;
        assert_named(&records, at, what);
    }
    for (at, what) in [(4, open), (8, shut), (14, open), (16, shut)] {
        let mut records = shut_and_reopened();
        records[at] = Said::Counted;
        assert_named(&records, at + 1, what);
    }
}

fn attempt(of: u8) -> AttemptId {
    AttemptId::from_bytes([of; 32])
}

/// An operator's order on what became of an attempt.
fn resolving(of: u8, outcome: Resolution) -> Said {
    let order = Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ResolveOutcome { attempt: attempt(of), outcome },
        reason: "asked the bank".parse().unwrap(),
    };
    let Said::Event(record) = turned(Event::Ordered) else { panic!("an event") };
    Said::Event(EventRecord { order: Some(order), ..record })
}

/// An outcome that this operator says, for this reason.
fn said(of: u8, outcome: Outcome, by: &str, reason: &str) -> Said {
    Said::Outcome(OutcomeRecord {
        seq: 0,
        time: Millis(0),
        permit: 2,
        attempt: attempt(of),
        outcome,
        result: None,
        kept_until: None,
        supersedes: Some(3),
        by: Some(by.parse().unwrap()),
        reason: Some(reason.parse().unwrap()),
    })
}

fn resolved() -> Vec<Said> {
    vec![
        opened(&Succession::default(), 0, 0),
        came(2, "old"),
        Said::Gate(Decision::Permit, GateFact::Open),
        Said::Ended(2, Outcome::Unknown),
        resolving(1, Resolution::NotRun),
        said(1, Outcome::Expired, "alice", "asked the bank"),
        Said::Counted,
    ]
}

#[test]
fn an_outcome_by_an_operator_who_gave_no_order_for_it_was_sound() {
    let without = "the order for it is not right before it";
    let left = "the outcome that it orders is not right behind it";
    assert_eq!(follow(&resolved()), Ok(()));
    // Another attempt, another outcome, another person, another reason.
    for other in [
        said(7, Outcome::Expired, "alice", "asked the bank"),
        said(1, Outcome::Ok, "alice", "asked the bank"),
        said(1, Outcome::Expired, "bob", "asked the bank"),
        said(1, Outcome::Expired, "alice", "asked nobody"),
    ] {
        let mut records = resolved();
        records[5] = other;
        assert_named(&records, 5, without);
    }
    // No order, and no outcome: a gate's own, an event, a count, or the end of the log.
    let mut records = resolved();
    records[4] = Said::Counted;
    assert_named(&records, 5, without);
    for other in
        [Said::Ended(2, Outcome::Expired), turned(Event::KeyAdded), turned(Event::Shut), Said::Counted]
    {
        let mut records = resolved();
        records[5] = other;
        assert_named(&records, 4, left);
    }
    records = resolved();
    records.truncate(5);
    assert_named(&records, 4, left);
    // Something in between, though another time may have dropped it; and at another time.
    let mut records: Vec<_> = resolved().into_iter().map(|said| (7, said)).collect();
    records.insert(5, (7, Said::Counted));
    assert!(crate::turns::tests::follow(&records).unwrap_err().contains(left));
    records.remove(5);
    records[5].0 = 8;
    records[6].0 = 9;
    assert!(crate::turns::tests::follow(&records).unwrap_err().contains(without));
    // One order is for one outcome.
    let mut records = resolved();
    records[6] = records[5].clone();
    assert_named(&records, 6, without);
}
