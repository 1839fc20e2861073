//! A remote arbiter: TLS, with a pinned authority and nothing else.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use portcullis_protocol::ReasonCode;
use portcullis_sdk::{Authorities, Authorizer, Endpoint, HttpAuthorizer, Token};
use portcullis_server::{Config, init, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::{oneshot, watch};

const PATIENCE: Duration = Duration::from_secs(60);

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(name);
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    fn certify(&self, directory: &Path, host: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        std::fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
        let file = directory.join("key.pem");
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A deployment whose API speaks TLS with a certificate for `host`.
fn deployment(directory: &Path, host: &str) -> (Config, Authority) {
    let made = init(directory).unwrap();
    let authority = Authority::new(directory, "ca.pem");
    authority.certify(directory, host);
    let text = std::fs::read_to_string(&made.config).unwrap();
    let tls = "listen = \"127.0.0.1:0\"\ntls_certificate = \"certificate.pem\"\ntls_key = \"key.pem\"";
    std::fs::write(&made.config, text.replace("listen = \"127.0.0.1:8447\"", tls)).unwrap();
    (Config::read(&made.config).unwrap(), authority)
}

/// Serves until the sender is dropped. Gives the address, without its scheme.
async fn serving(config: &Config) -> (String, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let (said, address) = oneshot::channel();
    let said = Mutex::new(Some(said));
    let (arbiter, listen) = (config.arbiter().unwrap(), config.listen().unwrap());
    let task = tokio::spawn(async move {
        let say = |line: String| {
            if let Some(address) = line.strip_prefix("listening on https://")
                && let Some(said) = said.lock().unwrap().take()
            {
                said.send(address.to_owned()).unwrap();
            }
        };
        serve(&arbiter, listen, stopped, say).await.unwrap();
    });
    (address.await.unwrap(), stop, task)
}

fn token(directory: &Path) -> Token {
    Token::new(&std::fs::read_to_string(directory.join("keys/assistant.token")).unwrap())
}

async fn surfaces(endpoint: Endpoint, token: Token) -> Result<usize, ReasonCode> {
    let table = HttpAuthorizer::new(endpoint, token, PATIENCE).surfaces().await;
    table.map(|table| table.surfaces.len()).map_err(|refusal| refusal.code())
}

#[tokio::test]
async fn an_arbiter_is_believed_only_under_a_certificate_of_the_pinned_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (config, authority) = deployment(directory.path(), "127.0.0.1");
    let (address, stop, task) = serving(&config).await;
    let url = format!("https://{address}");
    let believed = Authorities::read(&authority.file).unwrap();
    let endpoint = Endpoint::parse(&url, Some(&believed)).unwrap();
    assert!(surfaces(endpoint.clone(), token(directory.path())).await.unwrap() > 5);
    assert_eq!(surfaces(endpoint, Token::new("x")).await, Err(ReasonCode::IdentityUnverified));

    let stranger = Authority::new(directory.path(), "other.pem");
    let believed = Authorities::read(&stranger.file).unwrap();
    let endpoint = Endpoint::parse(&url, Some(&believed)).unwrap();
    assert_eq!(surfaces(endpoint, token(directory.path())).await, Err(ReasonCode::ArbiterUnreachable));

    let plain = Endpoint::parse(&format!("http://{address}"), None).unwrap();
    assert_eq!(surfaces(plain, token(directory.path())).await, Err(ReasonCode::ReceiptUnverifiable));
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (config, authority) = deployment(directory.path(), "arbiter.example");
    let (address, stop, task) = serving(&config).await;
    let believed = Authorities::read(&authority.file).unwrap();
    let endpoint = Endpoint::parse(&format!("https://{address}"), Some(&believed)).unwrap();
    assert_eq!(surfaces(endpoint, token(directory.path())).await, Err(ReasonCode::ArbiterUnreachable));
    stop.send_replace(true);
    task.await.unwrap();
}

#[test]
fn https_without_an_authority_and_a_network_without_tls_are_refused() {
    assert!(
        Endpoint::parse("https://arbiter.example:443", None).unwrap_err().to_string().contains("arbiter_ca")
    );
    let directory = tempfile::tempdir().unwrap();
    let believed = Authorities::read(&Authority::new(directory.path(), "ca.pem").file).unwrap();
    for bad in [
        "https://",
        "https://host",
        "https://host:x",
        "https://a b:1",
        "https://u@host:1",
        "https://host:1/x",
    ] {
        assert!(Endpoint::parse(bad, Some(&believed)).is_err(), "{bad}");
    }
    std::fs::write(directory.path().join("empty.pem"), "").unwrap();
    assert!(Authorities::read(&directory.path().join("empty.pem")).is_err());
    assert!(Authorities::read(&directory.path().join("missing.pem")).is_err());
}

#[test]
fn an_exposed_tls_key_or_half_a_configuration_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (config, _) = deployment(directory.path(), "127.0.0.1");
    assert!(config.listen().unwrap().tls.is_some());
    let key = directory.path().join("key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(config.listen().unwrap_err().to_string().contains("chmod 600"));
    let text = std::fs::read_to_string(config.path()).unwrap();
    std::fs::write(config.path(), text.replace("tls_key = \"key.pem\"", "")).unwrap();
    assert!(Config::read(config.path()).unwrap().listen().unwrap_err().to_string().contains("both"));
}
