//! What several servers answer, as one answer: lists, what there is, and the level of logs. Who does not answer in time is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portcullis_protocol::{Limits, Loose, ReasonCode};

use crate::answer;
use crate::company::Which;
use crate::harmless::{ClientRequest, Harmless};
use crate::message::{Body, Id, Members, Params, Refused, Reply, members_of, quote};
use crate::page::{MAX_PAGES, MAX_TOOLS, Page};

use super::asked::is_stateless;
use super::names::{Item, Merged, Rule};
use super::shelf;
use super::state::{Asked, Junction, Sent, To};

/// How long the servers may take.
const GATHERING: Duration = Duration::from_secs(5);
/// Bytes of one server's list, and of all that is being gathered; and how much is, at once.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const ALL_BYTES: usize = 64 * 1024 * 1024;
const MOST: usize = 64;
/// What is left out that people are told of by name, of one list.
const NAMED: usize = 10;
/// JSON-RPC's "invalid params".
const INVALID: i32 = -32602;

/// What there are lists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub(super) const fn method(self) -> ClientRequest {
        match self {
            Self::Tools => ClientRequest::ToolsList,
            Self::Prompts => ClientRequest::PromptsList,
            Self::Resources => ClientRequest::ResourcesList,
            Self::Templates => ClientRequest::ResourceTemplatesList,
        }
    }

    /// The member of the answer that is the list.
    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item by which it is asked for.
    const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The capability of servers that have some.
    const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// What is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    List(Kind),
    Discover,
    Level,
}

impl What {
    const fn method(self) -> ClientRequest {
        match self {
            Self::List(kind) => kind.method(),
            Self::Discover => ClientRequest::Discover,
            Self::Level => ClientRequest::SetLogLevel,
        }
    }

    /// The capability of servers that are asked, of those that have said theirs.
    const fn capability(self) -> Option<&'static str> {
        match self {
            Self::List(kind) => Some(kind.capability()),
            Self::Level => Some("logging"),
            Self::Discover => None,
        }
    }
}

/// What one server has said.
#[derive(Debug, Default)]
pub(super) struct Got {
    items: Vec<Item>,
    bytes: usize,
    cursors: BTreeSet<String>,
    /// For how long it lets clients keep it.
    ttl: Option<u64>,
    /// What it said, if that is no list.
    pub(super) reply: Option<Reply>,
    /// Whether all of it has come.
    whole: bool,
}

/// What is being gathered.
#[derive(Debug)]
pub(super) struct Gather {
    id: Id,
    what: What,
    body: Body,
    waiting: BTreeMap<u64, usize>,
    got: BTreeMap<usize, Got>,
    pub(super) until: Instant,
}

impl Junction {
    /// A page of a list: the first is made of what the servers list now, and the others are those of the same list.
    pub(super) fn list(&mut self, id: &Id, kind: Kind, body: &Body) -> Result<(), Refused> {
        let cursor = body.params.as_ref().and_then(|params| params.read.get("cursor"));
        let page = match cursor {
            None => return self.gather(id, What::List(kind), body),
            Some(Loose::Str(cursor)) => self.shelf.page(kind.method().as_str(), cursor),
            Some(_) => None,
        };
        let reply = match page {
            Some((page, ttl)) => listed(kind, &page, ttl, is_stateless(body)),
            None => invalid("the cursor is of no list that is kept; list again from the start"),
        };
        self.answer(id, &reply);
        Ok(())
    }

    /// Asks all servers that are there.
    pub(super) fn gather(&mut self, id: &Id, what: What, body: &Body) -> Result<(), Refused> {
        if self.gathers.len() >= MOST {
            return Err(Refused::new(
                ReasonCode::OverloadShed,
                "too much is being asked of all servers at once",
            ));
        }
        let key = self.number();
        let there: Vec<usize> = (0..self.servers.len())
            .filter(|number| self.servers.get(*number).is_some_and(|it| it.is_usable()))
            .collect();
        let gather = Gather {
            id: id.clone(),
            what,
            body: body.clone(),
            waiting: BTreeMap::new(),
            got: BTreeMap::new(),
            until: Instant::now() + GATHERING,
        };
        self.gathers.insert(key, gather);
        self.asked.insert(id.clone(), Asked::Gather(key));
        for server in &there {
            let has = what.capability().is_none_or(|capability| {
                let greeting = self.servers.get(*server).and_then(|server| server.greeting.as_ref());
                greeting.is_none_or(|greeting| greeting.has(capability))
            });
            if has {
                self.ask_one(key, *server, None);
            }
        }
        if there.is_empty() {
            self.let_gather_go(key);
            let none = self.none_there();
            self.answer(id, &none);
        } else {
            self.finish_if_done(key);
        }
        Ok(())
    }

    /// Asks one server, for what is behind a cursor of its own.
    fn ask_one(&mut self, key: u64, server: usize, cursor: Option<&str>) {
        let Some((what, params)) =
            self.gathers.get(&key).map(|gather| (gather.what, gather.body.params.clone()))
        else {
            return;
        };
        let number = self.number();
        let params = own_params(params.as_ref(), cursor);
        let line = Harmless::request(what.method(), number, params.as_ref()).into_text().into_bytes();
        let told = self.tell(server, line);
        let Some(gather) = self.gathers.get_mut(&key) else { return };
        let got = gather.got.entry(server).or_default();
        match told {
            Ok(()) => {
                gather.waiting.insert(number, server);
                self.sent.insert(number, Sent { server, to: To::Gather(key) });
            }
            Err(_) => got.reply = Some(answer::unavailable()),
        }
    }

    pub(super) fn gathered(&mut self, key: u64, (server, number): (usize, u64), reply: &Reply) {
        let held = self.gathers.values().flat_map(|gather| gather.got.values());
        let room = ALL_BYTES.saturating_sub(held.map(|got| got.bytes).fold(0, usize::saturating_add));
        let Some(gather) = self.gathers.get_mut(&key) else { return };
        gather.waiting.remove(&number);
        let (what, got) = (gather.what, gather.got.entry(server).or_default());
        let more = match what {
            What::List(kind) => got.take(kind, reply, room),
            What::Discover | What::Level => {
                got.reply = Some(reply.clone());
                None
            }
        };
        if let Some(cursor) = more {
            self.ask_one(key, server, Some(&cursor));
        }
        self.finish_if_done(key);
    }

    pub(super) fn gathered_late(&mut self, now: Instant) {
        let late: Vec<u64> =
            self.gathers.iter().filter(|(_, it)| it.until <= now).map(|(key, _)| *key).collect();
        for key in late {
            let Some(gather) = self.gathers.get_mut(&key) else { continue };
            let method = gather.what.method().as_str();
            for (number, server) in std::mem::take(&mut gather.waiting) {
                self.sent.remove(&number);
                if let Some(server) = self.servers.get(server) {
                    server.notes.say(format!("it does not answer `{method}` in time, and is left out"));
                }
            }
            self.finish_if_done(key);
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn let_gather_go(&mut self, key: u64) {
        let Some(gather) = self.gathers.remove(&key) else { return };
        for (number, server) in gather.waiting {
            self.sent.remove(&number);
            let _told = self.tell_cancelled(server, number, None);
        }
    }

    fn finish_if_done(&mut self, key: u64) {
        if self.gathers.get(&key).is_none_or(|gather| !gather.waiting.is_empty()) {
            return;
        }
        let Some(gather) = self.gathers.remove(&key) else { return };
        let stateless = is_stateless(&gather.body);
        let reply = match gather.what {
            What::List(kind) => self.merged(kind, gather.got, stateless),
            What::Discover => self.discovered(&gather.got),
            What::Level => level(&gather.got),
        };
        let reply = if stateless { answer::whole(reply) } else { reply };
        self.answer(&gather.id, &reply);
    }

    fn merged(&mut self, kind: Kind, mut got: BTreeMap<usize, Got>, stateless: bool) -> Reply {
        let failed = got.values().find_map(|got| got.reply.clone());
        let asked = got.len();
        let (mut lists, mut ttl, mut whole) = (Vec::new(), None::<u64>, 0_usize);
        for (number, server) in self.servers.iter().enumerate() {
            let mut items = Vec::new();
            if let Some(got) = got.get_mut(&number).filter(|got| got.whole) {
                items = std::mem::take(&mut got.items);
                let own = got.ttl.unwrap_or(0);
                ttl = Some(ttl.map_or(own, |ttl| ttl.min(own)));
                whole = whole.saturating_add(1);
                if kind == Kind::Prompts {
                    self.known.company.hear((&server.name, Which::Client), items.iter().map(Item::name));
                }
            } else if got.contains_key(&number) {
                server.notes.say(format!("its list of {} is not had, and left out", kind.member()));
            }
            lists.push((server.name.clone(), items));
        }
        if whole == 0 && asked > 0 {
            return failed.unwrap_or_else(answer::unavailable);
        }
        let Merged { items, left_out } = self.merge(kind, &lists);
        say_left_out(&self.basis.notes, &left_out);
        let page = self.shelf.put(kind.method().as_str(), items, ttl.unwrap_or(0));
        let reply = listed(kind, &page, ttl.unwrap_or(0), stateless);
        self.typed.learn(&reply);
        reply
    }

    fn merge(&mut self, kind: Kind, lists: &[(String, Vec<Item>)]) -> Merged {
        let tools = &self.basis.company;
        let known = &mut self.known;
        match kind {
            Kind::Tools => {
                known.tools.merge(lists, Rule::Prefix, |server, name| tools.is_ambiguous(server, name))
            }
            Kind::Prompts => {
                let company = &known.company;
                known.prompts.merge(lists, Rule::Prefix, |server, name| company.is_ambiguous(server, name))
            }
            Kind::Resources => known.resources.merge(lists, Rule::Unique, |_, _| false),
            Kind::Templates => known.templates.merge(lists, Rule::Unique, |_, _| false),
        }
    }
}

impl Got {
    /// Takes up a page. The cursor of the next one, if there is one.
    fn take(&mut self, kind: Kind, reply: &Reply, room: usize) -> Option<String> {
        let done = self.page(kind, reply, room);
        match done {
            Ok(next) => {
                self.whole = next.is_none();
                next
            }
            Err(reply) => {
                // Nothing of it is shown.
                (self.reply, self.items, self.bytes) = (Some(reply), Vec::new(), 0);
                None
            }
        }
    }

    fn page(&mut self, kind: Kind, reply: &Reply, room: usize) -> Result<Option<String>, Reply> {
        let Reply::Result(text) = reply else { return Err(reply.clone()) };
        let unlisted =
            |why: &str| answer::unlisted(&format!("a tool server's list of {} {why}", kind.member()));
        if text.len() > room {
            return Err(unlisted("is too long beside what else is listed now"));
        }
        let page = Page::read_of(text, kind.member()).map_err(|error| unlisted(&error.to_string()))?;
        self.bytes = self.bytes.saturating_add(text.len());
        let many = self.items.len().saturating_add(page.tools.len()) > MAX_TOOLS;
        if many || self.bytes > MOST_BYTES || self.cursors.len() >= MAX_PAGES {
            return Err(unlisted("is too long"));
        }
        // What has no name nobody can ask for.
        self.items.extend(page.tools.into_iter().filter_map(|text| Item::read(text, kind.key())));
        let own = ttl(text);
        self.ttl = Some(self.ttl.map_or(own, |ttl| ttl.min(own)));
        match page.next {
            Some(next) if !self.cursors.insert(next.clone()) => {
                Err(unlisted("leads back to a page that was read"))
            }
            next => Ok(next),
        }
    }
}

/// For how long a client may keep an answer.
pub(super) fn ttl(result: &str) -> u64 {
    let ttl = members_of(result).and_then(|members| members.get("ttlMs").and_then(|ttl| ttl.parse().ok()));
    ttl.unwrap_or(0)
}

/// The client's parameters as one server gets them.
fn own_params(params: Option<&Params>, cursor: Option<&str>) -> Option<Params> {
    let mut members = params.map_or_else(Members::default, |params| params.raw.without(&["cursor"]));
    for (key, raw) in &mut members.0 {
        // What comes of one server is no progress of the whole.
        if key == "_meta"
            && let Some(meta) = members_of(raw)
        {
            *raw = meta.without(&["progressToken"]).to_text();
        }
    }
    members.0.extend(cursor.map(|cursor| ("cursor".to_owned(), quote(cursor))));
    (!members.0.is_empty()).then(|| {
        let text = members.to_text();
        Params { raw: members, text, read: BTreeMap::new() }
    })
}

fn listed(kind: Kind, page: &shelf::Page, ttl: u64, stateless: bool) -> Reply {
    let mut members = vec![(kind.member().to_owned(), format!("[{}]", page.items.join(",")))];
    members.extend(page.next.iter().map(|next| ("nextCursor".to_owned(), quote(next))));
    if stateless {
        members.push(("ttlMs".to_owned(), ttl.to_string()));
        members.push(("cacheScope".to_owned(), quote("private")));
    }
    let reply = Reply::Result(Members(members).to_text());
    if stateless { answer::whole(reply) } else { reply }
}

fn invalid(why: &str) -> Reply {
    Reply::Error(format!(r#"{{"code":{INVALID},"message":{}}}"#, quote(why)))
}

/// A level that one server has taken is set.
fn level(got: &BTreeMap<usize, Got>) -> Reply {
    let replies = || got.values().filter_map(|got| got.reply.clone());
    let taken = replies().find(|reply| matches!(reply, Reply::Result(_)));
    taken.or_else(|| replies().next()).unwrap_or_else(answer::unavailable)
}

fn say_left_out(notes: &crate::notes::Notes, left_out: &[String]) {
    if left_out.is_empty() {
        return;
    }
    let named: Vec<&str> = left_out.iter().take(NAMED).map(String::as_str).collect();
    let more = if left_out.len() > NAMED { ", …" } else { "" };
    let (count, named) = (left_out.len(), named.join(", "));
    notes.say(format!("left out of what the client is shown: {count}: {named}{more}"));
}

/// What a result says, as far as it is read.
pub(super) fn read(result: &str) -> Option<Loose> {
    let limits = Limits { bytes: result.len(), ..Limits::MESSAGE };
    Loose::parse(result.as_bytes(), limits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_for_which_there_is_no_room_is_left_out_whole() {
        let page = |next: &str| Reply::Result(format!(r#"{{"tools":[{{"name":"a"}}]{next}}}"#));
        let mut got = Got::default();
        assert_eq!(got.take(Kind::Tools, &page(r#","nextCursor":"b""#), 100), Some("b".to_owned()));
        assert_eq!((got.items.len(), got.bytes, got.whole), (1, 41, false));
        assert_eq!(got.take(Kind::Tools, &page(""), 23), None);
        assert!(got.items.is_empty() && got.bytes == 0 && !got.whole && got.reply.is_some());
        let mut got = Got::default();
        assert_eq!(got.take(Kind::Tools, &page(""), 24), None);
        assert!(got.whole && got.reply.is_none());
    }
}
