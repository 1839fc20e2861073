//! What grants ask for and give, one demand at a time: so that a solver can say of which requests less is asked.
//!
//! Of a request the union over its satisfied grants holds: of one set of roles the greatest quorum and the shortest lifetime,
//! of identities the freshest. So a request meets a demand exactly if one of its satisfied grants does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::{Authorizer, PolicySet};
use cedar_policy_symcc::Env;
use portcullis_protocol::obligations::Length;
use portcullis_protocol::{LabelName, Obligations, PolicyId, RoleName};
use serde::Serialize;

use crate::annotations::Annotations;

/// One thing that a grant asks for or gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    /// An approval by so many people or more, each of whom has one of these roles.
    Quorum(BTreeSet<RoleName>, u64),
    /// One that counts for so many milliseconds or less.
    Lifetime(BTreeSet<RoleName>, u64),
    /// An identity proved within so many milliseconds or less.
    Identity(u64),
    /// The agent gets this label.
    Label(LabelName),
}

impl Demand {
    /// What a grant demands.
    pub(super) fn of(said: &Annotations) -> Vec<Self> {
        let Annotations { obligations: Obligations { approvals, identity_within_ms, witnessed: _ }, labels } =
            said;
        let quorums = approvals.iter().map(|need| Self::Quorum(need.roles.clone(), need.quorum));
        let lifetimes = approvals.iter().map(|need| Self::Lifetime(need.roles.clone(), need.lifetime_ms));
        let identities = identity_within_ms.iter().map(|within| Self::Identity(*within));
        let labels = labels.iter().cloned().map(Self::Label);
        quorums.chain(lifetimes).chain(identities).chain(labels).collect()
    }

    /// Whether what a grant demands is no less than this. Who may approve by fewer roles may by more.
    pub(super) fn is_met_by(&self, said: &Annotations) -> bool {
        let Annotations { obligations, labels } = said;
        let approvals = &obligations.approvals;
        match self {
            Self::Quorum(roles, quorum) => {
                approvals.iter().any(|need| need.roles.is_subset(roles) && need.quorum >= *quorum)
            }
            Self::Lifetime(roles, lifetime) => {
                approvals.iter().any(|need| need.roles.is_subset(roles) && need.lifetime_ms <= *lifetime)
            }
            Self::Identity(within) => obligations.identity_within_ms.is_some_and(|own| own <= *within),
            Self::Label(label) => labels.contains(label),
        }
    }

    /// The annotation that says whether anything of the kind is asked for; none of labels, which are given.
    pub(super) const fn annotation(&self) -> Option<&'static str> {
        match self {
            Self::Quorum(..) | Self::Lifetime(..) => Some("approval_roles"),
            Self::Identity(_) => Some("identity_within"),
            Self::Label(_) => None,
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |roles: &BTreeSet<RoleName>| {
            roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(" or ")
        };
        match self {
            Self::Quorum(roles, quorum) => {
                write!(formatter, "approval by {quorum} or more with role {}", named(roles))
            }
            Self::Lifetime(roles, lifetime) => {
                write!(
                    formatter,
                    "approval with role {} that counts for {} or less",
                    named(roles),
                    Length(*lifetime)
                )
            }
            Self::Identity(within) => write!(formatter, "identity proved within {} or less", Length(*within)),
            Self::Label(label) => write!(formatter, "label `{label}`"),
        }
    }
}

/// What one of two bundles asks of the request that shows a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AskedOf {
    /// The grants that it satisfies.
    pub policies: BTreeSet<PolicyId>,
    /// What they ask for together.
    pub obligations: Obligations,
    /// The labels that they give.
    pub labels: BTreeSet<LabelName>,
}

/// A demand that one bundle makes of a request, and the other does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weaker {
    /// In words.
    pub demand: String,
    /// Whether it is one that is given, and not asked for: a label. Whether that makes an agent more free is policy's to say.
    pub given: bool,
    /// What the bundle before asks of the request that shows it.
    pub old: AskedOf,
    /// What the bundle after does.
    pub new: AskedOf,
}

/// What policies ask of a request that they grant.
pub(super) fn asked_of(
    set: &PolicySet,
    annotations: &BTreeMap<PolicyId, Annotations>,
    example: &Env,
) -> AskedOf {
    let answer = Authorizer::new().is_authorized(&example.request, set, &example.entities);
    let ids = answer.diagnostics().reason().filter_map(super::parsed);
    let mut asked = AskedOf { policies: ids.collect(), ..AskedOf::default() };
    for said in asked.policies.iter().filter_map(|id| annotations.get(id)) {
        asked.obligations.add(&said.obligations);
        asked.labels.extend(said.labels.iter().cloned());
    }
    asked
}
