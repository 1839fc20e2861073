//! Mistakes that people make in policies, each planted into one sound bundle by one edit, and what catches it.

use std::fmt::Write;

use crate::files::Files;
use crate::proof::{Oddity, Proof, ProofReport};
use crate::testing::edit;
use crate::{BundleError, Snapshot, TrialReport};

const MANIFEST: &str = r#"
name = "desk"
version = 1
valid_from = "2026-01-01T00:00:00Z"
valid_until = "2027-01-01T00:00:00Z"

[surfaces."pay.charge"]
tier = "critical"
on_silence = "terminate"
idempotency = "key"
permit_ttl = "5s"
actions = ["charge", "refund"]
resource = { type = "Account", id = "acme" }
context.cents = { type = "integer", from = "/cents" }
context.amount = { type = "decimal", scale = 2, from = "/amount" }
context.currency = { type = "string", from = "/currency" }
context.ticket = { type = "string", from = "/ticket", optional = true }

[surfaces."fs.read"]
tier = "read"
on_silence = "terminate"
permit_ttl = "1s"
context.path = { type = "path", from = "/path" }
context.tags = { type = "strings", from = "/tags", optional = true }

[surfaces."net.post"]
tier = "standard"
on_silence = "terminate"
idempotency = "none"
permit_ttl = "1s"
context.host = { type = "string", from = "/host" }

[labels.internal]
lifetime = "8h"
"#;

const SCHEMA: &str = r#"
entity Group in [Group];
entity Agent in [Group] = { quota: Long };
entity Surface;
entity Account = { frozen: Bool, currency: String, keeper?: Agent };
type Payment = { cents: Long, amount: decimal, currency: String, ticket?: String };
action "money";
action "charge", "refund" in ["money"] appliesTo { principal: Agent, resource: Account, context: Payment };
action "fs.read" appliesTo {
  principal: Agent, resource: Surface, context: { path: String, tags?: Set<String> },
};
action "net.post" appliesTo { principal: Agent, resource: Surface, context: { host: String, labels: Set<String> } };
"#;

const ENTITIES: &str = r#"[
  { "uid": { "type": "Agent", "id": "clerk" }, "attrs": { "quota": 5 },
    "parents": [{ "type": "Group", "id": "finance" }] },
  { "uid": { "type": "Agent", "id": "chief" }, "attrs": { "quota": 50 },
    "parents": [{ "type": "Group", "id": "seniors" }] },
  { "uid": { "type": "Agent", "id": "rogue" }, "attrs": { "quota": 5 },
    "parents": [{ "type": "Group", "id": "finance" }, { "type": "Group", "id": "suspended" }] },
  { "uid": { "type": "Agent", "id": "intern" }, "attrs": { "quota": 0 },
    "parents": [{ "type": "Group", "id": "staff" }] },
  { "uid": { "type": "Group", "id": "staff" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Group", "id": "finance" }, "attrs": {}, "parents": [{ "type": "Group", "id": "staff" }] },
  { "uid": { "type": "Group", "id": "seniors" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Group", "id": "vault" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Group", "id": "suspended" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Account", "id": "acme" }, "parents": [],
    "attrs": { "frozen": false, "currency": "EUR", "keeper": { "type": "Agent", "id": "clerk" } } },
  { "uid": { "type": "Account", "id": "ice" }, "parents": [], "attrs": { "frozen": true, "currency": "EUR" } }
]"#;

const POLICIES: &str = r#"
@id("small-charges")
permit (principal in Group::"finance", action == Action::"charge", resource)
when { context.cents > 0 && context.cents <= 10000 }
when { context.currency == resource.currency };

@id("large-charges")
permit (principal in Group::"seniors", action == Action::"charge", resource)
when { context.cents > 10000 && context.cents <= 1000000 }
when { context.currency == resource.currency }
when { context has ticket && context.ticket like "APPROVED-*" };

@id("refunds")
permit (principal in Group::"finance", action == Action::"refund", resource)
when { resource has keeper && resource.keeper == principal }
when { context.amount.lessThanOrEqual(decimal("50.00")) };

@id("reads")
@adds_label("internal")
permit (principal in Group::"staff", action == Action::"fs.read", resource)
when { context.path like "/srv/reports/*" };

@id("no-money-while-frozen")
forbid (principal, action in Action::"money", resource)
when { resource.frozen };

@id("no-private-reports")
forbid (principal, action == Action::"fs.read", resource)
when { context has tags && context.tags.contains("private") }
unless { principal in Group::"vault" };

@id("posts")
permit (principal in Group::"staff", action == Action::"net.post", resource)
when { context.host like "*.example.com" };

@id("no-posts-after-reports")
forbid (principal, action == Action::"net.post", resource)
when { context.labels.contains("internal") };

@id("no-suspended")
forbid (principal in Group::"suspended", action, resource);
"#;

const INVARIANTS: &str = r#"
@id("money-is-for-finance")
@sentence("Only finance and seniors ever move money.")
forbid (principal, action in Action::"money", resource)
unless { principal in Group::"finance" || principal in Group::"seniors" };

@id("large-needs-a-ticket")
@sentence("A charge over 100.00 has an approved ticket.")
forbid (principal, action == Action::"charge", resource)
when { context.cents > 10000 }
unless { context has ticket && context.ticket like "APPROVED-*" };

@id("a-cap")
@sentence("Nobody charges more than 10,000.00, or nothing, or less.")
forbid (principal, action == Action::"charge", resource)
when { context.cents > 1000000 || context.cents <= 0 };

@id("refunds-are-small")
@sentence("A refund is 50.00 at most, on an account that the agent keeps.")
forbid (principal, action == Action::"refund", resource)
unless {
  context.amount.lessThanOrEqual(decimal("50.00")) && resource has keeper && resource.keeper == principal
};

@id("frozen-is-frozen")
@sentence("No money moves on a frozen account.")
forbid (principal, action in Action::"money", resource) when { resource.frozen };

@id("suspended-is-suspended")
@sentence("Who is suspended is permitted nothing.")
forbid (principal in Group::"suspended", action, resource);

@id("reports-only")
@sentence("Nothing outside the reports is read.")
forbid (principal, action == Action::"fs.read", resource) unless { context.path like "/srv/reports/*" };

@id("private-is-private")
@sentence("What is tagged private is read by the vault alone.")
forbid (principal, action == Action::"fs.read", resource)
when { context has tags && context.tags.contains("private") && !(principal in Group::"vault") };

@id("reports-stay")
@sentence("Who has read a report posts nothing.")
forbid (principal, action == Action::"net.post", resource) when { context.labels.contains("internal") };

@id("staff-reads")
@sentence("Staff that is not suspended reads every report that is not tagged.")
permit (principal in Group::"staff", action == Action::"fs.read", resource)
when { context.path like "/srv/reports/*" && !(context has tags) }
unless { principal in Group::"suspended" };
"#;

const CASES: &str = r#"
[[case]]
name = "a small charge"
agent = "clerk"
surface = "pay.charge"
action = "charge"
context = { cents = 9000, amount = "90.00", currency = "EUR" }
expect = "permit"

[[case]]
name = "the largest small charge"
agent = "clerk"
surface = "pay.charge"
action = "charge"
context = { cents = 10000, amount = "100.00", currency = "EUR" }
expect = "permit"

[[case]]
name = "another currency"
agent = "clerk"
surface = "pay.charge"
action = "charge"
context = { cents = 9000, amount = "90.00", currency = "USD" }
expect = "deny"
reason = "policy.no_grant"

[[case]]
name = "a large charge"
agent = "chief"
surface = "pay.charge"
action = "charge"
context = { cents = 900000, amount = "9000.00", currency = "EUR", ticket = "APPROVED-7" }
expect = "permit"

[[case]]
name = "a large charge without a ticket"
agent = "chief"
surface = "pay.charge"
action = "charge"
context = { cents = 900000, amount = "9000.00", currency = "EUR" }
expect = "deny"
reason = "policy.no_grant"

[[case]]
name = "a refund"
agent = "clerk"
surface = "pay.charge"
action = "refund"
context = { cents = 4000, amount = "40.00", currency = "EUR" }
expect = "permit"

[[case]]
name = "a charge on a frozen account"
agent = "clerk"
surface = "pay.charge"
action = "charge"
resource = { type = "Account", id = "ice" }
context = { cents = 9000, amount = "90.00", currency = "EUR" }
expect = "deny"
reason = "policy.forbidden"

[[case]]
name = "a report"
agent = "intern"
surface = "fs.read"
context = { path = "/srv/reports/may" }
expect = "permit"
adds = ["internal"]

[[case]]
name = "a post"
agent = "intern"
surface = "net.post"
context = { host = "www.example.com" }
expect = "permit"

[[case]]
name = "a post after a report"
agent = "intern"
labels = ["internal"]
surface = "net.post"
context = { host = "www.example.com" }
expect = "deny"
reason = "policy.forbidden"

[[case]]
name = "another file"
agent = "intern"
surface = "fs.read"
context = { path = "/etc/passwd" }
expect = "deny"
reason = "policy.no_grant"

[[case]]
name = "a private report"
agent = "intern"
surface = "fs.read"
context = { path = "/srv/reports/may", tags = ["private"] }
expect = "deny"
reason = "policy.forbidden"

[[case]]
name = "a report for who is suspended"
agent = "rogue"
surface = "fs.read"
context = { path = "/srv/reports/may" }
expect = "deny"
reason = "policy.forbidden"
"#;

const POLICY: &str = "policies/main.cedar";
const INVARIANT: &str = "invariants/main.cedar";

struct Mistake {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// Words by which `bundle check` refuses it; if it does, there is nothing to test or prove.
    check: Option<&'static str>,
    /// The first case that fails.
    test: Option<&'static str>,
    /// The first statement that is refuted, or the first policy that is odd.
    prove: Option<&'static str>,
}

const fn checked(
    what: &'static str,
    (file, from, to): (&'static str, &'static str, &'static str),
    words: &'static str,
) -> Mistake {
    Mistake { what, file, from, to, check: Some(words), test: None, prove: None }
}

const fn passed(
    what: &'static str,
    (from, to): (&'static str, &'static str),
    test: Option<&'static str>,
    prove: Option<&'static str>,
) -> Mistake {
    Mistake { what, file: POLICY, from, to, check: None, test, prove }
}

const MISTAKES: [Mistake; 39] = [
    checked(
        "an attribute's name misspelt",
        (
            POLICY,
            "context.currency == resource.currency };\n\n@id(\"large",
            "context.curency == resource.currency };\n\n@id(\"large",
        ),
        "attribute `curency`",
    ),
    checked(
        "an optional attribute read without asking whether it is there",
        (POLICY, "resource has keeper && resource.keeper", "resource.keeper"),
        "unable to guarantee safety of access to optional attribute `keeper`",
    ),
    checked(
        "the presence of an attribute asked of something else",
        (POLICY, "context has ticket && context.ticket", "resource has keeper && context.ticket"),
        "unable to guarantee safety of access to optional attribute `ticket`",
    ),
    checked(
        "a negated `has`, so that the attribute is read where it is absent",
        (POLICY, "context has tags && context.tags", "!(context has tags) && context.tags"),
        "unable to guarantee safety of access to optional attribute `tags`",
    ),
    checked(
        "a group's name misspelt in a policy",
        (POLICY, "Group::\"suspended\"", "Group::\"suspendet\""),
        "Group::\"suspendet\"",
    ),
    checked(
        "a group's name misspelt in an invariant",
        (INVARIANT, "forbid (principal in Group::\"suspended\"", "forbid (principal in Group::\"suspendet\""),
        "Group::\"suspendet\"",
    ),
    checked(
        "an action's name misspelt",
        (POLICY, "action == Action::\"refund\"", "action == Action::\"refunds\""),
        "unrecognized action `Action::\"refunds\"`",
    ),
    checked(
        "a decimal compared by `<=`",
        (
            POLICY,
            "context.amount.lessThanOrEqual(decimal(\"50.00\"))",
            "context.amount <= decimal(\"50.00\")",
        ),
        "unexpected type",
    ),
    checked(
        "a number compared with a text",
        (POLICY, "context.cents <= 10000 }", "context.cents <= \"10000\" }"),
        "unexpected type",
    ),
    checked(
        "a decimal with more digits than there are",
        (POLICY, "decimal(\"50.00\")", "decimal(\"50.000001\")"),
        "decimal",
    ),
    checked(
        "an `@id` copied along with its policy",
        (POLICY, "@id(\"refunds\")", "@id(\"reads\")"),
        "policy `reads` is also in",
    ),
    checked(
        "an annotation that nobody understands",
        (POLICY, "@id(\"large-charges\")", "@id(\"large-charges\")\n@requires_approval"),
        "unknown annotation `@requires_approval`",
    ),
    checked(
        "a label's name misspelt in a policy",
        (POLICY, "context.labels.contains(\"internal\")", "context.labels.contains(\"interal\")"),
        "asks for label `interal`, which is not declared",
    ),
    checked(
        "a label's name misspelt in an invariant",
        (INVARIANT, "context.labels.contains(\"internal\")", "context.labels.contains(\"interal\")"),
        "asks for label `interal`, which is not declared",
    ),
    checked(
        "a label's name misspelt in a case",
        ("tests/main.toml", "labels = [\"internal\"]", "labels = [\"interal\"]"),
        "label `interal` is not declared",
    ),
    checked(
        "a guard that asks whether there are labels, and so passes over the actions without",
        (
            POLICY,
            "forbid (principal, action == Action::\"net.post\", resource)\nwhen { context.labels",
            "forbid (principal, action, resource)\nwhen { context has labels && context.labels",
        ),
        "asks whether `context has labels`",
    ),
    checked(
        "a mapping that gives another type than the schema has",
        ("bundle.toml", "context.cents = { type = \"integer\"", "context.cents = { type = \"string\""),
        "context `cents`",
    ),
    checked(
        "a guard on an optional argument that the mapping always gives",
        ("bundle.toml", "from = \"/tags\", optional = true", "from = \"/tags\""),
        "context `tags`",
    ),
    passed(
        "arithmetic that overflows, in a grant",
        (
            "context.cents > 0 && context.cents <= 10000",
            "context.cents > 0 && context.cents * 100 <= 1000000",
        ),
        None,
        Some("small-charges"),
    ),
    passed(
        "arithmetic that overflows, in a `forbid`",
        ("when { resource.frozen };", "when { resource.frozen || context.cents + principal.quota < 0 };"),
        None,
        Some("no-money-while-frozen"),
    ),
    passed(
        "`||` for `&&`",
        (
            "context.cents > 10000 && context.cents <= 1000000",
            "context.cents > 10000 || context.cents <= 1000000",
        ),
        None,
        Some("a-cap"),
    ),
    passed(
        "`||` for `&&`, for want of parentheses",
        (
            "context.cents > 0 && context.cents <= 10000",
            "context.cents > 0 && context.cents <= 10000 || context.cents == 20000",
        ),
        None,
        Some("large-needs-a-ticket"),
    ),
    passed(
        "`unless` for `when`",
        ("when { resource.frozen };", "unless { resource.frozen };"),
        Some("a small charge"),
        Some("frozen-is-frozen"),
    ),
    passed(
        "`permit` for `forbid`",
        (
            "forbid (principal in Group::\"suspended\", action, resource);",
            "permit (principal in Group::\"suspended\", action, resource);",
        ),
        Some("a report for who is suspended"),
        Some("a-cap"),
    ),
    passed(
        "a limit that is off by one",
        ("context.cents > 0 && context.cents <= 10000", "context.cents > 0 && context.cents < 10000"),
        Some("the largest small charge"),
        None,
    ),
    passed(
        "a comparison the wrong way round",
        ("context.amount.lessThanOrEqual(", "context.amount.greaterThanOrEqual("),
        Some("a refund"),
        Some("refunds-are-small"),
    ),
    passed(
        "a decimal's point one place off",
        ("decimal(\"50.00\")", "decimal(\"500.0\")"),
        None,
        Some("refunds-are-small"),
    ),
    passed(
        "cents taken for whole units",
        ("context.cents <= 1000000", "context.cents <= 100000000"),
        None,
        Some("a-cap"),
    ),
    passed(
        "no lower bound, so that a negative charge is a small one",
        ("context.cents > 0 && context.cents <= 10000", "context.cents <= 10000"),
        None,
        Some("a-cap"),
    ),
    passed(
        "negation over what is optional: absent counts as fine",
        (
            "context has ticket && context.ticket like \"APPROVED-*\"",
            "!(context has ticket && context.ticket like \"REJECTED-*\")",
        ),
        Some("a large charge without a ticket"),
        Some("large-needs-a-ticket"),
    ),
    passed(
        "a pattern that begins with a wildcard by mistake",
        ("like \"APPROVED-*\"", "like \"*APPROVED-*\""),
        None,
        Some("large-needs-a-ticket"),
    ),
    passed(
        "a pattern that is a directory too broad",
        ("like \"/srv/reports/*\"", "like \"/srv/*\""),
        None,
        Some("reports-only"),
    ),
    passed(
        "a group too broad: finance is staff, and so are others",
        (
            "permit (principal in Group::\"finance\", action == Action::\"charge\"",
            "permit (principal in Group::\"staff\", action == Action::\"charge\"",
        ),
        None,
        Some("money-is-for-finance"),
    ),
    passed(
        "a group of actions for an action",
        (
            "permit (principal in Group::\"finance\", action == Action::\"charge\"",
            "permit (principal in Group::\"finance\", action in Action::\"money\"",
        ),
        None,
        Some("refunds-are-small"),
    ),
    passed(
        "an action for a group of actions, in a `forbid`",
        ("forbid (principal, action in Action::\"money\"", "forbid (principal, action == Action::\"charge\""),
        None,
        Some("frozen-is-frozen"),
    ),
    passed(
        "a `forbid` that contradicts itself and never fires",
        (
            "context.tags.contains(\"private\") }",
            "context.tags.contains(\"private\") && context.path like \"/drafts/*\" }",
        ),
        Some("a private report"),
        Some("private-is-private"),
    ),
    passed(
        "a `forbid` that another one covers already",
        (
            "forbid (principal in Group::\"suspended\", action, resource);",
            "forbid (principal in Group::\"suspended\", action, resource);\n\n@id(\"no-suspended-refund\")\nforbid (principal in Group::\"suspended\", action == Action::\"refund\", resource) when { context.cents > 5 };",
        ),
        None,
        Some("no-suspended-refund"),
    ),
    passed(
        "a `forbid` that takes back all that a grant gives",
        ("when { resource.frozen };", "when { resource.frozen || context.cents > 10000 };"),
        Some("a large charge"),
        Some("large-charges"),
    ),
    passed(
        "a label that a grant is to add, lost with a line",
        ("@adds_label(\"internal\")\n", ""),
        Some("a report"),
        None,
    ),
];

fn sound() -> Files {
    let files = [
        ("bundle.toml", MANIFEST),
        ("schema.cedarschema", SCHEMA),
        ("entities.json", ENTITIES),
        (POLICY, POLICIES),
        (INVARIANT, INVARIANTS),
        ("tests/main.toml", CASES),
    ];
    files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect()
}

fn tried(files: &Files) -> Result<TrialReport, BundleError> {
    Snapshot::from_files(files.clone())?.test()
}

fn proof(files: Files) -> ProofReport {
    crate::proof::tests::proved_by(&crate::proof::tests::cvc5(), files)
}

fn first_failure(report: &TrialReport) -> Option<&str> {
    report.cases.iter().find(|case| !case.passed).map(|case| case.name.as_str())
}

/// What a proof finds first; that the solver does not know is no find.
fn first_find(report: &ProofReport) -> Option<&str> {
    let refuted = report.statements.iter().find(|statement| matches!(statement.proof, Proof::Refuted { .. }));
    let odd = report.findings.iter().find(|found| !matches!(found.oddity, Oddity::Undetermined { .. }));
    refuted.map(|statement| statement.id.as_str()).or(odd.map(|found| found.policy.as_str()))
}

#[test]
fn without_a_mistake_nothing_is_found() {
    let report = tried(&sound()).unwrap();
    assert!(report.passed(), "{:#?}", report.cases);
    let checked = Snapshot::from_files(sound()).unwrap().check().unwrap();
    assert_eq!(checked.warnings, Vec::<String>::new());
    let report = proof(sound());
    assert!(report.proved() && report.findings.is_empty(), "{report:#?}");
}

#[test]
fn every_planted_mistake_is_caught_by_what_the_table_says() {
    let mut wrong = String::new();
    for mistake in &MISTAKES {
        let files = edit(sound(), mistake.file, mistake.from, mistake.to);
        let found = match tried(&files) {
            Err(error) => (Some(error.to_string()), None, None),
            Ok(tried) => {
                let proof = proof(files);
                (None, first_failure(&tried).map(str::to_owned), first_find(&proof).map(str::to_owned))
            }
        };
        let as_said = match (&found.0, mistake.check) {
            (Some(error), Some(words)) => error.contains(words),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let caught = found.0.is_some() || found.1.is_some() || found.2.is_some();
        if !caught || !as_said || found.1.as_deref() != mistake.test || found.2.as_deref() != mistake.prove {
            writeln!(wrong, "{}: {found:?}", mistake.what).unwrap();
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn the_table_in_the_docs_is_of_these_mistakes() {
    let mut table =
        String::from("| mistake | `bundle check` | `bundle test` | `bundle prove` |\n|---|---|---|---|\n");
    for mistake in &MISTAKES {
        let name = |found: Option<&str>, what: &str| {
            found.map_or_else(String::new, |found| format!("{what} `{found}`"))
        };
        let check = if mistake.check.is_some() { "refused" } else { "" };
        let (test, prove) = (name(mistake.test, "case"), name(mistake.prove, ""));
        writeln!(table, "| {} | {check} | {test} | {} |", mistake.what.replace('|', "\\|"), prove.trim())
            .unwrap();
    }
    let docs = include_str!("../../../../docs/planted-mistakes.md");
    assert!(docs.contains(&table), "docs/planted-mistakes.md is to have this table:\n\n{table}");
}
