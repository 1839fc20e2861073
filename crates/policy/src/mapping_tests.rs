use portcullis_protocol::ToolDefinition;

use crate::files::Files;
use crate::testing::{defect, edit, fault, files};
use crate::{Diagnosis, Fault, PinnedTools, Snapshot};

/// What `fs/read` takes, as its surface reads it.
const PROPERTIES: &str = r#""path":{"type":"string"},"url":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"dry":{"type":"boolean"}"#;

/// The bundle with `fs/read` pinned, its schema as this.
fn with_schema(schema: &str) -> Files {
    let text = format!(r#"{{"name":"read","inputSchema":{schema}}}"#);
    let tool = ToolDefinition::parse(text.as_bytes()).unwrap();
    let pinned = PinnedTools::new("fs", [tool]).unwrap();
    let mut files = files();
    files.insert(PinnedTools::path("fs"), pinned.to_file("fs").unwrap());
    files
}

fn with_properties(properties: &str) -> Files {
    with_schema(&format!(r#"{{"type":"object","properties":{{{properties}}},"required":["path"]}}"#))
}

fn warnings(files: Files) -> Vec<String> {
    Snapshot::from_files(files).unwrap().check().unwrap().warnings
}

#[test]
fn what_a_surface_reads_as_the_tools_schema_has_it_is_in_order() {
    assert_eq!(warnings(with_properties(PROPERTIES)), [""; 0]);
    let referred = r##"{"type":"object","allOf":[{"$ref":"#/$defs/all"}],"$defs":{"all":{"properties":{PROPERTIES},"required":["path"]}}}"##;
    assert_eq!(warnings(with_schema(&referred.replace("PROPERTIES", PROPERTIES))), [""; 0]);
}

#[test]
fn a_mapping_that_no_call_can_fill_does_not_load() {
    let swaps = [
        (
            r#""path":{"type":"string"},"#,
            r#""Path":{"type":"string"},"#,
            "declares no argument `/path` (tools/fs.json)",
        ),
        (
            r#""path":{"type":"string"}"#,
            r#""path":{"type":"integer"}"#,
            "takes integer as `/path` (tools/fs.json), and that is never a path",
        ),
        (
            r#""url":{"type":"string"}"#,
            r#""url":{"enum":[1,null]}"#,
            "takes null or integer as `/url` (tools/fs.json), and that is never a URL",
        ),
        (
            r#""items":{"type":"string"}"#,
            r#""items":{"type":"number"}"#,
            "takes array of number as `/tags` (tools/fs.json), and that is never an array of strings",
        ),
        (r#""tags":{"type":"array""#, r#""tags":{"type":"string""#, "takes string as `/tags`"),
        (
            r#""dry":{"type":"boolean"}"#,
            r#""dry":{"type":["string","null"]}"#,
            "takes null or string as `/dry`",
        ),
        (
            r#""dry":{"type":"boolean"}"#,
            r#""dry":{"allOf":[{"type":"boolean"},{"type":"string"}]}"#,
            "takes nothing as `/dry`",
        ),
        (r#""dry":{"type":"boolean"}"#, r#""dry":false"#, "declares no argument `/dry`"),
    ];
    for (from, to, words) in swaps {
        let changed = PROPERTIES.replace(from, to);
        assert_ne!(changed, PROPERTIES);
        let files = with_properties(&changed);
        let Fault::Mapping { surface, .. } = fault(files.clone()) else { panic!("{to}") };
        assert_eq!(surface, "fs.read");
        let said = defect(files);
        assert!(said.starts_with("bundle.toml: surface `fs.read`, context `"), "{said}");
        assert!(said.contains("tool `fs/read`") && said.contains(words), "`{words}`: {said}");
    }
    // A decimal is a string to policy, and what is a number to the tool is none.
    let charge = r#"{"name":"charge","inputSchema":{"properties":{"amount":{"type":"number"},"count":{"type":"number"}},"required":["amount","count"]}}"#;
    let pinned = PinnedTools::new("pay", [ToolDefinition::parse(charge.as_bytes()).unwrap()]).unwrap();
    let mut files = files();
    files.insert(PinnedTools::path("pay"), pinned.to_file("pay").unwrap());
    let said = defect(files);
    assert!(said.contains("context `amount`") && said.contains("never a decimal"), "{said}");
}

#[test]
fn a_tool_that_declares_no_arguments_has_none_that_policy_could_read() {
    for schema in ["{}", r#"{"type":"object"}"#] {
        let said = defect(with_schema(schema));
        assert!(said.contains("declares no argument"), "{said}");
    }
}

#[test]
fn what_is_not_checked_is_said_and_what_the_schema_lets_be_left_out_too() {
    let without = with_schema(&format!(r#"{{"properties":{{{PROPERTIES}}}}}"#));
    assert_eq!(
        warnings(without.clone()),
        [
            "surface `fs.read`, context `path`: tool `fs/read` can be called without `/path` (tools/fs.json), and such calls \
          are refused; if policy can do without it, say `optional = true`"
        ]
    );
    let optional = edit(
        edit(without, "bundle.toml", "from = \"/path\"", "from = \"/path\", optional = true"),
        "schema.cedarschema",
        "{ path: String",
        "{ path?: String",
    );
    let guarded =
        edit(optional, "policies/main.cedar", "context.path like", "context has path && context.path like");
    assert_eq!(warnings(guarded), [""; 0]);
    let ruled = PROPERTIES.replace(r#""path":{"type":"string"}"#, r#""path":{"not":{"const":"/etc"}}"#);
    let said = warnings(with_properties(&ruled));
    assert!(said.len() == 1 && said[0].contains("context `path`: not checked: "), "{said:?}");
    let remote =
        PROPERTIES.replace(r#""dry":{"type":"boolean"}"#, r#""dry":{"$ref":"https://x.example/s.json"}"#);
    let said = warnings(with_properties(&remote));
    assert_eq!(
        said,
        [
            "calls of tool `fs/read` are all refused: arguments cannot be held against its `inputSchema`: at `/properties/dry/$ref`, it refers \
          to something outside itself, and nothing is fetched"
        ]
    );
}

#[test]
fn a_diagnosis_points_at_every_mapping_that_no_call_can_fill() {
    let files = with_properties(&PROPERTIES.replace(r#"{"type":"string"}"#, r#"{"type":"integer"}"#));
    let found: Vec<Diagnosis> = Snapshot::from_files(files.clone()).unwrap().diagnose().unwrap_err();
    let text = str::from_utf8(&files["bundle.toml"]).unwrap();
    let at = |found: &Diagnosis| text[found.labels[0].span.clone()].to_owned();
    assert_eq!(found.iter().map(at).collect::<Vec<_>>(), ["path", "url", "tags"]);
    assert!(found.iter().all(|found| found.file == "bundle.toml" && found.remedy.contains("mcp inspect")));
}

#[test]
fn a_tool_of_another_name_is_held_against_its_own_schema() {
    let listed = edit(
        with_properties(&PROPERTIES.replace(r#""path""#, r#""file""#)),
        "bundle.toml",
        "tier = \"read\"",
        "tier = \"read\"\ntools = [\"disk/read\"]",
    );
    assert_eq!(
        Snapshot::from_files(listed).unwrap().check().unwrap().warnings,
        [""; 0],
        "no tool of the surface's"
    );
}
