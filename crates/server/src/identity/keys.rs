//! An issuer's keys: a JWK set (RFC 7517), of which only public signing keys of four algorithms are taken.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_protocol::json::{Limits, Loose};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::refused::TokenRefused;

/// Longest document that is read, in bytes.
pub(crate) const LONGEST_SET: usize = 256 * 1024;
const LIMITS: Limits = Limits { bytes: LONGEST_SET, depth: 8 };
/// Keys of one issuer, at most.
const MOST_KEYS: usize = 128;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Smallest and largest RSA exponent (NIST SP 800-56B, section 6.2; the largest that is verified with).
const EXPONENT: std::ops::RangeInclusive<u64> = 65_537..=0x1_ffff_ffff;
/// Longest name of a key, in characters.
const LONGEST_NAME: usize = 1024;

/// An algorithm of signatures. There is none without a signature, and none with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Ps256, Self::Rs256];

    /// As RFC 7518 and RFC 8037 name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// By its name, letter for letter.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// What a key is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// An uncompressed point on P-256.
    P256([u8; 65]),
    /// An Ed25519 public key.
    Ed25519([u8; 32]),
    /// An RSA public key, big-endian without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

/// A public key of an issuer's, and for which algorithms it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    material: Material,
    algorithms: BTreeSet<Algorithm>,
}

/// The keys of an issuer by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: BTreeMap<String, Key>,
    /// Keys of the document that are not taken.
    pub(crate) passed_over: usize,
}

/// A document that is no JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it gives no JWK set, or one with more than {MOST_KEYS} keys")]
pub(crate) struct NoKeySet;

type Members = BTreeMap<String, Loose>;

impl KeySet {
    /// Reads a JWK set. Keys that cannot verify tokens of these algorithms are passed over (RFC 7517, section 5), and so are
    /// all keys of one name: which of them signed would not be told.
    ///
    /// # Errors
    /// [`NoKeySet`].
    pub(crate) fn parse(text: &[u8], allowed: &BTreeSet<Algorithm>) -> Result<Self, NoKeySet> {
        let Ok(Loose::Object(members)) = Loose::parse(text, LIMITS) else { return Err(NoKeySet) };
        let Some(Loose::Array(listed)) = members.get("keys") else { return Err(NoKeySet) };
        if listed.len() > MOST_KEYS {
            return Err(NoKeySet);
        }
        let (mut keys, mut doubled) = (BTreeMap::new(), BTreeSet::new());
        for (name, key) in listed.iter().filter_map(named) {
            if keys.insert(name.to_owned(), Key::read(key, allowed)).is_some() {
                doubled.insert(name.to_owned());
            }
        }
        keys.retain(|name, _| !doubled.contains(name));
        let keys: BTreeMap<_, _> = keys.into_iter().filter_map(|(name, key)| Some((name, key?))).collect();
        let passed_over = listed.len().saturating_sub(keys.len());
        Ok(Self { keys, passed_over })
    }

    /// The key of a name.
    pub(crate) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.get(name)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A key with its name. One without is named by no token.
fn named(key: &Loose) -> Option<(&str, &Members)> {
    let Loose::Object(members) = key else { return None };
    let name = text(members, "kid")?;
    (!name.is_empty() && name.len() <= LONGEST_NAME).then_some((name, members))
}

fn text<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str()
}

fn bytes(members: &Members, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(members, name)?).ok()
}

impl Key {
    fn read(members: &Members, allowed: &BTreeSet<Algorithm>) -> Option<Self> {
        // Whose private half is told is nobody's alone.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|secret| members.contains_key(*secret)) {
            return None;
        }
        if !is_for_verifying(members) {
            return None;
        }
        let (material, fitting) = Material::read(members)?;
        let stated = match members.get("alg") {
            None => None,
            Some(Loose::Str(name)) => Some(Algorithm::parse(name)?),
            Some(_) => return None,
        };
        let is_meant = |algorithm: &&Algorithm| stated.is_none_or(|stated| stated == **algorithm);
        let algorithms: BTreeSet<_> =
            fitting.iter().filter(is_meant).filter(|it| allowed.contains(it)).copied().collect();
        (!algorithms.is_empty()).then_some(Self { material, algorithms })
    }

    /// Verifies a signature, if the key is one for this algorithm.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenRefused> {
        if !self.algorithms.contains(&algorithm) {
            return Err(TokenRefused::KeyType);
        }
        let by = |how: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key).verify(signed, signature)
        };
        let verified = match (&self.material, algorithm) {
            (Material::P256(point), Algorithm::Es256) => by(&ECDSA_P256_SHA256_FIXED, point),
            (Material::Ed25519(point), Algorithm::EdDsa) => by(&ED25519, point),
            (Material::Rsa { modulus: n, exponent: e }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            (Material::Rsa { modulus: n, exponent: e }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, signed, signature)
            }
            (Material::P256(_), Algorithm::EdDsa | Algorithm::Ps256 | Algorithm::Rs256)
            | (Material::Ed25519(_), Algorithm::Es256 | Algorithm::Ps256 | Algorithm::Rs256)
            | (Material::Rsa { .. }, Algorithm::Es256 | Algorithm::EdDsa) => {
                return Err(TokenRefused::KeyType);
            }
        };
        verified.map_err(|_| TokenRefused::Signature)
    }
}

/// Whether a key's `use` and `key_ops`, where they are there, let it verify signatures.
fn is_for_verifying(members: &Members) -> bool {
    let verify = Loose::Str("verify".to_owned());
    let used = members.get("use").is_none_or(|purpose| *purpose == Loose::Str("sig".to_owned()));
    used && match members.get("key_ops") {
        None => true,
        Some(Loose::Array(operations)) => operations.contains(&verify),
        Some(_) => false,
    }
}

impl Material {
    /// What the key is made of, and what it can verify.
    fn read(members: &Members) -> Option<(Self, &'static [Algorithm])> {
        match (text(members, "kty")?, text(members, "crv")) {
            ("EC", Some("P-256")) => {
                let [x, y]: [[u8; 32]; 2] =
                    [bytes(members, "x")?.try_into().ok()?, bytes(members, "y")?.try_into().ok()?];
                let point = [&[4][..], &x, &y].concat().try_into().ok()?;
                Some((Self::P256(point), &[Algorithm::Es256]))
            }
            ("OKP", Some("Ed25519")) => {
                Some((Self::Ed25519(bytes(members, "x")?.try_into().ok()?), &[Algorithm::EdDsa]))
            }
            ("RSA", None) => {
                let (modulus, exponent) = (bytes(members, "n")?, bytes(members, "e")?);
                is_strong(&modulus, &exponent)
                    .then_some((Self::Rsa { modulus, exponent }, &[Algorithm::Ps256, Algorithm::Rs256]))
            }
            _ => None,
        }
    }
}

/// Whether an RSA key is long enough to stand, and is written in the one way that there is.
fn is_strong(modulus: &[u8], exponent: &[u8]) -> bool {
    // Of 2048 bits are those whose highest byte has its highest bit.
    let long = match modulus.first() {
        None | Some(0) => false,
        Some(first) => {
            MODULUS.contains(&modulus.len()) && (modulus.len() > *MODULUS.start() || *first >= 0x80)
        }
    };
    let plain = exponent.first().is_some_and(|first| *first != 0) && exponent.len() <= 5;
    let value = exponent.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    long && plain && EXPONENT.contains(&value) && value % 2 == 1
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
