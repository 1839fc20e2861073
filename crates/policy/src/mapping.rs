//! What surfaces read of a tool's arguments, held against what the tool's pinned schema says of them. A mapping that no call can
//! fill is a mistake in the bundle, and shows when it is made and not when a call is refused.

use portcullis_protocol::{ContextKind, ContextRule, ToolName, ToolSchema};

use crate::MANIFEST_FILE;
use crate::error::{BundleError, Fault};
use crate::manifest::Manifest;
use crate::pinned::{self, Pinned, PinnedTools};

/// Every mapping that no call can fill, in the order of the surfaces. What cannot be told, or is probably not meant, is warned of.
pub(crate) fn faults(manifest: &Manifest, pinned: &Pinned, warnings: &mut Vec<String>) -> Vec<BundleError> {
    let mut faults = Vec::new();
    for (surface, spec, tool) in pinned::surfaced(manifest) {
        let (server, name) = tool.parts();
        let Some(definition) = pinned.get(server).and_then(|tools| tools.tools().get(name)) else { continue };
        let schema = match ToolSchema::of(definition) {
            Ok(schema) => schema,
            Err(unusable) => {
                warnings.push(format!("calls of tool `{tool}` are all refused: {unusable}"));
                continue;
            }
        };
        for (key, rule) in &spec.context {
            let Some(from) = &rule.from else { continue };
            let held = Held { tool: &tool, from, rule };
            let whose = format!("surface `{surface}`, context `{key}`");
            match held.against(&schema) {
                Ok(doubts) => warnings.extend(doubts.into_iter().map(|doubt| format!("{whose}: {doubt}"))),
                Err(message) => {
                    let (surface, key) = (surface.to_string(), key.clone());
                    faults
                        .push(BundleError::corrupt(MANIFEST_FILE, Fault::Mapping { surface, key, message }));
                }
            }
        }
    }
    faults
}

/// One input of policy, as it is read from one tool's arguments.
struct Held<'a> {
    tool: &'a ToolName,
    from: &'a str,
    rule: &'a ContextRule,
}

impl Held<'_> {
    /// What is doubtful about it, or why no call can fill it.
    fn against(&self, schema: &ToolSchema) -> Result<Vec<String>, String> {
        let Self { tool, from, rule } = self;
        let file = PinnedTools::path(tool.parts().0);
        let place = schema.at(from);
        if !place.possible {
            return Err(format!("tool `{tool}` declares no argument `{from}` ({file})"));
        }
        if !place.can_be(rule.kind) {
            let (found, wanted) = (place.types(), kind(rule.kind));
            return Err(format!(
                "tool `{tool}` takes {found} as `{from}` ({file}), and that is never {wanted}"
            ));
        }
        let mut doubts = Vec::new();
        if place.unclear {
            doubts.push(format!(
                "not checked: what the schema of tool `{tool}` says of `{from}` is not all understood ({file})"
            ));
        }
        if !rule.optional && !place.required {
            doubts.push(format!(
                "tool `{tool}` can be called without `{from}` ({file}), and such calls are refused; if policy can do without \
                 it, say `optional = true`"
            ));
        }
        Ok(doubts)
    }
}

const fn kind(kind: ContextKind) -> &'static str {
    match kind {
        ContextKind::String => "a string",
        ContextKind::Integer => "an integer",
        ContextKind::Boolean => "a boolean",
        ContextKind::Decimal { .. } => "a decimal, which is a string",
        ContextKind::Path => "a path, which is a string",
        ContextKind::Url => "a URL, which is a string",
        ContextKind::Strings => "an array of strings",
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
