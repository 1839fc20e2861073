use portcullis_protocol::ReasonCode;

use super::*;
use crate::Snapshot;
use crate::nesting::STACK;
use crate::testing::{edit, files, load};

/// The text of the valid bundle's schema with more in it.
fn with(more: &str) -> String {
    let files = edit(files(), SCHEMA_FILE, "entity Surface;", &format!("entity Surface;\n{more}"));
    String::from_utf8(files[SCHEMA_FILE].clone()).unwrap()
}

/// What the schema is said to come to more than, by everybody who reads it, on a thread as a daemon's are.
fn refused(more: &str) -> Option<String> {
    let mut files = files();
    files.insert(SCHEMA_FILE.into(), with(more).into_bytes());
    let read = move || {
        let found = load(files.clone()).err();
        let told = Snapshot::from_files(files).unwrap().diagnose().err();
        let told = told.into_iter().flatten().map(|found| found.message).collect::<Vec<_>>().join("\n");
        (found.map(|found| (found.code(), found.to_string())), told)
    };
    let (found, told) = std::thread::Builder::new().stack_size(STACK).spawn(read).unwrap().join().unwrap();
    let (_, message) = found.filter(|(code, _)| *code == ReasonCode::PolicyTooDeep)?;
    let (_, what) = message.split_once("the schema comes to more than ")?;
    assert!(told.contains(what), "{told}");
    Some(what.to_owned())
}

/// Whether it is within the bounds, without anything being made of it.
fn fits(more: &str) -> bool {
    crate::schema::refuse_unbounded(&with(more)).is_ok()
}

fn names(count: usize, name: impl Fn(usize) -> String) -> String {
    (0..count).map(name).collect::<Vec<_>>().join(", ")
}

/// Each of many types lies in one that lies in as many.
fn hub(count: usize, declare: &str) -> String {
    let of = |letter: char| names(count, |n| format!("{letter}{n}"));
    format!("{declare} {};\n{declare} H in [{}];\n{declare} {} in [H];\n", of('U'), of('U'), of('D'))
}

#[test]
fn a_short_schema_named_more_pairs_of_types_or_actions_than_there_is_room_for() {
    for (declare, what) in [("entity", "ways from entity types"), ("action", "ways from actions")] {
        assert!(fits(&hub(300, declare)));
        for count in [320, 900] {
            assert!(refused(&hub(count, declare)).unwrap().contains(what), "{count} {declare}");
        }
    }
    // Through a circle, which actions do not have.
    let through = |count: usize| {
        let of = |letter: char| names(count, |n| format!("{letter}{n}"));
        format!(
            "entity {};\nentity H in [I, {}];\nentity I in [H];\nentity {} in [I];\n",
            of('U'),
            of('U'),
            of('D')
        )
    };
    assert!(fits(&through(200)));
    // What is within is made in bounded room.
    assert_eq!(refused(&hub(300, "entity")), None);
    assert!(refused(&through(320)).unwrap().contains("ways from entity types"));
}

#[test]
fn an_action_of_many_principals_and_resources_took_all_the_room_there_was() {
    let applying = |actions: usize, principals: usize, resources: usize| {
        format!(
            "entity {};\nentity {};\naction {} appliesTo {{ principal: [{}], resource: [{}] }};\n",
            names(principals, |n| format!("P{n}")),
            names(resources, |n| format!("R{n}")),
            names(actions, |n| format!("\"act{n}\"")),
            names(principals, |n| format!("P{n}")),
            names(resources, |n| format!("R{n}")),
        )
    };
    // The valid bundle's own actions have three.
    assert_eq!(refused(&applying(1, 98, 102)), None);
    assert_eq!(refused(&applying(99, 10, 10)), None);
    for (actions, principals, resources) in [(1, 100, 100), (100, 10, 10), (1, 900, 900)] {
        let said = refused(&applying(actions, principals, resources)).unwrap();
        assert!(said.contains("pairs of a principal and a resource"), "{said}");
    }
}

#[test]
fn types_of_types_that_have_names_were_followed_without_end() {
    let doubled = |levels: usize, wide: usize| {
        let types = (1..=levels).map(|level| {
            format!("type T{level} = {{ {} }};\n", names(wide, |n| format!("a{n}: T{}", level - 1)))
        });
        format!("type T0 = Long;\n{}entity E = {{ x: T{levels} }};\n", types.collect::<String>())
    };
    assert_eq!(refused(&doubled(3, 25)), None);
    assert_eq!(refused(&doubled(8, 3)), None);
    for (levels, wide) in [(3, 30), (9, 4), (10, 30)] {
        let said = refused(&doubled(levels, wide)).unwrap();
        assert!(said.contains("types within types"), "{said}");
    }
    // Named from everywhere a type can stand, and from another namespace.
    for place in [
        "entity E tags N::T2;",
        "entity E = { a?: Set<Set<N::T2>> };",
        "entity E enum [\"one\"]; type Own = { b: { c: N::T2 } };",
        "action \"a\" appliesTo { principal: Agent, resource: Agent, context: N::T2 };",
    ] {
        let types = (1..=2).map(|level| {
            format!("type T{level} = {{ {} }};\n", names(300, |n| format!("a{n}: T{}", level - 1)))
        });
        let space = |types: String| format!("namespace N {{ type T0 = Long;\n{types} }}\n{place}\n");
        let mut types: Vec<_> = types.collect();
        types[1] = format!("type T2 = {{ {} }};\n", names(90, |n| format!("a{n}: T1")));
        // It comes to most of the bound, and to more where it is written out once more.
        let said = refused(&space(types.concat())).unwrap_or_else(|| panic!("{place}"));
        assert!(said.contains("types within types"), "{said}");
        types[1] = format!("type T2 = {{ {} }};\n", names(70, |n| format!("a{n}: T1")));
        assert_eq!(refused(&space(types.concat())), None, "{place}");
    }
}

#[test]
fn what_is_declared_under_many_names_was_copied_for_each() {
    let members = |count: usize| names(count, |n| format!("a{n}: Long"));
    let entities = |count: usize, wide: usize| {
        format!("entity {} = {{ {} }};\n", names(count, |n| format!("E{n}")), members(wide))
    };
    assert_eq!(refused(&entities(50, 500)), None);
    let said = refused(&entities(1_000, 500)).unwrap();
    assert!(said.contains("words"), "{said}");
    let within = format!("namespace N {{ entity A = {{ {} }};\n {} }}\n", members(10), entities(1_000, 500));
    assert!(refused(&within).unwrap().contains("words"));
    let actions = |count: usize, wide: usize| {
        format!(
            "@doc(\"{}\") action {} appliesTo {{ principal: Agent, resource: Agent, context: {{ {} }} }};\n",
            "d".repeat(16 * wide),
            names(count, |n| format!("\"act{n}\"")),
            members(3)
        )
    };
    assert_eq!(refused(&actions(100, 800)), None);
    assert!(refused(&actions(100, 3_000)).unwrap().contains("words"));
}

#[test]
fn a_record_of_many_members_kept_the_parser_busy() {
    let record = |count: usize| format!("type Wide = {{ {} }};\n", names(count, |n| format!("a{n}: Long")));
    let choices = |count: usize| format!("entity E enum [{}];\n", names(count, |n| format!("\"c{n}\"")));
    assert_eq!(refused(&record(MOST_MEMBERS)), None);
    assert_eq!(refused(&choices(MOST_MEMBERS)), None);
    for more in [record(MOST_MEMBERS + 1), choices(MOST_MEMBERS + 1)] {
        assert!(refused(&more).unwrap().contains("members of one list or record"));
    }
    // In a namespace and after others, which are no members of anything.
    let many: String =
        (0..MOST_MEMBERS + 1).map(|n| format!("type T{n} = {{ a: Long, b: Long }};\n")).collect();
    assert_eq!(refused(&format!("namespace N {{ {many} }}")), None);
}

#[test]
fn a_schema_declares_no_more_than_it_may() {
    // The valid bundle's schema has four types and four actions.
    for (declare, what) in [("entity", "entity types"), ("action", "actions")] {
        let declared = |count: usize| (0..count).map(|n| format!("{declare} T{n};\n")).collect::<String>();
        assert!(fits(&declared(MOST_DECLARED - 4)));
        let said = refused(&declared(MOST_DECLARED - 3)).unwrap();
        assert!(said.ends_with(what), "{said}");
    }
    // One of them is the one that has no name.
    let spaces =
        |count: usize| (0..count).map(|n| format!("namespace N{n} {{ entity T; }}\n")).collect::<String>();
    assert!(fits(&spaces(MOST_SPACES - 1)));
    assert!(refused(&spaces(MOST_SPACES)).unwrap().ends_with("namespaces"));
}

fn words(text: &str) -> usize {
    let (mut words, mut depth) = (Words::default(), 0_usize);
    for token in Scan::new(text, true) {
        if matches!(token, Token::Open) {
            depth += 1;
        } else if matches!(token, Token::Close) {
            depth -= 1;
        }
        words.meet(&token, depth);
    }
    words.written_out()
}

#[test]
fn several_names_count_as_no_fewer_words_than_if_each_was_declared_by_itself() {
    let bodies = [
        "= { a: Long, b: { c?: Set<String>, d: Bool } }",
        "in [A, B, C] tags Set<Long>",
        "enum [\"x\", \"y\"]",
    ];
    for body in bodies {
        for count in [1, 2, 7, 40] {
            let own: String = (0..count).map(|n| format!("@a(\"b\") entity E{n} {body};\n")).collect();
            let together = format!("@a(\"b\") entity {} {body};\n", names(count, |n| format!("E{n}")));
            for (own, together) in [
                (own.clone(), together.clone()),
                (format!("namespace N {{ {own} }}"), format!("namespace N {{ {together} }}")),
            ] {
                let (own, together) = (words(&own), words(&together));
                assert!(own <= together, "{count} {body}: {together} for {own}");
                // A comma and two names more for each, and what opens the namespace.
                assert!(together <= own + 8 * count, "{count} {body}: {together} for {own}");
            }
        }
    }
}

#[test]
fn the_schema_of_a_server_with_hundreds_of_tools_is_well_within_the_bounds() {
    let tools: String = (0..400)
        .map(|n| {
            let context = names(30, |n| format!("\"argument_{n}\"?: Set<String>"));
            format!(
                "@doc(\"{}\")\naction \"server.tool_{n}\" in [\"read\", \"anything\"] appliesTo {{\n  principal: [Agent, Person],\n  \
                 resource: [Surface, Repository, Issue],\n  context: {{ {context}, labels: Set<String> }},\n}};\n",
                "What the tool does. ".repeat(20)
            )
        })
        .collect();
    let text = format!(
        "entity Agent, Person, Surface, Repository, Issue;\naction \"anything\";\naction \"read\" in [\"anything\"];\n{tools}"
    );
    assert!(words(&text) < MOST_WORDS, "{}", words(&text));
    crate::schema::refuse_unbounded(&text).unwrap();
}
