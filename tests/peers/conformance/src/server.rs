//! The server: lists, resources, prompts, completion and subscriptions.

// What only older revisions have is deprecated since 2026-07-28; their clients are tested too.
#![allow(deprecated)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::*;
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;

use crate::fixture::Fixture;
use crate::rounds::{Brought, Turn, codec, turn};

type Context = RequestContext<RoleServer>;
type Page = Option<PaginatedRequestParams>;

/// How long lists count, in milliseconds.
const FRESH: u64 = 60_000;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) fixture: Arc<Fixture>,
    pub(crate) codec: RequestStateCodec,
    subscriptions: Arc<Mutex<Subscriptions>>,
}

#[derive(Default)]
struct Subscriptions {
    last: u64,
    open: BTreeMap<u64, SubscriptionSink>,
}

impl Server {
    pub(crate) fn new() -> Result<Self, serde_json::Error> {
        Ok(Self { fixture: Arc::new(Fixture::read()?), codec: codec(), subscriptions: Arc::default() })
    }

    /// Those that are open now.
    pub(crate) fn subscriptions(&self) -> Vec<SubscriptionSink> {
        let all = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        all.open.values().cloned().collect()
    }

    fn subscribed(&self, sink: SubscriptionSink) -> u64 {
        let mut all = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        all.last += 1;
        let number = all.last;
        all.open.insert(number, sink);
        number
    }

    fn prompt(
        &self,
        request: &GetPromptRequestParams,
        context: &Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Some(asking) = self.fixture.asking.get(&request.name) else {
            let arguments = request.arguments.clone().unwrap_or_default();
            return self.fixture.prompt::<GetPromptResult>(&request.name, &arguments).map(Into::into);
        };
        let brought = Brought {
            answers: request.input_responses.as_ref(),
            state: request.request_state.as_deref(),
            capabilities: context.client_capabilities().unwrap_or_default(),
        };
        Ok(match turn(asking, &brought, &self.codec)? {
            Turn::Asks(questions) => questions.into(),
            Turn::Done(text) => GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into(),
        })
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("portcullis-conformance-server", "0.1.0"))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.fixture.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(&self, _page: Page, _context: Context) -> Result<ListToolsResult, ErrorData> {
        let list = ListToolsResult { tools: self.fixture.tools.clone(), ..Default::default() };
        Ok(list.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, context).await
    }

    async fn list_prompts(&self, _page: Page, _context: Context) -> Result<ListPromptsResult, ErrorData> {
        let list = ListPromptsResult { prompts: self.fixture.prompts.clone(), ..Default::default() };
        Ok(list.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.prompt(&request, &context)
    }

    async fn list_resources(&self, _page: Page, _context: Context) -> Result<ListResourcesResult, ErrorData> {
        let list = ListResourcesResult { resources: self.fixture.resources.clone(), ..Default::default() };
        Ok(list.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _page: Page,
        _context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let resource_templates = self.fixture.templates.clone();
        let list = ListResourceTemplatesResult { resource_templates, ..Default::default() };
        Ok(list.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let missing =
            || ErrorData::resource_not_found(format!("there is no `{uri}`"), Some(json!({ "uri": uri })));
        let content = self.fixture.content(uri).ok_or_else(missing)?;
        let content: ResourceContents = serde_json::from_value(content)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let result = ReadResourceResult::new(vec![content]);
        Ok(result.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public).into())
    }

    async fn subscribe(&self, _request: SubscribeRequestParams, _context: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let number = self.subscribed(context.sink().clone());
        context.cancelled().await;
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&number);
        Ok(())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let all = ["testing", "tested", "other"].map(str::to_owned);
        let fits = all.into_iter().filter(|value| value.starts_with(&request.argument.value)).collect();
        let completion = CompletionInfo::new(fits).map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(completion))
    }

    async fn set_level(&self, _request: SetLevelRequestParams, _context: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}
