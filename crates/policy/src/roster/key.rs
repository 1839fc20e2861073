//! Public keys of people, in the forms in which they come.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_verify::VerifierKey;
use serde::{Deserialize, Serialize};

/// Name under which a bare Ed25519 key is checked; it stands nowhere.
const BARE: &str = "person";
/// Characters of 32 bytes in base64.
const BARE_LENGTH: usize = 44;
/// What a COSE key of ES256 on P-256 begins with, in the one form that CTAP2 allows: `{1: 2, 3: -7, -1: 1, -2: x…`.
const COSE_ES256: [u8; 10] = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
/// What stands between its two coordinates: `-3: y`.
const COSE_ES256_Y: [u8; 3] = [0x22, 0x58, 0x20];
/// What a COSE key of EdDSA on Ed25519 begins with: `{1: 1, 3: -8, -1: 6, -2: x`.
const COSE_EDDSA: [u8; 10] = [0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];

/// A person's public key, of a type that is named and in a form that was checked. As it is written in `bundle.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeyText")]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PersonKey {
    /// An Ed25519 key in a file: a note's verifier key, or the 32 bytes of the key in standard base64.
    Ed25519 {
        /// Its text.
        key: String,
        /// Its 32 bytes.
        #[serde(skip)]
        bytes: [u8; 32],
    },
    /// A passkey's, as WebAuthn gives it: a COSE key (RFC 9053), base64url without padding.
    Cose {
        /// Its text.
        key: String,
        /// The curve's and the key's bytes.
        #[serde(skip)]
        bytes: Point,
    },
    /// A passkey's as a JWK (RFC 7517).
    Jwk {
        /// `EC` or `OKP`.
        kty: String,
        /// `P-256` or `Ed25519`.
        crv: String,
        /// `ES256` or `EdDSA`.
        alg: String,
        /// First coordinate, base64url.
        x: String,
        /// Second coordinate, of a P-256 key alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        y: Option<String>,
        /// The curve's and the key's bytes.
        #[serde(skip)]
        bytes: Point,
    },
}

/// A public key, whatever form it came in: two texts of one key have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Of Ed25519.
    Ed25519([u8; 32]),
    /// Of P-256: both coordinates.
    P256([u8; 32], [u8; 32]),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum KeyText {
    Ed25519 { key: String },
    Cose { key: String },
    Jwk { kty: String, crv: String, alg: String, x: String, y: Option<String> },
}

impl TryFrom<KeyText> for PersonKey {
    type Error = String;

    fn try_from(text: KeyText) -> Result<Self, String> {
        match text {
            KeyText::Ed25519 { key } => Ok(Self::Ed25519 { bytes: ed25519_text(&key)?, key }),
            KeyText::Cose { key } => Ok(Self::Cose { bytes: cose(&key)?, key }),
            KeyText::Jwk { kty, crv, alg, x, y } => {
                let bytes = jwk((&kty, &crv, &alg), &x, y.as_deref())?;
                Ok(Self::Jwk { kty, crv, alg, x, y, bytes })
            }
        }
    }
}

impl PersonKey {
    /// The key itself, without its form.
    #[must_use]
    pub const fn bytes(&self) -> Point {
        match self {
            Self::Ed25519 { bytes, .. } => Point::Ed25519(*bytes),
            Self::Cose { bytes, .. } | Self::Jwk { bytes, .. } => *bytes,
        }
    }

    /// The name of its type, as `bundle.toml` has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519 { .. } => "ed25519",
            Self::Cose { .. } => "cose",
            Self::Jwk { .. } => "jwk",
        }
    }
}

/// A note's verifier key (`name+id+key`), or the bytes alone.
fn ed25519_text(text: &str) -> Result<[u8; 32], String> {
    // Base64 may contain `+` too; only a bare key is as short as this.
    if text.len() != BARE_LENGTH {
        let key: VerifierKey = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(key.public_key());
    }
    let bytes =
        STANDARD.decode(text).map_err(|_| "an Ed25519 key is a note's verifier key or standard base64")?;
    ed25519(&exactly(&bytes)?)
}

/// Only a point of the curve that nobody can sign for without its private key.
fn ed25519(bytes: &[u8; 32]) -> Result<[u8; 32], String> {
    VerifierKey::ed25519(BARE, *bytes).map(|key| key.public_key()).map_err(|error| error.to_string())
}

fn cose(text: &str) -> Result<Point, String> {
    let wrong = || {
        "a COSE key is that of ES256 on P-256 or of EdDSA on Ed25519, in the form that CTAP2 has".to_owned()
    };
    let bytes =
        URL_SAFE_NO_PAD.decode(text).map_err(|_| "a COSE key is written in base64url without padding")?;
    if let Some(x) = bytes.strip_prefix(&COSE_EDDSA) {
        return Ok(Point::Ed25519(ed25519(&exactly(x)?)?));
    }
    let rest = bytes.strip_prefix(&COSE_ES256).ok_or_else(wrong)?;
    let (x, rest) = rest.split_at_checked(32).ok_or_else(wrong)?;
    let y = rest.strip_prefix(&COSE_ES256_Y).ok_or_else(wrong)?;
    Ok(Point::P256(exactly(x)?, exactly(y)?))
}

fn jwk(kind: (&str, &str, &str), x: &str, y: Option<&str>) -> Result<Point, String> {
    let coordinate = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        exactly(&bytes.map_err(|_| "a coordinate is written in base64url without padding".to_owned())?)
    };
    match (kind, y) {
        (("EC", "P-256", "ES256"), Some(y)) => Ok(Point::P256(coordinate(x)?, coordinate(y)?)),
        (("OKP", "Ed25519", "EdDSA"), None) => Ok(Point::Ed25519(ed25519(&coordinate(x)?)?)),
        (_, _) => {
            Err("a JWK is `EC`, `P-256`, `ES256` with `x` and `y`, or `OKP`, `Ed25519`, `EdDSA` with `x`"
                .to_owned())
        }
    }
}

fn exactly(bytes: &[u8]) -> Result<[u8; 32], String> {
    <[u8; 32]>::try_from(bytes).map_err(|_| format!("a key's part has 32 bytes, not {}", bytes.len()))
}
