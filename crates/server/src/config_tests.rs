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
    assert!(refused("\"anchor/head\"", "\"keys/../data/anchor\"").contains("arbiter.anchor"));
    assert!(refused("\"127.0.0.1:8447\"", "\"0.0.0.0:8447\"").contains("loopback"));
}

#[test]
fn the_vaults_key_lies_outside_of_what_it_opens() {
    for within in ["data/vault.key", "keys/../data/vault.key"] {
        let error = refused("\"keys/vault.key\"", &format!("\"{within}\""));
        assert!(
            error.contains("arbiter.vault_key") && error.contains("outside the data directory"),
            "{error}"
        );
    }
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

/// The agents of a configuration with these lines in the first agent's section, and these sections beside it.
fn agents(lines: &str, sections: &str) -> Result<Vec<AgentConfig>, String> {
    let config = read(|text| {
        let own = text.lines().find(|line| line.starts_with("token = ")).unwrap();
        let text = text.replacen(own, &format!("{own}\n{lines}"), 1);
        format!("{text}\n{sections}\n")
    });
    config
        .and_then(|config| config.arbiter())
        .map(|arbiter| arbiter.agents)
        .map_err(|error| error.to_string())
}

#[test]
fn a_credential_lists_for_whom_its_agent_acts_and_lists_nobody_by_default() {
    let listed = |lines| -> Vec<String> {
        agents(lines, "").unwrap().iter().flat_map(|agent| &agent.acts_for).map(ToString::to_string).collect()
    };
    assert_eq!(listed("acts_for = [\"maya\", \"planner\"]"), ["maya", "planner"]);
    assert!(listed("").is_empty() && listed("acts_for = []").is_empty());
    for bad in ["[\"Maya\"]", "[\"\"]", "[\"maya\", \"maya\"]", "\"maya\"", "[\"*\"]", "true"] {
        assert!(agents(&format!("acts_for = {bad}"), "").is_err(), "{bad}");
    }
}

/// Whom the last in a chain acts for would act for others itself, and what it read would not be told of them.
#[test]
fn one_who_acts_for_others_is_acted_for_by_nobody() {
    let other = |acts_for: &str| {
        format!("[agents.worker]\ntoken = \"{}\"\nacts_for = {acts_for}", crate::Agents::digest("x"))
    };
    assert_eq!(agents("", &other("[\"assistant\"]")).unwrap().len(), 2);
    assert_eq!(agents("acts_for = [\"maya\"]", &other("[\"maya\"]")).unwrap().len(), 2);
    let chained = agents("acts_for = [\"maya\"]", &other("[\"assistant\"]")).unwrap_err();
    assert!(
        chained.contains("`worker` would act for `assistant`, which acts for others itself"),
        "{chained}"
    );
    assert!(agents("acts_for = [\"worker\"]", &other("[\"assistant\"]")).is_err(), "a circle");
    assert!(agents("acts_for = [\"assistant\"]", "").is_err(), "itself");
}

#[test]
fn a_gate_says_for_whom_its_agent_acts() {
    let gate = |line: &str| {
        let directory = tempfile::tempdir().unwrap();
        let made = crate::setup::init(directory.path()).unwrap();
        let text = std::fs::read_to_string(&made.config).unwrap();
        std::fs::write(&made.config, text.replacen("[gate]\n", &format!("[gate]\n{line}\n"), 1)).unwrap();
        Config::read(&made.config).and_then(|config| config.gate())
    };
    assert_eq!(gate("acts_for = \"maya\"").unwrap().acts_for, Some("maya".parse().unwrap()));
    assert_eq!(gate("").unwrap().acts_for, None);
    for bad in ["\"\"", "\"Maya\"", "[\"maya\"]"] {
        assert!(gate(&format!("acts_for = {bad}")).is_err(), "{bad}");
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
    let made = "path = \"spool/arbiter\"";
    let spool = |text: &str| refused(made, text);
    assert!(spool("path = \"data/spool\"").contains("spool.path"));
    assert!(spool("path = \"anchor/head\"").contains("spool.path"));
    assert!(spool("max_entries = 5").contains("path"));
    assert!(spool("path = \"spool/a\"\nmax_entries = 0").contains("spool.max_entries"));
    assert!(spool("path = \"spool/a\"\nmax_bytes = 1000000000").contains("spool.max_bytes"));
    let config = read(|text| text.replacen(made, "path = \"spool/a\"", 1)).unwrap();
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

#[test]
fn every_path_that_a_configuration_names_governs() {
    let config = read(|text| {
        let more = "\n[signer]\nkind = \"pkcs11\"\nmodule = \"/usr/lib/token.so\"\npin_file = \"pin\"\n\
                    [next_signer]\nkind = \"command\"\ncommand = [\"/opt/sign\", \"-q\"]\nendpoint = \"unix:/run/sign.socket\"\nca = \"/etc/ca.pem\"\n\
                    [witness]\nlisten = \"127.0.0.1:1\"\nstate = \"/var/witness\"\nsigning_keys = [\"w/1\", \"w/2\"]\nlogs = []\n\
                    [witnesses.w]\nurl = \"http://127.0.0.1:2\"\nkeys = []\nca = \"/etc/w.pem\"\n";
        format!("{text}{more}")
    })
    .unwrap();
    let Governing { hidden, kept } = config.governing();
    let below = |name: &str| config.base.join(name);
    for name in [
        "portcullis.toml",
        "data",
        "anchor/head",
        "anchor",
        "keys",
        "keys/log.key",
        "keys/vault.key",
        "bundle",
        "pin",
        "w",
        "w/1",
        "w/2",
        "/var/witness",
        "/run/sign.socket",
    ] {
        assert!(hidden.contains(&below(name)), "{name}: {hidden:?}");
    }
    let expected = ["/etc/ca.pem", "/etc/w.pem", "/opt/sign", "/usr/lib/token.so"].map(PathBuf::from);
    assert_eq!(kept, expected);
    // The directory of the configuration is passed through, and is not hidden as a whole.
    assert!(!hidden.contains(&config.base), "{hidden:?}");
}

/// The sources of facts of a configuration with these lines in `[facts.directory]`.
fn sources(
    lines: &str,
) -> Result<std::collections::BTreeMap<portcullis_protocol::SourceName, FactsConfig>, String> {
    let config = read(|text| format!("{text}\n[facts.directory]\n{lines}\n"));
    config.and_then(|config| config.arbiter()).map(|arbiter| arbiter.facts).map_err(|error| error.to_string())
}

#[test]
fn a_source_of_facts_is_one_file_or_one_service_and_says_what_is_wrong_with_it() {
    let service = "endpoint = \"http://127.0.0.1:9\"\n";
    let found = sources("file = \"directory.json\"").unwrap();
    let Some(FactsConfig::File(path)) = found.values().next() else { panic!("{found:?}") };
    assert!(path.is_absolute() && path.ends_with("directory.json"), "beside the configuration: {path:?}");
    let found = sources(service).unwrap();
    let Some(FactsConfig::Service(asked)) = found.values().next() else { panic!("{found:?}") };
    assert_eq!(
        (asked.path.as_str(), asked.interval.as_millis(), asked.token.is_some()),
        ("/", 30_000, false)
    );
    let with = |more: &str| format!("{service}{more}\n");
    for (lines, told) in [
        (
            String::new(),
            "`facts.file` in the configuration: or `endpoint` must be given: a source that is nowhere gives nothing",
        ),
        (
            format!("file = \"a\"\n{service}"),
            "`facts.file` in the configuration: cannot stand beside `endpoint`: a source is one",
        ),
        (
            "file = \"a\"\npath = \"/x\"".into(),
            "`facts.file` in the configuration: goes without the keys of a service",
        ),
        (
            "file = \"a\"\nca = \"x.pem\"".into(),
            "`facts.file` in the configuration: goes without the keys of a service",
        ),
        (
            "file = \"a\"\ntoken_file = \"x\"".into(),
            "`facts.file` in the configuration: goes without the keys of a service",
        ),
        (
            "file = \"a\"\ninterval_ms = 100".into(),
            "`facts.file` in the configuration: goes without the keys of a service",
        ),
        ("endpoint = \"http://directory.example\"".into(), "`facts.endpoint` in the configuration: "),
        ("endpoint = \"ftp://127.0.0.1\"".into(), "`facts.endpoint` in the configuration: "),
        ("endpoint = \"https://directory.example\"".into(), "`facts.endpoint` in the configuration: "),
        (with("ca = \"none.pem\""), "`facts.ca` in the configuration: "),
        (with("path = \"x\""), "`facts.path` in the configuration: is no path that begins with `/`"),
        (with("path = \"/a b\""), "`facts.path` in the configuration: is no path that begins with `/`"),
        (with("path = \"/a\\nb\""), "`facts.path` in the configuration: is no path that begins with `/`"),
        (with("token_file = \"none\""), "`facts.token_file`"),
        (with("interval_ms = 99"), "`facts.interval_ms` in the configuration: is not within 100 and 3600000"),
        (
            with("interval_ms = 3600001"),
            "`facts.interval_ms` in the configuration: is not within 100 and 3600000",
        ),
        (with("interval_ms = -1"), "interval_ms"),
        (with("max_age = \"1m\""), "max_age"),
    ] {
        let found = sources(&lines).unwrap_err();
        assert!(found.contains(told), "{lines}: {found}, and not {told}");
    }
    for (interval, taken) in [(100, true), (3_600_000, true)] {
        assert_eq!(sources(&with(&format!("interval_ms = {interval}"))).is_ok(), taken, "{interval}");
    }
    let named = read(|text| format!("{text}\n[facts.\"The Directory\"]\nfile = \"x\"\n"));
    let error = named.and_then(|config| config.arbiter()).map(drop).unwrap_err().to_string();
    assert!(error.contains("facts.NAME"), "{error}");
}
