//! Tools that do more than answer: they say how far they are, ask the client, or say that something changed.

// Sampling and logging are deprecated since 2026-07-28 (SEP-2577); clients of older revisions are tested with them.
#![allow(deprecated)]

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateMessageRequestParams, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
    SamplingMessage,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::rounds::{Brought, Turn, turn};
use crate::server::Server;

type Context = RequestContext<RoleServer>;
type Called = Result<CallToolResult, ErrorData>;

fn said(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text.into())])
}

fn lost(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

impl Server {
    pub(crate) async fn call(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if let Some(asking) = self.fixture.asking.get(name) {
            let brought = Brought {
                answers: request.input_responses.as_ref(),
                state: request.request_state.as_deref(),
                capabilities: context.client_capabilities().unwrap_or_default(),
            };
            return Ok(match turn(asking, &brought, &self.codec)? {
                Turn::Asks(questions) => questions.into(),
                Turn::Done(text) => said(text).into(),
            });
        }
        let called = match name {
            "test_tool_with_logging" => logging(&context).await,
            "test_tool_with_progress" => progress(&context).await,
            "test_logging_tool" => log_if_asked(&context).await,
            "test_missing_capability" => needs_sampling(&context),
            "test_sampling" => sampling(&request, &context).await,
            "test_trigger_tool_change" => self.tools_changed().await,
            "test_trigger_prompt_change" => self.prompts_changed().await,
            name if name.starts_with("test_elicitation") => self.elicitation(name, &context).await,
            name => self.fixture.answer(name),
        };
        called.map(Into::into)
    }

    async fn elicitation(&self, tool: &str, context: &Context) -> Called {
        let answer = context.peer.create_elicitation(self.fixture.form(tool)?).await.map_err(lost)?;
        let answer = serde_json::to_value(answer).map_err(lost)?;
        let part = |name: &str| answer.get(name).cloned().unwrap_or_default();
        let action = part("action");
        let action = action.as_str().unwrap_or_default();
        Ok(said(format!("The user's answer: action={action}, content={}", part("content"))))
    }

    async fn tools_changed(&self) -> Called {
        for subscription in self.subscriptions() {
            // Who did not subscribe to it is not told.
            let _told = subscription.notify_tool_list_changed().await;
        }
        Ok(said("The list of tools changed"))
    }

    async fn prompts_changed(&self) -> Called {
        for subscription in self.subscriptions() {
            let _told = subscription.notify_prompt_list_changed().await;
        }
        Ok(said("The list of prompts changed"))
    }
}

async fn log(context: &Context, level: LoggingLevel, text: &str) -> Result<(), ErrorData> {
    let message = LoggingMessageNotificationParam::new(level, json!(text)).with_logger("conformance");
    context.peer.notify_logging_message(message).await.map_err(lost)
}

async fn logging(context: &Context) -> Called {
    for text in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        log(context, LoggingLevel::Info, text).await?;
    }
    Ok(said("Logged three messages"))
}

async fn log_if_asked(context: &Context) -> Called {
    if let Some(level) = context.meta.log_level() {
        log(context, level, "A level was asked for").await?;
    }
    Ok(said("Logged what was asked for"))
}

async fn progress(context: &Context) -> Called {
    let token = context.meta.get_progress_token();
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = token.clone() {
            let progress = ProgressNotificationParam::new(token, done).with_total(100.0);
            context.peer.notify_progress(progress).await.map_err(lost)?;
        }
    }
    Ok(said("Came to the end"))
}

fn needs_sampling(context: &Context) -> Called {
    if context.client_capabilities().is_some_and(|can| can.sampling.is_some()) {
        return Ok(said("The client samples"));
    }
    let wanted = ClientCapabilities::builder().enable_sampling().build();
    Err(ErrorData::missing_required_client_capability(wanted))
}

async fn sampling(request: &CallToolRequestParams, context: &Context) -> Called {
    let arguments = request.arguments.as_ref();
    let prompt = arguments.and_then(|arguments| arguments.get("prompt")).and_then(Value::as_str);
    let messages = vec![SamplingMessage::user_text(prompt.unwrap_or_default())];
    let answer = context.peer.create_message(CreateMessageRequestParams::new(messages, 100)).await;
    let answer = answer.map_err(lost)?;
    let text = answer.message.content.first().and_then(|content| content.as_text());
    Ok(said(format!("LLM response: {}", text.map(|text| text.text.as_str()).unwrap_or_default())))
}
