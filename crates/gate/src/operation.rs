//! What a message asks to do: what makes it the operation it is, the exact bytes to be sent, and, once the
//! surfaces are known, to which of them it belongs.

use portcullis_protocol::request::Ask;
use portcullis_protocol::{
    ActionName, Digest, Domain, Idempotency, IdempotencyKey, Limits, Loose, OnSilence, Payload, ReasonCode,
    Resource, SurfaceName, SurfaceSpec, SurfaceTable, Tier, ToolName, UNKNOWN, Value, canonical, fold,
};

use crate::case::Way;
use crate::form::{Form, TypedTools};
use crate::handles::Wanted;
use crate::harmless::ServerRequest;
use crate::message::{Body, Id, Members, Params, Refused};
use crate::notes::escape;
use crate::pins::Sight;
use crate::questions::{ANSWERS, STATE, state_of};

/// Where a client puts its idempotency key, in `params._meta`.
pub(crate) const KEY: &str = "portcullis/idempotency-key";
/// The surface of starts: of tool servers that get credentials in their environment.
const START: &str = "upstream.start";
/// What a start is of.
const STARTED: &str = "ToolServer";
/// Parameters that some method gives a meaning.
const KNOWN: [&str; 8] = ["name", "arguments", "uri", "_meta", "task", "ref", ANSWERS, STATE];

/// A message that needs a decision.
#[derive(Debug)]
pub(crate) struct Operation {
    server: String,
    target: Target,
    /// The surface of what has none of its own.
    unknown: SurfaceName,
    /// The message without its id.
    pub(crate) bytes: Vec<u8>,
    payload: Digest,
    /// What that is the digest of, as far as it can be kept.
    kept: Option<Payload>,
    arguments: Loose,
    /// The same of a tool's call as they are sent.
    sent: Option<String>,
    key: Option<IdempotencyKey>,
    /// The request that it goes on with, if it does.
    continues: Option<Continued>,
    /// Whether the asker speaks the stateless revision.
    pub(crate) stateless: bool,
    /// What kind of request it is.
    pub(crate) method: String,
    /// Whether it is to be begun as a task.
    pub(crate) as_task: bool,
    /// What it asks about a task, if it does.
    pub(crate) task: Option<Wanted>,
    /// Under which token, as raw JSON, the asker wants to hear of progress, if it does.
    pub(crate) progress: Option<String>,
}

/// A request that the server had answered with questions. Its continuation runs at most once for the state that the server
/// had given with them, whatever is answered: who repeats the first request is given the same questions and the same state.
#[derive(Clone, Copy, Debug)]
struct Continued {
    /// The payload of the first request.
    payload: Digest,
    /// The state that the server had given.
    state: Digest,
}

/// What a message addresses, as far as it can be told without a bundle.
#[derive(Debug)]
enum Target {
    /// A tool, by the name that its server knows. The bundle says to which surface it belongs.
    Tool(String),
    /// The start of the tool server itself.
    Start(SurfaceName),
    /// Any other method, which has the surface of its own name, if its name can be one.
    Method(Option<SurfaceName>),
}

/// What a surface promises, as far as the gate must keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether the operation has a surface by these rules. What has none is decided, so that it is on record, and
    /// never runs.
    pub(crate) named: bool,
    /// Whether its surface is of the tier `critical`.
    pub(crate) critical: bool,
    /// Whether it runs at most once: its outcome is then on record before its answer is handed out.
    pub(crate) keyed: bool,
    /// Whether its result is kept, for repeats to be answered with.
    pub(crate) keeps_results: bool,
    /// Why its tool may not be called, by the bundle's pins.
    pub(crate) tool: Option<ReasonCode>,
    /// By what that was judged, where pins bind the server.
    pub(crate) sight: Option<Sight>,
}

impl Operation {
    /// Reads what a message to or from the tool server called `server` asks to do.
    pub(crate) fn of(server: &str, way: Way, body: &Body) -> Result<Self, Refused> {
        body.unambiguous(&KNOWN)?;
        let (tool, asks) = match way {
            Way::ToUpstream => (body.method == "tools/call", None),
            Way::ToClient => (false, ServerRequest::of(&body.method)),
        };
        let params = body.params.as_ref();
        // A key is the agent's: a server that names one would use it up.
        let key = params.filter(|_| way == Way::ToUpstream).map_or(Ok(None), key)?;
        let (name, parts) = if tool { tool_call(params)? } else { method_call(body) };
        let unknown = format!("{server}{UNKNOWN}").parse().map_err(invalid)?;
        let called = |arguments, rest| Payload {
            server: server.to_owned(),
            method: body.method.clone(),
            name: name.clone(),
            arguments,
            rest,
        };
        let continues = parts.first.map(|First { operands, rest, state }| Continued {
            payload: called(operands, rest).digest(),
            state: state_of(state.as_bytes()),
        });
        let continues = continues.filter(|_| way == Way::ToUpstream);
        let kept = called(parts.operands, parts.rest);
        let payload = kept.digest();
        let kept = Some(kept).filter(Payload::can_be_kept);
        let target =
            if tool { Target::Tool(name) } else { Target::Method(surface_of(server, &body.method, asks)) };
        let (bytes, arguments) = (body.to_bytes(), parts.arguments);
        let sent = params.filter(|_| tool).and_then(|params| params.raw.get("arguments"));
        let sent = sent.map(str::to_owned);
        let stateless = body.revision().is_some();
        let (server, method) = (server.to_owned(), body.method.clone());
        let as_task = params.is_some_and(|params| tool && params.read.contains_key("task"));
        let task = params.filter(|_| way == Way::ToUpstream);
        let task = task.and_then(|params| params.read.get("taskId")?.as_str());
        let task = task.and_then(|task| Wanted::by(&body.method, task));
        let progress = params.and_then(|params| params.read.get("_meta")?.pointer("/progressToken"));
        let progress = progress.and_then(Id::from_loose).map(|token| token.to_json());
        Ok(Self {
            server,
            target,
            unknown,
            bytes,
            payload,
            kept,
            arguments,
            sent,
            key,
            continues,
            stateless,
            method,
            as_task,
            task,
            progress,
        })
    }

    /// The start of the tool server called `server`; `how` says which one it is, as a JSON object in its canonical form. Policy
    /// reads it as it does a tool's arguments.
    pub(crate) fn start(server: &str, how: &str) -> Result<Self, Refused> {
        let limits = Limits { bytes: how.len(), ..Limits::MESSAGE };
        let arguments = Loose::parse(how.as_bytes(), limits)
            .map_err(|error| Refused::new(error.code(), error.to_string()))?;
        let method = START.to_owned();
        let kept = Payload {
            server: server.to_owned(),
            method: method.clone(),
            name: String::new(),
            arguments: how.to_owned(),
            rest: String::new(),
        };
        Ok(Self {
            server: server.to_owned(),
            target: Target::Start(START.parse().map_err(invalid)?),
            unknown: format!("{server}{UNKNOWN}").parse().map_err(invalid)?,
            bytes: how.as_bytes().to_vec(),
            payload: kept.digest(),
            kept: Some(kept).filter(Payload::can_be_kept),
            arguments,
            sent: None,
            key: None,
            continues: None,
            stateless: false,
            method,
            as_task: false,
            task: None,
            progress: None,
        })
    }

    /// The state that it goes on with, as [`Given`](crate::questions::Given) has it; `None` if it begins.
    pub(crate) fn goes_on_with(&self) -> Option<Digest> {
        self.continues.map(|first| self.state_for(first.payload, first.state))
    }

    /// A state that the server answers it with, as the request that goes on will name it.
    pub(crate) fn given(&self, state: Digest) -> Digest {
        self.state_for(self.continues.map_or(self.payload, |first| first.payload), state)
    }

    fn state_for(&self, first: Digest, state: Digest) -> Digest {
        let key = self.key.as_ref().map_or("", |key| key.as_str());
        Digest::of(Domain::Key, &[first.as_bytes(), key.as_bytes(), state.as_bytes()])
    }

    /// In which form its refusal is answered.
    pub(crate) fn form(&self, typed: &TypedTools) -> Form {
        match &self.target {
            Target::Tool(name) => typed.form(Some(name)),
            Target::Start(_) | Target::Method(_) => Form::Error,
        }
    }

    /// The tool that it calls, if it does and a bundle could name it.
    pub(crate) fn tool(&self) -> Option<ToolName> {
        let Target::Tool(name) = &self.target else { return None };
        format!("{}/{name}", self.server).parse().ok()
    }

    /// The name of the tool that it calls, as its server knows it.
    pub(crate) fn called(&self) -> Option<&str> {
        match &self.target {
            Target::Tool(name) => Some(name),
            Target::Start(_) | Target::Method(_) => None,
        }
    }

    /// The arguments of a tool's call, as JSON. Without any they are an empty object.
    pub(crate) fn arguments_text(&self) -> &str {
        self.sent.as_deref().map_or("{}", |sent| sent)
    }

    /// What its payload digest is of; `None` if that is more than can be kept.
    pub(crate) const fn payload(&self) -> Option<&Payload> {
        self.kept.as_ref()
    }

    /// What people are told that it is.
    pub(crate) fn label(&self) -> String {
        match &self.target {
            Target::Tool(name) => format!("{}/{}", self.server, escape(name.as_bytes(), 128)),
            Target::Start(surface) => surface.to_string(),
            Target::Method(surface) => surface.as_ref().map_or(&self.unknown, |surface| surface).to_string(),
        }
    }

    const fn starts(&self) -> bool {
        matches!(self.target, Target::Start(_))
    }

    /// The surface by these rules; `None` if there is none and it must not run.
    fn surface(&self, table: &SurfaceTable) -> Option<SurfaceName> {
        let surface = match &self.target {
            Target::Tool(name) => table.surface_of_tool(&self.server, name),
            Target::Start(surface) => Some(surface.clone()),
            Target::Method(surface) => surface.clone(),
        };
        // No call is a start, whatever a server or a bundle calls it.
        let other = |surface: &SurfaceName| surface.as_str() != START || self.starts();
        surface.filter(|surface| !surface.as_str().ends_with(UNKNOWN) && other(surface))
    }

    /// What silence does to the asker by these rules; what has no surface of its own is answered at once.
    pub(crate) fn on_silence(&self, table: &SurfaceTable) -> OnSilence {
        let surface = self.surface(table);
        let spec = surface.and_then(|surface| table.surfaces.get(&surface));
        spec.map_or(OnSilence::Terminate, |spec| spec.on_silence)
    }

    /// The question to the arbiter, read by the rules of a bundle's surfaces.
    pub(crate) fn ask(&self, table: &SurfaceTable, run: &[u8; 32]) -> Result<(Ask, Terms), Refused> {
        let own = self.surface(table);
        // A bundle that says nothing of starts has no part in one, whoever permits it.
        let named = own.as_ref().is_some_and(|own| !self.starts() || table.surfaces.contains_key(own));
        let surface = own.unwrap_or_else(|| self.unknown.clone());
        let spec = table.surfaces.get(&surface);
        let context = spec.map_or_else(|| Ok(Default::default()), |spec| self.context(spec))?;
        let idempotency = spec.map_or(Idempotency::None, |spec| spec.idempotency);
        let itself = || Resource { kind: "Surface".into(), id: surface.to_string() };
        let ask = Ask {
            action: action(spec, &surface)?,
            resource: match spec {
                _ if self.starts() => Resource { kind: STARTED.to_owned(), id: self.server.clone() },
                Some(spec) => spec.resource_of_calls(&surface),
                None => itself(),
            },
            acts_for: None,
            context,
            idempotency_key: self.key_for(idempotency, &surface, run)?,
            payload: Some(self.payload),
            envelope: Some(Digest::of(Domain::Payload, &[&self.bytes])),
            mapped_with: None,
            tool: None,
            surface,
        };
        let keyed = match idempotency {
            Idempotency::Key | Idempotency::Derived => true,
            Idempotency::None => false,
        };
        let keeps_results = spec.is_some_and(|spec| spec.keep.result);
        let critical = spec.is_some_and(|spec| spec.tier == Tier::Critical);
        let (tool, sight) = (None, None);
        Ok((ask, Terms { named, critical, keyed, keeps_results, tool, sight }))
    }

    fn context(&self, spec: &SurfaceSpec) -> Result<std::collections::BTreeMap<String, Value>, Refused> {
        spec.extract(&self.arguments).map_err(|code| Refused::new(code, code.message()))
    }

    fn key_for(
        &self,
        idempotency: Idempotency,
        surface: &SurfaceName,
        run: &[u8; 32],
    ) -> Result<Option<IdempotencyKey>, Refused> {
        match (idempotency, &self.key) {
            // On a surface without keys the arbiter says that it takes none.
            (Idempotency::None, given) => Ok(given.clone()),
            (Idempotency::Key, given) => given.as_ref().map(|given| self.continued(given)).transpose(),
            (Idempotency::Derived, None) => self.derived(surface, run).map(Some),
            // A new key for each retry would undo what the surface promises.
            (Idempotency::Derived, Some(_)) => Err(Refused::new(
                ReasonCode::IdempotencyKeyUnexpected,
                "the surface derives its keys from what is asked",
            )),
        }
    }

    fn derived(&self, surface: &SurfaceName, run: &[u8; 32]) -> Result<IdempotencyKey, Refused> {
        let payload = self.continues.map_or(self.payload, |first| first.payload);
        let parts: [&[u8]; 3] = [run, surface.as_str().as_bytes(), payload.as_bytes()];
        self.continued(&key_of("run", &parts)?)
    }

    /// The key of a continuation under the key of what it goes on with.
    fn continued(&self, first: &IdempotencyKey) -> Result<IdempotencyKey, Refused> {
        match self.continues {
            None => Ok(first.clone()),
            Some(Continued { state, .. }) => key_of("next", &[first.as_str().as_bytes(), state.as_bytes()]),
        }
    }
}

fn key_of(kind: &str, parts: &[&[u8]]) -> Result<IdempotencyKey, Refused> {
    let digest = Digest::of(Domain::Key, parts).to_string();
    format!("{kind}:{}", digest.trim_start_matches("sha256:")).parse().map_err(invalid)
}

fn invalid(error: portcullis_protocol::InvalidId) -> Refused {
    Refused::new(ReasonCode::RequestInvalidValue, error.to_string())
}

/// The action of calls on a surface: its only one, else the one of its own name.
fn action(spec: Option<&SurfaceSpec>, surface: &SurfaceName) -> Result<ActionName, Refused> {
    spec.map_or_else(|| surface.as_str().parse(), |spec| spec.action_of_calls(surface)).map_err(invalid)
}

/// What of a call policy may read, and what makes it the same call again.
struct Parts {
    arguments: Loose,
    operands: String,
    rest: String,
    /// The same of the request that it goes on with.
    first: Option<First>,
}

struct First {
    operands: String,
    rest: String,
    state: String,
}

/// The server's state that a continuation brings along, if that is what the parameters are.
fn state(params: &Params) -> Option<String> {
    let is = [ANSWERS, STATE].iter().any(|key| params.raw.get(key).is_some());
    is.then(|| match (params.raw.get(STATE), params.read.get(STATE)) {
        (Some(raw), Some(read)) => operands(raw, read),
        (Some(_) | None, _) => String::new(),
    })
}

fn tool_call(params: Option<&Params>) -> Result<(String, Parts), Refused> {
    let malformed = |detail| Refused::new(ReasonCode::RequestMalformed, detail);
    let Some(params) = params else { return Err(malformed("a tool call without parameters")) };
    let Some(Loose::Str(name)) = params.read.get("name") else {
        return Err(malformed("a tool call without a tool's name"));
    };
    let arguments = match params.read.get("arguments") {
        None => Loose::Object(Default::default()),
        Some(object @ Loose::Object(_)) => object.clone(),
        Some(_) => return Err(malformed("`arguments` must be an object")),
    };
    let operands = params.raw.get("arguments").map_or_else(String::new, |raw| operands(raw, &arguments));
    let rest = params.raw.without(&["name", "arguments", "_meta"]);
    let bytes = |rest: &Members| if rest.0.is_empty() { String::new() } else { reread(rest).1 };
    let first = state(params).map(|state| {
        let rest = bytes(&rest.without(&[ANSWERS, STATE]));
        First { operands: operands.clone(), rest, state }
    });
    Ok((name.clone(), Parts { arguments, operands, rest: bytes(&rest), first }))
}

fn method_call(body: &Body) -> (String, Parts) {
    let Some(params) = &body.params else {
        let arguments = Loose::Object(Default::default());
        let (operands, rest) = (String::new(), String::new());
        return (String::new(), Parts { arguments, operands, rest, first: None });
    };
    let named = ["uri", "name"].into_iter().filter_map(|key| params.read.get(key));
    let name = named.filter_map(Loose::as_str).take(1).collect();
    let (arguments, operands) = reread(&params.raw.without(&["_meta"]));
    let first = state(params).map(|state| {
        let operands = reread(&params.raw.without(&["_meta", ANSWERS, STATE])).1;
        First { operands, rest: String::new(), state }
    });
    (name, Parts { arguments, operands, rest: String::new(), first })
}

/// An object made of members that were read before, and the bytes that stand for it.
fn reread(members: &Members) -> (Loose, String) {
    let text = members.to_text();
    let limits = Limits { bytes: text.len(), ..Limits::MESSAGE };
    // Its members are those of a message that was read within the same bounds.
    let read = Loose::parse(text.as_bytes(), limits).map_or(Loose::Null, |read| read);
    let bytes = operands(&text, &read);
    (read, bytes)
}

/// The canonical text where it is exact, so that a retry with other white space is the same operation; else the text as it is.
pub(crate) fn operands(raw: &str, read: &Loose) -> String {
    let exact = Value::try_from(read.clone()).ok().and_then(|value| canonical::to_bytes(&value).ok());
    let exact = exact.and_then(|bytes| String::from_utf8(bytes).ok());
    exact.unwrap_or_else(|| raw.to_owned())
}

fn key(params: &Params) -> Result<Option<IdempotencyKey>, Refused> {
    let refused = |code, detail: &str| Refused::new(code, detail);
    let meta = match params.read.get("_meta") {
        None => return Ok(None),
        Some(Loose::Object(meta)) => meta,
        Some(_) => return Err(refused(ReasonCode::RequestInvalidValue, "`_meta` must be an object")),
    };
    if meta.keys().any(|name| name != KEY && fold(name) == KEY) {
        return Err(refused(
            ReasonCode::RequestAmbiguousKey,
            "the idempotency key's name in another spelling",
        ));
    }
    match meta.get(KEY) {
        None => Ok(None),
        Some(Loose::Str(text)) => text.parse().map(Some).map_err(invalid),
        Some(_) => Err(refused(ReasonCode::RequestInvalidValue, "an idempotency key must be a string")),
    }
}

/// The surface of a method; of what both sides ask of each other, the server's has one of its own.
fn surface_of(server: &str, word: &str, asks: Option<ServerRequest>) -> Option<SurfaceName> {
    match asks {
        Some(asks) if asks.goes_both_ways() => method(server, &format!("client/{}", asks.as_str())),
        Some(_) | None => method(server, word),
    }
}

/// `{server}.mcp.{method}`, with dots for slashes.
fn method(server: &str, method: &str) -> Option<SurfaceName> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let letter = |c: char| match c.to_ascii_lowercase() {
        '/' => '.',
        c if fits(c) => c,
        _ => '_',
    };
    let words: String = method.chars().map(letter).collect();
    format!("{server}.mcp.{words}").parse().ok()
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
