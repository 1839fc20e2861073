//! The bundles that come with Portcullis, unsigned: `init` and `demo` write them out and sign them with a key of
//! their own.

use std::collections::BTreeMap;

macro_rules! bundle {
    ($name:literal: $($path:literal),*) => {
        BTreeMap::from([$((
            $path.to_owned(),
            include_bytes!(concat!("../../../policies/", $name, "/", $path)).to_vec(),
        )),*])
    };
}

/// The bundle that `init` begins with: agent `assistant` reads over the MCP file system server `files`.
#[must_use]
pub fn starter() -> BTreeMap<String, Vec<u8>> {
    bundle!(
        "starter": "bundle.toml", "schema.cedarschema", "entities.json", "policies/files.cedar", "tests/files.toml",
        "README.md"
    )
}

/// The bundle of the demo: agent `demo-agent` reads a balance and makes small charges over the server `demo`.
#[must_use]
pub fn demo() -> BTreeMap<String, Vec<u8>> {
    bundle!(
        "demo": "bundle.toml", "schema.cedarschema", "entities.json", "policies/demo.cedar", "tests/demo.toml",
        "README.md"
    )
}

/// A bundle that declares no surface and grants nothing, for `portcullis bundle new`: a name, and from when until when it
/// may decide, as in `2026-01-31T12:00:00Z`.
#[must_use]
pub fn empty(name: &str, valid_from: &str, valid_until: &str) -> BTreeMap<String, Vec<u8>> {
    let manifest = format!(
        r#"# The digest of the whole bundle is signed: a change takes effect only when it is signed and in force.
name = "{name}"
# Each version that is to come into force is higher than the last.
version = 1

# Before the first and from the second instant on, this bundle permits nothing.
valid_from = "{valid_from}"
valid_until = "{valid_until}"

# One surface for each class of operations. What is not declared here does not run.
#
# [surfaces."files.read_file"]
# tier = "read"
# on_silence = "terminate"
# permit_ttl = "5s"
# context.path = {{ type = "path", from = "/path" }}
#
# A bundle that nothing tries does not come into force: write cases into tests/main.toml (docs/bundle-tests.md).
"#
    );
    let schema = r#"// What policies of this bundle can speak about. The context of each action must equal the context that its surface
// declares in bundle.toml, or the bundle does not load.

entity Group;
entity Agent in [Group];
entity Surface;

// action "files.read_file" appliesTo { principal: Agent, resource: Surface, context: { path: String } };
"#;
    let policies = r#"// What no policy grants is denied. Each policy has a name of its own.
//
// @id("may-read")
// permit (principal == Agent::"assistant", action == Action::"files.read_file", resource)
// when { context.path like "/srv/shared/*" };
"#;
    [
        ("bundle.toml", manifest.as_str()),
        ("schema.cedarschema", schema),
        (
            "entities.json",
            "[]
",
        ),
        ("policies/main.cedar", policies),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .collect()
}

#[cfg(test)]
mod tests {
    use crate::Snapshot;

    #[test]
    fn a_new_bundle_is_sound_and_grants_nothing() {
        let files = super::empty("new", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let report = Snapshot::from_files(files).unwrap().check().unwrap();
        assert_eq!((report.name.as_str(), report.version), ("new", 1));
        assert!(report.surfaces.is_empty() && report.policies.is_empty() && report.agents.is_empty());
    }
}
