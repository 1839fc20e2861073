//! A proof's report as it is kept: one form, so that its digest names it.

use portcullis_protocol::{Digest, ProofRef, canonical};
use serde::Serialize;

use super::{Proof, ProofReport};

/// Version of the form.
const FORM: u8 = 1;

#[derive(Serialize)]
struct Document<'a> {
    v: u8,
    report: &'a ProofReport,
}

/// The report of a bundle of which every statement is proved. Only [`ProofReport::kept`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptProof {
    /// Canonical JSON (RFC 8785).
    bytes: Vec<u8>,
    named: ProofRef,
}

impl KeptProof {
    /// What is kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How records name it.
    #[must_use]
    pub const fn named(&self) -> &ProofRef {
        &self.named
    }
}

impl ProofReport {
    /// The report as it is kept; `None` unless every statement is proved.
    #[must_use]
    pub fn kept(&self) -> Option<KeptProof> {
        let solver = self.solver.clone().filter(|_| self.proved())?;
        let bytes = canonical::to_bytes(&Document { v: FORM, report: self }).ok()?; // tidy: allow None is no proof
        let (engine, compiler) = (self.engine.to_owned(), self.compiler.to_owned());
        let statements = u64::try_from(self.statements.len()).ok()?; // tidy: allow as above
        let named = ProofRef { report: Digest::sha256(&bytes), engine, compiler, solver, statements };
        Some(KeptProof { bytes, named })
    }

    /// The statements that are not proved, each in one line with why.
    #[must_use]
    pub fn unproved(&self) -> Vec<String> {
        let told = self.statements.iter().filter_map(|statement| {
            let why = match &statement.proof {
                Proof::Proved => return None,
                Proof::Refuted { environment, counterexample } => format!(
                    "refuted for {environment}, for instance by {} with context {}",
                    counterexample.principal, counterexample.context
                ),
                Proof::NotProved { cause } => format!("not known, because {cause}"),
            };
            Some(format!("{} ({}): {why}", statement.id, statement.sentence))
        });
        told.collect()
    }
}
