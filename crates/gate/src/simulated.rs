//! A gate that only simulates: what takes a decision is asked as a simulation, and nothing of it goes anywhere. What would be permitted
//! is answered in the place of whoever it is for.
//!
//! There is no way from here to a permit: the arbiter is asked through one that never decides ([`OnlySimulates`]), so that even what
//! would go the other road (`case`) would be refused there.

mod arbiter;
mod examples;
mod outputs;

use std::sync::Arc;

use portcullis_protocol::{Exact, OutputSchema, ReasonCode, ToolDefinition};
use portcullis_sdk::{Refusal, Simulated};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

pub(crate) use arbiter::OnlySimulates;
pub use examples::{ExampleFault, Examples, ExamplesError};
pub(crate) use outputs::Outputs;

use crate::answer::simulated::{self, Kind};
use crate::answer::{foreign_state, whole};
use crate::case::{Asker, Way};
use crate::form::Form;
use crate::message::{Members, Reply, members_of, quote};
use crate::operation::{Operation, Terms};
use crate::peer::{Answer, Outgoing, Peer};
use crate::room::Room;
use crate::session::Shared;
use examples::Example;

/// One message that takes a decision, in a gate that only simulates.
pub(crate) struct Rehearsal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) examples: Arc<Examples>,
    pub(crate) way: Way,
    /// `None` for a notification.
    pub(crate) asker: Option<Asker>,
    pub(crate) operation: Operation,
    /// One of a bounded number.
    pub(crate) slot: OwnedSemaphorePermit,
    /// What the message takes of what its server may, if it is one's.
    pub(crate) _room: Option<Room>,
}

/// What stands in the place of a result.
enum Made {
    Example(Arc<Example>),
    Instance(Exact),
    /// The tool declares no output schema, and nobody recorded an example.
    Nothing,
}

impl Rehearsal {
    /// Asks what would be decided, and answers.
    pub(crate) async fn run(self) {
        let reply = match self.way {
            Way::ToUpstream => {
                let reply = self.for_server().await;
                if self.operation.stateless { whole(reply) } else { reply }
            }
            Way::ToClient => {
                let would = self.would_be().await;
                simulated::not_passed_on(would.as_ref().map(|(simulated, _)| simulated))
            }
        };
        self.end(reply).await;
        drop(self.slot);
    }

    fn executor(&self) -> &Peer {
        match self.way {
            Way::ToUpstream => &self.shared.upstream,
            Way::ToClient => &self.shared.client,
        }
    }

    async fn would_be(&self) -> Result<(Simulated, Terms), Refusal> {
        if self.executor().table.is_shut() {
            return Err(Refusal::own(ReasonCode::UpstreamUnavailable, None));
        }
        self.shared.desk.simulate(&self.operation).await
    }

    /// The answer to what the client asked of the server.
    async fn for_server(&self) -> Reply {
        if self.operation.goes_on_with().is_some_and(|state| !self.shared.given.holds(state)) {
            return foreign_state();
        }
        let form = self.operation.form(&self.shared.typed);
        let (simulated, terms) = match self.would_be().await {
            Ok(would) => would,
            Err(refusal) => return simulated::refused(&refusal, form),
        };
        if let Some(code) = self.shared.forbids(&terms) {
            return simulated::unsent(&simulated, &Refusal::own(code, None), form);
        }
        match self.operation.called() {
            None => simulated::of_method(&simulated, &self.operation.method, self.operation.stateless),
            Some(_) if self.operation.as_task => {
                simulated::no_result(&simulated, "tasks are not simulated", Form::Error)
            }
            Some(tool) => self.called(&simulated, tool).await,
        }
    }

    /// The answer to a tool's call that would have been permitted.
    async fn called(&self, simulated: &Simulated, tool: &str) -> Reply {
        match self.made(tool).await {
            Ok(Made::Example(example)) => simulated::result(simulated, Kind::Example, example.result.clone()),
            Ok(Made::Instance(value)) => {
                simulated::result(simulated, Kind::Instance, structured(&value.to_canonical()))
            }
            Ok(Made::Nothing) => simulated::result(simulated, Kind::Nothing, Members::default()),
            Err(why) => simulated::no_result(simulated, &why, Form::TypedTool),
        }
    }

    /// What there is in the place of the tool's result, or why there is nothing that may be given.
    async fn made(&self, tool: &str) -> Result<Made, String> {
        let example = self.examples.of((&self.shared.server, tool), self.operation.arguments_text());
        match self.defined(tool).await? {
            None => Ok(example.map_or(Made::Nothing, Made::Example)),
            Some(definition) => {
                // What a schema takes is counted, and may be a good deal: not on the thread that all conversations share.
                let made = spawn_blocking(move || made_by(&definition, example)).await;
                made.unwrap_or_else(|_| Err("the making of one broke off".to_owned()))
            }
        }
    }

    /// The definition of a tool that declares an output schema, as its server has it now.
    async fn defined(&self, tool: &str) -> Result<Option<Arc<ToolDefinition>>, String> {
        let listed = self.shared.tools.list_until(Instant::now() + self.shared.desk.deadline).await;
        let known = self.shared.tools.schemas.outputs.of(tool);
        if known.is_none() && !listed && self.shared.typed.form(Some(tool)) == Form::TypedTool {
            return Err("the tool server does not say any more which form its results have".to_owned());
        }
        Ok(known)
    }

    /// Answers, unless the asker has cancelled.
    async fn end(&self, reply: Reply) {
        let Some(Asker { id, cancelled }) = &self.asker else {
            return self.shared.note_blocked(&self.operation.label(), &reply);
        };
        let cancelled = *cancelled.borrow();
        self.executor().table.close(id);
        let asker = match self.way {
            Way::ToUpstream => &self.shared.client,
            Way::ToClient => &self.shared.upstream,
        };
        if !cancelled {
            asker.give(Outgoing::Answer(Answer { id: Some(id.clone()), reply })).await;
        }
    }
}

/// A result with this structured content. Clients that do not read it have it as text too.
fn structured(value: &str) -> Members {
    let content = format!(r#"[{{"type":"text","text":{}}}]"#, quote(value));
    let mut result = Members::default();
    result.set("content", content);
    result.set("structuredContent", value.to_owned());
    result
}

fn made_by(definition: &ToolDefinition, example: Option<Arc<Example>>) -> Result<Made, String> {
    let schema = match OutputSchema::of(definition) {
        None => return Ok(example.map_or(Made::Nothing, Made::Example)),
        Some(Err(unusable)) => {
            return Err(format!(
                "its output schema is not understood: at `{}`, {}",
                unusable.at, unusable.why
            ));
        }
        Some(Ok(schema)) => schema,
    };
    match example {
        Some(example) if example.fits(&schema) => Ok(Made::Example(example)),
        Some(example) => Err(format!("the example of line {} does not fit its output schema", example.line)),
        None => {
            let made = schema.smallest().map(Made::Instance);
            made.ok_or_else(|| "no value was found that fits its output schema".to_owned())
        }
    }
}

/// The members of an object; `None` of what is none.
fn members(object: &Exact) -> Option<Members> {
    members_of(&object.to_canonical())
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
