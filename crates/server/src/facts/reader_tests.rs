use std::sync::mpsc::channel;

use super::*;

/// Longer than any test may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Written twice within a tick of the clock, a file looked the same with another content, for a tenth of a second.
#[test]
fn a_file_that_may_have_changed_unseen_counts_until_the_next_look_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.json");
    std::fs::write(&path, "one").unwrap();
    let file = FactFile::new(path.clone());
    let read = super::read(&file, None).unwrap();
    let since = read.since;
    assert!(!read.look.is_settled(), "it was written just now");
    // Who asked before it was read takes it, and who asks after that does not.
    assert!(read.is_still(&file, For::Deciding(since)));
    let later = since.checked_add(Duration::from_nanos(1)).unwrap();
    assert!(!read.is_still(&file, For::Deciding(later)));
    // Who settles compares what is there, however alike it looks.
    assert!(read.is_still(&file, For::Settling));
    let unseen = Read { digest: Digest::sha256(b"two"), ..read.clone() };
    assert!(!unseen.is_still(&file, For::Settling));
    std::fs::remove_file(&path).unwrap();
    assert!(!read.is_still(&file, For::Settling));
    // Where the clock of the file system was seen to go on, each change shows.
    std::fs::write(&path, "one").unwrap();
    let file = file.with_probe(folder.path().join("clock"));
    let read = super::read(&file, None).unwrap();
    assert!(read.is_still(&file, For::Deciding(later)) && read.is_still(&file, For::Settling));
    std::fs::write(&path, "two").unwrap();
    assert!(file.look().unwrap() != read.look);
}

const EMPTY: &str = r#"{"v":1,"as_of":"2026-01-01T00:00:00Z","entities":[]}"#;

fn reader(folder: &tempfile::TempDir) -> Reader {
    let path = folder.path().join("directory.json");
    std::fs::write(&path, EMPTY).unwrap();
    let file = FactFile::new(path).with_probe(folder.path().join("clock"));
    Reader::of(&"directory".parse().unwrap(), file)
}

/// Who decides reads; who settles hears whether that is still there, and has nothing read.
#[test]
fn what_settles_was_read_for_a_decision_before() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(&folder);
    let now = Instant::now();
    let until = now.checked_add(PATIENCE).unwrap();
    let still = || heard(&reader.still().unwrap(), until).unwrap();
    let given = || reader.given(Instant::now()).unwrap().blocking_recv().unwrap().unwrap().unwrap().unwrap();
    assert!(still().is_none(), "read for who settles");
    let first = given();
    assert!(Arc::ptr_eq(&still().unwrap().unwrap(), &first));
    assert!(Arc::ptr_eq(&given(), &first), "read again");
    // The same bytes in another file are the same document.
    let path = folder.path().join("directory.json");
    std::fs::write(folder.path().join("new"), EMPTY).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    assert!(still().is_none(), "not looked at");
    assert!(Arc::ptr_eq(&given(), &first), "parsed again");
    std::fs::remove_file(&path).unwrap();
    assert!(heard(&reader.still().unwrap(), until).is_err());
    assert!(reader.given(now).unwrap().blocking_recv().unwrap().is_err());
}

/// The ledger's writer looked at the file itself: while its file system hung nothing was recorded, not even an outcome.
#[tokio::test]
async fn whoever_asked_for_a_file_that_hangs_hung_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(&folder);
    // The thread hangs as within a look: in the answer to somebody.
    let (hangs, hung) = channel();
    let (go, goes) = channel::<()>();
    let hang = Box::new(move |_| {
        hangs.send(()).unwrap();
        goes.recv().unwrap();
    });
    let before = Instant::now();
    reader.ask(For::Settling, SETTLING, hang).unwrap();
    hung.recv().unwrap();
    let began = Instant::now();
    let soon = |time| began.checked_add(time).unwrap();
    // The first of them is not answered in time; from then on nobody waits.
    let first = reader.still();
    let first = first.and_then(|answer| heard(&answer, soon(SETTLING)));
    assert_eq!(first.map(drop), Err(SILENT.to_owned()));
    assert_eq!(reader.still().map(drop), Err(SILENT.to_owned()));
    // Who decides waits longer, once.
    match reader.given(began) {
        Ok(decides) => {
            assert_eq!(awaited(decides, soon(DECIDING)).await.map(drop), Err(SILENT.to_owned()));
        }
        // So long has it hung already, on a machine that is slow.
        Err(silent) => assert!(silent == SILENT && before.elapsed() >= DECIDING, "{silent}"),
    }
    assert_eq!(reader.given(began).map(drop), Err(SILENT.to_owned()));
    assert!(began.elapsed() < PATIENCE);
    // Those who gave up are answered, and nobody else hangs.
    go.send(()).unwrap();
    while reader.still().is_err() {
        tokio::task::yield_now().await;
    }
    let given = loop {
        match reader.given(Instant::now()) {
            Ok(given) => break given,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(given.await.unwrap().unwrap().is_some());
}

/// Callers that give up leave their questions behind.
#[test]
fn no_more_questions_wait_for_a_file_that_hangs_than_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(&folder);
    let (hangs, hung) = channel();
    let (go, goes) = channel::<()>();
    let hang = Box::new(move |_| {
        hangs.send(()).unwrap();
        goes.recv().unwrap();
    });
    reader.ask(For::Settling, PATIENCE, hang).unwrap();
    hung.recv().unwrap();
    let taken = (0..WAITING + 10).filter(|_| reader.ask(For::Settling, PATIENCE, Box::new(|_| ())).is_ok());
    assert_eq!(taken.count(), WAITING);
    go.send(()).unwrap();
}
