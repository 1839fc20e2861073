//! With the real cvc5 (`CVC5`, else in the PATH), and with programs that only look like it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::testing::{edit, files, with, with_policies};
use crate::{Fault, Snapshot};

/// The real solver.
pub(crate) fn cvc5() -> PathBuf {
    let given = std::env::var_os("CVC5").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&folders).map(|folder| folder.join("cvc5")).find(|path| path.is_file());
    given.or(found).expect("cvc5 is needed: `cargo xtask test` installs it")
}

pub(crate) fn proved_by(solver: &Path, files: crate::files::Files) -> ProofReport {
    let limits = SolverLimits { time: Duration::from_secs(20), ..SolverLimits::default() };
    proved_within(solver, files, limits, &AtomicBool::new(false))
}

fn proved_within(
    solver: &Path,
    files: crate::files::Files,
    limits: SolverLimits,
    stop: &AtomicBool,
) -> ProofReport {
    let prover = Prover { solver, limits, stop, progress: &|_, _| {} };
    Snapshot::from_files(files).unwrap().prove(&prover).unwrap()
}

fn with_invariants(mut files: crate::files::Files, text: &str) -> crate::files::Files {
    files.insert("invariants/main.cedar".to_owned(), text.as_bytes().to_vec());
    files
}

fn statement<'a>(report: &'a ProofReport, id: &str) -> &'a Proof {
    &report.statements.iter().find(|statement| statement.id.as_str() == id).unwrap().proof
}

const NO_SUSPENDED: &str = r#"
@id("nobody-suspended")
@sentence("Who is suspended is never permitted anything.")
forbid (principal in Group::"suspended", action, resource);
"#;

#[test]
fn a_bundle_is_proved() {
    let report = proved_by(&cvc5(), with_invariants(files(), NO_SUSPENDED));
    assert!(report.proved(), "{report:#?}");
    assert_eq!(report.statements.len(), 4);
    assert_eq!(report.environments.len(), 3);
    assert!(report.solver.as_deref().unwrap().starts_with("cvc5 version "));
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn what_is_proved_names_the_versions_that_are_built_in() {
    let lock = include_str!("../../../Cargo.lock");
    for named in [engine(), symbolic_compiler()] {
        let (name, version) = named.split_once(' ').unwrap();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{named}");
    }
}

#[test]
fn an_overflow_is_shown_by_a_request() {
    let policies = r#"@id("sum") permit (principal, action == Action::"charge", resource)
        when { context.count + 1 > 0 };"#;
    let report = proved_by(&cvc5(), with_policies(policies));
    let Proof::Refuted { environment, counterexample } = statement(&report, "sum") else {
        panic!("{report:#?}")
    };
    assert_eq!(environment, "Agent, Action::\"charge\", Account");
    assert_eq!(counterexample.context["count"], serde_json::json!(i64::MAX));
    assert!(!report.proved());
}

#[test]
fn a_broken_invariant_is_shown_by_a_request_and_entities() {
    let files = with(
        "policies/main.cedar",
        "Group::\"suspended\", action,",
        "Group::\"suspended\", action == Action::\"charge\",",
    );
    let report = proved_by(&cvc5(), with_invariants(files, NO_SUSPENDED));
    let Proof::Refuted { environment, counterexample } = statement(&report, "nobody-suspended") else {
        panic!("{report:#?}")
    };
    assert_eq!(environment, "Agent, Action::\"fs.read\", Surface");
    assert!(counterexample.context["path"].as_str().unwrap().starts_with("/safe/"));
    let text = counterexample.entities.to_string();
    assert!(text.contains("suspended"), "{text}");
}

/// For whom an agent acts is an entity to the solver too, with its groups.
#[test]
fn what_holds_of_whom_agents_act_for_is_proved_and_what_does_not_is_shown() {
    let invariant = r#"@id("for-finance") @sentence("Nobody charges but for one of finance.")
        forbid (principal, action == Action::"charge", resource)
        unless { context has acts_for && context.acts_for in Group::"finance" };"#;
    let bundle = with_invariants(crate::principals::tests::delegated(), invariant);
    let report = proved_by(&cvc5(), bundle.clone());
    assert!(report.proved(), "{report:#?}");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let only = "{ context has acts_for && context.acts_for in Group::\"finance\" }";
    let also = "{ !(context has acts_for && !(context.acts_for in Group::\"finance\")) }";
    let loose = edit(bundle, "policies/main.cedar", only, also);
    let report = proved_by(&cvc5(), loose);
    assert_eq!(statement(&report, "may-charge"), &Proof::Proved);
    let Proof::Refuted { counterexample, .. } = statement(&report, "for-finance") else {
        panic!("{report:#?}")
    };
    assert_eq!(counterexample.context.get("acts_for"), None);
}

#[test]
fn an_invariant_may_say_what_is_always_granted() {
    let always = |amount: &str| {
        format!(
            "@id(\"small\") @sentence(\"Small charges are never refused.\")
            permit (principal, action == Action::\"charge\", resource)
            when {{ context.amount.lessThan(decimal(\"{amount}\")) }} unless {{ principal in Group::\"suspended\" }};"
        )
    };
    assert!(proved_by(&cvc5(), with_invariants(files(), &always("100.00"))).proved());
    let report = proved_by(&cvc5(), with_invariants(files(), &always("100.02")));
    assert!(matches!(statement(&report, "small"), Proof::Refuted { .. }), "{report:#?}");
}

#[test]
fn an_invariant_that_is_about_nothing_is_not_proved() {
    let nothing = "@id(\"vain\") @sentence(\"It says nothing.\")
        forbid (principal, action == Action::\"charge\", resource)
        when { context.count > 5 && context.count < 5 };";
    let report = proved_by(&cvc5(), with_invariants(files(), nothing));
    let Proof::NotProved { cause } = statement(&report, "vain") else { panic!("{report:#?}") };
    assert!(cause.contains("no request is known that it is about"), "{cause}");
    assert!(!report.proved());
}

/// Where its condition overflows it matched nothing, and "never" was proved of what the policies grant there.
#[test]
fn an_invariant_that_overflows_was_proved_of_the_largest_amounts() {
    let never = "@id(\"never-much\") @sentence(\"Nothing above a million.\")
        forbid (principal, action == Action::\"charge\", resource)
        when { context.count * 100 > 100000000 };";
    let policies = r#"@id("sum") permit (principal, action == Action::"charge", resource)
        when { context.count <= 1000000 || context.count > 9000000000000000000 };"#;
    let report = proved_by(&cvc5(), with_invariants(with_policies(policies), never));
    let Proof::NotProved { cause } = statement(&report, "never-much") else { panic!("{report:#?}") };
    assert!(cause.contains("its own condition can raise an error"), "{cause}");
    assert!(!report.proved());
}

#[test]
fn policies_that_do_nothing_are_found() {
    let policies = r#"
        @id("a-grant") permit (principal, action == Action::"charge", resource) when { context.count > 5 };
        @id("b-narrower") permit (principal, action == Action::"charge", resource) when { context.count > 9 };
        @id("c-never") forbid (principal, action == Action::"charge", resource)
            when { context.count > 9 && context.count < 9 };
        @id("d-refund") permit (principal, action == Action::"refund", resource) when { context.count == 7 };
        @id("e-no-refund") forbid (principal, action == Action::"refund", resource) when { context.count > 0 };
    "#;
    let report = proved_by(&cvc5(), with_policies(policies));
    let found: Vec<_> = report.findings.iter().map(|found| (found.policy.as_str(), &found.oddity)).collect();
    let expected = [
        ("b-narrower", &Oddity::Redundant),
        ("c-never", &Oddity::NeverApplies),
        ("d-refund", &Oddity::NeverGrants),
    ];
    assert_eq!(found, expected, "{report:#?}");
    assert!(report.proved(), "what is odd may be meant");
}

#[test]
fn invariants_are_under_the_digest_and_read_like_policies() {
    let plain = Snapshot::from_files(files()).unwrap().digest();
    let invariant = Snapshot::from_files(with_invariants(files(), NO_SUSPENDED)).unwrap();
    assert_ne!(plain, invariant.digest());
    assert_eq!(invariant.check().unwrap().invariants, ["nobody-suspended".parse().unwrap()]);
    let fault = |text: &str| crate::testing::fault(with_invariants(files(), text));
    let permit = "permit (principal, action, resource);";
    assert_eq!(fault(permit), Fault::PolicyUnnamed);
    assert!(matches!(fault(&format!("@id(\"a\") {permit}")), Fault::InvariantUnsaid { .. }));
    assert!(matches!(fault(&format!("@id(\"a\") @sentence(\" \") {permit}")), Fault::InvariantUnsaid { .. }));
    let annotated = format!("@id(\"a\") @sentence(\"b\") @c(\"d\") {permit}");
    assert!(matches!(fault(&annotated), Fault::InvariantAnnotation { .. }));
    let typo = NO_SUSPENDED.replace("\"suspended\"", "\"suspendet\"");
    assert!(matches!(fault(&typo), Fault::EntityAbsent { .. }));
    let untyped =
        "@id(\"a\") @sentence(\"b\") forbid (principal, action, resource) when { context.cuont > 1 };";
    assert!(matches!(fault(untyped), Fault::Validation { .. }));
    let twice = format!("{NO_SUSPENDED}{NO_SUSPENDED}");
    assert!(matches!(fault(&twice), Fault::PolicyTwice { .. }));
    let elsewhere = edit(with_invariants(files(), NO_SUSPENDED), "invariants/main.cedar", "forbid", "?");
    assert!(matches!(crate::testing::fault(elsewhere), Fault::Policy { .. }));
}

/// A program that is cvc5 when asked who it is and what is known, and does `otherwise` with a real question, which is
/// in `$q`.
fn fake(folder: &Path, otherwise: &str) -> PathBuf {
    let path = folder.join("solver");
    let real = cvc5();
    let real = real.display();
    let known = "*'declare-const x (_ BitVec 64)'*";
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version) exec {real} --version;; esac\nq=$(cat)\ncase \"$q\" in {known}) printf '%s\\n' \"$q\" | {real} \"$@\"; exit;; esac\n{otherwise}\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A bundle of which every statement takes a question.
fn asking() -> crate::files::Files {
    with_policies(
        r#"@id("sum") permit (principal, action == Action::"charge", resource)
            when { context.count < 5 && context.count + 1 > 0 && context has note && context.note like "a*" };"#,
    )
}

#[test]
fn a_question_takes_the_solver_and_gets_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let real = cvc5();
    let through = fake(folder.path(), &format!("printf '%s\\n' \"$q\" | {} \"$@\"", real.display()));
    let report = proved_by(&through, asking());
    assert!(matches!(statement(&report, "sum"), Proof::Refuted { .. } | Proof::Proved), "{report:#?}");
}

#[test]
fn a_solver_that_does_not_answer_proves_nothing() {
    let answers = [
        ("unknown", "echo unknown", "does not know"),
        ("nothing", "exit 0", "answer is none"),
        ("garbage", "echo unsatisfiable", "answer is none"),
        ("two words", "echo unsat; echo unsat", "answer is none"),
        ("words after", "echo unsat and so on", "answer is none"),
        ("an error", "echo '(error \"Parse Error: x\")'; exit 1", "Parse Error: x"),
        ("a failure", "echo unsat; exit 1", "ended with an error"),
        ("a crash", "echo unsat; kill -SEGV $$", "ended with an error"),
        ("not text", "printf 'unsat\\377'", "cannot be read"),
        ("no model", "echo sat", "no example"),
        ("no such model", "printf 'sat\\n(\\n(define-fun t9 () Bool true)\\n)\\n'", ""),
        (
            "another model",
            "case \"$q\" in *get-model*) echo unsat;; *) echo sat;; esac",
            "contradicts itself",
        ),
        ("no end of output", "yes unsat", "stop printing"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, otherwise, words) in answers {
        let report = proved_by(&fake(folder.path(), otherwise), asking());
        let Proof::NotProved { cause } = statement(&report, "sum") else { panic!("{name}: {report:#?}") };
        assert!(cause.contains(words), "{name}: {cause}");
        assert!(!report.proved(), "{name}");
        let undetermined = |found: &Finding| matches!(found.oddity, Oddity::Undetermined { .. });
        assert!(report.findings.iter().all(undetermined), "{name}: {report:#?}");
    }
}

/// A model of no question at all: what makes questions of policies holds it against the one that it has put.
#[test]
fn a_model_of_another_question_was_shown_as_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let other = format!("printf '%s\\n' \"$q\" | grep -v '^(assert ' | {} \"$@\"", cvc5().display());
    let report = proved_by(&fake(folder.path(), &other), asking());
    let Proof::NotProved { cause } = statement(&report, "sum") else { panic!("{report:#?}") };
    assert!(cause.contains("model is invalid"), "{cause}");
}

#[test]
fn a_bundle_that_is_not_proved_was_kept_as_proved() {
    let sum = "@id(\"sum\") permit (principal, action == Action::\"charge\", resource) when { context.count + 1 > 0 };";
    let refuted = proved_by(&cvc5(), with_policies(sum));
    assert!(refuted.solver.is_some() && !refuted.proved(), "{refuted:#?}");
    assert_eq!(refuted.kept(), None);
    let folder = tempfile::tempdir().unwrap();
    let unknown = proved_by(&fake(folder.path(), "echo unknown"), asking());
    assert_eq!(unknown.kept(), None);
    assert!(proved_by(&cvc5(), with_invariants(files(), NO_SUSPENDED)).kept().is_some());
}

#[test]
fn a_solver_without_end_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let otherwise = format!("sleep 600 & echo $! $$ >> {}; wait", pids.display());
    let solver = fake(folder.path(), &otherwise);
    let limits = SolverLimits { time: Duration::from_millis(700), ..SolverLimits::default() };
    let report = proved_within(&solver, asking(), limits, &AtomicBool::new(false));
    let Proof::NotProved { cause } = statement(&report, "sum") else { panic!("{report:#?}") };
    assert!(cause.contains("longer than 0.7 s"), "{cause}");
    all_are_gone(&pids);
}

#[test]
fn a_solver_that_answers_and_stays_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let otherwise = format!("echo $$ >> {}; echo unsat; exec >&- 2>&-; sleep 600", pids.display());
    let limits = SolverLimits { time: Duration::from_millis(700), ..SolverLimits::default() };
    let report = proved_within(&fake(folder.path(), &otherwise), asking(), limits, &AtomicBool::new(false));
    let Proof::NotProved { cause } = statement(&report, "sum") else { panic!("{report:#?}") };
    assert!(cause.contains("does not end"), "{cause}");
    all_are_gone(&pids);
}

#[track_caller]
fn all_are_gone(pids: &Path) {
    let pids = std::fs::read_to_string(pids).unwrap();
    assert!(!pids.trim().is_empty());
    for pid in pids.split_whitespace() {
        // A killed process ends in its own time, and is a zombie until its parent has looked.
        let began = std::time::Instant::now();
        let is_there = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|state| !state.contains(") Z "))
        };
        while is_there() {
            assert!(began.elapsed() < Duration::from_secs(20), "{pid} is still there");
            std::thread::yield_now();
        }
    }
}

#[test]
fn who_stops_the_work_has_proved_nothing_and_waits_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (pids, stop) = (folder.path().join("pids"), AtomicBool::new(false));
    let otherwise = format!("echo $$ >> {}; sleep 600", pids.display());
    let solver = fake(folder.path(), &otherwise);
    let limits = SolverLimits { time: Duration::from_secs(600), ..SolverLimits::default() };
    let report = std::thread::scope(|scope| {
        let work = scope.spawn(|| proved_within(&solver, asking(), limits, &stop));
        while !pids.exists() {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        work.join().unwrap()
    });
    let Proof::NotProved { cause } = statement(&report, "sum") else { panic!("{report:#?}") };
    assert!(cause.contains("stopped"), "{cause}");
    all_are_gone(&pids);
}

#[test]
fn a_solver_is_bounded_before_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = folder.path().join("bounds");
    let otherwise =
        format!("{{ ulimit -v; ulimit -t; ulimit -c; env; }} > {}; echo unknown", bounds.display());
    let limits = SolverLimits { time: Duration::from_secs(9), memory: 1 << 30 };
    proved_within(&fake(folder.path(), &otherwise), asking(), limits, &AtomicBool::new(false));
    let bounds = std::fs::read_to_string(bounds).unwrap();
    let lines: Vec<_> = bounds.lines().filter(|line| !line.contains('=')).collect();
    assert_eq!(lines, ["1048576", "11", "0"]);
    assert!(!bounds.contains("HOME="), "nothing of our environment: {bounds}");
}

#[test]
fn without_a_solver_to_believe_nothing_is_proved() {
    let folder = tempfile::tempdir().unwrap();
    // The real one, and somebody else could put another into its place.
    let exposed = folder.path().join("exposed");
    std::fs::write(&exposed, format!("#!/bin/sh\nexec {} \"$@\"\n", cvc5().display())).unwrap();
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o775)).unwrap();
    let programs = [
        (folder.path().join("none"), "cannot be looked at"),
        (exposed, "may be written by others"),
        (PathBuf::from("/bin/true"), "does not say that it is cvc5"),
        (PathBuf::from("/bin/cat"), ""),
        // It knew the two questions by heart that were asked once.
        (always(folder.path(), "$(grep -q bvadd && echo sat || echo unsat)"), "wrong about what is known"),
        (always(folder.path(), "unsat"), "wrong about what is known"),
        (always(folder.path(), "sat"), "wrong about what is known"),
        (always(folder.path(), "unknown"), "wrong about what is known"),
    ];
    for (program, words) in programs {
        let report = proved_by(&program, with_invariants(files(), NO_SUSPENDED));
        assert_eq!(report.solver, None);
        assert_eq!(report.statements.len(), 4);
        for statement in &report.statements {
            let Proof::NotProved { cause } = &statement.proof else { panic!("{statement:?}") };
            assert!(cause.contains(words), "{cause}");
        }
        assert!(!report.proved());
    }
}

fn always(folder: &Path, word: &str) -> PathBuf {
    let path = folder.join(format!("always-{}", word.len()));
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && exec {} --version\necho {word}\n", cvc5().display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_bundle_without_policies_is_proved_to_say_nothing_wrong() {
    let report = proved_by(&cvc5(), with_policies(""));
    assert!(report.proved() && report.statements.is_empty());
    let report = proved_by(Path::new("/nowhere/cvc5"), with_policies(""));
    assert!(!report.proved(), "nobody was asked");
}

/// What grants ask for is the union over all that are fulfilled, so one that asks is enough, and one that does not takes
/// nothing away.
#[test]
fn an_invariant_may_be_about_grants_that_ask_for_nothing() {
    let small = "@id(\"small\") permit (principal, action == Action::\"charge\", resource) when { context.count <= 10 };";
    let broad = "@id(\"broad\") permit (principal, action == Action::\"charge\", resource);";
    let narrow = "@id(\"narrow\") permit (principal, action == Action::\"charge\", resource) when { context.count == 11 };";
    let asks = [
        ("approval_roles", "@approval_roles(\"finance\") @approval_quorum(\"1\") @approval_lifetime(\"1h\")"),
        ("identity_within", "@identity_within(\"5m\")"),
        ("witnessed", "@witnessed"),
    ];
    for (unless, asks) in asks {
        let large = format!(
            "@id(\"large\") @sentence(\"Large charges need it.\") @unless(\"{unless}\")
            forbid (principal, action == Action::\"charge\", resource) when {{ context.count > 10 }};"
        );
        let asking = |asks: &str| {
            format!(
                "@id(\"asks\") {asks}
                permit (principal, action == Action::\"charge\", resource) when {{ context.count > 10 }};"
            )
        };
        let prove = |policies: &[&str]| {
            let report = proved_by(&cvc5(), with_invariants(with_policies(&policies.concat()), &large));
            statement(&report, "large").clone()
        };
        assert_eq!(prove(&[&asking(asks), small]), Proof::Proved, "{unless}");
        assert_eq!(prove(&[&asking(asks), broad]), Proof::Proved, "the broad one does not drop {unless}");
        let other = if unless == "witnessed" { "@identity_within(\"5m\")" } else { "@witnessed" };
        for policies in [&[small, narrow][..], &[broad], &[&asking(other)]] {
            assert!(matches!(prove(policies), Proof::Refuted { .. }), "{unless}: {policies:?}");
        }
    }
}

#[test]
fn an_invariants_exception_names_what_a_grant_can_ask_for() {
    let fault = |text: &str| crate::testing::fault(with_invariants(files(), text));
    let unless = |what: &str, effect: &str| {
        format!("@id(\"a\") @sentence(\"b\") @unless(\"{what}\") {effect} (principal, action, resource);")
    };
    assert!(matches!(fault(&unless("approval", "forbid")), Fault::InvariantUnless { .. }));
    assert!(matches!(fault(&unless("witnessed", "permit")), Fault::InvariantUnless { .. }));
}

/// The group had a name and no guard: whoever added an action to it had to think of an invariant, too.
#[test]
fn what_was_added_to_the_support_desks_roads_out_was_proved_to_be_none() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support");
    let files = Snapshot::read(&dir).unwrap().files;
    let surface = "[surfaces.\"support.post\"]\ntier = \"high\"\non_silence = \"terminate\"\nidempotency = \"none\"\n\
                   permit_ttl = \"5s\"\ncontext.text = { type = \"string\", from = \"/text\" }\n\n[surfaces.\"support.fetch\"]";
    let declared = "action \"speaks_outside\";\naction \"support.post\" in [\"speaks_outside\"]\n\
                    appliesTo { principal: Agent, resource: Surface, context: { text: String } };";
    let files = edit(files, "bundle.toml", "[surfaces.\"support.fetch\"]", surface);
    let files = edit(files, "schema.cedarschema", "action \"speaks_outside\";", declared);
    let granted = |annotation: &str| {
        let grant = format!(
            "@id(\"posts\") {annotation} permit (principal in Group::\"desk\", action == Action::\"support.post\", resource);\n\n@id(\"mail\")"
        );
        proved_by(&cvc5(), edit(files.clone(), "policies/support.cedar", "@id(\"mail\")", &grant))
    };
    let read = granted("@approval_roles(\"desk-lead\") @approval_quorum(\"1\") @approval_lifetime(\"1h\")");
    assert!(read.proved(), "{read:#?}");
    let report = granted("");
    let Proof::Refuted { environment, .. } = statement(&report, "nothing-speaks-outside-unread") else {
        panic!("{report:#?}")
    };
    assert_eq!(environment, "Agent, Action::\"support.post\", Surface");
}

#[test]
fn the_worked_bundles_are_proved_to_hold_their_invariants() {
    for name in ["payments", "infra", "support", "secrets"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
        let (solver, stop) = (cvc5(), AtomicBool::new(false));
        let limits = SolverLimits::default();
        let prover = Prover { solver: &solver, limits, stop: &stop, progress: &|_, _| {} };
        let report = Snapshot::read(&dir).unwrap().prove(&prover).unwrap();
        assert!(report.proved(), "{name}: {report:#?}");
        let invariants = report.statements.iter().filter(|statement| statement.kind == Kind::Invariant);
        assert!(invariants.count() >= 5, "{name}");
        let odd: Vec<_> =
            report.findings.iter().map(|found| (found.policy.as_str(), &found.oddity)).collect();
        // It says on purpose what the grants say already: its README tells why.
        let meant: &[_] = if name == "payments" { &[("finance-only", &Oddity::Redundant)] } else { &[] };
        assert_eq!(odd, meant, "{name}");
    }
}
