//! Which tools belong to a surface.

use crate::Fault;
use crate::files::Files;
use crate::testing::{bundle, defect, edit, fault, load, with};

const TOML: &str = "bundle.toml";

/// The valid bundle with this line in the surface `pay.charge`.
fn charge(line: &str) -> Files {
    with(TOML, "tier = \"critical\"", &format!("tier = \"critical\"\n{line}"))
}

/// The same, and this line in the surface `fs.read`.
fn both(line: &str, other: &str) -> Files {
    edit(charge(line), TOML, "tier = \"read\"", &format!("tier = \"read\"\n{other}"))
}

#[test]
fn a_surface_lists_tools_under_their_servers_names() {
    let bundle = bundle(charge(r#"tools = ["stripe/create_charge", "stripe/Create.Charge2"]"#));
    let table = bundle.surfaces();
    let surface = |tool| table.surface_of_tool("stripe", tool).map(|surface| surface.to_string());
    assert_eq!(surface("Create.Charge2").as_deref(), Some("pay.charge"));
    assert_eq!(surface("create_charge").as_deref(), Some("pay.charge"));
    assert_eq!(surface("refund").as_deref(), Some("stripe.refund"));
    assert_eq!(surface("create.charge2"), None);
}

#[test]
fn a_tool_belongs_to_one_surface() {
    assert_eq!(
        fault(both(r#"tools = ["s/B", "s/a"]"#, r#"tools = ["s/B"]"#)),
        Fault::SharedTool { tool: "s/B".into(), first: "fs.read".into(), second: "pay.charge".into() }
    );
    // The same name at two servers is two tools.
    assert!(load(both(r#"tools = ["s/B", "s/a"]"#, r#"tools = ["t/B"]"#)).is_ok());
    let twice = defect(charge(r#"tools = ["s/a", "s/a"]"#));
    assert_eq!(twice, "bundle.toml: surface `pay.charge`: `tools` names one twice");
}

#[test]
fn no_other_surface_is_called_after_a_listed_tool() {
    assert_eq!(
        fault(charge(r#"tools = ["fs/read"]"#)),
        Fault::AmbiguousTool {
            tool: "fs/read".into(),
            surface: "pay.charge".into(),
            namesake: "fs.read".into()
        }
    );
    // Not even where the other one lists tools itself, or where the tool's name has dots.
    let listed = fault(both(r#"tools = ["fs/read"]"#, r#"tools = ["fs/cat"]"#));
    assert!(matches!(listed, Fault::AmbiguousTool { .. }), "{listed}");
    let named = "[surfaces.\"fs.a.read\"]\nactions = [\"fs.read\"]";
    let dotted = edit(charge(r#"tools = ["fs/a.read"]"#), TOML, "[surfaces.\"fs.read\"]", named);
    assert!(matches!(fault(dotted), Fault::AmbiguousTool { .. }));
    // On the surface of its own name a tool may be listed, with others.
    assert!(load(charge(r#"tools = ["pay/charge", "pay/Charge.Two"]"#)).is_ok());
}

#[test]
fn what_is_no_tool_is_not_listed() {
    for tool in ["create", "stripe/", "/create", "a/b/c", "Stripe/create", "st.ripe/create", "s/a\\n", ""] {
        let message = defect(charge(&format!("tools = [\"{tool}\"]")));
        assert!(message.contains("is not a valid tool"), "{tool}: {message}");
    }
    let longest = "x".repeat(128);
    assert!(load(charge(&format!("tools = [\"s/{longest}\"]"))).is_ok());
    assert!(matches!(fault(charge(&format!("tools = [\"s/{longest}x\"]"))), Fault::Manifest { .. }));
    assert!(matches!(fault(charge("tools = \"s/a\"")), Fault::Manifest { .. }));
    assert!(defect(charge("tools = []")).contains("`tools` is empty"));
}

/// Methods never meet tools, and what has no name of its own never runs.
#[test]
fn a_surface_of_methods_lists_no_tools() {
    let renamed = |name: &str| {
        let surface = format!("[surfaces.\"{name}\"]\nactions = [\"fs.read\"]\ntools = [\"fs/Cat\"]");
        with(TOML, "[surfaces.\"fs.read\"]", &surface)
    };
    for name in ["fs.mcp.resources.read", "fs.mcp.unknown"] {
        assert!(defect(renamed(name)).contains("has no `tools`"), "{name}");
    }
    for name in ["fs.mcp", "fs.cat", "mcp.cat.all"] {
        assert!(load(renamed(name)).is_ok(), "{name}");
    }
}
