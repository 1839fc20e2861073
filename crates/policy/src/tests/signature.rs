use ed25519_dalek::Signer;
use portcullis_protocol::{BundleDigest, Digest, Millis, ReasonCode};
use portcullis_verify::VerifierKey;
use portcullis_verify::note::signature_line;

use crate::error::SignatureInvalid;
use crate::files::Files;
use crate::testing::{KEY_NAME, bundle, files, signed, signing_key, trust, verifier_key, with};
use crate::{Authority, Bundle, BundleError, SIGNATURE_FILE, SignError, Snapshot, Trust};

fn verify(files: Files, trust: &Trust) -> Result<Bundle, BundleError> {
    Snapshot::from_files(files)?.verify(trust)
}

#[track_caller]
fn code(files: Files, trust: &Trust) -> ReasonCode {
    let error = verify(files, trust).unwrap_err();
    assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
    error.code()
}

/// The files with a signature by key `seed` over a text of the test's own.
fn signed_over(mut files: Files, seed: u8, text: &str) -> Files {
    let signature = signing_key(seed).sign(text.as_bytes()).to_bytes();
    let note = format!("{text}\n{}", signature_line(&verifier_key(seed), &signature));
    files.insert(SIGNATURE_FILE.into(), note.into_bytes());
    files
}

fn statement(files: &Files) -> String {
    Snapshot::from_files(files.clone()).unwrap().statement().unwrap()
}

#[test]
fn a_bundle_is_signed_over_name_version_and_digest() {
    let snapshot = Snapshot::from_files(files()).unwrap();
    let text = format!("portcullis bundle v1\ntest\n7\n{}\n", snapshot.digest());
    assert_eq!(snapshot.statement().unwrap(), text);
    let note = String::from_utf8(snapshot.sign(&signing_key(1), KEY_NAME).unwrap()).unwrap();
    assert!(note.starts_with(&format!("{text}\n\u{2014} {KEY_NAME} ")), "{note}");

    let bundle = bundle(files());
    let reference = bundle.reference();
    assert_eq!((reference.name.as_str(), reference.version), ("test", 7));
    assert_eq!(reference.digest, snapshot.digest());
    assert_eq!(bundle.surfaces().bundle, snapshot.digest());
    assert!(matches!(snapshot.sign(&signing_key(1), "two words"), Err(SignError::Key(_))));
}

/// The digest is a format of its own: changing how it is made would unpin every bundle there is.
#[test]
fn the_digest_is_over_the_canonical_manifest_of_all_files_but_the_signature() {
    let files: Files = [("bundle.toml", "x\n"), ("README.md", ""), ("bundle.sig", "ignored")]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .collect();
    let listing = concat!(
        r#"{"files":[{"path":"README.md","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"#,
        r#"{"path":"bundle.toml","sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac","size":2}],"v":1}"#
    );
    let expected = BundleDigest(Digest::of(portcullis_protocol::Domain::Bundle, &[listing.as_bytes()]));
    assert_eq!(Snapshot::from_files(files).unwrap().digest(), expected);
}

/// Incident 24: a bundle with its signature stripped was accepted.
#[test]
fn a_stripped_and_an_empty_signature_have_a_code_each() {
    let trust = trust(&files());
    assert_eq!(code(files(), &trust), ReasonCode::PolicyUnsigned);
    for empty in ["", "\n", " \n\t\n"] {
        let mut stripped = files();
        stripped.insert(SIGNATURE_FILE.into(), empty.as_bytes().to_vec());
        assert_eq!(code(stripped, &trust), ReasonCode::PolicySignatureEmpty, "{empty:?}");
    }
    for text in [statement(&files()), format!("{}\n", statement(&files())), "no signature here".into()] {
        let mut text_only = files();
        text_only.insert(SIGNATURE_FILE.into(), text.clone().into_bytes());
        assert_eq!(code(text_only, &trust), ReasonCode::PolicySignatureEmpty, "{text}");
    }
}

#[test]
fn a_garbled_signature_is_policy_signature_invalid() {
    let trust = trust(&files());
    let good = signed(files());
    let note = &good[SIGNATURE_FILE];
    let mut cases: Vec<Vec<u8>> = vec![
        b"garbage\n\nwithout form\n".to_vec(),
        b"\xff\xfe\n\n\xe2\x80\x94 x y\n".to_vec(),
        note[..note.len() - 2].to_vec(),
        [note.as_slice(), b"more"].concat(),
        vec![b'a'; 100_000],
    ];
    // The last character of the signature but for its padding, and one of the text.
    for at in [note.len() - 6, 30] {
        let mut flipped = note.clone();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        cases.push(flipped);
    }
    for case in cases {
        let mut files = good.clone();
        let shown = String::from_utf8_lossy(&case).chars().take(300).collect::<String>();
        files.insert(SIGNATURE_FILE.into(), case);
        assert_eq!(code(files, &trust), ReasonCode::PolicySignatureInvalid, "{shown}");
    }
    assert!(verify(good, &trust).is_ok());
}

#[test]
fn a_signature_by_another_key_is_policy_untrusted_key() {
    let trust = trust(&files());
    let by_other = signed_over(files(), 2, &statement(&files()));
    assert_eq!(code(by_other, &trust), ReasonCode::PolicyUntrustedKey);

    // The right key under another name is another key.
    let mut renamed = files();
    let note = Snapshot::from_files(files()).unwrap().sign(&signing_key(1), "portcullis.test/other").unwrap();
    renamed.insert(SIGNATURE_FILE.into(), note);
    assert_eq!(code(renamed, &trust), ReasonCode::PolicyUntrustedKey);
}

/// Incident 29 and its cousins: nothing configured is not everything trusted.
#[test]
fn without_trusted_keys_no_bundle_is_believed() {
    let nobody = Trust { authority: Authority::any_of(Vec::new()), ..trust(&files()) };
    assert_eq!(code(signed(files()), &nobody), ReasonCode::PolicyUntrustedKey);
    assert_eq!(code(files(), &nobody), ReasonCode::PolicyUnsigned);
}

/// A key of the attacker's that goes by the trusted key's name: verification is by key, not by name.
#[test]
fn the_name_of_a_trusted_key_is_not_enough() {
    let text = statement(&files());
    let impostor = signing_key(2).sign(text.as_bytes()).to_bytes();
    let mut forged = files();
    let note = format!("{text}\n{}", signature_line(&verifier_key(1), &impostor));
    forged.insert(SIGNATURE_FILE.into(), note.into_bytes());
    assert_eq!(code(forged, &trust(&files())), ReasonCode::PolicySignatureInvalid);
}

#[test]
fn one_trusted_key_among_several_signatures_is_enough() {
    let text = statement(&files());
    let line = |seed: u8, name: &str| {
        let key = VerifierKey::ed25519(name, signing_key(seed).verifying_key().to_bytes()).unwrap();
        signature_line(&key, &signing_key(seed).sign(text.as_bytes()).to_bytes())
    };
    let mut files = files();
    let note = format!("{text}\n{}{}", line(9, "someone.else"), line(1, KEY_NAME));
    files.insert(SIGNATURE_FILE.into(), note.into_bytes());
    assert!(verify(files.clone(), &trust(&files)).is_ok());
}

#[test]
fn a_signature_over_another_statement_is_policy_signature_invalid() {
    let trust = trust(&files());
    let right = statement(&files());
    let other_digest = BundleDigest(Digest::sha256(b"another")).to_string();
    let digest = Snapshot::from_files(files()).unwrap().digest().to_string();
    for text in [
        right.replace("\ntest\n", "\nother\n"),
        right.replace("\n7\n", "\n6\n"),
        right.replace("\n7\n", "\n07\n"),
        right.replace("\n7\n", "\n+7\n"),
        right.replace(&digest, &other_digest),
        right.replace("v1", "v2"),
        right.replace("bundle", "checkpoint"),
        right.replace("\ntest\n", "\ntest \n"),
        format!("{right}extra\n"),
        format!("\n{right}"),
        right.lines().take(3).map(|line| format!("{line}\n")).collect(),
        "portcullis bundle v1\n".to_owned(),
    ] {
        let files = signed_over(files(), 1, &text);
        assert_eq!(code(files, &trust), ReasonCode::PolicySignatureInvalid, "{text}");
    }
    assert!(verify(signed_over(files(), 1, &right), &trust).is_ok());
}

#[test]
fn a_file_that_was_swapped_added_or_removed_breaks_the_signature() {
    let trust = trust(&files());
    let swapped = |path: &str, bytes: &[u8]| {
        let mut files = signed(files());
        files.insert(path.into(), bytes.to_vec());
        files
    };
    let permissive = b"@id(\"may-charge\") permit (principal, action, resource);";
    let mut removed = signed(files());
    removed.remove("policies/main.cedar");
    for files in [
        swapped("policies/main.cedar", permissive),
        swapped("policies/more.cedar", permissive),
        swapped("README.md", b""),
        swapped("entities.json", b"[]"),
        swapped("schema.cedarschema", b""),
        removed,
    ] {
        let error = verify(files, &trust).unwrap_err();
        assert!(matches!(error, BundleError::SignatureInvalid(SignatureInvalid::Digest { .. })), "{error}");
        assert_eq!(error.code(), ReasonCode::PolicySignatureInvalid);
    }
}

/// An older version that was signed in its day is not what is pinned now.
#[test]
fn a_signed_bundle_that_is_not_the_pinned_one_is_policy_pin_mismatch() {
    let rolled_back = signed(with("bundle.toml", "version = 7", "version = 6"));
    assert_eq!(code(rolled_back, &trust(&files())), ReasonCode::PolicyPinMismatch);
}

/// Nothing of a bundle is parsed before it is known to be the signed and pinned one.
#[test]
fn signature_comes_before_pin_and_pin_before_content() {
    let mut broken = files();
    broken.insert("bundle.toml".into(), b"not toml = = =".to_vec());
    let digest = Snapshot::from_files(broken.clone()).unwrap().digest();
    let pinned = Trust::of_keys(vec![verifier_key(1)], digest);
    let elsewhere = Trust { pin: BundleDigest(Digest::sha256(b"x")), ..pinned.clone() };
    let text = format!("portcullis bundle v1\ntest\n7\n{digest}\n");
    assert_eq!(code(broken.clone(), &elsewhere), ReasonCode::PolicyUnsigned);
    assert_eq!(code(signed_over(broken.clone(), 2, &text), &elsewhere), ReasonCode::PolicyUntrustedKey);
    let other = text.replace(&digest.to_string(), &elsewhere.pin.to_string());
    assert_eq!(code(signed_over(broken.clone(), 1, &other), &elsewhere), ReasonCode::PolicySignatureInvalid);
    assert_eq!(code(signed_over(broken.clone(), 1, &text), &elsewhere), ReasonCode::PolicyPinMismatch);
    assert_eq!(code(signed_over(broken, 1, &text), &pinned), ReasonCode::PolicyCorrupt);
}

/// Incident 23: a bundle was served past its expiry.
#[test]
fn validity_is_exact_to_the_millisecond() {
    let bundle = bundle(files());
    let (from, until) = (1_767_225_600_000, 1_769_904_000_000);
    assert_eq!(bundle.validity(), (Millis(from), Millis(until)));
    for (now, expected) in [
        (0, Err(ReasonCode::PolicyNotYetValid)),
        (from - 1, Err(ReasonCode::PolicyNotYetValid)),
        (from, Ok(())),
        (until - 1, Ok(())),
        (until, Err(ReasonCode::PolicyExpired)),
        (u64::MAX, Err(ReasonCode::PolicyExpired)),
    ] {
        assert_eq!(bundle.validity_at(Millis(now)), expected, "{now}");
    }
}
