use super::*;

fn read(change: impl Fn(&str) -> String) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let made = crate::setup::init(directory.path()).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    std::fs::write(&made.config, change(&text)).unwrap();
    Config::read(&made.config)
}

fn refused(from: &str, to: &str) -> String {
    let config = read(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let all = |config: Config| {
        config.arbiter().map(drop).and(config.mcp().map(drop)).and(config.listen().map(drop))
    };
    config.and_then(all).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_is_refused() {
    assert!(refused("[gate]", "[gate]\nfail_open = true").contains("fail_open"));
    assert!(refused("[gate]", "[bypass]\nx = 1\n[gate]").contains("bypass"));
}

#[test]
fn what_is_missing_or_empty_is_an_error_not_a_default() {
    assert!(refused("[policy]", "[policies]").contains("policies"));
    assert!(refused("trusted_keys = [", "trusted_keys = []\n# [").contains("names no key"));
    assert!(refused("pin = \"sha256:", "pin = \"").contains("policy.pin"));
    assert!(refused("log_key = \"", "log_key = \"x").contains("arbiter.log_key"));
}

#[test]
fn the_anchor_lies_outside_the_data_directory_and_the_api_on_loopback() {
    assert!(refused("\"anchor/head\"", "\"data/anchor\"").contains("arbiter.anchor"));
    assert!(refused("\"127.0.0.1:8447\"", "\"0.0.0.0:8447\"").contains("loopback"));
}

#[test]
fn an_exposed_token_file_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let config = Config::read(&crate::setup::init(directory.path()).unwrap().config).unwrap();
    assert!(config.gate().is_ok());
    let token = directory.path().join("keys/assistant.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(config.gate().unwrap_err().to_string().contains("chmod 600"));
}

#[test]
fn every_key_is_documented() {
    for key in KEYS {
        assert!(!key.doc.trim().is_empty() && !key.default.is_empty(), "{}.{}", key.section, key.name);
    }
}

#[test]
fn two_agents_with_one_token_are_refused() {
    let doubled = read(|text| {
        let token = text.lines().find(|line| line.starts_with("token = ")).unwrap();
        format!("{text}\n[agents.other]\n{token}\n")
    });
    assert!(doubled.unwrap().arbiter().unwrap_err().to_string().contains("one token"));
}

#[test]
fn an_auditor_who_is_also_an_agent_would_open_the_log_to_it() {
    let shared = |section: &str| {
        let config = read(|text| {
            let token = text.lines().find(|line| line.starts_with("token = ")).unwrap();
            let twice = format!("[auditors.one]\ntoken = \"{}\"\n", crate::Agents::digest("x"));
            format!("{text}\n{twice}\n{}\n", section.replace("TOKEN", token))
        });
        config.unwrap().arbiter().map(drop)
    };
    assert!(shared("[auditors.other]\nTOKEN").unwrap_err().to_string().contains("auditors.token"));
    let digest = crate::Agents::digest("x");
    let two = format!("[auditors.other]\ntoken = \"{digest}\"");
    assert!(shared(&two).unwrap_err().to_string().contains("auditors.token"));
    assert!(shared("").is_ok());
}

#[test]
fn the_log_is_not_public_unless_it_is_said() {
    let log = read(str::to_owned).unwrap().arbiter().unwrap().log;
    assert!(!log.public && log.minimum_index == 0 && log.auditors.is_empty());
    let log = read(|text| format!("{text}\n[log]\npublic = true\nminimum_index = 512\n")).unwrap();
    let log = log.arbiter().unwrap().log;
    assert!(log.public && log.minimum_index == 512);
}

#[test]
fn a_signer_is_one_thing_with_its_own_keys_and_a_bound() {
    let key_file = "signing_key = \"keys/log.key\"";
    let signer = |lines: &str| {
        let config = read(|text| {
            let text = text.replace(key_file, "");
            text.replace("\n[policy]\n", &format!("\n[signer]\n{lines}\n[policy]\n"))
        });
        config.and_then(|config| config.arbiter()).unwrap_err().to_string()
    };
    assert!(refused(key_file, "").contains("arbiter.signing_key"));
    let both = refused("[policy]", "[signer]\nkind = \"file\"\nkey_file = \"keys/log.key\"\n[policy]");
    assert!(both.contains("two signers"), "{both}");
    assert!(signer("kind = \"yubikey\"").contains("signer.kind"));
    assert!(signer("kind = \"file\"").contains("signer.key_file"));
    assert!(signer("kind = \"command\"\ncommand = []").contains("absolute path"));
    assert!(signer("kind = \"command\"\ncommand = [\"sign\"]").contains("absolute path"));
    assert!(
        signer("kind = \"command\"\ncommand = [\"/sign\"]\nkey_file = \"x\"").contains("signer.key_file")
    );
    assert!(signer("kind = \"pkcs11\"\nmodule = \"libsofthsm2.so\"").contains("absolute path"));
    let token = "kind = \"pkcs11\"\nmodule = \"/m.so\"\ntoken = \"t\"\nkey = \"k\"";
    assert!(signer(token).contains("signer.pin_file"));
    for deadline in [0, 9, 10_001] {
        let lines = format!("kind = \"file\"\nkey_file = \"x\"\ndeadline_ms = {deadline}");
        assert!(signer(&lines).contains("signer.deadline_ms"));
    }
    assert!(signer("kind = \"http\"\nendpoint = \"http://192.0.2.1:80\"").contains("loopback"));
    assert!(signer("kind = \"http\"\nendpoint = \"https://signer.test:443\"").contains("signer.ca"));
    assert!(signer("kind = \"http\"\nendpoint = \"unix:/s\"\npath = \"sign\"").contains("signer.path"));
    assert!(
        signer("kind = \"http\"\nendpoint = \"unix:/s\"\ntoken_file = \"none\"")
            .contains("signer.token_file")
    );
}

#[test]
fn an_operator_with_an_agents_token_is_refused() {
    let doubled = |section: &str, of: usize| {
        let read = read(|text| {
            let token = text.lines().filter(|line| line.starts_with("token = ")).nth(of).unwrap();
            format!("{text}\n[{section}]\n{token}\n")
        });
        read.unwrap().arbiter().unwrap_err().to_string()
    };
    for (section, of) in [("operators.eve", 0), ("operators.eve", 1), ("agents.eve", 1), ("auditors.eve", 1)]
    {
        let error = doubled(section, of);
        assert!(error.contains("nobody else's"), "{section} {of}: {error}");
    }
}

#[test]
fn a_spool_lies_outside_of_what_it_stands_in_for_and_is_bounded() {
    let spool = |text: &str| refused("[policy]", &format!("[spool]\n{text}\n[policy]"));
    assert!(spool("path = \"data/spool\"").contains("spool.path"));
    assert!(spool("path = \"anchor/head\"").contains("spool.path"));
    assert!(spool("max_entries = 5").contains("path"));
    assert!(spool("path = \"spool/a\"\nmax_entries = 0").contains("spool.max_entries"));
    assert!(spool("path = \"spool/a\"\nmax_bytes = 1000000000").contains("spool.max_bytes"));
    let config = read(|text| text.replacen("[policy]", "[spool]\npath = \"spool/a\"\n[policy]", 1)).unwrap();
    let spool = config.arbiter().unwrap().spool.unwrap();
    assert!(spool.path.is_absolute() && spool.path.ends_with("spool/a"));
    assert_eq!((spool.entries, spool.bytes), (10_000, 8 << 20));
}

/// The error of a configuration with one witness, whose key is made from the log's, and these words in `[witnessing]`.
fn watched(
    key: impl Fn(&VerifierKey) -> portcullis_verify::CosignerKey,
    words: &str,
) -> Result<(), ConfigError> {
    let config = read(|text| {
        let log = text.split("\nlog_key = \"").nth(1).unwrap().split('"').next().unwrap();
        let key = key(&log.parse().unwrap());
        format!(
            "{text}\n[witnessing]\nquorum = 1\n{words}\n[witnesses.w]\nurl = \"http://127.0.0.1:1\"\nkeys = [\"{key}\"]\n"
        )
    })?;
    config.arbiter().map(drop)
}

fn made(name: &str) -> portcullis_verify::CosignerKey {
    portcullis_ledger::generate_cosigner(name, portcullis_verify::CosignerKind::Ed25519).unwrap().1
}

fn stranger(_: &VerifierKey) -> portcullis_verify::CosignerKey {
    made("witness.test/w")
}

#[test]
fn a_log_was_let_to_be_a_witness_of_itself() {
    assert_eq!(watched(stranger, "").map_err(|error| error.to_string()), Ok(()));
    let kind = portcullis_verify::CosignerKind::Ed25519;
    let same_key = |log: &VerifierKey| {
        portcullis_verify::CosignerKey::new("witness.test/w", kind, &log.public_key()).unwrap()
    };
    let same_name = |log: &VerifierKey| made(log.name().as_str());
    assert!(watched(same_key, "").unwrap_err().to_string().contains("a witness of itself"));
    assert!(watched(same_name, "").unwrap_err().to_string().contains("a witness of itself"));
}

#[test]
fn witnesses_were_given_no_time_or_for_ever() {
    for patience in ["0", "9", "10001", "18446744073709551615"] {
        let error = watched(stranger, &format!("patience_ms = {patience}")).unwrap_err().to_string();
        assert!(error.contains("witnessing.patience_ms"), "{error}");
    }
    watched(stranger, "patience_ms = 10").unwrap();
}

#[test]
fn a_witness_that_cannot_listen_was_told_to_look_into_another_section() {
    let config = read(|text| {
        let log = text.split("\nlog_key = \"").nth(1).unwrap().split('"').next().unwrap();
        format!(
            "{text}\n[witness]\nlisten = \"0.0.0.0:1\"\nstate = \"s\"\nsigning_keys = [\"k\"]\nlogs = [\"{log}\"]\n"
        )
    });
    let error = config.unwrap().own_witness().unwrap_err().to_string();
    assert!(error.contains("witness.listen") && !error.contains("serve."), "{error}");
}
