//! The tool servers behind one gate, as a file of their own declares them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_gate::{ArgumentSlots, Credential, EnvironmentCredentials, ServerUrl};
use portcullis_sdk::Authorities;
use serde::Deserialize;

use super::credential::{CredentialConfig, CredentialSection, EnvironmentConfig, SlotsConfig};
use super::policy::read_access;
use super::{ConfigError, unclear};

/// Behind one gate there are at least so many.
const FEWEST: usize = 2;

/// The servers of a file.
#[derive(Clone, Debug)]
pub struct ServersConfig {
    /// In the order of the file, which is that of lists.
    pub servers: Vec<ServerConfig>,
    /// What none of them may read or change: the file, and what the credentials of those by URL come from.
    pub hidden: Vec<PathBuf>,
    /// What they may read, and not change: authorities, and programs that say credentials.
    pub kept: Vec<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its name.
    pub name: String,
    /// What it is.
    pub reached: Reached,
    /// What is filled in in the arguments of its tools, if it is.
    pub slots: Option<ArgumentSlots>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Reached {
    /// It is started.
    Command {
        /// Its program and arguments.
        command: Vec<String>,
        /// Variables that it gets besides the usual ones.
        pass_environment: Vec<String>,
        /// What else it is kept from.
        hide: Vec<PathBuf>,
        /// Credentials in its environment, if there are some.
        credentials: Option<EnvironmentCredentials>,
    },
    /// By URL.
    Url {
        /// Its endpoint.
        url: ServerUrl,
        /// By what it is known.
        authorities: Option<Authorities>,
        /// By what the gate is known to it.
        credential: Option<Credential>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    command: Option<Vec<String>>,
    pass_environment: Option<Vec<String>>,
    hide: Option<Vec<PathBuf>>,
    url: Option<String>,
    ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    credential: Option<CredentialSection>,
    credentials: Option<BTreeMap<String, CredentialSection>>,
    lease_seconds: Option<u64>,
    slots: Option<BTreeMap<String, CredentialSection>>,
}

/// What of the file system governs servers: what none may read or change, and what they may read.
type Governing<'a> = (&'a mut Vec<PathBuf>, &'a mut Vec<PathBuf>);

impl ServersConfig {
    /// Reads a file. It counts as a whole or not at all.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::Unreadable {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let path = std::path::absolute(path).map_err(unreadable)?;
        let invalid = |error: String| ConfigError::Invalid { path: path.clone(), error };
        let file: File = toml::from_str(&text).map_err(|error| invalid(unclear(&text, &error)))?;
        if file.server.len() < FEWEST {
            return Err(invalid(
                "it declares fewer than two servers; one alone is given as a command or `--url`".into(),
            ));
        }
        let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let (mut hidden, mut kept, mut servers) = (vec![path.clone()], Vec::new(), Vec::new());
        for section in file.server {
            kept.extend(section.ca.iter().map(|file| base.join(file)));
            servers.push(section.resolve(&base, &invalid, (&mut hidden, &mut kept))?);
        }
        Ok(Self { servers, hidden, kept })
    }
}

impl Section {
    fn resolve(
        self,
        base: &Path,
        invalid: &impl Fn(String) -> ConfigError,
        (hidden, kept): Governing<'_>,
    ) -> Result<ServerConfig, ConfigError> {
        let name = self.name;
        let unclear = |why: &str| Err(invalid(format!("server `{name}`: {why}")));
        let based = |sections: BTreeMap<String, CredentialSection>| {
            sections.into_iter().map(|(name, section)| (name, section, base.to_owned())).collect::<Vec<_>>()
        };
        let slots = self.slots.map(|sections| SlotsConfig::resolve(based(sections))).transpose()?;
        if let Some(slots) = &slots {
            hidden.extend(slots.hidden.iter().cloned());
            kept.extend(slots.kept.iter().cloned());
        }
        let slots = slots.map(|known| known.slots);
        let reached = match (self.command, self.url) {
            (Some(command), None) => {
                if command.is_empty() {
                    return unclear("`command` is empty");
                }
                if self.ca.is_some() || self.token_file.is_some() || self.credential.is_some() {
                    return unclear("`ca`, `token_file` and `credential` are of servers by `url`");
                }
                let hide = self.hide.unwrap_or_default().iter().map(|path| base.join(path)).collect();
                let pass_environment = self.pass_environment.unwrap_or_default();
                if self.lease_seconds.is_some() && self.credentials.is_none() {
                    return unclear("`lease_seconds` goes with `credentials`");
                }
                let given = |sections| EnvironmentConfig::resolve(based(sections), self.lease_seconds);
                let credentials = self.credentials.map(given).transpose()?;
                if let Some(credentials) = &credentials {
                    hidden.extend(credentials.hidden.iter().cloned());
                    kept.extend(credentials.kept.iter().cloned());
                }
                let credentials = credentials.map(|known| known.credentials);
                Reached::Command { command, pass_environment, hide, credentials }
            }
            (None, Some(url)) => {
                if self.pass_environment.is_some() || self.hide.is_some() {
                    return unclear("`pass_environment` and `hide` are of servers by `command`");
                }
                if self.credentials.is_some() || self.lease_seconds.is_some() {
                    return unclear("`credentials` and `lease_seconds` are of servers by `command`");
                }
                let url = url.parse().map_err(|error| invalid(format!("server `{name}`: {error}")))?;
                let [ca, token] = [self.ca, self.token_file].map(|file| file.map(|file| base.join(file)));
                let access =
                    read_access(("server.ca", ca.as_deref()), ("server.token_file", token.as_deref()))?;
                let credential = match (token, self.credential) {
                    (Some(_), Some(_)) => {
                        return unclear("either `token_file` or `credential`, and not both");
                    }
                    (Some(file), None) => Some(CredentialConfig::token_file(&file)),
                    (None, section) => section.map(|section| section.resolve(base)).transpose()?,
                };
                if let Some(credential) = &credential {
                    hidden.extend(credential.hidden.iter().cloned());
                    kept.extend(credential.kept.iter().cloned());
                }
                let credential = credential.map(|known| known.credential);
                Reached::Url { url, authorities: access.authorities, credential }
            }
            (Some(_), Some(_)) | (None, None) => {
                return unclear("either `command` or `url` must be given, and not both");
            }
        };
        Ok(ServerConfig { name, reached, slots })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str) -> Result<ServersConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "secret").unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = folder.path().join("servers.toml");
        std::fs::write(&file, text).unwrap();
        ServersConfig::read(&file)
    }

    const ONE: &str = "[[server]]\nname = \"files\"\ncommand = [\"npx\", \"files\"]\n";

    #[test]
    fn servers_by_command_and_by_url_are_read_with_what_they_are_kept_from() {
        let more = "pass_environment = [\"X\"]\nhide = [\"private\"]\n[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\ntoken_file = \"token\"\n";
        let read = read(&format!("{ONE}{more}")).unwrap();
        let Reached::Command { command, pass_environment, hide, credentials } = &read.servers[0].reached
        else {
            panic!()
        };
        assert!(credentials.is_none());
        assert_eq!((command.len(), pass_environment.as_slice()), (2, ["X".to_owned()].as_slice()));
        assert!(hide[0].is_absolute() && hide[0].ends_with("private"));
        let Reached::Url { credential, .. } = &read.servers[1].reached else { panic!() };
        assert!(credential.is_some());
        assert!(read.hidden[0].ends_with("servers.toml") && read.hidden[1].ends_with("token"));
    }

    #[test]
    fn what_a_credential_comes_from_is_kept_from_the_servers_beside_it() {
        let command = "credential = { command = [\"bin/token\"] }";
        let vault = "credential = { vault = { address = \"http://127.0.0.1:8200\", token_file = \"vault.token\", engine = \"kv-v2\", path = \"secret/data/crm\", field = \"key\" } }";
        let url = |name: &str, more: &str| {
            format!("[[server]]\nname = \"{name}\"\nurl = \"https://crm.example/mcp\"\n{more}\n")
        };
        let read = read(&format!("{ONE}{}{}", url("crm", command), url("erp", vault))).unwrap();
        assert!(read.kept.iter().any(|path| path.ends_with("bin/token")), "{:?}", read.kept);
        assert!(read.hidden.iter().any(|path| path.ends_with("vault.token")), "{:?}", read.hidden);
    }

    #[test]
    fn credentials_of_a_server_that_is_started_are_read_with_what_servers_are_kept_from() {
        let two = |more: &str| {
            read(&format!("{ONE}{more}\n[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\n"))
        };
        let given = "lease_seconds = 600\n[server.credentials.A]\nfile = \"token\"\n[server.credentials.B]\ncommand = [\"bin/b\"]\n";
        let both = two(given).unwrap();
        let Reached::Command { credentials: Some(credentials), .. } = &both.servers[0].reached else {
            panic!()
        };
        assert_eq!(credentials.names().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(credentials.lease().as_secs(), 600);
        assert!(
            both.hidden.iter().any(|path| path.is_absolute() && path.ends_with("token")),
            "{:?}",
            both.hidden
        );
        assert!(both.kept.iter().any(|path| path.ends_with("bin/b")), "{:?}", both.kept);
        let unsaid = two("[server.credentials.A]\nfile = \"token\"\n").unwrap();
        let Reached::Command { credentials: Some(credentials), .. } = &unsaid.servers[0].reached else {
            panic!()
        };
        assert_eq!(credentials.lease().as_secs(), 28_800);
        for unclear in [
            "lease_seconds = 600",
            "credentials = {}",
            "lease_seconds = 119\n[server.credentials.A]\nfile = \"token\"",
            "lease_seconds = 86401\n[server.credentials.A]\nfile = \"token\"",
            "[server.credentials.A]\nfile = \"token\"\nheader = \"x-a\"",
            "[server.credentials.A]\nfile = \"token\"\nprefix = \"x\"",
            "[server.credentials.A]",
            "[server.credentials.PATH]\nfile = \"token\"",
            "[server.credentials.PORTCULLIS_A]\nfile = \"token\"",
            "[server.credentials.A]\nenv = \"HOME\"",
        ] {
            assert!(two(unclear).is_err(), "{unclear}");
        }
        let of_a_url = |more: &str| {
            read(&format!("{ONE}[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\n{more}\n"))
        };
        assert!(of_a_url("").is_ok());
        assert!(of_a_url("lease_seconds = 600").is_err());
        assert!(of_a_url("[server.credentials.A]\nfile = \"token\"").is_err());
    }

    #[test]
    fn slots_are_read_with_what_servers_are_kept_from() {
        let started = |more: &str| {
            read(&format!("{ONE}{more}\n[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\n"))
        };
        let of_a_url = |more: &str| {
            read(&format!("{ONE}[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\n{more}\n"))
        };
        let key = "[server.slots.key]\ntools = [\"search\"]\nargument = \"/api_key\"\n";
        let two = format!(
            "{key}file = \"token\"\n[server.slots.other]\ntools = [\"search\"]\nargument = \"/b\"\ncommand = [\"bin/b\"]\n"
        );
        for (at, read) in [started(&two), of_a_url(&two)].into_iter().enumerate() {
            let read = read.unwrap();
            let slots = read.servers[at].slots.as_ref().unwrap();
            assert_eq!(slots.names().collect::<Vec<_>>(), ["key", "other"]);
            assert!(read.servers[1 - at].slots.is_none());
            let hidden = read.hidden.iter().any(|path| path.is_absolute() && path.ends_with("token"));
            assert!(hidden, "{:?}", read.hidden);
            assert!(read.kept.iter().any(|path| path.ends_with("bin/b")), "{:?}", read.kept);
        }
        for unclear in [
            key.to_owned(),
            "slots = {}".to_owned(),
            format!("{key}file = \"token\"\nheader = \"x-a\""),
            format!("{key}file = \"token\"\nprefix = \"x\""),
            format!("{key}env = \"HOME\""),
            "[server.slots.key]\ntools = [\"search\"]\nfile = \"token\"".to_owned(),
            "[server.slots.key]\nargument = \"/a\"\nfile = \"token\"".to_owned(),
            "[server.slots.key]\ntools = []\nargument = \"/a\"\nfile = \"token\"".to_owned(),
            "[server.slots.Key]\ntools = [\"search\"]\nargument = \"/a\"\nfile = \"token\"".to_owned(),
        ] {
            assert!(started(&unclear).is_err() && of_a_url(&unclear).is_err(), "{unclear}");
        }
        // What is of slots is of nothing else.
        for more in ["tools = [\"search\"]", "argument = \"/a\""] {
            assert!(of_a_url(&format!("[server.credential]\nfile = \"token\"\n{more}")).is_err());
            assert!(started(&format!("[server.credentials.A]\nfile = \"token\"\n{more}")).is_err());
        }
    }

    #[test]
    fn a_mistake_in_a_file_of_servers_said_what_is_secret_in_it() {
        let of = "[[server]]\nname = \"crm\"\nurl = \"https://crm.example/mcp\"\n";
        for mistake in [
            "token = \"canary\"",
            "token_file = [\"canary\"]",
            "credential = { command = \"canary\" }",
            "credential = { key = \"canary\" }",
            "credential = \"canary\"",
            "credential = { file = \"canary }",
            "credentials = { A = \"canary\" }",
            "credentials = { \"canary\" = \"x\" }",
        ] {
            let error = read(&format!("{ONE}{of}{mistake}")).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("canary") && said.contains("line 7, column"), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_clear_is_refused_as_a_whole() {
        let two = |second: &str| read(&format!("{ONE}[[server]]\nname = \"crm\"\n{second}"));
        assert!(two("url = \"https://crm.example/mcp\"").is_ok());
        for unclear in [
            "",
            "command = []",
            "command = [\"a\"]\nurl = \"https://crm.example/mcp\"",
            "command = [\"a\"]\ntoken_file = \"token\"",
            "command = [\"a\"]\ncredential = { file = \"token\" }",
            "url = \"https://crm.example/mcp\"\ntoken_file = \"token\"\ncredential = { file = \"token\" }",
            "url = \"https://crm.example/mcp\"\ncredential = {}",
            "url = \"https://crm.example/mcp\"\npass_environment = []",
            "url = \"http://crm.example/mcp\"",
            "url = \"https://crm.example/mcp\"\ntoken_file = \"none\"",
            "command = [\"a\"]\nnaem = \"x\"",
            "command = \"a b\"",
        ] {
            assert!(two(unclear).is_err(), "{unclear}");
        }
        assert!(read(ONE).is_err() && read("").is_err());
        assert!(read(&format!("{ONE}[other]\n")).is_err());
    }
}
