//! Who signed the bundles in a pack. The digest by which records name a bundle does not cover its signatures, so that a pack
//! verifies whatever became of them.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::{Authority, BundleError, BundleSigners, Snapshot};
use portcullis_protocol::{BundleDigest, Digest};
use portcullis_verify::{VerifiedPack, VerifierKey};
use serde_json::{Value, json};

use super::{chain, read_key};
use crate::args::VerifyArgs;

/// By whom bundles must be signed, if that is asked.
pub(super) enum Signers {
    NotAsked,
    /// One of these, the newest last.
    OneOf(Vec<Authority>),
}

/// What came of that.
pub(super) enum Signed {
    /// These bundles are in the pack, and by whom they must be signed was not said.
    NotLookedAt(BTreeSet<BundleDigest>),
    /// By whom each is signed.
    By(BTreeMap<BundleDigest, Vec<VerifierKey>>),
}

impl Signers {
    pub(super) fn asked(args: &VerifyArgs) -> Result<Self, String> {
        if let (Some(file), Some(pin)) = (&args.root, &args.root_pin) {
            let pin: Digest = pin.parse().map_err(|error| format!("`{pin}` is no digest: {error}"))?;
            let authorities = BundleSigners::Root { file: file.clone(), pin }.authorities();
            return authorities.map(Self::OneOf).map_err(|error| chain(&error));
        }
        if args.bundle_key.is_empty() {
            return Ok(Self::NotAsked);
        }
        let keys = args.bundle_key.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::OneOf(vec![Authority::any_of(keys)]))
    }

    /// Who signed each bundle of a pack.
    pub(super) fn of(&self, pack: &VerifiedPack) -> Result<Signed, String> {
        let Self::OneOf(authorities) = self else {
            return Ok(Signed::NotLookedAt(pack.bundles().keys().copied().collect()));
        };
        let signed = pack.bundles().iter().map(|(digest, archive)| {
            let signers = vouching(archive, authorities);
            let signers =
                signers.map_err(|error| format!("nobody vouches for bundle {digest}: {}", chain(&error)));
            Ok((*digest, signers?))
        });
        signed.collect::<Result<_, String>>().map(Signed::By)
    }
}

/// Those of the first authority that vouches for an archived bundle; why the newest does not, if none does.
fn vouching(archive: &[u8], authorities: &[Authority]) -> Result<Vec<VerifierKey>, BundleError> {
    let bundle = Snapshot::from_archive(archive)?;
    let mut refused = bundle.signed_by(&Authority::any_of(Vec::new()));
    for authority in authorities {
        refused = bundle.signed_by(authority);
        if refused.is_ok() {
            break;
        }
    }
    refused.map(|(_, signers)| signers)
}

impl Signed {
    /// Whether nothing that is in the pack was not looked at.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::NotLookedAt(bundles) => bundles.is_empty(),
            Self::By(_) => true,
        }
    }

    /// What of a pack that is said to be verified was not.
    pub(super) fn exempted(&self) -> &'static str {
        if self.is_whole() { "" } else { ", but for the signatures of its bundles, which were NOT LOOKED AT" }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::NotLookedAt(bundles) => json!({ "checked": false, "not_looked_at": bundles }),
            Self::By(signed) => {
                let signers = signed.iter().map(|(digest, signers)| {
                    let names: Vec<String> = signers.iter().map(ToString::to_string).collect();
                    (digest.to_string(), names)
                });
                json!({ "checked": true, "signers": signers.collect::<BTreeMap<_, _>>() })
            }
        }
    }

    /// Behind what a pack says of itself; nothing of one that has no bundle.
    pub(super) fn to_text(&self) -> String {
        let said = match self {
            Self::NotLookedAt(bundles) if bundles.is_empty() => return String::new(),
            Self::NotLookedAt(_) => {
                return "\n  \n  Its bundles are those that the records name, whoever signed them: their signatures were NOT LOOKED AT.\n  \
                        Say with --bundle-key or --root by whom they must be signed."
                    .to_owned();
            }
            Self::By(signed) => signed,
        };
        said.iter().fold(String::new(), |text, (digest, signers)| {
            let names: Vec<String> = signers.iter().map(|key| key.name().to_string()).collect();
            format!("{text}\n  {digest} is signed by {}", names.join(", "))
        })
    }
}
