use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn file(folder: &TempDir, said: &[u8]) -> PathBuf {
    let path = folder.path().join("credential");
    std::fs::write(&path, said).unwrap();
    mode(&path, 0o600);
    path
}

/// A source that is a shell script.
fn script(folder: &TempDir, body: &str) -> Origin {
    let path = folder.path().join("program");
    std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", folder.path().display())).unwrap();
    mode(&path, 0o700);
    Origin::Command(Program { path, arguments: vec!["one".into(), "two words".into()] })
}

fn of(origin: Origin) -> CredentialSource {
    CredentialSource::new(origin, PATIENCE, Duration::ZERO)
}

async fn fetched(source: &CredentialSource) -> Result<String, NoCredential> {
    source.fetch().await.map(|token| token.reveal().to_owned())
}

#[tokio::test]
async fn one_line_is_a_credential_whatever_it_comes_from_and_nothing_else_is() {
    let long = "x".repeat(LONGEST + 1);
    let cases: [(&[u8], Result<&str, NoCredential>); 12] = [
        (b"sesame", Ok("sesame")),
        (b"sesame\n", Ok("sesame")),
        (b"sesame\r\n", Ok("sesame")),
        (b"user:pass word", Ok("user:pass word")),
        (b"", Err(NoCredential::Empty)),
        (b" \n", Err(NoCredential::Empty)),
        (b"sesame\n\n", Err(NoCredential::ControlCharacter)),
        (b"sesame\nx-other: 1", Err(NoCredential::ControlCharacter)),
        (b"ses\rame", Err(NoCredential::ControlCharacter)),
        (b"ses\0ame", Err(NoCredential::ControlCharacter)),
        (b"ses\xffame", Err(NoCredential::NoText)),
        (long.as_bytes(), Err(NoCredential::TooLong)),
    ];
    for (said, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, said);
        let sources = [of(Origin::Here(Here::File(path.clone()))), of(script(&folder, "cat credential"))];
        for source in sources {
            let expected = expected.clone().map(str::to_owned);
            assert_eq!(fetched(&source).await, expected, "{:?}", source.origin);
        }
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_or_that_is_none_gives_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, b"sesame");
    let source = of(Origin::Here(Here::File(path.clone())));
    for (bits, open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true)] {
        mode(&path, bits);
        assert_eq!(fetched(&source).await.is_err(), open, "{bits:o}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(fetched(&source).await, Err(NoCredential::Unavailable(_))));
    std::fs::create_dir(&path).unwrap();
    mode(&path, 0o700);
    assert!(matches!(fetched(&source).await, Err(NoCredential::Unavailable(_))));
    // Nobody writes to it, and nobody waits for that.
    std::fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let Err(NoCredential::Unavailable(why)) = fetched(&source).await else { panic!() };
    assert!(why.contains("no file"), "{why}");
}

#[tokio::test]
async fn a_variable_that_tool_servers_may_get_gives_no_credential() {
    for name in ["PATH", "HOME", "PORTCULLIS_NO_SUCH_VARIABLE"] {
        let source = of(Origin::Here(Here::Variable(name.into())));
        let Err(NoCredential::Unavailable(why)) = fetched(&source).await else { panic!("{name}") };
        assert!(why.contains(name), "{why}");
    }
}

#[tokio::test]
async fn a_program_gets_its_arguments_and_nothing_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let source = of(script(&folder, "env > environment; echo \"$1+$2\"; echo secret >&2"));
    assert_eq!(fetched(&source).await.as_deref(), Ok("one+two words"));
    let environment = std::fs::read_to_string(folder.path().join("environment")).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell itself adds the second and the third.
    assert!(names.iter().all(|name| ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)), "{environment}");
}

#[tokio::test]
async fn a_program_that_fails_gives_no_credential_and_its_words_are_said_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    for body in ["echo sesame; echo sesame >&2; exit 1", "echo sesame; kill -KILL $$", "yes sesame"] {
        let error = fetched(&of(script(&folder, body))).await.unwrap_err();
        assert!(!error.to_string().contains("sesame") && !format!("{error:?}").contains("sesame"), "{error}");
    }
    let source = of(script(&folder, "touch ran; echo sesame"));
    mode(&folder.path().join("program"), 0o722);
    assert!(matches!(fetched(&source).await, Err(NoCredential::Unavailable(_))));
    assert!(!folder.path().join("ran").exists());
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_and_holds_up_nobody_beyond_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let origin =
        script(&folder, "sleep 601 & echo $$ $! > pids.new; mv pids.new pids; echo sesame; sleep 600");
    let source = CredentialSource::new(origin, Duration::from_secs(5), Duration::ZERO);
    let began = std::time::Instant::now();
    let error = fetched(&source).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE / 2);
    let late = [NoCredential::Late(source.deadline), NoCredential::from(NoAnswer::Late)];
    assert!(late.contains(&error), "{error:?}");
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    for pid in pids.split_whitespace() {
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !gone() {
            assert!(began.elapsed() < PATIENCE, "{pid} lives");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_has_no_declared_age_is_fetched_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, b"first");
    let source = of(Origin::Here(Here::File(path)));
    assert_eq!(fetched(&source).await.as_deref(), Ok("first"));
    file(&folder, b"second");
    assert_eq!(fetched(&source).await.as_deref(), Ok("second"));
}

#[tokio::test]
async fn what_is_kept_is_kept_within_its_age_and_no_longer_even_if_there_is_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let origin = script(&folder, "echo x >> runs; cat credential");
    let path = file(&folder, b"first");
    let source = CredentialSource::new(origin, PATIENCE, Duration::from_secs(3_600));
    let runs = || std::fs::read_to_string(folder.path().join("runs")).unwrap().lines().count();
    let (one, two, three) = tokio::join!(fetched(&source), fetched(&source), fetched(&source));
    assert_eq!([one, two, three].map(Result::unwrap), ["first"; 3]);
    assert_eq!(runs(), 1, "of many who ask one fetches");
    file(&folder, b"second");
    assert_eq!(fetched(&source).await.as_deref(), Ok("first"));
    // Its time is over.
    source.kept.lock().await.as_mut().unwrap().until = BootInstant::now();
    std::fs::remove_file(&path).unwrap();
    assert!(fetched(&source).await.is_err());
    assert!(source.kept.lock().await.is_none(), "it is not kept for better times");
    file(&folder, b"third");
    assert_eq!(fetched(&source).await.as_deref(), Ok("third"));
}

#[test]
fn a_credential_is_in_a_header_that_says_nothing_else() {
    let source = || CredentialSource::given(Token::new("sesame"));
    for header in ["x-api-key", "Authorization", "cookie"] {
        let credential = Credential::in_header(header, "Key ", source()).unwrap();
        let shown = credential.shown(&Token::new("sesame")).unwrap();
        let (name, value) = shown.headers().next().unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            (header.to_ascii_lowercase().as_str(), &b"Key sesame"[..])
        );
        assert!(value.is_sensitive());
        let printed = format!("{credential:?} {shown:?} {value:?}");
        assert!(!printed.contains("sesame"), "{printed}");
    }
    for header in
        ["host", "Content-Length", "mcp-session-id", "MCP-Method", "proxy-authorization", "", "a b", "a:"]
    {
        assert!(Credential::in_header(header, "", source()).is_err(), "{header}");
    }
    assert!(Credential::in_header("x-api-key", "a\r\nb: ", source()).is_err());
}

#[path = "../tests/mcp/vault.rs"]
mod vault_stand_in;

use serde_json::{Value, json};
use vault_stand_in::{StandIn, TOKEN};

/// A stand-in with these secrets, a folder with its token, and a source that is one field of one path.
async fn vault(path: &str, field: &str, engine: Engine) -> (StandIn, TempDir, CredentialSource) {
    let (vault, folder) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let token = file(&folder, TOKEN.as_bytes());
    let of = (path.parse().unwrap(), field.to_owned());
    let origin = Vault::new(vault.address.parse().unwrap(), Here::File(token), of, engine);
    let source = self::of(Origin::Vault(Box::new(origin.within(Some("team".into())))));
    (vault, folder, source)
}

#[tokio::test]
async fn the_newest_version_of_a_kept_secret_is_a_credential_and_whatever_else_is_said_is_none() {
    let (vault, folder, source) = vault("secret/data/crm", "key", Engine::KvV2).await;
    let says = |data: Value| {
        vault.state.lock().unwrap().secrets.insert("secret/data/crm".into(), data);
    };
    assert!(fetched(&source).await.unwrap_err().to_string().contains("nothing at the path"));
    for (data, expected) in [
        (json!({ "key": "first", "other": "x" }), Some("first")),
        (json!({ "key": "se\u{e9}same" }), Some("se\u{e9}same")),
        (Value::Null, None),
        (json!({ "other": "sesame" }), None),
        (json!({ "key": 7 }), None),
        (json!({ "key": null }), None),
        (json!({ "key": "" }), None),
        (json!({ "key": "sesame\nx: y" }), None),
        (json!("sesame"), None),
        (json!({ "key": "second" }), Some("second")),
    ] {
        says(data.clone());
        let fetched = fetched(&source).await;
        assert_eq!(fetched.as_deref().ok(), expected, "{data}");
        let error = fetched.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!error.contains("sesame"), "{error}");
    }
    let asked = vault.state.lock().unwrap().asked.pop().unwrap();
    assert_eq!(asked, ("GET".into(), "/v1/secret/data/crm".into(), "team".into()));
    // The token is read anew as well.
    file(&folder, b"hvs.of-somebody-else");
    assert!(fetched(&source).await.unwrap_err().to_string().contains("status 403"));
    file(&folder, TOKEN.as_bytes());
    vault.state.lock().unwrap().sealed = true;
    assert!(fetched(&source).await.unwrap_err().to_string().contains("sealed"));
}

/// The time of what is kept is over.
async fn is_over(source: &CredentialSource) {
    source.kept.lock().await.as_mut().unwrap().until = BootInstant::now();
}

#[tokio::test]
async fn a_lease_is_shown_for_two_thirds_of_it_then_renewed_and_then_another_is_had_and_the_last_revoked() {
    let (vault, _folder, source) = vault("database/creds/crm", "password", Engine::Dynamic).await;
    {
        let mut state = vault.state.lock().unwrap();
        (state.made, state.renewable) = ("sesame-".into(), true);
        (state.lease_seconds, state.renewed_seconds) = (3_600, 3_600);
    }
    let (read, renew) = ("GET /v1/database/creds/crm", "PUT /v1/sys/leases/renew");
    let began = BootInstant::now();
    for _ in 0..3 {
        assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
    }
    assert_eq!(vault.asked(), [read], "it is shown again while its lease lasts");
    let kept_for = source.kept.lock().await.as_ref().unwrap().until.since(began);
    assert!((2_400..2_430).contains(&kept_for.as_secs()), "{kept_for:?}");
    is_over(&source).await;
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
    assert_eq!(vault.asked(), [renew]);
    // A renewal near the end of what the server gives is none.
    vault.state.lock().unwrap().renewed_seconds = 1_799;
    is_over(&source).await;
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-2"));
    assert_eq!(vault.asked(), [renew, read]);
    // Nor is one that is refused.
    vault.state.lock().unwrap().leases.clear();
    is_over(&source).await;
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
    assert_eq!(vault.asked(), [renew, read]);
    assert_eq!(source.end().await, Ok(()));
    assert_eq!(vault.asked(), ["PUT /v1/sys/leases/revoke"]);
    assert!(vault.state.lock().unwrap().leases.is_empty(), "the lease lives on");
    assert_eq!((source.end().await, vault.asked().len()), (Ok(()), 0), "it is revoked once");
}

#[tokio::test]
async fn renewals_took_no_place_so_that_token_files_that_hang_took_every_thread() {
    let (vault, _folder, mut source) = vault("database/creds/crm", "password", Engine::Dynamic).await;
    {
        let mut state = vault.state.lock().unwrap();
        (state.made, state.renewable) = ("sesame-".into(), true);
        (state.lease_seconds, state.renewed_seconds) = (3_600, 3_600);
    }
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
    is_over(&source).await;
    vault.asked();
    let places = Arc::clone(&source.places);
    let all = places.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
    source.deadline = Duration::from_millis(200);
    assert_eq!(fetched(&source).await, Err(NoCredential::Late(source.deadline)));
    assert_eq!(vault.asked(), [""; 0], "it was renewed in no place");
    source.deadline = PATIENCE;
    drop(all);
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
}

#[tokio::test]
async fn a_vault_that_hangs_had_every_other_wait_for_its_lease_to_be_given_back() {
    let mut sources = Vec::new();
    let mut vaults = Vec::new();
    for hangs in [true, true, false] {
        let (vault, folder, source) = vault("database/creds/crm", "password", Engine::Dynamic).await;
        vault.state.lock().unwrap().lease_seconds = 3_600;
        vault.state.lock().unwrap().made = "sesame-".into();
        assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
        vault.state.lock().unwrap().hangs = hangs;
        sources.push(Arc::new(source));
        vaults.push((vault, folder));
    }
    let given_back = timeout(PATIENCE * 2 / 3, give_back(&sources, PATIENCE / 3));
    assert_eq!(given_back.await, Ok(vec![NoCredential::Late(PATIENCE / 3); 2]));
    assert!(vaults[2].0.state.lock().unwrap().leases.is_empty(), "the lease lives on");
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_or_is_none_is_not_kept_beyond_its_time() {
    let (vault, _folder, source) = vault("database/creds/crm", "password", Engine::Dynamic).await;
    (vault.state.lock().unwrap().made, vault.state.lock().unwrap().lease_seconds) = ("sesame-".into(), 3_600);
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-1"));
    is_over(&source).await;
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-2"));
    // With a vault that is down what is over is shown no more.
    is_over(&source).await;
    vault.state.lock().unwrap().sealed = true;
    assert!(fetched(&source).await.is_err());
    vault.state.lock().unwrap().sealed = false;
    vault.state.lock().unwrap().lease_seconds = 0;
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-3"));
    assert_eq!(fetched(&source).await.as_deref(), Ok("sesame-4"), "a lease of no time is for one time");
}

#[test]
fn a_path_of_the_vault_leads_to_nothing_else() {
    for path in ["secret/data/crm", "database/creds/crm-1_x.y~z@a", "a"] {
        assert!(path.parse::<VaultPath>().is_ok(), "{path}");
    }
    let long = "x".repeat(513);
    for path in
        ["", "/secret", "secret/", "a//b", "a/../b", "a/./b", "a?b", "a#b", "a%2fb", "a b", "a\r\nb", &long]
    {
        assert!(path.parse::<VaultPath>().is_err(), "{path}");
    }
}

#[test]
fn a_variable_of_the_gates_own_is_a_credential() {
    const NAME: &str = "PORTCULLIS_TEST_CREDENTIAL";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if std::env::var_os(NAME).is_some() {
        let source = of(Origin::Here(Here::Variable(NAME.into())));
        println!("fetched {:?}", runtime.block_on(fetched(&source)));
        return;
    }
    // In a process of its own, for it is set for all of one.
    for (value, expected) in [
        ("sesame", "fetched Ok(\"sesame\")"),
        ("ses\name", "fetched Err(ControlCharacter)"),
        ("", "fetched Err(Empty)"),
    ] {
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "credential::tests::a_variable_of_the_gates_own_is_a_credential",
                "--nocapture",
            ])
            .env(NAME, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(said.contains(expected), "{value:?}: {said}");
    }
}

#[test]
fn attributes_that_a_keyrings_program_would_read_as_options_find_no_secret() {
    let of = |attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Keyring::new(Keyring::PROGRAM.into(), attributes.collect()).map(drop)
    };
    assert_eq!(of(&[("service", "crm"), ("xdg:schema", "org.example.Key")]), Ok(()));
    let long = "x".repeat(257);
    for attribute in [
        ("--unlock", "crm"),
        ("service", "--unlock"),
        ("service", ""),
        ("", "crm"),
        ("ser vice", "crm"),
        ("service", "c\0rm"),
        ("service", long.as_str()),
    ] {
        assert_eq!(of(&[attribute]), Err(InvalidAttributes), "{attribute:?}");
    }
    assert_eq!(of(&[]), Err(InvalidAttributes));
    let many: Vec<String> = (0..9).map(|at| format!("a{at}")).collect();
    assert_eq!(of(&many.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>()), Err(InvalidAttributes));
}

#[test]
fn only_identities_that_ask_for_nothing_decrypt() {
    let folder = TempDir::new().unwrap();
    for (text, native) in [
        ("# created: now\n# public key: age1x\nAGE-SECRET-KEY-1QQ\n", true),
        ("AGE-SECRET-KEY-1QQ\nAGE-SECRET-KEY-1PP", true),
        ("", false),
        ("# nothing\n", false),
        ("AGE-SECRET-KEY-1QQ\nAGE-PLUGIN-YUBIKEY-1QQ\n", false),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", false),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", false),
        ("age-encryption.org/v1\n-> scrypt x 18\n", false),
    ] {
        let path = file(&folder, text.as_bytes());
        assert_eq!(programs::is_native(std::fs::File::open(path).unwrap()).unwrap(), native, "{text}");
    }
}
