//! The files of `vectors/` are what their cases say, and a verifier says of each what its manifest expects.

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::error::Error;
    use std::path::{Path, PathBuf};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use portcullis_verify::{
        CheckpointError, LogKeys, PackError, ReceiptError, UnverifiedCheckpoint, UnverifiedNote,
        UnverifiedPack, UnverifiedReceipt, VerifiedPack, VerifierKey,
    };
    use serde_json::Value;

    use super::cases::packs::{digest_of, root, statement, team};
    use super::cases::{Kind, ROOT, cases};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors")
    }

    fn chain(error: &(dyn Error + 'static)) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        text
    }

    fn pack(bytes: &[u8], keys: &[VerifierKey]) -> Result<VerifiedPack, PackError> {
        UnverifiedPack::parse(bytes)?.verify(&LogKeys::from(keys.to_vec()), &digest_of)
    }

    /// Whether two of the root's keys signed the only bundle of a pack, by what is documented of its form.
    fn is_vouched_for(pack: &VerifiedPack) -> bool {
        let (_, archive) = pack.bundles().first_key_value().unwrap();
        let archive: Value = serde_json::from_slice(archive).unwrap();
        let Some(signature) = archive["files"]["bundle.sig"].as_str() else { return false };
        let keys = team().map(|key| key.public);
        let note = UnverifiedNote::parse(&STANDARD.decode(signature).unwrap());
        let Ok(note) = note.and_then(|note| note.verify(&keys)) else { return false };
        let signers: BTreeSet<_> = note.signed_by().iter().map(VerifierKey::public_key).collect();
        signers.len() >= 2 && note.text() == statement(1)
    }

    fn verify(kind: &str, bytes: &[u8], keys: &[VerifierKey]) -> Option<String> {
        let verdict: Result<(), Box<dyn Error>> = match kind {
            "receipt" => (|| -> Result<(), ReceiptError> {
                UnverifiedReceipt::parse(bytes)?.verify(keys)?.record().map(drop)
            })()
            .map_err(Into::into),
            "checkpoint" => (|| -> Result<(), CheckpointError> {
                UnverifiedCheckpoint::parse(bytes)?.verify(keys).map(drop)
            })()
            .map_err(Into::into),
            "pack" => pack(bytes, keys).map(drop).map_err(Into::into),
            other => panic!("nobody verifies a {other}"),
        };
        verdict.err().map(|error| chain(error.as_ref()))
    }

    #[test]
    fn every_vector_verifies_or_is_refused_with_its_own_error() {
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder().join("manifest.json")).unwrap()).unwrap();
        let keys: Vec<VerifierKey> = manifest["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().parse().unwrap())
            .collect();
        let (mut seen, mut differ) = (BTreeSet::new(), Vec::new());
        for case in manifest["cases"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            assert!(seen.insert(file.to_owned()), "{file} is listed twice");
            let bytes = std::fs::read(folder().join(file)).unwrap();
            let said = verify(case["kind"].as_str().unwrap(), &bytes, &keys);
            if said.as_deref() != case["error"].as_str() {
                differ.push(format!("{file}: {said:?}, where the manifest has {}", case["error"]));
            }
            if let Some(signatures) = case.get("signatures") {
                let vouched = is_vouched_for(&pack(&bytes, &keys).unwrap());
                assert_eq!(vouched, signatures["error"].is_null(), "{file}");
            }
        }
        assert!(differ.is_empty(), "{}", differ.join("\n"));
        let refused = |place: &str| {
            let cases = manifest["cases"].as_array().unwrap().iter();
            cases.filter(|case| case.pointer(place).is_some_and(|error| !error.is_null())).count()
        };
        let (tampered, signatures) = (refused("/error"), refused("/signatures/error"));
        assert!(tampered >= 60 && signatures >= 10, "{tampered} and {signatures} kinds of tampering");
        let kinds = ["receipt", "checkpoint", "pack"];
        let of =
            |kind: &str| seen.iter().filter(|file| file.starts_with(&format!("{kind}/tampered/"))).count();
        assert!(kinds.iter().all(|kind| of(kind) >= 30), "{:?}", kinds.map(of));
    }

    #[test]
    fn the_files_are_those_of_the_cases() {
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder().join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest, super::cases::manifest(), "cargo run --example vectors");
        assert_eq!(std::fs::read_to_string(folder().join(ROOT)).unwrap(), root().0);
        let mut files = BTreeSet::new();
        for case in cases() {
            let path = super::cases::path(&case);
            assert_eq!(
                std::fs::read(folder().join(&path)).unwrap(),
                case.bytes,
                "{path}: cargo run --example vectors"
            );
            files.insert(path);
        }
        for kind in [Kind::Receipt, Kind::Checkpoint, Kind::Pack] {
            for verdict in ["valid", "tampered"] {
                for entry in std::fs::read_dir(folder().join(kind.as_str()).join(verdict)).unwrap() {
                    let path = format!(
                        "{}/{verdict}/{}",
                        kind.as_str(),
                        entry.unwrap().file_name().to_str().unwrap()
                    );
                    assert!(files.contains(&path), "{path} belongs to no case");
                }
            }
        }
    }
}
