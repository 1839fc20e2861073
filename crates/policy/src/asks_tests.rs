use crate::Fault;
use crate::labels::tests::labelled;
use crate::principals::tests::delegated;
use crate::testing::{edit, fault, files};

const TAINTED: &str = "context.labels.contains(\"untrusted\")";

/// What is wrong with the labelled bundle when its forbid asks for this instead.
fn asking(condition: &str) -> Option<Fault> {
    let files = edit(labelled(), "policies/main.cedar", TAINTED, condition);
    crate::Snapshot::from_files(files.clone()).unwrap().check().is_err().then(|| fault(files))
}

/// `untrusted_input` for `untrusted-input`: it loaded, a solver found that it can fire, and at run time it never did.
#[test]
fn a_forbid_on_a_misspelt_label_loaded_and_never_fired() {
    for unknown in [
        "context.labels.contains(\"untrusted_\")",
        "context.labels.containsAll([\"untrusted\", \"untrusted_\"])",
        "context.labels.containsAny([\"untrusted\", \"untrusted_\"])",
        "[\"untrusted_\"].containsAny(context.labels)",
        "!(context.count > 0 || context[\"l\\u{61}bels\"].contains(\"untrusted_\"))",
        "if context has note then false else context.labels.contains(\"untrusted_\")",
        "{ Var: context.labels.contains(\"untrusted_\") }.Var",
        "[context.labels.contains(\"untrusted_\")].contains(true)",
    ] {
        let Some(Fault::LabelUnknown { policy, label }) = asking(unknown) else { panic!("{unknown}") };
        assert_eq!((policy.as_str(), label.as_str()), ("tainted", "untrusted_"));
    }
    for known in [
        "context.labels.containsAll([\"untrusted\", \"confidential\"])",
        "context.labels.containsAny([\"confidential\"]) && context has note && context.note == \"labels\"",
        "!context.labels.isEmpty()",
        "[\"untrusted\", \"confidential\"].containsAll(context.labels)",
    ] {
        assert_eq!(asking(known), None, "{known}");
    }
}

#[test]
fn labels_that_are_not_written_out_are_asked_for_by_no_policy() {
    for unread in [
        "context has note && context.labels.contains(context.note)",
        "context.labels.contains(if context.count > 0 then \"untrusted\" else \"confidential\")",
        "context.labels == [\"untrusted\"]",
        "(if context.count > 0 then context else context).labels.contains(\"untrusted\")",
        "{ given: context }.given.labels.contains(\"untrusted\")",
        "[[\"untrusted\"]].contains(context.labels)",
    ] {
        assert!(matches!(asking(unread), Some(Fault::LabelsUnread { .. })), "{unread}: {:?}", asking(unread));
    }
}

#[test]
fn an_invariant_and_a_case_on_a_misspelt_label_held_of_anything() {
    let invariant = |label: &str| {
        let text = format!(
            "@id(\"nothing-out\") @sentence(\"Nothing goes out.\")\n\
             forbid (principal, action == Action::\"charge\", resource) when {{ context.labels.contains(\"{label}\") }};"
        );
        let mut files = labelled();
        files.insert("invariants/main.cedar".to_owned(), text.into_bytes());
        files
    };
    crate::Snapshot::from_files(invariant("untrusted")).unwrap().check().unwrap();
    assert!(matches!(fault(invariant("untrusted_")), Fault::LabelUnknown { .. }));
    let case = |words: &str| {
        let text = format!(
            "[[case]]\nname = \"free\"\nagent = \"bot\"\nsurface = \"pay.charge\"\naction = \"charge\"\n\
             context = {{ amount = \"1.00\", count = 1 }}\nexpect = \"permit\"\n{words}\n"
        );
        let mut files = labelled();
        files.insert("tests/main.toml".to_owned(), text.into_bytes());
        files
    };
    crate::Snapshot::from_files(case("labels = [\"confidential\"]")).unwrap().check().unwrap();
    for words in ["labels = [\"confidential_\"]", "adds = [\"confidential_\"]"] {
        let Fault::Case { message } = fault(case(words)) else { panic!("{words}") };
        assert_eq!(message, "case `free`: label `confidential_` is not declared");
    }
}

#[test]
fn a_label_that_no_grant_adds_is_told() {
    let report = crate::Snapshot::from_files(labelled()).unwrap().check().unwrap();
    assert_eq!(report.warnings, ["label `untrusted` is declared, and no grant adds it: nobody gets it"]);
}

/// On an action whose schema has no labels, `has` is false and what stands behind it is not even validated.
#[test]
fn a_forbid_that_asks_whether_there_are_labels_passed_over_the_actions_without() {
    for asked in [
        "context has labels && context.labels.contains(\"untrusted\")",
        "!(context has labels) || context.labels.contains(\"untrusted\")",
        "context has labels",
    ] {
        let broad = edit(
            labelled(),
            "policies/main.cedar",
            &format!("forbid (principal, action == Action::\"charge\", resource)\nwhen {{ {TAINTED} }}"),
            &format!("forbid (principal, action, resource)\nwhen {{ {asked} }}"),
        );
        assert!(matches!(fault(broad), Fault::LabelsAsked { .. }), "{asked}");
        assert!(matches!(asking(asked), Some(Fault::LabelsAsked { .. })), "{asked}");
    }
}

/// A misspelt key is absent from every request, and `has` of it false without an error: a `forbid` behind it never applied,
/// and a `permit` unless it is there always did. Where some of a policy's actions have the key, it is told of which not.
#[test]
fn a_policy_that_asks_whether_a_key_is_there_that_no_action_has_loaded() {
    let asking = |scope: &str, condition: &str| {
        let policy =
            format!("@id(\"asks\") forbid (principal, {scope}, resource) {condition};\n@id(\"may-charge\")");
        edit(files(), "policies/main.cedar", "@id(\"may-charge\")", &policy)
    };
    for (scope, condition) in [
        ("action", "when { context has notes }"),
        ("action", "unless { context has \"n\\u{6f}tes\" }"),
        ("action", "when { !(context has notes) && principal == Agent::\"bot\" }"),
        ("action == Action::\"charge\"", "when { context has tags }"),
        ("action in [Action::\"charge\", Action::\"refund\"]", "when { context has path }"),
    ] {
        let Fault::KeyAbsent { policy, .. } = fault(asking(scope, condition)) else { panic!("{condition}") };
        assert_eq!(policy, "asks", "{scope} {condition}");
    }
    let warnings = |files| crate::Snapshot::from_files(files).unwrap().check().unwrap().warnings;
    for (scope, condition) in [
        ("action == Action::\"charge\"", "when { context has note }"),
        ("action == Action::\"fs.read\"", "when { { \"has\": context has tags }[\"has\"] }"),
    ] {
        assert_eq!(warnings(asking(scope, condition)), [""; 0], "{scope} {condition}");
    }
    let told = warnings(asking("action", "when { context has note && context.note == \"x\" }"));
    assert_eq!(
        told,
        [
            "policy `asks`: `context has note` is false on what has no such key (`fs.read`), and what is asked behind it is not \
          looked at there"
        ]
    );
    let told = warnings(asking("action in Action::\"any\"", "when { context has tags }"));
    assert!(told.len() == 1 && told[0].contains("(`charge`, `refund`)"), "{told:?}");
}

#[test]
fn a_policy_that_asks_for_whom_an_agent_acts_passed_over_the_actions_that_do_not_see_it() {
    let scoped = |scope: &str| {
        let forbid = format!(
            "@id(\"none\") forbid (principal, {scope}, resource)\n\
             when {{ context has acts_for && context.acts_for in Group::\"finance\" }};\n@id(\"may-charge\")"
        );
        edit(delegated(), "policies/main.cedar", "@id(\"may-charge\")", &forbid)
    };
    for broad in
        ["action", "action in Action::\"any\"", "action in [Action::\"charge\", Action::\"fs.read\"]"]
    {
        let Fault::PrincipalUnseen { policy, action } = fault(scoped(broad)) else { panic!("{broad}") };
        assert_eq!((policy.as_str(), action.as_str()), ("none", "fs.read"), "{broad}");
    }
    for narrow in ["action == Action::\"charge\"", "action in [Action::\"charge\", Action::\"refund\"]"] {
        crate::Snapshot::from_files(scoped(narrow)).unwrap().check().unwrap();
    }
}
