//! A bundle's bytes, read once. Everything after works on them; no file is opened again.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::{BundleDigest, BundleRef, Digest, Domain, Millis, canonical};
use portcullis_verify::note::signature_line;
use portcullis_verify::{UnverifiedNote, VerifierKey};
use serde::Serialize;

use crate::archive;
use crate::authority::Authority;
use crate::bundle::Vouched;
use crate::compile::{CheckReport, Compiled};
use crate::disk;
use crate::error::{BundleError, Fault, Missing, SignError};
use crate::files::{self, Files};
use crate::letting_go::Shared;
use crate::manifest::Manifest;
use crate::proof::{self, Comparison, ProofReport, Prover, Side};
use crate::schema;
use crate::signature::{Statement, Trust};
use crate::trial::{self, TrialReport};
use crate::{Bundle, MANIFEST_FILE, SIGNATURE_FILE, clock};

/// So many policies are freed in less time than it takes to begin a thread that does.
const FEW: usize = 64;

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
    /// Reads a bundle's directory, every file once, symlinks in it not followed, or a bundle's file
    /// ([`Self::to_bytes`]); the whole as it was at one moment.
    ///
    /// # Errors
    /// [`BundleError::Missing`] if the directory, its `bundle.toml` or a file cannot be read,
    /// [`BundleError::Corrupt`] if it holds what a bundle does not, is over the bounds, or changed meanwhile.
    pub fn read(place: &Path) -> Result<Self, BundleError> {
        let (files, _) = disk::read(place, clock::now(), None)?;
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

    /// The content of its files by their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The bundle as one file, with its signatures if it has any. Equal content is equal bytes, on any machine; what
    /// they are is in docs/bundle-format.md.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if the content has no such form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        archive::write(&self.files)
    }

    /// The bundle with this signature instead of the one it has, if any.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub fn with_signature(mut self, signature: Vec<u8>) -> Result<Self, BundleError> {
        self.files.insert(SIGNATURE_FILE.to_owned(), signature);
        Self::from_files(self.files)
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

    /// The bytes of `bundle.sig`: a C2SP signed note of [`Self::statement`], with the signatures of the same statement
    /// that are there already. What was signed of another content is left out.
    ///
    /// # Errors
    /// [`SignError`], if there is no statement or `key_name` is no key name.
    pub fn sign(&self, key: &SigningKey, key_name: &str) -> Result<Vec<u8>, SignError> {
        let verifier = VerifierKey::ed25519(key_name, key.verifying_key().to_bytes())?;
        let text = self.statement()?;
        let line = signature_line(&verifier, &key.sign(text.as_bytes()).to_bytes());
        let known = self.signature().filter(|note| UnverifiedNote::parse(note).is_ok());
        let before = known.and_then(|note| note.strip_prefix(format!("{text}\n").as_bytes()));
        let mut note = format!("{text}\n").into_bytes();
        note.extend_from_slice(before.map_or(&[][..], |lines| lines));
        // Ed25519 signs the same text the same way: a key that signs again adds nothing.
        if !note.split_inclusive(|byte| *byte == b'\n').any(|known| known == line.as_bytes()) {
            note.extend_from_slice(line.as_bytes());
        }
        Ok(note)
    }

    /// The only way to a [`Bundle`]: signed (else `policy.unsigned` or `policy.signature_empty`) by a trusted key (`policy.untrusted_key`), by as
    /// many of them as it takes (`policy.threshold`), verifying over this very name, version and digest
    /// (`policy.signature_invalid`), no older than what was in force (`policy.rolled_back`), pinned
    /// (`policy.pin_mismatch`), and only then parsed and validated (`policy.corrupt`).
    ///
    /// # Errors
    /// The first of these, in this order. That name and version are the signed ones shows when they are parsed.
    pub fn verify(self, trust: &Trust) -> Result<Bundle, BundleError> {
        self.trusted(trust.clone())?.compile()
    }

    /// The part of [`Self::verify`] that comes before anything in the bundle is parsed.
    pub(crate) fn trusted(self, trust: Trust) -> Result<Trusted, BundleError> {
        let vouched = Statement::verify(self.signature(), self.digest, &trust)?;
        Ok(Trusted { snapshot: self, vouched, trust })
    }

    /// Who vouches for this bundle by its signatures, and for which name and version: enough keys of an authority. It is
    /// no [`Bundle`] for that: whether it is the pinned one, and what is in it, was not asked.
    ///
    /// # Errors
    /// Of those of [`Self::verify`] the ones about signatures.
    pub fn signed_by(&self, authority: &Authority) -> Result<(BundleRef, Vec<VerifierKey>), BundleError> {
        let (statement, signers) = Statement::vouched(self.signature(), self.digest, authority)?;
        let Statement { name, version, digest } = statement;
        Ok((BundleRef { name, version, digest }, signers))
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

    /// From when on it may decide, and from when on not any more, by its manifest alone.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] if `bundle.toml` does not parse.
    pub fn validity(&self) -> Result<(Millis, Millis), BundleError> {
        let manifest = Manifest::parse(&self.files)?;
        Ok((manifest.valid_from, manifest.valid_until))
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

/// A bundle that is signed, pinned and no older than what was in force, and whose content nobody has looked into yet.
#[derive(Debug)]
pub(crate) struct Trusted {
    snapshot: Snapshot,
    vouched: (Statement, Vec<VerifierKey>),
    trust: Trust,
}

impl Trusted {
    /// Parses and validates it.
    pub(crate) fn compile(&self) -> Result<Bundle, BundleError> {
        let compiled = Compiled::new(&self.snapshot.files)?;
        let is_large = compiled.ids.len() > FEW;
        self.bundle(Shared::new(compiled, is_large))
    }

    /// Whether an earlier bundle has the same content, which its digest says.
    pub(crate) fn is_content_of(&self, earlier: &Bundle) -> bool {
        earlier.reference.digest == self.snapshot.digest
    }

    /// As [`Self::compile`], by what was parsed and validated for an earlier bundle of the same content.
    pub(crate) fn compiled_as(&self, earlier: &Bundle) -> Result<Bundle, BundleError> {
        if self.is_content_of(earlier) { self.bundle(earlier.compiled.clone()) } else { self.compile() }
    }

    fn bundle(&self, compiled: Shared<Compiled>) -> Result<Bundle, BundleError> {
        let (statement, signers) = self.vouched.clone();
        statement.agree(&compiled.manifest.name, compiled.manifest.version)?;
        let Statement { name, version, digest } = statement;
        let archive = archive::write(&self.snapshot.files)?;
        let reference = BundleRef { name, version, digest };
        Ok(Bundle::new(reference, compiled, archive, Vouched { by: self.trust.authority.clone(), signers }))
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
