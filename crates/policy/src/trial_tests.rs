use super::*;
use crate::files::Files;
use crate::testing::{defect, files, with_policies};
use crate::{Snapshot, bundles};

const POLICY: &str =
    "@id(\"small\") permit (principal == Agent::\"bot\", action == Action::\"charge\", resource)
  when { context.amount.lessThan(decimal(\"10.00\")) };
@id(\"suspended\") forbid (principal in Group::\"suspended\", action, resource);";

fn case(name: &str, agent: &str, amount: &str, rest: &str) -> String {
    format!(
        "[[case]]\nname = \"{name}\"\nagent = \"{agent}\"\nsurface = \"pay.charge\"\naction = \"charge\"\n\
         context = {{ amount = \"{amount}\", count = 1 }}\n{rest}\n"
    )
}

const GRANTED: &str = "expect = \"permit\"\npolicies = [\"small\"]";
const NOT_GRANTED: &str = "expect = \"deny\"\nreason = \"policy.no_grant\"";
const SUSPENDED: &str = "expect = \"deny\"\nreason = \"policy.forbidden\"\npolicies = [\"suspended\"]";

fn tried_with(cases: &str) -> Files {
    let mut files = with_policies(POLICY);
    files.insert("tests/pay.toml".into(), cases.as_bytes().to_vec());
    files
}

fn report(cases: &str) -> TrialReport {
    Snapshot::from_files(tried_with(cases)).unwrap().test().unwrap()
}

fn thorough() -> String {
    [
        case("small", "bot", "9.99", GRANTED),
        case("large", "bot", "10.00", NOT_GRANTED),
        case("suspended", "rogue", "1.00", SUSPENDED),
    ]
    .concat()
}

#[test]
fn a_case_passes_if_decision_reason_and_policies_are_those_expected() {
    let report = report(&thorough());
    assert!(report.passed(), "{report:?}");
    let counts: Vec<_> = report.policies.values().copied().collect();
    assert_eq!(counts, [1, 1]);
    assert_eq!(report.surfaces[&"pay.charge".parse().unwrap()], SurfaceReport { granted: 1, refused: 2 });
    for (wrong, right) in [
        ("expect = \"deny\"\nreason = \"policy.no_grant\"", GRANTED),
        ("expect = \"permit\"", NOT_GRANTED),
        ("expect = \"deny\"\nreason = \"policy.forbidden\"", NOT_GRANTED),
        ("expect = \"silence\"\nreason = \"policy.missing\"", SUSPENDED),
        ("expect = \"permit\"\npolicies = [\"other\"]", GRANTED),
        ("expect = \"deny\"\nreason = \"policy.forbidden\"\npolicies = []", SUSPENDED),
    ] {
        let report = self::report(&thorough().replacen(right, wrong, 1));
        assert!(!report.passed(), "{wrong}");
        assert_eq!(report.cases.iter().filter(|case| !case.passed).count(), 1, "{wrong}");
    }
}

/// What `POLICY` would be if its grant asked for everything.
const ASKING: &str = "@id(\"small\") @approval_roles(\"b, a\") @approval_quorum(\"2\") @approval_lifetime(\"1h\")
  @identity_within(\"5m\") @witnessed permit (principal == Agent::\"bot\", action == Action::\"charge\", resource);";
const OWED: &str = "expect = \"permit\"\nobligations = [
  { approval_roles = [\"a\", \"b\"], approval_quorum = 2, approval_lifetime = \"60m\" },
  { identity_within = \"5m\" },
  { witnessed = true },
]";

fn asking(case: &str) -> Files {
    let mut files = with_policies(ASKING);
    files.insert("tests/pay.toml".into(), self::case("asks", "bot", "1.00", case).into_bytes());
    files
}

#[test]
fn a_case_that_passes_over_an_obligation_fails() {
    let passed = |case: &str| Snapshot::from_files(asking(case)).unwrap().test().unwrap().passed();
    assert!(passed(OWED));
    for (from, to) in [
        ("approval_quorum = 2", "approval_quorum = 1"),
        ("\"60m\"", "\"61m\""),
        ("[\"a\", \"b\"]", "[\"a\"]"),
        ("\"5m\"", "\"6m\""),
        ("  { witnessed = true },\n", ""),
        ("  { identity_within = \"5m\" },\n", ""),
    ] {
        assert!(OWED.contains(from) && !passed(&OWED.replace(from, to)), "{from}");
    }
    assert!(!passed("expect = \"permit\""), "left out means none");
    assert!(!report(&case("more", "bot", "1.00", OWED)).passed(), "none is not enough");
}

#[test]
fn a_dropped_annotation_is_noticed_by_the_case_that_lists_it() {
    let report = Snapshot::from_files(asking(OWED)).unwrap().test().unwrap();
    let told =
        report.mutants.iter().map(|mutant| format!("{}: {}", mutant.change, mutant.noticed_by.is_some()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "dropped: true",
            "turned round: true",
            "without its approval: true",
            "without its freshness of identity: true",
            "without its witnesses: true",
        ]
    );
    let gaps = Snapshot::from_files(asking(NOT_GRANTED)).unwrap().test().unwrap().gaps();
    assert!(gaps.contains(&"no case notices policy `small` without its approval".to_owned()), "{gaps:?}");
}

/// What `POLICY` would be if its grant added two labels, and if the case says so.
fn labelling(rest: &str) -> Files {
    let grant = "@id(\"small\") @adds_label(\"secret, untrusted\") permit (principal == Agent::\"bot\", action == Action::\"charge\", resource);";
    let labels = "[labels.secret]\nlifetime = \"8h\"\n[labels.untrusted]\nlifetime = \"8h\"\n[labels.other]\nlifetime = \"8h\"\n\n[roster.people.ada]";
    let mut files = crate::testing::edit(with_policies(grant), "bundle.toml", "[roster.people.ada]", labels);
    files.insert("tests/pay.toml".into(), case("adds", "bot", "1.00", rest).into_bytes());
    files
}

const ADDED: &str = "expect = \"permit\"\nadds = [\"untrusted\", \"secret\"]";

/// No case saw labels: a bundle whose every control by them was gone passed all of its tests.
#[test]
fn a_case_that_passes_over_a_label_fails() {
    let tried = |rest: &str| Snapshot::from_files(labelling(rest)).unwrap().test().unwrap();
    assert!(tried(ADDED).passed());
    for (from, to) in
        [("\"secret\"", ""), ("\"secret\"", "\"secret\", \"other\""), ("\"secret\"", "\"other\"")]
    {
        assert!(!tried(&ADDED.replace(from, to)).passed(), "{to}");
    }
    assert!(!tried("expect = \"permit\"").passed(), "left out means none");
    let added = "@adds_label(\"secret, untrusted\") ";
    let bare = crate::testing::edit(labelling(ADDED), "policies/main.cedar", added, "");
    assert!(!Snapshot::from_files(bare).unwrap().test().unwrap().passed(), "none is not enough");
}

#[test]
fn a_dropped_label_is_noticed_by_the_case_that_lists_it() {
    let report = Snapshot::from_files(labelling(ADDED)).unwrap().test().unwrap();
    let unlabelled = |mutant: &&Mutant| mutant.change == Change::Unlabelled;
    let mutants: Vec<_> = report.mutants.iter().filter(unlabelled).collect();
    assert_eq!(mutants.len(), 1, "{:?}", report.mutants);
    assert_eq!((mutants[0].policy.as_str(), mutants[0].noticed_by.as_deref()), ("small", Some("adds")));
    let mut files = labelling(ADDED);
    let other = "[[case]]\nname = \"other\"\nagent = \"rogue\"\nsurface = \"pay.charge\"\naction = \"charge\"\n\
                 context = { amount = \"1.00\", count = 1 }\nexpect = \"deny\"\nreason = \"policy.no_grant\"\n";
    files.insert("tests/pay.toml".into(), other.into());
    let gaps = Snapshot::from_files(files).unwrap().test().unwrap().gaps();
    assert!(gaps.contains(&"no case notices policy `small` without its labels".to_owned()), "{gaps:?}");
}

/// A grant that asks for more than another beside it may be dropped from the union without a trace: another asks for as much.
#[test]
fn an_obligation_that_another_grant_holds_too_is_a_gap() {
    let twin = ASKING.replacen("small", "twin", 1);
    let mut files = asking(OWED);
    files.insert("policies/twin.cedar".into(), twin.into_bytes());
    let gaps = Snapshot::from_files(files).unwrap().test().unwrap().gaps();
    assert!(gaps.contains(&"no case notices policy `small` without its approval".to_owned()), "{gaps:?}");
}

#[test]
fn without_cases_nothing_is_shown() {
    let report = Snapshot::from_files(with_policies(POLICY)).unwrap().test().unwrap();
    assert!(!report.passed());
    let gaps = report.gaps();
    assert!(gaps.contains(&"policy `small` determines no case".to_owned()), "{gaps:?}");
    assert!(gaps.contains(&"surface `pay.charge` is in no case".to_owned()), "{gaps:?}");
    assert_eq!(report.mutants.len(), 5);
    assert!(report.mutants.iter().all(|mutant| mutant.noticed_by.is_none()));
}

#[test]
fn each_changed_policy_is_noticed_by_the_case_that_tells() {
    let noticed = |cases: &str| -> Vec<String> {
        let report = report(cases);
        let told = report.mutants.iter().map(|Mutant { policy, change, noticed_by }| {
            format!("{policy} {change}: {}", noticed_by.as_deref().unwrap_or("nobody"))
        });
        told.collect()
    };
    assert_eq!(
        noticed(&thorough()),
        [
            "small dropped: small",
            "small turned round: small",
            "small without its conditions: large",
            "suspended dropped: suspended",
            "suspended turned round: suspended",
        ]
    );
    let only = case("small", "bot", "9.99", GRANTED);
    assert_eq!(
        noticed(&only),
        [
            "small dropped: small",
            "small turned round: small",
            "small without its conditions: nobody",
            "suspended dropped: nobody",
            "suspended turned round: nobody",
        ]
    );
    // A case that fails notices everything, and so nothing.
    assert!(noticed(&only.replace("9.99", "99.00")).iter().all(|told| told.ends_with("nobody")));
}

#[test]
fn a_case_at_a_time_asks_whether_the_bundle_is_valid_then() {
    let at = |at: &str, rest: &str| {
        report(&case("dated", "bot", "1.00", &format!("at = \"{at}\"\n{rest}"))).passed()
    };
    let expired = "expect = \"silence\"\nreason = \"policy.expired\"";
    assert!(at("2026-01-31T23:59:59.999Z", GRANTED));
    assert!(at("2026-02-01T00:00:00Z", expired));
    assert!(at("2025-12-31T23:59:59.999Z", "expect = \"silence\"\nreason = \"policy.not_yet_valid\""));
    assert!(!at("2026-02-01T00:00:00Z", GRANTED));
}

#[test]
fn a_case_that_is_none_does_not_load() {
    let told = |cases: &str| defect(tried_with(cases));
    for (cases, expected) in [
        ("", "tests/pay.toml:1: missing field `case`"),
        ("[[cases]]\nname = \"a\"", "tests/pay.toml:1: unknown field `cases`, expected `case`"),
        (&case("a", "bot", "1.00", "expect = \"allow\""), "tests/pay.toml:7: unknown variant `allow`"),
        (
            &case("a", "bot", "1.00", "expect = \"deny\""),
            "tests/pay.toml: case `a`: a refusal is expected for a `reason`",
        ),
        (
            &case("a", "bot", "1.00", "expect = \"permit\"\nreason = \"policy.no_grant\""),
            "tests/pay.toml: case `a`: a permit has no `reason`",
        ),
        (
            &case("a", "bot", "1.00", "expect = \"silence\"\nreason = \"policy.no_grant\""),
            "tests/pay.toml: case `a`: `reason` belongs to another decision",
        ),
        (
            &case("a", "bot", "1.00", NOT_GRANTED).replace("action = \"charge\"\n", ""),
            "tests/pay.toml: case `a`: `action` must be given: its surface does not have exactly one",
        ),
        (
            &[case("a", "bot", "1.00", GRANTED), case("a", "bot", "11.00", NOT_GRANTED)].concat(),
            "tests/pay.toml: case `a`: another case has this name",
        ),
        (&case("a", "bot", "1.00", GRANTED).replace("count = 1", "count = 1.5"), "tests/pay.toml:6: "),
        (
            &case("a", "bot", "1.00", &format!("{NOT_GRANTED}\nobligations = [{{ witnessed = true }}]")),
            "tests/pay.toml: case `a`: `obligations` go with `expect = \"permit\"`",
        ),
        (
            &case("a", "bot", "1.00", &format!("{NOT_GRANTED}\nadds = [\"secret\"]")),
            "tests/pay.toml: case `a`: `adds` goes with `expect = \"permit\"`",
        ),
        (&case("a", "bot", "1.00", &format!("{GRANTED}\nadds = [\"No Label\"]")), "tests/pay.toml:9: "),
        (
            &case("a", "bot", "1.00", &OWED.replace("  { witnessed = true },", "  { witnessed = false },")),
            "tests/pay.toml: case `a`: `obligations` lists one twice, or one that asks for nothing",
        ),
        (
            &case("a", "bot", "1.00", &OWED.replace("[\"a\", \"b\"]", "[\"a\", \"a\"]")),
            "tests/pay.toml: case `a`: `approval_roles` names one twice",
        ),
        (
            &case(
                "a",
                "bot",
                "1.00",
                &OWED.replace("  { witnessed = true },", "  { identity_within = \"1m\" },"),
            ),
            "tests/pay.toml: case `a`: `obligations` lists one twice",
        ),
        (&case("a", "bot", "1.00", &OWED.replace("witnessed", "witness")), "tests/pay.toml:"),
    ] {
        let told = told(cases);
        assert!(told.starts_with(expected), "{told}");
    }
}

/// They are signed with the policies: whoever reviews a bundle reviews what it was tried with.
#[test]
fn a_bundle_without_cases_decided_without_a_word_of_it() {
    let said = |files: Files| {
        let version = "version = 7\n";
        crate::testing::edit(files, "bundle.toml", version, &format!("{version}untested = true\n"))
    };
    let bundle = |files| crate::testing::bundle(files).refuse_untested();
    assert!(matches!(bundle(files()), Err(BundleError::Untested(_))));
    assert_eq!(bundle(said(files())), Ok(()));
    assert_eq!(bundle(tried_with(&thorough())), Ok(()));
    // What says that it is not tried, and is, would go on saying so when its cases are gone.
    assert_eq!(defect(said(tried_with(&thorough()))), "bundle.toml: `untested = true` stands beside cases");
    let report = |files| Snapshot::from_files(files).unwrap().check().unwrap();
    let report = [files(), said(files()), tried_with(&thorough())].map(report);
    assert_eq!(report.map(|report| (report.cases, report.untested)), [(0, false), (0, true), (3, false)]);
}

#[test]
fn cases_are_part_of_the_digest_and_lie_where_they_must() {
    let digest = |files| Snapshot::from_files(files).unwrap().digest();
    assert_ne!(digest(tried_with(&thorough())), digest(with_policies(POLICY)));
    for path in
        ["tests/a.txt", "tests/.toml", "tests/a/b.toml", "tests.toml", "tests/a.cedar", "policies/a.toml"]
    {
        let mut files = files();
        files.insert(path.into(), Vec::new());
        assert!(defect(files).starts_with(path), "{path}");
    }
}

#[test]
fn the_shipped_bundles_pass_and_their_cases_notice_every_mutant() {
    for files in [bundles::starter(), bundles::demo()] {
        let report = Snapshot::from_files(files).unwrap().test().unwrap();
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.passed).collect();
        assert!(report.passed(), "{failed:?}");
        assert_eq!(report.gaps(), Vec::<String>::new());
    }
}
