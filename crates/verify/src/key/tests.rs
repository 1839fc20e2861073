use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use proptest::prelude::*;

use super::{KeyName, KeyNameError, VerifierKey, VerifierKeyError};
use crate::encoding::to_base64;
use crate::testing::hex;

/// The example of c2sp.org/signed-note.
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

fn public_key() -> [u8; 32] {
    SigningKey::from_bytes(&[3; 32]).verifying_key().to_bytes()
}

#[test]
fn the_key_of_the_spec_is_read_and_written() {
    let key: VerifierKey = SPEC_KEY.parse().unwrap();
    assert_eq!(key.name().as_str(), "example.com/foo");
    assert_eq!(key.key_id(), 0x530d_903a);
    assert_eq!(key.to_string(), SPEC_KEY);
    assert_eq!(VerifierKey::ed25519("example.com/foo", key.public_key()), Ok(key));
}

#[test]
fn names_are_checked() {
    let cases = [
        ("", KeyNameError::Empty),
        ("a b", KeyNameError::Space),
        ("a\nb", KeyNameError::Space),
        ("a\u{2003}b", KeyNameError::Space),
        ("a\u{85}", KeyNameError::Space),
        ("a+b", KeyNameError::Plus),
        ("a\0", KeyNameError::Control),
        ("a\u{1b}[31m", KeyNameError::Control),
    ];
    for (name, expected) in cases {
        assert_eq!(KeyName::new(name), Err(expected));
        assert_eq!(VerifierKey::ed25519(name, public_key()), Err(VerifierKeyError::Name(expected)));
    }
    assert_eq!(KeyName::new("grüße.example/log-1").unwrap().to_string(), "grüße.example/log-1");
}

#[test]
fn every_altered_key_has_its_error() {
    let of_type = |bytes: &[u8]| format!("a+00000000+{}", to_base64(bytes));
    let cases = [
        ("", VerifierKeyError::Form),
        ("example.com/foo", VerifierKeyError::Form),
        ("example.com/foo+530d903a", VerifierKeyError::Form),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", VerifierKeyError::Encoding),
        (
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
            VerifierKeyError::Encoding,
        ),
        (
            "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            VerifierKeyError::Name(KeyNameError::Empty),
        ),
        (&of_type(&[]), VerifierKeyError::UnknownType),
        // Cosignatures of c2sp.org/tlog-cosignature.
        (&of_type(&[&[4], public_key().as_slice()].concat()), VerifierKeyError::UnknownType),
        (&of_type(&[1]), VerifierKeyError::Length { found: 0 }),
        (&of_type(&[1; 34]), VerifierKeyError::Length { found: 33 }),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<VerifierKey>(), Err(expected), "`{text}`");
    }
}

#[test]
fn the_key_id_must_be_that_of_name_and_key_in_lower_case() {
    let expected = Err(VerifierKeyError::KeyId { expected: 0x530d_903a });
    for id in ["530d903b", "530D903A", "0530d903a", "530d903", ""] {
        let text = SPEC_KEY.replace("530d903a", id);
        assert_eq!(text.parse::<VerifierKey>(), expected, "`{id}`");
    }
    let renamed = SPEC_KEY.replace("foo", "bar").parse::<VerifierKey>();
    assert!(matches!(renamed, Err(VerifierKeyError::KeyId { .. })));
}

#[test]
fn keys_that_anyone_can_sign_for_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(VerifierKey::ed25519("a", identity), Err(VerifierKeyError::Weak));
    // y = 0 is a point of order 4.
    assert_eq!(VerifierKey::ed25519("a", [0; 32]), Err(VerifierKeyError::Weak));
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    assert_eq!(VerifierKey::ed25519("a", off_curve), Err(VerifierKeyError::NotAPoint));
}

/// Secret and public key of RFC 8032 §7.1, test 1.
const RFC_SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const RFC_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    // R is the identity and S = H(R ‖ A ‖ M)·a: the equation of RFC 8032 §5.1.7 holds, and lenient verifiers agree.
    let small_order = "0100000000000000000000000000000000000000000000000000000000000000";
    let scalar = "6f181955c1179c975fdaf4b25272b31057e3638b615024b3fa738034d8469b0e";
    let signature = hex(&format!("{small_order}{scalar}"));
    let public_key = hex(RFC_PUBLIC).try_into().unwrap();
    let lenient = VerifyingKey::from_bytes(&public_key).unwrap();
    assert!(lenient.verify(b"text\n", &Signature::from_slice(&signature).unwrap()).is_ok());
    assert!(!VerifierKey::ed25519("a", public_key).unwrap().verifies(b"text\n", &signature));
}

#[test]
fn a_signature_has_one_form() {
    let signing = SigningKey::from_bytes(&hex(RFC_SECRET).try_into().unwrap());
    let key = VerifierKey::ed25519("a", hex(RFC_PUBLIC).try_into().unwrap()).unwrap();
    let signature = signing.sign(b"text\n").to_bytes();
    assert!(key.verifies(b"text\n", &signature));
    assert!(!key.verifies(b"text", &signature));
    assert!(!key.verifies(b"text\n", &signature[..63]));
    assert!(!key.verifies(b"text\n", &[signature.as_slice(), &[0]].concat()));
    // S plus the order of the group solves the same equation.
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut other_form = signature;
    let mut carry = 0;
    for (byte, addend) in other_form[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert!(!key.verifies(b"text\n", &other_form));
}

proptest! {
    #[test]
    fn keys_round_trip(seed: [u8; 32], name in "[a-z./é]{1,20}") {
        let public_key = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let key = VerifierKey::ed25519(&name, public_key).unwrap();
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        prop_assert!(text.parse::<VerifierKey>().is_err());
    }
}
