//! The log that goes on where another was given up: a new data directory that holds what is left of the old one, under
//! another name and key.
//!
//! The tree is the same, and so is each record's place in it: attempts, keys, PERMITs and what is kept of requests
//! stay what the records make of them. What is signed from here on is signed under another name, so that no size of
//! either log ever has two roots.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use portcullis_arbiter::{Clock, Evidence, Fact, GateState, Health, State};
use portcullis_protocol::{Event, LostProofs, Millis, Succession};
use portcullis_verify::{LogKeys, VerifiedCheckpoint};

use crate::abandon::{AbandonError, Loss, source};
use crate::anchor::Anchor;
use crate::batch::Batch;
use crate::clock::Clocks;
use crate::error::LedgerError;
use crate::generation::{self, Generations};
use crate::lock::DirectoryLock;
use crate::opened::{Location, Opened, copy, signed_head};
use crate::released::LEFT_SIGNED;
use crate::signer::Signer;
use crate::store::{self, Store};
use crate::vault::Vault;
use crate::verification::Depth;

/// How far the wall clock may be behind the newest record, in milliseconds.
const BEHIND: u64 = 1_000;

/// Where a log is to go on, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Successor<'a> {
    /// The data directory of the log that is given up. It is read.
    pub from: &'a Path,
    /// The new data directory, which must not exist.
    pub directory: &'a Path,
    /// The new anchor, which must not exist.
    pub anchor: &'a Path,
    /// The vault's master key, which stays.
    pub vault_key: &'a Path,
    /// Which bundles count as having been in force: no less than by what is left.
    pub seen: &'a Succession,
    /// What is known of the demands for proofs that only lost records knew.
    pub lost: LostProofs,
}

impl Successor<'_> {
    /// Makes the new log: what is left of the old one, then a record of event `head_given_up` with `detail` and with which
    /// bundles were in force, and the end of every PERMIT that was open, as `unknown`. All of it is durable, signed and anchored when this returns.
    /// Nothing refers to it yet.
    ///
    /// # Errors
    /// [`AbandonError`]: `Clock` or `Successor`.
    pub fn make(
        &self,
        loss: &Loss,
        signer: &mut dyn Signer,
        clocks: &dyn Clocks,
        detail: BTreeMap<String, String>,
    ) -> Result<VerifiedCheckpoint, AbandonError> {
        let failed = AbandonError::Successor;
        self.lay_out(loss, signer).map_err(failed)?;
        let keys = LogKeys::from(signer.verifier());
        let location = Location { directory: self.directory, anchor: self.anchor, key: &keys, known: None };
        let mut opened = Opened::open(&location, Depth::Whole).map_err(failed)?;
        if opened.head.is_none() {
            opened.prepare(signer).map_err(failed)?;
        }
        let now = clocks.wall().filter(|wall| wall.plus(BEHIND) >= opened.last);
        let now = now.ok_or(AbandonError::Clock)?.max(opened.last);
        let detail = self.detail(loss, &opened.succession, detail).map_err(failed)?;
        self.begin(&mut opened, signer, &still(now, clocks.boot()), detail).map_err(failed)
    }

    /// The database, with a head that the new key signed, and the anchor.
    fn lay_out(&self, loss: &Loss, signer: &mut dyn Signer) -> Result<(), LedgerError> {
        let file = || LedgerError::file("making the new data directory");
        DirBuilder::new().mode(0o700).create(self.directory).map_err(file())?;
        let lock =
            DirectoryLock::acquire(self.directory).map_err(|error| file()(std::io::Error::other(error)))?;
        if lock.is_none() {
            return Err(file()(std::io::Error::other("another process has it")));
        }
        let Some(old) = source(self.from)?.filter(|_| loss.size > 0) else {
            return Ok(());
        };
        let generations = Generations::of(self.directory);
        let first = generations.next()?;
        copy(&old, &first)?;
        let head = signed_head(signer, loss.size, loss.root)?;
        let store = Store::open(&first.database)?;
        store::set_head(&store.connection, loss.size, &loss.root, Some(head.note_bytes()))?;
        drop(store);
        let (mut anchor, noted) = Anchor::open(self.anchor).map_err(LedgerError::Anchor)?;
        if noted.is_some() {
            return Err(LedgerError::Corrupt("the new anchor is another log's".into()));
        }
        anchor.keep(head.note_bytes()).map_err(LedgerError::Anchor)?;
        generations.switch(&first)?;
        generation::sync_parent(self.directory).map_err(file())
    }

    /// What the first record of its own says, for whoever holds it against the records before it.
    fn detail(
        &self,
        loss: &Loss,
        left: &Succession,
        detail: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, LedgerError> {
        let known = loss.succession.clone().beside(left) == loss.succession;
        if !known || !self.seen.continues(&loss.succession, self.lost) {
            return Err(LedgerError::Corrupt("it would forget which bundles were in force".into()));
        }
        let signed = loss.proved.as_ref().map_or(0, VerifiedCheckpoint::size);
        let signed = (LEFT_SIGNED.to_owned(), signed.to_string());
        Ok(detail.into_iter().chain([signed]).chain(self.lost.detail()).chain(self.seen.detail()).collect())
    }

    fn begin(
        &self,
        opened: &mut Opened,
        signer: &mut dyn Signer,
        health: &Health,
        detail: BTreeMap<String, String>,
    ) -> Result<VerifiedCheckpoint, LedgerError> {
        let mut vault = Vault::new(self.vault_key.to_owned());
        let open = store::open_permits_from(&opened.store.connection, 0)?;
        Batch::write(opened, &mut vault, health, &mut Vec::new(), |batch| {
            batch.event(Event::HeadGivenUp, detail)?;
            open.iter().try_for_each(|permit| batch.overdue(permit.seq))
        })?;
        opened.seal(signer)?;
        let head = opened.head.clone().ok_or_else(|| LedgerError::Corrupt("no head was signed".into()))?;
        // As closing does: a copy of the database then verifies without the anchor.
        store::set_head(&opened.store.connection, head.size(), &head.root(), Some(head.note_bytes()))?;
        generation::sync_parent(self.directory)
            .map_err(LedgerError::file("syncing the new data directory"))?;
        Ok(head)
    }
}

/// The health under which nothing is decided.
fn still(now: Millis, boot: u64) -> Health {
    Health {
        gate: Fact::Known(GateState::Shut),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: Fact::Unknown,
        sources: Fact::Unknown,
        witnesses: Fact::Unknown,
        now,
        boot,
    }
}
