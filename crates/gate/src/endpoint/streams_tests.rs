use super::*;

fn text(next: Next) -> String {
    match next {
        Next::Message(message) => String::from_utf8(message.text.bytes().to_vec()).unwrap(),
        other @ (Next::Nothing | Next::End | Next::Gone) => format!("{other:?}"),
    }
}

fn push(stream: &mut Stream, word: &str, kind: Kind) {
    stream.push(kind, Slot::new(Text::new(word.into(), None)));
}

fn question() -> Kind {
    Kind::Question(Id::Int(7), Instant::now())
}

#[test]
fn a_new_reader_goes_on_where_it_says_and_the_old_one_finds_nothing() {
    let (mut stream, history) = (Stream::default(), History::default());
    let first = stream.attach();
    for word in ["a", "b", "c"] {
        push(&mut stream, word, Kind::Notice);
    }
    let look = |stream: &mut Stream, reader, from| text(stream.look(reader, from, &history));
    assert_eq!((look(&mut stream, first, 0), look(&mut stream, first, 1)), ("a".into(), "b".into()));
    let second = stream.attach();
    assert_eq!(look(&mut stream, first, 2), "Gone");
    assert_eq!((look(&mut stream, second, 1), look(&mut stream, second, 2)), ("b".into(), "c".into()));
    stream.detach(first);
    assert_eq!(look(&mut stream, second, 3), "Nothing", "who was replaced detaches nobody");
    stream.end();
    push(&mut stream, "d", Kind::Answer);
    assert_eq!(look(&mut stream, second, 3), "End", "nothing comes behind the end");
}

#[test]
fn what_was_read_is_forgotten_first_and_an_answer_is_missed_when_it_was() {
    let (mut stream, history) = (Stream::default(), History::default());
    let reader = stream.attach();
    push(&mut stream, "a", Kind::Notice);
    push(&mut stream, "b", Kind::Answer);
    assert!(!history.forget_any(), "nothing was read");
    stream.look(reader, 0, &history);
    assert!(history.forget_any() && !history.forget_any());
    assert_eq!((stream.waiting(), text(stream.look(reader, 0, &history))), (1, "b".into()));
    assert!(stream.has_answer_behind(0));
    assert!(history.forget_read() && !stream.has_answer_behind(1) && stream.has_answer_behind(2));
}

#[test]
fn word_of_which_more_comes_makes_place_for_what_comes_once() {
    let (mut stream, history) = (Stream::default(), History::default());
    let reader = stream.attach();
    for (word, kind) in [("p", Kind::Lossy), ("q", question()), ("n", Kind::Notice), ("r", Kind::Lossy)] {
        push(&mut stream, word, kind);
    }
    let left = |stream: &Stream| -> String {
        let words = stream.events.iter().filter_map(|event| event.slot.get());
        words.map(|text| String::from_utf8(text.bytes().to_vec()).unwrap()).collect()
    };
    assert!(stream.make_place(4, &Kind::Notice));
    assert_eq!(left(&stream), "qnr");
    assert!(stream.make_place(3, &Kind::Answer));
    assert_eq!(left(&stream), "qn");
    assert!(!stream.make_place(2, &Kind::Lossy), "it makes no place for itself then");
    assert!(stream.make_place(2, &Kind::Notice));
    assert_eq!(left(&stream), "q");
    assert!(!stream.make_place(1, &Kind::Notice) && stream.make_place(1, &question()) && stream.asks());
    assert_eq!(text(stream.look(reader, 0, &history)), "q");
    assert!(!stream.asks() && stream.make_place(1, &Kind::Lossy), "what was read goes, whatever it is");
}

#[test]
fn a_question_that_nobody_reads_is_taken_back_and_one_that_was_read_is_not() {
    let (mut stream, history) = (Stream::default(), History::default());
    let (now, patience) = (Instant::now(), Duration::from_secs(30));
    push(&mut stream, "q", Kind::Question(Id::Int(1), now));
    push(&mut stream, "q", Kind::Question(Id::Int(2), now));
    let reader = stream.attach();
    stream.look(reader, 0, &history);
    assert!(stream.unheard(now, patience).is_empty());
    assert_eq!(stream.unheard(now + patience, patience), [Id::Int(2)]);
    assert!(stream.unheard(now + patience, patience).is_empty());
}
