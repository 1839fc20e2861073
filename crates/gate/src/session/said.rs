//! What the tool server says: what each of its messages sets off.

use std::sync::Arc;

use portcullis_protocol::ReasonCode;
use portcullis_sdk::Refusal;

use super::{SAMPLE, Shared, cancel};
use crate::answer;
use crate::case::Way;
use crate::form::Form;
use crate::harmless::{CANCELLED, Harmless, ServerNotice, ServerRequest};
use crate::incoming::{Answers, Fate, Incoming, Source};
use crate::line::Line;
use crate::message::{Body, From, Id, Message, Params, Refused, Reply, read, without_carriage_returns};
use crate::notes::{Flow, Notes, escape};
use crate::peer::{Answer, Outgoing};
use crate::questions::asks_nothing;
use crate::room::Room;
use crate::subscription::{self, Named};
use crate::table::{Asking, Heard, Route, Wanted};
use crate::weight::{of_text, weight};

/// Acts upon the tool server's messages until it closes its end.
pub(crate) async fn from_upstream<S: Source>(shared: Arc<Shared>, mut upstream: S) {
    let mut garbage = Garbage { flow: Flow::new(), lines: 0 };
    while let Some(incoming) = upstream.next().await {
        let (line, answers, mut room) = match incoming {
            Incoming::Message(line, answers, None) => {
                let room = shared.rooms.take(of_text(line.bytes())).await;
                (line, answers, room)
            }
            Incoming::Message(line, answers, room) => (line, answers, room),
            Incoming::Unanswered(number, fate) => {
                upstream_failed(&shared, number, fate).await;
                continue;
            }
            Incoming::Ended(known) => {
                shared.tools.changed();
                known.send_replace(());
                continue;
            }
        };
        let line = match line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
            Line::Whole(bytes) => without_carriage_returns(bytes),
            Line::Cut(bytes) => {
                garbage.say(&shared.notes, "a message that is too long", &bytes);
                continue;
            }
        };
        match read(&line, From::Upstream) {
            Ok(message) => {
                if matches!(message, Message::Request(..)) {
                    // All of it is kept until it is answered, as what it is made of. Who waited here for another question's answer
                    // would keep everything waiting that the server says.
                    room = shared.questions.try_take(weight(&line));
                }
                upstream_message(&shared, message, (answers, room), &mut garbage).await;
            }
            Err(_) => garbage.say(&shared.notes, "no message", &line),
        }
    }
    garbage.flow.sum_up(&shared.notes, "stdout");
}

/// No answer comes to a request.
async fn upstream_failed(shared: &Shared, number: u64, fate: Fate) {
    match (shared.upstream.table.answered(number), fate) {
        (Some(Route::Forward(id, _)), Fate::Unshown(_)) => {
            shared.answer_client(Some(id), answer::unshown()).await;
        }
        (Some(Route::Forward(id, _)), _) => shared.answer_client(Some(id), answer::unavailable()).await,
        (Some(Route::Call(answer, attempt)), Fate::Void(why) | Fate::Unshown(why)) => {
            drop(answer.send(answer::void(attempt, &why).into()));
        }
        // Without its answer the call ends as unknown.
        (Some(Route::Call(answer, _)), Fate::Lost(_)) => drop(answer),
        (None, _) => {}
    }
}

/// What a tool server writes that it should not.
struct Garbage {
    flow: Flow,
    lines: u64,
}

impl Garbage {
    fn say(&mut self, notes: &Notes, what: &str, line: &[u8]) {
        self.lines = self.lines.saturating_add(1);
        let lines = self.lines;
        let text = || {
            format!(
                "dropped from what the tool server says (the {lines}. time): {what}: {}",
                escape(line, SAMPLE)
            )
        };
        self.flow.say(notes, "stdout", text);
    }
}

async fn upstream_message(
    shared: &Arc<Shared>,
    message: Message,
    (answers, room): (Answers, Option<Room>),
    garbage: &mut Garbage,
) {
    match message {
        Message::Response(id, reply) => {
            upstream_response(shared, (&id, answers), (reply, room), garbage).await
        }
        Message::Notification(body) => upstream_notice(shared, &body, garbage).await,
        Message::Request(id, body) => upstream_request(shared, id, (&body, room), garbage),
    }
}

async fn upstream_response(
    shared: &Arc<Shared>,
    (id, answers): (&Id, Answers),
    (reply, room): (Option<Reply>, Option<Room>),
    garbage: &mut Garbage,
) {
    let number = if let Id::Int(number) = id { u64::try_from(*number).ok() } else { None };
    let number = number.filter(|number| answers.admit(*number));
    let reply = number.and_then(|number| ended(shared, number, reply.as_ref())).or(reply);
    match number.and_then(|number| shared.upstream.table.answered(number)) {
        Some(Route::Forward(id, asking)) => {
            let reply = reply.unwrap_or_else(answer::unreadable);
            match asking {
                _ if !asks_nothing(&reply) => {
                    garbage.say(&shared.notes, "questions in answer to a request without a decision", b"");
                    shared.answer_client(Some(id), answer::unasked_for()).await;
                }
                Asking::Tools(wanted) => pass_tools(shared, id, Heard { reply, room }, wanted).await,
                Asking::Other => shared.answer_client(Some(id), reply).await,
            }
        }
        Some(Route::Call(answer, _)) => match reply {
            Some(reply) => drop(answer.send(Heard { reply, room })),
            None => drop(answer),
        },
        None => garbage.say(&shared.notes, "an answer to no request in flight", id.to_json().as_bytes()),
    }
}

/// The answer that ends a subscription, which names it by the asker's id.
fn ended(shared: &Shared, number: u64, reply: Option<&Reply>) -> Option<Reply> {
    let Some(Reply::Result(result)) = reply else { return None };
    if !subscription::may_be_named(result) {
        return None;
    }
    let id = shared.upstream.table.asker(number)?;
    subscription::renamed_result(result, number, &id).map(Reply::Result)
}

/// Passes on what the client may see of a list of tools. Which pins and grants there are is asked beside what else the server says.
async fn pass_tools(shared: &Arc<Shared>, id: Id, heard: Heard, wanted: Wanted) {
    let Some(slot) = shared.tools.slot() else {
        let refusal = Refusal::own(ReasonCode::OverloadShed, None);
        return shared.answer_client(Some(id), answer::blocked(&refusal, Form::Error)).await;
    };
    let passing = Arc::clone(shared);
    shared.spawn(async move {
        let Heard { reply, room } = heard;
        let reply = match passing.desk.rules().await {
            Ok(rules) => passing.listed(reply, &wanted, &rules).await,
            // Without them nothing in it is known to be what was reviewed.
            Err(refusal) => answer::blocked(&refusal, Form::Error),
        };
        passing.typed.learn(&reply);
        passing.answer_client(Some(id), reply).await;
        drop((slot, room));
    });
}

async fn upstream_notice(shared: &Shared, body: &Body, garbage: &mut Garbage) {
    match ServerNotice::of(&body.method) {
        Some(method) => {
            if method == ServerNotice::ToolsChanged {
                shared.tools.changed();
            }
            match subscribed(shared, body) {
                Some(params) => {
                    let message = Harmless::server_notice(method, params.as_ref());
                    shared.client.give(Outgoing::Harmless(message)).await;
                }
                None => garbage.say(&shared.notes, "word to no subscriber", body.method.as_bytes()),
            }
        }
        None if body.method == CANCELLED => cancel(shared, &shared.client, body),
        None => garbage.say(&shared.notes, "an unknown notification", body.method.as_bytes()),
    }
}

/// The parameters of a notification, which names a subscriber by the id that it subscribed with; `None` if there is none such.
fn subscribed(shared: &Shared, body: &Body) -> Option<Option<Params>> {
    match subscription::named(body) {
        Named::Nothing => Some(body.params.clone()),
        Named::Other => None,
        Named::Number(number) => {
            let (id, params) = (shared.upstream.table.asker(number)?, body.params.as_ref()?);
            let text = subscription::renamed(&params.raw, number, &id)?;
            Some(Some(Params { text, ..params.clone() }))
        }
    }
}

fn upstream_request(
    shared: &Arc<Shared>,
    id: Id,
    (body, room): (&Body, Option<Room>),
    garbage: &mut Garbage,
) {
    let reply = if body.method == "ping" {
        Reply::Result("{}".to_owned())
    } else if ServerRequest::of(&body.method).is_none() {
        garbage.say(&shared.notes, "a request that no server may make", body.method.as_bytes());
        answer::no_such_method()
    } else {
        let decided = if room.is_none() {
            Err(Refused::new(ReasonCode::OverloadShed, "too much of what the tool server asks is unanswered"))
        } else {
            shared.decide(Way::ToClient, Some(&id), (body, room))
        };
        match decided {
            Ok(()) => return,
            Err(refused) => answer::blocked(&Refusal::own(refused.code, Some(refused.detail)), Form::Error),
        }
    };
    if !shared.upstream.offer(Outgoing::Answer(Answer { id: Some(id), reply })) {
        shared.notes.say("dropped an answer to the tool server: too many messages wait to be written");
    }
}

/// The tool server is gone: whoever waits for it learns so.
pub(crate) async fn upstream_gone(shared: &Shared) {
    for id in shared.upstream.table.fail_all() {
        shared.answer_client(Some(id), answer::unavailable()).await;
    }
}
