//! Whether what is kept beside the records is what they rest on: archived bundles, facts, sealed payloads.
//!
//! No record has these bytes. A bundle and facts are named by their digest, which is recomputed here. Until when a payload
//! is kept, and of whom it is, its record says. It opens at the place of that record and nowhere else: that alone takes
//! the vault's master key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_protocol::{BundleDigest, Digest, Domain, Order, Record, SourceName};
use rusqlite::{Connection, OptionalExtension};

use crate::archive::{self, Use};
use crate::audit::{self, COUNTING_PARTS};
use crate::bundle_archive;
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::payload_audit;
use crate::payloads;
use crate::store;
use crate::turns::Turns;
use crate::vault::MasterKey;

/// Tells the digest of the bundle in an archive; `None` if it is no archive of one, or not as it was signed. What a bundle
/// is, the ledger does not know.
pub type BundleDigestOf = dyn Fn(&[u8]) -> Option<BundleDigest> + Send + Sync;

/// Records whose payloads are opened at once.
pub(crate) const PAYLOADS: u64 = 1_024;

/// By what the process that has the ledger open tells.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) bundle_digest: Arc<BundleDigestOf>,
    /// The file of the vault's master key.
    pub(crate) vault_key: PathBuf,
    /// What the vault said was that key's name when the ledger was opened.
    pub(crate) named: Option<Digest>,
}

impl Means {
    /// The ledger's master key. A key that is not there, or is another one, is told by the vault's own checks; a name that
    /// became another is damage, and would make the right key another one.
    fn master(&self, connection: &Connection) -> Result<Option<MasterKey>, LedgerError> {
        let named = payloads::master(connection)?;
        if named != self.named {
            return Err(LedgerError::Corrupt("the vault names another master key than it did".into()));
        }
        // It was told by what is damaged: none is no other than none.
        if named.is_none() && payloads::any_subject(connection)? {
            return Err(LedgerError::Corrupt("the vault does not name its master key any more".into()));
        }
        let master = MasterKey::read(&self.vault_key).ok(); // tidy: allow the vault's interlock tells why
        Ok(master.filter(|master| named == Some(master.id())))
    }

    /// As [`payload_audit::payloads`]; what is sealed is opened as long as the master key is there.
    pub(crate) fn payloads(
        &self,
        connection: &Connection,
        erasures: &Erasures,
        range: Range<u64>,
    ) -> Result<(), LedgerError> {
        let master = self.master(connection)?;
        payload_audit::payloads(connection, (master.as_ref(), erasures), range).map(drop)
    }

    /// As [`payload_audit::payloads_behind`]; what is sealed is opened as long as the master key is there.
    pub(crate) fn payloads_behind(
        &self,
        connection: &Connection,
        erasures: &Erasures,
        size: u64,
    ) -> Result<(), LedgerError> {
        let master = self.master(connection)?;
        payload_audit::payloads_behind(connection, (master.as_ref(), erasures), size)
    }

    /// Checks all that the scrub looks at besides what [`crate::verification`] compares of the first `size` records: what those say
    /// of one another, the rows without an order of the log's, and what is kept beside. What the scrub can find, and this does
    /// not look at, is forgotten by the next opening.
    pub(crate) fn everything(&self, connection: &Connection, size: u64) -> Result<(), LedgerError> {
        let mut turns = Turns::default();
        store::for_each_record(connection, 0, size, |seq, body| turns.read(seq, body))?;
        turns.follow()?;
        for part in 0..COUNTING_PARTS {
            audit::count(connection, part, size)?;
        }
        audit::beyond(connection)?;
        let Turns { named, erasures, .. } = turns;
        for digest in &named {
            bundle(connection, digest, &*self.bundle_digest)?;
        }
        facts(connection)?;
        self.payloads(connection, &erasures, 0..size)?;
        self.payloads_behind(connection, &erasures, size)?;
        erasures.audit(connection)
    }
}

/// Checks that the archive of a bundle that records name is there, and is that bundle's.
pub(crate) fn bundle(
    connection: &Connection,
    named: &BundleDigest,
    digest_of: &BundleDigestOf,
) -> Result<(), LedgerError> {
    let wrong = |what: &str| LedgerError::Corrupt(format!("the archive of bundle {named} {what}"));
    let archive = bundle_archive::bundle(connection, named)?;
    let archive = archive.ok_or_else(|| wrong("is missing, and records name it"))?;
    if bundle_archive::is_unnamed(connection, named)? {
        return Err(wrong("would go with the next one, and records name it"));
    }
    if digest_of(&archive) == Some(*named) { Ok(()) } else { Err(wrong("is not that bundle")) }
}

/// Checks all facts that are kept.
pub(crate) fn facts(connection: &Connection) -> Result<(), LedgerError> {
    let mut last = None;
    while let Some(next) = facts_after(connection, last.as_ref())? {
        last = Some(next);
    }
    fact_uses(connection)
}

/// Checks the facts of the first digest behind this one. Returns that; `None` behind the last.
pub(crate) fn facts_after(
    connection: &Connection,
    last: Option<&Digest>,
) -> Result<Option<Digest>, LedgerError> {
    let text = "SELECT digest, entities FROM snapshots WHERE digest > ?1 ORDER BY digest LIMIT 1";
    let behind = last.map_or(&[][..], |last| last.as_bytes());
    let read = |row: &rusqlite::Row<'_>| {
        let computed = Digest::of(Domain::FactSnapshot, &[row.get_ref(1)?.as_blob()?]);
        Ok((Digest::from_bytes(row.get(0)?), computed))
    };
    match connection.prepare_cached(text)?.query_row([behind], read).optional()? {
        Some((named, computed)) if named != computed => {
            Err(LedgerError::Corrupt(format!("the kept facts {named} are not these facts")))
        }
        // In a damaged table the next one may lie before the last.
        Some((named, _)) if last.is_some_and(|last| named <= *last) => {
            Err(LedgerError::Corrupt("the kept facts are in no order".into()))
        }
        Some((named, _)) => Ok(Some(named)),
        None => Ok(None),
    }
}

/// Checks that the facts are there that are to be kept, and no others, and that those that are gone were erased by an order.
pub(crate) fn fact_uses(connection: &Connection) -> Result<(), LedgerError> {
    let text = "SELECT EXISTS (SELECT 1 FROM snapshot_uses WHERE erased IS NULL
          AND NOT EXISTS (SELECT 1 FROM snapshots WHERE snapshots.digest = snapshot_uses.digest))
        OR EXISTS (SELECT 1 FROM snapshots WHERE NOT EXISTS
          (SELECT 1 FROM snapshot_uses WHERE snapshot_uses.digest = snapshots.digest AND erased IS NULL))";
    erased_uses(connection)?;
    match connection.prepare_cached(text)?.query_row([], |row| row.get(0))? {
        false => Ok(()),
        true => Err(LedgerError::Corrupt("the kept facts are not those that are to be kept".into())),
    }
}

/// Checks that an order on record stands behind each row whose facts were erased: one for a source that gave them.
fn erased_uses(connection: &Connection) -> Result<(), LedgerError> {
    let mut orders = BTreeMap::new();
    for Use { source, digest, erased, .. } in archive::all_uses(connection)? {
        let Some(order) = erased else { continue };
        let of = match orders.entry(order) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(erased_source(connection, order)?),
        };
        let explained = match of {
            Some(of) if *of == source => true,
            Some(of) => gave(connection, order, of, &digest)?,
            None => false,
        };
        if !explained {
            return Err(LedgerError::Corrupt(format!(
                "the kept facts {digest} of source `{source}` are gone, and record {order} is no order to erase them"
            )));
        }
    }
    Ok(())
}

/// The source whose facts a record orders to erase, if it does.
fn erased_source(connection: &Connection, order: u64) -> Result<Option<SourceName>, LedgerError> {
    let Some(body) = store::record(connection, order)? else { return Ok(None) };
    let Record::Event(event) = Record::parse(&body)? else { return Ok(None) };
    Ok(match event.order.map(|order| order.what) {
        Some(Order::EraseFacts { source }) => Some(source),
        Some(Order::ErasePayloads { .. } | Order::ResolveOutcome { .. } | Order::ActivateBundle { .. })
        | None => None,
    })
}

/// Whether a source gave facts of this digest before an order. What two sources gave alike is erased with either, and the row of
/// the other may be gone by now, its time over: then the records tell.
fn gave(
    connection: &Connection,
    order: u64,
    source: &SourceName,
    digest: &Digest,
) -> Result<bool, LedgerError> {
    if archive::used(connection, source, digest)?.is_some() {
        return Ok(true);
    }
    let mut gave = false;
    store::for_each_record(connection, 0, order, |seq, body| {
        let said = payloads::Said::of(seq, body)?;
        gave = gave || said.sources().get(source).is_some_and(|used| used.digest == *digest);
        Ok::<_, LedgerError>(())
    })?;
    Ok(gave)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testing::file;
    use crate::vault::{Vault, generate_vault_key};
    use portcullis_protocol::{Event, EventRecord, Millis, Ordered};

    fn means(vault_key: PathBuf, named: Digest) -> Means {
        Means { bundle_digest: Arc::new(|_: &[u8]| None), vault_key, named: Some(named) }
    }

    /// A ledger that keeps something of record 7, and its vault's key.
    struct Kit {
        _folders: [tempfile::TempDir; 2],
        path: PathBuf,
        named: Digest,
        store: Store,
    }

    impl Kit {
        fn new() -> Self {
            let (key, path) = file(&generate_vault_key().unwrap(), 0o600);
            let folder = tempfile::tempdir().unwrap();
            let store = Store::create(&folder.path().join("ledger.db")).unwrap();
            let mut vault = Vault::new(path.clone());
            vault.ready(None).unwrap();
            let named = vault.master().unwrap().id();
            payloads::set_master(&store.connection, &named).unwrap();
            vault.keep(&store.connection, 7, &"bot".parse().unwrap(), b"content", Millis(9)).unwrap();
            let record = br#"{"time":1,"agent":"bot","kept_until":9}"#;
            store::add_record(&store.connection, 7, record).unwrap();
            Self { _folders: [key, folder], path, named, store }
        }

        fn range(&self, vault_key: PathBuf) -> Result<(), String> {
            let audited =
                means(vault_key, self.named).payloads(&self.store.connection, &Erasures::default(), 0..8);
            audited.map_err(|error| error.to_string())
        }

        fn sql(&self, text: &str) {
            self.store.connection.execute_batch(text).unwrap();
        }
    }

    /// What was found is held against what was there when the ledger was opened, which was found the same.
    #[test]
    fn a_vault_that_names_no_key_was_as_it_had_been_and_the_ledger_was_rebuilt_for_ever() {
        let kit = Kit::new();
        let nothing = Means { named: None, ..means(kit.path.clone(), kit.named) };
        kit.sql("DELETE FROM vault");
        let none = Erasures::default();
        let found = nothing.payloads(&kit.store.connection, &none, 0..8).unwrap_err().to_string();
        assert!(found.contains("does not name its master key"), "{found}");
        kit.sql("DELETE FROM payloads; DELETE FROM subjects");
        nothing.payloads_behind(&kit.store.connection, &none, 0).unwrap();
    }

    /// That the key is away, or is another one, is told by the vault's interlock.
    #[test]
    fn a_vault_key_that_is_away_is_no_damage_to_what_is_sealed() {
        let kit = Kit::new();
        let (_other, other) = file(&generate_vault_key().unwrap(), 0o600);
        kit.range(kit.path.clone()).unwrap();
        kit.sql("UPDATE payloads SET sealed = zeroblob(64)");
        assert!(kit.range(kit.path.clone()).unwrap_err().contains("record 7 does not open"));
        kit.range(other).unwrap();
        kit.range(kit.path.with_extension("away")).unwrap();
        let (means, connection) = (means(kit.path.clone(), kit.named), &kit.store.connection);
        let none = Erasures::default();
        assert!(means.payloads_behind(connection, &none, 7).is_err());
        means.payloads_behind(connection, &none, 8).unwrap();
        means.payloads(connection, &none, 0..7).unwrap();
    }

    /// Whoever had no key, or was told that the key is another one, looked at nothing of what is kept.
    #[test]
    fn a_row_that_was_gone_was_found_by_nobody_who_had_no_key() {
        let kit = Kit::new();
        kit.sql("DELETE FROM payloads");
        for path in [kit.path.clone(), kit.path.with_extension("away")] {
            assert!(kit.range(path).unwrap_err().contains("record 7 is gone before its time"));
        }
    }

    /// Whatever was gone was taken for erased if a row said so, and any source's erasure was a reason.
    #[test]
    fn facts_of_one_source_were_gone_and_the_erasure_of_another_s_was_the_reason() {
        let kit = Kit::new();
        let connection = &kit.store.connection;
        let order = |seq: u64, source: &str| {
            let what = Order::EraseFacts { source: source.parse().unwrap() };
            let (by, reason) = ("ops".parse().unwrap(), "asked to".parse().unwrap());
            let order = Some(Ordered { what, by, reason });
            let (event, detail) = (Event::Ordered, BTreeMap::new());
            let record = Record::Event(EventRecord { seq, time: Millis(2), event, detail, order });
            store::add_record(connection, seq, &record.to_bytes().unwrap()).unwrap();
        };
        let names = |seq: u64, source: &str, digest: &Digest| {
            let used = format!(r#"{{"as_of":1,"digest":"{digest}","max_age_ms":9}}"#);
            let body = format!(r#"{{"time":1,"agent":"bot","facts":{{"sources":{{"{source}":{used}}}}}}}"#);
            store::add_record(connection, seq, body.as_bytes()).unwrap();
        };
        let digest = Digest::sha256(b"facts");
        names(0, "payroll", &digest);
        (1..7).for_each(|seq| names(seq, "directory", &Digest::sha256(b"other")));
        order(8, "payroll");
        order(9, "badges");
        let erased = |source: &str, erased| {
            let (source, expires) = (source.parse().unwrap(), Millis(9));
            Use { source, digest, expires, erased: Some(erased) }.store(connection).unwrap();
            fact_uses(connection).map_err(|error| error.to_string())
        };
        assert_eq!(erased("payroll", 8), Ok(()));
        assert_eq!(erased("directory", 8), Ok(()), "both gave the same");
        kit.sql("DELETE FROM snapshot_uses WHERE source = 'payroll'");
        assert_eq!(fact_uses(connection).map_err(|error| error.to_string()), Ok(()));
        for other in [9, 10] {
            let found = erased("directory", other).unwrap_err();
            assert!(found.contains(&format!("record {other} is no order to erase them")), "{found}");
        }
    }

    /// What a list of tools names lies elsewhere in its record than what a decision does: nobody had given these facts.
    #[test]
    fn facts_that_a_list_kept_and_another_source_s_order_erased_were_called_damage() {
        let kit = Kit::new();
        let digest = Digest::sha256(b"facts");
        let used = format!(r#"{{"as_of":1,"digest":"{digest}","max_age_ms":9}}"#);
        let list = format!(r#"{{"time":1,"agent":"bot","sources":{{"payroll":{used}}}}}"#);
        store::add_record(&kit.store.connection, 0, list.as_bytes()).unwrap();
        for seq in 1..7 {
            store::add_record(&kit.store.connection, seq, br#"{"time":1}"#).unwrap();
        }
        let what = Order::EraseFacts { source: "payroll".parse().unwrap() };
        let order = Some(Ordered { what, by: "ops".parse().unwrap(), reason: "asked to".parse().unwrap() });
        let (event, detail) = (Event::Ordered, BTreeMap::new());
        let record = Record::Event(EventRecord { seq: 8, time: Millis(2), event, detail, order });
        store::add_record(&kit.store.connection, 8, &record.to_bytes().unwrap()).unwrap();
        // The row of `payroll` is gone by now, its time over; that of `directory`, which gave the same, is not.
        let erased =
            Use { source: "directory".parse().unwrap(), digest, expires: Millis(9), erased: Some(8) };
        erased.store(&kit.store.connection).unwrap();
        assert_eq!(fact_uses(&kit.store.connection).map_err(|error| error.to_string()), Ok(()));
    }

    #[test]
    fn a_flipped_name_of_the_vault_s_key_had_nothing_opened_any_more() {
        for text in ["UPDATE vault SET master = zeroblob(32)", "DELETE FROM vault"] {
            let kit = Kit::new();
            kit.sql(text);
            assert!(kit.range(kit.path.clone()).unwrap_err().contains("names another master key"), "{text}");
        }
    }
}
