//! A spool: attempts that were refused while they could not be put on record, kept out of the log's band until they
//! can. Bounded, durable before anybody is told that an attempt is kept, and on a path of its own.
//!
//! A spool is not evidence. Nothing signs it; whoever can write its file can add to it and take from it. What comes of
//! it enters the log marked late, as what its keeper says, and changes nothing.
//!
//! [`Spool`] does its work on a thread of its own: a disk that hangs holds nobody up beyond a deadline, and what is not
//! known to be durable by then is not called kept.

mod file;
mod frame;
mod keeper;
mod set_aside;

pub use file::{Bounds, SpoolError};
pub use frame::is_short;
pub use keeper::{Spool, SpoolStatus};
