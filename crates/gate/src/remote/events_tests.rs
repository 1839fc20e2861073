use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn read(stream: &[u8], piece: usize) -> (Vec<String>, Events) {
    let mut events = Events::new(64);
    let mut data = Vec::new();
    for bytes in stream.chunks(piece) {
        let ended = events.push(bytes).unwrap();
        data.extend(ended.into_iter().map(|event| String::from_utf8(event.data).unwrap()));
    }
    (data, events)
}

#[test]
fn events_are_the_same_however_the_bytes_come_and_the_lines_end() {
    let stream = "\u{feff}: hello\nevent: message\nid: 1\ndata: {\"a\":1}\n\n\ndata:x\ndata: y\ndata\nretry: 250\n\nid: 2\n\ndata: half";
    for ending in ["\n", "\r", "\r\n"] {
        let stream = stream.replace('\n', ending);
        for piece in 1..stream.len() {
            let (data, events) = read(stream.as_bytes(), piece);
            assert_eq!(data, ["{\"a\":1}", "x\ny\n"], "{ending:?}, {piece} bytes at once");
            assert_eq!((events.last_id(), events.retry_ms()), (Some("2"), Some(250)));
        }
    }
}

#[test]
fn what_is_not_a_field_of_events_says_nothing() {
    let stream =
        "dat: a\ndatas: b\n data: c\nid: a\0b\nretry: 1s\nretry: 99999999999999999999\n\ndata: d\n\n";
    let (data, events) = read(stream.as_bytes(), 7);
    assert_eq!(data, ["d"]);
    assert_eq!((events.last_id(), events.retry_ms()), (None, None));
}

#[test]
fn a_line_or_an_event_beyond_the_limit_ends_the_stream() {
    assert_eq!(Events::new(8).push(b"data: 123"), Err(TooLong));
    assert!(Events::new(9).push(b"data: 123").is_ok());
    let mut events = Events::new(9);
    assert!(events.push(b"data:1234\ndata:123\n").is_ok());
    assert_eq!(events.push(b"data:1\n"), Err(TooLong));
}

proptest! {
    /// What a server sends is read alike however the network cuts it, and never beyond the limit.
    #[test]
    fn any_bytes_are_the_same_events_whole_and_in_pieces(
        bytes in vec(prop::sample::select(b"data: id:retry12\n\r\n\r\0\xef\xbb\xbf{}x".to_vec()), 0..300),
        cuts in vec(0_usize..300, 0..6),
    ) {
        let limit = 24;
        let whole = Events::new(limit).push(&bytes);
        let mut pieces = Events::new(limit);
        let mut read = Vec::new();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut ended = Ok(());
        for piece in cuts.windows(2) {
            match pieces.push(&bytes[piece[0]..piece[1]]) {
                Ok(events) => read.extend(events),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        prop_assert!(read.iter().all(|event| event.data.len() <= limit));
        match whole {
            Ok(whole) => prop_assert_eq!((whole, Ok(())), (read, ended)),
            Err(error) => prop_assert_eq!(ended, Err(error)),
        }
    }
}
