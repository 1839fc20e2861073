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
