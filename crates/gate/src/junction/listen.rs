//! A subscription of 2026-07-28 to several servers: each one's gate decides about its part, and the client has one stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portcullis_protocol::{Loose, ReasonCode};

use crate::answer;
use crate::endpoint::rewrite;
use crate::harmless::{Harmless, ServerNotice};
use crate::message::{Body, Id, Members, Params, Refused, Reply, members_of, quote};
use crate::subscription;

use super::asked::{is_stateless, with};
use super::state::{Asked, Junction, Sent, To};

/// How long the servers may take to say what of it they do.
const ACKNOWLEDGING: Duration = Duration::from_secs(5);
/// What may be subscribed to that all servers may have.
const KINDS: [(&str, &str); 3] =
    [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")];
/// What names resources.
const RESOURCES: &str = "resourceSubscriptions";
/// Subscriptions of one client, and resources of one subscription.
const MOST: usize = 64;
const MOST_URIS: usize = 256;

/// A subscription.
#[derive(Debug)]
pub(super) struct Listen {
    id: Id,
    body: Body,
    /// The servers' parts, by the numbers under which they were asked.
    arms: BTreeMap<u64, usize>,
    /// Those that have not said what they do.
    silent: BTreeSet<u64>,
    granted: BTreeSet<&'static str>,
    granted_uris: BTreeSet<String>,
    /// Until when the client is not told, once it was `None`.
    until: Option<Instant>,
    /// The first server's refusal.
    refused: Option<Reply>,
}

impl Listen {
    pub(super) const fn due(&self) -> Option<Instant> {
        self.until
    }

    fn filter(&self) -> Option<&Loose> {
        self.body.params.as_ref()?.read.get("notifications")
    }

    fn wants(&self, kind: &str) -> bool {
        let word = KINDS.iter().find(|(of, _)| *of == kind).map(|(_, word)| *word);
        word.and_then(|word| self.filter()?.pointer(&format!("/{word}")))
            .is_some_and(|it| *it == Loose::Bool(true))
    }
}

impl Junction {
    pub(super) fn listen(&mut self, id: &Id, body: &Body) -> Result<(), Refused> {
        let malformed = |detail| Refused::new(ReasonCode::RequestMalformed, detail);
        let filter = body.params.as_ref().and_then(|params| params.raw.get("notifications"));
        let filter =
            filter.and_then(members_of).ok_or_else(|| malformed("no `notifications` to subscribe to"))?;
        let mut known: Vec<&str> = KINDS.iter().map(|(_, word)| *word).collect();
        known.push(RESOURCES);
        filter.unambiguous(&known)?;
        // Each is looked for among all servers' lists and templates, before anybody decides.
        if resources_of(body).is_some_and(|uris| uris.len() > MOST_URIS) {
            let detail = format!("more than {MOST_URIS} resources in one subscription");
            return Err(Refused::new(ReasonCode::RequestInvalidValue, detail));
        }
        if self.listens.len() >= MOST {
            return Err(Refused::new(ReasonCode::OverloadShed, "there are too many subscriptions"));
        }
        let key = self.number();
        let listen = Listen {
            id: id.clone(),
            body: body.clone(),
            arms: BTreeMap::new(),
            silent: BTreeSet::new(),
            granted: BTreeSet::new(),
            granted_uris: BTreeSet::new(),
            until: Some(Instant::now() + ACKNOWLEDGING),
            refused: None,
        };
        self.listens.insert(key, listen);
        let there =
            (0..self.servers.len()).filter(|it| self.servers.get(*it).is_some_and(|it| it.is_usable()));
        let mut refused = Refused::new(ReasonCode::UpstreamUnavailable, "no tool server is there now");
        for server in there.collect::<Vec<_>>() {
            if let Err(why) = self.subscribe(key, server) {
                refused = why;
            }
        }
        if self.listens.get(&key).is_none_or(|listen| listen.arms.is_empty()) {
            self.listens.remove(&key);
            return Err(refused);
        }
        self.asked.insert(id.clone(), Asked::Listen(key));
        Ok(())
    }

    /// Asks one server for its part, which its gate decides.
    fn subscribe(&mut self, key: u64, server: usize) -> Result<(), Refused> {
        let Some(body) = self.listens.get(&key).map(|listen| listen.body.clone()) else { return Ok(()) };
        let number = self.number();
        let renamed = rewrite::request(&self.part(&body, server), number)?;
        self.tell(server, renamed.line)?;
        self.sent.insert(number, Sent { server, to: To::Listen(key) });
        if let Some(listen) = self.listens.get_mut(&key) {
            listen.arms.insert(number, server);
            if listen.until.is_some() {
                listen.silent.insert(number);
            }
        }
        Ok(())
    }

    /// What of a subscription is for one server: resources only where they are its own.
    fn part(&self, body: &Body, server: usize) -> Body {
        let params = body.params.as_ref();
        let filter = params.and_then(|params| params.raw.get("notifications")).and_then(members_of);
        let (Some(filter), Some(uris)) = (filter, resources_of(body)) else { return body.clone() };
        let own = uris.iter().filter_map(Loose::as_str).filter(|uri| self.of_uri(uri) == Ok(server));
        let own: Vec<String> = own.map(quote).collect();
        with(body, "notifications", filter.with(RESOURCES, format!("[{}]", own.join(","))).to_text())
    }

    /// A server that has come again is asked again, and what its gate decided before counts for nothing.
    pub(super) fn listen_again(&mut self, server: usize) {
        for key in self.listens.keys().copied().collect::<Vec<_>>() {
            if self.subscribe(key, server).is_err()
                && let Some(server) = self.servers.get(server)
            {
                server.notes.say("a subscription was not renewed with it");
            }
        }
    }

    /// A server's word to a subscriber, who knows the subscription by the id of its own request.
    pub(super) fn told_subscriber(
        &mut self,
        server: usize,
        number: u64,
        (method, body): (ServerNotice, &Body),
    ) {
        let sent = self.sent.get(&number).filter(|sent| sent.server == server);
        let Some(To::Listen(key)) = sent.map(|sent| &sent.to) else { return };
        let key = *key;
        if method == ServerNotice::Subscribed {
            return self.acknowledged(key, number, body);
        }
        if method == ServerNotice::ResourceUpdated && !self.is_of(server, body) {
            return;
        }
        let Some(listen) = self.listens.get(&key) else { return };
        let params = body.params.as_ref();
        let text = params.and_then(|params| subscription::renamed(&params.raw, number, &listen.id));
        if let (Some(text), Some(params)) = (text, params) {
            let line = Harmless::server_notice(method, Some(&Params { text, ..params.clone() }));
            self.backlog.push_back(line.into_text().into_bytes());
        }
    }

    /// A server says what of it it does.
    fn acknowledged(&mut self, key: u64, number: u64, body: &Body) {
        let server = self.listens.get(&key).and_then(|listen| listen.arms.get(&number)).copied();
        let granted = body.params.as_ref().and_then(|params| params.read.get("notifications"));
        // Of what was asked of it: another's resources are not a server's to say anything of.
        let uris = match granted.and_then(|it| it.pointer(&format!("/{RESOURCES}"))) {
            Some(Loose::Array(uris)) => uris.iter().filter_map(Loose::as_str).collect(),
            Some(_) | None => Vec::new(),
        };
        let own = |uri: &&str| server.is_some() && self.of_uri(uri).ok() == server;
        let own: Vec<String> = uris.into_iter().filter(own).map(str::to_owned).collect();
        let Some(listen) = self.listens.get_mut(&key) else { return };
        for (_, word) in KINDS {
            if granted.and_then(|it| it.pointer(&format!("/{word}"))) == Some(&Loose::Bool(true)) {
                listen.granted.insert(word);
            }
        }
        listen.granted_uris.extend(own);
        listen.silent.remove(&number);
        self.acknowledge_if_done(key, false);
    }

    pub(super) fn acknowledged_late(&mut self, now: Instant) {
        let late = self.listens.iter().filter(|(_, it)| it.until.is_some_and(|until| until <= now));
        for key in late.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.acknowledge_if_done(key, true);
        }
    }

    /// Tells the client, once, what the servers do together.
    fn acknowledge_if_done(&mut self, key: u64, late: bool) {
        let Some(listen) = self.listens.get_mut(&key) else { return };
        if listen.until.is_none() || !(late || listen.silent.is_empty()) {
            return;
        }
        listen.until = None;
        let mut granted: Vec<(String, String)> =
            listen.granted.iter().map(|word| ((*word).to_owned(), "true".to_owned())).collect();
        if !listen.granted_uris.is_empty() {
            let uris: Vec<String> = listen.granted_uris.iter().map(|uri| quote(uri)).collect();
            granted.push((RESOURCES.to_owned(), format!("[{}]", uris.join(","))));
        }
        let params = Members(vec![
            ("_meta".to_owned(), meta(&listen.id)),
            ("notifications".to_owned(), Members(granted).to_text()),
        ]);
        self.backlog.push_back(notice(ServerNotice::Subscribed, &params));
    }

    /// A server's part has ended, or was refused. The others' stay.
    pub(super) fn unsubscribed(&mut self, key: u64, number: u64, reply: &Reply) {
        let Some(listen) = self.listens.get_mut(&key) else { return };
        let server = listen.arms.remove(&number);
        listen.silent.remove(&number);
        if let Reply::Error(_) = reply {
            listen.refused.get_or_insert_with(|| reply.clone());
            if let Some(server) = server.and_then(|server| self.servers.get(server)) {
                server.notes.say("it has no part in a subscription");
            }
        }
        if !listen.arms.is_empty() {
            return self.acknowledge_if_done(key, false);
        }
        // One that is started again has its part again.
        if server.is_some_and(|server| self.servers.get(server).is_some_and(|it| !it.is_usable())) {
            return self.acknowledge_if_done(key, false);
        }
        let Some(listen) = self.listens.remove(&key) else { return };
        let stateless = is_stateless(&listen.body);
        let ended = Reply::Result(Members(vec![("_meta".to_owned(), meta(&listen.id))]).to_text());
        let reply = listen.refused.filter(|_| listen.until.is_some()).unwrap_or(ended);
        let reply = if stateless { answer::whole(reply) } else { reply };
        self.answer(&listen.id, &reply);
    }

    pub(super) fn let_listen_go(&mut self, key: u64, reason: Option<&str>) {
        let Some(listen) = self.listens.remove(&key) else { return };
        for (number, server) in listen.arms {
            self.sent.remove(&number);
            let _told = self.tell_cancelled(server, number, reason);
        }
    }

    /// Subscribers to lists of this kind are told that they are others.
    pub(super) fn changed_for_subscribers(&mut self, kind: &str) {
        let method = match kind {
            "tools" => ServerNotice::ToolsChanged,
            "prompts" => ServerNotice::PromptsChanged,
            _ => ServerNotice::ResourcesChanged,
        };
        let wanting = self.listens.values().filter(|it| it.until.is_none() && it.wants(kind));
        let lines: Vec<Vec<u8>> =
            wanting.map(|it| notice(method, &Members(vec![("_meta".to_owned(), meta(&it.id))]))).collect();
        self.backlog.extend(lines);
    }
}

/// The resources that a subscription names.
fn resources_of(body: &Body) -> Option<&[Loose]> {
    let filter = body.params.as_ref()?.read.get("notifications")?;
    match filter.pointer(&format!("/{RESOURCES}")) {
        Some(Loose::Array(uris)) => Some(uris),
        Some(_) | None => None,
    }
}

fn meta(id: &Id) -> String {
    Members(vec![(subscription::SUBSCRIPTION.to_owned(), id.to_json())]).to_text()
}

fn notice(method: ServerNotice, params: &Members) -> Vec<u8> {
    let (method, params) = (quote(method.as_str()), params.to_text());
    format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#).into_bytes()
}
