//! What grants ask for, and the labels that they add. What they grant is the solver's to say.

use cedar_policy::Policy;
use portcullis_protocol::{ApprovalNeed, Obligations};

use super::Tendency::{MorePermissive, Neither, Stricter, Unknown};
use super::{Changes, aligned, names, span};
use crate::annotations::Annotations;
use crate::compile::Compiled;
use crate::labels::Lifetimes;

const ADDED: &str = "added: who got it by an earlier bundle has it until that one's lifetime ends, and nobody else before a \
                     grant gives it";

/// Where a grant that asks for something came, left or grants otherwise, only a solver can compare what its requests ask for
/// with what they asked for by another one.
pub(super) fn compare(changes: &mut Changes, old: &Compiled, new: &Compiled) {
    let (came, left, stayed) = aligned(&old.annotations, &new.annotations);
    for (id, said) in came.into_iter().filter(|(_, said)| says(said)) {
        let before = "whether what it grants asked for more, or gave other labels, is not looked into";
        changes.at("grant", id).leave(format!("added, with {}: {before}", shown(said)));
    }
    for (id, said) in left.into_iter().filter(|(_, said)| says(said)) {
        let now = "whether what it granted asks for as much, and gives the same labels, is not looked into";
        changes.at("grant", id).leave(format!("removed, with {}: {now}", shown(said)));
    }
    let (before, after) = (old.slices.policies(), new.slices.policies());
    for (id, (old, new)) in stayed {
        let Annotations { obligations, labels } = old;
        asks(changes.at("grant", id), obligations, &new.obligations);
        changes.set((labels, &new.labels), (Unknown, Unknown), "labels that it gives the agent");
        let name = cedar_policy::PolicyId::new(id.as_str());
        if (says(old) || says(new)) && !grants_alike(before.get(&name), after.get(&name)) {
            let now = "which requests ask for more or less now, or give other labels, is not looked into";
            let said = shown(if says(new) { new } else { old });
            changes.leave(format!("it grants otherwise, with {said}: {now}"));
        }
    }
}

/// Whether annotations ask for anything, or add labels.
fn says(Annotations { obligations, labels }: &Annotations) -> bool {
    !obligations.is_empty() || !labels.is_empty()
}

/// What they ask for and which labels they add, in words; empty if they do neither.
pub(super) fn shown(Annotations { obligations, labels }: &Annotations) -> String {
    let asked = (!obligations.is_empty()).then(|| obligations.to_string());
    let labels = names(labels.iter()).map(|labels| format!("labels {labels}"));
    asked.into_iter().chain(labels).collect::<Vec<_>>().join(", and ")
}

/// Whether two policies are the same but for their annotations. One that cannot be looked at is like no other.
fn grants_alike(old: Option<&&Policy>, new: Option<&&Policy>) -> bool {
    let bare = |policy: &Policy| {
        let mut json = policy.to_json().ok()?; // tidy: allow None is like nothing
        json.as_object_mut()?.remove("annotations");
        Some(json)
    };
    let (old, new) = (old.and_then(|policy| bare(policy)), new.and_then(|policy| bare(policy)));
    old.is_some() && old == new
}

fn asks(changes: &mut Changes, old: &Obligations, new: &Obligations) {
    let Obligations { approvals, identity_within_ms, witnessed } = old;
    approved(changes, approvals, &new.approvals);
    changes.asked((*witnessed, new.witnessed), "that witnesses saw the PERMIT before it counts");
    match (*identity_within_ms, new.identity_within_ms) {
        (Some(old), Some(new)) => {
            changes.grew((old, new), "how old the agent's proof of identity may be", span, MorePermissive);
        }
        (old, new) => changes.asked((old.is_some(), new.is_some()), "a fresh proof of identity"),
    }
}

/// A grant asks for one approval at most; where there are more, which became which is not told.
fn approved(changes: &mut Changes, old: &[ApprovalNeed], new: &[ApprovalNeed]) {
    match (old, new) {
        ([old], [new]) => need(changes, old, new),
        (old, new) if old == new => {}
        (old, new) if old.is_empty() || new.is_empty() => {
            changes.asked((!old.is_empty(), !new.is_empty()), "an approval");
        }
        (_, _) => changes.say(Unknown, "it asks for other approvals"),
    }
}

fn need(changes: &mut Changes, old: &ApprovalNeed, new: &ApprovalNeed) {
    let ApprovalNeed { roles, quorum, lifetime_ms } = old;
    changes.set((roles, &new.roles), (MorePermissive, Stricter), "roles that may approve it");
    changes.grew((*quorum, new.quorum), "how many must approve it", |number| number.to_string(), Stricter);
    changes.grew((*lifetime_ms, new.lifetime_ms), "how long an approval counts", span, MorePermissive);
}

/// Whether it is policy that lets agents with a label do more, or less, is not looked into. Policies see all labels of an agent,
/// whichever bundle declares them: to declare one changes none of them, and what gives it or asks for it is told of the grants and
/// policies that do.
pub(super) fn labels(changes: &mut Changes, old: &Lifetimes, new: &Lifetimes) {
    let (came, left, stayed): (_, _, Vec<_>) = aligned::<_, u64>(old, new);
    for (label, _) in came {
        changes.at("label", label).say(Neither, ADDED);
    }
    for (label, _) in left {
        changes
            .at("label", label)
            .say(Unknown, "removed: whoever has it keeps it for its lifetime, no grant gives it any more, and no policy asks for it");
    }
    for (label, (old, new)) in stayed {
        changes.at("label", label).grew((*old, *new), "how long it stays with an agent", span, Unknown);
    }
}
