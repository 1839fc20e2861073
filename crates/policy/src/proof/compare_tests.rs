use super::*;
use crate::files::Files;
use crate::proof::tests::cvc5;
use crate::testing::{edit, files, with, with_policies};
use crate::{Snapshot, SolverLimits};

fn compared_by(solver: &std::path::Path, old: Files, new: Files) -> Comparison {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let prover = Prover { solver, limits: SolverLimits::default(), stop: &stop, progress: &|_, _| {} };
    let snapshot = |files| Snapshot::from_files(files).unwrap();
    snapshot(new).compare(&snapshot(old), &prover).unwrap()
}

fn compared(old: Files, new: Files) -> Comparison {
    compared_by(&cvc5(), old, new)
}

/// The shifts, each in a line, and the examples that show them.
fn told(comparison: &Comparison) -> (Vec<String>, Vec<&Counterexample>) {
    let mut lines = Vec::new();
    let mut examples = Vec::new();
    for shift in &comparison.shifts {
        let direction = match shift.direction {
            Direction::MorePermissive => "more",
            Direction::LessPermissive => "less",
        };
        let without = shift.without.map_or_else(String::new, |asked| format!(" without {asked}"));
        let shown = match &shift.shown {
            Shown::Example { counterexample } => {
                examples.push(&**counterexample);
                "shown"
            }
            Shown::NotKnown { .. } => "not known",
        };
        lines.push(format!("{}: {direction}{without}, {shown}", shift.environment));
    }
    (lines, examples)
}

const CHARGE: &str = "Agent, Action::\"charge\", Account";

#[test]
fn policies_that_say_the_same_in_other_words_are_the_same() {
    let new = with(
        "policies/main.cedar",
        "context.amount.lessThanOrEqual(decimal(\"100.00\"))",
        "!context.amount.greaterThan(decimal(\"100.00\"))",
    );
    let comparison = compared(files(), new);
    assert!(comparison.is_known() && comparison.shifts.is_empty(), "{comparison:#?}");
    assert_eq!(comparison.environments.len(), 3);
}

#[test]
fn a_raised_limit_is_shown_by_a_request_above_the_old_one() {
    let raised = with("policies/main.cedar", "100.00", "250.00");
    let comparison = compared(files(), raised.clone());
    let (lines, examples) = told(&comparison);
    assert_eq!(lines, [format!("{CHARGE}: more, shown")]);
    let amount = examples[0].context["amount"]["__extn"]["arg"].as_str().unwrap();
    let amount: f64 = amount.parse().unwrap();
    assert!(amount > 100.0 && amount <= 250.0, "{amount}");
    let (lines, _) = told(&compared(raised, files())).clone();
    assert_eq!(lines, [format!("{CHARGE}: less, shown")]);
}

#[test]
fn a_bundle_may_grant_more_here_and_less_there() {
    let new = with_policies(
        r#"@id("a") permit (principal, action == Action::"charge", resource) when { context.count == 7 };
        @id("b") permit (principal, action == Action::"refund", resource) when { context.count == 7 };"#,
    );
    let (lines, _) = told(&compared(files(), new)).clone();
    let expected = [
        format!("{CHARGE}: more, shown"),
        format!("{CHARGE}: less, shown"),
        "Agent, Action::\"fs.read\", Surface: less, shown".to_owned(),
        "Agent, Action::\"refund\", Account: more, shown".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_dropped_approval_grants_more_though_nothing_else_is_granted() {
    let policy = |asked: &str| {
        with_policies(&format!(
            "@id(\"a\") {asked} permit (principal, action == Action::\"charge\", resource);"
        ))
    };
    let approval = "@approval_roles(\"controller\") @approval_quorum(\"1\") @approval_lifetime(\"1h\")";
    let (lines, _) = told(&compared(policy(approval), policy(""))).clone();
    assert_eq!(lines, [format!("{CHARGE}: more without approval_roles, shown")]);
    let (lines, _) = told(&compared(policy(""), policy(approval))).clone();
    assert_eq!(lines, [format!("{CHARGE}: less without approval_roles, shown")]);
    assert!(compared(policy(approval), policy(approval)).shifts.is_empty());
    // A grant to more people hides no approval that was dropped.
    let narrow = edit(policy(approval), "policies/main.cedar", "principal,", "principal == Agent::\"bot\",");
    let (lines, _) = told(&compared(narrow, policy(""))).clone();
    assert_eq!(
        lines,
        [format!("{CHARGE}: more, shown"), format!("{CHARGE}: more without approval_roles, shown")]
    );
}

#[test]
fn an_environment_that_is_new_grants_more_if_it_grants_anything() {
    let manifest = "[surfaces.\"fs.read\"]";
    let surface =
        "[surfaces.\"fs.list\"]\ntier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"1s\"\n\n";
    let new = with("bundle.toml", manifest, &format!("{surface}{manifest}"));
    let action = "action \"fs.list\" appliesTo { principal: Agent, resource: Surface, context: {} };";
    let new = edit(new, "schema.cedarschema", "action \"any\";", &format!("action \"any\";\n{action}"));
    let comparison = compared(files(), new.clone());
    assert!(comparison.is_known() && comparison.shifts.is_empty(), "{comparison:#?}");
    let grant =
        "@id(\"list\") permit (principal, action == Action::\"fs.list\", resource);\n@id(\"no-suspended\")";
    let new = edit(new, "policies/main.cedar", "@id(\"no-suspended\")", grant);
    let listed = "Agent, Action::\"fs.list\", Surface";
    assert_eq!(told(&compared(files(), new.clone())).0, [format!("{listed}: more, shown")]);
    assert_eq!(told(&compared(new, files())).0, [format!("{listed}: less, shown")]);
}

/// A request that only one of the schemas admits is refused by the other bundle, whatever its policies say.
#[test]
fn of_an_environment_of_another_shape_nothing_is_said_to_be_the_same() {
    let new = with("bundle.toml", "from = \"/note\", optional = true", "from = \"/note\"");
    let new = edit(new, "schema.cedarschema", "note?: String", "note: String");
    let (lines, _) = told(&compared(files(), new)).clone();
    let refund = "Agent, Action::\"refund\", Account";
    let expected = [
        format!("{CHARGE}: more, not known"),
        format!("{CHARGE}: less, not known"),
        format!("{refund}: more, not known"),
        format!("{refund}: less, not known"),
    ];
    assert_eq!(lines, expected);
}

/// What a namespace declares was no part of any environment's shape.
#[test]
fn a_move_within_a_namespace_was_said_to_grant_the_same() {
    let spaced = |changed: (&str, &str)| {
        let space =
            "namespace Bank { entity Vault; type Money = { a: Long }; action \"all\"; action \"money\"; }\n";
        assert!(space.contains(changed.0), "{space}");
        let files = with(
            "schema.cedarschema",
            "entity Surface;",
            &format!("{}entity Surface;", space.replace(changed.0, changed.1)),
        );
        let files = edit(
            files,
            "schema.cedarschema",
            "entity Account in [Group]",
            "entity Account in [Group] = { most?: Bank::Money }",
        );
        edit(
            files,
            "schema.cedarschema",
            "\"refund\" in [\"any\"]",
            "\"refund\" in [\"any\", Bank::Action::\"money\"]",
        )
    };
    let old = || spaced(("entity", "entity"));
    assert_eq!(told(&compared(old(), old())).0, [""; 0]);
    for changed in [
        ("entity Vault", "entity Vault in [Group]"),
        ("{ a: Long }", "{ a: Long, b?: Long }"),
        ("action \"money\"", "action \"money\" in [\"all\"]"),
    ] {
        let (lines, _) = told(&compared(old(), spaced(changed))).clone();
        for direction in ["more", "less"] {
            assert!(lines.contains(&format!("{CHARGE}: {direction}, not known")), "{changed:?}: {lines:?}");
        }
    }
}

/// Two groups whose namespace and name came to one text were one in an environment's shape.
#[test]
fn a_group_that_was_moved_hid_behind_one_that_is_called_alike_with_its_namespace() {
    let spaced = |within: &str| {
        let spaces = format!(
            "namespace A {{ action \"all\"; action \"B::m\"{within}; }}\nnamespace A::B {{ action \"m\"; }}\nentity Surface;"
        );
        edit(
            with("schema.cedarschema", "entity Surface;", &spaces),
            "schema.cedarschema",
            "\"refund\" in [\"any\"]",
            "\"refund\" in [\"any\", A::Action::\"B::m\", A::B::Action::\"m\"]",
        )
    };
    assert_eq!(told(&compared(spaced(""), spaced(""))).0, [""; 0]);
    let (lines, _) = told(&compared(spaced(""), spaced(" in [\"all\"]"))).clone();
    for direction in ["more", "less"] {
        let told = format!("Agent, Action::\"refund\", Account: {direction}, not known");
        assert!(lines.contains(&told), "{lines:?}");
    }
}

#[test]
fn without_a_solver_nothing_is_the_same() {
    let comparison = compared_by(std::path::Path::new("/nowhere/cvc5"), files(), files());
    assert!(!comparison.is_known());
    assert_eq!(comparison.shifts.len(), 6);
    assert!(comparison.shifts.iter().all(|shift| matches!(shift.shown, Shown::NotKnown { .. })));
}

#[test]
fn a_policy_that_may_err_makes_a_comparison_unsure() {
    let new = with(
        "policies/main.cedar",
        "when { context.amount",
        "when { context.count + 1 > 0 || context.amount",
    );
    let comparison = compared(files(), new);
    assert_eq!(comparison.may_err, ["may-charge".parse().unwrap()]);
    assert!(!comparison.is_known());
}

/// The demands that are weaker or stricter, each with what it is about and what both bundles ask of the example.
fn demanded(comparison: &Comparison) -> Vec<String> {
    let demands = comparison.shifts.iter().filter_map(|shift| Some((shift, shift.weaker.as_ref()?)));
    let lines = demands.map(|(shift, weaker)| {
        assert!(matches!(shift.shown, Shown::Example { .. }), "{shift:?}");
        let side = |asked: &crate::AskedOf| {
            let ids: Vec<_> = asked.policies.iter().map(ToString::to_string).collect();
            let labels: Vec<_> = asked.labels.iter().map(ToString::to_string).collect();
            format!("[{}] {} {}", ids.join(" "), asked.obligations, labels.join(" ")).trim_end().to_owned()
        };
        let word = if shift.direction == Direction::MorePermissive { "less" } else { "more" };
        format!("{word}: {} | {} | {}", weaker.demand, side(&weaker.old), side(&weaker.new))
    });
    lines.collect()
}

fn asking(id: &str, roles: &str, quorum: u64, lifetime: &str, when: &str) -> String {
    format!(
        "@id(\"{id}\") @approval_roles(\"{roles}\") @approval_quorum(\"{quorum}\") @approval_lifetime(\"{lifetime}\")\n\
         permit (principal, action == Action::\"charge\", resource) {when};\n"
    )
}

#[test]
fn a_smaller_quorum_under_another_name_was_compared_with_nothing() {
    let old = with_policies(&asking("payouts", "finance", 2, "15m", ""));
    let new = with_policies(&asking("payouts-v2", "finance", 1, "15m", ""));
    let comparison = compared(old.clone(), new.clone());
    assert!(comparison.is_known());
    let two = "approval by 2 different people with role `finance`, valid for 15m";
    let one = "approval by 1 person with role `finance`, valid for 15m";
    let told = format!("approval by 2 or more with role `finance` | [payouts] {two} | [payouts-v2] {one}");
    assert_eq!(demanded(&comparison), [format!("less: {told}")]);
    let back = format!("approval by 2 or more with role `finance` | [payouts-v2] {one} | [payouts] {two}");
    assert_eq!(demanded(&compared(new, old.clone())), [format!("more: {back}")]);
    assert!(demanded(&compared(old.clone(), old)).is_empty());
}

/// Of each value that a grant can ask for: a weaker one is told, and a stronger one is no weaker one.
#[test]
fn each_value_that_became_weaker_is_told_and_none_that_became_stronger() {
    let permit = "permit (principal, action == Action::\"charge\", resource);";
    let identity = |within: &str| format!("@id(\"a\") @identity_within(\"{within}\") {permit}");
    let cases = [
        (asking("a", "finance", 2, "15m", ""), asking("a", "finance", 2, "1h", ""), "counts for 15m"),
        (
            asking("a", "finance", 1, "15m", ""),
            asking("a", "finance, security", 1, "15m", ""),
            "by 1 or more",
        ),
        (identity("5m"), identity("1h"), "identity proved within 5m"),
    ];
    for (strong, weak, words) in cases {
        let (strong, weak) = (with_policies(&strong), with_policies(&weak));
        let told = demanded(&compared(strong.clone(), weak.clone()));
        assert!(
            told.iter().any(|line| line.starts_with("less: ") && line.contains(words)),
            "{words}: {told:?}"
        );
        assert!(told.iter().all(|line| line.starts_with("less: ")), "{words}: {told:?}");
        let told = demanded(&compared(weak, strong));
        assert!(!told.is_empty() && told.iter().all(|line| line.starts_with("more: ")), "{words}: {told:?}");
    }
}

/// What a request needs is the union over its grants: a weak one beside a strong one takes nothing away, and a strong one that
/// was narrowed does.
#[test]
fn what_is_asked_is_compared_request_by_request_and_not_grant_by_grant() {
    let strong = asking("strong", "finance", 2, "15m", "");
    let weak = asking("weak", "finance", 1, "1h", "");
    let both = with_policies(&format!("{strong}{weak}"));
    assert!(demanded(&compared(with_policies(&strong), both.clone())).is_empty());
    let narrowed = asking("strong", "finance", 2, "15m", "when { context.count == 7 }");
    let split = with_policies(&format!("{narrowed}{weak}"));
    let comparison = compared(both, split);
    let told = demanded(&comparison);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("less: ") && line.contains("| [weak] ")), "{told:?}");
    // The example is a request for which the narrowed one does not hold.
    let example = comparison.shifts.iter().find_map(|shift| match &shift.shown {
        Shown::Example { counterexample } => Some(&counterexample.context["count"]),
        Shown::NotKnown { .. } => None,
    });
    assert_ne!(example.unwrap(), 7);
}

#[test]
fn a_label_that_is_given_no_more_is_told_whichever_grant_gave_it() {
    let files = |policies: &str| {
        let labels = "[labels.secret]\nlifetime = \"8h\"\n";
        let files = with_policies(policies);
        edit(files, "bundle.toml", "[surfaces.\"fs.read\"]", &format!("{labels}[surfaces.\"fs.read\"]"))
    };
    let permit = "permit (principal, action == Action::\"charge\", resource);";
    let old = files(&format!("@id(\"reads\") @adds_label(\"secret\") {permit}"));
    let new = files(&format!("@id(\"reads-all\") {permit}"));
    let told = demanded(&compared(old.clone(), new.clone()));
    assert_eq!(told, ["less: label `secret` | [reads]  secret | [reads-all]"]);
    assert!(
        compared(old.clone(), new.clone()).shifts.iter().all(|shift| shift.weaker.as_ref().unwrap().given)
    );
    assert_eq!(demanded(&compared(new, old)).len(), 1);
}
