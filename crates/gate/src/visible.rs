//! What the client is shown of a server's tools: those for which the arbiter says that a grant to its agent is in scope, on
//! record before the client sees them. Nothing is permitted by that, and a hidden tool that is called all the same is decided.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::{
    BundleDigest, LONGEST_LISTED, MOST_LISTED, ReasonCode, ServerName, ToolDefinition, ToolName,
};
use portcullis_sdk::{Listing, Refusal, list};
use tokio::time::Instant;

use crate::answer;
use crate::desk::{Desk, Rules};
use crate::form::Form;
use crate::message::Reply;
use crate::page::{Page, Whence};
use crate::session::Shared;
use crate::table::Wanted;

/// For so long what a list says is gone by, at the most: by a client that is told so, and by this gate when the same list comes
/// again. Both together.
pub(crate) const SHOWN_FOR: Duration = Duration::from_secs(5);
/// Pages that are remembered.
const KEPT: usize = 8;
/// Tools that people are told of by name, of one list.
const NAMED: usize = 10;

/// What was answered of a list lately. It is one conversation's, and so one credential holder's.
#[derive(Debug, Default)]
pub(crate) struct Visible(Mutex<VecDeque<Answered>>);

/// What was answered of the tools of one page.
#[derive(Clone, Debug)]
struct Answered {
    names: Arc<BTreeSet<String>>,
    hidden: Arc<BTreeSet<String>>,
    bundle: BundleDigest,
    asked: Instant,
}

impl Visible {
    fn answered(&self) -> MutexGuard<'_, VecDeque<Answered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was answered of these names, by this bundle, if it is still to be gone by.
    fn of(&self, names: &BTreeSet<String>, bundle: BundleDigest, now: Instant) -> Option<Answered> {
        let mut answered = self.answered();
        answered.retain(|it| it.bundle == bundle && now.saturating_duration_since(it.asked) < SHOWN_FOR);
        answered.iter().find(|it| *it.names == *names).cloned()
    }

    fn keep(&self, answer: Answered) {
        let mut answered = self.answered();
        answered.retain(|it| it.names != answer.names);
        answered.push_back(answer);
        if answered.len() > KEPT {
            answered.pop_front();
        }
    }
}

/// Names that no bundle can have, and the others in as many parts as there are records to be.
fn parts(server: &ServerName, names: &BTreeSet<String>) -> (u64, Vec<BTreeSet<ToolName>>) {
    let (mut unnamed, mut all, mut bytes) = (0_u64, vec![BTreeSet::new()], 0_usize);
    for name in names {
        let Ok(tool) = ToolName::of(server, name) else {
            unnamed = unnamed.saturating_add(1);
            continue;
        };
        bytes = bytes.saturating_add(tool.as_str().len());
        if bytes > LONGEST_LISTED || all.last().is_some_and(|part| part.len() >= MOST_LISTED) {
            all.push(BTreeSet::new());
            bytes = tool.as_str().len();
        }
        if let Some(part) = all.last_mut() {
            part.insert(tool);
        }
    }
    (unnamed, all)
}

impl Desk {
    /// Which of the tools of these names are hidden from the agent, and by which bundle. All that says so is on record.
    async fn ask_hidden(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<(BTreeSet<String>, BundleDigest), Refusal> {
        let server: ServerName = self.server.parse().map_err(|error: portcullis_protocol::InvalidId| {
            Refusal::own(ReasonCode::RequestInvalidValue, Some(error.to_string()))
        })?;
        let (mut unnamed, parts) = parts(&server, names);
        let end = Instant::now() + self.deadline;
        let (mut shown, mut bundle) = (BTreeSet::new(), None);
        for tools in parts {
            let who = (self.agent.clone(), self.acts_for.clone());
            let counted = std::mem::take(&mut unnamed);
            let listing = Listing::new(who, self.gate.clone(), server.clone(), (tools, counted))?;
            let left = end.saturating_duration_since(Instant::now());
            let record = list(self.arbiter.as_ref(), listing, &self.log, left).await?;
            let digest = record.bundle.digest;
            if *bundle.get_or_insert(digest) != digest {
                let detail = "another bundle came into force while the tools were listed";
                return Err(Refusal::own(ReasonCode::OverloadContended, Some(detail.to_owned())));
            }
            shown.extend(record.shown.iter().map(|tool| tool.parts().1.to_owned()));
        }
        // There is always one part.
        let bundle = bundle.ok_or_else(|| Refusal::own(ReasonCode::ReceiptUnverifiable, None))?;
        Ok((names.difference(&shown).cloned().collect(), bundle))
    }
}

impl Shared {
    /// What the client gets of an answer to its own `tools/list`, which `wanted` asked for, by the rules in force now.
    pub(crate) async fn listed(&self, reply: Reply, wanted: &Wanted, rules: &Rules) -> Reply {
        let reply = self.tools.shown(reply, &wanted.whence, rules.pins());
        let Reply::Result(text) = &reply else { return reply };
        // What is no list to any reader was let through for that.
        let Ok(page) = Page::read(text) else { return reply };
        let named = page.tools.iter().map(|text| {
            ToolDefinition::parse(text.as_bytes()).ok().map(|tool| (tool.name().to_owned(), text.as_str()))
        });
        let named: Vec<Option<(String, &str)>> = named.collect();
        let names: BTreeSet<String> = named.iter().flatten().map(|(name, _)| name.clone()).collect();
        if let Some(slots) =
            self.filling.as_ref().filter(|_| wanted.whence == Whence::Start && page.next.is_none())
        {
            let listed = named.iter().flatten().map(|(name, text)| (name.as_str(), *text)).collect();
            slots.unknown(&listed).into_iter().for_each(|what| self.notes.say(what));
        }
        let (hidden, left) = match self.hidden(names, rules, &wanted.whence).await {
            Ok(hidden) => hidden,
            // It is not known what this agent may see, or nobody could say later what it saw.
            Err(refusal) => return answer::blocked(&refusal, Form::Error),
        };
        let shown = named.iter().flatten().filter(|(name, _)| !hidden.contains(name));
        let kept: Vec<Cow<'_, str>> = shown.map(|(name, text)| self.shown_definition(name, text)).collect();
        let all = kept.len() == page.tools.len() && kept.iter().all(|text| matches!(text, Cow::Borrowed(_)));
        if all && !wanted.stateless {
            return reply;
        }
        Reply::Result(page.showing(&kept, wanted.stateless.then_some(left)))
    }

    /// A tool's definition as agents are shown it: without what the gate fills in.
    fn shown_definition<'a>(&self, name: &str, text: &'a str) -> Cow<'a, str> {
        let hidden = self.filling.as_ref().and_then(|slots| slots.hidden_in(name, text));
        hidden.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// The names that are hidden, and for how long a client may go by that.
    async fn hidden(
        &self,
        names: BTreeSet<String>,
        rules: &Rules,
        whence: &Whence,
    ) -> Result<(Arc<BTreeSet<String>>, Duration), Refusal> {
        let answered = match self.visible.of(&names, rules.bundle(), Instant::now()) {
            Some(answered) => answered,
            None => {
                let asked = Instant::now();
                let (hidden, bundle) = self.desk.ask_hidden(&names).await?;
                self.say_hidden(&hidden);
                let answered = Answered { names: Arc::new(names), hidden: Arc::new(hidden), bundle, asked };
                self.visible.keep(answered.clone());
                answered
            }
        };
        self.company.hide(&self.server, &answered.hidden, *whence == Whence::Start);
        Ok((answered.hidden, SHOWN_FOR.saturating_sub(answered.asked.elapsed())))
    }

    fn say_hidden(&self, hidden: &BTreeSet<String>) {
        if hidden.is_empty() {
            return;
        }
        let named: Vec<String> = hidden
            .iter()
            .take(NAMED)
            .map(|name| format!("`{}`", crate::lookalike::beginning(name)))
            .collect();
        let more = if hidden.len() > NAMED { ", …" } else { "" };
        let (count, named) = (hidden.len(), named.join(", "));
        self.notes.say(format!(
            "hidden from this agent, to whom nothing grants them: {count} tools: {named}{more}"
        ));
    }
}

#[cfg(test)]
#[path = "visible_tests.rs"]
mod tests;
