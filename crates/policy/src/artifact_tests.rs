use serde_json::{Value, json};

use super::*;

fn manifest() -> Value {
    serde_json::from_slice(&Artifact::of(b"a bundle").to_manifest().unwrap()).unwrap()
}

#[test]
fn a_manifest_names_the_file_it_was_made_of() {
    let artifact = Artifact::of(b"a bundle");
    assert_eq!(Artifact::parse(&artifact.to_manifest().unwrap()), Ok(artifact));
    assert!(artifact.is(b"a bundle") && !artifact.is(b"a bundlE") && !artifact.is(b"a bundle "));
    // What others add is nobody's business here.
    let mut annotated = manifest();
    annotated["annotations"] = json!({ "org.opencontainers.image.created": "2026-01-01T00:00:00Z" });
    annotated.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(Artifact::parse(annotated.to_string().as_bytes()), Ok(artifact));
}

#[test]
fn what_is_no_manifest_of_one_bundle_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut changed = manifest();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string()
    };
    let layer = manifest()["layers"][0].clone();
    let text = manifest().to_string();
    for bad in [
        String::new(),
        "{}".to_owned(),
        text.replacen("\"schemaVersion\":2", "\"schemaVersion\":2,\"schemaVersion\":2", 1),
        json!({ "schemaVersion": 2, "manifests": [layer] }).to_string(),
        with("/schemaVersion", 1.into()),
        with("/mediaType", "application/vnd.oci.image.index.v1+json".into()),
        with("/artifactType", "application/vnd.example".into()),
        with("/artifactType", Value::Null),
        with("/layers", json!([])),
        with("/layers", json!([layer, layer])),
        with("/layers/0/mediaType", "application/vnd.oci.image.layer.v1.tar+gzip".into()),
        with("/layers/0/digest", format!("sha512:{}", "0".repeat(128)).into()),
        with("/layers/0/digest", "sha256:../../../etc/passwd".into()),
        with("/layers/0/size", (MAX_ARCHIVE_BYTES + 1).into()),
        with("/layers/0/size", (-1).into()),
        with("/layers/0/size", 1.5.into()),
        format!("{text}{}", " ".repeat(MAX_MANIFEST_BYTES)),
        format!("{text}{text}"),
    ] {
        assert!(Artifact::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// Found by fuzzing: bytes that are no text, in a member that nobody reads.
#[test]
fn a_manifest_that_is_no_text_in_what_is_skipped_was_accepted() {
    let text = Artifact::of(b"a bundle").to_manifest().unwrap();
    for skipped in [&b"\"}ediaType\":\"\xdf\""[..], b"\"a\":\"\\ud800\"", b"\"a\":{\"b\":1,\"b\":2}"] {
        let bytes = [b"{", skipped, b",", &text[1..]].concat();
        assert!(Artifact::parse(&bytes).is_err(), "{}", String::from_utf8_lossy(&bytes));
    }
}
