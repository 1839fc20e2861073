//! The list itself, in the order of preconditions, in three parts. `api/reason-codes.md` is generated from it.

use super::{Decision, Precondition};

#[macro_use]
mod arbiter;
#[macro_use]
mod governed;
#[macro_use]
mod decided;

// Each part adds its codes to those before it and hands them on, the last one to `reason_codes`.
arbiter_codes! {}
