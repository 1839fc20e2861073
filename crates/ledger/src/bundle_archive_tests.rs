use super::*;
use crate::store::Store;

#[test]
fn an_archive_is_there_once_its_last_part_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::create(&directory.path().join("ledger.db")).unwrap();
    let connection = &store.connection;
    for (name, length, expected) in [("none", 0, 1), ("one", PART, 1), ("three", 2 * PART + 1, 3)] {
        let digest = BundleDigest(Digest::sha256(name.as_bytes()));
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        assert_eq!(parts(&bytes), expected, "{name}");
        for part in 0..expected {
            assert_eq!(bundle(connection, &digest).unwrap(), None, "{name} before part {part}");
            assert!(!archived(connection).unwrap().contains(&digest), "{name} before part {part}");
            add_part(connection, &digest, &bytes, part).unwrap();
        }
        assert_eq!(bundle(connection, &digest).unwrap(), Some(bytes), "{name}");
        assert!(archived(connection).unwrap().contains(&digest), "{name}");
        forget(connection, &digest).unwrap();
        assert_eq!(bundle(connection, &digest).unwrap(), None, "{name}");
    }
}
