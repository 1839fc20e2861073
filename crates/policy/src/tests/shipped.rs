use portcullis_protocol::{Idempotency, Tier};

use crate::compile::Compiled;
use crate::testing::{bundle, request, said, signed};
use crate::{Bundle, Snapshot, bundles, engine, trial};

fn files_call(bundle: &Bundle, tool: &str, context: &str) -> String {
    let name = format!("files.{tool}");
    said(&bundle.evaluate(&request("assistant", &name, &name, &format!("Surface:{name}"), context)))
}

fn demo_call(bundle: &Bundle, agent: &str, tool: &str, context: &str) -> String {
    let name = format!("demo.{tool}");
    said(&bundle.evaluate(&request(agent, &name, &name, &format!("Surface:{name}"), context)))
}

#[test]
fn the_shipped_bundles_have_no_warnings_and_no_signature() {
    for files in [bundles::starter(), bundles::demo()] {
        assert!(!files.contains_key("bundle.sig"));
        let report = Snapshot::from_files(files.clone()).unwrap().check().unwrap();
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(bundle(files.clone()).reference().digest, report.digest);
        assert!(signed(files).contains_key("bundle.sig"));
    }
}

/// What is compiled in is all that lies in the repository: a policy file that is left out would not guard.
#[test]
fn the_shipped_bundles_are_their_directories() {
    for (name, files) in [("starter", bundles::starter()), ("demo", bundles::demo())] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
        let on_disk = Snapshot::read(&dir).unwrap().digest();
        assert_eq!(on_disk, Snapshot::from_files(files).unwrap().digest(), "{name}");
    }
}

/// The worked bundles load, and their cases notice every changed policy: people copy them.
#[test]
fn the_worked_bundles_leave_no_gap() {
    for name in ["payments", "infra", "support", "secrets"] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
        let snapshot = Snapshot::read(&dir).unwrap();
        assert_eq!(snapshot.check().unwrap().warnings, Vec::<String>::new(), "{name}");
        let report = snapshot.test().unwrap();
        assert!(report.passed() && !report.mutants.is_empty(), "{name}: {:#?}", report.cases);
        assert_eq!(report.gaps(), Vec::<String>::new(), "{name}");
    }
}

/// The README says of the bounds on amounts that a cent more or less is noticed; of one it was not.
#[test]
fn a_bound_of_the_payments_moved_by_a_cent_and_no_case_failed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/payments");
    let files = Snapshot::read(&dir).unwrap().files;
    let mut moved = 0;
    for path in ["policies/never.cedar", "policies/payments.cedar"] {
        let text = String::from_utf8(files[path].clone()).unwrap();
        for (start, opening) in text.match_indices("decimal(\"") {
            let (before, bound) = text.split_at(start + opening.len());
            let (bound, behind) = bound.split_once('"').unwrap();
            let cents: i64 = bound.replace('.', "").parse().unwrap();
            for other in [cents - 1, cents + 1] {
                let sign = if other < 0 { "-" } else { "" };
                let other = format!("{sign}{}.{:02}", other.abs() / 100, other.abs() % 100);
                let mut files = files.clone();
                files.insert(path.to_owned(), format!("{before}{other}\"{behind}").into_bytes());
                let cases = trial::only_cases(&Compiled::new(&files).unwrap());
                assert!(cases.iter().any(|case| !case.passed), "{path}: {bound} became {other}");
                moved += 1;
            }
        }
    }
    assert_eq!(moved, 16, "two for each bound");
}

#[test]
fn the_starter_grants_reads_and_no_secrets() {
    let bundle = bundle(bundles::starter());
    let path = r#"{"path":"/srv/a.txt"}"#;
    for tool in [
        "read_file",
        "read_text_file",
        "read_media_file",
        "list_directory",
        "list_directory_with_sizes",
        "directory_tree",
        "search_files",
        "get_file_info",
    ] {
        assert_eq!(files_call(&bundle, tool, path), "PERMIT assistant-reads", "{tool}");
        for secret in ["/srv/.ssh/id_ed25519", "/srv/.env", "/srv/app.env.local"] {
            let context = format!(r#"{{"path":"{secret}"}}"#);
            assert_eq!(files_call(&bundle, tool, &context), "policy.forbidden no-secrets", "{tool} {secret}");
        }
        assert_eq!(files_call(&bundle, tool, r#"{"path":"/a/../b"}"#), "request.not_canonical", "{tool}");
    }
    assert_eq!(files_call(&bundle, "list_allowed_directories", "{}"), "PERMIT assistant-reads");
}

#[test]
fn the_starter_declares_what_it_does_not_grant() {
    let bundle = bundle(bundles::starter());
    let path = r#"{"path":"/srv/a.txt"}"#;
    for tool in ["write_file", "edit_file", "create_directory"] {
        assert_eq!(files_call(&bundle, tool, path), "policy.no_grant", "{tool}");
    }
    let (harmless, secret) = ("/srv/a", "/srv/.env");
    for (source, destination, expected) in [
        (harmless, harmless, "policy.no_grant"),
        (secret, harmless, "policy.forbidden no-secrets-moved"),
        (harmless, secret, "policy.forbidden no-secrets-moved"),
    ] {
        let context = format!(r#"{{"source":"{source}","destination":"{destination}"}}"#);
        assert_eq!(files_call(&bundle, "move_file", &context), expected);
    }
    assert_eq!(files_call(&bundle, "read_multiple_files", r#"{"paths":["/a"]}"#), "policy.no_grant");
    assert_eq!(files_call(&bundle, "mcp.roots.list", "{}"), "policy.no_grant");
    assert_eq!(files_call(&bundle, "delete_everything", path), "surface.unknown");
    assert_eq!(bundle.surfaces().surfaces.len(), 15);
}

/// The grants that the starter carries in comments work once the slashes are gone.
#[test]
fn the_starters_commented_grants_load_and_grant() {
    let mut files = bundles::starter();
    let text = String::from_utf8(files["policies/files.cedar"].clone()).unwrap();
    let (live, commented) = text.split_once("// Writes are not granted.").unwrap();
    let grants: Vec<_> = commented
        .lines()
        .skip(1)
        .map(|line| line.trim_start_matches("//"))
        .filter(|line| !line.contains("Lets the client"))
        .collect();
    files.insert("policies/files.cedar".into(), format!("{live}\n{}", grants.join("\n")).into_bytes());
    let bundle = bundle(files);
    let inside = r#"{"path":"/srv/project/a"}"#;
    assert_eq!(files_call(&bundle, "write_file", inside), "PERMIT assistant-writes");
    assert_eq!(files_call(&bundle, "write_file", r#"{"path":"/srv/a"}"#), "policy.no_grant");
    assert_eq!(
        files_call(&bundle, "write_file", r#"{"path":"/srv/project/.env"}"#),
        "policy.forbidden no-secrets"
    );
    let inside = r#"{"source":"/srv/project/a","destination":"/srv/project/b"}"#;
    assert_eq!(files_call(&bundle, "move_file", inside), "PERMIT assistant-moves");
    assert_eq!(files_call(&bundle, "mcp.roots.list", "{}"), "PERMIT assistant-roots");
}

/// As does the narrowing that the starter's first comment shows.
#[test]
fn the_starters_narrowed_read_grants_only_the_project() {
    let mut files = bundles::starter();
    let text = String::from_utf8(files["policies/files.cedar"].clone()).unwrap();
    let narrowed = text
        .replace("  action in Action::\"read\",\n  resource\n);", "  action in Action::\"read\",\n  resource\n)\nwhen { context has path && context.path like \"/srv/project/*\" };");
    assert_ne!(text, narrowed);
    files.insert("policies/files.cedar".into(), narrowed.into_bytes());
    let bundle = bundle(files);
    assert_eq!(files_call(&bundle, "read_file", r#"{"path":"/srv/project/a"}"#), "PERMIT assistant-reads");
    assert_eq!(files_call(&bundle, "read_file", r#"{"path":"/srv/other/a"}"#), "policy.no_grant");
}

#[test]
fn the_demo_bundle_decides_as_the_demo_tells() {
    let bundle = bundle(bundles::demo());
    let account = r#"{"account":"a-1"}"#;
    let charge = |amount: &str| format!(r#"{{"account":"a-1","amount":"{amount}"}}"#);
    assert_eq!(demo_call(&bundle, "demo-agent", "read_balance", account), "PERMIT demo-read");
    for amount in ["0.01", "12.50", "100.00"] {
        assert_eq!(
            demo_call(&bundle, "demo-agent", "charge", &charge(amount)),
            "PERMIT demo-small-charge",
            "{amount}"
        );
    }
    for amount in ["100.01", "99999999.00", "0.00", "-5.00"] {
        assert_eq!(
            demo_call(&bundle, "demo-agent", "charge", &charge(amount)),
            "policy.no_grant",
            "{amount}"
        );
    }
    assert_eq!(demo_call(&bundle, "demo-agent", "charge", &charge("100")), "surface.context");
    for agent in ["demo-agent", "stranger-agent"] {
        assert_eq!(bundle.knows_agent(&agent.parse().unwrap(), None), Some(true));
        assert_eq!(demo_call(&bundle, agent, "delete_account", account), "policy.forbidden demo-no-deletion");
    }
    assert_eq!(demo_call(&bundle, "stranger-agent", "read_balance", account), "policy.no_grant");
    assert_eq!(demo_call(&bundle, "stranger-agent", "charge", &charge("1.00")), "policy.no_grant");
    assert_eq!(demo_call(&bundle, "nobody", "read_balance", account), "policy.entity_unknown");

    let surfaces = &bundle.surfaces().surfaces;
    let terms = |name: &str| {
        let spec = &surfaces[&name.parse().unwrap()];
        (spec.tier, spec.idempotency, spec.permit_ttl_ms)
    };
    assert_eq!(terms("demo.read_balance"), (Tier::Read, Idempotency::None, 5_000));
    assert_eq!(terms("demo.charge"), (Tier::High, Idempotency::Key, 5_000));
    assert_eq!(terms("demo.delete_account"), (Tier::High, Idempotency::Key, 5_000));
}

/// Records name the engine; a replay by another version must be able to tell.
#[test]
fn the_engine_is_the_one_that_is_linked() {
    let lock = include_str!("../../../../Cargo.lock");
    let (_, after) = lock.split_once("name = \"cedar-policy\"\nversion = \"").unwrap();
    let version = after.split('"').next().unwrap();
    assert_eq!(engine(), format!("cedar-policy {version}"));
    assert_eq!(engine(), format!("cedar-policy {}", cedar_policy::get_sdk_version()));
}

/// The fuzz target of archives knows the demo's bundle as the only one that anybody signed. Where the bundle changes, so
/// must its seeds: the archive of the signed bundle, and its signature.
#[test]
fn the_seeds_of_fuzzing_are_of_the_demos_bundle() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let demo = Snapshot::from_files(bundles::demo()).unwrap();
    let archive = std::fs::read(seeds.join("archive/seed-01")).unwrap();
    assert_eq!(Snapshot::from_archive(&archive).unwrap().digest(), demo.digest());
    let signature = std::fs::read_to_string(seeds.join("bundle_signature/seed-00")).unwrap();
    assert!(signature.starts_with(&demo.statement().unwrap()), "{signature}");
}
