//! For whom an agent may act: what its credential says of whom a request names.

use std::collections::BTreeSet;

use portcullis_protocol::PrincipalId;
use portcullis_protocol::facts::PrincipalFact;

/// For whom a credential lets its agent act. What a request says of that is a claim, and this is what it is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mandate(Held);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// For these; for nobody, if there is none.
    Listed(BTreeSet<PrincipalId>),
    /// What came of it when it was looked at: of a decision that is made again, without the credential.
    Recorded(PrincipalFact),
}

impl Mandate {
    /// For nobody but itself.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(Held::Listed(BTreeSet::new()))
    }

    /// For one of these each time, and never for itself alone; as [`Self::nobody`] if there is none.
    #[must_use]
    pub const fn of(principals: BTreeSet<PrincipalId>) -> Self {
        Self(Held::Listed(principals))
    }

    pub(crate) const fn recorded(fact: PrincipalFact) -> Self {
        Self(Held::Recorded(fact))
    }

    /// What the credential says of whom a request names.
    pub(crate) fn fact(&self, named: Option<&PrincipalId>) -> PrincipalFact {
        match (&self.0, named) {
            (Held::Recorded(fact), _) => *fact,
            (Held::Listed(listed), None) if listed.is_empty() => PrincipalFact::Nobody,
            (Held::Listed(listed), Some(named)) if listed.contains(named) => PrincipalFact::Admitted,
            (Held::Listed(_), Some(_) | None) => PrincipalFact::NotAdmitted,
        }
    }

    /// Whom the agent acts for, if this lets it.
    #[must_use]
    pub fn behind<'a>(&self, named: Option<&'a PrincipalId>) -> Option<&'a PrincipalId> {
        named.filter(|_| self.fact(named) == PrincipalFact::Admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whom_a_credential_lists_is_admitted_and_one_that_lists_some_admits_nobody_else_nor_no_one() {
        use PrincipalFact::{Admitted, Nobody, NotAdmitted};
        let [maya, zoe]: [PrincipalId; 2] = ["maya", "zoe"].map(|name| name.parse().unwrap());
        let listed = Mandate::of(BTreeSet::from([maya.clone()]));
        for (mandate, named, expected) in [
            (&Mandate::nobody(), None, Nobody),
            (&Mandate::nobody(), Some(&maya), NotAdmitted),
            (&listed, None, NotAdmitted),
            (&listed, Some(&maya), Admitted),
            (&listed, Some(&zoe), NotAdmitted),
        ] {
            assert_eq!(mandate.fact(named), expected, "{mandate:?} {named:?}");
            assert_eq!(mandate.behind(named), named.filter(|_| expected == Admitted));
        }
        assert_eq!(Mandate::of(BTreeSet::new()), Mandate::nobody());
        assert_eq!(Mandate::recorded(NotAdmitted).fact(Some(&maya)), NotAdmitted);
    }
}
