use super::*;

fn parsed(text: &str) -> Result<KeySet, NoKeySet> {
    KeySet::parse(text.as_bytes(), &Algorithm::ALL.into())
}

const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The signature of RFC 8037, appendix A.4.
#[test]
fn the_signature_of_the_standard_verifies_and_no_other() {
    let set =
        parsed(&format!(r#"{{"keys":[{{"kid":"a","kty":"OKP","crv":"Ed25519","x":"{X}"}}]}}"#)).unwrap();
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = set.key("a").unwrap();
    assert_eq!(key.verify(Algorithm::EdDsa, signed, &signature), Ok(()));
    assert_eq!(key.verify(Algorithm::EdDsa, b"another", &signature), Err(TokenRefused::Signature));
    for other in [Algorithm::Es256, Algorithm::Ps256, Algorithm::Rs256] {
        assert_eq!(key.verify(other, signed, &signature), Err(TokenRefused::KeyType));
    }
}

#[test]
fn what_is_no_key_set_gives_no_keys() {
    for text in [
        "",
        "[]",
        "{}",
        "null",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kid":"a","kid":"b"}]}"#,
        r#"{"keys":[]} x"#,
    ] {
        assert_eq!(parsed(text), Err(NoKeySet), "{text}");
    }
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; MOST_KEYS + 1].join(","));
    assert_eq!(parsed(&many), Err(NoKeySet));
    assert_eq!(parsed(&format!(r#"{{"keys":[{}"#, " ".repeat(LONGEST_SET))), Err(NoKeySet));
    let none = parsed(r#"{"keys":[]}"#).unwrap();
    assert_eq!((none.len(), none.passed_over), (0, 0));
    let odd = parsed(r#"{"keys":[1,"a",null,{},[{}]],"more":1.5}"#).unwrap();
    assert_eq!((odd.len(), odd.passed_over), (0, 5));
}

#[test]
fn an_issuer_that_may_use_one_algorithm_has_keys_for_that_one() {
    let text = format!(r#"{{"keys":[{{"kid":"a","kty":"OKP","crv":"Ed25519","x":"{X}"}}]}}"#);
    assert_eq!(KeySet::parse(text.as_bytes(), &[Algorithm::Es256].into()).unwrap().len(), 0);
    assert_eq!(KeySet::parse(text.as_bytes(), &[Algorithm::EdDsa].into()).unwrap().len(), 1);
}

#[test]
fn an_rsa_key_that_is_short_or_written_otherwise_is_none() {
    let modulus = |length: usize, first: u8| [vec![first], vec![0xff; length - 1]].concat();
    let e = [1, 0, 1];
    assert!(is_strong(&modulus(256, 0x80), &e) && is_strong(&modulus(1024, 0xff), &e));
    for (length, first) in [(255, 0xff), (256, 0x7f), (1025, 1), (257, 0), (1, 1)] {
        assert!(!is_strong(&modulus(length, first), &e), "{length} {first}");
    }
    let n = modulus(256, 0x80);
    for e in [&[][..], &[3], &[1, 0, 0], &[0, 1, 0, 1], &[1, 0, 2], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
        assert!(!is_strong(&n, e), "{e:?}");
    }
    assert!(is_strong(&n, &[1, 0xff, 0xff, 0xff, 0xff]) && !is_strong(&[], &e));
}
