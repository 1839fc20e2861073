//! The messages that pass without a decision: a closed list. What is not on it needs a permit or is blocked.

use crate::message::{Body, Id, Params, Refused, quote};
use portcullis_protocol::ReasonCode;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),* }

        impl $name {
            pub(crate) fn of(method: &str) -> Option<Self> {
                match method {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words!(
    /// Requests of the client that only ask what there is.
    ClientRequest {
        Initialize = "initialize",
        Discover = "server/discover",
        Ping = "ping",
        ToolsList = "tools/list",
        PromptsList = "prompts/list",
        ResourcesList = "resources/list",
        ResourceTemplatesList = "resources/templates/list",
        SetLogLevel = "logging/setLevel",
    }
);
words!(
    /// Notifications of the client. `notifications/cancelled` is not here: it is mapped, not forwarded.
    ClientNotice {
        Initialized = "notifications/initialized",
        Progress = "notifications/progress",
        RootsChanged = "notifications/roots/list_changed",
    }
);
words!(
    /// Notifications of the tool server. `notifications/cancelled` is mapped, as above.
    ServerNotice {
        Message = "notifications/message",
        Progress = "notifications/progress",
        ToolsChanged = "notifications/tools/list_changed",
        ResourcesChanged = "notifications/resources/list_changed",
        ResourceUpdated = "notifications/resources/updated",
        PromptsChanged = "notifications/prompts/list_changed",
        Subscribed = "notifications/subscriptions/acknowledged",
    }
);

words!(
    /// Requests that a tool server may make of the client, each under a permit. What is not here, and what clients ask of servers
    /// above all, is not decided in the agent's name.
    ServerRequest {
        Sample = "sampling/createMessage",
        Elicit = "elicitation/create",
        Roots = "roots/list",
        TaskGet = "tasks/get",
        TaskResult = "tasks/result",
        TaskList = "tasks/list",
        TaskCancel = "tasks/cancel",
    }
);

impl ServerRequest {
    /// Whether clients ask the same of servers.
    pub(crate) const fn goes_both_ways(self) -> bool {
        match self {
            Self::Sample | Self::Elicit | Self::Roots => false,
            Self::TaskGet | Self::TaskResult | Self::TaskList | Self::TaskCancel => true,
        }
    }
}

/// Cancels a request; to be mapped to the id that the other side knows.
pub(crate) const CANCELLED: &str = "notifications/cancelled";

/// A message that passes without a decision. Made only from the closed lists of this module.
#[derive(Debug)]
pub(crate) struct Harmless(String);

impl Harmless {
    /// A request under the gate's own id.
    pub(crate) fn request(method: ClientRequest, number: u64, params: Option<&Params>) -> Self {
        let params = params.map_or(String::new(), |params| format!(r#","params":{}"#, params.text));
        Self(format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"{}"{params}}}"#, method.as_str()))
    }

    pub(crate) fn client_notice(method: ClientNotice, params: Option<&Params>) -> Self {
        Self::notice(method.as_str(), params)
    }

    pub(crate) fn server_notice(method: ServerNotice, params: Option<&Params>) -> Self {
        Self::notice(method.as_str(), params)
    }

    fn notice(method: &'static str, params: Option<&Params>) -> Self {
        let params = params.map_or(String::new(), |params| format!(r#","params":{}"#, params.text));
        Self(format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#))
    }

    /// The cancellation of a request that is known to the receiver as `number`.
    pub(crate) fn cancelled(number: u64, reason: Option<&str>) -> Self {
        let reason = reason.map_or(String::new(), |reason| format!(r#","reason":{reason}"#));
        Self(format!(
            r#"{{"jsonrpc":"2.0","method":"{CANCELLED}","params":{{"requestId":{number}{reason}}}}}"#
        ))
    }

    /// Tells an asker, under its progress token as raw JSON, for the `number`th time why its call is held. Progress of the
    /// tool server's own begins with more.
    pub(crate) fn held(token: &str, number: u32, code: ReasonCode) -> Self {
        let progress = f64::from(number) / f64::from(u32::MAX);
        let message = quote(&format!("held: {code}: {}", code.message()));
        Self(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress},"message":{message}}}}}"#
        ))
    }

    /// How long its text is.
    pub(crate) const fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The message's text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// Refuses members that JSON-RPC does not know on a message that nobody decides.
pub(crate) fn nothing_else(body: &Body) -> Result<(), Refused> {
    match body.others.0.first() {
        None => Ok(()),
        Some(_) => {
            Err(Refused::new(ReasonCode::RequestUnknownField, "the message has an unknown top-level member"))
        }
    }
}

/// Which request a cancellation means, and its reason as raw JSON.
pub(crate) fn cancellation(body: &Body) -> Option<(Id, Option<&str>)> {
    let params = body.params.as_ref()?;
    let id = Id::from_loose(params.read.get("requestId")?)?;
    let reason = params.raw.get("reason").filter(|raw| raw.starts_with('"'));
    Some((id, reason))
}
