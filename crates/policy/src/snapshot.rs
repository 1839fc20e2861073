//! A bundle's bytes, read once. Everything after works on them; no file is opened again.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::{BundleDigest, BundleRef, Digest, Domain, canonical};
use portcullis_verify::VerifierKey;
use portcullis_verify::note::signature_line;
use serde::Serialize;

use crate::archive;
use crate::compile::{CheckReport, Compiled};
use crate::disk;
use crate::error::{BundleError, Fault, Missing, SignError};
use crate::files::{self, Files};
use crate::manifest::Manifest;
use crate::proof::{self, Comparison, ProofReport, Prover, Side};
use crate::schema;
use crate::signature::{Statement, Trust};
use crate::trial::{self, TrialReport};
use crate::{Bundle, MANIFEST_FILE, SIGNATURE_FILE, clock};

/// The files of a bundle in memory, unverified: they can be inspected, signed or verified, and decide nothing.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) files: Files,
    digest: BundleDigest,
}

/// What a bundle's digest is of: the canonical JSON of this.
#[derive(Serialize)]
struct Listing<'a> {
    v: u8,
    files: Vec<ListedFile<'a>>,
}

#[derive(Serialize)]
struct ListedFile<'a> {
    path: &'a str,
    sha256: String,
    size: usize,
}

impl Snapshot {
    /// Reads a bundle's directory: every file once, symlinks not followed, and the whole as it was at one moment.
    ///
    /// # Errors
    /// [`BundleError::Missing`] if the directory, its `bundle.toml` or a file cannot be read,
    /// [`BundleError::Corrupt`] if it holds what a bundle does not, is over the bounds, or changed meanwhile.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let (files, _) = disk::read(dir, clock::now())?;
        Self::from_files(files)
    }

    /// A bundle from files by their path, such as `policies/main.cedar`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_files(files: Files) -> Result<Self, BundleError> {
        if !files.contains_key(MANIFEST_FILE) {
            let cause = "there is no such file".to_owned();
            return Err(BundleError::Missing(Missing { path: PathBuf::from(MANIFEST_FILE), cause }));
        }
        files::admit_all(&files)?;
        let digest = digest(&files)?;
        Ok(Self { files, digest })
    }

    /// SHA-256, in [`Domain::Bundle`], of the canonical JSON of
    /// `{"v":1,"files":[{"path":…,"sha256":…,"size":…}, …]}`: every file but `bundle.sig`, sorted by path.
    #[must_use]
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// A digest of every byte, the signature's too: equal contents verify equally.
    pub(crate) fn contents(&self) -> Digest {
        let signature = self.signature();
        let present: &[u8] = if signature.is_some() { b"signed" } else { b"unsigned" };
        let signature = signature.map_or(&[][..], |bytes| bytes);
        Digest::of(Domain::Bundle, &[self.digest.0.as_bytes(), present, signature])
    }

    fn signature(&self) -> Option<&[u8]> {
        self.files.get(SIGNATURE_FILE).map(Vec::as_slice)
    }

    /// The text that a signature of this bundle is of:
    /// `portcullis bundle v1`, name, version and digest, a line each. For signers that keep their key elsewhere.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if `bundle.toml` does not say name and version.
    pub fn statement(&self) -> Result<String, BundleError> {
        let manifest = Manifest::parse(&self.files)?;
        let (name, version) = (manifest.name, manifest.version);
        Ok(Statement { name, version, digest: self.digest }.to_text())
    }

    /// The bytes of `bundle.sig`: a C2SP signed note of [`Self::statement`].
    ///
    /// # Errors
    /// [`SignError`], if there is no statement or `key_name` is no key name.
    pub fn sign(&self, key: &SigningKey, key_name: &str) -> Result<Vec<u8>, SignError> {
        let verifier = VerifierKey::ed25519(key_name, key.verifying_key().to_bytes())?;
        let text = self.statement()?;
        let signature = key.sign(text.as_bytes()).to_bytes();
        Ok(format!("{text}\n{}", signature_line(&verifier, &signature)).into_bytes())
    }

    /// The only way to a [`Bundle`]: signed (else `policy.unsigned`) by a trusted key (`policy.untrusted_key`),
    /// verifying over this very name, version and digest (`policy.signature_invalid`), pinned
    /// (`policy.pin_mismatch`), and only then parsed and validated (`policy.corrupt`).
    ///
    /// # Errors
    /// The first of these, in this order. That name and version are the signed ones shows when they are parsed.
    pub fn verify(self, trust: &Trust) -> Result<Bundle, BundleError> {
        let statement = Statement::verify(self.signature(), self.digest, trust)?;
        let compiled = Compiled::new(&self.files)?;
        statement.agree(&compiled.manifest.name, compiled.manifest.version)?;
        let Statement { name, version, digest } = statement;
        let archive = archive::write(&self.files)?;
        Ok(Bundle::new(BundleRef { name, version, digest }, compiled, archive))
    }

    /// Tries the bundle with the cases in `tests/*.toml`, and the cases with mutants of its policies. Like
    /// [`Self::check`] it asks for no signature and yields nothing that can decide.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect.
    pub fn test(&self) -> Result<TrialReport, BundleError> {
        trial::run(&Compiled::new(&self.files)?)
    }

    /// Has a solver prove what is to hold of the bundle. Like [`Self::check`] it asks for no signature and yields
    /// nothing that can decide.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect. That something is not proved is no error: the report says so.
    pub fn prove(&self, prover: &Prover<'_>) -> Result<ProofReport, BundleError> {
        Ok(proof::prove(&Compiled::new(&self.files)?, self.digest, prover))
    }

    /// Has a solver say in which request environments this bundle's policies grant more than those of an `old` one, or
    /// less, each with a request that shows it. About what is not policy (surfaces, entities, limits) it says nothing.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect of either. That something is not known is no error: the comparison
    /// says so.
    pub fn compare(&self, old: &Self, prover: &Prover<'_>) -> Result<Comparison, BundleError> {
        let (before, after) = (Compiled::new(&old.files)?, Compiled::new(&self.files)?);
        let old_side = Side { content: &before, digest: old.digest, schema: schema::to_json(&old.files)? };
        let new_side = Side { content: &after, digest: self.digest, schema: schema::to_json(&self.files)? };
        Ok(proof::compare(&old_side, &new_side, prover))
    }

    /// Parses and validates everything but the signature, as [`Self::verify`] does, and yields nothing that can
    /// decide.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect.
    pub fn check(&self) -> Result<CheckReport, BundleError> {
        Ok(Compiled::new(&self.files)?.report(self.digest))
    }
}

fn digest(files: &Files) -> Result<BundleDigest, BundleError> {
    let covered = files.iter().filter(|(path, _)| *path != SIGNATURE_FILE);
    let listed = covered.map(|(path, bytes)| ListedFile {
        path,
        sha256: hex::encode(Digest::sha256(bytes).as_bytes()),
        size: bytes.len(),
    });
    let listing = Listing { v: 1, files: listed.collect() };
    let bytes = canonical::to_bytes(&listing).map_err(|_| BundleError::corrupt("", Fault::NoDigest))?;
    Ok(BundleDigest(Digest::of(Domain::Bundle, &[&bytes])))
}
