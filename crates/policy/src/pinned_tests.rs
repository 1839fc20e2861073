use portcullis_protocol::{Digest, ToolDefinition, ToolPins};

use super::{PinError, PinnedTools};
use crate::files::Files;
use crate::testing::{bundle, defect, fault, files, with};
use crate::{Fault, Snapshot};

const TOML: &str = "bundle.toml";
const READ: &str = r#"{"name":"read","description":"Reads.","inputSchema":{"type":"object","x":0.50,"required":["path"],"properties":{"path":{"type":"string"},"url":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"dry":{"type":"boolean"}}}}"#;
const CAT: &str = r#"{"name":"Cat.All","annotations":{"readOnlyHint":true}}"#;

fn tool(text: &str) -> ToolDefinition {
    ToolDefinition::parse(text.as_bytes()).unwrap()
}

fn digest(text: &str) -> Digest {
    tool(text).digest()
}

fn pinned(server: &str, tools: &[&str]) -> Vec<u8> {
    let pinned = PinnedTools::new(server, tools.iter().map(|text| tool(text))).unwrap();
    pinned.to_file(server).unwrap()
}

/// The files with pins of a server.
fn pinning(mut files: Files, server: &str, content: impl Into<Vec<u8>>) -> Files {
    files.insert(PinnedTools::path(server), content.into());
    files
}

fn required(files: Files) -> Files {
    crate::testing::edit(
        files,
        TOML,
        "[roster.people.ada]",
        "[mcp]\nrequire_pins = true\n[roster.people.ada]",
    )
}

#[test]
fn pinned_tools_are_in_the_table_that_gates_read_by_and_in_its_digest() {
    let plain = bundle(files());
    assert!(plain.surfaces().pins.say_nothing());
    let pinned_bundle = bundle(pinning(files(), "fs", pinned("fs", &[READ, CAT])));
    let tools = [("fs/read", READ), ("fs/Cat.All", CAT)];
    let tools = tools.map(|(name, text)| (name.parse().unwrap(), digest(text)));
    assert_eq!(pinned_bundle.surfaces().pins, ToolPins { required: false, tools: tools.into() });
    assert_ne!(pinned_bundle.surfaces_digest(), plain.surfaces_digest());
    assert_ne!(pinned_bundle.reference().digest, plain.reference().digest);
    let other = bundle(pinning(files(), "fs", pinned("fs", &[&READ.replace("Reads.", "Reads!"), CAT])));
    assert_ne!(other.surfaces_digest(), pinned_bundle.surfaces_digest());
    assert!(bundle(required(files())).surfaces().pins.required);
    let waived = with(TOML, "[roster.people.ada]", "[mcp]\nrequire_pins = false\n[roster.people.ada]");
    assert_eq!(bundle(waived).surfaces().pins, ToolPins::none());
}

#[test]
fn the_file_is_the_same_for_the_same_tools_and_holds_them_whole() {
    let file = pinned("fs", &[READ, CAT]);
    assert_eq!(file, pinned("fs", &[CAT, READ]));
    let text = str::from_utf8(&file).unwrap();
    assert!(text.contains("\"x\": 0.50") && text.ends_with("}\n"), "{text}");
    let snapshot = Snapshot::from_files(pinning(files(), "fs", file)).unwrap();
    let read = snapshot.pinned_tools().unwrap();
    assert_eq!(read["fs"].tools()["read"], tool(READ));
    assert_eq!(read["fs"].tools().len(), 2);
}

#[test]
fn what_cannot_be_pinned_is_not() {
    let new = |server: &str, tools: &[&str]| PinnedTools::new(server, tools.iter().map(|text| tool(text)));
    for server in ["", "a.b", "Fs", "a/b", "-a"] {
        assert_eq!(new(server, &[READ]), Err(PinError::ServerName(server.to_owned())));
    }
    for name in ["a/b", "", "a\\nb"] {
        let error = new("fs", &[&format!(r#"{{"name":"{name}"}}"#)]).unwrap_err();
        assert!(matches!(error, PinError::ToolName(_)), "{error}");
    }
    assert_eq!(new("fs", &[READ, READ]), Err(PinError::Twice("read".into())));
    assert_eq!(new("fs", &[]), Err(PinError::Nothing));
    let half = format!(r#"{{"name":"a","x":"{}"}}"#, "y".repeat(600_000));
    let large = new("fs", &[&half, &half.replace("\"a\"", "\"b\"")]).unwrap();
    assert_eq!(large.to_file("fs"), Err(PinError::TooLarge));
}

#[test]
fn a_file_that_is_none_of_pins_is_refused_with_the_bundle() {
    let good = String::from_utf8(pinned("fs", &[READ])).unwrap();
    let cases = [
        (good.replace("\"v\": 1", "\"v\": 2"), "`v` is not 1"),
        (good.replace("\"v\": 1", "\"v\": 1.0"), "`v` is not 1"),
        (good.replace("\"server\": \"fs\"", "\"server\": \"other\""), "`server` is not `fs`"),
        (good.replace("\"server\"", "\"sever\""), "`server` is not `fs`"),
        (good.replace("\"v\": 1", "\"v\": 1, \"w\": 1"), "unknown key `w`"),
        (good.replace("\"name\": \"read\"", "\"name\": 7"), "string `name`"),
        (good.replace("\"name\": \"read\"", "\"name\": \"a/b\""), "cannot be a tool's name"),
        (good.replace("\"description\"", "\"name\": \"x\", \"description\""), "occurs twice"),
        (r#"{"v":1,"server":"fs","tools":{}}"#.to_owned(), "no array `tools`"),
        (r#"{"v":1,"server":"fs","tools":[]}"#.to_owned(), "no tool to pin"),
        (r#"{"v":1,"server":"fs","tools":[7]}"#.to_owned(), "is an object"),
        ("[]".to_owned(), "no object"),
        ("{".to_owned(), "not JSON"),
    ];
    for (text, words) in cases {
        assert_ne!(text, good);
        let found = pinning(files(), "fs", text.clone());
        assert!(matches!(fault(found.clone()), Fault::Pins { .. }), "{text}");
        let said = defect(found);
        assert!(said.starts_with("tools/fs.json: ") && said.contains(words), "`{words}`: {said}");
    }
    let misnamed = defect(pinning(files(), "Fs", good.replace("\"fs\"", "\"Fs\"")));
    assert!(misnamed.contains("server name `Fs`"), "{misnamed}");
    for path in ["tools/fs.toml", "tools/a/fs.json", "tools/.json", "tools/.fs.json", "tools.lock"] {
        let mut files = files();
        files.insert(path.to_owned(), good.clone().into());
        assert_eq!(fault(files), Fault::UnknownFile, "{path}");
    }
    assert!(matches!(fault(with(TOML, "version = 7", "version = 7\nmcp = {}")), Fault::Manifest { .. }));
    assert!(matches!(
        fault(with(TOML, "version = 7", "version = 7\nmcp = { pins = true }")),
        Fault::Manifest { .. }
    ));
}

#[test]
fn a_surface_whose_tool_is_not_pinned_is_told_where_its_server_has_pins() {
    let check = |files: Files| Snapshot::from_files(files).unwrap().check().unwrap();
    let report = check(pinning(files(), "fs", pinned("fs", &[CAT])));
    assert_eq!(
        report.warnings,
        ["tool `fs/read` has a surface and is not in tools/fs.json: it cannot be called"]
    );
    assert_eq!(report.pins["fs"], ["Cat.All"]);
    assert_eq!(check(pinning(files(), "fs", pinned("fs", &[READ]))).warnings, [""; 0]);

    let listed = with(TOML, "tier = \"read\"", "tier = \"read\"\ntools = [\"files/Cat\", \"disk/cat\"]");
    let report = check(pinning(listed.clone(), "disk", pinned("disk", &[READ])));
    assert_eq!(
        report.warnings,
        ["tool `disk/cat` has a surface and is not in tools/disk.json: it cannot be called"]
    );
    assert_eq!(report.unpinned, ["files"]);
    let report = check(required(listed));
    assert_eq!((report.unpinned.len(), report.require_pins), (0, true));
    assert!(report.warnings[0].contains("nothing is pinned"), "{:?}", report.warnings);
}
