//! What a registry holds of a bundle: a manifest of the OCI image specification (1.1) with one layer, the bundle's file.
//! It comes from the network and vouches for nothing: it says where the file is, and what arrives is then judged like any
//! other file.

use portcullis_protocol::{Digest, Limits, json};
use serde::{Deserialize, Serialize};

use crate::archive::MAX_ARCHIVE_BYTES;

/// The media type of a bundle's file, and the type of the artifact that carries it.
pub const BUNDLE_TYPE: &str = "application/vnd.portcullis.bundle.v1+json";
/// The media type of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// What is read as a manifest at all.
const LIMITS: Limits = Limits { bytes: MAX_MANIFEST_BYTES, ..Limits::REQUEST };
/// The media type of a configuration that there is none of (OCI image specification 1.1, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The content of that.
pub const EMPTY: &[u8] = b"{}";

/// The file that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// SHA-256 of the file's bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: usize,
}

/// Bytes that are no manifest of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the manifest of a bundle: {0}")]
pub struct InvalidManifest(&'static str);

/// What is read of a manifest; annotations and the like are nobody's business here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl Artifact {
    /// What a registry is to hold of a bundle's file.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        Self { digest: Digest::sha256(file), size: file.len() }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`InvalidManifest`]: also an index of several manifests, another artifact, more than one layer, a digest that is no
    /// SHA-256, and a file larger than any bundle's.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let invalid = InvalidManifest;
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(invalid("it has more than 64 KiB"));
        }
        let manifest: Manifest = json::read(bytes, LIMITS).map_err(|_| {
            invalid("it is no image manifest, or an index of several, or names something twice")
        })?;
        if manifest.schema_version != 2 || manifest.media_type.is_some_and(|kind| kind != MANIFEST_TYPE) {
            return Err(invalid("it is of another kind or version than OCI's image manifest"));
        }
        if manifest.artifact_type.as_deref() != Some(BUNDLE_TYPE) {
            return Err(invalid("its artifact type is not that of a bundle"));
        }
        let [layer] = manifest.layers.as_slice() else {
            return Err(invalid("it has not exactly one layer"));
        };
        if layer.media_type != BUNDLE_TYPE {
            return Err(invalid("its layer is of another type than a bundle's file"));
        }
        let digest = layer.digest.parse().map_err(|_| invalid("the digest of its layer is no SHA-256"))?;
        let size = usize::try_from(layer.size).ok().filter(|size| *size <= MAX_ARCHIVE_BYTES); // tidy: allow None is too large
        let size = size.ok_or(invalid("its layer is larger than any bundle"))?;
        Ok(Self { digest, size })
    }

    /// Whether these are the bytes that the manifest names.
    #[must_use]
    pub fn is(&self, file: &[u8]) -> bool {
        *self == Self::of(file)
    }

    /// The manifest, as it is pushed: the form of OCI's own guidance for artifacts.
    ///
    /// # Errors
    /// [`serde_json::Error`], which plain strings and numbers give none of.
    pub fn to_manifest(&self) -> Result<Vec<u8>, serde_json::Error> {
        let descriptor = |kind: &str, artifact: Self| Descriptor {
            media_type: kind.to_owned(),
            digest: artifact.digest.to_string(),
            size: u64::try_from(artifact.size).map_or(u64::MAX, |size| size),
        };
        serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.to_owned()),
            artifact_type: Some(BUNDLE_TYPE.to_owned()),
            config: descriptor(EMPTY_TYPE, Self::of(EMPTY)),
            layers: vec![descriptor(BUNDLE_TYPE, *self)],
        })
    }
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
