use super::*;

/// Written twice within a tick of the clock, a file looked the same with another content, for a tenth of a second.
#[test]
fn a_file_that_may_have_changed_unseen_counts_until_the_next_look_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.json");
    std::fs::write(&path, "one").unwrap();
    let file = FactFile::new(path.clone());
    let since = Instant::now();
    let (bytes, look) = file.read().unwrap();
    let read = ReadFile { look, since, digest: Digest::sha256(&bytes) };
    assert!(!read.look.is_settled(), "it was written just now");
    // Who asked before it was read takes it, and who asks after that does not.
    assert!(read.is_still(&file, For::Deciding(since)));
    let later = since.checked_add(std::time::Duration::from_nanos(1)).unwrap();
    assert!(!read.is_still(&file, For::Deciding(later)));
    // Who settles compares what is there, however alike it looks.
    assert!(read.is_still(&file, For::Settling));
    let unseen = ReadFile { digest: Digest::sha256(b"two"), ..read.clone() };
    assert!(!unseen.is_still(&file, For::Settling));
    std::fs::remove_file(&path).unwrap();
    assert!(!read.is_still(&file, For::Settling));
    // Where the clock of the file system was seen to go on, each change shows.
    std::fs::write(&path, "one").unwrap();
    let file = file.with_probe(folder.path().join("clock"));
    let (bytes, look) = file.read().unwrap();
    let read = ReadFile { look, since, digest: Digest::sha256(&bytes) };
    assert!(read.is_still(&file, For::Deciding(later)) && read.is_still(&file, For::Settling));
    std::fs::write(&path, "two").unwrap();
    assert!(file.look().unwrap() != read.look);
}
