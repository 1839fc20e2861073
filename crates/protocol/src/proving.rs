//! What the log says of proofs: which bundles demand them, and by what report one was proved before it was activated.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::ids::BundleDigest;
use crate::reason::ReasonCode;

const DEMAND: &str = "proofs";
const PINNED: &str = "pinned_proofs";
const REPORT: &str = "proof";
const ENGINE: &str = "proof_engine";
const COMPILER: &str = "proof_compiler";
const SOLVER: &str = "proof_solver";
const STATEMENTS: &str = "proof_statements";

/// What a bundle says of proofs, in `[proofs]` of its `bundle.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofDemand {
    /// Nothing: it has no such section.
    #[default]
    Unsaid,
    /// `required = false`: the one after it need not be proved.
    Waived,
    /// `required = true`: it decides only if it was proved, and so does the one after it.
    Required,
}

impl ProofDemand {
    /// As records say it; `None` where nothing is said.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unsaid => None,
            Self::Waived => Some("waived"),
            Self::Required => Some("required"),
        }
    }

    /// What a record says. A word that is not known is taken for the one that asks most.
    #[must_use]
    pub fn of(word: Option<&String>) -> Self {
        match word.map(String::as_str) {
            None => Self::Unsaid,
            Some("waived") => Self::Waived,
            Some(_) => Self::Required,
        }
    }
}

/// A proof that every statement of a bundle holds, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRef {
    /// SHA-256 of the report, as it is kept.
    pub report: Digest,
    /// The policy engine and its version.
    pub engine: String,
    /// What made questions of policies, and its version.
    pub compiler: String,
    /// What answered, as it names itself.
    pub solver: String,
    /// How many statements were proved.
    pub statements: u64,
}

/// What was found out about a bundle's proofs before it was activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetted {
    /// The bundle that this is about.
    pub bundle: BundleDigest,
    /// What the bundle says.
    pub demand: ProofDemand,
    /// Its proof, if one was made.
    pub proof: Option<ProofRef>,
    /// What the pinned bundle says, where none was activated before. One that demands a proof never comes into force by its
    /// pin, so that nothing else on record tells of it.
    pub pinned: ProofDemand,
}

impl Vetted {
    /// As the record of the activation says it.
    #[must_use]
    pub fn detail(&self) -> BTreeMap<String, String> {
        let said = [(DEMAND, self.demand), (PINNED, self.pinned)];
        let said =
            said.into_iter().filter_map(|(key, says)| says.as_str().map(|word| (key, word.to_owned())));
        let proof = self.proof.as_ref().map(|proof| {
            [
                (REPORT, proof.report.to_string()),
                (ENGINE, proof.engine.clone()),
                (COMPILER, proof.compiler.clone()),
                (SOLVER, proof.solver.clone()),
                (STATEMENTS, proof.statements.to_string()),
            ]
        });
        let all = said.chain(proof.into_iter().flatten());
        all.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What a record's detail says of the bundle that it activates. A proof of which a part is missing is none.
    #[must_use]
    pub fn of_detail(bundle: BundleDigest, detail: &BTreeMap<String, String>) -> Self {
        let says = |key| ProofDemand::of(detail.get(key));
        Self { bundle, demand: says(DEMAND), proof: proof_of(detail), pinned: says(PINNED) }
    }
}

fn proof_of(detail: &BTreeMap<String, String>) -> Option<ProofRef> {
    let text = |key| detail.get(key).cloned();
    match (detail.get(REPORT)?.parse(), detail.get(STATEMENTS)?.parse()) {
        (Ok(report), Ok(statements)) => Some(ProofRef {
            report,
            engine: text(ENGINE)?,
            compiler: text(COMPILER)?,
            solver: text(SOLVER)?,
            statements,
        }),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

/// Whether a bundle may follow one that says `before` of proofs, and the pinned one: a demand ends only in a proved bundle
/// that says so.
///
/// # Errors
/// [`ReasonCode::PolicyProofsDropped`] if it passes a demand over in silence, [`ReasonCode::PolicyUnproved`] if either
/// of the two demands a proof and there is none.
pub fn may_follow(before: ProofDemand, next: &Vetted) -> Result<(), ReasonCode> {
    let before = before.max(next.pinned);
    if before == ProofDemand::Required && next.demand == ProofDemand::Unsaid {
        return Err(ReasonCode::PolicyProofsDropped);
    }
    let demanded = before == ProofDemand::Required || next.demand == ProofDemand::Required;
    if demanded && next.proof.is_none() { Err(ReasonCode::PolicyUnproved) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vetted(demand: ProofDemand, proved: bool) -> Vetted {
        let proof = proved.then(|| ProofRef {
            report: Digest::sha256(b"a report"),
            engine: "engine 1".into(),
            compiler: "compiler 2".into(),
            solver: "solver 3".into(),
            statements: 4,
        });
        let bundle = BundleDigest(Digest::sha256(b"a bundle"));
        Vetted { bundle, demand, proof, pinned: ProofDemand::Unsaid }
    }

    #[test]
    fn a_demand_ends_only_in_a_proved_bundle_that_says_so() {
        use ProofDemand::{Required, Unsaid, Waived};
        let (unproved, dropped) = (Err(ReasonCode::PolicyUnproved), Err(ReasonCode::PolicyProofsDropped));
        for (before, next, without, with) in [
            (Unsaid, Unsaid, Ok(()), Ok(())),
            (Unsaid, Waived, Ok(()), Ok(())),
            (Unsaid, Required, unproved, Ok(())),
            (Waived, Unsaid, Ok(()), Ok(())),
            (Waived, Waived, Ok(()), Ok(())),
            (Waived, Required, unproved, Ok(())),
            (Required, Unsaid, dropped, dropped),
            (Required, Waived, unproved, Ok(())),
            (Required, Required, unproved, Ok(())),
        ] {
            let found = [false, true].map(|proved| may_follow(before, &vetted(next, proved)));
            assert_eq!(found, [without, with], "{before:?} then {next:?}");
            // What the pinned bundle says binds like what an activated one said.
            let pinned = [false, true].map(|proved| Vetted { pinned: before, ..vetted(next, proved) });
            let found = pinned.map(|vetted| may_follow(Unsaid, &vetted));
            assert_eq!(found, [without, with], "pinned {before:?} then {next:?}");
        }
    }

    #[test]
    fn a_records_detail_says_the_whole_of_a_proof_or_none() {
        for demand in [ProofDemand::Unsaid, ProofDemand::Waived, ProofDemand::Required] {
            for proved in [false, true] {
                for pinned in [ProofDemand::Unsaid, ProofDemand::Waived, ProofDemand::Required] {
                    let one = Vetted { pinned, ..vetted(demand, proved) };
                    assert_eq!(Vetted::of_detail(one.bundle, &one.detail()), one);
                }
            }
        }
        let whole = vetted(ProofDemand::Required, true);
        for part in [REPORT, ENGINE, COMPILER, SOLVER, STATEMENTS] {
            let mut detail = whole.detail();
            detail.remove(part);
            assert_eq!(Vetted::of_detail(whole.bundle, &detail).proof, None, "{part}");
        }
        assert_eq!(ProofDemand::of(Some(&"perhaps".to_owned())), ProofDemand::Required);
    }
}
