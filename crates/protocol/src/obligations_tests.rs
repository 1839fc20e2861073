use super::*;

fn need(roles: &[&str], quorum: u64, lifetime_ms: u64) -> ApprovalNeed {
    ApprovalNeed { roles: roles.iter().map(|role| role.parse().unwrap()).collect(), quorum, lifetime_ms }
}

fn approvals(approvals: &[ApprovalNeed]) -> Obligations {
    Obligations { approvals: approvals.to_vec(), ..Obligations::none() }
}

fn samples() -> Vec<Obligations> {
    vec![
        Obligations::none(),
        approvals(&[need(&["finance"], 2, 60_000)]),
        approvals(&[need(&["finance"], 1, 30_000)]),
        approvals(&[need(&["security"], 1, 90_000), need(&["security", "finance"], 3, 1_000)]),
        Obligations { identity_within_ms: Some(300_000), ..Obligations::none() },
        Obligations { identity_within_ms: Some(60_000), witnessed: true, ..Obligations::none() },
    ]
}

fn union(parts: &[&Obligations]) -> Obligations {
    let mut all = Obligations::none();
    parts.iter().for_each(|part| all.add(part));
    all
}

#[test]
fn a_union_keeps_the_greatest_quorum_and_the_shortest_times() {
    let samples = samples();
    let all = union(&samples.iter().collect::<Vec<_>>());
    let expected = [
        need(&["finance"], 2, 30_000),
        need(&["finance", "security"], 3, 1_000),
        need(&["security"], 1, 90_000),
    ];
    assert_eq!(all.approvals, expected);
    assert_eq!((all.identity_within_ms, all.witnessed), (Some(60_000), true));
    assert!(all.is_well_formed());
}

#[test]
fn a_union_is_the_same_in_every_order_and_takes_nothing_away() {
    for a in &samples() {
        assert_eq!(union(&[a, a]), union(&[a]));
        for b in &samples() {
            assert_eq!(union(&[a, b]), union(&[b, a]));
            let both = union(&[a, b]);
            for need in &a.approvals {
                let kept = both.approvals.iter().find(|kept| kept.roles == need.roles).unwrap();
                assert!(kept.quorum >= need.quorum && kept.lifetime_ms <= need.lifetime_ms);
            }
            assert!(both.witnessed || !a.witnessed);
            assert!(a.identity_within_ms.is_none_or(|most| both.identity_within_ms.unwrap() <= most));
            for c in &samples() {
                assert_eq!(union(&[&union(&[a, b]), c]), union(&[a, &union(&[b, c])]));
            }
        }
    }
}

#[test]
fn nothing_is_written_of_what_is_not_asked_for() {
    assert_eq!(serde_json::to_string(&Obligations::none()).unwrap(), "{}");
    assert!(Obligations::none().is_empty() && Obligations::none().is_well_formed());
    for sample in samples().split_off(1) {
        assert!(!sample.is_empty(), "{sample}");
        let text = serde_json::to_string(&union(&[&sample])).unwrap();
        assert_eq!(serde_json::from_str::<Obligations>(&text).unwrap(), union(&[&sample]), "{text}");
    }
    assert!(serde_json::from_str::<Obligations>(r#"{"approved":true}"#).is_err());
}

#[test]
fn what_asks_for_nothing_is_no_approval() {
    for wrong in [
        approvals(&[need(&[], 1, 1)]),
        approvals(&[need(&["a"], 0, 1)]),
        approvals(&[need(&["a"], 1, 0)]),
        approvals(&[need(&["a"], 1, 1), need(&["a"], 2, 1)]),
        approvals(&[need(&["b"], 1, 1), need(&["a"], 1, 1)]),
        Obligations { identity_within_ms: Some(0), ..Obligations::none() },
    ] {
        assert!(!wrong.is_well_formed(), "{wrong:?}");
    }
}

#[test]
fn people_are_told_whom_to_ask() {
    let told = union(&[&samples()[3], &samples()[5]]).to_string();
    assert_eq!(
        told,
        "approval by 3 different people with role `finance` or `security`, valid for 1s, and approval by 1 person \
         with role `security`, valid for 90s, and identity proved within 1m, and witnesses"
    );
    let lengths: Vec<_> =
        [0, 1, 1_500, 90_000, 3_600_000, 172_800_000].map(|ms| Length(ms).to_string()).into();
    assert_eq!(lengths, ["0ms", "1ms", "1500ms", "90s", "1h", "2d"]);
}
