//! Programs of the operator's that are run and believed: whether one is fit for that, and one run of it, bounded in time and in what
//! it answers.

mod fit;
mod run;
mod way;

pub use fit::{UnfitProgram, fit_program};
pub use run::{NoAnswer, Program};
