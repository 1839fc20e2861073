use super::*;
use crate::Snapshot;
use crate::testing::{sourced, with_policies};

const EXCEPTIONS: &str = r#"
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

#[test]
fn exceptions_that_were_to_be_looked_at_are_told_as_such() {
    let rehearsal = Snapshot::from_files(sourced(EXCEPTIONS)).unwrap().rehearse().unwrap();
    let review = rehearsal.governance(Millis(0)).exceptions[0].exception.review;
    let told = |at: u64| {
        let report = rehearsal.governance(Millis(at));
        let owned = report.exceptions[0].clone();
        assert_eq!(owned.owner_name, "zoe");
        (owned.review_overdue, owned.over)
    };
    assert_eq!(told(review.0 - 1), (false, false));
    assert_eq!(told(review.0), (true, false));
    assert_eq!(told(rehearsal.governance(Millis(0)).exceptions[0].exception.until.0), (false, true));
}

#[test]
fn a_surface_is_told_with_every_grant_that_may_be_about_it_and_what_each_asks_for() {
    let policies = r#"
@id("any") permit (principal, action, resource);
@id("group") @witnessed permit (principal, action in Action::"any", resource);
@id("one") @identity_within("5m") permit (principal, action == Action::"refund", resource);
@id("list") permit (principal, action in [Action::"fs.read"], resource);
@id("no") forbid (principal, action, resource);"#;
    let report =
        Snapshot::from_files(with_policies(policies)).unwrap().rehearse().unwrap().governance(Millis(0));
    let grants = |surface: &str| {
        let grants = &report.surfaces[&surface.parse::<SurfaceName>().unwrap()].grants;
        grants.iter().map(|(id, asks)| format!("{id} {asks}").trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(grants("pay.charge"), ["any", "group witnesses", "one identity proved within 5m"]);
    assert_eq!(grants("fs.read"), ["any", "group witnesses", "list"]);
    assert!(report.exceptions.is_empty() && report.sources.is_empty());
}
