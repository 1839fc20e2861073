use super::*;
use crate::testing::{bundle, charge, edit, fault, files, read, said};
use crate::{Evaluation, Snapshot};
use portcullis_protocol::{ReasonCode, Request, Value};

const PEOPLE: &str = r#"  { "uid": { "type": "Group", "id": "suspended" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Group", "id": "finance" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "User", "id": "maya" }, "attrs": {}, "parents": [{ "type": "Group", "id": "finance" }] },
  { "uid": { "type": "User", "id": "kim" }, "attrs": {}, "parents": [] },
"#;

/// The test bundle: agents act for people, and a charge needs somebody of finance behind it.
pub(crate) fn delegated() -> crate::files::Files {
    let last = "context.dry = { type = \"boolean\", from = \"/dry\", optional = true }\n";
    let files = edit(files(), "bundle.toml", last, &format!("{last}[principals]\ntype = \"User\"\n"));
    let files = edit(files, "schema.cedarschema", "note?: String", "note?: String, acts_for?: User");
    let files =
        edit(files, "schema.cedarschema", "entity Surface;", "entity User in [Group];\nentity Surface;");
    let suspended =
        "  { \"uid\": { \"type\": \"Group\", \"id\": \"suspended\" }, \"attrs\": {}, \"parents\": [] },\n";
    let files = edit(files, "entities.json", suspended, PEOPLE);
    edit(
        files,
        "policies/main.cedar",
        "when { context.amount.lessThanOrEqual(decimal(\"100.00\")) }",
        "when { context has acts_for && context.acts_for in Group::\"finance\" }",
    )
}

fn acting_for(request: Request, principal: &str) -> Request {
    let mut request = request;
    request.ask.acts_for = Some(principal.parse().unwrap());
    request
}

fn asked(files: crate::files::Files, principal: &str) -> Evaluation {
    bundle(files).evaluate(&acting_for(charge("bot", "1.00"), principal))
}

#[test]
fn policies_see_for_whom_the_agent_acts_and_its_groups() {
    assert_eq!(said(&asked(delegated(), "maya")), "PERMIT may-charge");
    assert_eq!(said(&asked(delegated(), "kim")), "policy.no_grant");
    assert_eq!(said(&bundle(delegated()).evaluate(&charge("bot", "1.00"))), "policy.no_grant");
}

/// Cedar answers `in` for an entity that it does not hold with false, and no error: a forbid would not apply.
#[test]
fn one_whom_policy_does_not_know_is_refused_and_in_no_group_without_an_error() {
    let forbid = "@id(\"not-for-finance\") forbid (principal, action == Action::\"charge\", resource)\n\
                  when { context has acts_for && context.acts_for in Group::\"finance\" };\n\
                  @id(\"all\") permit (principal, action, resource);\n@id(\"may-charge\")";
    let files = edit(delegated(), "policies/main.cedar", "@id(\"may-charge\")", forbid);
    assert_eq!(said(&asked(files.clone(), "maya")), "policy.forbidden not-for-finance");
    assert_eq!(said(&asked(files.clone(), "kim")), "PERMIT all");
    assert_eq!(said(&asked(files.clone(), "nobody")), "policy.entity_unknown");
    // Nor on an action whose policies do not see it.
    let reads = acting_for(read("bot", r#"{"path":"/a"}"#), "nobody");
    assert_eq!(said(&bundle(files.clone()).evaluate(&reads)), "policy.entity_unknown");
    assert_eq!(said(&bundle(files.clone()).evaluate(&acting_for(reads, "maya"))), "PERMIT all");
    let (known, rehearsal) =
        (bundle(files.clone()), Snapshot::from_files(files).unwrap().rehearse().unwrap());
    for (name, expected) in [("maya", true), ("bot", true), ("nobody", false), ("suspended", false)] {
        assert_eq!(known.knows_principal(&name.parse().unwrap(), None), Some(expected), "{name}");
        let rehearsed = rehearsal.content().knows_principal(&name.parse().unwrap(), None);
        assert_eq!(rehearsed, Some(expected), "{name}");
    }
}

#[test]
fn an_action_s_policies_see_one_kind_of_principal_and_the_other_is_refused_there() {
    // An agent where people are expected is not taken for nobody.
    assert_eq!(said(&asked(delegated(), "rogue")), "policy.request_invalid");
    let agents = edit(delegated(), "schema.cedarschema", "acts_for?: User", "acts_for?: Agent");
    let agents = edit(agents, "policies/main.cedar", "Group::\"finance\"", "Group::\"suspended\"");
    assert_eq!(said(&asked(agents.clone(), "rogue")), "PERMIT may-charge");
    assert_eq!(said(&asked(agents, "maya")), "policy.request_invalid");
    // Without people, agents may be principals all the same.
    assert_eq!(said(&asked(files(), "rogue")), "PERMIT may-charge");
    assert_eq!(said(&asked(files(), "maya")), "policy.entity_unknown");
}

#[test]
fn where_the_schema_requires_a_principal_nobody_acts_for_itself_alone() {
    let required = edit(delegated(), "schema.cedarschema", "acts_for?: User", "acts_for: User");
    let required = edit(required, "policies/main.cedar", "context has acts_for && ", "");
    assert_eq!(said(&asked(required.clone(), "maya")), "PERMIT may-charge");
    assert_eq!(said(&bundle(required).evaluate(&charge("bot", "1.00"))), "policy.request_invalid");
}

#[test]
fn a_callers_own_word_in_the_context_is_refused() {
    let mut request = acting_for(charge("bot", "1.00"), "kim");
    request.ask.context.insert("acts_for".into(), Value::Str("maya".into()));
    assert_eq!(said(&bundle(delegated()).evaluate(&request)), "surface.context");
    for kind in ["string", "strings"] {
        let own = format!("context.acts_for = {{ type = \"{kind}\" }}\ncontext.count =");
        let own = edit(delegated(), "bundle.toml", "context.count =", &own);
        assert!(matches!(fault(own), Fault::PrincipalFromCaller { .. }));
    }
}

#[test]
fn a_principal_of_no_sensible_type_is_a_load_error() {
    for kind in ["Agent", "Surface", "Action", "Person", ""] {
        let other = edit(delegated(), "bundle.toml", "type = \"User\"", &format!("type = \"{kind}\""));
        let fault = fault(edit(other, "schema.cedarschema", "acts_for?: User", "acts_for?: Agent"));
        assert!(matches!(fault, Fault::Principals { .. }), "{kind}: {fault}");
    }
    for kind in ["String", "Set<User>", "Group", "Account", "Long"] {
        let other = edit(delegated(), "schema.cedarschema", "acts_for?: User", &format!("acts_for?: {kind}"));
        let fault = fault(other);
        assert!(matches!(fault, Fault::Context { .. }), "{kind}: {fault}");
    }
    // Policies may see people only where the bundle says which type they are of.
    let unsaid = edit(delegated(), "bundle.toml", "[principals]\ntype = \"User\"\n", "");
    assert!(matches!(fault(unsaid), Fault::Context { .. }));
    let more = edit(delegated(), "bundle.toml", "type = \"User\"", "type = \"User\"\nids = [\"maya\"]");
    assert!(matches!(fault(more), Fault::Manifest { .. }));
}

#[test]
fn a_person_who_could_be_taken_for_an_agent_or_for_another_in_the_roster_is_a_load_error() {
    let renamed = |name: &str| edit(delegated(), "entities.json", "\"maya\"", &format!("\"{name}\""));
    for agent in ["bot", "b0t", "rogue", "Rogue"] {
        assert!(matches!(fault(renamed(agent)), Fault::PersonAgent { .. }), "{agent}");
    }
    for other in ["Ada", "ADA", "z0e"] {
        assert!(matches!(fault(renamed(other)), Fault::LookAlike { .. }), "{other}");
    }
    // One of the same name is the same person, so that nobody approves what is asked for on their behalf.
    bundle(renamed("ada"));
}

#[test]
fn a_case_says_for_whom_its_agent_acts() {
    let case = |name: &str, acts_for: &str, expect: &str| {
        format!(
            "[[case]]\nname = \"{name}\"\nagent = \"bot\"\n{acts_for}surface = \"pay.charge\"\naction = \"charge\"\n\
             context = {{ amount = \"1.00\", count = 1 }}\n{expect}\n"
        )
    };
    let refused = |reason: &str, word: &str| format!("expect = \"{word}\"\nreason = \"{reason}\"");
    let text = [
        case("for finance", "acts_for = \"maya\"\n", "expect = \"permit\""),
        case("for others", "acts_for = \"kim\"\n", &refused("policy.no_grant", "deny")),
        case("for nobody", "", &refused("policy.no_grant", "deny")),
        case("for a stranger", "acts_for = \"nobody\"\n", &refused("policy.entity_unknown", "silence")),
    ];
    let mut files = delegated();
    files.insert("tests/principals.toml".to_owned(), text.concat().into_bytes());
    let report = Snapshot::from_files(files).unwrap().test().unwrap();
    assert_eq!(report.cases.len(), 4);
    assert!(report.cases.iter().all(|case| case.passed), "{:?}", report.cases);
}

const LIMIT: &str = "[limits.daily]\nkind = \"count\"\nsurfaces = [\"pay.charge\"]\nper = [\"principal\"]\nmax = 1\n\
                     window = { fixed = \"1d\" }\n";

/// The counter of a charge.
fn counter(files: crate::files::Files, agent: &str, principal: Option<&str>) -> portcullis_protocol::Digest {
    let request = charge(agent, "1.00");
    let request = match principal {
        Some(principal) => acting_for(request, principal),
        None => request,
    };
    bundle(files).counting(&request, None).remove(0).charge.unwrap().counter
}

#[test]
fn who_acts_for_one_is_counted_as_that_one_and_who_acts_for_nobody_as_itself() {
    let limited = edit(delegated(), "bundle.toml", "[principals]", &format!("{LIMIT}[principals]"));
    let counts = |agent, principal| counter(limited.clone(), agent, principal);
    assert_eq!(counts("bot", Some("maya")), counts("rogue", Some("maya")));
    assert_ne!(counts("bot", Some("maya")), counts("bot", Some("kim")));
    // An agent for which another acts is itself.
    assert_eq!(counts("bot", Some("rogue")), counts("rogue", None));
    assert_ne!(counts("bot", None), counts("rogue", None));
    // Of one whom policy does not know it cannot be told.
    let counting = bundle(limited.clone()).counting(&acting_for(charge("bot", "1.00"), "nobody"), None);
    assert_eq!(counting.first().unwrap().charge, Err(ReasonCode::LimitsUnreadable));
    // A limit per agent counts agents, whomever they act for.
    let agents = edit(limited.clone(), "bundle.toml", "[\"principal\"]", "[\"agent\"]");
    assert_eq!(counter(agents.clone(), "bot", Some("maya")), counter(agents, "bot", None));
}

/// No bundle has both, and one after the other may.
#[test]
fn an_agent_and_a_person_of_the_same_name_are_counted_as_two() {
    let limited = edit(delegated(), "bundle.toml", "[principals]", &format!("{LIMIT}[principals]"));
    let person = counter(limited.clone(), "bot", Some("maya"));
    let person_uid = "{ \"type\": \"User\", \"id\": \"maya\" }";
    let agent = edit(limited, "entities.json", person_uid, "{ \"type\": \"Agent\", \"id\": \"maya\" }");
    assert_ne!(person, counter(agent.clone(), "bot", Some("maya")));
    assert_eq!(counter(agent.clone(), "maya", None), counter(agent, "bot", Some("maya")));
}

#[test]
fn a_change_of_the_people_s_type_is_among_the_differences() {
    let [old, new] = [files(), delegated()].map(|files| Snapshot::from_files(files).unwrap());
    let found = new.differences(&old).unwrap();
    assert!(found.iter().any(|it| it.part == "principals" && it.name == "type"), "{found:?}");
}
