//! Why nothing came, each with a code of its own. They are no reasons of decisions: without the pinned bundle those are
//! `policy.missing`.

use portcullis_policy::{BundleError, InvalidManifest};
use portcullis_sdk::Unanswered;

/// No bundle came from a source, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody could be asked.
    #[error("the source cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer came in time.
    #[error("the source gave no whole answer in time")]
    Timeout,
    /// What came is no HTTP.
    #[error("the source answers with something else than HTTP: {0}")]
    Malformed(String),
    /// The answer broke off.
    #[error("the source's answer broke off: {0}")]
    Truncated(String),
    /// The answer is longer than a bundle can be.
    #[error("the source's answer is longer than any bundle")]
    TooLarge,
    /// The source sends one elsewhere.
    #[error("the source answers with a redirection ({0}), and none is followed; name the place itself")]
    Redirect(u16),
    /// The source wants another credential, or one.
    #[error(
        "the source asks for a credential or does not take the one it got ({0}); see `policy.token_file`"
    )]
    Unauthorized(u16),
    /// It is not there.
    #[error("the source has no such thing (404)")]
    NotFound,
    /// Another status.
    #[error("the source answered with status {0}")]
    Status(u16),
    /// What a registry says of it is no manifest of a bundle.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// What came has another digest than was asked for.
    #[error("the source gave other bytes than the ones of the digest that was asked for")]
    Digest,
    /// What came is no bundle, or not one that would be believed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It could not be kept.
    #[error("the bundle cannot be kept: {0}")]
    Kept(String),
}

impl SourceError {
    /// Its code: `source.*`, or that of the bundle's error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "source.unreachable",
            Self::Timeout => "source.timeout",
            Self::Malformed(_) => "source.malformed",
            Self::Truncated(_) => "source.truncated",
            Self::TooLarge => "source.too_large",
            Self::Redirect(_) => "source.redirect",
            Self::Unauthorized(_) => "source.unauthorized",
            Self::NotFound => "source.not_found",
            Self::Status(_) => "source.status",
            Self::Manifest(_) => "source.manifest",
            Self::Digest => "source.digest",
            Self::Bundle(error) => error.code().as_str(),
            Self::Kept(_) => "source.not_kept",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Timeout | Self::Status(_) | Self::Truncated(_) => {
                "Look at the source and the network between; it is asked again by itself."
            }
            Self::Malformed(_) | Self::Manifest(_) | Self::NotFound | Self::TooLarge => {
                "See that the location is the one of a bundle's file, or of an artifact that holds one."
            }
            Self::Redirect(_) => "Name the place itself; no redirection is followed.",
            Self::Unauthorized(_) => "Put a credential that the source takes into `policy.token_file`.",
            Self::Digest => "Ask who keeps the source: it gives other bytes than it says.",
            Self::Bundle(error) => error.remedy(),
            Self::Kept(_) => "Look at the data directory's disk.",
        }
    }

    /// What an answer's status says, other than that what was asked for comes with it.
    pub(super) const fn of_status(status: u16) -> Self {
        match status {
            300..=303 | 305..=399 => Self::Redirect(status),
            401 | 403 => Self::Unauthorized(status),
            404 => Self::NotFound,
            other => Self::Status(other),
        }
    }
}

impl From<Unanswered> for SourceError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(detail) => Self::Unreachable(detail),
            Unanswered::Late => Self::Timeout,
            Unanswered::NotHttp(detail) => Self::Malformed(detail),
            Unanswered::TooLong => Self::TooLarge,
            Unanswered::BrokenOff(detail) => Self::Truncated(detail),
        }
    }
}
