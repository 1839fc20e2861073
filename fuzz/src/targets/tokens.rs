//! Access tokens, and the documents that issuers publish their keys in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::Millis;

use super::signed::{ES256, N, PS256, RS256, X, Y};
use crate::identity::keys::{Algorithm, KeySet};
use crate::identity::refused::TokenRefused;
use crate::identity::rules::{TokenRules, Use};
use crate::identity::token::{Claims, TokenType, Unverified};
use crate::reference::Json;

/// What may be in a header.
const HEADER: [&str; 5] = ["alg", "kid", "typ", "x5t", "x5t#S256"];
/// What no access token of one bearer's has.
const NEVER: [&str; 7] = ["nonce", "at_hash", "c_hash", "s_hash", "events", "cnf", "act"];
/// The last whole second that has a number of milliseconds in a double.
const LAST: u64 = ((1 << 53) - 1) / 1000;

/// What was signed with keys that nobody has any more.
pub(crate) const SIGNED: [&str; 3] = [RS256, PS256, ES256];

/// The key that the target itself signs with.
fn signer() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The JWK set of all keys that signed something, and of the target's own.
pub(crate) fn keys() -> String {
    let own = encoded(signer().verifying_key().to_bytes());
    format!(
        r#"{{"keys":[{{"kid":"rsa","kty":"RSA","use":"sig","n":"{N}","e":"AQAB"}},{{"kid":"ec","kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}},{{"kid":"own","kty":"OKP","crv":"Ed25519","key_ops":["verify"],"alg":"EdDSA","x":"{own}"}}]}}"#
    )
}

/// A token of these texts that the target signs.
pub(crate) fn made(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = signer().sign(signed.as_bytes());
    format!("{signed}.{}", encoded(signature.to_bytes()))
}

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(keys().as_bytes(), &Algorithm::ALL.into()).expect("keys"));

/// A token is what RFC 7515, RFC 7519 and RFC 9068 say it is to another reader, says what that one finds in it, and verifies only if
/// it was signed. The bytes are one, or a header and claims with a line feed between them, which are signed here.
pub(crate) fn token(data: &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let (header, claims) = (&data[..end], &data[end + 1..]);
            let token = made(header, claims);
            if let Some(read) = read(&token, header, claims) {
                let algorithm = read.header.algorithm;
                let expected =
                    if algorithm == Algorithm::EdDsa { Ok(()) } else { Err(TokenRefused::KeyType) };
                let key = KEYS.key("own").expect("the target's own key");
                assert_eq!(read.verify(key).map(|_| ()), expected);
            }
        }
        None => {
            let Ok(text) = str::from_utf8(data) else { return };
            let parts: Vec<&str> = text.split('.').collect();
            let parts: Option<Vec<Vec<u8>>> = parts.into_iter().map(decoded).collect();
            match parts.as_deref() {
                Some([header, claims, _]) => {
                    if read(text, header, claims).is_some() {
                        unforged(text);
                    }
                }
                Some(_) | None => assert!(Unverified::read(text).is_err(), "no three parts, and read"),
            }
        }
    }
}

/// Only what was signed with a key verifies with it.
fn unforged(token: &str) {
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    for name in ["rsa", "ec", "own"] {
        let read = Unverified::read(token).expect("it was read before");
        if read.verify(KEYS.key(name).expect("a key")).is_ok() {
            let all = SIGNED.map(|token| token.rsplit_once('.').expect("three parts").0);
            assert!(
                all.contains(&signed) || (name == "own" && is_own(token)),
                "{name} never signed {signed}"
            );
        }
    }
}

/// Whether the target would sign these very bytes so: Ed25519 has one signature of each text.
fn is_own(token: &str) -> bool {
    let parts: Vec<Vec<u8>> = token.split('.').filter_map(decoded).collect();
    matches!(parts.as_slice(), [header, claims, _] if made(header, claims) == token)
}

/// Base64url by hand: RFC 4648, section 5, without padding and without stray bits.
fn decoded(part: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut length) = (Vec::new(), 0_u32, 0);
    for byte in part.bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        (bits, length) = ((bits << 6 | u32::try_from(value).ok()?) & 0xffff, length + 6);
        if length >= 8 {
            length -= 8;
            bytes.push(u8::try_from(bits >> length & 0xff).ok()?);
        }
    }
    (length < 6 && bits & ((1 << length) - 1) == 0).then_some(bytes)
}

/// Reads a token, and holds what was read against another reading of its header and claims.
fn read<'a>(token: &'a str, header: &[u8], claims: &[u8]) -> Option<Unverified<'a>> {
    let short = token.len() <= 8 * 1024 && encoded(header).len() <= 1024;
    let (header, claims) = (object(header, 16), object(claims, 16));
    let good = short
        && header.as_ref().is_some_and(is_header)
        && claims.as_ref().is_some_and(is_of_one_bearer)
        && claims.as_ref().is_some_and(are_claims);
    let read = Unverified::read(token);
    assert_eq!(read.as_ref().err().is_none(), good, "{:?}", read.as_ref().err());
    let (read, header, claims) = (read.ok()?, header?, claims?);
    assert_eq!(text(&header, "alg"), Some(read.header.algorithm.name()));
    assert_eq!(text(&header, "kid"), Some(read.header.key.as_str()));
    assert_eq!(kind(text(&header, "typ").expect("a type")), Some(read.header.kind));
    says(&claims, &read.claims);
    admitted(&read);
    Some(read)
}

/// An object that every reader reads alike.
fn object(bytes: &[u8], deepest: usize) -> Option<Json> {
    let json = Json::parse(bytes)?;
    let plain = json.has_distinct_keys() && json.depth() <= deepest;
    (plain && matches!(json, Json::Object(_))).then_some(json)
}

fn text<'a>(object: &'a Json, name: &str) -> Option<&'a str> {
    match object.last(name) {
        Some(Json::Text(text)) => Some(text),
        Some(_) | None => None,
    }
}

fn kind(typ: &str) -> Option<TokenType> {
    match typ.to_ascii_lowercase().as_str() {
        "at+jwt" | "application/at+jwt" => Some(TokenType::AccessToken),
        "jwt" | "application/jwt" => Some(TokenType::Any),
        _ => None,
    }
}

fn names(object: &Json) -> Vec<&str> {
    let Json::Object(members) = object else { return Vec::new() };
    members.iter().map(|(name, _)| name.as_str()).collect()
}

fn is_header(header: &Json) -> bool {
    let of = |name| text(header, name).filter(|text| text.len() <= 1024);
    names(header).iter().all(|name| HEADER.contains(name))
        && of("alg").is_some_and(|alg| ["ES256", "EdDSA", "PS256", "RS256"].contains(&alg))
        && of("typ").is_some_and(|typ| kind(typ).is_some())
        && of("kid").is_some()
}

fn is_of_one_bearer(claims: &Json) -> bool {
    let says = |name, wanted: &str| {
        claims.last(name).is_none() || text(claims, name).is_some_and(|it| it.eq_ignore_ascii_case(wanted))
    };
    NEVER.iter().all(|name| claims.last(name).is_none())
        && says("typ", "bearer")
        && says("token_use", "access")
}

fn are_claims(claims: &Json) -> bool {
    let named = |name| text(claims, name).is_some_and(|text| !text.is_empty() && text.len() <= 1024);
    let maybe = |name| claims.last(name).is_none() || named(name);
    let one_client = match (text(claims, "client_id"), text(claims, "azp")) {
        (Some(client), Some(party)) => client == party,
        (_, _) => true,
    };
    let time = |name| seconds(claims, name).is_some();
    let sometime = |name| claims.last(name).is_none() || time(name);
    let is_name = |value: &Json| matches!(value, Json::Text(text) if !text.is_empty());
    let audience = match claims.last("aud") {
        Some(Json::Array(all)) => all.iter().all(is_name),
        Some(one) => is_name(one),
        None => false,
    };
    ["iss", "sub"].into_iter().all(named)
        && ["client_id", "azp"].into_iter().all(maybe)
        && ["exp", "iat"].into_iter().all(time)
        && ["nbf", "auth_time"].into_iter().all(sometime)
        && one_client
        && audience
}

/// A time in whole seconds, as RFC 7519 has it where no fraction is allowed.
fn seconds(claims: &Json, name: &str) -> Option<u64> {
    let Some(Json::Number(number)) = claims.last(name) else { return None };
    number.parse::<u64>().ok().filter(|seconds| *seconds <= LAST && seconds.to_string() == *number)
}

fn says(claims: &Json, read: &Claims) {
    let time = |name| seconds(claims, name).map(|seconds| Millis(seconds * 1000));
    assert_eq!(text(claims, "iss"), Some(read.issuer.as_str()));
    assert_eq!(text(claims, "sub"), Some(read.subject.as_str()));
    assert_eq!(text(claims, "client_id").or(text(claims, "azp")), read.client.as_deref());
    assert_eq!((time("exp"), time("iat")), (Some(read.expires), Some(read.issued)));
    assert_eq!((time("nbf"), time("auth_time")), (read.not_before, read.authenticated));
    let audiences: Vec<Json> = match claims.last("aud") {
        Some(Json::Array(all)) => all.clone(),
        one => one.cloned().into_iter().collect(),
    };
    let read: Vec<Json> = read.audiences.iter().cloned().map(Json::Text).collect();
    assert_eq!(audiences, read);
}

/// A token counts from the latest of what it says that it begins with, as far as the issuer's clock may be ahead, until it expires.
fn admitted(token: &Unverified<'_>) {
    let claims = &token.claims;
    let Some(audience) = claims.audiences.last() else { return };
    let rules = TokenRules {
        issuer: claims.issuer.clone(),
        audience: audience.clone(),
        algorithms: [token.header.algorithm].into(),
        types: [token.header.kind].into(),
        skew_ms: 30_000,
    };
    let begins = [Some(claims.issued), claims.not_before, claims.authenticated];
    let begin = begins.into_iter().flatten().max().expect("one at least").0.saturating_sub(30_000);
    let day = 24 * 60 * 60 * 1000;
    for edge in [0, begin, claims.expires.0, claims.expires.0.saturating_add(day)] {
        for now in [edge.saturating_sub(1), edge, edge.saturating_add(1)] {
            let acting = (begin..claims.expires.0).contains(&now);
            let reporting = (begin..claims.expires.0.saturating_add(day)).contains(&now);
            assert_eq!(rules.admit(token, Millis(now), Use::Acting).is_ok(), acting, "{now}");
            assert_eq!(rules.admit(token, Millis(now), Use::Reporting).is_ok(), reporting, "{now}");
        }
    }
    let others = [
        TokenRules { issuer: format!("{}x", rules.issuer), ..rules.clone() },
        TokenRules { audience: claims.audiences.concat() + "x", ..rules.clone() },
        TokenRules { algorithms: BTreeSet::new(), ..rules.clone() },
        TokenRules { types: BTreeSet::new(), ..rules.clone() },
    ];
    for now in [begin, claims.expires.0.saturating_sub(1)] {
        assert!(others.iter().all(|rules| rules.admit(token, Millis(now), Use::Reporting).is_err()));
    }
}

/// A key is taken from a document if another reader of RFC 7517 finds it there, once and fit to verify, and it verifies what was
/// signed with the key that it is, and nothing else.
pub(crate) fn jwks(data: &[u8]) {
    for allowed in [BTreeSet::from(Algorithm::ALL), [Algorithm::EdDsa, Algorithm::Ps256].into()] {
        let read = KeySet::parse(data, &allowed);
        let listed = match object(data, 8).and_then(|document| document.last("keys").cloned()) {
            Some(Json::Array(listed)) if listed.len() <= 128 && data.len() <= 256 * 1024 => listed,
            Some(_) | None => {
                assert!(read.is_err(), "no JWK set, and taken for one");
                return;
            }
        };
        let read = read.expect("a JWK set");
        let mut named: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
        for key in &listed {
            if let Some(name) = text(key, "kid").filter(|name| !name.is_empty() && name.len() <= 1024) {
                named.entry(name).or_default().push(key);
            }
        }
        let mut taken = 0;
        for (name, keys) in &named {
            let fit = match keys.as_slice() {
                [key] => algorithms(key, &allowed),
                _ => BTreeSet::new(),
            };
            assert_eq!(read.key(name).is_some(), !fit.is_empty(), "{name}");
            if let (Some(key), [listed]) = (read.key(name), keys.as_slice()) {
                taken += 1;
                verifies(listed, key, &fit);
            }
        }
        assert_eq!((read.len(), read.passed_over), (taken, listed.len() - taken));
    }
}

/// What a key can verify, if it is a public one.
fn algorithms(key: &Json, allowed: &BTreeSet<Algorithm>) -> BTreeSet<Algorithm> {
    let secret = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let verify = Json::Text("verify".to_owned());
    let operations = match key.last("key_ops") {
        None => true,
        Some(Json::Array(all)) => all.contains(&verify),
        Some(_) => false,
    };
    let used = key.last("use").is_none() || text(key, "use") == Some("sig");
    if secret.iter().any(|name| key.last(name).is_some()) || !used || !operations {
        return BTreeSet::new();
    }
    let fitting: &[&str] = match (text(key, "kty"), text(key, "crv")) {
        (Some("EC"), Some("P-256")) if is_long(key, "x") && is_long(key, "y") => &["ES256"],
        (Some("OKP"), Some("Ed25519")) if is_long(key, "x") => &["EdDSA"],
        (Some("RSA"), None) if is_rsa(key) => &["PS256", "RS256"],
        (_, _) => &[],
    };
    let meant = |name: &&&str| key.last("alg").is_none_or(|alg| *alg == Json::Text((**name).to_owned()));
    let all = fitting.iter().filter(meant).filter_map(|name| Algorithm::parse(name));
    all.filter(|algorithm| allowed.contains(algorithm)).collect()
}

fn is_long(key: &Json, name: &str) -> bool {
    text(key, name).and_then(decoded).is_some_and(|bytes| bytes.len() == 32)
}

/// An RSA key of 2048 to 8192 bits, whose odd exponent is from 65537 to 2^33 - 1 (NIST SP 800-56B; what is verified with).
fn is_rsa(key: &Json) -> bool {
    let bits =
        |bytes: &[u8]| bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    let (n, e) = (text(key, "n").and_then(decoded), text(key, "e").and_then(decoded));
    let (Some(n), Some(e)) = (n, e) else { return false };
    let plain = n.first().is_some_and(|first| *first != 0) && e.first().is_some_and(|first| *first != 0);
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    plain && odd && (2048..=8192).contains(&bits(&n)) && (17..=33).contains(&bits(&e))
}

/// A key verifies what was signed with it, by the algorithms that it is for.
fn verifies(listed: &Json, key: &crate::identity::keys::Key, fit: &BTreeSet<Algorithm>) {
    let own = encoded(signer().verifying_key().to_bytes());
    let is = |members: &[(&str, &str)]| members.iter().all(|(name, value)| text(listed, name) == Some(value));
    let rsa = is(&[("kty", "RSA"), ("n", N), ("e", "AQAB")]);
    let ec = is(&[("kty", "EC"), ("x", X), ("y", Y)]);
    let signed_here = made(b"{}", b"{}");
    let all = [
        (Algorithm::Rs256, RS256, rsa),
        (Algorithm::Ps256, PS256, rsa),
        (Algorithm::Es256, ES256, ec),
        (Algorithm::EdDsa, signed_here.as_str(), is(&[("kty", "OKP"), ("x", &own)])),
    ];
    for (algorithm, token, is_it) in all {
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = decoded(signature).expect("Base64");
        let verified = key.verify(algorithm, signed.as_bytes(), &signature);
        assert_eq!(verified.is_ok(), is_it && fit.contains(&algorithm), "{algorithm:?}");
        assert!(key.verify(algorithm, &signed.as_bytes()[1..], &signature).is_err());
    }
}
