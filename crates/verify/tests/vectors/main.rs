//! The files of `vectors/` are what their cases say, and a verifier says of each what its manifest expects.

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::error::Error;
    use std::path::{Path, PathBuf};

    use portcullis_verify::{
        CheckpointError, LogKeys, PackError, ReceiptError, UnverifiedCheckpoint, UnverifiedPack,
        UnverifiedReceipt, VerifierKey,
    };
    use serde_json::Value;

    use super::cases::packs::digest_of;
    use super::cases::{Kind, cases, keys};

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
            "pack" => (|| -> Result<(), PackError> {
                UnverifiedPack::parse(bytes)?.verify(&LogKeys::from(keys.to_vec()), &digest_of).map(drop)
            })()
            .map_err(Into::into),
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
        }
        assert!(differ.is_empty(), "{}", differ.join("\n"));
        let tampered =
            manifest["cases"].as_array().unwrap().iter().filter(|case| !case["error"].is_null()).count();
        assert!(tampered >= 60, "{tampered} kinds of tampering");
        let kinds = ["receipt", "checkpoint", "pack"];
        let of =
            |kind: &str| seen.iter().filter(|file| file.starts_with(&format!("{kind}/tampered/"))).count();
        assert!(kinds.iter().all(|kind| of(kind) >= 30), "{:?}", kinds.map(of));
    }

    #[test]
    fn the_files_are_those_of_the_cases() {
        let known: Vec<String> = keys().iter().map(ToString::to_string).collect();
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder().join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["keys"], serde_json::json!(known));
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
