use super::*;
use portcullis_ledger::generate;
use portcullis_protocol::ReasonCode;
use portcullis_verify::note::signature_line;

/// What the tests have signed: the text of a checkpoint.
pub(super) const TEXT: &[u8] = b"gate.test/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

/// A new key, and its signature line for [`TEXT`].
pub(super) fn signed() -> (VerifierKey, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let key = crate::setup::new_key(&path, "gate.test/log").unwrap();
    let signature = KeyFile::new(path, key.clone()).sign(TEXT).unwrap();
    (key.clone(), signature_line(&key, &signature))
}

pub(super) fn code<T>(result: Result<T, SignError>) -> Option<ReasonCode> {
    result.err().map(|error| error.code())
}

#[test]
fn an_answer_is_one_signature_line_of_the_logs_key_and_nothing_else() {
    let (key, line) = signed();
    assert!(answered(line.as_bytes(), &key).is_ok());
    let other = generate("gate.test/log").unwrap().1;
    assert_eq!(code(answered(line.as_bytes(), &other)), Some(ReasonCode::SignerWrongKey));
    let garbled = [
        String::new(),
        "\n".to_owned(),
        line.trim_end().to_owned(),
        format!("{line}\n"),
        format!("{line}{line}"),
        format!(" {line}"),
        line.replace('\n', "\r\n"),
        line.replace(' ', ""),
        line.get(..line.len() - 9).unwrap().to_owned() + "\n",
        "{\"signature\":\"\"}\n".to_owned(),
    ];
    for answer in garbled {
        assert_eq!(code(answered(answer.as_bytes(), &key)), Some(ReasonCode::SignerFailed), "{answer:?}");
    }
    assert_eq!(code(answered(b"\xff\xfe\n", &key)), Some(ReasonCode::SignerFailed));
}

#[test]
fn a_signature_of_another_length_is_none() {
    let (key, line) = signed();
    let encoded = line.trim_end().rsplit(' ').next().unwrap();
    // Three more bytes, and three fewer.
    for other in [format!("{encoded}AAAA"), encoded.get(..encoded.len() - 8).unwrap().to_owned() + "AAAA"] {
        let line = line.replace(encoded, &other);
        assert_eq!(code(answered(line.as_bytes(), &key)), Some(ReasonCode::SignerFailed), "{line}");
    }
}
