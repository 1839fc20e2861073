use proptest::prelude::*;

use super::{Checkpoint, CheckpointError, UnverifiedCheckpoint};
use crate::key::{KeyName, KeyNameError, VerifierKey};
use crate::merkle::{Hash, HashError, empty_root};
use crate::note::NoteError;
use crate::testing::{TestKey, TestLog};

/// The example text of c2sp.org/tlog-checkpoint.
const SPEC_TEXT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

fn log() -> TestKey {
    TestKey::new("example.com/behind-the-sofa", 1)
}

fn check(note: &str, keys: &[VerifierKey]) -> Result<Checkpoint, CheckpointError> {
    let verified = UnverifiedCheckpoint::parse(note.as_bytes())?.verify(keys)?;
    assert_eq!(verified.note_bytes(), note.as_bytes());
    Ok(verified.checkpoint().clone())
}

#[test]
fn the_text_of_the_spec_is_read_and_written() {
    let checkpoint: Checkpoint = SPEC_TEXT.parse().unwrap();
    assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(checkpoint.to_string(), SPEC_TEXT);
    assert_eq!(check(&log().note(SPEC_TEXT), log().alone()), Ok(checkpoint));
}

#[test]
fn every_malformed_text_has_its_error() {
    let cases = [
        (String::new(), CheckpointError::Form),
        ("a\n1\n".to_owned(), CheckpointError::Form),
        (SPEC_TEXT.trim_end().to_owned(), CheckpointError::Form),
        (format!("{SPEC_TEXT}an extension\n"), CheckpointError::Form),
        (format!("{SPEC_TEXT}\n"), CheckpointError::Form),
        (format!("\n{SPEC_TEXT}"), CheckpointError::Form),
        (SPEC_TEXT.replace("example.com/behind-the-sofa", ""), CheckpointError::Origin(KeyNameError::Empty)),
        (SPEC_TEXT.replace("behind-", "behind "), CheckpointError::Origin(KeyNameError::Space)),
        (SPEC_TEXT.replace("20852163", "020852163"), CheckpointError::Size),
        (SPEC_TEXT.replace("20852163", "-1"), CheckpointError::Size),
        (SPEC_TEXT.replace("20852163", "18446744073709551616"), CheckpointError::Size),
        (SPEC_TEXT.replace("20852163", ""), CheckpointError::Size),
        (SPEC_TEXT.replace("q2I=", "q2J="), CheckpointError::Root(HashError)),
        (SPEC_TEXT.replace("q2I=", "q2I"), CheckpointError::Root(HashError)),
        (SPEC_TEXT.replace("20852163", "0"), CheckpointError::EmptyRoot),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Checkpoint>(), Err(expected), "{text:?}");
    }
    let empty = format!("a\n0\n{}\n", empty_root());
    assert_eq!(empty.parse::<Checkpoint>().unwrap().to_string(), empty);
}

#[test]
fn extension_lines_are_refused_though_signed() {
    let note = log().note(&format!("{SPEC_TEXT}an extension\n"));
    assert_eq!(check(&note, log().alone()), Err(CheckpointError::Form));
}

#[test]
fn only_the_log_itself_can_sign_its_checkpoint() {
    let origin = log().public.name().clone();
    let other = TestKey::new("other.example/log", 2);
    let unknown = CheckpointError::UnknownOrigin { origin: origin.clone() };
    let not_signed = CheckpointError::NotSignedByOrigin { origin };
    assert_eq!(check(&other.note(SPEC_TEXT), other.alone()), Err(unknown.clone()));
    assert_eq!(check(&log().note(SPEC_TEXT), other.alone()), Err(unknown.clone()));
    assert_eq!(check(&log().note(SPEC_TEXT), &[]), Err(unknown));
    // Both are known, but the wrong one signed.
    let both = [other.public.clone(), log().public];
    assert_eq!(check(&other.note(SPEC_TEXT), &both), Err(not_signed));
    assert!(check(&(other.note(SPEC_TEXT) + &log().line(SPEC_TEXT)), &both).is_ok());
}

#[test]
fn another_key_under_the_name_of_the_log_has_not_signed() {
    let impostor = TestKey::new("example.com/behind-the-sofa", 9);
    let expected = CheckpointError::Note(NoteError::NoKnownSignature);
    assert_eq!(check(&impostor.note(SPEC_TEXT), log().alone()), Err(expected));
}

#[test]
fn an_altered_checkpoint_is_not_signed() {
    let bad = CheckpointError::Note(NoteError::BadSignature { name: log().public.name().clone() });
    let note = log().note(SPEC_TEXT);
    for (from, to) in [("20852163", "20852164"), ("CsUY", "CsUZ")] {
        assert_eq!(check(&note.replacen(from, to, 1), log().alone()), Err(bad.clone()));
    }
    let crlf = check(&note.replace('\n', "\r\n"), log().alone());
    assert_eq!(crlf, Err(CheckpointError::Note(NoteError::ControlCharacter { offset: 27 })));
}

#[test]
fn a_verified_checkpoint_tells_who_signed() {
    let log = TestLog::new(3);
    let checkpoint = log.verified_at(3);
    assert_eq!(checkpoint.origin().as_str(), "gate.example/log");
    assert_eq!((checkpoint.size(), checkpoint.root()), (3, log.tree.root()));
    assert_eq!(checkpoint.signed_by(), [log.key.public]);
}

proptest! {
    #[test]
    fn checkpoints_round_trip(origin in "[a-z./]{1,20}", size in 1_u64.., root: [u8; 32]) {
        let checkpoint = Checkpoint { origin: KeyName::new(&origin).unwrap(), size, root: Hash(root) };
        prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        prop_assert!(text.parse::<Checkpoint>().is_err());
    }

    #[test]
    fn what_parses_is_canonical(text in "[a+ ]{0,2}\n[0-9]{0,3}\n[A-E]{42,43}[AEI]?=?\n") {
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }
}
