//! Which bundles decided when, by the log.

use portcullis_ledger::{LedgerError, LedgerReader};
use portcullis_protocol::{Event, InForce, Millis, Order, Ordered, Record, Vetted};

/// A bundle that came into force.
#[derive(Clone, Debug)]
pub struct CameIntoForce {
    /// Index of the record that says so.
    pub seq: u64,
    /// When.
    pub time: Millis,
    /// Which; `None` if the record is of a time in which they said less.
    pub bundle: Option<InForce>,
    /// The order by which it was activated, if this is that order's record.
    pub ordered: Option<Ordered>,
    /// With an order: what its record says of the bundle's proofs.
    pub vetted: Option<Vetted>,
}

/// Every activation and every coming into force of a bundle that the log tells of, in order. The same bundle comes into
/// force again each time that the arbiter is started. An activation that no head was signed over is told too, and did not
/// hold: no coming into force follows it.
///
/// # Errors
/// [`LedgerError`].
pub fn bundle_history(ledger: &LedgerReader) -> Result<Vec<CameIntoForce>, LedgerError> {
    let mut found = Vec::new();
    ledger.for_each(|listed| {
        let Record::Event(record) = listed.record else { return };
        let activated = match record.order.as_ref().map(|order| &order.what) {
            Some(Order::ActivateBundle { bundle }) => Some(InForce { bundle: bundle.clone(), root: None }),
            Some(Order::ResolveOutcome { .. } | Order::ErasePayloads { .. } | Order::EraseFacts { .. })
            | None => None,
        };
        if activated.is_some() || record.event == Event::BundleInForce {
            let bundle = activated.or_else(|| InForce::of_detail(&record.detail));
            let activates = bundle.as_ref().filter(|_| record.order.is_some());
            let vetted = activates.map(|it| Vetted::of_detail(it.bundle.digest, &record.detail));
            let (seq, time, ordered) = (record.seq, record.time, record.order);
            found.push(CameIntoForce { seq, time, bundle, ordered, vetted });
        }
    })?;
    Ok(found)
}
