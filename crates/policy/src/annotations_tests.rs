use cedar_policy::Policy;

use super::*;
use crate::Fault;
use crate::testing::{defect, fault, load, with_policies};

const APPROVAL: &str = "@approval_roles(\"finance\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")";

fn read_of(annotations: &str) -> Result<Obligations, Refused> {
    let policy: Policy =
        format!("@id(\"p\") {annotations} permit (principal, action, resource);").parse().unwrap();
    read(&policy).map(|annotations| annotations.obligations)
}

fn refused(annotations: &str) -> String {
    let Refused { annotation, why } = read_of(annotations).unwrap_err();
    format!("@{annotation}: {}", why.unwrap_or_else(|| "unknown".to_owned()))
}

#[test]
fn a_grant_asks_for_what_its_annotations_say() {
    assert_eq!(read_of(""), Ok(Obligations::none()));
    let all = read_of(
        "@approval_roles(\"security, finance-lead\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")
         @identity_within(\"5m\") @witnessed",
    );
    let roles = ["finance-lead", "security"].map(|role| role.parse().unwrap());
    let need = ApprovalNeed { roles: BTreeSet::from(roles), quorum: 2, lifetime_ms: 900_000 };
    let expected = Obligations { approvals: vec![need], identity_within_ms: Some(300_000), witnessed: true };
    assert_eq!(all, Ok(expected));
    assert_eq!(read_of("@identity_within(\"1s\")").unwrap().identity_within_ms, Some(1_000));
    assert_eq!(read_of("@identity_within(\"30d\")").unwrap().identity_within_ms, Some(2_592_000_000));
    assert!(read_of("@witnessed(\"\")").unwrap().witnessed, "Cedar does not tell it from `@witnessed`");
}

/// Cedar takes any annotation and ignores it.
#[test]
fn an_annotation_that_nobody_understands_is_refused() {
    for unknown in ["approval", "Witnessed", "witness", "approval_role", "identity_withins", "advice", "ID"] {
        assert_eq!(refused(&format!("@{unknown}(\"1\")")), format!("@{unknown}: unknown"));
        assert_eq!(refused(&format!("{APPROVAL} @{unknown}")), format!("@{unknown}: unknown"));
    }
}

#[test]
fn a_forbid_that_asks_for_something_is_refused() {
    for asks in [APPROVAL, "@witnessed", "@identity_within(\"5m\")"] {
        let files = with_policies(&format!("@id(\"f\") {asks} forbid (principal, action, resource);"));
        let Fault::AnnotationValue { policy, message, .. } = fault(files) else { panic!("{asks}") };
        assert_eq!(policy, "f");
        assert!(message.starts_with("it is for a `permit`"), "{message}");
    }
}

#[test]
fn half_an_approval_is_refused() {
    let parts = ["@approval_roles(\"a\")", "@approval_quorum(\"1\")", "@approval_lifetime(\"1m\")"];
    let told = [
        ("@approval_roles", "`@approval_lifetime` and `@approval_quorum`"),
        ("@approval_quorum", "`@approval_lifetime` and `@approval_roles`"),
        ("@approval_lifetime", "`@approval_quorum` and `@approval_roles`"),
    ];
    for (part, (annotation, absent)) in parts.into_iter().zip(told) {
        assert_eq!(refused(part), format!("{annotation}: an approval also needs {absent}"));
    }
    for left_out in 0..3 {
        let given: Vec<_> =
            parts.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, part)| *part).collect();
        assert!(refused(&given.join(" ")).contains("an approval also needs `@"), "{given:?}");
    }
    assert!(read_of(&parts.join(" ")).is_ok());
}

#[test]
fn values_are_strict() {
    let with = |from: &str, to: &str| refused(&APPROVAL.replace(from, to));
    for quorum in ["", "0", "17", "02", "+2", "-1", "2.0", " 2", "two", "2 people", "99999999999999999999"] {
        assert!(with("\"2\"", &format!("\"{quorum}\"")).starts_with("@approval_quorum: `"), "{quorum}");
    }
    for lifetime in ["", "15", "59s", "31d", "15 m", "1h30m", "-1m", "forever", "60000"] {
        let told = with("\"15m\"", &format!("\"{lifetime}\""));
        assert_eq!(told, format!("@approval_lifetime: `{lifetime}` is not within 1m and 30d"));
    }
    for roles in [
        "",
        ",",
        "finance,",
        ",finance",
        "finance;security",
        "Finance",
        "finance security",
        "*",
        "fin\u{430}nce",
    ] {
        let told = with("\"finance\"", &format!("\"{roles}\""));
        assert!(told.starts_with("@approval_roles: `"), "{told}");
    }
    assert_eq!(with("\"finance\"", "\"a, b,a\""), "@approval_roles: it names `a` twice");
    let many: Vec<_> = (0..17).map(|number| format!("r{number}")).collect();
    assert_eq!(
        with("\"finance\"", &format!("\"{}\"", many.join(","))),
        "@approval_roles: it names more than 16 roles"
    );
    for within in ["", "0s", "999ms", "31d", "5", "never"] {
        let told = refused(&format!("@identity_within(\"{within}\")"));
        assert_eq!(told, format!("@identity_within: `{within}` is not within 1s and 30d"));
    }
    for value in ["false", "no", "true", " "] {
        let told = refused(&format!("@witnessed(\"{value}\")"));
        assert_eq!(told, "@witnessed: it takes no value: write `@witnessed`, or leave it out");
    }
}

/// Cedar's own parser refuses the same annotation twice.
#[test]
fn a_contradiction_is_refused_with_file_line_and_remedy() {
    let twice =
        "@id(\"p\")\n@approval_quorum(\"1\")\n@approval_quorum(\"2\")\npermit (principal, action, resource);";
    assert!(
        defect(with_policies(twice)).starts_with("policies/main.cedar:"),
        "{}",
        defect(with_policies(twice))
    );
    let text = "@id(\"first\") permit (principal, action, resource);\n\n// @identity_within(\"no\")\n@id(\"p\")\n\
                @witnessed\n@identity_within(\"soon\")\npermit (principal, action, resource);";
    assert_eq!(
        defect(with_policies(text)),
        "policies/main.cedar:6: policy `p`, `@identity_within`: `soon` is not within 1s and 30d"
    );
    let error = load(with_policies(text)).unwrap_err();
    assert_eq!(error.remedy(), "Correct the annotation; docs/obligations.md says what it takes.");
}
