use super::*;

fn read(text: &str) -> Result<CredentialConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crm.toml");
    std::fs::write(&file, text).unwrap();
    CredentialConfig::read(&file)
}

const VAULT: &str = "[vault]\naddress = \"http://127.0.0.1:8200\"\ntoken_file = \"vault.token\"\npath = \"secret/data/crm\"\nfield = \"key\"\n";

#[test]
fn each_source_is_read_with_what_tool_servers_are_kept_from() {
    let named = |paths: &[PathBuf]| {
        let names = paths.iter().map(|path| {
            assert!(path.is_absolute());
            path.file_name().unwrap().to_str().unwrap().to_owned()
        });
        names.collect::<Vec<_>>()
    };
    for (text, hidden, kept) in [
        ("file = \"key\"", &["key", "crm.toml"][..], &[][..]),
        ("env = \"PORTCULLIS_CRM\"\nheader = \"x-api-key\"", &["crm.toml"], &[]),
        ("command = [\"/usr/bin/crm-token\", \"-v\"]\nmax_age_seconds = 60", &["crm.toml"], &["crm-token"]),
        (&format!("{VAULT}engine = \"kv-v2\"\nnamespace = \"team\""), &["vault.token", "crm.toml"], &[]),
        (
            "age = { file = \"crm.age\", identity = \"age.key\" }",
            &["crm.age", "age.key", "crm.toml"],
            &["age"],
        ),
        (
            "age = { file = \"crm.age\", identity = \"age.key\", program = \"bin/rage\" }",
            &["crm.age", "age.key", "crm.toml"],
            &["rage"],
        ),
        ("keyring = { service = \"crm\" }", &["crm.toml"], &["secret-tool"]),
        // What becomes the store is hidden as the store is.
        ("oauth = { store = \"crm.oauth\" }", &["crm.oauth", "crm.oauth.new", "crm.toml"], &[]),
        (&format!("{VAULT}engine = \"dynamic\""), &["vault.token", "crm.toml"], &[]),
    ] {
        let read = read(text).unwrap();
        assert_eq!(
            (named(&read.hidden), named(&read.kept)),
            (
                hidden.iter().map(|name| (*name).to_owned()).collect(),
                kept.iter().map(|name| (*name).to_owned()).collect(),
            ),
            "{text}"
        );
    }
}

#[test]
fn a_mistake_in_a_file_said_what_is_secret_in_it() {
    for (mistake, place) in [
        ("file = \"key\"\ntoken = \"canary\"", "line 2, column 1"),
        ("file = \"key\"\ndeadline_ms = \"canary, expected canary\"", "line 2, column 15"),
        ("file = \"key\"\ncanary = 1", "line 2, column 1"),
        ("file = \"key\"\nprefix = \"canary", "line 2, column"),
        ("file = \"key\"\nfile = \"canary\"", "line 2, column 1"),
        ("prefix = \"\u{e9}\", file = \"canary\"", "line 1, column"),
        // The token's own file, given by mistake.
        ("canary", "line 1, column"),
        ("canary==\n", "line 1, column"),
        ("canary=1", "line 1, column 1"),
        ("canary-1.canary.canary", "line 1, column"),
        ("[canary]", "line 1, column"),
    ] {
        let error = read(mistake).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("canary"), "{said}");
        assert!(said.contains(place), "{mistake}: {said}");
    }
    let said = read("file = \"key\"\nother = 1").unwrap_err().to_string();
    assert!(said.contains("expected one of `header`, `prefix`"), "{said}");
    let said = read("[vault]\naddress = \"http://127.0.0.1:8200\"").unwrap_err().to_string();
    assert!(said.contains("missing field `engine`"), "{said}");
}

#[test]
fn a_token_of_a_login_is_in_no_environment_and_in_no_argument() {
    let section = || toml::from_str::<CredentialSection>("oauth = { store = \"crm.oauth\" }").unwrap();
    let base = PathBuf::from("/gate");
    let refused = EnvironmentConfig::resolve(vec![("CRM".into(), section(), base.clone())], None);
    assert!(refused.unwrap_err().to_string().contains("no `oauth`"));
    let slot = "tools = [\"search\"]\nargument = \"/key\"\noauth = { store = \"crm.oauth\" }";
    let slot = toml::from_str::<CredentialSection>(slot).unwrap();
    let refused = SlotsConfig::resolve(vec![("crm".into(), slot, base.clone())]);
    assert!(refused.unwrap_err().to_string().contains("no `oauth`"));
    assert!(section().resolve(&base).is_ok());
}

#[test]
fn a_file_that_is_not_clear_is_refused() {
    let engine = format!("{VAULT}engine = \"dynamic\"\n");
    for unclear in [
        "",
        "file = \"key\"\nenv = \"PORTCULLIS_CRM\"",
        "file = \"key\"\nkeyring = { service = \"crm\" }",
        "age = { file = \"crm.age\" }",
        "age = { file = \"crm.age\", identity = \"age.key\", other = 1 }",
        "oauth = {}",
        "oauth = { store = \"crm.oauth\", issuer = \"https://auth.example\" }",
        "oauth = { store = \"crm.oauth\" }\nheader = \"authorization\"",
        "oauth = { store = \"crm.oauth\" }\nprefix = \"Token \"",
        "max_age_seconds = 60\noauth = { store = \"crm.oauth\" }",
        "file = \"key\"\noauth = { store = \"crm.oauth\" }",
        "keyring = {}",
        "keyring = { service = \"--clear\" }",
        "file = \"key\"\ntools = [\"search\"]",
        "file = \"key\"\nargument = \"/a\"",
        "file = \"key\"\nother = 1",
        "env = \"HOME\"",
        "command = []",
        "command = [\"\"]",
        "file = \"key\"\ndeadline_ms = 0",
        "file = \"key\"\ndeadline_ms = 30001",
        "file = \"key\"\nmax_age_seconds = 86401",
        "file = \"key\"\nheader = \"host\"",
        "file = \"key\"\nprefix = \"a\\nb\"",
        VAULT,
        &format!("max_age_seconds = 60\n{engine}"),
        &format!("{VAULT}engine = \"pki\""),
        &engine.replace("http://127.0.0.1:8200", "http://vault.example:8200"),
        &engine.replace("http://127.0.0.1:8200", "https://vault.example:8200"),
        &engine.replace("secret/data", "../data"),
        &format!("{engine}token_env = \"PORTCULLIS_VAULT\""),
        &engine.replace("token_file = \"vault.token\"", "token_env = \"VAULT_TOKEN\""),
        &format!("{engine}namespace = \"a b\""),
    ] {
        assert!(read(unclear).is_err(), "{unclear}");
    }
}
