//! Where bundles come from, other than the disk: a web server or a registry. What is fetched is bytes from strangers; who
//! fetches it says what it must be. Nothing here puts a bundle in force.

mod error;
mod fetch;
mod follow;
mod location;

pub use error::SourceError;
pub use fetch::{Access, Fetched, Source};
pub(crate) use follow::Following;
pub(crate) use location::named;
pub use location::{InvalidLocation, Location, Remote};
