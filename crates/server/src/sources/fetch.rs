//! Fetching a bundle: bounded in bytes and time, without redirections, and into memory only.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_policy::{
    Artifact, BUNDLE_TYPE, MANIFEST_TYPE, MAX_ARCHIVE_BYTES, MAX_MANIFEST_BYTES, Snapshot,
};
use portcullis_protocol::Digest;
use portcullis_sdk::{Authorities, Endpoint, HttpClient, InvalidEndpoint, Received, Token};

use super::error::SourceError;
use super::location::{Reference, Remote, What};

/// How long one answer may take, from the connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest mark of a version that is sent back, in bytes.
const LONGEST_MARK: usize = 256;

/// By what a source is reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whose certificates are believed.
    pub authorities: Option<Authorities>,
    /// The credential: a bearer token, or `USER:PASSWORD`.
    pub token: Option<Token>,
}

/// A place across the network, and how it is reached.
#[derive(Debug)]
pub struct Source {
    remote: Remote,
    client: HttpClient,
    token: Option<Token>,
    patience: Duration,
}

/// What came.
#[derive(Debug)]
pub enum Fetched {
    /// What lay there before, by its mark, lies there still.
    Unchanged,
    /// A bundle's file, of which nothing is verified but its form.
    Bundle {
        /// It.
        snapshot: Box<Snapshot>,
        /// By what the source will know it again: an ETag, or the digest of a manifest.
        mark: Option<String>,
    },
}

impl Source {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`InvalidEndpoint`], if TLS is to be spoken and no authority is believed.
    pub fn new(remote: Remote, access: &Access) -> Result<Self, InvalidEndpoint> {
        let endpoint = Endpoint::parse(&remote.origin(), access.authorities.as_ref())?;
        let (client, token) = (HttpClient::new(endpoint, None), access.token.clone());
        Ok(Self { remote, client, token, patience: PATIENCE })
    }

    /// Where it is.
    #[must_use]
    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Fetches the bundle that lies there, unless its mark is the `known` one.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn fetch(&self, known: Option<&str>) -> Result<Fetched, SourceError> {
        match &self.remote.what {
            What::File(path) => self.file(path, known).await,
            What::Artifact { repository, reference } => self.artifact(repository, reference, known).await,
        }
    }

    async fn file(&self, path: &str, known: Option<&str>) -> Result<Fetched, SourceError> {
        let asked = known.map(|mark| ("if-none-match", mark));
        let answer = self.get(path, asked, MAX_ARCHIVE_BYTES).await?;
        match (answer.status(), known) {
            (200, _) => {
                let mark = answer.header("etag").filter(|mark| mark.len() <= LONGEST_MARK).map(str::to_owned);
                Ok(Fetched::Bundle { snapshot: Box::new(Snapshot::from_archive(answer.body())?), mark })
            }
            (304, Some(_)) => Ok(Fetched::Unchanged),
            (status, _) => Err(SourceError::of_status(status)),
        }
    }

    /// By the OCI distribution specification, "Pulling manifests" and "Pulling blobs".
    async fn artifact(
        &self,
        repository: &str,
        reference: &Reference,
        known: Option<&str>,
    ) -> Result<Fetched, SourceError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let manifest = self.get(&path, Some(("accept", MANIFEST_TYPE)), MAX_MANIFEST_BYTES).await?;
        let manifest = whole(&manifest)?;
        let found = Digest::sha256(manifest);
        if matches!(reference, Reference::Digest(wanted) if *wanted != found) {
            return Err(SourceError::Digest);
        }
        let mark = found.to_string();
        if known == Some(mark.as_str()) {
            return Ok(Fetched::Unchanged);
        }
        let artifact = Artifact::parse(manifest)?;
        let path = format!("/v2/{repository}/blobs/{}", artifact.digest);
        let blob = self.get(&path, Some(("accept", BUNDLE_TYPE)), artifact.size).await?;
        let blob = whole(&blob)?;
        if !artifact.is(blob) {
            return Err(SourceError::Digest);
        }
        Ok(Fetched::Bundle { snapshot: Box::new(Snapshot::from_archive(blob)?), mark: Some(mark) })
    }

    async fn get(
        &self,
        path: &str,
        header: Option<(&'static str, &str)>,
        longest: usize,
    ) -> Result<Received, SourceError> {
        let credential = self.token.as_ref().map(authorization);
        let credential = credential.as_ref().map(|token| ("authorization", token.reveal()));
        let headers: Vec<_> = header.into_iter().chain(credential).collect();
        Ok(self.client.fetch(path, &headers, longest, self.patience).await?)
    }
}

fn whole(answer: &Received) -> Result<&[u8], SourceError> {
    match answer.status() {
        200 => Ok(answer.body()),
        status => Err(SourceError::of_status(status)),
    }
}

/// The value of an `authorization` header. No bearer token has a colon in it (RFC 6750, section 2.1), so that what has one
/// is a user and a password (RFC 7617).
fn authorization(token: &Token) -> Token {
    let token = token.reveal();
    Token::new(&if token.contains(':') {
        format!("Basic {}", STANDARD.encode(token))
    } else {
        format!("Bearer {token}")
    })
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
