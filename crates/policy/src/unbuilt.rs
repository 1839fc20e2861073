//! Sections of `bundle.toml` that this version knows by name and does not act on. They are refused, so that nobody believes
//! them in force.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer};

/// A section that is always refused.
pub(crate) struct Unbuilt<T>(PhantomData<T>);

/// What to say of a section.
pub(crate) trait Why {
    const WHY: &'static str;
}

/// `[[exceptions]]`: what governance would let proceed without a dependency.
pub(crate) struct Exceptions;

impl Why for Exceptions {
    const WHY: &'static str = "`exceptions` are not built into this version: what they could cover (`fact.stale`, \
        `approval.unavailable`) does not occur in it, and nothing else can be excepted";
}

/// `[facts.NAME]`: where groups and attributes would come from besides the bundle.
pub(crate) struct FactSources;

impl Why for FactSources {
    const WHY: &'static str = "sources of `facts` are not built into this version: groups and attributes come from \
        entities.json, everything else from the request";
}

impl<'de, T: Why> Deserialize<'de> for Unbuilt<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(T::WHY))
    }
}
