//! A tool's schema, and arguments that are held against it.

use std::collections::BTreeSet;

use portcullis_protocol::{ContextKind, Exact, Fit, OutputSchema, ToolDefinition, ToolSchema};

/// Where more keys can be declared than by name.
const OPEN: [&str; 2] = ["additionalProperties", "patternProperties"];
/// A key that no schema of a corpus has.
const STRANGE: &str = "\u{1}strange";

/// A schema on the first line, arguments behind it. Whatever both are, it ends with an answer; what fits has no key that is nowhere
/// declared, fits however it is laid out, and is where and of what type the schema was said to let it be.
pub(crate) fn fit(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((schema, arguments)) = text.split_once('\n') else { return };
    let Ok(written) = Exact::parse(schema.as_bytes()) else { return };
    let definition = format!("{{\"name\":\"t\",\"inputSchema\":{}}}", written.to_canonical());
    let Ok(definition) = ToolDefinition::parse(definition.as_bytes()) else { return };
    let Ok(compiled) = ToolSchema::of(&definition) else { return };
    let Ok(read) = Exact::parse(arguments.as_bytes()) else { return };
    let found = compiled.check(&read);
    assert_eq!(compiled.check_text(&read.to_pretty()), found);
    assert_eq!(found.told().is_none(), found == Fit::Fits);
    if found != Fit::Fits {
        return;
    }
    let Exact::Object(members) = &read else { panic!("arguments are an object") };
    let mut declared = BTreeSet::new();
    let is_open = declares(&written, &mut declared);
    assert!(is_open || members.keys().all(|key| declared.contains(key)), "a key that nothing declares");
    if !is_open {
        let mut more = members.clone();
        more.insert(STRANGE.to_owned(), Exact::Null);
        assert_ne!(compiled.check(&Exact::Object(more)), Fit::Fits, "a strange key");
    }
    for (key, value) in members {
        let place = compiled.at(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
        assert!(place.possible, "what cannot be was there");
        let kind = match value {
            Exact::Str(_) => ContextKind::String,
            Exact::Bool(_) => ContextKind::Boolean,
            Exact::Number(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => ContextKind::Integer,
            _ => continue,
        };
        assert!(place.can_be(kind), "{kind:?} was not to be there");
    }
}

/// A schema of results. Whatever it is, the making of a smallest one ends, and what is made is one, however it is laid out.
pub(crate) fn output(data: &[u8]) {
    let Ok(written) = Exact::parse(data) else { return };
    let definition = format!("{{\"name\":\"t\",\"outputSchema\":{}}}", written.to_canonical());
    let Ok(definition) = ToolDefinition::parse(definition.as_bytes()) else { return };
    let Some(Ok(schema)) = OutputSchema::of(&definition) else { return };
    let Some(made) = schema.smallest() else { return };
    assert!(schema.holds(&made), "what was made is no result: {}", made.to_canonical());
    let read = Exact::parse(made.to_pretty().as_bytes()).expect("what was made is JSON");
    assert_eq!(read, made);
    assert_eq!(schema.smallest(), Some(made), "made again, it is another one");
}

/// Every name in any `properties`, wherever; and whether keys can be declared otherwise.
fn declares(schema: &Exact, names: &mut BTreeSet<String>) -> bool {
    match schema {
        Exact::Object(members) => {
            if let Some(Exact::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
            }
            let open = OPEN.iter().any(|keyword| members.contains_key(*keyword));
            members.values().fold(open, |open, inner| declares(inner, names) || open)
        }
        Exact::Array(items) => items.iter().fold(false, |open, inner| declares(inner, names) || open),
        _ => false,
    }
}
