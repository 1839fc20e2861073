use portcullis_protocol::ReasonCode;
use serde_json::Value;

use super::*;
use crate::testing::{charge, edit, files, load, said};
use crate::{Snapshot, files::Files};

/// A condition of so many levels of one kind.
type Shape = (&'static str, fn(usize) -> String);

fn row(first: &str, joint: &str, count: usize) -> String {
    (0..count).fold(first.to_owned(), |text, _| text + joint)
}

fn around(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

const SHAPES: [Shape; 12] = [
    ("and", |n| row("context.count == 1", " && context.count == 1", n)),
    ("or", |n| row("context.count == 1", " || context.count == 1", n)),
    ("plus", |n| format!("{} > 0", row("context.count", " + 1", n))),
    ("minus", |n| format!("{} > 0", around("1 - (", "context.count", ")", n))),
    ("times", |n| format!("{} > 0", row("context.count", " * 1", n))),
    ("not", |n| around("!(", "context.count == 1", ")", n)),
    ("brackets", |n| around("(", "context.count == 1", ")", n)),
    ("set", |n| format!("{} == {}", around("[", "1", "]", n), around("[", "1", "]", n))),
    ("record", |n| format!("{} == {}", around("{a: ", "1", "}", n), around("{a: ", "1", "}", n))),
    ("if", |n| around("(if context.count == 1 then ", "true", " else false)", n)),
    ("else if", |n| format!("{}true", "if context.count == 1 then false else ".repeat(n))),
    ("compared", |n| around("(context.count == 1) == (", "true", ")", n)),
];

fn policy(condition: &str) -> String {
    format!(
        "@id(\"deep\")\nforbid (principal, action == Action::\"charge\", resource)\n\
         when {{ ({condition}) && context.count > 99 }};\n"
    )
}

fn bundle_with(policy: String) -> Files {
    let mut files = files();
    files.insert("policies/deep.cedar".into(), policy.into_bytes());
    files
}

/// How high Cedar's own tree of a policy's conditions is.
fn height(value: &Value) -> usize {
    match value {
        Value::Object(entries) => entries.values().map(height).max().map_or(0, |below| below + 1),
        Value::Array(items) => items.iter().map(height).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn measure(text: &str) -> usize {
    let mut levels = Levels::new(text, false);
    while let Some(token) = levels.scan.next() {
        levels.meet(&token);
    }
    assert!(levels.open.is_empty());
    levels.height()
}

/// The largest number of levels of a shape that is taken.
fn bound(shape: fn(usize) -> String) -> usize {
    let fits = |n: &usize| refuse_deep_policies("p", &policy(&shape(*n))).is_ok();
    let first = (1..4 * MOST).find(|n| !fits(n)).unwrap();
    assert!((first..first + 3).all(|n| !fits(&n)));
    first - 1
}

#[test]
fn what_is_measured_is_at_least_as_high_as_what_cedar_makes_of_it() {
    let more: [Shape; 5] = [
        ("members", |n| format!("{} == 1", row("context", ".a", n))),
        ("has", |n| format!("context has {}", row("a", ".a", n))),
        ("calls", |n| format!("{} == 1", row("context.a", ".contains(context.b[\"c\"])", n))),
        ("in", |n| around("principal in [", "resource", "]", n)),
        ("like", |n| around("!(", "context.a like \"(((((((\\\"*\"", ")", n)),
    ];
    for (name, shape) in SHAPES.into_iter().chain(more) {
        for n in [1, 2, 7, 30] {
            let text = policy(&shape(n));
            let set: cedar_policy::PolicySet =
                text.parse().unwrap_or_else(|error| panic!("{name} {n}: {error}"));
            let json = set.policies().next().unwrap().to_json().unwrap();
            // Each level of it is an object, and an operator's two sides are one more.
            let made = json["conditions"].as_array().unwrap().iter().map(height).max().unwrap() / 2;
            assert!(measure(&text) >= made, "{name} {n}: measured {}, made {made}", measure(&text));
            assert!(
                ["brackets", "has"].contains(&name) || measure(&text) <= 3 * made + 12,
                "{name} {n}: measured {}, made {made}",
                measure(&text)
            );
        }
    }
}

#[test]
fn rows_of_policies_and_long_lists_are_no_levels() {
    let many = policy("context.count == 1").repeat(1_000);
    assert!(measure(&many) < 20, "{}", measure(&many));
    let list = (0..1_000).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    assert!(measure(&policy(&format!("[{list}].contains(context.note)"))) < 20);
}

#[test]
fn what_quotes_and_comments_hide_is_no_level_and_hides_none() {
    let deep = "!(".repeat(MOST + 1);
    for hidden in [format!("// {deep}\n"), format!("\"{deep}\" == \"\\\"{deep}\" && ")] {
        let text = policy(&format!("{hidden} context.count == 1"));
        assert!(refuse_deep_policies("p", &text).is_ok(), "{hidden}");
    }
    // A comment ends where Cedar ends it.
    for shown in [format!("// x\r{deep}"), format!("\"\\\\\" == {deep}"), format!("\"//\" == {deep}")] {
        let refused = refuse_deep_policies("p", &policy(&shown)).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::PolicyTooDeep, "{shown}");
    }
    // What is never closed is read as far as it goes.
    let open = format!("permit (principal, action, resource) when {{ {}", row("a", " && a", MOST + 1));
    assert!(refuse_deep_policies("p", &open).is_err());
    assert!(refuse_deep_policies("p", &format!("{}(", row("a", " && a", MOST - 2))).is_ok());
}

#[test]
fn each_shape_is_refused_one_level_beyond_the_bound_wherever_it_is_read() {
    for (name, shape) in SHAPES {
        let most = bound(shape);
        assert!(most >= MOST / 4, "{name}: {most}");
        let deep = bundle_with(policy(&shape(most + 1)));
        let refused = load(deep.clone()).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::PolicyTooDeep, "{name}");
        let unsigned = Snapshot::from_files(deep).unwrap();
        assert_eq!(unsigned.check().map(drop).unwrap_err().code(), ReasonCode::PolicyTooDeep, "{name}");
        assert_eq!(unsigned.rehearse().map(drop).unwrap_err().code(), ReasonCode::PolicyTooDeep, "{name}");
        assert!(
            unsigned.diagnose().unwrap_err().iter().any(|found| found.message.contains("32 levels")),
            "{name}"
        );
    }
    let invariant = format!(
        "@id(\"i\") @sentence(\"s\") forbid (principal, action == Action::\"charge\", resource) when {{ {} }};",
        around("!(", "context.count == 1", ")", MOST)
    );
    let mut files = files();
    files.insert("invariants/deep.cedar".into(), invariant.into_bytes());
    assert_eq!(load(files).unwrap_err().code(), ReasonCode::PolicyTooDeep);
}

/// All that is done with a bundle while it decides, and by the commands that look at it.
fn used(files: Files) {
    let bundle = load(files.clone()).unwrap_or_else(|error| panic!("{error}"));
    let evaluation = bundle.evaluate(&charge("bot", "1.00"));
    assert_eq!(said(&evaluation), "PERMIT may-charge", "{evaluation:?}");
    let snapshot = Snapshot::from_files(files).unwrap();
    drop(snapshot.check().unwrap());
    let rehearsal = snapshot.rehearse().unwrap();
    drop(rehearsal.nearest(&charge("bot", "1000.00"), &BTreeSet::new(), None));
    drop(snapshot.diagnose().unwrap());
    drop((bundle, rehearsal));
}

/// On a thread with a stack of so many bytes. One that is used up ends the process.
fn on_a_stack_of(bytes: usize, work: impl FnOnce() + Send + 'static) {
    let (told, done) = std::sync::mpsc::channel();
    let wait = move || {
        work();
        told.send(()).unwrap();
        // A stack is used again for the next thread, which then has as much. This one is kept.
        loop {
            std::thread::park();
        }
    };
    drop(std::thread::Builder::new().stack_size(bytes).spawn(wait).unwrap());
    done.recv().expect("the work ends well");
}

// Without optimization, as here, Cedar takes several times as much of the stack for each level.

/// The command line's thread had 8 MiB and a daemon's have 2: what one took ended the other.
#[test]
fn a_bundle_that_a_command_took_could_end_the_daemon_by_its_nesting() {
    for (name, shape) in SHAPES {
        let files = bundle_with(policy(&shape(bound(shape))));
        let name = name.to_owned();
        on_a_stack_of(STACK, move || {
            eprintln!("{name}");
            used(files);
        });
    }
}

fn typed(more: &str) -> Files {
    edit(files(), "schema.cedarschema", "entity Surface", &format!("{more}\nentity Surface"))
}

#[test]
fn types_of_a_schema_are_bounded_by_themselves_and_by_what_they_call() {
    let nested = |n: usize| format!("type Deep = {};", around("Set<", "Long", ">", n));
    let named = |n: usize| {
        let one = |n: usize| format!("type T{n} = {{ a: T{}, b?: Set<T{}> }};", n + 1, n + 1);
        format!("{}type T{n} = Long;", (0..n).map(one).collect::<String>())
    };
    let fits = |text: &str| refuse_deep_schema("s", text).is_ok();
    let kinds: [fn(usize) -> String; 2] = [nested, named];
    for kind in kinds {
        let whole = |n: usize| String::from_utf8(typed(&kind(n))["schema.cedarschema"].clone()).unwrap();
        let most = (1..2 * MOST).find(|n| !fits(&whole(*n))).unwrap() - 1;
        assert!(most >= MOST / 4, "{most}");
        let refused = load(typed(&kind(most + 1))).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::PolicyTooDeep);
        let files = typed(&kind(most));
        on_a_stack_of(STACK, move || used(files));
    }
    // In circles, which Cedar refuses, nothing is followed without end.
    let circle: String = (0..60)
        .map(|n| {
            let calls: Vec<_> = (0..60).map(|m| format!("a{m}: T{m}")).collect();
            format!("type T{n} = {{ {} }};", calls.join(", "))
        })
        .collect();
    assert!(!fits(&circle));
    // Many types are not deep ones.
    assert!(fits(
        &(0..500).map(|n| format!("type T{n} = {{ type: Long, b: Set<String> }};")).collect::<String>()
    ));
}
