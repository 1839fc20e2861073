//! What is said of bundles without their deciding anything: what differs between two, and what is proved of one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use portcullis_policy::{
    Kind, Meaning, Proof, ProofReport, Prover, Rehearsal, Snapshot, SolverLimits, Tendency, bundles,
};
use portcullis_protocol::request::Ask;
use portcullis_protocol::{ReasonCode, Request, Verdict};

type Files = BTreeMap<String, Vec<u8>>;

/// A bundle, what it would say, and what is asked of it.
struct Asked {
    snapshot: Snapshot,
    content: Rehearsal,
}

impl Asked {
    /// `None` if the files do not load.
    fn of(files: &Files) -> Option<Self> {
        let snapshot = Snapshot::from_files(files.clone()).ok()?;
        let content = snapshot.rehearse().ok()?;
        Some(Self { snapshot, content })
    }

    fn verdicts(&self, requests: &[Request]) -> Vec<Verdict> {
        let content = self.content.content();
        let none = BTreeSet::new();
        requests.iter().map(|request| content.evaluate_informed(request, &none, None).verdict).collect()
    }
}

fn permits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Permit(_))
}

fn request(agent: &str, surface: &str, context: &str) -> Request {
    let ask = format!(
        r#"{{"surface":"{surface}","action":"{surface}","resource":{{"type":"Surface","id":"{surface}"}},"context":{{{context}}}}}"#
    );
    Ask::parse(ask.as_bytes()).expect("a request").by(agent.parse().expect("a name"))
}

static DEMO: LazyLock<Asked> = LazyLock::new(|| Asked::of(&bundles::demo()).expect("it loads"));

/// Of the demo's bundle, of both agents on every surface, some at the bounds of what is granted.
static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let mut requests = Vec::new();
    for agent in ["demo-agent", "stranger-agent"] {
        for surface in ["demo.read_balance", "demo.delete_account"] {
            requests.push(request(agent, surface, r#""account":"a""#));
        }
        for amount in ["-1.00", "0.00", "0.01", "100.00", "100.01"] {
            requests.push(request(agent, "demo.charge", &format!(r#""account":"a","amount":"{amount}""#)));
        }
    }
    requests
});

/// Any bytes as any file of a bundle (its path in the first line), held against the demo's bundle: whatever is permitted by one
/// and not by the other is told as a change that may permit more, what changed there changed back, and nothing changes from a
/// bundle to itself.
pub(crate) fn difference(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(path) = str::from_utf8(&data[..end]) else { return };
    let mut files = bundles::demo();
    files.insert(path.to_owned(), data[end + 1..].to_vec());
    let Some(other) = Asked::of(&files) else { return };
    let (there, back) = (told(&other, &DEMO), told(&DEMO, &other));
    assert_eq!(told(&other, &other), []);
    if other.snapshot.digest() == DEMO.snapshot.digest() {
        assert_eq!(there, []);
    }
    let named = |changes: &[Meaning]| -> BTreeSet<(String, String)> {
        changes.iter().map(|change| (change.part.clone(), change.name.clone())).collect()
    };
    assert_eq!(named(&there), named(&back), "{there:?}\n{back:?}");
    let (before, after) = (DEMO.verdicts(&REQUESTS), other.verdicts(&REQUESTS));
    let more = |old: &[Verdict], new: &[Verdict]| {
        old.iter().zip(new).any(|(old, new)| permits(new) && !permits(old))
    };
    let may = |changes: &[Meaning]| {
        changes.iter().any(|change| matches!(change.tendency, Tendency::MorePermissive | Tendency::Unknown))
    };
    assert!(!more(&before, &after) || may(&there), "more is permitted, and nothing says so: {there:?}");
    assert!(!more(&after, &before) || may(&back), "more is permitted, and nothing says so: {back:?}");
}

fn told(new: &Asked, old: &Asked) -> Vec<Meaning> {
    let changes = new.snapshot.meaning(&old.snapshot).expect("both load");
    assert!(changes.is_sorted());
    changes
}

/// Any bytes as invariants: whatever they say, they change no decision, and without a solver nothing of a bundle is proved.
pub(crate) fn invariant(data: &[u8]) {
    let mut files = bundles::demo();
    files.insert("invariants/main.cedar".to_owned(), data.to_vec());
    let Some(held) = Asked::of(&files) else { return };
    assert_eq!(held.verdicts(&REQUESTS), DEMO.verdicts(&REQUESTS));
    let report = proved(&held.snapshot, Path::new("/nonexistent/solver"));
    let checked = held.snapshot.check().expect("it loads");
    let stated = |kind: Kind| -> Vec<_> {
        let of = report.statements.iter().filter(|statement| statement.kind == kind);
        of.map(|statement| statement.id.clone()).collect()
    };
    assert_eq!((stated(Kind::Invariant), stated(Kind::NeverErrors)), (checked.invariants, checked.policies));
    assert!(report.statements.iter().all(|it| matches!(it.proof, Proof::NotProved { .. })), "{report:?}");
    assert!(report.statements.iter().all(|it| !it.sentence.contains(char::is_control)), "{report:?}");
    assert_eq!(
        (report.proved(), report.kept(), report.unproved().len()),
        (false, None, report.statements.len())
    );
}

fn proved(snapshot: &Snapshot, solver: &Path) -> ProofReport {
    let limits = SolverLimits { time: Duration::from_secs(1), ..SolverLimits::default() };
    let prover = Prover { solver, limits, stop: &AtomicBool::new(false), progress: &|_, _| {} };
    snapshot.prove(&prover).expect("it loads")
}

/// The solver that the tests take.
static SOLVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let given = std::env::var_os("CVC5").map(PathBuf::from);
    let folders = std::env::var_os("PATH").expect("a PATH");
    let found = std::env::split_paths(&folders).map(|folder| folder.join("cvc5")).find(|path| path.is_file());
    given.or(found).expect("cvc5 is needed: `cargo xtask test` installs it")
});

const MANIFEST: &str = r#"name = "fuzz"
version = 1
untested = true
valid_from = "2026-01-01T00:00:00Z"
valid_until = "2027-01-01T00:00:00Z"

[surfaces."a.b"]
tier = "read"
on_silence = "terminate"
permit_ttl = "5s"
context.n = { type = "integer", from = "/n" }
context.s = { type = "string", from = "/s", optional = true }
"#;
const SCHEMA: &str = r#"entity Group;
entity Agent in [Group] = { level: Long, of?: Agent };
entity Surface;
action "a.b" appliesTo { principal: Agent, resource: Surface, context: { n: Long, s?: String } };
"#;
const ENTITIES: &str = r#"[
  { "uid": { "type": "Agent", "id": "x" }, "attrs": { "level": 0 }, "parents": [{ "type": "Group", "id": "g" }] },
  { "uid": { "type": "Agent", "id": "y" },
    "attrs": { "level": 9007199254740991, "of": { "__entity": { "type": "Agent", "id": "x" } } }, "parents": [] },
  { "uid": { "type": "Group", "id": "g" }, "attrs": {}, "parents": [] }
]"#;

static SMALL: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let mut requests = Vec::new();
    for agent in ["x", "y"] {
        for n in [-9_007_199_254_740_991_i64, -1, 0, 1, 5, 9_007_199_254_740_991] {
            for s in ["", r#","s":"""#, r#","s":"a""#, r#","s":"admin""#] {
                requests.push(request(agent, "a.b", &format!(r#""n":{n}{s}"#)));
            }
        }
    }
    requests
});

/// A bundle with a grant under this condition, and `more`.
fn small(condition: &str, more: &[(&str, String)]) -> Option<Asked> {
    let grant = format!("@id(\"grant\")\npermit (principal, action, resource)\nwhen {{ {condition} }};\n");
    let mut files = Files::from(
        [
            ("bundle.toml", MANIFEST),
            ("schema.cedarschema", SCHEMA),
            ("entities.json", ENTITIES),
            ("policies/main.cedar", grant.as_str()),
        ]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())),
    );
    files.extend(more.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())));
    Asked::of(&files)
}

/// The first line as the condition of a grant, and the others as that of an invariant, with the real solver: what is proved never
/// to raise an error raises none for some requests that are known, and what is proved never to be granted is granted to none of
/// them: a `forbid` in its place would take nothing away.
pub(crate) fn prove(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((grant, never)) = text.split_once('\n') else { return };
    let forbid = format!("forbid (principal, action, resource)\nwhen {{ {never} }};\n");
    let stated = ("invariants/main.cedar", format!("@id(\"never\")\n@sentence(\"never\")\n{forbid}"));
    let Some(bundle) = small(grant, &[stated]) else { return };
    let report = proved(&bundle.snapshot, &SOLVER);
    assert!(report.solver.is_some(), "it is not believed: {report:?}");
    let holds = |kind: Kind| {
        let mut of = report.statements.iter().filter(|statement| statement.kind == kind);
        of.all(|statement| statement.proof == Proof::Proved)
    };
    let found = bundle.verdicts(&SMALL);
    let errs = found.iter().any(|verdict| verdict.reason() == Some(ReasonCode::PolicyEvaluationError));
    assert!(!(errs && holds(Kind::NeverErrors)), "{report:?}");
    let instead = small(grant, &[("policies/more.cedar", format!("@id(\"instead\")\n{forbid}"))]);
    if let (true, Some(instead)) = (holds(Kind::Invariant), instead) {
        let less =
            found.iter().zip(instead.verdicts(&SMALL)).any(|(now, then)| permits(now) && !permits(&then));
        assert!(!less, "{report:?}");
    }
}
