use super::*;
use crate::testing::{DIRECTORY, GIVEN};
use crate::testing::{bundle, edit, files, given, sourced, with_policies};

/// The tools of the test bundle's two surfaces, and one that has none.
fn tools() -> BTreeSet<ToolName> {
    ["fs/read", "fs/none", "pay/charge", "pay/refund"].iter().map(|tool| tool.parse().unwrap()).collect()
}

fn seen(bundle: &Bundle, agent: &str, facts: Option<&Gathered>) -> Option<Vec<String>> {
    let shown = bundle.visible(&agent.parse().unwrap(), &tools(), facts)?;
    Some(shown.iter().map(ToString::to_string).collect())
}

/// What an agent sees under these policies, where `pay.charge` has one action.
fn under(policies: &str, agent: &str) -> Vec<String> {
    let two = r#"actions = ["charge", "refund"]"#;
    let files = edit(with_policies(policies), "bundle.toml", two, r#"actions = ["charge"]"#);
    let files = edit(files, "schema.cedarschema", r#"action "charge", "refund" in"#, r#"action "charge" in"#);
    seen(&bundle(files), agent, None).unwrap()
}

#[test]
fn a_tool_is_shown_to_whom_a_grant_in_scope_may_be_satisfied_whatever_its_conditions_say() {
    for (policies, agent, expected) in [
        ("", "bot", vec![]),
        (r#"@id("a") permit (principal, action, resource);"#, "bot", vec!["fs/read", "pay/charge"]),
        (
            r#"@id("a") permit (principal == Agent::"bot", action == Action::"fs.read", resource);"#,
            "bot",
            vec!["fs/read"],
        ),
        (
            r#"@id("a") permit (principal == Agent::"bot", action == Action::"fs.read", resource);"#,
            "rogue",
            vec![],
        ),
        (
            r#"@id("a") permit (principal in Group::"suspended", action, resource);"#,
            "rogue",
            vec!["fs/read", "pay/charge"],
        ),
        (r#"@id("a") permit (principal in Group::"suspended", action, resource);"#, "bot", vec![]),
        // Cedar asks for this very entity, and its group is another.
        (r#"@id("a") permit (principal == Agent::"bot", action == Action::"any", resource);"#, "bot", vec![]),
        (
            r#"@id("a") permit (principal, action in Action::"any", resource);"#,
            "bot",
            vec!["fs/read", "pay/charge"],
        ),
        (
            r#"@id("a") permit (principal, action in [Action::"charge"], resource);"#,
            "bot",
            vec!["pay/charge"],
        ),
        (r#"@id("a") permit (principal, action, resource == Account::"a-1");"#, "bot", vec!["pay/charge"]),
        (r#"@id("a") permit (principal, action, resource is Surface);"#, "bot", vec!["fs/read"]),
        (
            r#"@id("a") permit (principal, action == Action::"fs.read", resource) when { context.path == "/never" };"#,
            "bot",
            vec!["fs/read"],
        ),
        (
            r#"@id("a") permit (principal, action == Action::"fs.read", resource) when { false };"#,
            "bot",
            vec!["fs/read"],
        ),
    ] {
        assert_eq!(under(policies, agent), expected, "{agent}: {policies}");
    }
}

#[test]
fn a_forbid_hides_only_where_nothing_could_keep_it_from_forbidding() {
    let all = r#"@id("all") permit (principal, action, resource);"#;
    for (forbid, expected) in [
        (r#"forbid (principal, action == Action::"fs.read", resource)"#, vec!["pay/charge"]),
        (r#"forbid (principal in Group::"suspended", action, resource)"#, vec!["fs/read", "pay/charge"]),
        (
            r#"forbid (principal, action == Action::"fs.read", resource) when { context.path == "/x" }"#,
            vec!["fs/read", "pay/charge"],
        ),
        (
            r#"forbid (principal, action == Action::"fs.read", resource) unless { context.path == "/x" }"#,
            vec!["fs/read", "pay/charge"],
        ),
        (
            r#"forbid (principal is Agent in Group::"suspended", action, resource)"#,
            vec!["fs/read", "pay/charge"],
        ),
        (r#"forbid (principal is Agent, action, resource is Account)"#, vec!["fs/read"]),
    ] {
        assert_eq!(under(&format!("{all} @id(\"no\") {forbid};"), "bot"), expected, "{forbid}");
    }
}

/// Whatever is permitted was shown before: for each agent and tool, whatever Cedar allows lies within what is visible.
#[test]
fn nothing_that_is_permitted_is_hidden() {
    for file in [files(), with_policies(r#"@id("all") permit (principal, action, resource);"#)] {
        let bundle = bundle(file);
        for agent in ["bot", "rogue"] {
            let seen = seen(&bundle, agent, None).unwrap();
            let asked = crate::testing::request(
                agent,
                "fs.read",
                "fs.read",
                "Surface:fs.read",
                r#"{"path":"/safe/a"}"#,
            );
            let permitted = crate::testing::said(&bundle.evaluate(&asked)).starts_with("PERMIT");
            assert_eq!(permitted, seen.contains(&"fs/read".to_owned()), "{agent}");
        }
    }
}

#[test]
fn a_tool_whose_surface_lacks_the_action_of_its_calls_is_hidden() {
    let two = with_policies(r#"@id("all") permit (principal, action, resource);"#);
    // The action of its name is there, and another surface's.
    let (only, another) = (r#"action "fs.read" in"#, r#"action "fs.read", "pay.charge" in"#);
    let known = edit(two.clone(), "schema.cedarschema", only, another);
    let owned = "tier = \"read\"\nactions = [\"fs.read\", \"pay.charge\"]";
    let known = edit(known, "bundle.toml", "tier = \"read\"", owned);
    for files in [two, known] {
        assert_eq!(
            seen(&bundle(files), "bot", None).unwrap(),
            ["fs/read"],
            "`pay.charge` has two actions, and neither is its own"
        );
    }
}

#[test]
fn a_group_that_only_a_source_gives_is_seen_and_without_its_facts_nothing_is() {
    let policies =
        r#"@id("a") permit (principal in Group::"suspended", action == Action::"fs.read", resource);"#;
    let mut all = sourced("");
    all.insert("policies/main.cedar".to_owned(), policies.as_bytes().to_vec());
    let bundle = bundle(all);
    assert_eq!(seen(&bundle, "rogue", None), None);
    let gathered = bundle.gather(&given(GIVEN), None).unwrap();
    assert_eq!(seen(&bundle, "rogue", Some(&gathered)).unwrap(), ["fs/read"]);
    assert_eq!(seen(&bundle, "bot", Some(&gathered)).unwrap(), Vec::<String>::new());
    assert_eq!(seen(&bundle, "stranger", Some(&gathered)).unwrap(), Vec::<String>::new());
    assert!(DIRECTORY.contains("Group"));
}
