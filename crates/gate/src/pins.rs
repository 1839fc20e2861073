//! What the tool server says its tools are, and what of that its client gets to see.
//!
//! Two lists are looked at. The client's own passes through, and loses what may not be called: a description is read by a
//! model, and works there without a call. Where the bundle pins tools of the server, the gate asks for a list by itself too,
//! before a call and again when its own is too old or the server says that it changed: what the client saw is not proof of
//! what the server would run. A server that tells the two different things is held to the worse of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::{CalledTool, ReasonCode, ToolDefinition, ToolName, ToolPins, ToolSeen};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::answer;
use crate::company::{Company, Which};
use crate::harmless::{ClientRequest, Harmless};
use crate::lookalike::{Entry, are_alike, beginning, seen};
use crate::message::{Body, Members, Params, Reply, members_of, quote};
use crate::mirrored::Mirrors;
use crate::notes::Notes;
use crate::page::{MAX_PAGES, MAX_TOOLS, NoPage, Page, Whence};
use crate::peer::{Outgoing, Peer};
use crate::schemas::Schemas;
use crate::table::{Asking, Wanted};

/// How often a list is asked for anew that changed while it was read, before it counts as unknown.
const TRIES: usize = 3;
/// How long what was heard when a call was permitted may be gone by until it is sent, however short the bound, and however long
/// the server took to say it.
const RELEASING: Duration = Duration::from_secs(1);
/// What is left of that, at the least, when a call is handed to who writes it.
const WRITING: Duration = Duration::from_millis(250);
/// Lists that may be on their way to the client at once.
const PASSING: usize = 64;
/// Tools that people are told of by name, of one list.
const NAMED: usize = 10;

/// Definitions by name, as they were seen.
type Seen = BTreeMap<String, ToolSeen>;

/// The tools of one server.
pub(crate) struct Tools {
    server: String,
    /// What the other servers of the gate list.
    company: Arc<Company>,
    upstream: Peer,
    /// How old the gate's own list may be when a call is judged by it.
    within: Duration,
    state: Mutex<State>,
    /// One list at a time: whoever waits for it uses it too.
    listing: tokio::sync::Mutex<()>,
    slots: Arc<Semaphore>,
    /// Of what is pinned.
    pub(crate) schemas: Schemas,
    pub(crate) mirrors: Mirrors,
    notes: Notes,
}

#[derive(Default)]
struct State {
    /// Grows with everything after which a list is not to be gone by.
    changes: u64,
    listed: Option<Listed>,
    /// What was on the pages that the client asked for last, and how often that has changed.
    shown: BTreeSet<Entry>,
    pages: u64,
    /// What is seen in them.
    shown_as: Seen,
    /// Names that were ambiguous when the list was last read, until it was read to its end once more: what they look like may be on
    /// a page to come.
    doubted: BTreeSet<String>,
    /// Where the list goes on that was begun last. What answers another cursor is none of its pages, and does not end it.
    awaited: Option<String>,
    /// What a client of the stateless revision says of itself with each request, as the members of `_meta` that the
    /// protocol reads.
    client: Option<String>,
}

/// When the gate asked for a list, and when it had heard all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct When {
    asked: Instant,
    heard: Instant,
}

/// The gate's own list.
struct Listed {
    when: When,
    changes: u64,
    tools: Seen,
}

impl Listed {
    fn is_fresh(&self, changes: u64, within: Duration) -> bool {
        self.changes == changes && self.when.asked.elapsed() < within
    }
}

/// What is seen of a tool, and until when that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) seen: ToolSeen,
    /// What the gate's own list has of it, and of when that is.
    listed: Option<(ToolSeen, When)>,
    /// Until which change of the server's tools.
    changes: u64,
}

/// That a server has said nothing of its tools since a call was judged by them, and that this was not long ago.
#[derive(Clone)]
pub(crate) struct Since {
    tools: Arc<Tools>,
    sight: Sight,
}

impl Since {
    /// As if the tool had been seen on a list that was asked for and heard at `at`.
    #[cfg(test)]
    pub(crate) fn of(tools: Arc<Tools>, at: Instant) -> Self {
        let sight = Sight {
            seen: ToolSeen::Absent,
            listed: Some((ToolSeen::Absent, When { asked: at, heard: at })),
            changes: 0,
        };
        Self { tools, sight }
    }

    /// Whether nothing is known to have changed, and that is known of now.
    pub(crate) fn holds(&self) -> bool {
        self.tools.state().changes == self.sight.changes && self.tools.is_recent(self.sight, Duration::ZERO)
    }
}

impl std::fmt::Debug for Since {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Since").field("sight", &self.sight).finish_non_exhaustive()
    }
}

impl Tools {
    pub(crate) fn new(
        (server, company): (String, Arc<Company>),
        upstream: Peer,
        within: Duration,
        notes: Notes,
    ) -> Self {
        let (state, listing, slots) =
            (Mutex::default(), tokio::sync::Mutex::new(()), Semaphore::new(PASSING));
        let (slots, schemas) = (Arc::new(slots), Schemas::default());
        let mirrors = Mirrors::default();
        Self { server, company, upstream, within, state, listing, slots, schemas, mirrors, notes }
    }

    /// Room for one more list on its way to the client.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what a client of the stateless revision says of itself: the gate's own questions say the same.
    pub(crate) fn hear(&self, body: &Body) {
        let (Some(_), Some(params)) = (body.revision(), &body.params) else { return };
        let Some(mut meta) = params.raw.get("_meta").and_then(members_of) else { return };
        meta.0.retain(|(key, _)| key.starts_with("io.modelcontextprotocol/"));
        self.state().client = Some(meta.to_text());
    }

    /// The server says that its tools are others now. What could be mistaken stays so until the client lists again: a server
    /// without pins is asked by nobody else.
    pub(crate) fn changed(&self) {
        self.mirrors.forget();
        let mut state = self.state();
        state.changes = state.changes.saturating_add(1);
        state.pages = state.pages.saturating_add(1);
        state.shown.clear();
        state.awaited = None;
        state.shown_as.retain(|_, seen| *seen == ToolSeen::Ambiguous);
    }

    /// What is seen of a tool that is to be called. Where pins bind the server it is asked, if what it said is too old; that
    /// takes no longer than half of the time until `end`, so that the refusal can still be put on record.
    pub(crate) async fn look(&self, tool: &ToolName, pins: &ToolPins, end: Instant) -> Sight {
        let sight = self.look_alone(tool, pins, end).await;
        // Whatever the server says of it: what another one says makes it one of two.
        let ambiguous = self.company.is_ambiguous(&self.server, tool.parts().1);
        if ambiguous { Sight { seen: ToolSeen::Ambiguous, ..sight } } else { sight }
    }

    async fn look_alone(&self, tool: &ToolName, pins: &ToolPins, end: Instant) -> Sight {
        let (_, name) = tool.parts();
        if !pins.bind(&self.server) {
            let state = self.state();
            let seen = state.shown_as.get(name).copied().map_or(ToolSeen::Unknown, |seen| seen);
            return Sight { seen, listed: None, changes: state.changes };
        }
        self.schemas.want(pins.of(&self.server));
        let now = Instant::now();
        let half = end.saturating_duration_since(now).checked_div(2).map_or(Duration::ZERO, |half| half);
        let known = self.list_until(now + half).await;
        // The names of a bundle's pins are compared while nobody waits for what is known.
        let other = pins.of(&self.server).any(|(pinned, _)| are_alike(pinned, name));
        let state = self.state();
        let unknown = Sight { seen: ToolSeen::Unknown, listed: None, changes: state.changes };
        let Some(listed) = state.listed.as_ref().filter(|listed| known && listed.changes == state.changes)
        else {
            return unknown;
        };
        let own = listed.tools.get(name).copied().map_or(ToolSeen::Absent, |seen| seen);
        let pin = pins.tools.get(tool).map(|pin| ToolSeen::Defined(*pin));
        let seen = match state.shown_as.get(name).copied() {
            // Whichever is not the pinned one.
            Some(shown) if Some(own) == pin => shown,
            Some(_) | None => own,
        };
        let seen = if other && !pins.tools.contains_key(tool) { ToolSeen::Ambiguous } else { seen };
        Sight { seen, listed: Some((own, listed.when)), ..unknown }
    }

    /// Whether what was seen may still be gone by, and for so long. A list that was heard just now may be for a moment, however
    /// short the bound.
    fn is_recent(&self, sight: Sight, more: Duration) -> bool {
        let since = |then: Instant| then.elapsed().saturating_add(more);
        sight.listed.is_some_and(|(_, when)| since(when.asked) < self.within || since(when.heard) < RELEASING)
    }

    /// Looks at a tool once more, when its call is permitted: what it was judged by may have grown too old while that was decided.
    /// What must still hold when the call is sent, or why it is not.
    pub(crate) async fn still(
        self: &Arc<Self>,
        tool: &ToolName,
        sight: Sight,
        end: Instant,
    ) -> Result<Since, ReasonCode> {
        let since = |sight| Since { tools: Arc::clone(self), sight };
        if self.is_recent(sight, WRITING) {
            return Ok(since(sight));
        }
        if !self.list_until(end).await {
            return Err(ReasonCode::ToolDefinitionUnknown);
        }
        let (_, name) = tool.parts();
        let state = self.state();
        let listed =
            state.listed.as_ref().filter(|it| it.changes == state.changes && it.changes == sight.changes);
        let Some(listed) = listed else { return Err(ReasonCode::ToolDefinitionUnknown) };
        let own = listed.tools.get(name).copied().map_or(ToolSeen::Absent, |seen| seen);
        if sight.listed.is_none_or(|(before, _)| before != own) {
            return Err(ReasonCode::ToolDefinitionChanged);
        }
        Ok(since(Sight { listed: Some((own, listed.when)), ..sight }))
    }

    /// Sees to it that there is a list that is not too old, in time. Whether there is one.
    pub(crate) async fn list_until(&self, end: Instant) -> bool {
        let listed = timeout_at(end, self.list()).await;
        if listed.is_err() {
            self.notes.say("the tool server does not list its tools to the gate in time");
        }
        listed.is_ok_and(|listed| listed)
    }

    /// Sees to it that there is a list that is not too old. Whether there is one.
    async fn list(&self) -> bool {
        let _one = self.listing.lock().await;
        for _ in 0..TRIES {
            let before = {
                let state = self.state();
                let listed = state.listed.as_ref().filter(|it| it.is_fresh(state.changes, self.within));
                if listed.is_some_and(|it| self.schemas.know(it.tools.values())) {
                    return true;
                }
                state.changes
            };
            let asked = Instant::now();
            let tools = match self.ask_for_all().await {
                Ok(tools) => seen(&tools),
                Err(why) => {
                    self.notes.say(format!("the tool server does not list its tools to the gate: {why}"));
                    return false;
                }
            };
            self.company.hear((&self.server, Which::Gate), tools.keys());
            let mut state = self.state();
            let when = When { asked, heard: Instant::now() };
            state.listed = Some(Listed { when, changes: before, tools });
            if state.changes == before {
                return true;
            }
        }
        false
    }

    /// All tools, page by page. A definition that cannot be read makes a list that cannot.
    async fn ask_for_all(&self) -> Result<Vec<Entry>, String> {
        let (mut tools, mut cursor, mut cursors) = (Vec::new(), None, BTreeSet::new());
        for _ in 0..MAX_PAGES {
            let text = match self.ask(cursor.as_deref()).await {
                Some(Reply::Result(text)) => text,
                Some(Reply::Error(_)) => return Err("it answers with an error".to_owned()),
                None => return Err("it does not answer".to_owned()),
            };
            let page = Page::read(&text).map_err(|error| format!("its answer {error}"))?;
            for tool in &page.tools {
                let text = tool;
                let tool = ToolDefinition::parse(text.as_bytes());
                let tool = tool.map_err(|error| format!("one is not understood: {error}"))?;
                self.mirrors.hear(tool.name(), text);
                self.schemas.hear(&tool).await;
                tools.push(Entry::of(&tool));
            }
            if tools.len() > MAX_TOOLS {
                break;
            }
            cursor = page.next;
            let Some(next) = &cursor else { return Ok(tools) };
            if !cursors.insert(next.clone()) {
                return Err("its pages lead back to one that was read".to_owned());
            }
        }
        Err(format!("more than {MAX_TOOLS} tools or {MAX_PAGES} pages"))
    }

    async fn ask(&self, cursor: Option<&str>) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        let Ok(number) = self.upstream.table.own(reply) else { return None };
        let _own = Own { tools: self, number };
        let client = self.state().client.clone();
        let cursor = cursor.map(|cursor| ("cursor".to_owned(), quote(cursor)));
        let meta = client.map(|client| ("_meta".to_owned(), client));
        let members = Members(meta.into_iter().chain(cursor).collect());
        let params = (!members.0.is_empty()).then(|| {
            let text = members.to_text();
            Params { raw: members, text, read: BTreeMap::new() }
        });
        let message = Harmless::request(ClientRequest::ToolsList, number, params.as_ref());
        self.upstream.give(Outgoing::Harmless(message)).await;
        answer.await.ok().map(|heard| heard.reply)
    }

    /// What the client gets of an answer to its own `tools/list`.
    pub(crate) fn shown(&self, reply: Reply, whence: &Whence, pins: &ToolPins) -> Reply {
        let Reply::Result(text) = &reply else { return reply };
        let page = match Page::read(text) {
            Ok(page) => page,
            // Nothing in it is a tool to any reader.
            Err(NoPage::NoTools) => return reply,
            Err(error) => return answer::unlisted(&format!("the tool server's list of tools {error}")),
        };
        let read = page.tools.iter().map(|text| (text, ToolDefinition::parse(text.as_bytes())));
        let (mut tools, mut left_out) = (Vec::new(), Vec::new());
        for (text, tool) in read {
            match tool {
                Ok(tool) => {
                    self.mirrors.hear(tool.name(), text);
                    tools.push((text.as_str(), tool));
                }
                Err(error) => left_out.push(format!("one that is not understood ({error})")),
            }
        }
        let seen = match self.learn(&tools, (whence, page.next.as_deref())) {
            Ok(seen) => seen,
            Err(why) => return answer::unlisted(&why),
        };
        let mut kept: Vec<&str> = Vec::new();
        for (text, tool) in &tools {
            match self.may_show(tool, &seen, pins) {
                Ok(()) => kept.push(text),
                Err(why) => left_out.push(format!("`{}` ({why})", beginning(tool.name()))),
            }
        }
        self.say_left_out(&left_out);
        if kept.len() == page.tools.len() {
            return reply;
        }
        Reply::Result(page.with(&kept))
    }

    /// Takes up a page, and says what is seen of all that the client was shown since the first, or why that cannot be told. Names
    /// are compared while nobody waits for what is known: calls look at it meanwhile.
    fn learn(
        &self,
        tools: &[(&str, ToolDefinition)],
        (whence, next): (&Whence, Option<&str>),
    ) -> Result<Seen, String> {
        let page: Vec<Entry> = tools.iter().map(|(_, tool)| Entry::of(tool)).collect();
        for _ in 0..TRIES {
            let (before, mut all) = self.shown_before(&page, *whence == Whence::Start);
            all.extend(page.iter().cloned());
            if all.len() > MAX_TOOLS {
                return Err(format!("the tool server lists more than {MAX_TOOLS} tools"));
            }
            let mut seen = seen(&all);
            self.company.hear((&self.server, Which::Client), seen.keys());
            if self.take_up(before, (&page, all), (&mut seen, (whence, next))) {
                return Ok(seen);
            }
        }
        Err("the tool server's list of tools changes while it is read".to_owned())
    }

    /// What the client was shown on earlier pages, and at which count. What of it has come again as it was is not there twice.
    fn shown_before(&self, page: &[Entry], first: bool) -> (u64, Vec<Entry>) {
        let again: BTreeSet<&Entry> = page.iter().collect();
        let state = self.state();
        let earlier = state.shown.iter().filter(|tool| !first && !again.contains(tool));
        (state.pages, earlier.cloned().collect())
    }

    /// Takes up what the client is shown, unless something else was taken up since. Whether it was.
    fn take_up(
        &self,
        before: u64,
        (page, all): (&[Entry], Vec<Entry>),
        (seen, (whence, next)): (&mut Seen, (&Whence, Option<&str>)),
    ) -> bool {
        let mut state = self.state();
        if state.pages != before || !state.doubt(seen, (whence, next)) {
            return false;
        }
        state.pages = state.pages.saturating_add(1);
        state.shown = all.into_iter().collect();
        state.shown_as.clone_from(seen);
        // What the client is told differs from what the gate was: it asks again before the next call.
        let news = page.iter().any(|tool| {
            let now = seen.get(&tool.name);
            state.listed.as_ref().is_some_and(|listed| listed.tools.get(&tool.name) != now)
        });
        if news {
            state.changes = state.changes.saturating_add(1);
        }
        true
    }

    fn may_show(&self, tool: &ToolDefinition, seen: &Seen, pins: &ToolPins) -> Result<(), String> {
        let definition = seen.get(tool.name()).copied().map_or(ToolSeen::Ambiguous, |seen| seen);
        match format!("{}/{}", self.server, tool.name()).parse() {
            Ok(name) => {
                let called = CalledTool { name, definition, arguments: None };
                pins.judge(&called).map_err(|code| code.to_string())
            }
            // No bundle can name it, so that it never runs.
            Err(_) if pins.bind(&self.server) => Err("its name cannot be pinned".to_owned()),
            Err(_) if definition == ToolSeen::Ambiguous => Err("tool.ambiguous".to_owned()),
            Err(_) => Ok(()),
        }
    }

    fn say_left_out(&self, left_out: &[String]) {
        if left_out.is_empty() {
            return;
        }
        let named: Vec<&str> = left_out.iter().take(NAMED).map(String::as_str).collect();
        let more = if left_out.len() > NAMED { ", …" } else { "" };
        let (count, named) = (left_out.len(), named.join(", "));
        self.notes
            .say(format!("left out of the tool server's list, and not callable: {count}: {named}{more}"));
    }
}

impl State {
    /// Takes what was ambiguous before for that still, while a list is read anew. Whether there is room for it.
    fn doubt(&mut self, seen: &mut Seen, (whence, next): (&Whence, Option<&str>)) -> bool {
        let first = *whence == Whence::Start;
        if first {
            let ambiguous = self.shown_as.iter().filter(|(_, seen)| **seen == ToolSeen::Ambiguous);
            self.doubted.extend(ambiguous.map(|(name, _)| name.clone()));
        }
        if first || matches!(whence, Whence::Cursor(at) if self.awaited.as_ref() == Some(at)) {
            self.awaited = next.map(str::to_owned);
            if next.is_none() {
                self.doubted.clear();
            }
        }
        seen.extend(self.doubted.iter().map(|name| (name.clone(), ToolSeen::Ambiguous)));
        self.doubted.len() <= MAX_TOOLS
    }
}

/// A request of the gate's own. When nobody waits for it any more, its answer is one to no request.
struct Own<'a> {
    tools: &'a Tools,
    number: u64,
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.tools.upstream.table.unsend(self.number);
    }
}

/// What a `tools/list` of the client's asks for.
pub(crate) fn asking(method: ClientRequest, body: &Body) -> Asking {
    if method != ClientRequest::ToolsList {
        return Asking::Other;
    }
    let cursor = body.params.as_ref().and_then(|params| params.raw.get("cursor"));
    Asking::Tools(Wanted { whence: Whence::of(cursor), stateless: body.revision().is_some() })
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
