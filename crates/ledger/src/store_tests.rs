use super::*;

#[test]
fn the_write_ahead_log_is_written_back_between_commits_and_stays_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = Store::create(&path).unwrap();
    let long = u64::from(CHECKPOINT_PAGES) * 4096;
    let (mut syncs, mut longest) = (0, 0);
    for seq in 0..100 {
        add_record(&store.connection, seq, &vec![7; 1024 * 1024]).unwrap();
        syncs += store.write_back().unwrap();
        longest = longest.max(std::fs::metadata(log_of(&path)).unwrap().len());
    }
    assert!(longest > long && longest < long + 4 * 1024 * 1024, "{longest}");
    assert_eq!(syncs, 3 * 3, "100 MiB are written back three times");
    assert!(std::fs::metadata(&path).unwrap().len() > 90 * 1024 * 1024);
}

#[test]
fn a_reader_keeps_the_log_from_beginning_anew_and_delays_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = Store::create(&path).unwrap();
    add_record(&store.connection, 0, b"first").unwrap();
    let reader = Store::read_only(&path).unwrap();
    let snapshot = reader.unchecked_transaction().unwrap();
    assert_eq!(record(&snapshot, 1).unwrap(), None);
    add_record(&store.connection, 1, &vec![7; 40 * 1024 * 1024]).unwrap();
    assert_eq!(store.write_back().unwrap(), 2);
    assert_eq!(record(&snapshot, 1).unwrap(), None, "the reader sees what it saw");
    drop(snapshot);
    add_record(&store.connection, 2, b"third").unwrap();
    assert_eq!(store.write_back().unwrap(), 3);
}
