//! A signer that is a program of the operator's, started once for each signature.
//!
//! It gets the text to be signed on its standard input and answers with one signature line on its standard output.

use std::path::PathBuf;

use portcullis_ledger::SignError;
use portcullis_programs::{NoAnswer, UnfitProgram};
use portcullis_sdk::BootInstant;
use portcullis_verify::VerifierKey;

use super::{LONGEST_ANSWER, answered};
use crate::signing::attended::Device;

/// A program that signs.
pub(super) struct Program {
    program: portcullis_programs::Program,
    key: VerifierKey,
}

impl Program {
    pub(super) const fn new(path: PathBuf, arguments: Vec<String>, key: VerifierKey) -> Self {
        Self { program: portcullis_programs::Program { path, arguments }, key }
    }
}

impl Device for Program {
    fn watch(&mut self) -> Result<(), SignError> {
        self.program.fit().map_err(unfit)
    }

    fn sign(&mut self, text: &[u8], until: BootInstant) -> Result<[u8; 64], SignError> {
        let left = || until.since(BootInstant::now());
        let answer = self.program.run(text, LONGEST_ANSWER, &left).map_err(|no| match no {
            NoAnswer::Unfit(error) => unfit(error),
            NoAnswer::Unavailable(why) => SignError::Unavailable(why),
            NoAnswer::Late => SignError::Timeout,
            NoAnswer::TooLong | NoAnswer::Failed => SignError::Failed,
        })?;
        answered(&answer, &self.key)
    }
}

fn unfit(error: UnfitProgram) -> SignError {
    SignError::Unavailable(format!("the signer's program {error}"))
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
