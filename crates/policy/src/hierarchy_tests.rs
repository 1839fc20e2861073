use std::sync::Arc;

use portcullis_protocol::ReasonCode;
use serde_json::json;

use super::*;
use crate::files::Files;
use crate::nesting::STACK;
use crate::testing::{edit, files, load};
use crate::{FactSnapshot, Given, Snapshot, Ungathered};

/// The work on a thread as a daemon's are. A stack that is used up ends the process.
fn on_a_daemons_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

fn code(files: Files) -> Option<ReasonCode> {
    on_a_daemons_stack(|| load(files).err().map(|error| error.code()))
}

/// The code of a check, which reads a bundle before anybody vouches for it.
fn diagnosed(files: Files) -> Vec<String> {
    on_a_daemons_stack(|| {
        let snapshot = Snapshot::from_files(files).unwrap();
        snapshot.diagnose().unwrap_err().into_iter().map(|found| found.message).collect()
    })
}

fn group(id: usize, parents: &[usize]) -> Value {
    let uid = |id: &usize| json!({ "type": "Group", "id": format!("g{id}") });
    json!({ "uid": uid(&id), "attrs": {}, "parents": parents.iter().map(uid).collect::<Vec<_>>() })
}

/// The valid bundle with groups in groups.
fn grouped(groups: impl IntoIterator<Item = Value>) -> Files {
    let mut files = edit(files(), "schema.cedarschema", "entity Group;", "entity Group in [Group];");
    let mut entities: Vec<Value> = serde_json::from_slice(&files["entities.json"]).unwrap();
    entities.extend(groups);
    files.insert("entities.json".into(), serde_json::to_vec(&entities).unwrap());
    files
}

/// So many groups, each in the next.
fn chain(length: usize) -> impl Iterator<Item = Value> {
    (0..length).map(move |id| group(id, &Vec::from_iter((id + 1 < length).then_some(id + 1))))
}

#[test]
fn a_chain_of_groups_ended_the_process() {
    assert_eq!(code(grouped(chain(MOST))), None);
    for length in [MOST + 1, 10_000] {
        assert_eq!(code(grouped(chain(length))), Some(ReasonCode::PolicyTooDeep), "{length}");
        let said = diagnosed(grouped(chain(length)));
        assert!(said.iter().any(|said| said.contains("more than 32 levels deep")), "{said:?}");
    }
}

#[test]
fn groups_in_a_circle_are_refused_before_anybody_follows_them() {
    for length in [1, 2, 10_000] {
        let circle = (0..length).map(|id| group(id, &[(id + 1) % length]));
        assert_eq!(code(grouped(circle)), Some(ReasonCode::PolicyCorrupt), "{length}");
    }
}

#[test]
fn a_short_text_named_more_ancestors_than_there_is_room_for() {
    // Each of many groups is in one that is in as many.
    let wide = |many: usize| {
        let hub = group(0, &(1..=many).collect::<Vec<_>>());
        let above = (1..=many).map(|id| group(id, &[]));
        let below = (1..=many).map(move |id| group(many + id, &[0]));
        [hub].into_iter().chain(above).chain(below).collect::<Vec<_>>()
    };
    assert_eq!(code(grouped(wide(100))), None);
    assert_eq!(code(grouped(wide(1_500))), Some(ReasonCode::PolicyTooDeep));
}

/// Documents of facts are signed by nobody. Whatever is wrong with them is `fact.unavailable` to a decision.
#[test]
fn facts_in_a_chain_across_documents_ended_the_process() {
    let sources =
        "[facts.a]\ntypes = [\"A\"]\nmax_age = \"10m\"\n\n[facts.b]\ntypes = [\"B\"]\nmax_age = \"10m\"\n";
    let files = edit(
        files(),
        "schema.cedarschema",
        "entity Group;",
        "entity A in [B];\nentity B in [A];\nentity Group;",
    );
    let files = edit(files, "bundle.toml", "[roster.people.ada]", &format!("{sources}\n[roster.people.ada]"));
    let of = |kind: &str, id: usize, parent: Option<(&str, usize)>| {
        let parents: Vec<_> =
            parent.iter().map(|(kind, id)| json!({ "type": kind, "id": format!("{id}") })).collect();
        json!({ "uid": { "type": kind, "id": format!("{id}") }, "attrs": {}, "parents": parents })
    };
    let document = |name: &str, entities: Vec<Value>| {
        let text = json!({ "v": 1, "as_of": "2026-01-31T12:00:00Z", "entities": entities }).to_string();
        (name.parse().unwrap(), Arc::new(FactSnapshot::parse(text.as_bytes()).unwrap()))
    };
    // Each document by itself has no more than two levels.
    let gathered = |length: usize| {
        let a = (0..length).map(|id| of("A", id, Some(("B", id)))).collect();
        let b = (0..length).map(|id| of("B", id, (id + 1 < length).then_some(("A", id + 1)))).collect();
        let given = Given::from([document("a", a), document("b", b)]);
        let files = files.clone();
        on_a_daemons_stack(move || load(files).unwrap().gather(&given, None).map(drop))
    };
    assert_eq!(gathered(MOST / 2), Ok(()));
    for length in [MOST / 2 + 1, 5_000] {
        let Err(Ungathered::Together(said)) = gathered(length) else { panic!("{length}") };
        assert!(said.contains("lies in one another more than 32 levels deep"), "{said}");
    }
}

fn with_schema(more: &str) -> Files {
    edit(files(), "schema.cedarschema", "entity Surface;", &format!("entity Surface;\n{more}"))
}

#[test]
fn actions_in_a_chain_ended_the_process() {
    let chain = |length: usize| {
        let one = |n: usize| format!("action \"a{n}\" in [\"a{}\"];\n", n + 1);
        (0..length - 1).map(one).collect::<String>() + &format!("action \"a{}\";", length - 1)
    };
    assert_eq!(code(with_schema(&chain(MOST))), None);
    assert_eq!(code(with_schema(&chain(MOST + 1))), Some(ReasonCode::PolicyTooDeep));
    assert_eq!(code(with_schema(&chain(5_000))), Some(ReasonCode::PolicyTooDeep));
    assert!(!diagnosed(with_schema(&chain(5_000))).is_empty());
    // From namespace to namespace, under one name.
    let spaces = |length: usize| {
        let one = |n: usize| format!("namespace N{n} {{ action \"a\" in [N{}::Action::\"a\"]; }}\n", n + 1);
        (0..length - 1).map(one).collect::<String>()
            + &format!("namespace N{} {{ action \"a\"; }}", length - 1)
    };
    assert_eq!(code(with_schema(&spaces(MOST))), None);
    assert_eq!(code(with_schema(&spaces(3_000))), Some(ReasonCode::PolicyTooDeep));
}

#[test]
fn entity_types_in_a_chain_or_a_circle_ended_the_process() {
    let chain = |length: usize| {
        let one = |n: usize| format!("entity T{n} in [T{}];\n", n + 1);
        (0..length - 1).map(one).collect::<String>() + &format!("entity T{};", length - 1)
    };
    assert_eq!(code(with_schema(&chain(MOST))), None);
    assert_eq!(code(with_schema(&chain(MOST + 1))), Some(ReasonCode::PolicyTooDeep));
    let circle = |length: usize| {
        (0..length).map(|n| format!("entity T{n} in [T{}];\n", (n + 1) % length)).collect::<String>()
    };
    // Types may lie in themselves.
    assert_eq!(code(with_schema(&circle(1))), None);
    assert_eq!(code(with_schema(&circle(MOST / 2))), None);
    assert_eq!(code(with_schema(&circle(10_000))), Some(ReasonCode::PolicyTooDeep));
    let spaces = |length: usize| {
        let one = |n: usize| format!("namespace N{n} {{ entity T in [N{}::T]; }}\n", n + 1);
        (0..length - 1).map(one).collect::<String>() + &format!("namespace N{} {{ entity T; }}", length - 1)
    };
    assert_eq!(code(with_schema(&spaces(MOST))), None);
    assert_eq!(code(with_schema(&spaces(5_000))), Some(ReasonCode::PolicyTooDeep));
}
