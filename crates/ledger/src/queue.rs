//! What waits for the writer, taken from its queue as one batch.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use portcullis_protocol::Order;

use crate::command::Command;

/// Questions in one batch, at most.
const LARGEST_BATCH: usize = 1_024;
/// How long an outcome alone is held for what may follow.
const HOLD: Duration = Duration::from_millis(2);

/// What waits, as one batch.
///
/// An outcome alone is held for a moment: an agent's next call mostly follows at once, and sharing its batch saves
/// that call the wait for two syncs. Whoever reports a result to be kept is waited for, and not held.
pub(crate) fn waiting(first: Command, queue: &Receiver<Command>) -> VecDeque<Command> {
    let mut commands = VecDeque::from([first]);
    fill(&mut commands, queue);
    if commands.iter().all(can_be_held)
        && let Ok(next) = queue.recv_timeout(HOLD)
    {
        commands.push_back(next);
        fill(&mut commands, queue);
    }
    commands
}

/// Takes what is there. An activation ends a batch: what comes after it in the log is decided by the new bundle.
fn fill(commands: &mut VecDeque<Command>, queue: &Receiver<Command>) {
    while commands.len() < LARGEST_BATCH && !commands.back().is_some_and(activates) {
        match queue.try_recv() {
            Ok(next) => commands.push_back(next),
            Err(_) => return,
        }
    }
}

/// Whether an order makes another bundle decide.
fn activates(command: &Command) -> bool {
    matches!(command, Command::Order(given, _) if matches!(given.ordered.what, Order::ActivateBundle { .. }))
}

fn can_be_held(command: &Command) -> bool {
    match command {
        Command::Outcome(report, _) => report.result.is_none(),
        Command::Decide(..)
        | Command::Order(..)
        | Command::Archive(..)
        | Command::Late(..)
        | Command::List(..)
        | Command::Simulate(..)
        | Command::Release(..)
        | Command::Find(..)
        | Command::Status(_)
        | Command::Close(_) => false,
    }
}

/// Whether a question needs a ledger that can be written. Closing does: what was counted is still to be recorded.
pub(crate) const fn writes(command: &Command) -> bool {
    match command {
        Command::Decide(..)
        | Command::Outcome(..)
        | Command::Order(..)
        | Command::Archive(..)
        | Command::Late(..)
        | Command::List(..)
        | Command::Simulate(..)
        | Command::Close(_) => true,
        Command::Release(..) | Command::Find(..) | Command::Status(_) => false,
    }
}

/// Whether an order destroys what is kept.
pub(crate) fn erases(command: &Command) -> bool {
    match command {
        Command::Order(given, _) => match given.ordered.what {
            Order::ErasePayloads { .. } | Order::EraseFacts { .. } => true,
            Order::ResolveOutcome { .. } | Order::ActivateBundle { .. } => false,
        },
        Command::Decide(..)
        | Command::Outcome(..)
        | Command::Archive(..)
        | Command::Late(..)
        | Command::List(..)
        | Command::Simulate(..)
        | Command::Release(..)
        | Command::Find(..)
        | Command::Status(_)
        | Command::Close(_) => false,
    }
}
