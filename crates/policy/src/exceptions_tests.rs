use super::*;
use portcullis_protocol::{Digest, SnapshotUse};

use crate::testing::{bundle, defect, sourced};

const EXCEPTION: &str = r#"
[[exceptions]]
surface = "fs.read"
covers = ["fact.stale"]
sources = ["directory"]
max_age = "24h"
owner = "zoe"
reason = "the directory is moved in January"
review = "2026-01-15T00:00:00Z"
until = "2026-02-01T00:00:00Z"
"#;

fn changed(from: &str, to: &str) -> String {
    assert!(EXCEPTION.contains(from), "{from}");
    defect(sourced(&EXCEPTION.replace(from, to)))
}

#[test]
fn an_exception_is_narrow_owned_and_expiring_or_does_not_load() {
    for (from, to, told) in [
        ("fs.read", "pay.charge", "of the tiers `standard` and `read` only"),
        ("fs.read", "fs.write", "there is no such surface"),
        ("[\"fact.stale\"]", "[]", "`covers` names one code"),
        ("[\"fact.stale\"]", "[\"fact.stale\", \"fact.stale\"]", "`covers` names one code"),
        ("fact.stale", "fact.unavailable", "`fact.unavailable` cannot be excepted: only `fact.stale` can"),
        ("fact.stale", "policy.expired", "`policy.expired` cannot be excepted"),
        ("fact.stale", "evidence.unwritable", "`evidence.unwritable` cannot be excepted"),
        ("fact.stale", "identity.stale", "`identity.stale` cannot be excepted"),
        ("fact.stale", "approval.unavailable", "approvals are not built into it"),
        ("fact.stale", "anything", "`anything` is no reason code"),
        ("[\"directory\"]", "[]", "`sources` names the sources"),
        ("[\"directory\"]", "[\"directory\", \"directory\"]", "`sources` names the sources"),
        ("[\"directory\"]", "[\"payroll\"]", "there is no source of facts `payroll`"),
        ("\"24h\"", "\"10m\"", "it would except nothing"),
        ("\"24h\"", "\"31d\"", "`max_age` is more than 30d"),
        ("zoe", "zac", "owner `zac` is not in the roster"),
        ("the directory is moved in January", " ", "`reason` is 1 to 500 printable"),
        ("2026-01-15", "2026-02-01", "`review` is not between"),
        ("2026-01-15", "2026-01-01", "`review` is not between"),
        ("2026-02-01", "2026-02-02", "`until` is not within the bundle's validity"),
        ("until = \"2026-02-01", "until = \"2026-01-01", "`until` is not within the bundle's validity"),
        ("owner = \"zoe\"\n", "", "missing field `owner`"),
        ("max_age = \"24h\"\n", "", "missing field `max_age`"),
        ("owner", "approver", "unknown field `approver`"),
    ] {
        let found = changed(from, to);
        assert!(found.contains(told), "{from} -> {to}: {found}, and not {told}");
    }
    let found = defect(sourced(&format!("{EXCEPTION}{EXCEPTION}")));
    assert!(found.contains("there are two for the same code"), "{found}");
}

#[test]
fn an_exception_lasts_90_days_at_most() {
    let longer = |until: &str| {
        let files = sourced(&EXCEPTION.replace("2026-02-01T00:00:00Z", until));
        crate::testing::edit(files, "bundle.toml", "valid_until = \"2026-02-01", "valid_until = \"2027-02-01")
    };
    assert_eq!(bundle(longer("2026-04-01T00:00:00Z")).exceptions().len(), 1);
    assert!(defect(longer("2026-04-01T00:00:00.001Z")).contains("at most 90d after its `valid_from`"));
}

#[test]
fn an_exception_without_a_roster_has_no_owner() {
    let files = sourced(EXCEPTION);
    let text = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    let mut files = crate::testing::with_policies("@id(\"all\") permit (principal, action, resource);");
    files.insert("bundle.toml".into(), text[..text.find("[roster.people.ada]").unwrap()].into());
    files.insert("entities.json".into(), sourced("")["entities.json"].clone());
    assert!(defect(files).contains("the bundle has no `[roster]`"));
}

fn used(ages: &[(&str, u64)], now: Millis) -> Snapshots {
    let snapshot =
        |age| SnapshotUse { as_of: Millis(now.0 - age), digest: Digest::sha256(b"s"), max_age_ms: 600_000 };
    ages.iter().map(|(name, age)| (name.parse().unwrap(), snapshot(*age))).collect()
}

#[test]
fn an_exception_covers_its_sources_up_to_its_own_bound_and_end() {
    const HOUR: u64 = 3_600_000;
    let bundle = bundle(sourced(EXCEPTION));
    let exception = bundle.exception(&"fs.read".parse().unwrap(), Coverable::FactStale).unwrap();
    assert_eq!(bundle.exception(&"pay.charge".parse().unwrap(), Coverable::FactStale), None);
    let now = Millis(exception.until.0 - 1);
    let covering =
        |ages: &[(&str, u64)]| exception.covering(&used(ages, now), now).map(|it| it.sources.len());
    assert_eq!(covering(&[("directory", 24 * HOUR)]), Some(1));
    assert_eq!(covering(&[("directory", 24 * HOUR + 1)]), None, "beyond its bound");
    assert_eq!(covering(&[("directory", 600_000)]), None, "nothing is stale");
    assert_eq!(covering(&[("payroll", HOUR)]), None, "another source");
    assert_eq!(covering(&[("directory", HOUR), ("payroll", HOUR)]), None, "another source is stale too");
    assert_eq!(covering(&[("directory", HOUR), ("payroll", 0)]), Some(1));
    assert_eq!(exception.covering(&used(&[("directory", HOUR)], exception.until), exception.until), None);
    assert_eq!(exception.covering(&Snapshots::new(), now), None);
}
