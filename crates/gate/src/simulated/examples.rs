//! Recorded examples of results: what a gate that only simulates answers in the place of a tool. They are read whole before it serves
//! anybody, and refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_protocol::{Exact, JsonError, OutputSchema, ToolName};

use super::members;
use crate::message::Members;

/// Lines of a file of examples, at most.
const LINES: usize = 10_000;

/// Examples by server and tool.
#[derive(Clone, Debug, Default)]
pub struct Examples(BTreeMap<ToolName, Vec<Arc<Example>>>);

/// One example.
#[derive(Debug)]
pub(crate) struct Example {
    /// The line that it is in, from 1.
    pub(crate) line: usize,
    /// Of which arguments it is; of any if it does not say.
    arguments: Option<Exact>,
    /// The result.
    pub(crate) result: Members,
    /// What of it the tool's output schema is about; `None` of a result that says that the call failed.
    structured: Option<Structured>,
}

#[derive(Debug)]
enum Structured {
    Is(Exact),
    Missing,
}

/// A line that is no example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct ExamplesError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: ExampleFault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExampleFault {
    /// Not JSON that is read in one way only, or too large or deep.
    #[error("{0}")]
    Json(JsonError),
    /// No object.
    #[error("an example is an object with `tool`, `result`, and perhaps `arguments`")]
    NoObject,
    /// A member that an example does not have.
    #[error("an example has no member `{0}`")]
    Member(String),
    /// No tool's name.
    #[error("`tool` is the server's name, a slash, and the tool's own name, as bundles have it")]
    Tool,
    /// A tool of a server that is not behind the gate.
    #[error("no server behind this gate is called `{0}`")]
    Server(String),
    /// Arguments that no call has.
    #[error("`arguments` is an object")]
    Arguments,
    /// No result of a tool's.
    #[error("`result` is no result of a tool's: {0}")]
    Result(&'static str),
    /// The same tool and arguments as in an earlier line.
    #[error("line {0} is an example of the same call")]
    Twice(usize),
    /// Too many lines.
    #[error("a file of examples has {LINES} lines at the most")]
    TooMany,
}

impl Examples {
    /// Reads examples, one a line, for these servers. Lines with nothing in them are passed over.
    ///
    /// # Errors
    /// [`ExamplesError`], by the first line that is none.
    pub fn read(text: &[u8], servers: &[String]) -> Result<Self, ExamplesError> {
        let mut examples = Self::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index.saturating_add(1);
            let read = |fault| ExamplesError { line: number, fault };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if index >= LINES {
                return Err(read(ExampleFault::TooMany));
            }
            let (tool, example) = example(line, number, servers).map_err(read)?;
            let of_tool = examples.0.entry(tool).or_default();
            if let Some(earlier) = of_tool.iter().find(|other| other.arguments == example.arguments) {
                return Err(read(ExampleFault::Twice(earlier.line)));
            }
            of_tool.push(Arc::new(example));
        }
        Ok(examples)
    }

    /// The example for a call: one of these very arguments before one of any.
    pub(crate) fn of(&self, (server, tool): (&str, &str), arguments: &str) -> Option<Arc<Example>> {
        let tool: ToolName = format!("{server}/{tool}").parse().ok()?;
        let of_tool = self.0.get(&tool)?;
        let arguments = Exact::parse(arguments.as_bytes()).ok();
        let exact = of_tool.iter().find(|one| one.arguments.is_some() && one.arguments == arguments);
        exact.or_else(|| of_tool.iter().find(|one| one.arguments.is_none())).cloned()
    }
}

impl Example {
    /// Whether the tool could have given it, by what it declares.
    pub(crate) fn fits(&self, schema: &OutputSchema) -> bool {
        match &self.structured {
            None => true,
            Some(Structured::Is(structured)) => schema.holds(structured),
            Some(Structured::Missing) => false,
        }
    }
}

fn example(line: &[u8], number: usize, servers: &[String]) -> Result<(ToolName, Example), ExampleFault> {
    let read = Exact::parse(line).map_err(ExampleFault::Json)?;
    let said = read.as_object().ok_or(ExampleFault::NoObject)?;
    if let Some(other) = said.keys().find(|key| !["tool", "arguments", "result"].contains(&key.as_str())) {
        return Err(ExampleFault::Member(other.chars().take(80).collect()));
    }
    let tool = said.get("tool").and_then(Exact::as_str).ok_or(ExampleFault::Tool)?;
    let tool: ToolName = tool.parse().map_err(|_| ExampleFault::Tool)?;
    let server = tool.parts().0;
    if !servers.iter().any(|known| known == server) {
        return Err(ExampleFault::Server(server.to_owned()));
    }
    let arguments = said.get("arguments");
    if arguments.is_some_and(|arguments| arguments.as_object().is_none()) {
        return Err(ExampleFault::Arguments);
    }
    let result = said.get("result").ok_or(ExampleFault::NoObject)?;
    let structured = result_of(result).map_err(ExampleFault::Result)?;
    let result = members(result).ok_or(ExampleFault::Result("it is no object"))?;
    let arguments = arguments.cloned();
    Ok((tool, Example { line: number, arguments, result, structured }))
}

/// What the output schema is about, of a result that has the form of a tool's.
fn result_of(result: &Exact) -> Result<Option<Structured>, &'static str> {
    let members = result.as_object().ok_or("it is no object")?;
    let is_item = |item: &Exact| {
        item.as_object().is_some_and(|item| item.get("type").and_then(Exact::as_str).is_some())
    };
    match members.get("content") {
        None => {}
        Some(Exact::Array(items)) if items.iter().all(is_item) => {}
        Some(_) => return Err("`content` is a list of objects, each with its `type`"),
    }
    if members.get("_meta").is_some_and(|meta| meta.as_object().is_none()) {
        return Err("`_meta` is an object");
    }
    let failed = match members.get("isError") {
        None | Some(Exact::Bool(false)) => false,
        Some(Exact::Bool(true)) => true,
        Some(_) => return Err("`isError` is true or false"),
    };
    match members.get("structuredContent") {
        Some(structured) if structured.as_object().is_none() => Err("`structuredContent` is an object"),
        Some(_) | None if failed => Ok(None),
        Some(structured) => Ok(Some(Structured::Is(structured.clone()))),
        None => Ok(Some(Structured::Missing)),
    }
}

#[cfg(test)]
#[path = "examples_tests.rs"]
mod tests;
