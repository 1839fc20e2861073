use super::*;
use crate::credential::Origin;

fn source(credential: &str) -> CredentialSource {
    CredentialSource::given(Token::new(credential))
}

fn named(names: &[&str]) -> Result<EnvironmentCredentials, InvalidVariables> {
    let sources = names.iter().map(|name| ((*name).to_owned(), source("sesame")));
    EnvironmentCredentials::new(sources.collect(), Duration::from_secs(60))
}

#[test]
fn what_steers_programs_or_is_the_gates_own_holds_no_credential() {
    for name in ["CRM_TOKEN", "_x", "a1"] {
        assert!(named(&[name]).is_ok(), "{name}");
    }
    let long = "A".repeat(129);
    for name in [
        "",
        "1A",
        "A-B",
        "A=B",
        "A B",
        "\u{c4}",
        "PATH",
        "HOME",
        "SHELL",
        "LC_ALL",
        "XDG_RUNTIME_DIR",
        "LD_PRELOAD",
        "DYLD_INSERT_LIBRARIES",
        "PORTCULLIS_GATE_PID",
        &long,
    ] {
        assert_eq!(named(&[name]).unwrap_err(), InvalidVariables::Name, "{name}");
    }
    assert_eq!(named(&["A", "A"]).unwrap_err(), InvalidVariables::Twice);
    assert_eq!(named(&[]).unwrap_err(), InvalidVariables::Count);
    let many: Vec<String> = (0..=MOST).map(|number| format!("A{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(named(&many).unwrap_err(), InvalidVariables::Count);
}

#[tokio::test]
async fn all_are_handed_over_or_none() {
    let two = |second: CredentialSource| {
        let sources = vec![("A".to_owned(), source("one")), ("B".to_owned(), second)];
        EnvironmentCredentials::new(sources, Duration::from_secs(60)).unwrap()
    };
    let credentials = two(source("two"));
    let (handover, given, _) = credentials.fetch().await.unwrap();
    assert_eq!(handover.bytes(), b"\0\0\0\x0cA=one\0B=two\0");
    assert_eq!(format!("{handover:?}"), "***");
    assert_eq!(given.message(br#"{"a":"one","two":"b"}"#.to_vec()), br#"{"a":"***","***":"b"}"#);
    let absent = Origin::Here(crate::credential::Here::File("/nonexistent".into()));
    let absent = CredentialSource::new(absent, Duration::from_secs(5), Duration::ZERO);
    assert!(two(absent).fetch().await.is_err());
}

#[tokio::test]
async fn a_line_that_was_cut_within_a_credential_said_its_beginning() {
    let (_, given, _) = named(&["A"]).unwrap().fetch().await.unwrap();
    let mut long = vec![b'x'; LONGEST];
    long.splice(..0, *b"sesame, ");
    long.extend_from_slice(b"sesa");
    let said = given.words(&Line::Cut(long.clone()));
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("***") && !said.contains("ses"), "{said}");
    assert!(given.words(&Line::Whole(long)).ends_with(b"sesa"), "a whole line is what it is");
}
