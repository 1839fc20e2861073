use super::*;

#[test]
fn a_type_is_a_media_type_and_no_other_is_one() {
    for (text, expected) in [
        ("at+jwt", Some(TokenType::AccessToken)),
        ("application/at+jwt", Some(TokenType::AccessToken)),
        ("APPLICATION/AT+JWT", Some(TokenType::AccessToken)),
        ("JWT", Some(TokenType::Any)),
        ("application/jwt", Some(TokenType::Any)),
        ("", None),
        ("application/", None),
        ("application/application/jwt", None),
        ("at", None),
        ("jwt ", None),
        ("applicatioń/jwt", None),
    ] {
        assert_eq!(TokenType::parse(text), expected, "{text}");
    }
}

#[test]
fn a_token_of_the_longest_length_is_read_and_a_longer_one_is_not() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"ES256","typ":"at+jwt","kid":"a"}"#);
    let claims = |pad: usize| {
        part(&format!(r#"{{"iss":"i","sub":"s","aud":"a","exp":1,"iat":1,"p":"{}"}}"#, "a".repeat(pad)))
    };
    let token = |length: usize| {
        let pad = (0..LONGEST).find(|pad| header.len() + claims(*pad).len() + 2 + 86 >= length).unwrap();
        let begin = format!("{header}.{}.", claims(pad));
        begin.clone() + &"A".repeat(86_usize.max(length.saturating_sub(begin.len())))
    };
    assert!(Unverified::read(&token(LONGEST - 4)).is_ok());
    let long = token(LONGEST + 4);
    assert!(long.len() > LONGEST && Unverified::read(&long).is_err_and(|why| why == TokenRefused::TooLarge));
}
