use super::*;
use crate::testing::{bundle, charge, edit, fault, files, said};

const LABELS: &str = "[labels.untrusted]\nlifetime = \"8h\"\n[labels.confidential]\nlifetime = \"1d\"\n";

/// The test bundle: a charge's policies see labels, and its grant adds one.
pub(crate) fn labelled() -> crate::files::Files {
    let last = "context.dry = { type = \"boolean\", from = \"/dry\", optional = true }\n";
    let files = edit(files(), "bundle.toml", last, &format!("{last}{LABELS}"));
    let files = edit(files, "schema.cedarschema", "note?: String", "note?: String, labels: Set<String>");
    edit(
        files,
        "policies/main.cedar",
        "@id(\"may-charge\")",
        "@id(\"tainted\") forbid (principal, action == Action::\"charge\", resource)\n\
         when { context.labels.contains(\"untrusted\") };\n@adds_label(\"confidential\") @id(\"may-charge\")",
    )
}

fn set(labels: &[&str]) -> BTreeSet<LabelName> {
    labels.iter().map(|label| label.parse().unwrap()).collect()
}

#[test]
fn policies_see_the_labels_that_the_arbiter_gives_and_grants_add_theirs() {
    let bundle = bundle(labelled());
    let request = charge("bot", "1.00");
    let free = bundle.evaluate_labelled(&request, &set(&["confidential"]));
    assert_eq!(said(&free), "PERMIT may-charge");
    assert_eq!(free.labels, BTreeMap::from([("confidential".parse().unwrap(), 24 * 60 * 60 * 1_000)]));
    let tainted = bundle.evaluate_labelled(&request, &set(&["untrusted"]));
    assert_eq!((said(&tainted).as_str(), tainted.labels.len()), ("policy.forbidden tainted", 0));
    // Not known is not none.
    assert_eq!(said(&bundle.evaluate(&request)), "policy.request_invalid");
    assert!(bundle.sees_labels(&request.ask.action));
}

#[test]
fn a_callers_own_labels_are_refused() {
    let bundle = bundle(labelled());
    let mut request = charge("bot", "1.00");
    request.ask.context.insert("labels".into(), portcullis_protocol::Value::Array(Vec::new()));
    assert_eq!(said(&bundle.evaluate_labelled(&request, &set(&[]))), "surface.context");
    assert_eq!(said(&bundle.evaluate_labelled(&request, &set(&["untrusted"]))), "surface.context");
    // Nor may a surface ask its callers for them.
    let last = "context.count =";
    let own =
        edit(labelled(), "bundle.toml", last, &format!("context.labels = {{ type = \"strings\" }}\n{last}"));
    assert!(matches!(fault(own), Fault::LabelsFromCaller { .. }));
}

#[test]
fn what_is_not_declared_or_has_no_sense_is_a_load_error() {
    let declared = |from: &str, to: &str| edit(labelled(), "bundle.toml", from, to);
    let undeclared = declared("[labels.confidential]", "[labels.secret]");
    assert!(matches!(fault(undeclared), Fault::LabelUndeclared { .. }));
    for lifetime in ["59s", "367d", "0s"] {
        assert!(matches!(fault(declared("\"8h\"", &format!("\"{lifetime}\""))), Fault::LabelLifetime { .. }));
    }
    assert!(matches!(fault(declared("lifetime = \"8h\"", "")), Fault::Manifest { .. }));
    assert!(matches!(
        fault(declared("lifetime = \"8h\"", "lifetime = \"8h\"\nfor = \"1h\"")),
        Fault::Manifest { .. }
    ));
    let grant = |to: &str| edit(labelled(), "policies/main.cedar", "@adds_label(\"confidential\")", to);
    for bad in [
        "@adds_label",
        "@adds_label(\"\")",
        "@adds_label(\"Confidential\")",
        "@adds_label(\"confidential,confidential\")",
    ] {
        assert!(matches!(fault(grant(bad)), Fault::AnnotationValue { .. }), "{bad}");
    }
    let forbids = edit(
        labelled(),
        "policies/main.cedar",
        "@id(\"tainted\")",
        "@adds_label(\"confidential\") @id(\"tainted\")",
    );
    assert!(matches!(fault(forbids), Fault::AnnotationValue { .. }), "a forbid adds nothing");
    for kind in ["labels?: Set<String>", "labels: String", "labels: Set<Long>"] {
        let other = edit(labelled(), "schema.cedarschema", "labels: Set<String>", kind);
        assert!(matches!(fault(other), Fault::Context { .. } | Fault::Validation { .. }), "{kind}");
    }
}

#[test]
fn a_case_says_which_labels_its_agent_has() {
    let mut files = labelled();
    let case = |name: &str, labels: &str, expect: &str| {
        format!(
            "[[case]]\nname = \"{name}\"\nagent = \"bot\"\nsurface = \"pay.charge\"\naction = \"charge\"\n\
             context = {{ amount = \"1.00\", count = 1 }}\n{labels}{expect}\n"
        )
    };
    let text = case("free", "", "expect = \"permit\"\nadds = [\"confidential\"]")
        + &case("tainted", "labels = [\"untrusted\"]\n", "expect = \"deny\"\nreason = \"policy.forbidden\"");
    files.insert("tests/labels.toml".to_owned(), text.into_bytes());
    let report = crate::Snapshot::from_files(files).unwrap().test().unwrap();
    assert!(report.cases.iter().all(|case| case.passed), "{:?}", report.cases);
}
