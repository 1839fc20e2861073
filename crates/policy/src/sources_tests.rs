use super::*;
use std::collections::BTreeSet;

use crate::principals::tests::delegated;
use crate::testing::{DIRECTORY, GIVEN, bundle, charge, defect, edit, files, given, said, sourced, with};

fn labels() -> BTreeSet<portcullis_protocol::LabelName> {
    BTreeSet::new()
}

/// What the bundle says of a charge by an agent, with what the directory gives.
fn asked(bundle: &Bundle, agent: &str, facts: Option<&Gathered>) -> String {
    said(&bundle.evaluate_informed(&charge(agent, "1.00"), &labels(), facts))
}

#[test]
fn policies_see_what_a_source_gives_as_if_it_were_the_bundle_s() {
    let bundle = bundle(sourced(""));
    let gathered = bundle.gather(&given(GIVEN), None).unwrap();
    assert_eq!(asked(&bundle, "bot", Some(&gathered)), "PERMIT may-charge");
    assert_eq!(asked(&bundle, "rogue", Some(&gathered)), "policy.forbidden no-suspended");
    assert_eq!(asked(&bundle, "stranger", Some(&gathered)), "policy.entity_unknown");
    let used = &gathered.used()[&"directory".parse::<SourceName>().unwrap()];
    assert_eq!(used.max_age_ms, 600_000);
}

/// A source that is not there must never look like one that gives nobody: membership would be false without an error.
#[test]
fn a_source_that_is_missing_never_looks_empty() {
    let sourced = bundle(sourced(""));
    for agent in ["bot", "rogue", "stranger"] {
        assert_eq!(asked(&sourced, agent, None), "fact.unavailable", "{agent}");
        assert_eq!(said(&sourced.evaluate(&charge(agent, "1.00"))), "fact.unavailable");
    }
    assert_eq!(sourced.knows_agent(&"bot".parse().unwrap(), None), None);
    assert!(matches!(
        sourced.gather(&Given::new(), None),
        Err(Ungathered::Source { error: FactError::Missing, .. })
    ));
    let other = bundle(self::sourced("# another bundle"));
    let gathered = other.gather(&given(GIVEN), None).unwrap();
    assert_eq!(asked(&sourced, "bot", Some(&gathered)), "fact.unavailable", "gathered for another bundle");
}

#[test]
fn what_a_source_gives_must_fit_and_lack_nothing_that_is_named() {
    let bundle = bundle(sourced(""));
    let refused = |entities: &str| bundle.gather(&given(entities), None).unwrap_err().to_string();
    for (entities, told) in [
        ("[]", "policy `no-suspended` names `Group::\"suspended\"`, which nobody gives"),
        (
            &GIVEN.replace("\"Agent\", \"id\": \"bot\"", "\"Account\", \"id\": \"bot\""),
            "type `Account`, which is not among",
        ),
        (
            &GIVEN.replacen("\"parents\": []", "\"parents\": [{\"type\":\"Group\",\"id\":\"gone\"}]", 1),
            "gone",
        ),
        (&GIVEN.replacen("\"attrs\": {}", "\"attrs\": {\"colour\": 1}", 1), "colour"),
        (
            &GIVEN.replacen(
                "\"attrs\": {}",
                "\"attrs\": {\"owner\": {\"__entity\": {\"type\": \"Agent\", \"id\": \"x\"}}}",
                1,
            ),
            "names `Agent::\"x\"`",
        ),
        (&GIVEN.replace("\"bot\"", "\"ada\""), "is called like person `ada`"),
    ] {
        let found = refused(entities);
        assert!(found.contains(told), "{found}, and not {told}");
    }
}

/// The bundle's own people are held against its own agents when it loads; those of a source were held against nobody.
#[test]
fn a_person_of_a_source_could_be_taken_for_an_agent_or_for_another_in_the_roster() {
    let directory = DIRECTORY.replace("\"Group\"", "\"Group\", \"User\"");
    let ada = "[roster.people.ada]";
    let mut files = edit(delegated(), "bundle.toml", ada, &format!("{directory}\n{ada}"));
    let all: Vec<serde_json::Value> = serde_json::from_slice(&files["entities.json"]).unwrap();
    let is_account = |entity: &serde_json::Value| entity["uid"]["type"] == "Account";
    let (own, theirs): (Vec<_>, Vec<_>) = all.into_iter().partition(is_account);
    files.insert("entities.json".into(), serde_json::to_vec(&own).unwrap());
    let theirs = serde_json::to_string(&theirs).unwrap();
    let bundle = bundle(files);
    let renamed =
        |name: &str| bundle.gather(&given(&theirs.replace("\"maya\"", &format!("\"{name}\""))), None);
    assert!(
        renamed("maya").is_ok() && renamed("ada").is_ok(),
        "who is in the roster by the same name is the same person"
    );
    for name in ["bot", "b0t", "Ada", "z0e"] {
        let refused = renamed(name).unwrap_err().to_string();
        assert!(refused.contains(&format!("person `{name}` looks like")), "{refused}");
    }
}

#[test]
fn entities_that_are_gathered_again_are_those_that_are_given() {
    let bundle = bundle(sourced(""));
    let first = bundle.gather(&given(GIVEN), None).unwrap();
    let same = bundle.gather(&given(GIVEN), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&same.entities, &first.entities), "the same entities are not read twice");
    let free = GIVEN.replace("[{ \"type\": \"Group\", \"id\": \"suspended\" }]", "[]");
    let other = bundle.gather(&given(&free), Some(&first)).unwrap();
    assert_eq!(asked(&bundle, "rogue", Some(&other)), "PERMIT may-charge");
    assert!(
        bundle.gather(&Given::new(), Some(&first)).is_err(),
        "what was gathered earlier stands in for nothing"
    );
}

#[test]
fn an_entity_has_one_origin() {
    let both = with("bundle.toml", "[roster.people.ada]", &format!("{DIRECTORY}\n[roster.people.ada]"));
    assert_eq!(
        defect(both),
        "entities.json: `Agent::\"bot\"` is of a type that comes from a source of facts"
    );
}

#[test]
fn a_source_that_cannot_be_one_is_refused() {
    let declared = |text: &str| defect(edit(sourced(""), "bundle.toml", DIRECTORY, text));
    for (text, told) in [
        ("[facts.d]\ntypes = []\nmax_age = \"1m\"\n", "`types` is empty"),
        ("[facts.d]\ntypes = [\"Agent\"]\nmax_age = \"999ms\"\n", "`max_age` is not within 1s and 7d"),
        ("[facts.d]\ntypes = [\"Agent\"]\nmax_age = \"8d\"\n", "`max_age` is not within 1s and 7d"),
        ("[facts.d]\ntypes = [\"Surface\"]\nmax_age = \"1m\"\n", "surfaces are the bundle's own"),
        ("[facts.d]\ntypes = [\"Team\"]\nmax_age = \"1m\"\n", "the schema has no entity type `Team`"),
        ("[facts.d]\ntypes = [\"Action\"]\nmax_age = \"1m\"\n", "the schema has no entity type `Action`"),
        ("[facts.d]\ntypes = [\"Agent\"]\n", "missing field `max_age`"),
        ("[facts.d]\ntypes = [\"Agent\"]\nmax_age = \"1m\"\nfile = \"x\"\n", "unknown field `file`"),
        (
            "[facts.d]\ntypes = [\"Agent\"]\nmax_age = \"1m\"\n[facts.e]\ntypes = [\"Agent\"]\nmax_age = \"1m\"\n",
            "type `Agent` comes from `d` already",
        ),
    ] {
        let found = declared(text);
        assert!(found.contains(told), "{found}, and not {told}");
    }
}

#[test]
fn entities_of_the_bundle_may_belong_to_those_of_a_source() {
    let files = edit(
        sourced(""),
        "entities.json",
        "\"parents\": []",
        "\"parents\": [{\"type\":\"Group\",\"id\":\"vip\"}]",
    );
    let bundle = bundle(files);
    let error = bundle.gather(&given(GIVEN), None).unwrap_err().to_string();
    assert!(error.contains("Group::\"vip\""), "{error}");
    let vip =
        GIVEN.replacen('[', "[{\"uid\":{\"type\":\"Group\",\"id\":\"vip\"},\"attrs\":{},\"parents\":[]},", 1);
    assert!(bundle.gather(&given(&vip), None).is_ok());
}

#[test]
fn a_bundle_without_sources_asks_for_none() {
    let bundle = bundle(files());
    let gathered = bundle.gather(&Given::new(), None).unwrap();
    assert!(gathered.used().is_empty());
    assert_eq!(asked(&bundle, "bot", Some(&gathered)), asked(&bundle, "bot", None));
}
