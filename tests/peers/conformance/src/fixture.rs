//! What the suite expects to find, as `fixture.json` has it.

use std::collections::BTreeMap;

use rmcp::ErrorData;
use rmcp::model::{InputRequest, Prompt, Resource, ResourceTemplate, Tool};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Everything that does not depend on what was asked before.
#[derive(Debug, Deserialize)]
pub(crate) struct Fixture {
    pub(crate) tools: Vec<Tool>,
    /// Results of tools that always answer the same, by tool.
    answers: BTreeMap<String, Value>,
    /// What the user is asked by requests of the server's, by tool.
    forms: BTreeMap<String, Value>,
    /// What is asked within answers, by tool or prompt.
    pub(crate) asking: BTreeMap<String, Asking>,
    pub(crate) prompts: Vec<Prompt>,
    messages: BTreeMap<String, Value>,
    pub(crate) resources: Vec<Resource>,
    contents: BTreeMap<String, Map<String, Value>>,
    pub(crate) templates: Vec<ResourceTemplate>,
}

/// Rounds of questions, and what is said once all are answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Asking {
    pub(crate) rounds: Vec<BTreeMap<String, InputRequest>>,
    /// With `{}` where the answer that `of` points to belongs.
    pub(crate) done: String,
    #[serde(default)]
    pub(crate) of: String,
    /// Whether the round comes back in a state that the client brings along.
    #[serde(default)]
    pub(crate) seals: bool,
    /// Whether only that is asked which the client has declared that it can.
    #[serde(default)]
    pub(crate) declared: bool,
}

impl Fixture {
    pub(crate) fn read() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("fixture.json"))
    }

    pub(crate) fn answer<T: DeserializeOwned>(&self, tool: &str) -> Result<T, ErrorData> {
        read(self.answers.get(tool).cloned(), tool)
    }

    pub(crate) fn form<T: DeserializeOwned>(&self, tool: &str) -> Result<T, ErrorData> {
        read(self.forms.get(tool).cloned(), tool)
    }

    /// A prompt's messages, with the arguments where their names stand in braces.
    pub(crate) fn prompt<T: DeserializeOwned>(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<T, ErrorData> {
        let mut messages = self.messages.get(name).cloned();
        if let Some(messages) = &mut messages {
            fill(messages, arguments);
        }
        read(messages, name)
    }

    /// What is in a resource, if there is one.
    pub(crate) fn content(&self, uri: &str) -> Option<Value> {
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let mut content = match id {
            None => self.contents.get(uri)?.clone(),
            Some(id) => {
                let text = serde_json::json!({ "id": id, "templateTest": true }).to_string();
                Map::from_iter([
                    ("mimeType".to_owned(), "application/json".into()),
                    ("text".to_owned(), text.into()),
                ])
            }
        };
        content.insert("uri".into(), uri.into());
        Some(content.into())
    }
}

fn read<T: DeserializeOwned>(found: Option<Value>, name: &str) -> Result<T, ErrorData> {
    let found = found.ok_or_else(|| ErrorData::invalid_params(format!("there is no `{name}`"), None))?;
    serde_json::from_value(found).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn fill(value: &mut Value, arguments: &Map<String, Value>) {
    match value {
        Value::String(text) => {
            for (name, argument) in arguments {
                *text = text.replace(&format!("{{{name}}}"), argument.as_str().unwrap_or_default());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, arguments)),
        Value::Object(members) => members.values_mut().for_each(|value| fill(value, arguments)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
