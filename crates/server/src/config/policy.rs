//! Whose signatures on bundles count.

use portcullis_policy::BundleSigners;
use portcullis_verify::VerifierKey;

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_protocol::BundleDigest;
use portcullis_sdk::Authorities;

use super::credentials::read_token;
use super::sections::PolicySection;
use super::{Config, ConfigError, parse, value};
use crate::bundles::activated_file;
use crate::sources::{Access, Location, Remote};

/// How often a source may be asked, in seconds.
const POLLS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Where the configuration's bundle is fetched from.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The place.
    pub remote: Remote,
    /// By what it is reached.
    pub access: Access,
    /// How often it is asked.
    pub interval: Duration,
}

/// A file that may be named, and what it is called there.
type Named<'a> = (&'static str, Option<&'a Path>);

/// Reads by what places across the network are reached: a PEM file of authorities, and a file with a credential, each with
/// what it is called where it was named.
///
/// # Errors
/// [`ConfigError`].
pub fn read_access(ca: Named<'_>, token: Named<'_>) -> Result<Access, ConfigError> {
    let authorities = ca.1.map(Authorities::read).transpose();
    let authorities = authorities.map_err(|error| value(ca.0, &error))?;
    let token = token.1.map(|file| read_token(token.0, file)).transpose()?;
    Ok(Access { authorities, token })
}

impl Config {
    /// Where the bundle lies on this machine, and where it is fetched from, if it is.
    pub(super) fn source(
        &self,
        policy: &PolicySection,
        data: &Path,
        pin: &BundleDigest,
    ) -> Result<(PathBuf, Option<SourceConfig>), ConfigError> {
        let remote = match Location::parse(&policy.bundle).map_err(|error| value("policy.bundle", &error))? {
            Location::Here(path) => return Ok((self.at(&path), None)),
            Location::Elsewhere(remote) => remote,
        };
        let access = self.access_of(policy)?;
        if remote.needs_authorities() && access.authorities.is_none() {
            let error =
                "is needed, for `bundle` is fetched over TLS: a PEM file of the authorities to believe";
            return Err(ConfigError::Value { key: "policy.ca", error: error.into() });
        }
        let interval = policy.poll_seconds.map_or(300, |seconds| seconds);
        if !POLLS.contains(&interval) {
            let error = "must be from 1 to 86400";
            return Err(ConfigError::Value { key: "policy.poll_seconds", error: error.into() });
        }
        let interval = Duration::from_secs(interval);
        Ok((activated_file(data, pin), Some(SourceConfig { remote, access, interval })))
    }

    fn access_of(&self, policy: &PolicySection) -> Result<Access, ConfigError> {
        let [ca, token] =
            [&policy.ca, &policy.token_file].map(|file| file.as_ref().map(|file| self.at(file)));
        read_access(("policy.ca", ca.as_deref()), ("policy.token_file", token.as_deref()))
    }

    /// By what a place across the network is reached. The credential of the configuration is for the host of its own
    /// `bundle`, and for no other.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn access(&self, remote: &Remote) -> Result<Access, ConfigError> {
        let policy = Self::section(self.file.policy.as_ref(), "policy")?;
        let access = self.access_of(policy)?;
        let own = Location::parse(&policy.bundle).map_err(|error| value("policy.bundle", &error))?;
        let is_own = matches!(&own, Location::Elsewhere(own) if own.has_origin_of(remote));
        Ok(Access { token: access.token.filter(|_| is_own), ..access })
    }

    pub(super) fn signers(&self, policy: &PolicySection) -> Result<BundleSigners, ConfigError> {
        match (&policy.trusted_keys, &policy.root, &policy.root_pin) {
            (Some(keys), None, None) => {
                let keys: Vec<VerifierKey> =
                    keys.iter().map(|key| parse("policy.trusted_keys", key)).collect::<Result<_, _>>()?;
                if keys.is_empty() {
                    let error = "names no key, so no bundle could ever be believed";
                    return Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() });
                }
                Ok(BundleSigners::Keys(keys))
            }
            (None, Some(root), Some(pin)) => {
                Ok(BundleSigners::Root { file: self.at(root), pin: parse("policy.root_pin", pin)? })
            }
            (None, None, None) => {
                let error = "names no key, so no bundle could ever be believed";
                Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() })
            }
            (Some(_), _, _) => {
                let error = "cannot stand beside `root`: whoever could sign alone would need no others";
                Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() })
            }
            (None, Some(_), None) | (None, None, Some(_)) => {
                let error = "`root` and `root_pin` go together: a chain that is not pinned proves nothing";
                Err(ConfigError::Value { key: "policy.root_pin", error: error.into() })
            }
        }
    }
}
