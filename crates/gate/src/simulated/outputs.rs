//! The definitions of tools that declare a form for their results, as the gate's own list of them has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::ToolDefinition;

/// How large they may be together, in bytes. Of more nothing is kept, and nothing made.
const MOST: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Kept {
    bytes: usize,
    tools: BTreeMap<String, (usize, Arc<ToolDefinition>)>,
}

/// Kept by a gate that only simulates, and by no other.
#[derive(Default)]
pub(crate) struct Outputs(Mutex<Option<Kept>>);

impl Outputs {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep them.
    pub(crate) fn keep(&self) {
        *self.kept() = Some(Kept::default());
    }

    /// Takes up a definition; a newer one takes the place of an older.
    pub(crate) fn hear(&self, tool: &ToolDefinition) {
        let mut kept = self.kept();
        let Some(kept) = kept.as_mut() else { return };
        if let Some((bytes, _)) = kept.tools.remove(tool.name()) {
            kept.bytes = kept.bytes.saturating_sub(bytes);
        }
        if !tool.members().contains_key("outputSchema") {
            return;
        }
        let bytes = tool.to_exact().to_canonical().len();
        let all = kept.bytes.saturating_add(bytes);
        if all <= MOST {
            kept.bytes = all;
            kept.tools.insert(tool.name().to_owned(), (bytes, Arc::new(tool.clone())));
        }
    }

    /// The definition of a tool that declares a form for its results.
    pub(crate) fn of(&self, tool: &str) -> Option<Arc<ToolDefinition>> {
        self.kept().as_ref()?.tools.get(tool).map(|(_, tool)| Arc::clone(tool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_kept_once_while_it_declares_a_form_and_only_where_it_is_wanted() {
        let outputs = Outputs::default();
        let tool = |text: &str| ToolDefinition::parse(text.as_bytes()).unwrap();
        let typed = tool(r#"{"name":"a","outputSchema":{"type":"object"}}"#);
        outputs.hear(&typed);
        assert!(outputs.of("a").is_none(), "nobody asked for it");
        outputs.keep();
        for _ in 0..3 {
            outputs.hear(&typed);
        }
        assert_eq!(outputs.of("a").unwrap().digest(), typed.digest());
        let long = format!(r#"{{"name":"b","outputSchema":{{"title":"{}"}}}}"#, "x".repeat(1_000_000));
        for number in 0..20 {
            outputs.hear(&tool(&long.replacen("\"b\"", &format!("\"b{number}\""), 1)));
        }
        assert!(outputs.of("b0").is_some() && outputs.of("b19").is_none(), "there is a bound");
        outputs.hear(&tool(r#"{"name":"a"}"#));
        assert!(outputs.of("a").is_none(), "it declares none any more");
    }
}
