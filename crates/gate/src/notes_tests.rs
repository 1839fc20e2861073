use super::*;

#[test]
fn what_others_wrote_cannot_steer_a_terminal() {
    assert_eq!(escape(b"a\x1b[2Jb\r\tc", 99), "a\\u{1b}[2Jb\\u{d}\tc");
    assert_eq!(escape("x\u{202e}y\u{200f}".as_bytes(), 99), "x\\u{202e}y\\u{200f}");
    assert_eq!(escape(b"\xff", 99), "\u{fffd}");
    assert_eq!(escape("ééé".as_bytes(), 2), "éé…");
}

#[tokio::test]
async fn a_reader_that_never_reads_does_not_hold_up_the_gate() {
    let (blocked, unblock) = std::sync::mpsc::channel::<()>();
    let notes = Notes::start(move |_| unblock.iter().for_each(drop)).unwrap();
    for _ in 0..5_000 {
        notes.say("line");
    }
    notes.flush(Duration::from_millis(1)).await;
    assert!(notes.lost.load(Ordering::Relaxed) > 0);
    drop(blocked);
}
