//! `portcullis bundle prove`, with the real cvc5.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run;
use crate::support::{Place, program, text};

const CAP: &str = "@id(\"a-cap\")
@sentence(\"Nobody charges more than 100.00.\")
forbid (principal, action == Action::\"demo.charge\", resource)
when { context.amount.greaterThan(decimal(\"100.00\")) };
";

fn with_invariant(place: &Place) -> String {
    let folder = place.config.bundle.join("invariants");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("main.cedar"), CAP).unwrap();
    text(&place.config.bundle)
}

#[test]
fn a_bundle_is_proved_and_a_hole_is_shown_by_a_request() {
    let place = Place::demo();
    let bundle = with_invariant(&place);
    let said = run(&["bundle", "prove", &bundle]);
    for line in
        ["proved    invariant a-cap: Nobody charges more", "4 of 4 statements proved", "and cvc5 version"]
    {
        assert!(said.ok().contains(line), "{said:?}");
    }
    assert!(said.out.contains("note      forbid demo-no-deletion is redundant"), "{said:?}");
    assert_eq!(
        run(&["bundle", "prove", &bundle, "--strict"]).code,
        1,
        "what is odd counts if it is asked for"
    );
    let policies = place.config.bundle.join("policies/demo.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"1000.00\"");
    std::fs::write(&policies, changed).unwrap();
    let said = run(&["bundle", "prove", &bundle]);
    assert_eq!(said.code, 1, "{said:?}");
    for line in ["REFUTED   invariant a-cap", "action    Action::\"demo.charge\"", "3 of 4 statements proved"]
    {
        assert!(said.out.contains(line), "{said:?}");
    }
    let said: Value = serde_json::from_str(&run(&["bundle", "prove", &bundle, "--json"]).out).unwrap();
    assert_eq!(said["proved"], json!(false));
    let statements = said["report"]["statements"].as_array().unwrap();
    let refuted = statements.iter().find(|statement| statement["id"] == "a-cap").unwrap();
    assert_eq!(refuted["proof"]["status"], "refuted");
    let amount = &refuted["proof"]["counterexample"]["context"]["amount"];
    let amount: f64 = amount.pointer("/__extn/arg").and_then(Value::as_str).unwrap().parse().unwrap();
    assert!(amount > 100.0 && amount <= 1000.0, "{refuted}");
}

#[test]
fn without_a_solver_nothing_is_proved() {
    let place = Place::demo();
    let bundle = with_invariant(&place);
    let said = run(&["bundle", "prove", &bundle, "--solver", "/nowhere/cvc5"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("0 of 4 statements proved") && said.out.contains("by cedar-policy-symcc"),
        "{said:?}"
    );
    assert!(said.err.contains("nothing is proved without a solver; install cvc5"), "{said:?}");
}

/// A program that says it is cvc5, leaves its process id, and then never answers.
fn hanging(folder: &Path, pids: &Path) -> PathBuf {
    let path = folder.join("hanging");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'This is cvc5 version 0'; exit; }}\necho $$ > {0}.new; mv {0}.new {0}; sleep 600\n",
        pids.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn ctrl_c_ends_the_solver_and_says_that_nothing_is_proved() {
    let place = Place::demo();
    let (bundle, pids) = (text(&place.config.bundle), place.path("pids"));
    let solver = text(&hanging(&place.path(""), &pids));
    let mut command = Command::new(program());
    command.args(["bundle", "prove", &bundle, "--solver", &solver]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !pids.exists() {
        std::thread::yield_now();
    }
    let process = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.contains("because stopped") && said.contains("0 of 3 statements proved"), "{said}");
    let pid = std::fs::read_to_string(pids).unwrap();
    let path = format!("/proc/{}/stat", pid.trim());
    let began = std::time::Instant::now();
    while std::fs::read_to_string(&path).is_ok_and(|state| !state.contains(") Z ")) {
        assert!(began.elapsed().as_secs() < 20, "the solver is still there");
        std::thread::yield_now();
    }
}

#[test]
fn what_another_version_grants_is_shown_by_a_request() {
    let (before, after) = (Place::demo(), Place::demo());
    let (old, new) = (text(&before.config.bundle), text(&after.config.bundle));
    let same = run(&["bundle", "diff", "--semantic", &old, &new]);
    assert!(same.ok().contains("of 3 request environments 0 more permissive, 0 less permissive"), "{same:?}");
    let policies = after.config.bundle.join("policies/demo.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"1000.00\"");
    std::fs::write(&policies, changed).unwrap();
    let said = run(&["bundle", "diff", "--semantic", &old, &new]);
    for line in [
        "MORE PERMISSIVE Agent, Action::\"demo.charge\", Surface",
        "context   {\"account\"",
        "1 more permissive",
    ] {
        assert!(said.ok().contains(line), "{line}: {said:?}");
    }
    let said: Value =
        serde_json::from_str(run(&["bundle", "diff", "--semantic", &new, &old, "--json"]).ok()).unwrap();
    assert_eq!(said["comparison"]["shifts"][0]["direction"], "less_permissive");
    assert_eq!(said["comparison"]["shifts"][0]["status"], "example");
    let said = run(&["bundle", "diff", "--semantic", &old, &new, "--solver", "/nowhere/cvc5"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("NOT KNOWN whether MORE PERMISSIVE"), "{said:?}");
}

/// Both versions asked for an approval, so that the solver found nothing, and no name was in both: `known` was true.
#[test]
fn an_approval_by_fewer_people_under_another_name_is_shown_with_both_values() {
    let by = "@approval_roles(\"finance\") @approval_quorum(\"2\") @approval_lifetime(\"1h\")";
    let (before, after) = (Place::asking(by), Place::asking(by));
    let (old, new) = (text(&before.config.bundle), text(&after.config.bundle));
    run(&["bundle", "diff", "--semantic", &old, &new]).ok();
    let policies = after.config.bundle.join("policies/asks.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap();
    let fewer = changed.replace("@id(\"asks\")", "@id(\"asks-anew\")").replace("(\"2\")", "(\"1\")");
    std::fs::write(&policies, fewer).unwrap();
    let said = run(&["bundle", "diff", "--semantic", &old, &new]);
    for line in [
        "WEAKER Agent, Action::\"demo.charge\", Surface: approval by 2 or more with role `finance` is no more asked for",
        "  - approval by 2 different people with role `finance`, valid for 1h (policy asks)\n",
        "  + approval by 1 person with role `finance`, valid for 1h (policy asks-anew)\n",
    ] {
        assert!(said.ok().contains(line), "{line}: {said:?}");
    }
    let said: Value =
        serde_json::from_str(run(&["bundle", "diff", "--semantic", &old, &new, "--json"]).ok()).unwrap();
    let weaker = &said["comparison"]["shifts"][0]["weaker"];
    assert_eq!(said["known"], true);
    assert_eq!(weaker["old"]["obligations"]["approvals"][0]["quorum"], 2);
    assert_eq!(weaker["new"]["obligations"]["approvals"][0]["quorum"], 1);
    // Without a solver nothing of it is known.
    let said = run(&["bundle", "diff", "--semantic", &old, &new, "--solver", "/nowhere/cvc5"]);
    assert_eq!(said.code, 1, "{said:?}");
}

#[test]
fn every_change_is_said_with_its_direction_beside_what_the_solver_says() {
    let (before, after) = (Place::demo(), Place::demo());
    let (old, new) = (text(&before.config.bundle), text(&after.config.bundle));
    let manifest = after.config.bundle.join("bundle.toml");
    let changed = std::fs::read_to_string(&manifest).unwrap().replace("\nversion = 1\n", "\nversion = 2\n");
    let looser = changed.replacen("permit_ttl = \"5s\"", "permit_ttl = \"6s\"", 1);
    std::fs::write(&manifest, looser).unwrap();
    let said = run(&["bundle", "diff", "--semantic", &old, &new]);
    for line in [
        "0 more permissive, 0 less permissive",
        "MORE PERMISSIVE surface demo.read_balance: how long a PERMIT may wait to be spent rises from 5s to 6s",
        "otherwise bundle version: the version rises from 1 to 2",
    ] {
        assert!(said.ok().contains(line), "{line}: {said:?}");
    }
    // What nobody can say the direction of is not known, and counts.
    let moved = changed.replacen("from = \"/account\"", "from = \"/payer\"", 1);
    std::fs::write(&manifest, moved).unwrap();
    let said = run(&["bundle", "diff", "--semantic", &old, &new]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out
            .contains("NOT KNOWN surface demo.read_balance: context `account` is read from another place")
    );
    let said: Value =
        serde_json::from_str(&run(&["bundle", "diff", "--semantic", &old, &new, "--json"]).out).unwrap();
    assert_eq!((&said["known"], &said["changes"][0]["tendency"]), (&json!(false), &json!("unknown")));
}
