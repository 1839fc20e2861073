use proptest::prelude::*;

use super::{MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, UnverifiedNote, signed_text};
use crate::encoding::to_base64;
use crate::key::{KeyNameError, VerifierKey};
use crate::testing::TestKey;

/// The examples of c2sp.org/signed-note.
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
const TEXT: &str = "first line\n\nlast line\n";

fn alice() -> TestKey {
    TestKey::new("alice.example", 1)
}

fn bob() -> TestKey {
    TestKey::new("bob.example", 2)
}

fn check(note: &str, keys: &[VerifierKey]) -> Result<(String, Vec<VerifierKey>), NoteError> {
    let verified = UnverifiedNote::parse(note.as_bytes())?.verify(keys)?;
    Ok((verified.text().to_owned(), verified.signed_by().to_vec()))
}

#[test]
fn the_note_of_the_spec_verifies() {
    let key: VerifierKey = SPEC_KEY.parse().unwrap();
    let expected = ("This is an example message.\n".to_owned(), vec![key.clone()]);
    assert_eq!(check(SPEC_NOTE, &[key]), Ok(expected));
}

#[test]
fn one_letter_changed_in_the_note_of_the_spec_fails() {
    let key: VerifierKey = SPEC_KEY.parse().unwrap();
    let bad = NoteError::BadSignature { name: key.name().clone() };
    assert_eq!(check(&SPEC_NOTE.replace("This", "That"), std::slice::from_ref(&key)), Err(bad.clone()));
    assert_eq!(check(&SPEC_NOTE.replace("kn8s", "kn8t"), &[key]), Err(bad));
}

#[test]
fn unknown_signatures_are_ignored_and_known_ones_listed_once() {
    let (alice, bob, carol) = (alice(), bob(), TestKey::new("carol.example", 3));
    let lines = [alice.line(TEXT), carol.line(TEXT), bob.line(TEXT), alice.line(TEXT)].concat();
    let note = format!("{TEXT}\n{lines}");
    let keys = [bob.public.clone(), alice.public.clone()];
    let (text, signed_by) = check(&note, &keys).unwrap();
    assert_eq!(text, TEXT);
    assert_eq!(signed_by, [alice.public, bob.public]);
}

#[test]
fn a_bad_signature_of_a_known_key_spoils_a_good_one() {
    let (alice, bob) = (alice(), bob());
    let note = alice.note(TEXT) + &bob.line("another text\n");
    let bad = NoteError::BadSignature { name: bob.public.name().clone() };
    assert_eq!(check(&note, &[alice.public.clone(), bob.public]), Err(bad));
    // To those who do not know bob, his line means nothing.
    assert!(check(&note, alice.alone()).is_ok());
}

#[test]
fn a_good_line_does_not_make_up_for_a_bad_one_of_the_same_key() {
    let alice = alice();
    let note = alice.note(TEXT) + &alice.line("another text\n");
    let bad = NoteError::BadSignature { name: alice.public.name().clone() };
    assert_eq!(check(&note, alice.alone()), Err(bad));
}

#[test]
fn a_known_name_with_another_key_is_an_unknown_key() {
    let impostor = TestKey::new("alice.example", 9);
    assert_eq!(check(&impostor.note(TEXT), alice().alone()), Err(NoteError::NoKnownSignature));
    assert_eq!(check(&alice().note(TEXT), &[]), Err(NoteError::NoKnownSignature));
}

#[test]
fn a_signature_of_another_length_is_bad() {
    let alice = alice();
    let id = alice.public.key_id().to_be_bytes();
    for length in [1, 63, 65] {
        let line = format!("— alice.example {}\n", to_base64(&[id.as_slice(), &vec![0; length]].concat()));
        let bad = NoteError::BadSignature { name: alice.public.name().clone() };
        assert_eq!(check(&format!("{TEXT}\n{line}"), alice.alone()), Err(bad));
    }
}

#[test]
fn every_malformed_note_has_its_error() {
    let good = alice().note(TEXT);
    let line = alice().line(TEXT);
    let many = |count| format!("{TEXT}\n{}", line.repeat(count));
    let offset = |needle: &str| good.find(needle).unwrap();
    let cases = [
        (String::new(), NoteError::NoSignatures),
        (line.clone(), NoteError::NoSignatures),
        (format!("\n{line}"), NoteError::NoSignatures),
        (format!("text\n{line}"), NoteError::NoSignatures),
        ("text\n\n".to_owned(), NoteError::NoSignatures),
        (format!("{good}\n"), NoteError::NoSignatures),
        (good.trim_end().to_owned(), NoteError::UnterminatedLine),
        (format!("{good}x"), NoteError::UnterminatedLine),
        (format!("{good}x\n"), NoteError::SignatureForm { line: 2 }),
        (good.replace('—', "-"), NoteError::SignatureForm { line: 1 }),
        (good.replace("— alice.example ", "— "), NoteError::SignatureForm { line: 1 }),
        (
            good.replace("alice.example", "alice+example"),
            NoteError::SignerName { line: 1, source: KeyNameError::Plus },
        ),
        (good.replace("— alice", "—  alice"), NoteError::SignerName { line: 1, source: KeyNameError::Empty }),
        (good.replace("example ", "example  "), NoteError::SignatureEncoding { line: 1 }),
        (good.replace("=\n", "\n"), NoteError::SignatureEncoding { line: 1 }),
        (good.replace("=\n", "= \n"), NoteError::SignatureEncoding { line: 1 }),
        ("text\n\n— a AAAAAA==\n".to_owned(), NoteError::SignatureTooShort { line: 1 }),
        ("text\n\n— a AAAA\n".to_owned(), NoteError::SignatureTooShort { line: 1 }),
        ("text\n\n— a \n".to_owned(), NoteError::SignatureTooShort { line: 1 }),
        (good.replace('\n', "\r\n"), NoteError::ControlCharacter { offset: offset("\n") }),
        (good.replace("first", "\tirst"), NoteError::ControlCharacter { offset: 0 }),
        (format!("{good}\0"), NoteError::ControlCharacter { offset: good.len() }),
        (many(MAX_SIGNATURES + 1), NoteError::TooManySignatures { found: MAX_SIGNATURES + 1 }),
        ("x".repeat(MAX_NOTE_BYTES + 1), NoteError::TooLarge { found: MAX_NOTE_BYTES + 1 }),
    ];
    for (note, expected) in cases {
        assert_eq!(check(&note, alice().alone()), Err(expected), "{note:?}");
    }
    assert!(check(&many(MAX_SIGNATURES), alice().alone()).is_ok());
    let not_utf8 = UnverifiedNote::parse(b"ab\xff\n").unwrap_err();
    assert_eq!(not_utf8, NoteError::NotUtf8 { offset: 2 });
}

#[test]
fn a_text_with_blank_lines_and_signature_lines_of_its_own_is_one_text() {
    let alice = alice();
    let quoted = bob().note(TEXT) + "\nquoted above\n";
    let (text, signed_by) = check(&alice.note(&quoted), &[alice.public.clone(), bob().public]).unwrap();
    assert_eq!(text, quoted);
    assert_eq!(signed_by, [alice.public]);
}

#[test]
fn a_writer_cannot_sign_what_no_note_can_hold() {
    assert_eq!(signed_text("text\n"), Ok(b"text\n".as_slice()));
    assert_eq!(signed_text("text"), Err(NoteError::UnterminatedText));
    assert_eq!(signed_text(""), Err(NoteError::UnterminatedText));
    assert_eq!(signed_text("te\rxt\n"), Err(NoteError::ControlCharacter { offset: 2 }));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(UnverifiedNote::parse(&bytes).is_err());
    }

    #[test]
    fn no_signature_lines_make_the_parser_panic(lines in "(— [a+ ]{0,3} ?[A-Za-z0-9+/=]{0,12}\n?){0,4}") {
        if let Ok(note) = UnverifiedNote::parse(format!("text\n\n{lines}").as_bytes()) {
            prop_assert_eq!(note.verify(alice().alone()).unwrap_err(), NoteError::NoKnownSignature);
        }
    }

    #[test]
    fn any_signed_text_verifies_and_no_altered_byte_does(
        text in "[a-zA-Z\n—]{0,60}\n", at: prop::sample::Index, bit in 0_u8..8,
    ) {
        let note = alice().note(&text).into_bytes();
        let verify = |bytes: &[u8]| UnverifiedNote::parse(bytes)?.verify(alice().alone());
        let verified = verify(&note).unwrap();
        prop_assert_eq!(verified.text(), &text);
        let mut altered = note.clone();
        altered[at.index(note.len())] ^= 1 << bit;
        prop_assert!(verify(&altered).is_err());
        prop_assert!(verify(&note[..at.index(note.len())]).is_err());
    }
}
