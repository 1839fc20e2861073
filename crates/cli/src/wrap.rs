//! Putting the gate before the servers of a client's configuration, and taking it out again.
//!
//! The file is read with places, and only the words that start a server are written anew: comments and form stay.

mod diff;
mod document;
mod error;
mod file;
mod format;
mod found;
mod gate;
mod plan;
mod remote;
mod tokens;
mod whose;

pub(crate) use diff::shown;
pub(crate) use document::{Document, Kind};
pub(crate) use error::{WrapError, one_line, quote};
pub(crate) use file::{Failed, Found};
pub(crate) use format::Format;
pub(crate) use found::{Listed, State, all};
pub(crate) use gate::Gate;
pub(crate) use plan::{Asked, Became, Plan, Server, unwrapped, wrap, wrapped, wrapped_again};
pub(crate) use tokens::{TokenFile, Tokens, forget, forget_untold};
