//! Credentials that a tool server has in its environment from its start on: which variables they are in, where they come from, and
//! for how long the server runs with them.
//!
//! They are handed over on the server's standard input, before anything else, to the process that is about to become the server
//! (`supervise`): no command line, no environment of the supervisor's and no file has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_sdk::{BootInstant, Token};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::redact::{Held, Redaction, Redactions, TooMuch};
use super::slots::ArgumentSlots;
use super::{CredentialSource, LONGEST, NoCredential};
use crate::handover::{self, MOST};
use crate::line::Line;
use crate::upstream::is_usual;

/// Longest name of a variable.
const LONGEST_NAME: usize = 128;

/// The credentials of one tool server that is started, by the variables that it finds them in.
#[derive(Clone, Debug)]
pub struct EnvironmentCredentials {
    sources: BTreeMap<String, Arc<CredentialSource>>,
    lease: Duration,
    /// For all sessions: the server may say in one what it was given in another.
    redaction: Arc<Redaction>,
}

/// Variables in which no credentials can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariables {
    /// There is none, or there are too many.
    #[error("there must be from 1 to {MOST} variables")]
    Count,
    /// One is named twice.
    #[error("a variable is named twice")]
    Twice,
    /// A name that no shell takes, or one that says which programs run or how, or that is the gate's own. The name itself is not
    /// said: it may be what should have been the credential.
    #[error(
        "a variable's name must be of A-Z, a-z, 0-9 and `_`, not beginning with a digit, and none that steers programs or is the gate's own (`PATH`, `LD_…`, `PORTCULLIS_…`)"
    )]
    Name,
}

impl EnvironmentCredentials {
    /// Credentials in these variables, with which a server runs for so long at most. Then it is stopped, and its next start is
    /// decided anew.
    ///
    /// # Errors
    /// [`InvalidVariables`].
    pub fn new(sources: Vec<(String, CredentialSource)>, lease: Duration) -> Result<Self, InvalidVariables> {
        if sources.is_empty() || sources.len() > MOST {
            return Err(InvalidVariables::Count);
        }
        if !sources.iter().all(|(name, _)| may_hold(name)) {
            return Err(InvalidVariables::Name);
        }
        let names: BTreeSet<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
        if names.len() < sources.len() {
            return Err(InvalidVariables::Twice);
        }
        let sources = sources.into_iter().map(|(name, source)| (name, Arc::new(source))).collect();
        Ok(Self { sources, lease, redaction: Arc::default() })
    }

    /// The variables, in the order of their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// For how long a server runs with them at most. One whose credential is leased for a shorter time runs no longer than that is shown.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Where they come from.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<CredentialSource>> {
        self.sources.values()
    }

    /// All of them as they are now, or none, and until when a server may run with them. They are taken out of what the server says from
    /// here on.
    pub(crate) async fn fetch(&self) -> Result<(Handover, Given, BootInstant), NoCredential> {
        let mut until = BootInstant::now().plus(self.lease);
        let mut fetching = JoinSet::new();
        for (name, source) in self.sources.clone() {
            fetching.spawn(async move { (name, source.lent().await) });
        }
        let mut fetched = BTreeMap::new();
        while let Some(one) = fetching.join_next().await {
            let ended = |_| NoCredential::Unavailable("it could not be asked for".to_owned());
            let (name, credential) = one.map_err(ended)?;
            let (credential, lent_until) = credential?;
            until = lent_until.map_or(until, |end| end.min(until));
            fetched.insert(name, credential);
        }
        if until <= BootInstant::now() {
            return Err(NoCredential::Unavailable("it is leased for no time".to_owned()));
        }
        let mut held = Vec::new();
        for credential in fetched.values() {
            held.push(self.redaction.learn(credential).map_err(|TooMuch| NoCredential::TooMany)?);
        }
        let given = Given { redactions: Redactions::of([Arc::clone(&self.redaction)]), _held: held.into() };
        Ok((Handover::of(&fetched)?, given, until))
    }
}

/// Whether a credential may be in a variable of this name. What says which programs run, or what they load, is no place for what
/// comes from elsewhere.
fn may_hold(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let steers = ["LD_", "DYLD_"].iter().any(|prefix| name.starts_with(prefix));
    name.len() <= LONGEST_NAME
        && name.starts_with(begins)
        && name.chars().all(fits)
        && !steers
        && !is_usual(name)
}

/// What a server is given at its start. Does not print.
pub(crate) struct Handover(Zeroizing<Vec<u8>>);

impl Handover {
    fn of(credentials: &BTreeMap<String, Token>) -> Result<Self, NoCredential> {
        let all = credentials.iter().map(|(name, token)| (name.as_str(), token.reveal()));
        handover::written(all).map(Self).map_err(|handover::TooLong| NoCredential::TooLong)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What a server was given at its start and is given with calls, as its words are looked through for it. What it was given at its start is
/// known for as long as one of these is held.
#[derive(Clone)]
pub(crate) struct Given {
    redactions: Redactions,
    _held: Arc<[Held]>,
}

impl Given {
    /// What a server may be given at all: nothing of it yet with calls.
    pub(crate) fn and(given: Option<Self>, slots: Option<&ArgumentSlots>) -> Option<Self> {
        let Some(slots) = slots else { return given };
        let (redactions, held) = given.map_or_else(Default::default, |given| (given.redactions, given._held));
        Some(Self { redactions: redactions.and(slots.redaction()), _held: held })
    }

    /// A message of the server's without it.
    pub(crate) fn message(&self, message: Vec<u8>) -> Vec<u8> {
        self.redactions.message(message)
    }

    /// A line of the server's that is no message without it. Where a line was cut, so may a credential have been: nothing is
    /// said of as much before the end as one can be long.
    pub(crate) fn words(&self, line: &Line) -> Vec<u8> {
        let mut text = self.redactions.text(line.bytes());
        if let Line::Cut(_) = line {
            text.truncate(text.len().saturating_sub(LONGEST));
        }
        text
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
