//! The orders to destroy agents' keys, as the records have them: what the vault's rows are held against.
//!
//! A row that comes back, out of a backup say, opens what was erased, and looks like one whose key was never destroyed. The
//! log alone knows better.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{AgentId, EventRecord, Order};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::payloads;

/// Indexes of the orders to destroy each agent's key.
#[derive(Debug, Default)]
pub(crate) struct Erasures(BTreeMap<AgentId, BTreeSet<u64>>);

impl Erasures {
    /// Takes what the event at an index says.
    pub(crate) fn read(&mut self, seq: u64, record: &EventRecord) {
        if let Some(Order::ErasePayloads { subject }) = record.order.as_ref().map(|order| &order.what) {
            self.0.entry(subject.clone()).or_default().insert(seq);
        }
    }

    /// Takes those of other records.
    pub(crate) fn join(&mut self, other: Self) {
        for (agent, orders) in other.0 {
            self.0.entry(agent).or_default().extend(orders);
        }
    }

    /// Whether the key under which something of an agent's was sealed for the record at `seq` was destroyed by an order
    /// behind that.
    pub(crate) fn erased(&self, agent: &AgentId, seq: u64) -> bool {
        self.0.get(agent).and_then(BTreeSet::last).is_some_and(|order| *order > seq)
    }

    /// Checks that each order has left the row of the key that it destroyed, empty.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] names the first that has not.
    pub(crate) fn audit(&self, connection: &Connection) -> Result<(), LedgerError> {
        let destroyed = payloads::destroyed(connection)?;
        for (agent, orders) in &self.0 {
            if let Some(order) =
                orders.iter().find(|order| !destroyed.contains(&(**order, agent.to_string())))
            {
                return Err(LedgerError::Corrupt(format!(
                    "record {order} had a key of `{agent}` destroyed, and no row of the vault says so any more"
                )));
            }
        }
        Ok(())
    }
}
