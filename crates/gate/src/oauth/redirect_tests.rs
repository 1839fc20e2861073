use super::*;

fn expected(names_issuer: bool) -> Expected {
    let state = Zeroizing::new("state-1".to_owned());
    Expected { state, issuer: "https://auth.example/t".into(), names_issuer }
}

#[test]
fn a_redirection_counts_if_it_has_the_state_and_names_no_other_issuer() {
    let code = || Said::Code(Zeroizing::new("c 1".into()));
    let own = "iss=https%3A%2F%2Fauth.example%2Ft";
    for (query, when_named, when_not) in [
        ("code=c+1&state=state-1".to_owned(), Said::No(LoginError::OtherServer), code()),
        (format!("code=c%201&state=state-1&{own}"), code(), code()),
        (
            "code=c&state=state-1&iss=https://auth.example".into(),
            Said::No(LoginError::OtherServer),
            Said::No(LoginError::OtherServer),
        ),
        (
            format!("code=c&state=state-1&{own}&iss=x"),
            Said::No(LoginError::OtherServer),
            Said::No(LoginError::OtherServer),
        ),
        (
            format!("error=access_denied&state=state-1&{own}"),
            Said::No(LoginError::Denied),
            Said::No(LoginError::Denied),
        ),
        (
            format!("error=canary&code=c&state=state-1&{own}"),
            Said::No(LoginError::NotGiven),
            Said::No(LoginError::NotGiven),
        ),
        (
            format!("code=c&code=d&state=state-1&{own}"),
            Said::No(LoginError::NotGiven),
            Said::No(LoginError::NotGiven),
        ),
        (format!("state=state-1&{own}"), Said::No(LoginError::NotGiven), Said::No(LoginError::NotGiven)),
        (format!("code=c&state=state-2&{own}"), Said::Nothing, Said::Nothing),
        (format!("code=c&state=state-1&state=state-1&{own}"), Said::Nothing, Said::Nothing),
        (format!("error=access_denied&{own}"), Said::Nothing, Said::Nothing),
        ("code=%ff&state=state-1".into(), Said::Nothing, Said::Nothing),
        (String::new(), Said::Nothing, Said::Nothing),
    ] {
        assert_eq!(said(&query, &expected(true)), when_named, "{query}");
        assert_eq!(said(&query, &expected(false)), when_not, "{query}");
    }
}
