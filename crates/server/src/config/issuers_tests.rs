use super::*;

fn read(sections: &str) -> Result<super::super::ArbiterConfig, String> {
    let directory = tempfile::tempdir().unwrap();
    let made = crate::setup::init(directory.path()).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    std::fs::write(&made.config, format!("{text}\n{sections}\n")).unwrap();
    Config::read(&made.config).and_then(|config| config.arbiter()).map_err(|error| error.to_string())
}

const ISSUER: &str = "[issuers.\"http://127.0.0.1:9\"]\naudience = \"https://gate.example/\"\n";

fn issuer(lines: &str) -> Result<IssuerConfig, String> {
    read(&format!("{ISSUER}{lines}")).map(|config| config.issuers[0].clone())
}

fn agents(sections: &str) -> Result<Vec<AgentConfig>, String> {
    read(&format!("{ISSUER}{sections}")).map(|config| config.agents)
}

#[test]
fn an_issuer_has_bounds_and_believes_access_tokens_alone_by_default() {
    let IssuerConfig { rules, ages, keys, .. } = issuer("").unwrap();
    assert_eq!(rules.types, [TokenType::AccessToken].into());
    assert_eq!(rules.algorithms, Algorithm::ALL.into());
    assert_eq!((rules.skew_ms, ages.fresh.as_secs(), ages.expire.as_secs()), (10_000, 300, 3_600));
    assert!(matches!(keys, KeysAt::Metadata(_)));
    for (lines, told) in [
        ("skew_seconds = 61", "issuers.skew_seconds"),
        ("fresh_seconds = 0", "issuers.fresh_seconds"),
        ("fresh_seconds = 86401", "issuers.fresh_seconds"),
        ("expire_seconds = 300", "issuers.expire_seconds"),
        ("expire_seconds = 604801", "issuers.expire_seconds"),
        ("algorithms = []", "issuers.algorithms"),
        ("algorithms = [\"none\"]", "issuers.algorithms"),
        ("algorithms = [\"HS256\"]", "issuers.algorithms"),
        ("algorithms = [\"es256\"]", "issuers.algorithms"),
        ("algorithms = [\"ES256\", \"ES256\"]", "issuers.algorithms"),
        ("types = []", "issuers.types"),
        ("types = [\"id+jwt\"]", "issuers.types"),
        ("jwks = \"http://idp.example/jwks\"", "issuers.jwks"),
        ("jwks = \"https://idp.example/jwks\"", "issuers.jwks"),
        ("jwks = \"http://127.0.0.1:9/jwks\"\njwks_file = \"jwks\"", "issuers.jwks"),
        ("ca = \"none.pem\"", "issuers.ca"),
        ("client_secret = \"x\"", "client_secret"),
    ] {
        let error = issuer(lines).unwrap_err();
        assert!(error.contains(told), "{lines}: {error}");
    }
    assert_eq!(issuer("algorithms = [\"ES256\"]").unwrap().rules.algorithms, [Algorithm::Es256].into());
    assert_eq!(issuer("types = [\"at+jwt\", \"JWT\"]").unwrap().rules.types.len(), 2);
}

#[test]
fn an_issuer_without_its_audience_or_its_url_is_refused() {
    assert!(read("[issuers.\"http://127.0.0.1:9\"]").unwrap_err().contains("audience"));
    assert!(
        read("[issuers.\"http://127.0.0.1:9\"]\naudience = \"\"").unwrap_err().contains("issuers.audience")
    );
    for name in [
        "",
        "idp.example",
        "https://idp.example",
        "http://127.0.0.1:9?x",
        "http://127.0.0.1:9#x",
        "http://127.0.0.1:9/a b",
    ] {
        let error = read(&format!("[issuers.\"{name}\"]\naudience = \"a\"")).unwrap_err();
        assert!(error.contains("issuers.URL"), "{name}: {error}");
    }
}

fn subject(name: &str, subject: &str) -> String {
    format!("[agents.{name}]\nsubject = {{ issuer = \"http://127.0.0.1:9\", {subject} }}\n")
}

#[test]
fn an_agent_has_a_token_or_a_subject_of_a_configured_issuer() {
    let named = agents(&subject("worker", "sub = \"s\"")).unwrap();
    let worker = named.iter().find(|agent| agent.agent.as_str() == "worker").unwrap();
    assert!(worker.token.is_none() && worker.acts_for.is_empty());
    assert!(agents("[agents.worker]").unwrap_err().contains("`subject` must be given"));
    let elsewhere = "[agents.worker]\nsubject = { issuer = \"http://127.0.0.1:9/\", sub = \"s\" }";
    assert!(agents(elsewhere).unwrap_err().contains("add a section `[issuers.\"http://127.0.0.1:9/\"]`"));
    for bad in [
        "client_id = \"c\"",
        "sub = \"\"",
        "sub = \"s\", client_id = \"\"",
        "sub = \"s\", client_id = \"c\", people = { a = \"maya\" }",
        "people = { a = \"maya\" }",
        "client_id = \"c\", people = {}",
        "client_id = \"c\", people = { a = \"Maya\" }",
        "sub = \"s\", role = \"admin\"",
    ] {
        assert!(agents(&subject("worker", bad)).is_err(), "{bad}");
    }
}

#[test]
fn whose_token_it_is_says_for_whom_the_agent_acts_and_nothing_else_does() {
    let people = subject("worker", "client_id = \"c\", people = { a = \"maya\", b = \"kim\" }");
    let named = agents(&people).unwrap();
    let worker = named.iter().find(|agent| agent.agent.as_str() == "worker").unwrap();
    assert_eq!(worker.acts_for.len(), 2);
    for more in ["acts_for = [\"zoe\"]".to_owned(), format!("token = \"{}\"", crate::Agents::digest("x"))] {
        assert!(agents(&format!("{people}{more}")).unwrap_err().contains("agents.subject"), "{more}");
    }
    let chained = subject("worker", "client_id = \"c\", people = { a = \"planner\" }");
    let planner =
        format!("[agents.planner]\ntoken = \"{}\"\nacts_for = [\"maya\"]", crate::Agents::digest("y"));
    assert!(agents(&format!("{chained}{planner}")).unwrap_err().contains("which acts for others itself"));
}

#[test]
fn one_token_that_could_name_two_agents_is_refused() {
    let two = |one: &str, other: &str| agents(&format!("{}{}", subject("one", one), subject("two", other)));
    for (one, other) in [
        ("sub = \"s\"", "sub = \"s\""),
        ("sub = \"s\"", "sub = \"s\", client_id = \"c\""),
        ("sub = \"s\", client_id = \"c\"", "sub = \"s\", client_id = \"c\""),
        ("sub = \"s\"", "client_id = \"c\", people = { s = \"maya\" }"),
        (
            "client_id = \"c\", people = { s = \"maya\" }",
            "client_id = \"c\", people = { t = \"kim\", s = \"maya\" }",
        ),
    ] {
        let error = two(one, other).unwrap_err();
        assert!(error.contains("could name both `one` and `two`"), "{one} / {other}: {error}");
    }
    assert!(two("sub = \"s\"", "sub = \"t\"").is_ok());
    assert!(two("sub = \"s\", client_id = \"c\"", "sub = \"s\", client_id = \"d\"").is_ok());
}

#[test]
fn the_file_with_an_issuers_keys_is_not_for_those_who_are_governed_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let made = crate::setup::init(directory.path()).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    std::fs::write(&made.config, format!("{text}\n{ISSUER}jwks_file = \"jwks.json\"\n")).unwrap();
    let kept = Config::read(&made.config).unwrap().governing().kept;
    assert!(kept.contains(&directory.path().join("jwks.json")), "{kept:?}");
}
