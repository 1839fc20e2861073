//! What a tool server says of its tools.

use std::collections::BTreeMap;

use portcullis_policy::{PinnedTools, Snapshot, bundles};
use portcullis_protocol::{Exact, ToolDefinition, ToolSeen};

use crate::lookalike::{Entry, are_alike, oddities, seen, visible};
use crate::page::Page;
use crate::reference::Json;

/// A definition is all that another parser finds in it, its digest is of that and of nothing else, and what a bundle pins of it
/// is the same again.
pub(crate) fn tool(data: &[u8]) {
    let Ok(tool) = ToolDefinition::parse(data) else { return };
    let read = Json::parse(data).expect("a definition, and no JSON");
    assert!(read.has_distinct_keys() && read.depth() <= 64 && data.len() <= 1024 * 1024);
    assert!(same(&tool.to_exact(), &read));
    assert_eq!(read.last("name"), Some(&Json::Text(tool.name().to_owned())));
    let exact = tool.to_exact();
    for written in [exact.to_canonical(), exact.to_pretty()] {
        let again = ToolDefinition::parse(written.as_bytes()).expect("what is written is read");
        assert_eq!((again.digest(), &again), (tool.digest(), &tool));
    }
    let mut other = tool.members().clone();
    other.insert("name".to_owned(), Exact::Str(format!("{}x", tool.name())));
    assert_ne!(ToolDefinition::from_exact(Exact::Object(other)).expect("a name").digest(), tool.digest());
    shown(&tool);
    pinned(&tool);
}

fn same(exact: &Exact, read: &Json) -> bool {
    match (exact, read) {
        (Exact::Null, Json::Null) => true,
        (Exact::Bool(one), Json::Bool(other)) => one == other,
        (Exact::Number(one), Json::Number(other)) | (Exact::Str(one), Json::Text(other)) => one == other,
        (Exact::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Exact::Object(one), Json::Object(other)) => {
            let found = |(key, value): &(String, Json)| one.get(key).is_some_and(|found| same(found, value));
            one.len() == other.len() && other.iter().all(found)
        }
        _ => false,
    }
}

/// What nothing is odd about shows as it is.
fn shown(tool: &ToolDefinition) {
    let text = tool.to_exact().to_canonical();
    let odd = oddities(tool);
    let visible = visible(&text);
    assert!(visible.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()));
    if odd.is_empty() {
        assert!(!tool.name().is_empty() && tool.name().chars().all(|c| !c.is_control()));
        assert_eq!(visible, text, "something hidden, and nothing odd");
    }
}

fn pinned(tool: &ToolDefinition) {
    let Ok(tools) = PinnedTools::new("files", [tool.clone()]) else { return };
    let Ok(file) = tools.to_file("files") else { return };
    let mut files = bundles::demo();
    files.insert(PinnedTools::path("files"), file);
    let snapshot = Snapshot::from_files(files).expect("a file more");
    let read = snapshot.pinned_tools().expect("what was written is read");
    assert_eq!(read.get("files"), Some(&tools));
}

/// An answer to `tools/list` is what another parser finds in it, with all of its tools or with some; and tools that could be
/// taken for one another are told, each with each.
pub(crate) fn page(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(page) = Page::read(text) else { return };
    let Some(read) = Json::parse(data) else {
        // What is within a tool is looked at by whoever reads that.
        assert!(
            page.tools.iter().any(|tool| ToolDefinition::parse(tool.as_bytes()).is_err())
                || has_odd_members(text)
        );
        return;
    };
    let Some(Json::Array(tools)) = read.last("tools") else { panic!("no array was taken for tools") };
    assert_eq!(tools.len(), page.tools.len());
    for (tool, read) in page.tools.iter().zip(tools) {
        assert_eq!(Json::parse(tool.as_bytes()).as_ref(), Some(read));
    }
    let cursor = page.next.clone().map_or(Json::Null, Json::Text);
    assert_eq!(read.last("nextCursor").unwrap_or(&Json::Null), &cursor);
    let none = Json::parse(page.with::<&str>(&[]).as_bytes()).expect("JSON");
    assert_eq!(none.last("tools"), Some(&Json::Array(Vec::new())));
    let all: Vec<_> = page.tools.iter().map(String::as_str).collect();
    assert_eq!(Json::parse(page.with(&all).as_bytes()).as_ref(), Some(&read));
    alike(&page);
}

/// Raw members that nobody reads are whatever they are.
fn has_odd_members(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_err()
}

fn alike(page: &Page) {
    let tools = page.tools.iter().filter_map(|tool| ToolDefinition::parse(tool.as_bytes()).ok());
    let tools: Vec<ToolDefinition> = tools.take(50).collect();
    let entries: Vec<Entry> = tools.iter().map(Entry::of).collect();
    let seen: BTreeMap<String, ToolSeen> = seen(&entries);
    for tool in &tools {
        let others = tools.iter().map(ToolDefinition::name);
        let twice = tools.iter().filter(|other| other.name() == tool.name()).count() > 1;
        let clear =
            oddities(tool).is_empty() && !twice && others.clone().all(|other| !are_alike(tool.name(), other));
        let expected = if clear { ToolSeen::Defined(tool.digest()) } else { ToolSeen::Ambiguous };
        assert_eq!(seen.get(tool.name()), Some(&expected), "{}", tool.name());
    }
}
