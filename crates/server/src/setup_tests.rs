use super::*;
use portcullis_policy::BundleSource;
use std::os::unix::fs::MetadataExt;

fn source(config: &Config) -> BundleSource {
    crate::bundle_source(&config.arbiter().unwrap())
}

#[test]
fn a_new_deployment_is_signed_pinned_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let made = init(directory.path()).unwrap();
    let config = Config::read(&made.config).unwrap();
    assert_eq!(config.arbiter().unwrap().log_key, made.log_key);
    assert_eq!(source(&config).current().unwrap().reference().digest, made.pin);
    assert_eq!(config.gate().unwrap().agent.as_str(), "assistant");
    let spools = directory.path().join("spool");
    assert_eq!(config.arbiter().unwrap().spool.unwrap().path, spools.join("arbiter"));
    assert_eq!(config.gate().unwrap().spool, Some(spools.clone()));
    assert_eq!(std::fs::metadata(spools).unwrap().mode() & 0o777, 0o700);
    for secret in
        ["keys/log.key", "keys/bundle.key", "keys/assistant.token", "keys/operator.token", "portcullis.toml"]
    {
        let mode = std::fs::metadata(directory.path().join(secret)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let token = std::fs::read_to_string(directory.path().join("keys/assistant.token")).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    assert!(!text.contains(token.trim()), "the token itself is not in the configuration");
    let operator = config.operator_token(None).unwrap();
    let operators = crate::operators::Operators::new(&config.arbiter().unwrap().operators);
    assert_eq!(operators.named(operator.reveal(), None).unwrap().as_str(), "operator");
    assert!(!text.contains(operator.reveal()));
    assert!(matches!(init(directory.path()), Err(SetupError::Exists { .. })));
}

#[test]
fn a_changed_bundle_decides_only_after_it_was_signed_and_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::read(&init(directory.path()).unwrap().config).unwrap();
    let bundle = directory.path().join("bundle");
    let policies = bundle.join("policies/files.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap() + "\n// changed\n";
    std::fs::write(&policies, changed).unwrap();
    assert!(source(&config).current().is_err());
    sign_bundle(&bundle, &directory.path().join("keys/bundle.key")).unwrap();
    assert!(source(&config).current().is_err());
    let (old, new) = pin_bundle(&config).unwrap();
    assert_ne!(old, new);
    let config = Config::read(config.path()).unwrap();
    assert_eq!(source(&config).current().unwrap().reference().digest, new);
}

#[test]
fn another_agent_gets_a_token_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::read(&init(directory.path()).unwrap().config).unwrap();
    let file = add_agent(&config, &"reporter".parse().unwrap()).unwrap();
    let agents = Agents::new(&Config::read(config.path()).unwrap().arbiter().unwrap().agents);
    let token = std::fs::read_to_string(file).unwrap();
    assert_eq!(agents.credential(token.trim()).unwrap().agent.as_str(), "reporter");
    assert!(add_agent(&config, &"reporter".parse().unwrap()).is_err());
}
