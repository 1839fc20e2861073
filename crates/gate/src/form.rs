//! In which form a blocked request is answered.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use portcullis_protocol::{Limits, Loose};

use crate::message::Reply;

/// Tools that are remembered, at most.
const MOST: usize = 10_000;

/// The form of an answer to a request that did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON-RPC error.
    Error,
    /// A tool's result, with structured content.
    Tool,
    /// A tool's result without structured content: clients hold that against the output schema that the tool
    /// declares, even in a result with `isError`, and show their own complaint instead of the reason.
    TypedTool,
}

/// The tools that were listed with an output schema.
#[derive(Debug, Default)]
pub(crate) struct TypedTools(Mutex<BTreeSet<String>>);

impl TypedTools {
    /// Learns from an answer to a request that only asks what there is. Nothing is decided by it.
    pub(crate) fn learn(&self, reply: &Reply) {
        let Reply::Result(text) = reply else { return };
        if !text.contains("outputSchema") {
            return;
        }
        let limits = Limits { bytes: text.len(), ..Limits::MESSAGE };
        let Ok(read) = Loose::parse(text.as_bytes(), limits) else { return };
        let Some(Loose::Array(tools)) = read.pointer("/tools") else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in tools {
            if let (Some(Loose::Str(name)), Some(Loose::Object(_))) =
                (tool.pointer("/name"), tool.pointer("/outputSchema"))
                && known.len() < MOST
            {
                known.insert(name.clone());
            }
        }
    }

    /// The form of an answer to a call of a tool; without a name, to one whose tool cannot be told.
    pub(crate) fn form(&self, tool: Option<&str>) -> Form {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let typed = tool.map_or(!known.is_empty(), |tool| known.contains(tool));
        if typed { Form::TypedTool } else { Form::Tool }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_with_an_output_schema_are_remembered_and_others_are_not() {
        let tools = TypedTools::default();
        assert_eq!(tools.form(None), Form::Tool);
        tools.learn(&Reply::Result(r#"{"tools":[{"name":"a","outputSchema":{}},{"name":"b"}]}"#.into()));
        tools.learn(&Reply::Result(r#"{"prompts":[{"name":"c","outputSchema":{}}]}"#.into()));
        tools.learn(&Reply::Error(r#"{"tools":[{"name":"d","outputSchema":{}}]}"#.into()));
        let forms = ["a", "b", "c", "d"].map(|tool| tools.form(Some(tool)));
        assert_eq!(forms, [Form::TypedTool, Form::Tool, Form::Tool, Form::Tool]);
        assert_eq!(tools.form(None), Form::TypedTool);
    }
}
